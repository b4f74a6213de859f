"""Dagster and the lineage tell of the same assets and columns: what one of them does not know, nobody proves."""

from __future__ import annotations

import dagster as dg
import pytest

from merajut_assets.definitions import build_defs
from merajut_assets.lineage.graph import ColumnRef, LineageGraph
from merajut_assets.marts.proof import whole_graph

# Layers without columns that go on, and the analysts' copy of a whole file.
BESIDE = ("quarantine/", "compliance/", "warehouse/released")


@pytest.fixture(scope="module")
def graph(manifest_path) -> LineageGraph:
    return whole_graph(manifest_path)


@pytest.fixture(scope="module")
def specs(manifest_path) -> dict[str, dg.AssetSpec]:
    found = {spec.key.to_user_string(): spec for spec in build_defs().resolve_all_asset_specs()}
    return {name: spec for name, spec in found.items() if not name.startswith(BESIDE)}


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
    from merajut_assets.lineage.labels import labels_of

    labels = labels_of(graph)
    for name, spec in specs.items():
        if name.startswith(("mart/", "published/", "warehouse/")):
            columns = spec.metadata["dagster/column_schema"].columns
            shown = {column.name: column.tags["sensitivity"] for column in columns}
            assert shown == {column: labels[ColumnRef(name, column)].value for column in shown}, name
            order = list(type(next(iter(labels.values()))))
            assert spec.tags["sensitivity"] == min(shown.values(), key=lambda one: order.index(one)), name
