"""From a frame and a policy to integers: rows become distinct tuples with counts, and nothing more.

Belongs here: reading the roles of the columns, encoding values, counting, and binding the policy's
requirements to what was counted. Does not belong here: what is done with the counts (`lattice`, `local`),
publishing (`anonymise`), or the levels of a quasi-identifier (`hierarchy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.hierarchy import Codes, Hierarchy, Rows, build_hierarchy, read_hierarchy
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


@dataclass(frozen=True, eq=False)
class Part:
    """One partition by the exact columns: its `rows` (p,) in the frame (None: all of them), the key of each of
    these rows, the keys of the tuples in their order, and the task."""

    rows: Codes | None
    keys: Codes
    tuple_keys: Codes
    problem: Problem
    by_row: bool = False

    def of_rows(self, of_tuples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What stands in `of_tuples` (tuples,) for the tuple of each row (p,)."""
        if self.by_row:
            return of_tuples
        slots = int(self.tuple_keys[-1]) + 1
        if slots <= max(SLOTS_PER_ROW * len(self.keys), 1 << 16):
            table = np.zeros(slots, dtype=of_tuples.dtype)
            table[self.tuple_keys] = of_tuples
            return np.asarray(table[self.keys])
        place = (
            pl.DataFrame({"key": self.keys})
            .join(
                pl.DataFrame({"key": self.tuple_keys}).with_row_index("place"),
                on="key",
                how="left",
                maintain_order="left",
            )
            .get_column("place")
            .to_numpy()
        )
        return np.asarray(of_tuples[place])


@dataclass(frozen=True, eq=False)
class _Values:
    """A sensitive column as numbers: the code (n,) of each row below `width`, how often each occurs in the whole
    frame, the code of nulls if there are any, and its model of t-closeness, which may ask for an order of codes."""

    codes: Rows
    table: Codes
    null: int | None
    closeness: Model | None

    @property
    def width(self) -> int:
        return len(self.table)


@dataclass(frozen=True, eq=False)
class Counted:
    """The hierarchies of the quasi-identifiers (with the population's values among theirs) and the partitions."""

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
    hierarchies = {}
    for name, spec in policy.quasi_identifiers.items():
        column = frame.get_column(name)
        if people is not None:
            column = pl.concat([column, people.get_column(name)])
        hierarchies[name] = build_hierarchy(column, spec)
    keys = _Keys(policy, hierarchies)
    own, others = keys.numbers[: len(frame)], keys.numbers[len(frame) :]
    sensitive = {name: _values(frame.get_column(name), spec) for name, spec in policy.sensitive.items()}
    subjects = _numbers(frame.get_column(policy.subject)) if policy.subject is not None else None
    counter = _Counter(policy, hierarchies, keys, sensitive, subjects, by_row)
    if not policy.exact:
        return Counted(hierarchies, [counter.part(None, own, others if people is not None else None)])
    numbered, numbers_of_people = _parts(frame, people, policy)
    parts = []
    for number in range(int(numbered.max()) + 1 if len(numbered) else 0):
        rows = np.flatnonzero(numbered == number)
        beside = others[numbers_of_people == number] if numbers_of_people is not None else None
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


