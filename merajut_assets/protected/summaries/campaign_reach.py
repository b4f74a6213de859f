"""How campaigns are received, for media."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary, whole


@summary("media", "campaign_reach")
def campaign_reach(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Monthly sums up to the cut-off date."""
    keys = ["campaign_id", "month", "channel", "age_band"]
    return (
        entities["interaction"]
        .filter(pl.col("day") <= cut_off)
        .with_columns(pl.col("day").dt.strftime("%Y-%m").alias("month"))
        .group_by(keys)
        .agg(whole(pl.col("impressions", "engagements", "clicks").sum()))
        .join(entities["campaign"].select("campaign_id", pl.col("name").alias("campaign_name")), on="campaign_id")
        .drop_nulls(keys)
        .sort(keys)
    )
