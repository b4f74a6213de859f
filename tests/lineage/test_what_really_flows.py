"""What the lineage says against what the code does: one column is changed at a time, and all outputs are compared.

A lineage that is derived or declared can be wrong like any other claim. The incident this prevents: a summary reads
one more column, nobody says so, and the proof goes on showing that no child can be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import polars as pl
import pytest

from merajut_assets.conformed import build, conform
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.lineage.graph import ColumnRef, Kind, LineageGraph
from merajut_assets.lineage.python_steps import asset_of, python_graph, source_of
from merajut_assets.lineage.sql import asset_path, dbt_graph, relation
from merajut_assets.marts.project import load_manifest, prepare_manifest, tables, upstream
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.policy import DataError
from merajut_assets.protected.origins import with_origins
from merajut_assets.protected.pipeline import entities_of, usable_for
from merajut_assets.protected.summaries import summary_of
from merajut_assets.protected.summary import CONTRIBUTIONS
from merajut_assets.sources.generate import UNTIL, generate_world
from merajut_assets.statistics.declarations import public_keys
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.releases import children, usable_children
from merajut_assets.statistics.store import statistic_entities
from resources.settings import REPOSITORY
from tests.lineage.support.flows import Landed, World, changed_columns, changes, conformed, land, read_sources
from tests.marts.support.mini_warehouse import release_frames

pytestmark = pytest.mark.slow

CHILDREN = 300
SEED = 7
# Before the end of the generated world, so that rows lie on both sides of it.
CUT_OFF = date(UNTIL.year, UNTIL.month - 4, 30)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    directory = tmp_path_factory.mktemp("generated")
    generate_world(CHILDREN, SEED, directory, REPOSITORY / "data" / "reference")
    return read_sources(directory)


@pytest.fixture(scope="module")
def graph() -> LineageGraph:
    return python_graph()


class Watched:
    """What was seen to change with what, against the edges of a graph."""

    def __init__(self, graph: LineageGraph) -> None:
        self.listed = {(edge.origin, edge.target) for edge in graph.edges}
        self.seen: set[tuple[ColumnRef, ColumnRef]] = set()

    def saw(self, origin: ColumnRef, targets: Iterator[ColumnRef] | set[ColumnRef]) -> None:
        self.seen |= {(origin, target) for target in targets}

    @property
    def unlisted(self) -> list[str]:
        return sorted(f"{origin} -> {target}" for origin, target in self.seen - self.listed)


# ── sources to raw to conformed ──────────────────────────────────────────────────────────


def test_no_raw_or_conformed_column_changes_with_a_source_column_that_the_lineage_does_not_list(
    world: World, graph: LineageGraph
) -> None:
    """Rows are shifted, changed and made invalid, so that rules refuse them and whatever refers to them is lost."""
    raw, entities = Watched(graph), _two_steps(graph)
    for name, table in registry.tables("raw").items():
        source = world.sources[name]
        fed = [one for one in registry.tables("conformed").values() if table in build.raw_inputs(one)]
        for column in table.columns:
            origin = ColumnRef(source_of(table), column.name_in_source)
            for _, values in changes(source[column.name]):
                after = land(table, source.with_columns(values))
                raw.saw(origin, _changed_raw(table, world.landed[name], after))
                for entity in fed:
                    entities.saw(origin, _changed_entity(world, entity, name, after))
    assert raw.unlisted == []
    assert entities.unlisted == []
    assert len(raw.seen) > 500
    assert len(entities.seen) > 1_000


def _changed_entity(world: World, entity: TableContract, name: str, landed: Landed) -> set[ColumnRef]:
    """The columns that change when one raw table is another; all of them, when nothing can be built from it."""
    try:
        rows = conformed(entity, {**world.landed, name: landed}, world.conformed)
    except ValueError:
        return {ColumnRef(asset_of(entity), column.name) for column in entity.columns}
    return _changed(entity, world.conformed[entity.name], rows)


def _two_steps(graph: LineageGraph) -> Watched:
    """Watched for a source column's effect on an entity: by one raw column, whichever."""
    watched = Watched(graph)
    watched.listed = {
        (before.origin, edge.target)
        for edge in graph.edges
        if edge.origin.asset.startswith("raw/")
        for before in graph.incoming.get(edge.origin, ())
    }
    return watched


