"""Dagster and the lineage tell of the same assets and columns: what one of them does not know, nobody proves."""

from __future__ import annotations

import dagster as dg
import pytest

from merajut_assets.compliance.register import processing_register
from merajut_assets.definitions import build_defs
from merajut_assets.lineage.graph import ColumnRef, LineageGraph
from merajut_assets.lineage.impact import impact_of
from merajut_assets.lineage.labels import labels_of
from merajut_assets.marts.project import load_manifest, tables
from merajut_assets.marts.proof import whole_graph

EVIDENCE = "compliance/"


@pytest.fixture(scope="module")
def graph(manifest_path) -> LineageGraph:
    return whole_graph(manifest_path)


@pytest.fixture(scope="module")
def specs(manifest_path) -> dict[str, dg.AssetSpec]:
    found = {spec.key.to_user_string(): spec for spec in build_defs().resolve_all_asset_specs()}
    return {name: spec for name, spec in found.items() if not name.startswith(EVIDENCE)}


def test_every_asset_with_data_has_a_lineage(graph, specs) -> None:
    """An asset that somebody adds in Python alone would be proved by nobody."""
    assert sorted(set(specs) - set(graph.assets)) == []


def test_every_column_that_dagster_shows_has_a_lineage(graph, specs) -> None:
    missing = [
        f"{name}.{column.name}"
        for name, spec in specs.items()
        for column in spec.metadata["dagster/column_schema"].columns
        if ColumnRef(name, column.name) not in graph.nodes
    ]
    assert missing == []


def test_dagster_shows_the_computed_sensitivity(graph, specs) -> None:
    """An analyst who opens a mart in the UI sees which of its columns to be careful with."""
    labels = labels_of(graph)
    for name, spec in specs.items():
        if name.startswith(("mart/", "published/", "warehouse/")):
            columns = spec.metadata["dagster/column_schema"].columns
            shown = {column.name: column.tags["sensitivity"] for column in columns}
            assert shown == {column: labels[ColumnRef(name, column)].value for column in shown}, name
            order = list(type(next(iter(labels.values()))))
            assert spec.tags["sensitivity"] == min(shown.values(), key=lambda one: order.index(one)), name
        elif name.startswith("quarantine/"):
            assert spec.tags["sensitivity"] == labels[ColumnRef(name, "row")], name


def test_nothing_that_is_kept_of_people_is_missing(graph) -> None:
    """A change of the birth date, or its loss, once reached everything but the refused rows that hold it, and those
    who must be asked to delete something are found by this list."""
    found = impact_of(graph, ColumnRef.parse("raw/panti/children.birth_date"))
    assert {"quarantine/panti", "warehouse/released"} <= {ref.asset for ref in found.by_value}
    entries = {entry.dataset for entry in processing_register(dispute_window_days=30)}
    assert sorted(entries - set(graph.assets)) == []


def test_released_columns_are_those_of_the_file(graph, manifest_path) -> None:
    """The analysts' copy is the build file: every source that is loaded and every model that is built."""
    manifest = load_manifest(manifest_path)
    nodes = [*manifest["sources"].values(), *tables(manifest)]
    held = {f"{node['schema']}.{node['name']}.{column}" for node in nodes for column in node["columns"]}
    assert {ref.column for ref in graph.assets["warehouse/released"]} == held
    copied = {str(edge.origin) for edge in graph.incoming[ColumnRef("warehouse/released", "core.dim_region.level")]}
    assert copied == {"warehouse/dim_region.level"}
