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

from merajut_assets.lineage.disclosure import Judged, declared_step, disclosure_tests, judged_by
from merajut_assets.lineage.grammar import is_aggregate, unknown_forms
from merajut_assets.lineage.graph import FIGURES, ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.lineage.withholding import Dataset, Shown, differences, shown_by
from merajut_assets.policies.stakeholder import Microdata, stakeholder_policies
from merajut_assets.privacy.steps import PrivacyStep

# Model -> column -> (unique id of a source or model, column), all as in the manifest.
ColumnLineage = dict[str, dict[str, list[list[str]]]]
Relation = tuple[str, str, str]  # database, schema, table
DIALECT = "duckdb"
# The analysts' copy of everything that a release's warehouse holds.
RELEASED = "warehouse/released"

# A table that no node of the manifest stands for.
UNKNOWN = "unknown"
# The layers that dbt may read.
READABLE = ("protected", "statistics")
_COUNTS = (exp.Count, exp.CountIf, exp.ApproxDistinct)
# What happens to a column twice is called by the stronger of the two; a count of sums is a count.
_STRENGTH = (How.IDENTITY, How.EXPRESSION, How.CONDITIONAL, How.WINDOW, How.AGGREGATE, How.COUNT, How.ROWS)
_AROUND_AGGREGATES = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup, exp.Window)
# What stands for groups of rows, and so is what disclosure control judges.
# _CannotFollow, and what sqlglot raises of its own.
_UNREADABLE = (SqlglotError, ValueError, AttributeError, RecursionError)

# A stored column (unique id of its table, or UNKNOWN/<table>; its name), and what happens to it.
_Origin = tuple[str, str, How]
_Columns = Mapping[str, frozenset[_Origin]]


@dataclass(frozen=True)
class QueryLineage:
    """`columns`: what each column is computed from; ROWS among them means that only the number of rows counts.
    `rows`: what decides which rows there are. `row_for_row`: the tables of which there is a row for every row."""

    columns: Mapping[str, frozenset[_Origin]]
    rows: frozenset[_Origin]
    row_for_row: frozenset[str] = frozenset()


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


