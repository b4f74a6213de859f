"""The quality of a table in five dimensions. Pure.

completeness  filled cells ÷ required cells that apply (`required`, `required_when`); aim > 95 %
accuracy      cells that agree ÷ cells that can be compared: with reference data, aim > 99 %, else
              with what another column of the row says, aim > 98 %; None where nothing can be compared
consistency   rows that keep every rule and refer to something that exists, as they are told (before
              quarantine all that came, after it what is stored, judged again); aim > 95 %, for
              child-protection data > 99 %
uniqueness    distinct keys ÷ rows; aim 100 %
timeliness    freshness window ÷ age of the source, at most 1; reported, and not part of the
              score, because an old export is the freshness policy's concern and not the rows'

The score is the mean of the first four, as far as they were measured. Aims: data quality
framework of the requirements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import polars as pl

from merajut_assets.contracts.base import Column, TableContract
from merajut_assets.raw import landing

LEAST_SCORE = 0.95
LEAST_COMPLETENESS = 0.95
LEAST_ACCURACY = 0.98
LEAST_ACCURACY_BY_REFERENCE = 0.99
LEAST_CONSISTENCY = 0.95
LEAST_CONSISTENCY_OF_CHILD_DATA = 0.99


@dataclass(frozen=True)
class Quality:
    """Shares between 0 and 1; None: not measured. `rows`: rows judged."""

    rows: int
    completeness: float | None
    accuracy: float | None
    consistency: float | None
    uniqueness: float | None
    timeliness: float | None

    @property
    def score(self) -> float:
        measured = [
            value
            for value in (self.completeness, self.accuracy, self.consistency, self.uniqueness)
            if value is not None
        ]
        return sum(measured) / len(measured) if measured else 1.0

    def as_facts(self) -> dict[str, float | int | None]:
        return {**asdict(self), "score": self.score}


def measure(
    entity: TableContract,
    frame: pl.DataFrame,
    failed_rules: pl.Series,
    references: Mapping[str, pl.Series],
    now: datetime,
) -> Quality:
    """The quality of `frame`; `failed_rules` (parallel to it) are null for rows that passed."""
    rows = frame.height
    return Quality(
        rows=rows,
        completeness=_completeness(entity, frame),
        accuracy=_accuracy(entity, frame, references),
        consistency=failed_rules.null_count() / rows if rows else None,
        uniqueness=_uniqueness(entity, frame),
        timeliness=_timeliness(entity, frame, now),
    )


def shortcomings(entity: TableContract, quality: Quality) -> list[str]:
    """The aims that are missed, in words; empty when all are reached."""
    by_reference = any(column.accuracy and "." in column.accuracy for column in entity.columns)
    aims = {
        "score": (quality.score, LEAST_SCORE),
        "completeness": (quality.completeness, LEAST_COMPLETENESS),
        "accuracy": (quality.accuracy, LEAST_ACCURACY_BY_REFERENCE if by_reference else LEAST_ACCURACY),
        "consistency": (
            quality.consistency,
            LEAST_CONSISTENCY_OF_CHILD_DATA if entity.child_protection else LEAST_CONSISTENCY,
        ),
        "uniqueness": (quality.uniqueness, 1.0),
    }
    return [
        f"{name} {value:.2%} is below {aim:.0%}"
        for name, (value, aim) in aims.items()
        if value is not None and value < aim
    ]


def _completeness(entity: TableContract, frame: pl.DataFrame) -> float | None:
    cells = filled = 0
    for column in entity.columns:
        applies = _applies(column, frame)
        if applies is not None:
            cells += int(applies.sum())
            filled += int((applies & frame[column.name].is_not_null()).sum())
    return filled / cells if cells else None


def _uniqueness(entity: TableContract, frame: pl.DataFrame) -> float | None:
    """Of the rows that have a key: one without is incomplete, not a duplicate."""
    keys = frame.select(entity.key).drop_nulls()
    if not keys.height:
        return None
    return 1.0 if landing.all_different(keys) else keys.n_unique() / keys.height


def _applies(column: Column, frame: pl.DataFrame) -> pl.Series | None:
    if column.required_when is not None:
        return frame.select(pl.sql_expr(column.required_when).fill_null(False).alias("applies"))["applies"]
    return pl.repeat(True, frame.height, eager=True) if column.required else None


def _accuracy(entity: TableContract, frame: pl.DataFrame, references: Mapping[str, pl.Series]) -> float | None:
    compared = agreeing = 0
    for column in entity.columns:
        if column.accuracy is None:
            continue
        values = frame[column.name].drop_nulls()
        compared += values.len()
        if "." in column.accuracy:
            agreeing += int(values.is_in(references[column.accuracy].implode()).sum())
        else:
            agreeing += int(frame.select(pl.sql_expr(column.accuracy).alias("agrees"))["agrees"].drop_nulls().sum())
    return agreeing / compared if compared else None


def _timeliness(entity: TableContract, frame: pl.DataFrame, now: datetime) -> float | None:
    newest = frame["modified_at"].max()
    if not isinstance(newest, datetime):
        return None
    age_hours = max((now.replace(tzinfo=None) - newest).total_seconds() / 3600, 0.0)
    return min(1.0, entity.freshness_hours / age_hours) if age_hours else 1.0
