"""Volunteer activities by province and kind, for communities."""

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
)


@summary("community", "activity_summary")
def activity_summary(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Activities of the last twelve months; rows: provinces with an institution times all kinds of activity."""
    places = institution_provinces(entities["orphanage"])
    keys = ["province_code", "activity_type"]
    figures = cells(
        entities["volunteer_activity"]
        .filter(in_last_year("activity_date", cut_off))
        .join(places, left_on="orphanage_id", right_on="institution_id"),
        keys,
        contributor="volunteer_token",
        count="volunteers",
        sums={"worked_hours": pl.col("worked_hours").sum()},
    )
    grid = every_combination(
        places.select("province_code").drop_nulls().unique(),
        allowed_values(registry.raw_table("volunteers", "jobs"), "activity_type"),
    )
    return grid.join(figures, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("volunteers").fill_null(0)
    )
