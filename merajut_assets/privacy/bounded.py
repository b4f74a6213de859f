"""The search of a lattice that is too large to be held: a good generalisation, and how far from the best it is.

Belongs here: finding a node under a budget of evaluations, and a lower bound over all nodes of any number of
attributes. Does not belong here: the search that proves the optimum of a smaller lattice (`lattice`), how
classes are judged (`classes`, `models`), what they cost (`metrics`).

Descents find the node: from a feasible one, level after level is lowered, the one first that gains most per
bit of information it reveals (or most at all), as long as the result is feasible and costs no more. From the
best node one level at a time is raised again, and the others descend into the room that makes.

Boxes bound it: a box is all nodes between a lowest and a highest one. Each level of the lowest is raised past
those at which the highest, with this one attribute lowered, loses more rows than allowed: every node of the
box at that level is finer and loses them, too (`Model.lost`: exact for models that are not monotone). What is
left costs at least what the lowest node costs without suppression, and what the rows cost that the highest
node suppresses, and with it every finer one. The box with the least bound is split until the budget is spent;
no node of the lattice is below the least bound then left. With many attributes boxes rise slowly; what groups of
attributes cost at the least, each group by itself, adds up, and is where they start. When the bound is the
value of the best node, the optimum is proved after all.

The budget counts evaluations, not seconds: the result depends on the data alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from merajut_assets.privacy.classes import Grouping, Node, Verdict, base_grouping, count, group, judge
from merajut_assets.privacy.lattice import (
    BOUND,
    Solution,
    lattice_size,
    nothing_to_publish,
    terms_of,
    tuples_of,
    value_of,
)
from merajut_assets.privacy.metrics import ClassMetric, Entropy, Floats, Loss, Metric, SeparableMetric
from merajut_assets.privacy.models import AtLeast
from merajut_assets.privacy.problem import Flags, Problem

# Evaluations at the most; fewer where each has to look at many tuples, but several for every level at least.
MOST_CHECKS = 4_000
TUPLES_LOOKED_AT = 40_000_000
CHECKS_PER_LEVEL = 4
# The share of the budget after which the bound is looked for.
SHARE_FOR_THE_NODE = 0.5


@dataclass(frozen=True, eq=False)
class _Checked:
    """A node that was evaluated. `value`: infinite where it is not feasible. `blame`: the requirement that it and
    all finer nodes miss. `has_lost`: whether there are rows that every finer node suppresses. `finer`, `coarser`:
    lower bounds for all finer and all coarser nodes, by the sizes of classes."""

    value: float
    suppressed: int
    blame: str | None
    has_lost: bool
    finer: float
    coarser: float


class BoundedSearch:
    """See the module. All nodes here have a level for every attribute."""

    def __init__(self, problem: Problem, metric: Metric) -> None:
        self.problem, self.metric = problem, metric
        self.places = range(len(problem.attributes))
        self.lowest: Node = (0,) * len(self.places)
        self.highest: Node = tuple(attribute.levels - 1 for attribute in problem.attributes)
        self.parent = base_grouping(problem)
        asked = [r.model.minimum for r in problem.requirements if isinstance(r.model, AtLeast)]
        self.least = max([1, *asked])
        self.checked: dict[Node, _Checked] = {}
        self.terms_below: dict[Node, Floats] = {}
        self.splits = 0
        levels = sum(attribute.levels for attribute in problem.attributes)
        self.budget = max(CHECKS_PER_LEVEL * levels, min(MOST_CHECKS, TUPLES_LOOKED_AT // problem.tuples))
        # Where the terms of each attribute begin in an array of all of them.
        self.starts = np.cumsum([0, *(attribute.levels for attribute in problem.attributes[:-1])])
        separable = metric if isinstance(metric, SeparableMetric) else Loss()
        self.terms = np.concatenate(separable.terms(self.problem.prepared))
        self.solution = Solution(lattice_size=lattice_size(problem), optimal=False)

    def run(self) -> Solution:
        best = self.solution
        if (blame := self.check(self.highest).blame) is not None:
            best.optimal, best.nodes_checked = True, 1
            best.pruned = {blame: best.lattice_size - 1} if best.lattice_size > 1 else {}
            return best
        self.lowest = self._lowest(self.lowest, self.highest)
        # All nodes from here on are coarser than this one, and are made from its classes.
        base, self.parent = self.parent, group(self.problem, self.lowest, self.parent)
        count(self.parent, base)
        self._find(int(self.budget * SHARE_FOR_THE_NODE))
        best.lower_bound = self._least_bound()
        best.nodes_checked = len(self.checked)
        best.optimal = best.lower_bound >= best.metric
        if best.optimal and (rest := best.lattice_size - best.nodes_checked):
            best.pruned = {BOUND: rest}
        return best

    # ── one node ─────────────────────────────────────────────────────────────────────────────

    def check(self, node: Node) -> _Checked:
        """Evaluate a node, once, and offer it as the solution."""
        if (known := self.checked.get(node)) is not None:
            return known
        problem, metric = self.problem, self.metric
        grouping = group(problem, node, self.parent)
        verdict = judge(problem, grouping, self.parent)
        value, finer, coarser = float("inf"), 0.0, 0.0
        gone = _gone(grouping, verdict)
        if verdict.blame is None:
            if verdict.suppressed <= problem.allowed:
                suppressed = tuples_of(problem, grouping, verdict.failing) if verdict.suppressed else None
                value = value_of(problem, metric, grouping, verdict, terms_of(problem, metric, suppressed))
                self.solution.offer(grouping, verdict, value, suppressed, metric)
            if isinstance(metric, ClassMetric):
                finer = metric.finer(int(grouping.rows[gone].sum()), self.least, problem.rows)
        if isinstance(metric, ClassMetric):
            coarser = metric.coarser(grouping.rows, self.least, problem.rows)
        self.checked[node] = _Checked(value, verdict.suppressed, verdict.blame, bool(gone.any()), finer, coarser)
        return self.checked[node]

    def _is_spent(self, budget: int) -> bool:
        return len(self.checked) + self.splits >= budget

    # ── a good node ──────────────────────────────────────────────────────────────────────────

    def _find(self, budget: int) -> None:
        ratings = self._ratings()
        for rating in ratings:
            self._descend(self.highest, rating, budget)
        tried: set[Node] = set()
        while (node := self.solution.levels) is not None and node not in tried:
            tried.add(node)
            self._improve(node, ratings, budget)

    def _ratings(self) -> list[Floats]:
        """How soon an attribute is to be lowered from each level, entry by entry of `terms`: by what that gains
        per bit that it reveals, and by what it gains."""
        revealed, gained = self._steps(self._revealed()), self._steps(self.terms)
        return [gained / np.maximum(revealed, 1e-9), gained]

    def _revealed(self) -> Floats:
        """The bits per row that each level hides, entry by entry of `terms`."""
        return Entropy().values(self.problem.prepared) / self.problem.rows

    def _steps(self, terms: Floats) -> Floats:
        steps = np.diff(terms, prepend=0.0)
        steps[self.starts] = 0.0
        return np.asarray(steps)

    def _descend(self, node: Node, rating: Floats, budget: int, raised: int | None = None) -> None:
        """Lower levels from `node` on, but that of the `raised` attribute. An attribute that cannot be lowered from
        one node of the way is left as it is: further down it rarely can."""
        here = self.check(node)
        left = [place for place in self.places if place != raised]
        while left:
            left = [place for place in left if node[place] > self.lowest[place]]
            left.sort(key=lambda place: (-rating[self.starts[place] + node[place]], place))
            for place in list(left):
                if self._is_spent(budget):
                    return
                lowered = _at(node, place, node[place] - 1)
                found = self.check(lowered)
                is_nearer = here.value < float("inf") or (found.blame is None and found.suppressed < here.suppressed)
                if found.value <= here.value and is_nearer:
                    node, here = lowered, found
                    break
                left.remove(place)

    def _improve(self, node: Node, ratings: list[Floats], budget: int) -> None:
        """Raise single levels of the best `node` and descend from there, until a better one is found."""
        raises = [(place, level) for place in self.places for level in range(node[place] + 1, self.highest[place] + 1)]

        def cost(step: tuple[int, int]) -> tuple[float, int, int]:
            place, level = step
            start = self.starts[place]
            return float(self.terms[start + level] - self.terms[start + node[place]]), place, level

        for place, level in sorted(raises, key=cost):
            for rating in ratings:
                if self._is_spent(budget):
                    return
                self._descend(_at(node, place, level), rating, budget, raised=place)
                if self.solution.levels != node:
                    return

    # ── a lower bound ────────────────────────────────────────────────────────────────────────

    def _least_bound(self) -> float:
        """No node of the lattice has a value below the number returned: that of the best node if it is proved to be
        the best, infinity if it is proved that none is feasible."""
        floor = self._sum_of_groups() if isinstance(self.metric, SeparableMetric) else 0.0
        boxes = [(self._bound(self.lowest, self.highest, floor), self.lowest, self.highest)]
        while boxes:
            bound, low, high = boxes[0]
            if self._is_reached(bound):
                break
            if self._is_spent(self.budget):
                least = self._value(bound)
                return max(least - self.metric.tie(least), 0.0)
            heapq.heappop(boxes)
            self.check(low)
            self._push_parts(boxes, bound, low, high)
        return self.solution.metric

    def _sum_of_groups(self) -> float:
        """A lower bound of the sum of terms: the attributes are taken in groups, each by itself, the others being at
        their highest levels. More and more at a time, for which the budget lasts less and less; the best counts."""
        bits = [float(steps.sum()) for steps in np.split(self._steps(self._revealed()), self.starts[1:])]
        order = sorted(self.places, key=lambda place: (-bits[place], place))
        best, size = 0.0, 2
        sizes = []
        while size < len(order):
            sizes.append(size)
            size *= 2
        for number, size in enumerate(sizes):
            until = self._share(self.budget, len(sizes) + 1 - number)
            # Attributes that reveal much are spread over the groups.
            groups = [order[first :: -(-len(order) // size)] for first in range(-(-len(order) // size))]
            total = 0.0
            for place, members in enumerate(groups):
                total += self._least_of_group(members, self._share(until, len(groups) - place))
            best = max(best, total)
        return best

    def _share(self, budget: int, parts: int) -> int:
        """Where the budget stands when one of so many equal parts of what is left is spent."""
        used = len(self.checked) + self.splits
        return used + max(budget - used, 0) // parts

    def _least_of_group(self, members: list[int], budget: int) -> float:
        """A lower bound of the sum of the terms of the attributes `members`."""
        inside = np.isin(self.places, members)
        low = tuple(np.where(inside, self.lowest, self.highest).tolist())
        boxes = [(self._bound(low, self.highest, 0.0, inside), low, self.highest)]
        while boxes:
            bound, low, high = boxes[0]
            if self._is_spent(budget) or self.check(low).blame is None:
                return bound
            heapq.heappop(boxes)
            self._push_parts(boxes, bound, low, high, inside)
        return float("inf")

    def _push_parts(
        self, boxes: list[tuple[float, Node, Node]], bound: float, low: Node, high: Node, inside: Flags | None = None
    ) -> None:
        self.splits += 1
        for part in self._split(low, high) if low != high else []:
            raised = self._bound(*part, bound, inside)
            if inside is not None or not self._is_reached(raised):
                heapq.heappush(boxes, (raised, *part))

    def _is_reached(self, bound: float) -> bool:
        best = self.solution.metric
        return self.solution.levels is not None and self._value(bound) >= best - self.metric.tie(best)

    def _value(self, bound: float) -> float:
        if isinstance(self.metric, SeparableMetric):
            weights = sum(attribute.weight for attribute in self.problem.attributes)
            return float(self.metric.finish(np.asarray(bound), weights))
        return bound

    def _bound(self, low: Node, high: Node, bound: float, inside: Flags | None = None) -> float:
        """A lower bound for the nodes between `low` and `high`, of which `bound` is one already: of the sum of the
        terms (of the attributes `inside`), or of the value of a metric that has none."""
        above = self.check(high)
        if isinstance(self.metric, ClassMetric):
            return max(bound, above.finer, self.check(low).coarser)
        terms = (self._terms_below(high) if above.has_lost else self.terms)[self.starts + low]
        return max(bound, float(terms.sum() if inside is None else terms[inside].sum()))

    def _terms_below(self, high: Node) -> Floats:
        """The terms of all attributes and levels under the rows that all nodes below `high` suppress."""
        assert isinstance(self.metric, SeparableMetric)
        if high not in self.terms_below:
            grouping = group(self.problem, high, self.parent)
            gone = _gone(grouping, judge(self.problem, grouping, self.parent))
            lost = np.flatnonzero(tuples_of(self.problem, grouping, gone))
            self.terms_below[high] = np.concatenate(self.metric.terms(self.problem.prepared, lost))
        return self.terms_below[high]

    def _split(self, low: Node, high: Node) -> list[tuple[Node, Node]]:
        """Two boxes that hold all nodes of this one that may be feasible: with one attribute at its lowest level, or
        above. It is the one of which one more level costs most."""
        steps = self.terms[self.starts + np.minimum(np.array(low) + 1, high)] - self.terms[self.starts + low]
        steps[np.array(low) == high] = -1.0
        place = int(steps.argmax())
        parts = [(_at(low, place, low[place] + 1), high)]
        lowered = _at(high, place, low[place])
        if self.check(lowered).blame is None:
            parts.append((self._lowest(low, lowered), lowered))
        return parts

    def _lowest(self, low: Node, high: Node) -> Node:
        """`low`, each level raised to the first at which `high`, lowered there, loses no more than allowed."""
        levels = list(low)

        def is_lost(place: int, level: int) -> bool:
            return self.check(_at(high, place, level)).blame is not None

        for place in self.places:
            if low[place] == high[place] or not is_lost(place, low[place]):
                continue
            levels[place] = _first(low[place] + 1, high[place], lambda level: not is_lost(place, level))  # noqa: B023
        return tuple(levels)


def _gone(grouping: Grouping, verdict: Verdict) -> Flags:
    """The classes of which every finer node suppresses all rows."""
    return np.asarray((verdict.lost == grouping.rows) & (grouping.rows > 0))


def _at(node: Node, place: int, level: int) -> Node:
    return (*node[:place], level, *node[place + 1 :])


def _first(first: int, last: int, holds: Callable[[int], bool]) -> int:
    """The first of the numbers from `first` to `last` at which `holds` does, which it does at the last."""
    while first < last:
        middle = (first + last) // 2
        if holds(middle):
            last = middle
        else:
            first = middle + 1
    return first


def bounded_search(problem: Problem, metric: Metric) -> Solution:
    """A good feasible node of a lattice of any size, and a lower bound of the metric over all nodes.

    `optimal` only where the bound is reached, or where it is proved that there is no feasible node; without
    either, `levels` is None when none was found.
    """
    if problem.rows == 0:
        return nothing_to_publish(problem)
    return BoundedSearch(problem, metric).run()
