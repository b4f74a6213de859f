"""What a dbt project may hold: the rules that keep a stakeholder's marts to that stakeholder's released data.

Here belongs what is judged on a compiled manifest, before anything is built and again before anything is
published. Who may get which dataset is in the policies, what the datasets are in the contracts; both are read
from there. Nothing is executed, and nothing that cannot be followed is let through.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.optimizer.scope import traverse_scope

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, PrivacyClass
from merajut_assets.lineage.sql import DIALECT, carried_columns, lowered, relation, tables_row_for_row
from merajut_assets.marts.dbt_sources import WAREHOUSE_DATABASE, source_columns
from merajut_assets.policies.stakeholder import Microdata, Open, stakeholder_policies

ROW_LEVEL = "is_row_level"
IN_PYTHON = "is written in Python, which nothing can follow to its inputs; write it in SQL"
MART_SCHEMA_PREFIX = "mart_"
_LAYERS = {"staging": 1, "warehouse": 1, "mart": 2}  # folder -> folders that a model of it lies in
_RUN_KINDS = {"model", "test", "unit_test", "analysis"}  # of those dbt writes models alone
_MATERIALISATIONS = ("table", "ephemeral")
_IDENTIFYING = (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT)
_HOOKS = ("pre-hook", "post-hook", "pre_hook", "post_hook", "sql_header")
_NAMING_MACRO = re.compile(r"generate_(schema|alias|database)_name")
_DISPATCHED = re.compile(r"^(default|duckdb)__")
_JINJA_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_OWN_STATEMENT = re.compile(r"\badapter\s*\.|\b(run_query|statement|run_hooks|get_relations_by_\w+)\b")
_NOT_A_QUERY = (exp.Command, exp.DDL, exp.DML, exp.Copy, exp.Attach, exp.Detach, exp.Pragma, exp.Describe,
                exp.Summarize, exp.Show, exp.Set, exp.Use)  # fmt: skip

Node = Mapping[str, Any]
SourceTable = tuple[str, str]


def rule_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Every rule that a compiled manifest breaks, as text with model, table, rule and remedy; empty when none is.

    Column lineage is only judged when nothing else is wrong: it needs SQL that can be followed.
    """
    faults = [*_project_faults(manifest), *_macro_faults(manifest), *_source_faults(manifest)]
    for node in _models(manifest):
        faults += [f"model {node['name']} {text}" for text in _model_faults(manifest, node)]
    return faults or _identity_faults(manifest) or _row_faults(manifest) or _origin_faults(manifest)


def upstream(manifest: Mapping[str, Any], nodes: Iterable[Node]) -> set[str]:
    """Unique ids of the nodes and of everything that they rest on, directly or through others."""
    known = {**manifest["sources"], **manifest["nodes"]}
    waiting = [str(node["unique_id"]) for node in nodes]
    seen: set[str] = set()
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            waiting += known.get(unique_id, {}).get("depends_on", {}).get("nodes", [])
    return seen


# ── whose data ───────────────────────────────────────────────────────────────────────────


def open_tables() -> set[SourceTable]:
    """The source tables that any stakeholder's models may rest on: rows about no person, every column public."""
    return {
        ("protected", f"{policy.stakeholder}__{name}")
        for policy in stakeholder_policies().values()
        for name, dataset in policy.datasets.items()
        if isinstance(dataset, Open)
        and registry.protected_dataset(policy.stakeholder, name).sensitivity is PrivacyClass.PUBLIC
    }


def identity_columns() -> set[tuple[str, str, str]]:
    """(schema, table, column) of every source column that stands for one person: pseudonyms, and whatever a
    contract calls an identifier."""
    found = set()
    for policy in stakeholder_policies().values():
        for name, dataset in policy.datasets.items():
            contract = registry.protected_dataset(policy.stakeholder, name)
            columns = {column.name for column in contract.columns if column.privacy in _IDENTIFYING}
            columns |= set(contract.key) if isinstance(dataset, Microdata) else set()
            found |= {("protected", f"{policy.stakeholder}__{name}", column) for column in columns}
    return found


def person_tables() -> set[SourceTable]:
    """The source tables that have a row per person."""
    return {
        ("protected", f"{policy.stakeholder}__{name}")
        for policy in stakeholder_policies().values()
        for name, dataset in policy.datasets.items()
        if isinstance(dataset, Microdata)
    }


def _owners(manifest: Mapping[str, Any], node: Node) -> dict[str, list[str]]:
    """Stakeholder -> tables released to them alone on which a model rests."""
    shared, owners = open_tables(), dict[str, list[str]]()
    for unique_id in sorted(upstream(manifest, [node])):
        source = manifest["sources"].get(unique_id)
        if source is not None and _table_of(source) not in shared:
            owners.setdefault(str(source["identifier"]).split("__")[0], []).append(".".join(_table_of(source)))
    return owners


