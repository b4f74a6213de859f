"""The dirt of real systems: which kinds, how often, and what is expected to become of each row.

Every rate is stated here and nowhere else. A plant changes some rows of one table; `plant` chooses
the rows, changes them and hands back what it did, so that the truth file can tell. The kinds of
one table hit different rows: a row is refused for one reason.

Rules are named as landing and conforming name them: `<column>.<check>` with the checks type,
required, allowed, format, range, unique and reference, and the contracts' row rules by their name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from merajut_assets.contracts.base import TableContract
from merajut_assets.sources.generate.columns import Flags, Integers, joined
from merajut_assets.sources.generate.people import misspelt


class Outcome(StrEnum):
    """What is expected of a planted row."""

    REFUSED = "refused"
    MERGED = "merged"
    KEPT = "kept"


Change = Callable[[pl.DataFrame, np.random.Generator], Mapping[str, list[object]]]

# Registrations of a child who is already registered elsewhere, as a share of the children; of
# these, the share whose second registration lacks the NIK and so cannot be merged by it, whose
# name is misspelt, and whose first registration was never closed.
DUPLICATE_REGISTRATIONS = 0.02
DUPLICATES_WITHOUT_NIK = 0.25
DUPLICATES_MISSPELT = 0.6
DUPLICATES_LEFT_OPEN = 0.3
# Decisions that a guardian takes again at the second registration.
DUPLICATES_WITH_DECISION = 0.4
# Children and guardians without NIK, which is common and no error.
CHILDREN_WITHOUT_NIK = 0.12
GUARDIANS_WITHOUT_NIK = 0.08
# Names of every kind of person.
MISSPELT = 0.005
# Required, nullable columns left empty: lowers completeness, refuses nothing.
MISSING = 0.008
# What refuses a row, each kind.
RARE = 0.0008
USUAL = 0.002
DUPLICATE_KEYS = 0.0005
NIK_IN_TEXT = 0.006
# Other personal values in the notes of social workers, and a phone number where the name belongs.
PHONE_IN_TEXT = 0.004
CARD_IN_TEXT = 0.002
EMAIL_IN_TEXT = 0.002
ADDRESS_IN_TEXT = 0.002
NAME_IN_TEXT = 0.004
PHONE_IN_NAME = 0.004
INVALID_NIK = 0.002
STORIES_WITHOUT_CONSENT = 0.05


@dataclass(frozen=True)
class Plant:
    """A kind of dirt in one table.

    `rate` is the share of the table's rows; at least one row of each block's table is hit where
    `where` allows. `rule` is None unless the row is to be refused. A `copies` plant repeats the
    row, changed as told, instead of changing it."""

    kind: str
    rate: float
    change: Change
    rule: str | None = None
    column: str | None = None
    where: pl.Expr | None = None
    copies: bool = False

    @property
    def outcome(self) -> Outcome:
        return Outcome.KEPT if self.rule is None else Outcome.REFUSED


PLANTED_SCHEMA = {
    "system": pl.String,
    "table": pl.String,
    "key": pl.String,
    "kind": pl.String,
    "column": pl.String,
    "outcome": pl.String,
    "rule": pl.String,
    "related_key": pl.String,
}


def planted_rows(
    contract: TableContract,
    keys: Iterable[str] | pl.Series,
    kind: str,
    outcome: Outcome,
    *,
    rule: str | None = None,
    column: str | None = None,
    related: pl.Series | None = None,
) -> pl.DataFrame:
    """Rows of the truth about dirt."""
    series = keys if isinstance(keys, pl.Series) else pl.Series(list(keys), dtype=pl.String)
    return pl.DataFrame(
        {
            "system": pl.Series([contract.system], dtype=pl.String).new_from_index(0, len(series)),
            "table": pl.Series([contract.name], dtype=pl.String).new_from_index(0, len(series)),
            "key": series,
            "kind": pl.Series([kind], dtype=pl.String).new_from_index(0, len(series)),
            "column": pl.Series([column], dtype=pl.String).new_from_index(0, len(series)),
            "outcome": pl.Series([outcome.value], dtype=pl.String).new_from_index(0, len(series)),
            "rule": pl.Series([rule], dtype=pl.String).new_from_index(0, len(series)),
            "related_key": related
            if related is not None
            else pl.Series([None], dtype=pl.String).new_from_index(0, len(series)),
        },
        schema=PLANTED_SCHEMA,
    )


def plant(
    contract: TableContract,
    frame: pl.DataFrame,
    plants: Iterable[Plant],
    generator: np.random.Generator,
    eligible: Flags | None = None,
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The table with its dirt, and the truth about it.

    `eligible` (n,) keeps rows clean that others rely on."""
    (key,) = contract.key
    free = np.ones(len(frame), dtype=bool) if eligible is None else eligible.copy()
    truth: list[pl.DataFrame] = []
    copies: list[pl.DataFrame] = []
    for kind in plants:
        able = free if kind.where is None else free & frame.select(kind.where.fill_null(False)).to_series().to_numpy()
        positions = _choose(np.flatnonzero(able), kind.rate, len(frame), generator)
        if not len(positions):
            continue
        free[positions] = False
        rows = frame[positions]
        changed = kind.change(rows, generator)
        truth.append(planted_rows(contract, rows[key], kind.kind, kind.outcome, rule=kind.rule, column=kind.column))
        columns = [pl.Series(name, values, dtype=frame.schema[name], strict=False) for name, values in changed.items()]
        if kind.copies:
            copies.append(rows.with_columns(columns))
            continue
        frame = frame.with_columns(_replaced(frame[column.name], positions, column) for column in columns)
    return (pl.concat([frame, *copies]) if copies else frame), truth


