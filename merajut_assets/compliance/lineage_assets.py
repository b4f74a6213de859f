"""The evidence about lineage as Dagster assets: the edges, the proof, and a report for every mart.

Here is when it is made, how it is shown and which finding blocks. Publication does not wait for these assets: it
demands the same proof itself, before anything is written. They tell about what was published, and are red when that
would not be published any more.

No postponed annotations here: Dagster reads that of the context at run time.
"""

import hashlib
import time
from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg

from merajut_assets.catalogue import freshness_policy
from merajut_assets.compliance.lineage_report import remove_reports_of_others, report_page, store_report
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.failures import guarded
from merajut_assets.lineage.evidence import Evidence
from merajut_assets.lineage.labels import labels_of
from merajut_assets.lineage.proof import Proof
from merajut_assets.marts.project import load_manifest
from merajut_assets.marts.proof import evidence_of, leaving_columns, prove_project, whole_graph
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import Lakehouse

LAYER = "compliance"
EDGES = f"{LAYER}/lineage_edges"
CHECK = "nothing_personal_leaves"
_FAULTS_SHOWN = 20
_RENEWED_EVERY_HOURS = 24
_EDGE_COLUMNS = (
    ("target_asset", "text", "Asset of a column"),
    ("target_column", "text", "The column"),
    ("target_privacy", "text", "Its privacy class as declared; empty where it is computed"),
    ("target_is_constant", "boolean", "Whether it rests on no data at all"),
    ("origin_asset", "text", "Asset that it comes from; empty for a column that comes from nothing"),
    ("origin_column", "text", "Column that it comes from"),
    ("kind", "text", "direct: the value is computed from it; indirect: it decides about rows"),
    ("how", "text", "What is done to it"),
    ("step", "text", "Privacy step applied on the way"),
)
_PROOF_COLUMNS = (
    ("mart", "text", "The mart, with its copy in the published file"),
    ("release", "text", "Release in force, whose checks are demanded; empty before one was published"),
    ("columns", "integer", "Columns that leave"),
    ("paths", "text", "Paths to them from columns with a personal privacy class, counted exactly"),
    ("steps", "integer", "Privacy steps that these pass"),
    ("holds", "boolean", "Whether every path passes one that the policy allows for it, with its check passed"),
)
_REPORT_COLUMNS = (
    ("mart", "text", "The mart"),
    ("file", "text", "Its report: picture, proof, and the checks that it rests on"),
)


def build_lineage_assets(assets: Collection[str] = ()) -> list[dg.AssetsDefinition]:
    """The three assets. `assets`: every asset with data, as `layer/…`; one that the lineage does not know fails."""
    return [_edges(), _proof(assets), _report()]


def _options(name: str, description: str, kinds: set[str], columns: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    released = min(contract.freshness_hours for contract in registry.tables("protected").values())
    return {
        "key": dg.AssetKey([LAYER, name]),
        "description": description,
        "owners": ["team:compliance"],
        "group_name": LAYER,
        "kinds": kinds,
        "tags": {"layer": LAYER, "sensitivity": PrivacyClass.OPERATIONAL.value},
        "metadata": {
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(column, kind, text) for column, kind, text in columns]
            )
        },
        "deps": [dg.AssetKey(["published", stakeholder]) for stakeholder in stakeholder_policies()],
        "freshness_policy": freshness_policy(released + _RENEWED_EVERY_HOURS),
    }


def _edges() -> dg.AssetsDefinition:
    @dg.asset(
        **_options(
            "lineage_edges",
            "Where every column comes from, from the sources to the published files: one row per edge.",
            {"deltalake"},
            _EDGE_COLUMNS,
        )
    )
    @guarded
    def lineage_edges(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        began = time.perf_counter()
        graph = whole_graph()
        frame = graph.to_frame()
        digest = hashlib.sha256(frame.write_csv().encode()).hexdigest()
        history = lakehouse.lake.history(EDGES) if lakehouse.lake.version(EDGES) is not None else []
        is_new = not history or history[0]["facts"].get("digest") != digest
        if is_new:
            lakehouse.lake.overwrite(EDGES, frame, facts={"digest": digest})
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": frame.height,
                "assets": len(graph.assets),
                "columns": len(graph.nodes),
                "edges": len(graph.edges),
                "is_new": is_new,
                "seconds": round(time.perf_counter() - began, 3),
            }
        )

    return lineage_edges