def _table_of(source: Node) -> SourceTable:
    return str(source["schema"]), str(source["identifier"])


# ── one model ────────────────────────────────────────────────────────────────────────────


def _models(manifest: Mapping[str, Any]) -> list[Node]:
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return sorted(nodes, key=lambda node: str(node["unique_id"]))


def _model_faults(manifest: Mapping[str, Any], node: Node) -> Iterator[str]:
    if node["language"] != "sql":
        yield IN_PYTHON
        return
    config = node["config"]
    if config["materialized"] not in _MATERIALISATIONS:
        yield f"is materialised as {config['materialized']}; use {' or '.join(_MATERIALISATIONS)}"
    hooks = sorted({name for name in _HOOKS if config.get(name)})
    if hooks:
        yield f"has {', '.join(hooks)}, SQL that runs beside the model and is checked by nobody; put it into the model"
    yield from _place_faults(node)
    yield from _ownership_faults(manifest, node)
    yield from _sql_faults(manifest, node)


def _place_faults(node: Node) -> Iterator[str]:
    folders = [str(folder) for folder in node["fqn"][1:-1]]
    if not folders or _LAYERS.get(folders[0]) != len(folders):
        yield "lies in no layer; put it into models/staging, models/warehouse or models/mart/<stakeholder>"
    elif folders[0] == "mart" and folders[1] not in stakeholder_policies():
        yield f"is a mart of {folders[1]}, who has no policy; add policies/{folders[1]}.yaml, or move the model"
    elif folders[0] == "mart" and node["schema"] != MART_SCHEMA_PREFIX + folders[1]:
        yield f"is built into schema {node['schema']} instead of {MART_SCHEMA_PREFIX}{folders[1]}; leave out its schema"


def _ownership_faults(manifest: Mapping[str, Any], node: Node) -> Iterator[str]:
    owners = _owners(manifest, node)
    folders = node["fqn"][1:-1]
    if folders[:1] == ["mart"]:
        foreign = sorted(table for owner, tables in owners.items() if owner != folders[1] for table in tables)
        if foreign:
            yield (
                f"is a mart of {folders[1]} and rests on {', '.join(foreign)}, released to somebody else; use datasets "
                f"and statistics of {folders[1]}, or declare one in its policy"
            )
    elif len(owners) > 1:
        named = ", ".join(table for _, tables in sorted(owners.items()) for table in tables)
        yield (
            f"puts together what was released to different stakeholders ({named}); make one model per stakeholder, "
            "or rest on open tables alone"
        )


def _sql_faults(manifest: Mapping[str, Any], node: Node) -> Iterator[str]:
    """What the compiled SQL reads beside the tables of its own ref() and source()."""
    compiled = node.get("compiled_code")
    if not compiled:
        yield "has no compiled SQL; compile the dbt project instead of parsing it"
        return
    try:
        statements = [statement for statement in parse(compiled, dialect=DIALECT) if statement is not None]
    except SqlglotError:
        yield "is SQL that cannot be followed to its tables; write it more plainly"
        return
    if len(statements) != 1 or not isinstance(statements[0], exp.Query) or statements[0].find(*_NOT_A_QUERY):
        yield "is not one query; a model is a single SELECT without PRAGMA, ATTACH, COPY, DESCRIBE or the like"
        return
    query = normalize_identifiers(statements[0], dialect=DIALECT)
    declared = {lowered(relation(table)) for table in _direct_tables(manifest, node)}
    for table in _real_tables(query):
        if not isinstance(table.this, exp.Identifier):
            yield "reads from a table function; a model reads the tables of source() and ref() only, no files"
        elif lowered((table.catalog, table.db, table.name)) not in declared:
            name = ".".join(part for part in (table.catalog, table.db, table.name) if part)
            yield f"names table {name} directly; use source() or ref(), which say what a model rests on"


def _direct_tables(manifest: Mapping[str, Any], node: Node) -> Iterator[Node]:
    """The sources and table models in a model's SQL: those it refers to, or that an ephemeral one refers to."""
    known = {**manifest["sources"], **manifest["nodes"]}
    for unique_id in node["depends_on"]["nodes"]:
        other = known[unique_id]
        if other["resource_type"] == "model" and other["config"]["materialized"] == "ephemeral":
            yield from _direct_tables(manifest, other)
        else:
            yield other


def _real_tables(query: exp.Query) -> list[exp.Table]:
    """Tables in a query that are no common table expression in whose scope they stand. A table in a place that
    no scope covers counts as real."""
    expressions: set[int] = set()
    for scope in traverse_scope(query):
        for table in scope.tables:
            source = scope.sources.get(table.alias_or_name)
            if not table.db and source is not None and not isinstance(source, exp.Table):
                expressions.add(id(table))
    return [table for table in query.find_all(exp.Table) if id(table) not in expressions]


