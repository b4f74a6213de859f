"""The rows of a release: what was found for each tuple is written out, in an order that tells nothing.

Belongs here: applying levels, leaving out what is suppressed, ordering and writing. Does not belong here:
finding the levels (`lattice`, `local`), reporting on them (`anonymise`), or proving the outcome (`verify`).

Columns are sorted as numbers in the order of their values, as many of them packed into one as 64 bits hold: that is
several times faster than sorting texts. Rows that are alike in everything are counted and sorted as one.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from merajut_assets.privacy.counting import MAXIMUM_RADIX, Counted, Packed, Part, tally
from merajut_assets.privacy.hierarchy import Codes, Hierarchy, Numbers, Rows, ranked_values
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.problem import Integers

# Per partition: the class (tuples,) of each tuple, negative where it is suppressed, and the level (tuples,
# attributes) of each quasi-identifier, as places in `Attribute.codes`.
Answer = tuple[Integers, Integers]

# Rows are counted when no column has more distinct values than one per so many rows.
REPEATED = 4


@dataclass(frozen=True, eq=False)
class _Lines:
    """Rows of the release: the `tuples` (r,) they belong to, their `ranks` (r,) in each other column, and either how
    many rows of the frame each line stands for (`times`), or which one (`places`)."""

    tuples: Codes
    ranks: list[Numbers | Codes]
    times: Codes | None
    places: Codes | None

    def only(self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] | Codes) -> _Lines:
        """The chosen lines, in the order in which they are chosen."""
        return _Lines(
            self.tuples[chosen],
            [ranks[chosen] for ranks in self.ranks],
            None if self.times is None else self.times[chosen],
            None if self.places is None else self.places[chosen],
        )


def publish(frame: pl.DataFrame, policy: Policy, counted: Counted, answers: Sequence[Answer]) -> pl.DataFrame:
    """The kept rows with generalised quasi-identifiers, sorted by their own content: class first, then pseudonym,
    then the rest. Rows that still tie differ only in columns that cannot be sorted; these are shuffled first, so
    no input order survives.
    """
    others = [name for name in frame.columns if name not in counted.hierarchies]
    sortable = [name for name in others if not _unsortable(frame.schema[name])]
    with ThreadPoolExecutor(max_workers=pl.thread_pool_size()) as threads:
        ranked = dict(zip(sortable, threads.map(ranked_values, frame.select(sortable).iter_columns()), strict=True))
    countable = len(sortable) == len(others) and all(
        # Equal floats can differ in their sign, and of pseudonyms there is nothing to count.
        not frame.schema[name].is_float() and REPEATED * len(values) <= len(frame)
        for name, (values, _) in ranked.items()
    )
    texts = {
        name: _Texts(hierarchy, _levels_in_use(place, spec.least_level, answers))
        for place, ((name, hierarchy), spec) in enumerate(
            zip(counted.hierarchies.items(), policy.quasi_identifiers.values(), strict=True)
        )
    }
    widths = [len(values) for values, _ in ranked.values()]
    pieces, numbered = [], []
    for part, (class_of_tuple, levels) in zip(counted.parts, answers, strict=True):
        lines = _lines(part, [ranks for _, ranks in ranked.values()], widths, countable)
        lines = lines.only(class_of_tuple[lines.tuples] >= 0)
        if len(sortable) < len(others):
            lines = lines.only(np.random.default_rng(secrets.randbits(128)).permutation(len(lines.tuples)))
        pieces.append(lines)
        numbered.append(
            [
                text.numbers(attribute.codes, attribute.first_level, levels[:, place])[lines.tuples]
                for place, (text, attribute) in enumerate(zip(texts.values(), part.problem.attributes, strict=True))
            ]
        )
    numbers = dict(zip(texts, map(np.concatenate, zip(*numbered, strict=True)), strict=True))
    ranks = dict(zip(sortable, map(np.concatenate, zip(*(lines.ranks for lines in pieces), strict=True)), strict=True))
    first = [*policy.class_columns, *([policy.subject] if policy.subject is not None else [])]
    order = _order(
        [
            (numbers[name], len(texts[name].labels)) if name in numbers else (ranks[name], len(ranked[name][0]))
            for name in [*first, *(name for name in sortable if name not in first)]
        ]
    )
    if countable:
        times = np.concatenate([lines.times for lines in pieces if lines.times is not None])[order]
        values = {name: text.labels for name, text in texts.items()} | {name: ranked[name][0] for name in others}
        columns = {
            name: values[name].gather(pl.Series(np.repeat(number[order].astype(np.uint32), times)))
            for name, number in (numbers | ranks).items()
        }
    else:
        places = pl.Series(np.concatenate([lines.places for lines in pieces if lines.places is not None])[order])
        columns = {name: text.labels.gather(pl.Series(numbers[name][order])) for name, text in texts.items()}
        columns |= {name: frame.get_column(name).gather(places) for name in others}
    return pl.DataFrame([columns[name].alias(name) for name in frame.columns])


def _lines(part: Part, ranks: list[Numbers], widths: list[int], countable: bool) -> _Lines:
    """All rows of a partition: counted, where that is possible, and one by one else."""
    tuples = np.arange(part.problem.tuples)
    if countable and not ranks and not part.by_row:
        return _Lines(tuples, [], part.problem.counts, None)
    if part.rows is not None:
        ranks = [column[part.rows] for column in ranks]
    if countable and not part.by_row and part.slots * math.prod(widths) <= MAXIMUM_RADIX:
        packed = Packed([part.keys, *ranks], [part.slots, *widths])
        distinct, times = tally(packed.numbers)
        keys, *of_others = packed.columns_of(distinct)
        return _Lines(part.tuple_of(keys.astype(part.keys.dtype)), [*of_others], times, None)
    places = np.arange(len(part.keys)) if part.rows is None else part.rows
    ones = np.ones(len(places), dtype=np.int64) if countable else None
    return _Lines(part.of_rows(tuples), [*ranks], ones, places)


def _levels_in_use(place: int, least: int, answers: Sequence[Answer]) -> list[int]:
    used: set[int] = set()
    for class_of_tuple, levels in answers:
        used |= set(np.unique(levels[class_of_tuple >= 0, place]).tolist())
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

        0 for a tuple at a level that is not in use: it is suppressed.
        """
        numbers = np.zeros(len(levels), dtype=np.int32)
        for level, number_of in self.number_of.items():
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


def _unsortable(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype in (pl.Object, pl.Binary)
