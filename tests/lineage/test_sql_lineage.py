"""The lineage of SQL: every way in which a column can go into a query is seen, and called by its name.

The incident this prevents: a leak by a join key, a CASE, a window or an aggregate that the proof never sees.
"""

from __future__ import annotations

from typing import Any

import pytest

from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind
from merajut_assets.lineage.sql import carried_columns, column_lineage, dbt_graph, tables_row_for_row
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
        ("limit (select count(*) from {places} where name = 'x')", ("places.name", R, How.COUNT)),
        ("limit 3 offset (select max(name) from {places})", ("places.name", R, How.COUNT)),
        ("order by all limit 3", ("people.release", R, How.ORDER)),
        ("natural join {places} as other", ("places.place", R, How.JOIN)),
        ("asof join {places} as other on people.age >= other.name", ("places.name", R, How.JOIN)),
        (
            "semi join (select place from {places} where name = 'x') as other using (place)",
            ("places.name", R, How.FILTER),
        ),
        (
            "anti join (select place from {places} where name = 'x') as other using (place)",
            ("places.name", R, How.FILTER),
        ),
        ("semi join {places} as other on true", ("places.name", R, How.ROWS)),
        (", unnest(string_split(age, ',')) as other(n)", ("people.age", R, How.FILTER)),
        (", unnest((select list(name) from {places})) as other(n)", ("places.name", R, How.FILTER)),
        (", lateral (select 1 from {places} as p where p.name = people.age) as other", ("places.name", R, How.FILTER)),
        (", lateral (select 1 from {places} as p where p.name = people.age) as other", ("people.age", R, How.FILTER)),
    ],
)
def test_what_decides_about_rows(clauses: str, expected: tuple[str, Kind, How]) -> None:
    """Every column of the model tells something of what its rows were chosen by."""
    found = flows(f"select people.release as it, 'x' as constant from {{people}} as people {clauses}", "it", "constant")
    assert expected in found["it"]
    assert expected in found["constant"]


def test_a_join_in_brackets_decides_about_rows() -> None:
    """Its condition hangs on the table, and not on the query."""
    condition = "join {places} as places on places.name = people.age"
    for left in ("({people} as people {0})", "(({people} as people {0}))", "((select * from {people}) as people {0})"):
        bracketed = left.replace("{0}", condition)
        found = flows(f"select people.release as it from {bracketed}", "it")["it"]
        assert {("places.name", R, How.JOIN), ("people.age", R, How.JOIN)} <= found


def test_a_named_window_looks_at_what_it_says() -> None:
    sql = "select first_value(release) over {over} as it from {{people}} window w as (partition by age), {second}"
    for over, second in (("w", "v as (order by 1)"), ("(w order by score)", "v as (order by 1)"),
                         ("v", "v as (w order by score)")):  # fmt: skip
        assert ("people.age", D, How.WINDOW) in flows(sql.format(over=over, second=second), "it")["it"]


@pytest.mark.parametrize("union", ["union by name", "union all by name"])
def test_a_union_by_name_is_put_together_by_name(union: str) -> None:
    """By place, a name would go out under the word of a place; a column of one side alone is NULL on the other."""
    sql = f"select 1 as it, place as other from {{people}} {union} select 2 as other, name as it from {{places}}"
    found = flows(sql, "it", "other")
    assert {flow for flow in found["it"] if flow[1] is D} == {("places.name", D, How.IDENTITY)}
    assert {flow for flow in found["other"] if flow[1] is D} == {("people.place", D, How.IDENTITY)}
    one = flows(f"select place from {{people}} {union} select place, name from {{places}}", "place", "name")
    assert {flow for flow in one["name"] if flow[1] is D} == {("places.name", D, How.IDENTITY)}


@pytest.mark.parametrize(
    "expression",
    [
        "count(*)",
        "count(place)",
        "count_if(age > 3)",
        "sum(case when age > 3 then 1 else 0 end)",
        "sum(1) filter (where age > 3)",
        "len(list(place))",
        "histogram(place)",
        "max(place)",
        "string_agg(place)",
        "count(distinct concat(place, age))",
        "len(list(distinct [place, age]))",
        "row_number() over (order by place)",
        "count(distinct place) over ()",
        "lag(place) over w",
    ],
)
def test_equivalents_of_a_count_are_judged_as_one(expression: str) -> None:
    """That a count of rows rests on every row is worth nothing, when a sum of ones does not."""
    found = flows(f"select {expression} as it from {{people}} window w as (order by age)", "it")["it"]
    counted = {origin for origin, kind, how in found if how is How.COUNT or (kind, how) == (D, How.COUNT)}
    assert counted == {f"people.{column}" for column in PEOPLE}


def test_the_values_of_one_column_do_not_tell_how_many_have_them() -> None:
    """Where rows come from must be tellable of a table whose rows must not be counted."""
    found = flows("select string_agg(distinct place, ', ') as it from {people}", "it")["it"]
    assert found == {("people.place", D, How.AGGREGATE)}


