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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    margins = Prepared(problem).every
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


def attribute_loss(covered_rows: float, rows: int, domain: int) -> float:
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
    """What the terms of a problem are made of: margins of all rows, and where codes lead upwards."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.above = [parents(attribute) for attribute in problem.attributes]
        self.every = [self._margins(place, None) for place in range(len(problem.attributes))]

    def _margins(self, place: int, tuples: Integers | None) -> list[Integers]:
        attribute, counts = self.problem.attributes[place], self.problem.counts
        codes = attribute.codes[0] if tuples is None else attribute.codes[0][tuples]
        weights = counts if tuples is None else counts[tuples]
        finest = np.bincount(codes, weights=weights, minlength=len(attribute.cover[0]))
        return [
            np.bincount(above, weights=finest, minlength=len(cover)).astype(np.int64)
            for above, cover in zip(self.above[place], attribute.cover, strict=True)
        ]

    def gone(self, tuples: Integers) -> list[list[Integers]]:
        """Per attribute and level the rows of `tuples` that carry each code."""
        return [self._margins(place, tuples) for place in range(len(self.problem.attributes))]


class SeparableMetric:
    """`finish` of the sum over attributes of one term per attribute and level."""

    def tie(self, value: float) -> float:
        return TIE * max(abs(value), 1.0) if math.isfinite(value) else 0.0

    def terms(self, prepared: Prepared, suppressed: Integers | None = None) -> list[Floats]:
        """Per attribute its terms (levels,) when the tuples `suppressed` are suppressed."""
        problem = prepared.problem
        gone = prepared.gone(suppressed) if suppressed is not None else None
        terms = []
        for place, attribute in enumerate(problem.attributes):
            without = gone[place] if gone is not None else [np.zeros_like(every) for every in prepared.every[place]]
            lost = int(without[0].sum())
            values = [
                self.value(attribute, level, prepared.every[place], without[level], lost, problem.rows)
                for level in range(attribute.levels)
            ]
            terms.append(np.array([self.term(value, attribute.weight) for value in values]))
        return terms

    def value(
        self, attribute: Attribute, level: int, every: list[Integers], gone: Integers, lost: int, rows: int
    ) -> float:
        """One attribute's loss at `level`: `every[level]` and `gone` (codes,) count all and suppressed rows."""
        raise NotImplementedError

    def term(self, value: float, weight: float) -> float:
        return weight * value

    def finish(self, total: Floats, weights: float) -> Floats:
        return total / weights

    def combined(self, values: Sequence[float], attributes: Sequence[Attribute]) -> float:
        total = sum(self.term(value, attribute.weight) for value, attribute in zip(values, attributes, strict=True))
        return float(self.finish(np.asarray(total), sum(attribute.weight for attribute in attributes)))


class Loss(SeparableMetric):
    def value(
        self, attribute: Attribute, level: int, every: list[Integers], gone: Integers, lost: int, rows: int
    ) -> float:
        covered = int(((every[level] - gone) * attribute.cover[level]).sum()) + lost * attribute.domain
        return attribute_loss(covered, rows, attribute.domain)

    def term(self, value: float, weight: float) -> float:
        return weight * math.log1p(value)

    def finish(self, total: Floats, weights: float) -> Floats:
        return np.asarray(np.expm1(total / weights))

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        losses = [
            attribute_loss(covered, tally.rows, attribute.domain)
            for covered, attribute in zip(tally.covered, attributes, strict=True)
        ]
        return self.combined(losses, attributes)


class Precision(SeparableMetric):
    def value(
        self, attribute: Attribute, level: int, every: list[Integers], gone: Integers, lost: int, rows: int
    ) -> float:
        share = (attribute.first_level + level) / attribute.height if attribute.height else 0.0
        return ((rows - lost) * share + lost) / rows

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        values = [
            ((raised / attribute.height if attribute.height else 0.0) + tally.suppressed) / tally.rows
            for raised, attribute in zip(tally.raised, attributes, strict=True)
        ]
        return self.combined(values, attributes)


class Entropy(SeparableMetric):
    def value(
        self, attribute: Attribute, level: int, every: list[Integers], gone: Integers, lost: int, rows: int
    ) -> float:
        general = float((every[level] * _log2(every[level])).sum() - (every[0] * _log2(every[0])).sum())
        return general + (lost * math.log2(lost) if lost else 0.0) - float((gone * _log2(gone)).sum())

    def finish(self, total: Floats, weights: float) -> Floats:
        return total

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        return self.combined(tally.bits, attributes)


class ClassMetric:
    """A metric of class sizes; its values are ratios of whole numbers, so that equal ones are equal."""

    def tie(self, value: float) -> float:
        return 0.0

    def value(self, sizes: Integers, suppressed: int, rows: int) -> float:
        """The value with published classes of these `sizes`."""
        raise NotImplementedError

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        raise NotImplementedError

    def few(self, classes: npt.NDArray[np.float64] | Integers, rows: int) -> Floats:
        """A lower bound of the value where there are at most so many classes, suppressed ones included."""
        raise NotImplementedError

    def coarser(self, sizes: Integers, least: int, rows: int) -> float:
        """A lower bound for every coarser node, out of all class `sizes` of a finer one; no class of fewer
        than `least` rows is published."""
        raise NotImplementedError

    def finer(self, lost: int, least: int, rows: int) -> float:
        """A lower bound for a node that suppresses `lost` rows or more."""
        raise NotImplementedError


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
