"""Where columns come from, in words on the page of every asset that holds data on the way to the stakeholders.

Belongs here: how the lineage graph becomes metadata of definitions, so that a page tells it before anything was made.
What is said is `lineage.explanation`'s. Dagster's own column lineage, which assets declare beside it, is drawn by its
paid edition alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import dagster as dg

from merajut_assets.lineage.explanation import explained
from merajut_assets.marts.proof import value_graph

COLUMN_ORIGINS = "where_columns_come_from"

Part = TypeVar("Part", dg.AssetsDefinition, dg.AssetSpec)


def column_origins(assets: Iterable[str]) -> Mapping[str, str]:
    """The text of each asset. Raises ManifestError when the dbt project was not prepared."""
    return explained(value_graph(), assets)


def with_origins(part: Part, texts: Mapping[str, str]) -> Part:
    """The same asset or assets, each with its text, if there is one."""

    def say(spec: dg.AssetSpec) -> dg.AssetSpec:
        text = texts.get(spec.key.to_user_string())
        return spec if text is None else spec.merge_attributes(metadata={COLUMN_ORIGINS: dg.MetadataValue.md(text)})

    return next(iter(dg.map_asset_specs(say, [part])))
