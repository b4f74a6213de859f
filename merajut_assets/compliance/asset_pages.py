"""What every asset shows of lineage and sensitivity in Dagster, before anything of it was made.

Belongs here: how the lineage graph and the label become metadata and kinds of definitions. What is said about columns
is `lineage.explanation`'s. Dagster's own column lineage, which most assets declare and the others get here, is drawn by
its paid edition alone; of an asset the graph shows the kinds and, where one has it shown, how the description begins,
which is where the sensitivity's colour goes, the same as in the pictures of the lineage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import dagster as dg

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.explanation import explained
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.render import in_colour
from merajut_assets.marts.proof import value_graph

COLUMN_ORIGINS = "where_columns_come_from"
COLUMN_LINEAGE = "dagster/column_lineage"

Part = TypeVar("Part", dg.AssetsDefinition, dg.AssetSpec)


def asset_pages(assets: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
    """By asset, metadata that say where its columns come from: in words, and as Dagster tells it. Raises ManifestError
    when the dbt project was not prepared."""
    graph = value_graph()
    return {
        asset: {COLUMN_ORIGINS: dg.MetadataValue.md(text), COLUMN_LINEAGE: _column_lineage(graph, asset)}
        for asset, text in explained(graph, assets).items()
    }


def _column_lineage(graph: LineageGraph, asset: str) -> dg.TableColumnLineage:
    """What the values of an asset's columns are computed from, one step back."""
    deps = {
        ref.column: [
            dg.TableColumnDep(dg.AssetKey(origin.asset.split("/")), origin.column)
            for origin in dict.fromkeys(edge.origin for edge in graph.incoming.get(ref, ()))
        ]
        for ref in graph.assets.get(asset, ())
    }
    return dg.TableColumnLineage(deps_by_column={column: found for column, found in deps.items() if found})


def with_page(part: Part, pages: Mapping[str, Mapping[str, Any]]) -> Part:
    """The same asset or assets, each with its page, if there is one, and its sensitivity as a kind, by which the graph
    can be filtered, and as the colour before its description. What an asset declares itself stays."""

    def say(spec: dg.AssetSpec) -> dg.AssetSpec:
        page = pages.get(spec.key.to_user_string(), {})
        said = {name: value for name, value in page.items() if name not in spec.metadata}
        sensitivity = spec.tags["sensitivity"]
        described = spec.description and in_colour(PrivacyClass(sensitivity), spec.description)
        return spec.merge_attributes(metadata=said, kinds={sensitivity}).replace_attributes(description=described)

    return next(iter(dg.map_asset_specs(say, [part])))
