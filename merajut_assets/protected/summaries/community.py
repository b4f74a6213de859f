"""What communities get: the engagement of volunteers, activities, and what institutions need."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.protected.care import institution_places
from merajut_assets.protected.summary import (
    Entities,
    allowed_values,
    banded,
    completed_years,
    every_combination,
    in_last_year,
    province_of,
    summary,
    whole,
)

HOURS_BANDS = [(0, "none"), (8, "1-8"), (24, "9-24")]
HOURS_ABOVE = "25+"


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
        (pl.col("background_check_valid_until") >= cut_off).fill_null(False).alias("is_background_checked"),
    )


def engagement_of_last_year(activities: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    """Columns volunteer_token, hours and mean_satisfaction (1 to 5) of the last twelve months."""
    return (
        activities.filter(in_last_year("activity_date", cut_off))
        .group_by("volunteer_token")
        .agg(pl.col("worked_hours").sum().alias("hours"), pl.col("satisfaction").mean().alias("mean_satisfaction"))
    )


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


@summary("community", "activity_summary")
def activity_summary(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Activities of the last twelve months; rows: provinces with an institution times all kinds of activity."""
    places = institution_places(entities["orphanage"]).select(
        "institution_id", province_of(pl.col("regency_code")).alias("province_code")
    )
    figures = (
        entities["volunteer_activity"]
        .filter(in_last_year("activity_date", cut_off))
        .join(places, left_on="orphanage_id", right_on="institution_id")
        .group_by("province_code", "activity_type")
        .agg(
            whole(pl.col("volunteer_token").n_unique()).alias("volunteers"),
            pl.col("worked_hours").sum().alias("worked_hours"),
        )
    )
    grid = every_combination(
        places.select("province_code").drop_nulls().unique(),
        allowed_values(registry.raw_table("volunteers", "jobs"), "activity_type"),
    )
    return grid.join(figures, on=["province_code", "activity_type"], how="left", maintain_order="left").with_columns(
        pl.col("volunteers").fill_null(0)
    )


@summary("community", "orphanage_need")
def orphanage_need(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Per district and category, the sums of each institution's last stock-taking by the cut-off date."""
    last = (
        entities["supply"]
        .filter(pl.col("counted_on") <= cut_off)
        .sort("counted_on", "supply_id", descending=True)
        .unique(["orphanage_id", "category"], keep="first", maintain_order=True)
    )
    return (
        last.join(institution_places(entities["orphanage"]), left_on="orphanage_id", right_on="institution_id")
        .drop_nulls(["regency_code", "category"])
        .group_by("regency_code", "category")
        .agg(
            whole(pl.col("orphanage_id").n_unique()).alias("orphanages"),
            pl.col("quantity").sum(),
            pl.col("needed_quantity").sum(),
        )
        .sort("regency_code", "category")
    )
