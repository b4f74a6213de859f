"""A release beside other tables that share its pseudonym: what is asked so that their join keeps k and l.

Belongs here: what the other tables tell of each subject, and which classes have to be left out so that nobody who is
missing is alone. Does not belong here: the search in each part (`lattice`, `local`), the order of the steps
(`anonymise`), and judging the outcome (`verify_join`, on purpose by another code path).

**What the attacker has.** All the tables, linked by the pseudonym, and of the target the quasi-identifiers in each of
them, or that the target is not in one. The target's *signature* is all that the other tables show of it together: in
each one the combinations of its quasi-identifiers, or its absence. One who joins the tables can tell apart what
differs in signature, in the class of the new release, or in being absent from the new release.

**The construction.** Rows of different signatures never share a class, as if the signature were a published column;
each signature is generalised by itself, so that every class of the join holds k subjects and the values that are asked
for. Who is absent from the new release (never in it, or left out) forms a class with the others of the same signature
who are absent: it must be empty, or large and diverse enough itself. Where it is neither, whole classes of that
signature leave, the smallest ones first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.history import codes_of
from merajut_assets.privacy.intake import require_scalars, require_texts, with_one_zero
from merajut_assets.privacy.policy import DataError, LDiversity, Policy, PolicyError, Sensitive

Integers = npt.NDArray[np.int64]

SIGNATURE = "signature beside other tables"
OUT = -1
# The code of a subject that is not in the table whose sensitive value is asked for; that of a null is -1.
_ELSEWHERE = -2
_SUBJECT = "subject"


@dataclass(frozen=True, eq=False)
class Published:
    """A table that was released already and shares the subject column: its `name` in messages, the columns of its
    classes, and by sensitive column the least number of different values that a class of the join must keep."""

    name: str
    frame: pl.DataFrame
    quasi_identifiers: Sequence[str]
    sensitive: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Company:
    """The task beside the other tables. `frame`, `policy`: as they are to be counted, every row with its signature and
    with the other tables' sensitive values. `members`: of each signature the rows (r,) of the frame that have it, and
    the values (b, v) of everybody who has it, as codes of the other tables' sensitive columns: rows in that order
    first, then the subjects that are not in the frame. `least` (v,): how many different values a class needs."""

    frame: pl.DataFrame
    policy: Policy
    members: tuple[tuple[Integers, Integers], ...]
    least: tuple[int, ...]

    @property
    def is_apart(self) -> bool:
        """Whether the other tables' own join is too small or too alike already, which no release can mend."""
        return not all(self._is_company(values) for _, values in self.members)

    def leaving(self, classes: Integers) -> Integers:
        """Which of the `classes` (n,) of rows, OUT for a row that is left out, must be left out besides (c,)."""
        leaving: list[int] = []
        for rows, values in self.members:
            shown = np.full(len(values), OUT, dtype=np.int64)
            shown[: len(rows)] = classes[rows]
            numbers, sizes = np.unique(shown[shown != OUT], return_counts=True)
            for number in numbers[np.argsort(sizes, kind="stable")].tolist():
                if self._is_company(values[shown == OUT]):
                    break
                shown[shown == number] = OUT
                leaving.append(number)
        return np.array(leaving, dtype=np.int64)

    def _is_company(self, values: Integers) -> bool:
        """Whether those who have these values (b, v) are nobody, or may be told as one class."""
        if not len(values):
            return True
        return len(values) >= self.policy.k and all(
            len(np.unique(column[column >= 0])) >= least
            for column, least in zip(values.T, self.least, strict=True)
            if (column != _ELSEWHERE).all()
        )


