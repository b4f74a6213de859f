"""Contracts as they are after somebody has changed them: what was stored before is of the real contract's shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from merajut_assets.contracts import base
from merajut_assets.contracts.base import TableContract, operational

NOTE = "remark"
TEXT = "nothing to remark"


def gaining(contract: TableContract, **options: Any) -> TableContract:
    """The contract with one more column, `NOTE`; `options` as for `operational`."""
    model = type(
        "Gained", (pa.DataFrameModel,), {"__annotations__": {NOTE: str}, NOTE: operational("A remark", **options)}
    )
    return _with(contract, contract.schema.add_columns(dict(model.to_schema().columns)))  # type: ignore[attr-defined]


def losing(contract: TableContract, column: str) -> TableContract:
    return _with(contract, contract.schema.remove_columns([column]))


def retyping(contract: TableContract, column: str, dtype: type[pl.DataType]) -> TableContract:
    return _with(contract, contract.schema.update_column(column, dtype=dtype))


def _with(contract: TableContract, schema: pa.DataFrameSchema) -> TableContract:
    changed = replace(contract)
    changed.__dict__["schema"] = schema  # where the contract keeps what it made of its model
    return changed


def declare(monkeypatch: pytest.MonkeyPatch, contract: TableContract) -> None:
    """Put a contract in the place of the one that is declared."""
    monkeypatch.setitem(base._TABLES, (contract.layer, contract.system, contract.name), contract)


def noted(frame: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """What code that knows the new column would make of a frame."""
    declared = {column.name for column in contract.columns}
    return frame.with_columns(pl.lit(TEXT).alias(name) for name in {NOTE} & declared)
