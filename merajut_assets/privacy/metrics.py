"""What a generalisation costs: the metrics, and for each what can be known without evaluating a node.

Belongs here: values and bounds out of counts. Does not belong here: the search that uses the bounds
(`lattice`), or what a class must keep (`models`).

n: rows; suppressed rows count in all of these. Definitions follow ARX 3.9.2.

- **loss**: per attribute v = (sum over rows of the share of the hierarchy's rows that the published value
  covers, 1 for a suppressed row, - n/domain) / (n - n/domain); geometric mean of 1 + v, - 1. Weights are
  exponents.
- **precision**: per attribute the mean over rows of level / height of the hierarchy, 1 for a suppressed
  row; arithmetic mean, weighted.
- **entropy** (non-uniform): per attribute the sum over rows of log2(frequency of the generalised value /
  frequency of the value), in bits, frequencies counted over all rows; and over suppressed rows
  log2(suppressed rows / suppressed rows of the same generalised value); weighted sum. The values are
  those of the finest permitted level.
- **aecs**: n / (published classes, plus one if anything is suppressed).
- **discernibility**: sum of squared sizes of published classes, plus n per suppressed row.

The first three are *separable*: without suppression a node's value is made of one term per attribute
and level, and suppressing more rows never lowers a term. So the terms under a set of rows that every
finer node suppresses, too, bound the values of all of these nodes. The other two depend on the sizes
of the classes: joining classes never makes more of them, nor lowers the sum of squares.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.problem import Attribute, Integers, Problem

Floats = npt.NDArray[np.float64]

TIE = 1e-12


@dataclass(frozen=True)
class Tally:
    """What every metric is computed from; the tallies of separate partitions add up.

    Per attribute: `covered`: sum over rows of cover, a suppressed row counting the domain; `raised`: sum
    over published rows of the level; `bits`: the entropy lost, without weights.
    """

    rows: int
    suppressed: int
    classes: int
    squares: int
    covered: tuple[int, ...]
    raised: tuple[int, ...]
    bits: tuple[float, ...]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            self.suppressed + other.suppressed,
            self.classes + other.classes,
            self.squares + other.squares,
            tuple(a + b for a, b in zip(self.covered, other.covered, strict=True)),
            tuple(a + b for a, b in zip(self.raised, other.raised, strict=True)),
            tuple(a + b for a, b in zip(self.bits, other.bits, strict=True)),
        )


def tally(problem: Problem, levels: Integers, class_of_tuple: Integers) -> Tally:
    """The tally of a generalisation: `levels` (tuples, attributes) and the class of each tuple, -1 for none."""
    kept = (class_of_tuple >= 0) & (problem.counts > 0)
    gone = problem.counts[~kept]
    lost = int(gone.sum())
    sizes = np.bincount(class_of_tuple[kept], weights=problem.counts[kept]) if kept.any() else np.zeros(0)
    covered, raised, bits = [], [], []
    prepared = Prepared(problem)
    margins = [prepared.margins(place, finest) for place, finest in enumerate(prepared.finest)]
    for place, attribute in enumerate(problem.attributes):
        cover = lost * attribute.domain
        lifted, entropy = 0, 0.0
        for level in range(attribute.levels):
            here = levels[:, place] == level
            codes, counts = attribute.codes[level][here & kept], problem.counts[here & kept]
            cover += int((attribute.cover[level][codes] * counts).sum())
            lifted += int(counts.sum()) * (attribute.first_level + level)
            every = problem.counts[here]
            general = margins[place][level][attribute.codes[level][here]]
            special = margins[place][0][attribute.codes[0][here]]
            entropy += float((every * (_log2(general) - _log2(special))).sum())
            beside = np.bincount(attribute.codes[level][here & ~kept], weights=problem.counts[here & ~kept])
            entropy -= float((beside * _log2(beside)).sum())
        entropy += float(lost * math.log2(lost)) if lost else 0.0
        covered.append(cover)
        raised.append(lifted)
        bits.append(entropy)
    squares = sum(int(size) ** 2 for size in sizes)
    return Tally(problem.rows, lost, int((sizes > 0).sum()), squares, tuple(covered), tuple(raised), tuple(bits))


def _log2(numbers: npt.NDArray[np.float64] | Integers) -> Floats:
    return np.asarray(np.log2(np.maximum(numbers, 1)))


def parents(attribute: Attribute) -> list[Integers]:
    """Per level the code above each code of the finest permitted level; 0 for codes that no tuple has."""
    above = []
    for codes, _ in zip(attribute.codes, attribute.cover, strict=True):
        table = np.zeros(len(attribute.cover[0]), dtype=np.int64)
        table[attribute.codes[0]] = codes
        above.append(table)
    return above


def attribute_loss(covered_rows: Any, rows: int, domain: int) -> Any:
    """ARX's loss of one attribute: (sum of shares - n/domain) / (n - n/domain); 0 where only one value exists."""
    return (covered_rows - rows) / (rows * (domain - 1)) if domain > 1 else 0.0


