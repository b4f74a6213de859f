"""Which columns a dbt model's columns come from, read off the compiled SQL.

Here belongs the derivation from a compiled manifest; not how Dagster shows it, nor what may come from where.
Ephemeral models are part of the SQL of those that use them, so that lineage runs from tables to tables.

Each query is read once, innermost first. Of every column it is known which stored columns its value is computed
from; of the query as a whole, which ones decide about its rows (joins, filters, grouping, order, DISTINCT), and so
about every column of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from merajut_assets.lineage.disclosure import declared_step, disclosure_tests, judged_columns
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.privacy.steps import PrivacyStep

# Model -> column -> (unique id of a source or model, column), all as in the manifest.
ColumnLineage = dict[str, dict[str, list[list[str]]]]
Relation = tuple[str, str, str]  # database, schema, table
DIALECT = "duckdb"
# The analysts' copy of everything that a release's warehouse holds.
RELEASED = "warehouse/released"

# A table that no node of the manifest stands for.
UNKNOWN = "unknown"
_COUNTS = (exp.Count, exp.CountIf, exp.ApproxDistinct)
# What happens to a column twice is called by the stronger of the two; a count of sums is a count.
_STRENGTH = (How.IDENTITY, How.EXPRESSION, How.CONDITIONAL, How.WINDOW, How.AGGREGATE, How.COUNT, How.ROWS)
# What stands for groups of rows, and so is what disclosure control judges.
_FIGURES = (How.AGGREGATE, How.COUNT)

# A stored column (unique id of its table, or UNKNOWN/<table>; its name), and what happens to it.
_Origin = tuple[str, str, How]


@dataclass(frozen=True)
class QueryLineage:
    """`columns`: what each column is computed from; ROWS among them means that only the number of rows counts.
    `rows`: what decides which rows there are."""

    columns: Mapping[str, frozenset[_Origin]]
    rows: frozenset[_Origin]


# ── nodes of the manifest ────────────────────────────────────────────────────────────────


def relation(node: Mapping[str, Any]) -> Relation:
    """Where a source or model is stored."""
    name = node["identifier"] if node["resource_type"] == "source" else node["alias"]
    return node["database"], node["schema"], name


def lowered(name: Relation) -> Relation:
    """The relation as DuckDB tells relations apart: without regard to case."""
    database, schema, table = name
    return database.lower(), schema.lower(), table.lower()


def asset_path(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The asset key of a source or model: protected/…, statistics/…, warehouse/<model>, mart/<stakeholder>/<model>.
    A source that is no dataset of a stakeholder is called as dbt calls it."""
    if node["resource_type"] == "source":
        meta = node["config"]["meta"]
        if {"stakeholder", "dataset"} <= set(meta):
            return (str(node["source_name"]), str(meta["stakeholder"]), str(meta["dataset"]))
        return (str(node["source_name"]), str(node["name"]))
    stakeholder = mart_stakeholder(node)
    return ("mart", stakeholder, str(node["name"])) if stakeholder else ("warehouse", str(node["name"]))


def mart_stakeholder(node: Mapping[str, Any]) -> str | None:
    """Whose mart a model is part of, by its folder; None for a model that is in no mart."""
    folders = node["fqn"][1:-1]
    return str(folders[1]) if len(folders) == 2 and folders[0] == "mart" else None


# ── lineage of all models ────────────────────────────────────────────────────────────────


def column_lineage(manifest: Mapping[str, Any]) -> ColumnLineage:
    """What the values of every table model of a compiled manifest are computed from. Raises ValueError for a model
    without compiled SQL, or whose SQL cannot be followed."""
    return _computed_from(manifest, (How.ROWS,))


def carried_columns(manifest: Mapping[str, Any]) -> ColumnLineage:
    """As column_lineage, without origins of which only the number of values goes on: a count of pseudonyms
    comes from them, and tells none. Raises ValueError."""
    return _computed_from(manifest, (How.ROWS, How.COUNT))


def dbt_graph(manifest: Mapping[str, Any]) -> LineageGraph:
    """The columns of all table models, those of the marts also as columns of their stakeholder's published file.

    A step that a model declares (`privacy_step` in its meta) is that of its figures: sums, shares and counts; a
    column that is taken over, grouped or joined by is not protected by it. Disclosure control is that of the figures
    that tests judge: a declaration alone withholds nothing. Raises ValueError as column_lineage."""
    known = {**manifest["sources"], **_tables(manifest)}
    judged = {unique_id: judged_columns(tests) for unique_id, tests in disclosure_tests(manifest).items()}
    edges: list[Edge] = []
    nodes: list[Node] = []
    for unique_id, found in query_lineages(manifest).items():
        model = known[unique_id]
        asset = "/".join(asset_path(model))
        step = declared_step(model)
        for column in model["columns"]:
            target = ColumnRef(asset, column)
            is_shown = unique_id not in judged or column in judged[unique_id]
            edges += _edges(found, target, known, step if is_shown else None)
            # Of two nodes of one column the one of its own model counts.
            nodes.append(Node(target, is_constant=not found.columns[column]))
            stakeholder = mart_stakeholder(model)
            if stakeholder:
                copy = ColumnRef(f"published/{stakeholder}", f"{model['name']}.{column}")
                edges.append(Edge(target, copy, Kind.DIRECT, How.IDENTITY))
    return LineageGraph.of(edges, nodes)


