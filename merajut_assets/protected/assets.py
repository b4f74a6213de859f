"""The Dagster assets and checks of the protected layer; all they do is in `release`.

No postponed annotations here: Dagster reads that of the context at run time.
"""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from merajut_assets.catalogue import asset_options
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.failures import guarded
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.consistency import check_datasets
from merajut_assets.protected.page import privacy_page
from merajut_assets.protected.pipeline import PRIVACY_STEPS, UTILITY_REPORT, Evidence, entities_of
from merajut_assets.protected.release import examine_stored, read_release, release_dataset, table_of
from partitions import release_partitions
from resources.facts import Fact
from resources.lakehouse import Lakehouse
from resources.verifications import record_verification, stored_version


def build_protected_assets() -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """One asset and one blocking check for every dataset of every stakeholder's policy.

    Raises ContractError when policies, contracts and summaries do not tell of the same datasets."""
    check_datasets()
    definitions: list[dg.AssetsDefinition | dg.AssetChecksDefinition] = []
    for policy in stakeholder_policies().values():
        for name in policy.datasets:
            contract = registry.protected_dataset(policy.stakeholder, name)
            definitions += [_asset(contract, policy), _check(contract, policy)]
    return definitions


def _asset(contract: TableContract, policy: StakeholderPolicy) -> dg.AssetsDefinition:
    step = PRIVACY_STEPS[policy.datasets[contract.name].kind]

    @dg.asset(
        **asset_options(contract, privacy_step=step),
        deps=[dg.AssetKey(["conformed", entity]) for entity in entities_of(contract)],
        partitions_def=release_partitions,
    )
    @guarded
    def protected_dataset(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult[Any]:
        facts = release_dataset(lakehouse, contract, policy, context.partition_key)
        stored = read_release(lakehouse, contract, context.partition_key, "page")
        page = privacy_page(contract, policy, facts, stored)
        # Dagster shows metadata in this order.
        shown = {name: dg.MetadataValue.md(text) for name, text in page.items()}
        own: dict[str, Any] = {"privacy_step": step.value, "dagster/row_count": facts["rows"], **_short_digests(facts)}
        if isinstance(recorded := facts.get(UTILITY_REPORT), str):
            own[UTILITY_REPORT] = dg.MetadataValue.json(json.loads(recorded))
        rest = {name: value for name, value in facts.items() if name not in {*shown, "inputs"}}
        return dg.MaterializeResult(metadata={**shown, **rest, **own})

    return protected_dataset


def _short_digests(facts: Mapping[str, Fact]) -> dict[str, str]:
    """The digests of a release, as much of them as tells two apart: a longer word widens the whole page."""
    return {f"{name}_digest": str(facts[name])[:16] for name in ("inputs", "policy")}


def _check(contract: TableContract, policy: StakeholderPolicy) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(list(contract.asset_key)),
        name="privacy",
        description=_describe(contract, policy),
        blocking=True,
    )
    @guarded
    def privacy(context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse) -> dg.AssetCheckResult:
        table, release = table_of(contract), context.partition_key
        version = stored_version(lakehouse.lake, table, release)
        evidence = examine_stored(lakehouse, contract, policy, release)
        record_verification(lakehouse.audit, table, release, version, passed=evidence.is_safe)
        return dg.AssetCheckResult(passed=evidence.is_safe, metadata=evidence_metadata(evidence))

    return privacy


def _describe(contract: TableContract, policy: StakeholderPolicy) -> str:
    dataset = policy.datasets[contract.name]
    if dataset.kind == "microdata":
        return f"Every class of the stored rows holds at least {dataset.privacy.k} persons and is diverse enough"
    if dataset.kind == "aggregate":
        return (
            f"No stored figure stands on fewer than {dataset.k} {dataset.contributors}, nor does its difference from "
            "another release, and no share says the same of everybody"
        )
    return "The stored table has no personal column and none that is not declared"


def evidence_metadata(evidence: Evidence) -> dict[str, Any]:
    """Evidence as metadata: figures, and what is violated."""
    flat: dict[str, Any] = {}
    for name, value in evidence.facts.items():
        if isinstance(value, dict):
            flat.update({f"{name}_{key}": inner for key, inner in value.items()})
        elif value is not None:
            flat[name] = value
    return {**flat, "violations": "; ".join(evidence.violations) or "none"}
