"""When jobs start because something happened, and when people are told.

Three sensors: files in the drop folder start a sync, runs that outlast their window and runs that fail
become alerts. How an alert travels is in `alerts`. Names of files may be names of people, so that
nothing but keyed digests of them is kept or shown.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster import RunsFilter

from merajut_assets.automation.alerts import Alert, AlertKind, deliver
from merajut_assets.automation.jobs import WINDOW_TAG, ExecutableJob
from merajut_assets.automation.runs import UNFINISHED
from merajut_assets.contracts import registry
from partitions import today_partition
from resources.settings import Settings
from resources.vault import Hasher, KeyVault

LoadSettings = Callable[[], Settings]
Clock = Callable[[], datetime]

_DROP_KEY_PURPOSE = "automation/drop_folder"
_SECONDS_BETWEEN_LOOKS = 30
_SECONDS_BETWEEN_WINDOW_CHECKS = 60
# What programs call a file that they are still writing.
_UNFINISHED_SUFFIXES = frozenset({".part", ".partial", ".tmp", ".crdownload", ".filepart", ".swp"})
_STEPS_SHOWN = 10


# ── drop folder ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Dropped:
    """A file as it was last seen: digest of its size and time of change, and whether a run was asked for."""

    state: str
    requested: bool


def dropped_files(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Relative path, and size with time of change, of every finished-looking file in a system's folder.

    Other files belong to no declared system, and links may lead anywhere: both are left out.
    """
    declared = registry.systems()
    folders_of_systems = (entry for entry in folder.iterdir() if entry.name in declared)
    for system in sorted(entry for entry in folders_of_systems if entry.is_dir() and not entry.is_symlink()):
        for directory, folders, names in os.walk(system, followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(directory, name)
                if name.startswith(".") or name.endswith("~") or path.suffix.lower() in _UNFINISHED_SUFFIXES:
                    continue
                try:
                    found = path.lstat()
                except FileNotFoundError:
                    continue  # taken away while we looked
                if stat.S_ISREG(found.st_mode):
                    yield os.fsencode(path.relative_to(folder)), f"{found.st_size} {found.st_mtime_ns}".encode()


def settle(previous: Mapping[str, Dropped], present: Mapping[str, str]) -> tuple[dict[str, Dropped], list[str]]:
    """Compare two looks at the folder: what to remember, and the states that have just settled.

    A file has settled when it is the same at two looks running; each state of a file settles once. What is
    gone is forgotten. Keys of both mappings are digests of paths.
    """
    remembered, settled = {}, []
    for path, state in present.items():
        before = previous.get(path)
        unchanged = before is not None and before.state == state
        if before is not None and unchanged and not before.requested:
            settled.append(state)
        remembered[path] = Dropped(state, requested=unchanged)
    return remembered, sorted(settled)


def build_drop_folder_sensor(
    sync: ExecutableJob, status: dg.DefaultSensorStatus, load_settings: LoadSettings, clock: Clock
) -> dg.SensorDefinition:
    """Asks for a sync once files in the drop folder have come to rest."""

    @dg.sensor(
        name="drop_folder",
        description="Starts a sync when files put into sources/<system> of the data directory no longer change.",
        job=sync,
        minimum_interval_seconds=_SECONDS_BETWEEN_LOOKS,
        default_status=status,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        settings = load_settings()
        files = list(dropped_files(settings.sources)) if settings.sources.is_dir() else []
        if not files:
            return dg.SensorResult(skip_reason="No declared system has a file in its folder.", cursor=_written({}))
        digest = _digester(settings)
        present = {digest(path): digest(path + b"\0" + state) for path, state in files}
        remembered, settled = settle(_read(context.cursor), present)
        cursor = _written(remembered)
        if not settled:
            return dg.SensorResult(skip_reason=f"{len(files)} file(s), none newly at rest.", cursor=cursor)
        request = dg.RunRequest(
            run_key=digest("\n".join(settled).encode()),
            partition_key=today_partition(clock()),
            tags={"merajut/dropped_files": str(len(settled))},
        )
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return look


def _digester(settings: Settings) -> Callable[[bytes], str]:
    hasher = Hasher(KeyVault(settings.vault, settings.keys).named_key(_DROP_KEY_PURPOSE))
    return lambda content: hasher.digest(content).hex()[:32]


def _read(cursor: str | None) -> dict[str, Dropped]:
    return {path: Dropped(*seen) for path, seen in json.loads(cursor or "{}").items()}


def _written(files: Mapping[str, Dropped]) -> str:
    return json.dumps({path: [seen.state, seen.requested] for path, seen in files.items()})


# ── runs that take too long ──────────────────────────────────────────────────────────────


def late_runs(instance: dg.DagsterInstance, now: datetime) -> Iterator[Alert]:
    """One alert for each unfinished run that is past its window, counted from its start (or from when it
    was asked for, while it waits)."""
    for record in instance.get_run_records(filters=RunsFilter(statuses=list(UNFINISHED))):
        run = record.dagster_run
        window = run.tags.get(WINDOW_TAG, "")
        if not window.isdigit():
            continue
        began = record.create_timestamp.timestamp() if record.start_time is None else record.start_time
        seconds = int(now.timestamp() - began)
        if seconds > int(window):
            details = {"state": run.status.value.lower(), "seconds": str(seconds), "window in seconds": window}
            yield Alert(AlertKind.RUN_LATE, run.job_name, run.run_id, details)


def build_over_run_sensor(
    status: dg.DefaultSensorStatus, load_settings: LoadSettings, clock: Clock
) -> dg.SensorDefinition:
    """Tells people, once per run, that a run is past its window."""

    @dg.sensor(
        name="over_run",
        description="Sends one alert for each run that takes longer than the window of its job.",
        minimum_interval_seconds=_SECONDS_BETWEEN_WINDOW_CHECKS,
        default_status=status,
    )
    def check_windows(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        known = set(json.loads(context.cursor or "[]"))
        late = {alert.run_id: alert for alert in late_runs(context.instance, clock())}
        fresh = [alert for run_id, alert in late.items() if run_id not in known]
        for alert in fresh:
            deliver(alert, load_settings(), context.log)
        reason = f"{len(late)} run(s) past their window, {len(fresh)} of them newly reported."
        return dg.SensorResult(skip_reason=reason, cursor=json.dumps(sorted(late)))

    return check_windows


# ── runs that fail ───────────────────────────────────────────────────────────────────────


def failure_alert(context: dg.RunFailureSensorContext) -> Alert:
    """The alert about a failed run: job, run, failed steps, classes of the errors that made them fail."""
    events = list(context.get_step_failure_events())
    steps = [event.step_key for event in events if event.step_key]
    shown = ", ".join(steps[:_STEPS_SHOWN]) + (f" and {len(steps) - _STEPS_SHOWN} more" if steps[_STEPS_SHOWN:] else "")
    errors = sorted({first_cause(event) for event in events})
    details = {
        "failed steps": shown or "none: the run itself could not go on",
        "errors": ", ".join(errors) or "see the run's log",
    }
    return Alert(AlertKind.RUN_FAILED, context.dagster_run.job_name, context.dagster_run.run_id, details)


def first_cause(event: dg.DagsterEvent) -> str:
    """The class of the error at the root of a step's failure; Dagster wraps it in its own."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.cls_name if error else None) or "unknown"


def build_failure_sensor(status: dg.DefaultSensorStatus, load_settings: LoadSettings) -> dg.SensorDefinition:
    """Tells people that a run of this code location failed."""

    @dg.run_failure_sensor(
        name="run_failure",
        description="Sends an alert for each failed run: job, run, steps and classes of errors, never their text.",
        default_status=status,
    )
    def report_failure(context: dg.RunFailureSensorContext) -> None:
        deliver(failure_alert(context), load_settings(), context.log)

    return report_failure


def utc_now() -> datetime:
    return datetime.now(UTC)
