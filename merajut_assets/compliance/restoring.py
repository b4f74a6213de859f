"""Taking an older version of a conformed table back, without taking back what people have decided since.

Belongs here: what has to be applied again when old rows return: erasures, and withdrawn or ended
consents. Versions older than an erasure cannot be restored at all where their files were vacuumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from merajut_assets.compliance.subjects import TokenColumn, erased_tokens, token_columns_of
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.privacy.consent import restricts
from merajut_assets.protected.consent_filter import CONSENT_ENTITY
from resources.lakehouse import Lakehouse
from resources.shapes import in_shape, refuse_unfit

LAYER = "conformed"
READER = "restore"


class RestoreRefused(ValueError):
    """A table cannot be restored. Names the table and the remedy."""


@dataclass(frozen=True)
class Restored:
    """`version` is the new one. `erased`: rows that an erasure keeps out, or that named an erased person;
    `decisions`: decisions on consent that were kept from the newer table."""

    table: str
    from_version: int
    version: int
    rows: int
    erased: int
    decisions: int


def restore(lakehouse: Lakehouse, table: str, version: int) -> Restored:
    """Make the rows of an older version of `conformed/<entity>` the current ones, in one commit.

    Columns that the contract gained since are null in them. Raises RestoreRefused for another layer or an unknown
    entity, TableNotFound for a version that never was, FileKeyDestroyed for one whose files were vacuumed,
    TableSchemaError for one that does not fit the contract, and StaleVersionError when the table changed meanwhile.
    """
    entity = _entity(table)
    current = lakehouse.lake.version(table)
    # A column that the contract has no longer may name the erased: their rows go before it does.
    old = lakehouse.read(table, version=version, reader=READER, purpose="the older version")
    kept, erased = _without_erased(lakehouse, entity, old)
    kept = _fitting(kept, entity, version)
    decisions = 0
    if entity.name == CONSENT_ENTITY:
        present = lakehouse.read(table, reader=READER, purpose="decisions made since")
        newer, _ = _without_erased(lakehouse, entity, present)
        kept, decisions = keep_decisions(kept, _fitting(newer, entity, current))
    restored = lakehouse.lake.overwrite(
        table, kept, expected_version=current, facts={"restored_version": version, "rows": kept.height}
    )
    lakehouse.audit.append(
        "restore", table=table, from_version=version, version=restored, rows=kept.height, erased=erased
    )
    return Restored(table, version, restored, kept.height, erased, decisions)


def _fitting(rows: pl.DataFrame, entity: TableContract, version: int | None) -> pl.DataFrame:
    """A version's rows in the columns that the contract declares now."""
    which = f"{'/'.join(entity.asset_key)}, version {version}"
    refuse_unfit(rows.schema, entity, which, "choose a newer version, or let `merajut run` build the table from raw")
    return in_shape(rows, entity).select(column.name for column in entity.columns)


def _entity(table: str) -> TableContract:
    layer, _, name = table.partition("/")
    entities = registry.tables(LAYER)
    if layer != LAYER or name not in entities:
        raise RestoreRefused(
            f"only conformed tables are restored, such as conformed/{min(entities)}; releases are written once, "
            "and publications go back by `merajut publish rollback`"
        )
    return entities[name]


def _without_erased(lakehouse: Lakehouse, entity: TableContract, rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    kept, touched = rows, 0
    for subject in Subject:
        for column in token_columns_of("/".join(entity.asset_key), rows.columns, subject):
            kept, found = _apply(kept, column, erased_tokens(lakehouse, subject))
            touched += found
    return kept, touched


def _apply(rows: pl.DataFrame, column: TokenColumn, erased: pl.Series) -> tuple[pl.DataFrame, int]:
    named = pl.col(column.column).is_in(erased.implode()).fill_null(False)
    found = rows.filter(named).height
    kept = rows.filter(~(named & column.goes))
    return kept.with_columns(pl.when(~named).then(pl.col(column.column)).alias(column.column)), found


def keep_decisions(old: pl.DataFrame, newer: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The decisions of `old` with those of `newer` that restrict: withdrawals, and grants that end.

    A decision of `old` that `newer` no longer has was taken back at its source and stays away. Returns the
    decisions and how many came from `newer` or stay away."""
    known = old.join(newer.select("consent_id"), on="consent_id", how="semi")
    restricting = newer.filter(restricts())
    differing = restricting.join(known, on=restricting.columns, how="anti", nulls_equal=True)
    unrestricted = known.join(differing.select("consent_id"), on="consent_id", how="anti")
    kept = pl.concat([unrestricted, differing.select(unrestricted.columns)])
    return kept, differing.height + old.height - known.height
