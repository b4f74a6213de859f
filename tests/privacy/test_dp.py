"""Noise that is too small is a leak, noise that is misdescribed a lie.

The bounds of the statistical tests are six standard errors or more, so that a correct
implementation fails less than once in 10^9 runs (normal tail beyond 6.1: 10^-9).
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from merajut_assets.privacy import DataError, PolicyError
from merajut_assets.privacy.dp import (
    interval_half_width,
    mean_absolute_noise,
    protection,
    release_counts,
    release_means,
    share_without_noise,
    standard_deviation,
)

CELLS = 20_000
SIGMAS = 6.2


def many_cells(per_cell: int = 1) -> pl.DataFrame:
    """Cells of one group each; the noise of one release is then a sample of CELLS draws."""
    cell = [number for number in range(CELLS) for _ in range(per_cell)]
    return pl.DataFrame({"child": np.arange(CELLS * per_cell), "cell": cell})


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_noise_has_the_scale_of_epsilon(epsilon: float) -> None:
    """Mean, variance, mean size and the share of exact zeros must be the discrete Laplace's.

    A true count comes out by chance in (1-p)/(1+p) of the cells and not more often.
    """
    result = release_counts(many_cells(), {"cell": range(CELLS)}, epsilon, subject="child")
    noise = result.get_column("count").to_numpy() - 1
    p = math.exp(-epsilon)
    variance = 2 * p / (1 - p) ** 2
    assert abs(noise.mean()) < SIGMAS * math.sqrt(variance / CELLS)
    size = mean_absolute_noise(1 / epsilon)
    assert abs(np.abs(noise).mean() - size) < SIGMAS * math.sqrt((variance - size**2) / CELLS)
    zero = (1 - p) / (1 + p)
    assert standard_deviation(1 / epsilon) == pytest.approx(math.sqrt(variance))
    assert share_without_noise(1 / epsilon) == pytest.approx(zero)
    assert abs((noise == 0).mean() - zero) < SIGMAS * math.sqrt(zero * (1 - zero) / CELLS)
    assert result.get_column("noise_scale").unique().to_list() == [1 / epsilon]


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_count_intervals_cover(epsilon: float) -> None:
    """95 % of the intervals hold the true count: no fewer, and hardly more (whole numbers only)."""
    result = release_counts(many_cells(), {"cell": range(CELLS)}, epsilon, subject="child")
    inside = result.select((pl.col("interval_low") <= 1) & (pl.col("interval_high") >= 1)).to_series().mean()
    p, half_width = math.exp(-epsilon), interval_half_width(1 / epsilon)
    exact = 1 - 2 * p ** (half_width + 1) / (1 + p)
    assert 0.95 <= exact <= 0.95 + 2 * p**half_width * (1 - p) / (1 + p)
    assert isinstance(inside, float)
    assert abs(inside - exact) < SIGMAS * math.sqrt(exact * (1 - exact) / CELLS)


def test_the_expected_error_of_a_count_near_zero_is_large() -> None:
    """Measured against one person at least, no count was ever too noisy at the ε of public figures."""
    result = release_counts(many_cells(), {"cell": range(CELLS)}, 2.0, subject="child")
    half_width = interval_half_width(0.5)
    near_zero = result.filter(pl.col("count") <= half_width)
    assert near_zero.height > CELLS / 2
    assert near_zero["expected_relative_error"].is_infinite().all()
    others = result.filter(pl.col("count") > half_width)
    expected = mean_absolute_noise(0.5) / (others["count"] - half_width)
    assert (others["expected_relative_error"] - expected).abs().max() < 1e-12  # type: ignore[operator]


def test_what_epsilon_means_is_said_plainly() -> None:
    """At the ε of public figures a count is near to the truth; whoever publishes it must know that."""
    facts = protection(2.0, is_count=True)
    assert facts["odds_factor"] == pytest.approx(math.exp(2), abs=1e-3)
    assert facts["noise_standard_deviation"] == pytest.approx(0.602, abs=1e-3)
    assert facts["share_of_exact_counts"] == pytest.approx(0.762, abs=1e-3)
    for words in ("ε = 2", "standard deviation of 0.6", "76% of the counts are exactly true", "factor of 7.39"):
        assert words in str(facts["meaning"])
    assert "noise_standard_deviation" not in protection(0.5, is_count=False)


def test_two_releases_differ() -> None:
    """A fixed seed would let anyone subtract the noise. All 20,000 draws alike: practically impossible."""
    first, second = (release_counts(many_cells(), {"cell": range(CELLS)}, 0.5, subject="child") for _ in range(2))
    assert not first.get_column("count").equals(second.get_column("count"))


def test_all_public_keys_appear_and_no_others() -> None:
    """An absent cell would tell that nobody is there, an extra one that somebody is."""
    frame = pl.DataFrame({"child": ["a", "b", "c"], "sex": ["f", "f", "secret"], "province": ["11", None, "12"]})
    result = release_counts(frame, {"province": ["11", "12", "13"], "sex": ["f", "m"]}, 1.0, subject="child")
    assert result.select("province", "sex").rows() == [(p, s) for p in ("11", "12", "13") for s in ("f", "m")]
    assert result.columns == [
        "province",
        "sex",
        "count",
        "noise_scale",
        "interval_low",
        "interval_high",
        "expected_relative_error",
    ]
    assert result.schema["count"] == pl.Int64
    empty = release_counts(frame.clear(), {"province": ["11"]}, 1.0, subject="child")
    assert empty.height == 1


def test_rows_outside_the_keys_count_as_unknown_only_where_that_is_public() -> None:
    """With ε so large that there is no noise the cells can be read off."""
    frame = pl.DataFrame({"child": list("abcde"), "sex": ["f", "f", "m", None, "other"]})
    public = release_counts(frame, {"sex": ["f", "m", "unknown"]}, 1000.0, subject="child")
    assert dict(public.select("sex", "count").rows()) == {"f": 2, "m": 1, "unknown": 2}
    without = release_counts(frame, {"sex": ["f", "m"]}, 1000.0, subject="child")
    assert dict(without.select("sex", "count").rows()) == {"f": 2, "m": 1}


@pytest.mark.parametrize("function", ["counts", "means"])
def test_a_subject_with_two_rows_is_refused(function: str) -> None:
    """The noise hides one row; a child with two would be protected half as well as stated."""
    frame = pl.DataFrame({"child": ["a", "a"], "sex": ["f", "m"], "score": [1.0, 2.0]})
    release = {
        "counts": lambda data: release_counts(data, {"sex": ["f", "m"]}, 1.0, subject="child"),
        "means": lambda data: release_means(data, {"sex": ["f", "m"]}, "score", (0, 5), 1.0, subject="child"),
    }[function]
    for data in (frame, frame.with_columns(child=pl.Series([None, "a"]))):
        with pytest.raises(DataError, match="child"):
            release(data)


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf")])
def test_an_unusable_epsilon_is_refused(epsilon: float) -> None:
    """Infinite ε is the true figure."""
    frame = pl.DataFrame({"child": ["a"], "sex": ["f"]})
    with pytest.raises(PolicyError, match="epsilon"):
        release_counts(frame, {"sex": ["f"]}, epsilon, subject="child")


@pytest.mark.parametrize("keys", [[], ["f", "f"], ["f", None], [object()]])
def test_unusable_key_lists_are_refused(keys: list[object]) -> None:
    """A doubled key would count a child twice; an empty list has no cells."""
    frame = pl.DataFrame({"child": ["a"], "sex": ["f"]})
    with pytest.raises(PolicyError, match="sex"):
        release_counts(frame, {"sex": keys}, 1.0, subject="child")


def test_missing_columns_and_no_keys_are_refused() -> None:
    """Errors name the column and what to do."""
    frame = pl.DataFrame({"child": ["a"], "sex": ["f"]})
    with pytest.raises(DataError, match="age"):
        release_counts(frame, {"age": [1]}, 1.0, subject="child")
    with pytest.raises(PolicyError, match="by"):
        release_counts(frame, {}, 1.0, subject="child")
    with pytest.raises(PolicyError, match="cells"):
        release_counts(
            frame.with_columns(x=1), {"x": range(2000), "sex": list(map(str, range(2000)))}, 1.0, subject="child"
        )


def means_frame(groups: int, size: int) -> pl.DataFrame:
    generator = np.random.default_rng(3)
    rows = groups * size
    return pl.DataFrame(
        {
            "child": np.arange(rows),
            "group": np.repeat(np.arange(groups), size),
            "score": generator.integers(0, 11, rows).astype(float),
        }
    )


def test_a_mean_spends_its_epsilon_on_count_and_sum() -> None:
    """Half each: were both given all of ε, the release would cost twice what the ledger charged."""
    epsilon = 0.8
    frame = means_frame(groups=5000, size=1)
    result = release_means(frame, {"group": range(5000)}, "score", (0, 10), epsilon, subject="child")
    assert result.get_column("count_noise_scale").unique().to_list() == [pytest.approx(2 / epsilon)]
    assert result.get_column("noise_scale").unique().to_list() == [pytest.approx(5 * 2 / epsilon)]
    p = math.exp(-epsilon / 2)
    variance, size = 2 * p / (1 - p) ** 2, mean_absolute_noise(2 / epsilon)
    measured = np.abs(result.get_column("count").to_numpy() - 1).mean()
    assert abs(measured - size) < SIGMAS * math.sqrt((variance - size**2) / 5000)


def test_mean_intervals_cover() -> None:
    """About 95 % of the intervals hold the true mean; the band is six standard errors plus 1.5 points
    for the approximation that the simulation makes around a noisy denominator."""
    groups, size = 1500, 150
    frame = means_frame(groups, size)
    result = release_means(frame, {"group": range(groups)}, "score", (0, 10), 1.0, subject="child")
    assert not result.get_column("is_withheld").any()
    truth = frame.group_by("group").agg(pl.col("score").mean().alias("truth"))
    # The sum's noise, worked back out of the published figures, must be as large as is stated.
    true_sum = (pl.col("truth") - 5) * size
    noise = result.join(truth, on="group").select((pl.col("mean") - 5) * pl.col("count") - true_sum).to_series()
    scale = result.item(0, "noise_scale")
    assert abs(float(np.abs(noise.to_numpy()).mean()) - scale) < SIGMAS * scale / math.sqrt(groups)
    inside = (
        result.join(truth, on="group")
        .select((pl.col("interval_low") <= pl.col("truth")) & (pl.col("truth") <= pl.col("interval_high")))
        .to_series()
        .mean()
    )
    assert isinstance(inside, float)
    assert abs(inside - 0.95) < SIGMAS * math.sqrt(0.95 * 0.05 / groups) + 0.015


def test_means_approach_the_clamped_truth() -> None:
    """Nearly without noise the mean is that of the values clamped to the bounds, nulls left out."""
    frame = pl.DataFrame({"child": range(6), "sex": ["f"] * 4 + ["m"] * 2, "score": [1.0, 2.0, 99.0, None, -5.0, 4.0]})
    result = release_means(frame, {"sex": ["f", "m", "x"]}, "score", (0.0, 10.0), 10_000.0, subject="child")
    rows = {row["sex"]: row for row in result.iter_rows(named=True)}
    assert rows["f"]["mean"] == pytest.approx((1 + 2 + 10) / 3, abs=0.01)
    assert rows["m"]["mean"] == pytest.approx((0 + 4) / 2, abs=0.01)
    assert rows["f"]["count"] == 3


def test_useless_means_are_withheld() -> None:
    """A mean over three children at ε = 0.5 is noise; it must not look like a figure."""
    frame = means_frame(groups=50, size=3)
    result = release_means(frame, {"group": range(50)}, "score", (0, 10), 0.5, subject="child")
    withheld = result.filter("is_withheld")
    least = 3 * interval_half_width(4.0)
    assert (result.get_column("count") < least).to_list() == result.get_column("is_withheld").to_list()
    assert withheld.height > 25
    assert withheld.select("mean", "interval_low", "interval_high").null_count().row(0) == (withheld.height,) * 3


@pytest.mark.parametrize("bounds", [(5, 5), (9, 1), (0, float("inf")), (float("nan"), 1)])
def test_bounds_must_be_public_and_finite(bounds: tuple[float, float]) -> None:
    """Without bounds one value could move the sum by any amount."""
    frame = means_frame(1, 3)
    with pytest.raises(PolicyError, match="bounds"):
        release_means(frame, {"group": [0]}, "score", bounds, 1.0, subject="child")


def test_values_that_are_no_numbers_are_refused() -> None:
    """NaN would turn a whole cell into NaN and so tell where it is."""
    frame = means_frame(1, 3).with_columns(score=pl.Series([1.0, float("nan"), 2.0]))
    with pytest.raises(DataError, match="NaN"):
        release_means(frame, {"group": [0]}, "score", (0, 1), 1.0, subject="child")
    with pytest.raises(DataError, match="numbers"):
        release_means(frame.cast({"score": pl.String}), {"group": [0]}, "score", (0, 1), 1.0, subject="child")
    with pytest.raises(DataError, match="grade"):
        release_means(frame, {"group": [0]}, "grade", (0, 1), 1.0, subject="child")


def test_the_noise_formulas() -> None:
    """Half-width and mean size against sums over the distribution itself."""
    for scale in (0.2, 1.0, 10.0, 55.5):
        p = math.exp(-1 / scale)
        values = np.arange(-4000, 4001)
        probability = (1 - p) / (1 + p) * p ** np.abs(values)
        assert mean_absolute_noise(scale) == pytest.approx((np.abs(values) * probability).sum(), rel=1e-9)
        width = interval_half_width(scale)
        assert probability[np.abs(values) <= width].sum() >= 0.95 - 1e-12
        assert width == 0 or probability[np.abs(values) <= width - 1].sum() < 0.95
