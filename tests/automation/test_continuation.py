"""One refused dataset once kept every stakeholder from getting theirs, because all models are one step."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from merajut_assets.automation.continuation import CONTINUES_TAG, Progress, build_continuation_sensor, unaffected
from merajut_assets.automation.jobs import RELEASE, build_asset_job
from merajut_assets.automation.runs import PROCESS_TAG
from partitions import release_partitions

MARTS = {
    "a": dg.AssetSpec(["mart", "a"], deps=[["protected", "a"]], partitions_def=release_partitions),
    "b": dg.AssetSpec(["mart", "b"], deps=[["protected", "b"]], partitions_def=release_partitions),
}


def key(*path: str) -> dg.AssetKey:
    return dg.AssetKey(list(path))


def dataset(name: str, fails: bool) -> dg.AssetsDefinition:
    @dg.asset(key=["protected", name], partitions_def=release_partitions)
    def protected() -> None:
        if fails:
            raise dg.Failure("refused")

    return protected


def definitions(failing: str | None = None, refuted: str | None = None) -> dg.Definitions:
    @dg.multi_asset(
        name="marts",
        specs=list(MARTS.values()),
        check_specs=[dg.AssetCheckSpec("tests", asset=spec.key, blocking=True) for spec in MARTS.values()],
        can_subset=True,
    )
    def marts(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        if failing == "marts":
            raise dg.Failure("no results")
        for asset_key in sorted(context.selected_asset_keys):
            passed = asset_key.path[-1] != refuted
            yield dg.MaterializeResult(
                asset_key=asset_key,
                check_results=[dg.AssetCheckResult(asset_key=asset_key, check_name="tests", passed=passed)],
            )

    def published(name: str) -> dg.AssetsDefinition:
        @dg.asset(key=["published", name], deps=[["mart", name]], partitions_def=release_partitions)
        def file() -> None: ...

        return file

    assets = [*(dataset(name, fails=name == failing) for name in "ab"), marts, *(published(name) for name in "ab")]
    job = build_asset_job(RELEASE)
    sensor = build_continuation_sensor(job, RELEASE.layers, dg.DefaultSensorStatus.STOPPED)
    return dg.Definitions(assets=assets, jobs=[job], sensors=[sensor], executor=dg.in_process_executor)


def run(parts: dg.Definitions, instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
    job = parts.resolve_job_def("release")
    return job.execute_in_process(instance=instance, partition_key="2026-09", raise_on_error=False, **options)


def left_over(parts: dg.Definitions, result: dg.ExecuteInProcessResult) -> set[dg.AssetKey]:
    graph = parts.resolve_asset_graph()
    return unaffected(graph, graph.get_all_asset_keys(), Progress.of(result.all_events))


def test_only_what_rests_on_the_failed_asset_stays_undone() -> None:
    parts = definitions(failing="a")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(parts, instance)
        assert key("mart", "b") not in Progress.of(result.all_events).made, "Dagster left out the whole step"
        rest = left_over(parts, result)
        assert rest == {key("mart", "b"), key("published", "b")}
        assert run(parts, instance, asset_selection=sorted(rest)).success


def test_nothing_behind_a_failed_blocking_check_is_made() -> None:
    """The check is the proof; going on without it would publish what was refuted."""
    parts = definitions(refuted="a")
    with dg.DagsterInstance.ephemeral() as instance:
        rest = left_over(parts, run(parts, instance))
    assert key("published", "a") not in rest
    assert key("mart", "a") not in rest


def test_a_failed_step_of_many_assets_is_not_gone_around() -> None:
    parts = definitions(failing="marts")
    with dg.DagsterInstance.ephemeral() as instance:
        assert left_over(parts, run(parts, instance)) == set()


def test_a_good_run_leaves_nothing() -> None:
    parts = definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(parts, instance)
        assert result.success
        assert left_over(parts, result) == set()


def evaluate(parts: dg.Definitions, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> Any:
    sensor = parts.get_repository_def().get_sensor_def("release_continuation")
    context = dg.build_run_status_sensor_context(
        sensor_name="release_continuation",
        dagster_event=next(event for event in result.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        repository_def=parts.get_repository_def(),
    )
    return sensor(context)


def test_the_sensor_asks_for_the_rest_of_the_same_release() -> None:
    parts = definitions(failing="a")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(parts, instance)
        request = evaluate(parts, instance, result)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-09"
    assert set(request.asset_selection) == {key("mart", "b"), key("published", "b")}
    assert request.tags[CONTINUES_TAG] == result.run_id


@pytest.mark.parametrize("tag", [CONTINUES_TAG, PROCESS_TAG])
def test_a_continuation_or_an_attended_run_is_not_continued(tag: str) -> None:
    parts = definitions(failing="a")
    with dg.DagsterInstance.ephemeral() as instance:
        answer = evaluate(parts, instance, run(parts, instance, tags={tag: "somebody"}))
    assert isinstance(answer, dg.SkipReason)
