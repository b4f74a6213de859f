"""What the generated world is to be: its parameters, its blocks and its random streams.

A block is the unit of generation: a fixed number of children with all that depends on them. Every
table of every block draws from a stream of its own, named by seed, table and block, so that a
block can be made alone, in any order, and a new table changes no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from merajut_assets.sources.generate.columns import day_number

# Raised whenever the same parameters begin to give other files.
EDITION = 3
BLOCK_CHILDREN = 10_000
# Numbers that a block may use for one kind of row; keys of different blocks never meet.
BLOCK_NUMBERS = 1_000_000
YEARS_OF_EVENTS = 3
DAYS_OF_EVENTS = 365 * YEARS_OF_EVENTS

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Parameters:
    """Size, seed and last day of the world."""

    children: int
    seed: int
    until: date

    @property
    def last_day(self) -> int:
        return day_number(self.until)

    @property
    def first_day(self) -> int:
        """First day of the three years in which things are recorded."""
        return self.last_day - DAYS_OF_EVENTS + 1

    @property
    def blocks(self) -> int:
        return -(-self.children // BLOCK_CHILDREN)

    @property
    def identity_slots(self) -> int:
        """Each block numbers children with guardians, and staff, apart."""
        return 2 * self.blocks

    def block(self, index: int) -> Block:
        first = index * BLOCK_CHILDREN
        return Block(self, index, min(BLOCK_CHILDREN, self.children - first))

    def stream(self, name: str, index: int = 0) -> np.random.Generator:
        """The random stream of a table (or of a part of it) in a block."""
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, zlib.crc32(name.encode()), index]))
        )


@dataclass(frozen=True)
class Block:
    """One of the equal parts in which the world is made; `children` of them belong to it."""

    parameters: Parameters
    index: int
    children: int

    @property
    def first_number(self) -> int:
        return self.index * BLOCK_NUMBERS + 1

    @property
    def last_day(self) -> int:
        return self.parameters.last_day

    @property
    def first_day(self) -> int:
        return self.parameters.first_day

    def stream(self, name: str) -> np.random.Generator:
        return self.parameters.stream(name, self.index)

    def share(self, total: int) -> tuple[int, int]:
        """This block's part (first, last exclusive) of a list that all blocks share."""
        blocks = self.parameters.blocks
        return total * self.index // blocks, total * (self.index + 1) // blocks
