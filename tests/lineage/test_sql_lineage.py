"""The lineage of SQL: every way in which a column can go into a query is seen, and called by its name.

The incident this prevents: a leak by a join key, a CASE, a window or an aggregate that the proof never sees.
"""

from __future__ import annotations

from typing import Any

import pytest

from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind
from merajut_assets.lineage.sql import carried_columns, column_lineage, dbt_graph
from merajut_assets.privacy.steps import PrivacyStep
from tests.lineage.support.disclosure import disclosure_test

PEOPLE = ("release", "pseudonym", "place", "age", "score")
PLACES = ("place", "name")


def manifest(sql: str, *columns: str, folder: tuple[str, ...] = ("warehouse",), **meta: Any) -> dict[str, Any]:
    """A manifest with two source tables and one model."""
    node = {
        "resource_type": "model",
        "unique_id": "model.merajut.it",
        "name": "it",
        "alias": "it",
        "database": "warehouse",
        "schema": "core",
        "fqn": ["merajut", *folder, "it"],
        "config": {"materialized": "table", "meta": meta},
        "columns": {name: {"name": name, "data_type": "varchar"} for name in columns},
        "compiled_code": sql,
    }
    sources = {
        f"source.{name}": {
            "resource_type": "source",
            "unique_id": f"source.{name}",
            "name": name,
            "source_name": "protected",
            "identifier": f"academia__{name}",
            "database": "warehouse",
            "schema": "protected",
            "config": {"meta": {"stakeholder": "academia", "dataset": name}},
            "columns": {column: {"name": column, "data_type": "varchar"} for column in columns},
        }
        for name, columns in (("people", PEOPLE), ("places", PLACES))
    }
    return {"nodes": {node["unique_id"]: node}, "sources": sources}


def flows(sql: str, *columns: str, **options: Any) -> dict[str, set[tuple[str, Kind, How]]]:
    """By column of the model: origin (table.column), kind and how."""
    found: dict[str, set[tuple[str, Kind, How]]] = {name: set() for name in columns}
    for edge in dbt_graph(manifest(sql.format(**TABLES), *columns, **options)).edges:
        if edge.target.asset.startswith(("warehouse/", "mart/")):
            origin = f"{edge.origin.asset.rpartition('/')[2]}.{edge.origin.column}"
            found[edge.target.column].add((origin, edge.kind, edge.how))
    return found


TABLES = {"people": "warehouse.protected.academia__people", "places": "warehouse.protected.academia__places"}
D, R = Kind.DIRECT, Kind.INDIRECT


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("place", {("people.place", D, How.IDENTITY)}),
        ("upper(place)", {("people.place", D, How.EXPRESSION)}),
        ("case when age > 3 then place end", {("people.age", D, How.CONDITIONAL), ("people.place", D, How.EXPRESSION)}),
        ("if(age > 3, 1, 0)", {("people.age", D, How.CONDITIONAL)}),
        ("coalesce(place, age)", {("people.place", D, How.EXPRESSION), ("people.age", D, How.EXPRESSION)}),
        ("max(score)", {("people.score", D, How.AGGREGATE)}),
        ("sum(score) filter (where age > 3)", {("people.score", D, How.AGGREGATE), ("people.age", D, How.AGGREGATE)}),
        ("count(distinct pseudonym)", {("people.pseudonym", D, How.COUNT)}),
        ("count(*) filter (where age > 3)", {("people.age", D, How.COUNT)}),
        ("count_if(age > 3)", {("people.age", D, How.COUNT)}),
        ("string_agg(pseudonym, ',')", {("people.pseudonym", D, How.AGGREGATE)}),
        ("arg_max(pseudonym, age)", {("people.pseudonym", D, How.AGGREGATE), ("people.age", D, How.AGGREGATE)}),
        ("lag(score) over (partition by place order by age)",
         {("people.score", D, How.WINDOW), ("people.place", D, How.WINDOW), ("people.age", D, How.WINDOW)}),
        ("row_number() over (order by pseudonym)", {("people.pseudonym", D, How.WINDOW)}),
        ("(select max(name) from {places})", {("places.name", D, How.AGGREGATE)}),
        ("(select max(name) from {places} as other where other.place = people.place)",
         {("places.name", D, How.AGGREGATE), ("places.place", D, How.CONDITIONAL),
          ("people.place", D, How.CONDITIONAL)}),
        ("exists (select 1 from {places} as other where other.place = people.place)",
         {("places.place", D, How.CONDITIONAL), ("people.place", D, How.CONDITIONAL)}),
    ],
)  # fmt: skip
def test_what_a_value_is_computed_from(expression: str, expected: set[tuple[str, Kind, How]]) -> None:
    found = flows(f"select {expression.format(**TABLES)} as it from {{people}} as people", "it")["it"]
    assert {flow for flow in found if flow[1] is D} == expected


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ("where age > 3", ("people.age", R, How.FILTER)),
        ("where place in (select place from {places} where name = 'x')", ("places.name", R, How.FILTER)),
        ("where exists (select 1 from {places} as other where other.name = people.age)", ("people.age", R, How.FILTER)),
        ("inner join {places} as other on other.place = people.age", ("places.place", R, How.JOIN)),
        ("inner join {places} as other on other.place = people.age", ("people.age", R, How.JOIN)),
        ("inner join {places} as other using (place)", ("places.place", R, How.JOIN)),
        ("cross join {places} as other", ("places.name", R, How.ROWS)),
        ("semi join {places} as other on other.name = people.age", ("places.name", R, How.JOIN)),
        ("order by age limit 3", ("people.age", R, How.ORDER)),
        ("qualify row_number() over (order by pseudonym) = 1", ("people.pseudonym", R, How.FILTER)),
    ],
)
def test_what_decides_about_rows(clauses: str, expected: tuple[str, Kind, How]) -> None:
    """Every column of the model tells something of what its rows were chosen by."""
    found = flows(f"select people.release as it, 'x' as constant from {{people}} as people {clauses}", "it", "constant")
    assert expected in found["it"]
    assert expected in found["constant"]


