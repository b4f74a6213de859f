"""Local recoding: every class is published at the finest levels that the data allow, on integer arrays alone.

Belongs here: finding classes with levels of their own and joining what is left over. Does not belong
here: one level vector for all rows (`lattice`), which level vectors are tried and in which order
(`local_nodes`), judging classes (`models`), frames and labels.

How: the level vectors (nodes) are visited from the cheapest to the dearest, finer ones always before
coarser ones. At each, the tuples that are not published yet are grouped; groups that satisfy every
model become classes, the others wait for a coarser node. What is left after the last node is
suppressed, where the policy allows it, or joined by classes that are taken back. Nodes are ordered
by what they cost per row; a second order weights each attribute with what a little more of the loss
that it has after the first would add to the metric.

What an attacker learns who knows this algorithm, the release and all quasi-identifiers:

- A record is published at the *first* published label, in the order of the nodes, that covers its
  values. The attacker can tell the class of every person from the published labels, and nothing
  finer. The label of a class is therefore *narrowed* by every published label inside it: a record
  whose values lie in the finer label would have been published there. The *narrowing rule*: the
  rows of a class whose values lie in no finer published label satisfy every model on their own.
  Visiting finer nodes first gives that by itself (all rows of a class are such rows); it restricts
  which classes may be taken back, only: those that no other published label still covers. People
  of the population are narrowed along, so that k-map and δ-presence count those whose values lead
  to the class, not all whom its label covers.
- k, k-map and δ-presence hold against this attacker. Models of sensitive values hold for every class, narrowed or
  not, and the attacker cannot look into a class. What they do not cover: the attacker who also reasons that a finer
  class was not published *because* its sensitive values failed. No search does that looks at sensitive values while
  it forms classes; a policy can ask that it does not look (`blind`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from merajut_assets.privacy.local_classes import NONE, Judge
from merajut_assets.privacy.local_leftovers import settle
from merajut_assets.privacy.local_nodes import NodeKeys, candidate_nodes, ordered
from merajut_assets.privacy.metrics import Floats
from merajut_assets.privacy.problem import Integers, Problem, Recoding

# Orders of the nodes that are tried; a third one rarely finds less loss.
ORDERS = 2
# Published tuples are left in the arrays until less than this share of them waits.
WAITING_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class _Attempt:
    """`place` (tuples,): the node, as its place in `nodes`, at which a tuple is published, or NONE."""

    nodes: Integers
    place: Integers
    metric: float


@dataclass
class _Best:
    """The best attempts so far: one that keeps the narrowing rule, and one that need not."""

    kept: _Attempt | None = None
    without: _Attempt | None = None
    passes: int = 0


def local_recoding(
    problem: Problem, optimum: tuple[int, ...] | None = None, *, narrowing_rule: bool = True
) -> Recoding | None:
    """Classes with levels of their own that satisfy `problem`, or None when none are found.

    `optimum`: the levels of the best full-domain generalisation, if one is known: the result never
    loses more than it. What is minimised is ARX's Loss under the attributes' weights. Deterministic, and
    independent of the order of rows.

    `figures`: `loss`, ARX's Loss without weights; `loss_without_narrowing_rule`, the same had the rule
    not been kept (parts of classes could then join what is left over); `nodes`, how many level vectors
    there were to visit; `passes`, how often. `narrowing_rule=False` gives that other result itself: for
    measuring it, never for publishing it.
    """
    if problem.rows == 0:
        return None
    judge = Judge(problem)
    nodes = candidate_nodes(problem)
    best = _Best()
    weights = judge.weights
    for _ in range(ORDERS):
        attempt = _attempt(judge, ordered(problem, nodes, weights), best)
        if attempt is None or attempt is not best.kept:
            break
        weights = dearer(judge, attempt.nodes, attempt.place)
    if optimum is not None:
        _refine(judge, nodes, np.array([optimum], dtype=np.int64), best)
    chosen = best.kept if narrowing_rule else best.without
    if chosen is None or best.kept is None or best.without is None:
        return None
    classes = judge.classes(chosen.nodes, chosen.place)
    figures: dict[str, float | int | bool | str] = {
        "loss": judge.loss(best.kept.nodes, best.kept.place),
        "loss_without_narrowing_rule": judge.loss(best.without.nodes, best.without.place),
        "nodes": len(nodes),
        "passes": best.passes,
    }
    return Recoding(np.where(problem.counts > 0, classes.of_tuple, NONE), classes.levels, figures)


def dearer(judge: Judge, nodes: Integers, place: Integers) -> Floats:
    """What a little more loss in each attribute adds to the logarithm of the metric (attributes,)."""
    return judge.weights / (1.0 + judge.losses(nodes, place))


def _attempt(judge: Judge, nodes: Integers, best: _Best) -> _Attempt | None:
    """What keeps the narrowing rule when `nodes` are visited in this order; `best` is brought up to date."""
    best.passes += 1
    place = publish(judge, nodes)
    kept: _Attempt | None = None
    for narrowing_rule in (True, False):
        settled = settle(judge, nodes, place, narrowing_rule)
        if settled is None:
            continue
        attempt = _Attempt(nodes, settled, judge.metric(nodes, settled))
        if narrowing_rule:
            kept = attempt
            if best.kept is None or attempt.metric < best.kept.metric:
                best.kept = attempt
        if best.without is None or attempt.metric < best.without.metric:
            best.without = attempt
    return kept


def _refine(judge: Judge, nodes: Integers, optimum: Integers, best: _Best) -> None:
    """Take the full-domain optimum (1, attributes) for what it is, and where it is not beaten yet, refine it."""
    plain = _attempt(judge, optimum, best)
    if plain is not None and plain is best.kept:
        finer = nodes[(nodes <= optimum).all(axis=1)]
        _attempt(judge, ordered(judge.problem, np.unique(np.vstack([finer, optimum]), axis=0), judge.weights), best)


def publish(judge: Judge, nodes: Integers) -> Integers:
    """The first of `nodes` at which each tuple's group satisfies every model, as its place, or NONE (tuples,)."""
    problem = judge.problem
    place = np.full(problem.tuples, NONE, dtype=np.int64)
    keys = NodeKeys(problem)
    # What is published stays in the arrays for a while: without rows, and flagged.
    rows = problem.counts.astype(np.float64)
    waiting = np.ones(problem.tuples, dtype=bool)
    left = problem.tuples
    for number, node in enumerate(nodes.tolist()):
        key, slots = keys.at(node)
        # Most groups have too few rows. A hash that too few rows share rules them out without sorting.
        slot = key if slots <= keys.slots else keys.hashed(key)
        promising = np.bincount(slot, weights=rows) >= judge.least_rows
        chosen = np.flatnonzero(promising[slot] & waiting)
        if not len(chosen):
            continue
        chosen = chosen[np.argsort(key[chosen], kind="stable")]
        starts = np.flatnonzero(np.diff(key[chosen], prepend=-1))
        lengths = np.diff(starts, append=len(chosen))
        enough = np.add.reduceat(rows[chosen], starts) >= judge.least_rows
        chosen, lengths = chosen[np.repeat(enough, lengths)], lengths[enough]
        if not len(chosen):
            continue
        failing = judge.failing(keys.tuples[chosen], np.cumsum(lengths) - lengths)
        published = chosen[np.repeat(~failing, lengths)]
        if not len(published):
            continue
        place[keys.tuples[published]] = number
        waiting[published], rows[published] = False, 0.0
        left -= len(published)
        if left == 0:
            break
        if left < WAITING_SHARE * len(waiting):
            keys.keep(waiting)
            rows = rows[waiting]
            waiting = np.ones(left, dtype=bool)
    return place
