"""Leaks planted in the dbt project and in Python assets: each must turn the proof red, and be named with its path.

No data are needed: this is the proof that runs before anything does. The rules of the marts would refuse most of these
models by themselves; here they are held off, so that the second line is tried alone.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from merajut_assets import cli
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import derived, operational
from merajut_assets.lineage.graph import LineageGraph, Node
from merajut_assets.lineage.proof import Proof, prove
from merajut_assets.lineage.protection import identities
from merajut_assets.lineage.python_steps import asset_of, protected_edges, python_graph
from merajut_assets.lineage.sql import unwithheld
from merajut_assets.marts.project import load_manifest
from merajut_assets.marts.proof import graph_with, leaving_columns, prove_project, row_level_marts
from merajut_assets.policies.stakeholder import stakeholder_policies
from tests.lineage.support.disclosure import disclosure_test

Manifest = dict[str, Any]
Planted = Callable[..., Proof]

REACH = '"warehouse"."protected"."media__campaign_reach"'
RESEARCH = '"warehouse"."protected"."academia__research_child"'
GIVING = '"warehouse"."protected"."media__campaign_giving"'
SUPERVISED = '"warehouse"."protected"."government__child_summary"'
AT_LEAST_TEN = "case when count(distinct child_pseudonym) >= 10 then count(distinct child_pseudonym) end"
# A raw table that somebody has made a source of dbt.
CHILDREN = '"warehouse"."raw"."panti__children"'
LEAK = "mart/media/leak"
CONTROLLED = {"privacy_step": "disclosure_control", "is_tested": True}
NAME = "source/panti/children.full_name"


@pytest.fixture
def manifest(manifest_path: Path) -> Manifest:
    """A manifest that a test may spoil, in which a raw table has been made a source."""
    spoilt: Manifest = copy.deepcopy(dict(load_manifest(manifest_path)))
    columns = ("child_id", "full_name", "birth_date", "abuse_type", "orphanage_id")
    spoilt["sources"]["source.merajut.raw.panti__children"] = {
        "resource_type": "source",
        "unique_id": "source.merajut.raw.panti__children",
        "source_name": "raw",
        "name": "panti__children",
        "identifier": "panti__children",
        "database": "warehouse",
        "schema": "raw",
        "config": {"meta": {"stakeholder": "panti", "dataset": "children"}},
        "columns": {name: {"name": name, "data_type": "varchar"} for name in columns},
    }
    return spoilt


@pytest.fixture
def planted(manifest: Manifest) -> Planted:
    """The proof of the project with one more mart of the media."""

    def proof(sql: str, *columns: str, stakeholder: str = "media", is_tested: bool = False, **meta: object) -> Proof:
        plant(manifest, sql, columns or ("value",), stakeholder, meta)
        if is_tested:
            test = disclosure_test("model.merajut.leak", "value", "is_withheld")
            manifest["nodes"][test["unique_id"]] = test
        return proof_of(graph_with(manifest), manifest)

    return proof


def plant(manifest: Manifest, sql: str, columns: tuple[str, ...], stakeholder: str, meta: dict[str, object]) -> None:
    mart = manifest["nodes"]["model.merajut.campaign_metrics"]
    manifest["nodes"]["model.merajut.leak"] = {
        **mart,
        "unique_id": "model.merajut.leak",
        "name": "leak",
        "alias": "leak",
        "fqn": ["merajut", "mart", stakeholder, "leak"],
        "schema": f"mart_{stakeholder}",
        "compiled_code": sql,
        "columns": {name: {"name": name, "data_type": "varchar", "description": name} for name in columns},
        "config": {**mart["config"], "meta": {**mart["config"]["meta"], **meta}},
    }


def proof_of(graph: LineageGraph, manifest: Manifest) -> Proof:
    targets = [ref for columns in leaving_columns(manifest).values() for ref in columns]
    return prove(
        graph,
        targets,
        stakeholder_policies(),
        row_level=row_level_marts(manifest),
        identities=identities(),
        unwithheld=unwithheld(manifest),
        shown=1_000,
    )


def test_the_project_as_it_is_is_proved(manifest_path) -> None:
    """A proof that is always red proves nothing, and neither does one over few paths."""
    proof = prove_project(manifest_path)
    assert proof.holds, proof.faults
    assert proof.columns > 150
    assert proof.paths > 10_000
    rested_on = {protection.stakeholder for protection in proof.steps}
    assert rested_on == {"government", "business", "academia", "community", "media"}


@pytest.mark.parametrize(
    ("sql", "origin"),
    [
        pytest.param(f"select full_name as value from {CHILDREN}", NAME, id="renamed"),
        pytest.param(
            f"with a as (select full_name as b from {CHILDREN}), c as (select b as d from a) select d as value from c",
            NAME,
            id="renamed_thrice",
        ),
        pytest.param(
            f"select orphanage_id as value from {CHILDREN} where birth_date > '2020'",
            "source/panti/children.birth_date",
            id="filter",
        ),
        pytest.param(
            f"select reach.channel as value from {REACH} as reach join {CHILDREN} as child "
            "on child.full_name = reach.campaign_name",
            NAME,
            id="join_key",
        ),
        pytest.param(
            f"select case when full_name like 'A%' then 'a' else 'b' end as value from {CHILDREN}", NAME, id="case"
        ),
        pytest.param(
            f"select first_value(full_name) over (partition by orphanage_id) as value from {CHILDREN}",
            NAME,
            id="window",
        ),
        pytest.param(
            f"select row_number() over (order by full_name) as value from {CHILDREN}", NAME, id="order_of_a_window"
        ),
        pytest.param(f"select max(full_name) as value from {CHILDREN}", NAME, id="aggregate"),
        pytest.param(
            f"select min(birth_date) as value from {CHILDREN} group by child_id",
            "source/panti/children.birth_date",
            id="aggregate_of_one",
        ),
        pytest.param(f"select count(distinct full_name) as value from {CHILDREN}", NAME, id="count"),
        pytest.param(f"select count(*) as value from {CHILDREN}", NAME, id="count_of_rows"),
        pytest.param(
            f"select 'x' as value from {REACH} union all select abuse_type from {CHILDREN}",
            "source/panti/children.abuse_type",
            id="union",
        ),
        pytest.param(f"select (select max(full_name) from {CHILDREN}) as value from {REACH}", NAME, id="subquery"),
        pytest.param(
            f"select 'x' as value, channel as other from {REACH} union all by name "
            f"select 'z' as other, full_name as value from {CHILDREN}",
            NAME,
            id="union_by_name",
        ),
        pytest.param(
            f"select channel as value from {REACH} limit (select count(*) from {CHILDREN} where full_name = 'Budi')",
            NAME,
            id="limit",
        ),
        pytest.param(
            f"select channel as value from {REACH} offset (select count(*) from {CHILDREN} where full_name = 'Budi')",
            NAME,
            id="offset",
        ),
        pytest.param(
            f"select first_value(orphanage_id) over w as value from {CHILDREN} window w as (order by full_name)",
            NAME,
            id="named_window",
        ),
        pytest.param(
            f"select reach.channel as value from ({REACH} as reach join {CHILDREN} as child "
            "on child.full_name = reach.campaign_name)",
            NAME,
            id="join_in_brackets",
        ),
        pytest.param(
            f"select reach.channel as value from {REACH} as reach semi join "
            f"(select orphanage_id from {CHILDREN} where full_name = 'Budi') as child "
            "on child.orphanage_id = reach.campaign_name",
            NAME,
            id="semi_join",
        ),
        pytest.param(
            f"select reach.channel as value from {REACH} as reach, "
            f"unnest((select list(full_name) from {CHILDREN})) as one(name)",
            NAME,
            id="unnest",
        ),
        pytest.param(
            f"select reach.channel as value from {REACH} as reach, "
            f"lateral (select 1 from {CHILDREN} as child where child.full_name = reach.channel) as one",
            NAME,
            id="lateral",
        ),
        pytest.param(f"select max(orphanage_id) as value from {CHILDREN} group by all", NAME, id="group_all"),
        pytest.param(
            f"""with recursive it as (select orphanage_id as a, 'x' as b, full_name as c from {CHILDREN}
                union all select b, c, a from it) select a as value from it""",
            NAME,
            id="recursion",
        ),
    ],
)
def test_a_leak_past_the_protected_layer_is_found(planted, sql, origin) -> None:
    """Whatever is done to a name on its way, it is a name that leaves; and so is what it decides."""
    proof = planted(sql)
    assert not proof.holds
    paths = [[str(ref) for ref in offence.columns] for offence in proof.offences]
    assert any(path[0] == origin and path[-1] == f"{LEAK}.value" for path in paths), paths
    assert [len(path) for path in paths] == sorted(map(len, paths))
    assert any(path[-1] == "published/media.leak.value" for path in paths), "what is published is proved, too"


def test_a_leak_through_a_star_is_found(planted) -> None:
    """Nobody sees in `select *` what has come in with a new column."""
    names = ("child_id", "full_name", "birth_date", "abuse_type", "orphanage_id")
    proof = planted(f"select * from {CHILDREN}", *names)
    found = {str(offence.target) for offence in proof.offences}
    assert {f"{LEAK}.full_name", f"{LEAK}.birth_date", f"{LEAK}.abuse_type", f"{LEAK}.child_id"} <= found


@pytest.mark.parametrize(
    "table",
    ['"warehouse"."raw"."panti__guardians"', '"lake"."conformed"."child"', "read_parquet('lake/raw/*.parquet')"],
)
def test_a_model_that_reads_what_nobody_declared_is_found(planted, table) -> None:
    """A table that no source() or ref() stands for: neither Dagster nor dbt shows it anywhere."""
    proof = planted(f"select t.value from {table} as t")
    assert not proof.holds
    assert any(str(unknown.columns[-1]) == f"{LEAK}.value" for unknown in proof.unknown)
    assert all("parquet'" not in fault for fault in proof.faults), "arguments of a function may say anything"


@pytest.mark.parametrize(
    "sql",
    [
        f"select getvariable('x') as value from {REACH}",
        "select getvariable('x') as value",
        "select getenv('HOME') as value",
        "select current_setting('threads') as value",
        f"select my_own(channel) as value from {REACH}",
        f"select reach.channel as value from {REACH} as reach positional join {CHILDREN} as child",
        f"select orphanage_id as value from {CHILDREN} using sample 1",
        f"select coalesce(full_name -> '$.x', 'x') as value from {CHILDREN}",
        f"select full_name.upper() as value from {CHILDREN}",
        f"select value from {CHILDREN} unpivot (value for k in (full_name, birth_date))",
    ],
)
def test_a_leak_by_what_nothing_can_follow_is_refused(planted, sql) -> None:
    """Each was read past: the value looked as if it came from nothing, or from what stood beside it."""
    with pytest.raises(Exception, match=r"model leak: its SQL cannot be followed.* write it without"):
        planted(sql)


@pytest.mark.parametrize(
    "figure",
    [
        "count(*)",
        "count(sex)",
        "count_if(sex = 'F')",
        "sum(case when sex = 'F' then 1 else 0 end)",
        "sum(1) filter (where sex = 'F')",
        "len(list(sex))",
        "histogram(sex)",
        "max(abuse_type)",
        "string_agg(abuse_type)",
        "any_value(sex) over (partition by region_code)",
    ],
)
def test_every_equivalent_of_a_count_of_children_is_judged_as_one(planted, figure) -> None:
    """A count of rows was an offence, and a sum of ones over the same rows was none."""
    sql = f"select {figure} as value from {RESEARCH}"
    proof = planted(sql, stakeholder="academia")
    found = {(str(offence.target), offence.reason) for offence in proof.offences}
    assert ("mart/academia/leak.value", "counted or grouped by pseudonym without disclosure control") in found
    assert not planted(sql, stakeholder="academia", **CONTROLLED).holds, "no test can judge it"


def test_as_many_rows_as_children_are_found(planted) -> None:
    """Nobody needs to write a number down when it can be counted in rows."""
    counted = f"(select count(distinct child_pseudonym) from {SUPERVISED} where sex = 'F')"
    table = '"warehouse"."protected"."government__region"'
    proof = planted(f"select region_code as value from {table} limit {counted}", stakeholder="government")
    assert any("counted or grouped by pseudonym" in offence.reason for offence in proof.offences)


def test_rows_of_another_stakeholder_are_found(planted) -> None:
    """Researchers' rows were made safe for researchers, with their k and their consents."""
    proof = planted(f"select age_band as value from {RESEARCH}")
    assert "for somebody else" in proof.offences[0].reason


