"""Which columns a function over frames reads: found by taking them away.

A function that comes to its end without a column cannot depend on it. So that no branch stays unseen, it is run on
several frames without meaning: filled, empty, and with nothing but nulls.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from merajut_assets.lineage.graph import LineageError

Frames = Mapping[str, pl.DataFrame]
Schemas = Mapping[str, Mapping[str, pl.DataType]]
# A frame's name and a column of it.
Place = tuple[str, str]

# Text that is a year, too: what cuts a year out of text comes to its end.
_VALUES: dict[Any, Any] = {
    pl.String: "2020",
    pl.Int64: 1,
    pl.UInt32: 1,
    pl.Float64: 1.0,
    pl.Boolean: True,
    pl.Date: date(2020, 1, 1),
    pl.Datetime: datetime(2020, 1, 1),
}
# Polars says of some missing columns that the expression has the wrong type.
_FAILURES = (pl.exceptions.PolarsError, ValueError, KeyError, TypeError)


def columns_read(
    run: Callable[[Frames], object],
    schemas: Schemas,
    *,
    likely: Collection[Place] = (),
    among: Collection[Place] | None = None,
) -> frozenset[Place]:
    """The columns of the frames without which `run` fails, on any of the frames tried.

    `schemas`: the columns and types of each frame that `run` is given. `likely`: columns that are probably read, and
    so are taken away one by one; of the others many can go at once, which saves runs. `among`: the columns that are
    asked about, if not all. A function that asks whether a column is there cannot be judged. Raises LineageError when
    `run` fails on every frame tried."""
    asked = [
        (name, column)
        for name, schema in schemas.items()
        for column in schema
        if among is None or (name, column) in among
    ]
    unread = asked
    tried = 0
    for filling in (_filled, _nulls, _empty):
        frames = {name: filling(schema) for name, schema in schemas.items()}
        if _comes_to_its_end(run, frames):
            expected = [place for place in unread if place in likely and not tried]
            found = {place for place in expected if _needed(run, frames, [place])}
            found |= _needed(run, frames, [place for place in unread if place not in expected])
            unread = [place for place in unread if place not in found]
            tried += 1
    if not tried:
        raise LineageError("a step fails on every frame it could be judged by, so that nobody knows what it reads")
    return frozenset(asked) - frozenset(unread)


def _needed(run: Callable[[Frames], object], frames: Frames, places: Sequence[Place]) -> set[Place]:
    """Those of some columns without which `run` fails; groups that it does not need are found at once."""
    if not places or _comes_to_its_end(run, _without(frames, places)):
        return set()
    if len(places) == 1:
        return {places[0]}
    middle = len(places) // 2
    return _needed(run, frames, places[:middle]) | _needed(run, frames, places[middle:])


def _without(frames: Frames, places: Sequence[Place]) -> dict[str, pl.DataFrame]:
    gone: dict[str, list[str]] = {}
    for name, column in places:
        gone.setdefault(name, []).append(column)
    return {name: frame.drop(gone[name]) if name in gone else frame for name, frame in frames.items()}


def _comes_to_its_end(run: Callable[[Frames], object], frames: Frames) -> bool:
    try:
        with warnings.catch_warnings():
            # Frames without meaning make for comparisons that nobody would write.
            warnings.simplefilter("ignore")
            run(frames)
    except _FAILURES:
        return False
    return True


def _filled(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: pl.Series(name, [_VALUES[dtype.base_type()]], dtype=dtype) for name, dtype in schema.items()}
    )


def _empty(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema))


def _nulls(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, [None], dtype=dtype) for name, dtype in schema.items()})
