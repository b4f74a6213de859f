"""How many rows carry each code of each attribute, in arrays that every metric computes with.

Belongs here: counting and adding up, attribute by attribute. Does not belong here: what a level costs (`metrics`), or
what tuples are alike in at a node (`keys`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.keys import numbered

if TYPE_CHECKING:
    from merajut_assets.privacy.problem import Problem

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Numbers = TypeVar("Numbers", Integers, Floats)


class Prepared:
    """What the terms of a problem are made of, in arrays over all attributes.

    The codes of finest levels that occur are numbered attribute by attribute: `codes` (tuples,) of each attribute from
    0, and `finest` (codes,), how many rows carry each, of all attributes one after the other. An *entry* is such a
    code at a level of its attribute, ordered by attribute and level: `code` (entries,), for how many rows of the
    hierarchy it stands there (`cover`), and how high that level is (`height`). `share` (levels,) is a level's height,
    of 1, `attribute` (levels,) whose level it is, `first` (levels,) that attribute's first level.
    """

    def __init__(self, problem: Problem) -> None:
        self.rows, self.counts = problem.rows, problem.counts
        self.codes: list[Integers] = []
        self.sizes: list[int] = []
        code, cover, height, label, labels, start = [], [], [], [], 0, 0
        for attribute in problem.attributes:
            codes_of_tuples, size = numbered(attribute.codes[0].astype(np.int64), len(attribute.cover[0]))
            self.codes.append(codes_of_tuples)
            self.sizes.append(size)
            member = np.empty(size, dtype=np.int64)
            member[codes_of_tuples] = np.arange(problem.tuples)
            for level, (codes, shares) in enumerate(zip(attribute.codes, attribute.cover, strict=True)):
                above = codes[member]
                code.append(np.arange(start, start + size))
                cover.append(shares[above])
                height.append(np.full(size, attribute.first_level + level))
                label.append(labels + above)
                labels += len(shares)
            start += size
        self.code, self.cover, self.height = np.concatenate(code), np.concatenate(cover), np.concatenate(height)
        self._label = np.unique(np.concatenate(label), return_inverse=True)[1]
        self.finest = self.count(None)
        levels = [attribute.levels for attribute in problem.attributes]
        first = np.cumsum([0, *levels[:-1]])
        self._levels = np.cumsum([0, *(len(entries) for entries in code[:-1])])
        self._attributes = self._levels[first]
        self._slices = [slice(start, start + number) for start, number in zip(first.tolist(), levels, strict=True)]
        self.attribute = np.repeat(np.arange(len(levels)), levels)
        self.first = first[self.attribute]
        self.domain = np.array([attribute.domain for attribute in problem.attributes])
        self.weights = np.array([attribute.weight for attribute in problem.attributes])
        heights = np.array([max(attribute.height, 1) for attribute in problem.attributes])
        self.share = self.height[self._levels] / heights[self.attribute]

    def count(self, tuples: Integers | None) -> Integers:
        """How many rows (of `tuples`) carry each code (codes,)."""
        counts = self.counts if tuples is None else self.counts[tuples]
        rows = [
            np.bincount(codes if tuples is None else codes.take(tuples), weights=counts, minlength=size)
            for codes, size in zip(self.codes, self.sizes, strict=True)
        ]
        return np.concatenate(rows).astype(np.int64)

    def rows_at(self, levels: Integers, counts: Integers) -> Integers:
        """How many of the rows `counts` (tuples,) have each code at each level (entries,), tuples being at `levels`
        (tuples, attributes)."""
        rows = [
            np.bincount(levels[:, place] * size + codes, weights=counts, minlength=size * (own.stop - own.start))
            for place, (codes, size, own) in enumerate(zip(self.codes, self.sizes, self._slices, strict=True))
        ]
        return np.concatenate(rows).astype(np.int64)

    def alike(self, rows: Integers) -> Integers:
        """Per entry the `rows` (entries,) of all entries that are published alike at its level."""
        return np.bincount(self._label, weights=rows)[self._label].astype(np.int64)

    def of_levels(self, values: Numbers) -> Numbers:
        """The sum (levels,) of the `values` (entries,) at each level, attribute by attribute."""
        return np.add.reduceat(values, self._levels)

    def of_attributes(self, values: Numbers) -> Numbers:
        """The sum (attributes,) of the `values` (entries,) of each attribute."""
        return np.add.reduceat(values, self._attributes)

    def split(self, levels: Floats) -> list[Floats]:
        """What stands for each level (levels,) of all attributes, attribute by attribute."""
        return [levels[own] for own in self._slices]
