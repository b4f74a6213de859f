"""The lineage of what Python does: from the sources by way of raw and conformed to protected data and statistics, with
what is kept beside them: refused rows, and what releases are compared with.

Here belongs putting together what contracts, policies and the steps themselves say. What a step reads is found by
running it (`reading`); what its values are made of, the contracts' `sources` and the steps' own declarations say.
A column that a step reads may decide about rows in any way, and so counts for every column that the step makes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from functools import cache, partial

import polars as pl

from merajut_assets.conformed import build, conform, quarantined_rows
from merajut_assets.conformed.entities import CHILDREN, JOINS, REFINE, TOKEN_KEYS, VALUES, Inputs, child_links
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, Column, Subject, TableContract
from merajut_assets.contracts.conformed import Entity
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.lineage.reading import Frames, Place, Schemas, columns_read
from merajut_assets.policies.stakeholder import Aggregate, Microdata, StakeholderPolicy, Statistic, stakeholder_policies
from merajut_assets.privacy.steps import PrivacyStep
from merajut_assets.protected.consent_filter import CONSENT_ENTITY
from merajut_assets.protected.contributors import CONTRIBUTION, FIGURE, PUBLICATION, contributors_table
from merajut_assets.protected.origins import told_by, with_origins
from merajut_assets.protected.pipeline import (
    PRIVACY_STEPS,
    WITHHELD,
    entities_of,
    figure_columns,
    subject_column,
    usable_for,
)
from merajut_assets.protected.reference import COLUMN, PEOPLE, VALUE, distributions_table, has_distributions
from merajut_assets.protected.release import RELEASE
from merajut_assets.protected.summaries import summary_of
from merajut_assets.protected.summary import CONTRIBUTOR
from merajut_assets.raw import landing
from merajut_assets.sources.crosswalk import ALIAS_COLUMNS
from merajut_assets.statistics.declarations import NoPublicKeys, public_keys
from merajut_assets.statistics.figures import FROM_POLICY, statistic_contract
from merajut_assets.statistics.releases import children, usable_children
from merajut_assets.statistics.store import statistic_entities

_SOURCE_TIME = "source_time"
# Steps run on frames without meaning: any day does.
_SOME_DAY = date(2020, 6, 30)

_OfEntity = Callable[[TableContract], Iterable[Edge]]
_OfDataset = Callable[[TableContract, StakeholderPolicy], Iterable[Edge]]


@cache
def python_graph() -> LineageGraph:
    """Sources, raw tables, conformed entities, protected datasets, statistics and what is kept beside them, as they are
    declared now."""
    return _graph(conformed_edges, protected_edges, statistic_edges)


@cache
def python_values() -> LineageGraph:
    """The part of `python_graph` that says what values are computed from. What decides about rows takes seconds to
    find, because the steps are run for it; this is there at once."""
    return _graph(_values_with_refused, protected_values, statistic_values)


def _graph(of_entity: _OfEntity, of_dataset: _OfDataset, of_statistic: _OfDataset) -> LineageGraph:
    edges: list[Edge] = []
    nodes: list[Node] = []
    for table in registry.tables("raw").values():
        edges += raw_edges(table)
        nodes += _raw_nodes(table)
    for entity in registry.tables("conformed").values():
        found = set(of_entity(entity))
        edges += found
        nodes += [*_declared_nodes(entity, _constants(entity, found)), *_quarantine_constants(entity)]
    for policy in stakeholder_policies().values():
        for name in policy.datasets:
            dataset = registry.protected_dataset(policy.stakeholder, name)
            edges += of_dataset(dataset, policy)
            nodes += [*_declared_nodes(dataset), _release_of(dataset), *_kept_constants(dataset, policy)]
        for name in policy.statistics:
            statistic = statistic_contract(policy.stakeholder, name)
            edges += of_statistic(statistic, policy)
            nodes += [*_declared_nodes(statistic, FROM_POLICY), _release_of(statistic)]
    return LineageGraph.of(edges, nodes)


def asset_of(contract: TableContract) -> str:
    """How a table's asset is called."""
    return "/".join(contract.asset_key)


