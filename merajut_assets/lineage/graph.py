"""The lineage graph: columns of assets, and how one comes from others.

Here belong the graph's vocabulary, its questions (upstream, downstream, paths) and how it is written down.
How edges are found is in `sql` and `python_steps`; whether what they show is allowed, in `proof`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Self

import polars as pl

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.privacy.steps import PrivacyStep


class LineageError(ValueError):
    """A lineage that cannot be followed: malformed, circular, or about a column nobody knows. Names columns only."""


class Kind(StrEnum):
    """`direct`: the target's value is computed from the origin. `indirect`: the origin decides which rows there are
    or how they are joined, grouped or ordered."""

    DIRECT = "direct"
    INDIRECT = "indirect"


class How(StrEnum):
    """What a column does to another one."""

    IDENTITY = "identity"
    EXPRESSION = "expression"
    CONDITIONAL = "conditional"
    AGGREGATE = "aggregate"
    COUNT = "count"  # a number of rows or of values; of the values themselves nothing goes on
    WINDOW = "window"
    FILTER = "filter"
    JOIN = "join"
    GROUP = "group"
    ORDER = "order"
    DISTINCT = "distinct"
    ROWS = "rows"  # decides about rows in a Polars step, whichever way


# What makes one number of many rows: disclosure control is about these alone.
FIGURES = (How.AGGREGATE, How.COUNT)


@dataclass(frozen=True, order=True, slots=True)
class ColumnRef:
    """A column of an asset: `ColumnRef("raw/panti/children", "birth_date")`, written `raw/panti/children.birth_date`.

    A column of a published file is named with its mart: `ColumnRef("published/media", "campaign_metrics.clicks")`."""

    asset: str
    column: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The column that a text names. Raises LineageError."""
        asset, dot, column = text.partition(".")
        if not (asset and dot and column):
            raise LineageError(f"{text} names no column; write it as raw/panti/children.birth_date")
        return cls(asset, column)

    def __str__(self) -> str:
        return f"{self.asset}.{self.column}"


@dataclass(frozen=True, order=True, slots=True)
class Node:
    """A column and what is declared about it. `privacy`: as its contract classifies it, None where nobody does.
    `is_constant`: it is declared or seen to rest on no data at all."""

    ref: ColumnRef
    privacy: PrivacyClass | None = None
    is_constant: bool = False


@dataclass(frozen=True, order=True, slots=True)
class Edge:
    """`target` comes from `origin`; `step` is the protection applied on the way, if any."""

    origin: ColumnRef
    target: ColumnRef
    kind: Kind
    how: How
    step: PrivacyStep | None = None

    def as_facts(self) -> dict[str, str | None]:
        """For JSON: names only."""
        return {
            "from": str(self.origin),
            "to": str(self.target),
            "kind": self.kind.value,
            "how": self.how.value,
            "step": self.step.value if self.step else None,
        }


Path = tuple[Edge, ...]

FRAME_SCHEMA: dict[str, pl.DataType] = {
    "target_asset": pl.String(),
    "target_column": pl.String(),
    "target_privacy": pl.String(),
    "target_is_constant": pl.Boolean(),
    "origin_asset": pl.String(),
    "origin_column": pl.String(),
    "kind": pl.String(),
    "how": pl.String(),
    "step": pl.String(),
}


