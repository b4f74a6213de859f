"""How sensitive the columns of the dbt models are, computed from what they rest on.

Here belongs reading the classes of the protected tables off the manifest, where the contracts have written them, and
letting them flow. `dbt_labels` writes them into the models' YAML, for dbt's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import ColumnRef, LineageGraph, Node
from merajut_assets.lineage.labels import labels_of
from merajut_assets.lineage.sql import asset_path, project_graph

# Asset -> column -> privacy class, of every model and published file.
ColumnLabels = dict[str, dict[str, str]]


def column_labels(manifest: Mapping[str, Any]) -> ColumnLabels:
    """The class of every column of every table model and published file. Raises ValueError for SQL that cannot be
    followed."""
    declared = [
        Node(ColumnRef("/".join(asset_path(source)), name), PrivacyClass(privacy))
        for source in manifest["sources"].values()
        for name, column in source["columns"].items()
        if (privacy := column["config"]["meta"].get("privacy"))
    ]
    graph = LineageGraph.of([], declared) | project_graph(manifest)
    found: ColumnLabels = {}
    for ref, privacy in labels_of(graph).items():
        if graph.nodes[ref].privacy is None:
            found.setdefault(ref.asset, {})[ref.column] = privacy.value
    return found


def strictest(labels: Mapping[str, str]) -> str:
    """The class of an asset whose columns have these."""
    return PrivacyClass.strictest(map(PrivacyClass, labels.values())).value
