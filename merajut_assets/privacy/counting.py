"""From a frame and a policy to integers: rows become distinct tuples with counts, and nothing more.

Belongs here: reading the roles of the columns, encoding values, counting, and binding the policy's
requirements to what was counted. Does not belong here: what is done with the counts (`lattice`, `local`),
publishing (`anonymise`), or the levels of a quasi-identifier (`hierarchy`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
    check_scalar,
    distinct_values,
    hierarchy_of,
    narrow,
    ranked_values,
    read_hierarchy,
)
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
from merajut_assets.privacy.problem import Attribute, Integers, Problem, Requirement, Source

MAXIMUM_RADIX = 1 << 62
# A key space of this many slots per row is looked up in a table; a larger one is joined.
SLOTS_PER_ROW = 8

Keys = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Part:
    """One partition by the exact columns: its `rows` (p,) in the frame (None: all of them), the key of each of
    these rows below `slots`, the distinct keys ascending with the tuple that each belongs to, and the task."""

    rows: Codes | None
    keys: Keys
    slots: int
    distinct: Keys
    tuple_of_distinct: Codes
    problem: Problem
    by_row: bool = False

    def of_rows(self, of_tuples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What stands in `of_tuples` (tuples,) for the tuple of each row (p,)."""
        return of_tuples if self.by_row else of_tuples[self.tuple_of(self.keys)]

    def tuple_of(self, keys: Keys) -> Codes:
        """The tuple of each of `keys`, which all occur among the rows."""
        if self.slots <= max(SLOTS_PER_ROW * len(self.keys), 1 << 16):
            table = np.zeros(self.slots, dtype=np.int32)
            table[self.distinct] = self.tuple_of_distinct
            return np.asarray(table[keys])
        tuples = pl.DataFrame({"key": self.distinct, "tuple": self.tuple_of_distinct})
        joined = pl.DataFrame({"key": keys}).join(tuples, on="key", how="left", maintain_order="left")
        return joined.get_column("tuple").to_numpy()


@dataclass(frozen=True, eq=False)
class _Values:
    """A sensitive column as numbers: the code (n,) of each row below `width`, how often each occurs in the whole
    frame, the code of nulls if there are any, and its model of t-closeness, which may ask for an order of codes."""

    codes: Numbers
    table: Codes
    null: int | None
    closeness: Model | None

    @property
    def width(self) -> int:
        return len(self.table)


@dataclass(frozen=True, eq=False)
class Counted:
    """The hierarchies of the quasi-identifiers, over their distinct values in the frame (with the population's
    among theirs), and the partitions."""

    hierarchies: dict[str, Hierarchy]
    parts: list[Part]


def count_frame(
    frame: pl.DataFrame, policy: Policy, population: pl.DataFrame | None = None, *, by_row: bool = False
) -> Counted:
    """The frame, counted as `policy` asks. `by_row`: every row is a tuple of its own, so that rows of equal
    values can be told apart; there is no population then.

    Raises DataError when frame or population lack a column or hold values that do not fit, and PolicyError
    when hierarchies contradict themselves or a population is missing.
    """
    _check_columns(frame, policy)
    people = _population(frame, policy, population)
    columns = [frame.get_column(name) for name in policy.quasi_identifiers]
    if people is not None:
        columns = [pl.concat([column, people.get_column(column.name)]) for column in columns]
    hierarchies, numbers = {}, []
    with ThreadPoolExecutor(max_workers=pl.thread_pool_size()) as threads:
        # One column is read by one thread only; in the order of the columns, so that errors are always the same.
        for (name, spec), (distinct, number) in zip(
            policy.quasi_identifiers.items(), threads.map(_distinct_scalars, columns), strict=True
        ):
            hierarchies[name] = hierarchy_of(distinct, number, spec)
            numbers.append(number)
    keys = Packed(numbers, [len(hierarchy.rows) for hierarchy in hierarchies.values()])
    own, others = keys.numbers[: len(frame)], keys.numbers[len(frame) :]
    sensitive = {name: _values(frame.get_column(name), spec) for name, spec in policy.sensitive.items()}
    subjects = _numbers(frame.get_column(policy.subject)) if policy.subject is not None else None
    counter = _Counter(policy, hierarchies, keys, sensitive, subjects, by_row)
    if not policy.exact:
        return Counted(hierarchies, [counter.part(None, own, others if people is not None else None)])
    numbered, numbers_of_people = _parts(frame, people, policy)
    parts = []
    for place in range(int(numbered.max()) + 1 if len(numbered) else 0):
        rows = np.flatnonzero(numbered == place)
        beside = others[numbers_of_people == place] if numbers_of_people is not None else None
        parts.append(counter.part(rows, own[rows], beside))
    return Counted(hierarchies, parts)


