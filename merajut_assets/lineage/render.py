"""A lineage as SVG, Mermaid or JSON: one sheet from the sources to an asset, without any other program.

Here belongs drawing; what is shown is `picture`'s choice. The sheet is A4 landscape. Sensitivity is told by colour, by
shape and in words, so that it can be read in print and by whoever does not tell colours apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.labels import Labels
from merajut_assets.lineage.picture import LAYERS, Box, Line, Picture, picture_of

WIDTH, HEIGHT = 1600, 1130  # A4 landscape in the proportion √2 : 1
_SMALL = 13.5  # 7 pt in print: nothing is smaller
_MARGIN, _TOP, _BOTTOM = 24, 92, 78
_ROW, _TITLE, _NAME_LINE, _GAP = 17, 38, 16, 8
_NARROWEST, _WIDEST = 130, 300  # a box
_LEAST_DISTANCE = 34  # between layers
_LETTER, _BOLD_LETTER = 0.53, 0.6  # mean width, in sizes of the font
_INDENT, _PADDING = 21, 8  # of a text in its box
_NAME_LETTERS = 25  # in a line of a box's name
_FONT = "Helvetica, Arial, sans-serif"
_INK, _PALE, _PAPER, _SHIELD = "#1f2933", "#697586", "#ffffff", "#1b6e53"
# Where a step counts for the proof; a token made before is no protection by itself.
_COUNTING = (LAYERS["protected"], LAYERS["warehouse"], LAYERS["mart"])
_TITLES = {
    LAYERS["source"]: ("Source", "systems of institutions"),
    LAYERS["raw"]: ("Raw", "landed, encrypted; by system"),
    LAYERS["conformed"]: ("Conformed", "one row per thing"),
    LAYERS["quarantine"]: ("Quarantine", "refused rows, encrypted"),
    LAYERS["protected"]: ("Protected, statistics", "privacy steps of the policy"),
    LAYERS["contributors"]: ("Kept beside", "for comparing releases"),
    LAYERS["warehouse"]: ("Warehouse", "dbt models"),
    LAYERS["mart"]: ("Mart", "what analysts see"),
    LAYERS["published"]: ("Given out", "one encrypted file"),
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
    places, height = _places(picture), _sheet_height(picture)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="297mm" '
            f'height="{round(297 * height / WIDTH)}mm" '
            f'font-family="{_FONT}" font-size="{_SMALL}" fill="{_INK}" role="img">',
            f"<title>Lineage of {escape(asset)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="{_PAPER}"/>',
            *_heading(picture),
            *(_line(line, places) for line in picture.lines),
            *(part for boxes in picture.layers.values() for box in boxes for part in _box(box, places[box.asset])),
            *_legend(findings, height - _BOTTOM + 22),
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


def _room() -> tuple[int, Callable[[str], int]]:
    """Rows of a layer, and how many of them the title of an asset's box takes with the distance to the next."""
    return (HEIGHT - _TOP - _BOTTOM) // _ROW, lambda asset: -(-(_title_height(asset) + _GAP) // _ROW)


# ── where things are ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Place:
    """A box on the sheet: its upper left corner, its size, and the middle of each row."""

    x: float
    y: float
    width: float
    height: float
    rows: Mapping[str, float]

    def anchor(self, row: str | None, *, is_right: bool) -> tuple[float, float]:
        y = self.y + _TITLE / 2 if row is None else self.rows[row]
        return self.x + (self.width if is_right else 0), y


def _name_lines(asset: str) -> list[str]:
    """The name of a box in lines that fit: an asset is looked up by its name, so that none is cut."""
    _, _, name = asset.partition("/")
    if len(name) <= _NAME_LETTERS:
        return [name]
    lines: list[str] = []
    for segment in re.findall(r"[^/]+/?", name):
        lines.append("")
        for word in re.findall(r"[^_]*_?", segment):
            if lines[-1] and len(lines[-1] + word) > _NAME_LETTERS:
                lines.append("")
            lines[-1] += word
    return lines


