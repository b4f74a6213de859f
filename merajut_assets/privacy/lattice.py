"""The search for the generalisation that costs least, over one level per attribute for all rows.

Belongs here: the exact optimum of a metric over all nodes of the lattice, and the proof of it. Does not
belong here: how classes are judged (`classes`, `models`), what they cost (`metrics`), lattices that are too large
for it (`bounded`), frames, labels.

Why it is exact. A node leaves the search in one of three ways only:
- it was evaluated;
- a coarser node, or a projection on fewer attributes, shows that every node below has to suppress more
  rows than allowed (`Model.lost`: exact for models that are not monotone, too);
- a lower bound of its value exceeds the best value found. Bounds come from the terms of the metric
  without suppression, from rows that a coarser node had to suppress (and all finer nodes with it), and,
  for metrics of class sizes, from the classes of finer nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from math import prod

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.classes import Grouping, Node, Verdict, base_grouping, count, group, judge, keys_of
from merajut_assets.privacy.metrics import ClassMetric, Metric, SeparableMetric
from merajut_assets.privacy.models import AtLeast
from merajut_assets.privacy.problem import Flags, Integers, Problem

Floats = npt.NDArray[np.float64]

# What an exact search can hold; a larger lattice is for `bounded`.
MAXIMUM_NODES = 5_000_000
# Groupings that are kept to make coarser ones from, in cells of 8 bytes.
CACHED_CELLS = 32_000_000
# By how much a grouping must be smaller than what it was made from to be worth keeping.
SMALLER = 1.5
# From how many nodes on, and from how many nodes times tuples, projections on two and on three attributes are tried.
MANY_NODES = 100
COSTLY_NODES = 50_000_000
BOUND = "bound"


@dataclass
class Solution:
    """The best node found and what is proved of it: no node has a metric below `lower_bound`.

    `optimal`: it is proved to be the best one, or, without `levels`, that there is none. `suppressed` (tuples,):
    which tuples are; None where none is. `pruned`: nodes that were not evaluated, by the requirement that none
    of them can meet, or `bound`.
    """

    levels: Node | None = None
    metric: float = float("inf")
    suppressed_rows: int = 0
    suppressed: Flags | None = None
    lattice_size: int = 0
    nodes_checked: int = 0
    pruned: dict[str, int] = field(default_factory=dict)
    lower_bound: float = float("inf")
    optimal: bool = True
    rank: tuple[int, int, Node] = (0, 0, ())

    def offer(
        self, grouping: Grouping, verdict: Verdict, value: float, suppressed: Flags | None, metric: Metric
    ) -> None:
        """Take the feasible node of `grouping`, at which the flagged tuples are `suppressed`, for the best one, if
        it is. Equal values: fewer suppressed rows, then more classes, then a fixed order."""
        classes = int(np.count_nonzero(~verdict.failing & (grouping.rows > 0)))
        rank = (verdict.suppressed, -classes, grouping.node)
        if self.levels is not None:
            tie = metric.tie(self.metric)
            if value > self.metric + tie or (value >= self.metric - tie and rank >= self.rank):
                return
        self.levels, self.metric, self.suppressed_rows, self.rank = grouping.node, value, verdict.suppressed, rank
        self.suppressed = suppressed


class LatticeTooLarge(ValueError):
    """The lattice has more nodes than the exact search can hold."""


class Search:
    """Best-first search over chains.

    `bound[node]` never exceeds the node's metric. The next chain starts at the open node with the least
    bound and climbs by least bound; a binary search finds where it becomes feasible. That is a rule of
    thumb where suppression makes feasibility not monotone; what leaves the search never is.
    """

    def __init__(self, problem: Problem, metric: Metric) -> None:
        self.problem = problem
        self.metric = metric
        # Attributes with a single level are no dimension of the lattice: arrays have 64 dimensions at most.
        self.free = [place for place, attribute in enumerate(problem.attributes) if attribute.levels > 1] or [0]
        self.shape = tuple(problem.attributes[place].levels for place in self.free)
        size = lattice_size(problem)
        if is_too_large(problem):
            raise LatticeTooLarge(
                f"the lattice has {size:.3g} nodes, more than the {MAXIMUM_NODES:,} that an exact search can hold; "
                "use fewer levels or fewer quasi-identifiers"
            )
        self.strides = [int(np.prod(self.shape[place + 1 :], dtype=np.int64)) for place in range(len(self.shape))]
        self.weights = sum(attribute.weight for attribute in problem.attributes)
        self.base = base_grouping(problem)
        self.cached = [self.base]
        self.cached_nodes = np.zeros((64, len(problem.attributes)), dtype=np.int64)
        self.cached_sizes = np.full(64, problem.tuples)
        self.cached_cells = 0
        # Nothing smaller is ever published, whatever counts as a subject.
        asked = [r.model.minimum for r in problem.requirements if isinstance(r.model, AtLeast)]
        self.least = max([1, *asked])
        self.bound = self._first_bounds()
        self.open = np.ones(self.shape, dtype=bool)
        self.flat_bound, self.flat_open = self.bound.reshape(-1), self.open.reshape(-1)
        self.solution = Solution(lattice_size=size)

    def run(self) -> Solution:
        self._prune_projections(1)
        before = int(self.open.sum())
        # More attributes at a time cost more than they save unless many nodes are left; three, unless these are
        # costly and two did not do.
        if before > MANY_NODES:
            self._prune_projections(2)
        if before > (after := int(self.open.sum())) and after * self.problem.tuples > COSTLY_NODES:
            self._prune_projections(3)
        while (start := self._next()) is not None:
            self._search_chain(self._chain(start))
        best = self.solution
        best.lower_bound = best.metric
        if left := int(self.open.sum()):
            best.pruned[BOUND] = left
        return best

    def prune(self) -> None:
        """Close every node whose projection on one or two attributes already loses too much."""
        for width in (1, 2):
            self._prune_projections(width)

    # ── bounds ───────────────────────────────────────────────────────────────────────────────

    def _first_bounds(self) -> Floats:
        if isinstance(self.metric, SeparableMetric):
            return self._combined(self.metric.terms(self.problem.prepared), tuple(levels - 1 for levels in self.shape))
        assert isinstance(self.metric, ClassMetric)
        # As many classes as the halves of the attributes allow: each is a pair of a class of either half.
        half = len(self.free) // 2
        few = np.multiply.outer(self._classes_of(self.free[:half]), self._classes_of(self.free[half:]))
        classes = np.minimum(few.reshape(self.shape), self.problem.tuples)
        rows = self.problem.rows
        return np.maximum(self.metric.few(classes, rows), self.metric.finer(0, self.least, rows))

    def _classes_of(self, places: list[int]) -> Floats:
        """Per combination of levels of the attributes in `places` the number of classes (levels, …)."""
        shape = [self.problem.attributes[place].levels for place in places]
        numbers = np.ones(shape)
        finest = self._projected(places, (0,) * len(places), self.base)
        made = {(0,) * len(places): finest}
        for levels in np.ndindex(*shape):
            if any(levels):
                place = next(place for place, level in enumerate(levels) if level)
                below = made[(*levels[:place], levels[place] - 1, *levels[place + 1 :])]
                made[levels] = self._projected(places, levels, below)
            numbers[levels] = made[levels].size
        return numbers

    def _projected(self, places: list[int], levels: Node, parent: Grouping) -> Grouping:
        node = [attribute.levels for attribute in self.problem.attributes]
        for place, level in zip(places, levels, strict=True):
            node[place] = level
        return group(self.problem, tuple(node), parent)

    def _combined(self, terms: list[Floats], top: Node) -> Floats:
        """The values that `terms` add up to at all nodes at or below `top` (an array of top + 1 per side)."""
        assert isinstance(self.metric, SeparableMetric)
        fixed = sum(float(terms[place][0]) for place in range(len(terms)) if place not in self.free)
        total: Floats = np.asarray(fixed)
        for place, level in zip(self.free, top, strict=True):
            total = np.add.outer(total, terms[place][: level + 1])
        return self.metric.finish(total, self.weights)

    def _raise_finer(self, number: int, lost: int, terms: list[Floats] | None) -> None:
        """Every node at or below suppresses these rows at least, `lost` in number, under which the metric has these
        `terms`, if any: their bounds rise."""
        node = self.node_at(number)
        box = tuple(slice(0, level + 1) for level in node)
        if terms is not None:
            raised = self._combined(terms, node)
        else:
            assert isinstance(self.metric, ClassMetric)
            raised = np.asarray(self.metric.finer(lost, self.least, self.problem.rows))
        np.maximum(self.bound[box], raised, out=self.bound[box])

    def _raise_coarser(self, number: int, sizes: Integers) -> None:
        if isinstance(self.metric, ClassMetric):
            box = tuple(slice(level, None) for level in self.node_at(number))
            raised = self.metric.coarser(sizes, self.least, self.problem.rows)
            np.maximum(self.bound[box], raised, out=self.bound[box])

    # ── the lattice ──────────────────────────────────────────────────────────────────────────

    def node_at(self, number: int) -> Node:
        """Levels of the free attributes."""
        levels = []
        for stride in self.strides:
            level, number = divmod(number, stride)
            levels.append(level)
        return tuple(levels)

    def full_node(self, number: int) -> Node:
        """A level for every attribute, those with a single level included."""
        levels = [0] * len(self.problem.attributes)
        for place, level in zip(self.free, self.node_at(number), strict=True):
            levels[place] = level
        return tuple(levels)

    def close(self, box: tuple[slice, ...], rule: str) -> None:
        """Take the nodes of a box of levels out of the search, because of a requirement of this name."""
        inside = self.open[box]
        if closed := int(np.count_nonzero(inside)):
            self.solution.pruned[rule] = self.solution.pruned.get(rule, 0) + closed
            inside[...] = False

    def _prune_projections(self, width: int) -> None:
        """Close every node whose projection on `width` attributes already loses too much; of several attributes, too
        many rows, for other counts take longer than they save."""
        if len(self.shape) <= width:
            return
        for chosen in combinations(range(len(self.shape)), width):
            others = tuple(place for place in range(len(self.shape)) if place not in chosen)
            needed: Flags = np.asarray(self.open.any(axis=others))
            if not needed.any():
                return
            places = [self.free[place] for place in chosen]
            finest = tuple(int(levels.min()) for levels in np.nonzero(needed))
            base = self._projected(places, finest, self.base)
            loses = self._loses if width == 1 else self._has_too_small
            if loses(base, self.base) is None:
                continue  # then no coarser combination loses more
            if width == 1 and base.counted is None and self.problem.sources:
                # Judging may have stopped before anything but rows was counted; coarser ones are made from this.
                count(base, self.base)
            # From coarse to fine, so that one combination settles all finer ones.
            for combination in sorted(map(tuple, np.argwhere(needed).tolist()), key=sum, reverse=True):
                if not needed[combination]:
                    continue
                blame = loses(self._projected(places, combination, base), base)
                if blame is None:
                    continue
                below = tuple(slice(0, level + 1) for level in combination)
                needed[below] = False
                corner: list[slice] = [slice(None)] * len(self.shape)
                for place, cut in zip(chosen, below, strict=True):
                    corner[place] = cut
                self.close(tuple(corner), blame)

    def _loses(self, grouping: Grouping, parent: Grouping) -> str | None:
        """The requirement for which every node that has this projection loses too much."""
        return judge(self.problem, grouping, parent).blame

    def _has_too_small(self, grouping: Grouping, parent: Grouping) -> str | None:
        """The same, by the numbers of rows alone."""
        least, name = self.problem.asks_for_most
        return name if int(grouping.rows[grouping.rows < least].sum()) > self.problem.allowed else None

    def _next(self) -> int | None:
        number = int(np.where(self.flat_open, self.flat_bound, np.inf).argmin())
        return number if self.flat_open[number] and self.flat_bound[number] <= self._worst() else None

    def _worst(self) -> float:
        """The largest bound of a node that may still be as good as the best one found."""
        best = self.solution.metric
        return best + self.metric.tie(best)

    def _chain(self, start: int) -> list[int]:
        chain, here, worst = [start], list(self.node_at(start)), self._worst()
        while True:
            above: list[tuple[float, int, int]] = []
            for place, (level, levels, stride) in enumerate(zip(here, self.shape, self.strides, strict=True)):
                number = chain[-1] + stride
                if level + 1 < levels and self.flat_open[number] and (bound := self.flat_bound[number]) <= worst:
                    above.append((bound, number, place))
            if not above:
                return chain
            _, number, place = min(above)
            chain.append(number)
            here[place] += 1

    def _search_chain(self, chain: list[int]) -> None:
        low, high = 0, len(chain)
        while low < high:
            middle = (low + high) // 2
            # What was found on the way may have settled it.
            if self.flat_open[chain[middle]] and not self._check(chain[middle]):
                low = middle + 1
            else:
                high = middle

    # ── one node ─────────────────────────────────────────────────────────────────────────────

    def _parent(self, node: Node) -> Grouping:
        """The smallest known grouping that `node` can be made from."""
        known = len(self.cached)
        finer = (self.cached_nodes[:known] <= np.array(node)).all(axis=1)
        return self.cached[int(np.where(finer, self.cached_sizes[:known], self.problem.tuples + 1).argmin())]

    def _remember(self, grouping: Grouping, parent: Grouping) -> None:
        """Keep a grouping for coarser ones, if it is much smaller than its parent, as far as memory allows."""
        if grouping.size * SMALLER > parent.size or (self.problem.sources and grouping.counted is None):
            return
        cells = 3 * grouping.size + sum(held.cells for held in grouping.counted or ())
        if self.cached_cells + cells > CACHED_CELLS:
            return
        known = len(self.cached)
        if known == len(self.cached_sizes):
            self.cached_nodes = np.concatenate([self.cached_nodes, np.zeros_like(self.cached_nodes)])
            self.cached_sizes = np.concatenate([self.cached_sizes, np.zeros_like(self.cached_sizes)])
        self.cached_nodes[known], self.cached_sizes[known] = grouping.node, grouping.size
        self.cached.append(grouping)
        self.cached_cells += cells

    def _check(self, number: int) -> bool:
        problem, node = self.problem, self.full_node(number)
        parent = self._parent(node)
        grouping = group(problem, node, parent)
        verdict = judge(problem, grouping, parent)
        self.solution.nodes_checked += 1
        self.flat_open[number] = False
        self._raise_coarser(number, grouping.rows)
        self._remember(grouping, parent)
        if verdict.blame is not None:
            self.close(tuple(slice(0, level + 1) for level in self.node_at(number)), verdict.blame)
            return False
        feasible = verdict.suppressed <= problem.allowed
        terms: list[Floats] | None = None
        if feasible:
            suppressed = tuples_of(problem, grouping, verdict.failing) if verdict.suppressed else None
            terms = terms_of(problem, self.metric, suppressed)
            value = value_of(problem, self.metric, grouping, verdict, terms)
            self.solution.offer(grouping, verdict, value, suppressed, self.metric)
        gone = (verdict.lost == grouping.rows) & (grouping.rows > 0)
        if gone.any():
            if not feasible or not (gone | (grouping.rows == 0))[verdict.failing].all():
                terms = terms_of(problem, self.metric, tuples_of(problem, grouping, gone))
            self._raise_finer(number, int(grouping.rows[gone].sum()), terms)
        return feasible


def lattice_size(problem: Problem) -> int:
    """The number of nodes, however large."""
    return prod(attribute.levels for attribute in problem.attributes)


def is_too_large(problem: Problem) -> bool:
    """Whether the lattice is more than an exact search can hold."""
    return lattice_size(problem) > MAXIMUM_NODES


def tuples_of(problem: Problem, grouping: Grouping, flagged: Flags) -> Flags:
    """Which tuples (tuples,) are in the `flagged` classes."""
    keys, slots = keys_of(problem, grouping.node)
    flags = np.zeros(slots, dtype=bool)
    flags[keys[grouping.members[flagged]]] = True
    return flags[keys]


def terms_of(problem: Problem, metric: Metric, suppressed: Flags | None) -> list[Floats] | None:
    """The terms of a metric that has any when the tuples flagged in `suppressed` are suppressed."""
    if not isinstance(metric, SeparableMetric):
        return None
    return metric.terms(problem.prepared, None if suppressed is None else np.flatnonzero(suppressed))


def value_of(
    problem: Problem, metric: Metric, grouping: Grouping, verdict: Verdict, terms: list[Floats] | None
) -> float:
    """The metric of the node of `grouping`; `terms`: those under what is suppressed there."""
    if isinstance(metric, SeparableMetric):
        assert terms is not None
        total = sum((float(term[level]) for term, level in zip(terms, grouping.node, strict=True)), 0.0)
        return float(metric.finish(np.asarray(total), sum(attribute.weight for attribute in problem.attributes)))
    assert isinstance(metric, ClassMetric)
    sizes = grouping.rows[~verdict.failing & (grouping.rows > 0)]
    return metric.value(sizes, verdict.suppressed, problem.rows)


def nothing_to_publish(problem: Problem) -> Solution:
    """That a problem without rows has no solution: at no node is there a class of k."""
    size = lattice_size(problem)
    return Solution(lattice_size=size, pruned={problem.requirements[0].name: size})


def search(problem: Problem, metric: Metric) -> Solution:
    """The node with the least metric among all feasible ones; `levels` is None when there is none,
    as in a problem without rows.

    Raises LatticeTooLarge when the lattice cannot be held in memory.
    """
    if problem.rows == 0:
        return nothing_to_publish(problem)
    return Search(problem, metric).run()
