"""What Dagster is told about a table: everything here follows from its contract.

One function turns a contract into the keyword arguments of an asset. No asset writes its own
description, owner, tags, freshness or schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Column, System, TableContract
from merajut_assets.privacy.steps import PrivacyStep

# Where a table is kept; the graph shows icons for names that Dagster knows.
KINDS = {
    "raw": {"parquet"},
    "conformed": {"deltalake"},
    "protected": {"deltalake"},
    "statistics": {"opendp", "deltalake"},
}
_TYPE_NAMES = {
    pl.String: "text",
    pl.Int64: "integer",
    pl.Float64: "number",
    pl.Boolean: "boolean",
    pl.Date: "date",
    pl.Datetime: "timestamp",
}


def asset_options(
    contract: TableContract, *, privacy_step: PrivacyStep | None = None, **overrides: Any
) -> dict[str, Any]:
    """Keyword arguments for `dg.AssetSpec` or `dg.asset` (key, description, owners, group_name,
    kinds, tags, metadata, freshness_policy), derived from the contract."""
    metadata: dict[str, Any] = {
        "dagster/column_schema": column_schema(contract.columns),
        "purpose": contract.purpose,
        "legal_basis": contract.legal_basis.value,
        "jurisdiction": contract.jurisdiction,
        "retention_days": contract.retention_days,
        "subjects": ", ".join(contract.subjects) or "no person",
    }
    lineage = column_lineage(contract)
    if lineage is not None:
        metadata["dagster/column_lineage"] = lineage
    if privacy_step is not None:
        metadata["privacy_step"] = privacy_step.value
    return {
        "key": dg.AssetKey(list(contract.asset_key)),
        "description": contract.description,
        "owners": [contract.owner],
        "group_name": contract.layer,
        "kinds": KINDS[contract.layer],
        "tags": {"layer": contract.layer, "sensitivity": contract.sensitivity.value},
        "metadata": metadata,
        "freshness_policy": freshness_policy(contract.freshness_hours),
        **overrides,
    }


def source_spec(system: System, contract: TableContract) -> dg.AssetSpec:
    """The external asset that stands for a table in its source system."""
    options = asset_options(contract)
    schema = dg.TableSchema(columns=[_table_column(column, column.name_in_source) for column in contract.columns])
    return dg.AssetSpec(
        key=source_key(contract),
        description=f"{contract.description} As kept in: {system.description}.",
        owners=options["owners"],
        group_name="source",
        kinds={_source_kind(system)},
        tags={"layer": "source", "sensitivity": contract.sensitivity.value},
        metadata={
            "dagster/column_schema": schema,
            "location": system.location,
            "licence": system.licence or "own data",
        },
    )


def source_key(contract: TableContract) -> dg.AssetKey:
    return dg.AssetKey(["source", contract.system, contract.name])


def freshness_policy(hours: float) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))


def column_schema(columns: tuple[Column, ...]) -> dg.TableSchema:
    return dg.TableSchema(columns=[_table_column(column, column.name) for column in columns])


def _table_column(column: Column, name: str) -> dg.TableColumn:
    unit = f" ({column.unit})" if column.unit else ""
    return dg.TableColumn(
        name=name,
        type=type_name(column.dtype),
        description=f"{column.description}{unit}",
        constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=False),
        tags={"sensitivity": column.privacy.value},
    )


def type_name(dtype: pl.DataType) -> str:
    return _TYPE_NAMES.get(dtype.base_type(), str(dtype).lower())


def column_lineage(contract: TableContract) -> dg.TableColumnLineage | None:
    """Column lineage as declared: raw from its source, conformed from raw, protected from conformed."""
    deps: Mapping[str, list[dg.TableColumnDep]] = {
        column.name: [_dependency(contract, column, source) for source in _origins(contract, column)]
        for column in contract.columns
    }
    known = {name: found for name, found in deps.items() if found}
    return dg.TableColumnLineage(deps_by_column=known) if known else None


def _origins(contract: TableContract, column: Column) -> tuple[str, ...]:
    return (column.name_in_source,) if contract.layer == "raw" else column.sources


def _dependency(contract: TableContract, column: Column, source: str) -> dg.TableColumnDep:
    if contract.layer == "raw":
        return dg.TableColumnDep(asset_key=source_key(contract), column_name=source)
    *table_path, name = source.split(".")
    upstream = registry.raw_table(*table_path) if len(table_path) == 2 else registry.entity(*table_path)
    return dg.TableColumnDep(asset_key=dg.AssetKey(list(upstream.asset_key)), column_name=name)


def _source_kind(system: System) -> str:
    kinds = {"database": "sqlite", "sql_dump": "sql", "json_lines": "json", "sdmx_structure": "xml"}
    return kinds.get(system.format.value, system.format.value)
