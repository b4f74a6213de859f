"""What a picture of an asset's lineage shows, before anything is drawn: boxes by layer, their columns, and lines.

Here belongs the choice: on one sheet not every column has room, so that those that matter come first and the rest is
counted. How it is drawn is `render`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import ColumnRef, Kind, LineageError, LineageGraph
from merajut_assets.lineage.labels import Labels
from merajut_assets.lineage.sql import RELEASED
from merajut_assets.privacy.steps import PrivacyStep

# Left to right; what shares a column of the picture shares a number. One asset is named whole: it holds its layer.
LAYERS = {
    "source": 0,
    "raw": 1,
    "conformed": 2,
    "quarantine": 3,
    "protected": 4,
    "statistics": 4,
    "contributors": 5,
    "distributions": 5,
    "warehouse": 6,
    "mart": 7,
    "published": 8,
    RELEASED: 8,
}
_ORDER = list(PrivacyClass)
_SWEEPS = 6


@dataclass(frozen=True)
class Row:
    """A column as shown: `privacy` as computed, `is_direct` when its value, and not its rows alone, goes on."""

    name: str
    privacy: PrivacyClass
    is_direct: bool


@dataclass
class Box:
    """An asset. `rows`: the columns with room; `folded`: how many have none. `step`: the protection applied in it."""

    asset: str
    layer: int
    privacy: PrivacyClass
    rows: list[Row]
    folded: int = 0
    steps: tuple[PrivacyStep, ...] = ()


@dataclass(frozen=True)
class Line:
    """From a row of one box to a row of another; a row is None where the whole box, or a folded column, is meant."""

    origin: tuple[str, str | None]
    target: tuple[str, str | None]
    privacy: PrivacyClass
    is_direct: bool


@dataclass(frozen=True)
class Picture:
    """The lineage of an asset: boxes by layer, in the order from top to bottom, and the lines between them."""

    asset: str
    layers: Mapping[int, list[Box]]
    lines: tuple[Line, ...] = field(repr=False)


def picture_of(
    graph: LineageGraph,
    asset: str,
    labels: Labels,
    rows_per_layer: int,
    rows_of_title: Callable[[str], int] = lambda _: 2,
) -> Picture:
    """Everything from the sources to `asset`, with room for so many rows in each layer. `rows_of_title`: how many of
    them the title of an asset's box takes, the distance to the next included. Raises LineageError for an asset that the
    graph does not know."""
    if asset not in graph.assets:
        raise LineageError(f"there is no asset {asset} with a lineage; name it as mart/media/campaign_metrics")
    ends = graph.assets[asset]
    shown = {*ends, *graph.upstream(*ends)}
    direct = {*ends, *graph.upstream(*ends, kinds=[Kind.DIRECT])}
    boxes = _boxes(graph, shown, direct, labels)
    layers: dict[int, list[Box]] = defaultdict(list)
    for box in boxes.values():
        layers[box.layer].append(box)
    neighbours = _neighbours(graph, shown)
    _order(layers, neighbours)
    for layer in layers.values():
        _fold(layer, rows_per_layer - sum(rows_of_title(box.asset) for box in layer))
    return Picture(asset, dict(sorted(layers.items())), _lines(graph, shown, direct, labels, boxes))


def _boxes(
    graph: LineageGraph, shown: Collection[ColumnRef], direct: Collection[ColumnRef], labels: Labels
) -> dict[str, Box]:
    columns: dict[str, list[Row]] = defaultdict(list)
    steps: dict[str, set[PrivacyStep]] = defaultdict(set)
    for ref in shown:
        name, row = _place(ref)
        columns[name].append(Row(row, labels[ref], ref in direct))
        steps[name] |= {edge.step for edge in graph.incoming.get(ref, ()) if edge.step is not None}
    return {
        name: Box(
            name,
            LAYERS.get(name) or LAYERS.get(name.split("/")[0], LAYERS["warehouse"]),
            PrivacyClass.strictest(row.privacy for row in rows),
            sorted(_merged(rows), key=lambda row: (not row.is_direct, _ORDER.index(row.privacy), row.name)),
            steps=tuple(sorted(steps[name])),
        )
        for name, rows in sorted(columns.items())
    }


def _place(ref: ColumnRef) -> tuple[str, str]:
    """Box and row of a column. Before conformed a box is a whole system, because there are more tables than a sheet
    holds: a source's rows are its tables, raw's are `table.column`."""
    layer, _, rest = ref.asset.partition("/")
    if layer in ("source", "raw"):
        system, _, table = rest.partition("/")
        return f"{layer}/{system}", table if layer == "source" else f"{table}.{ref.column}"
    return ref.asset, ref.column


def _merged(rows: Collection[Row]) -> list[Row]:
    """One row per name, as strict as the strictest of that name."""
    merged: dict[str, Row] = {}
    for row in rows:
        known = merged.get(row.name, row)
        privacy = PrivacyClass.strictest((row.privacy, known.privacy))
        merged[row.name] = Row(row.name, privacy, row.is_direct or known.is_direct)
    return list(merged.values())


def _neighbours(graph: LineageGraph, shown: Collection[ColumnRef]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for edge in graph.edges:
        if edge.origin in shown and edge.target in shown:
            origin, target = _place(edge.origin)[0], _place(edge.target)[0]
            found[origin].add(target)
            found[target].add(origin)
    return found


def _order(layers: Mapping[int, list[Box]], neighbours: Mapping[str, set[str]]) -> None:
    """Put each box near the middle of those it is connected with, so that few lines cross (the barycentre method of
    Sugiyama, Tagawa & Toda 1981)."""
    heights = {box.asset: place / len(boxes) for boxes in layers.values() for place, box in enumerate(boxes)}
    for sweep in range(_SWEEPS):
        for number in sorted(layers, reverse=sweep % 2 == 0):
            boxes = layers[number]
            beside = {box.asset: [heights[one] for one in {box.asset, *neighbours[box.asset]}] for box in boxes}
            middles = {asset: sum(found) / len(found) for asset, found in beside.items()}
            boxes.sort(key=lambda box: (middles[box.asset], box.asset))
            heights.update({box.asset: (place + 0.5) / len(boxes) for place, box in enumerate(boxes)})


def _fold(boxes: list[Box], room: int) -> None:
    """Fold rows until those of a layer fit: of the longest boxes first, and columns that only decide about rows before
    those whose values go on. How many are folded is a row of its own."""
    allowed = [len(box.rows) for box in boxes]
    while sum(allowed) > room and max(allowed, default=0) > 1:
        ends = [(fits > 1 and not box.rows[fits - 1].is_direct, fits) for box, fits in zip(boxes, allowed, strict=True)]
        allowed[ends.index(max(ends))] -= 1
    for box, fits in zip(boxes, allowed, strict=True):
        if fits < len(box.rows):
            # The line that says how many are folded takes the place of one more.
            box.folded = len(box.rows) - max(fits - 1, 0)
            box.rows = box.rows[: max(fits - 1, 0)]


def _lines(
    graph: LineageGraph,
    shown: Collection[ColumnRef],
    direct: Collection[ColumnRef],
    labels: Labels,
    boxes: Mapping[str, Box],
) -> tuple[Line, ...]:
    rows = {(box.asset, row.name) for box in boxes.values() for row in box.rows}
    strictest: dict[tuple[tuple[str, str | None], tuple[str, str | None], bool], PrivacyClass] = {}
    for edge in graph.edges:
        if edge.origin not in shown or edge.target not in shown:
            continue
        is_direct = edge.kind is Kind.DIRECT and edge.target in direct
        origin, target = (
            (box, row if is_direct and (box, row) in rows else None)
            for box, row in (_place(edge.origin), _place(edge.target))
        )
        if edge.origin.asset.startswith("source/"):
            # Raw has what its source has, table by table.
            origin, target = (origin[0], None), (target[0], None)
        key = (origin, target, is_direct)
        strictest[key] = PrivacyClass.strictest((labels[edge.origin], strictest.get(key, PrivacyClass.PUBLIC)))
    connected = {(origin[0], target[0]) for origin, target, is_direct in strictest if is_direct}
    lines = [
        Line(origin, target, privacy, is_direct)
        for (origin, target, is_direct), privacy in strictest.items()
        if is_direct or (origin[0], target[0]) not in connected
    ]
    # The strictest are drawn last, above the others.
    return tuple(sorted(lines, key=lambda line: (line.is_direct, -_ORDER.index(line.privacy), str(line))))
