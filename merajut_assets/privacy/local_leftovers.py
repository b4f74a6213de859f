"""What local recoding does with tuples that no node could publish: suppress them, or let classes join them.

Belongs here: keeping the narrowing rule (`local`) when classes are taken back. Does not belong here:
forming classes in the first place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from merajut_assets.privacy.classes import keys_of
from merajut_assets.privacy.local_classes import NONE, Judge
from merajut_assets.privacy.metrics import Floats
from merajut_assets.privacy.problem import Integers

# So many single classes (or tuples) are tried before many are taken back at once.
TRIALS = 500


@dataclass(frozen=True, eq=False)
class _Joined:
    """Published `tuples` that join what is left over at the last node, and what that costs."""

    tuples: Integers
    cost: float


def settle(judge: Judge, nodes: Integers, place: Integers, narrowing_rule: bool) -> Integers | None:
    """`place` (tuples,) after everything left over is either suppressed or published at the last of `nodes`.

    None when what can neither be joined nor published is more than may be suppressed. Without the
    narrowing rule single tuples may leave a class to join, and classes that another label covers.
    """
    return _Settling(judge, nodes, place).run(narrowing_rule)


class _Settling:
    def __init__(self, judge: Judge, nodes: Integers, place: Integers) -> None:
        self.judge, self.nodes, self.place = judge, nodes, place
        problem = judge.problem
        left = np.flatnonzero(place == NONE)
        if not judge.everybody and not problem.counts[left].any():
            left = left[:0]
        self.groups: list[Integers] = []
        if not len(left):
            return
        self.key, _ = keys_of(problem, tuple(nodes[-1].tolist()))
        order = left[np.argsort(self.key[left], kind="stable")]
        groups = np.split(order, np.flatnonzero(np.diff(self.key[order])) + 1)
        groups = [group for group in groups if judge.everybody or problem.counts[group].any()]
        self.groups = sorted(groups, key=lambda group: int(problem.counts[group].sum()))
        self.classes = judge.classes(nodes, place)
        kept = np.flatnonzero(place >= 0)
        self.added = np.zeros(len(place))
        last = np.broadcast_to(nodes[-1], (len(kept), nodes.shape[1]))
        self.added[kept] = judge.cost(kept, last) - judge.cost(kept, nodes[place[kept]])

    def run(self, narrowing_rule: bool) -> Integers | None:
        problem, place = self.judge.problem, self.place.copy()
        joined = [self.join(group, narrowing_rule) for group in self.groups]
        # Who leaves a class for the sake of the past has used up its share.
        budget = problem.limit - int(problem.counts[self.judge.left_out(self.nodes, place)].sum())
        # What nothing can join has to be suppressed, so that it has the first claim to the budget.
        for group, option in sorted(zip(self.groups, joined, strict=True), key=lambda pair: pair[1] is not None):
            rows = int(problem.counts[group].sum())
            affordable = rows <= budget and not self.judge.everybody
            if affordable and (option is None or self.suppressing(group) <= option.cost):
                budget -= rows
            elif option is None:
                return None
            else:
                place[group] = place[option.tuples] = len(self.nodes) - 1
        return place if (place[problem.counts > 0] >= 0).any() else None

    def suppressing(self, group: Integers) -> float:
        """What suppression costs beyond publishing at the last node."""
        problem = self.judge.problem
        last = np.broadcast_to(self.nodes[-1], (len(group), self.nodes.shape[1]))
        everything = float(problem.counts[group].sum()) * float(self.judge.weights.sum())
        return everything - float(self.judge.cost(group, last).sum())

    def join(self, group: Integers, narrowing_rule: bool) -> _Joined | None:
        """The cheapest published tuples found that make a class with `group`."""
        box = np.flatnonzero((self.key == self.key[group[0]]) & (self.place >= 0))
        if not len(box):
            return None
        of_tuple = self.classes.of_tuple[box]
        order = np.argsort(of_tuple, kind="stable")
        numbers, starts = np.unique(of_tuple[order], return_index=True)
        members = np.split(box[order], starts[1:])
        costs = np.array([float(self.added[tuples].sum()) for tuples in members])
        options = [self.one_class(group, numbers, members, costs, narrowing_rule)]
        if options[0] is None:
            options.append(self.last_classes(group, members))
        if not narrowing_rule:
            options.append(self.single_tuples(group, box))
        return min((option for option in options if option is not None), key=lambda option: option.cost, default=None)

    def one_class(
        self, group: Integers, numbers: Integers, members: list[Integers], costs: Floats, narrowing_rule: bool
    ) -> _Joined | None:
        for number in np.lexsort((-numbers, costs))[:TRIALS].tolist():
            if self.judge.fails(np.concatenate([group, members[number]])):
                continue
            if not narrowing_rule or not self.covered_otherwise(members[number], int(numbers[number])):
                return _Joined(members[number], float(costs[number]))
        return None

    def covered_otherwise(self, tuples: Integers, number: int) -> bool:
        """Whether another published label covers one of the class's `tuples`: they would belong there."""
        return any(int(np.count_nonzero(self.judge.covering(tuple_, self.classes))) > 1 for tuple_ in tuples.tolist())

    def last_classes(self, group: Integers, members: list[Integers]) -> _Joined | None:
        """As few as possible of the classes that were published last: no label is left that covers them."""
        backwards = members[::-1]
        few, many = 0, 1
        while self.judge.fails(np.concatenate([group, *backwards[:many]])):
            if many >= len(backwards):
                return None
            few, many = many, min(2 * many, len(backwards))
        while many - few > 1:
            middle = (few + many) // 2
            if self.judge.fails(np.concatenate([group, *backwards[:middle]])):
                few = middle
            else:
                many = middle
        taken = np.concatenate(backwards[:many])
        return _Joined(taken, float(self.added[taken].sum()))

    def single_tuples(self, group: Integers, box: Integers) -> _Joined | None:
        """Tuples whose classes can do without them."""
        filled = box[self.judge.problem.counts[box] > 0]
        taken: list[int] = []
        remaining: dict[int, Integers] = {}
        for tuple_ in filled[np.argsort(self.added[filled], kind="stable")][:TRIALS].tolist():
            number = int(self.classes.of_tuple[tuple_])
            members = remaining.get(number)
            if members is None:
                members = np.flatnonzero(self.classes.of_tuple == number)
            rest = members[members != tuple_]
            if not len(rest) or self.judge.fails(rest):
                continue
            remaining[number] = rest
            taken.append(tuple_)
            if not self.judge.fails(np.concatenate([group, np.array(taken)])):
                return _Joined(np.array(taken), float(self.added[taken].sum()))
        return None