def source_of(table: TableContract) -> str:
    """How the asset is called that stands for a table in its source system."""
    return f"source/{table.system}/{table.name}"


def _at(contract: TableContract, column: str) -> ColumnRef:
    return ColumnRef(asset_of(contract), column)


def _path(source: str) -> ColumnRef:
    """The column that a contract names as a source: `system.table.column` or `entity.column`."""
    owner, _, column = source.rpartition(".")
    system, dot, name = owner.partition(".")
    return _at(registry.raw_table(system, name) if dot else registry.entity(owner), column)


def _declared_nodes(contract: TableContract, constants: Iterable[str] = ()) -> Iterator[Node]:
    for column in contract.columns:
        yield Node(_at(contract, column.name), column.privacy, column.name in constants)


def _release_of(contract: TableContract) -> Node:
    """Every stored protected table has the release's month, by which it is partitioned."""
    return Node(_at(contract, RELEASE), is_constant=True)


def judged_columns(contract: TableContract) -> frozenset[str]:
    """The columns by whose values a row may be refused: those with a rule, a reference, or part in a row rule."""
    rules = {name for name, spec in contract.schema.columns.items() if spec.checks or not spec.nullable}
    for check in contract.schema.checks:
        rules |= set((check.statistics or {}).get("columns", contract.schema.columns))
    rules |= {column.name for column in contract.columns if column.references is not None or column.key}
    return frozenset(rules)


# ── landing ──────────────────────────────────────────────────────────────────────────────


def raw_edges(table: TableContract) -> Iterator[Edge]:
    """From a source table to raw: values, tokens and flags, and the rules that a row breaks."""
    declared = {column.name: column for column in table.columns}
    origins = {name: ColumnRef(source_of(table), column.name_in_source) for name, column in declared.items()}
    is_parsed = {name: column.dtype != pl.String() for name, column in declared.items()}
    for name, origin in origins.items():
        how = How.EXPRESSION if is_parsed[name] else How.IDENTITY
        yield Edge(origin, _at(table, name), Kind.DIRECT, how)
        if is_parsed[name]:
            yield Edge(origin, _at(table, landing.UNPARSED), Kind.DIRECT, How.EXPRESSION)
    for flag, sources in landing.flag_sources(table).items():
        step = PrivacyStep.PSEUDONYMISE if table.subjects and flag.endswith("_token") else None
        for name in sources:
            yield Edge(origins[name], _at(table, flag), Kind.DIRECT, How.EXPRESSION, step)
    refusing = judged_columns(table) | {name for name in declared if is_parsed[name]}
    if table.modified_column:
        refusing |= {table.modified_column}
    for name in refusing:
        yield Edge(origins[name], _at(table, landing.FAILED_RULES), Kind.DIRECT, How.CONDITIONAL)


def _raw_nodes(table: TableContract) -> Iterator[Node]:
    for column in table.columns:
        yield Node(ColumnRef(source_of(table), column.name_in_source), column.privacy)
    yield from _declared_nodes(table)
    for name in (_SOURCE_TIME, DATA_ORIGIN):
        yield Node(_at(table, name), is_constant=True)


def _raw_schema(table: TableContract) -> dict[str, pl.DataType]:
    """The columns in which good rows of a raw table are read back."""
    flags = {flag: pl.String() if flag.endswith("_token") else pl.Boolean() for flag in landing.flag_sources(table)}
    declared = {column.name: column.dtype for column in table.columns}
    return {**declared, **flags, DATA_ORIGIN: pl.String(), _SOURCE_TIME: pl.Datetime("us")}


# ── conformed ────────────────────────────────────────────────────────────────────────────


