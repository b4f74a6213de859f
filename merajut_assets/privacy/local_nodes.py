"""The level vectors that local recoding tries: which, in which order, and the groups that each makes.

Belongs here: choosing and ordering nodes, and numbering the tuples' groups at a node fast. Does not
belong here: what is done with the groups (`local`).
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.classes import MAXIMUM_RADIX
from merajut_assets.privacy.metrics import Floats
from merajut_assets.privacy.problem import Flags, Integers, Problem

# A lattice of up to so many nodes is tried completely.
MAXIMUM_NODES = 20_000
# Of a larger one, the nodes at which a sample of tuples meets its nearest neighbours of another sample.
SEEDS = 1_000
NEIGHBOURS = 4_000
MEETING_PLACES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Keys of half nodes that are kept for the nodes to come.
KEPT_HALVES = 512
_HASH = np.uint64(0x9E3779B97F4A7C15)

Halves = npt.NDArray[np.int32]


def candidate_nodes(problem: Problem) -> Integers:
    """The nodes to try (nodes, attributes), each once; the finest and the coarsest are among them."""
    heights = [attribute.levels for attribute in problem.attributes]
    if prod(heights) <= MAXIMUM_NODES:
        return np.array(list(product(*(range(height) for height in heights))), dtype=np.int64)
    ends = np.array([[0] * len(heights), [height - 1 for height in heights]], dtype=np.int64)
    return np.unique(np.vstack([ends, _meeting_nodes(problem)]), axis=0)


def _meeting_nodes(problem: Problem) -> Integers:
    """For a sample of tuples, the finest nodes that put them into one group with their 1, 2, 4, … nearest
    neighbours, nearest by the cost of meeting. Needs no lattice, so that it serves any number of attributes."""
    filled = np.flatnonzero(problem.counts > 0)
    seeds, pool = _spread(filled, SEEDS), _spread(filled, NEIGHBOURS)
    places = np.array([place for place in MEETING_PLACES if place <= len(pool)])
    nodes = [np.zeros((0, len(problem.attributes)), dtype=np.int64)]
    step = max(1, 20_000_000 // (len(pool) * len(problem.attributes)))
    for start in range(0, len(seeds), step):
        some = seeds[start : start + step]
        levels = np.zeros((len(some), len(pool), len(problem.attributes)), dtype=np.int8)
        cost = np.zeros((len(some), len(pool)))
        for number, attribute in enumerate(problem.attributes):
            for codes in attribute.codes[:-1]:
                levels[:, :, number] += codes[some][:, None] != codes[pool][None, :]
            shares = np.stack(
                [cover[codes[some]] for cover, codes in zip(attribute.cover, attribute.codes, strict=True)], axis=1
            )
            met = np.take_along_axis(shares, levels[:, :, number].astype(np.int64), axis=1)
            cost += attribute.weight * (met - 1) / max(attribute.domain - 1, 1)
        nearest = np.argsort(cost, axis=1, kind="stable")[:, : places.max()]
        joined = np.maximum.accumulate(np.take_along_axis(levels, nearest[:, :, None], axis=1), axis=1)
        nodes.append(np.unique(joined[:, places - 1].reshape(-1, len(problem.attributes)), axis=0).astype(np.int64))
    found, often = np.unique(np.vstack(nodes), axis=0, return_counts=True)
    return found[np.sort(np.argsort(-often, kind="stable")[:MAXIMUM_NODES])]


def _spread(tuples: Integers, number: int) -> Integers:
    """At most `number` of the `tuples`, evenly spread."""
    return tuples[np.unique(np.linspace(0, len(tuples) - 1, min(number, len(tuples))).astype(np.int64))]


def ordered(problem: Problem, nodes: Integers, weights: Floats) -> Integers:
    """`nodes` from the least to the greatest loss per row under `weights`; finer before coarser ones."""
    terms = np.zeros(nodes.shape)
    for number, attribute in enumerate(problem.attributes):
        loss = [
            int(((cover[codes] - 1) * problem.counts).sum()) / (problem.rows * max(attribute.domain - 1, 1))
            for cover, codes in zip(attribute.cover, attribute.codes, strict=True)
        ]
        terms[:, number] = weights[number] * np.array(loss)[nodes[:, number]]
    # Summed from the smallest term up, so that the order of the attributes does not change the sum.
    cost = np.sort(terms, axis=1).sum(axis=1)
    return nodes[np.lexsort((*nodes.T[::-1], nodes.sum(axis=1), cost))]


class NodeKeys:
    """Numbers the groups that `tuples` (r,) form at a node.

    The key of a node is put together from those of two halves of its levels, which many nodes share.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tuples = np.arange(problem.tuples, dtype=np.int64)
        self._halves: dict[tuple[int, ...], tuple[Halves, int]] = {}
        first: list[int] = []
        second: list[int] = []
        sizes = [1, 1]
        levels = [attribute.levels for attribute in problem.attributes]
        for place in sorted(range(len(levels)), key=lambda place: -levels[place]):
            side = 0 if sizes[0] <= sizes[1] else 1
            (first, second)[side].append(place)
            sizes[side] *= levels[place]
        self._sides = (first, second)

    def keep(self, remaining: Flags) -> None:
        """Forget all tuples but those flagged (r,)."""
        self.tuples = self.tuples[remaining]
        self._halves = {}

    def at(self, node: list[int]) -> tuple[Integers, int]:
        """Equal keys (r,) for tuples of one group at `node`, below the number that is returned beside them."""
        (left, left_size), (right, right_size) = self._half(0, node), self._half(1, node)
        key = np.multiply(left, right_size, dtype=np.int64)
        key += right
        return key, left_size * right_size

    @property
    def slots(self) -> int:
        """How many slots hashing uses, about four per tuple: fewer keys need no hashing."""
        return 1 << max(10, (4 * len(self.tuples)).bit_length())

    def hashed(self, key: Integers) -> Integers:
        """A slot (r,) for each key; equal keys have equal slots."""
        return ((key.view(np.uint64) * _HASH) >> np.uint64(65 - self.slots.bit_length())).astype(np.int64)

    def _half(self, side: int, node: list[int]) -> tuple[Halves, int]:
        chosen = self._sides[side]
        name = (side, *(node[place] for place in chosen))
        if (known := self._halves.get(name)) is not None:
            return known
        key, size = np.zeros(len(self.tuples), dtype=np.int64), 1
        for place in chosen:
            attribute, level = self.problem.attributes[place], node[place]
            width = len(attribute.cover[level])
            if width == 1:
                continue
            if size > MAXIMUM_RADIX // width:
                distinct, key = np.unique(key, return_inverse=True)
                size = len(distinct)
            key = key * width + attribute.codes[level][self.tuples]
            size *= width
        if size > 2 * len(key):
            # Dense, so that the product of two halves stays small.
            distinct, key = np.unique(key, return_inverse=True)
            size = len(distinct)
        if len(self._halves) >= KEPT_HALVES:
            self._halves = {}
        self._halves[name] = (key.astype(np.int32), max(size, 1))
        return self._halves[name]
