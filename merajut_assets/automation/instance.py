"""The Dagster instance of this installation: its folder, its settings, its pool.

`python -m merajut_assets.automation.instance` prepares all of it; `make ui` does so before it starts
anything. Storage and retention themselves are settled in dagster.yaml.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from resources.locks import write_atomically
from resources.settings import REPOSITORY, Settings

WAREHOUSE_POOL = "warehouse"
POOL_LIMITS = {WAREHOUSE_POOL: 1}  # a DuckDB file has one writer


def prepare_dagster_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME and bring its dagster.yaml up to date; returns the folder.

    Also sets the environment variable for this process, because Dagster finds its instance by nothing else.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    wanted = (REPOSITORY / "dagster.yaml").read_bytes()
    present = home / "dagster.yaml"
    if not present.exists() or present.read_bytes() != wanted:
        write_atomically(present, wanted)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The prepared instance, with its pool limits set; the caller closes it (it is a context manager)."""
    instance = dg.DagsterInstance.from_config(str(prepare_dagster_home(settings)))
    ensure_pool_limits(instance)
    return instance


def ensure_pool_limits(instance: dg.DagsterInstance) -> None:
    """Set the limit of every pool that differs from what is wanted; without effect when all are as wanted."""
    storage = instance.event_log_storage
    present = {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default}
    for name, limit in POOL_LIMITS.items():
        if present.get(name) != limit:
            storage.set_concurrency_slots(name, limit)


def main() -> None:
    with open_instance(Settings.load()):
        pass


if __name__ == "__main__":
    main()
