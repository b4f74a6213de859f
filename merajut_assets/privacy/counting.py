"""From a frame and a policy to integers: rows become distinct tuples with counts, and nothing more.

Belongs here: reading the roles of the columns, encoding values, counting, and binding the policy's
requirements to what was counted. Does not belong here: what is done with the counts (`lattice`, `local`),
publishing (`anonymise`), or the levels of a quasi-identifier (`hierarchy`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.hierarchy import (
    Codes,
    Hierarchy,
    Numbers,
    Rows,
    as_published,
    distinct_columns,
    hierarchy_of,
    narrow,
    ranked_columns,
    read_hierarchy,
)
from merajut_assets.privacy.intake import type_name
from merajut_assets.privacy.models import (
    AtLeast,
    BetaLikeness,
    EntropyDiversity,
    EqualCloseness,
    HierarchicalCloseness,
    MapAtLeast,
    Model,
    OrderedCloseness,
    Presence,
    RecursiveDiversity,
    fraction,
    tables_are_exact,
)
from merajut_assets.privacy.policy import DataError, Policy, PolicyError, Sensitive, TCloseness
from merajut_assets.privacy.problem import Attribute, Flags, Integers, Problem, Requirement, Source

MAXIMUM_RADIX = 1 << 62
# A key space of this many slots per row is looked up in a table; a larger one is joined.
SLOTS_PER_ROW = 8
# Rows are counted when no column has more distinct values than one per so many rows.
REPEATED = 4

Keys = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Lines:
    """The rows of a partition; those that are alike in everything are one line, where all that can be counted.

    `tuples` (r,): the tuple of each line. `ranks` (r,): its place among the distinct values of each column that is
    no quasi-identifier. Either `times` (r,), how many rows each line is, or `places` (r,), which row of the frame.
    """

    tuples: Codes
    ranks: dict[str, Numbers | Codes]
    times: Codes | None
    places: Codes | None

    def only(self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] | Codes) -> Lines:
        """The chosen lines, in the order in which they are chosen."""
        return Lines(
            self.tuples[chosen],
            {name: ranks[chosen] for name, ranks in self.ranks.items()},
            None if self.times is None else self.times[chosen],
            None if self.places is None else self.places[chosen],
        )


@dataclass(frozen=True, eq=False)
class Part:
    """One partition by the exact columns: its `rows` (p,) in the frame (None: all of them), what they are once
    those alike are counted, and the task."""

    rows: Codes | None
    lines: Lines
    problem: Problem


@dataclass(frozen=True, eq=False)
class _Values:
    """A sensitive column as numbers: the code of each of its distinct values, ascending, below `width`, the code
    of nulls if there are any, how often each code occurs in the whole frame, and its model of t-closeness, which may
    ask for an order of codes."""

    codes: Codes
    width: int
    null: int | None
    table: Codes
    closeness: Model | None


@dataclass(frozen=True, eq=False)
class Counted:
    """The hierarchies of the quasi-identifiers, over their distinct values in the frame (with the population's
    among theirs), the distinct values of the other columns, ascending, and the partitions. Columns that cannot be
    sorted have no values."""

    hierarchies: dict[str, Hierarchy]
    values: dict[str, pl.Series]
    parts: list[Part]


def count_frame(
    frame: pl.DataFrame, policy: Policy, population: pl.DataFrame | None = None, *, by_row: bool = False
) -> Counted:
    """The frame, as `intake.taken` gives it, counted as `policy` asks. `by_row`: every row is a tuple of its own, so
    that rows of equal values can be told apart; there is no population then.

    Raises DataError when the population lacks a column or values do not fit, and PolicyError when hierarchies
    contradict themselves or a population is missing.
    """
    people = _population(frame, policy, population)
    columns = [frame.get_column(name) for name in policy.quasi_identifiers]
    if people is not None:
        columns = [pl.concat([column, people.get_column(column.name)]) for column in columns]
    hierarchies, in_use, keys = _encoded(columns, policy)
    own, others = keys.numbers[: len(frame)], keys.numbers[len(frame) :]
    del columns
    rest = [frame.get_column(name) for name in frame.columns if name not in policy.quasi_identifiers]
    sortable = [column for column in rest if not _is_unsortable(column.dtype)]
    values: dict[str, pl.Series] = {}
    ranks: dict[str, Numbers] = {}
    for column, (distinct, rank) in zip(sortable, ranked_columns(sortable), strict=True):
        values[column.name], ranks[column.name] = distinct, rank
    countable = (
        not by_row
        and len(sortable) == len(rest)
        # Equal floats can differ in their sign, and of pseudonyms there is nothing to count.
        and not any(distinct.dtype.is_float() or REPEATED * len(distinct) > len(frame) for distinct in values.values())
        and keys.slots * math.prod(len(distinct) for distinct in values.values()) <= MAXIMUM_RADIX
    )
    sensitive = {name: _values(values[name], ranks[name], spec) for name, spec in policy.sensitive.items()}
    counter = _Counter(policy, hierarchies, keys, in_use, values, sensitive, countable, by_row)
    if not policy.exact:
        return Counted(hierarchies, values, [counter.part(None, own, ranks, others if people is not None else None)])
    numbered, numbers_of_people = _parts(frame, people, policy)
    parts = []
    for number in range(int(numbered.max()) + 1 if len(numbered) else 0):
        rows = np.flatnonzero(numbered == number)
        beside = others[numbers_of_people == number] if numbers_of_people is not None else None
        parts.append(counter.part(rows, own[rows], {name: rank[rows] for name, rank in ranks.items()}, beside))
    return Counted(hierarchies, values, parts)


# ── columns ──────────────────────────────────────────────────────────────────────────────────


def _population(frame: pl.DataFrame, policy: Policy, given: pl.DataFrame | None) -> pl.DataFrame | None:
    """The class columns of the population, typed as in the frame; None where no requirement asks for it."""
    if not policy.needs_population:
        return None
    if given is None:
        if policy.population is None:
            raise PolicyError(
                "k_map and delta_presence need a population: name a Parquet file in the policy, or give a frame"
            )
        given = read_population(policy.population)
    if missing := [name for name in policy.class_columns if name not in given.columns]:
        raise DataError(f"the population lacks column(s) {', '.join(missing)} that the policy names")
    typed = []
    for name in policy.class_columns:
        try:
            typed.append(given.get_column(name).cast(frame.schema[name]))
        except pl.exceptions.PolarsError:
            raise DataError(
                f"column {name!r} of the population is {type_name(given.schema[name])} and cannot be read as "
                f"{type_name(frame.schema[name])}, which the frame has; give both the same type"
            ) from None
    return pl.DataFrame(typed)


def read_population(path: Path) -> pl.DataFrame:
    """The population in a Parquet file. Raises PolicyError naming the file when it cannot be read."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise PolicyError(f"population {path.name} cannot be read as Parquet; check the path in the policy") from None


