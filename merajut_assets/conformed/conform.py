"""From good raw rows to conformed rows: assembling an entity, and refusing what breaks its contract.

Pure. What is particular to an entity is in `entities`; here is what its contract implies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from merajut_assets.conformed.entities import (
    CHILDREN,
    EXEMPT,
    JOINS,
    OUTLIVING,
    REFINE,
    TOKEN_KEYS,
    VALUES,
    Inputs,
    child_links,
)
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Column, Subject, TableContract
from merajut_assets.raw import landing

ORIGIN = "_origin"
POSITION = "_position"


@dataclass(frozen=True)
class Conformed:
    """`candidates` are all rows before the entity's rules; `failed_rules` is parallel to it.
    Both keep `_origin` (source table) and `_position` (row in it), which no stored table has."""

    candidates: pl.DataFrame
    failed_rules: pl.Series

    @property
    def passed(self) -> pl.DataFrame:
        rows = self.candidates.drop(ORIGIN, POSITION)
        # A filter copies, and most tables have nothing to filter out.
        return rows.filter(self.failed_rules.is_null()) if self.failed_rules.count() else rows


def primary_tables(entity: TableContract) -> tuple[TableContract, ...]:
    """The source tables of which each row becomes a candidate row of the entity: those that the
    entity's key, or else its required tokens, come from, or that have a row key of their own."""
    key_sources = [column.sources for column in entity.columns if column.key and column.sources]
    named = {source.rsplit(".", 1)[0] for sources in key_sources for source in sources}
    named |= {table for name, table in (*TOKEN_KEYS, *VALUES) if name == entity.name}
    return tuple(table for table in registry.source_tables(entity) if table.identifier in named)


def assemble(entity: TableContract, inputs: Inputs) -> pl.DataFrame:
    """All candidate rows of an entity, in the contract's columns and types, plus `_origin` and
    `_position`."""
    parts = [_from_table(entity, table, inputs) for table in primary_tables(entity)]
    rows = pl.concat(parts)
    refine = REFINE.get(entity.name)
    refined = refine(rows, inputs) if refine else rows
    return refined.select(*(column.name for column in entity.columns), ORIGIN, POSITION)


def _from_table(entity: TableContract, table: TableContract, inputs: Inputs) -> pl.DataFrame:
    place = (entity.name, table.identifier)
    rows = inputs.raw[table.identifier].with_row_index(POSITION)
    joined = JOINS[place](rows, inputs) if place in JOINS else rows
    links = child_links(inputs.every_child)
    values = VALUES.get(place, {})
    columns = [_column(entity, table, column, joined, values, inputs, links) for column in entity.columns]
    return joined.select([*columns, pl.lit(table.identifier).alias(ORIGIN), pl.col(POSITION)])


def _column(
    entity: TableContract,
    table: TableContract,
    column: Column,
    rows: pl.DataFrame,
    values: Mapping[str, pl.Expr],
    inputs: Inputs,
    links: pl.DataFrame,
) -> pl.Expr | pl.Series:
    source = next((path.split(".")[2] for path in column.sources if path.rsplit(".", 1)[0] == table.identifier), None)
    if column.key and (entity.name, table.identifier) in TOKEN_KEYS:
        key_columns = TOKEN_KEYS[(entity.name, table.identifier)]
        text = rows.select(pl.concat_str([pl.col(name).cast(pl.String) for name in key_columns], separator="|"))
        return inputs.token("row", table.identifier + "|" + text.to_series()).alias(column.name)
    if column.name in values:
        return values[column.name].cast(column.dtype).alias(column.name)
    if source is not None and column.name.endswith("_token"):
        return _token(table, table.column(source).name, rows, inputs, links).alias(column.name)
    if column.name in _SHARED:
        return _shared(table, column.name).alias(column.name)
    if column.name in rows.columns and (
        source is None or source not in rows.columns or column.name not in table_columns(table)
    ):
        return pl.col(column.name).cast(column.dtype)
    if source is not None and source in rows.columns:
        return pl.col(source).cast(column.dtype).alias(column.name)
    default = pl.lit(1) if column.name == "registrations" else pl.lit(None)
    return default.cast(column.dtype).alias(column.name)