def require_joinable(policy: Policy) -> None:
    """Raises PolicyError for a policy that cannot be asked for beside other tables."""
    if policy.subject is None:
        raise PolicyError(
            "tables can only be judged on their join under a policy with the subject column they share; name it as "
            "subject"
        )
    if policy.needs_population:
        raise PolicyError(
            "k_map and delta_presence are not available beside other tables: of the people of a population it is not "
            "known what these show of them. Every class of the join has k published subjects; ask for as large a k"
        )
    if policy.search == "local":
        raise PolicyError(
            "search: local is not available beside other tables: what they show of each would be recoded by itself, "
            "and the labels of one narrow the classes of another; use search: optimal"
        )
    if policy.choice == "blind":
        raise PolicyError(
            "choice: blind is not available beside other tables, whose sensitive values decide who is left out; "
            "use choice: informed"
        )


def require_distinct(tables: Sequence[Published]) -> None:
    """Raises DataError where one of `tables` could be taken for another, and the join be judged without it."""
    names = [table.name for table in tables]
    labels = [_label(table, name) for table in tables for name in table.sensitive]
    if repeated := sorted({name for name in [*names, *labels] if max(names.count(name), labels.count(name)) > 1}):
        raise DataError(f"several tables on the join are named {', '.join(repeated)}; give each a name of its own")


def company_of(frame: pl.DataFrame, policy: Policy, others: Sequence[Published]) -> Company:
    """The task of anonymising `frame` beside `others`, under a policy that is `require_joinable`.

    Raises PolicyError when fewer than one value is asked for, and DataError when tables share a name, or one lacks a
    column, has a type that cannot be compared or subjects of another type, holds NaN, holds a null instead of a
    subject, or has several rows per subject where there may be one only.
    """
    assert policy.subject is not None
    require_texts(frame, [policy.subject])
    require_distinct(others)
    own = _subjects(frame, policy.subject, "the frame", has_one_row_each=True)
    for other in others:
        _check_types(frame, other, policy.subject)
    told = [_told(other, policy.subject, place) for place, other in enumerate(others)]
    outside = pl.concat([table.get_column(_SUBJECT) for table in told]).unique().sort()
    everybody = pl.concat([own, outside.filter(~outside.is_in(own.implode()))]).to_frame()
    for table in told:
        everybody = everybody.join(table, on=_SUBJECT, how="left", maintain_order="left")
    shown = [pl.col(_shown(place)) for place in range(len(others))]
    # In no other table: there is nothing to join such a subject with.
    is_alone = pl.all_horizontal(one.is_null() for one in shown)
    signature = pl.concat_str([one.fill_null("") for one in shown], separator="|").rank("dense").cast(pl.Int64)
    numbers = everybody.select(pl.when(is_alone).then(0).otherwise(signature).alias(SIGNATURE)).to_series()
    sensitive = [(place, name) for place, other in enumerate(others) for name in other.sensitive]
    asked = {_label(others[place], name): others[place].sensitive[name] for place, name in sensitive}
    codes = np.full((everybody.height, len(sensitive)), _ELSEWHERE, dtype=np.int64)
    added = [numbers.head(frame.height)]
    for number, (place, name) in enumerate(sensitive):
        column, is_there = everybody.get_column(_value(place, name)), everybody.get_column(_shown(place)).is_not_null()
        codes[:, number] = np.where(is_there.to_numpy(), codes_of(column), _ELSEWHERE)
        # A class of people who are not in that table has no value of it to keep: each is given one of its own.
        nobody = pl.int_range(pl.len()).cast(pl.String) + " is elsewhere"
        told_value = pl.when(is_there).then(column.rank("dense").cast(pl.String)).otherwise(nobody)
        value = told_value.alias(_label(others[place], name))
        added.append(everybody.select(value).to_series().head(frame.height))
    if taken := [column.name for column in added if column.name in frame.columns]:
        raise DataError(f"the frame has column(s) {', '.join(taken)}, which stand for another table here; rename them")
    rules = {name: Sensitive(l_diversity=LDiversity(l=least)) for name, least in asked.items()}
    beside = {"exact": (*policy.exact, SIGNATURE), "sensitive": {**policy.sensitive, **rules}}
    return Company(
        frame.with_columns(added),
        policy.model_copy(update=beside),
        tuple(_members(numbers.to_numpy(), codes, frame.height)),
        tuple(asked.values()),
    )


