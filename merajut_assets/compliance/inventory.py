"""The inventory: every table and column there is, who owns it, and in which state it is.

Belongs here: reading that off the asset graph and off what Dagster has recorded. Does not belong here: why a table is
kept (`register`), and how Dagster shows it (`assets`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from merajut_assets.compliance.register import compared_datasets, datasets_with_distributions
from merajut_assets.contracts import registry
from merajut_assets.lineage.render import without_colour
from merajut_assets.policies.stakeholder import fewest_retention_days, stakeholder_policies
from merajut_assets.protected.contributors import contributors_table
from merajut_assets.protected.reference import distributions_table
from resources.lakehouse import Lakehouse

DATASET_INVENTORY = "compliance/dataset_inventory"
SCHEMA: Mapping[str, pl.DataType] = {
    "dataset": pl.String(),
    "column": pl.String(),
    "type": pl.String(),
    "description": pl.String(),
    "privacy_class": pl.String(),
    "owner": pl.String(),
    "retention_days": pl.Int64(),
    "overdue": pl.Int64(),
    "fresh_for_hours": pl.Float64(),
    "materialised_at": pl.String(),
    "partition": pl.String(),
    "checks": pl.String(),
    "checks_failed": pl.Int64(),
}
_RUNS_LOOKED_BACK = 5
_STATES = {"SUCCEEDED": "passed", "FAILED": "failed", "PLANNED": "did not end"}


@dataclass(frozen=True)
class State:
    """What Dagster has recorded of a dataset. `checks`: by name, how the last run of each ended."""

    materialised_at: str | None
    partition: str | None
    checks: Mapping[str, str]

    @property
    def failed(self) -> int:
        return sum(ended == "failed" for ended in self.checks.values())


def dataset_inventory(
    assets: Any, instance: dg.DagsterInstance, overdue: Mapping[str, int], *, itself: dg.AssetKey | None = None
) -> pl.DataFrame:
    """One row per column of every asset, in the shape of SCHEMA; of an asset without declared columns one row without
    a column. `assets` is the asset graph of the definitions; `overdue` says of which datasets how many parts are kept
    beyond their time; `itself` is the asset that is being made by this, of which nothing is recorded yet.

    `privacy_class` is the column's where it is declared, else its table's. `materialised_at` is UTC."""
    rows: list[dict[str, Any]] = []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for key in sorted(assets.get_all_asset_keys()):
        node = assets.get(key)
        sensitivity = node.tags.get("sensitivity")
        state = _state(instance, node) if node.is_materializable else State(None, None, {})
        about_table = {
            "dataset": "/".join(key.path),
            "privacy_class": sensitivity,
            "owner": ", ".join(node.owners),
            "retention_days": _retention_days(assets, node),
            "overdue": overdue.get("/".join(key.path), 0),
            "fresh_for_hours": _fresh_for_hours(node),
            "materialised_at": now if key == itself else state.materialised_at,
            "partition": state.partition,
            "checks": "; ".join(f"{name}: {ended}" for name, ended in sorted(state.checks.items())),
            "checks_failed": state.failed,
        }
        columns = _columns(node)
        rows += [
            {
                **about_table,
                "column": column.name,
                "type": column.type,
                "description": column.description,
                "privacy_class": (column.tags or {}).get("sensitivity", sensitivity),
            }
            for column in columns
        ]
        if not columns:
            rows.append({**about_table, "description": without_colour(node.description or "")})
    return pl.DataFrame(rows, schema=SCHEMA)


def by_dataset(inventory: pl.DataFrame) -> pl.DataFrame:
    """One row per dataset of an inventory: the facts about the table, and how many columns it has."""
    columns = ("dataset", "column", "type", "description", "privacy_class")
    facts = [fact for fact in SCHEMA if fact not in columns]
    return inventory.group_by("dataset", maintain_order=True).agg(
        pl.col("column").count().alias("columns"), *(pl.col(fact).first() for fact in facts)
    )


def store_inventory(lakehouse: Lakehouse, inventory: pl.DataFrame) -> None:
    """Store the inventory instead of the last one."""
    lakehouse.lake.overwrite(DATASET_INVENTORY, inventory)
    lakehouse.lake.vacuum(DATASET_INVENTORY)


def unknown_tables(lakehouse: Lakehouse, inventory: pl.DataFrame) -> list[str]:
    """Stored tables that no asset makes any more: nobody owns them, and nothing keeps them right. What is remembered of
    the people behind figures, or of distributions before anonymising, is made with its dataset."""
    beside = {contributors_table(contract) for contract in compared_datasets()}
    beside |= {distributions_table(contract) for contract in datasets_with_distributions()}
    return sorted(set(lakehouse.lake.tables()) - set(inventory["dataset"]) - beside)


def _columns(node: Any) -> tuple[dg.TableColumn, ...]:
    schema = node.metadata.get("dagster/column_schema")
    schema = getattr(schema, "value", schema)
    return tuple(schema.columns) if schema is not None else ()


def _retention_days(assets: Any, node: Any) -> int | None:
    """As its contract says; what is made from released datasets, as the policy of its stakeholder says, or of several
    stakeholders the one that gives the fewest days."""
    declared = node.metadata.get("retention_days")
    if declared is not None:
        return int(getattr(declared, "value", declared))
    layer, *rest = node.key.path
    if layer in ("mart", "published"):
        return stakeholder_policies()[rest[0]].retention_days
    if layer == "warehouse":
        return fewest_retention_days(_whose(assets, node))
    return registry.systems()[rest[0]].retention_days if layer == "quarantine" else None


def _whose(assets: Any, node: Any) -> set[str]:
    """The stakeholders to whom was released what a table of the warehouse is made from."""
    found: set[str] = set()
    for key in node.parent_keys:
        is_of_somebody = key.path[0] in ("protected", "statistics")
        found |= {key.path[1]} if is_of_somebody else _whose(assets, assets.get(key))
    return found


def _fresh_for_hours(node: Any) -> float | None:
    policy = node.freshness_policy
    if not isinstance(policy, dg.FreshnessPolicy):
        return None
    window = getattr(policy, "fail_window", None)
    return None if window is None else window.to_timedelta().total_seconds() / 3600


def _state(instance: dg.DagsterInstance, node: Any) -> State:
    entry = instance.get_latest_materialization_event(node.key)
    materialisation = None if entry is None else entry.asset_materialization
    checks = {check.name: _last_end(instance, check) for check in sorted(node.check_keys)}
    return State(
        None if entry is None else datetime.fromtimestamp(entry.timestamp, UTC).isoformat(timespec="seconds"),
        None if materialisation is None else materialisation.partition,
        checks,
    )


def _last_end(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> str:
    """How the last run of a check ended. One that is planned in a run that goes on is no end yet: the inventory itself
    is made in such a run."""
    for record in instance.event_log_storage.get_asset_check_execution_history(check, limit=_RUNS_LOOKED_BACK):
        run = instance.get_run_by_id(record.run_id)
        if record.status.value != "PLANNED" or run is None or run.is_finished:
            return _ended(record)
    return "never ran"


def _ended(record: Any) -> str:
    """How a check ended; one that failed without blocking anything only warned."""
    event = record.event.dagster_event if record.event is not None else None
    if (
        event is not None
        and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and not event.asset_check_evaluation_data.passed
    ):
        severity = event.asset_check_evaluation_data.severity
        return "failed" if severity is dg.AssetCheckSeverity.ERROR else "warned"
    return _STATES[record.status.value]