class Metric(Protocol):
    """A metric, to be minimised: a `SeparableMetric` or a `ClassMetric`."""

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        """The value of a generalisation with this tally, under the attributes' weights."""
        ...

    def tie(self, value: float) -> float:
        """By how much two values near `value` may differ and still be one."""
        ...


class Prepared:
    """What the terms of a problem are made of. Per attribute: `finest` (codes,), how many rows carry each code of
    the finest level; `above` (levels, codes), where each of these codes leads; `cover` (codes, levels), for how
    many rows of the hierarchy it then stands."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.above = [parents(attribute) for attribute in problem.attributes]
        self.cover = [
            np.column_stack([cover[codes] for cover, codes in zip(attribute.cover, above, strict=True)])
            for attribute, above in zip(problem.attributes, self.above, strict=True)
        ]
        self.finest = [self.count(place, None) for place in range(len(problem.attributes))]

    def count(self, place: int, tuples: Integers | None) -> Integers:
        """How many rows (of `tuples`) carry each code of the finest level of one attribute."""
        attribute, counts = self.problem.attributes[place], self.problem.counts
        codes = attribute.codes[0] if tuples is None else attribute.codes[0][tuples]
        weights = counts if tuples is None else counts[tuples]
        return np.bincount(codes, weights=weights, minlength=len(attribute.cover[0])).astype(np.int64)

    def margins(self, place: int, finest: Integers) -> list[Integers]:
        """Per level of one attribute the rows that carry each code, out of those of the finest level."""
        cover = self.problem.attributes[place].cover
        return [
            np.bincount(above, weights=finest, minlength=len(codes)).astype(np.int64)
            for above, codes in zip(self.above[place], cover, strict=True)
        ]


class SeparableMetric(ABC):
    """`finish` of the sum over attributes of one term per attribute and level."""

    def tie(self, value: float) -> float:
        return TIE * max(abs(value), 1.0) if math.isfinite(value) else 0.0

    def terms(self, prepared: Prepared, suppressed: Integers | None = None) -> list[Floats]:
        """Per attribute its terms (levels,) when the tuples `suppressed` are suppressed."""
        problem = prepared.problem
        lost = 0 if suppressed is None else int(problem.counts[suppressed].sum())
        return [
            self.term(self.values(prepared, place, suppressed, lost), attribute.weight)
            for place, attribute in enumerate(problem.attributes)
        ]

    @abstractmethod
    def values(self, prepared: Prepared, place: int, suppressed: Integers | None, lost: int) -> Floats:
        """One attribute's loss (levels,) when the tuples `suppressed`, `lost` rows, are suppressed."""

    def term(self, values: Floats, weight: float) -> Floats:
        return np.asarray(weight * values)

    def finish(self, total: Floats, weights: float) -> Floats:
        return total / weights

    def combined(self, values: Sequence[float], attributes: Sequence[Attribute]) -> float:
        total = sum(
            (float(self.term(np.asarray(value), a.weight)) for value, a in zip(values, attributes, strict=True)), 0.0
        )
        return float(self.finish(np.asarray(total), sum(attribute.weight for attribute in attributes)))


class Loss(SeparableMetric):
    def values(self, prepared: Prepared, place: int, suppressed: Integers | None, lost: int) -> Floats:
        attribute, rows = prepared.problem.attributes[place], prepared.problem.rows
        published = prepared.finest[place]
        if suppressed is not None:
            published = published - prepared.count(place, suppressed)
        covered = published @ prepared.cover[place] + lost * attribute.domain
        return np.asarray(attribute_loss(covered, rows, attribute.domain) * np.ones(attribute.levels))

    def term(self, values: Floats, weight: float) -> Floats:
        return np.asarray(weight * np.log1p(values))

    def finish(self, total: Floats, weights: float) -> Floats:
        return np.asarray(np.expm1(total / weights))

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        losses = [
            attribute_loss(covered, tally.rows, attribute.domain)
            for covered, attribute in zip(tally.covered, attributes, strict=True)
        ]
        return self.combined(losses, attributes)


