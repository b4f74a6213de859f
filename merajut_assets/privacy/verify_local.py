"""Classes with labels of different levels, judged as one who knows everybody's values would narrow them.

Belongs here: which people a label can stand for when the labels beside it are read as well, counted in DuckDB.
Does not belong here: figures about classes of equal labels (`verify`).

A label is *finer* than another when it stands for some of the values that the other stands for, and for no more. Of
somebody whose values a finer label covers, it is believed that they are published under that one; a coarser label
then hides only those whom no finer one takes. Where two labels overlap and neither is finer, nothing is told about
those in the overlap: they may be under either.

What a value may be published as is given in tables, so that nothing is known here of how levels are made: per
column a frame of the value and, in the columns after it, its texts. A text stands for all values beside it.
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from merajut_assets.privacy.verify_database import (
    VerificationError,
    first_row,
    handed_over,
    opened,
    renamed,
    require_columns,
    run,
)


def narrowed(
    frame: pl.DataFrame,
    original: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    texts: Mapping[str, pl.DataFrame],
    matched: Sequence[str] = (),
) -> pl.DataFrame:
    """The rows of `frame` that may be about people whom no finer label takes.

    `original`: the rows behind the release, their `quasi_identifiers` being values of the tables `texts`. A published
    row and an original one can be the same when they agree in the columns `matched` (a subject makes that certain) and
    the label covers the values; of each kind as many rows remain as there are people for them. So a release whose
    rows are all as finely labelled as they can be remains as it is, and what is missing from it has been narrowed
    away. Raises VerificationError when a column or a value is missing.
    """
    _require(frame, original, quasi_identifiers, texts, matched)
    release = renamed(frame, q=quasi_identifiers, m=matched)
    people = renamed(original, v=quasi_identifiers, m=matched)
    place = pa.array(range(frame.height), pa.int64())
    tables = {"release": release.append_column("place", place), "person": people}
    same = " AND ".join(["mine.label = theirs.label", *(_equal("mine", "theirs", "m", n) for n in range(len(matched)))])
    kinds = "".join(f", m{number}" for number in range(len(matched)))
    with opened(tables) as database:
        _cover(database, quasi_identifiers, texts)
        joined = _joined("named", "release", "q", len(quasi_identifiers))
        values = _joined("tuple", "person", "v", len(quasi_identifiers))
        kept = run(
            database,
            f"""WITH mine AS (
                SELECT place, label{kinds}, row_number() OVER (PARTITION BY label{kinds} ORDER BY place) AS number
                FROM release JOIN named ON {joined}
            ), theirs AS (
                SELECT label{kinds}, count(*) AS people
                FROM person JOIN tuple ON {values} JOIN finest USING (tuple) GROUP BY ALL
            )
            SELECT place FROM mine JOIN theirs ON {same} WHERE number <= people ORDER BY place""",
        ).fetchnumpy()["place"]
    return frame[kept]


def verify_presence(
    frame: pl.DataFrame,
    population: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    texts: Mapping[str, pl.DataFrame],
    subject: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `verify` tells of a population (`delta_min`, `delta_max`, `k_map`, `rows_outside_population`), whose
    `quasi_identifiers` are values of the tables `texts`, for a release with labels of any levels.

    Twice, because somebody in the overlap of labels may belong to either: as it is if all those belong to the label
    that is asked about, and if none of them does. Where no labels overlap, both are the same. `delta_min` is 0 when a
    person of the population is under no label. Raises VerificationError when a column or a value is missing.
    """
    _require(frame, population, quasi_identifiers, texts, [])
    if subject is not None:
        require_columns(frame, [subject], "release")
    tables = {
        "release": renamed(frame, q=quasi_identifiers, subject=[] if subject is None else [subject]),
        "person": renamed(population, v=quasi_identifiers),
    }
    held = "count(*)" if subject is None else "count(DISTINCT subject0)"
    with opened(tables) as database:
        _cover(database, quasi_identifiers, texts)
        values = _joined("tuple", "person", "v", len(quasi_identifiers))
        joined = _joined("named", "release", "q", len(quasi_identifiers))
        run(
            database,
            f"""CREATE TEMP TABLE crowd AS (
                SELECT tuple, count(*) AS people FROM person JOIN tuple ON {values} GROUP BY tuple);
            CREATE TEMP TABLE class AS (
                WITH hidden AS (
                    SELECT label, sum(people)::BIGINT AS all_of_them,
                        coalesce(sum(people) FILTER (labels = 1), 0)::BIGINT AS certain
                    FROM finest JOIN crowd USING (tuple)
                    JOIN (SELECT tuple, count(*) AS labels FROM finest GROUP BY tuple) USING (tuple) GROUP BY label
                )
                SELECT held, size, coalesce(all_of_them, 0) AS all_of_them, coalesce(certain, 0) AS certain
                FROM (SELECT label, {held} AS held, count(*) AS size FROM release JOIN named ON {joined} GROUP BY label)
                LEFT JOIN hidden USING (label))""",
        )
        (outside,) = first_row(database, "SELECT count(*) FROM crowd ANTI JOIN finest USING (tuple)")
        facts = []
        for people in ("all_of_them", "certain"):
            row = first_row(
                database,
                f"""SELECT min(CASE WHEN {people} > 0 THEN held / {people}::DOUBLE END),
                    max(CASE WHEN {people} > 0 THEN held / {people}::DOUBLE END),
                    coalesce(min({people}), 0), coalesce(sum(size) FILTER ({people} = 0), 0)::BIGINT FROM class""",
            )
            facts.append(
                {
                    "delta_min": 0.0 if outside else row[0] or 0.0,
                    "delta_max": row[1] or 0.0,
                    "k_map": row[2],
                    "rows_outside_population": row[3],
                }
            )
    return facts[0], facts[1]