@pytest.mark.parametrize(
    ("sql", "meta", "holds"),
    [
        (f"select child_pseudonym as value from {RESEARCH}", {}, False),
        (f"select max(child_pseudonym) as value from {RESEARCH}", CONTROLLED, False),
        (f"select count(distinct child_pseudonym) as value from {RESEARCH} group by sex", {}, False),
        (f"select count(*) as value from {RESEARCH} group by sex", {}, False),
        (f"select max(sex) as value from {RESEARCH} group by child_pseudonym", {}, False),
        (f"select {AT_LEAST_TEN} as value from {RESEARCH} group by sex", CONTROLLED, True),
        # Five is the least number of all stakeholders, and ten that of researchers.
        (f"select {AT_LEAST_TEN.replace('10', '5')} as value from {RESEARCH} group by sex", CONTROLLED, False),
        (f"select count(distinct child_pseudonym) as value from {RESEARCH} group by sex", CONTROLLED, False),
        # Declared, and nobody looks whether it is done.
        (
            f"select count(distinct child_pseudonym) as value from {RESEARCH} group by sex",
            {"privacy_step": "disclosure_control"},
            False,
        ),
        (f"select count(distinct child_pseudonym) as value from {RESEARCH} group by sex", {"is_tested": True}, False),
        (f"select child_pseudonym as value from {RESEARCH}", {"is_row_level": True}, True),
    ],
)
def test_persons_are_told_by_rows_or_counted_under_disclosure_control(planted, sql, meta, holds) -> None:
    """A count of one is a child, and so is a row per pseudonym without the pseudonym."""
    assert planted(sql, stakeholder="academia", **meta).holds is holds