def _changed_raw(table: TableContract, before: Landed, after: Landed) -> set[ColumnRef]:
    asset = asset_of(table)
    return {
        ColumnRef(asset, name)
        for name in before.rows.columns
        if not before.rows[name].equals(after.rows[name], null_equal=True)
    }


def _changed(contract: TableContract, before: pl.DataFrame, after: pl.DataFrame) -> set[ColumnRef]:
    return {ColumnRef(asset_of(contract), name) for name in changed_columns(before, after, contract.key)}


def test_no_entity_changes_with_a_reference_that_the_lineage_does_not_list(world: World, graph: LineageGraph) -> None:
    watched = Watched(graph)
    for entity in registry.tables("conformed").values():
        for path in conform.referenced(entity):
            other, column = path.split(".")
            for _, values in changes(world.conformed[other][column]):
                others = {**world.conformed, other: world.conformed[other].with_columns(values)}
                rows = conformed(entity, world.landed, others)
                watched.saw(
                    ColumnRef(f"conformed/{other}", column), _changed(entity, world.conformed[entity.name], rows)
                )
    assert watched.unlisted == []
    assert watched.seen


# ── conformed to protected and statistics ────────────────────────────────────────────────


def test_no_protected_column_changes_with_a_conformed_column_that_the_lineage_does_not_list(
    world: World, graph: LineageGraph
) -> None:
    """Summaries are compared before they are anonymised: what is released is a function of them alone."""
    watched = Watched(graph)
    for policy in stakeholder_policies().values():
        for name in policy.datasets:
            dataset = registry.protected_dataset(policy.stakeholder, name)
            entities = {entity: world.conformed[entity] for entity in entities_of(dataset)}
            before = _summary(dataset, policy, entities)
            assert before is not None
            assert before.height, f"{dataset.identifier} is empty: nothing can be seen to change"
            for origin, changed in _one_column_changed(entities):
                after = _summary(dataset, policy, changed)
                # Rows that cannot be judged stop the whole dataset.
                names = set(before.columns) if after is None else changed_columns(before, after, dataset.key)
                watched.saw(origin, {ColumnRef(asset_of(dataset), column) for column in names - {CONTRIBUTIONS}})
    assert watched.unlisted == []
    _assert_most_values_are_seen_to_flow(graph, watched, "protected/")


def _summary(
    dataset: TableContract, policy: StakeholderPolicy, entities: dict[str, pl.DataFrame]
) -> pl.DataFrame | None:
    try:
        frame = summary_of(dataset)(usable_for(dataset, policy, entities, CUT_OFF).entities, CUT_OFF)
    except (DataError, pl.exceptions.PolarsError):
        return None
    return with_origins(frame.drop(CONTRIBUTIONS, strict=False), dataset, entities)


def _one_column_changed(entities: dict[str, pl.DataFrame]) -> Iterator[tuple[ColumnRef, dict[str, pl.DataFrame]]]:
    for name, frame in entities.items():
        for column in frame.columns:
            for _, values in changes(frame[column]):
                yield ColumnRef(f"conformed/{name}", column), {**entities, name: frame.with_columns(values)}


def _assert_most_values_are_seen_to_flow(graph: LineageGraph, watched: Watched, layer: str) -> None:
    """A lineage that lists everything lists nothing: what it says to be computed from a column must be."""
    said = {
        (edge.origin, edge.target)
        for edge in graph.edges
        if edge.kind is Kind.DIRECT
        and edge.target.asset.startswith(layer)
        and edge.origin.asset.startswith("conformed/")
    }
    assert len(said & watched.seen) > 0.9 * len(said), sorted(f"{a} -> {b}" for a, b in said - watched.seen)


