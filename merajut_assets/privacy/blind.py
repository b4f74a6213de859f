"""Choosing levels and classes without looking at sensitive values.

Belongs here: the task that a blind choice is given, and whether what it chose keeps the models of sensitive values.
Does not belong here: the searches themselves (`lattice`, `local`).

Why. Whoever knows the algorithm, everybody's quasi-identifiers and the release can ask why it is not finer. Where the
answer is that somebody's sensitive values were too much alike, they learn these values, though every class keeps its
models (minimality attack; Wong, Fu, Wang and Pei, VLDB 2007). A blind choice gives no such answer: levels, classes and
who is suppressed are made of quasi-identifiers, subjects and the population alone. Sensitive values decide one thing
only, whether all of it is published or nothing. So whichever way the values of a class are dealt out among its rows,
the same would have been published: nothing is told of a row but what its class shows, and that keeps the models.

What it costs: nobody goes round a class that fails, so that k must be large enough for the worst of them. Measured
on Adult's eight quasi-identifiers with its occupations, local recoding, nothing suppressed: two different values in a
class need k = 25 and lose 0.068 instead of 0.029 at k = 5, five different ones k = 85 and 0.117 instead of 0.052;
t-closeness of 0.4 needs thousands and loses 0.48 instead of 0.17. At k = 50 two different values cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np

from merajut_assets.privacy.classes import Grouping, base_grouping, count, counts_for
from merajut_assets.privacy.models import AtLeast
from merajut_assets.privacy.problem import Integers, Problem, Requirement

# By how much k is raised, again and again, to find one that is large enough.
STEP = 1.5


def unseeing(problem: Problem, k: int | None = None) -> Problem:
    """The task without its models of sensitive values, and with another `k` if one is given."""
    first, *others = problem.requirements
    if k is not None:
        assert isinstance(first.model, AtLeast)
        first = replace(first, model=replace(first.model, minimum=k))
    seen = [requirement for requirement in others if not _is_sensitive(requirement)]
    return replace(problem, requirements=(first, *seen))


def missed(problem: Problem, class_of_tuple: Integers) -> list[str]:
    """The names of the models of sensitive values that a class misses; `class_of_tuple` (tuples,) is -1 for none."""
    used, members, class_of = np.unique(class_of_tuple, return_index=True, return_inverse=True)
    rows = np.bincount(class_of, weights=problem.counts).astype(np.int64)
    classes = Grouping((), members, rows, None, class_of)
    count(classes, base_grouping(problem))
    judged = (used >= 0) & (rows > 0)
    return [
        requirement.name
        for requirement in problem.requirements[1:]
        if _is_sensitive(requirement)
        and any(
            (requirement.model.failing(counts) & judged[start : start + len(counts)]).any()
            for start, counts in counts_for(classes, requirement)
        )
    ]


def large_enough(problem: Problem, classes: Callable[[Problem], Integers | None]) -> int | None:
    """A k with which `classes`, a blind choice, keeps all models of the task; None where the largest does not."""
    k = problem.k
    while (k := ceil(STEP * k)) <= problem.rows:
        chosen = classes(unseeing(problem, k))
        if chosen is None:
            return None
        if not missed(problem, chosen):
            return k
    return None


def _is_sensitive(requirement: Requirement) -> bool:
    return requirement.model.counting in ("histogram", "distinct")
