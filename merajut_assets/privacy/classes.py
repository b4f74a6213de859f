"""From tuples to classes: grouping them at a node of the lattice, and judging the classes.

Belongs here: what both searches do with one node or one selection of tuples. Does not belong here:
which node is looked at next (`lattice`, `local`), what a model asks for (`models`), or costs (`metrics`).

A node may leave attributes out: the level one above an attribute's last stands for "no such column".
What fails there fails at every level of the attribute, so that projections on a few attributes are
judged by the same code as nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from merajut_assets.privacy.keys import MAXIMUM_RADIX, numbered
from merajut_assets.privacy.problem import Flags, Integers, Problem, Requirement, Source

Node = tuple[int, ...]

# Counts of classes by values are kept as a matrix up to this many cells, beyond it as a list.
MAXIMUM_CELLS = 1 << 22
# A matrix with more cells than this per entry is mostly empty; adding up the entries is faster.
FULL = 4


@dataclass(frozen=True, eq=False)
class Counted:
    """What the classes hold of one source: a `matrix` (classes, width), or, where that would be too large,
    entries sorted by class (`classes`, `values`, `counts`)."""

    width: int
    null: int | None
    matrix: Integers | None = None
    classes: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    values: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def cells(self) -> int:
        return 3 * len(self.counts) if self.matrix is None else self.matrix.size


@dataclass(eq=False)
class Grouping:
    """The classes at `node`, ordered by key: one tuple of each (`members`), their `rows`, people of the
    population, and what they hold of each source (`counted`, empty until `count` is called)."""

    node: Node
    members: Integers
    rows: Integers
    people: Integers | None
    parent_class: Integers
    counted: tuple[Counted, ...] | None = None
    is_base: bool = False

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True, eq=False)
class Verdict:
    """`failing` (classes,). `suppressed`: their rows. `lost` (classes,): how many rows of each are suppressed at
    the least, at every finer node, too. `blame`: the requirement for which their sum came to exceed what is
    allowed; judging stops there."""

    failing: Flags
    suppressed: int
    lost: Integers
    blame: str | None = None


def keys_of(problem: Problem, node: Node, members: Integers | None = None) -> tuple[Integers, int]:
    """The key of each tuple's (of each of `members`') class at `node`, and the number of slots keys are below."""
    return problem.keys.of(node, members)


def base_grouping(problem: Problem) -> Grouping:
    """Every tuple as a class of its own: what all other groupings can be made from."""
    members = np.arange(problem.tuples, dtype=np.int64)
    node = (0,) * len(problem.attributes)
    grouping = Grouping(node, members, problem.counts, problem.population, members, is_base=True)
    grouping.counted = tuple(_counted(source, problem.tuples) for source in problem.sources)
    return grouping


def group(problem: Problem, node: Node, parent: Grouping) -> Grouping:
    """The classes at `node` out of those of a finer `parent`."""
    class_of, classes = numbered(*keys_of(problem, node, None if parent.is_base else parent.members))
    members = np.empty(classes, dtype=np.int64)
    members[class_of] = parent.members
    rows = np.bincount(class_of, weights=parent.rows, minlength=classes).astype(np.int64)
    people = None
    if parent.people is not None:
        people = np.bincount(class_of, weights=parent.people, minlength=classes).astype(np.int64)
    return Grouping(node, members, rows, people, class_of)


def count(grouping: Grouping, parent: Grouping) -> None:
    """Fill what the classes hold of each source from what the `parent` it was made from holds."""
    assert parent.counted is not None
    grouping.counted = tuple(_joined(held, grouping.parent_class, grouping.size) for held in parent.counted)
    grouping.parent_class = np.zeros(0, dtype=np.int64)


def judge(problem: Problem, grouping: Grouping, parent: Grouping) -> Verdict:
    """Which classes fail, and what that costs at least. Requirements on rows come first: they are cheap,
    and most nodes fail there. Stops as soon as more than the limit is lost."""
    rows = grouping.rows
    # Fewer rows than values or subjects that are asked for: there cannot be enough of these.
    least, name = problem.asks_for_most
    failing = rows < least
    lost = rows * failing
    if (total := int(lost.sum())) > problem.allowed:
        return Verdict(failing, total, lost, name)
    for requirement in problem.beyond_rows:
        if requirement.source is not None and grouping.counted is None:
            count(grouping, parent)
        for start, counts in counts_for(grouping, requirement):
            here = slice(start, start + len(counts))
            missed = requirement.model.failing(counts)
            failing[here] |= missed
            if (misses := np.flatnonzero(missed)).size:
                gone = requirement.model.lost(counts[misses], rows[here][misses])
                lost[start + misses] = np.maximum(lost[start + misses], gone)
        total = int(lost.sum())
        if total > problem.allowed:
            return Verdict(failing, int(rows[failing].sum()), lost, requirement.name)
    # Where only whole classes are lost, these are all that fail.
    return Verdict(failing, int(rows[failing].sum()) if problem.beyond_rows else total, lost)


def counts_for(grouping: Grouping, requirement: Requirement) -> Iterator[tuple[int, Integers]]:
    """What the model of `requirement` is to be given, in pieces: the first class of a piece, and its counts."""
    counting = requirement.model.counting
    if counting == "rows":
        yield 0, grouping.rows[:, None]
        return
    if counting == "population":
        assert grouping.people is not None
        yield 0, np.column_stack([grouping.rows, grouping.people])
        return
    assert grouping.counted is not None
    assert requirement.source is not None
    held = grouping.counted[requirement.source]
    if counting == "distinct":
        yield 0, _distinct(held, grouping.size)[:, None]
    elif held.matrix is not None:
        yield 0, held.matrix
    else:
        step = max(MAXIMUM_CELLS // held.width, 1)
        for start in range(0, grouping.size, step):
            stop = min(start + step, grouping.size)
            low, high = np.searchsorted(held.classes, [start, stop])
            keys = (held.classes[low:high] - start) * held.width + held.values[low:high]
            cells = np.zeros((stop - start) * held.width, dtype=np.int64)
            cells[keys] = held.counts[low:high]
            yield start, cells.reshape(stop - start, held.width)


def _counted(source: Source, tuples: int) -> Counted:
    if tuples * source.width <= min(MAXIMUM_CELLS, FULL * len(source.counts)):
        matrix = np.zeros((tuples, source.width), dtype=np.int64)
        matrix[source.tuples, source.values] = source.counts
        return Counted(source.width, source.null, matrix)
    return Counted(source.width, source.null, None, source.tuples, source.values, source.counts)


def _joined(held: Counted, class_of: Integers, classes: int) -> Counted:
    """`held` of finer classes, of which number i becomes part of class `class_of[i]`."""
    width = held.width
    if held.matrix is not None:
        keys = (class_of[:, None] * width + np.arange(width)).ravel()
        cells = np.bincount(keys, weights=held.matrix.ravel(), minlength=classes * width)
        return Counted(width, held.null, cells.astype(np.int64).reshape(classes, width))
    joined = class_of[held.classes]
    if classes * width <= MAXIMUM_CELLS:
        cells = np.bincount(joined * width + held.values, weights=held.counts, minlength=classes * width)
        return Counted(width, held.null, cells.astype(np.int64).reshape(classes, width))
    if classes > MAXIMUM_RADIX // width:
        raise OverflowError("more classes by values than 64 bits can number")
    keys = joined * width + held.values
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.add.reduceat(held.counts[order], starts) if len(starts) else held.counts
    return Counted(width, held.null, None, keys[starts] // width, keys[starts] % width, counts)


def _distinct(held: Counted, classes: int) -> Integers:
    if held.matrix is not None:
        number = np.count_nonzero(held.matrix, axis=1).astype(np.int64)
        return number if held.null is None else number - (held.matrix[:, held.null] > 0)
    known: Sequence[bool] | Flags = (
        np.ones(len(held.values), dtype=bool) if held.null is None else held.values != held.null
    )
    return np.bincount(held.classes[known], minlength=classes).astype(np.int64)


def class_numbers(problem: Problem, node: Node) -> Integers:
    """The class (tuples,) of each tuple at `node`, numbered from 0 in the order of their keys."""
    return numbered(*keys_of(problem, node))[0]
