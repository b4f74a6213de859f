"""When an asset may be brought up to date without somebody asking.

Constants for the layers to attach to their assets; nothing here runs anything. `eager()` is not among
them: over daily parents with gaps it never fires for an unpartitioned asset.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import dagster as dg

# Conformed tables follow the landings. `since` remembers an update until it has been taken in, so that
# one that arrives during a run is not lost.
FOLLOWS_LANDINGS: dg.AutomationCondition = (
    dg.AutomationCondition.any_deps_updated().since(
        dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    )
    & ~dg.AutomationCondition.in_progress()
).with_label("follows_landings")

RELEASE_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=32))
# Releases start by the monthly schedule alone: a condition beside it would start the same release twice.
_RELEASE_LAYERS = ("protected", "statistics", "warehouse", "mart", "published")

Part = TypeVar("Part", dg.AssetsDefinition, dg.AssetSpec)


def with_condition(part: Part) -> Part:
    """The same asset or assets with the condition of their layer, and with the freshness of a monthly release
    where no contract says another."""
    return next(iter(dg.map_asset_specs(_with_condition, [part])))


def _with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
    layer = spec.key.path[0]
    if layer == "conformed":
        return spec.replace_attributes(automation_condition=FOLLOWS_LANDINGS)
    if layer in _RELEASE_LAYERS and spec.freshness_policy is None:
        return spec.replace_attributes(freshness_policy=RELEASE_FRESHNESS)
    return spec