def _require(
    frame: pl.DataFrame,
    people: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    texts: Mapping[str, pl.DataFrame],
    matched: Sequence[str],
) -> None:
    require_columns(frame, [*quasi_identifiers, *matched], "release")
    require_columns(people, [*quasi_identifiers, *matched], "people behind the release")
    if missing := [name for name in quasi_identifiers if name not in texts]:
        raise VerificationError(f"no texts are given for column(s) {', '.join(missing)}")
    for name in quasi_identifiers:
        known = texts[name].to_series(0)
        if known.is_duplicated().any():
            raise VerificationError(f"the texts of column {name!r} list a value twice")
        if (
            known.dtype != people.schema[name]
            or not people.get_column(name).is_in(known.implode(), nulls_equal=True).all()
        ):
            raise VerificationError(f"the texts of column {name!r} do not hold all of its values")


# ── which labels cover whom ────────────────────────────────────────────────────────────────


def _cover(database: duckdb.DuckDBPyConnection, names: Sequence[str], texts: Mapping[str, pl.DataFrame]) -> None:
    """Makes the tables `named` (q0, …, label) of the labels in `release`, `tuple` (v0, …, tuple) of the distinct
    values in `person`, and `finest` (tuple, label): the labels that cover a tuple and hold no finer one that does.

    Column by column, labels and tuples are followed along the labels' common beginnings, so that no pair of label and
    tuple is looked at that differs at the beginning.
    """
    width = len(names)
    columns = [", ".join(f"{group}{place}" for place in range(width)) for group in ("q", "v")]
    run(database, f"CREATE TEMP TABLE named AS SELECT {columns[0]}, 0 AS label FROM release GROUP BY ALL")
    run(
        database,
        f"""CREATE TEMP TABLE tuple AS
        SELECT *, row_number() OVER () AS tuple FROM (SELECT {columns[1]} FROM person GROUP BY ALL)""",
    )
    run(database, "CREATE TEMP TABLE reached AS SELECT tuple, 0 AS label FROM tuple")
    for place, name in enumerate(names):
        database.register("given", _long(texts[name]))
        # As text: the labels of a release are text, whatever the values are.
        sizes = "".join(f", size{number}" for number in range(place))
        run(
            database,
            f"""CREATE OR REPLACE TEMP TABLE step AS (
                SELECT label AS start, q{place} AS text, row_number() OVER () AS label
                FROM (SELECT label, q{place}::VARCHAR AS q{place} FROM named GROUP BY ALL));
            CREATE OR REPLACE TEMP TABLE named AS (
                SELECT named.* REPLACE (step.label AS label)
                FROM named JOIN step ON named.label = start AND q{place}::VARCHAR IS NOT DISTINCT FROM text);
            CREATE OR REPLACE TEMP TABLE shown AS (
                SELECT value, text::VARCHAR AS text, count(*) OVER (PARTITION BY text) AS size{place} FROM given);
            CREATE OR REPLACE TEMP TABLE reached AS (
                SELECT tuple, step.label{sizes}, size{place}
                FROM reached JOIN tuple USING (tuple)
                JOIN shown ON v{place} IS NOT DISTINCT FROM value
                JOIN step ON reached.label = start AND shown.text IS NOT DISTINCT FROM step.text)""",
        )
    inside = " AND ".join(f"other.size{place} <= reached.size{place}" for place in range(width)) or "false"
    smaller = " OR ".join(f"other.size{place} < reached.size{place}" for place in range(width)) or "false"
    # Both cover the tuple, and texts that cover one value are nested: the sizes tell which holds the other. In a CASE,
    # because DuckDB would rather sort by one of many inequalities than look up the tuple.
    run(
        database,
        f"""CREATE TEMP TABLE finest AS SELECT tuple, label FROM reached ANTI JOIN (
            SELECT DISTINCT tuple, reached.label FROM reached JOIN reached AS other USING (tuple)
            WHERE CASE WHEN {inside} THEN {smaller} ELSE false END
        ) USING (tuple, label)""",
    )


def _long(texts: pl.DataFrame) -> pa.Table:
    """Each pair of a value and a text that it may be published as, once."""
    value = texts.columns[0]
    pairs = texts.unpivot(index=value, value_name="\0text").select(pl.col(value).alias("value"), pl.col("\0text"))
    return handed_over(pairs.rename({"\0text": "text"}).unique())


def _joined(named: str, rows: str, group: str, width: int) -> str:
    return " AND ".join(_equal(rows, named, group, place) for place in range(width)) or "true"


def _equal(left: str, right: str, group: str, place: int) -> str:
    return f"{left}.{group}{place} IS NOT DISTINCT FROM {right}.{group}{place}"
