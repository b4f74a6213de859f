"""How the values of one sensitive column lie in the classes, in DuckDB SQL: l, entropy, recursive l, t, β.

Belongs here: the definitions of the models over classes. Does not belong here: which of them are asked for,
and thresholds (`verify`).
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import duckdb
import polars as pl

from merajut_assets.privacy.verify_database import VerificationError, first_row, handed_over, keys, run, with_one_zero


def judge_distribution(
    database: duckdb.DuckDBPyConnection,
    width: int,
    column: str,
    source: str,
    recursive_l: int | None,
    l: int | None,  # noqa: E741
) -> dict[str, Any]:
    """Makes the tables `cell` (class, size, value, n, total) and `whole` (value, total) of one sensitive
    column, the whole being the rows of `source`, and judges the classes by what they hold."""
    run(
        database,
        f"""CREATE OR REPLACE TEMP TABLE whole AS
        SELECT {column} AS value, count(*) AS total FROM {source} GROUP BY ALL""",
    )
    # One list per class and back: that numbers the classes without comparing their labels again.
    run(
        database,
        f"""CREATE OR REPLACE TEMP TABLE cell AS
        WITH counted AS (
            SELECT {keys(width)}{column} AS value, count(*) AS n FROM release GROUP BY ALL
        ), packed AS (
            SELECT {keys(width)}list(struct_pack(value := value, n := n)) AS cells, sum(n)::BIGINT AS size
            FROM counted GROUP BY ALL
        ), numbered AS (
            SELECT row_number() OVER () AS class, size, unnest(cells, max_depth := 2) FROM packed
        )
        SELECT class, size, numbered.value, n, coalesce(total, 0) AS total
        FROM numbered LEFT JOIN whole ON numbered.value IS NOT DISTINCT FROM whole.value""",
    )
    rows = rows_of_whole(database)
    tail = f"list_sum(list_reverse_sort(list(n) FILTER (known))[{int(recursive_l or 1)}:])"
    ratios = f"CASE WHEN values >= {int(recursive_l or 1)} THEN largest / tail END"
    below = f"values < {int(l or 0)}"
    row = first_row(
        database,
        f"""WITH marked AS (SELECT *, value IS NOT NULL AS known FROM cell), judged AS (
            SELECT size, count(*) FILTER (known) AS values,
                sum(n) FILTER (known) AS recorded,
                sum(n * ln(n)) FILTER (known) AS weighted,
                max(n) FILTER (known) AS largest,
                {tail if recursive_l is not None else "0"}::BIGINT AS tail,
                sum(greatest(0, n::HUGEINT * {rows} - total::HUGEINT * size)) AS moved
            FROM marked GROUP BY class, size
        )
        SELECT coalesce(min(values), 0),
            coalesce(min(CASE WHEN values = 0 THEN 0 ELSE exp(ln(recorded) - weighted / recorded) END), 0),
            coalesce(bool_or(values < {int(recursive_l or 0)}), false),
            arg_max(struct_pack(above := largest, below := tail), {ratios if recursive_l is not None else "1"}),
            arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE),
            count(*) FILTER ({below}), coalesce(sum(size) FILTER ({below}), 0)::BIGINT
        FROM judged""",
    )
    gain = first_row(
        database,
        """SELECT coalesce(bool_or(total = 0), false),
        arg_max(struct_pack(n := n, size := size, total := total), n / (size::DOUBLE * total)) FROM cell""",
    )
    found: dict[str, Any] = {"l": row[0], "entropy_l": row[1], "t_equal": share(row[4], rows)}
    found["beta"] = None if gain[0] else _gain(gain[1], rows)
    if recursive_l is not None:
        found["recursive_c"] = None if row[2] else share(row[3], 1)
    if l is not None:
        found.update(classes_below_l=row[5], rows_below_l=row[6])
    return found


def ordered_distance(database: duckdb.DuckDBPyConnection, ranks: pl.DataFrame) -> float:
    """Largest earth mover's distance over `ranks` (value, rank from 1).

    Between two values that a class has, its cumulative count stands still while that of the whole grows;
    the rank at which the whole overtakes the class splits the sum of absolute differences into two sums
    that prefix sums give. So the work grows with the cells, and not with classes times ranks.
    """
    database.register("ranking", handed_over(ranks))
    rows = rows_of_whole(database)
    last = max(ranks.height - 1, 0)
    row = first_row(
        database,
        f"""WITH growth AS (
            SELECT 0 AS rank, 0 AS total
            UNION ALL SELECT rank, coalesce(total, 0) FROM ranking LEFT JOIN whole USING (value)
        ), reached AS (
            SELECT rank, sum(total) OVER (ORDER BY rank)::HUGEINT AS below FROM growth
        ), prefix AS (
            SELECT rank, below, sum(below) OVER (ORDER BY rank)::HUGEINT AS area FROM reached
        ), overtaking AS (
            SELECT below, max(rank) AS rank FROM prefix GROUP BY below
        ), stepping AS (
            SELECT class, size, rank, n FROM cell JOIN ranking USING (value)
            UNION ALL SELECT DISTINCT class, size, 0, 0 FROM cell
        ), segment AS (
            SELECT class, size, rank AS first,
                least(coalesce(lead(rank) OVER steps, {ranks.height + 1}) - 1, {last}) AS final,
                sum(n) OVER steps * {rows}::HUGEINT AS level
            FROM stepping WINDOW steps AS (PARTITION BY class ORDER BY rank)
        ), split AS (
            SELECT segment.*, least(greatest(overtaking.rank, first - 1), final) AS turn
            FROM segment ASOF JOIN overtaking ON segment.level // segment.size >= overtaking.below
            WHERE first <= final
        ), summed AS (
            SELECT class, size, sum(
                (turn - first + 1) * level - size * (at_turn.area - coalesce(before.area, 0))
                + size * (at_final.area - at_turn.area) - (final - turn) * level
            ) AS moved
            FROM split
            LEFT JOIN prefix AS before ON before.rank = first - 1
            JOIN prefix AS at_turn ON at_turn.rank = turn
            JOIN prefix AS at_final ON at_final.rank = final
            GROUP BY class, size
        )
        SELECT arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE) FROM summed""",
    )
    return share(row[0], rows * max(last, 1))


def ranks_of(
    frame: pl.DataFrame, reference: pl.DataFrame | None, name: str, order: Sequence[Any] | None
) -> pl.DataFrame:
    """The values of a column with their ranks from 1. Every value must have one."""
    columns = [part.get_column(name) for part in (frame, reference) if part is not None]
    if any(column.null_count() for column in columns):
        raise VerificationError(f"column {name!r} holds nulls, which have no rank; t_ordered cannot be measured")
    held = pl.concat(columns).unique()
    ranked = held.sort() if order is None else _listed(held, name, order)
    return pl.DataFrame({"value": ranked, "rank": pl.int_range(1, len(ranked) + 1, eager=True)})


def _listed(held: pl.Series, name: str, order: Sequence[Any]) -> pl.Series:
    """The values in their order, as many as are listed; null for one that is not `held` and has no text of its type."""
    texts = pl.Series("text", [str(value) for value in order], dtype=pl.String)
    try:
        ranked = pl.Series(name, list(order), strict=False).cast(held.dtype, strict=False)
    except pl.exceptions.PolarsError:
        ranked = pl.Series(name, [], dtype=held.dtype)
    if len(ranked) < len(texts) or ranked.null_count():
        values = pl.DataFrame([_text_of(held, "text", name), held.alias("value")])
        ranked = texts.to_frame().join(values, on="text", how="left", maintain_order="left").get_column("value")
    if texts.is_duplicated().any() or ranked.drop_nulls().is_duplicated().any():
        raise VerificationError(f"the order of column {name!r} names a value twice")
    if not held.is_in(ranked.implode()).all():
        raise VerificationError(f"the order of column {name!r} does not name all of its values, or not as its type")
    return ranked


def _text_of(values: pl.Series, name: str, column: str) -> pl.Series:
    try:
        return values.cast(pl.String).alias(name)
    except pl.exceptions.PolarsError:
        raise VerificationError(
            f"column {column!r} has type {values.dtype.base_type()}, whose values are not written as text, and its "
            "order or hierarchy is of texts"
        ) from None


def tree_of(frame: pl.DataFrame, reference: pl.DataFrame | None, name: str, hierarchy: pl.DataFrame) -> pl.DataFrame:
    """Each value of a column, `held`, with its nodes `level_0`, `level_1`, …. Every value must have some.

    Values are found by their text, which is Polars', as in the files: DuckDB writes floats and moments otherwise."""
    levels = hierarchy.width - 1
    if levels < 1 or hierarchy.height == 0 or hierarchy.to_series(levels).n_unique() != 1:
        raise VerificationError(f"the hierarchy of column {name!r} does not end in one root")
    tree = hierarchy.select(pl.all().cast(pl.String)).rename(
        {column: f"level_{number}" for number, column in enumerate(hierarchy.columns)}
    )
    if tree.get_column("level_0").is_duplicated().any():
        raise VerificationError(f"the hierarchy of column {name!r} lists a value twice")
    columns = [part.get_column(name) for part in (frame, reference) if part is not None]
    held = with_one_zero(pl.concat(columns).alias("held").to_frame()).to_series().unique().drop_nulls()
    nodes = pl.DataFrame([held, _text_of(held, "level_0", name)])
    joined = nodes.join(tree, on="level_0", how="left", maintain_order="left")
    if joined.height and joined.get_column(f"level_{levels}").null_count():
        raise VerificationError(f"the hierarchy of column {name!r} does not hold all of its values")
    return joined