def _title_height(asset: str) -> int:
    return _TITLE + _NAME_LINE * (len(_name_lines(asset)) - 1)


def _height(box: Box) -> int:
    return _title_height(box.asset) + _ROW * (len(box.rows) + bool(box.folded)) + (4 if box.rows or box.folded else 0)


def _said_below(box: Box) -> str:
    """The line below a box's name: what protects it, or how sensitive it is."""
    return (" · ".join(box.steps) if _is_protected(box) else box.privacy).replace("_", " ")


def _is_protected(box: Box) -> bool:
    return bool(box.steps) and box.layer in _COUNTING


def _widths_needed(boxes: Sequence[Box]) -> tuple[float, float]:
    """What the names of a layer's boxes need, and what all of their texts do."""
    plain = [text for box in boxes for text in (_said_below(box), *(row.name for row in box.rows))]
    bold = [line for box in boxes for line in _name_lines(box.asset)]
    names, texts = _BOLD_LETTER * max(map(len, bold)), _LETTER * max(map(len, plain))
    least = max(_INDENT + _SMALL * names + _PADDING, _NARROWEST)
    return least, max(least, min(_INDENT + _SMALL * texts + _PADDING, _WIDEST))


def _widths(picture: Picture) -> dict[int, float]:
    """The width of the boxes of each layer: what its texts need, or where all of them do not fit, at most as much as
    the others, but for the asset that the picture is about. Names fit in any case."""
    needed = {layer: _widths_needed(boxes) for layer, boxes in picture.layers.items()}
    room = WIDTH - 2 * _MARGIN - _LEAST_DISTANCE * (len(needed) - 1)
    own = next(layer for layer, boxes in picture.layers.items() if any(box.asset == picture.asset for box in boxes))
    widths = {own: needed[own][1]}
    # From the narrowest on, each takes what it needs, or an equal share of what is left.
    others = sorted((layer for layer in needed if layer != own), key=lambda layer: needed[layer][1])
    for place, layer in enumerate(others):
        share = (room - sum(widths.values())) / (len(others) - place)
        widths[layer] = max(min(needed[layer][1], share), needed[layer][0])
    widths[own] = max(widths[own] - max(sum(widths.values()) - room, 0), needed[own][0])
    return widths


def _lefts(picture: Picture, widths: Mapping[int, float]) -> dict[int, float]:
    """Where the boxes of each layer begin; what is not needed is distance."""
    if len(widths) == 1:
        return {layer: (WIDTH - width) / 2 for layer, width in widths.items()}
    distance = (WIDTH - 2 * _MARGIN - sum(widths.values())) / (len(widths) - 1)
    lefts, x = {}, float(_MARGIN)
    for layer in picture.layers:
        lefts[layer] = x
        x += widths[layer] + distance
    return lefts


def _sheet_height(picture: Picture) -> int:
    """A4, or longer where a layer has more boxes than that holds: only the copy of everything does."""
    return max(
        [HEIGHT, *(_TOP + sum(_height(box) + 4 for box in boxes) + _BOTTOM for boxes in picture.layers.values())]
    )


def _places(picture: Picture) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    widths = _widths(picture)
    lefts = _lefts(picture, widths)
    for layer, boxes in picture.layers.items():
        free = _sheet_height(picture) - _TOP - _BOTTOM - sum(map(_height, boxes))
        gap = min(max(free / (len(boxes) + 1), 4), 60)
        y = _TOP + max((free - gap * (len(boxes) - 1)) / 2, 0)
        for box in boxes:
            below = y + _title_height(box.asset)
            rows = {row.name: below + _ROW * (number + 0.5) for number, row in enumerate(box.rows)}
            places[box.asset] = _Place(lefts[layer], y, widths[layer], _height(box), rows)
            y += _height(box) + gap
    return places


# ── how things look ──────────────────────────────────────────────────────────────────────


