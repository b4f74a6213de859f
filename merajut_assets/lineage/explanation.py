"""Where the columns of one table come from, for somebody who reads its page.

Belongs here: a table in Markdown, from the graph. Does not belong here: whether that is allowed (`proof`), and
pictures (`render`).
"""

from __future__ import annotations

from merajut_assets.lineage.graph import ColumnRef, Kind, LineageGraph
from merajut_assets.lineage.labels import labels_of
from merajut_assets.privacy.steps import PrivacyStep

SOURCE = "source/"
SHOWN = 4


def explained(graph: LineageGraph, asset: str) -> str:
    """A Markdown table with, per column of `asset`: its class, the source columns that its value is computed
    from with theirs, and the privacy steps on the way. Columns that only decide about rows are left out."""
    labels = labels_of(graph)
    lines = ["| column | class | computed from | by way of |", "|---|---|---|---|"]
    for ref in graph.assets.get(asset, ()):
        before = graph.upstream(ref, kinds=[Kind.DIRECT])
        sources = sorted(one for one in before if one.asset.startswith(SOURCE))
        shown = [f"`{one}` ({labels[one].value})" for one in sources[:SHOWN]]
        more = len(sources) - len(shown)
        origin = "<br>".join([*shown, *([f"and {more} more"] if more else [])]) or "no source: the same for every row"
        steps = ", ".join(step.value for step in _steps(graph, {ref, *before})) or "none"
        lines.append(f"| {ref.column} | {labels[ref].value} | {origin} | {steps} |")
    return "\n".join(lines)


def _steps(graph: LineageGraph, columns: set[ColumnRef]) -> list[PrivacyStep]:
    """The steps on the edges between these columns, in the order in which data pass them."""
    found: dict[PrivacyStep, None] = {}
    for ref in graph.topological_order:
        if ref in columns:
            for edge in graph.incoming.get(ref, ()):
                if edge.kind is Kind.DIRECT and edge.step is not None and edge.origin in columns:
                    found[edge.step] = None
    return list(found)
