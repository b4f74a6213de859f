"""The search for the generalisation that loses least, on integer arrays alone.

Belongs here: evaluating one node of the lattice (one level per attribute) and finding the
exact optimum of the metric over all nodes. Does not belong here: frames, labels, policies.

Vocabulary: a *tuple* is a distinct combination of quasi-identifier values with the number of
rows that carry it; a *node* is a vector of levels; a *requirement* asks each class for a number
of distinct values (subjects for k, sensitive values for distinct l). Rows of classes that miss
a requirement are suppressed; a node is feasible when these are within the limit and some row
is left.

Why pruning is exact: every requirement here can only be lost by splitting a class (a part has
no more rows, subjects or distinct values than the whole). So rows suppressed at a node are
suppressed at every finer node, and the infeasible nodes are closed downwards. Requirements
without this property (entropy, recursive, t) must not be given to this search.

The metric is ARX's normalised Loss (definition: `Attributes.metric`), computed from integer
sums, so that neither row order nor summation order changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Two metric values closer than this are one value; the smaller suppression then decides.
TIE = 1e-12
MAXIMUM_NODES = 5_000_000
# A key space of this many slots per tuple is counted directly; a larger one is sorted first.
SLOTS_PER_TUPLE = 8
SMALL_KEY_SPACE = 1 << 16
MAXIMUM_RADIX = 1 << 62


@dataclass(frozen=True)
class Attribute:
    """One quasi-identifier: per level its codes (tuples,), number of codes and cover per code;
    `domain` is the number of rows of its hierarchy, `first_level` the level that entry 0 is."""

    codes: tuple[Integers, ...]
    cover: tuple[Integers, ...]
    domain: int
    weight: float = 1.0

    @property
    def levels(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class Requirement:
    """Each class needs at least `minimum` distinct `values` (p,), value i belonging to tuple
    `tuples[i]`. Without `values` the rows themselves are counted."""

    name: str
    minimum: int
    tuples: Integers | None = None
    values: Integers | None = None


@dataclass(frozen=True)
class Problem:
    """Tuples with their row counts (tuples,), attributes, requirements, and the largest number
    of rows that may be suppressed."""

    attributes: tuple[Attribute, ...]
    counts: Integers
    requirements: tuple[Requirement, ...]
    limit: int

    @property
    def rows(self) -> int:
        return int(self.counts.sum())


@dataclass(frozen=True)
class Evaluation:
    """What one node costs. `suppressed` flags tuples (tuples,); `covered` per attribute is the sum of
    cover over all rows, a suppressed row counting the whole domain."""

    suppressed: Flags
    suppressed_rows: int
    feasible: bool


@dataclass
class Solution:
    """The optimum and its certificate: no node has a metric below `lower_bound`."""

    levels: tuple[int, ...] | None = None
    metric: float = float("inf")
    suppressed_rows: int = 0
    suppressed: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))
    covered: tuple[int, ...] = ()
    lattice_size: int = 0
    nodes_checked: int = 0
    pruned_by_requirement: int = 0
    pruned_by_bound: int = 0
    lower_bound: float = float("inf")


class LatticeTooLarge(ValueError):
    """The lattice has more nodes than the exact search can hold."""


def class_keys(problem: Problem, node: tuple[int, ...]) -> tuple[Integers, int]:
    """The class of each tuple at `node` as keys (tuples,) below a number of slots.

    Keys are mixed-radix numbers; where the radix would overflow 64 bits, or would leave far more
    slots than tuples, they are renumbered densely.
    """
    keys: Integers | None = None
    slots = 1
    tuples = len(problem.counts)
    for attribute, level in zip(problem.attributes, node, strict=True):
        size = len(attribute.cover[level])
        if size == 1:
            continue
        codes = attribute.codes[level]
        if keys is None:
            keys, slots = codes, size
            continue
        if slots > MAXIMUM_RADIX // size:
            distinct, keys = np.unique(keys, return_inverse=True)
            slots = len(distinct)
        keys = keys * size + codes
        slots *= size
    if keys is None:
        return np.zeros(tuples, dtype=np.int64), 1
    if slots > max(SLOTS_PER_TUPLE * tuples, SMALL_KEY_SPACE):
        distinct, keys = np.unique(keys, return_inverse=True)
        slots = len(distinct)
    return keys, slots


def distinct_per_class(problem: Problem, requirement: Requirement, keys: Integers, slots: int) -> Integers:
    """What `requirement` counts, per class slot (slots,)."""
    if requirement.values is None or requirement.tuples is None:
        return np.bincount(keys, weights=problem.counts, minlength=slots).astype(np.int64)
    values = requirement.values
    if not len(values):
        return np.zeros(slots, dtype=np.int64)
    width = int(values.max()) + 1
    if slots > MAXIMUM_RADIX // width:
        _, keys = np.unique(keys, return_inverse=True)
    pairs = keys[requirement.tuples] * width + values
    if slots * width <= max(SLOTS_PER_TUPLE * len(pairs), SMALL_KEY_SPACE):
        seen = np.zeros(slots * width, dtype=bool)
        seen[pairs] = True
        return np.asarray(seen.reshape(slots, width).sum(axis=1, dtype=np.int64))
    return np.bincount(np.unique(pairs) // width, minlength=slots)


def evaluate(problem: Problem, node: tuple[int, ...]) -> Evaluation:
    """Which tuples `node` suppresses, and whether that is within the limit."""
    keys, slots = class_keys(problem, node)
    failing = np.zeros(slots, dtype=bool)
    for requirement in problem.requirements:
        failing |= distinct_per_class(problem, requirement, keys, slots) < requirement.minimum
    suppressed = failing[keys]
    rows = int(problem.counts[suppressed].sum())
    return Evaluation(suppressed, rows, rows <= problem.limit and rows < problem.rows)


def covered(problem: Problem, levels: tuple[int, ...], suppressed: Flags) -> tuple[int, ...]:
    """Per attribute the sum of cover over all rows at `levels`; a suppressed row counts the domain."""
    kept = ~suppressed
    counts = problem.counts[kept]
    lost = problem.rows - int(counts.sum())
    return tuple(
        int((attribute.cover[level][attribute.codes[level][kept]] * counts).sum()) + lost * attribute.domain
        for attribute, level in zip(problem.attributes, levels, strict=True)
    )


def attribute_loss(covered_rows: float, rows: int, domain: int) -> float:
    """ARX's loss of one attribute: (sum of shares - n/domain) / (n - n/domain); 0 where only one value exists."""
    return (covered_rows - rows) / (rows * (domain - 1)) if domain > 1 else 0.0