def project_graph(manifest: Mapping[str, Any]) -> LineageGraph:
    """As dbt_graph, with the analysts' copy, which holds every source and table model. Raises ValueError."""
    copied = [
        Edge(
            ColumnRef("/".join(asset_path(node)), column),
            ColumnRef(RELEASED, released_name(node, column)),
            Kind.DIRECT,
            How.IDENTITY,
        )
        for node in (*manifest["sources"].values(), *_tables(manifest).values())
        for column in node["columns"]
    ]
    return dbt_graph(manifest) | LineageGraph.of(copied)


def released_name(node: Mapping[str, Any], column: str) -> str:
    """How a column of a source or model is called among those of the analysts' copy: `schema.table.column`."""
    _, schema, table = relation(node)
    return f"{schema}.{table}.{column}"


def _edges(
    found: QueryLineage, target: ColumnRef, known: Mapping[str, Any], step: PrivacyStep | None
) -> Iterator[Edge]:
    def stored(owner: str, column: str) -> ColumnRef:
        return ColumnRef("/".join(asset_path(known[owner])) if owner in known else owner, column)

    for owner, column, named in found.columns[target.column]:
        how = How.COUNT if named is How.ROWS else named  # rows are counted, and so whoever has one
        yield Edge(stored(owner, column), target, Kind.DIRECT, how, step if how in _FIGURES else None)
    for owner, column, decides in found.rows:
        yield Edge(stored(owner, column), target, Kind.INDIRECT, decides)


def query_lineages(manifest: Mapping[str, Any]) -> dict[str, QueryLineage]:
    """The lineage of every table model by unique id. Raises ValueError as column_lineage."""
    models = _tables(manifest)
    relations = {**manifest["sources"], **models}
    schema = _schema(relations)
    owners = {lowered(relation(node)): unique_id for unique_id, node in relations.items()}
    columns = {unique_id: tuple(node["columns"]) for unique_id, node in relations.items()}
    return {unique_id: _of_model(node, schema, _Reader(owners, columns)) for unique_id, node in sorted(models.items())}


