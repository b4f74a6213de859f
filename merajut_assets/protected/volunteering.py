"""Volunteering in bands, as the datasets of several stakeholders tell it. No dataset of its own."""

from __future__ import annotations

import polars as pl

from merajut_assets.protected.summary import banded

HOURS_BANDS = [(0, "none"), (8, "1-8"), (24, "9-24")]
HOURS_ABOVE = "25+"


def hours_band(hours: pl.Expr) -> pl.Expr:
    """Hours of a year in the bands none, 1-8, 9-24, 25+; a null is none."""
    return banded(hours.fill_null(0), HOURS_BANDS, HOURS_ABOVE)


def satisfaction_band(mean: pl.Expr) -> pl.Expr:
    """A mean of marks from 1 to 5 as low (below 2.5), medium (below 4), high, or unknown."""
    return (
        pl.when(mean.is_null())
        .then(pl.lit("unknown"))
        .when(mean < 2.5)
        .then(pl.lit("low"))
        .when(mean < 4)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("high"))
    )
