"""How long things are kept: what is beyond its time, and its destruction where nothing in force rests on it.

Here belongs what follows from the days that contracts, policies and settings state. Three kinds go by themselves:

    originals        the bytes of source files, when the dispute window is over
    landed versions  those that a newer one has replaced
    releases         stored datasets and figures of a release that is in force for nobody, and its warehouse files

What is in force stays however old it is, because taking it away is its owner's decision: the newest landed version,
the publications that are kept to go back to, and the releases that they show. It is told as overdue. Entities and
quarantine hold what the sources hold now, and so have no age of their own. What is remembered of past releases, so that
later ones tell nothing by the difference (ledger, contributors), stays for as long as there are later ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import DISTRIBUTIONS, WAREHOUSE_LAYERS, Lakehouse
from resources.publication import PublicationReplaced

DESTROYED = "retention.destroyed"  # the event of the audit log


@dataclass(frozen=True)
class Overdue:
    """A part of a dataset that is kept beyond its time: a landed version, a release, a publication, by its number or
    name. `is_in_force`: it stays until somebody decides."""

    dataset: str
    part: str
    is_in_force: bool


def overdue(lakehouse: Lakehouse, today: date | None = None) -> list[Overdue]:
    """What is kept for more days than its contract or policy states, as its dataset is called. Reads no data."""
    day = today or datetime.now(UTC).date()
    return [*_landed(lakehouse, day), *_released(lakehouse, day)]


def overdue_by_dataset(lakehouse: Lakehouse, today: date | None = None) -> Mapping[str, int]:
    """How many parts of each dataset are kept beyond their time."""
    return Counter(one.dataset for one in overdue(lakehouse, today))


def is_anything_due(lakehouse: Lakehouse, today: date | None = None) -> bool:
    """Whether `destroy_expired` would destroy something."""
    day = today or datetime.now(UTC).date()
    return bool(lakehouse.lake.originals_before(_oldest_original(lakehouse, day))) or any(
        not one.is_in_force for one in overdue(lakehouse, day)
    )


def destroy_expired(lakehouse: Lakehouse, today: date | None = None) -> int:
    """Destroy what is beyond its time and not in force, with its keys; returns how many parts and originals there were.

    Each is told in the audit log. Killed in between, the next call goes on."""
    day = today or datetime.now(UTC).date()
    received_before = _oldest_original(lakehouse, day)
    originals = lakehouse.lake.purge_originals(received_before)
    if originals:
        lakehouse.audit.append("originals_destroyed", files=originals, received_before=received_before.isoformat())
    expired = [one for one in overdue(lakehouse, day) if not one.is_in_force]
    for dataset in sorted({one.dataset for one in expired}):
        parts = [one.part for one in expired if one.dataset == dataset]
        if dataset.split("/")[0] == "raw":
            _, system, table = dataset.split("/")
            lakehouse.lake.forget_raw(system, table, [int(part) for part in parts])
        else:
            _destroy_releases(lakehouse, dataset, parts)
        lakehouse.audit.append(DESTROYED, table=dataset, parts=len(parts))
    return originals + len(expired)


def _oldest_original(lakehouse: Lakehouse, today: date) -> date:
    return today - timedelta(days=lakehouse.settings.dispute_window_days)


def _destroy_releases(lakehouse: Lakehouse, table: str, releases: list[str]) -> None:
    # What a dataset was compared with is of no use without it.
    beside = "/".join([DISTRIBUTIONS, *table.split("/")[1:]])
    tables = [table, *([beside] if lakehouse.lake.version(beside) is not None else [])]
    for release in releases:
        # The files that hold these rows, too. Other stakeholders' part of them is made again when it is asked for.
        if lakehouse.warehouse.withdraw(release):
            lakehouse.audit.append("warehouse.withdrawn", release=release)
        for stored in tables:
            lakehouse.lake.delete_where(stored, pl.col("release") == release, facts={"release": release})
    for stored in tables:
        lakehouse.lake.vacuum(stored)


def _landed(lakehouse: Lakehouse, today: date) -> Iterator[Overdue]:
    for contract in registry.tables("raw").values():
        versions = lakehouse.lake.raw_versions(contract.system, contract.name)
        for version in versions:
            if version.ingest_date < today - timedelta(days=contract.retention_days):
                yield Overdue("/".join(contract.asset_key), str(version.number), is_in_force=version is versions[-1])


def _released(lakehouse: Lakehouse, today: date) -> Iterator[Overdue]:
    policies = stakeholder_policies()
    try:
        kept = {name: [one for one in lakehouse.publisher.list(name) if one.withdrawn_at is None] for name in policies}
    except PublicationReplaced:
        # What is in force cannot be told, which `merajut status` says: then no release is called superfluous.
        return
    in_force = {one.release for publications in kept.values() for one in publications}
    released = lakehouse.warehouse.released()
    if released is not None:
        in_force.add(released.name.rpartition("-")[0])
    for name, policy in policies.items():
        before = today - timedelta(days=policy.retention_days)
        for table in (table for layer in WAREHOUSE_LAYERS for table in lakehouse.lake.tables(f"{layer}/{name}")):
            for partition in lakehouse.lake.partitions(table):
                manifest = lakehouse.releases.find(partition["release"])
                if manifest is not None and manifest.pinned_at.date() < before:
                    yield Overdue(table, manifest.release, is_in_force=manifest.release in in_force)
        for one in kept[name]:
            if one.published_at.date() < before:
                yield Overdue(f"published/{name}", str(one.number), is_in_force=True)
