"""Staff of the institutions by province, for supervising authorities."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.care import institution_provinces
from merajut_assets.protected.summary import Entities, cells, summary


@summary("government", "staff_summary")
def staff_summary(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Staff hired by the cut-off date; rows: all provinces with an institution."""
    places = institution_provinces(entities["orphanage"])
    figures = cells(
        entities["staff"]
        .filter(pl.col("hired_on") <= cut_off)
        .join(places, left_on="orphanage_id", right_on="institution_id"),
        ["province_code"],
        contributor="staff_token",
        count="staff",
        shares={"background_check_share": pl.col("is_background_checked")},
    )
    grid = places.select("province_code").drop_nulls().unique().sort("province_code")
    return grid.join(figures, on="province_code", how="left", maintain_order="left").with_columns(
        pl.col("staff").fill_null(0)
    )