def _proof(assets: Collection[str]) -> dg.AssetsDefinition:
    key = dg.AssetKey([LAYER, "lineage_proof"])

    @dg.asset(
        **_options(
            "lineage_proof",
            "The proof that no column which leaves tells about a person without a privacy step that the stakeholder's "
            "policy allows for it, for every mart and what was published of it.",
            {"json"},
            _PROOF_COLUMNS,
        ),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                blocking=True,
                description="Every path from a personal column passes a privacy step that counts, the step's own check "
                "passed on what is stored, and no column or asset is without lineage",
            )
        ],
    )
    @guarded
    def lineage_proof(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        proofs = {mart: proof for mart, (proof, _) in proofs_in_force(lakehouse).items()}
        # What no mart rests on is not walked to: an asset without lineage has a line of its own.
        proofs["every asset"] = prove_project(marts=(), assets=assets)
        faults = [f"{mart}: {fault}" for mart, proof in proofs.items() for fault in proof.faults]
        facts: dict[str, Any] = {"faults": "; ".join(faults[:_FAULTS_SHOWN]) or "none", "number_of_faults": len(faults)}
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(proofs),
                "proofs": dg.MetadataValue.md(_markdown(proofs)),
                **facts,
            },
            check_results=[dg.AssetCheckResult(check_name=CHECK, passed=not faults, metadata=facts)],
        )

    return lineage_proof


def _report() -> dg.AssetsDefinition:
    @dg.asset(
        **_options(
            "lineage_report",
            "For every mart one page: the picture of where it comes from, the proof's result, the checks it rests on.",
            {"html"},
            _REPORT_COLUMNS,
        )
    )
    @guarded
    def lineage_report(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        graph = whole_graph()
        labels = labels_of(graph)
        written = {
            mart: store_report(lakehouse, mart, report_page(graph, mart, labels, proof, evidence))
            for mart, (proof, evidence) in proofs_in_force(lakehouse).items()
        }
        removed = remove_reports_of_others(lakehouse, written)
        rows = [f"| {mart} | {path.name} |" for mart, path in written.items()]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(written),
                "reports": dg.MetadataValue.md("\n".join(["| mart | file |", "| --- | --- |", *rows])),
                "removed_reports": ", ".join(removed) or "none",
            }
        )

    return lineage_report


def proofs_in_force(lakehouse: Lakehouse) -> dict[str, tuple[Proof, Evidence | None]]:
    """By mart, the proof of what is published of it, with the evidence of that release; of structure alone before its
    stakeholder got anything."""
    evidences: dict[str, Evidence] = {}
    proofs: dict[str, tuple[Proof, Evidence | None]] = {}
    for mart in leaving_columns(load_manifest()):
        current = lakehouse.publisher.current(mart.split("/")[1])
        if current is not None and current.release not in evidences:
            evidences[current.release] = evidence_of(lakehouse, current.release)
        evidence = None if current is None else evidences[current.release]
        proofs[mart] = (prove_project(marts=[mart], evidence=evidence), evidence)
    return proofs


def _markdown(proofs: dict[str, Proof]) -> str:
    lines = ["| mart | release | columns | paths | steps | holds |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {mart} | {proof.release or '–'} | {proof.columns:,} | {proof.paths:,} | {len(proof.steps)} | "
        f"{'yes' if proof.holds else 'NO'} |"
        for mart, proof in proofs.items()
    ]
    return "\n".join(lines)
