"""Differentially private figures: counts and means over public keys, with OpenDP's noise.

Belongs here: turning a frame with one row per subject into noisy cells that say how noisy they
are. Does not belong here: how much budget there is (a ledger charges it *before* these functions
are called) and who consented.

Unit of privacy: one subject, added or removed, who has at most one row. The functions check
that and refuse a second row, because the noise is sized for one.

OpenDP's vector mechanisms on 64-bit integers are used, not its LazyFrame API: one row per
subject makes the sensitivity of a vector of disjoint cells exactly one row, the public keys are a
plain left join, and the price is 0.1 s instead of seconds for thousands of cells. Integers
throughout, as floating-point sums have a larger sensitivity than their formula says; the 64-bit
type is named explicitly because OpenDP's default integer is 32 bits wide. The noise comes from
OpenDP's cryptographic generator; nothing here can be seeded.

Rows outside the public keys (a null, an unlisted value) count as `unknown` where that key is
public, and are left out otherwise. They are never refused or reported: whether a release exists,
and what is said about it, must not hang on one person's row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.intake import type_name
from merajut_assets.privacy.policy import DataError, PolicyError

UNKNOWN = "unknown"
# What the figures cost besides ε: the noise bounds the largest divergence, so that ε holds without exception.
DELTA = 0.0
CONFIDENCE = 0.95
MAXIMUM_CELLS = 1_000_000
# A value is rounded to this share of half the bounds' width before it is summed as an integer.
UNITS_PER_HALF_WIDTH = 10_000
SIMULATED_DRAWS = 4_000
SIMULATION_SEED = 20_161_104
# A mean is withheld when its noisy count is below this many half-widths of the count's interval.
LEAST_COUNT_IN_HALF_WIDTHS = 3.0


def release_counts(
    frame: pl.DataFrame, by: Mapping[str, Sequence[Any]], epsilon: float, *, subject: str
) -> pl.DataFrame:
    """Noisy counts of subjects for every combination of the public keys in `by`; costs `epsilon`.

    `by` maps each column to its public key list: all values that may be published, known without
    the data. Returns one row per combination, in the order of the lists, also where nobody is: the
    key columns, `count` (whole number, may be negative: cutting at zero would bias sums),
    `noise_scale` (1/epsilon, of the discrete Laplace distribution), `interval_low` and
    `interval_high` (95 %, cut at zero), `expected_relative_error` (mean absolute noise over
    `interval_low`: next to nothing the smallest noise is large, and a count whose interval reaches zero has an
    infinite one). Disjoint cells compose in parallel, so `epsilon` is spent once in all.
    Raises PolicyError for an unusable epsilon or key list, and DataError for a missing column, a null
    subject, or a subject with more than one row.
    """
    _check(frame, by, epsilon, subject)
    grid, cell, _ = _cells(frame, by)
    true_counts = np.bincount(cell, minlength=len(grid)).astype(np.int64)
    scale = 1.0 / epsilon
    noisy = pl.Series("count", _add_noise(true_counts, sensitivity=1, epsilon=epsilon), dtype=pl.Int64)
    half_width = interval_half_width(scale)
    return (
        grid.with_columns(noisy)
        .with_columns(
            pl.lit(scale).alias("noise_scale"),
            pl.max_horizontal(pl.col("count") - half_width, 0).alias("interval_low"),
            pl.max_horizontal(pl.col("count") + half_width, 0).alias("interval_high"),
        )
        .with_columns((mean_absolute_noise(scale) / pl.col("interval_low")).alias("expected_relative_error"))
    )


def release_means(
    frame: pl.DataFrame,
    by: Mapping[str, Sequence[Any]],
    value: str,
    bounds: tuple[float, float],
    epsilon: float,
    *,
    subject: str,
) -> pl.DataFrame:
    """Noisy means of `value`, clamped to the public `bounds`, for every combination of the public keys.

    Half of `epsilon` goes to the count of rows with a value, half to their sum around the middle of
    the bounds; the mean is the quotient. Returns the key columns, `mean`, `interval_low`,
    `interval_high` (95 %, within the bounds), `count` (noisy rows with a value), `noise_scale` (of the
    sum, in units of `value`), `count_noise_scale` and `is_withheld`. A mean is withheld (null, with
    its interval) when the noisy count is below three half-widths of its own 95 % interval: a test
    on the published count alone, which costs nothing more.
    The interval is simulated: 4,000 draws of both noises are taken off the published sum and count,
    and the 2.5 % and 97.5 % quantiles of the quotients are given. The draws are from an ordinary
    generator with a fixed seed, since they protect nothing, and so the interval adds no randomness.
    Raises like `release_counts`; also PolicyError for bounds that are not finite and ascending, and
    DataError for a value that is not numeric, or NaN.
    """
    _check(frame, by, epsilon, subject)
    low, high = (float(bound) for bound in bounds)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise PolicyError("bounds must be two finite numbers, the smaller one first")
    middle, half = (low + high) / 2, (high - low) / 2
    known, units = _value_units(frame, value, low, high)
    grid, cell, inside = _cells(frame.filter(known), by)
    cells = len(grid)
    true_counts = np.bincount(cell, minlength=cells).astype(np.int64)
    true_sums = np.zeros(cells, dtype=np.int64)
    np.add.at(true_sums, cell, units[inside])

    share = epsilon / 2
    count_scale, sum_scale = 1.0 / share, UNITS_PER_HALF_WIDTH / share
    noisy_counts = _add_noise(true_counts, sensitivity=1, epsilon=share)
    noisy_sums = _add_noise(true_sums, sensitivity=UNITS_PER_HALF_WIDTH, epsilon=share)
    useful = noisy_counts >= LEAST_COUNT_IN_HALF_WIDTHS * interval_half_width(count_scale)
    unit = half / UNITS_PER_HALF_WIDTH
    means = np.clip(middle + unit * noisy_sums / np.maximum(noisy_counts, 1), low, high)
    lows, highs = _mean_intervals(noisy_sums, noisy_counts, useful, sum_scale, count_scale)
    figures = pl.DataFrame(
        {
            "mean": means,
            "interval_low": np.clip(middle + unit * lows, low, high),
            "interval_high": np.clip(middle + unit * highs, low, high),
            "useful": useful,
        }
    ).select(pl.when("useful").then(pl.col(name)).alias(name) for name in ("mean", "interval_low", "interval_high"))
    return pl.concat([grid, figures], how="horizontal").with_columns(
        pl.Series("count", noisy_counts, dtype=pl.Int64),
        pl.lit(sum_scale * unit).alias("noise_scale"),
        pl.lit(count_scale).alias("count_noise_scale"),
        pl.Series("is_withheld", ~useful),
    )


def interval_half_width(scale: float, confidence: float = CONFIDENCE) -> int:
    """The least t with P(|noise| <= t) >= confidence, for discrete Laplace noise of `scale`.

    With p = exp(-1/scale): P(|noise| > t) = 2 p^(t+1) / (1 + p).
    """
    ratio = math.exp(-1.0 / scale)
    if ratio == 0.0:
        return 0
    return max(0, math.ceil(math.log((1.0 - confidence) * (1.0 + ratio) / 2.0) / math.log(ratio)) - 1)


def mean_absolute_noise(scale: float) -> float:
    """The expected absolute value of discrete Laplace noise: 2p / (1 - p²), p = exp(-1/scale)."""
    ratio = math.exp(-1.0 / scale)
    return 2.0 * ratio / -math.expm1(-2.0 / scale)


def standard_deviation(scale: float) -> float:
    """The standard deviation of discrete Laplace noise: sqrt(2p) / (1 - p), p = exp(-1/scale).

    Below sqrt(2) * scale, that of the continuous distribution, since noise of less than one half is none."""
    return math.sqrt(2.0 * math.exp(-1.0 / scale)) / -math.expm1(-1.0 / scale)


def share_without_noise(scale: float) -> float:
    """How many of the counts come out exactly true: P(noise = 0) = (1 - p) / (1 + p), p = exp(-1/scale)."""
    return -math.expm1(-1.0 / scale) / (1.0 + math.exp(-1.0 / scale))


def protection(epsilon: float, *, is_count: bool) -> dict[str, float | str]:
    """What ε means for the figures drawn with it, in numbers, and as `meaning` in words.

    `odds_factor`: by how much the odds that somebody gives one person's being among those counted can change, at
    most, through all figures together (e^ε). `is_count`: of counts also `noise_standard_deviation` and
    `share_of_exact_counts`.
    """
    factor = math.exp(epsilon)
    facts: dict[str, float | str] = {"odds_factor": round(factor, 3)}
    words = f"the odds on one person's being among those counted change by a factor of {factor:.3g} at most"
    if is_count:
        deviation, exact = standard_deviation(1 / epsilon), share_without_noise(1 / epsilon)
        facts |= {"noise_standard_deviation": round(deviation, 3), "share_of_exact_counts": round(exact, 3)}
        words = (
            f"the noise of a count has a standard deviation of {deviation:.2g}, and {exact:.0%} of the counts are "
            f"exactly true; {words}"
        )
    return {**facts, "meaning": f"At ε = {epsilon:g} {words}"}


def _check(frame: pl.DataFrame, by: Mapping[str, Sequence[Any]], epsilon: float, subject: str) -> None:
    if not (isinstance(epsilon, int | float) and math.isfinite(epsilon) and epsilon > 0):
        raise PolicyError("epsilon must be a finite number above zero")
    if not by:
        raise PolicyError("'by' needs at least one column with its public keys")
    if missing := [name for name in (*by, subject) if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)}")
    for name, keys in by.items():
        if not keys or None in keys or len(set(keys)) != len(keys):
            raise PolicyError(f"the public keys of {name!r} must be distinct, not null, and at least one")
    if math.prod(len(keys) for keys in by.values()) > MAXIMUM_CELLS:
        raise PolicyError(f"the public keys make more than {MAXIMUM_CELLS:,} cells; use fewer columns or keys")
    column = frame.get_column(subject)
    if column.null_count():
        raise DataError(f"subject column {subject!r} holds nulls; contributions cannot be bounded")
    if column.n_unique() != len(column):
        raise DataError(
            f"subject column {subject!r} holds a subject more than once; the noise is sized for one row per subject: "
            "summarise the rows per subject first"
        )


def _cells(
    frame: pl.DataFrame, by: Mapping[str, Sequence[Any]]
) -> tuple[pl.DataFrame, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The grid of public cells; the cell of each row that has one; and which rows these are."""
    grid = pl.DataFrame({"_": [0]})
    cell = np.zeros(len(frame), dtype=np.int64)
    inside = np.ones(len(frame), dtype=bool)
    for name, keys in by.items():
        column = frame.get_column(name)
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        try:
            listed = pl.Series(name, list(keys), strict=True)
            if column.dtype != pl.Null and listed.dtype != column.dtype:
                listed = listed.cast(column.dtype)
        except (pl.exceptions.PolarsError, TypeError, OverflowError):
            raise PolicyError(
                f"the public keys of {name!r} do not fit the column's type {type_name(column.dtype)}"
            ) from None
        grid = grid.join(listed.to_frame(), how="cross")
        codes = _codes(column, listed)
        inside &= codes >= 0
        cell = cell * len(listed) + codes
    return grid.drop("_"), cell[inside], inside


