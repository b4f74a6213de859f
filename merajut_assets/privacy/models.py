"""The privacy models: which classes of equal rows fail to protect, told from counts alone.

Belongs here: pure functions over integer arrays that judge many classes at once. Does not belong
here: how rows become counts (`lattice`), where a threshold comes from (`policy`), frames or labels.

Every model has `failing(counts)`: `counts` (c, v) holds one row per class and one column per value
(what the columns are: `counting`), the answer (c,) flags the classes that miss the model. Each class
is judged on its own, so that a caller may judge any selection of classes, at any time.

| counting | columns of `counts` |
|---|---|
| rows | one: the rows of the class |
| distinct | one: how many different values (sensitive values, subjects) occur in it |
| histogram | one per value of the sensitive column: how many rows of the class hold it |
| population | two: the rows of the class, and the people of the population in it |

Nulls: distinct, entropy and recursive l know only values, so that the column of nulls is left out
(`null`: its place); for t-closeness and β-likeness whether something is recorded is a value like
any other. The *table* that a class is compared with is all rows of the frame: those that are
suppressed later, and those of other partitions, included.

`monotone`: a class that holds a satisfying part satisfies, too; so what fails, fails at every finer
generalisation. The other models are convex: classes that satisfy form a satisfying class when they
are joined. `lost` draws from that how many rows of a failing class every finer generalisation has to
suppress at least: what is kept of the class is a union of satisfying classes, hence satisfies itself,
and cannot be reached by removing fewer. It is what makes pruning exact for models that are not
monotone. Where nothing may be suppressed, it comes to the same as monotony.

Comparisons are exact, in integers: a threshold is the decimal number as it was written. The one
exception is entropy: `ENTROPY_TOLERANCE` below log l still reaches it, so that the class {2, 2, 2} is
3-diverse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counting = Literal["rows", "distinct", "histogram", "population"]

ENTROPY_TOLERANCE = 1e-9  # nats
_EXACT = 1 << 62


class Model(Protocol):
    """A requirement on classes. `counting` says what `failing` is to be given."""

    @property
    def counting(self) -> Counting: ...

    @property
    def monotone(self) -> bool: ...

    def failing(self, counts: Integers) -> Flags:
        """Which classes (c,) of `counts` (c, v) miss the model. An empty class fails."""
        ...

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        """For classes of so many `rows` (c,) that all fail: how many of them are suppressed at least,
        however the class is split (c,). At least 1 for a class with rows."""
        ...


def fraction(number: float | int) -> Fraction:
    """The decimal number as it was written: 0.1 is a tenth, not the nearest binary fraction."""
    return Fraction(str(number))


def exceeds(numerator: Integers, denominator: Integers, limit: Fraction) -> Flags:
    """Where numerator / denominator > limit, exactly; over 0 every numerator above 0 is."""
    if not len(numerator):
        return np.zeros(0, dtype=bool)
    largest = max(
        int(np.abs(numerator).max()) * limit.denominator, int(np.abs(denominator).max()) * abs(limit.numerator)
    )
    if largest < _EXACT:
        return np.asarray(numerator * limit.denominator > denominator * limit.numerator)
    left, right = numerator.astype(object) * limit.denominator, denominator.astype(object) * limit.numerator
    return np.asarray(left > right, dtype=bool)


def _at_least(estimate: Floats, rows: Integers) -> Integers:
    """The lower bound as whole rows: rounding errors may lessen it, never raise it; 1 at least, all at most."""
    whole = np.ceil(estimate - 1e-6 - 1e-9 * np.abs(estimate)).astype(np.int64)
    return np.minimum(np.maximum(whole, 1), rows)


def _without(counts: Integers, column: int | None) -> Integers:
    return counts if column is None else np.delete(counts, column, axis=1)


@dataclass(frozen=True)
class AtLeast:
    """k-anonymity (rows, or distinct subjects) and distinct l-diversity: at least `minimum` of what is counted."""

    minimum: int
    counting: Literal["rows", "distinct"] = "rows"
    monotone: ClassVar[bool] = True

    def failing(self, counts: Integers) -> Flags:
        return np.asarray(counts[:, 0] < self.minimum)

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        return rows


def _entropy(values: Integers) -> Floats:
    """Entropy (c,) of each class in nats; 0 for an empty one."""
    sizes = np.maximum(values.sum(axis=1), 1)
    # Sum of n log n, with 0 log 0 = 0.
    weighted = (values * np.log(np.maximum(values, 1))).sum(axis=1)
    return np.asarray(np.log(sizes) - weighted / sizes)


@dataclass(frozen=True)
class EntropyDiversity:
    """Entropy l-diversity: the entropy of the values is at least log l."""

    l: float  # noqa: E741 (the model's own name)
    null: int | None = None
    counting: ClassVar[Literal["histogram"]] = "histogram"
    monotone: ClassVar[bool] = False

    def failing(self, counts: Integers) -> Flags:
        values = _without(counts, self.null)
        return np.asarray((values.sum(axis=1) == 0) | (_entropy(values) < np.log(self.l) - ENTROPY_TOLERANCE))

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        values = _without(counts, self.null)
        # Entropy is concave: entropy of the class >= share kept * log l.
        share = _entropy(values) / np.log(self.l) if self.l > 1 else np.ones(len(values))
        estimate = _at_least(values.sum(axis=1) * (1 - share), rows)
        return np.where((values > 0).sum(axis=1) < self.l, rows, estimate)

    def reached(self, counts: Integers) -> Floats:
        """The largest l (c,) that each class has: exp(entropy), 0 where nothing is known."""
        values = _without(counts, self.null)
        return np.where(values.sum(axis=1) > 0, np.exp(_entropy(values)), 0.0)


@dataclass(frozen=True)
class RecursiveDiversity:
    """Recursive (c, l)-diversity: r1 < c * (r_l + … + r_m), r being the counts of the values, largest first."""

    c: Fraction
    l: int  # noqa: E741 (the model's own name)
    null: int | None = None
    counting: ClassVar[Literal["histogram"]] = "histogram"
    monotone: ClassVar[bool] = False

    def failing(self, counts: Integers) -> Flags:
        largest, tail = self._largest_and_tail(counts)
        # r1 < c * tail, written as tail / r1 > 1 / c.
        return ~exceeds(tail, largest, 1 / self.c)

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        largest, tail = self._largest_and_tail(counts)
        # The tail can only shrink, so that the largest has to lose what it has above c * tail, and one more.
        estimate = _at_least(largest - float(self.c) * tail, rows)
        return np.where((_without(counts, self.null) > 0).sum(axis=1) < self.l, rows, estimate)

    def reached(self, counts: Integers) -> Floats:
        """The number (c,) that c has to exceed for each class; infinite where no c is enough."""
        largest, tail = self._largest_and_tail(counts)
        return np.where(tail > 0, largest / np.maximum(tail, 1), np.inf)

    def _largest_and_tail(self, counts: Integers) -> tuple[Integers, Integers]:
        values = _without(counts, self.null)
        if values.shape[1] < self.l:
            return values.sum(axis=1), np.zeros(len(values), dtype=np.int64)
        rest = values.shape[1] - (self.l - 1)  # all but the l - 1 largest: partitioned, not sorted
        tail = np.partition(values, rest - 1, axis=1)[:, :rest] if self.l > 1 else values
        return values.max(axis=1), tail.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Closeness(ABC):
    """t-closeness by any distance: `_moved` / `_scale` is at most t. `table` (v,): the counts of all rows.

    A distance of at most 1 that is convex: distance of the class <= share kept * t + share lost * 1.
    """

    t: Fraction
    table: Integers
    counting: ClassVar[Literal["histogram"]] = "histogram"
    monotone: ClassVar[bool] = False

    def failing(self, counts: Integers) -> Flags:
        sizes = counts.sum(axis=1)
        return (sizes == 0) | exceeds(*self._distance(counts), self.t)

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        moved, scale = self._distance(counts)
        t = float(self.t)
        return _at_least(rows * (moved / np.maximum(scale, 1) - t) / max(1 - t, 1e-12), rows)

    def reached(self, counts: Integers) -> Floats:
        """The distance (c,) of each class; infinite for an empty one."""
        moved, scale = self._distance(counts)
        return np.where(scale > 0, moved / np.maximum(scale, 1), np.inf)

    def _distance(self, counts: Integers) -> tuple[Integers, Integers]:
        sizes = counts.sum(axis=1)
        rows = np.int64(self.table.sum())
        # Whole numbers: share in the class - share in the table, times both numbers of rows.
        return self._moved(counts * rows - sizes[:, None] * self.table), sizes * rows * self._steps()

    @abstractmethod
    def _moved(self, difference: Integers) -> Integers:
        """How much is moved in each class (c,), in units of which `_steps` make a distance of 1."""

    @abstractmethod
    def _steps(self) -> int:
        """See `_moved`."""


class EqualCloseness(Closeness):
    """t-closeness by equal distance: the total variation distance is at most t."""

    def _moved(self, difference: Integers) -> Integers:
        return np.asarray(np.abs(difference).sum(axis=1))

    def _steps(self) -> int:
        return 2


class OrderedCloseness(Closeness):
    """t-closeness by ordered distance: earth mover's distance over ranks / (ranks - 1); the columns of
    `counts` and `table` are in the order of the ranks."""

    def _moved(self, difference: Integers) -> Integers:
        return np.asarray(np.abs(np.cumsum(difference, axis=1)).sum(axis=1))

    def _steps(self) -> int:
        return max(len(self.table) - 1, 1)


@dataclass(frozen=True, eq=False)
class HierarchicalCloseness(Closeness):
    """t-closeness over a tree: mean of the total variation distances at the levels below the root.

    `levels`: per level below the root the node (v,) of each value, level 0 being the values themselves.
    That is the earth mover's distance when moving between two values costs the level at which they
    meet / levels below the root: each level at which they are apart adds its share.
    """

    levels: tuple[Integers, ...]

    def _moved(self, difference: Integers) -> Integers:
        moved = np.zeros(len(difference), dtype=np.int64)
        for nodes in self.levels:
            order = np.argsort(nodes, kind="stable")
            starts = np.flatnonzero(np.diff(nodes[order], prepend=-1))
            moved += np.abs(np.add.reduceat(difference[:, order], starts, axis=1)).sum(axis=1)
        return moved

    def _steps(self) -> int:
        return 2 * len(self.levels)


@dataclass(frozen=True, eq=False)
class BetaLikeness:
    """Basic β-likeness: for every value, (share in class - share in `table`) / share in table <= β."""

    beta: Fraction
    table: Integers
    counting: ClassVar[Literal["histogram"]] = "histogram"
    monotone: ClassVar[bool] = False

    def failing(self, counts: Integers) -> Flags:
        sizes = counts.sum(axis=1)
        gained = exceeds(
            (counts * np.int64(self.table.sum())).ravel(), (sizes[:, None] * self.table).ravel(), 1 + self.beta
        )
        return (sizes == 0) | gained.reshape(counts.shape).any(axis=1)

    def reached(self, counts: Integers) -> Floats:
        """The least β (c,) that each class keeps; infinite for an empty one."""
        sizes = counts.sum(axis=1)
        gain = counts * np.int64(self.table.sum()) / np.maximum(sizes[:, None] * self.table, 1) - 1
        return np.where(sizes > 0, gain.max(axis=1), np.inf)

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        # A value's count - lost <= largest share * (rows - lost); values that may fill a class ask for nothing.
        largest = (1 + float(self.beta)) * self.table / max(int(self.table.sum()), 1)
        asking = largest < 1
        if not asking.any():
            return _at_least(np.zeros(len(rows)), rows)
        above = (counts[:, asking] - rows[:, None] * largest[asking]) / (1 - largest[asking])
        return _at_least(above.max(axis=1), rows)


@dataclass(frozen=True)
class MapAtLeast:
    """k-map: at least `minimum` people of the population share the class."""

    minimum: int
    counting: ClassVar[Literal["population"]] = "population"
    monotone: ClassVar[bool] = True

    def failing(self, counts: Integers) -> Flags:
        return np.asarray(counts[:, 1] < self.minimum)

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        return rows


@dataclass(frozen=True)
class Presence:
    """δ-presence: rows / people of the population lies within [least, most]; nobody in the population fails."""

    least: Fraction
    most: Fraction
    counting: ClassVar[Literal["population"]] = "population"
    monotone: ClassVar[bool] = False

    def failing(self, counts: Integers) -> Flags:
        rows, people = counts[:, 0], counts[:, 1]
        below = exceeds(people * self.least.numerator, rows, Fraction(self.least.denominator))
        return (people == 0) | exceeds(rows, people, self.most) | below

    def lost(self, counts: Integers, rows: Integers) -> Integers:
        people = counts[:, 1]
        above = _at_least(rows - float(self.most) * people, rows)
        # Too few rows can only come of a `least` above 0, which lets nothing be suppressed: 1 is too many.
        return np.where(people == 0, rows, np.maximum(above, 1))


def tables_are_exact(rows: int, levels: int) -> bool:
    """Whether the integer sums of the distances stay below 2^62 for a frame of so many rows."""
    return 2 * rows * rows * max(levels, 1) < _EXACT
