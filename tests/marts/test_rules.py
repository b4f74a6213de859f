"""Leaks planted in a dbt project: each must be refused by name, before it is built and before it is published."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts.base import DATA_ORIGIN
from merajut_assets.marts import project
from merajut_assets.marts.dbt import BuildOutcome, record_build, refuse_unjudged
from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.project import (
    ManifestError,
    is_renewed,
    load_manifest,
    prepare_manifest,
    stakeholder_marts,
    tables,
)
from merajut_assets.marts.published import publish
from merajut_assets.marts.rules import identity_columns, open_tables, rule_faults
from merajut_assets.policies.stakeholder import Microdata, stakeholder_policies
from tests.marts.support.mini_warehouse import RELEASE, events_of

CHILDREN = "source.merajut.protected.government__child_summary"
CHILDREN_TABLE = '"warehouse"."protected"."government__child_summary"'
REACH = "source.merajut.protected.media__campaign_reach"
REACH_TABLE = '"warehouse"."protected"."media__campaign_reach"'

Manifest = dict[str, Any]
Planted = Callable[..., list[str]]


@pytest.fixture
def manifest(manifest_path: Path) -> Manifest:
    """A manifest that a test may spoil."""
    return copy.deepcopy(dict(load_manifest(manifest_path)))


@pytest.fixture
def planted(manifest: Manifest) -> Planted:
    """The faults of the project with one more model, by default a mart of the media."""

    def faults(sql: str, *inputs: str, folders: tuple[str, ...] = ("mart", "media"), **changes: Any) -> list[str]:
        mart = manifest["nodes"]["model.merajut.campaign_metrics"]
        columns = changes.pop("columns", ("release",))
        config = {**mart["config"], **changes.pop("config", {})}
        node = {
            **mart,
            "unique_id": "model.merajut.leak",
            "name": "leak",
            "alias": "leak",
            "fqn": ["merajut", *folders, "leak"],
            "schema": "mart_media" if folders[0] == "mart" else "core",
            "raw_code": "",
            "compiled_code": sql,
            "depends_on": {"nodes": list(inputs), "macros": []},
            "columns": {name: {"name": name, "data_type": "varchar", "description": name} for name in columns},
            "config": config,
            **changes,
        }
        manifest["nodes"]["model.merajut.leak"] = node
        return rule_faults(manifest)

    return faults


def test_the_project_as_it_is_breaks_no_rule(manifest) -> None:
    """Rules that refuse what is right would be switched off."""
    assert rule_faults(manifest) == []


# ── tables ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sql",
    [
        f"select release from {CHILDREN_TABLE}",
        "select release from warehouse.protected.government__child_summary",
        "select release from WAREHOUSE.Protected.GOVERNMENT__CHILD_SUMMARY",
        "select release from protected.government__child_summary",
        "select release from government__child_summary",
        f"select * from {CHILDREN_TABLE}",
        f"select release from {REACH_TABLE} where release in (select release from {CHILDREN_TABLE})",
        f"select release, (select count(*) from {CHILDREN_TABLE}) as children from {REACH_TABLE}",
        f"with government__child_summary as (select release from {REACH_TABLE}) "
        "select release from protected.government__child_summary",
        "with government__child_summary as (select release from government__child_summary) "
        "select release from government__child_summary",
        "select release from (with own as (select 1 as release) select * from own), own",
        f"from {CHILDREN_TABLE}",
        f"select release from {REACH_TABLE} union all by name select release from {CHILDREN_TABLE}",
        f"select reach.release from {REACH_TABLE} as reach, lateral (select * from {CHILDREN_TABLE}) as more",
        "select table_name as release from information_schema.tables",
        "select * from 'lake/protected/part.parquet'",
    ],
)
def test_a_table_that_is_named_without_source_or_ref_is_refused(planted, sql) -> None:
    """dbt knows nothing of it, so neither the graph nor the lineage proof would show it."""
    faults = planted(sql, REACH)
    assert len(faults) == 1
    assert "model leak names table" in faults[0]
    assert "use source() or ref()" in faults[0]


@pytest.mark.parametrize(
    "function",
    [
        "read_parquet('x')",
        "read_csv('x')",
        "read_text('x')",
        "glob('x')",
        "sqlite_scan('x', 'y')",
        "delta_scan('x')",
        "duckdb_tables()",
        "duckdb_secrets()",
        "pragma_table_info('x')",
        "query('select 1')",
        "query_table('x')",
    ],
)
def test_a_table_function_is_refused(planted, function) -> None:
    """A file or a list of secrets is no released dataset, whatever else stops it from being opened."""
    faults = planted(f"select * from {function}", REACH)
    assert faults == [
        "model leak reads from a table function; a model reads the tables of source() and ref() only, no files"
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "pragma database_list",
        "attach 'x' as y",
        "copy (select 1) to 'x'",
        "select 1; drop table x",
        "describe x",
        "create table x as select 1",
        "insert into x select 1",
        "set enable_external_access = true",
        "install httpfs",
    ],
)
def test_what_is_no_single_query_is_refused(planted, sql) -> None:
    (fault,) = planted(sql, REACH)
    assert "is not one query" in fault or "cannot be followed" in fault


def test_sql_that_nobody_can_read_is_refused_without_being_quoted(planted) -> None:
    """What cannot be followed to its tables could rest on anything, and what it says could be anything."""
    (fault,) = planted("select 'PENANDA' from ((", REACH)
    assert "cannot be followed" in fault
    assert "PENANDA" not in fault


def test_common_table_expressions_are_no_tables(planted) -> None:
    """Also one with the name of a protected table, which then hides it."""
    sql = f"with government__child_summary as (select data_origin from {REACH_TABLE}), "
    sql += "more as (select data_origin from government__child_summary) select more.data_origin from more, unnest([1])"
    assert planted(sql, REACH, columns=("data_origin",)) == []


# ── stakeholders ─────────────────────────────────────────────────────────────────────────


def test_the_source_of_another_stakeholder_is_refused(planted) -> None:
    (fault,) = planted(f"select release from {CHILDREN_TABLE}", CHILDREN)
    assert "mart of media" in fault
    assert "protected.government__child_summary" in fault


@pytest.mark.parametrize("through", ["compliance_reporting", "fct_child_estimate_government", "stg_incidents"])
def test_another_stakeholders_data_through_a_model_are_refused(planted, manifest, through) -> None:
    """The way leads through another mart, a fact or a staging model as well as straight."""
    node = manifest["nodes"][f"model.merajut.{through}"]
    is_table = node["config"]["materialized"] == "table"
    table = f"warehouse.{node['schema']}.{through}" if is_table else node["compiled_code"].split("from ")[-1]
    faults = planted(f"select release from {table}", node["unique_id"])
    assert any("mart of media and rests on" in fault and "government__" in fault for fault in faults)


def test_open_tables_may_be_shared(planted) -> None:
    """The region list is the same for everybody; indicators are published by others."""
    table = '"warehouse"."protected"."academia__indicator"'
    indicator = "source.merajut.protected.academia__indicator"
    assert planted(f"select data_origin from {table}", indicator, columns=("data_origin",)) == []


def test_open_is_what_the_policy_calls_open_and_the_contract_public() -> None:
    """Finances of programmes are about no person and are still one stakeholder's."""
    assert ("protected", "government__region") in open_tables()
    assert ("protected", "business__programme_finance") not in open_tables()
    assert not any(schema == "statistics" for schema, _ in open_tables())


