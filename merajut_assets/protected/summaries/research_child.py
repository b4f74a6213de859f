"""Children whose guardians agreed to research: one row per child."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.care import institution_places, last_school_year
from merajut_assets.protected.summary import Entities, completed_years, province_of, summary

LOW_SCORE, HIGH_SCORE = 60, 75


@summary("academia", "research_child")
def research_child(entities: Entities, cut_off: date) -> pl.DataFrame:
    """One row per child admitted by the cut-off date, those who have left included (years in care end then).
    Researchers get provinces at most: nothing finer enters the dataset."""
    children = entities["child"].filter(pl.col("admission_date") <= cut_off)
    left = pl.min_horizontal(pl.col("exit_date"), pl.lit(cut_off))
    places = institution_places(entities["orphanage"])
    return (
        children.join(places, left_on="orphanage_id", right_on="institution_id", how="left")
        .join(last_school_year(entities["education_record"], cut_off), on="child_token", how="left")
        .join(_last_diagnosis(entities["health_record"], cut_off), on="child_token", how="left")
        .select(
            pl.col("child_token").alias("child_pseudonym"),
            "sex",
            completed_years(pl.col("birth_date"), pl.lit(cut_off)).alias("age_band"),
            province_of(pl.col("regency_code")).alias("region_code"),
            "education_level",
            completed_years(pl.col("admission_date"), left).alias("years_in_care"),
            "diagnosis_group",
            "abuse_type",
            _school_outcome().alias("school_outcome"),
        )
    )


def _last_diagnosis(records: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    return (
        records.filter(pl.col("examined_on") <= cut_off)
        .sort("examined_on", "health_record_id", descending=True)
        .unique("child_token", keep="first", maintain_order=True)
        .select("child_token", "diagnosis_group")
    )


def _school_outcome() -> pl.Expr:
    """A child without any record of school is not in school; a pupil without a mark has an unknown outcome."""
    score = pl.col("average_score")
    return (
        pl.when(pl.col("education_level").is_null() | (pl.col("education_level") == "none"))
        .then(pl.lit("not_in_school"))
        .when(score < LOW_SCORE)
        .then(pl.lit("below_60"))
        .when(score <= HIGH_SCORE)
        .then(pl.lit("60_to_75"))
        .when(score.is_not_null())
        .then(pl.lit("above_75"))
    )
