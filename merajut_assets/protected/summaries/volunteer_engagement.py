"""Volunteers, for communities: one row per volunteer."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, completed_years, in_last_year, summary
from merajut_assets.protected.volunteering import hours_band, satisfaction_band


@summary("community", "volunteer_engagement")
def volunteer_engagement(entities: Entities, cut_off: date) -> pl.DataFrame:
    """One row per volunteer registered by the cut-off date."""
    volunteers = entities["volunteer"].filter(pl.col("joined_on") <= cut_off)
    return volunteers.join(
        engagement_of_last_year(entities["volunteer_activity"], cut_off), on="volunteer_token", how="left"
    ).select(
        pl.col("volunteer_token").alias("volunteer_pseudonym"),
        "sex",
        completed_years(pl.col("birth_date"), pl.lit(cut_off)).alias("age_band"),
        pl.col("regency_code").alias("region_code"),
        "skill",
        hours_band(pl.col("hours")).alias("worked_hours"),
        satisfaction_band(pl.col("mean_satisfaction")).alias("satisfaction"),
    )


def engagement_of_last_year(activities: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    """Columns volunteer_token, hours and mean_satisfaction (1 to 5) of the last twelve months."""
    return (
        activities.filter(in_last_year("activity_date", cut_off))
        .group_by("volunteer_token")
        .agg(pl.col("worked_hours").sum().alias("hours"), pl.col("satisfaction").mean().alias("mean_satisfaction"))
    )