def _computed_from(manifest: Mapping[str, Any], left_out: tuple[How, ...]) -> ColumnLineage:
    lineages = query_lineages(manifest)
    known = {**manifest["sources"], **_tables(manifest)}
    return {
        unique_id: {
            column: [
                list(origin)
                for origin in sorted(
                    {
                        (owner, name)
                        for owner, name, how in found.columns[column]
                        if how not in left_out and owner in known
                    }
                )
            ]
            for column in known[unique_id]["columns"]
        }
        for unique_id, found in lineages.items()
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


def _of_model(node: Mapping[str, Any], schema: dict[str, Any], reader: _Reader) -> QueryLineage:
    compiled = node.get("compiled_code")
    if not compiled:
        raise ValueError(f"{node['name']} has no compiled SQL; compile the dbt project instead of parsing it")
    try:
        query = parse_one(compiled, dialect=DIALECT)
        # A table that nobody declares may have any column; where it comes from is told by its name.
        scope = build_scope(qualify(query, schema=schema, dialect=DIALECT, infer_schema=True))
        found = reader.root(scope) if scope else None
    except (SqlglotError, _CannotFollow, RecursionError):
        found = None
    if found is None or not set(node["columns"]) <= set(found.columns):
        # What sqlglot says quotes the SQL, which may quote anything.
        raise ValueError(
            f"model {node['name']}: its SQL cannot be followed from every declared column to where it comes from; "
            "compare the columns of its contract with those it selects, and write them out"
        ) from None
    return found


# ── one query ────────────────────────────────────────────────────────────────────────────


class _CannotFollow(ValueError):
    """A query has a form, or names a column, that nothing here knows."""


class _Reader:
    """Reads the scopes of one qualified query. `owners`: unique ids by stored relation, in lower case; `columns`:
    the columns of each."""

    def __init__(self, owners: Mapping[Relation, str], columns: Mapping[str, tuple[str, ...]]) -> None:
        self._owners = owners
        self._columns = columns
        self._scopes: dict[int, Scope] = {}
        self._read: dict[int, QueryLineage] = {}

    def root(self, scope: Scope) -> QueryLineage:
        """The lineage of a whole query. Raises _CannotFollow."""
        # A recursive query reads its own beginning, of which sqlglot makes a second scope that knows no tables.
        self._scopes = {id(one.expression): one for one in scope.traverse()}
        return self.query(scope)

    def query(self, scope: Scope) -> QueryLineage:
        """The lineage of a scope and all those within. Raises _CannotFollow."""
        place = id(scope.expression)
        if place not in self._read:
            self._read[place] = self._of(self._scopes.get(place, scope))
        return self._read[place]

    def _of(self, scope: Scope) -> QueryLineage:
        if isinstance(scope.expression, exp.SetOperation):
            return self._set_operation(scope)
        if isinstance(scope.expression, exp.Select):
            return self._select(scope, scope.expression)
        raise _CannotFollow

    def _set_operation(self, scope: Scope) -> QueryLineage:
        left, right = (self.query(part) for part in scope.set_operation_scopes)
        if len(left.columns) != len(right.columns):
            raise _CannotFollow
        columns = {
            name: origins | others
            for (name, origins), others in zip(left.columns.items(), right.columns.values(), strict=True)
        }
        rows = left.rows | right.rows
        if not isinstance(scope.expression, exp.Union):
            rows |= _decides(right.columns.values(), How.FILTER)
        if scope.expression.args.get("distinct"):
            rows |= _decides(columns.values(), How.DISTINCT)
        found = QueryLineage(columns, rows)
        return QueryLineage(columns, rows | self._decided_by(scope, ("order",), How.ORDER, found))

    def _select(self, scope: Scope, select: exp.Select) -> QueryLineage:
        if select.is_star:
            raise _CannotFollow
        columns: dict[str, frozenset[_Origin]] = {}
        for place, projection in enumerate(select.selects):
            origins = self._expression(projection, scope, How.IDENTITY)
            if not origins and projection.find(exp.AggFunc, exp.Window):
                # A count of rows, or of a constant: all there is to read tells how many.
                origins = self._every_row(scope)
            name = projection.alias_or_name
            # A later part of a union may call two columns the same: only their places count there.
            columns[f"{name} {place}" if name in columns else name] = origins
        found = QueryLineage(columns, frozenset())
        rows = self._tables_for_their_rows(scope)
        for source in self._queries_read(scope):
            rows |= source.rows
        rows |= self._decided_by(scope, ("joins",), How.JOIN, found)
        rows |= self._decided_by(scope, ("where", "having", "qualify"), How.FILTER, found)
        rows |= self._decided_by(scope, ("group",), How.GROUP, found)
        rows |= self._decided_by(scope, ("order",), How.ORDER, found)
        group = select.args.get("group")
        if group is not None and group.args.get("all"):
            rows |= _decides(columns.values(), How.GROUP)
        if select.args.get("distinct") is not None:
            rows |= _decides(columns.values(), How.DISTINCT) | self._decided_by(scope, ("distinct",), How.ORDER, found)
        return QueryLineage(columns, rows)

    # ── what is read ─────────────────────────────────────────────────────────────────────

    def _queries_read(self, scope: Scope) -> Iterator[QueryLineage]:
        for _, source in scope.selected_sources.values():
            if isinstance(source, Scope) and isinstance(source.expression, exp.Query):
                yield self.query(source)

    def _tables_for_their_rows(self, scope: Scope) -> frozenset[_Origin]:
        """All columns of what is read without naming a column of it: it decides how many rows there are."""
        named = {column.table for column in scope.expression.find_all(exp.Column)}
        found: set[_Origin] = set()
        for name, (_, source) in scope.selected_sources.items():
            if name not in named:
                found |= self._rows_of(source)
        return frozenset(found)

    def _every_row(self, scope: Scope) -> frozenset[_Origin]:
        return frozenset(origin for _, source in scope.selected_sources.values() for origin in self._rows_of(source))

    def _rows_of(self, source: Scope | exp.Expr) -> frozenset[_Origin]:
        if isinstance(source, exp.Table):
            owner = self._owner(source)
            return frozenset((owner, column, How.ROWS) for column in self._columns.get(owner, (How.ROWS.value,)))
        if isinstance(source, Scope) and isinstance(source.expression, exp.Query):
            found = self.query(source)
            return _decides((*found.columns.values(), found.rows), How.ROWS)
        return frozenset()

    def _owner(self, table: exp.Table) -> str:
        """The unique id of the node that a table is stored for. What is in a path or an argument is never told."""
        name = table.name if isinstance(table.this, exp.Identifier) else type(table.this).__name__.lower()
        found = self._owners.get(lowered((table.catalog, table.db, name)))
        return found or "/".join(part for part in (UNKNOWN, table.catalog, table.db, name) if part)

    # ── expressions ──────────────────────────────────────────────────────────────────────

    def _decided_by(self, scope: Scope, parts: Iterable[str], how: How, own: QueryLineage) -> frozenset[_Origin]:
        """The columns in some clauses of a query. `own`: its columns, which its ORDER BY may name."""
        found: set[_Origin] = set()
        for part in parts:
            clauses = scope.expression.args.get(part) or []
            for clause in clauses if isinstance(clauses, list) else [clauses]:
                # The table of a join is no condition; only what it is joined on is.
                conditions = [clause.args.get("on")] if isinstance(clause, exp.Join) else [clause]
                for condition in conditions:
                    if isinstance(condition, exp.Expr):
                        found |= self._expression(condition, scope, How.EXPRESSION, own)
        return _decides([frozenset(found)], how)

    def _expression(
        self, node: exp.Expr, scope: Scope, how: How, own: QueryLineage | None = None
    ) -> frozenset[_Origin]:
        """Every stored column that an expression's value is computed from."""
        if isinstance(node, exp.Column):
            return _then(self._column(node, scope, own), how)
        if isinstance(node, exp.Query):
            return self._subquery(node, scope, how)
        found: set[_Origin] = set()
        for child, within in _children(node, how):
            found |= self._expression(child, scope, within, own)
        return frozenset(found)

    def _subquery(self, query: exp.Query, scope: Scope, how: How) -> frozenset[_Origin]:
        inner = query.unnest()
        for candidate in scope.subquery_scopes:
            if candidate.expression is inner:
                found = self.query(candidate)
                # A row more or less changes the value, too.
                return _then(frozenset().union(*found.columns.values(), found.rows), _stronger(how, How.CONDITIONAL))
        raise _CannotFollow

    def _column(self, column: exp.Column, scope: Scope, own: QueryLineage | None) -> frozenset[_Origin]:
        if not column.table:
            if own is not None and column.name in own.columns:
                return own.columns[column.name]
            raise _CannotFollow
        within: Scope | None = scope
        while within is not None:
            source = within.sources.get(column.table)
            if isinstance(source, exp.Table):
                return frozenset({(self._owner(source), column.name, How.IDENTITY)})
            if isinstance(source, Scope):
                return self._column_of(source, column.name)
            within = within.parent
        raise _CannotFollow

    def _column_of(self, source: Scope, name: str) -> frozenset[_Origin]:
        if not isinstance(source.expression, exp.Query):
            # Written-out values, or a list that is unfolded: any of what it is made of may be in any column.
            found: set[_Origin] = set()
            for column in source.expression.find_all(exp.Column):
                found |= self._column(column, source.parent or source, None)
            return _then(frozenset(found), How.EXPRESSION)
        columns = self.query(source).columns
        if name not in columns:
            raise _CannotFollow
        return columns[name]


def _children(node: exp.Expr, how: How) -> Iterator[tuple[exp.Expr, How]]:
    """The parts of an expression, and what it does to each."""
    if isinstance(node, (exp.Alias, exp.Paren)):
        yield node.this, how
        return
    counted = node
    while isinstance(counted, (exp.Filter, exp.Window)):
        counted = counted.this
    for key, value in node.args.items():
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, exp.Expr) or (isinstance(node, exp.Column)):
                continue
            yield child, _stronger(how, _done_by(node, counted, key))


def _done_by(node: exp.Expr, counted: exp.Expr, key: str) -> How:
    if isinstance(counted, _COUNTS):
        return How.COUNT
    if isinstance(node, exp.Window) or isinstance(node.parent, exp.Window):
        return How.WINDOW
    if isinstance(node, (exp.AggFunc, exp.Filter)):
        return How.AGGREGATE
    if isinstance(node, exp.If) and key == "this":
        return How.CONDITIONAL
    return How.EXPRESSION


def _stronger(first: How, second: How) -> How:
    return max(first, second, key=_STRENGTH.index)


def _then(origins: Iterable[_Origin], how: How) -> frozenset[_Origin]:
    """Origins of a value to which something more is done."""
    return frozenset(
        (owner, column, _stronger(before, how) if before in _STRENGTH else how) for owner, column, before in origins
    )


def _decides(parts: Iterable[Iterable[_Origin]], how: How) -> frozenset[_Origin]:
    """The same columns as such that decide about rows."""
    return frozenset((owner, column, how) for origins in parts for owner, column, _ in origins)