def hierarchical_distance(database: duckdb.DuckDBPyConnection, tree: pl.DataFrame) -> float:
    """Largest earth mover's distance over a tree (see `tree_of`).

    Moving costs the level at which two values meet, so that what must be moved across the nodes of one
    level is paid once for each level: the distance is the mean of the total variation distances at the
    levels below the root.
    """
    levels = tree.width - 2
    database.register("tree", handed_over(tree))
    rows = rows_of_whole(database)
    joined = "LEFT JOIN tree ON value = held"
    parts = " UNION ALL ".join(
        f"""SELECT class, size, greatest(0, n * {rows} - coalesce(total, 0) * size) AS moved
        FROM (SELECT class, size, level_{level} AS node, sum(n)::HUGEINT AS n FROM cell {joined} GROUP BY ALL) AS held
        LEFT JOIN (SELECT level_{level} AS node, sum(total)::HUGEINT AS total FROM whole {joined} GROUP BY ALL) AS known
        ON held.node IS NOT DISTINCT FROM known.node"""
        for level in range(levels)
    )
    row = first_row(
        database,
        f"""SELECT arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE)
        FROM (SELECT size, sum(moved) AS moved FROM ({parts}) GROUP BY class, size)""",
    )
    return share(row[0], rows * levels)


def share(pair: Mapping[str, Any] | None, scale: int) -> float:
    """above / (below * scale), correctly rounded; 0 when there was no class."""
    return 0.0 if pair is None else float(Fraction(int(pair["above"]), int(pair["below"]) * max(scale, 1)))


def _gain(cell: Mapping[str, Any] | None, rows: int) -> float:
    if cell is None:
        return 0.0
    return float(Fraction(int(cell["n"]) * rows, int(cell["size"]) * int(cell["total"])) - 1)


def rows_of_whole(database: duckdb.DuckDBPyConnection) -> int:
    return int(first_row(database, "SELECT coalesce(sum(total), 0)::BIGINT FROM whole")[0])
