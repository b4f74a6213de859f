"""What the reader of SQL lets in: what is not named there is refused, whatever a parser or DuckDB learn next.

The incident this prevents: a clause that nobody thought of decides about rows or values, and the proof stays green.
"""

from __future__ import annotations

import duckdb
import pytest
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from merajut_assets.lineage import grammar
from merajut_assets.lineage.grammar import PARTS, is_aggregate, unknown_forms


def parts(is_read: bool) -> list[tuple[type[exp.Expr], str]]:
    """Every argument that the parser knows of a part of a query, as far as it is read or not."""
    return [(part, key) for part, read in PARTS.items() for key in part.arg_types if (key in read) is is_read]


def refused(expression: str) -> list[str]:
    return list(unknown_forms(parse_one(f"select {expression}", dialect="duckdb")))


@pytest.mark.parametrize(("part", "key"), parts(is_read=False), ids=lambda one: getattr(one, "__name__", one))
def test_whatever_else_may_be_set_in_a_part_of_a_query_is_refused(part: type[exp.Expr], key: str) -> None:
    """LIMIT, WINDOW and BY NAME were such arguments, and were read past."""
    assert f"{key.rstrip('_')} of {part.key}" in list(unknown_forms(part(**{key: exp.Literal.number(1)})))


def test_what_is_read_is_what_the_parser_calls_it() -> None:
    """A misspelt argument would refuse what is right, or be one that no query has."""
    assert {(part, key) for part, read in PARTS.items() for key in read} == set(parts(is_read=True))


def test_classes_of_the_parser_that_are_not_named_are_refused() -> None:
    """Of every kind of node the parser has, those that are let in are operators or on a list."""
    known = {*PARTS, *grammar._VALUES, *grammar._SYNTAX, *grammar._SCALARS, *grammar._AGGREGATES}
    kinds = [one for one in vars(exp).values() if isinstance(one, type) and issubclass(one, exp.Expression)]
    assert len(kinds) > 900
    for kind in kinds:
        if kind not in known and (issubclass(kind, exp.Func) or not issubclass(kind, (exp.Binary, exp.Unary))):
            assert list(unknown_forms(kind(this="x"))), kind


@pytest.mark.parametrize(
    "expression",
    [
        "getvariable('x')",
        "getenv('HOME')",
        "current_setting('threads')",
        "query('select 1')",
        "query_table('x')",
        "read_text('x')",
        "my_own(a)",
        "now()",
        "current_date",
        "current_user",
        "version()",
        "random()",
        "nextval('s')",
        "current_query()",
        "$1",
        "?",
        "columns('a.*')",
        "unnest(a)",
        "[x for x in a]",
        "main.upper(a)",
        "a.upper()",
        "coalesce(a -> '$.b', 'x')",
        "list_transform(a, x -> x)",
        "list(*)",
        "count(t.*) from t",
        "a from t using sample 3",
        "a from t tablesample 3%",
        "a from t limit 3%",
        "a from t for update",
        "a from t positional join u",
        "a from t pivot (max(b) for c in ('x'))",
        "a from t at (version => 3)",
        "a from t union all by name (select a from u limit 3) for update",
    ],
)
def test_what_takes_its_value_from_elsewhere_or_hides_a_column_is_refused(expression: str) -> None:
    """A setting, a variable, a file or a name that is no column here may hold whatever somebody put there."""
    assert refused(expression)


def test_a_bare_name_in_a_lambda_is_one_of_its_parameters() -> None:
    """Any other would be a column that the parser takes for a name."""
    query = parse_one("select list_transform(a, lambda x: x)", dialect="duckdb")
    assert list(unknown_forms(query)) == []
    for body in query.find_all(exp.Lambda):
        body.set("this", exp.to_identifier("y"))
    assert list(unknown_forms(query)) == ["a name that stands for no column"]


def test_a_refused_function_is_named_and_its_arguments_are_not() -> None:
    assert refused("getvariable('Siti')") == ["the function getvariable"]


@pytest.mark.parametrize(
    "expression",
    [
        "a::int, try_cast(a as date), case when a > 1 then b end, coalesce(a, b), a in (1, 2), a between 1 and 2",
        "a -> '$.b', a ->> '$.b', a[1], a[1:2], {'x': a}, [a, b], map {'x': a}, extract(year from a), interval 3 day",
        "list_transform(a, lambda x: x + b), list_filter(a, lambda x: x > 1)",
        "count(*) filter (where a), sum(a) over (partition by b order by c rows 3 preceding)",
        "lag(a ignore nulls) over w",
        "percentile_cont(0.5) within group (order by a), string_agg(distinct a, ', ' order by a), histogram(a)",
        "a from t asof join u on t.x >= u.x",
        "a from (t join u on t.x = u.x) where exists (select 1 from v) order by all",
        "a from t union all by name select a from u limit 3 offset 1",
        "a, max(b) from t group by grouping sets ((a), ()) having max(b) > 1 qualify row_number() over () = 1",
        "a from t, unnest(t.b) as u(v), lateral (select 1) as w, (values (1, 2)) as x(y, z)",
    ],
)
def test_what_analysts_write_is_let_in(expression: str) -> None:
    """A reader that refuses what is right would be gone around."""
    assert refused(expression) == []


# ── against DuckDB's own catalogue ───────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def catalogue() -> list[tuple[str, str, str | None]]:
    """Name, kind and stability of every function that DuckDB has and that can be called by a plain name."""
    found: list[tuple[str, str, str | None]] = (
        duckdb.connect()
        .sql(
            "select distinct function_name, function_type, stability from duckdb_functions() "
            "where regexp_full_match(function_name, '[a-z][a-z0-9_]*')"
        )
        .fetchall()
    )
    assert len(found) > 500
    return found


def calls(name: str) -> list[exp.Expr]:
    """A function with none to three arguments, as far as the parser takes them."""
    found = []
    for arguments in ("", "a", "a, b", "a, b, c"):
        try:
            found.append(parse_one(f"select {name}({arguments})", dialect="duckdb"))
        except SqlglotError:
            continue
    return found


def test_no_function_that_duckdb_calls_unstable_is_let_in(catalogue) -> None:
    """A value that differs from run to run comes from somewhere else than its arguments."""
    stable = {name for name, kind, stability in catalogue if stability == "CONSISTENT" or kind == "macro"}
    unstable = {name for name, _, stability in catalogue if stability not in (None, "CONSISTENT")} - stable
    assert {"random", "nextval", "now", "today"} <= unstable
    let_in = {name for name in unstable for query in calls(name) if not list(unknown_forms(query))}
    assert let_in == set()


def test_functions_known_by_name_are_duckdbs_own(catalogue) -> None:
    """A name that DuckDB does not have would be somebody's macro."""
    kinds = {name: kind for name, kind, stability in catalogue if kind == "macro" or stability == "CONSISTENT"}
    assert not (grammar._NAMED_SCALARS | grammar._NAMED_AGGREGATES) - set(kinds)
    assert {kinds[name] for name in grammar._NAMED_SCALARS} == {"scalar", "macro"}


def test_every_aggregate_of_duckdb_is_seen_as_one_or_refused(catalogue) -> None:
    """An aggregate taken for a plain function would count people without being called a count."""
    aggregates = {name for name, kind, _ in catalogue if kind == "aggregate"}
    assert len(aggregates) > 80
    for name in aggregates:
        for query in calls(name):
            assert any(map(is_aggregate, query.walk())) or list(unknown_forms(query)), name
