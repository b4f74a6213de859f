"""How long things are kept: originals, which go by themselves, and what is kept beyond the days that it states.

The bytes of source files are destroyed when the dispute window is over. Everything else (landed versions, releases,
publications) is told as overdue and stays until its owner decides: erasing a person looks them up in the landed
versions, later releases are compared with the earlier ones, and what stakeholders go back to rests on them, so that
age alone does not say what may go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import fewest_retention_days, stakeholder_policies
from resources.lakehouse import WAREHOUSE_LAYERS, Lakehouse
from resources.publication import PublicationReplaced


def are_originals_due(lakehouse: Lakehouse, today: date | None = None) -> bool:
    """Whether the dispute window of an original is over."""
    return bool(lakehouse.lake.originals_before(_window_began(lakehouse, today)))


def destroy_originals(lakehouse: Lakehouse, today: date | None = None) -> int:
    """Destroy the originals whose dispute window is over, with their keys; returns how many there were."""
    received_before = _window_began(lakehouse, today)
    files = lakehouse.lake.purge_originals(received_before)
    if files:
        lakehouse.audit.append("originals_destroyed", files=files, received_before=received_before.isoformat())
    return files


def overdue(lakehouse: Lakehouse, today: date | None = None) -> Mapping[str, int]:
    """By asset, how many landed versions, releases or publications of it are kept for more days than its contract or
    policy states, counted from when they were made; of the warehouse, how many files. Reads no data."""
    day = _day(today)
    return Counter([*_landed(lakehouse, day), *_released(lakehouse, day), *_warehouse(lakehouse, day)])


def _day(today: date | None) -> date:
    return today or datetime.now(UTC).date()


def _window_began(lakehouse: Lakehouse, today: date | None) -> date:
    return _day(today) - timedelta(days=lakehouse.settings.dispute_window_days)


def _landed(lakehouse: Lakehouse, today: date) -> Iterator[str]:
    for contract in registry.tables("raw").values():
        for version in lakehouse.lake.raw_versions(contract.system, contract.name):
            if version.ingest_date < today - timedelta(days=contract.retention_days):
                yield "/".join(contract.asset_key)


def _released(lakehouse: Lakehouse, today: date) -> Iterator[str]:
    for name, policy in stakeholder_policies().items():
        before = today - timedelta(days=policy.retention_days)
        for table in (table for layer in WAREHOUSE_LAYERS for table in lakehouse.lake.tables(f"{layer}/{name}")):
            for partition in lakehouse.lake.partitions(table):
                if _is_made_before(lakehouse, partition["release"], before):
                    yield table
        try:
            publications = lakehouse.publisher.list(name)
        except PublicationReplaced:
            # `merajut status` says so, and what to do; whose file it is cannot be told until then.
            continue
        for one in publications:
            if one.published_at.date() < before:
                yield f"published/{name}"


def _warehouse(lakehouse: Lakehouse, today: date) -> Iterator[str]:
    """A file of the warehouse holds the data of all stakeholders."""
    before = today - timedelta(days=fewest_retention_days(stakeholder_policies()))
    for release in lakehouse.warehouse.kept():
        if _is_made_before(lakehouse, release, before):
            yield "warehouse/released"


def _is_made_before(lakehouse: Lakehouse, release: str, day: date) -> bool:
    manifest = lakehouse.releases.find(release)
    return manifest is not None and manifest.pinned_at.date() < day
