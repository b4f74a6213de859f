"""The marts and publications as Dagster assets: who they are, what they tell, and when they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from merajut_assets.marts import dbt as mart_assets
from merajut_assets.marts.dbt import dbt_resource
from merajut_assets.marts.project import load_manifest, stakeholder_marts
from merajut_assets.marts.publication_log import RELEASED, is_logged, log_released, logged_publications
from merajut_assets.marts.published import (
    RELEASED_KEY,
    describe,
    publish,
    verify,
)
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import Lakehouse
from resources.verifications import record_verification
from tests.marts.support.mini_warehouse import RELEASE, events_of, release_frames, store_verified

CHILDREN = "protected/academia/research_child"
RESEARCH = [dg.AssetKey(["mart", "academia", "research_dataset"])]
PLANTED = "planted"


@pytest.fixture
def materialise(marts, published, lakehouse):
    """Makes the whole release, or a selection of it, of a lakehouse."""

    def run(over: Lakehouse | None = None, **options: object) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [marts, *published],
                resources={"lakehouse": over or lakehouse, "dbt": dbt_resource()},
                partition_key=RELEASE,
                instance=instance,
                **options,
            )

    return run


def of_media(manifest_path: Path) -> list:
    return stakeholder_marts(load_manifest(manifest_path))["media"]


# ── what the graph says ──────────────────────────────────────────────────────────────────


def test_models_have_the_key_and_group_of_their_layer(marts) -> None:
    groups = {spec.key.to_user_string(): spec.group_name for spec in marts.specs}
    assert groups["mart/government/compliance_reporting"] == "government"
    assert groups["warehouse/dim_region"] == "warehouse"
    assert {key.split("/")[0] for key in groups} == {"mart", "warehouse"}


def test_models_depend_on_the_protected_assets_by_their_keys(marts) -> None:
    """A key that nobody else uses would cut the graph in two, and with it the lineage proof."""
    deps = {dep.asset_key.to_user_string() for spec in marts.specs for dep in spec.deps}
    assert "protected/government/child_summary" in deps
    assert "statistics/business/outcome_by_programme" in deps
    assert {key.split("/")[0] for key in deps} == {"protected", "statistics", "warehouse"}


def test_every_asset_is_described_owned_tagged_and_checked(marts, published) -> None:
    for definition in (marts, *published):
        for spec in definition.specs:
            name = spec.key.to_user_string()
            assert spec.description, name
            assert all(owner.startswith("team:") for owner in spec.owners), name
            assert spec.owners, name
            assert "sensitivity" in spec.tags, name
            assert "duckdb" in spec.kinds, name
    checked = {check.asset_key for definition in (marts, *published) for check in definition.check_specs}
    assert checked | {RELEASED_KEY} == {spec.key for definition in (marts, *published) for spec in definition.specs}
    for definition in (marts, *published):
        assert all(check.blocking and check.description for check in definition.check_specs)


def test_column_schema_and_lineage_are_known_before_any_run(marts) -> None:
    for spec in marts.specs:
        columns = {column.name for column in spec.metadata["dagster/column_schema"].columns}
        assert set(spec.metadata["dagster/column_lineage"].deps_by_column) == columns


def test_steps_that_withhold_say_so(marts) -> None:
    steps = {spec.key.path[-1]: spec.metadata.get("privacy_step") for spec in marts.specs}
    assert steps["compliance_reporting"] == "disclosure_control"
    assert steps["dim_region"] is None


def test_publications_wait_for_their_marts(published) -> None:
    deps = {
        key: {d.asset_key for d in spec.deps}
        for definition in published
        for spec in definition.specs
        for key in [spec.key.to_user_string()]
    }
    assert deps["published/media"] == {dg.AssetKey(["mart", "media", "campaign_metrics"])}
    assert dg.AssetKey(["mart", "academia", "research_dataset"]) in deps["warehouse/released"]


def test_publications_show_their_columns_and_where_they_come_from(marts, published) -> None:
    """The lineage proof ended one step before what a stakeholder really gets."""
    columns = {
        spec.key: {column.name for column in spec.metadata["dagster/column_schema"].columns} for spec in marts.specs
    }
    for definition in published:
        for spec in definition.specs:
            if spec.key == RELEASED_KEY:
                continue
            lineage = spec.metadata["dagster/column_lineage"].deps_by_column
            shown = {column.name for column in spec.metadata["dagster/column_schema"].columns}
            expected = {f"{dep.asset_key.path[-1]}.{name}" for dep in spec.deps for name in columns[dep.asset_key]}
            assert shown == set(lineage) == expected
            assert all(
                f"{origin.asset_key.path[-1]}.{origin.column_name}" == column for column, (origin,) in lineage.items()
            )


def test_a_publication_tells_how_it_is_protected() -> None:
    about = describe(stakeholder_policies()["academia"], RELEASE)
    assert (about["smallest_group"], about["epsilon"], about["cut_off"]) == (10, 1.0, "2026-06-30")


# ── runs ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_release_goes_from_tables_to_published_files(marts, published, lakehouse, materialise) -> None:
    done = materialise()
    rows = {
        event.materialization.asset_key.to_user_string(): event.materialization.metadata.get("dagster/row_count")
        for event in done.get_asset_materialization_events()
    }
    assert rows["mart/media/campaign_metrics"].value == 16
    assert len(rows) == len(marts.keys) + len(published)
    assert all(evaluation.passed for evaluation in done.get_asset_check_evaluations())
    assert lakehouse.warehouse.released() is not None
    assert {
        publication.stakeholder for name in stakeholder_policies() for publication in lakehouse.publisher.list(name)
    } == set(stakeholder_policies())
    events = [entry["event"] for entry in lakehouse.audit.entries()]
    assert events.count("published.published") == len(stakeholder_policies())
    assert events.count("warehouse.released") == 1


@pytest.mark.slow
def test_a_failing_dbt_test_blocks_publication(lakehouse, materialise) -> None:
    """A count below k that reaches a mart must stop there, by the check of that very mart."""
    frames = release_frames()
    reach = ("protected", "media__campaign_giving")
    frames[reach] = frames[reach].with_columns(pl.lit(3, dtype=pl.Int64).alias("donors"), is_withheld=pl.lit(False))
    store_verified(lakehouse, {reach: frames[reach]})
    done = materialise(raise_on_error=False)
    assert not done.success
    failed = {e.asset_key.to_user_string(): e for e in done.get_asset_check_evaluations() if not e.passed}
    assert set(failed) == {"mart/media/campaign_metrics"}
    assert "campaign_donors" in failed["mart/media/campaign_metrics"].metadata["failed_tests"].value
    assert lakehouse.publisher.list("media") == []
    assert lakehouse.warehouse.released() is None


@pytest.mark.slow
def test_one_mart_alone_builds_what_was_asked_for(built, materialise) -> None:
    key = dg.AssetKey(["mart", "media", "campaign_metrics"])
    done = materialise(built, selection=dg.AssetSelection.assets(key))
    assert [event.materialization.asset_key for event in done.get_asset_materialization_events()] == [key]


def test_a_missing_dataset_is_named_before_dbt_starts(lakehouse, materialise) -> None:
    shutil.rmtree(lakehouse.lake.root / "protected" / "media" / "campaign_reach")
    with pytest.raises(dg.Failure, match=r"protected/media/campaign_reach: nothing of release .* is stored"):
        materialise()


# ── what was not verified ────────────────────────────────────────────────────────────────


def plant(lakehouse: Lakehouse, facts: dict[str, str]) -> None:
    """A row alone in its class, in the stored dataset, as nobody would notice."""
    rows = lakehouse.lake.read(CHILDREN, partition={"release": RELEASE}).drop("release")
    alone = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(PLANTED)).otherwise("sex").alias("sex")
    lakehouse.lake.overwrite(CHILDREN, rows.with_columns(alone), partition={"release": RELEASE}, facts=facts)


def holds_planted(connection: duckdb.DuckDBPyConnection) -> bool:
    with connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database()"
        ).fetchall()
        return any(PLANTED in connection.table(f'"{schema}"."{name}"').pl().write_csv() for schema, name in tables)


@pytest.mark.parametrize("facts", [{"release": RELEASE}, {}])
def test_rows_planted_in_the_store_reach_neither_mart_nor_analysts(built, materialise, facts) -> None:
    """Marts made by themselves, in a run without the privacy checks, once took a planted row to the released file:
    a blocking check stops its own run only."""
    plant(built, facts)
    before = built.warehouse.released()
    for keys in ([*RESEARCH, RELEASED_KEY], RESEARCH, [RELEASED_KEY]):
        done = materialise(built, selection=dg.AssetSelection.assets(*keys), raise_on_error=False)
        assert not done.success
        assert done.get_asset_materialization_events() == []
    with pytest.raises(dg.Failure, match=f"{CHILDREN}: version 1 is stored, and the privacy check saw version 0"):
        materialise(built, selection=dg.AssetSelection.assets(RELEASED_KEY))
    assert built.warehouse.released() == before
    assert not holds_planted(built.warehouse.open_build(RELEASE))
    assert not holds_planted(built.warehouse.open_released())
    refused = {entry["facts"]["asset"] for entry in built.audit.entries() if entry["event"] == "refusal"}
    assert CHILDREN in refused


@pytest.mark.slow
def test_one_unverified_dataset_keeps_nobody_else_from_theirs(built, materialise) -> None:
    """It is left out of the warehouse, where an earlier run may have loaded it; what rests on other data is made."""
    plant(built, {"release": RELEASE})
    record_verification(built.audit, CHILDREN, RELEASE, 1, passed=False)
    campaigns = dg.AssetKey(["mart", "media", "campaign_metrics"])
    publication = dg.AssetKey(["published", "media"])
    done = materialise(built, selection=dg.AssetSelection.assets(campaigns, publication))
    assert {event.asset_key for event in done.get_asset_materialization_events()} == {campaigns, publication}
    assert "protected.academia__research_child" not in built.warehouse.tables(RELEASE)
    assert not holds_planted(built.warehouse.open_build(RELEASE))
    with pytest.raises(dg.Failure, match=f"{CHILDREN}: its privacy check failed on version 1"):
        materialise(built, selection=dg.AssetSelection.assets(RELEASED_KEY))


def test_the_rows_that_were_verified_are_loaded_whatever_is_stored_since(built) -> None:
    """Between the look at the evidence and the reading somebody may write."""
    plant(built, {"release": RELEASE})
    built.load_release_tables(RELEASE, {CHILDREN: 0})
    assert built.warehouse.tables(RELEASE)[-1] == "protected.academia__research_child"
    assert not holds_planted(built.warehouse.open_build(RELEASE))


def test_environment_is_left_as_it_was(monkeypatch) -> None:
    """dbt gets its file by a variable; one left behind would point the next run at the wrong release."""
    import os

    monkeypatch.setenv("MERAJUT_DATA", "before")
    monkeypatch.delenv("MERAJUT_BUILD_FILE", raising=False)
    with mart_assets._environment(MERAJUT_DATA="within", MERAJUT_BUILD_FILE="within"):
        assert os.environ["MERAJUT_BUILD_FILE"] == "within"
    assert os.environ["MERAJUT_DATA"] == "before"
    assert "MERAJUT_BUILD_FILE" not in os.environ


# ── publications ─────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_publishing_the_same_again_changes_nothing(built, manifest_path) -> None:
    first = publish(built, "media", RELEASE, of_media(manifest_path))
    second = publish(built, "media", RELEASE, of_media(manifest_path))
    assert (first.is_new, second.is_new) == (True, False)
    assert first.path == second.path
    assert events_of(built) == ["published.published"]


@pytest.mark.slow
def test_a_sound_publication_has_no_fault(built, manifest_path) -> None:
    publication = publish(built, "media", RELEASE, of_media(manifest_path))
    assert verify(built, publication, of_media(manifest_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda frame: {"campaign_metrics": frame.head(3)}, "has 3 rows"),
        (lambda frame: {"campaign_metrics": frame.with_columns(nik=pl.lit("x"))}, "undeclared columns: nik"),
        (lambda frame: {"campaign_metrics": frame, "child": frame.head(1)}, "holds table child"),
        (lambda _: {}, "lacks table campaign_metrics"),
    ],
)
def test_verification_finds_what_is_planted(built, manifest_path, spoil, told) -> None:
    frame = built.warehouse.read_table(RELEASE, "mart_media.campaign_metrics")
    publication = built.publisher.publish("media", RELEASE, spoil(frame))
    faults = verify(built, publication, of_media(manifest_path))
    assert len(faults) == 1
    assert told in faults[0]


@pytest.mark.slow
def test_verification_finds_a_file_that_anybody_can_open(built, manifest_path) -> None:
    """The one fault that no row count shows."""
    publication = publish(built, "media", RELEASE, of_media(manifest_path))
    publication.path.unlink()
    with duckdb.connect(publication.path) as connection:
        connection.execute("CREATE TABLE campaign_metrics (number INTEGER)")
    faults = verify(built, publication, of_media(manifest_path))
    assert "opens without a key" in faults


@pytest.mark.slow
def test_a_mart_with_another_column_is_not_published(built, manifest_path) -> None:
    """Refused before the write: a blocking check afterwards would come too late."""
    marts = of_media(manifest_path)
    narrower = [
        {**mart, "columns": {name: c for name, c in mart["columns"].items() if name != "clicks"}} for mart in marts
    ]
    with pytest.raises(dg.Failure, match="clicks"):
        publish(built, "media", RELEASE, narrower)
    assert built.publisher.list("media") == []
    assert events_of(built) == ["published.refused"]


def refuse_to_log(*_: object, **__: object) -> int:
    raise OSError("no space left")


@pytest.mark.slow
def test_a_publication_whose_entry_was_lost_gets_it_once(built, manifest_path, monkeypatch) -> None:
    """The pointer moves before the log is written: a full disk in between once left a publication that nobody had
    been told of, for good."""
    with monkeypatch.context() as full:
        full.setattr(type(built.audit), "append", refuse_to_log)
        with pytest.raises(OSError, match="no space left"):
            publish(built, "media", RELEASE, of_media(manifest_path))
    (publication,) = built.publisher.list("media")
    assert not is_logged(publication, logged_publications(built))
    for _ in range(3):
        assert not publish(built, "media", RELEASE, of_media(manifest_path)).is_new
    (entry,) = [entry for entry in built.audit.entries() if entry["event"] == "published.published"]
    assert (entry["facts"]["number"], entry["facts"]["file"]) == (publication.number, publication.path.name)
    assert is_logged(publication, logged_publications(built))


def test_a_released_file_whose_entry_was_lost_gets_it_once(lakehouse) -> None:
    for is_new in (False, False):
        log_released(lakehouse, "2026-06", "2026-06-1.duckdb", is_new=is_new)
    log_released(lakehouse, "2026-06", "2026-07-1.duckdb", is_new=False)
    told = [entry["facts"]["file"] for entry in lakehouse.audit.entries() if entry["event"] == RELEASED]
    assert told == ["2026-06-1.duckdb"]
