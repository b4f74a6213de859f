"""The synthetic population by district, sex and month of birth.

Its pyramid is a smooth curve and its districts follow `Places.weight`; only the total is a fact:
the World Bank's latest figure for the country. Every cell is a whole number, and they add up to it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.sources.generate.columns import Floats
from merajut_assets.sources.generate.places import Places
from merajut_assets.sources.generate.plan import Parameters

OLDEST = 90
_MEN_AT_BIRTH = 0.512
_MONTHS = 12


def population_table(parameters: Parameters, places: Places) -> pl.DataFrame:
    """Rows of reference.population: R districts x 2 sexes x the months of `OLDEST` + 1 years up to
    `until`; the inhabitants add up to the national figure exactly."""
    generator = parameters.stream("reference.population")
    months = (OLDEST + 1) * _MONTHS
    age = (np.arange(months) + 0.5) / _MONTHS
    expected = (
        places.weight[:, None, None]
        * _sexes(age)[None, :, :]
        * _pyramid(age)[None, None, :]
        * generator.normal(1.0, 0.03, (len(places.weight), 1, months)).clip(0.8, 1.2)
    )
    inhabitants = _whole_numbers(expected.ravel(), places.inhabitants)
    latest = parameters.until.year * _MONTHS + parameters.until.month - 1
    number = latest - np.arange(months)
    month = pl.Series([f"{value // _MONTHS:04d}-{value % _MONTHS + 1:02d}" for value in number.tolist()])
    codes = places.regency_code
    return pl.DataFrame(
        {
            "regency_code": codes.gather(np.repeat(np.arange(len(codes)), 2 * months)),
            "sex": pl.Series(["F", "M"]).gather(np.tile(np.repeat([0, 1], months), len(codes))),
            "birth_month": month.gather(np.tile(np.arange(months), 2 * len(codes))),
            "inhabitants": inhabitants,
        }
    )


def _pyramid(age: Floats) -> Floats:
    """Relative number of living by age in years: level up to forty, then falling."""
    return np.asarray(1.0 / (1.0 + np.exp((age - 58.0) / 9.5)) * (1.0 - 0.0015 * np.abs(age - 20.0)))


def _sexes(age: Floats) -> Floats:
    """Shares of women and men (2, months): more boys are born, more women grow old."""
    men = _MEN_AT_BIRTH - 0.0009 * np.maximum(age - 20.0, 0.0)
    return np.stack([1.0 - men, men])


def _whole_numbers(expected: Floats, total: int) -> np.ndarray:
    """Whole numbers in proportion to `expected` that add up to `total` (largest remainders,
    Hamilton's method of apportionment)."""
    exact = expected * (total / expected.sum())
    whole = np.floor(exact).astype(np.int64)
    missing = total - int(whole.sum())
    order = np.argsort(-(exact - whole), kind="stable")[:missing]
    whole[order] += 1
    return whole