def _codes(column: pl.Series, listed: pl.Series) -> npt.NDArray[np.int64]:
    """Each row's place in the public list; unlisted rows are `unknown` where that is public, else -1."""
    name = listed.name
    unknown = listed.index_of(UNKNOWN) if listed.dtype == pl.String else None
    if column.dtype == pl.Null:
        column = column.cast(listed.dtype)
    places = (
        column.to_frame()
        .join(listed.to_frame().with_row_index("place"), on=name, how="left", maintain_order="left")
        .get_column("place")
        .cast(pl.Int64)
        .fill_null(-1 if unknown is None else unknown)
    )
    return places.to_numpy()


def _value_units(frame: pl.DataFrame, value: str, low: float, high: float) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Which rows have a value, and these values as integer units around the middle of the bounds."""
    if value not in frame.columns:
        raise DataError(f"the frame lacks column {value!r}")
    column = frame.get_column(value)
    if column.dtype == pl.Boolean:
        column = column.cast(pl.Int8)
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise DataError(f"column {value!r} has type {type_name(column.dtype)}; a mean needs numbers")
    column = column.cast(pl.Float64)
    if column.is_nan().any():
        raise DataError(f"column {value!r} holds NaN; replace it by null")
    known = column.is_not_null()
    clamped = np.clip(column.filter(known).to_numpy(), low, high)
    scaled = (clamped - (low + high) / 2) / ((high - low) / 2) * UNITS_PER_HALF_WIDTH
    units = np.clip(np.rint(scaled), -UNITS_PER_HALF_WIDTH, UNITS_PER_HALF_WIDTH).astype(np.int64)
    return known, units


def _add_noise(figures: npt.NDArray[np.int64], sensitivity: int, epsilon: float) -> npt.NDArray[np.int64]:
    """Discrete Laplace noise of scale sensitivity/epsilon on each figure; the L1 distance is `sensitivity`."""
    import opendp.prelude as opendp

    opendp.enable_features("contrib")
    measurement: Any = opendp.m.make_laplace(
        opendp.vector_domain(opendp.atom_domain(T="i64")), opendp.l1_distance(T="i64"), scale=sensitivity / epsilon
    )
    if measurement.output_measure != opendp.max_divergence():
        raise RuntimeError("OpenDP's noise is not that of pure differential privacy; nothing is released")
    spent = float(measurement.map(sensitivity))
    if spent > epsilon * (1 + 1e-9):
        raise RuntimeError("OpenDP reports a larger privacy loss than was allowed; nothing is released")
    return np.asarray(measurement(figures.tolist()), dtype=np.int64)


def _mean_intervals(
    sums: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    useful: npt.NDArray[np.bool_],
    sum_scale: float,
    count_scale: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Simulated 95 % intervals of sum/count per cell, in units; zero where not `useful`."""
    generator = np.random.default_rng(SIMULATION_SEED)
    sum_noise = _simulated_noise(generator, sum_scale)
    count_noise = _simulated_noise(generator, count_scale)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    lows, highs = np.zeros(len(sums)), np.zeros(len(sums))
    for cell in np.flatnonzero(useful):
        quotients = (sums[cell] - sum_noise) / np.maximum(counts[cell] - count_noise, 1)
        lows[cell], highs[cell] = np.quantile(quotients, tails)
    return lows, highs


def _simulated_noise(generator: np.random.Generator, scale: float) -> npt.NDArray[np.int64]:
    """Discrete Laplace noise as the difference of two geometric variables."""
    success = -math.expm1(-1.0 / scale)
    return generator.geometric(success, SIMULATED_DRAWS) - generator.geometric(success, SIMULATED_DRAWS)
