"""A small generated world brought through landing and conforming in memory, and columns of it changed one by one.

Here belong the real steps without their stores, and how a column is changed; what may change with it is in the tests.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from merajut_assets.conformed import build, conform
from merajut_assets.conformed.entities import CHILDREN, Inputs
from merajut_assets.conformed.supporting import judge_references
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.raw import landing
from merajut_assets.sources.reader import Location, read
from resources.encryption import tokens
from resources.settings import REPOSITORY

# The region list and the school register are long, and say nothing more when they are.
LONGEST_TABLE = 1_500
SHIFTED, REPLACED, SPOILT = "shifted", "replaced", "spoilt"
LINKING = ["child_id", "nik_token"]

Frames = Mapping[str, pl.DataFrame]


def named_key(purpose: str) -> bytes:
    return hmac.digest(b"k" * 32, purpose.encode(), "sha256")


@dataclass(frozen=True)
class Landed:
    """All rows of a raw table as they are read back, in the order of the source, with `failed_rules`."""

    rows: pl.DataFrame

    @property
    def good(self) -> pl.DataFrame:
        return self.rows.filter(pl.col(landing.FAILED_RULES).is_null()).drop(landing.FAILED_RULES)

    @property
    def refused(self) -> pl.DataFrame:
        return self.rows.filter(pl.col(landing.FAILED_RULES).is_not_null())


def land(table: TableContract, source: pl.DataFrame) -> Landed:
    parsed = landing.parse(source, table)
    return Landed(
        parsed.frame.drop(landing.UNPARSED).with_columns(
            *landing.derived_flags(parsed.frame, table, named_key),
            pl.lit("generated").alias("data_origin"),
            pl.lit("2026-11-01").str.to_datetime(time_unit="us").alias("source_time"),
            landing.judge(parsed, table),
        )
    )


@dataclass(frozen=True)
class World:
    """The source tables, as text or as their readers hand them over, by `system.table`."""

    sources: Frames

    @cached_property
    def landed(self) -> dict[str, Landed]:
        return {name: land(table, self.sources[name]) for name, table in registry.tables("raw").items()}

    @cached_property
    def conformed(self) -> dict[str, pl.DataFrame]:
        built: dict[str, pl.DataFrame] = {}
        waiting = dict(registry.tables("conformed"))
        while waiting:
            for name, entity in list(waiting.items()):
                if {path.split(".")[0] for path in conform.referenced(entity)} <= set(built):
                    built[name] = conformed(entity, self.landed, built)
                    del waiting[name]
        return built


def conformed(entity: TableContract, landed: Mapping[str, Landed], others: Frames) -> pl.DataFrame:
    """The rows of an entity, by the functions that its asset calls between reading and storing."""
    tables = {table.identifier: landed[table.identifier] for table in build.raw_inputs(entity)}
    children = tables.get(CHILDREN)
    every_child = (
        pl.concat([children.good.select(LINKING), children.refused.select(LINKING)])
        if children
        else pl.DataFrame(schema=dict.fromkeys(LINKING, pl.String))
    )
    inputs = Inputs(
        raw={name: part.good for name, part in tables.items()},
        refused={name: part.refused for name, part in tables.items()},
        every_child=every_child,
        token=lambda kind, texts: tokens(texts, named_key(f"token/{kind}")),
        aliases=pl.read_csv(REPOSITORY / "data/reference/crosswalk/regency_aliases.csv", infer_schema=False),
    )
    references = {}
    for path in conform.referenced(entity):
        other, column = path.split(".")
        references[path] = others[other][column].drop_nulls().unique()
    judged = conform.judge(entity, conform.assemble(entity, inputs), references)
    judged, _ = judge_references(entity, judged, inputs.raw, inputs.every_child)
    return judged.passed


def read_sources(directory: Path) -> World:
    """The generated tables under `directory`, and the shipped ones."""
    sources = {}
    for name, table in registry.tables("raw").items():
        system = registry.systems()[table.system]
        is_shipped = Path(system.location).parts[0] == "reference"
        found = read(table, system, Location(REPOSITORY / "data" if is_shipped else directory))
        sources[name] = found.frame.head(LONGEST_TABLE)
    return World(sources)


# ── changing one column ──────────────────────────────────────────────────────────────────


def changes(values: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    """The column with its values moved by a row; with every third one another that occurs, or a new one; and with
    every fifth one empty or, where it is text, nonsense. Those that change nothing are left out."""
    for how, changed in ((SHIFTED, _shifted(values)), (REPLACED, _replaced(values)), (SPOILT, _spoilt(values))):
        if not changed.equals(values, null_equal=True):
            yield how, changed


def _shifted(values: pl.Series) -> pl.Series:
    return pl.concat([values.tail(1), values.head(values.len() - 1)]) if values.len() else values


def _replaced(values: pl.Series) -> pl.Series:
    known = values.drop_nulls().unique().sort()
    if known.is_empty():
        return _every(3, values, pl.Series([_anything(values.dtype)] * values.len(), dtype=values.dtype))
    following = dict(zip(known.to_list(), [*known.to_list()[1:], _another(known[-1], known)], strict=True))
    return _every(3, values, pl.Series([following.get(value) for value in values.to_list()], dtype=values.dtype))


def _spoilt(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        return _every(5, values, pl.Series([None] * values.len(), dtype=values.dtype))
    # Of empty cells none: in a column with few values most would be nonsense, and the whole table refused.
    return _every(
        5, values, pl.Series([None if value is None else "??" for value in values.to_list()], dtype=pl.String)
    )


def _every(step: int, values: pl.Series, others: pl.Series) -> pl.Series:
    is_changed = pl.int_range(values.len(), eager=True) % step == 0
    return pl.select(pl.when(is_changed).then(others).otherwise(values).alias(values.name)).to_series()


def _another(value: Any, known: pl.Series) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return known[0]


def _anything(dtype: pl.DataType) -> Any:
    samples = {pl.String: "x", pl.Int64: 1, pl.Float64: 1.5, pl.Boolean: True}
    return samples.get(dtype.base_type())


def changed_columns(before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str]) -> set[str]:
    """The columns of which some row, as told by its key, has another value than before, or is there no more."""
    return {
        name
        for name in before.columns
        if not _ordered(before, name, key).equals(_ordered(after, name, key), null_equal=True)
    }


def _ordered(frame: pl.DataFrame, column: str, key: Sequence[str]) -> pl.DataFrame:
    told = frame.select(list(dict.fromkeys([*key, column])))
    # Sums of floats depend on the order of the rows in their last digits.
    rounded = told.with_columns(pl.col(pl.Float64).round(6))
    return rounded.sort(rounded.columns)
