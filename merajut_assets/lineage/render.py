"""A lineage as SVG, Mermaid or JSON: one sheet from the sources to an asset, without any other program.

Here belongs drawing; what is shown is `picture`'s choice. The sheet is A4 landscape. Sensitivity is told by colour, by
shape and in words, so that it can be read in print and by whoever does not tell colours apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.labels import Labels
from merajut_assets.lineage.picture import LAYERS, Box, Line, Picture, Row, picture_of

WIDTH, HEIGHT = 1600, 1130  # A4 landscape in the proportion √2 : 1; a text of 11 is 2 mm high in print
_MARGIN, _TOP, _BOTTOM = 24, 92, 78
_ROW, _TITLE, _GAP = 15, 34, 10
_BOX = 216
_LETTERS = 33  # that have room in a row
_FONT = "Helvetica, Arial, sans-serif"
_INK, _PALE, _PAPER, _SHIELD = "#1f2933", "#697586", "#ffffff", "#1b6e53"
# Where a step counts for the proof; a token made before is no protection by itself.
_COUNTING = (LAYERS["protected"], LAYERS["warehouse"], LAYERS["mart"])
_TITLES = {
    0: ("Source", "systems of the institutions"),
    1: ("Raw", "landed, encrypted; by system"),
    2: ("Conformed", "one row per thing"),
    3: ("Protected, statistics", "privacy steps of the policy"),
    4: ("Warehouse", "dbt models"),
    5: ("Mart", "what analysts see"),
    6: ("Published", "the stakeholder's file"),
}


@dataclass(frozen=True)
class _Style:
    """How a privacy class looks: colour, the path of a shape within ±5, and a character where there is text only."""

    colour: str
    shape: str
    square: str


STYLES: Mapping[PrivacyClass, _Style] = {
    PrivacyClass.DIRECT_IDENTIFIER: _Style("#b00020", "M0-5L5 0L0 5L-5 0Z", "🟥"),
    PrivacyClass.FREE_TEXT: _Style("#7b1fa2", "M-4.5-4.5H4.5V4.5H-4.5Z", "🟪"),
    PrivacyClass.SENSITIVE: _Style("#d9480f", "M0-5L5 4H-5Z", "🟧"),
    PrivacyClass.QUASI_IDENTIFIER: _Style("#b58900", "M0-4.5A4.5 4.5 0 1 1 0 4.5A4.5 4.5 0 1 1 0-4.5Z", "🟨"),
    PrivacyClass.OPERATIONAL: _Style("#486581", "M-4.5-1.8H4.5V1.8H-4.5Z", "🟦"),
    PrivacyClass.PUBLIC: _Style("#2f855a", "M-1.6-4.5H1.6V-1.6H4.5V1.6H1.6V4.5H-1.6V1.6H-4.5V-1.6H-1.6Z", "🟩"),
}


def in_colour(privacy: PrivacyClass, text: str) -> str:
    """The text behind the colour of its class, for where colours cannot be chosen."""
    return f"{STYLES[privacy].square} {text}"


def without_colour(text: str) -> str:
    """The text that was given to `in_colour`; any other stays as it is."""
    return text.lstrip("".join(style.square for style in STYLES.values())).lstrip()


def svg(graph: LineageGraph, asset: str, labels: Labels, *, findings: Sequence[str] = ()) -> str:
    """The picture of an asset's lineage as one SVG. `findings`: lines for its foot, such as the proof's result.
    Raises LineageError for an unknown asset."""
    picture = picture_of(graph, asset, labels, *_room())
    places = _places(picture)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="297mm" height="210mm" '
            f'font-family="{_FONT}" font-size="11" fill="{_INK}" role="img">',
            f"<title>Lineage of {escape(asset)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{_PAPER}"/>',
            *_heading(picture),
            *(_line(line, places) for line in picture.lines),
            *(part for boxes in picture.layers.values() for box in boxes for part in _box(box, places[box.asset])),
            *_legend(findings),
            "</svg>",
        ]
    )


def mermaid(graph: LineageGraph, asset: str, labels: Labels) -> str:
    """The lineage as a Mermaid flow chart: an asset is a node, a layer a subgraph. Raises LineageError."""
    picture = picture_of(graph, asset, labels, *_room())
    names = {box.asset: f"n{number}" for number, box in enumerate(_all(picture))}
    lines = ["flowchart LR"]
    for layer, boxes in picture.layers.items():
        lines.append(f'  subgraph l{layer}["{_TITLES[layer][0]}"]')
        for box in boxes:
            steps = "".join(f"<br/>[{step.replace('_', ' ')}]" for step in box.steps)
            label = f"{box.asset}<br/>{box.privacy.replace('_', ' ')}{steps}"
            lines.append(f'    {names[box.asset]}["{label}"]:::{box.privacy}')
        lines.append("  end")
    arrows = {(line.origin[0], line.target[0]): "-->" if line.is_direct else "-.->" for line in picture.lines}
    lines += [f"  {names[origin]} {arrow} {names[target]}" for (origin, target), arrow in sorted(arrows.items())]
    lines += [
        f"  classDef {privacy} stroke:{style.colour},stroke-width:2px,fill:{_PAPER},color:{_INK}"
        for privacy, style in STYLES.items()
    ]
    return "\n".join(lines)


def as_json(graph: LineageGraph, asset: str, labels: Labels) -> str:
    """Everything upstream of an asset, column by column. Raises LineageError for an unknown asset."""
    picture = picture_of(graph, asset, labels, *_room())
    ends = graph.assets[picture.asset]
    refs = sorted({*ends, *graph.upstream(*ends)})
    shown = set(refs)
    return json.dumps(
        {
            "asset": asset,
            "columns": [{"column": str(ref), "sensitivity": labels[ref].value} for ref in refs],
            "edges": [edge.as_facts() for edge in graph.edges if edge.target in shown],
        },
        indent=1,
    )


def _all(picture: Picture) -> list[Box]:
    return [box for boxes in picture.layers.values() for box in boxes]


def _room() -> tuple[int, int]:
    """Rows of a layer, and how many of them a box takes for its title and the distance to the next."""
    return (HEIGHT - _TOP - _BOTTOM) // _ROW, -(-(_TITLE + _GAP) // _ROW) - 1


# ── where things are ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Place:
    """A box on the sheet: its upper left corner, and the middle of each row."""

    x: float
    y: float
    height: float
    rows: Mapping[str, float]

    def anchor(self, row: str | None, *, is_right: bool) -> tuple[float, float]:
        y = self.y + _TITLE / 2 if row is None else self.rows[row]
        return self.x + (_BOX if is_right else 0), y


def _height(box: Box) -> int:
    return _TITLE + _ROW * (len(box.rows) + bool(box.folded)) + (4 if box.rows or box.folded else 0)


def _places(picture: Picture) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for layer, boxes in picture.layers.items():
        x = _layer_x(picture, layer)
        free = HEIGHT - _TOP - _BOTTOM - sum(map(_height, boxes))
        gap = min(max(free / (len(boxes) + 1), 4), 60)
        y = _TOP + max((free - gap * (len(boxes) - 1)) / 2, 0)
        for box in boxes:
            rows = {row.name: y + _TITLE + _ROW * (number + 0.5) for number, row in enumerate(box.rows)}
            places[box.asset] = _Place(x, y, _height(box), rows)
            y += _height(box) + gap
    return places


def _layer_x(picture: Picture, layer: int) -> float:
    layers = list(picture.layers)
    if len(layers) == 1:
        return (WIDTH - _BOX) / 2
    return _MARGIN + layers.index(layer) * (WIDTH - 2 * _MARGIN - _BOX) / (len(layers) - 1)


# ── how things look ──────────────────────────────────────────────────────────────────────


def _heading(picture: Picture) -> Iterator[str]:
    headline = f"Where {escape(picture.asset)} comes from"
    yield f'<text x="{_MARGIN}" y="36" font-size="22" font-weight="bold">{headline}</text>'
    for layer in picture.layers:
        title, text = _TITLES[layer]
        x = _layer_x(picture, layer)
        yield f'<text x="{x:g}" y="64" font-size="14" font-weight="bold">{title}</text>'
        yield f'<text x="{x:g}" y="79" fill="{_PALE}">{text}</text>'


def _line(line: Line, places: Mapping[str, _Place]) -> str:
    origin, target = places[line.origin[0]], places[line.target[0]]
    is_back = target.x <= origin.x
    x1, y1 = origin.anchor(line.origin[1], is_right=True)
    x2, y2 = target.anchor(line.target[1], is_right=is_back)
    reach = 36 if is_back else max((x2 - x1) / 2, 24)
    end = x2 + reach if is_back else x2 - reach
    style = f'stroke="{STYLES[line.privacy].colour}" stroke-opacity="0.55" stroke-width="1.3"'
    if not line.is_direct:
        style = f'stroke="{_PALE}" stroke-opacity="0.45" stroke-width="1" stroke-dasharray="4 4"'
    return f'<path d="M{x1:g} {y1:.1f}C{x1 + reach:g} {y1:.1f} {end:g} {y2:.1f} {x2:g} {y2:.1f}" fill="none" {style}/>'


def _box(box: Box, place: _Place) -> Iterator[str]:
    style = STYLES[box.privacy]
    _, _, name = box.asset.partition("/")
    yield (
        f'<rect x="{place.x:g}" y="{place.y:.1f}" width="{_BOX}" height="{place.height:g}" rx="4" fill="{_PAPER}" '
        f'stroke="{style.colour}" stroke-width="1.5"/>'
    )
    yield _shape(box.privacy, place.x + 11, place.y + 11)
    yield _text(place.x + 21, place.y + 15, name, _LETTERS - 4, 'font-weight="bold"')
    is_protected = box.steps and box.layer in _COUNTING
    said = " · ".join(step.replace("_", " ") for step in box.steps) if is_protected else box.privacy.replace("_", " ")
    if is_protected:
        yield _pill(place.x + 6, place.y + 19, _BOX - 12)
    yield _text(place.x + 12, place.y + 29, said, _LETTERS, f'fill="{_PAPER if is_protected else _PALE}"')
    for row in box.rows:
        yield from _row(row, place)
    if box.folded:
        y = place.y + _TITLE + _ROW * (len(box.rows) + 0.5) + 4
        yield _text(place.x + 21, y, f"and {box.folded} more", _LETTERS, f'fill="{_PALE}" font-style="italic"')


def _row(row: Row, place: _Place) -> Iterator[str]:
    y = place.rows[row.name]
    yield _shape(row.privacy, place.x + 11, y, 0.75)
    emphasis = "" if row.is_direct else f'fill="{_PALE}" font-style="italic"'
    yield _text(place.x + 21, y + 4, row.name, _LETTERS, emphasis)


def _shape(privacy: PrivacyClass, x: float, y: float, scale: float = 1) -> str:
    style = STYLES[privacy]
    return f'<path d="{style.shape}" transform="translate({x:g} {y:.1f}) scale({scale:g})" fill="{style.colour}"/>'


def _pill(x: float, y: float, width: float) -> str:
    return f'<rect x="{x:g}" y="{y:.1f}" width="{width:g}" height="13" rx="6" fill="{_SHIELD}"/>'


def _text(x: float, y: float, text: str, most: int, attributes: str = "") -> str:
    """A text that is cut where it would leave its box; whole for whoever points at it."""
    if len(text) <= most:
        return f'<text x="{x:g}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
    shown = escape(text[: most - 1])
    return f'<text x="{x:g}" y="{y:.1f}" {attributes}><title>{escape(text)}</title>{shown}…</text>'


def _legend(findings: Sequence[str]) -> Iterator[str]:
    y = HEIGHT - _BOTTOM + 22
    yield f'<path d="M{_MARGIN} {y - 16}H{WIDTH - _MARGIN}" stroke="{_PALE}" stroke-opacity="0.4"/>'
    x = float(_MARGIN)
    for privacy in STYLES:
        label = privacy.replace("_", " ")
        yield _shape(privacy, x + 6, y)
        yield f'<text x="{x + 16:g}" y="{y + 4}">{label}</text>'
        x += 34 + 6.2 * len(label)
    yield f'<path d="M{x:g} {y}h34" stroke="{_INK}" stroke-width="1.3"/>'
    yield f'<text x="{x + 40:g}" y="{y + 4}">value goes on</text>'
    x += 130
    yield f'<path d="M{x:g} {y}h34" stroke="{_PALE}" stroke-dasharray="4 4"/>'
    yield f'<text x="{x + 40:g}" y="{y + 4}">decides about rows only (columns in italics)</text>'
    x += 290
    yield _pill(x, y - 7, 34)
    yield f'<text x="{x + 40:g}" y="{y + 4}">privacy step applied here</text>'
    for number, finding in enumerate(findings[:2]):
        yield _text(_MARGIN, y + 24 + 16 * number, finding, 250)


__all__ = ["LAYERS", "STYLES", "as_json", "in_colour", "mermaid", "svg", "without_colour"]
