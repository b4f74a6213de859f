"""Donors, for partner companies: one row per donor."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, banded, in_last_year, summary

CURRENCY = "IDR"
MILLION = 1_000_000


@summary("business", "donor_segment")
def donor_segment(entities: Entities, cut_off: date) -> pl.DataFrame:
    """One row per donor, with the gifts received in the last twelve months; age as of the cut-off year."""
    gifts = (
        entities["donation"]
        .filter(in_last_year("donated_on", cut_off), pl.col("stage") == "received", pl.col("currency") == CURRENCY)
        .group_by("donor_token")
        .agg(pl.col("donation_id").n_unique().alias("gifts"), pl.col("amount").sum().alias("amount"))
    )
    millions = pl.col("amount").fill_null(0) / MILLION
    return (
        entities["donor"]
        .join(gifts, on="donor_token", how="left")
        .select(
            pl.col("donor_token").alias("donor_pseudonym"),
            "donor_type",
            (cut_off.year - pl.col("birth_year")).alias("age_band"),
            pl.col("regency_code").alias("region_code"),
            banded(pl.col("gifts").fill_null(0), [(0, "0"), (1, "1"), (4, "2-4")], "5+").alias("gifts"),
            banded(millions, [(0, "0"), (1, "0-1"), (10, "1-10")], "10+").alias("amount"),
        )
    )
