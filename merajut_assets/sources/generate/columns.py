"""Vectorised building blocks of the generated tables: draws, dates and numbers as text, keys.

Columns here are Polars series in the form in which a source writes them: dates and moments are
ISO text, so that an impossible date can be planted beside real ones. What a column means, and
what depends on what, belongs to the modules of the systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
EPOCH = date(1970, 1, 1)
_SECONDS_OF_WORKING_DAY = (7 * 3600, 18 * 3600)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def draw(generator: np.random.Generator, probabilities: Sequence[float], count: int) -> Integers:
    """`count` positions in `probabilities`, which need not add up to one."""
    limits = np.cumsum(np.asarray(probabilities, dtype=float))
    return np.searchsorted(limits / limits[-1], generator.random(count), side="right").astype(np.int64)


def draw_each(generator: np.random.Generator, probabilities: Floats) -> Integers:
    """One position for each row of `probabilities` (n, choices)."""
    limits = np.cumsum(probabilities, axis=1)
    limits /= limits[:, -1:]
    return (generator.random(len(probabilities))[:, None] >= limits[:, :-1]).sum(axis=1).astype(np.int64)


def between(generator: np.random.Generator, low: Integers | int, high: Integers | int, count: int) -> Integers:
    """Whole numbers from `low` to `high`, both included; `low` where `high` is below it."""
    lowest = np.broadcast_to(np.asarray(low, dtype=np.int64), count)
    span = np.maximum(np.broadcast_to(np.asarray(high, dtype=np.int64), count) - lowest + 1, 1)
    return lowest + np.floor(generator.random(count) * span).astype(np.int64)


def pick(pool: Sequence[str] | pl.Series, positions: Integers) -> pl.Series:
    """The entries of `pool` at `positions`, as text."""
    series = pool if isinstance(pool, pl.Series) else pl.Series(list(pool), dtype=pl.String)
    return series.gather(pl.Series(positions, dtype=pl.UInt32))


def only(column: pl.Series, keep: Flags) -> pl.Series:
    """The column with null where `keep` is false."""
    return column.zip_with(pl.Series(keep), pl.Series([None], dtype=column.dtype).new_from_index(0, len(column)))


def dates(days: Integers, keep: Flags | None = None) -> pl.Series:
    """ISO dates of days since 1970-01-01; null where `keep` is false."""
    text = pl.Series(days.astype(np.int32)).cast(pl.Date).cast(pl.String)
    return text if keep is None else only(text, keep)


def moments(generator: np.random.Generator, days: Integers) -> pl.Series:
    """ISO moments in UTC, in working hours of the given days."""
    seconds = generator.integers(*_SECONDS_OF_WORKING_DAY, len(days))
    stamp = pl.Series(days.astype(np.int64) * 86_400 + seconds) * 1_000
    return stamp.cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def keys(prefix: str, first: int, count: int, width: int = 10) -> pl.Series:
    """Running numbers as text: prefix and `width` digits."""
    return numbered(prefix, np.arange(first, first + count, dtype=np.int64), width)


def numbered(prefix: str, numbers: Integers, width: int = 10) -> pl.Series:
    """Numbers as text: prefix and `width` digits."""
    text = pl.Series(numbers).cast(pl.String).str.zfill(width)
    return pl.select(pl.lit(prefix) + text).to_series()


def joined(*parts: pl.Series | str) -> pl.Series:
    """Text columns and constants, one after the other; null when a part is null."""
    expressions = [pl.lit(part) for part in parts]
    return pl.select(pl.concat_str(expressions)).to_series()


def flags(generator: np.random.Generator, share: float | Floats, count: int) -> Flags:
    """True with the probability `share`."""
    return generator.random(count) < share


def table(**columns: pl.Series | npt.NDArray[np.generic]) -> pl.DataFrame:
    """A frame of columns of equal length."""
    return pl.DataFrame(dict(columns))
