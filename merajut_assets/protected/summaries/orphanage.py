"""Institutions and their licences, for supervising authorities."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary


@summary("government", "orphanage")
def orphanage(entities: Entities, cut_off: date) -> pl.DataFrame:
    """All institutions as they are registered."""
    return (
        entities["orphanage"]
        .select("orphanage_id", "regency_code", "capacity", "licence_valid_until", "accreditation")
        .sort("orphanage_id")
    )
