"""Where stories stand, for media."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary, whole


@summary("media", "story_approval")
def story_approval(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Stories by campaign, channel and state. Stories about a child are not counted, whatever was agreed:
    a count of one would say that there is such a story."""
    keys = ["campaign_id", "channel", "approval_state"]
    return (
        entities["story"]
        .filter(pl.col("child_token").is_null(), pl.col("published_on").is_null() | (pl.col("published_on") <= cut_off))
        .join(entities["campaign"], on="campaign_id", how="semi")
        .drop_nulls(keys)
        .group_by(keys)
        .agg(whole(pl.len()).alias("stories"))
        .sort(keys)
    )
