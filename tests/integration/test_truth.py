"""The materialised lakehouse against the truth that the generator wrote beside its world."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl
import pytest

from merajut_assets.conformed.build import last_build
from merajut_assets.conformed.quarantined_rows import open_quarantined
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DataOrigin, TableContract
from merajut_assets.definitions import build_defs
from merajut_assets.marts.project import load_manifest, stakeholder_marts
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.consent import consented
from partitions import today_partition
from resources.encryption import tokens

pytestmark = [pytest.mark.integration, pytest.mark.slow]

UNTIL = date(2026, 10, 31)


def generated_tables() -> list[TableContract]:
    return [
        table
        for table in registry.tables("raw").values()
        if registry.systems()[table.system].data_origin is DataOrigin.GENERATED
    ]


def source_rule(table: TableContract, entity: str, rule: str) -> str:
    """A rule of an entity in the words of the source: `child_token.reference` is `child_id.reference`."""
    name, _, kind = rule.rpartition(".")
    if kind != "reference" or name not in {column.name for column in registry.entity(entity).columns}:
        return rule
    for source in registry.entity(entity).column(name).sources:
        if source.rpartition(".")[0] == table.identifier:
            return f"{source.rpartition('.')[2]}.{kind}"
    return rule


def quarantined(installation) -> Iterator[tuple[str, str, str, str]]:
    for table in generated_tables():
        if f"quarantine/{table.system}" not in installation.lakehouse.lake.tables("quarantine"):
            continue
        for row in open_quarantined(installation.lakehouse, table).iter_rows(named=True):
            for rule in row["failed_rules"].split(","):
                yield table.system, table.name, row[table.key[0]], source_rule(table, row["entity"], rule)


def child_tokens(installation, numbers: pl.Series) -> pl.Series:
    return tokens("panti:" + numbers, installation.lakehouse.token_key("child"))


# ── the runs ─────────────────────────────────────────────────────────────────────────────


def test_every_job_succeeds(installation):
    """Each of them is what a newcomer's first `make demo` runs."""
    failures = [
        f"{name}: {event.step_key}"
        for name, result in installation.results.items()
        for event in result.all_events
        if event.is_step_failure
    ]
    assert failures == []
    assert all(result.success for result in installation.results.values())


def test_every_asset_that_can_be_made_was_made(installation):
    """An asset outside every job would never be materialised, and nobody would miss it."""
    made = {
        event.asset_key.to_user_string()
        for event in installation.events
        if event.is_step_materialization and event.asset_key is not None
    }
    wanted = {key.to_user_string() for key in build_defs().resolve_asset_graph().materializable_asset_keys}
    assert wanted - made == set()