def conformed_edges(entity: TableContract) -> Iterator[Edge]:
    """From raw to an entity, and to the quarantine of its sources. What decides about rows: the rules of both,
    references, joins, and merging."""
    tables = {table.identifier: table for table in build.raw_inputs(entity)}
    made_of: dict[str, set[Edge]] = {column.name: set() for column in entity.columns}
    for edge in conformed_values(entity):
        made_of[edge.target.column].add(edge)
        yield edge
    yield from refused_values(entity)

    deciding = {edge.origin for edge in made_of["modified_at"]} | set(_judging(entity))
    read = _read_by_joins(entity, tables) | _read_by_refining(entity, tables)
    for frame, column_name in read:
        # What merging reads of the candidates is what they are made of.
        if frame in tables:
            deciding.add(_at(tables[frame], column_name))
        else:
            deciding |= {edge.origin for edge in made_of.get(column_name, ())}
    targets = [_at(entity, column.name) for column in entity.columns]
    # A row is in quarantine where it is not in the entity.
    targets += [ref for quarantine in _quarantines(entity) for ref in _columns_of(quarantine, build.QUARANTINE_COLUMNS)]
    for target in targets:
        for origin in deciding:
            yield Edge(origin, target, Kind.INDIRECT, How.ROWS)


def _judging(entity: TableContract) -> Iterator[ColumnRef]:
    """What a row is judged by: the rules of its source and of the entity, and references."""
    tables = {table.identifier: table for table in build.raw_inputs(entity)}
    judged = judged_columns(entity)
    yield from (edge.origin for edge in conformed_values(entity) if edge.target.column in judged)
    yield from (_at(table, landing.FAILED_RULES) for table in tables.values())
    yield from (_path(path) for column in entity.columns if (path := column.references) and not _is_own(entity, path))
    yield from _references_between(tables)


def conformed_values(entity: TableContract) -> Iterator[Edge]:
    """What the values of an entity are computed from."""
    for table in conform.primary_tables(entity):
        for column in entity.columns:
            yield from _values_from(entity, table, column)
    # Of tables that only support it the contract alone says what an entity has.
    for column in entity.columns:
        for source in column.sources:
            yield _made(entity, column, _path(source))


def _values_from(entity: TableContract, table: TableContract, column: Column) -> Iterator[Edge]:
    """What a candidate row's value is made of, in the order in which `conform` looks for it."""
    place = (entity.name, table.identifier)
    stored = _raw_schema(table)
    named = [path.rpartition(".")[2] for path in column.sources if path.rpartition(".")[0] == table.identifier]
    is_token = column.key and place in TOKEN_KEYS
    if is_token:
        names: Iterable[str] = TOKEN_KEYS[place]
    elif column.name in VALUES.get(place, {}):
        names = VALUES[place][column.name].meta.root_names()
    elif column.name == "modified_at":
        names = [table.modified_column or _SOURCE_TIME]
    elif column.name in stored and not named:
        names = [column.name]
    else:
        names = [*named, *([column.name] if column.name in landing.flag_sources(table) else [])]
    for name in names:
        if name in stored:
            yield _made(entity, column, _at(table, name), is_token=is_token)
        if name in named and column.name.endswith("_token") and _is_linked_child(table, name):
            for linking in _linking_columns():
                yield _made(entity, column, _at(registry.raw_table(*CHILDREN.split(".")), linking))


def _made(entity: TableContract, column: Column, origin: ColumnRef, *, is_token: bool = False) -> Edge:
    """A token stands for what it is made of and does not tell it."""
    target = _at(entity, column.name)
    if is_token or column.name.endswith("_token"):
        step = PrivacyStep.PSEUDONYMISE if entity.subjects else None
        return Edge(origin, target, Kind.DIRECT, How.EXPRESSION, step)
    how = How.IDENTITY if origin.column == column.name else How.EXPRESSION
    return Edge(origin, target, Kind.DIRECT, how)