def _choose(candidates: Integers, rate: float, rows: int, generator: np.random.Generator) -> Integers:
    wanted = max(1, round(rate * rows))
    if len(candidates) <= wanted:
        # A table this small must keep some of its rows as they should be.
        wanted = min(wanted, len(candidates) // 2)
    return np.sort(generator.choice(candidates, wanted, replace=False))


def _replaced(column: pl.Series, positions: Integers, values: pl.Series) -> pl.Series:
    source = np.arange(len(column))
    source[positions] = len(column) + np.arange(len(positions))
    return pl.concat([column, values.alias(column.name)]).gather(pl.Series(source, dtype=pl.UInt32))


class Refusals:
    """Which keys are refused, so that what refers to them is known to be refused, too."""

    def __init__(self) -> None:
        self._keys: dict[str, pl.Series] = {}

    def of(self, identifier: str) -> pl.Series:
        return self._keys.get(identifier, pl.Series([], dtype=pl.String))

    def follow(self, contract: TableContract, frame: pl.DataFrame, planted: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """Truth about rows of the table that refer to a refused row; remembers all its refusals.

        Tables are to be followed in the order parents before children. A duplicate key leaves one
        row of it standing and so refuses nothing that refers to it."""
        (key,) = contract.key
        refused = [
            rows.filter((pl.col("outcome") == Outcome.REFUSED.value) & (pl.col("rule") != f"{key}.unique"))["key"]
            for rows in planted
        ]
        own = pl.concat([pl.Series([], dtype=pl.String), *refused])
        truth: list[pl.DataFrame] = []
        for column in contract.columns:
            parent = column.references.rpartition(".")[0] if column.references else ""
            gone = self.of(parent)
            if not len(gone):
                continue
            lost = frame.filter(pl.col(column.name).is_in(gone.implode()) & ~pl.col(key).is_in(own.implode()))
            if lost.is_empty():
                continue
            keys = lost[key].unique(maintain_order=True)
            truth.append(
                planted_rows(
                    contract,
                    keys,
                    "parent_refused",
                    Outcome.REFUSED,
                    rule=f"{column.name}.reference",
                    column=column.name,
                )
            )
            own = pl.concat([own, keys])
        self._keys[contract.identifier] = own
        return truth


# ── changes ──────────────────────────────────────────────────────────────────────────────


def set_to(column: str, *values: object) -> Change:
    """One of the values."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {column: [values[int(position)] for position in generator.integers(0, len(values), len(rows))]}

    return change


def multiplied(column: str, factor: float) -> Change:
    """The number in another unit or with another sign."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {column: (rows[column] * factor).to_list()}

    return change


def swapped(one: str, other: str) -> Change:
    """Two columns exchanged."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {one: rows[other].to_list(), other: rows[one].to_list()}

    return change


def copied(column: str, source: str) -> Change:
    """A column filled with another one."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {column: rows[source].to_list()}

    return change


def wrong_day(column: str) -> Change:
    """A date that no calendar has, in the year of the right one."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        endings = ("-02-30", "-13-05", "-06-31", "-00-12")
        return {
            column: [
                str(value)[:4] + endings[int(way)]
                for value, way in zip(rows[column], generator.integers(0, len(endings), len(rows)), strict=True)
            ]
        }

    return change


def shifted(column: str, source: str, low: int, high: int) -> Change:
    """The date `low` to `high` days after the date in `source`."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        days = pl.Series(generator.integers(low, high + 1, len(rows))) * 86_400_000
        moved = rows[source].str.to_date("%Y-%m-%d") + days.cast(pl.Duration("ms"))
        return {column: moved.cast(pl.String).to_list()}

    return change


def misspelling(*columns: str) -> Change:
    """Names as a hurried clerk writes them."""

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {column: [misspelt(name, generator) if name else name for name in rows[column]] for column in columns}

    return change


def unknown(column: str, value: str) -> Change:
    """A key that nobody has."""
    return set_to(column, value)


def later_copy(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
    """The same row sent again: the newer of the two counts."""
    return {"modified_at": [str(value)[:11] + "23:59:00Z" for value in rows["modified_at"]]}


def missing(column: str, rate: float = MISSING, where: pl.Expr | None = None) -> Plant:
    """A required column that may be empty is."""
    present = pl.col(column).is_not_null()
    return Plant(
        "missing_value",
        rate,
        set_to(column, None),
        column=column,
        where=present if where is None else present & where,
    )


def duplicate_key(key: str) -> Plant:
    """A row sent twice under one key; one of the two is refused."""
    return Plant("duplicate_key", DUPLICATE_KEYS, later_copy, rule=f"{key}.unique", column=key, copies=True)


def orphan(column: str, value: str) -> Plant:
    """A reference to nothing."""
    return Plant("unknown_reference", RARE, unknown(column, value), rule=f"{column}.reference", column=column)


def not_allowed(column: str, *values: str, rate: float = RARE) -> Plant:
    """A value outside the agreed list."""
    return Plant("unknown_code", rate, set_to(column, *values), rule=f"{column}.allowed", column=column)


def impossible_date(column: str, rate: float = RARE) -> Plant:
    return Plant(
        "impossible_date",
        rate,
        wrong_day(column),
        rule=f"{column}.type",
        column=column,
        where=pl.col(column).is_not_null(),
    )


def out_of_range(column: str, change: Change, rate: float = RARE, where: pl.Expr | None = None) -> Plant:
    present = pl.col(column).is_not_null()
    return Plant(
        "out_of_range",
        rate,
        change,
        rule=f"{column}.range",
        column=column,
        where=present if where is None else present & where,
    )


def required(column: str, rate: float = RARE) -> Plant:
    """A column that must not be empty is."""
    return Plant("missing_mandatory", rate, set_to(column, None), rule=f"{column}.required", column=column)


def wrong_nik(way: str) -> Change:
    """An identity number that is too short or too long, names no region, or another birth date."""

    def spoilt(number: str, generator: np.random.Generator) -> str:
        if way == "length":
            return number[:-1] if generator.random() < 0.5 else number + "7"
        if way == "region":
            return "00" + number[2:]
        month = int(number[8:10])
        return f"{number[:6]}{'01' if int(number[6:8]) < 40 else '41'}{month % 12 + 1:02d}{number[10:]}"

    def change(rows: pl.DataFrame, generator: np.random.Generator) -> dict[str, list[object]]:
        return {"nik": [spoilt(str(number), generator) for number in rows["nik"]]}

    return change


def plant_in_text(
    contract: TableContract,
    frame: pl.DataFrame,
    column: str,
    kind: str,
    rate: float,
    written: Callable[[Integers], pl.Series],
    generator: np.random.Generator,
    able: Flags,
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Somebody wrote something personal behind a text or a name; `written` says what, for the positions of some rows.

    `able` (n,) are the rows in which that can happen."""
    positions = _choose(np.flatnonzero(able & frame[column].is_not_null().to_numpy()), rate, len(frame), generator)
    if not len(positions):
        return frame, []
    replaced = _replaced(frame[column], positions, joined(frame[column].gather(positions), " ", written(positions)))
    (key,) = contract.key
    truth = planted_rows(contract, frame[key].gather(positions), kind, Outcome.KEPT, column=column)
    return frame.with_columns(replaced), [truth]