def _heading(picture: Picture) -> Iterator[str]:
    headline = f"Where {escape(picture.asset)} comes from"
    yield f'<text x="{_MARGIN}" y="36" font-size="22" font-weight="bold">{headline}</text>'
    for layer, x in _lefts(picture, _widths(picture)).items():
        title, text = _TITLES[layer]
        yield f'<text x="{x:.1f}" y="64" font-size="15" font-weight="bold">{title}</text>'
        yield f'<text x="{x:.1f}" y="81" fill="{_PALE}">{text}</text>'


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
    yield (
        f'<rect x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:g}" rx="4" '
        f'fill="{_PAPER}" stroke="{style.colour}" stroke-width="1.5"/>'
    )
    yield _shape(box.privacy, place.x + 11, place.y + 12)
    y = place.y
    for line in _name_lines(box.asset):
        yield f'<text x="{place.x + _INDENT:.1f}" y="{y + 17:.1f}" font-weight="bold">{escape(line)}</text>'
        y += _NAME_LINE
    if _is_protected(box):
        yield _pill(place.x + 6, y + 5, place.width - 12)
    room = place.width - _INDENT - _PADDING
    colour = _PAPER if _is_protected(box) else _PALE
    yield _text(place.x + _INDENT, y + 16.5, _said_below(box), room, f'fill="{colour}"')
    for row in box.rows:
        y = place.rows[row.name]
        yield _shape(row.privacy, place.x + 11, y, 0.8)
        emphasis = "" if row.is_direct else f'fill="{_PALE}" font-style="italic"'
        yield _text(place.x + _INDENT, y + 4.5, row.name, room, emphasis)
    if box.folded:
        y = place.y + place.height - 4 - _ROW / 2 + 4.5
        yield _text(place.x + _INDENT, y, f"and {box.folded} more", room, f'fill="{_PALE}" font-style="italic"')


def _shape(privacy: PrivacyClass, x: float, y: float, scale: float = 1) -> str:
    style = STYLES[privacy]
    return f'<path d="{style.shape}" transform="translate({x:g} {y:.1f}) scale({scale:g})" fill="{style.colour}"/>'


def _pill(x: float, y: float, width: float) -> str:
    return f'<rect x="{x:g}" y="{y:.1f}" width="{width:g}" height="15" rx="7" fill="{_SHIELD}"/>'


def _text(x: float, y: float, text: str, room: float, attributes: str = "") -> str:
    """A text that is cut where it would leave its box; whole for whoever points at it."""
    most = int(round(room / (_LETTER * _SMALL), 3))  # what was made to fit does
    if len(text) <= most:
        return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
    shown = escape(text[: most - 1])
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}><title>{escape(text)}</title>{shown}…</text>'


def _legend(findings: Sequence[str], y: float) -> Iterator[str]:
    yield f'<path d="M{_MARGIN} {y - 16}H{WIDTH - _MARGIN}" stroke="{_PALE}" stroke-opacity="0.4"/>'
    x = float(_MARGIN)
    for privacy in STYLES:
        label = privacy.replace("_", " ")
        yield _shape(privacy, x + 6, y)
        yield f'<text x="{x + 16:.1f}" y="{y + 5}">{label}</text>'
        x += 34 + _LETTER * _SMALL * len(label)
    signs: list[tuple[Callable[[float], str], str]] = [
        (lambda x: f'<path d="M{x:.1f} {y}h34" stroke="{_INK}" stroke-width="1.3"/>', "value goes on"),
        (
            lambda x: f'<path d="M{x:.1f} {y}h34" stroke="{_PALE}" stroke-dasharray="4 4"/>',
            "decides about rows only (columns in italics)",
        ),
        (lambda x: _pill(x, y - 8, 34), "privacy step applied here"),
    ]
    for sign, label in signs:
        yield sign(x)
        yield f'<text x="{x + 40:.1f}" y="{y + 5}">{label}</text>'
        x += 62 + _LETTER * _SMALL * len(label)
    for number, finding in enumerate(findings[:2]):
        yield _text(_MARGIN, y + 24 + 16 * number, finding, WIDTH - 2 * _MARGIN)


__all__ = ["LAYERS", "STYLES", "as_json", "in_colour", "mermaid", "svg", "without_colour"]