def _is_linked_child(table: TableContract, column: str) -> bool:
    is_child = conform.token_subject(table, column) is Subject.CHILD
    return is_child and landing.home_system(table, column) == CHILDREN.split(".")[0]


@cache
def _linking_columns() -> tuple[str, ...]:
    """The columns of a registration by which `child_links` finds those of one child."""
    schema = _raw_schema(registry.raw_table(*CHILDREN.split(".")))
    read = columns_read(lambda frames: child_links(frames[CHILDREN]), {CHILDREN: schema})
    return tuple(sorted(column for _, column in read))


def _is_own(entity: TableContract, path: str) -> bool:
    return path.split(".")[0] == entity.name


def _references_between(tables: Mapping[str, TableContract]) -> Iterator[ColumnRef]:
    """References of one source table to another, and what they refer to: a row that refers to a lost one is lost."""
    for table in tables.values():
        for column in table.columns:
            if column.references and column.references.rpartition(".")[0] in tables:
                yield _at(table, column.name)
                yield _path(column.references)


def _inputs(frames: Frames) -> Inputs:
    return Inputs(
        raw=frames,
        refused=frames,
        every_child=frames.get(CHILDREN, pl.DataFrame(schema=dict.fromkeys(_linking_columns(), pl.String))),
        token=lambda _, texts: texts,
        aliases=pl.DataFrame(schema=dict.fromkeys(ALIAS_COLUMNS, pl.String)),
    )


def _read_by_joins(entity: TableContract, tables: Mapping[str, TableContract]) -> set[Place]:
    schemas = {name: _raw_schema(table) for name, table in tables.items()}
    read: set[Place] = set()
    for table in conform.primary_tables(entity):
        place = (entity.name, table.identifier)
        if place in JOINS:
            read |= columns_read(partial(_join, place), schemas)
    return read


def _join(place: tuple[str, str], frames: Frames) -> pl.DataFrame:
    return JOINS[place](frames[place[1]], _inputs(frames))


def _read_by_refining(entity: TableContract, tables: Mapping[str, TableContract]) -> set[Place]:
    refine = REFINE.get(entity.name)
    if refine is None:
        return set()
    candidates = {column.name: column.dtype for column in entity.columns}
    own = f"conformed {entity.name}"
    schemas: dict[str, Mapping[str, pl.DataType]] = {name: _raw_schema(table) for name, table in tables.items()}
    schemas[own] = {**candidates, conform.ORIGIN: pl.String(), conform.POSITION: pl.UInt32()}
    return set(columns_read(lambda frames: refine(frames[own], _inputs(frames)), schemas))


def _constants(entity: TableContract, edges: Iterable[Edge]) -> set[str]:
    """Columns that each source table fills with one value of its own."""
    own = asset_of(entity)
    made = {edge.target.column for edge in edges if edge.kind is Kind.DIRECT and edge.target.asset == own}
    written = {
        name
        for (owner, _), values in VALUES.items()
        if owner == entity.name
        for name, value in values.items()
        if not value.meta.root_names()
    }
    return {*written, *Entity.to_schema().columns} - made


# ── quarantine ───────────────────────────────────────────────────────────────────────────


def _values_with_refused(entity: TableContract) -> Iterator[Edge]:
    yield from conformed_values(entity)
    yield from refused_values(entity)


def refused_values(entity: TableContract) -> Iterator[Edge]:
    """What the values of refused rows are computed from: a row is kept whole, with its rules, its hash and its ids."""
    judging = set(_judging(entity))
    for table in build.quarantining_tables(entity):
        quarantine = quarantine_of(table)
        is_parsed = any(column.dtype != pl.String() for column in table.columns)
        for name in (*(column.name for column in table.columns), *([landing.UNPARSED] if is_parsed else [])):
            yield Edge(_at(table, name), ColumnRef(quarantine, "row"), Kind.DIRECT, How.EXPRESSION)
            step = PrivacyStep.PSEUDONYMISE if table.subjects else None
            yield Edge(_at(table, name), ColumnRef(quarantine, "row_hash"), Kind.DIRECT, How.EXPRESSION, step)
        for name in quarantined_rows.plain_ids(table):
            yield Edge(_at(table, name), ColumnRef(quarantine, "source_ids"), Kind.DIRECT, How.EXPRESSION)
        yield Edge(_at(table, DATA_ORIGIN), ColumnRef(quarantine, DATA_ORIGIN), Kind.DIRECT, How.IDENTITY)
        for origin in judging:
            rules = ColumnRef(quarantine, landing.FAILED_RULES)
            yield Edge(origin, rules, Kind.DIRECT, How.CONDITIONAL)