def test_a_model_that_mixes_stakeholders_is_refused(planted) -> None:
    """One fact once put the counts for five stakeholders together: averaging them halves the noise."""
    sql = f"select release from {REACH_TABLE} union all select release from {CHILDREN_TABLE}"
    (fault,) = planted(sql, REACH, CHILDREN, folders=("warehouse",))
    assert "puts together what was released to different stakeholders" in fault


def test_a_source_that_no_policy_declares_is_refused(manifest) -> None:
    """A hand-written source could name any table, and say of itself whose it is."""
    manifest["sources"]["source.merajut.protected.mine"] = {
        **manifest["sources"][REACH],
        "identifier": "media__everything",
        "name": "mine",
    }
    assert rule_faults(manifest) == [
        "source protected.mine is no dataset or statistic of any policy; remove it, sources are written by `make docs`"
    ]


# ── kinds of models, hooks, macros ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"language": "python"}, "is written in Python"),
        ({"config": {"materialized": "incremental"}}, "is materialised as incremental"),
        ({"config": {"materialized": "external"}}, "is materialised as external"),
        ({"config": {"pre-hook": [{"sql": "x"}]}}, "has pre-hook"),
        ({"config": {"post-hook": [{"sql": "x"}]}}, "has post-hook"),
        ({"config": {"sql_header": "x"}}, "has sql_header"),
        ({"folders": ("mart", "media", "deep")}, "lies in no layer"),
        ({"folders": ("other",)}, "lies in no layer"),
        ({"folders": ("mart", "nobody")}, "who has no policy"),
        ({"schema": "mart_government"}, "is built into schema mart_government instead of mart_media"),
        ({"raw_code": "{{ run_query('drop table x') }}"}, "calls the database by itself"),
        ({"raw_code": "{% do adapter.execute('x') %}"}, "calls the database by itself"),
    ],
)
def test_what_runs_beside_the_query_is_refused(planted, changes, told) -> None:
    assert any(told in fault for fault in planted(f"select release from {REACH_TABLE}", REACH, **changes))


