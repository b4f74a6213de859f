"""Classes with levels of their own: judging them and what they cost.

Belongs here: arithmetic over a selection of tuples. Does not belong here: which classes are formed
(`local`), or which are taken back (`local_leftovers`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from merajut_assets.privacy.classes import Counted, Grouping, base_grouping, count, counts_for, keys_of
from merajut_assets.privacy.metrics import Floats, attribute_loss
from merajut_assets.privacy.models import AtLeast, Presence
from merajut_assets.privacy.problem import Flags, Integers, Problem

NONE = -1


@dataclass(frozen=True, eq=False)
class Classes:
    """`of_tuple` (tuples,): the class of each tuple or NONE; per class its `levels` (classes, attributes)
    and one `member` (classes,). In the order of the nodes."""

    of_tuple: Integers
    levels: Integers
    member: Integers


class Judge:
    """Judges and costs classes of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.codes = [np.stack(attribute.codes) for attribute in problem.attributes]
        self.weights = np.array([attribute.weight for attribute in problem.attributes])
        minima = [r.model.minimum for r in problem.requirements if isinstance(r.model, AtLeast)]
        self.least_rows = max([1, *minima])
        # With a least share of the population, everybody in it must be in a class.
        self.everybody = any(isinstance(r.model, Presence) and r.model.least > 0 for r in problem.requirements)
        self._held = base_grouping(problem).counted or ()

    def failing(self, tuples: Integers, starts: Integers) -> Flags:
        """Which classes (classes,) miss a model; the `tuples` are in the order of their classes, which begin
        at the places `starts` (classes,)."""
        problem = self.problem
        rows = np.add.reduceat(problem.counts[tuples], starts)
        people = None if problem.population is None else np.add.reduceat(problem.population[tuples], starts)
        class_of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(tuples)))
        grouping = Grouping((), tuples[starts], rows, people, class_of)
        if all(held.matrix is not None for held in self._held):
            # What `count` does, for tuples that are sorted already.
            grouping.counted = tuple(
                Counted(held.width, held.null, np.add.reduceat(held.matrix[tuples], starts, axis=0))
                for held in self._held
                if held.matrix is not None
            )
        else:
            finer = Grouping((), tuples, rows, people, class_of, tuple(_selected(held, tuples) for held in self._held))
            count(grouping, finer)
        failing = np.asarray(rows < self.least_rows)
        for requirement in problem.requirements:
            for start, counts in counts_for(grouping, requirement):
                failing[start : start + len(counts)] |= requirement.model.failing(counts)
        return failing

    def fails(self, tuples: Integers) -> bool:
        """Whether the `tuples` as one class miss a model."""
        return bool(self.failing(tuples, np.zeros(1, dtype=np.int64))[0])

    def left_out(self, nodes: Integers, place: Integers) -> Flags:
        """Which tuples (tuples,) leave the class that they have at the node of their `place`: none, by its models."""
        return np.zeros(len(place), dtype=bool)

    def cost(self, tuples: Integers, levels: Integers) -> Floats:
        """What all rows of each of `tuples` lose at `levels` (tuples, attributes): weighted sum over attributes."""
        total = np.zeros(len(tuples))
        for number, attribute in enumerate(self.problem.attributes):
            code = self.codes[number][levels[:, number], tuples]
            for each in range(attribute.levels):
                here = levels[:, number] == each
                share = (attribute.cover[each][code[here]] - 1) / max(attribute.domain - 1, 1)
                total[here] += attribute.weight * share
        return total * self.problem.counts[tuples]

    def losses(self, nodes: Integers, place: Integers) -> Floats:
        """The Loss of each attribute when tuples are published at the node of their `place`, or suppressed."""
        problem = self.problem
        kept = np.flatnonzero(place >= 0)
        counts = problem.counts[kept]
        lost = problem.rows - int(counts.sum())
        result = []
        for number, attribute in enumerate(problem.attributes):
            level = nodes[place[kept], number]
            code = self.codes[number][level, kept]
            cover = lost * attribute.domain
            for each in range(attribute.levels):
                here = level == each
                cover += int((attribute.cover[each][code[here]] * counts[here]).sum())
            result.append(attribute_loss(cover, problem.rows, attribute.domain))
        return np.array(result)

    def metric(self, nodes: Integers, place: Integers) -> float:
        """The Loss under the attributes' weights; definition in `metrics`."""
        return float(np.expm1((self.weights * np.log1p(self.losses(nodes, place))).sum() / self.weights.sum()))

    def loss(self, nodes: Integers, place: Integers) -> float:
        """The Loss with all weights equal."""
        return float(np.expm1(np.log1p(self.losses(nodes, place)).mean()))

    def classes(self, nodes: Integers, place: Integers) -> Classes:
        """The classes that tuples at the node of their `place` form."""
        of_tuple = np.full(len(place), NONE, dtype=np.int64)
        at: list[Integers] = [np.zeros(0, dtype=np.int64)]
        members: list[Integers] = [np.zeros(0, dtype=np.int64)]
        number = 0
        published = np.flatnonzero(place >= 0)
        in_order = published[np.argsort(place[published], kind="stable")]
        used, starts = np.unique(place[in_order], return_index=True)
        for where, tuples in zip(used.tolist(), np.split(in_order, starts[1:]), strict=False):
            key, _ = keys_of(self.problem, tuple(nodes[where].tolist()), tuples)
            _, first, class_of = np.unique(key, return_index=True, return_inverse=True)
            of_tuple[tuples] = number + class_of
            at.append(np.full(len(first), where, dtype=np.int64))
            members.append(tuples[first])
            number += len(first)
        return Classes(of_tuple, nodes[np.concatenate(at)], np.concatenate(members))

    def covering(self, tuple_: int, classes: Classes) -> Flags:
        """Which classes' published values (classes,) cover one tuple."""
        covers = np.ones(len(classes.member), dtype=bool)
        for number, codes in enumerate(self.codes):
            level = classes.levels[:, number]
            covers &= codes[level, classes.member] == codes[level, tuple_]
        return covers


def _selected(held: Counted, tuples: Integers) -> Counted:
    """What the `tuples`, renumbered from 0, hold of a source."""
    if held.matrix is not None:
        return Counted(held.width, held.null, held.matrix[tuples])
    first, last = np.searchsorted(held.classes, tuples), np.searchsorted(held.classes, tuples, side="right")
    lengths = last - first
    owner = np.repeat(np.arange(len(tuples)), lengths)
    entries = np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
    return Counted(held.width, held.null, None, owner, held.values[entries], held.counts[entries])