def quarantine_of(table: TableContract) -> str:
    """How the asset is called that keeps the refused rows of a source table's system."""
    return f"quarantine/{table.system}"


def _quarantines(entity: TableContract) -> list[str]:
    return list(dict.fromkeys(map(quarantine_of, build.quarantining_tables(entity))))


def _quarantine_constants(entity: TableContract) -> Iterator[Node]:
    """What is said of a row and not taken from it: which entity it was meant for, and which table it is from."""
    for quarantine in _quarantines(entity):
        for name in ("entity", "source_table"):
            yield Node(ColumnRef(quarantine, name), is_constant=True)


def _columns_of(asset: str, names: Iterable[str]) -> list[ColumnRef]:
    return [ColumnRef(asset, name) for name in names]


# ── protected ────────────────────────────────────────────────────────────────────────────


def protected_edges(dataset: TableContract, policy: StakeholderPolicy) -> Iterator[Edge]:
    """From entities to a dataset and what is kept beside it. Every column that the dataset is made with decides about
    its rows: by consent, by the summary, and then by anonymising, which looks at all columns together."""
    yield from protected_values(dataset, policy)
    step = PRIVACY_STEPS[policy.datasets[dataset.name].kind]
    schemas = _entity_schemas(entities_of(dataset))
    yield from _origin_rows(dataset, schemas, step)
    read = columns_read(
        lambda frames: usable_for(dataset, policy, frames, _SOME_DAY), schemas, likely=_judged_by(schemas)
    )
    read |= columns_read(partial(_summary, dataset), _summarised(dataset), likely=_named(dataset))
    for entity, name in read:
        origin = _at(registry.entity(entity), name)
        for column in dataset.columns:
            yield Edge(origin, _at(dataset, column.name), Kind.INDIRECT, How.ROWS, step)
        for kept in _kept_columns(dataset, policy):
            yield Edge(origin, kept, Kind.INDIRECT, How.ROWS)


def protected_values(dataset: TableContract, policy: StakeholderPolicy) -> Iterator[Edge]:
    """What the values of a dataset, and of what is kept beside it, are computed from."""
    yield from _kept_values(dataset, policy)
    kind = policy.datasets[dataset.name]
    step = PRIVACY_STEPS[kind.kind]
    people = _people(dataset) if isinstance(kind, Aggregate) else set()
    for column in dataset.columns:
        target = _at(dataset, column.name)
        is_pseudonym = isinstance(kind, Microdata) and column.name == subject_column(dataset)
        counts_people = isinstance(kind, Aggregate) and column.name in (kind.contributors, WITHHELD)
        how = How.COUNT if counts_people else How.EXPRESSION
        for source in column.sources:
            yield Edge(_path(source), target, Kind.DIRECT, how, PrivacyStep.PSEUDONYMISE if is_pseudonym else step)
        if counts_people:
            for person in people:
                yield Edge(person, target, Kind.DIRECT, How.COUNT, step)
    yield from _origin_values(dataset, entities_of(dataset), step)


def _origin_values(contract: TableContract, names: Iterable[str], step: PrivacyStep) -> Iterator[Edge]:
    """What released rows say about where they come from: told by what was delivered, not by who agreed."""
    for entity in told_by(contract, names):
        origin = _at(registry.entity(entity), DATA_ORIGIN)
        yield Edge(origin, _at(contract, DATA_ORIGIN), Kind.DIRECT, How.EXPRESSION, step)