def _encoded(columns: Sequence[pl.Series], policy: Policy) -> tuple[dict[str, Hierarchy], list[Codes], Packed]:
    """The hierarchies of the quasi-identifiers in `columns` (n,), the codes at the finest permitted level of each that
    occur, and one number per row for its places among these: in the order of the labels, whatever that of the rows."""
    hierarchies: dict[str, Hierarchy] = {}
    in_use: list[Codes] = []
    places: list[Numbers] = []
    numbered = distinct_columns(columns)
    for (name, spec), (distinct, number) in zip(policy.quasi_identifiers.items(), numbered, strict=True):
        hierarchy = hierarchies[name] = as_published(hierarchy_of(distinct, number, spec), policy)
        codes, place = np.unique(hierarchy.codes[spec.least_level][hierarchy.rows], return_inverse=True)
        in_use.append(codes)
        places.append(narrow(place, len(codes)))
    of_rows = (place[number] for place, (_, number) in zip(places, numbered, strict=True))
    return hierarchies, in_use, Packed(of_rows, [len(codes) for codes in in_use])


def _is_unsortable(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype == pl.Object


def _parts(frame: pl.DataFrame, people: pl.DataFrame | None, policy: Policy) -> tuple[Rows, Rows | None]:
    """The number of each row's partition, in ascending order of the exact columns, and of each person's (-1: none)."""
    names = list(policy.exact)
    distinct = frame.select(names).unique().sort(names).with_row_index("number")

    def numbered(table: pl.DataFrame) -> Rows:
        joined = table.select(names).join(distinct, on=names, how="left", nulls_equal=True, maintain_order="left")
        return joined.get_column("number").cast(pl.Int32).fill_null(-1).to_numpy()

    return numbered(frame), numbered(people) if people is not None else None


# ── sensitive columns ────────────────────────────────────────────────────────────────────────


def _values(distinct: pl.Series, ranks: Numbers, spec: Sensitive) -> _Values:
    """`distinct`: the values of the column, ascending; `ranks` (n,): each row's place among them."""
    closeness = spec.t_closeness
    often = np.bincount(ranks, minlength=len(distinct)).astype(np.int64)
    codes, width, null = np.arange(len(distinct)), len(distinct), None
    if closeness is not None and closeness.kind == "ordered":
        codes, width = _ordered(distinct, often, closeness)
    elif distinct.null_count():
        null = width - 1
    table = _added(codes, often, width)
    model: Model | None = None
    if closeness is not None:
        t = fraction(closeness.t)
        if closeness.kind == "equal":
            model = EqualCloseness(t, table)
        elif closeness.kind == "ordered":
            model = OrderedCloseness(t, table)
        else:
            model = HierarchicalCloseness(t, table, _tree(distinct, often, closeness))
        steps = len(model.levels) if isinstance(model, HierarchicalCloseness) else width
        if not tables_are_exact(len(ranks), steps):
            raise DataError(f"column {distinct.name!r}: too many rows for exact t-closeness; anonymise them in parts")
    return _Values(codes, width, null, table, model)


def _ordered(distinct: pl.Series, often: Codes, spec: TCloseness) -> tuple[Codes, int]:
    """Each value's rank and the number of ranks: as `order` lists them, or ascending."""
    if distinct.null_count():
        raise DataError(
            f"column {distinct.name!r} holds nulls, which have no rank for ordered t-closeness; "
            "give them a value, or measure with the equal or hierarchical distance"
        )
    if spec.order is None:
        return np.arange(len(distinct)), len(distinct)
    place_of = {str(value): place for place, value in enumerate(spec.order)}
    codes = np.array([place_of.get(value, -1) for value in distinct.cast(pl.String)], dtype=np.int64)
    if missing := int(often[codes < 0].sum()):
        raise DataError(
            f"column {distinct.name!r}: {missing} row(s) hold a value that 'order' of its t_closeness does not list"
        )
    return codes, len(spec.order)


def _tree(distinct: pl.Series, often: Codes, spec: TCloseness) -> tuple[Integers, ...]:
    """Per level below the root the node of each of the `distinct` values."""
    assert spec.hierarchy is not None
    table = read_hierarchy(spec.hierarchy, spec.separator)
    names = table.columns
    if len(names) < 2 or table.get_column(names[-1]).n_unique() != 1:
        raise PolicyError(
            f"hierarchy {spec.hierarchy.name}: for t_closeness its last level must be one value for all, above others"
        )
    values = distinct.cast(pl.String).alias("level_0")
    joined = values.to_frame().join(table, on="level_0", how="left", maintain_order="left")
    absent = joined.get_column(names[-1]).is_null() & values.is_not_null()
    if missing := int(often[absent.to_numpy()].sum()):
        raise DataError(
            f"column {distinct.name!r}: {missing} row(s) hold a value that is missing in the hierarchy of its "
            "t_closeness"
        )
    # Nulls are a branch of their own, up to the root.
    nodes = ranked_columns([joined.get_column(name) for name in names[:-1]])
    return tuple(number.astype(np.int64) for _, number in nodes)


# ── counting ─────────────────────────────────────────────────────────────────────────────────


class Packed:
    """One number per row out of several columns of numbers, of which each is below its size, and the way back.

    Mixed-radix numbers; where they would overflow 64 bits, what there is so far is renumbered.
    """

    def __init__(self, columns: Iterable[Keys], sizes: Sequence[int]) -> None:
        self.steps: list[tuple[int, Codes]] = []
        kind = np.uint32 if math.prod(sizes) <= 1 << 32 else np.int64
        rest = iter(columns)
        self.numbers: Keys = next(rest).astype(kind)
        self.slots = sizes[0]
        for column, size in zip(rest, sizes[1:], strict=True):
            before = np.zeros(0, dtype=np.int64)
            if self.slots > MAXIMUM_RADIX // max(size, 1):
                before, self.numbers = np.unique(self.numbers, return_inverse=True)
                self.slots = len(before)
            self.numbers *= kind(size)
            self.numbers += column.astype(kind, copy=False)
            self.slots *= size
            self.steps.append((size, before))

    def columns_of(self, keys: Keys) -> list[Codes]:
        """The number in each of the columns, for each of `keys`."""
        columns: list[Codes] = []
        rest: Codes = keys.astype(np.int64)
        for size, before in reversed(self.steps):
            above = rest // size
            columns.append(rest - above * size)
            rest = above
            if len(before):
                rest = before[rest]
        return [rest, *reversed(columns)]


@dataclass(frozen=True, eq=False)
class _Counter:
    """Makes the task of each partition out of what all of them share. `in_use`: per quasi-identifier the codes at
    its finest permitted level that rows or people have; the columns of `keys` are places among these."""

    policy: Policy
    hierarchies: dict[str, Hierarchy]
    keys: Packed
    in_use: list[Codes]
    values: dict[str, pl.Series]
    sensitive: dict[str, _Values]
    countable: bool
    by_row: bool

    def part(self, rows: Codes | None, keys: Keys, ranks: dict[str, Numbers], people: Keys | None) -> Part:
        """The partition of these `rows` (None: all) with their `keys` and `ranks`, and the keys of the people."""
        times, population = None, None
        of_lines: dict[str, Numbers | Codes] = {**ranks}
        size = len(keys)
        if self.countable:
            packed = Packed([keys, *ranks.values()], [self.keys.slots, *(len(self.values[name]) for name in ranks)])
            distinct, times = tally(packed.numbers)
            keys, *columns = packed.columns_of(distinct)
            of_lines = dict(zip(ranks, columns, strict=True))
            is_first = _is_first(keys)
            tuples, distinct = np.cumsum(is_first) - 1, keys[is_first]
        elif self.by_row:
            tuples, distinct = np.arange(size), keys
        else:
            distinct, _ = tally(keys)
            tuples = self._places(keys, distinct)
        if people is not None:
            keys_of_people, counts = tally(people)
            both = np.union1d(distinct, keys_of_people)
            tuples, distinct = np.searchsorted(both, distinct)[tuples], both
            population = _added(np.searchsorted(both, keys_of_people), counts, len(both))
        places = None if times is not None else np.arange(size) if rows is None else rows
        lines = Lines(tuples, of_lines, times, places)
        sources: list[Source] = []
        problem = Problem(
            self._attributes(distinct),
            _added(tuples, times, len(distinct)),
            self._requirements(lines, size, len(distinct), sources),
            self._limit(size),
            tuple(sources),
            population,
        )
        return Part(rows, lines, problem)

    def _places(self, keys: Keys, distinct: Keys) -> Codes:
        """The place of each of `keys` among the `distinct` ones."""
        if self.keys.slots <= max(SLOTS_PER_ROW * len(keys), 1 << 16):
            table = np.zeros(self.keys.slots, dtype=np.int32)
            table[distinct] = np.arange(len(distinct), dtype=np.int32)
            return np.asarray(table[keys])
        places = pl.DataFrame({"key": distinct}).with_row_index("place")
        joined = pl.DataFrame({"key": keys}).join(places, on="key", how="left", maintain_order="left")
        return joined.get_column("place").to_numpy()

    def _limit(self, rows: int) -> int:
        bounds = self.policy.delta_presence
        if bounds is not None and bounds.min > 0:
            return 0
        return int(Decimal(str(self.policy.suppression_limit)) * rows)

    def _attributes(self, keys: Keys) -> tuple[Attribute, ...]:
        attributes = []
        for (name, hierarchy), in_use, places in zip(
            self.hierarchies.items(), self.in_use, self.keys.columns_of(keys), strict=True
        ):
            spec = self.policy.quasi_identifiers[name]
            levels = range(spec.least_level, hierarchy.levels)
            attributes.append(
                Attribute(
                    tuple(
                        hierarchy.above(spec.least_level, level)[in_use].astype(np.int32)[places] for level in levels
                    ),
                    tuple(hierarchy.cover[level] for level in levels),
                    hierarchy.domain,
                    spec.weight,
                    spec.least_level,
                )
            )
        return tuple(attributes)

    def _requirements(self, lines: Lines, rows: int, tuples: int, sources: list[Source]) -> tuple[Requirement, ...]:
        """The policy's requirements, k first; what they count besides rows is appended to `sources`."""

        def source(values: Codes | Numbers, width: int, null: int | None) -> int:
            pairs = Packed([lines.tuples, values], [tuples, width])
            distinct, counts = tally(pairs.numbers, lines.times)
            tuples_of_pairs, values_of_pairs = pairs.columns_of(distinct)
            sources.append(Source(tuples_of_pairs, values_of_pairs, counts, width, null))
            return len(sources) - 1

        policy = self.policy
        requirements = []
        if policy.subject is None or pl.Series(subjects := lines.ranks[policy.subject]).n_unique() == rows:
            # One row per subject: counting rows is counting subjects, and faster.
            requirements.append(Requirement("k", AtLeast(policy.k)))
        elif policy.delta_presence is not None:
            raise DataError(
                f"subject column {policy.subject!r} holds subjects with several rows, and delta_presence is the share "
                "of people who are in the table; make one row of each subject's"
            )
        else:
            width = len(self.values[policy.subject])
            requirements.append(Requirement("k", AtLeast(policy.k, "distinct"), source(subjects, width, None)))
        for name, spec in policy.sensitive.items():
            values = self.sensitive[name]
            if models := _models(name, spec, values):
                place = source(values.codes[lines.ranks[name]], values.width, values.null)
                requirements += [Requirement(label, model, place) for label, model in models]
        if policy.k_map is not None:
            requirements.append(Requirement("k_map", MapAtLeast(policy.k_map.k)))
        if (bounds := policy.delta_presence) is not None:
            requirements.append(Requirement("delta_presence", Presence(fraction(bounds.min), fraction(bounds.max))))
        return tuple(requirements)


def _models(name: str, spec: Sensitive, values: _Values) -> list[tuple[str, Model]]:
    """What is asked of one sensitive column, with the names that reports use."""
    models: list[tuple[str, Model]] = []
    if (diversity := spec.l_diversity) is not None:
        model: Model
        if diversity.kind == "distinct":
            model = AtLeast(int(diversity.l), "distinct")
        elif diversity.kind == "entropy":
            model = EntropyDiversity(diversity.l, values.null)
        else:
            assert diversity.c is not None
            model = RecursiveDiversity(fraction(diversity.c), int(diversity.l), values.null)
        models.append((f"l_diversity of {name}", model))
    if values.closeness is not None:
        models.append((f"t_closeness of {name}", values.closeness))
    if spec.beta_likeness is not None:
        models.append((f"beta_likeness of {name}", BetaLikeness(fraction(spec.beta_likeness), values.table)))
    return models


def tally(keys: Keys, times: Codes | None = None) -> tuple[Keys, Codes]:
    """The distinct `keys` in ascending order and how often each occurs; each of `keys` counts so many `times`."""
    if times is None:
        # Sorting numbers takes half the time of hashing them.
        keys = pl.Series(keys).sort().to_numpy()
        starts = np.flatnonzero(_is_first(keys))
        return keys[starts], np.diff(starts, append=len(keys))
    if (keys[1:] < keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, times = keys[order], times[order]
    starts = np.flatnonzero(_is_first(keys))
    return keys[starts], np.add.reduceat(times, starts) if len(starts) else times


def _is_first(keys: Keys) -> Flags:
    """Which of the ascending `keys` differ from the one before."""
    is_first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    return is_first


def _added(places: Codes, counts: Codes | None, size: int) -> Codes:
    """The sum (size,) of the `counts`, None: 1 each, at each of `places`; exact, as there are fewer than 2^53 rows."""
    return np.bincount(places, weights=counts, minlength=size).astype(np.int64)
