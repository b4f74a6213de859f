"""Storing a release: once, unchanged when built again, and judged beside the earlier ones about children."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.history import least_values
from merajut_assets.privacy.policy import Policy
from merajut_assets.protected import origins
from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.protected.contributors import contributors_table
from merajut_assets.protected.pipeline import UTILITY_REPORT, PrivacyRefused, ProtectedResult, entities_of
from merajut_assets.protected.release import (
    ReleaseChanged,
    examine_stored,
    flat_facts,
    read_release,
    release_dataset,
    stored_release,
    table_of,
)
from resources.facts import check_facts
from resources.lake import TableSchemaError
from resources.lakehouse import Lakehouse
from tests import evolved
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
    rows = read_release(lakehouse, contract, RELEASE, "test")
    version = lakehouse.lake.version(table_of(contract))
    store(lakehouse, withdrawn(entities, "child", "child0000", "research"))
    again = release_dataset(lakehouse, contract, policy, RELEASE)
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert read_release(lakehouse, contract, RELEASE, "test").equals(rows)
    assert lakehouse.lake.version(table_of(contract)) == version
    assert _events(lakehouse) == ["release"]


def _candidates(lakehouse: Lakehouse, contract: TableContract, columns: list[str], releases: list[str]) -> int:
    """The fewest children that any child cannot be told from by one who follows the pseudonyms."""
    published = [
        {row["child_pseudonym"]: tuple(row[name] for name in columns) for row in rows.iter_rows(named=True)}
        for rows in (read_release(lakehouse, contract, release, "test") for release in releases)
    ]
    children = {child for month in published for child in month}
    paths = {child: tuple(month.get(child) for month in published) for child in children}
    return min(Counter(paths.values()).values())


def test_a_second_release_about_children_is_judged_beside_the_first(lakehouse: Lakehouse) -> None:
    """Two releases that are safe by themselves could be intersected to fewer than k children: here a fifth of the
    children has left, some have come, and all of it is known to the attacker."""
    contract, policy = _of("government", "child_summary")
    privacy = policy.microdata["child_summary"].privacy
    eased = privacy.model_copy(update={"repeated_suppression_limit": 0.9, "presence": "known"})
    policy = _with_privacy(policy, "child_summary", eased)
    release_dataset(lakehouse, contract, policy, RELEASE)
    grown = world(children=300)
    left = pl.col("child_token").is_in([f"child{number:04d}" for number in range(0, 240, 5)])
    store(lakehouse, {**grown, "child": grown["child"].filter(~left)})
    facts = release_dataset(lakehouse, contract, policy, NEXT_RELEASE)
    assert facts["candidates"] >= privacy.k
    assert _candidates(lakehouse, contract, privacy.class_columns, [RELEASE, NEXT_RELEASE]) >= privacy.k
    assert examine_stored(lakehouse, contract, policy, NEXT_RELEASE).is_safe
    assert _events(lakehouse) == ["release", "release"]


def test_a_second_release_that_undoes_the_first_is_refused(lakehouse: Lakehouse) -> None:
    """Two children have left, and nobody may be left out to keep them company: the past forbids the release."""
    contract, policy = _of("government", "child_summary")
    everybody = policy.microdata["child_summary"].privacy.model_copy(
        update={"suppression_limit": 0.0, "repeated_suppression_limit": None, "presence": "known"}
    )
    policy = _with_privacy(policy, "child_summary", everybody)
    release_dataset(lakehouse, contract, policy, RELEASE)
    version = lakehouse.lake.version(table_of(contract))
    grown = world()
    left = pl.col("child_token").is_in(["child0000", "child0001"])
    store(lakehouse, {**grown, "child": grown["child"].filter(~left)})
    with pytest.raises(PrivacyRefused, match="beside the earlier releases"):
        release_dataset(lakehouse, contract, policy, NEXT_RELEASE)
    assert lakehouse.lake.version(table_of(contract)) == version
    assert _events(lakehouse) == ["release", "refusal"]


def test_releases_that_undo_each_other_turn_the_check_red(lakehouse: Lakehouse) -> None:
    """The check counts from what the ledger remembers, by other code than that which left rows out."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    assert examine_stored(lakehouse, contract, policy, RELEASE).is_safe
    known = lakehouse.ledger.child_classes("academia", "research_child")
    crossed = known.drop("release").with_columns(pl.int_range(pl.len()).cast(pl.String).alias("class"))
    lakehouse.ledger.register_child_release("academia", "research_child", NEXT_RELEASE, "d", 10, crossed)
    violations = examine_stored(lakehouse, contract, policy, RELEASE).violations
    assert any("candidates" in violation for violation in violations)