@pytest.mark.parametrize("kind", ["operation", "snapshot", "seed"])
def test_whatever_else_writes_is_refused(manifest, kind) -> None:
    """on-run-start and on-run-end are operations; a seed brings rows of its own."""
    manifest["nodes"][f"{kind}.merajut.x"] = {"resource_type": kind, "name": "x", "raw_code": "select 1"}
    (fault,) = rule_faults(manifest)
    assert "remove" in fault


@pytest.mark.parametrize(
    ("name", "sql", "told"),
    [
        ("duckdb__create_table_as", "", "takes the place of dbt's own"),
        ("create_table_as", "", "takes the place of dbt's own"),
        ("materialization_copy_duckdb", "", "takes the place of dbt's own"),
        ("writer", "{% do run_query('copy t to x') %}", "calls the database by itself"),
        ("writer", "{% call statement('x') %}copy t to x{% endcall %}", "calls the database by itself"),
    ],
)
def test_macros_that_write_are_refused(manifest, name, sql, told) -> None:
    macro = {"package_name": "merajut", "name": name, "macro_sql": sql}
    manifest["macros"][f"macro.merajut.{name}"] = macro
    (fault,) = rule_faults(manifest)
    assert f"macro {name} {told}" in fault


# ── persons ──────────────────────────────────────────────────────────────────────────────

GOVERNMENT = {"folders": ("mart", "government"), "schema": "mart_government"}


@pytest.mark.parametrize(
    "expression",
    [
        "child_pseudonym",
        "md5(child_pseudonym)",
        "max(child_pseudonym)",
        "list(child_pseudonym)::varchar",
        "case when child_pseudonym > 'm' then 'upper' else 'lower' end",
        "any_value(left(child_pseudonym, 4))",
    ],
)
def test_what_stands_for_a_person_is_refused_under_any_name(planted, expression) -> None:
    """A name tells nothing: the hash of a pseudonym called `reference` is a pseudonym."""
    sql = f"select {expression} as reference from {CHILDREN_TABLE}"
    (fault,) = planted(sql, CHILDREN, columns=("reference",), **GOVERNMENT)
    assert "column reference carries protected.government__child_summary.child_pseudonym" in fault
    assert "is_row_level" in fault


def test_a_star_carries_what_it_stands_for(planted) -> None:
    faults = planted(f"select * from {CHILDREN_TABLE}", CHILDREN, columns=("release", "child_pseudonym"), **GOVERNMENT)
    assert len(faults) == 1
    assert "column child_pseudonym" in faults[0]


