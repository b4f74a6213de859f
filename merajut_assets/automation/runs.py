"""Questions about runs that Dagster has recorded: which are unfinished, dead or no longer needed.

Everything goes through the public interface of the instance; nothing here starts a run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from merajut_assets.automation.jobs import EXCLUSIVE_TAG, Exclusive

HOST_TAG = "merajut/host"
PROCESS_TAG = "merajut/process"

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.SUSPENDED,
    DagsterRunStatus.CANCELING,
)
_FINISHED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_RUNS_PER_QUERY = 500


def unfinished_runs(
    instance: dg.DagsterInstance, *, exclusive: Exclusive | None = None, job: str | None = None
) -> Sequence[dg.RunRecord]:
    """Runs that are queued or in progress, of one kind of work or of one job if such is given."""
    tags = {} if exclusive is None else {EXCLUSIVE_TAG: exclusive.value}
    return instance.get_run_records(filters=RunsFilter(statuses=list(UNFINISHED), tags=tags, job_name=job))


# ── runs whose process died ──────────────────────────────────────────────────────────────


def process_tags() -> Mapping[str, str]:
    """Tags for a run that this very process works on, by which `close_abandoned_runs` finds it later."""
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: _identity(os.getpid())}


def close_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed the unfinished runs whose process on this host is gone; returns their ids.

    A killed process cannot report its own end: its run would count as active for ever, and the pool slot
    it held would keep the next run waiting. Runs without `process_tags` or of other hosts are left alone;
    those the run monitoring of the daemon ends.
    """
    filters = RunsFilter(statuses=list(UNFINISHED), tags={HOST_TAG: socket.gethostname()})
    closed = []
    for run in instance.get_runs(filters=filters):
        identity = run.tags.get(PROCESS_TAG)
        if identity is None or _is_alive(identity):
            continue
        instance.report_run_failed(run, "The process that worked on this run ended without reporting; run it again.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _identity(process: int) -> str:
    """A process's number and start, because numbers are given out again."""
    return f"{process}@{_started(process)}"


def _is_alive(identity: str) -> bool:
    number, _, started = identity.partition("@")
    if not number.isdigit():
        return True  # not written by us: nothing can be said, so nothing is ended
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return started == _started(int(number))
    return started == _started(int(number))


def _started(process: int) -> str:
    """When a process began, in the kernel's own unit; empty where the system does not show it."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name in brackets may hold blanks; the start time is the twentieth field after it.
    return status.rpartition(")")[2].split()[19]


# ── runs that nothing refers to any more ─────────────────────────────────────────────────


def obsolete_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of the finished runs made before `before` in which no asset (or partition of one) was made last.

    The run that made an asset's present state stays, however old: with it would go the record that the
    asset exists, its lineage and its metadata.
    """
    cursor: str | None = None
    while True:
        filters = RunsFilter(statuses=list(_FINISHED), created_before=before)
        runs = instance.get_runs(filters=filters, limit=_RUNS_PER_QUERY, cursor=cursor)
        for run in runs:
            if not _made_something_last(instance, run.run_id):
                yield run.run_id
        if len(runs) < _RUNS_PER_QUERY:
            return
        cursor = runs[-1].run_id


def _made_something_last(instance: dg.DagsterInstance, run_id: str) -> bool:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    materializations = (record.asset_materialization for record in records)
    made = {(made.asset_key, made.partition) for made in materializations if made is not None}
    return any(_last_maker(instance, key, partition) == run_id for key, partition in made)


def _last_maker(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    partitions = None if partition is None else [partition]
    latest = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions), limit=1)
    return latest.records[0].run_id if latest.records else None
