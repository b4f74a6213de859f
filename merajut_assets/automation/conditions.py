"""When an asset may be brought up to date without somebody asking.

Constants for the layers to attach to their assets; nothing here runs anything. `eager()` is not among
them: over daily parents with gaps it never fires for an unpartitioned asset.
"""

from __future__ import annotations

import dagster as dg

# Conformed tables follow the landings. `since` remembers an update until it has been taken in, so that
# one that arrives during a run is not lost.
FOLLOWS_LANDINGS: dg.AutomationCondition = (
    dg.AutomationCondition.any_deps_updated().since(
        dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    )
    & ~dg.AutomationCondition.in_progress()
).with_label("follows_landings")


def once_per_release(cron: str) -> dg.AutomationCondition:
    """Fires at a tick of `cron` (UTC), for the release of the last complete month only."""
    return (
        dg.AutomationCondition.cron_tick_passed(cron, "UTC") & dg.AutomationCondition.in_latest_time_window()
    ).with_label("once_per_release")