@pytest.mark.parametrize(
    "expression",
    [
        "count(distinct child_pseudonym)",
        "count(distinct child_pseudonym) filter (where child_pseudonym is not null)",
        "count(child_pseudonym) over (partition by sex)",
    ],
)
def test_people_may_be_counted(planted, expression) -> None:
    # Distinct: what a window counts stands beside every child.
    sql = f"select distinct {expression} as children, 'generated' as data_origin from {CHILDREN_TABLE}"
    assert planted(sql, CHILDREN, columns=("children", "data_origin"), **GOVERNMENT) == []


@pytest.mark.parametrize(
    "sql",
    [
        "select reason_for_care as it from {children}",
        "select reason_for_care as it from {children} where sex = 'F' order by birth_period limit 3",
        "select 'x' as it from {children}",
        "select count(*) over (partition by sex) as it from {children}",
        "with rows as (select reason_for_care from {children}) select reason_for_care as it from rows",
        "select region_code as it from {children} union all select region_code from {children}",
        "select other.it from {homes} as homes, lateral (select reason_for_care as it from {children}) as other",
        "select homes.release as it from {homes} as homes cross join {children} as children",
    ],
)
def test_a_row_per_person_is_refused_without_the_pseudonym_as_well(planted, manifest, sql) -> None:
    """A child's reason for care is a child's, though nothing in the row says whose."""
    homes = '"warehouse"."protected"."government__orphanage"'
    sql = f"select it, 'x' as data_origin from ({sql.format(children=CHILDREN_TABLE, homes=homes)})"
    inputs = (CHILDREN, "source.merajut.protected.government__orphanage")
    columns = ("it", DATA_ORIGIN)
    (fault,) = planted(sql, *inputs, columns=columns, **GOVERNMENT)
    assert fault.startswith("model leak: it has a row for every row of protected.government__child_summary")
    assert "is_row_level" in fault
    config = {"meta": {**manifest["nodes"]["model.merajut.campaign_metrics"]["config"]["meta"], "is_row_level": True}}
    assert planted(sql, *inputs, columns=columns, config=config, **GOVERNMENT) == []
    grouped = f"select it, any_value(data_origin) as data_origin from ({sql}) group by it"
    assert planted(grouped, *inputs, columns=columns, **GOVERNMENT) == []


def test_a_row_per_person_through_a_table_model_is_refused(planted, manifest) -> None:
    """A model in between must not hide whose rows they are."""
    planted(f"select reason_for_care as it from {CHILDREN_TABLE}", CHILDREN, folders=("warehouse",), columns=("it",))
    between = {**manifest["nodes"]["model.merajut.leak"], "unique_id": "model.merajut.fct", "name": "fct"}
    manifest["nodes"]["model.merajut.fct"] = {**between, "alias": "fct", "fqn": ["merajut", "warehouse", "fct"]}
    sql = "select it, 'x' as data_origin from warehouse.core.fct"
    (fault,) = planted(sql, "model.merajut.fct", columns=("it", DATA_ORIGIN), **GOVERNMENT)
    assert fault.startswith("model leak: it has a row for every row of protected.government__child_summary")


def test_a_declared_row_level_mart_may_carry_them(planted, manifest) -> None:
    sql = f"select child_pseudonym, data_origin from {CHILDREN_TABLE}"
    config = {"meta": {**manifest["nodes"]["model.merajut.campaign_metrics"]["config"]["meta"], "is_row_level": True}}
    assert planted(sql, CHILDREN, columns=("child_pseudonym", "data_origin"), config=config, **GOVERNMENT) == []


def test_a_mart_says_where_its_rows_come_from(planted) -> None:
    """Invented children must not be taken for real ones by whoever opens a published file."""
    (fault,) = planted(f"select release from {REACH_TABLE}", REACH)
    assert "declares no column data_origin" in fault


def test_columns_that_cannot_be_followed_are_refused(planted) -> None:
    (fault,) = planted(f"select release from {REACH_TABLE}", REACH, columns=("release", "invented"))
    assert "model leak: its SQL cannot be followed" in fault


