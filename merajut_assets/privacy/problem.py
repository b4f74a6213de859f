"""An anonymisation task as integers: what the searches (`lattice`, `local`) are given and give back.

Belongs here: the shape of the task and of its answer. Does not belong here: how a frame becomes a
task (`anonymise`), how classes are judged (`models`) or costed (`metrics`), or how an answer is found.

Vocabulary: a *tuple* is a distinct combination of quasi-identifier values, with the number of rows
that carry it (0 for a combination that only the population has); a *node* is a level per attribute;
a *class* is what rows of equal published values form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.keys import Keys
from merajut_assets.privacy.margins import Prepared
from merajut_assets.privacy.models import AtLeast, Model

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Attribute:
    """One quasi-identifier from its finest permitted level (entry 0) to its coarsest.

    `codes[level]` (tuples,): the code of each tuple, from 0. `cover[level]`: for how many rows of the
    hierarchy each code stands, out of `domain`. `first_level`: which level of the hierarchy entry 0 is.
    Codes nest: tuples of equal codes on one level have equal codes on all coarser ones.
    """

    codes: tuple[npt.NDArray[np.int32], ...]
    cover: tuple[Integers, ...]
    domain: int
    weight: float = 1.0
    first_level: int = 0

    @property
    def levels(self) -> int:
        return len(self.codes)

    def unweighted(self) -> Attribute:
        return replace(self, weight=1.0)

    @property
    def height(self) -> int:
        """Levels of the whole hierarchy above its values."""
        return self.first_level + self.levels - 1


@dataclass(frozen=True, eq=False)
class Source:
    """What is counted besides rows: entry i says that `counts[i]` rows of tuple `tuples[i]` hold value
    `values[i]`, a code below `width`. Pairs occur once, sorted by tuple and value. `null`: the code that
    stands for nothing recorded, if it occurs."""

    tuples: Integers
    values: Integers
    counts: Integers
    width: int
    null: int | None = None


@dataclass(frozen=True)
class Requirement:
    """`model` must hold for every class; `source`: place in `Problem.sources` of what a model that counts
    `distinct` values or a `histogram` is given; models of rows and population need none."""

    name: str
    model: Model
    source: int | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """`counts` (tuples,): rows per tuple. `population` (tuples,): people per tuple, where a requirement asks
    for them. `limit`: the largest number of rows that may be suppressed. `requirements[0]` is k.
    """

    attributes: tuple[Attribute, ...]
    counts: Integers
    requirements: tuple[Requirement, ...]
    limit: int
    sources: tuple[Source, ...] = ()
    population: Integers | None = None

    @cached_property
    def rows(self) -> int:
        return int(self.counts.sum())

    @property
    def k(self) -> int:
        model = self.requirements[0].model
        assert isinstance(model, AtLeast)
        return model.minimum

    @cached_property
    def asks_for_most(self) -> tuple[int, str]:
        """The most rows, values or subjects that a requirement asks each class for, and its name."""
        asked = [(r.model.minimum, r.name) for r in self.requirements if isinstance(r.model, AtLeast)]
        return max(asked, default=(0, ""))

    @cached_property
    def beyond_rows(self) -> tuple[Requirement, ...]:
        """The requirements that need more than a class's number of rows, those on other counts last."""
        needed = [r for r in self.requirements if not (isinstance(r.model, AtLeast) and r.model.counting == "rows")]
        return tuple(sorted(needed, key=lambda requirement: requirement.source is not None))

    @cached_property
    def keys(self) -> Keys:
        """The keys of the tuples at any node."""
        return Keys(self.attributes, self.tuples)

    @cached_property
    def prepared(self) -> Prepared:
        """What metrics compute with."""
        return Prepared(self)

    @property
    def tuples(self) -> int:
        return len(self.counts)

    @property
    def allowed(self) -> int:
        """The largest number of rows that may be suppressed when one row at least is to be published."""
        return min(self.limit, self.rows - 1)


@dataclass(frozen=True, eq=False)
class Recoding:
    """An answer in which each class has levels of its own.

    `class_of_tuple` (tuples,): the class of each tuple, -1 where its rows are suppressed (or there are
    none). `levels` (classes, attributes): the level at which each class publishes each attribute, as
    places in `Attribute.codes`. All tuples of a class have equal codes at its levels, and no two classes
    publish the same values. `figures`: what the search wants reported, figures only.
    """

    class_of_tuple: Integers
    levels: Integers
    figures: dict[str, float | int | bool | str]
