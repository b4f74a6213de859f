"""The history of data quality: one row per build of an entity and dimension, as a Delta table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import polars as pl

from resources.lakehouse import Lakehouse

QUALITY_HISTORY = "compliance/quality_history"


class Measured(Protocol):
    """What is remembered of a build."""

    @property
    def entity(self) -> str: ...
    @property
    def built_at(self) -> str: ...
    @property
    def before(self) -> Mapping[str, float | int | None]: ...
    @property
    def after(self) -> Mapping[str, float | int | None]: ...


def remember_quality(lakehouse: Lakehouse, build: Measured) -> None:
    """Add the build's measures; remembering the same build twice changes nothing."""
    rows = [
        {
            "entity": build.entity,
            "built_at": build.built_at,
            "moment": moment,
            "dimension": dimension,
            "value": None if value is None else float(value),
        }
        for moment, measures in (("before_quarantine", build.before), ("after_quarantine", build.after))
        for dimension, value in _dimensions(measures).items()
    ]
    schema = {
        "entity": pl.String,
        "built_at": pl.String,
        "moment": pl.String,
        "dimension": pl.String,
        "value": pl.Float64,
    }
    lakehouse.lake.merge(
        QUALITY_HISTORY,
        pl.DataFrame(rows, schema=schema),
        key=["entity", "built_at", "moment", "dimension"],
        order_by="built_at",
    )


def _dimensions(measures: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    return {name: value for name, value in measures.items() if name != "rows"}
