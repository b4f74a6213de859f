"""Which tuples are alike at a node of the lattice: numbers that are equal where all published values are.

Belongs here: numbering the classes of any node, fast. Does not belong here: what is done with them (`classes`).

The attributes are split into two halves. What the tuples are alike in within one half depends on the
levels of that half alone, of which there are few combinations; each is numbered densely once and kept. The
classes of a node are then pairs of two numbers, which takes one multiplication per tuple, and there are few
enough of these pairs to count them in a table instead of sorting them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from merajut_assets.privacy.problem import Attribute

Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]

# A key space of this many slots per tuple is counted directly; a larger one is sorted first.
SLOTS_PER_TUPLE = 16
SMALL_KEY_SPACE = 1 << 16
MAXIMUM_RADIX = 1 << 62
# How many numbers of 4 bytes are kept at the most.
KEPT = 64_000_000


class Keys:
    """Keys of the classes of tuples at any node. A level beyond an attribute's last leaves the attribute out."""

    def __init__(self, attributes: tuple[Attribute, ...], tuples: int) -> None:
        self.attributes = attributes
        self.tuples = tuples
        middle = (len(attributes) + 1) // 2
        self.halves = (range(middle), range(middle, len(attributes)))
        self.known: dict[tuple[int, tuple[int, ...]], tuple[Small, int]] = {}

    def of(self, node: tuple[int, ...], members: Integers | None = None) -> tuple[Integers, int]:
        """The key of each tuple (of each of `members`) at `node`, and the number of slots that keys are below."""
        (left, height), (right, width) = self._half(0, node), self._half(1, node)
        if members is not None:
            left, right = left[members], right[members]
        keys = left.astype(np.int64)
        keys *= width
        keys += right
        slots = height * width
        if slots > SLOTS_PER_TUPLE * len(keys) + SMALL_KEY_SPACE:
            distinct, keys = np.unique(keys, return_inverse=True)
            slots = len(distinct)
        return keys, slots

    def _half(self, half: int, node: tuple[int, ...]) -> tuple[Small, int]:
        """Per tuple the number of what it shows in one half of the attributes at `node`, and how many there are."""
        levels = tuple(node[place] for place in self.halves[half])
        if (half, levels) not in self.known:
            made = self._numbered(half, levels)
            if (len(self.known) + 1) * self.tuples > KEPT:
                return made
            self.known[half, levels] = made
        return self.known[half, levels]

    def _numbered(self, half: int, levels: tuple[int, ...]) -> tuple[Small, int]:
        keys, slots = np.zeros(self.tuples, dtype=np.int64), 1
        for place, level in zip(self.halves[half], levels, strict=True):
            attribute = self.attributes[place]
            if level >= attribute.levels or (size := len(attribute.cover[level])) == 1:
                continue
            if slots > MAXIMUM_RADIX // size:
                keys, slots = self._dense(keys, slots)
            keys = keys * size
            keys += attribute.codes[level]
            slots *= size
        keys, slots = self._dense(keys, slots)
        return keys.astype(np.int32), slots

    def _dense(self, keys: Integers, slots: int) -> tuple[Integers, int]:
        """The keys renumbered from 0 without gaps, in their order, and how many there are."""
        if slots > SLOTS_PER_TUPLE * self.tuples + SMALL_KEY_SPACE:
            distinct, keys = np.unique(keys, return_inverse=True)
            return keys, len(distinct)
        used = np.zeros(slots, dtype=bool)
        used[keys] = True
        places = np.flatnonzero(used)
        number = np.zeros(slots, dtype=np.int64)
        number[places] = np.arange(len(places))
        return number[keys], len(places)
