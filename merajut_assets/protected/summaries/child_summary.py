"""Children in care, for supervising authorities: one row per child."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.care import children_in_care, institution_places
from merajut_assets.protected.summary import Entities, banded, completed_months, summary

REVIEW_INTERVAL = "6mo"
# Long stays are told apart, so that classes of children who stayed for years remain diverse.
MONTHS_IN_CARE = [(11, "0-11"), (35, "12-35"), (59, "36-59"), (95, "60-95")]


@summary("government", "child_summary")
def child_summary(entities: Entities, cut_off: date) -> pl.DataFrame:
    """One row per child in care. A child of a jurisdiction without Kemendagri codes has no region (null,
    published as `unknown`); so does one whose institution is unknown."""
    children = children_in_care(entities, cut_off)
    reviews = _reviews_on_time(entities["review"], children)
    return (
        children.join(institution_places(entities["orphanage"]), on="institution_id", how="left", maintain_order="left")
        .join(reviews, on="child_token", how="left", maintain_order="left")
        .select(
            pl.col("child_token").alias("child_pseudonym"),
            "jurisdiction",
            "sex",
            pl.col("birth_date").alias("birth_period"),
            pl.col("regency_code").alias("region_code"),
            "care_type",
            pl.coalesce("reason_for_care", "placement_reason").alias("reason_for_care"),
            pl.col("reviews_on_time").fill_null("no_review"),
            banded(pl.col("placements"), [(1, "1"), (2, "2")], "3+").alias("placements"),
            banded(completed_months(pl.col("care_since"), pl.col("reporting_date")), MONTHS_IN_CARE, "96+").alias(
                "months_in_care"
            ),
        )
    )


def _reviews_on_time(reviews: pl.DataFrame, children: pl.DataFrame) -> pl.DataFrame:
    """Per child, how many of the reviews due in the year before its reporting date were held on time.

    Where the source records no due dates, a review was due six months after the one before it (the
    interval of the English regulations of 2010 on care planning, placement and case review); the first
    one known of a child is not judged.
    """
    previous = pl.col("held_date").shift(1).over("child_token", order_by="held_date")
    due = (
        reviews.with_columns(pl.coalesce("due_date", previous.dt.offset_by(REVIEW_INTERVAL)).alias("due_date"))
        .join(children.select("child_token", "reporting_date"), on="child_token")
        .filter(
            pl.col("due_date") <= pl.col("reporting_date"),
            pl.col("due_date") > pl.col("reporting_date").dt.offset_by("-1y"),
        )
    )
    on_time = (pl.col("held_date") <= pl.col("due_date")).fill_null(False).mean()
    return due.group_by("child_token").agg(
        pl.when(on_time == 0)
        .then(pl.lit("none"))
        .when(on_time < 0.5)
        .then(pl.lit("some"))
        .when(on_time < 1)
        .then(pl.lit("most"))
        .otherwise(pl.lit("all"))
        .alias("reviews_on_time")
    )
