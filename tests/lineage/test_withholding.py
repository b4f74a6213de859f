"""Which SQL shows figures about people so that a test can judge it. A test looks at numbers: of ten times a number, of
a number plus five, or of one in the column of a flag it learns nothing, and passes."""

from __future__ import annotations

from typing import Any

import pytest

from merajut_assets.lineage.sql import unwithheld
from tests.lineage.support.disclosure import disclosure_test

PEOPLE = "warehouse.protected.government__child_summary"
STAFF = "warehouse.protected.government__staff_summary"
# Of these, policies say from how many people on a figure may be shown: five.
COUNT = "count(distinct child_pseudonym)"
SHOWN = f"case when {COUNT} >= 5 then {COUNT} end"
FLAG = f"coalesce({COUNT} < 5, true)"
GROUPED = f"from {PEOPLE} group by region_code"
COLUMNS = {
    "government__child_summary": ("child_pseudonym", "region_code", "sex"),
    "government__staff_summary": ("province_code", "staff"),
}


def manifest(**models: str) -> dict[str, Any]:
    """A manifest with two datasets, and marts whose `value` and `is_withheld` are judged, `share` beside `value`."""
    nodes: dict[str, Any] = {}
    for name, sql in models.items():
        unique_id = f"model.merajut.{name}"
        columns = [column for column in ("value", "share", "is_withheld") if f" as {column}" in sql]
        nodes[unique_id] = {
            "resource_type": "model",
            "unique_id": unique_id,
            "name": name,
            "alias": name,
            "database": "warehouse",
            "schema": "mart_government",
            "fqn": ["merajut", "mart", "government", name],
            "config": {"materialized": "table", "meta": {"privacy_step": "disclosure_control"}},
            "columns": {column: {"name": column, "data_type": "varchar"} for column in columns},
            "compiled_code": sql,
        }
        for test in (
            disclosure_test(unique_id, "value", "is_withheld"),
            disclosure_test(unique_id, "share", "is_withheld", contributors="value"),
        ):
            nodes[f"{test['unique_id']}_{name}"] = test
    sources = {
        f"source.{table}": {
            "resource_type": "source",
            "unique_id": f"source.{table}",
            "name": table,
            "source_name": "protected",
            "identifier": table,
            "database": "warehouse",
            "schema": "protected",
            "config": {"meta": dict(zip(("stakeholder", "dataset"), table.split("__"), strict=True))},
            "columns": {column: {"name": column, "data_type": "varchar"} for column in columns},
        }
        for table, columns in COLUMNS.items()
    }
    return {"nodes": nodes, "sources": sources}


def faults(sql: str = "", **models: str) -> dict[str, str]:
    """Why judged columns are not believed, by column."""
    found = unwithheld(manifest(**({"it": sql} if sql else {}), **models))
    return {str(ref).removeprefix("mart/government/"): why for ref, why in found.items()}


@pytest.mark.parametrize(
    "sql",
    [
        f"select case when {COUNT} filter (where sex = 'F') >= 5 then {COUNT} filter (where sex = 'F') end as value "
        f"{GROUPED}",
        f"select {SHOWN} as value, {FLAG} as is_withheld {GROUPED}",
        f"select (case when {COUNT} >= 10 then 10 * {COUNT} end)::bigint as value {GROUPED}",
        # As the marts have it: counted in one query and withheld in another.
        f"with c as (select region_code, {COUNT} as n {GROUPED}), d as (select region_code as r, n::int as m from c) "
        "select case when d.m >= 5 then d.m end as value, coalesce(d.m < 5, true) as is_withheld "
        f"from {STAFF} as s left join d on d.r = s.province_code",
        f"with c as (select child_pseudonym as p, left(region_code, 2) as province from {PEOPLE} where sex <> '*') "
        "select case when count(distinct p) >= 5 then count(distinct p) end as value from c group by province",
        # Beside figures that were withheld before.
        f"select {SHOWN} as value, {FLAG} as is_withheld {GROUPED} union all select staff, false from {STAFF}",
        f"with c as (select {COUNT} as n, {COUNT} filter (where sex = 'F') as f {GROUPED}) select "
        "case when f >= 5 and n - f >= 5 then round(cast(f as double) / nullif(n, 0), 2) end as share from c",
    ],
)
def test_numbers_of_people_and_what_withholds_them_are_believed(sql: str) -> None:
    assert faults(sql) == {}