def _numbers(column: pl.Series) -> Rows:
    """Each row's number among the distinct values of `column` in ascending order; nulls come last."""
    if not len(column):
        return np.zeros(0, dtype=np.int32)
    distinct = column.unique().sort(nulls_last=True).to_frame().with_row_index("number")
    joined = column.to_frame().join(distinct, on=column.name, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column("number").to_numpy().astype(np.int32)


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


def _ranks(column: pl.Series, spec: TCloseness) -> tuple[Rows, int]:
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
    return joined.get_column("place").to_numpy().astype(np.int32), len(spec.order)


def _tree(column: pl.Series, codes: Rows, width: int, spec: TCloseness) -> tuple[Integers, ...]:
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


class _Keys:
    """One number (n,) per row for its values at the finest permitted levels, and the way back to them.

    Mixed-radix numbers; where they would overflow 64 bits, what there is so far is renumbered.
    """

    def __init__(self, policy: Policy, hierarchies: dict[str, Hierarchy]) -> None:
        self.names = list(hierarchies)
        self.steps: list[tuple[int, Codes]] = []
        self.numbers = np.zeros(0, dtype=np.int64)
        slots = 1
        for place, (name, hierarchy) in enumerate(hierarchies.items()):
            level = policy.quasi_identifiers[name].least_level
            size = max(len(hierarchy.cover[level]), 1)
            codes = hierarchy.codes[level][hierarchy.rows]
            if place == 0:
                self.numbers, slots = codes, size
                continue
            before = np.zeros(0, dtype=np.int64)
            if slots > MAXIMUM_RADIX // size:
                before, self.numbers = np.unique(self.numbers, return_inverse=True)
                slots = len(before)
            self.numbers = self.numbers * size
            self.numbers += codes
            slots *= size
            self.steps.append((size, before))

    def codes_of(self, keys: Codes) -> list[Codes]:
        """Per quasi-identifier the code at its finest permitted level, for each of `keys`."""
        codes = []
        for size, before in reversed(self.steps):
            codes.append(keys % size)
            keys = keys // size
            if len(before):
                keys = before[keys]
        return [keys, *reversed(codes)]


@dataclass(frozen=True, eq=False)
class _Counter:
    """Makes the task of each partition out of what all of them share."""

    policy: Policy
    hierarchies: dict[str, Hierarchy]
    keys: _Keys
    sensitive: dict[str, _Values]
    subjects: Rows | None
    by_row: bool

    def part(self, rows: Codes | None, keys: Codes, people: Codes | None) -> Part:
        """The partition of these `rows` (None: all) with their `keys`, and the keys of the people beside them."""
        counted = _tally(pl.DataFrame({"key": keys}))
        if self.by_row:
            counted = pl.DataFrame({"key": keys, "count": np.ones(len(keys), dtype=np.int64)})
        population = None
        if people is not None:
            beside = _tally(pl.DataFrame({"key": people})).rename({"count": "people"})
            counted = counted.join(beside, on="key", how="full", coalesce=True).fill_null(0).sort("key")
            population = counted.get_column("people").to_numpy()
        tuple_keys = counted.get_column("key").to_numpy()
        sources: list[Source] = []
        requirements = self._requirements(rows, keys, tuple_keys, sources)
        problem = Problem(
            self._attributes(tuple_keys),
            counted.get_column("count").to_numpy(),
            requirements,
            self._limit(len(keys)),
            tuple(sources),
            population,
        )
        return Part(rows, keys, tuple_keys, problem, self.by_row)

    def _limit(self, rows: int) -> int:
        bounds = self.policy.delta_presence
        if bounds is not None and bounds.min > 0:
            return 0
        return int(Decimal(str(self.policy.suppression_limit)) * rows)

    def _attributes(self, tuple_keys: Codes) -> tuple[Attribute, ...]:
        attributes = []
        for (name, hierarchy), codes in zip(self.hierarchies.items(), self.keys.codes_of(tuple_keys), strict=True):
            spec = self.policy.quasi_identifiers[name]
            levels = range(spec.least_level, hierarchy.levels)
            attributes.append(
                Attribute(
                    tuple(hierarchy.above(spec.least_level, level)[codes].astype(np.int32) for level in levels),
                    tuple(hierarchy.cover[level] for level in levels),
                    hierarchy.domain,
                    spec.weight,
                    spec.least_level,
                )
            )
        return tuple(attributes)

    def _requirements(
        self, rows: Codes | None, keys: Codes, tuple_keys: Codes, sources: list[Source]
    ) -> tuple[Requirement, ...]:
        """The policy's requirements, k first; what they count besides rows is appended to `sources`."""

        def source(values: Rows, width: int, null: int | None) -> int:
            if self.by_row:
                ones = np.ones(len(keys), dtype=np.int64)
                sources.append(Source(np.arange(len(keys)), values.astype(np.int64), ones, width, null))
                return len(sources) - 1
            pairs = _tally(pl.DataFrame({"key": keys, "value": values}))
            places = np.searchsorted(tuple_keys, pairs.get_column("key").to_numpy())
            found, counts = (pairs.get_column(name).to_numpy().astype(np.int64) for name in ("value", "count"))
            sources.append(Source(places, found, counts, width, null))
            return len(sources) - 1

        policy = self.policy
        requirements = []
        subjects = self.subjects if self.subjects is None or rows is None else self.subjects[rows]
        if subjects is None or not pl.Series(subjects).is_duplicated().any():
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


def _tally(table: pl.DataFrame) -> pl.DataFrame:
    """The distinct rows of `table`, sorted, and how often each occurs (`count`)."""
    return table.group_by(table.columns).agg(pl.len().cast(pl.Int64).alias("count")).sort(table.columns)