def table_columns(table: TableContract) -> set[str]:
    return {column.name for column in table.columns}


_SHARED = ("source_system", "jurisdiction", "legal_basis", "data_origin", "modified_at")


def _shared(table: TableContract, name: str) -> pl.Expr:
    if name == "modified_at":
        return pl.col(table.modified_column or "source_time").cast(pl.Datetime("us"))
    value = {"source_system": table.system, "jurisdiction": table.jurisdiction, "legal_basis": table.legal_basis.value}
    return pl.col("data_origin") if name == "data_origin" else pl.lit(value[name])


def token_subject(table: TableContract, column: str) -> Subject:
    """Whom a token column is about: declared, or known from the column it refers to."""
    declared = table.column(column)
    if declared.subject is not None:
        return declared.subject
    if declared.references is not None:
        system, name, target = declared.references.split(".")
        return token_subject(registry.raw_table(system, name), target)
    # A manager is an employee of the same register, who need not be in it.
    return table.subjects[0]


def _token(table: TableContract, column: str, rows: pl.DataFrame, inputs: Inputs, links: pl.DataFrame) -> pl.Series:
    subject = token_subject(table, column)
    home = landing.home_system(table, column)
    ids = rows[column]
    if subject is Subject.CHILD and home == CHILDREN.split(".")[0]:
        linked = rows.select(pl.col(column).alias("child_id")).join(
            links, on="child_id", how="left", maintain_order="left"
        )
        ids = linked["linked_id"].fill_null(linked["child_id"])
    return inputs.token(subject, home + ":" + ids)


# ── rules ────────────────────────────────────────────────────────────────────────────────


def judge(entity: TableContract, candidates: pl.DataFrame, references: Mapping[str, pl.Series]) -> Conformed:
    """Which candidates break the entity's contract or refer to nothing.

    `references` maps `entity.column` to the values that exist there. Of several candidates with
    one key that keep all other rules only the newest passes (`<key>.unique`)."""
    declared = candidates.drop(ORIGIN, POSITION)
    return Conformed(candidates, _failed_rules(entity, declared, references, pl.lit(False)))


def judge_stored(entity: TableContract, stored: pl.DataFrame, references: Mapping[str, pl.Series]) -> pl.Series:
    """The rules that each stored row of an entity breaks, as `judge` says it of candidates; null for a sound one.

    A decision that outlives its record may refer to somebody who has gone with it."""
    return _failed_rules(entity, stored, references, OUTLIVING.get(entity.name, pl.lit(False)))


def _failed_rules(
    entity: TableContract, rows: pl.DataFrame, references: Mapping[str, pl.Series], refers_to_anybody: pl.Expr
) -> pl.Series:
    broken = landing.broken_rules(rows, entity)
    for column in entity.columns:
        if column.references is not None:
            values = rows[column.name]
            known = rows[column.references.split(".")[1]] if _is_self(entity, column) else references[column.references]
            rule = f"{column.name}.reference"
            exempt = EXEMPT.get((entity.name, rule), pl.lit(False)) | refers_to_anybody
            # Selected alone, a literal has a row per chunk of the frame.
            is_exempt = rows.with_columns(exempt.alias("exempt"))["exempt"].fill_null(False)
            broken.append((rule, values.is_not_null() & ~values.is_in(known.implode()) & ~is_exempt))
    broken.append(landing.outdated(rows, entity.key, "modified_at", broken))
    return landing.combine_rules(broken, rows.height)


def _is_self(entity: TableContract, column: Column) -> bool:
    return column.references is not None and column.references.split(".")[0] == entity.name


def referenced(entity: TableContract) -> tuple[str, ...]:
    """The `entity.column` pairs of other entities that this one refers to or is compared with."""
    paths = [path for column in entity.columns for path in (column.references, column.accuracy) if path and "." in path]
    return tuple(dict.fromkeys(path for path in paths if path.split(".")[0] != entity.name))