@pytest.mark.parametrize(
    ("value", "flag", "leaking"),
    [
        ("5 + count(distinct child_pseudonym)", "false", "value"),
        ("10 * count(distinct child_pseudonym)", "false", "value"),
        ("-count(distinct child_pseudonym)", "true", "value"),
        ("null", "count(distinct child_pseudonym)", "is_withheld"),
    ],
)
def test_a_test_that_cannot_judge_a_figure_withholds_nothing(planted, value, flag, leaking) -> None:
    """Each was proved: the mart declares disclosure control, and the test of its small numbers passes whatever they
    are."""
    proof = planted(
        f"select {value} as value, {flag} as is_withheld from {RESEARCH} group by sex",
        "value",
        "is_withheld",
        stakeholder="academia",
        **CONTROLLED,
    )
    assert {str(one.target) for one in proof.offences} == {
        f"mart/academia/leak.{leaking}",
        f"published/academia.leak.{leaking}",
    }
    why = "neither a number of distinct people" if leaking == "value" else "a flag and tells more than"
    assert all(f"mart/academia/leak.{leaking} is {why}" in one.reason for one in proof.offences)


@pytest.mark.parametrize(
    "rest",
    [
        "from counted where n = 3",
        "from counted order by n",
        f"from counted join {RESEARCH} as r on n = 3 and r.region_code = counted.region_code",
        f"from {RESEARCH} group by region_code having count(distinct child_pseudonym) = 3",
        f"from {RESEARCH} group by region_code having count(*) = 3",
        f"from {RESEARCH} group by region_code having sum(1) = 3",
        f"from {RESEARCH} group by region_code order by count(*) limit 1",
        f"from {RESEARCH} as c group by region_code having (select count(c.sex)) = 3",
        f"from {RESEARCH} qualify row_number() over (partition by region_code order by sex) = 3",
    ],
)
def test_what_is_chosen_by_a_count_tells_the_count(planted, rest) -> None:
    """The regions of which there are three children, by name: no number leaves, and what was counted does."""
    counted = f"select region_code, count(distinct child_pseudonym) as n from {RESEARCH} group by region_code"
    value = "counted.region_code" if "counted" in rest else "region_code"
    proof = planted(f"with counted as ({counted}) select {value} as value {rest}", stakeholder="academia")
    assert {one.reason for one in proof.offences} == {"counted or grouped by pseudonym without disclosure control"}


