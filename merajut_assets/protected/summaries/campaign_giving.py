"""What campaigns bring in, for media."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, cells, summary, whole

CURRENCY = "IDR"


@summary("media", "campaign_giving")
def campaign_giving(entities: Entities, cut_off: date) -> pl.DataFrame:
    """All campaigns, with the gifts received up to the cut-off date from donors who agreed."""
    figures = cells(
        entities["donation"].filter(
            pl.col("donated_on") <= cut_off, pl.col("stage") == "received", pl.col("currency") == CURRENCY
        ),
        ["campaign_id"],
        contributor="donor_token",
        count="donors",
        sums={"gifts": whole(pl.col("donation_id").n_unique()), "amount": pl.col("amount").sum()},
    )
    return (
        entities["campaign"]
        .select("campaign_id", pl.col("name").alias("campaign_name"), "goal_amount")
        .join(figures, on="campaign_id", how="left")
        .with_columns(pl.col("donors", "gifts").fill_null(0))
        .sort("campaign_id")
    )