def _members(signatures: Integers, codes: Integers, rows: int) -> Iterator[tuple[Integers, Integers]]:
    """Of each signature above 0 the rows of the frame that have it, and the codes of everybody who has it."""
    order = np.argsort(signatures, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(signatures[order])) + 1):
        if len(group) and signatures[group[0]]:
            yield group[group < rows], codes[group]


def _check_types(frame: pl.DataFrame, other: Published, subject: str) -> None:
    """Raises DataError where columns are missing or of a type that cannot be compared, subjects would be joined
    otherwise by text than by value, or a value is not a number; PolicyError for a number of values below 1."""
    where = f"table {other.name!r}"
    if wrong := [name for name, least in other.sensitive.items() if type(least) is not int or least < 1]:
        raise PolicyError(f"{where}: column(s) {', '.join(wrong)} must keep at least 1 value; ask for one or more")
    require_texts(other.frame, [subject, *other.quasi_identifiers], where)
    require_scalars(other.frame, list(other.sensitive), where)
    texts = (pl.String, pl.Categorical, pl.Enum)
    if other.frame.is_empty():
        return
    own, others = frame.schema[subject], other.frame.schema[subject]
    if own != others and not (isinstance(own, texts) and isinstance(others, texts)):
        raise DataError(
            f"subject column {subject!r} is of another type in table {other.name!r} than in the frame; give both the "
            "same"
        )
    for name in (*other.quasi_identifiers, *other.sensitive):
        column = other.frame.get_column(name)
        if column.dtype.is_float() and column.is_nan().any():
            raise DataError(f"table {other.name!r}: column {name!r} holds NaN; make these values null or remove them")


def _told(other: Published, subject: str, place: int) -> pl.DataFrame:
    """Per subject what a table shows of it, as one text, and its sensitive values."""
    frame = with_one_zero(other.frame, [subject, *other.quasi_identifiers])
    subjects = _subjects(frame, subject, f"table {other.name!r}", has_one_row_each=bool(other.sensitive))
    classes = frame.select(
        pl.col(name).cast(pl.String).alias(f"q{n}") for n, name in enumerate(other.quasi_identifiers)
    )
    distinct = classes.unique().sort(classes.columns).with_row_index("number")
    numbers = (
        classes.join(distinct, on=classes.columns, how="left", nulls_equal=True, maintain_order="left")
        .get_column("number")
        .cast(pl.String)
        if classes.width
        else pl.Series("number", ["0"]).new_from_index(0, frame.height)
    )
    values = [frame.get_column(name).alias(_value(place, name)) for name in other.sensitive]
    return (
        pl.DataFrame([subjects, numbers, *values])
        .group_by(_SUBJECT)
        .agg(
            pl.col("number").unique().sort().str.join(",").alias(_shown(place)),
            *(pl.col(column.name).first() for column in values),
        )
    )


def _subjects(frame: pl.DataFrame, subject: str, what: str, *, has_one_row_each: bool) -> pl.Series:
    subjects = frame.get_column(subject).cast(pl.String).alias(_SUBJECT)
    if subjects.null_count():
        raise DataError(f"{what}: subject column {subject!r} holds nulls, whose rows cannot be joined")
    if has_one_row_each and subjects.n_unique() != len(subjects):
        raise DataError(f"{what} has several rows per subject; on a join each may have one row only")
    return subjects


def _shown(place: int) -> str:
    return f"shown {place}"


def _value(place: int, name: str) -> str:
    return f"value {place} {name}"


def _label(other: Published, name: str) -> str:
    return f"{other.name}.{name}"


def share_of(rows: int, whole: int) -> float:
    """The suppression limit under which so many rows may be left out."""
    return float((Decimal(rows) / Decimal(whole)).quantize(Decimal("0.000001"), rounding=ROUND_CEILING))
