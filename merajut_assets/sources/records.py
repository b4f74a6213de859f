"""From Python values to Polars columns, for the formats that hand over records one by one
(JSON, XML, databases, SQL dumps).

A column keeps the type that all its values share; where they differ it becomes text, so that
the contract's cast decides, row by row, and not the first value that happened to come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl

BATCH_ROWS = 50_000
_INT64 = range(-(2**63), 2**63)
_EXACT_IN_FLOAT = range(-(2**53), 2**53 + 1)
_NATIVE: tuple[type, ...] = (bool, float, Decimal, datetime, date, time, bytes)


def as_text(value: Any) -> str | None:
    """A value as text: JSON for what JSON knows and is no string, otherwise `str`."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (bool, dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def column_of(values: Sequence[Any]) -> pl.Series:
    """A column of the type that all values share; empty text is null; all null: `pl.Null`."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(values, dtype=pl.Null)
    if kinds == {str}:
        return pl.Series([value or None for value in values], dtype=pl.String)
    if kinds == {int} and all(value is None or value in _INT64 for value in values):
        return pl.Series(values, dtype=pl.Int64)
    if kinds == {int, float} and all(not isinstance(value, int) or value in _EXACT_IN_FLOAT for value in values):
        return pl.Series(values, dtype=pl.Float64, strict=False)
    if len(kinds) == 1 and kinds <= set(_NATIVE):
        return pl.Series(values)
    return pl.Series([as_text(value) for value in values], dtype=pl.String)


class Batches:
    """Collects records column by column, in batches, so that only the wanted columns of the
    whole table are ever held, and never its records as Python objects."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = tuple(wanted)
        self._pending: list[list[Any]] = [[] for _ in wanted]
        self._parts: list[list[pl.Series]] = [[] for _ in wanted]

    def add(self, record: Mapping[str, Any]) -> None:
        for values, name in zip(self._pending, self._wanted, strict=True):
            values.append(record.get(name))
        if self._pending and len(self._pending[0]) >= BATCH_ROWS:
            self._flush()

    def add_rows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows whose values are in the order of the wanted columns."""
        columns = list(zip(*rows, strict=True))
        for values, column in zip(self._pending, columns, strict=False):
            values.extend(column)
        self._flush()

    def frame(self) -> pl.DataFrame:
        self._flush()
        return pl.DataFrame(
            {name: _joined(parts) for name, parts in zip(self._wanted, self._parts, strict=True)},
        )

    def _flush(self) -> None:
        for values, parts in zip(self._pending, self._parts, strict=True):
            if values:
                parts.append(column_of(values))
                values.clear()


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    """One column from its batches, of the type that they share."""
    dtypes = {part.dtype for part in parts} - {pl.Null()}
    if not dtypes:
        common: pl.DataType = pl.String()
    elif len(dtypes) == 1:
        common = next(iter(dtypes))
    elif dtypes == {pl.Int64(), pl.Float64()}:
        common = pl.Float64()
    else:
        common = pl.String()
    joined = [part.cast(common) for part in parts]
    return pl.concat(joined) if joined else pl.Series([], dtype=common)


def blank_to_null(frame: pl.DataFrame) -> pl.DataFrame:
    """Empty text means "no value" in every format that we read."""
    return frame.with_columns(
        pl.when(pl.col(name) == "").then(None).otherwise(pl.col(name)).alias(name)
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    )
