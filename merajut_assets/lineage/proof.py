"""The proof that no column which leaves tells about a person without a step that the policy allows for it.

Here belongs walking every path and what is said about it; what a step is good for is in `protection`, and whether its
check passed in `evidence`. Pure: nothing is read, and no value is ever seen.

There can be billions of paths. Whether one is protected depends only on what it still carries at each column, and of
that there are few possibilities: they are walked instead of the paths, in the order of flow, with the number of paths
behind each. That number is exact. Single paths are made only to show the offending ones.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from types import MappingProxyType
from typing import Any

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.evidence import Evidence
from merajut_assets.lineage.graph import ColumnRef, Edge, Kind, LineageGraph, Path
from merajut_assets.lineage.protection import (
    Burden,
    Protection,
    Standing,
    begun,
    carried_over,
    is_allowed_to_leave,
    stakeholder_of,
    why_not,
)
from merajut_assets.policies.stakeholder import StakeholderPolicy

MOST_SHOWN = 20
SOURCE, PUBLISHED, MART = "source", "published", "mart"
# Layers whose columns are declared by contracts before anything protects them.
_UNPROTECTED = (SOURCE, "raw", "conformed")
_MADE_BY_DBT = ("warehouse", MART, PUBLISHED)
_READ_AROUND = "a dbt model reads it before anything was protected; read a dataset or statistic of the stakeholder"


@dataclass(frozen=True)
class Offence:
    """A path by which something personal leaves, or something of which nobody knows what it is: then `privacy` is None.
    `path`: its edges in the direction of flow; empty when the column that leaves is itself the origin."""

    origin: ColumnRef
    privacy: PrivacyClass | None
    target: ColumnRef
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{' → '.join(map(str, self.columns))}: {self.reason}"

    @property
    def columns(self) -> tuple[ColumnRef, ...]:
        return (self.origin, *(edge.target for edge in self.path))

    def as_facts(self) -> dict[str, Any]:
        """For JSON: names only."""
        return {
            "target": str(self.target),
            "origin": str(self.origin),
            "privacy": self.privacy.value if self.privacy else None,
            "reason": self.reason,
            "path": [edge.as_facts() for edge in self.path],
        }


@dataclass(frozen=True)
class Proof:
    """What was found about some columns that leave.

    `paths`: how many lead to them from columns with a personal privacy class. `steps`: the protections these pass, each
    with the number of paths that it protects. `offending_paths`: how many pass none that counts, of which `offences`
    are the shortest. `unknown`: columns of which nobody knows where they come from, each with the shortest way on which
    it leaves. `around`: what dbt reads that no step has made, though nothing personal leaves by it: whatever stands
    there today, it was verified by nobody. `unverified`: for each asset whose protection counts, what is missing for it
    to be verified; empty as well when the proof was asked of no release.
    """

    columns: int
    paths: int
    steps: Mapping[Protection, int]
    offending_paths: int
    offences: tuple[Offence, ...]
    unknown: tuple[Offence, ...]
    around: tuple[Offence, ...]
    unverified: Mapping[str, str]
    release: str | None = None

    @property
    def holds(self) -> bool:
        return not (self.offending_paths or self.unknown or self.around or self.unverified)

    @property
    def faults(self) -> list[str]:
        """Why it does not hold, one line each; empty when it does."""
        more = self.offending_paths - len(self.offences)
        return [
            *map(str, self.offences),
            *([f"and {more:,} more paths"] if more else []),
            *map(str, self.unknown),
            *map(str, self.around),
            *(f"{asset}: {missing}" for asset, missing in self.unverified.items()),
        ]

    def __str__(self) -> str:
        """One line: what was proved, or how much speaks against it."""
        asked = "structure only, no release" if self.release is None else f"release {self.release}"
        walked = f"{self.columns:,} columns, {self.paths:,} paths, {len(self.steps)} privacy steps ({asked})"
        if self.holds:
            return f"proved: {walked}"
        against = {
            "offending paths": self.offending_paths,
            "columns of unknown origin": len(self.unknown),
            "ways around the protected layer": len(self.around),
            "datasets without evidence": len(self.unverified),
        }
        return f"not proved: {', '.join(f'{number:,} {what}' for what, number in against.items() if number)}; {walked}"

    def as_facts(self) -> dict[str, Any]:
        """For JSON: names and numbers only. Numbers of paths are texts: they may be larger than readers can hold."""
        return {
            "holds": self.holds,
            "release": self.release,
            "columns": self.columns,
            "paths": str(self.paths),
            "steps": [
                {"asset": one.asset, "step": one.step.value, "paths": str(paths)} for one, paths in self.steps.items()
            ],
            "offending_paths": str(self.offending_paths),
            "offences": [offence.as_facts() for offence in self.offences],
            "unknown": [offence.as_facts() for offence in self.unknown],
            "around": [offence.as_facts() for offence in self.around],
            "unverified": dict(self.unverified),
        }


def prove(
    graph: LineageGraph,
    targets: Collection[ColumnRef],
    policies: Mapping[str, StakeholderPolicy],
    *,
    row_level: Collection[str] = (),
    identities: Collection[ColumnRef] = (),
    unwithheld: Mapping[ColumnRef, str] = MappingProxyType({}),
    evidence: Evidence | None = None,
    shown: int = MOST_SHOWN,
) -> Proof:
    """Judge every path to the columns that leave.

    `targets`: all columns of marts and published files, as somebody else than the graph knows them: one that the
    graph has no lineage of fails. `row_level`: the mart assets declared to have a row per person. `identities`:
    columns that stand for one person, which count as direct identifiers. `unwithheld`: why a declared disclosure
    control does not count for a column, for the offences through it to say so. Without `evidence` only the structure
    is proved. At most `shown` offending paths are made.
    """
    walk = _Walk(graph, policies, frozenset(identities))
    ends = [
        (ref, burden, ways)
        for ref in sorted(targets)
        for burden, ways in walk.arrived.get(ref, {}).items()
        if burden.privacy.is_personal
    ]
    refused = [end for end in ends if not is_allowed_to_leave(end[1], end[0], mart_of(end[0]) in row_level)]
    steps: dict[Protection, int] = {}
    for _, burden, ways in ends:
        for protection in burden.rests_on:
            steps[protection] = steps.get(protection, 0) + ways.number
    relied_on = sorted({protection.asset for protection in steps})
    lacking = {} if evidence is None else {asset: evidence.lacking(asset) for asset in relied_on}
    offences = islice(walk.offences([(ref, burden) for ref, burden, _ in refused]), shown)
    return Proof(
        columns=len(set(targets)),
        paths=sum(ways.number for _, _, ways in ends),
        steps=dict(sorted(steps.items())),
        offending_paths=sum(ways.number for _, _, ways in refused),
        offences=tuple(_explained(offence, unwithheld) for offence in offences),
        unknown=_unknown(graph, targets),
        around=_around(graph, targets, walk),
        unverified={asset: missing for asset, missing in lacking.items() if missing is not None},
        release=None if evidence is None else evidence.release,
    )


def mart_of(ref: ColumnRef) -> str:
    """The mart that a column is part of, or a copy of; empty for others."""
    if ref.asset.startswith(f"{MART}/"):
        return ref.asset
    if ref.asset.startswith(f"{PUBLISHED}/"):
        return f"{MART}/{stakeholder_of(ref.asset)}/{ref.column.partition('.')[0]}"
    return ""


def _unknown(graph: LineageGraph, targets: Collection[ColumnRef]) -> tuple[Offence, ...]:
    """Columns that leave, or that these come from, of which nobody says where they come from: they have no edge that
    brings a value, are not declared to rest on nothing, and are no source's; or are a source's that nobody has
    classified. An edge that only decides about rows does not explain a value."""
    ways = _ways_out(graph, targets)
    reason = "where it comes from is not known"
    found = [
        Offence(ref, None, path[-1].target if path else ref, path, reason)
        for ref, path in ways.items()
        if ref not in graph.nodes
        or (
            not any(edge.kind is Kind.DIRECT for edge in graph.incoming.get(ref, ()))
            and not graph.nodes[ref].is_constant
            and (not ref.asset.startswith(f"{SOURCE}/") or graph.nodes[ref].privacy is None)
        )
    ]
    return tuple(sorted(found, key=lambda offence: (len(offence.path), offence.origin)))


def _explained(offence: Offence, unwithheld: Mapping[ColumnRef, str]) -> Offence:
    """An offence through a figure that is declared to be withheld and is not, with the reason."""
    because = [f"{ref} {unwithheld[ref]}" for ref in offence.columns if ref in unwithheld]
    return replace(offence, reason="; ".join([offence.reason, *because]))


def _around(graph: LineageGraph, targets: Collection[ColumnRef], walk: _Walk) -> tuple[Offence, ...]:
    """The edges into dbt from before the protected layer, one for each column read and model, that are on no offending
    path. Each with a shortest way on which it leaves, if it does."""
    ways = _ways_out(graph, targets)
    found: dict[tuple[ColumnRef, str], Offence] = {}
    for edge in graph.edges:
        if _layer(edge.origin) in _UNPROTECTED and _layer(edge.target) in _MADE_BY_DBT:
            is_told = edge.target in ways and any(one.privacy.is_personal for one in walk.arrived[edge.origin])
            way = (edge, *ways.get(edge.target, ()))
            offence = Offence(edge.origin, graph.nodes[edge.origin].privacy, way[-1].target, way, _READ_AROUND)
            key = (edge.origin, edge.target.asset)
            if not is_told and (key not in found or len(way) < len(found[key].path)):
                found[key] = offence
    return tuple(sorted(found.values(), key=lambda offence: (len(offence.path), offence.origin)))


def _layer(ref: ColumnRef) -> str:
    return ref.asset.partition("/")[0]


def _ways_out(graph: LineageGraph, targets: Collection[ColumnRef]) -> dict[ColumnRef, Path]:
    """The columns that leave and all that they come from, each with a shortest path on which it does."""
    ways: dict[ColumnRef, Path] = dict.fromkeys(sorted(targets), ())
    waiting = deque(ways)
    while waiting:
        ref = waiting.popleft()
        for edge in graph.incoming.get(ref, ()):
            if edge.origin not in ways:
                ways[edge.origin] = (edge, *ways[ref])
                waiting.append(edge.origin)
    return ways


# ── walking ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Ways:
    """How many paths arrive at a column with a burden, and how many edges the shortest has."""

    number: int
    shortest: int

    def __add__(self, other: _Ways) -> _Ways:
        return _Ways(self.number + other.number, min(self.shortest, other.shortest))


_End = tuple[ColumnRef, Burden]


class _Walk:
    """Everything personal, carried along the graph. `arrived`: by column, what arrives there."""

    def __init__(
        self, graph: LineageGraph, policies: Mapping[str, StakeholderPolicy], identities: Collection[ColumnRef]
    ) -> None:
        self._graph = graph
        self._policies = policies
        self._identities = identities
        self.begins: set[_End] = set()
        self.arrived: dict[ColumnRef, dict[Burden, _Ways]] = {}
        for ref in graph.topological_order:
            self.arrived[ref] = self._arrivals(ref)

    def _arrivals(self, ref: ColumnRef) -> dict[Burden, _Ways]:
        found: dict[Burden, _Ways] = {}
        for edge in self._graph.incoming.get(ref, ()):
            for burden, ways in self.arrived[edge.origin].items():
                left = carried_over(burden, edge, self._policies)
                further = _Ways(ways.number, ways.shortest + 1)
                found[left] = found[left] + further if left in found else further
        privacy = PrivacyClass.DIRECT_IDENTIFIER if ref in self._identities else self._graph.nodes[ref].privacy
        # A column that is declared personal is so from here on, though nothing personal may have come to it.
        if (
            privacy is not None
            and privacy.is_personal
            and _layer(ref) in _UNPROTECTED
            and not any(burden.standing is Standing.VALUE for burden in found)
        ):
            burden = begun(privacy)
            self.begins.add((ref, burden))
            found[burden] = _Ways(1, 0)
        return found

    def offences(self, ends: Collection[_End]) -> Iterator[Offence]:
        """The paths to some ends, shortest first, made one by one.

        A* search against the flow (Hart, Nilsson & Raphael 1968), led by the exact length of the shortest way back, so
        that every step taken belongs to a path that is shown."""
        turn = count()
        waiting: list[tuple[int, int, int, _End, _End, Path]] = [
            (self.arrived[ref][burden].shortest, 0, next(turn), (ref, burden), (ref, burden), ())
            for ref, burden in sorted(ends, key=lambda end: (end[0], str(end[1])))
        ]
        heapq.heapify(waiting)
        while waiting:
            _, taken, _, head, end, path = heapq.heappop(waiting)
            if head in self.begins:
                yield Offence(head[0], head[1].privacy, end[0], path, why_not(end[1], end[0]))
            for edge, before in self._before(head):
                shortest = self.arrived[before[0]][before[1]].shortest
                # Of equally long ones, that which is nearer to its beginning comes first.
                heapq.heappush(waiting, (shortest + 1 - taken, taken - 1, next(turn), before, end, (edge, *path)))

    def _before(self, head: _End) -> Iterator[tuple[Edge, _End]]:
        ref, burden = head
        for edge in self._graph.incoming.get(ref, ()):
            for arriving in self.arrived[edge.origin]:
                if carried_over(arriving, edge, self._policies) == burden:
                    yield edge, (edge.origin, arriving)
