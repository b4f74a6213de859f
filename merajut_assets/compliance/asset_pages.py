"""What every asset shows of lineage and sensitivity in Dagster, before anything of it was made.

Belongs here: how the lineage graph and the label become metadata and kinds of definitions. What is said about columns
is `lineage.explanation`'s. Dagster's own column lineage, which assets declare beside it, is drawn by its paid edition
alone; of an asset the graph shows the kinds and, where one has it shown, how the description begins, which is where the
sensitivity's colour goes, the same as in the pictures of the lineage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import dagster as dg

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.explanation import explained
from merajut_assets.lineage.render import in_colour
from merajut_assets.marts.proof import value_graph

COLUMN_ORIGINS = "where_columns_come_from"

Part = TypeVar("Part", dg.AssetsDefinition, dg.AssetSpec)


def column_origins(assets: Iterable[str]) -> Mapping[str, str]:
    """Where the columns of each asset come from, in words. Raises ManifestError when the dbt project was not
    prepared."""
    return explained(value_graph(), assets)


def with_page(part: Part, origins: Mapping[str, str]) -> Part:
    """The same asset or assets, each with its text, if there is one, and its sensitivity as a kind, by which the graph
    can be filtered, and as the colour before its description."""

    def say(spec: dg.AssetSpec) -> dg.AssetSpec:
        text = origins.get(spec.key.to_user_string())
        said = {} if text is None else {COLUMN_ORIGINS: dg.MetadataValue.md(text)}
        sensitivity = spec.tags["sensitivity"]
        described = spec.description and in_colour(PrivacyClass(sensitivity), spec.description)
        return spec.merge_attributes(metadata=said, kinds={sensitivity}).replace_attributes(description=described)

    return next(iter(dg.map_asset_specs(say, [part])))
