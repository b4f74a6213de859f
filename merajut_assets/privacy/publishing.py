"""The rows of a release: what was found for each tuple is written out, in an order that tells nothing.

Belongs here: applying levels, leaving out what is suppressed, ordering and writing. Does not belong here:
finding the levels (`lattice`, `local`), reporting on them (`anonymise`), or proving the outcome (`verify`).

Columns are sorted as numbers in the order of their values, as many of them packed into one as 64 bits hold: that is
several times faster than sorting texts. Rows that are alike in everything are counted and sorted as one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import polars as pl

from merajut_assets.privacy.counting import MAXIMUM_RADIX, Counted
from merajut_assets.privacy.hierarchy import Codes, Hierarchy, Numbers, Rows
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.problem import Integers

# Per partition: the class (tuples,) of each tuple, negative where it is suppressed, and the level (tuples,
# attributes) of each quasi-identifier, as places in `Attribute.codes`.
Answer = tuple[Integers, Integers]


def publish(
    frame: pl.DataFrame, policy: Policy, counted: Counted, answers: Sequence[Answer], *, as_enum: bool = False
) -> pl.DataFrame:
    """The kept rows with generalised quasi-identifiers, sorted by their own content: class first, then pseudonym,
    then the rest. Rows that still tie differ only in columns that cannot be sorted; these are shuffled first, so
    no input order survives. `as_enum`: quasi-identifiers are Enum over the texts that are published, and not String.
    """
    others = [name for name in frame.columns if name not in counted.hierarchies]
    texts = {
        name: _Texts(hierarchy, _levels_in_use(place, spec.least_level, answers))
        for place, ((name, hierarchy), spec) in enumerate(
            zip(counted.hierarchies.items(), policy.quasi_identifiers.values(), strict=True)
        )
    }
    pieces, numbered = [], []
    for part, (class_of_tuple, levels) in zip(counted.parts, answers, strict=True):
        lines = part.lines.only(class_of_tuple[part.lines.tuples] >= 0)
        if len(counted.values) < len(others):
            lines = lines.only(np.random.default_rng(secrets.randbits(128)).permutation(len(lines.tuples)))
        pieces.append(lines)
        numbered.append(
            [
                text.numbers(attribute.codes, attribute.first_level, levels[:, place])[lines.tuples]
                for place, (text, attribute) in enumerate(zip(texts.values(), part.problem.attributes, strict=True))
            ]
        )
    numbers = dict(zip(texts, map(np.concatenate, zip(*numbered, strict=True)), strict=True))
    ranks = {name: np.concatenate([lines.ranks[name] for lines in pieces]) for name in counted.values}
    first = [*policy.class_columns, *([policy.subject] if policy.subject is not None else [])]
    order = _order(
        [
            (numbers[name], len(texts[name].labels)) if name in numbers else (ranks[name], len(counted.values[name]))
            for name in [*first, *(name for name in counted.values if name not in first)]
        ]
    )
    shown = {
        name: _as_enum(text.labels, numbers[name][order]) if as_enum else (text.labels, numbers[name][order])
        for name, text in texts.items()
    }
    if times := [lines.times for lines in pieces if lines.times is not None]:
        repeated = np.concatenate(times)[order]
        shown |= {name: (values, ranks[name][order]) for name, values in counted.values.items()}
        columns = {
            name: values.gather(pl.Series(np.repeat(number.astype(np.uint32), repeated)))
            for name, (values, number) in shown.items()
        }
    else:
        places = pl.Series(np.concatenate([lines.places for lines in pieces if lines.places is not None])[order])
        columns = {name: labels.gather(pl.Series(number)) for name, (labels, number) in shown.items()}
        columns |= {name: frame.get_column(name).gather(places) for name in others}
    return pl.DataFrame([columns[name].alias(name) for name in frame.columns])


def _as_enum(labels: pl.Series, numbers: Rows) -> tuple[pl.Series, Rows]:
    """Those of the `labels` that occur among the `numbers` (n,) of the rows, as Enum over them, and each row's number
    among these."""
    occurs = np.bincount(numbers, minlength=len(labels)) > 0
    occurring = labels.filter(pl.Series(occurs))
    return occurring.cast(pl.Enum(occurring.drop_nulls())), (np.cumsum(occurs, dtype=np.int32) - 1)[numbers]


def _levels_in_use(place: int, least: int, answers: Sequence[Answer]) -> list[int]:
    used: set[int] = set()
    for class_of_tuple, levels in answers:
        used |= set(np.flatnonzero(np.bincount(levels[class_of_tuple >= 0, place])).tolist())
    return [least + level for level in sorted(used)]


class _Texts:
    """The texts that one column publishes, over all levels in use, in alphabetical order."""

    def __init__(self, hierarchy: Hierarchy, levels: list[int]) -> None:
        self.labels = pl.concat([hierarchy.labels[level] for level in levels]).unique().sort()
        self.number_of = {
            level: self.labels.search_sorted(hierarchy.labels[level]).to_numpy().astype(np.int32) for level in levels
        }

    def numbers(self, codes: Sequence[Rows], least: int, levels: Integers) -> Rows:
        """The place (tuples,) among `labels` of what each tuple shows at its level, of which `codes` begin at `least`.

        Any place for a tuple at a level that is not in use: it is suppressed.
        """
        first, *further = self.number_of.items()
        numbers = first[1][codes[first[0] - least]]
        for level, number_of in further:
            here = levels == level - least
            numbers[here] = number_of[codes[level - least][here]]
        return numbers


def _order(columns: Sequence[tuple[Numbers | Rows, int]]) -> Codes:
    """The places (n,) of the rows in the order of their numbers, of which each column has so many."""
    words: list[Codes] = []
    slots = 0
    for codes, size in columns:
        if not words or slots > MAXIMUM_RADIX // max(size, 1):
            words.append(codes.astype(np.int64))
            slots = max(size, 1)
            continue
        words[-1] *= size
        words[-1] += codes
        slots *= max(size, 1)
    return pl.Series(words[0]).arg_sort().to_numpy() if len(words) == 1 else np.lexsort(words[::-1])
