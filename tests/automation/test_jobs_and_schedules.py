"""Jobs select whole layers, and schedules ask for the right work at the right moment.

The graph is a small one with the real keys' prefixes: what is tested is selection and time, not assets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from merajut_assets.automation import build_automation, is_switched_on
from merajut_assets.automation.conditions import FOLLOWS_LANDINGS
from merajut_assets.automation.jobs import EXCLUSIVE_TAG, RELEASE, SYNC, WINDOW_TAG, Exclusive
from merajut_assets.automation.runs import UNFINISHED
from merajut_assets.automation.schedules import TIMETABLES
from merajut_assets.lineage.graph import LineageGraph
from partitions import ingest_partitions, release_partitions
from resources.lakehouse import Lakehouse
from resources.settings import SettingsError

SUNDAY = datetime(2026, 11, 1, 4, 0, tzinfo=UTC)  # a Sunday and the first of a month


def no_lineage() -> LineageGraph:
    return LineageGraph.of(())


def _asset(
    *key: str, partitions: dg.PartitionsDefinition | None = None, deps: tuple[dg.AssetKey, ...] = ()
) -> dg.AssetsDefinition:
    @dg.asset(key=dg.AssetKey(key), partitions_def=partitions, deps=deps)
    def made() -> None:
        pass

    return made


def _definitions(now: datetime) -> dg.Definitions:
    raw, conformed = dg.AssetKey(["raw", "panti", "children"]), dg.AssetKey(["conformed", "child"])
    automation = build_automation(clock=lambda: now, switched_on=False, load_graph=no_lineage)
    return dg.Definitions(
        assets=[
            dg.AssetSpec(["source", "panti", "children"]),
            _asset("raw", "panti", "children", partitions=ingest_partitions),
            _asset("conformed", "child", deps=(raw,)),
            _asset("quarantine", "panti", deps=(raw,)),
            _asset("protected", "government", "child_summary", partitions=release_partitions, deps=(conformed,)),
            _asset("statistics", "media", "children", partitions=release_partitions, deps=(conformed,)),
            _asset("warehouse", "load", partitions=release_partitions),
            _asset("mart", "government", "compliance_reporting", partitions=release_partitions),
            _asset("published", "government", partitions=release_partitions),
            _asset("compliance", "audit"),
        ],
        jobs=automation.jobs,
        schedules=automation.schedules,
        sensors=automation.sensors,
        resources={"lakehouse": Lakehouse()},
        executor=dg.in_process_executor,
    )


def _tick(
    schedule: str, moment: datetime, instance: dg.DagsterInstance, *, now: datetime | None = None
) -> dg.ScheduleDefinition:
    definitions = _definitions(now or moment)
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=moment,
        repository_def=definitions.get_repository_def(),
    )
    return definitions.resolve_schedule_def(schedule).evaluate_tick(context)


def _unfinished_run(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus) -> str:
    """A run of a job as the daemon leaves it while it waits or runs."""
    definitions = _definitions(SUNDAY)
    definition = definitions.resolve_job_def(job)
    return instance.create_run_for_job(definition, tags=definition.tags, status=status).run_id


def test_every_job_selects_its_layers_and_nothing_else() -> None:
    """A layer that no job takes would never be made; one in two jobs would be made twice."""
    definitions = _definitions(SUNDAY)
    layers = {
        job: {key.path[0] for key in definitions.resolve_job_def(job).asset_layer.selected_asset_keys}
        for job in ("sync", "daily", "evidence", "release")
    }
    assert layers == {
        "sync": {"raw", "conformed", "quarantine"},
        "daily": {"raw", "conformed", "quarantine", "compliance"},
        "evidence": {"compliance"},
        "release": {"protected", "statistics", "warehouse", "mart", "published"},
    }


def test_every_job_says_how_long_it_may_take_and_what_it_keeps_to_itself() -> None:
    """Without the tags, no over-run alert would come and two landings could write at once."""
    definitions = _definitions(SUNDAY)
    tags = {name: definitions.resolve_job_def(name).tags for name in ("sync", "daily", "evidence", "release")}
    tags["housekeeping"] = definitions.resolve_job_def("housekeeping").tags
    hours = {name: int(found[WINDOW_TAG]) / 3600 for name, found in tags.items()}
    assert hours == {"sync": 1, "daily": 1, "evidence": 2, "housekeeping": 2, "release": 4}
    assert tags["sync"][EXCLUSIVE_TAG] == tags["daily"][EXCLUSIVE_TAG] == Exclusive.LANDING
    assert all(int(found["dagster/max_runtime"]) > int(found[WINDOW_TAG]) for found in tags.values())


def test_jobs_run_in_one_process() -> None:
    """One process per step costs five seconds a step here; the Definitions' executor must reach the jobs."""
    assert _definitions(SUNDAY).resolve_job_def("sync").executor_def is dg.in_process_executor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("hourly_sync", ["2026-10-28T00:00", "2026-10-28T01:00"]),
        ("daily_sync", ["2026-10-28T02:00", "2026-10-29T02:00"]),
        ("weekly_evidence", ["2026-11-01T03:00", "2026-11-08T03:00"]),
        ("weekly_housekeeping", ["2026-11-01T03:00", "2026-11-08T03:00"]),
        ("monthly_release", ["2026-11-01T04:00", "2026-12-01T04:00"]),
    ],
)
def test_schedules_tick_at_the_stated_times(schedule: str, expected: list[str]) -> None:
    """The operators' calendar names UTC times; a schedule in local time would drift twice a year."""
    definition = _definitions(SUNDAY).resolve_schedule_def(schedule)
    assert definition.execution_timezone == "UTC"
    ticks = _ticks(str(definition.cron_schedule), datetime(2026, 10, 28, tzinfo=UTC))
    assert [next(ticks).strftime("%Y-%m-%dT%H:%M") for _ in expected] == expected