@pytest.mark.parametrize(
    ("value", "because"),
    [
        (f"5 + {COUNT}", "neither a number"),
        (f"10 * {COUNT}", "neither a number"),
        (f"-{COUNT}", "neither a number"),
        (f"coalesce(nullif({COUNT}, 1), 5)", "neither a number"),
        (f"greatest({COUNT}, 5)", "neither a number"),
        (f"{COUNT}::varchar", "neither a number"),
        ("count(*)", "neither a number"),
        ("sum(1)", "neither a number"),
        ("len(list(sex))", "neither a number"),
        ("histogram(sex)", "neither a number"),
        ("nobody_knows(sex)", "neither a number"),
        ("count(child_pseudonym)", "neither a number"),
        ("approx_count_distinct(child_pseudonym)", "neither a number"),
        ("count(distinct child_pseudonym || sex)", "distinct values of one column"),
        ("count(distinct (child_pseudonym, sex))", "distinct values of one column"),
        # A test compares with the least number of all stakeholders, and this one's may be larger.
        (COUNT, "however small; make it with at_least_minimum, from 5 on"),
        # Shown below the least number, or beside it.
        (f"case when {COUNT} >= 4 then {COUNT} end", "another condition"),
        (f"case when {COUNT} >= 5 or sex = 'F' then {COUNT} end", "another condition"),
        (f"case when {COUNT} < 5 then {COUNT} end", "another condition"),
        (f"case when count(*) >= 5 then {COUNT} end", "another condition"),
        (f"case when {COUNT} >= 5 then {COUNT} else -{COUNT} end", "several branches"),
        (f"case when {COUNT} >= 5 then {COUNT} when true then {COUNT} end", "several branches"),
        (f"case when {COUNT} >= 5 then {COUNT} filter (where sex = 'F') end", "does not compare"),
        (f"case when {COUNT} >= 5 then max(sex) end", "something else than numbers of people"),
        (f"case when {COUNT} >= 5 then region_code end", "something else than numbers of people"),
    ],
)
def test_what_no_test_can_judge_is_not_believed(value: str, because: str) -> None:
    """The first three passed: the data test `value < 5` cannot fail for them."""
    assert because in faults(f"select {value} as value, {FLAG} as is_withheld {GROUPED}")["it.value"]


@pytest.mark.parametrize("share", ["1e9 * f / n", "f / (n * 1e-9)", "(n * 100000 + f) / 1", "f / n / 1e-9"])
def test_a_share_that_was_scaled_is_none(share: str) -> None:
    """Two digits of a billion shares are the two numbers that they are made of."""
    counted = f"with c as (select {COUNT} as n, {COUNT} filter (where sex = 'F') as f {GROUPED}) "
    found = faults(f"{counted} select case when f >= 5 and n - f >= 5 then round({share}, 2) end as share from c")
    assert "make it with at_least_minimum or share_of_people" in found["it.share"]


@pytest.mark.parametrize(
    ("flag", "column"),
    [
        (COUNT, "it.is_withheld"),
        (f"coalesce({COUNT} < 5)", "it.is_withheld"),
        (f"{COUNT} < 3", "it.is_withheld"),
        (f"{COUNT} = 1", "it.is_withheld"),
        (f"coalesce({COUNT} < 3, true)", "it.is_withheld"),
        (f"coalesce({COUNT} < 6, true)", "it.is_withheld"),
        # Where there is nobody the number is missing after a join: that must look like a few.
        (f"coalesce({COUNT} < 5, false)", "it.is_withheld"),
        (f"coalesce({COUNT} > 5, true)", "it.is_withheld"),
        (f"case when {COUNT} >= 5 then {COUNT} end", "it.is_withheld"),
        ("count(*) > 1", "it.is_withheld"),
    ],
)
def test_a_flag_tells_whether_a_figure_is_withheld_and_no_more(flag: str, column: str) -> None:
    """A number of children in the column of a flag passed, because a test only asks whether it is true."""
    assert (
        "make it with is_below_minimum" in faults(f"select {SHOWN} as value, {flag} as is_withheld {GROUPED}")[column]
    )


