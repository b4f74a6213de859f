"""Incidents by province and kind, for supervising authorities."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.protected.care import institution_provinces
from merajut_assets.protected.summary import (
    Entities,
    allowed_values,
    cells,
    every_combination,
    in_last_year,
    summary,
    whole,
)

# How soon an incident has to be reported to count as reported in time, in days.
REPORTING_DAYS = 3


@summary("government", "incident_summary")
def incident_summary(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Incidents of the last twelve months by province and kind.

    The rows are all provinces with an institution times all kinds, so that the presence of a row says
    nothing about whether anything happened.
    """
    places = institution_provinces(entities["orphanage"])
    keys = ["province_code", "incident_type"]
    in_time = (pl.col("reported_on") - pl.col("occurred_on")) <= pl.duration(days=REPORTING_DAYS)
    figures = cells(
        entities["incident"]
        .filter(in_last_year("occurred_on", cut_off))
        .join(places, left_on="orphanage_id", right_on="institution_id"),
        keys,
        contributor="child_token",
        count="children",
        sums={"incidents": whole(pl.col("incident_id").n_unique())},
        shares={"reported_within_three_days": in_time},
    )
    grid = every_combination(
        places.select("province_code").drop_nulls().unique(),
        allowed_values(registry.raw_table("panti", "incidents"), "incident_type"),
    )
    return grid.join(figures, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("children", "incidents").fill_null(0)
    )
