"""The estimators of population uniqueness against populations of which everything is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from merajut_assets.privacy.population import (
    Sample,
    classes_in_population,
    dankar,
    pitman,
    slide_negative_binomial,
    zayatz,
)

ADULT = Path(__file__).resolve().parents[2] / "data" / "benchmark" / "adult" / "adult.csv.gz"
COLUMNS = ["sex", "age", "race", "marital-status", "education", "native-country", "workclass"]


def sizes_of(frame: pl.DataFrame) -> np.ndarray:
    return frame.group_by(COLUMNS).len().get_column("len").to_numpy()


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.5, 0.8])
def test_dankars_choice_is_near_the_truth(fraction: float) -> None:
    """Adult taken for the population: the estimate from a sample must tell about how many are really unique."""
    population = pl.read_csv(ADULT, separator=";", infer_schema=False)
    sizes = sizes_of(population)
    truth = (sizes == 1).sum() / sizes.sum()
    sample = Sample.of(sizes_of(population.sample(fraction=fraction, seed=7)), population.height)
    estimate, model = dankar(sample)
    assert model in (("pitman",) if fraction <= 0.1 else ("snb", "zayatz"))
    assert estimate == pytest.approx(truth, rel=0.15)


def test_slide_negative_binomial_finds_its_own_parameters() -> None:
    """A population made by the model, a tenth of it sampled: the model must tell its uniques."""
    generator = np.random.default_rng(5)
    population = 1 + generator.negative_binomial(0.4, 0.15, 200_000)
    drawn = generator.binomial(population, 0.3)
    sample = Sample.of(drawn[drawn > 0], int(population.sum()))
    truth = (population == 1).sum() / population.sum()
    known = slide_negative_binomial(sample, classes=float(len(population)))
    assert known == pytest.approx(truth, rel=0.05)


def test_zayatz_equals_bayes_rule_with_binomial_coefficients() -> None:
    """The product must be the hypergeometric probability that it stands for."""
    sample = Sample.of(np.array([1, 1, 1, 2, 2, 5, 9]), 60)
    rows = 21

    def once(size: int) -> float:
        return size * math.comb(60 - size, rows - 1) / math.comb(60, rows)

    alone = 3 * once(1) / (3 * once(1) + 2 * once(2) + once(5) + once(9))
    assert zayatz(sample) == pytest.approx(3 * alone / rows, rel=1e-12)


def test_pitman_maximises_the_likelihood() -> None:
    """Estimates from Pitman's own sampling (a Chinese restaurant) must come near the parameters it was made with."""
    generator = np.random.default_rng(11)
    theta, alpha, rows = 40.0, 0.6, 20_000
    tables: list[int] = []
    seats: list[int] = []  # one entry per guest: their table
    for guest in range(rows):
        joins_new = generator.random() * (theta + guest) < theta + alpha * len(tables)
        if joins_new or not seats:
            tables.append(0)
            table = len(tables) - 1
        else:
            table = seats[generator.integers(len(seats))]
            while generator.random() * tables[table] < alpha:  # a guest counts 1, each table's first 1 - α
                table = seats[generator.integers(len(seats))]
        tables[table] += 1
        seats.append(table)
    sizes = np.array(tables)
    uniques = pitman(Sample.of(sizes, 1_000_000))
    expected = math.exp(math.lgamma(theta + 1) - math.lgamma(theta + alpha)) * 1_000_000**alpha / 1_000_000
    assert uniques == pytest.approx(expected, rel=0.1)


def test_the_number_of_classes_is_exact_for_a_census() -> None:
    """With everybody in the sample there is nothing to estimate."""
    sample = Sample.of(np.array([1, 1, 2, 3]), 7)
    assert classes_in_population(sample) == 4
    assert slide_negative_binomial(sample) == zayatz(sample) == 2 / 7


@pytest.mark.parametrize("sizes", [[1], [1, 1], [1] * 50, [2, 2, 2], [1, 2], [1, 1, 1, 5000], [1] * 40 + [2]])
@pytest.mark.parametrize("population", [6000, 10**9])
def test_degenerate_tables_have_a_share_or_none(sizes: list[int], population: int) -> None:
    """One row, all rows unique, none unique: no infinity, no warning taken for a figure, and no exception."""
    sample = Sample.of(np.array(sizes), population)
    estimates = [pitman(sample), slide_negative_binomial(sample), zayatz(sample), dankar(sample)[0]]
    assert all(estimate is None or 0 <= estimate <= 1 for estimate in estimates)
    if 1 not in sizes:
        assert estimates == [0.0] * 4


def test_a_population_below_the_sample_is_refused() -> None:
    """A sampling fraction above one would turn every formula into nonsense."""
    with pytest.raises(ValueError, match="smaller than the table"):
        Sample.of(np.array([3, 4]), 6)
