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

from merajut_assets.privacy.margins import Prepared
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
    kept = np.where(class_of_tuple >= 0, problem.counts, 0)
    lost = problem.rows - int(kept.sum())
    sizes = np.bincount(np.maximum(class_of_tuple, 0), weights=kept).astype(np.int64)
    prepared = problem.prepared
    published, gone = prepared.rows_at(levels, kept), prepared.rows_at(levels, problem.counts - kept)
    here = prepared.finest[prepared.code]
    bits = (published + gone) * (_log2(prepared.alike(here)) - _log2(here)) - gone * _log2(prepared.alike(gone))
    covered = prepared.of_attributes(published * prepared.cover) + lost * prepared.domain
    raised = prepared.of_attributes(published * prepared.height)
    entropy = prepared.of_attributes(bits) + (lost * math.log2(lost) if lost else 0.0)
    return Tally(
        problem.rows,
        lost,
        int((sizes > 0).sum()),
        int((sizes**2).sum()),
        tuple(covered.tolist()),
        tuple(raised.tolist()),
        tuple(entropy.tolist()),
    )


def _log2(numbers: npt.NDArray[np.float64] | Integers) -> Floats:
    return np.asarray(np.log2(np.maximum(numbers, 1)))


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


def _without(prepared: Prepared, gone: Integers | None) -> tuple[int, Integers, int]:
    """All rows, those that carry each code (codes,) once `gone` (codes,) are suppressed, and how many these are."""
    if gone is None:
        return prepared.rows, prepared.finest, 0
    return prepared.rows, prepared.finest - gone, int(gone[: prepared.sizes[0]].sum())


class SeparableMetric(ABC):
    """`finish` of the sum over attributes of one term per attribute and level."""

    def tie(self, value: float) -> float:
        return TIE * max(abs(value), 1.0) if math.isfinite(value) else 0.0

    def terms(self, prepared: Prepared, suppressed: Integers | None = None) -> list[Floats]:
        """Per attribute its terms (levels,) when the tuples `suppressed` are suppressed."""
        values = self.values(prepared, None if suppressed is None else prepared.count(suppressed))
        return prepared.split(self.term(values, prepared.weights[prepared.attribute]))

    @abstractmethod
    def values(self, prepared: Prepared, gone: Integers | None = None) -> Floats:
        """The loss at each level (levels,) of all attributes, one after the other, when so many rows (codes,) of
        each code are suppressed."""

    def term(self, values: Floats, weight: float | Floats) -> Floats:
        return np.asarray(weight * values)

    def finish(self, total: Floats, weights: float) -> Floats:
        return total / weights

    def combined(self, values: Sequence[float], attributes: Sequence[Attribute]) -> float:
        total = sum(
            (float(self.term(np.asarray(value), a.weight)) for value, a in zip(values, attributes, strict=True)), 0.0
        )
        return float(self.finish(np.asarray(total), sum(attribute.weight for attribute in attributes)))


class Loss(SeparableMetric):
    def values(self, prepared: Prepared, gone: Integers | None = None) -> Floats:
        rows, published, lost = _without(prepared, gone)
        covered = prepared.of_levels(published[prepared.code] * prepared.cover)
        # Where only one value exists, this is 0.
        domain = prepared.domain[prepared.attribute]
        return np.asarray((covered + lost * domain - rows) / (rows * np.maximum(domain - 1, 1)))

    def term(self, values: Floats, weight: float | Floats) -> Floats:
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
    def values(self, prepared: Prepared, gone: Integers | None = None) -> Floats:
        rows, _, lost = _without(prepared, gone)
        return ((rows - lost) * prepared.share + lost) / rows

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        values = [
            (raised / max(attribute.height, 1) + tally.suppressed) / tally.rows
            for raised, attribute in zip(tally.raised, attributes, strict=True)
        ]
        return self.combined(values, attributes)


class Entropy(SeparableMetric):
    def values(self, prepared: Prepared, gone: Integers | None = None) -> Floats:
        general = self._bits(prepared, prepared.finest)
        values = general - general[prepared.first]
        if gone is not None and (lost := _without(prepared, gone)[2]):
            values += lost * math.log2(lost) - self._bits(prepared, gone)
        return values

    def _bits(self, prepared: Prepared, rows: Integers) -> Floats:
        """Per level the sum over labels of n log2 n, n being those of the `rows` (codes,) that carry the label."""
        here = rows[prepared.code]
        return np.asarray(prepared.of_levels(here * _log2(prepared.alike(here))))

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