def test_no_check_fails_that_blocks(installation):
    """What missed its aim before quarantine warns; anything else would have stopped the release."""
    evaluations = [
        event.asset_check_evaluation_data
        for event in installation.events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    evaluated = {(one.asset_key, one.check_name) for one in evaluations}
    wanted = build_defs().resolve_asset_graph().asset_check_keys
    assert {(key.asset_key, key.name) for key in wanted} == evaluated
    missed = {
        f"{one.asset_key.to_user_string()} {one.check_name}"
        for one in evaluations
        if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
    }
    assert missed == set()


# ── dirt ─────────────────────────────────────────────────────────────────────────────────


def test_quarantine_holds_the_rows_that_the_truth_calls_refused(installation):
    """Row by row and rule by rule, in all systems: no dirt passes, and no good row is lost.

    One difference is by design: a consent decision about a child that is not in the lake is kept. It
    allows nothing, because there is nobody to allow it for, and a withdrawal among them must not be lost."""
    refused = installation.truth("planted").filter(pl.col("outcome") == "refused")
    expected = set(refused.select("system", "table", "key", "rule").iter_rows())
    kept_by_design = {row for row in expected if row[1] == "consents" and row[3] == "child_id.reference"}
    assert kept_by_design
    assert set(quarantined(installation)) == expected - kept_by_design


def test_every_row_that_came_in_is_accounted_for(installation):
    """In = passed + quarantined + merged, for every entity: a row that is in neither has got lost."""
    derived = {"consent"}  # decisions are also concluded from refused ones
    for name in registry.tables("conformed"):
        build = last_build(installation.lakehouse, registry.entity(name))
        assert build is not None
        assert build.erased == 0
        if name not in derived:
            assert build.rows_in == build.passed + build.quarantined + build.merged, name
        stored = installation.lakehouse.lake.rows(f"conformed/{name}")
        assert stored == build.passed, name


def test_duplicate_registrations_are_one_child(installation):
    """Merged exactly where the truth says so: by valid numbers, never by names."""
    lake = installation.lakehouse.lake
    planted = installation.truth("planted")
    merged = planted.filter(pl.col("outcome") == "merged")
    apart = planted.filter(pl.col("kind") == "duplicate_registration_without_nik")
    assert merged.height
    assert apart.height
    children = lake.read("conformed/child").filter(pl.col("jurisdiction") == "ID")
    present = set(children["child_token"])
    assert not set(child_tokens(installation, merged["key"])) & present
    assert set(child_tokens(installation, apart["key"])) <= present
    firsts = set(child_tokens(installation, merged["related_key"].unique()))
    several = set(children.filter(pl.col("registrations") > 1)["child_token"])
    assert several == firsts
    refused = planted.filter(
        (pl.col("table") == "children") & (pl.col("outcome") == "refused") & (pl.col("system") == "panti")
    )
    registered = int(children["registrations"].sum())
    assert registered == len(children) + merged.height
    source = lake.latest_raw("panti", "children")
    assert registered == source.rows - refused.height


def test_numbers_typed_into_notes_are_noticed(installation):
    """The text stays in the blob; that it is personal is known."""
    planted = installation.truth("planted").filter(
        (pl.col("kind") == "nik_in_text") & (pl.col("table") == "health_records")
    )
    refused = installation.truth("planted").filter(pl.col("outcome") == "refused")["key"]
    records = installation.lakehouse.lake.read("conformed/health_record")
    found = set(records.filter("is_note_personal")["health_record_id"])
    assert found == set(planted["key"]) - set(refused)
    assert found


def test_missing_values_are_the_ones_that_were_planted(installation):
    """Completeness is measured on these cells."""
    planted = installation.truth("planted").filter(
        (pl.col("kind") == "missing_value") & (pl.col("table") == "health_records")
    )
    records = installation.lakehouse.lake.read("conformed/health_record").filter(pl.col("jurisdiction") == "ID")
    for column in ("diagnosis_group", "is_immunisation_complete"):
        empty = set(records.filter(pl.col(column).is_null())["health_record_id"])
        assert empty == set(planted.filter(pl.col("column") == column)["key"])


def test_no_conformed_column_is_always_empty(installation):
    """The date of the last case note once was, in every row: two columns of one name had met in a join."""
    lake = installation.lakehouse.lake
    empty = {
        f"{name}.{column}"
        for name in registry.tables("conformed")
        for column, series in lake.read(f"conformed/{name}").to_dict().items()
        if series.null_count() == series.len()
    }
    assert empty == set()


# ── consent ──────────────────────────────────────────────────────────────────────────────


def test_consent_is_what_the_truth_says(installation):
    """For every child and purpose, on the release's cut-off day. Stricter in one case by design: a refused
    decision that may be a withdrawal counts as one until it is put right."""
    lake = installation.lakehouse.lake
    states = installation.truth("consent_states")
    planted = installation.truth("planted").filter((pl.col("table") == "consents") & (pl.col("outcome") == "refused"))
    consents = lake.read("conformed/consent").filter(pl.col("subject_type") == "child")
    children = lake.read("conformed/child").filter(pl.col("jurisdiction") == "ID")
    doubtful = consents.filter(pl.col("consent_id").str.ends_with("-doubtful"))
    assert planted.height
    with_token = states.with_columns(child_tokens(installation, states["person_id"]).alias("child_token"))
    present = with_token.join(children.select("child_token"), on="child_token", how="semi")
    assert present["child_token"].n_unique() == children.height
    for purpose in ("government_reporting", "research", "statistics", "publicity"):
        subjects = children.select(subject_token="child_token")
        allowed = set(consented(subjects, consents, purpose, UNTIL)["subject_token"])
        granted = set(present.filter((pl.col("purpose") == purpose) & (pl.col("state") == "granted"))["child_token"])
        in_doubt = set(doubtful.filter(pl.col("purpose") == purpose)["subject_token"])
        assert allowed <= granted, "nobody is released whose guardian did not agree"
        assert granted - allowed <= in_doubt
        assert len(granted) > 100


# ── what comes out ───────────────────────────────────────────────────────────────────────


def test_every_mart_has_rows_and_a_measure(installation):
    """A mart that is there and empty looks like success to every check but this one."""
    marts = stakeholder_marts(load_manifest())
    assert set(marts) == set(stakeholder_policies())
    for stakeholder, models in marts.items():
        for model in models:
            frame = installation.lakehouse.warehouse.read_table("2026-10", f"{model['schema']}.{model['alias']}")
            assert frame.height, f"{stakeholder}.{model['name']}"
            numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
            filled = [name for name in numbers if frame[name].null_count() < frame.height and frame[name].sum()]
            assert filled, f"{stakeholder}.{model['name']} has no filled measure"


def test_every_row_says_where_it_comes_from(installation):
    """From conformed to the published file; the partner authority's real children are never told to be invented."""
    known = set(DataOrigin)
    for name, origins in stored_origins(installation):
        assert origins.null_count() == 0, name
        assert origins.len() == 0 or {one for text in origins.unique() for one in text.split(", ")} <= known, name
    report = installation.lakehouse.warehouse.read_table("2026-10", "mart_government.compliance_reporting")
    abroad = report.filter(pl.col("jurisdiction") == "GB")
    assert abroad["data_origin"].unique().to_list() == ["real_sample"]
    assert not report.filter(pl.col("jurisdiction") == "ID")["data_origin"].str.contains("real_sample").any()


def stored_origins(installation) -> Iterator[tuple[str, pl.Series]]:
    lakehouse = installation.lakehouse
    for layer in ("conformed", "quarantine", "protected", "statistics"):
        for name in lakehouse.lake.tables(layer):
            yield name, lakehouse.lake.read(name)["data_origin"]
    with lakehouse.warehouse.open_build("2026-10") as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database()"
        ).fetchall()
        assert {"core", "mart_media", "protected", "statistics"} <= {schema for schema, _ in tables}
        for schema, table in tables:
            yield (
                f"{schema}.{table}",
                connection.execute(f'SELECT data_origin FROM "{schema}"."{table}"').pl()["data_origin"],
            )


def test_every_stakeholder_has_a_publication(installation):
    """The last step of the way, under the key of its stakeholder."""
    for stakeholder in stakeholder_policies():
        current = [one for one in installation.lakehouse.publisher.list(stakeholder) if one.is_current]
        assert [one.release for one in current] == ["2026-10"]


def test_a_second_sync_changes_nothing(installation):
    """`make demo` again: no new version, no new key, no new figure."""

    lake = installation.lakehouse.lake
    before = {name: lake.version(name) for name in lake.tables() if not name.startswith("compliance/")}
    raw = {name: lake.latest_raw(*name.split(".")).number for name in registry.tables("raw")}
    installation.materialise("again", "sync", today_partition(datetime.now(UTC)))
    assert installation.results["again"].success
    after = {name: lake.version(name) for name in lake.tables() if not name.startswith("compliance/")}
    assert after == before
    assert {name: lake.latest_raw(*name.split(".")).number for name in registry.tables("raw")} == raw
