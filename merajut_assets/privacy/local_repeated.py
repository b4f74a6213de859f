"""Local recoding beside earlier releases: classes with levels of their own that do not undo what was published.

Belongs here: forming classes in the sight of the past. Does not belong here: which rows of given classes may be
published beside it (`repeated`), what an attacker with several releases can tell (`history`), forming classes
without a past (`local`).

Classes are formed as without a past, by the same code and over the same level vectors, but a group of rows becomes
a class only if few of its rows would have to be left out of it for the sake of the past; the others wait for a
coarser level. Whatever was formed is then judged like one generalisation for all rows: rows leave, and classes that
miss a model without them, until everybody has enough candidates.

Why the candidates are right although levels differ. As in `local`, a person's values alone decide in which class the
person is: the first published label that covers them. Who leaves for the sake of the past leaves a class and joins
no other. So an attacker who knows the target's values at the time of each release knows the target's class in each
and, the target being part of these releases, nothing more: every subject that was in all of these classes is a
candidate, and they are what `history` counts. The narrowing rule stays kept, for leaving takes labels away and adds
none, and the rows that stay satisfy every model on their own.

What fine classes cost later: from a class of no more than k nobody may depart or move, or those who stay have too few
candidates ever after. Of 2,000 children of whom each month 5 % leave, 7 % are new and 3 % move, under k = 4, the
Loss of three months is 0.010, 0.064, 0.100 locally and 0.025, 0.049, 0.064 with one level for all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from merajut_assets.privacy.local import ORDERS, dearer, publish
from merajut_assets.privacy.local_classes import NONE, Classes, Judge
from merajut_assets.privacy.local_leftovers import settle
from merajut_assets.privacy.local_nodes import candidate_nodes, ordered
from merajut_assets.privacy.metrics import Floats, Metric
from merajut_assets.privacy.problem import Flags, Integers, Problem
from merajut_assets.privacy.repeated import Beside, RepeatedSolution, offer, only, standing

# The share of a group's rows that may have to leave: waiting for a coarser level costs the others more than that. Of
# the shares tried from 0 to 3/4, on worlds of 400 and 2,000 that change by a tenth each month, none lost less.
TOLERANCE = 0.5


def recode_beside(
    problem: Problem, metric: Metric, beside: Beside, k: int, best: RepeatedSolution
) -> dict[str, Any] | None:
    """Take a local recoding that costs less than `best` for the best release; `figures` of it, or None.

    `problem` has one tuple per row. Tried are classes from which at most half the rows have to leave, and, where these
    may come to lose too many, classes that lose no larger share than may be suppressed of all.
    """
    # Nobody has more candidates than where all rows are one class: who lacks them there stays out in any case.
    hopeful = beside.safe_in_class(np.zeros(problem.rows, dtype=np.int64), np.ones(problem.rows, dtype=bool), k)
    task = only(problem, hopeful)
    if task.limit < 0 or task.rows == 0:
        return None
    nodes, taken = candidate_nodes(task), False
    tolerances = (TOLERANCE, task.limit / task.rows) if beside.past.releases else (0.0,)
    for tolerance in tolerances:
        judge = _JudgeBeside(task, beside, k, tolerance)
        weights = judge.weights
        for _ in range(ORDERS):
            visited = ordered(task, nodes, weights)
            place = settle(judge, visited, publish(judge, visited), narrowing_rule=True)
            if place is None:
                break
            taken |= _offer(problem, metric, beside, k, judge.classes(visited, place), best)
            weights = dearer(judge, visited, place)
    return {"nodes": len(nodes)} if taken else None


def _offer(problem: Problem, metric: Metric, beside: Beside, k: int, classes: Classes, best: RepeatedSolution) -> bool:
    kept = standing(problem, classes.of_tuple, beside, k)
    if isinstance(kept, str):
        return False
    alone = standing(replace(problem, limit=problem.rows), classes.of_tuple, None, k)
    left_out = 0 if isinstance(alone, str) else int(alone.sum() - kept.sum())
    levels = classes.levels[np.maximum(classes.of_tuple, 0)]
    return offer(best, problem, metric, levels, classes.of_tuple, kept, beside, left_out)


class _JudgeBeside(Judge):
    """Judges classes without those rows that would have to leave them for the sake of the past, which may be a share
    of `tolerance` at the most."""

    def __init__(self, problem: Problem, beside: Beside, k: int, tolerance: float) -> None:
        super().__init__(problem)
        self.beside, self.k, self.tolerance = beside, k, tolerance

    def failing(self, tuples: Integers, starts: Integers) -> Flags:
        class_of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(tuples)))
        safe = self._safe(tuples, class_of)[tuples]
        rows = self.problem.counts[tuples]
        had = np.bincount(class_of, weights=rows, minlength=len(starts))
        has = np.bincount(class_of[safe], weights=rows[safe], minlength=len(starts))
        failing = (has == 0) | (had - has > self.tolerance * had)
        judged, first = np.unique(class_of[safe], return_index=True)
        if len(judged):
            failing[judged] |= super().failing(tuples[safe], first)
        return failing

    def left_out(self, nodes: Integers, place: Integers) -> Flags:
        of_tuple = self.classes(nodes, place).of_tuple
        published = np.flatnonzero(of_tuple != NONE)
        return (of_tuple != NONE) & (self.problem.counts > 0) & ~self._safe(published, of_tuple[published])

    def losses(self, nodes: Integers, place: Integers) -> Floats:
        return super().losses(nodes, np.where(self.left_out(nodes, place), NONE, place))

    def _safe(self, tuples: Integers, class_of: Integers) -> Flags:
        """Which rows (rows,) among `tuples` have enough candidates in the classes `class_of` (tuples,)."""
        keys = np.zeros(self.problem.tuples, dtype=np.int64)
        keys[tuples] = class_of
        kept = np.zeros(self.problem.tuples, dtype=bool)
        kept[tuples] = self.problem.counts[tuples] > 0
        return self.beside.safe_in_class(keys, kept, self.k)