def _ticks(cron: str, start: datetime) -> Iterator[datetime]:
    """Minutes that a plain cron line (numbers and stars) names, by going through all of them."""
    wanted = cron.split()
    moment = start
    while True:
        found = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
        if all(field in ("*", str(value)) for field, value in zip(wanted, found, strict=True)):
            yield moment
        moment += timedelta(minutes=1)


def test_all_schedules_are_covered_above_and_off_by_default() -> None:
    """A demonstration must not start work of its own at night; an operator turns schedules on."""
    automation = build_automation(switched_on=False, load_graph=no_lineage)
    assert {schedule.name for schedule in automation.schedules} == {timetable.name for timetable in TIMETABLES}
    assert len(TIMETABLES) == 5
    assert {schedule.default_status for schedule in automation.schedules} == {dg.DefaultScheduleStatus.STOPPED}
    assert {sensor.default_status for sensor in automation.sensors} == {dg.DefaultSensorStatus.STOPPED}
    switched_on = build_automation(switched_on=True, load_graph=no_lineage)
    assert {schedule.default_status for schedule in switched_on.schedules} == {dg.DefaultScheduleStatus.RUNNING}
    assert {sensor.default_status for sensor in switched_on.sensors} == {dg.DefaultSensorStatus.RUNNING}


def test_switch_takes_on_and_off_only() -> None:
    """A misspelt switch must not silently leave a production installation without its nightly runs."""
    assert is_switched_on({"MERAJUT_AUTOMATION": "on"})
    assert not is_switched_on({"MERAJUT_AUTOMATION": "off"})
    assert not is_switched_on({})
    with pytest.raises(SettingsError, match="MERAJUT_AUTOMATION"):
        is_switched_on({"MERAJUT_AUTOMATION": "true"})


@pytest.mark.parametrize(
    ("schedule", "moment", "partition"),
    [
        ("hourly_sync", datetime(2026, 11, 20, 23, 0, tzinfo=UTC), "2026-11-20"),
        ("daily_sync", datetime(2026, 11, 21, 2, 0, tzinfo=UTC), "2026-11-21"),
        ("weekly_evidence", datetime(2026, 11, 1, 3, 0, tzinfo=UTC), None),
        ("weekly_housekeeping", datetime(2026, 11, 1, 3, 0, tzinfo=UTC), None),
        ("monthly_release", datetime(2026, 11, 1, 4, 0, tzinfo=UTC), "2026-10"),
        ("monthly_release", datetime(2026, 1, 1, 4, 0, tzinfo=UTC), "2025-12"),
    ],
)
def test_tick_asks_for_the_partition_of_its_moment(schedule: str, moment: datetime, partition: str | None) -> None:
    """The release that starts on the first is of the month before, also over the turn of the year."""
    with dg.instance_for_test() as instance:
        data = _tick(schedule, moment, instance)
    assert [request.partition_key for request in data.run_requests or ()] == [partition]


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
@pytest.mark.parametrize("job", ["sync", "daily"])
def test_hourly_sync_waits_for_no_second_landing(job: str, status: dg.DagsterRunStatus) -> None:
    """Landings that take longer than an hour would otherwise pile up behind each other."""
    with dg.instance_for_test() as instance:
        _unfinished_run(instance, job, status)
        data = _tick("hourly_sync", SUNDAY, instance)
    assert not data.run_requests
    assert data.skip_message
    assert "1 run" in data.skip_message