def _origin_rows(contract: TableContract, schemas: Schemas, step: PrivacyStep) -> Iterator[Edge]:
    """What decides whose origins are told of a row."""
    some_row = pl.DataFrame({RELEASE: [""]})
    for entity, name in columns_read(lambda frames: with_origins(some_row, contract, frames), schemas):
        if name != DATA_ORIGIN:
            target = _at(contract, DATA_ORIGIN)
            yield Edge(_at(registry.entity(entity), name), target, Kind.INDIRECT, How.CONDITIONAL, step)


# What is kept beside a dataset leaves the house in no form, so that no step of a policy is named on the way to it.


def _kept_columns(dataset: TableContract, policy: StakeholderPolicy) -> list[ColumnRef]:
    """The columns of who stood behind the figures of a dataset, or of how its values were distributed; empty where
    neither is kept."""
    if isinstance(policy.datasets[dataset.name], Aggregate):
        names = [*dataset.key, FIGURE, CONTRIBUTOR, CONTRIBUTION, PUBLICATION]
        return _columns_of(contributors_table(dataset), names)
    if has_distributions(policy, dataset.name):
        return _columns_of(distributions_table(dataset), [COLUMN, VALUE, PEOPLE, RELEASE])
    return []


def _kept_constants(dataset: TableContract, policy: StakeholderPolicy) -> Iterator[Node]:
    """What is said of kept rows and not taken from anybody."""
    for ref in _kept_columns(dataset, policy):
        if ref.column in (FIGURE, COLUMN, RELEASE):
            yield Node(ref, is_constant=True)


def _kept_values(dataset: TableContract, policy: StakeholderPolicy) -> Iterator[Edge]:
    kind = policy.datasets[dataset.name]
    if isinstance(kind, Aggregate):
        yield from _contributor_values(dataset, kind)
    elif isinstance(kind, Microdata) and has_distributions(policy, dataset.name):
        kept = distributions_table(dataset)
        sensitive = _sources_of(dataset, kind.privacy.sensitive)
        for origin in sensitive:
            yield Edge(origin, ColumnRef(kept, VALUE), Kind.DIRECT, How.EXPRESSION)
        for origin in sensitive | _sources_of(dataset, [subject_column(dataset)]):
            yield Edge(origin, ColumnRef(kept, PEOPLE), Kind.DIRECT, How.COUNT)


def _contributor_values(dataset: TableContract, kind: Aggregate) -> Iterator[Edge]:
    """People and their parts in figures are kept as keyed digests, the cell that they are in as it is."""
    kept, people = contributors_table(dataset), _people(dataset)
    for name in dataset.key:
        for origin in _sources_of(dataset, [name]):
            yield Edge(origin, ColumnRef(kept, name), Kind.DIRECT, How.EXPRESSION)
    parts = _sources_of(dataset, figure_columns(dataset, kind))
    for name, origins in ((CONTRIBUTOR, people), (CONTRIBUTION, people | parts)):
        for origin in origins:
            yield Edge(origin, ColumnRef(kept, name), Kind.DIRECT, How.EXPRESSION, PrivacyStep.PSEUDONYMISE)
    for name in (*dataset.key, FIGURE, CONTRIBUTOR, CONTRIBUTION):
        # The digest of all of it, by which publications are told apart.
        yield Edge(ColumnRef(kept, name), ColumnRef(kept, PUBLICATION), Kind.DIRECT, How.EXPRESSION)


def _sources_of(dataset: TableContract, names: Collection[str]) -> set[ColumnRef]:
    return {_path(source) for column in dataset.columns if column.name in names for source in column.sources}


def _summarised(dataset: TableContract) -> dict[str, dict[str, pl.DataType]]:
    """The entities that a dataset's summary is given."""
    return {name: schema for name, schema in _entity_schemas(entities_of(dataset)).items() if name != CONSENT_ENTITY}


