"""The conformed layer and quarantine in Dagster: one asset per entity with its quality check,
one asset per system for what was refused.

No postponed annotations here: Dagster reads that of the context at run time.
"""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from merajut_assets.catalogue import PrivacyStep, asset_options, freshness_policy
from merajut_assets.conformed import conform
from merajut_assets.conformed.build import BuildSummary, build_entity, quarantining_tables, raw_inputs
from merajut_assets.conformed.quality_history import remember_quality
from merajut_assets.conformed.raw_rows import NotLanded
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass, TableContract
from merajut_assets.failures import guarded
from merajut_assets.raw.landing import RULE_SEPARATOR
from resources.lakehouse import Lakehouse

QUALITY_CHECK = "quality"


def build_conformed_assets() -> list[dg.AssetsDefinition]:
    return [_conformed_asset(entity) for entity in registry.tables("conformed").values()]


def _conformed_asset(entity: TableContract) -> dg.AssetsDefinition:
    upstream = [dg.AssetKey(list(table.asset_key)) for table in raw_inputs(entity)]
    upstream += [
        dg.AssetKey(["conformed", name])
        for name in dict.fromkeys(path.split(".")[0] for path in conform.referenced(entity))
    ]
    options = asset_options(entity, privacy_step=PrivacyStep.PSEUDONYMISE if entity.subjects else None)
    check = dg.AssetCheckSpec(
        QUALITY_CHECK,
        asset=options["key"],
        description="Completeness, accuracy, consistency, uniqueness and timeliness: after quarantine an aim that is "
        "missed blocks, before quarantine it warns.",
        blocking=True,
    )

    @dg.asset(**options, deps=upstream, check_specs=[check])
    @guarded
    def conformed_entity(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        try:
            summary = build_entity(lakehouse, entity)
        except NotLanded as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        if not summary.is_unchanged:
            remember_quality(lakehouse, summary)
        return dg.MaterializeResult(metadata=_metadata(summary), check_results=[_quality_result(summary)])

    return conformed_entity


def _metadata(summary: BuildSummary) -> dict[str, Any]:
    return {
        "dagster/row_count": summary.passed,
        "rows_in": summary.rows_in,
        "merged": summary.merged,
        "quarantined": summary.quarantined,
        "refused_by_rule": summary.refused or "none",
        "erased_rows": summary.erased,
        "removed_rows": summary.removed,
        "delta_version": summary.version,
        "is_unchanged": summary.is_unchanged,
    }


def _quality_result(summary: BuildSummary) -> dg.AssetCheckResult:
    """Passed: all aims reached before and after. A miss before quarantine only warns."""
    blocks = bool(summary.shortcomings_after)
    return dg.AssetCheckResult(
        check_name=QUALITY_CHECK,
        passed=not (blocks or summary.shortcomings_before),
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        metadata={
            **{f"{name}_after": _shown(value) for name, value in summary.after.items()},
            **{f"{name}_before": _shown(value) for name, value in summary.before.items()},
            "missed_after_quarantine": "; ".join(summary.shortcomings_after) or "nothing",
            "missed_before_quarantine": "; ".join(summary.shortcomings_before) or "nothing",
        },
    )


def _shown(value: float | int | None) -> float | int | str:
    return "not measured" if value is None else value


# ── quarantine ───────────────────────────────────────────────────────────────────────────


def build_quarantine_assets() -> list[dg.AssetsDefinition]:
    """One asset per system from whose tables an entity is built."""
    feeds: dict[str, list[TableContract]] = {}
    kept: dict[str, list[TableContract]] = {}
    for entity in registry.tables("conformed").values():
        for table in quarantining_tables(entity):
            feeds.setdefault(table.system, []).append(entity)
            kept.setdefault(table.system, []).append(table)
    return [_quarantine_asset(system, feeds[system], kept[system]) for system in sorted(feeds)]


def _quarantine_asset(
    system: str, entities: Sequence[TableContract], tables: Sequence[TableContract]
) -> dg.AssetsDefinition:
    columns = {
        "entity": "Entity that the row was meant for",
        "source_table": "Source table that the row is from",
        "data_origin": "Generated, real sample or open data",
        "failed_rules": "Rules that the row breaks",
        "source_ids": "Numbers of the row and of the people it is about in the source",
        "row_hash": "Keyed hash of the row",
        "row": "The row, encrypted under the keys of the people it is about",
    }

    @dg.asset(
        key=dg.AssetKey(["quarantine", system]),
        deps=[dg.AssetKey(["conformed", name]) for name in dict.fromkeys(entity.name for entity in entities)],
        description=f"Rows of {registry.systems()[system].description} that a rule refused, for the data stewards.",
        owners=[registry.systems()[system].owner],
        group_name="quarantine",
        kinds={"deltalake"},
        tags={
            "layer": "quarantine",
            "sensitivity": PrivacyClass.strictest(table.sensitivity for table in tables).value,
        },
        freshness_policy=freshness_policy(min(entity.freshness_hours for entity in entities)),
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, "binary" if name == "row" else "text", text) for name, text in columns.items()]
            )
        },
    )
    @guarded
    def quarantine(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        table = f"quarantine/{system}"
        told = ["entity", "source_table", "failed_rules"]
        stored = lakehouse.read(table, columns=told, reader=table, purpose="rows by rule")
        by_rule = (
            stored.with_columns(pl.col("failed_rules").str.split(RULE_SEPARATOR))
            .explode("failed_rules")
            .group_by("source_table", "failed_rules")
            .len("rows")
            .sort("source_table", "failed_rules")
        )
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": stored.height,
                "rows_by_rule": dg.MetadataValue.json(json.loads(by_rule.write_json())),
            }
        )

    return quarantine
