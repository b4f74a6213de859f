"""The closing table of a run: what came in, passed, was refused and published, layer by layer.

Belongs here: reading those figures out of asset metadata, and showing them. Running is `running`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table

LAYERS = ("raw", "conformed", "quarantine", "protected", "statistics", "warehouse", "mart", "published", "compliance")
_SHOWN_PER_LAYER = 5
_LEGEND = (
    "rows in = passed + quarantined + left out. Left out: in raw rows of erased people; in conformed rows merged into "
    "others, and below zero rows concluded from others; in protected people or groups that privacy withholds. Rows in "
    "of protected are the people or groups that may be used at all. Quarantined in raw rows are marked only, and count "
    "again in conformed; quarantine has rows of supporting tables, too."
)
_ROW_COUNT = "dagster/row_count"


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Figures:
    """Figures of one asset; None where a layer has no such figure. `protection` is such as "k 5" or "ε 0.1".

    `rows_in` are `passed`, `quarantined` and `left_out` together."""

    key: tuple[str, ...]
    rows_in: int | None = None
    passed: int | None = None
    quarantined: int | None = None
    published: int | None = None
    k: int | None = None
    epsilon: float | None = None
    seconds: float | None = None

    @property
    def layer(self) -> str:
        return self.key[0]

    @property
    def table(self) -> str:
        return "/".join(self.key[1:])

    @property
    def left_out(self) -> int | None:
        """Rows in that are neither among those passed nor quarantined; below zero where more came out."""
        if self.rows_in is None or self.passed is None:
            return None
        return self.rows_in - self.passed - (self.quarantined or 0)

    @property
    def protection(self) -> str:
        if self.k is not None:
            return f"k {self.k}"
        return f"ε {self.epsilon:g}" if self.epsilon is not None else ""


def figures_of(key: Sequence[str], metadata: Mapping[str, Any], seconds: float | None) -> Figures:
    """The figures in an asset's metadata (plain values); `seconds` is how long its step took, if known."""
    rows = _whole(metadata.get(_ROW_COUNT))
    layer = key[0]
    own_seconds = metadata.get("build_seconds", metadata.get("seconds"))
    took = seconds if seconds is not None else own_seconds
    common: dict[str, Any] = {"key": tuple(key), "seconds": None if took is None else float(took)}
    if layer == "raw":
        refused = _whole(metadata.get("refused_rows")) or 0
        passed = None if rows is None else rows - refused
        return Figures(**common, rows_in=_whole(metadata.get("rows_in_source")), passed=passed, quarantined=refused)
    if layer == "conformed":
        quarantined = _whole(metadata.get("quarantined"))
        return Figures(**common, rows_in=_whole(metadata.get("rows_in")), passed=rows, quarantined=quarantined)
    if layer == "quarantine":
        return Figures(**common, quarantined=rows)
    if layer in ("protected", "statistics"):
        epsilon = metadata.get("epsilon")
        rows_in, passed = _protected_rows(metadata, rows)
        return Figures(
            **common,
            rows_in=rows_in,
            passed=passed,
            k=_whole(metadata.get("k")),
            epsilon=None if epsilon is None else float(epsilon),
        )
    if layer == "published":
        return Figures(**common, published=rows)
    return Figures(**common, passed=rows)


def _protected_rows(metadata: Mapping[str, Any], rows: int | None) -> tuple[int | None, int | None]:
    """(rows in, passed) of a protected dataset: people of whom a row is shown, or groups whose figures are."""
    if "subjects" in metadata:
        return _whole(metadata["subjects"]), rows
    if "suppressed" in metadata and rows is not None:
        return rows, rows - int(metadata["suppressed"])
    return _whole(metadata.get("rows_in")), rows


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


# ── showing ──────────────────────────────────────────────────────────────────────────────


def closing_table(figures: Iterable[Figures], title: str) -> Table:
    """One row per layer with its sums, and below it the rows worth looking at."""
    table = Table(
        title=title,
        title_justify="left",
        caption=_LEGEND,
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("table", overflow="fold")
    for name in ("rows in", "passed", "quarantined", "left out", "published", "k reached", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    by_layer: dict[str, list[Figures]] = {}
    for one in figures:
        by_layer.setdefault(one.layer, []).append(one)
    for layer in (*LAYERS, *sorted(set(by_layer) - set(LAYERS))):
        members = by_layer.get(layer)
        if not members:
            continue
        table.add_row(layer, f"{len(members)} tables", *_cells(_total(layer, members)), style="bold")
        for one in important(layer, members):
            table.add_row("", f"  {one.table}", *_cells(one))
    return table


def important(layer: str, members: Sequence[Figures]) -> list[Figures]:
    """Of raw and conformed the tables that lost most rows; all of those that leave the pipeline; the datasets
    for which k was reached, and none of the others."""
    if layer in ("raw", "conformed"):
        lossy = [one for one in members if one.quarantined]
        return sorted(lossy, key=lambda one: (-(one.quarantined or 0), one.table))[:_SHOWN_PER_LAYER]
    if layer in ("protected", "statistics"):
        return sorted((one for one in members if one.protection), key=lambda one: one.table)
    return sorted(members, key=lambda one: one.table) if layer in ("mart", "published") else []


def _total(layer: str, members: Sequence[Figures]) -> Figures:
    return Figures(
        key=(layer,),
        rows_in=_sum(members, lambda one: one.rows_in),
        passed=_sum(members, lambda one: one.passed),
        quarantined=_sum(members, lambda one: one.quarantined),
        published=_sum(members, lambda one: one.published),
        k=min((one.k for one in members if one.k is not None), default=None),
        seconds=_sum(members, lambda one: one.seconds),
    )


def _sum(members: Sequence[Figures], value: Callable[[Figures], Number | None]) -> Number | None:
    present = [found for one in members if (found := value(one)) is not None]
    return sum(present[1:], start=present[0]) if present else None


def _cells(one: Figures) -> list[str]:
    counts = [one.rows_in, one.passed, one.quarantined, one.left_out, one.published]
    seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
    return [*("" if count is None else f"{count:,}" for count in counts), one.protection, seconds]