def test_grouping_having_and_distinct_decide_about_rows() -> None:
    found = flows("select place, sum(score) as it from {people} group by place having max(age) > 3", "place", "it")
    assert {("people.place", R, How.GROUP), ("people.age", R, How.FILTER)} <= found["it"]
    assert ("people.place", R, How.GROUP) in flows(
        "select place, sum(age) as it from {people} group by all", "place", "it"
    )["it"]
    assert ("people.age", R, How.DISTINCT) in flows("select distinct place, age from {people}", "place", "age")["place"]
    union = flows("select place from {people} union select name from {places}", "place")["place"]
    assert {("places.name", D, How.IDENTITY), ("people.place", R, How.DISTINCT)} <= union
    assert ("places.place", R, How.FILTER) in flows(
        "select place from {people} except select place from {places}", "place"
    )["place"]


def test_a_count_of_rows_rests_on_whatever_decides_how_many_there_are() -> None:
    """`count(*)` names no column and still is no constant."""
    found = flows("select count(*) as it, 'x' as constant from {people}", "it", "constant")
    assert {origin for origin, kind, how in found["it"] if (kind, how) == (R, How.ROWS)} == {
        f"people.{c}" for c in PEOPLE
    }
    graph = dbt_graph(
        manifest("select count(*) as it, 'x' as constant from {people}".format(**TABLES), "it", "constant")
    )
    assert not graph.node(ColumnRef("warehouse/it", "it")).is_constant
    assert graph.node(ColumnRef("warehouse/it", "constant")).is_constant


def test_what_happens_on_the_way_is_kept() -> None:
    """What decides about a common table expression decides about what reads it, and a count stays a count."""
    sql = """with counted as (select place, count(distinct pseudonym) as n from {people} where age > 3 group by place)
             select places.name, case when n >= 5 then n end as it
             from counted join {places} as places on places.place = counted.place"""
    found = flows(sql, "name", "it")
    assert ("people.pseudonym", D, How.COUNT) in found["it"]
    assert {("people.age", R, How.FILTER), ("people.place", R, How.JOIN), ("people.place", R, How.GROUP)} <= found[
        "name"
    ]
    full = manifest(sql.format(**TABLES), "name", "it")
    assert column_lineage(full)["model.merajut.it"]["it"] == [["source.people", "pseudonym"]]
    assert carried_columns(full)["model.merajut.it"]["it"] == []


def test_recursion_rests_on_its_beginning_and_on_its_step() -> None:
    sql = """with recursive it as (select age from {people} union all select name from it join {places} on place = age)
             select age from it"""
    found = flows(sql, "age")["age"]
    assert {("people.age", D, How.IDENTITY), ("places.name", D, How.IDENTITY), ("places.place", R, How.JOIN)} <= found


def test_a_star_stands_for_all_columns() -> None:
    assert flows("select * from {people}", *PEOPLE)["age"] == {("people.age", D, How.IDENTITY)}


def test_a_table_that_nobody_declares_is_an_origin_that_nobody_knows() -> None:
    """A model that reads around the protected layer must not look like one that reads nothing."""
    (edge,) = dbt_graph(manifest("select name from warehouse.conformed.child", "name")).edges
    assert edge.origin == ColumnRef("unknown/warehouse/conformed/child", "name")
    (edge,) = dbt_graph(manifest("select name from read_parquet('conformed/child.parquet')", "name")).edges
    assert edge.origin == ColumnRef("unknown/readparquet", "name")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from warehouse.conformed.child",
        "select other as it from warehouse.protected.academia__people",
        "select it from",
    ],
)
def test_what_cannot_be_followed_is_refused_without_quoting_it(sql: str) -> None:
    with pytest.raises(ValueError, match="model it: its SQL cannot be followed") as refused:
        dbt_graph(manifest(sql, "it"))
    assert "academia__people" not in str(refused.value)


def test_a_step_is_that_of_figures_alone() -> None:
    """Withholding small counts protects no pseudonym that is taken over beside them; and a declaration that no test
    judges withholds nothing."""
    sql = "select pseudonym, place, count(distinct age) as n from {people} group by all".format(**TABLES)
    declared = manifest(sql, "pseudonym", "place", "n", folder=("mart", "academia"), privacy_step="disclosure_control")
    untested = {(e.origin.column, e.target.column): e.step for e in dbt_graph(declared).edges if e.kind is D}
    assert untested["age", "n"] is None
    test = disclosure_test("model.merajut.it", "n", "is_withheld")
    # People are counted over a dataset of theirs, and not over whatever has a column.
    declared["sources"]["source.people"]["config"]["meta"]["dataset"] = "research_child"
    declared["nodes"][test["unique_id"]] = test
    steps = {(e.origin.column, e.target.column): e.step for e in dbt_graph(declared).edges if e.kind is D}
    assert steps["age", "n"] is PrivacyStep.DISCLOSURE_CONTROL
    assert steps["pseudonym", "pseudonym"] is None


def test_published_columns_are_those_of_the_marts() -> None:
    graph = dbt_graph(manifest("select place from {people}".format(**TABLES), "place", folder=("mart", "academia")))
    copy = Edge(ColumnRef("mart/academia/it", "place"), ColumnRef("published/academia", "it.place"), D, How.IDENTITY)
    assert copy in graph.edges
