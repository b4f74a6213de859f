"""Whether a release is complete, told by what is stored and not by what some run said.

A complete release is pinned and is not made again; one that was killed half-way, from which somebody was erased,
or for which a mart was written or changed since, is not complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from merajut_assets.conformed.build import is_judged, untouched_build
from merajut_assets.conformed.raw_rows import NotLanded
from merajut_assets.contracts import registry
from merajut_assets.marts.project import (
    ManifestError,
    asset_path,
    load_manifest,
    sql_digests,
    stakeholder_marts,
    tables,
)
from merajut_assets.marts.publication_log import is_logged, logged_publications
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.release import RELEASE, stored_release
from merajut_assets.raw.assets import untouched_version
from merajut_assets.sources.request import SourceError
from resources.lakehouse import Lakehouse
from resources.publication import Publication
from resources.retention import are_originals_due

if TYPE_CHECKING:
    from dagster import DagsterInstance


def missing_parts(lakehouse: Lakehouse, instance: DagsterInstance | None, release: str) -> list[str]:
    """What a release lacks, as asset names; empty for a complete one.

    Lacking is a dataset that is not stored, or was rewritten since it was released; a model that the dbt project
    has and the release was not built with; the analysts' copy, when none is in force; and a publication that is
    older than a dataset of its stakeholder, has other tables than their marts, or is not in the audit log.
    `instance` tells when a publication was last found to be up to date."""
    if lakehouse.releases.find(release) is None:
        return [f"manifest of {release}"]
    try:
        manifest = load_manifest()
    except ManifestError:
        return ["manifest of the dbt project"]
    missing = _unbuilt(lakehouse, manifest, release)
    if lakehouse.warehouse.released() is None:
        missing.append("warehouse/released")
    marts = {
        stakeholder: {str(mart["name"]) for mart in nodes} for stakeholder, nodes in stakeholder_marts(manifest).items()
    }
    logged = logged_publications(lakehouse)
    for policy in stakeholder_policies().values():
        moments = []
        for table in _tables(policy):
            stored = stored_release(lakehouse.lake, table, release)
            if stored is None or not stored.is_current:
                missing.append(table)
            else:
                moments.append(_stored_at(lakehouse, table, release))
        kept = _kept(lakehouse, policy.stakeholder, release)
        is_whole = (
            bool(kept) and set(kept[-1].rows) == marts.get(policy.stakeholder, set()) and is_logged(kept[-1], logged)
        )
        if not is_whole or any(moment > _published_at(instance, kept) for moment in moments):
            missing.append(f"published/{policy.stakeholder}")
    return missing


def _unbuilt(lakehouse: Lakehouse, manifest: Mapping[str, Any], release: str) -> list[str]:
    """The models that the release was not built with as they are now, as asset names."""
    built = lakehouse.warehouse.models(release)
    return [
        "/".join(asset_path(manifest["nodes"][unique_id]))
        for unique_id, digest in sql_digests(manifest, tables(manifest)).items()
        if built.get(unique_id) != digest
    ]


def is_up_to_date(lakehouse: Lakehouse) -> bool:
    """Whether every source is landed as it is now, every entity built from that, what is stored the very thing that was
    judged, and nothing beyond its time is left to destroy; told without reading any.

    False also when a source is absent: landing it says so."""
    systems = registry.systems()
    entities = registry.tables("conformed").values()
    try:
        return (
            all(
                untouched_version(lakehouse, systems[table.system], table) is not None
                for table in registry.tables("raw").values()
            )
            and all(
                (build := untouched_build(lakehouse, entity)) is not None and is_judged(lakehouse, build)
                for entity in entities
            )
            and not are_originals_due(lakehouse)
        )
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


def _kept(lakehouse: Lakehouse, stakeholder: str, release: str) -> list[Publication]:
    """The publications of a release that are still there, as they were published, oldest first."""
    publisher = lakehouse.publisher
    return [one for one in publisher.list(stakeholder) if one.release == release and publisher.is_genuine(one)]


def _published_at(instance: DagsterInstance | None, kept: Sequence[Publication]) -> datetime:
    """When a release was last published, or found to be published already."""
    newest = kept[-1]
    return max([newest.published_at, *_materialised_at(instance, newest.stakeholder, newest.release)])


def _materialised_at(instance: DagsterInstance | None, stakeholder: str, release: str) -> list[datetime]:
    if instance is None:
        return []
    import dagster as dg

    key = dg.AssetKey(["published", stakeholder])
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[release])
    records = instance.fetch_materializations(wanted, limit=1).records
    return [datetime.fromtimestamp(record.timestamp, UTC) for record in records]
