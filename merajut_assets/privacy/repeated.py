"""The best release beside earlier ones: the search of `lattice`, with rows left out for the sake of the past.

Belongs here: which rows of any classes may be published so that the release holds by itself and together with
what was published before, and the generalisation for all rows that costs least under that. Does not belong here:
what an attacker with several releases can tell (`history`), and classes with levels of their own
(`local_repeated`).

Rows are left out one by one, so that a task here has a tuple per row. Leaving some out for company is not
monotone, so that nodes are tried in the order of their lower bounds until no bound is below the best value;
a node leaves early only where it, and with it every finer one, loses too much already as a release alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any

import numpy as np

from merajut_assets.privacy.classes import Grouping, base_grouping, class_numbers, judge
from merajut_assets.privacy.history import Diversity, Past, fewest_candidates, safe_together, with_candidates
from merajut_assets.privacy.lattice import BOUND, Search
from merajut_assets.privacy.metrics import Metric, Tally, tally
from merajut_assets.privacy.problem import Flags, Integers, Problem

HISTORY = "history"
NONE = -1


@dataclass(frozen=True)
class Beside:
    """What a release has to hold out beside: the past of its rows, their sensitive values, which rows (rows,)
    may be published at all, and what the attacker knows."""

    past: Past
    diversities: tuple[Diversity, ...]
    permitted: Flags
    presence_known: bool

    def safe(self, keys: Integers, kept: Flags, k: int) -> Flags:
        return safe_together(
            self.past, keys, kept & self.permitted, k, self.diversities, presence_known=self.presence_known
        )

    def safe_in_class(self, keys: Integers, kept: Flags, k: int) -> Flags:
        """As `safe`, but for the company that those who departed may need: each class on its own."""
        return with_candidates(
            self.past, keys, kept & self.permitted, k, self.diversities, presence_known=self.presence_known
        )


@dataclass
class RepeatedSolution:
    """The best release: the class of each row (rows,), -1 where it is left out, and the `levels` (rows, attributes)
    at which it is published; None without a solution. `candidates`: the fewest of any subject, over all releases, as
    the attacker is assumed and for one who also knows who was absent. `left_out`: rows that would stay in these
    classes if there were no past. `pruned`: nodes that were not evaluated, by rule."""

    levels: Integers | None = None
    class_of_row: Integers | None = None
    tally: Tally | None = None
    metric: float = float("inf")
    candidates: int = 0
    candidates_presence_known: int = 0
    left_out: int = 0
    lattice_size: int = 0
    nodes_checked: int = 0
    pruned: dict[str, int] = field(default_factory=dict)


def search_beside(problem: Problem, metric: Metric, beside: Beside, k: int) -> RepeatedSolution:
    """The node with the least metric among all that may be published beside the past (see `Beside`).

    `problem` has one tuple per row. Equal values: fewer rows left out, then the node itself decides.
    """
    if problem.rows == 0:
        return RepeatedSolution()
    lattice = Search(problem, metric)
    lattice.prune()
    best = RepeatedSolution(lattice_size=lattice.flat_open.size)
    for number in np.argsort(lattice.flat_bound, kind="stable").tolist():
        if lattice.flat_bound[number] > best.metric + metric.tie(best.metric):
            break
        if not lattice.flat_open[number]:
            continue
        lattice.flat_open[number] = False
        best.nodes_checked += 1
        node = lattice.full_node(number)
        keys = class_numbers(problem, node)
        alone = standing(problem, keys, None, k)
        if isinstance(alone, str):
            lattice.close(tuple(slice(0, level + 1) for level in lattice.node_at(number)), alone)
            continue
        kept = standing(problem, keys, beside, k)
        if not isinstance(kept, str):
            levels = np.tile(np.array(node, dtype=np.int64), (problem.tuples, 1))
            offer(best, problem, metric, levels, keys, kept, beside, int(alone.sum() - kept.sum()))
    best.pruned = dict(lattice.solution.pruned)
    if bounded := int(lattice.flat_open.sum()):
        best.pruned[BOUND] = bounded
    return best


def standing(problem: Problem, keys: Integers, beside: Beside | None, k: int) -> Flags | str:
    """The rows (rows,) that may be published in the classes `keys` (rows,), NONE where there is no class, beside the
    past if one is given; the name of the requirement for which more would have to be left out than allowed."""
    used, members, class_of = np.unique(keys, return_index=True, return_inverse=True)
    kept = keys != NONE
    while True:
        left = only(problem, kept)
        if left.rows == 0:
            return HISTORY
        rows = np.bincount(class_of, weights=left.counts, minlength=len(used)).astype(np.int64)
        classes = Grouping((), members, rows, None, class_of)
        verdict = judge(left, classes, base_grouping(left))
        if verdict.blame is not None:
            return verdict.blame
        safe = kept & ~(verdict.failing & (rows > 0))[class_of]
        if beside is not None:
            safe = beside.safe(keys, safe, k)
        if int(problem.rows - safe.sum()) > problem.allowed:
            return HISTORY if beside is not None else problem.requirements[0].name
        if (safe == kept).all():
            return safe
        kept = safe


def only(problem: Problem, kept: Flags) -> Problem:
    """The task with the `kept` rows (rows,) alone; what may still be suppressed becomes less."""
    if kept.all():
        return problem
    sources = tuple(
        replace(
            source,
            tuples=source.tuples[kept[source.tuples]],
            values=source.values[kept[source.tuples]],
            counts=source.counts[kept[source.tuples]],
        )
        for source in problem.sources
    )
    return replace(
        problem,
        counts=np.where(kept, problem.counts, 0),
        sources=sources,
        limit=problem.limit - int(problem.counts[~kept].sum()),
    )


def offer(
    best: RepeatedSolution,
    problem: Problem,
    metric: Metric,
    levels: Integers,
    keys: Integers,
    kept: Flags,
    beside: Beside,
    left_out: int,
) -> bool:
    """Take the `kept` rows in the classes `keys` at `levels` (rows, attributes) for the best release, if that is
    what they are; whether they are."""
    classes = np.where(kept, keys, NONE)
    found = tally(problem, levels, classes)
    value = metric.of(found, problem.attributes)
    if best.tally is not None:
        tie = metric.tie(best.metric)
        if value > best.metric + tie or (value >= best.metric - tie and found.suppressed >= best.tally.suppressed):
            return False
    best.levels, best.class_of_row, best.tally, best.metric, best.left_out = levels, classes, found, value, left_out
    best.candidates = fewest_candidates(beside.past, keys, kept, presence_known=beside.presence_known)
    best.candidates_presence_known = fewest_candidates(beside.past, keys, kept, presence_known=True)
    return True


def why_not_beside(problem: Problem, beside: Beside, k: int) -> dict[str, Any]:
    """`reason` and `feasible_with`, where the past is what leaves no solution."""
    kept = _standing_at_the_top(replace(problem, limit=problem.rows), beside, k)
    if isinstance(kept, str):
        return {
            "reason": "beside the earlier releases no row can be published, even at the coarsest levels",
            "feasible_with": {},
        }
    gone = int(problem.rows - kept.sum())
    share = (Decimal(gone) / Decimal(problem.rows)).quantize(Decimal("0.000001"), rounding=ROUND_CEILING)
    return {
        "reason": f"beside the earlier releases {gone} of {problem.rows} rows would have to be suppressed at the "
        f"coarsest levels and {problem.limit} may be",
        "feasible_with": {"suppression_limit": float(share)},
    }


def holds_beside(problem: Problem, beside: Beside, k: int) -> bool:
    """Whether the coarsest levels can be published beside the past."""
    return not isinstance(_standing_at_the_top(problem, beside, k), str)


def _standing_at_the_top(problem: Problem, beside: Beside, k: int) -> Flags | str:
    top = tuple(attribute.levels - 1 for attribute in problem.attributes)
    return standing(problem, class_numbers(problem, top), beside, k)
