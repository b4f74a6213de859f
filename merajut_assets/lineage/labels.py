"""How sensitive a derived column is, read off the graph instead of being written down again.

Here belongs how classes flow along edges. What contracts declare counts where they declare something; whether a class
may be where it has flowed is the proof's question.
"""

from __future__ import annotations

from collections.abc import Mapping

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import FIGURES, ColumnRef, How, Kind, LineageGraph
from merajut_assets.privacy.steps import PrivacyStep

Labels = Mapping[ColumnRef, PrivacyClass]


def labels_of(graph: LineageGraph) -> dict[ColumnRef, PrivacyClass]:
    """The class of every column: as declared, or the strictest of the columns that its value is computed from.

    A count tells nothing of the values counted, and neither does a figure about a group of which small ones are
    withheld: both are operational. What rests on no data is public. What decides about rows only labels nothing."""
    labels: dict[ColumnRef, PrivacyClass] = {}
    for ref in graph.topological_order:
        declared = graph.nodes[ref].privacy
        origins = [
            PrivacyClass.OPERATIONAL
            if edge.how is How.COUNT or (edge.how in FIGURES and edge.step is PrivacyStep.DISCLOSURE_CONTROL)
            else labels[edge.origin]
            for edge in graph.incoming.get(ref, ())
            if edge.kind is Kind.DIRECT
        ]
        unknown = PrivacyClass.PUBLIC if graph.nodes[ref].is_constant else PrivacyClass.OPERATIONAL
        labels[ref] = declared or (PrivacyClass.strictest(origins) if origins else unknown)
    return labels