def test_a_count_in_a_condition_or_a_subquery_rests_on_every_row() -> None:
    for clause in ("where age > (select count(name) from {places})", "limit (select count(name) from {places})"):
        found = flows(f"select release as it from {{people}} {clause}", "it")["it"]
        assert {"places.place", "places.name"} <= {origin for origin, _, _ in found}


def test_written_out_values_are_made_of_what_stands_in_them() -> None:
    sql = "select other.v as it from {people} as people, (values (people.age)) as other(v)"
    assert ("people.age", D, How.EXPRESSION) in flows(sql, "it")["it"]
    sql = "select v as it from unnest((select list(name) from {places} where place = 'x')) as other(v)"
    assert {("places.name", D, How.AGGREGATE), ("places.place", D, How.CONDITIONAL)} <= flows(sql, "it")["it"]


def test_distinct_on_makes_a_row_for_each_value() -> None:
    """A row per pseudonym is one per person, as if grouped by it."""
    found = flows("select distinct on (pseudonym) place as it from {people}", "it")["it"]
    assert ("people.pseudonym", R, How.DISTINCT) in found


def test_recursion_carries_values_from_column_to_column() -> None:
    """What stands in the third column at the beginning is in the first after two rounds."""
    sql = """with recursive it as (
                 select place as a, 1 as b, pseudonym as c from {people} union all select b, c, a from it where a < 'x'
             ) select a from it"""
    assert {("people.pseudonym", D, How.IDENTITY), ("people.pseudonym", R, How.FILTER)} <= flows(sql, "a")["a"]


def test_a_table_whose_alias_a_subquery_has_as_well_is_read_for_its_rows() -> None:
    sql = "select 'x' as it from {people} as t where exists (select t.name from {places} as t)"
    assert ("people.pseudonym", R, How.ROWS) in flows(sql, "it")["it"]


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
        "select place as it from {places} semi join {people} using (place)",  # sqlglot itself stumbles over it
    ],
)
def test_what_cannot_be_followed_is_refused_without_quoting_it(sql: str) -> None:
    with pytest.raises(ValueError, match="model it: its SQL cannot be followed") as refused:
        dbt_graph(manifest(sql.format(**TABLES), "it"))
    assert "academia__people" not in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("getvariable('Siti')", "the function getvariable"),
        ("my_own(place)", "the function my_own"),
        ("coalesce(place -> '$.b', 'Siti')", "an arrow"),
        ("place.upper()", "a function called with a dot"),
        ("place as other, it from (select place, 1 as it from {people}) using sample 3", "sample of select"),
        ("age as it from {people} positional join {places}", "a positional join"),
    ],
)
def test_what_nothing_can_follow_is_refused_by_name(expression: str, named: str) -> None:
    """The analyst must learn what to write otherwise, and the log must not learn what stands in the SQL."""
    sql = f"select {expression}" if " from " in expression else f"select {expression} as it from {{people}}"
    with pytest.raises(ValueError, match=f"model it: its SQL cannot be followed.*{named}") as refused:
        dbt_graph(manifest(sql.format(**TABLES), "it"))
    assert "Siti" not in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select place from {people}", {"people"}),
        ("select place from {people} where age > 3 order by age limit 3", {"people"}),
        ("with a as (select place from {people}) select place from a union all select name from {places}",
         {"people", "places"}),
        ("select people.place from {places} as places left join {people} as people using (place)",
         {"people", "places"}),
        ("select place, count(*) over (partition by place) as n from {people}", {"people"}),
        ("select place, row_number() over () as n from {people} qualify n = 1", {"people"}),
        ("select l.place from {places} as p, lateral (select place from {people}) as l", {"people", "places"}),
        ("select p.place from {places} as p semi join {people} as q on p.place = q.place", {"places"}),
        ("select place from {places} where place in (select place from {people})", {"places"}),
        ("select place from {people} group by place", set()),
        ("select distinct place from {people}", set()),
        ("select max(place) as place from {people}", set()),
        ("select count(*) filter (where age > 3) as place from {people}", set()),
        ("select place from {people} union select place from {places}", set()),
        ("select place from (select place, max(age) as n from {people} group by all)", set()),
    ],
)  # fmt: skip
def test_which_tables_have_a_row_for_every_row(sql: str, expected: set[str]) -> None:
    """Rows about persons are such rows under whatever columns are left of them."""
    found = tables_row_for_row(manifest(sql.format(**TABLES), "place"))
    assert found == {"model.merajut.it": frozenset(f"source.{name}" for name in expected)}


def test_a_step_is_that_of_figures_alone() -> None:
    """Withholding small counts protects no pseudonym that is taken over beside them; and a declaration that no test
    judges withholds nothing."""
    shown = "case when count(distinct age) >= 10 then count(distinct age) end"
    sql = f"select pseudonym, place, {shown} as n from {TABLES['people']} group by pseudonym, place"
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
