"""Which tuples are alike at a node of the lattice: numbers that are equal where all published values are.

Belongs here: numbering the classes of any node, fast. Does not belong here: what is done with them (`classes`).

The attributes are split into two halves. What the tuples are alike in within one half depends on the
levels of that half alone, of which there are few combinations; each is numbered densely once and kept. It is found
for the distinct combinations of values of that half, which are far fewer than the tuples. The classes of a node
are then pairs of two numbers, which takes one multiplication per tuple, and there are few enough of these pairs to
count them in a table instead of sorting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from merajut_assets.privacy.problem import Attribute

Integers = npt.NDArray[np.int64]

# A key space of this many slots per key is counted directly; a larger one is sorted first.
SLOTS_PER_KEY = 16
SMALL_KEY_SPACE = 1 << 16
MAXIMUM_RADIX = 1 << 62
# How many numbers of 8 bytes are kept of each half at the most.
KEPT = 16_000_000


def numbered(keys: Integers, slots: int) -> tuple[Integers, int]:
    """The `keys`, all below `slots`, numbered from 0 without gaps, in their order, and how many there are."""
    if slots > SLOTS_PER_KEY * len(keys) + SMALL_KEY_SPACE:
        distinct, numbers = np.unique(keys, return_inverse=True)
        return numbers, len(distinct)
    used = np.zeros(slots, dtype=bool)
    used[keys] = True
    places = np.flatnonzero(used)
    number = np.empty(slots, dtype=np.int64)
    number[places] = np.arange(len(places))
    return number.take(keys), len(places)


class Keys:
    """Keys of the classes of tuples at any node. A level beyond an attribute's last leaves the attribute out."""

    def __init__(self, attributes: tuple[Attribute, ...], tuples: int) -> None:
        self.middle = (len(attributes) + 1) // 2
        self.left, self.right = _Half(attributes[: self.middle], tuples), _Half(attributes[self.middle :], tuples)

    def of(self, node: tuple[int, ...], members: Integers | None = None) -> tuple[Integers, int]:
        """The key of each tuple (of each of `members`) at `node`, and the number of slots that keys are below."""
        left, height = self.left.at(node[: self.middle], members)
        right, width = self.right.at(node[self.middle :], members)
        keys = left * width
        keys += right
        return keys, height * width


class _Half:
    """Numbers of what tuples show in some of the attributes."""

    def __init__(self, attributes: Sequence[Attribute], tuples: int) -> None:
        self.sizes = [[len(cover) for cover in attribute.cover] for attribute in attributes]
        self.codes = [attribute.codes for attribute in attributes]
        # By levels the number of each combination, and of each tuple, and how many numbers there are.
        self.known: dict[tuple[int, ...], tuple[Integers, int]] = {}
        self.known_of_tuples: dict[tuple[int, ...], Integers] = {}
        self.combination, size = self._numbered((0,) * len(attributes), tuples)
        member = np.empty(size, dtype=np.int64)
        member[self.combination] = np.arange(tuples)
        self.codes = [tuple(codes[member] for codes in attribute.codes) for attribute in attributes]
        self.combinations = size

    def at(self, levels: tuple[int, ...], members: Integers | None) -> tuple[Integers, int]:
        """The number of each tuple (of each of `members`) at these levels, and how many numbers there are."""
        found = self.known.get(levels)
        if found is None:
            found = self._numbered(levels, self.combinations)
            if len(self.known) < KEPT // self.combinations:
                self.known[levels] = found
        numbers, size = found
        if (of_tuples := self.known_of_tuples.get(levels)) is not None:
            return of_tuples if members is None else of_tuples.take(members), size
        if members is not None:
            return numbers.take(self.combination.take(members)), size
        of_tuples = numbers.take(self.combination)
        if len(self.known_of_tuples) < KEPT // len(of_tuples):
            self.known_of_tuples[levels] = of_tuples
        return of_tuples, size

    def _numbered(self, levels: tuple[int, ...], entries: int) -> tuple[Integers, int]:
        keys, slots = np.zeros(entries, dtype=np.int64), 1
        for codes, sizes, level in zip(self.codes, self.sizes, levels, strict=True):
            if level >= len(sizes) or (size := sizes[level]) == 1:
                continue
            if slots > MAXIMUM_RADIX // size:
                keys, slots = numbered(keys, slots)
            keys *= size
            keys += codes[level]
            slots *= size
        return numbered(keys, slots)
