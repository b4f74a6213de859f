"""Storing a release: once, unchanged when built again, and never a second one about children."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.protected.pipeline import PrivacyRefused, entities_of
from merajut_assets.protected.release import (
    ReleaseChanged,
    examine_stored,
    read_release,
    release_dataset,
    stored_release,
    table_of,
)
from resources.lakehouse import Lakehouse
from resources.ledger import RepeatedReleaseRefused
from tests.protected.conformed_world import RELEASE, store, withdrawn, world

NEXT_RELEASE = "2026-10"


def _of(stakeholder: str, name: str) -> tuple[TableContract, StakeholderPolicy]:
    return registry.protected_dataset(stakeholder, name), stakeholder_policies()[stakeholder]


def _events(lakehouse: Lakehouse) -> list[str]:
    return [entry["event"] for entry in lakehouse.audit.entries() if entry["event"] != "decryption"]


def test_a_release_built_again_is_left_as_it_is(lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]) -> None:
    """Newer data must not change a release that was pinned, and a re-run writes nothing."""
    contract, policy = _of("academia", "research_child")
    first = release_dataset(lakehouse, contract, policy, RELEASE)
    rows = read_release(lakehouse.lake, contract, RELEASE)
    version = lakehouse.lake.version(table_of(contract))
    store(lakehouse, withdrawn(entities, "child", "child0000", "research"))
    again = release_dataset(lakehouse, contract, policy, RELEASE)
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert read_release(lakehouse.lake, contract, RELEASE).equals(rows)
    assert lakehouse.lake.version(table_of(contract)) == version
    assert _events(lakehouse) == ["release"]


def test_a_second_release_about_children_is_refused_before_anything_is_written(lakehouse: Lakehouse) -> None:
    """Two releases could be intersected to fewer than k children."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    version = lakehouse.lake.version(table_of(contract))
    with pytest.raises(RepeatedReleaseRefused):
        release_dataset(lakehouse, contract, policy, NEXT_RELEASE)
    assert lakehouse.lake.version(table_of(contract)) == version
    assert _events(lakehouse) == ["release", "refusal"]


def test_figures_about_groups_are_released_every_month(lakehouse: Lakehouse) -> None:
    """The rule is about rows of children, and must not stop the other datasets."""
    for stakeholder, name in (("government", "incident_summary"), ("community", "volunteer_engagement")):
        contract, policy = _of(stakeholder, name)
        for release in (RELEASE, NEXT_RELEASE):
            assert release_dataset(lakehouse, contract, policy, release)["is_new"]
        assert len(lakehouse.lake.partitions(table_of(contract))) == 2


def test_rows_about_children_are_not_released_again_under_another_policy(lakehouse: Lakehouse) -> None:
    """Two versions of one release can be intersected as well as two releases."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    changed = policy.model_copy(update={"consent_purpose": "statistics"})
    with pytest.raises(ReleaseChanged, match="another policy"):
        release_dataset(lakehouse, contract, changed, RELEASE)


def _erased(lakehouse: Lakehouse, contract: TableContract, rows: pl.Expr) -> None:
    """What an erasure does: a child leaves conformed, whole classes leave protected, older files are destroyed."""
    for entity in ("child", "health_record", "education_record"):
        lakehouse.lake.delete_where(f"conformed/{entity}", pl.col("child_token") == "child0000")
        lakehouse.lake.vacuum(f"conformed/{entity}")
    lakehouse.lake.delete_where(table_of(contract), rows)


def test_after_an_erasure_what_is_left_stays_and_nothing_is_made_anew(lakehouse: Lakehouse) -> None:
    """Made anew from newer data it was a second release of the same children: joined on the pseudonym, classes of
    ten shrank to one."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    lake = lakehouse.lake
    first = read_release(lake, contract, RELEASE)
    class_columns = policy.microdata["research_child"].privacy.class_columns
    its_class = pl.all_horizontal(pl.col(name) == first.item(0, name) for name in class_columns)
    store(lakehouse, world(seed=8))
    _erased(lakehouse, contract, its_class)
    stored = stored_release(lake, table_of(contract), RELEASE)
    assert stored is not None
    assert not stored.is_current
    assert release_dataset(lakehouse, contract, policy, RELEASE)["is_new"]
    assert (
        read_release(lake, contract, RELEASE)
        .sort("child_pseudonym")
        .equals(first.filter(~its_class).sort("child_pseudonym"))
    )
    assert examine_stored(lake, contract, policy, RELEASE).is_safe
    assert [entry.revision for entry in lakehouse.ledger.child_releases("academia")] == [1, 2]
    assert not release_dataset(lakehouse, contract, policy, RELEASE)["is_new"]


def test_a_release_of_which_an_erasure_left_nothing_is_not_made_again(lakehouse: Lakehouse) -> None:
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    _erased(lakehouse, contract, pl.lit(True))
    with pytest.raises(PrivacyRefused, match="not made anew"):
        release_dataset(lakehouse, contract, policy, RELEASE)


