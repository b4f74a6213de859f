"""What the summaries of all stakeholders share: their register, cells, and time and bands as expressions.

A summary (see `summaries`) is a pure function from conformed entities to the rows of one protected dataset, as of a
cut-off date. It sees only rows that may be used (`consent_filter` saw to that) and returns them
before any generalisation; pseudonyms, generalisation and small cells are `pipeline`'s business. A summary
of figures about groups says who stands behind each figure, in the column CONTRIBUTIONS (see `cells`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from merajut_assets.contracts.base import ContractError, TableContract

Entities = Mapping[str, pl.DataFrame]
Summary = Callable[[Entities, date], pl.DataFrame]

PROVINCE_CHARACTERS = 2
CONTRIBUTIONS = "contributions"
CONTRIBUTOR = "contributor"

_SUMMARIES: dict[tuple[str, str], Summary] = {}


def summary(stakeholder: str, dataset: str) -> Callable[[Summary], Summary]:
    """Register the function that builds a protected dataset."""

    def register(build: Summary) -> Summary:
        if (stakeholder, dataset) in _SUMMARIES:
            raise ContractError(f"{stakeholder}.{dataset} has two summaries")
        _SUMMARIES[stakeholder, dataset] = build
        return build

    return register


def summary_of(contract: TableContract) -> Summary:
    """The function that builds a dataset. Raises ContractError when nobody wrote one."""
    found = _SUMMARIES.get((contract.system, contract.name))
    if found is None:
        raise ContractError(f"no summary builds {contract.identifier}; write one in merajut_assets/protected/summaries")
    return found


def registered_summaries() -> frozenset[tuple[str, str]]:
    """(stakeholder, dataset) of every summary there is."""
    return frozenset(_SUMMARIES)


# ── figures about groups ─────────────────────────────────────────────────────────────────


def cells(
    events: pl.DataFrame,
    keys: Sequence[str],
    contributor: str,
    count: str,
    *,
    sums: Mapping[str, pl.Expr] | None = None,
    shares: Mapping[str, pl.Expr] | None = None,
) -> pl.DataFrame:
    """One row per cell in which there is anybody: `keys`, `count`, the figures, and CONTRIBUTIONS.

    `events`: rows about the people in the column `contributor`; `count` is how many distinct ones there are.
    `sums`: by figure, what one person adds to it, as an expression over that person's events. `shares`: by
    figure, whether an event has the attribute; the figure is the share of events that have it.
    CONTRIBUTIONS lists one struct per person: `contributor`, and by figure that person's part: the summand, or
    for a share a struct of `part` (events that have the attribute) and `whole` (all events).
    """
    sums, shares = sums or {}, shares or {}
    people = (
        events.drop_nulls([*keys, contributor])
        .group_by(*keys, pl.col(contributor).alias(CONTRIBUTOR))
        .agg(
            *(summand.alias(name) for name, summand in sums.items()),
            *(
                pl.struct(whole(flag.fill_null(False).sum()).alias("part"), whole(pl.len()).alias("whole")).alias(name)
                for name, flag in shares.items()
            ),
        )
    )
    return people.group_by(keys).agg(
        whole(pl.len()).alias(count),
        *(pl.col(name).sum() for name in sums),
        *(
            (pl.col(name).struct.field("part").sum() / pl.col(name).struct.field("whole").sum()).alias(name)
            for name in shares
        ),
        pl.struct(CONTRIBUTOR, *sums, *shares).alias(CONTRIBUTIONS),
    )


# ── time ─────────────────────────────────────────────────────────────────────────────────


def year_before(day: date) -> date:
    """The same day a year earlier; 29 February becomes 28 February."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def in_last_year(column: str, on: date) -> pl.Expr:
    """Whether a date lies in the twelve months that end with the day `on`."""
    return (pl.col(column) > year_before(on)) & (pl.col(column) <= on)


def completed_months(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Whole months between two dates."""
    months = (end.dt.year() - start.dt.year()) * 12 + end.dt.month().cast(pl.Int32) - start.dt.month().cast(pl.Int32)
    return months - (end.dt.day() < start.dt.day()).cast(pl.Int32)


def completed_years(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Whole years between two dates: an age, when `start` is a birth date."""
    return completed_months(start, end) // 12


# ── bands and places ─────────────────────────────────────────────────────────────────────


def banded(figure: pl.Expr, bands: Sequence[tuple[float, str]], above: str) -> pl.Expr:
    """The label of the first band whose upper end holds the figure, `above` beyond all; null stays null."""
    label: Any = pl.when(figure.is_null()).then(pl.lit(None, dtype=pl.String))
    for highest, name in bands:
        label = label.when(figure <= highest).then(pl.lit(name))
    labelled: pl.Expr = label.otherwise(pl.lit(above))
    return labelled


def province_of(code: pl.Expr) -> pl.Expr:
    """The province of a Kemendagri code."""
    return code.str.slice(0, PROVINCE_CHARACTERS)


def whole(expression: pl.Expr) -> pl.Expr:
    """A count as the contracts' integer."""
    return expression.cast(pl.Int64)


def every_combination(*frames: pl.DataFrame) -> pl.DataFrame:
    """All combinations of the rows of frames, sorted: the public grid of a table's cells."""
    grid = frames[0]
    for frame in frames[1:]:
        grid = grid.join(frame, how="cross")
    return grid.sort(grid.columns)


def allowed_values(contract: TableContract, column: str) -> pl.DataFrame:
    """The values that a contract allows in a column, one row each: public, since they are known without data."""
    for check in contract.schema.columns[column].checks:
        values = (check.statistics or {}).get("allowed_values")
        if values is not None:
            return pl.DataFrame({column: sorted(values)}, schema={column: pl.String})
    raise ContractError(f"{contract.identifier}.{column} declares no list of values")
