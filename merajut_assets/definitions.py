"""What Dagster loads: the parts put together, and no logic.

Loading touches no network, no key and writes nothing; only the dbt manifest is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from merajut_assets.automation import build_automation
from merajut_assets.automation.conditions import with_condition
from merajut_assets.compliance.asset_pages import asset_pages, with_page
from merajut_assets.compliance.assets import build_compliance_assets, build_inventory
from merajut_assets.compliance.lineage_assets import build_lineage_assets
from merajut_assets.conformed.assets import build_conformed_assets, build_quarantine_assets
from merajut_assets.marts.dbt import build_mart_assets, dbt_resource
from merajut_assets.marts.proof import whole_graph
from merajut_assets.marts.published import build_published_assets
from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.raw.assets import build_raw_assets, build_source_specs
from merajut_assets.statistics.assets import build_statistics_assets
from resources.lakehouse import Lakehouse

# Evidence holds no data of anybody.
_EVIDENCE = "compliance"


def build_defs(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole graph; `overrides` replaces resources by key, so that tests load the real thing."""
    automation = build_automation(load_graph=whole_graph)
    parts, holding_data = _parts_and_data()
    pages = asset_pages(holding_data)
    parts += build_lineage_assets(assets=holding_data)
    # It tells about itself, too: the definitions it asks for are those that it is part of.
    parts.append(build_inventory(lambda: definitions.resolve_asset_graph()))
    definitions = dg.Definitions(
        assets=[
            part if isinstance(part, dg.AssetChecksDefinition) else with_page(with_condition(part), pages)
            for part in parts
        ],
        jobs=automation.jobs,
        schedules=automation.schedules,
        sensors=automation.sensors,
        resources={"lakehouse": Lakehouse(), "dbt": dbt_resource(), **(overrides or {})},
        # One process for a whole run: a process per step costs seconds each.
        executor=dg.in_process_executor,
    )
    return definitions


def assets_with_data() -> list[str]:
    """Every asset that holds data on the way to the stakeholders, as `layer/…`: none may be without lineage.

    Raises ManifestError when the dbt project is not prepared."""
    return _parts_and_data()[1]


def _parts_and_data() -> tuple[list[Any], list[str]]:
    """What is loaded but for the evidence about lineage, and the assets in it that hold data."""
    parts: list[Any] = [
        *build_source_specs(),
        *build_raw_assets(),
        *build_conformed_assets(),
        *build_quarantine_assets(),
        *build_protected_assets(),
        *build_statistics_assets(),
        build_mart_assets(),
        # They ask when they publish, and are themselves among what is told.
        *build_published_assets(holding_data=lambda: holding_data),
        *build_compliance_assets(),
    ]
    holding_data = _with_data(parts)
    return parts, holding_data


def _with_data(parts: list[Any]) -> list[str]:
    """The assets that hold data, on the way to the stakeholders or beside it: each must have a lineage."""
    specs = [spec for part in parts if isinstance(part, dg.AssetsDefinition) for spec in part.specs]
    return [spec.key.to_user_string() for spec in specs if spec.key.path[0] != _EVIDENCE]


@dg.definitions
def defs() -> dg.Definitions:
    return build_defs()