def metric(losses: list[float], weights: list[float]) -> float:
    """Geometric mean of 1 + loss, minus 1; weights are exponents, normalised to sum 1."""
    logarithms = [weight * np.log1p(loss) for loss, weight in zip(losses, weights, strict=True)]
    return float(np.expm1(sum(logarithms) / sum(weights)))


def project(problem: Problem, chosen: tuple[int, ...]) -> Problem:
    """The same rows seen through the `chosen` attributes only; far fewer tuples."""
    attributes = [problem.attributes[number] for number in chosen]
    base = Problem(tuple(attributes), problem.counts, (), problem.limit)
    keys, _ = class_keys(base, (0,) * len(chosen))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    requirements = []
    for requirement in problem.requirements:
        if requirement.tuples is None or requirement.values is None or not len(requirement.values):
            requirements.append(requirement)
            continue
        width = int(requirement.values.max()) + 1
        pairs = np.unique(inverse[requirement.tuples] * width + requirement.values)
        requirements.append(Requirement(requirement.name, requirement.minimum, pairs // width, pairs % width))
    return Problem(
        tuple(
            Attribute(tuple(codes[first] for codes in attribute.codes), attribute.cover, attribute.domain)
            for attribute in attributes
        ),
        np.bincount(inverse, weights=problem.counts).astype(np.int64),
        tuple(requirements),
        problem.limit,
    )


class Search:
    """Exact optimum by best-first search over chains.

    `bound[node]` never exceeds the node's metric: at first the metric without any suppression, later
    raised by what a coarser evaluated node had to suppress. A node leaves the search when it has
    been evaluated, when a coarser node or a projection is infeasible, or when its bound exceeds the
    best metric found. The next chain starts at the open node with the least bound and climbs by
    least bound; a binary search finds where it becomes feasible.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # Attributes with a single level are no dimension of the lattice: arrays have 64 dimensions at most.
        self.free = [place for place, attribute in enumerate(problem.attributes) if attribute.levels > 1] or [0]
        self.shape = tuple(problem.attributes[place].levels for place in self.free)
        size = int(np.prod([float(levels) for levels in self.shape]))
        if size > MAXIMUM_NODES:
            raise LatticeTooLarge(
                f"the lattice has {size:.3g} nodes, more than the {MAXIMUM_NODES:,} that an exact search can hold; "
                "use fewer levels or fewer quasi-identifiers"
            )
        self.levels = np.indices(self.shape, dtype=np.int8).reshape(len(self.shape), size)
        self.strides = [int(np.prod(self.shape[place + 1 :], dtype=np.int64)) for place in range(len(self.shape))]
        self.weights = [attribute.weight for attribute in problem.attributes]
        self.bound = self._bounds(np.arange(size), np.zeros(len(problem.counts), dtype=bool))
        self.open = np.ones(size, dtype=bool)
        self.solution = Solution(lattice_size=size)

    def run(self) -> Solution:
        self._prune_projections(2)
        # Three attributes at a time cost more than they save unless many costly nodes are left.
        if self.open.sum() * len(self.problem.counts) > 5_000_000 and len(self.shape) > 3:
            self._prune_projections(3)
        while (start := self._next()) is not None:
            self._search_chain(self._chain(start))
        best = self.solution
        best.lower_bound = best.metric
        best.pruned_by_bound = int(self.open.sum())
        best.pruned_by_requirement = best.lattice_size - best.nodes_checked - best.pruned_by_bound
        return best

    def _bounds(self, nodes: Integers, suppressed: Flags) -> Floats:
        """Lower bounds of the metric at `nodes`, all of which suppress at least `suppressed`."""
        problem = self.problem
        rows = problem.rows
        kept = ~suppressed
        counts = problem.counts[kept]
        lost = rows - int(counts.sum())
        total = np.zeros(len(nodes))
        for place, attribute in enumerate(problem.attributes):
            logarithms = np.array(
                [
                    np.log1p(
                        attribute_loss(
                            int((cover[codes[kept]] * counts).sum()) + lost * attribute.domain, rows, attribute.domain
                        )
                    )
                    for codes, cover in zip(attribute.codes, attribute.cover, strict=True)
                ]
            )
            chosen = self.levels[self.free.index(place)][nodes] if attribute.levels > 1 else 0
            total += attribute.weight * logarithms[chosen]
        return np.asarray(np.expm1(total / sum(self.weights)))

    def _node(self, number: int) -> tuple[int, ...]:
        return tuple(int(level) for level in self.levels[:, number])

    def _full(self, number: int) -> tuple[int, ...]:
        """A node's level for every attribute, those with a single level included."""
        levels = [0] * len(self.problem.attributes)
        for place, level in zip(self.free, self._node(number), strict=True):
            levels[place] = level
        return tuple(levels)

    def _finer(self, number: int) -> Integers:
        """Open nodes at or below a node."""
        inside = self.open.reshape(self.shape)[tuple(slice(0, level + 1) for level in self._node(number))]
        places = np.nonzero(inside)
        numbers = np.zeros(len(places[0]), dtype=np.int64)
        for place, stride in zip(places, self.strides, strict=True):
            numbers += place * stride
        return numbers

    def _prune_projections(self, width: int) -> None:
        """Close every node whose projection on `width` attributes already suppresses too much."""
        places = range(len(self.shape))
        open_nodes = self.open.reshape(self.shape)
        for chosen in combinations(places, width):
            others = tuple(place for place in places if place not in chosen)
            needed: Flags = np.asarray(open_nodes.any(axis=others)) if others else open_nodes.copy()
            if not needed.any():
                return
            projection = project(self.problem, tuple(self.free[place] for place in chosen))
            # From coarse to fine, so that one infeasible combination settles all finer ones.
            for combination in sorted(map(tuple, np.argwhere(needed).tolist()), key=sum, reverse=True):
                if needed[combination] and not evaluate(projection, combination).feasible:
                    below = tuple(slice(0, level + 1) for level in combination)
                    needed[below] = False
                    corner: list[slice] = [slice(None)] * len(self.shape)
                    for place, cut in zip(chosen, below, strict=True):
                        corner[place] = cut
                    open_nodes[tuple(corner)] = False

    def _next(self) -> int | None:
        candidates = np.where(self.open, self.bound, np.inf)
        number = int(candidates.argmin())
        if not self.open[number] or candidates[number] > self.solution.metric + TIE:
            return None
        return number

    def _chain(self, start: int) -> list[int]:
        chain = [start]
        while True:
            here = self._node(chain[-1])
            above = [
                chain[-1] + stride
                for level, levels, stride in zip(here, self.shape, self.strides, strict=True)
                if level + 1 < levels
            ]
            above = [n for n in above if self.open[n] and self.bound[n] <= self.solution.metric + TIE]
            if not above:
                return chain
            chain.append(min(above, key=lambda n: (self.bound[n], n)))

    def _search_chain(self, chain: list[int]) -> None:
        low, high = 0, len(chain)
        while low < high:
            middle = (low + high) // 2
            if self._check(chain[middle]):
                high = middle
            else:
                low = middle + 1

    def _check(self, number: int) -> bool:
        result = evaluate(self.problem, node := self._full(number))
        self.solution.nodes_checked += 1
        if not result.feasible:
            self.open[self._finer(number)] = False
            return False
        self._offer(node, result)
        self.open[number] = False
        if result.suppressed_rows:
            finer = self._finer(number)
            if len(finer):
                self.bound[finer] = np.maximum(self.bound[finer], self._bounds(finer, result.suppressed))
        return True

    def _offer(self, node: tuple[int, ...], result: Evaluation) -> None:
        sums = covered(self.problem, node, result.suppressed)
        rows = self.problem.rows
        losses = [
            attribute_loss(sum_, rows, attribute.domain)
            for sum_, attribute in zip(sums, self.problem.attributes, strict=True)
        ]
        value = metric(losses, self.weights)
        best = self.solution
        if value > best.metric + TIE:
            return
        # Equal loss: fewer suppressed rows, then the finer generalisation, then a fixed order.
        tied = value >= best.metric - TIE and best.levels is not None
        if tied and (result.suppressed_rows, sum(node), node) >= (
            best.suppressed_rows,
            sum(best.levels or ()),
            best.levels or (),
        ):
            return
        best.levels, best.metric, best.suppressed_rows = node, value, result.suppressed_rows
        best.suppressed, best.covered = result.suppressed, sums


def search(problem: Problem) -> Solution:
    """The node with the least metric among all feasible ones; `levels` is None when there is none,
    as in a problem without rows.

    Raises LatticeTooLarge when the lattice cannot be held in memory.
    """
    if problem.rows == 0:
        return Solution()
    return Search(problem).run()