def test_two_counts_whose_difference_is_a_few_children_are_not_withheld(planted) -> None:
    """Beside a mart with counts by province, of which some are withheld, the count of the whole country."""
    sql = f"select {AT_LEAST_TEN} as value from {SUPERVISED}"
    proof = planted(sql, stakeholder="government", **CONTROLLED)
    blamed = {str(one.target) for one in proof.offences}
    assert {"mart/government/leak.value", "mart/government/compliance_reporting.children"} <= blamed
    assert all("the difference of two figures tells what each withholds" in one.reason for one in proof.offences)


@pytest.mark.parametrize(
    "sql",
    [
        f"select orphanage_id as value from {CHILDREN}",
        f"select r.channel as value from {REACH} as r join {CHILDREN} as c on c.orphanage_id = r.channel",
        # Read where nobody looks for it, or not at all: dbt says that the model rests on it.
        f"select channel as value from {REACH} limit (select count(*) from {CHILDREN} where orphanage_id = 'x')",
        f"select channel as value from {REACH} -- {CHILDREN}",
        f"select channel as value, 1 as other from {REACH} union all select 'x', orphanage_id from {CHILDREN}",
    ],
)
def test_a_dbt_model_that_reads_around_the_protected_layer_is_found(manifest, sql) -> None:
    """The proof looked for what is personal only, and a column that is not is a row per child all the same."""
    plant(manifest, sql, ("value",), "media", {})
    manifest["nodes"]["model.merajut.leak"]["depends_on"] = {"nodes": ["source.merajut.raw.panti__children"]}
    proof = proof_of(graph_with(manifest), manifest)
    assert not proof.holds
    found = [str(one) for one in (*proof.around, *proof.offences)]
    assert any(one.startswith(f"raw/panti/children.orphanage_id → {LEAK}.value") for one in found), found
    assert any("a dbt model reads it before anything was protected" in one for one in found), found
    assert "ways around the protected layer" in str(proof)
    assert proof.as_facts()["around"]


