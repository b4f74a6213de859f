"""Published indicators, for researchers."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary


@summary("academia", "indicator")
def indicator(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Indicators of the years up to the cut-off date."""
    return (
        entities["indicator"]
        .filter(pl.col("year") <= cut_off.year)
        .select("indicator_id", "indicator_code", "country_code", "country_name", "sex", "year", "value", "unit")
        .sort("indicator_id")
    )
