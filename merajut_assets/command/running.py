"""`merajut run`: the jobs sync, release and evidence in this process, shown while they work.

Belongs here: which jobs run for what was asked, following them, and what went wrong. What the closing
table says is `figures`', whether a release is complete `completeness`'.

The runs are recorded in the installation's Dagster instance and can be looked at in the UI like any other.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import dagster as dg
from rich import progress as bars
from rich.console import Console

from merajut_assets.automation.continuation import CONTINUES_TAG, Progress, unaffected
from merajut_assets.automation.jobs import EVIDENCE, RELEASE, SYNC
from merajut_assets.automation.lineage_events import deliver
from merajut_assets.automation.runs import process_tags
from merajut_assets.command.alone import alone
from merajut_assets.command.completeness import is_up_to_date, missing_parts
from merajut_assets.command.exits import PROBLEM, BadInput
from merajut_assets.command.figures import Figures, closing_table, figures_of
from merajut_assets.command.typed import typed
from merajut_assets.failures import OWN_PACKAGES
from partitions import cut_off, latest_release, release_partitions, today_partition
from resources.lakehouse import Lakehouse
from resources.settings import Settings

# Dagster's console logger prints every event at DEBUG; the progress bar says what a reader needs.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Part(StrEnum):
    """What `--only` may name."""

    SYNC = "sync"
    RELEASE = "release"


@dataclass(frozen=True)
class Problem:
    """A step that failed or a check that did. `text` quotes no record. A problem that does not block is a
    warning."""

    place: str
    text: str
    is_blocking: bool = True


@dataclass
class Outcome:
    """What a job did. `changed`: assets that stored something new."""

    job: str
    run_id: str
    succeeded: bool
    figures: list[Figures] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    changed: int = 0

    @property
    def is_good(self) -> bool:
        return self.succeeded and not any(problem.is_blocking for problem in self.problems)


def run_pipeline(release: str | None, select: str | None, only: Part | None, console: Console) -> int:
    """Bring everything up to date for a release and show what was done; returns the exit code.

    Raises BadInput for a release, selection or moment that does not fit."""
    settings = Settings.load()
    now = datetime.now(UTC)
    wanted = _checked_release(release or latest_release(now.date()))
    with alone(settings) as instance, _quiet_streams() as terminal:
        Lakehouse().vault.open()  # a wrong master key is told once, and not by every asset
        _renew_manifest()
        from merajut_assets.definitions import build_defs
        from merajut_assets.marts.proof import whole_graph

        definitions = build_defs()
        chosen = None if select is None else _selected(definitions, select)
        runner = _Runner(definitions, instance, terminal)
        outcomes: list[Outcome] = []
        skipped: list[Figures] = []
        unmade: list[str] = []
        parts = [
            (SYNC.name, today_partition(now), Part.SYNC),
            (RELEASE.name, wanted, Part.RELEASE),
            (EVIDENCE.name, None, None),
        ]
        is_whole = chosen is None and only is None
        if is_whole and not missing_parts(Lakehouse(), instance, wanted) and is_up_to_date(Lakehouse()):
            for job, _, part in parts:
                skipped += stored_figures(instance, runner.assets(job), wanted if part is Part.RELEASE else None)
            parts = []
        for job, partition, part in parts:
            if (only is not None and part is not only) or not runner.selects(job, chosen):
                continue
            if part is Part.RELEASE and chosen is None and not missing_parts(Lakehouse(), instance, wanted):
                skipped = stored_figures(instance, runner.assets(job), wanted)
                continue
            if unmade or (outcomes and not outcomes[-1].is_good and part is Part.RELEASE):
                unmade.append(f"release {wanted}" if part is Part.RELEASE else f"the {job} about it")
                continue  # A release pins what conformed holds: it must not pin half of it.
            outcomes.append(runner.run(job, partition, chosen))
            rest = runner.unaffected(job, outcomes[-1]) if part is Part.RELEASE and chosen is None else set()
            if rest:
                outcomes.append(runner.run(job, partition, rest, continues=outcomes[-1].run_id))
        if outcomes:
            deliver(instance, definitions.resolve_asset_graph(), settings, whole_graph)
    return _show(console, wanted, outcomes, skipped, unmade)


def _renew_manifest() -> None:
    """A model that somebody has added, changed or removed is part of this run, and is judged before it."""
    from merajut_assets.marts.project import ManifestError, prepare_manifest

    try:
        prepare_manifest()
    except ManifestError as error:
        raise BadInput(str(error)) from None


def _checked_release(release: str) -> str:
    cut_off(release)
    if not release_partitions.has_partition_key(release):
        first, last = release_partitions.get_first_partition_key(), release_partitions.get_last_partition_key()
        raise BadInput(f"there is no release {release}: a release is a month that is over, from {first} to {last}")
    return release


def _selected(definitions: dg.Definitions, select: str) -> set[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    hint = 'name assets such as "key:conformed/child+" or "group:protected" (Dagster\'s selection syntax)'
    try:
        keys = set(dg.AssetSelection.from_string(select).resolve(graph))
    except dg.DagsterError:
        raise BadInput(f"the selection cannot be read; {hint}") from None
    except ValueError:
        raise BadInput(f"the selection names something that does not exist; {hint}") from None
    materializable = {key for key in keys if key.path[0] != "source"}
    if not materializable:
        raise BadInput(f"the selection names no asset that can be made; {hint}")
    return materializable


# ── running and following ────────────────────────────────────────────────────────────────


class _Runner:
    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, terminal: Console) -> None:
        self._definitions = definitions
        self._instance = instance
        self._terminal = terminal

    def assets(self, job: str) -> set[dg.AssetKey]:
        return set(self._definitions.resolve_job_def(job).asset_layer.selected_asset_keys)

    def selects(self, job: str, chosen: set[dg.AssetKey] | None) -> bool:
        return chosen is None or bool(self.assets(job) & chosen)

    def unaffected(self, job: str, outcome: Outcome) -> set[dg.AssetKey]:
        """What the run left undone, but rests on nothing that failed in it."""
        graph = self._definitions.resolve_asset_graph()
        return set() if outcome.is_good else unaffected(graph, self.assets(job), outcome.progress)

    def run(
        self, job: str, partition: str | None, chosen: set[dg.AssetKey] | None, continues: str | None = None
    ) -> Outcome:
        definition = self._definitions.resolve_job_def(job)
        keys = self.assets(job) if chosen is None else self.assets(job) & chosen
        run_id = str(uuid.uuid4())
        with _progress(self._terminal, job, len(keys)) as follow:
            self._instance.add_event_listener(run_id, follow)
            result = definition.execute_in_process(
                run_config=_QUIET,
                instance=self._instance,
                partition_key=partition,
                asset_selection=None if chosen is None else sorted(keys),
                raise_on_error=False,
                run_id=run_id,
                tags={**process_tags(), **({CONTINUES_TAG: continues} if continues else {})},
            )
        return outcome_of(job, run_id, result.success, result.all_events)


@contextmanager
def _progress(terminal: Console, job: str, assets: int) -> Iterator[Any]:
    """Follow a run; yields the listener for its events."""
    columns = (
        bars.TextColumn("{task.fields[job]:<8}"),
        bars.BarColumn(bar_width=30),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("{task.description}"),
    )
    with bars.Progress(*columns, console=terminal) as progress:
        task: bars.TaskID = progress.add_task("starting", total=assets, job=job)

        def follow(entry: dg.EventLogEntry) -> None:
            event = entry.dagster_event
            if event is None:
                return
            if event.event_type is dg.DagsterEventType.STEP_START:
                progress.update(task, description=_step_name(event.step_key))
            elif event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY:
                progress.update(task, description=f"{_step_name(event.step_key)}: waiting to try again")
            elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
                progress.advance(task)

        yield follow
        progress.update(task, description="done")


def _step_name(step_key: str | None) -> str:
    return (step_key or "").replace("__", "/")


@contextmanager
def _quiet_streams() -> Iterator[Console]:
    """Keep what libraries print off the terminal; yields a console that still writes to it.

    The streams are exchanged below Python, because dbt is a process of its own and writes to them, too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with os.fdopen(os.dup(kept[2]), "w", encoding="utf-8") as terminal:
            for descriptor in kept:
                os.dup2(nowhere, descriptor)
            yield Console(file=terminal)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