class Precision(SeparableMetric):
    def values(self, prepared: Prepared, place: int, suppressed: Integers | None, lost: int) -> Floats:
        attribute, rows = prepared.problem.attributes[place], prepared.problem.rows
        levels = attribute.first_level + np.arange(attribute.levels)
        return ((rows - lost) * (levels / max(attribute.height, 1)) + lost) / rows

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        values = [
            (raised / max(attribute.height, 1) + tally.suppressed) / tally.rows
            for raised, attribute in zip(tally.raised, attributes, strict=True)
        ]
        return self.combined(values, attributes)


class Entropy(SeparableMetric):
    def values(self, prepared: Prepared, place: int, suppressed: Integers | None, lost: int) -> Floats:
        finest = prepared.finest[place]
        general = self._bits(prepared, place, finest)
        values = general - general[0]
        if suppressed is not None and lost:
            gone = prepared.count(place, suppressed)
            values = values + lost * math.log2(lost) - self._bits(prepared, place, gone)
        return values

    def _bits(self, prepared: Prepared, place: int, finest: Integers) -> Floats:
        """Per level the sum over codes of n log2 n, n being the rows that carry the code."""
        return np.array([float((rows * _log2(rows)).sum()) for rows in prepared.margins(place, finest)])

    def finish(self, total: Floats, weights: float) -> Floats:
        return total

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        return self.combined(tally.bits, attributes)


class ClassMetric(ABC):
    """A metric of class sizes; its values are ratios of whole numbers, so that equal ones are equal."""

    def tie(self, value: float) -> float:
        return 0.0

    @abstractmethod
    def value(self, sizes: Integers, suppressed: int, rows: int) -> float:
        """The value with published classes of these `sizes`."""

    @abstractmethod
    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float: ...

    @abstractmethod
    def few(self, classes: npt.NDArray[np.float64] | Integers, rows: int) -> Floats:
        """A lower bound of the value where there are at most so many classes, suppressed ones included."""

    @abstractmethod
    def coarser(self, sizes: Integers, least: int, rows: int) -> float:
        """A lower bound for every coarser node, out of all class `sizes` of a finer one; no class of fewer
        than `least` rows is published."""

    @abstractmethod
    def finer(self, lost: int, least: int, rows: int) -> float:
        """A lower bound for a node that suppresses `lost` rows or more."""


class AverageClassSize(ClassMetric):
    def value(self, sizes: Integers, suppressed: int, rows: int) -> float:
        return rows / (len(sizes) + (suppressed > 0))

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        return tally.rows / (tally.classes + (tally.suppressed > 0))

    def few(self, classes: npt.NDArray[np.float64] | Integers, rows: int) -> Floats:
        return np.asarray(rows / classes)

    def coarser(self, sizes: Integers, least: int, rows: int) -> float:
        # A published class holds one that is large enough already, or only such as are too small.
        large = sizes >= least
        small = sizes[~large]
        formed = min(int((small > 0).sum()), int(small.sum()) // least)
        return rows / min(int((sizes > 0).sum()), int(large.sum()) + formed + 1)

    def finer(self, lost: int, least: int, rows: int) -> float:
        return rows / ((rows - lost) // least + 1)


class Discernibility(ClassMetric):
    def value(self, sizes: Integers, suppressed: int, rows: int) -> float:
        return float((sizes * sizes).sum() + rows * suppressed)

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        return float(tally.squares + tally.rows * tally.suppressed)

    def few(self, classes: npt.NDArray[np.float64] | Integers, rows: int) -> Floats:
        # Equal sizes give the least sum of squares; a hair below, for it is a quotient.
        return np.asarray(float(rows) ** 2 / classes * (1 - TIE))

    def coarser(self, sizes: Integers, least: int, rows: int) -> float:
        return float((sizes * sizes).sum())

    def finer(self, lost: int, least: int, rows: int) -> float:
        return float(rows * lost + least * (rows - lost))


METRICS: dict[str, Metric] = {
    "loss": Loss(),
    "aecs": AverageClassSize(),
    "discernibility": Discernibility(),
    "entropy": Entropy(),
    "precision": Precision(),
}