# ── columns ──────────────────────────────────────────────────────────────────────────────────


def _check_columns(frame: pl.DataFrame, policy: Policy) -> None:
    subject = [policy.subject] if policy.subject is not None else []
    needed = [*policy.class_columns, *policy.sensitive, *subject]
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)} that the policy names")
    for name in subject:
        if frame.get_column(name).null_count():
            raise DataError(f"subject column {name!r} holds nulls; a row without a subject cannot be counted towards k")
    for name in [*policy.exact, *policy.sensitive, *subject]:
        if frame.schema[name].is_nested():
            raise DataError(f"column {name!r} has a nested type; exact, sensitive and subject columns need a scalar")
        # A value that is no number would count as one more value towards l, or as one more subject.
        if frame.schema[name].is_float() and not frame.get_column(name).is_finite().all():
            raise DataError(f"column {name!r} holds NaN or infinity; replace them by null or quarantine the rows")


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
                f"column {name!r} of the population is {given.schema[name]} and cannot be read as "
                f"{frame.schema[name]}, which the frame has; give both the same type"
            ) from None
    return pl.DataFrame(typed)


def read_population(path: Path) -> pl.DataFrame:
    """The population in a Parquet file. Raises PolicyError naming the file when it cannot be read."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise PolicyError(f"population {path.name} cannot be read as Parquet; check the path in the policy") from None


def _numbers(column: pl.Series) -> Numbers:
    """Each row's number among the distinct values of `column` in ascending order; nulls come last."""
    return ranked_values(column)[1]


def _distinct_scalars(column: pl.Series) -> tuple[pl.Series, Numbers]:
    check_scalar(column)
    return distinct_values(column)


def _parts(frame: pl.DataFrame, people: pl.DataFrame | None, policy: Policy) -> tuple[Rows, Rows | None]:
    """The number of each row's partition, in ascending order of the exact columns, and of each person's (-1: none)."""
    names = list(policy.exact)
    distinct = frame.select(names).unique().sort(names).with_row_index("number")

    def numbered(table: pl.DataFrame) -> Rows:
        joined = table.select(names).join(distinct, on=names, how="left", nulls_equal=True, maintain_order="left")
        return joined.get_column("number").cast(pl.Int32).fill_null(-1).to_numpy()

    return numbered(frame), numbered(people) if people is not None else None


# ── sensitive columns ────────────────────────────────────────────────────────────────────────


def _values(column: pl.Series, spec: Sensitive) -> _Values:
    closeness = spec.t_closeness
    order = None
    if closeness is not None and closeness.kind == "ordered":
        codes, width = _ranks(column, closeness)
        order = width
    else:
        codes = _numbers(column)
        width = int(codes.max()) + 1 if len(codes) else 0
    null = width - 1 if order is None and column.null_count() else None
    table = np.bincount(codes, minlength=width).astype(np.int64)
    model: Model | None = None
    if closeness is not None:
        t = fraction(closeness.t)
        if closeness.kind == "equal":
            model = EqualCloseness(t, table)
        elif closeness.kind == "ordered":
            model = OrderedCloseness(t, table)
        else:
            model = HierarchicalCloseness(t, table, _tree(column, codes, width, closeness))
        steps = len(model.levels) if isinstance(model, HierarchicalCloseness) else width
        if not tables_are_exact(len(column), steps):
            raise DataError(f"column {column.name!r}: too many rows for exact t-closeness; anonymise them in parts")
    return _Values(codes, table, null, model)