def test_every_status_is_finished_or_not() -> None:
    """A queued run counts as one that waits; Dagster makes such runs only with a workspace."""
    finished = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    elsewhere = {dg.DagsterRunStatus.MANAGED}  # of deployments that Dagster's own cloud looks after
    assert set(UNFINISHED) == set(dg.DagsterRunStatus) - finished - elsewhere


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_hourly_sync_goes_on_after_a_finished_landing(status: dg.DagsterRunStatus) -> None:
    """One failed landing must not end all later ones."""
    with dg.instance_for_test() as instance:
        _unfinished_run(instance, "sync", status)
        assert len(_tick("hourly_sync", SUNDAY, instance).run_requests or ()) == 1


def test_daily_sync_is_asked_for_while_an_hourly_one_runs() -> None:
    """The evidence belongs to every day; the run queue, not the schedule, makes it wait for the hourly run."""
    with dg.instance_for_test() as instance:
        _unfinished_run(instance, "sync", dg.DagsterRunStatus.STARTED)
        assert len(_tick("daily_sync", SUNDAY, instance).run_requests or ()) == 1
        _unfinished_run(instance, "daily", dg.DagsterRunStatus.NOT_STARTED)
        assert not _tick("daily_sync", SUNDAY, instance).run_requests


def test_missed_ticks_are_not_made_up_for_but_missed_releases_are() -> None:
    """After a night without the daemon, twelve landings of the same sources would follow one another."""
    later = SUNDAY + timedelta(hours=5)
    with dg.instance_for_test() as instance:
        assert not _tick("hourly_sync", SUNDAY, instance, now=later).run_requests
        assert _tick("hourly_sync", SUNDAY, instance, now=SUNDAY + timedelta(minutes=10)).run_requests
        assert not _tick("daily_sync", SUNDAY, instance, now=SUNDAY + timedelta(days=1)).run_requests
        release = _tick("monthly_release", SUNDAY, instance, now=SUNDAY + timedelta(days=40))
    assert [request.partition_key for request in release.run_requests or ()] == ["2026-10"]


def test_requested_release_runs_to_its_end() -> None:
    """A request is worth something only if its partition key is one that the release's assets take."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = _definitions(SUNDAY).resolve_job_def(RELEASE.name)
        result = job.execute_in_process(instance=instance, partition_key="2026-10")
        assert result.success
        made = dg.AssetKey(["published", "government"])
        assert instance.get_latest_materialization_event(made).asset_materialization.partition == "2026-10"


def test_landing_of_a_day_makes_daily_and_unpartitioned_assets_together() -> None:
    """Raw is by day, conformed is not; one job must take both."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = _definitions(SUNDAY).resolve_job_def(SYNC.name)
        assert job.execute_in_process(instance=instance, partition_key="2026-11-01").success


def _requested(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: object, moment: datetime) -> object:
    return dg.evaluate_automation_conditions(definitions, instance=instance, cursor=cursor, evaluation_time=moment)


def test_conformed_condition_fires_once_per_landing() -> None:
    """`eager()` was tried and never fires over daily parents with gaps; this one must, and must then rest."""
    raw = _asset("raw", "panti", "children", partitions=ingest_partitions)
    key = dg.AssetKey(["conformed", "child"])

    @dg.asset(key=key, deps=[raw], automation_condition=FOLLOWS_LANDINGS)
    def child() -> None:
        pass

    definitions = dg.Definitions(assets=[raw, child])
    with dg.DagsterInstance.ephemeral() as instance:
        first = _requested(definitions, instance, None, SUNDAY)
        assert first.total_requested == 0
        dg.materialize([raw], instance=instance, partition_key="2026-11-01")
        second = _requested(definitions, instance, first.cursor, SUNDAY + timedelta(minutes=1))
        assert second.get_num_requested(key) == 1
        third = _requested(definitions, instance, second.cursor, SUNDAY + timedelta(minutes=2))
        assert third.total_requested == 0