# ── the project around the models ────────────────────────────────────────────────────────


def _project_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    for _, node in sorted(manifest["nodes"].items()):
        kind = str(node["resource_type"])
        if kind == "operation":
            yield f"{node['name']} runs SQL beside the models that nobody checks; remove on-run-start and on-run-end"
        elif kind not in _RUN_KINDS:
            yield f"{kind} {node['name']} puts data into the warehouse past the privacy layer; remove it"
        elif _runs_statements(str(node.get("raw_code", ""))):
            yield f"{kind} {node['name']} calls the database by itself; a {kind} is a single query"
    for node in manifest.get("functions", {}).values():
        yield f"function {node['name']} is refused: nothing can follow what it reads; use a macro"


def _macro_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Macros of the project that could write, or that take the place of dbt's own, which do."""
    metadata = manifest["metadata"]
    builtin = {"dbt", f"dbt_{metadata['adapter_type']}"}
    macros = manifest["macros"].values()
    taken = {_DISPATCHED.sub("", macro["name"]) for macro in macros if macro["package_name"] in builtin}
    for macro in macros:
        if macro["package_name"] in builtin:
            continue
        name = str(macro["name"])
        if name.startswith("materialization_") or (
            _DISPATCHED.sub("", name) in taken and not _NAMING_MACRO.fullmatch(name)
        ):
            yield f"macro {name} takes the place of dbt's own, by which tables are written; give it another name"
        elif _runs_statements(str(macro["macro_sql"])):
            yield f"macro {name} calls the database by itself; a macro only returns a piece of a query"


def _runs_statements(code: str) -> bool:
    return _OWN_STATEMENT.search(_JINJA_COMMENT.sub("", code)) is not None


def _source_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    declared = set(source_columns())
    for source in manifest["sources"].values():
        if source["database"] != WAREHOUSE_DATABASE or _table_of(source) not in declared:
            yield (
                f"source {source['source_name']}.{source['name']} is no dataset or statistic of any policy; remove it, "
                "sources are written by `make docs`"
            )


# ── identity ─────────────────────────────────────────────────────────────────────────────


def _identity_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Marts about groups with a column that carries, and does not merely count, what stands for one person."""
    try:
        carried = carried_columns(manifest)
    except ValueError as error:
        return [str(error)]
    sources = {unique_id: _table_of(source) for unique_id, source in manifest["sources"].items()}
    identities, faults = identity_columns(), []

    def reached(owner: str, column: str) -> Collection[str]:
        if owner in sources:
            schema, table = sources[owner]
            return {f"{schema}.{table}.{column}"} if (schema, table, column) in identities else set()
        return {name for origin in carried[owner].get(column, []) for name in reached(*origin)}

    for node in _marts_about_groups(manifest):
        for column in node["columns"]:
            found = reached(str(node["unique_id"]), column)
            if found:
                faults.append(
                    f"model {node['name']}: column {column} carries {', '.join(sorted(found))}, which stands for one "
                    f"person; count it or leave it out, or declare {ROW_LEVEL}: true in the mart's meta"
                )
    return faults


def _row_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Marts about groups with a row for every person of a table: a person without the pseudonym is one still."""
    persons = {key for key, source in manifest["sources"].items() if _table_of(source) in person_tables()}
    row_for_row = tables_row_for_row(manifest)
    return [
        f"model {node['name']}: it has a row for every row of {', '.join(sorted(tables))}, each about one person; "
        f"group them and withhold small groups, or declare {ROW_LEVEL}: true in the mart's meta"
        for node in _marts_about_groups(manifest)
        for read in [row_for_row.get(str(node["unique_id"]), frozenset()) & persons]
        for tables in [[".".join(_table_of(manifest["sources"][key])) for key in read]]
        if tables
    ]


def _marts_about_groups(manifest: Mapping[str, Any]) -> list[Node]:
    return [
        node for node in _models(manifest) if node["fqn"][1] == "mart" and not node["config"]["meta"].get(ROW_LEVEL)
    ]


# ── origin ───────────────────────────────────────────────────────────────────────────────


def _origin_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Marts whose rows do not say where the data behind them come from."""
    return [
        f"model {node['name']} declares no column {DATA_ORIGIN}; make it with the macro every_origin, of the same "
        "column of every table that it rests on"
        for node in _models(manifest)
        if node["fqn"][1] == "mart" and DATA_ORIGIN not in node["columns"]
    ]


__all__ = [
    "IN_PYTHON",
    "MART_SCHEMA_PREFIX",
    "ROW_LEVEL",
    "identity_columns",
    "open_tables",
    "person_tables",
    "rule_faults",
    "upstream",
]