def _ranks(column: pl.Series, spec: TCloseness) -> tuple[Numbers, int]:
    """Each row's rank and the number of ranks: as `order` lists them, or ascending."""
    if column.null_count():
        raise DataError(
            f"column {column.name!r} holds nulls, which have no rank for ordered t-closeness; "
            "give them a value, or measure with the equal or hierarchical distance"
        )
    if spec.order is None:
        codes = _numbers(column)
        return codes, int(codes.max()) + 1 if len(codes) else 0
    places = pl.DataFrame({"value": [str(value) for value in spec.order]}).with_row_index("place")
    joined = (
        column.cast(pl.String).alias("value").to_frame().join(places, on="value", how="left", maintain_order="left")
    )
    if missing := joined.get_column("place").null_count():
        raise DataError(
            f"column {column.name!r}: {missing} row(s) hold a value that 'order' of its t_closeness does not list"
        )
    return narrow(joined.get_column("place").to_numpy(), len(spec.order)), len(spec.order)


def _tree(column: pl.Series, codes: Numbers, width: int, spec: TCloseness) -> tuple[Integers, ...]:
    """Per level below the root the node (width,) of each value."""
    assert spec.hierarchy is not None
    table = read_hierarchy(spec.hierarchy, spec.separator)
    names = table.columns
    if len(names) < 2 or table.get_column(names[-1]).n_unique() != 1:
        raise PolicyError(
            f"hierarchy {spec.hierarchy.name}: for t_closeness its last level must be one value for all, above others"
        )
    first = np.full(width, -1, dtype=np.int64)
    first[codes] = np.arange(len(codes))
    values = column.gather(pl.Series(first).replace(-1, None)).cast(pl.String)
    joined = values.alias("level_0").to_frame().join(table, on="level_0", how="left", maintain_order="left")
    absent = joined.get_column(names[-1]).is_null() & values.is_not_null()
    if absent.any():
        missing = int(np.isin(codes, np.flatnonzero(absent.to_numpy())).sum())
        raise DataError(
            f"column {column.name!r}: {missing} row(s) hold a value that is missing in the hierarchy of its t_closeness"
        )
    levels = []
    for name in names[:-1]:
        # Nulls are a branch of their own, up to the root.
        levels.append(_numbers(joined.get_column(name)).astype(np.int64))
    return tuple(levels)


# ── counting ─────────────────────────────────────────────────────────────────────────────────


class Packed:
    """One number per row out of several columns of numbers, of which each is below its size, and the way back.

    Mixed-radix numbers; where they would overflow 64 bits, what there is so far is renumbered.
    """

    def __init__(self, columns: Sequence[Keys], sizes: Sequence[int]) -> None:
        self.steps: list[tuple[int, Codes]] = []
        kind = np.uint32 if math.prod(sizes) <= 1 << 32 else np.int64
        self.numbers: Keys = columns[0].astype(kind)
        self.slots = sizes[0]
        for column, size in zip(columns[1:], sizes[1:], strict=True):
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
            columns.append(rest % size)
            rest = rest // size
            if len(before):
                rest = before[rest]
        return [rest, *reversed(columns)]


