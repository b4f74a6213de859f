"""The lineage proof of the project as it is, and of a release: what goes into it, and from where.

Here belongs putting graph, policies and evidence together. What the proof demands is `lineage.proof`'s matter, what
follows when it fails is decided by whoever asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merajut_assets.lineage.evidence import Evidence, Verification
from merajut_assets.lineage.graph import ColumnRef, LineageGraph
from merajut_assets.lineage.proof import Proof, prove
from merajut_assets.lineage.protection import identities
from merajut_assets.lineage.python_steps import python_graph, python_values
from merajut_assets.lineage.sql import project_graph, unwithheld
from merajut_assets.marts.project import (
    MANIFEST,
    asset_path,
    lineage_of_project,
    load_manifest,
    load_values,
    stakeholder_marts,
    tables,
)
from merajut_assets.marts.rules import ROW_LEVEL
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import WAREHOUSE_LAYERS, Lakehouse
from resources.verifications import recorded_verifications, stored_version

PUBLISHED = "published"
ANY_COLUMN = "*"  # of an asset of which no column is known


@dataclass(frozen=True)
class _Known:
    """What was read off a manifest."""

    manifest: Mapping[str, Any]
    graph: LineageGraph
    unwithheld: Mapping[ColumnRef, str]


_known: dict[Path, _Known] = {}


def whole_graph(manifest_path: Path = MANIFEST) -> LineageGraph:
    """The lineage of every column there is, from the sources to what is published. Made once per manifest.

    Raises ManifestError when the dbt project was not prepared, or has SQL that cannot be followed."""
    return _read_off(manifest_path).graph


def _read_off(manifest_path: Path) -> _Known:
    manifest = load_manifest(manifest_path)
    known = _known.get(manifest_path)
    if known is None or known.manifest is not manifest:  # prepared anew since
        with lineage_of_project():
            known = _known[manifest_path] = _Known(manifest, graph_with(manifest), unwithheld(manifest))
    return known


def value_graph(manifest_path: Path = MANIFEST) -> LineageGraph:
    """The part of `whole_graph` that says what values are computed from: there within the time that loading the
    definitions has. To be shown; a proof asks for the whole. Raises ManifestError."""
    return python_values() | load_values(manifest_path)


def graph_with(manifest: Mapping[str, Any]) -> LineageGraph:
    """The lineage of every column, with the dbt models of a compiled manifest. Raises ManifestError."""
    with lineage_of_project():
        return python_graph() | project_graph(manifest)


def leaving_columns(manifest: Mapping[str, Any]) -> dict[str, list[ColumnRef]]:
    """By mart, every column that leaves, as its dbt contract declares it: in the mart and in the published file."""
    return {
        asset: [
            ref
            for column in mart["columns"]
            for ref in (
                ColumnRef(asset, column),
                ColumnRef(f"{PUBLISHED}/{stakeholder}", f"{mart['name']}.{column}"),
            )
        ]
        for stakeholder, marts in stakeholder_marts(manifest).items()
        for mart in marts
        for asset in ["/".join(asset_path(mart))]
    }


def row_level_marts(manifest: Mapping[str, Any]) -> set[str]:
    """The marts that are declared to have a row per person."""
    return {
        "/".join(asset_path(mart))
        for marts in stakeholder_marts(manifest).values()
        for mart in marts
        if mart["config"]["meta"].get(ROW_LEVEL)
    }


def prove_project(
    manifest_path: Path = MANIFEST,
    *,
    marts: Collection[str] | None = None,
    assets: Collection[str] = (),
    evidence: Evidence | None = None,
) -> Proof:
    """The proof of what leaves in some marts (default: all), structure alone unless there is `evidence`. `assets`:
    those that must have a lineage, whatever dbt knows of them. Raises ManifestError."""
    known = _read_off(manifest_path)
    manifest, graph = known.manifest, known.graph
    leaving = leaving_columns(manifest)
    targets = [ref for mart, columns in leaving.items() if marts is None or mart in marts for ref in columns]
    return prove(
        graph,
        [*targets, *(ColumnRef(asset, ANY_COLUMN) for asset in assets if asset not in graph.assets)],
        stakeholder_policies(),
        row_level=row_level_marts(manifest),
        identities=identities(),
        unwithheld=known.unwithheld,
        evidence=evidence,
    )


def prove_release(
    lakehouse: Lakehouse,
    release: str,
    marts: Collection[str] | None = None,
    manifest_path: Path = MANIFEST,
    *,
    assets: Collection[str] = (),
) -> Proof:
    """The proof of some marts (default: all) of a release, with the evidence that there is. `assets`: as in
    `prove_project`. Raises ManifestError."""
    evidence = evidence_of(lakehouse, release, manifest_path)
    return prove_project(manifest_path, marts=marts, assets=assets, evidence=evidence)


def evidence_of(lakehouse: Lakehouse, release: str, manifest_path: Path = MANIFEST) -> Evidence:
    """What is known about the privacy checks of a release: the entries of the audit log, if it is as it was written,
    the version in which each dataset and statistic is stored, and the build of each model."""
    stored = [asset for asset in whole_graph(manifest_path).assets if asset.split("/")[0] in WAREHOUSE_LAYERS]
    versions = {table: stored_version(lakehouse.lake, table, release) for table in stored}
    builds, manifest = lakehouse.warehouse.builds(release), load_manifest(manifest_path)
    versions |= {"/".join(asset_path(model)): builds.get(model["unique_id"]) for model in tables(manifest)}
    report = lakehouse.audit.verify()
    return Evidence(
        release=release,
        stored={table: version for table, version in versions.items() if version is not None},
        verifications=tuple(Verification(*entry) for entry in recorded_verifications(lakehouse.audit))
        if report.is_intact
        else (),
        fault=None
        if report.is_intact
        else f"the audit log is not as it was written ({report.reason}); `merajut audit verify` says more",
    )
