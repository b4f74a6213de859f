"""Which columns a model's columns come from, read off the compiled SQL.

Here belongs the derivation from a compiled manifest; not how Dagster shows it. Ephemeral models are
part of the SQL of those that use them, so that lineage runs from tables to tables. A column that is only
filtered or joined on counts for nothing: lineage says where values come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

# Model -> column -> (unique id of a source or model, column), all as in the manifest.
ColumnLineage = dict[str, dict[str, list[list[str]]]]
_DIALECT = "duckdb"


def column_lineage(manifest: Mapping[str, Any]) -> ColumnLineage:
    """The lineage of every table model of a compiled manifest. Raises ValueError for one without compiled SQL."""
    relations = {**manifest["sources"], **_tables(manifest)}
    schema = _schema(relations)
    owners = {_relation(node): unique_id for unique_id, node in relations.items()}
    return {unique_id: _of_model(node, schema, owners) for unique_id, node in sorted(_tables(manifest).items())}


def _tables(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
    }


def _relation(node: Mapping[str, Any]) -> tuple[str, str, str]:
    name = node["identifier"] if node["resource_type"] == "source" else node["alias"]
    return node["database"], node["schema"], name


def _schema(relations: Mapping[str, Any]) -> dict[str, Any]:
    """Database -> schema -> table -> column -> type, as sqlglot wants it."""
    schema: dict[str, Any] = {}
    for node in relations.values():
        database, within, name = _relation(node)
        columns = {column: declared["data_type"] for column, declared in node["columns"].items()}
        schema.setdefault(database, {}).setdefault(within, {})[name] = columns
    return schema


def _of_model(
    node: Mapping[str, Any], schema: dict[str, Any], owners: Mapping[tuple[str, str, str], str]
) -> dict[str, list[list[str]]]:
    compiled = node.get("compiled_code")
    if not compiled:
        raise ValueError(f"{node['name']} has no compiled SQL; compile the dbt project instead of parsing it")
    query = qualify(parse_one(compiled, dialect=_DIALECT), schema=schema, dialect=_DIALECT)
    scope = build_scope(query)
    found: dict[str, list[list[str]]] = {}
    for column in node["columns"]:
        root = lineage(column, query, schema=schema, dialect=_DIALECT, scope=scope)
        origins: set[tuple[str, str]] = set()
        for step in root.walk():
            table = step.expression
            if step.downstream or not isinstance(table, exp.Table):
                continue
            owner = owners.get((table.catalog, table.db, table.name))
            if owner:
                origins.add((owner, exp.to_column(step.name).name))
        found[column] = [list(origin) for origin in sorted(origins)]
    return found