def tables_row_for_row(manifest: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """For every table model the sources, by unique id, of which it has a row for every row: neither grouped nor made
    distinct on the way, through whatever other models. Raises ValueError as column_lineage."""
    read = {unique_id: found.row_for_row for unique_id, found in query_lineages(manifest).items()}

    def sources(unique_id: str) -> frozenset[str]:
        return frozenset().union(*map(sources, read[unique_id])) if unique_id in read else frozenset({unique_id})

    return {unique_id: sources(unique_id) for unique_id in read}


def dbt_graph(manifest: Mapping[str, Any]) -> LineageGraph:
    """The columns of all table models, those of the marts also as columns of their stakeholder's published file.

    A step that a model declares (`privacy_step` in its meta) is that of its figures: sums, shares and counts; a
    column that is taken over, grouped or joined by is not protected by it. Disclosure control is that of the figures
    that tests judge, and can judge by their SQL: a declaration alone withholds nothing. Raises ValueError as
    column_lineage."""
    known = {**manifest["sources"], **_tables(manifest)}
    lineages = query_lineages(manifest)
    judged, unbelieved = _judged(manifest), unwithheld(manifest)
    edges: list[Edge] = []
    nodes: list[Node] = []
    for unique_id, found in lineages.items():
        model = known[unique_id]
        asset = "/".join(asset_path(model))
        step = declared_step(model)
        for column in model["columns"]:
            target = ColumnRef(asset, column)
            is_shown = unique_id not in judged or (column in judged[unique_id].columns and target not in unbelieved)
            edges += _edges(found, target, known, step if is_shown else None)
            # Of two nodes of one column the one of its own model counts.
            nodes.append(Node(target, is_constant=not found.columns[column]))
            edges += _unread(manifest, model, found, target)
            stakeholder = mart_stakeholder(model)
            if stakeholder:
                copy = ColumnRef(f"published/{stakeholder}", f"{model['name']}.{column}")
                edges.append(Edge(target, copy, Kind.DIRECT, How.IDENTITY))
    return LineageGraph.of(edges, nodes)


def _unread(
    manifest: Mapping[str, Any], model: Mapping[str, Any], found: QueryLineage, target: ColumnRef
) -> list[Edge]:
    """The columns of the sources outside the protected layer that a model rests on, as dbt says, and of which its SQL
    was not seen to read any: for all that is known, they decide about its rows."""
    declared = (found.columns[column] for column in model["columns"])
    read = {owner for origins in (*declared, found.rows) for owner, _, _ in origins}
    sources = [manifest["sources"][one] for one in _sources_of(manifest, model) if one not in read]
    return [
        Edge(ColumnRef("/".join(asset_path(source)), column), target, Kind.INDIRECT, How.ROWS)
        for source in sources
        if asset_path(source)[0] not in READABLE
        for column in source["columns"]
    ]


def _sources_of(manifest: Mapping[str, Any], model: Mapping[str, Any]) -> set[str]:
    """The sources that a model refers to, or that an ephemeral model refers to that is part of it."""
    found: set[str] = set()
    for unique_id in model.get("depends_on", {}).get("nodes", ()):
        if unique_id in manifest["sources"]:
            found.add(unique_id)
        elif manifest["nodes"].get(unique_id, {}).get("config", {}).get("materialized") == "ephemeral":
            found |= _sources_of(manifest, manifest["nodes"][unique_id])
    return found


def unwithheld(manifest: Mapping[str, Any]) -> dict[ColumnRef, str]:
    """The figures and flags that are declared to be under disclosure control and judged by tests, and of which the SQL
    is such that a test learns nothing; each with the reason. Raises ValueError as column_lineage."""
    models = _tables(manifest)
    relations = {**manifest["sources"], **models}
    schema, owners = _schema(relations), _owners(relations)

    def dataset_of(table: exp.Table) -> Dataset | None:
        owner = owners.get(lowered((table.catalog, table.db, table.name)))
        layer, stakeholder, name = (*asset_path(relations[owner]), "", "")[:3] if owner else ("", "", "")
        policy = stakeholder_policies().get(stakeholder)
        dataset = policy.datasets.get(name) if policy and layer == "protected" else None
        return (f"{layer}/{stakeholder}/{name}", dataset.privacy.k) if isinstance(dataset, Microdata) else None

    shown: dict[str, Shown] = {}
    for unique_id, judged in _judged(manifest).items():
        model = models.get(unique_id)
        if model is not None and judged.columns:
            present = frozenset(model["columns"])
            asked = Judged(judged.people & present, judged.figures & present, judged.flags & present)
            shown["/".join(asset_path(model))] = shown_by(_scope(model, schema), asked, dataset_of)
    found = {(asset, column): why for asset, one in shown.items() for column, why in one.faults.items()}
    found |= differences({asset: one.counts for asset, one in shown.items()})
    return {ColumnRef(*place): why for place, why in sorted(found.items())}


def _judged(manifest: Mapping[str, Any]) -> dict[str, Judged]:
    return {unique_id: judged_by(tests) for unique_id, tests in disclosure_tests(manifest).items()}


def _scope(model: Mapping[str, Any], schema: Mapping[str, Any]) -> Scope:
    """The query of a model with every name written out. Raises ValueError."""
    try:
        scope = build_scope(_qualified(model["compiled_code"], schema))
    except _UNREADABLE:
        scope = None
    if scope is None:
        raise ValueError(f"model {model['name']}: its SQL cannot be followed; write it more plainly") from None
    return scope


def _qualified(sql: str, schema: Mapping[str, Any]) -> exp.Expr:
    """A query with every name written out. A table that nobody declares may have any column; where it comes from is
    told by its name. Raises what is _UNREADABLE."""
    return qualify(parse_one(sql, dialect=DIALECT), schema=dict(schema), dialect=DIALECT, infer_schema=True)


def project_graph(manifest: Mapping[str, Any]) -> LineageGraph:
    """As dbt_graph, with the analysts' copy, which holds every source that dbt may read and every table model. Raises
    ValueError."""
    readable = [source for source in manifest["sources"].values() if asset_path(source)[0] in READABLE]
    copied = [
        Edge(
            ColumnRef("/".join(asset_path(node)), column),
            ColumnRef(RELEASED, released_name(node, column)),
            Kind.DIRECT,
            How.IDENTITY,
        )
        for node in (*readable, *_tables(manifest).values())
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

    origins = found.columns[target.column]
    is_number_of_rows = all(how is How.ROWS for _, _, how in origins)
    for owner, column, named in origins:
        # Rows are counted, and so whoever has one; a value of something else is not made of them.
        kind = Kind.INDIRECT if named is How.ROWS and not is_number_of_rows else Kind.DIRECT
        how = How.COUNT if named is How.ROWS else named
        yield Edge(stored(owner, column), target, kind, how, step if how in FIGURES else None)
    for owner, column, decides in found.rows:
        yield Edge(stored(owner, column), target, Kind.INDIRECT, decides)


def query_lineages(manifest: Mapping[str, Any]) -> dict[str, QueryLineage]:
    """The lineage of every table model by unique id. Raises ValueError as column_lineage."""
    models = _tables(manifest)
    relations = {**manifest["sources"], **models}
    schema = _schema(relations)
    owners = _owners(relations)
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


def _owners(relations: Mapping[str, Any]) -> dict[Relation, str]:
    return {lowered(relation(node)): unique_id for unique_id, node in relations.items()}


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
    unfollowed = f"model {node['name']}: its SQL cannot be followed from every declared column to where it comes from"
    try:
        query = _qualified(compiled, schema)
        unknown = sorted(set(unknown_forms(query)))
        scope = None if unknown else build_scope(query)
        found = reader.root(scope) if scope else None
    except _UNREADABLE:
        unknown, found = [], None
    if unknown:
        raise ValueError(f"{unfollowed}; write it without {', '.join(unknown)}, which nothing here can follow")
    if found is None or not set(node["columns"]) <= set(found.columns):
        # What sqlglot says quotes the SQL, which may quote anything.
        raise ValueError(
            f"{unfollowed}; compare the columns of its contract with those it selects, and write them out"
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
        self._every: dict[int, frozenset[_Origin]] = {}

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
        join = _by_name if scope.expression.args.get("by_name") else _by_place
        columns = join(left.columns, right.columns)
        rows, row_for_row = left.rows | right.rows, left.row_for_row | right.row_for_row
        if _reads_itself(scope.expression):
            # Each round may carry a value into the next column, and goes on for as long as the values let it.
            everything = frozenset().union(*columns.values())
            columns, rows = dict.fromkeys(columns, everything), rows | _decides([everything], How.FILTER)
        if not isinstance(scope.expression, exp.Union):
            rows |= _decides(right.columns.values(), How.FILTER)
        if scope.expression.args.get("distinct"):
            rows |= _decides(columns.values(), How.DISTINCT)
            row_for_row = frozenset()
        found = QueryLineage(columns, rows)
        rows |= self._ordered_and_cut(scope, found)
        return QueryLineage(columns, rows, row_for_row)

    def _select(self, scope: Scope, select: exp.Select) -> QueryLineage:
        if select.is_star:
            raise _CannotFollow
        columns: dict[str, frozenset[_Origin]] = {}
        for place, projection in enumerate(select.selects):
            origins = self._expression(projection, scope, How.IDENTITY)
            name = projection.alias_or_name
            # A later part of a union may call two columns the same: only their places count there.
            columns[f"{name} {place}" if name in columns else name] = origins
        found = QueryLineage(columns, frozenset())
        rows = self._tables_for_their_rows(scope)
        for source in self._sources(scope).values():
            rows |= self._rows_within(source)
        # Those in brackets hang on the table that they are joined to.
        for join in scope.find_all(exp.Join):
            rows |= self._decided_by(scope, [join.args.get("on")], How.JOIN, found)
        clauses = select.args
        rows |= self._decided_by(scope, [clauses.get(one) for one in ("where", "having", "qualify")], How.FILTER, found)
        rows |= self._decided_by(scope, [clauses.get("group")], How.GROUP, found)
        rows |= self._ordered_and_cut(scope, found)
        group, distinct = clauses.get("group"), clauses.get("distinct")
        if group is not None and group.args.get("all"):
            rows |= _decides(columns.values(), How.GROUP)
        if distinct is not None:
            rows |= _decides(columns.values(), How.DISTINCT) | self._decided_by(scope, [distinct], How.DISTINCT, found)
        is_summed_up = group is not None or distinct is not None or any(map(_sums_up, scope.walk()))
        return QueryLineage(columns, rows, frozenset() if is_summed_up else self._row_for_row(scope))

    def _ordered_and_cut(self, scope: Scope, own: QueryLineage) -> frozenset[_Origin]:
        """What decides about the order of a query's rows, and how many of them are shown."""
        order, limit, offset = (scope.expression.args.get(part) for part in ("order", "limit", "offset"))
        rows = self._decided_by(scope, [order], How.ORDER, own)
        return rows | self._decided_by(scope, [limit, offset], How.COUNT, own)

    # ── what is read ─────────────────────────────────────────────────────────────────────

    def _sources(self, scope: Scope) -> dict[str, Scope | exp.Table]:
        """All that a query reads, with what it is only compared to in a semi or anti join."""
        return {name: scope.sources[name] for name, _ in scope.references if name in scope.sources}

    def _rows_within(self, source: Scope | exp.Table) -> frozenset[_Origin]:
        """What decides about the rows of a source beside there being such a source."""
        if isinstance(source, exp.Table):
            return frozenset()
        if isinstance(source.expression, exp.Query):
            return self.query(source).rows
        return _decides([self._made_of(source)], How.FILTER)

    def _tables_for_their_rows(self, scope: Scope) -> frozenset[_Origin]:
        """All columns of what is read without naming a column of it: it decides how many rows there are."""
        named = {column.table for column in scope.columns}
        found: set[_Origin] = set()
        for name, source in self._sources(scope).items():
            if name not in named:
                found |= self._rows_of(source)
        return frozenset(found)

    def _row_for_row(self, scope: Scope) -> frozenset[str]:
        found: set[str] = set()
        for _, source in scope.selected_sources.values():
            if isinstance(source, exp.Table):
                found.add(self._owner(source))
            elif isinstance(source, Scope):
                within = [source] if isinstance(source.expression, exp.Query) else source.subquery_scopes
                found.update(*(self.query(one).row_for_row for one in within))
        return frozenset(found)

    def _every_row(self, scope: Scope) -> frozenset[_Origin]:
        place = id(scope.expression)
        if place not in self._every:
            self._every[place] = frozenset().union(*map(self._rows_of, self._sources(scope).values()))
        return self._every[place]

    def _rows_of(self, source: Scope | exp.Expr) -> frozenset[_Origin]:
        if isinstance(source, exp.Table):
            owner = self._owner(source)
            return frozenset((owner, column, How.ROWS) for column in self._columns.get(owner, (How.ROWS.value,)))
        if not isinstance(source, Scope):
            return frozenset()
        if isinstance(source.expression, exp.Query):
            found = self.query(source)
            return _decides((*found.columns.values(), found.rows), How.ROWS)
        return _decides([self._made_of(source)], How.ROWS)

    def _owner(self, table: exp.Table) -> str:
        """The unique id of the node that a table is stored for. What is in a path or an argument is never told."""
        name = table.name if isinstance(table.this, exp.Identifier) else type(table.this).__name__.lower()
        found = self._owners.get(lowered((table.catalog, table.db, name)))
        return found or "/".join(part for part in (UNKNOWN, table.catalog, table.db, name) if part)

    # ── expressions ──────────────────────────────────────────────────────────────────────

    def _decided_by(
        self, scope: Scope, clauses: Iterable[exp.Expr | None], how: How, own: QueryLineage
    ) -> frozenset[_Origin]:
        """The columns in some clauses of a query. `own`: its columns, which its ORDER BY may name."""
        given = [clause for clause in clauses if clause is not None]
        return _decides((self._expression(clause, scope, How.EXPRESSION, own) for clause in given), how)

    def _expression(
        self, node: exp.Expr, scope: Scope, how: How, own: QueryLineage | None = None
    ) -> frozenset[_Origin]:
        """Every stored column that an expression's value is computed from."""
        if isinstance(node, exp.Column):
            return _then(self._column(node, scope, own), how)
        if isinstance(node, exp.Query):
            return self._subquery(node, scope, how)
        found: set[_Origin] = set()
        if isinstance(node, exp.Ordered) and isinstance(node.this, exp.Var):  # ORDER BY ALL
            if own is None:
                raise _CannotFollow
            found.update(*own.columns.values())
        parts = [*_children(node, how)]
        if isinstance(node, exp.Window) and node.alias:
            # Named windows may rest on each other: what any of them looks at counts.
            for named in scope.expression.args.get("windows") or []:
                parts += _children(named, _stronger(how, How.WINDOW))
        if isinstance(node, exp.Window) or (is_aggregate(node) and not _is_set_of_values(node)):
            # One row more, and there is another sum, count or rank.
            found |= self._every_row(scope)
            # An aggregate of the columns of an outer query is computed there.
            for column in node.find_all(exp.Column):
                outer: Scope | None = scope
                while outer is not None and column.table and column.table not in outer.sources:
                    outer = outer.parent
                if outer is not None and outer is not scope:
                    found |= self._every_row(outer)
        for part, within in parts:
            found |= self._expression(part, scope, within, own)
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
            return self._made_of(source)
        columns = self.query(source).columns
        if name not in columns:
            raise _CannotFollow
        return columns[name]

    def _made_of(self, source: Scope) -> frozenset[_Origin]:
        """Of written-out values, or a list that is unfolded: any of what it is made of may be in any column."""
        parts = _children(source.expression, How.EXPRESSION)
        return frozenset().union(*(self._expression(part, source, how) for part, how in parts))


def _by_place(left: _Columns, right: _Columns) -> _Columns:
    """The columns of two queries put under each other. Raises _CannotFollow."""
    if len(left) != len(right):
        raise _CannotFollow
    return {name: mine | others for (name, mine), others in zip(left.items(), right.values(), strict=True)}


def _by_name(left: _Columns, right: _Columns) -> _Columns:
    """The same by name; where one of them has no such column, DuckDB puts NULL."""
    return {name: left.get(name, frozenset()) | right.get(name, frozenset()) for name in {**left, **right}}


def _reads_itself(union: exp.Expr) -> bool:
    expression = union.parent
    return isinstance(expression, exp.CTE) and any(
        not table.db and table.name == expression.alias for table in union.find_all(exp.Table)
    )


def _sums_up(node: exp.Expr) -> bool:
    """Whether a function makes one row of many: an aggregate that is not asked for each row, over a window."""
    above = node.parent
    while isinstance(above, _AROUND_AGGREGATES) and not isinstance(above, exp.Window):
        above = above.parent
    return is_aggregate(node) and not isinstance(above, exp.Window)


def _is_set_of_values(aggregate: exp.Expr) -> bool:
    """Whether an aggregate sees each value of one column once, however many rows have it."""
    return (
        isinstance(aggregate.this, exp.Distinct)
        and [type(one) for one in aggregate.this.expressions] == [exp.Column]
        and len(list(aggregate.find_all(exp.Column))) == 1
    )


def _children(node: exp.Expr, how: How) -> Iterator[tuple[exp.Expr, How]]:
    """The parts of an expression, and what it does to each."""
    if isinstance(node, (exp.Alias, exp.Paren)):
        yield node.this, how
        return
    counted = node
    while isinstance(counted, _AROUND_AGGREGATES):
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
    if is_aggregate(node) or isinstance(node, (exp.Filter, exp.WithinGroup)):
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
    """The same columns as such that decide about rows. What decides by a count, of people or of rows, tells the count:
    the groups of which three people are left are those of three."""
    return frozenset(
        (owner, column, How.COUNT if before is How.COUNT or (before is How.ROWS and how is not How.ROWS) else how)
        for origins in parts
        for owner, column, before in origins
    )
