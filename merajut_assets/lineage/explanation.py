"""Where the columns of a table come from, for somebody who reads its page.

Belongs here: a table in Markdown, from the graph. Does not belong here: whether that is allowed (`proof`), and
pictures (`render`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from merajut_assets.lineage.graph import ColumnRef, Kind, LineageGraph
from merajut_assets.lineage.labels import labels_of
from merajut_assets.privacy.steps import PrivacyStep

SOURCE = "source/"
SHOWN = 4
_NO_SOURCE = "no source column: set by the pipeline"

_Origin = tuple[tuple[ColumnRef, ...], tuple[PrivacyStep, ...]]


def explained(graph: LineageGraph, assets: Iterable[str]) -> dict[str, str]:
    """By asset, a Markdown table with, per column: its class, the source columns that its value is computed from with
    theirs, and the privacy steps on the way. Columns of which all that is the same share a row, and a table that all
    come from is named once. Columns that only decide about rows are left out.

    Of `graph` only what says what values are computed from is asked."""
    labels = labels_of(graph)
    places = {ref: place for place, ref in enumerate(graph.topological_order)}
    texts = {}
    for asset in assets:
        origins = {ref: _origin(graph, ref, places) for ref in graph.assets.get(asset, ())}
        tables = {source.asset for sources, _ in origins.values() for source in sources}
        alone = tables.pop() if len(tables) == 1 else None
        rows: dict[tuple[str, str, str], list[str]] = {}
        for ref, (sources, steps) in origins.items():
            shown = [f"`{one.column if alone else one}` ({labels[one].value})" for one in sources[:SHOWN]]
            more = len(sources) - len(shown)
            origin = ", ".join([*shown, *([f"and {more} more"] if more else [])]) or _NO_SOURCE
            said = (labels[ref].value, origin, ", ".join(steps) or "none")
            rows.setdefault(said, []).append(ref.column)
        texts[asset] = "\n".join(_table(rows, alone))
    return texts


def _table(rows: dict[tuple[str, str, str], list[str]], alone: str | None) -> Iterator[str]:
    yield f"| column | class | computed from{f' `{alone}`' if alone else ''} | by way of |"
    yield "|---|---|---|---|"
    for (privacy, origin, steps), columns in rows.items():
        yield f"| {', '.join(columns)} | {privacy} | {origin} | {steps} |"


def _origin(graph: LineageGraph, ref: ColumnRef, places: dict[ColumnRef, int]) -> _Origin:
    """The source columns that a value is computed from, and the steps in the order in which data pass them."""
    before = graph.upstream(ref, kinds=[Kind.DIRECT])
    steps: dict[PrivacyStep, None] = {}
    for column in sorted((ref, *before), key=places.__getitem__):
        for edge in graph.incoming.get(column, ()):
            if edge.kind is Kind.DIRECT and edge.step is not None:
                steps[edge.step] = None
    return tuple(sorted(one for one in before if one.asset.startswith(SOURCE))), tuple(steps)
