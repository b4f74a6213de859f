"""What institutions have and need, for communities."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.care import institution_places
from merajut_assets.protected.summary import Entities, summary, whole


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