def test_rows_that_the_ledger_does_not_remember_turn_the_check_red(lakehouse: Lakehouse) -> None:
    """A ledger from before the release would let the next one be judged beside nothing."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    known = lakehouse.ledger.child_classes("academia", "research_child").drop("release")
    lakehouse.ledger.register_child_release("academia", "research_child", RELEASE, "d", 10, known.head(20))
    violations = examine_stored(lakehouse, contract, policy, RELEASE).violations
    assert any("does not know" in violation for violation in violations)


def _with_privacy(policy: StakeholderPolicy, name: str, privacy: Policy) -> StakeholderPolicy:
    dataset = policy.microdata[name].model_copy(update={"privacy": privacy})
    return policy.model_copy(update={"datasets": {**policy.datasets, name: dataset}})


@pytest.mark.parametrize("limit", ["linkage.share_right", "prosecutor.highest"])
def test_a_release_above_a_limit_of_risk_is_refused(lakehouse: Lakehouse, limit: str) -> None:
    """A stakeholder's limit that is measured and not kept protects nobody."""
    contract, policy = _of("academia", "research_child")
    facts = release_dataset(lakehouse, contract, policy, RELEASE)
    figure = facts[f"risk_{limit.replace('.', '_')}"]
    assert 0 < figure <= policy.microdata["research_child"].risk_limits[limit]
    strict = policy.microdata["research_child"].model_copy(update={"risk_limits": {limit: figure / 2}})
    policy = policy.model_copy(update={"datasets": {**policy.datasets, "research_child": strict}})
    with pytest.raises(PrivacyRefused, match=limit):
        release_dataset(lakehouse, contract, policy, NEXT_RELEASE)


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
    first = read_release(lakehouse, contract, RELEASE, "test")
    class_columns = policy.microdata["research_child"].privacy.class_columns
    its_class = pl.all_horizontal(pl.col(name) == first.item(0, name) for name in class_columns)
    store(lakehouse, world(seed=8))
    _erased(lakehouse, contract, its_class)
    stored = stored_release(lake, table_of(contract), RELEASE)
    assert stored is not None
    assert not stored.is_current
    assert release_dataset(lakehouse, contract, policy, RELEASE)["is_new"]
    assert (
        read_release(lakehouse, contract, RELEASE, "test")
        .sort("child_pseudonym")
        .equals(first.filter(~its_class).sort("child_pseudonym"))
    )
    assert examine_stored(lakehouse, contract, policy, RELEASE).is_safe
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
    rows = read_release(lakehouse, contract, RELEASE, "test")
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
        seen.append(set(read_release(lakehouse, contract, RELEASE, "test")[contract.key[0]]))
    assert not seen[0] & seen[1]


def test_what_is_logged_about_a_release_names_no_value(lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]) -> None:
    """Facts reach logs, metadata and the Delta log in clear: counts and names only."""
    contract, policy = _of("government", "child_summary")
    facts = release_dataset(lakehouse, contract, policy, RELEASE)
    told = json.dumps([facts, *lakehouse.audit.entries()])
    rows = read_release(lakehouse, contract, RELEASE, "test")
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
    plant(lakehouse, table_of(contract), read_release(lakehouse, contract, RELEASE, "test"))  # type: ignore[operator]
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


def test_a_sum_of_squares_with_the_shape_of_a_phone_number_stops_no_release() -> None:
    """Facts that look personal are refused; a release of a certain size would have failed for good."""
    report = {"utility": {"discernibility": 628123456789, "discernibility_share": 0.812346, "average_class": 62812.35}}
    facts = flat_facts(ProtectedResult(pl.DataFrame(), report))
    check_facts(facts, "test")
    assert json.loads(str(facts[UTILITY_REPORT])) == {"discernibility_share": 0.812346, "average_class": 62812.35}


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


# ── a contract that has changed ──────────────────────────────────────────────────────────


