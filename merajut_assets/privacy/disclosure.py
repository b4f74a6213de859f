"""Disclosure control for published aggregates of true figures.

Belongs here: withholding small cells, and refusing combinations of tables from which a withheld
cell could be recomputed. Does not belong here: noisy figures (`dp`) and records (`anonymise`).
Complementary suppression is not available; therefore only one breakdown of the same contributors
may be published, and no totals beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from merajut_assets.privacy.policy import DataError


class DisclosureError(ValueError):
    """Publishing these tables together would let withheld cells be recomputed."""


def suppress_small_cells(
    frame: pl.DataFrame, count_column: str, k: int, measures: Sequence[str] = (), *, keep_rows: bool = True
) -> pl.DataFrame:
    """`frame` (one row per cell) without the figures of cells that have fewer than `k` contributors.

    `count_column` holds distinct contributors; it and every column of `measures` become null in a
    withheld row, and `is_withheld` (Boolean, last column) says so. A cell without a count is withheld,
    and so is an empty one: zero is a statement about everybody in the cell. `keep_rows=False` leaves
    withheld rows out: for cells whose very existence is not public.
    Every column that is not a measure must be a public key of the cell: this function cannot tell.
    Raises DataError for missing columns, k below 2 (which would withhold nothing that matters), or a
    count that is no whole number.
    """
    if missing := [name for name in (count_column, *measures) if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)}")
    if "is_withheld" in frame.columns:
        raise DataError("the frame already has a column 'is_withheld'; its cells were withheld before")
    if k < 2:
        raise DataError("k must be at least 2: a cell of one contributor is that contributor")
    if not frame.schema[count_column].is_integer():
        raise DataError(
            f"column {count_column!r} has type {frame.schema[count_column]}; contributors are whole numbers"
        )
    withheld = pl.col(count_column).is_null() | (pl.col(count_column) < k)
    marked = frame.with_columns(withheld.alias("is_withheld"))
    if not keep_rows:
        return marked.filter(~pl.col("is_withheld"))
    figures = list(dict.fromkeys((count_column, *measures)))
    return marked.with_columns(pl.when(~pl.col("is_withheld")).then(pl.col(name)).alias(name) for name in figures)


def refuse_margins(breakdowns: Mapping[str, Collection[str]]) -> None:
    """Raise DisclosureError when tables over the same contributors have different key columns.

    `breakdowns`: table name to its key columns, for tables that go to the same reader and count the same
    contributors. A coarser table is a margin of a finer one, and even two crossing breakdowns share their
    totals: the sum of one, less the visible cells of the other, is the withheld cell. So all must have the
    same keys. Tables without any key are totals, and no exception.
    """
    by_keys: dict[frozenset[str], str] = {}
    for name, keys in sorted(breakdowns.items()):
        by_keys.setdefault(frozenset(keys), name)
    if len(by_keys) > 1:
        first, second, *_ = sorted(by_keys.values())
        raise DisclosureError(
            f"tables {first!r} and {second!r} break the same contributors down differently; publish one of them, "
            "or take one from the differentially private statistics"
        )