def test_no_statistic_changes_with_a_conformed_column_that_the_lineage_does_not_list(
    world: World, graph: LineageGraph
) -> None:
    """Noise is drawn over the children's rows and the public keys, so that these are what is compared."""
    watched = Watched(graph)
    for policy in stakeholder_policies().values():
        for name, statistic in policy.statistics.items():
            contract = statistic_contract(policy.stakeholder, name)
            targets = {ColumnRef(asset_of(contract), column.name) for column in contract.columns}
            entities = {entity: world.conformed[entity] for entity in statistic_entities(contract)}

            def drawn_over(frames: dict[str, pl.DataFrame]) -> tuple[object, object] | None:
                try:
                    rows = children(statistic, usable_children(frames, CUT_OFF).entities, CUT_OFF)  # noqa: B023
                    return rows.sort(rows.columns).rows(), public_keys(statistic.by, frames)  # noqa: B023
                except (ValueError, pl.exceptions.PolarsError):
                    return None

            before = drawn_over(entities)
            assert before is not None
            for origin, changed in _one_column_changed(entities):
                if drawn_over(changed) != before:
                    watched.saw(origin, targets)
    assert watched.unlisted == []
    assert watched.seen


# ── dbt ──────────────────────────────────────────────────────────────────────────────────


def test_no_model_column_changes_with_a_source_column_that_the_lineage_does_not_list() -> None:
    """The models' own SQL over a small release, one column of one source table changed at a time."""
    manifest = load_manifest(prepare_manifest())
    models = {node["unique_id"]: node for node in tables(manifest)}
    graph = dbt_graph(manifest)
    frames = release_frames()
    released = {(node["schema"], node["identifier"]): node for node in manifest["sources"].values()}
    connection = duckdb.connect()
    connection.execute("ATTACH ':memory:' AS warehouse")
    for schema, name in frames:
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS warehouse."{schema}"')
        _store(connection, schema, name, frames[schema, name])
    order = _in_order(manifest, models)
    before = {unique_id: _build(connection, models[unique_id]) for unique_id in order}
    unlisted, seen = set(), 0
    for place, frame in frames.items():
        source = released[place]
        resting = [one for one in order if source["unique_id"] in upstream(manifest, [models[one]])]
        for column in frame.columns:
            origin = ColumnRef("/".join(asset_path(source)), column)
            reached = graph.downstream(origin) if origin in graph.nodes else frozenset()
            for _, values in changes(frame[column]):
                _store(connection, *place, frame.with_columns(values))
                for unique_id in resting:
                    try:
                        after = _build(connection, models[unique_id])
                    except duckdb.ConversionException:
                        # Nonsense where a date is told by text: there is no model to compare.
                        break
                    asset = "/".join(asset_path(models[unique_id]))
                    for name in changed_columns(before[unique_id], after, ()):
                        seen += 1
                        if ColumnRef(asset, name) not in reached:
                            unlisted.add(f"{origin} -> {asset}.{name}")
        _store(connection, *place, frame)
        for unique_id in resting:
            _build(connection, models[unique_id])
    assert sorted(unlisted) == []
    assert seen > 500


def _store(connection: duckdb.DuckDBPyConnection, schema: str, name: str, frame: pl.DataFrame) -> None:
    connection.register("frame", frame.to_arrow())
    connection.execute(f'CREATE OR REPLACE TABLE warehouse."{schema}"."{name}" AS SELECT * FROM frame')


def _build(connection: duckdb.DuckDBPyConnection, model: dict) -> pl.DataFrame:
    database, schema, name = relation(model)
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{database}"."{schema}"')
    connection.execute(f'CREATE OR REPLACE TABLE "{database}"."{schema}"."{name}" AS {model["compiled_code"]}')
    return connection.execute(f'SELECT * FROM "{database}"."{schema}"."{name}"').pl()


def _in_order(manifest: dict, models: dict) -> list[str]:
    """The models, each after those it rests on."""
    rests_on = {
        one: {other for other in upstream(manifest, [node]) if other in models and other != one}
        for one, node in models.items()
    }
    return sorted(models, key=lambda one: len(rests_on[one]))