# ── what happened ────────────────────────────────────────────────────────────────────────


def outcome_of(job: str, run_id: str, succeeded: bool, events: Sequence[dg.DagsterEvent]) -> Outcome:
    """What the events of a run say."""
    outcome = Outcome(job, run_id, succeeded, progress=Progress.of(events))
    seconds: dict[str | None, float] = {}
    made: list[tuple[str | None, dg.AssetMaterialization]] = []
    for event in events:
        if event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            seconds[event.step_key] = event.step_success_data.duration_ms / 1000
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            made.append((event.step_key, event.step_materialization_data.materialization))
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            outcome.problems += _failure(event)
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            outcome.problems += _check(event.asset_check_evaluation_data)
    steps = [step for step, _ in made]
    for step, materialization in made:
        metadata = _plain(materialization.metadata)
        # The time of a step that makes many assets is not that of each of them.
        took = seconds.get(step) if steps.count(step) == 1 else None
        outcome.figures.append(figures_of(materialization.asset_key.path, metadata, took))
        outcome.changed += _is_changed(metadata)
    return outcome


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in metadata.items()}


def _is_changed(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get("is_new_version")) or metadata.get("is_unchanged") is False


def _failure(event: dg.DagsterEvent) -> list[Problem]:
    data = event.step_failure_data
    place = _step_name(event.step_key)
    if data.user_failure_data is not None and data.user_failure_data.description:
        return [Problem(place, data.user_failure_data.description)]
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return [Problem(place, "failed without saying why; see the run in the UI")]
    if error.cls_name == "DagsterAssetCheckFailedError":
        return []  # the check itself is reported
    module, _, text = error.message.strip().partition(": ")
    if module.split(".")[0] in OWN_PACKAGES:
        return [Problem(place, f"{error.cls_name}: {text}")]
    return [Problem(place, f"{error.cls_name}; its text is withheld because it may quote a record")]


