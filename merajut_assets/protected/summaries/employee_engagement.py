"""Employees of partner companies and their volunteering: one row per employee."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, completed_years, in_last_year, summary
from merajut_assets.protected.volunteering import hours_band, satisfaction_band


@summary("business", "employee_engagement")
def employee_engagement(entities: Entities, cut_off: date) -> pl.DataFrame:
    """One row per active employee hired by the cut-off date, with the hours of all their volunteer records."""
    employees = entities["employee"].filter(pl.col("hire_date") <= cut_off, pl.col("employment_status") == "active")
    activities = (
        entities["volunteer_activity"]
        .filter(in_last_year("activity_date", cut_off))
        .join(entities["volunteer"].select("volunteer_token", "employee_token"), on="volunteer_token")
        .group_by("employee_token")
        .agg(pl.col("worked_hours").sum().alias("hours"), pl.col("satisfaction").mean().alias("mean_satisfaction"))
    )
    return employees.join(activities, on="employee_token", how="left").select(
        pl.col("employee_token").alias("employee_pseudonym"),
        "company",
        "department",
        "job_title",
        pl.col("location").alias("region_code"),
        completed_years(pl.col("hire_date"), pl.lit(cut_off)).alias("tenure"),
        hours_band(pl.col("hours")).alias("volunteer_hours"),
        satisfaction_band(pl.col("mean_satisfaction")).alias("satisfaction"),
    )
