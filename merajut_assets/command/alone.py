"""Only one command at a time changes an installation.

Belongs here: the lock between commands, and the refusal when Dagster works on the same data. Locks of
single tables are the lake's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from merajut_assets.command.exits import BadInput
from resources.locks import LockTimeout, exclusive
from resources.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

LOCK = ".merajut.lock"


@contextmanager
def alone(settings: Settings) -> Iterator[DagsterInstance]:
    """The prepared Dagster instance, for a command that changes data; BadInput when anything else does.

    Runs of killed commands are closed first, so that they block nobody."""
    from merajut_assets.automation.instance import open_instance
    from merajut_assets.automation.jobs import Exclusive
    from merajut_assets.automation.runs import close_abandoned_runs, unfinished_runs

    lock = exclusive(settings.data_directory / LOCK, timeout=0)
    try:
        lock.__enter__()
    except LockTimeout:
        raise BadInput(
            "another merajut command is changing this data directory; wait for it to end, or stop it, and run again"
        ) from None
    try:
        with open_instance(settings) as instance:
            close_abandoned_runs(instance)
            busy = [
                run.dagster_run.job_name
                for work in (Exclusive.LANDING, Exclusive.RELEASE)
                for run in unfinished_runs(instance, exclusive=work)
            ]
            if busy:
                raise BadInput(
                    f"Dagster is running or about to run {', '.join(sorted(set(busy)))}; wait for it to end, or "
                    "cancel it in the UI, and run again"
                )
            yield instance
    finally:
        lock.__exit__(None, None, None)