def _check(evaluation: Any) -> list[Problem]:
    if evaluation.passed:
        return []
    blocks = bool(evaluation.blocking) and evaluation.severity is dg.AssetCheckSeverity.ERROR
    facts = _plain(evaluation.metadata)
    reasons = [
        str(facts[name])
        for name in ("missed_after_quarantine", "missed_before_quarantine", "violations", "faults", "failed_tests")
        if facts.get(name) not in (None, "none", "nothing")
    ]
    place = "/".join(evaluation.asset_key.path)
    return [Problem(place, f"check {evaluation.check_name} failed: {'; '.join(reasons) or 'see the UI'}", blocks)]


def stored_figures(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey], partition: str | None) -> list[Figures]:
    """The figures of the last materialisations of `keys`, for a partition if one is given."""
    figures = []
    for key in sorted(keys):
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
        records = instance.fetch_materializations(wanted, limit=1).records
        made = records[0].asset_materialization if records else None
        if made is not None:
            # What it took then is not what this run took.
            figures.append(replace(figures_of(key.path, _plain(made.metadata), None), seconds=None))
    return figures


# ── showing ──────────────────────────────────────────────────────────────────────────────


def _show(
    console: Console, release: str, outcomes: list[Outcome], skipped: list[Figures], unmade: Sequence[str] = ()
) -> int:
    is_good = all(outcome.is_good for outcome in outcomes)
    figures = [one for outcome in outcomes for one in outcome.figures] + skipped
    console.print(closing_table(figures, f"Release {release}"))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    for problem in sorted(problems, key=lambda one: not one.is_blocking):
        label, style = ("FAILED ", "red") if problem.is_blocking else ("warning", "yellow")
        console.print(f"{label} {problem.place}: {problem.text}", markup=False, highlight=False, style=style)
    for outcome in outcomes:
        if not outcome.succeeded and not any(problem.is_blocking for problem in outcome.problems):
            console.print(f"FAILED  {outcome.job}: the run ended without success", style="red", highlight=False)
    if unmade:
        console.print(_not_made(unmade, problems), style="red", highlight=False, markup=False)
    if skipped:
        changed = sum(outcome.changed for outcome in outcomes)
        news = f"{changed} tables have newer data, for the next release" if changed else "nothing changed"
        console.print(f"Release {release} is complete and stays as it is; {news}.", highlight=False)
    for line in _where_to_look(is_good, outcomes):
        console.print(line, highlight=False, markup=False)
    return 0 if is_good else PROBLEM


def _not_made(unmade: Sequence[str], problems: Iterable[Problem]) -> str:
    """What was left out because something before it failed, and what to do."""
    causes = ", ".join(dict.fromkeys(problem.place for problem in problems if problem.is_blocking))
    return (
        f"NOT MADE {' and '.join(unmade)}: a release pins what conformed holds, and {causes or 'the sync'} failed. "
        "What was published before stays in force. Mend the cause named above and run the same command again"
    )


def _where_to_look(is_good: bool, outcomes: list[Outcome]) -> list[str]:
    runs = ", ".join(f"{outcome.job} {outcome.run_id[:8]}" for outcome in outcomes)
    looks = [
        f"Runs: {runs}" if runs else "",
        "Look at the graph:      make ui, then http://localhost:3000",
        f"What is stored:         {typed('status')}",
        f"Open a published file:  {typed('open government')}",
    ]
    again = [] if is_good else ["After mending the cause, run the same command again: it completes what is missing."]
    return ["", *(line for line in looks if line), *again]