def test_a_warehouse_model_around_the_protected_layer_is_found_though_no_mart_rests_on_it(manifest) -> None:
    """Analysts get the whole warehouse."""
    plant(manifest, f"select orphanage_id as value from {CHILDREN}", ("value",), "media", {})
    manifest["nodes"]["model.merajut.leak"] |= {"fqn": ["merajut", "warehouse", "leak"], "schema": "core"}
    (around,) = proof_of(graph_with(manifest), manifest).around
    assert [str(ref) for ref in around.columns] == ["raw/panti/children.orphanage_id", "warehouse/leak.value"]


def test_a_column_of_a_contract_that_the_sql_does_not_select_is_no_lineage(planted) -> None:
    """The proof must not read past a model that it cannot follow."""
    with pytest.raises(Exception, match="model leak: its SQL cannot be followed"):
        planted(f"select channel from {REACH}", "value")


# ── Python assets ────────────────────────────────────────────────────────────────────────


def with_column(stakeholder: str, dataset: str, column: object) -> LineageGraph:
    """The lineage of all Python steps, had the contract of a dataset the column `extra`, too."""
    contract = registry.protected_dataset(stakeholder, dataset)
    model = type("Leaky", (contract.model,), {"__annotations__": {"extra": str}, "extra": column})
    leaky = dataclasses.replace(contract, model=model)
    edges = list(protected_edges(leaky, stakeholder_policies()[stakeholder]))
    targets = {edge.target for edge in edges if edge.target.asset == asset_of(leaky)}
    nodes = [Node(target, leaky.column(target.column).privacy) for target in targets]
    return python_graph() | LineageGraph.of(edges, nodes)