def test_every_dataset_about_single_persons_has_an_identity() -> None:
    """The rule rests on this list; a dataset that is not in it could leave under any name."""
    about_persons = {
        f"{policy.stakeholder}__{name}"
        for policy in stakeholder_policies().values()
        for name, dataset in policy.datasets.items()
        if isinstance(dataset, Microdata)
    }
    assert {table for _, table, _ in identity_columns()} == about_persons


# ── the real dbt ─────────────────────────────────────────────────────────────────────────

LEAKS = {
    "leak_direct.sql": "select release from warehouse.protected.government__child_summary",
    "leak_source.sql": "select release from {{ source('protected', 'government__child_summary') }}",
    "leak_hook.sql": "{{ config(post_hook='select 1') }} select release "
    "from {{ source('protected', 'media__campaign_reach') }}",
    "leak_python.py": "def model(dbt, session):\n    return dbt.source('protected', 'media__campaign_reach')\n",
}


@pytest.fixture
def own_project(tmp_path: Path) -> Path:
    """A copy of the dbt project."""
    copied = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT, copied, ignore=shutil.ignore_patterns("target", "logs", "__pycache__"))
    return copied


@pytest.mark.slow
def test_planted_leaks_are_refused_by_name_and_their_removal_is_seen(own_project, tmp_path) -> None:
    """As dbt compiles them. What was refused is not left to be loaded, and a file that is gone is gone from the
    manifest, too, though it has no time of change any more."""
    target, media = tmp_path / "target", own_project / "models" / "mart" / "media"
    for name, code in LEAKS.items():
        (media / name).write_text(code, encoding="utf-8")
    models = [leaked(path) for path in sorted(media.glob("leak_*.sql"))]
    (media / "leaks.yml").write_text(json.dumps({"models": models}), encoding="utf-8")
    settings = own_project / "dbt_project.yml"
    clean = settings.read_text(encoding="utf-8")
    settings.write_text(clean + "\non-run-end: [\"copy (select 1) to 'x'\"]\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="model leak_python is written in Python"):
        prepare_manifest(target, project=own_project)
    (media / "leak_python.py").unlink()
    with pytest.raises(ManifestError) as refused:
        prepare_manifest(target, project=own_project)
    said = str(refused.value)
    assert "leak_direct names table warehouse.protected.government__child_summary" in said
    assert "leak_source is a mart of media and rests on protected.government__child_summary" in said
    assert "leak_hook has post-hook" in said
    assert "remove on-run-start and on-run-end" in said
    assert not (target / "manifest.json").exists()

    settings.write_text(clean, encoding="utf-8")
    for path in media.glob("leak*"):
        path.unlink()
    manifest = prepare_manifest(target, project=own_project)
    assert is_renewed(manifest, project=own_project)
    good = manifest.read_bytes()
    model = media / "campaign_metrics.sql"
    text = model.read_text(encoding="utf-8")
    model.write_text(text.replace("media__campaign_giving", "government__orphanage"), encoding="utf-8")
    with pytest.raises(ManifestError, match="campaign_metrics is a mart of media"):
        prepare_manifest(target, project=own_project)
    assert manifest.read_bytes() == good, "what was prepared before stays"
    assert not is_renewed(manifest, project=own_project)


def leaked(path: Path) -> dict[str, Any]:
    """The YAML of a planted model."""
    meta = {"owner": "team:media", "sensitivity": "public"}
    column = {"name": "release", "data_type": "varchar", "description": "Release."}
    return {"name": path.stem, "description": "A leak.", "config": {"meta": meta}, "columns": [column]}


def test_files_added_removed_or_put_back_older_are_seen(own_project, tmp_path, monkeypatch) -> None:
    """Times of change once decided: a removed model, or one restored from a backup, went unseen."""
    import os

    manifest = tmp_path / "target" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{}")
    digests = project._digests(own_project)
    manifest.with_name(project.INPUTS_FILE_NAME).write_text(json.dumps(digests))
    assert is_renewed(manifest, project=own_project)
    model = own_project / "models" / "warehouse" / "dim_campaign.sql"
    text = model.read_text(encoding="utf-8")
    model.write_text(text + "-- changed\n", encoding="utf-8")
    os.utime(model, (0, 0))
    assert not is_renewed(manifest, project=own_project)
    model.unlink()
    assert not is_renewed(manifest, project=own_project)
    model.write_text(text, encoding="utf-8")
    assert is_renewed(manifest, project=own_project)
    (own_project / "macros" / "more.sql").write_text("", encoding="utf-8")
    assert not is_renewed(manifest, project=own_project)


def test_a_project_is_judged_again_by_other_code(own_project, tmp_path, monkeypatch) -> None:
    """What was prepared by older code lacked what the newer looks up beside the manifest, and nothing made it anew."""
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    manifest.with_name(project.INPUTS_FILE_NAME).write_text(json.dumps(project._digests(own_project)))
    assert is_renewed(manifest, project=own_project)
    monkeypatch.setattr(project, "_JUDGED_BY", "another")
    assert not is_renewed(manifest, project=own_project)


# ── what was really run ──────────────────────────────────────────────────────────────────


def test_a_project_that_changed_since_it_was_judged_is_not_run(tmp_path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    with pytest.raises(dg.Failure, match="make manifest"):
        refuse_unjudged(manifest)


def test_a_manifest_from_before_a_rule_is_judged_again(manifest, tmp_path) -> None:
    manifest["nodes"]["model.merajut.campaign_metrics"]["config"]["post-hook"] = [{"sql": "x"}]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    path.with_name(project.INPUTS_FILE_NAME).write_text(json.dumps(project._digests(DBT_PROJECT)))
    with pytest.raises(dg.Failure, match="campaign_metrics has post-hook"):
        refuse_unjudged(path)


def test_other_sql_than_was_judged_is_not_taken_for_it(manifest, lakehouse) -> None:
    """A model that compiles to something else in the run than before it was judged as something else."""
    lakehouse.warehouse.load_tables(RELEASE, {"x": pl.DataFrame({"a": [1]})})
    node = manifest["nodes"]["model.merajut.campaign_metrics"]
    ran = {"unique_id": node["unique_id"], "status": "success", "compiled_code": node["compiled_code"] + " -- now"}
    outcome = BuildOutcome({node["unique_id"]: ran}, {}, {})
    with pytest.raises(dg.Failure, match="other SQL for campaign_metrics"):
        record_build(lakehouse.warehouse, RELEASE, manifest, outcome)
    assert lakehouse.warehouse.models(RELEASE) == {}


def test_models_of_a_removed_build_file_are_not_taken_for_built(lakehouse) -> None:
    """An erasure removes the file; a new one in its place has none of the models."""
    lakehouse.warehouse.load_tables(RELEASE, {"x": pl.DataFrame({"a": [1]})})
    lakehouse.warehouse.record_models(RELEASE, {"model.merajut.x": "0" * 64})
    lakehouse.warehouse.load_tables(RELEASE, {"x": pl.DataFrame({"a": [2]})})
    assert lakehouse.warehouse.models(RELEASE) == {"model.merajut.x": "0" * 64}
    lakehouse.warehouse.build_path(RELEASE).unlink()
    assert lakehouse.warehouse.models(RELEASE) == {}
    lakehouse.warehouse.load_tables(RELEASE, {"x": pl.DataFrame({"a": [2]})})
    assert lakehouse.warehouse.models(RELEASE) == {}


@pytest.mark.slow
def test_a_mart_that_judged_sql_has_not_made_is_not_published(built, manifest_path) -> None:
    """Whoever builds into the file by hand, or before a model changed, has not made what was judged."""
    marts = stakeholder_marts(load_manifest(manifest_path))["media"]
    (upstream,) = [n["unique_id"] for n in tables(load_manifest(manifest_path)) if n["name"] == "dim_campaign"]
    built.warehouse.record_models(RELEASE, {upstream: "0" * 64})
    with pytest.raises(dg.Failure, match="dim_campaign were not built by the SQL that was judged"):
        publish(built, "media", RELEASE, marts)
    assert built.publisher.list("media") == []
    assert events_of(built) == ["published.refused"]
