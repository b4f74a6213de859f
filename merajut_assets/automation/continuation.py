"""Going on after a failure: what a failed run left undone though nothing it rests on failed.

All dbt models are one step, and Dagster leaves out a step when anything before it failed. One refused
dataset of one stakeholder would so keep every other stakeholder from getting theirs. Here belongs what
may still be made, by another run; never anything behind a failed asset or a failed blocking check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import dagster as dg

from merajut_assets.automation.jobs import ExecutableJob, layers_selection
from merajut_assets.automation.runs import PROCESS_TAG

_PARTITION_TAG = "dagster/partition"
# On a run that continues another, so that it is not continued itself.
CONTINUES_TAG = "merajut/continues"


@dataclass
class Progress:
    """What the events of a run say: assets made, steps failed, assets of which a blocking check failed."""

    made: set[dg.AssetKey] = field(default_factory=set)
    failed_steps: set[str] = field(default_factory=set)
    refuted: set[dg.AssetKey] = field(default_factory=set)

    @classmethod
    def of(cls, events: Iterable[dg.DagsterEvent]) -> Progress:
        progress = cls()
        for event in events:
            kind = event.event_type
            if kind is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key is not None:
                progress.made.add(event.asset_key)
            elif kind is dg.DagsterEventType.STEP_FAILURE and event.step_key is not None:
                # A step whose blocking check failed fails by that: the check names the asset.
                if not is_failed_check(event):
                    progress.failed_steps.add(event.step_key)
            elif kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
                    progress.refuted.add(evaluation.asset_key)
        return progress


def is_failed_check(event: dg.DagsterEvent) -> bool:
    """Whether a step failed by a blocking check, and not by an error in what it makes."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def unaffected(graph: object, wanted: Collection[dg.AssetKey], progress: Progress) -> set[dg.AssetKey]:
    """Which of the `wanted` assets were not made and rest on nothing that failed.

    `graph` is the asset graph of the definitions. Empty when a step failed that cannot be told to be one
    asset's: then nothing is known about what rests on it."""
    by_step = {"__".join(key.path): key for key in wanted}
    if not progress.failed_steps <= set(by_step):
        return set()
    broken = {by_step[step] for step in progress.failed_steps} | progress.refuted
    if not broken:
        return set()
    behind = dg.AssetSelection.assets(*broken).downstream().resolve(graph)  # type: ignore[arg-type]
    return set(wanted) - progress.made - set(behind)


def build_continuation_sensor(
    job: ExecutableJob, layers: tuple[str, ...], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Asks for a run of what a failed run of `job` left undone, once. Runs by hand of single assets, and those
    that a `merajut run` works on (which continues them itself), are left alone."""

    @dg.run_status_sensor(
        name=f"{job.name}_continuation",
        description="After a failed release: makes what rests on nothing that failed, for the other stakeholders.",
        run_status=dg.DagsterRunStatus.FAILURE,
        monitored_jobs=[job],
        request_job=job,
        default_status=status,
    )
    def go_on(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        run = context.dagster_run
        assert context.repository_def is not None, "Dagster gives a run status sensor its repository"
        if run.asset_selection or {CONTINUES_TAG, PROCESS_TAG} & set(run.tags):
            return dg.SkipReason("This run is not continued: it was of chosen assets, or somebody looks after it.")
        graph = context.repository_def.asset_graph
        wanted = layers_selection(layers).resolve(graph)
        records = context.instance.get_records_for_run(run.run_id).records
        events = (record.event_log_entry.dagster_event for record in records)
        rest = unaffected(graph, wanted, Progress.of(event for event in events if event is not None))
        if not rest:
            return dg.SkipReason("Everything that was left undone rests on something that failed.")
        return dg.RunRequest(
            run_key=run.run_id,
            partition_key=run.tags[_PARTITION_TAG],
            asset_selection=sorted(rest),
            tags={CONTINUES_TAG: run.run_id},
        )

    return go_on
