"""Whether a release is complete, told by what is stored and not by what some run said.

A complete release is pinned and is not made again; one that was killed half-way, or from which somebody
was erased, is not complete.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from merajut_assets.conformed.build import untouched_build
from merajut_assets.conformed.raw_rows import NotLanded
from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.release import RELEASE, stored_release
from merajut_assets.raw.assets import untouched_version
from merajut_assets.sources.request import SourceError
from resources.lakehouse import Lakehouse

if TYPE_CHECKING:
    from dagster import DagsterInstance


def missing_parts(lakehouse: Lakehouse, instance: DagsterInstance | None, release: str) -> list[str]:
    """What a release lacks, as asset names; empty for a complete one.

    Lacking is a dataset that is not stored, or was rewritten since it was released, and a publication older
    than a dataset of its stakeholder. `instance` tells when a publication was last found to be up to date."""
    if lakehouse.releases.find(release) is None:
        return [f"manifest of {release}"]
    missing: list[str] = []
    for policy in stakeholder_policies().values():
        moments = []
        for table in _tables(policy):
            stored = stored_release(lakehouse.lake, table, release)
            if stored is None or not stored.is_current:
                missing.append(table)
            else:
                moments.append(_stored_at(lakehouse, table, release))
        published = _published_at(lakehouse, instance, policy.stakeholder, release)
        if published is None or any(moment > published for moment in moments):
            missing.append(f"published/{policy.stakeholder}")
    return missing


def is_up_to_date(lakehouse: Lakehouse) -> bool:
    """Whether every source is landed as it is now, and every entity built from that; told without reading any.

    False also when a source is absent: landing it says so."""
    systems = registry.systems()
    try:
        return all(
            untouched_version(lakehouse, systems[table.system], table) is not None
            for table in registry.tables("raw").values()
        ) and all(untouched_build(lakehouse, entity) is not None for entity in registry.tables("conformed").values())
    except (SourceError, NotLanded):
        return False


def _tables(policy: StakeholderPolicy) -> list[str]:
    return [
        *(f"protected/{policy.stakeholder}/{name}" for name in policy.datasets),
        *(f"statistics/{policy.stakeholder}/{name}" for name in policy.statistics),
    ]


def _stored_at(lakehouse: Lakehouse, table: str, release: str) -> datetime:
    moments = [
        commit["timestamp"] for commit in lakehouse.lake.history(table) if commit["facts"].get(RELEASE) == release
    ]
    return max(moments, default=datetime.min.replace(tzinfo=UTC))


def _published_at(
    lakehouse: Lakehouse, instance: DagsterInstance | None, stakeholder: str, release: str
) -> datetime | None:
    """When a release was last published, or found to be published already; None when no file of it is kept."""
    kept = [one for one in lakehouse.publisher.list(stakeholder) if one.release == release and one.path.exists()]
    if not kept:
        return None
    return max([*(one.published_at for one in kept), *_materialised_at(instance, stakeholder, release)])


def _materialised_at(instance: DagsterInstance | None, stakeholder: str, release: str) -> list[datetime]:
    if instance is None:
        return []
    import dagster as dg

    key = dg.AssetKey(["published", stakeholder])
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[release])
    records = instance.fetch_materializations(wanted, limit=1).records
    return [datetime.fromtimestamp(record.timestamp, UTC) for record in records]