def _know(monkeypatch: pytest.MonkeyPatch, contract: TableContract) -> TableContract:
    """Let the code make the new column of a changed contract."""

    def with_origins(frame: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return evolved.noted(origins.with_origins(frame, *rest), contract)

    monkeypatch.setattr("merajut_assets.protected.pipeline.with_origins", with_origins)
    return contract


@pytest.mark.parametrize("nullable", [True, False])
def test_the_next_release_has_a_column_that_was_declared_since(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, nullable: bool
) -> None:
    """No dataset of a data directory from before `data_origin` was declared could be released any more."""
    contract, policy = _of("government", "child_summary")
    release_dataset(lakehouse, contract, policy, RELEASE)
    now = _know(monkeypatch, evolved.gaining(contract, nullable=nullable))
    assert release_dataset(lakehouse, now, policy, NEXT_RELEASE)["is_new"]
    noted = lakehouse.lake.read(table_of(contract)).group_by("release").agg(pl.col(evolved.NOTE).unique())
    assert dict(noted.iter_rows()) == {RELEASE: [None], NEXT_RELEASE: [evolved.TEXT]}
    assert examine_stored(lakehouse, now, policy, NEXT_RELEASE).is_safe
    first = stored_release(lakehouse.lake, table_of(contract), RELEASE)
    assert first is not None
    assert first.is_current, "what is stored of the first release was not rewritten"


def test_stored_rows_take_on_a_column_that_may_be_empty(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that gained a column passed for another policy, so that no mart could be added to a release about
    children any more. They are the very rows, and no other revision of them."""
    contract, policy = _of("government", "child_summary")
    release_dataset(lakehouse, contract, policy, RELEASE)
    rows, known = read_release(lakehouse, contract, RELEASE, "test"), lakehouse.ledger.child_releases("government")
    now = _know(monkeypatch, evolved.gaining(contract))
    assert release_dataset(lakehouse, now, policy, RELEASE)["is_new"]
    stored = lakehouse.lake.read(table_of(contract)).drop("release")
    assert stored[evolved.NOTE].null_count() == stored.height
    assert stored.select(rows.columns).equals(rows)
    assert lakehouse.ledger.child_releases("government") == known
    assert not release_dataset(lakehouse, now, policy, RELEASE)["is_new"], "once"


def test_stored_rows_that_do_not_fit_the_contract_are_refused_by_name(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not made anew, and what the contract forbids to be empty cannot be made up."""
    contract, policy = _of("academia", "research_child")
    release_dataset(lakehouse, contract, policy, RELEASE)
    now = _know(monkeypatch, evolved.gaining(contract, nullable=False))
    with pytest.raises(
        TableSchemaError, match=f"{table_of(contract)}, release {RELEASE}: stored without {evolved.NOTE}"
    ):
        release_dataset(lakehouse, now, policy, RELEASE)


def test_a_column_less_is_refused_before_anything_is_registered(lakehouse: Lakehouse) -> None:
    """The ledger remembered a release that was then not stored, and judged all later ones beside it."""
    contract, policy = _of("government", "child_summary")
    release_dataset(lakehouse, contract, policy, RELEASE)
    known, tables = lakehouse.ledger.child_releases("government"), lakehouse.lake.tables()
    now = evolved.losing(contract, "placements")
    with pytest.raises(
        TableSchemaError, match=f"columns of {table_of(contract)} changed .missing placements.*contract"
    ):
        release_dataset(lakehouse, now, policy, NEXT_RELEASE)
    assert lakehouse.ledger.child_releases("government") == known
    assert lakehouse.lake.tables() == tables
    assert lakehouse.lake.version(table_of(contract)) == 0


def test_cells_by_other_keys_are_not_compared_with_what_was_published(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that were split by one more key match none of the published ones, whose difference from them could then be
    taken: what fewer than k children are behind would be shown without anybody noticing."""
    contract, policy = _of("government", "incident_summary")
    release_dataset(lakehouse, contract, policy, RELEASE)
    assert lakehouse.lake.rows(contributors_table(contract))
    version = lakehouse.lake.version(contributors_table(contract))
    now = _know(monkeypatch, evolved.gaining(contract, key=True))
    with pytest.raises(TableSchemaError, match=f"{contributors_table(contract)}: .* cannot be compared"):
        release_dataset(lakehouse, now, policy, NEXT_RELEASE)
    assert lakehouse.lake.version(contributors_table(contract)) == version


def test_a_sensitive_column_that_came_later_binds_the_releases_that_show_it(lakehouse: Lakehouse) -> None:
    """What a release did not show cannot be learned from it, and the next one was refused for want of it."""
    contract, policy = _of("government", "child_summary")
    privacy = policy.microdata["child_summary"].privacy
    later = next(iter(least_values(privacy)))
    rule = privacy.sensitive[later].model_copy(update={"l_diversity": None})
    before = privacy.model_copy(update={"sensitive": {**privacy.sensitive, later: rule}})
    release_dataset(lakehouse, contract, _with_privacy(policy, "child_summary", before), RELEASE)
    release_dataset(lakehouse, contract, policy, NEXT_RELEASE)
    evidence = examine_stored(lakehouse, contract, policy, NEXT_RELEASE)
    assert evidence.is_safe
    assert evidence.facts["candidate_values"][later] >= least_values(privacy)[later]