@pytest.mark.parametrize(
    "share",
    [
        "round(f / n, 2)",
        "case when n >= 5 then round(f / n, 2) end",
        "case when f >= 5 then round(f / n, 2) end",
        "case when f >= 5 and n >= 5 then round(f / n, 2) end",
        "case when f >= 5 and n - f >= 1 then round(f / n, 2) end",
        "case when f >= 5 and n - f >= 5 then f * 1000 + n end",
        "case when f >= 5 and n - f >= 5 then f / n end",
        "case when f >= 5 and n - f >= 5 then round(f / n, 9) end",
        "f",
    ],
)
def test_a_share_is_withheld_when_few_people_have_it_or_lack_it(share: str) -> None:
    """A share of all but one is a statement about one, and one with many digits is two numbers of people."""
    counted = f"with c as (select {COUNT} as n, {COUNT} filter (where sex = 'F') as f {GROUPED})"
    assert set(faults(f"{counted} select {share} as share from c")) == {"it.share"}


def test_a_number_of_another_row_withholds_nothing() -> None:
    """What is compared must be what is shown, and not the same column of a table that is joined once more."""
    sql = (
        f"with c as (select {COUNT} as n, region_code {GROUPED}) "
        "select case when b.n >= 5 then a.n end as value from c as a join c as b on a.region_code <> b.region_code"
    )
    assert "does not compare" in faults(sql)["it.value"]


@pytest.mark.parametrize(
    "counted",
    [
        f"select {COUNT} as value from {PEOPLE} group by rollup (region_code)",
        f"select {COUNT} as value from {PEOPLE} group by grouping sets ((region_code), ())",
        f"select {COUNT} as value from {PEOPLE} join {STAFF} on staff > 1 group by province_code",
        f"select {COUNT} as value from ({PEOPLE} join {STAFF} on staff > 1) group by province_code",
        f"select {COUNT} as value, unnest([region_code, 'ID']) as area from {PEOPLE} group by all",
        f"with c as (select child_pseudonym, unnest([region_code, 'ID']) as area from {PEOPLE}) "
        f"select {COUNT} as value from c group by area",
        f"with c as (select child_pseudonym, region_code from {PEOPLE} union all select child_pseudonym, 'ID' "
        f"from {PEOPLE}) select {COUNT} as value from c group by region_code",
        f"with c as (select child_pseudonym || staff as p, region_code from {PEOPLE}, {STAFF}) "
        "select count(distinct p) as value from c group by region_code",
        f"select count(distinct staff) as value from {STAFF} group by province_code",
        f"with recursive c as (select child_pseudonym, region_code as r from {PEOPLE} union all "
        f"select child_pseudonym, 'ID' from c where r <> 'ID') select {COUNT} as value from c group by r",
        f"with recursive c as (select {COUNT} as n from {PEOPLE} union all select n + 1 from c where n < 9) "
        "select case when n >= 5 then n end as value from c",
        f"select {COUNT} as value from {PEOPLE} where sex in (select sex from {PEOPLE}) group by region_code",
    ],
)
def test_nobody_is_in_two_groups_of_one_figure(counted: str) -> None:
    """A total among its parts, however it gets there, tells the one part that is withheld."""
    assert set(faults(counted)) == {"it.value"}


def test_two_numbers_of_the_same_people_by_different_groups_are_refused() -> None:
    """A national count beside provinces of which one is withheld is that province's count."""
    provinces = f"select {SHOWN} as value, {FLAG} as is_withheld {GROUPED}"
    nation = f"select {SHOWN} as value from {PEOPLE}"
    girls = f"select case when n >= 5 then n end as value from (select {COUNT} filter (where sex = 'F') as n {GROUPED})"
    assert faults(one=provinces) == faults(one=nation) == faults(one=girls) == {}
    for other in (nation, girls):
        found = faults(one=provinces, other=other)
        assert set(found) == {"one.value", "other.value"}
        assert "by other groups or conditions than mart/government/other.value" in found["one.value"]
    within = f"{provinces} union all select {SHOWN}, false from {PEOPLE}"
    assert "the difference of two figures tells what each withholds" in faults(within)["it.value"]
    # The same figures once more tell nothing new.
    assert faults(one=provinces, other=provinces) == {}


def test_two_conditions_of_one_name_are_two_conditions() -> None:
    """What is counted is told by what the names stand for: one condition less, and the difference is a few children."""
    some, all_of_them = (
        f"with c as (select child_pseudonym, region_code from {PEOPLE} where {condition}) "
        f"select {COUNT} as value from c group by region_code"
        for condition in ("sex <> 'X'", "true")
    )
    assert set(faults(one=some, other=all_of_them)) == {"one.value", "other.value"}