@pytest.mark.parametrize(
    ("stakeholder", "dataset", "table", "source", "origin"),
    [
        ("media", "campaign_reach", REACH, "child.birth_date", "source/panti/children.birth_date"),
        ("media", "campaign_reach", REACH, "child.child_token", "source/panti/children.child_id"),
        ("academia", "research_child", RESEARCH, "child.exit_date", "source/panti/children.exit_date"),
        ("academia", "research_child", RESEARCH, "guardian.guardian_token", "source/panti/guardians.guardian_id"),
        ("media", "campaign_giving", GIVING, "donor.donor_token", "source/npsp/"),
    ],
)
def test_a_column_of_a_python_asset_that_no_step_protects_is_found(
    manifest, stakeholder, dataset, table, source, origin
) -> None:
    """A column more in a contract is one line; that the policy does not know of it must show before a release does."""
    sources = manifest["sources"]
    node = next(one for one in sources.values() if one["identifier"] == f"{stakeholder}__{dataset}")
    node["columns"]["extra"] = {"name": "extra", "data_type": "varchar"}
    plant(manifest, f"select extra as value from {table}", ("value",), stakeholder, {"is_row_level": True})
    graph = with_column(stakeholder, dataset, derived(source)) | graph_with(manifest)
    proof = proof_of(graph, manifest)
    assert not proof.holds
    # A mart that counts the rows of the dataset rests on whatever is in them.
    counting = ["research_dataset.class_size"] if dataset == "research_child" else []
    assert {str(offence.target) for offence in proof.offences} == {
        f"{layer}{leaking}"
        for leaking in ("leak.value", *counting)
        for layer in (f"mart/{stakeholder}/", f"published/{stakeholder}.")
    }
    assert any(str(offence.origin).startswith(origin) for offence in proof.offences)
    assert all(f"protected/{stakeholder}/{dataset}.extra" in str(offence) for offence in proof.offences)


def test_a_column_of_a_python_asset_without_lineage_is_found(manifest) -> None:
    """A column that names no source has no lineage, though the step that makes it reads half the lake."""
    node = next(one for one in manifest["sources"].values() if one["identifier"] == "media__campaign_reach")
    node["columns"]["extra"] = {"name": "extra", "data_type": "varchar"}
    plant(manifest, f"select extra as value from {REACH}", ("value",), "media", {})
    graph = with_column("media", "campaign_reach", operational("Comes from somewhere")) | graph_with(manifest)
    proof = proof_of(graph, manifest)
    (unknown,) = proof.unknown
    assert [str(ref) for ref in unknown.columns] == ["protected/media/campaign_reach.extra", f"{LEAK}.value"]


def test_an_asset_without_lineage_is_found(manifest_path) -> None:
    """A Python asset that writes a mart of its own is in Dagster and in no lineage."""
    proof = prove_project(manifest_path, assets=["mart/media/by_hand", "mart/media/campaign_metrics"])
    assert [str(unknown.origin) for unknown in proof.unknown] == ["mart/media/by_hand.*"]


# ── the command ──────────────────────────────────────────────────────────────────────────


def test_the_command_refuses_a_leaky_manifest(manifest, tmp_path) -> None:
    """It is what CI runs: two means that nothing may go out, and why."""
    plant(manifest, f"select full_name as value from {CHILDREN}", ("value",), "media", {})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    result = CliRunner().invoke(cli.app, ["lineage", "prove", "--manifest", str(path)])
    assert result.exit_code == 2
    head, first, *_ = result.stdout.splitlines()
    assert head.startswith("not proved: 2 offending paths; ")
    assert first.startswith(f"{NAME} → raw/panti/children.full_name → {LEAK}.value: value of a direct identifier")
    result = CliRunner().invoke(cli.app, ["lineage", "prove", "--manifest", str(path), "--json"])
    assert result.exit_code == 2
    facts = json.loads(result.stdout)
    assert [len(offence["path"]) for offence in facts["offences"]] == [2, 3]
