"""What media get: how campaigns are received, what they bring in, and where stories stand."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary, whole

CURRENCY = "IDR"


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
        .join(_campaign_names(entities["campaign"]), on="campaign_id")
        .drop_nulls(keys)
        .sort(keys)
    )


@summary("media", "campaign_giving")
def campaign_giving(entities: Entities, cut_off: date) -> pl.DataFrame:
    """All campaigns, with the gifts received up to the cut-off date from donors who agreed."""
    figures = (
        entities["donation"]
        .filter(pl.col("donated_on") <= cut_off, pl.col("stage") == "received", pl.col("currency") == CURRENCY)
        .group_by("campaign_id")
        .agg(
            whole(pl.col("donor_token").n_unique()).alias("donors"),
            whole(pl.col("donation_id").n_unique()).alias("gifts"),
            pl.col("amount").sum(),
        )
    )
    return (
        entities["campaign"]
        .select("campaign_id", pl.col("name").alias("campaign_name"), "goal_amount")
        .join(figures, on="campaign_id", how="left")
        .with_columns(pl.col("donors", "gifts").fill_null(0))
        .sort("campaign_id")
    )


@summary("media", "story_approval")
def story_approval(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Stories by campaign, channel and state. Stories about a child are not counted, whatever was agreed:
    a count of one would say that there is such a story."""
    keys = ["campaign_id", "channel", "approval_state"]
    return (
        entities["story"]
        .filter(pl.col("child_token").is_null(), pl.col("published_on").is_null() | (pl.col("published_on") <= cut_off))
        .join(_campaign_names(entities["campaign"]), on="campaign_id", how="semi")
        .drop_nulls(keys)
        .group_by(keys)
        .agg(whole(pl.len()).alias("stories"))
        .sort(keys)
    )


def _campaign_names(campaigns: pl.DataFrame) -> pl.DataFrame:
    return campaigns.select("campaign_id", pl.col("name").alias("campaign_name"))