@dataclass(frozen=True, eq=False)
class _Counter:
    """Makes the task of each partition out of what all of them share."""

    policy: Policy
    hierarchies: dict[str, Hierarchy]
    keys: Packed
    sensitive: dict[str, _Values]
    subjects: Numbers | None
    by_row: bool

    def part(self, rows: Codes | None, keys: Keys, people: Keys | None) -> Part:
        """The partition of these `rows` (None: all) with their `keys`, and the keys of the people beside them."""
        if self.by_row:
            distinct, counts = keys, np.ones(len(keys), dtype=np.int64)
        else:
            distinct, counts = tally(keys)
        keys_of_people, counts_of_people = tally(people) if people is not None else (keys[:0], counts[:0])
        # A key stands for the values of a row; a tuple for what they show at the finest permitted levels, numbered
        # in the order of the labels there, so that it does not depend on the order of the rows.
        codes = self._finest(np.concatenate([distinct, keys_of_people]))
        if self.by_row:
            tuples, first = np.arange(len(keys)), np.arange(len(keys))
        else:
            finest = Packed(codes, self._sizes())
            _, first, tuples = np.unique(finest.numbers, return_index=True, return_inverse=True)
        of_rows, of_people = tuples[: len(distinct)], tuples[len(distinct) :]
        part = Part(
            rows,
            keys,
            self.keys.slots,
            distinct,
            of_rows,
            Problem(
                self._attributes([column[first] for column in codes]),
                _added(of_rows, counts, len(first)),
                (),
                self._limit(len(keys)),
                (),
                None if people is None else _added(of_people, counts_of_people, len(first)),
            ),
            self.by_row,
        )
        sources: list[Source] = []
        requirements = self._requirements(part, sources)
        return replace(part, problem=replace(part.problem, requirements=requirements, sources=tuple(sources)))

    def _finest(self, keys: Keys) -> list[Codes]:
        """Per quasi-identifier the code at its finest permitted level, for each of `keys`."""
        return [
            hierarchy.codes[self.policy.quasi_identifiers[name].least_level][hierarchy.rows][number]
            for (name, hierarchy), number in zip(self.hierarchies.items(), self.keys.columns_of(keys), strict=True)
        ]

    def _sizes(self) -> list[int]:
        return [
            len(hierarchy.cover[self.policy.quasi_identifiers[name].least_level])
            for name, hierarchy in self.hierarchies.items()
        ]

    def _limit(self, rows: int) -> int:
        bounds = self.policy.delta_presence
        if bounds is not None and bounds.min > 0:
            return 0
        return int(Decimal(str(self.policy.suppression_limit)) * rows)

    def _attributes(self, finest: list[Codes]) -> tuple[Attribute, ...]:
        attributes = []
        for (name, hierarchy), codes in zip(self.hierarchies.items(), finest, strict=True):
            spec = self.policy.quasi_identifiers[name]
            levels = range(spec.least_level, hierarchy.levels)
            attributes.append(
                Attribute(
                    tuple(hierarchy.above(spec.least_level, level).astype(np.int32)[codes] for level in levels),
                    tuple(hierarchy.cover[level] for level in levels),
                    hierarchy.domain,
                    spec.weight,
                    spec.least_level,
                )
            )
        return tuple(attributes)

    def _requirements(self, part: Part, sources: list[Source]) -> tuple[Requirement, ...]:
        """The policy's requirements, k first; what they count besides rows is appended to `sources`."""

        def source(values: Numbers, width: int, null: int | None) -> int:
            if self.by_row:
                ones = np.ones(len(part.keys), dtype=np.int64)
                sources.append(Source(np.arange(len(part.keys)), values.astype(np.int64), ones, width, null))
                return len(sources) - 1
            pairs = Packed([part.keys, values], [part.slots, width])
            distinct, counts = tally(pairs.numbers)
            keys, found = pairs.columns_of(distinct)
            held = Packed([part.tuple_of(keys.astype(part.keys.dtype)), found], [part.problem.tuples, width])
            merged, places = np.unique(held.numbers, return_inverse=True)
            tuples, found = held.columns_of(merged)
            sources.append(Source(tuples, found, _added(places, counts, len(merged)), width, null))
            return len(sources) - 1

        rows = part.rows
        policy = self.policy
        requirements = []
        subjects = self.subjects if self.subjects is None or rows is None else self.subjects[rows]
        if subjects is None or pl.Series(subjects).n_unique() == len(subjects):
            # One row per subject: counting rows is counting subjects, and faster.
            requirements.append(Requirement("k", AtLeast(policy.k)))
        else:
            width = int(subjects.max()) + 1
            requirements.append(Requirement("k", AtLeast(policy.k, "distinct"), source(subjects, width, None)))
        for name, spec in policy.sensitive.items():
            values = self.sensitive[name]
            if models := _models(name, spec, values):
                codes = values.codes if rows is None else values.codes[rows]
                place = source(codes, values.width, values.null)
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


def tally(keys: Keys) -> tuple[Keys, Codes]:
    """The distinct `keys` in ascending order and how often each occurs."""
    # Sorting numbers takes half the time of hashing them.
    ordered = pl.Series(keys).sort().to_numpy()
    is_first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    return ordered[starts], np.diff(starts, append=len(ordered))


def _added(places: Codes, counts: Codes, size: int) -> Codes:
    """The sum (size,) of the `counts` at each of `places`; exact, as there are fewer than 2^53 rows."""
    return np.bincount(places, weights=counts, minlength=size).astype(np.int64)
