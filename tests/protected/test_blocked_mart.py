"""A protected table that is looser than its policy goes no further, by the real release job."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from merajut_assets.automation.jobs import RELEASE as RELEASE_JOB
from merajut_assets.contracts import registry
from merajut_assets.definitions import build_defs
from merajut_assets.marts.project import prepare_manifest
from merajut_assets.protected.release import read_release, stored_release, table_of
from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import RELEASE

KEY = dg.AssetKey(["protected", "government", "child_summary"])


def _release(lakehouse: Lakehouse, instance: dg.DagsterInstance, *prefixes: str) -> dg.ExecuteInProcessResult:
    """Run the release job for the government's assets under `prefixes`, with their checks."""
    definitions = build_defs({"lakehouse": lakehouse})
    job = definitions.resolve_job_def(RELEASE_JOB.name)
    selected = [
        key for key in job.asset_layer.selected_asset_keys if key.path[0] in prefixes and "government" in key.path
    ]
    return job.execute_in_process(
        instance=instance, partition_key=RELEASE, asset_selection=selected, raise_on_error=False
    )


def _planted_looser(lakehouse: Lakehouse) -> None:
    """The stored rows with one child's region told, under the facts of the sound release: as nobody would notice."""
    contract = registry.protected_dataset("government", "child_summary")
    stored = stored_release(lakehouse.lake, table_of(contract), RELEASE)
    assert stored is not None
    rows = read_release(lakehouse, contract, RELEASE, "test")
    told = pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("32.04")).otherwise("region_code").alias("region_code")
    lakehouse.lake.overwrite(
        table_of(contract), rows.with_columns(told), partition={"release": RELEASE}, facts=stored.facts
    )


@pytest.mark.slow
def test_a_looser_table_planted_in_the_store_blocks_the_mart(lakehouse: Lakehouse) -> None:
    """The asset leaves a release that is complete as it is, so that the check alone stands before the marts."""
    prepare_manifest()
    with dg.DagsterInstance.ephemeral() as instance:
        sound = _release(lakehouse, instance, "protected")
        assert sound.success
        assert all(evaluation.passed for evaluation in sound.get_asset_check_evaluations())
        _planted_looser(lakehouse)
        blocked = _release(lakehouse, instance, "protected", "mart", "published")
        logged = instance.all_logs(blocked.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        planned = [entry.get_dagster_event().asset_key for entry in logged]
    failed = [evaluation for evaluation in blocked.get_asset_check_evaluations() if not evaluation.passed]
    assert [evaluation.asset_key for evaluation in failed] == [KEY]
    assert failed[0].blocking
    assert "k" in str(failed[0].metadata["violations"].value)
    assert not blocked.success
    made = {event.asset_key.path[0] for event in blocked.get_asset_materialization_events() if event.asset_key}
    assert made == {"protected"}
    assert {"mart", "published"} <= {key.path[0] for key in planned if key}
    assert lakehouse.warehouse.released() is None
    assert lakehouse.publisher.list("government") == []
