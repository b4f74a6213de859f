"""Runs that died are closed, old records go, and the instance is as dagster.yaml says."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from merajut_assets.automation import runs
from merajut_assets.automation.housekeeping import housekeeping
from merajut_assets.automation.instance import (
    POOL_LIMITS,
    WAREHOUSE_POOL,
    ensure_pool_limits,
    open_instance,
    prepare_dagster_home,
)
from merajut_assets.automation.jobs import EXCLUSIVE_TAG
from merajut_assets.automation.runs import close_abandoned_runs, obsolete_runs, process_tags
from resources.lakehouse import Lakehouse
from resources.settings import REPOSITORY, Settings


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # restored afterwards: opening sets it
    with open_instance(Settings(data_directory=tmp_path)) as opened:
        yield opened


@dg.job
def anything() -> None:
    pass


# ── instance ─────────────────────────────────────────────────────────────────────────────


def test_instance_has_telemetry_off_retention_set_and_a_warehouse_pool_of_one(instance: dg.DagsterInstance) -> None:
    """The file is only a wish until Dagster has taken it; keys that it does not know it refuses."""
    assert instance.telemetry_enabled is False
    assert instance.run_monitoring_enabled
    assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == {WAREHOUSE_POOL: 1} == POOL_LIMITS
    configured = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    kept = [days for section in configured["retention"].values() for days in section["purge_after_days"].values()]
    assert min(kept) > 0  # -1 would mean for ever
    queue = configured["concurrency"]["runs"]["tag_concurrency_limits"]
    assert queue == [{"key": EXCLUSIVE_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]


def test_home_takes_over_a_changed_file_and_pool_limits_are_mended(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """After an update of the repository, the instance must not go on with the old settings."""
    present = tmp_path / "dagster" / "dagster.yaml"
    present.write_text("telemetry: {enabled: true}\n")
    prepare_dagster_home(Settings(data_directory=tmp_path))
    assert present.read_bytes() == (REPOSITORY / "dagster.yaml").read_bytes()
    instance.event_log_storage.set_concurrency_slots(WAREHOUSE_POOL, 5)
    ensure_pool_limits(instance)
    assert {pool.limit for pool in instance.event_log_storage.get_pool_limits()} == {1}


_WRITER = """
import sys, time
import dagster as dg
from pathlib import Path
from merajut_assets.automation.instance import WAREHOUSE_POOL, open_instance
from resources.settings import Settings

data, is_first = Path(sys.argv[1]), sys.argv[2] == "first"

@dg.asset(pool=WAREHOUSE_POOL)
def written():
    began = time.time()
    if is_first:
        (data / "begun").touch()
        while not (data / "asking").exists():
            time.sleep(0.05)
        time.sleep(3)
    print(began, time.time())

with open_instance(Settings(data_directory=data)) as instance:
    if not is_first:
        (data / "asking").touch()
    dg.materialize([written], instance=instance)
"""


@pytest.mark.slow
def test_warehouse_writers_of_two_runs_do_not_overlap(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A DuckDB file has one writer; a pool that the in-process executor ignored would be decoration.

    Two processes, because two runs in threads of one process block each other in Dagster's set-up of logging. The
    second begins while the first holds the slot: two that ask in the same instant can both get it from SQLite, and
    then it is the warehouse's own lock that parts them.
    """

    def start(turn: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _WRITER, str(tmp_path), turn]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY)

    writers = [start("first")]
    ends = time.monotonic() + 120
    while not (tmp_path / "begun").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    writers.append(start("second"))
    outputs = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    spans = sorted(tuple(float(moment) for moment in output.split()[-2:]) for output in outputs)
    assert spans[1][0] >= spans[0][1]


# ── dead runs ────────────────────────────────────────────────────────────────────────────


def _tags_of_dead_process() -> dict[str, str]:
    """As a run leaves them whose process is gone."""
    script = "import json; from merajut_assets.automation.runs import process_tags; print(json.dumps(process_tags()))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return yaml.safe_load(output.stdout)


