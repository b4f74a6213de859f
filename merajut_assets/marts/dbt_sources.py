"""dbt's sources, written from the contracts and policies: the only tables dbt may read.

Here belongs how a protected dataset or a statistic is described to dbt. What the datasets are is in
the contracts, which statistics there are in the policies; neither is repeated by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass, TableContract
from merajut_assets.policies.stakeholder import Statistic, stakeholder_policies
from merajut_assets.statistics.figures import statistic_contract
from resources.settings import REPOSITORY

DBT_PROJECT = REPOSITORY / "dbt_project"
SOURCES_FILE = DBT_PROJECT / "models" / "sources.yml"
# The alias under which both dbt targets attach the release's warehouse file.
WAREHOUSE_DATABASE = "warehouse"
_HEADER = "# Generated from the contracts and policies by `python -m merajut_assets.marts.dbt_sources`; do not edit.\n"
_SQL_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "varchar",
    pl.Int64: "bigint",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Date: "date",
}
Described = dict[str, Any]


def source_columns() -> dict[tuple[str, str], dict[str, str]]:
    """SQL type by column of every source table, by (schema, table), in the order of the columns."""
    return {
        (source["name"], table["name"]): {column["name"]: column["data_type"] for column in table["columns"]}
        for source in _document()["sources"]
        for table in source["tables"]
    }


def source_differences(
    stored: Mapping[tuple[str, str], Mapping[str, str]], needed: Collection[tuple[str, str]] | None = None
) -> list[str]:
    """Where the stored source tables differ from the declared ones, either way; empty when they agree.

    `stored` maps (schema, table) to SQL type by column. `needed` restricts which declared tables must be
    there (default: all); a stored table that nobody declared is a difference in any case.
    """
    declared = source_columns()
    wanted = set(declared) if needed is None else set(needed)
    problems = [f"{'.'.join(table)} is missing" for table in sorted(wanted - set(stored))]
    for table, columns in sorted(stored.items()):
        name = ".".join(table)
        if table not in declared:
            problems.append(f"{name} is declared nowhere")
            continue
        problems += [f"{name} lacks {column}" for column in declared[table] if column not in columns]
        problems += [
            f"{name} has the undeclared column {column}" for column in columns if column not in declared[table]
        ]
        problems += [
            f"{name}.{column} is {sql_type.lower()} instead of {declared[table][column]}"
            for column, sql_type in columns.items()
            if column in declared[table] and sql_type.lower() != declared[table][column]
        ]
    return problems


def render_sources() -> str:
    """The text of models/sources.yml."""
    return _HEADER + yaml.safe_dump(_document(), sort_keys=False, allow_unicode=True, width=120)


def write_sources(path: Path = SOURCES_FILE) -> bool:
    """Write models/sources.yml; returns whether it changed."""
    text = render_sources()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _document() -> dict[str, Any]:
    return {
        "version": 2,
        "sources": [
            {
                "name": "protected",
                "description": "Datasets that passed the privacy layer, as released to one stakeholder each.",
                "database": WAREHOUSE_DATABASE,
                "schema": "protected",
                "tables": list(_protected_tables()),
            },
            {
                "name": "statistics",
                "description": "Differentially private figures, each drawn once per release.",
                "database": WAREHOUSE_DATABASE,
                "schema": "statistics",
                "tables": list(_statistic_tables()),
            },
        ],
    }


# ── protected datasets ───────────────────────────────────────────────────────────────────


def _protected_tables() -> Iterator[Described]:
    for _, contract in sorted(registry.tables("protected").items()):
        yield {
            "name": f"{contract.system}__{contract.name}",
            "description": contract.description,
            "config": {"meta": _meta(contract.system, contract.name, contract.owner, contract.sensitivity)},
            "columns": [*_contract_columns(contract), _release_column()],
        }


def _contract_columns(contract: TableContract) -> Iterator[Described]:
    for column in contract.columns:
        unit = f" ({column.unit})" if column.unit else ""
        yield _described(column.name, f"{column.description}{unit}.", _sql_type(contract, column.dtype), column.privacy)


def _sql_type(contract: TableContract, dtype: pl.DataType) -> str:
    try:
        return _SQL_TYPES[type(dtype)]
    except KeyError:
        raise TypeError(
            f"{contract.identifier}: a column of type {type(dtype).__name__} has no SQL type here; "
            "add it to the types of merajut_assets.marts.dbt_sources"
        ) from None


# ── statistics ───────────────────────────────────────────────────────────────────────────


def _statistic_tables() -> Iterator[Described]:
    for stakeholder, policy in sorted(stakeholder_policies().items()):
        for name, statistic in sorted(policy.statistics.items()):
            yield {
                "name": f"{stakeholder}__{name}",
                "description": f"Noisy {_measures(statistic)} by {', '.join(statistic.by)}, "
                f"ε = {policy.epsilon(name):g} per release.",
                "config": {"meta": _meta(stakeholder, name, "team:privacy", PrivacyClass.PUBLIC)},
                "columns": [_release_column(), *_contract_columns(statistic_contract(stakeholder, name))],
            }


def _measures(statistic: Statistic) -> str:
    return "child_count" if statistic.measure == "child_count" else " and ".join(statistic.values)


def _release_column() -> Described:
    return _described("release", "{{ doc('release') }}", "varchar", PrivacyClass.PUBLIC)


def _meta(stakeholder: str, dataset: str, owner: str, sensitivity: PrivacyClass) -> dict[str, str]:
    return {"stakeholder": stakeholder, "dataset": dataset, "owner": owner, "sensitivity": sensitivity.value}


def _described(name: str, description: str, data_type: str, privacy: PrivacyClass) -> Described:
    meta = {"meta": {"privacy": privacy.value}}
    return {"name": name, "description": description, "data_type": data_type, "config": meta}


if __name__ == "__main__":
    write_sources()
