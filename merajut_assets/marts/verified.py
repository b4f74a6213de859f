"""What of a release may enter its warehouse, and leave it for the analysts: what its privacy check has seen and passed.

Here belongs demanding the audit log's evidence for tables of the warehouse, and refusing without it. Dagster's order is
none: a blocking check stops its own run only, and marts are also made by themselves. What counts as evidence is
`lineage.evidence`'s matter; what is demanded before something is published, the proof's.
"""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from merajut_assets.lineage.evidence import Evidence
from resources.lakehouse import WAREHOUSE_LAYERS, Lakehouse


def verified_versions(evidence: Evidence) -> dict[str, int]:
    """By protected dataset and statistic of a release, the stored version that its privacy check has passed."""
    return {
        table: version
        for table, version in evidence.stored.items()
        if table.split("/")[0] in WAREHOUSE_LAYERS and evidence.lacking(table) is None
    }


def refuse_unverified(lakehouse: Lakehouse, evidence: Evidence, needed: Collection[tuple[str, str]], what: str) -> None:
    """Refuse (dg.Failure), and log it, when one of the `needed` (schema, table) is not verified in the release. `what`:
    rests on them, for the text."""
    tables = {stored_as(*one): one for one in needed if one[0] in WAREHOUSE_LAYERS}
    lacking = {table: reason for table in sorted(tables) if (reason := evidence.lacking(table)) is not None}
    if not lacking:
        return
    for table in lacking:
        lakehouse.audit.append("refusal", asset=table, release=evidence.release, reason="not verified")
    told = "; ".join(f"{table}: {reason}" for table, reason in lacking.items())
    raise dg.Failure(
        f"{what} of release {evidence.release} rests on what is not verified: {told}. Materialise these datasets with "
        "their checks first; what does not rest on them can be made meanwhile"
    )


def stored_as(schema: str, table: str) -> str:
    """The table of the lake that a source table of the warehouse is loaded from."""
    return "/".join([schema, *table.split("__", 1)])
