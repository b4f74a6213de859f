"""The Dagster assets and checks of the statistics; all they do is in `store`.

No postponed annotations here: Dagster reads that of the context at run time.
"""

from typing import Any

import dagster as dg

from merajut_assets.catalogue import PrivacyStep, asset_options
from merajut_assets.failures import guarded
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.assets import evidence_metadata
from merajut_assets.protected.release import table_of
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.store import examine_stored, release_statistic, statistic_entities
from partitions import release_partitions
from resources.lakehouse import Lakehouse
from resources.verifications import record_verification, stored_version


def build_statistics_assets() -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """One asset and one blocking check for every statistic of every stakeholder's policy."""
    definitions: list[dg.AssetsDefinition | dg.AssetChecksDefinition] = []
    for policy in stakeholder_policies().values():
        for name in policy.statistics:
            definitions += [_asset(policy, name), _check(policy, name)]
    return definitions


def _asset(policy: StakeholderPolicy, name: str) -> dg.AssetsDefinition:
    contract = statistic_contract(policy.stakeholder, name)

    @dg.asset(
        **asset_options(contract, privacy_step=PrivacyStep.DP_RELEASE),
        deps=[dg.AssetKey(["conformed", entity]) for entity in statistic_entities(contract)],
        partitions_def=release_partitions,
    )
    @guarded
    def statistic(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult[Any]:
        facts = release_statistic(lakehouse, policy, name, context.partition_key)
        return dg.MaterializeResult(
            metadata={**facts, "privacy_step": PrivacyStep.DP_RELEASE.value, "dagster/row_count": facts["rows"]}
        )

    return statistic


def _check(policy: StakeholderPolicy, name: str) -> dg.AssetChecksDefinition:
    contract = statistic_contract(policy.stakeholder, name)

    @dg.asset_check(
        asset=dg.AssetKey(list(contract.asset_key)),
        name="privacy",
        description="Every public cell is there, the noise fits the budget paid for it, useless figures are withheld",
        blocking=True,
    )
    @guarded
    def privacy(context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse) -> dg.AssetCheckResult:
        table, release = table_of(contract), context.partition_key
        version = stored_version(lakehouse.lake, table, release)
        evidence = examine_stored(lakehouse, policy, name, release)
        record_verification(lakehouse.audit, table, release, version, passed=evidence.is_safe)
        return dg.AssetCheckResult(passed=evidence.is_safe, metadata=evidence_metadata(evidence))

    return privacy
