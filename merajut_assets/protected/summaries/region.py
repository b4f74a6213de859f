"""Names of provinces and districts, the same for every stakeholder who gets rows by place."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary


@summary("academia", "region")
@summary("community", "region")
@summary("government", "region")
def region(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Provinces and districts; regions have no dates, so the cut-off does not matter."""
    return (
        entities["region"]
        .filter(pl.col("level").is_in(["province", "regency"]))
        .select("region_code", "name", "level", "parent_code")
        .sort("region_code")
    )
