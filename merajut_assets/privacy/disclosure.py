"""Disclosure control for published aggregates of true figures.

Belongs here: withholding small cells, shares that tell something about everybody, and cells whose
difference from an earlier publication is about few people; refusing combinations of tables from which
a withheld cell could be recomputed. Does not belong here: noisy figures (`dp`), records (`anonymise`),
and where earlier publications are remembered.
Complementary suppression is not available; therefore only one breakdown of the same contributors
may be published, and no totals beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from merajut_assets.privacy.intake import type_name
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
            f"column {count_column!r} has type {type_name(frame.schema[count_column])}; contributors are whole numbers"
        )
    withheld = pl.col(count_column).is_null() | (pl.col(count_column) < k)
    marked = frame.with_columns(withheld.alias("is_withheld"))
    if not keep_rows:
        return marked.filter(~pl.col("is_withheld"))
    figures = list(dict.fromkeys((count_column, *measures)))
    return marked.with_columns(pl.when(~pl.col("is_withheld")).then(pl.col(name)).alias(name) for name in figures)


def withhold_disclosing_shares(
    frame: pl.DataFrame, share: str, people_with: str, people_without: str, least: int
) -> pl.DataFrame:
    """`frame` with `share` null wherever fewer than `least` distinct people are on either side of it.

    `people_with`, `people_without`: columns with how many people of the cell have the attribute, and how many
    lack it; a cell without either count is withheld. A share of exactly 0 or 1 has nobody on one side, and so
    is withheld for any `least` (1 or more): it would say of everybody in the cell what the attribute is.
    Raises DataError for missing columns, or `least` below 1.
    """
    if missing := [name for name in (share, people_with, people_without) if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)}")
    if least < 1:
        raise DataError("at least one person must be on either side of a share")
    enough = pl.min_horizontal(people_with, people_without) >= least
    counted = pl.col(people_with).is_not_null() & pl.col(people_without).is_not_null()
    return frame.with_columns(pl.when(enough & counted).then(pl.col(share)).alias(share))


def cells_with_small_changes(
    candidate: pl.DataFrame, published: pl.DataFrame, cell: Sequence[str], k: int
) -> pl.DataFrame:
    """The cells of `candidate` (distinct values of `cell`) that must not be published beside `published`.

    Both frames tell who stands behind each figure: one row per cell, `figure` and `contributor`, with the
    `contribution` of that person as text; `published` has a column `publication` besides, and holds only what
    was published. The difference of a figure between two publications is the sum over the people who came,
    went or changed their contribution. So a cell is withheld when there is a publication of the same cell from
    which between 1 and k - 1 people differ in any of its figures; unchanged ones may be published again.
    Each pair of publications is judged; sums over three and more are not.
    Raises DataError for missing columns, k below 2, or a contributor with two contributions to one figure.
    """
    columns = [*cell, "figure", "contributor", "contribution"]
    for frame, needed in ((candidate, columns), (published, [*columns, "publication"])):
        if missing := [name for name in needed if name not in frame.columns]:
            raise DataError(f"the contributions lack column(s) {', '.join(missing)}")
        if frame.select(set(needed) - {"contribution"}).is_duplicated().any():
            raise DataError("a contributor has two contributions to one figure of a cell; sum them up first")
    if k < 2:
        raise DataError("k must be at least 2: a difference of one contributor is that contributor")
    before = published.join(candidate.select(cell).unique(), on=cell, how="semi", nulls_equal=True)
    now = candidate.select(columns).join(before.select(*cell, "publication").unique(), on=list(cell), nulls_equal=True)
    person = [*cell, "publication", "figure", "contributor"]
    return (
        pl.concat([now.select(*person, "contribution"), before.select(*person, "contribution")])
        .group_by(person)
        .agg(((pl.len() == 1) | (pl.col("contribution").n_unique() > 1)).alias("is_changed"))
        .group_by(*cell, "publication", "figure")
        .agg(pl.col("is_changed").sum().alias("changed"))
        .filter(pl.col("changed").is_between(1, k - 1))
        .select(cell)
        .unique()
        .sort(cell)
    )


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