@pytest.mark.slow
def test_run_of_a_killed_process_is_closed_and_gives_its_slot_back(instance: dg.DagsterInstance) -> None:
    """Otherwise the next run would wait for the warehouse for ever, and no hourly sync would start again."""
    dead = instance.create_run_for_job(anything, tags=_tags_of_dead_process(), status=dg.DagsterRunStatus.STARTED)
    alive = instance.create_run_for_job(anything, tags=dict(process_tags()), status=dg.DagsterRunStatus.STARTED)
    foreign = {**_tags_of_dead_process(), runs.HOST_TAG: "another-machine"}
    elsewhere = instance.create_run_for_job(anything, tags=foreign, status=dg.DagsterRunStatus.STARTED)
    untagged = instance.create_run_for_job(anything, status=dg.DagsterRunStatus.STARTED)
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot(WAREHOUSE_POOL, dead.run_id, "step").is_claimed
    assert not storage.claim_concurrency_slot(WAREHOUSE_POOL, alive.run_id, "step").is_claimed

    assert close_abandoned_runs(instance) == [dead.run_id]

    assert instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE
    for run in (alive, elsewhere, untagged):
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED
    assert storage.claim_concurrency_slot(WAREHOUSE_POOL, alive.run_id, "step").is_claimed
    assert close_abandoned_runs(instance) == []


def test_a_process_number_given_out_again_is_another_process(instance: dg.DagsterInstance) -> None:
    """Numbers come round; a stranger's process must not keep a dead run alive."""
    number = process_tags()[runs.PROCESS_TAG].partition("@")[0]
    tags = {**process_tags(), runs.PROCESS_TAG: f"{number}@1"}
    run = instance.create_run_for_job(anything, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert close_abandoned_runs(instance) == [run.run_id]


# ── old runs ─────────────────────────────────────────────────────────────────────────────


def test_old_runs_go_except_those_that_made_what_still_stands(instance: dg.DagsterInstance) -> None:
    """Removing a run removes its events, and with them the record that a release was ever made."""
    days = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset
    def plain() -> None:
        pass

    @dg.asset(partitions_def=days)
    def daily() -> None:
        pass

    def made(asset: dg.AssetsDefinition, partition: str | None = None) -> str:
        return dg.materialize([asset], instance=instance, partition_key=partition).run_id

    replaced, standing = made(plain), made(plain)
    replaced_part, other_part, standing_part = made(daily, "a"), made(daily, "b"), made(daily, "a")
    empty = anything.execute_in_process(instance=instance).run_id
    active = instance.create_run_for_job(anything, status=dg.DagsterRunStatus.STARTED).run_id
    future = datetime.now(UTC) + timedelta(seconds=5)
    assert set(obsolete_runs(instance, future)) == {replaced, replaced_part, empty}
    assert list(obsolete_runs(instance, future - timedelta(days=1))) == []
    assert {standing, other_part, standing_part, active} <= {run.run_id for run in instance.get_runs()}


def test_obsolete_runs_are_found_beyond_one_page(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of hourly runs is more than one page of them."""
    monkeypatch.setattr(runs, "_RUNS_PER_QUERY", 2)
    expected = {instance.create_run_for_job(anything, status=dg.DagsterRunStatus.FAILURE).run_id for _ in range(5)}
    assert set(obsolete_runs(instance, datetime.now(UTC) + timedelta(seconds=5))) == expected


def test_housekeeping_removes_nothing_younger_than_it_is_told(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """The job itself, with its default of ninety days, over runs of today."""
    kept = anything.execute_in_process(instance=instance).run_id
    lakehouse = Lakehouse(data_directory=str(tmp_path))
    result = housekeeping.execute_in_process(instance=instance, resources={"lakehouse": lakehouse})
    assert result.output_for_node("remove_old_runs") == 0
    assert instance.get_run_by_id(kept) is not None


def test_originals_outlive_the_dispute_window_and_no_longer(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """They hold people in clear under one key; nothing but this destroys them."""
    lakehouse = Lakehouse(data_directory=str(tmp_path))
    today = datetime.now(UTC).date()
    window = timedelta(days=lakehouse.settings.dispute_window_days)
    lakehouse.lake.keep_original("hris", "employees", b"old", received=today - window - timedelta(days=1))
    young = lakehouse.lake.keep_original("hris", "employees", b"young", received=today - window)
    result = housekeeping.execute_in_process(instance=instance, resources={"lakehouse": lakehouse})
    assert result.output_for_node("destroy_old_originals") == 1
    assert lakehouse.lake.originals("hris", "employees") == [young]
    assert [entry["event"] for entry in lakehouse.audit.entries()] == ["originals_destroyed"]
