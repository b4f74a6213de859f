"""Which columns a model's columns come from, read off the compiled SQL.

Here belongs the derivation from a compiled manifest; not how Dagster shows it, nor what may come from where.
Ephemeral models are part of the SQL of those that use them, so that lineage runs from tables to tables. A column
that is only filtered or joined on counts for nothing: lineage says where values come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

# Model -> column -> (unique id of a source or model, column), all as in the manifest.
ColumnLineage = dict[str, dict[str, list[list[str]]]]
Relation = tuple[str, str, str]  # database, schema, table
DIALECT = "duckdb"
_COUNTS = (exp.Count, exp.CountIf, exp.ApproxDistinct)


def column_lineage(manifest: Mapping[str, Any]) -> ColumnLineage:
    """The lineage of every table model of a compiled manifest. Raises ValueError for one without compiled SQL, or
    whose SQL cannot be followed."""
    return _lineage(manifest, without_counts=False)


def carried_columns(manifest: Mapping[str, Any]) -> ColumnLineage:
    """As column_lineage, without origins of which only the number of values goes on: a count of pseudonyms
    comes from them, and tells none. Raises ValueError."""
    return _lineage(manifest, without_counts=True)


def relation(node: Mapping[str, Any]) -> Relation:
    """Where a source or model is stored."""
    name = node["identifier"] if node["resource_type"] == "source" else node["alias"]
    return node["database"], node["schema"], name


def lowered(name: Relation) -> Relation:
    """The relation as DuckDB tells relations apart: without regard to case."""
    database, schema, table = name
    return database.lower(), schema.lower(), table.lower()


def _lineage(manifest: Mapping[str, Any], *, without_counts: bool) -> ColumnLineage:
    models = _tables(manifest)
    relations = {**manifest["sources"], **models}
    schema = _schema(relations)
    owners = {relation(node): unique_id for unique_id, node in relations.items()}
    return {
        unique_id: _of_model(node, schema, owners, without_counts=without_counts)
        for unique_id, node in sorted(models.items())
    }


def _tables(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
    }


def _schema(relations: Mapping[str, Any]) -> dict[str, Any]:
    """Database -> schema -> table -> column -> type, as sqlglot wants it."""
    schema: dict[str, Any] = {}
    for node in relations.values():
        database, within, name = relation(node)
        columns = {column: declared["data_type"] for column, declared in node["columns"].items()}
        schema.setdefault(database, {}).setdefault(within, {})[name] = columns
    return schema


def _of_model(
    node: Mapping[str, Any], schema: dict[str, Any], owners: Mapping[Relation, str], *, without_counts: bool
) -> dict[str, list[list[str]]]:
    compiled = node.get("compiled_code")
    if not compiled:
        raise ValueError(f"{node['name']} has no compiled SQL; compile the dbt project instead of parsing it")
    try:
        query = qualify(parse_one(compiled, dialect=DIALECT), schema=schema, dialect=DIALECT)
        if without_counts:
            query = query.transform(_without_count)
        scope = build_scope(query)
        steps = {
            column: lineage(column, query, schema=schema, dialect=DIALECT, scope=scope) for column in node["columns"]
        }
    except (SqlglotError, ValueError):
        # The message quotes the SQL, which may quote anything.
        raise ValueError(
            f"model {node['name']}: its SQL cannot be followed from every declared column to where it comes from; "
            "compare the columns of its contract with those it selects, and write them out"
        ) from None
    return {column: _origins(root, owners) for column, root in steps.items()}


def _origins(root: Any, owners: Mapping[Relation, str]) -> list[list[str]]:
    origins: set[tuple[str, str]] = set()
    for step in root.walk():
        table = step.expression
        if step.downstream or not isinstance(table, exp.Table):
            continue
        owner = owners.get((table.catalog, table.db, table.name))
        if owner:
            origins.add((owner, exp.to_column(step.name).name))
    return [list(origin) for origin in sorted(origins)]


def _without_count(node: exp.Expression) -> exp.Expression:
    """A constant in the place of a count, filtered or over a window or neither."""
    counted = node
    while isinstance(counted, (exp.Filter, exp.Window)):
        counted = counted.this
    return exp.Literal.number(0) if isinstance(counted, _COUNTS) else node
