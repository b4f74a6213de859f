"""Rows that were stored under an earlier state of their contract, read under today's.

Belongs here: which difference is filled with nulls, and which is refused, with what the refusal says. Does not belong
here: how the schema of a stored table changes (`lake`), and what is made anew instead of being read (the layers).

A column that came later is null in the older rows where the contract permits null. One that may not be null, or that
has another type now, cannot be told of them. What the contract no longer has stays as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from merajut_assets.contracts.base import TableContract
from resources.lake import TableSchemaError


def gained(stored: Mapping[str, pl.DataType], contract: TableContract) -> list[str]:
    """The columns of the contract that the stored rows do not have."""
    return [column.name for column in contract.columns if column.name not in stored]


def retyped(stored: Mapping[str, pl.DataType], contract: TableContract) -> list[str]:
    """The columns of the contract that are stored with another type."""
    return [column.name for column in contract.columns if stored.get(column.name, column.dtype) != column.dtype]


def refuse_unfit(stored: Mapping[str, pl.DataType], contract: TableContract, rows: str, remedy: str) -> None:
    """Raise TableSchemaError when rows stored in these columns cannot be read under the contract. `rows`: which they
    are, and `remedy`: what to do, for the text."""
    required = [name for name in gained(stored, contract) if not contract.column(name).nullable]
    problems = [
        f"{label} {', '.join(names)}"
        for label, names in (("without", required), ("with another type of", retyped(stored, contract)))
        if names
    ]
    if problems:
        raise TableSchemaError(
            f"{rows}: stored {' and '.join(problems)}, under an earlier contract, and not to be filled in; {remedy}"
        )


def in_shape(rows: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """`rows` with nulls in the columns that the contract gained since."""
    missing = [contract.column(name) for name in gained(rows.schema, contract)]
    return rows.with_columns(pl.lit(None, dtype=column.dtype).alias(column.name) for column in missing)
