"""DuckDB for the verifier: frames under names of its own, queries whose errors quote nothing.

Belongs here: how frames get into a database and rows out of it. Does not belong here: what is asked
(`verify`, `verify_models`, `verify_join`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs
import pyarrow as pa

_TOO_WIDE = (pl.Int128, pl.UInt128)
# DuckDB counts microseconds, and the text of a time of day has no fractions of a second.
_IN_NANOSECONDS = cs.time() | cs.duration("ns") | cs.datetime("ns", "*")
_CHANGED = cs.by_dtype(pl.Float16, *_TOO_WIDE) | _IN_NANOSECONDS


class VerificationError(ValueError):
    """The frame cannot be verified as asked. Names columns, never values."""


def require_columns(frame: pl.DataFrame, columns: Sequence[str], dataset: str) -> None:
    """Raises VerificationError unless all `columns` are in the frame and of a type that can be counted."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise VerificationError(f"{dataset}: column(s) {', '.join(missing)} are not in the frame")
    for name in columns:
        dtype = frame.schema[name]
        if dtype == pl.Object:
            raise VerificationError(
                f"{dataset}: column {name!r} has type Object, whose values cannot be counted; give it the type of its "
                "values, such as String"
            )
        if dtype.is_nested() and not _are_taken_as_they_are(frame.get_column(name)):
            raise VerificationError(
                f"{dataset}: column {name!r} holds, within a {dtype.base_type()}, values of a type that DuckDB would "
                "not tell apart; make columns of single values of it"
            )


def _are_taken_as_they_are(nested: pl.Series) -> bool:
    """Whether nothing within a nested column is of a type that `handed_over` makes another of."""
    inner = nested.head(0)
    while inner.dtype.is_nested() and not isinstance(inner.dtype, pl.Struct):
        inner = inner.explode()
    if isinstance(inner.dtype, pl.Struct):
        return all(_are_taken_as_they_are(field) for field in inner.struct.unnest())
    return inner.to_frame("inner").select(_CHANGED).width == 0


def renamed(frame: pl.DataFrame, **groups: Sequence[str]) -> pa.Table:
    """Columns under names of our own (`q0`, `q1`, … for `q=[…]`): the data's could be anything, and DuckDB
    takes names that differ in capitals only for the same. `row` is there so that rows count without any."""
    columns = [
        pl.col(name).alias(f"{group}{place}") for group, names in groups.items() for place, name in enumerate(names)
    ]
    return handed_over(frame.select(*columns, pl.repeat(0, pl.len(), dtype=pl.UInt8).alias("row")))


def handed_over(frame: pl.DataFrame) -> pa.Table:
    """The frame as DuckDB takes it: with one zero, for 0.0 and -0.0 are equal but not as text; numbers that are too
    narrow for it wider, those that are too wide as text, and moments finer than its own as numbers, because a query
    only asks whether they are equal."""
    known = frame.with_columns(
        cs.by_dtype(pl.Float16).cast(pl.Float32),
        cs.by_dtype(_TOO_WIDE).cast(pl.String),
        _IN_NANOSECONDS.to_physical(),
    )
    return with_one_zero(known).to_arrow()


def with_one_zero(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(cs.float() == 0).then(0.0).otherwise(cs.float()).name.keep())


def keys(width: int) -> str:
    return "".join(f"q{place}, " for place in range(width))


def by_keys(width: int) -> str:
    return f"GROUP BY {keys(width)[:-2]}" if width else ""


@contextmanager
def opened(tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    # Without a temporary directory DuckDB cannot spill rows in plain text; it runs out of memory instead.
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as database:
        for name, table in tables.items():
            database.register(name, table)
        yield database


def run(database: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    try:
        return database.execute(sql)
    except duckdb.Error as error:
        # DuckDB's messages may quote values.
        raise VerificationError(f"the verification query failed ({type(error).__name__})") from None


def first_row(database: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = run(database, sql).fetchone()
    assert row is not None  # every query asked here aggregates
    return tuple(row)