def _summary(dataset: TableContract, frames: Frames) -> object:
    return summary_of(dataset)(frames, _SOME_DAY)


def _people(dataset: TableContract) -> set[ColumnRef]:
    """The columns that say whom a figure about groups is about."""
    subjects = {
        (entity.name, column)
        for entity in registry.source_entities(dataset)
        for subject, column in entity.subject_columns.items()
        if subject in dataset.subjects
    }
    read = columns_read(partial(_summary, dataset), _summarised(dataset), among=subjects)
    return {_at(registry.entity(entity), column) for entity, column in read}


def _entity_schemas(names: Iterable[str]) -> dict[str, dict[str, pl.DataType]]:
    return {
        name: {column.name: column.dtype for column in registry.entity(name).columns} for name in dict.fromkeys(names)
    }


def _named(dataset: TableContract) -> set[Place]:
    """The columns of entities that the columns of a dataset name as their sources."""
    paths = (source.partition(".") for column in dataset.columns for source in column.sources)
    return {(entity, name) for entity, _, name in paths}


def _judged_by(schemas: Schemas) -> set[Place]:
    """The columns by which it is probably judged whether rows may be used."""
    return {
        (name, column)
        for name, schema in schemas.items()
        for column in schema
        if name == CONSENT_ENTITY
        or column in ("jurisdiction", "legal_basis")
        or column in registry.entity(name).subject_columns.values()
    }


# ── statistics ───────────────────────────────────────────────────────────────────────────


def statistic_edges(contract: TableContract, policy: StakeholderPolicy) -> Iterator[Edge]:
    """From entities to differentially private figures; the noise is drawn over what all of them decide together."""
    yield from statistic_values(contract, policy)
    yield from _origin_rows(contract, _entity_schemas(statistic_entities(contract)), PrivacyStep.DP_RELEASE)
    statistic = policy.statistics[contract.name]
    named = frozenset(_named(contract))
    for entity, name in _read_by_statistic(statistic.by, tuple(statistic.values), statistic_entities(contract), named):
        for column in contract.columns:
            target = _at(contract, column.name)
            yield Edge(_at(registry.entity(entity), name), target, Kind.INDIRECT, How.ROWS, PrivacyStep.DP_RELEASE)


def statistic_values(contract: TableContract, policy: StakeholderPolicy) -> Iterator[Edge]:
    """What figures are computed from; `policy`: nothing of it is asked."""
    drawn_from = dict.fromkeys(source for column in contract.columns for source in column.sources)
    for column in contract.columns:
        drawn = not {column.name} & {DATA_ORIGIN, *FROM_POLICY}
        for source in column.sources or drawn_from if drawn else ():
            yield Edge(_path(source), _at(contract, column.name), Kind.DIRECT, How.AGGREGATE, PrivacyStep.DP_RELEASE)
    yield from _origin_values(contract, statistic_entities(contract), PrivacyStep.DP_RELEASE)


@cache
def _read_by_statistic(
    by: tuple[str, ...], values: tuple[str, ...], entities: tuple[str, ...], named: frozenset[Place]
) -> frozenset[Place]:
    # All that decides what a statistic reads; budgets and bounds differ between stakeholders.
    statistic = Statistic.model_construct(by=by, values=dict.fromkeys(values))
    schemas = _entity_schemas(entities)
    judged = _judged_by(schemas)
    read = set(columns_read(lambda frames: usable_children(frames, _SOME_DAY), schemas, likely=judged))
    read |= columns_read(lambda frames: children(statistic, frames, _SOME_DAY), schemas, likely=named)
    for key in by:
        read |= columns_read(partial(_public_keys, key), schemas)
    return frozenset(read)


def _public_keys(key: str, frames: Frames) -> None:
    # A list without a value is refused after all has been read that is read for it.
    with suppress(NoPublicKeys):
        public_keys([key], frames)