@dataclass(frozen=True)
class LineageGraph:
    """An immutable graph without circles. Build it with `LineageGraph.of`."""

    nodes: Mapping[ColumnRef, Node]
    edges: tuple[Edge, ...] = field(repr=False)

    @classmethod
    def of(cls, edges: Iterable[Edge], nodes: Iterable[Node] = ()) -> Self:
        """The graph of some edges. `nodes` declares what is known about columns, and columns without edges; a
        column may be declared more than once, the last one counts. Raises LineageError for a circle."""
        # An edge with a step may lie beside the same one without, and None has no order.
        ordered = tuple(sorted(set(edges), key=_order))
        known = {ref: Node(ref) for edge in ordered for ref in (edge.origin, edge.target)}
        known |= {node.ref: node for node in nodes}
        graph = cls({ref: known[ref] for ref in sorted(known, key=lambda ref: (ref.asset, ref.column))}, ordered)
        _ = graph.topological_order
        return graph

    def __or__(self, other: LineageGraph) -> LineageGraph:
        """Both graphs together; of a column in both, what is declared counts before what is not."""
        nodes = dict(self.nodes)
        for ref, node in other.nodes.items():
            if ref not in nodes or node != Node(ref):
                nodes[ref] = node
        return LineageGraph.of((*self.edges, *other.edges), nodes.values())

    def values(self) -> LineageGraph:
        """The part that says what values are computed from, with all columns."""
        return LineageGraph.of((edge for edge in self.edges if edge.kind is Kind.DIRECT), self.nodes.values())

    # ── neighbours ───────────────────────────────────────────────────────────────────────

    @cached_property
    def incoming(self) -> Mapping[ColumnRef, tuple[Edge, ...]]:
        """The edges that end in each column that has any."""
        found: defaultdict[ColumnRef, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.target].append(edge)
        return {ref: tuple(edges) for ref, edges in found.items()}

    @cached_property
    def outgoing(self) -> Mapping[ColumnRef, tuple[Edge, ...]]:
        """The edges that begin in each column that has any."""
        found: defaultdict[ColumnRef, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.origin].append(edge)
        return {ref: tuple(edges) for ref, edges in found.items()}

    @cached_property
    def topological_order(self) -> tuple[ColumnRef, ...]:
        """All columns, each after those it comes from. Raises LineageError for a circle."""
        waiting = {ref: len({edge.origin for edge in self.incoming.get(ref, ())}) for ref in self.nodes}
        ready = [ref for ref, origins in waiting.items() if not origins]
        order: list[ColumnRef] = []
        while ready:
            ref = ready.pop()
            order.append(ref)
            # In the order of the edges, so that what is told in this order is the same in every process.
            for target in dict.fromkeys(edge.target for edge in self.outgoing.get(ref, ())):
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        if len(order) < len(self.nodes):
            circular = min(ref for ref, origins in waiting.items() if origins)
            raise LineageError(f"the lineage of {circular} runs in a circle")
        return tuple(order)

    @cached_property
    def assets(self) -> Mapping[str, tuple[ColumnRef, ...]]:
        """The columns of each asset."""
        found: defaultdict[str, list[ColumnRef]] = defaultdict(list)
        for ref in self.nodes:
            found[ref.asset].append(ref)
        return {asset: tuple(refs) for asset, refs in found.items()}

    def node(self, ref: ColumnRef) -> Node:
        """What is known about a column. Raises LineageError for one that is not in the graph."""
        if ref not in self.nodes:
            raise LineageError(f"no asset has a column {ref}")
        return self.nodes[ref]

    # ── closures and paths ───────────────────────────────────────────────────────────────

    def upstream(self, *refs: ColumnRef, kinds: Collection[Kind] = tuple(Kind)) -> frozenset[ColumnRef]:
        """All columns that some columns come from over edges of some kinds, themselves not included."""
        return self._reached(refs, self.incoming, "origin", kinds)

    def downstream(self, *refs: ColumnRef, kinds: Collection[Kind] = tuple(Kind)) -> frozenset[ColumnRef]:
        """All columns that come from some columns over edges of some kinds, themselves not included."""
        return self._reached(refs, self.outgoing, "target", kinds)

    def _reached(
        self,
        refs: Collection[ColumnRef],
        neighbours: Mapping[ColumnRef, tuple[Edge, ...]],
        end: str,
        kinds: Collection[Kind],
    ) -> frozenset[ColumnRef]:
        waiting = [self.node(ref).ref for ref in refs]
        found: set[ColumnRef] = set()
        while waiting:
            for edge in neighbours.get(waiting.pop(), ()):
                ref: ColumnRef = getattr(edge, end)
                if edge.kind in kinds and ref not in found:
                    found.add(ref)
                    waiting.append(ref)
        return frozenset(found)

    def paths(self, target: ColumnRef, origins: Collection[ColumnRef] | None = None) -> Iterator[Path]:
        """All paths to a column, shortest first: each is its edges in the direction of flow. `origins`: where paths
        begin; columns that come from nothing when None. Made one by one, because there can be billions."""
        self.node(target)
        begins = {ref for ref in self.nodes if ref not in self.incoming} if origins is None else set(origins)
        lengths = self._lengths(begins)
        for length in range(1, lengths[target].bit_length()):
            if lengths[target] >> length & 1:
                yield from self._of_length(target, length, lengths, ())

    def _of_length(
        self, target: ColumnRef, length: int, lengths: Mapping[ColumnRef, int], rest: Path
    ) -> Iterator[Path]:
        if not length:
            yield rest
            return
        for edge in self.incoming.get(target, ()):
            # Only where a beginning is exactly so many edges away: no way is tried in vain.
            if lengths[edge.origin] >> (length - 1) & 1:
                yield from self._of_length(edge.origin, length - 1, lengths, (edge, *rest))

    def _lengths(self, begins: Collection[ColumnRef]) -> dict[ColumnRef, int]:
        """For each column the lengths of the paths from a beginning to it: bit n stands for n edges."""
        lengths: dict[ColumnRef, int] = {}
        for ref in self.topological_order:
            bits = 1 if ref in begins else 0
            for edge in self.incoming.get(ref, ()):
                bits |= lengths[edge.origin] << 1
            lengths[ref] = bits
        return lengths

    def path_counts(self, origins: Collection[ColumnRef] | None = None) -> dict[ColumnRef, int]:
        """How many paths there are from `origins` (as in `paths`) to each column; 0 where there is none."""
        begins = {ref for ref in self.nodes if ref not in self.incoming} if origins is None else set(origins)
        ways: dict[ColumnRef, int] = {}  # those of no edge included
        for ref in self.topological_order:
            ways[ref] = (ref in begins) + sum(ways[edge.origin] for edge in self.incoming.get(ref, ()))
        return {ref: count - (ref in begins) for ref, count in ways.items()}

    # ── written down ─────────────────────────────────────────────────────────────────────

    def to_frame(self) -> pl.DataFrame:
        """One row per edge, and one without an origin per column that comes from nothing: FRAME_SCHEMA. Sorted."""
        rows: list[tuple[object, ...]] = [
            (
                *_node_cells(self.nodes[edge.target]),
                edge.origin.asset,
                edge.origin.column,
                edge.kind,
                edge.how,
                edge.step,
            )
            for edge in self.edges
        ]
        rows += [
            (*_node_cells(node), None, None, None, None, None)
            for ref, node in self.nodes.items()
            if ref not in self.incoming
        ]
        plain = [tuple(str(cell) if isinstance(cell, StrEnum) else cell for cell in row) for row in rows]
        frame = pl.DataFrame(plain, schema=FRAME_SCHEMA, orient="row")
        return frame.sort("target_asset", "target_column", "origin_asset", "origin_column", "kind", "how", "step")

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Self:
        """The graph that `to_frame` wrote. Raises LineageError when it is not such a frame."""
        if dict(frame.schema) != FRAME_SCHEMA:
            raise LineageError("the frame is not a lineage: its columns differ from those that to_frame writes")
        nodes, edges = {}, []
        try:
            for row in frame.iter_rows(named=True):
                target = ColumnRef(row["target_asset"], row["target_column"])
                privacy = PrivacyClass(row["target_privacy"]) if row["target_privacy"] else None
                nodes[target] = Node(target, privacy, row["target_is_constant"])
                if row["origin_asset"] is not None:
                    origin = ColumnRef(row["origin_asset"], row["origin_column"])
                    step = PrivacyStep(row["step"]) if row["step"] else None
                    edges.append(Edge(origin, target, Kind(row["kind"]), How(row["how"]), step))
        except ValueError:
            raise LineageError("the frame is not a lineage: a class, kind or step in it is unknown") from None
        return cls.of(edges, nodes.values())

    def to_json(self) -> str:
        """The same as `to_frame`, as a JSON list of objects."""
        return json.dumps(self.to_frame().to_dicts(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The graph that `to_json` wrote. Raises LineageError."""
        try:
            return cls.from_frame(pl.DataFrame(json.loads(text), schema=FRAME_SCHEMA, orient="row"))
        except (ValueError, TypeError, pl.exceptions.PolarsError):
            raise LineageError("the text is not a lineage that to_json wrote") from None


def _order(edge: Edge) -> tuple[str, ...]:
    # Texts compare faster than columns, which would make tuples of themselves each time.
    origin, target = edge.origin, edge.target
    return origin.asset, origin.column, target.asset, target.column, edge.kind, edge.how, edge.step or ""


def _node_cells(node: Node) -> tuple[str, str, PrivacyClass | None, bool]:
    return node.ref.asset, node.ref.column, node.privacy, node.is_constant