def test_what_an_erasure_left_is_measured_and_not_believed(lakehouse: Lakehouse) -> None:
    """An erasure that took one row out of a class of k and no more must not be published."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    rows = read_release(lakehouse.lake, contract, RELEASE)
    class_columns = list(policy.microdata["research_child"].privacy.class_columns)
    smallest = rows.group_by(class_columns).agg(pl.col("child_pseudonym")).sort(pl.col("child_pseudonym").list.len())
    most_of_it = smallest["child_pseudonym"][0].to_list()[:-1]
    _erased(lakehouse, contract, pl.col("child_pseudonym").is_in(most_of_it))
    with pytest.raises(PrivacyRefused, match="not made anew"):
        release_dataset(lakehouse, contract, policy, RELEASE)


def test_pseudonyms_of_a_stakeholder_differ_between_datasets_and_stakeholders(lakehouse: Lakehouse) -> None:
    """Datasets that are not verified on their join must not be joinable."""
    names = [("academia", "research_child"), ("government", "child_summary")]
    seen: list[set[str]] = []
    for stakeholder, name in names:
        contract, policy = _of(stakeholder, name)
        release_dataset(lakehouse, contract, policy, RELEASE)
        seen.append(set(read_release(lakehouse.lake, contract, RELEASE)[contract.key[0]]))
    assert not seen[0] & seen[1]


def test_what_is_logged_about_a_release_names_no_value(lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]) -> None:
    """Facts reach logs, metadata and the Delta log in clear: counts and names only."""
    contract, policy = _of("government", "child_summary")
    facts = release_dataset(lakehouse, contract, policy, RELEASE)
    told = json.dumps([facts, *lakehouse.audit.entries()])
    rows = read_release(lakehouse.lake, contract, RELEASE)
    assert not any(pseudonym in told for pseudonym in rows["child_pseudonym"])
    assert not any(token in told for token in entities["child"]["child_token"])
    assert facts["k"] >= 5
    assert facts["level_sex"] in (0, 1)


# ── through Dagster ──────────────────────────────────────────────────────────────────────


def _run(key: list[str], job: str, lakehouse: Lakehouse) -> dg.ExecuteInProcessResult:
    """Run the asset with its check ("build"), or the check alone ("check")."""
    checks = dg.AssetSelection.checks_for_assets(dg.AssetKey(key))
    definitions = dg.Definitions(
        assets=build_protected_assets(),
        resources={"lakehouse": lakehouse},
        jobs=[
            dg.define_asset_job("build", dg.AssetSelection.assets(dg.AssetKey(key)) | checks),
            dg.define_asset_job("check", checks),
        ],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(job).execute_in_process(
            instance=instance, tags={"dagster/partition": RELEASE}, raise_on_error=False
        )


def _plant_column(lakehouse: Lakehouse, table: str, rows: pl.DataFrame) -> None:
    lakehouse.lake.overwrite(table, rows.with_columns(pl.lit("x").alias("full_name")), partition={"release": RELEASE})


def _plant_single(lakehouse: Lakehouse, table: str, rows: pl.DataFrame) -> None:
    single = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("99")).otherwise("region_code").alias("region_code")
    lakehouse.lake.overwrite(table, rows.with_columns(single), partition={"release": RELEASE})


@pytest.mark.parametrize("plant", [_plant_column, _plant_single])
def test_a_leak_planted_in_the_stored_table_turns_the_check_red(lakehouse: Lakehouse, plant: object) -> None:
    """The check reads what is stored, so that it finds what got in behind the pipeline's back."""
    key = ["protected", "academia", "research_child"]
    built = _run(key, "build", lakehouse)
    assert built.success
    assert [evaluation.passed for evaluation in built.get_asset_check_evaluations()] == [True]
    contract, _ = _of("academia", "research_child")
    plant(lakehouse, table_of(contract), read_release(lakehouse.lake, contract, RELEASE))  # type: ignore[operator]
    (evaluation,) = _run(key, "check", lakehouse).get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.blocking
    assert evaluation.metadata["violations"].value != "none"


def test_an_asset_says_how_it_protects(lakehouse: Lakehouse) -> None:
    """Compliance staff read in the metadata what came in, what went out, and which k was reached."""
    result = _run(["protected", "government", "child_summary"], "build", lakehouse)
    (materialization,) = result.asset_materializations_for_node("protected__government__child_summary")
    said = materialization.metadata
    assert said["privacy_step"].value == "generalise"
    assert {
        "rows_in",
        "excluded",
        "suppressed",
        "rows",
        "k",
        "loss",
        "l_reason_for_care",
        "level_sex",
        "seconds",
    } <= set(said)


def test_definitions_touch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the code location must not make folders, keys or databases."""
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path / "data"))
    build_protected_assets()
    assert not (tmp_path / "data").exists()
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def test_every_entity_that_was_opened_is_in_the_audit_log(
    lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]
) -> None:
    """Who asks what a release was made of finds each decryption, with its table."""
    contract, policy = _of("government", "child_summary")
    release_dataset(lakehouse, contract, policy, RELEASE)
    opened = {entry["facts"]["table"] for entry in lakehouse.audit.entries() if entry["event"] == "decryption"}
    assert opened == {f"conformed/{entity}" for entity in entities_of(contract)}


def test_a_lost_ledger_does_not_allow_a_second_release(lakehouse: Lakehouse) -> None:
    """Restoring everything but the ledger once forgot what a stakeholder had already got."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    for file in lakehouse.settings.ledger.parent.iterdir():
        file.unlink()
    with pytest.raises(PrivacyRefused, match="restore the ledger"):
        release_dataset(lakehouse, contract, policy, NEXT_RELEASE)
