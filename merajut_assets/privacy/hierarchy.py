"""How a quasi-identifier's values generalise, level by level.

Belongs here: turning one column and its specification into levels of labels, encoded as small
integers. Does not belong here: choosing a level (`lattice`) or judging a class.

Missing values: a null is a value of its own, published as `unknown` on every level on which
anything is told apart, and merged with the others only on a level that has a single value
(`*`). Whether something is unknown can single a child out like any other value, so it counts.

The Loss of a label is the share of the *domain* that it covers. The domain is every row of a
hierarchy file (plus `unknown` when nulls occur), every interval between the break points
(and the open ends), and, where there is nothing written down to count, the distinct values of
level 0 in the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.intake import require_texts, type_name, with_one_zero
from merajut_assets.privacy.policy import DataError, Policy, PolicyError, QuasiIdentifier

UNKNOWN = "unknown"
ANY = "*"
WILAYAH_PATTERN = r"^\d{2}(\.\d{2}(\.\d{2}(\.\d{4})?)?)?$"
WILAYAH_CHARACTERS = (13, 8, 5, 2, 0)  # village, sub-district, district, province, *

# Numbers spread over no more than this are counted in a table, whatever the number of rows.
SMALL_SPAN = 1 << 16

# How many values of several texts are numbered at once, however many texts that makes.
CODES_AT_ONCE = 1 << 22
# Files whose levels are kept for the next frame, and how large they may be.
REMEMBERED_FILES = 64
REMEMBERED_BYTES = 1 << 18

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
# Places among values of which there are mostly few: unsigned, of the width that these need.
Numbers = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Hierarchy:
    """One column's levels over its domain of D rows.

    `labels[level]`: the published texts by code. `codes[level]`: shape (D,), the code of each
    domain row. `cover[level]`: how many domain rows each code stands for. `rows`: shape (n,),
    the domain row of each row of the frame.
    """

    name: str
    labels: tuple[pl.Series, ...]
    codes: tuple[Codes, ...]
    cover: tuple[Codes, ...]
    rows: Rows

    @property
    def levels(self) -> int:
        return len(self.codes)

    @property
    def domain(self) -> int:
        return len(self.codes[0])

    def above(self, finer: int, coarser: int) -> Codes:
        """The code on the coarser level of each code on the finer one."""
        codes = np.zeros(len(self.cover[finer]), dtype=np.int64)
        codes[self.codes[finer]] = self.codes[coarser]
        return codes

    def published(self, level: int) -> pl.Series:
        """The column (n,) as it is published at `level`."""
        return self.labels[level].gather(self.codes[level][self.rows]).alias(self.name)


def build_hierarchy(column: pl.Series, spec: QuasiIdentifier) -> Hierarchy:
    """The hierarchy of `column` under `spec`.

    Raises DataError when values do not fit the specification and PolicyError when the levels
    contradict each other (one label would have to become two).
    """
    require_texts(column.to_frame(), [column.name], "a quasi-identifier")
    # Texts are made and compared once per distinct value; rows only carry numbers.
    distinct, number = distinct_values(column)
    hierarchy = hierarchy_of(distinct, number, spec)
    return replace(hierarchy, rows=hierarchy.rows[number])


def distinct_values(column: pl.Series) -> tuple[pl.Series, Numbers]:
    """The distinct values of `column`, nulls being one value, and the place (n,) of each row's among them.

    The order of the values depends on that of the rows. The column is not nested.
    """
    return distinct_columns([column])[0]


def distinct_columns(columns: Sequence[pl.Series]) -> list[tuple[pl.Series, Numbers]]:
    """The `distinct_values` of each of several `columns` (n,)."""
    texts = [place for place, column in enumerate(columns) if column.dtype == pl.String]
    # Of many rows as many texts at once as there are threads: more take the memory of their codes for nothing.
    at_once = max(pl.thread_pool_size(), CODES_AT_ONCE // max(*map(len, columns), 1)) if columns else 1
    found: dict[int, tuple[pl.Series, Numbers]] = {}
    for start in range(0, len(texts), at_once):
        some = texts[start : start + at_once]
        found |= zip(some, _registered([columns[place] for place in some]), strict=True)
    return [found[place] if place in found else _unregistered(column) for place, column in enumerate(columns)]


def _registered(texts: Sequence[pl.Series]) -> list[tuple[pl.Series, Numbers]]:
    """The distinct values of several texts, in the order of a register, and their places."""
    # Each has a register of its own: the personal values that it holds go when it does.
    coded = pl.DataFrame([text.alias(str(place)) for place, text in enumerate(texts)]).select(
        pl.col(str(place)).cast(pl.Categorical(pl.Categories.random())) for place in range(len(texts))
    )
    found = []
    for text, column in zip(texts, coded.iter_columns(), strict=True):
        values, number = column.cat.get_categories().alias(text.name), column.to_physical()
        if number.null_count():
            number = number.fill_null(len(values))
            values = values.append(pl.Series([None], dtype=pl.String))
        found.append((values, narrow(number.to_numpy(), len(values))))
    return found


def _unregistered(column: pl.Series) -> tuple[pl.Series, Numbers]:
    # Integers of 64 bits without a sign, and larger ones, are ranked: not all of them fit into the numbers below.
    is_whole = column.dtype.is_integer() and column.dtype not in (pl.UInt64, pl.Int128, pl.UInt128)
    physical = column.to_physical() if is_whole or column.dtype == pl.Date else column.rank("dense")
    if _span(physical) > max(2 * len(column), SMALL_SPAN):
        physical = column.rank("dense")
    span = _span(physical)
    places = (physical.cast(pl.Int64) - physical.min()) if span else physical.cast(pl.Int64)
    number_in_span = narrow(places.fill_null(span).to_numpy(), span + 1)
    del places
    first = np.full(span + 1, -1, dtype=np.int64)
    first[number_in_span] = np.arange(len(number_in_span), dtype=np.uint32)
    used = np.flatnonzero(first >= 0)
    values = column.gather(first[used])
    if len(used) == used.max(initial=-1) + 1:
        return values, number_in_span
    renumbered = np.zeros(span + 1, dtype=number_in_span.dtype)
    renumbered[used] = np.arange(len(used), dtype=renumbered.dtype)
    return values, renumbered[number_in_span]


def ranked_columns(columns: Sequence[pl.Series]) -> list[tuple[pl.Series, Numbers]]:
    """As `distinct_columns`, the values of each being in ascending order, a null last."""
    return [_ranked(distinct, places) for distinct, places in distinct_columns(columns)]


def _ranked(distinct: pl.Series, places: Numbers) -> tuple[pl.Series, Numbers]:
    order = distinct.arg_sort(nulls_last=True).to_numpy()
    rank = np.empty(len(order), dtype=places.dtype)
    rank[order] = np.arange(len(order), dtype=places.dtype)
    return distinct.gather(order), rank[places]


def narrow(numbers: npt.NDArray[Any], size: int) -> Numbers:
    """The numbers, all below `size`, in as few bytes as hold them: ten million rows are mostly memory traffic."""
    return numbers.astype(np.min_scalar_type(max(size - 1, 0)), copy=False)


def _span(numbers: pl.Series) -> int:
    least, most = numbers.min(), numbers.max()
    return 0 if least is None else int(cast(int, most)) - int(cast(int, least)) + 1


@dataclass(frozen=True, eq=False)
class _Domain:
    """The levels of a column whatever its rows are: the place of each key that values are looked up by, and what
    `Hierarchy` says of them."""

    places: dict[Any, int]
    labels: tuple[pl.Series, ...]
    codes: tuple[Codes, ...]
    cover: tuple[Codes, ...]


def hierarchy_of(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> Hierarchy:
    """The hierarchy of distinct values, which are its `rows`; each row of the frame has the one in place `number`."""
    builders = {
        "hierarchy": _from_file,
        "prefix": _from_prefix,
        "date": _from_date,
        "intervals": _from_intervals,
        "codes": _from_wilayah,
    }
    keys, domain = builders[spec.kind](column, number, spec)
    if spec.least_level >= len(domain.labels):
        raise PolicyError(
            f"column {column.name!r}: least_level {spec.least_level} is beyond the last level {len(domain.labels) - 1}"
        )
    rows = np.array([domain.places.get(key, -1) for key in keys.to_list()], dtype=np.int32)
    if missing := _rows_of(pl.Series(rows < 0), number):
        raise DataError(
            f"column {column.name!r}: {missing} row(s) hold a value that is missing in its hierarchy; "
            "add the value to the hierarchy or quarantine the rows"
        )
    return Hierarchy(column.name, domain.labels, domain.codes, domain.cover, rows)


def _domain_of(table: pl.DataFrame, name: str) -> _Domain:
    """The domain of column `name` whose rows are listed with their `key`, each once, and their label per level."""
    levels = table.drop("key")
    # Sorted labels make the codes independent of the order of the rows.
    sorted_labels = levels.select(pl.all().unique().sort().implode())
    ranks = levels.select(pl.all().rank("dense").cast(pl.Int64) - 1)
    labels = tuple(sorted_labels.get_column(level)[0] for level in levels.columns)
    codes = tuple(ranks.get_column(level).to_numpy() for level in levels.columns)
    cover = tuple(
        np.bincount(level_codes, minlength=len(level_labels)).astype(np.int64)
        for level_codes, level_labels in zip(codes, labels, strict=True)
    )
    _check_nested(name, codes)
    places = {key: place for place, key in enumerate(table.get_column("key").to_list())}
    return _Domain(places, labels, codes, cover)


def _rows_of(chosen: pl.Series, number: Numbers) -> int:
    """How many rows have one of the `chosen` distinct values."""
    return int(chosen.to_numpy()[number].sum()) if chosen.any() else 0


def as_published(hierarchy: Hierarchy, policy: Policy) -> Hierarchy:
    """The `hierarchy` of a column with the texts that releases under `policy` have: where each class has levels of its
    own, labels are kept apart (see `with_labels_apart`)."""
    if policy.search == "optimal":
        return hierarchy
    return with_labels_apart(hierarchy, policy.quasi_identifiers[hierarchy.name])


def with_labels_apart(hierarchy: Hierarchy, spec: QuasiIdentifier) -> Hierarchy:
    """The `hierarchy` with texts each of which stands for one set of values, whatever permitted level it is on.

    - A value that is shown whole and has the length of a coarser level's prefix, where longer values occur at all:
      `1234 (whole)`, for `1234` are all that begin so. Were it to depend on whether some begin with this one, its text
      would tell of single values, all rows of which may be suppressed.
    - `*` for less than everything, and a label whose text a finer level has for other values: `Jakarta (level 1)`. In
      a hierarchy file that depends on the file alone (and on there being nulls).

    Labels of dates and intervals never collide.
    """
    levels = range(spec.least_level, hierarchy.levels)
    texts = _whole_values_told(hierarchy, spec)
    rows = pl.concat(
        pl.DataFrame({"text": texts[level], "set": sets, "covers": hierarchy.cover[level]}).with_columns(level=level)
        for level, sets in zip(levels, _sets_of_labels(hierarchy, levels), strict=True)
    )
    pairs = rows.group_by("set", "text").agg(pl.col("covers").first(), pl.col("level").min())
    is_any = pl.col("text") == ANY
    is_finest = pl.col("level") == pl.col("level").min().over("text")
    keeps = (is_any & (pl.col("covers") == hierarchy.domain)) | (~is_any & is_finest)
    colliding = pairs.filter(~keeps).sort("level", "text")
    taken = set(rows.get_column("text"))
    own = [_own_text(text, f"level {level}", taken) for text, level in colliding.select("text", "level").iter_rows()]
    named = rows.join(
        colliding.select("set", "text", pl.Series("own", own, dtype=pl.String)),
        on=["set", "text"],
        how="left",
        maintain_order="left",
    ).select("level", pl.coalesce("own", "text").alias("text"))
    apart = [named.filter(pl.col("level") == level).get_column("text") for level in levels]
    return replace(hierarchy, labels=(*hierarchy.labels[: spec.least_level], *apart))


def _sets_of_labels(hierarchy: Hierarchy, levels: range) -> list[Codes]:
    """Per level the number of the set of values that each label stands for."""
    numbered: list[Codes] = []
    used = 0
    for level in levels:
        size = len(hierarchy.cover[level])
        sets = np.arange(used, used + size, dtype=np.int64)
        if numbered:
            # Levels nest: a label is the same set as one below it that stands for as many values, and as none else.
            above = hierarchy.above(level - 1, level)
            is_same = hierarchy.cover[level - 1] == hierarchy.cover[level][above]
            sets[above[is_same]] = numbered[-1][is_same]
        numbered.append(sets)
        used += size
    return numbered


def _whole_values_told(hierarchy: Hierarchy, spec: QuasiIdentifier) -> list[pl.Series]:
    """The labels of each level, those that are whole values and might be taken for a coarser level's prefix told."""
    lengths = WILAYAH_CHARACTERS if spec.codes is not None else spec.prefix or ()
    texts = list(hierarchy.labels)
    longest = int(texts[0].filter(texts[0] != UNKNOWN).str.len_chars().to_numpy().max(initial=0))
    found: dict[str, str] = {}
    taken: set[str] = set()
    for level in range(spec.least_level, len(lengths)):
        labels = texts[level]
        coarser = [length for length in lengths[level + 1 :] if 0 < length < longest]
        is_whole = labels.str.len_chars().is_in(coarser) & (labels != UNKNOWN)
        if not is_whole.any():
            continue
        taken = taken or set(pl.concat(hierarchy.labels))
        for text in labels.filter(is_whole):
            if text not in found:
                found[text] = _own_text(text, "whole", taken)
        told = labels.replace(list(found), list(found.values()))
        texts[level] = (
            pl.DataFrame({"label": labels, "told": told, "is_whole": is_whole})
            .select(pl.when("is_whole").then("told").otherwise("label"))
            .to_series()
        )
    return texts


def _own_text(text: str, note: str, taken: set[str]) -> str:
    """The text with a note behind it, as often as makes it none of those `taken`, to which it is added."""
    own = f"{text} ({note})"
    while own in taken:
        own = f"{own} ({note})"
    taken.add(own)
    return own


def _check_nested(name: str, codes: Sequence[Codes]) -> None:
    for level, (finer, coarser) in enumerate(itertools.pairwise(codes)):
        parent = np.zeros(len(finer), dtype=np.int64)
        parent[finer] = coarser
        if (parent[finer] != coarser).any():
            raise PolicyError(
                f"column {name!r}: the hierarchy's levels disagree: level {level} has a label with "
                f"more than one label above it in level {level + 1}"
            )


def _text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        _check_finite(column)
        column = with_one_zero(column.to_frame(), [column.name]).to_series()
    return column.cast(pl.String)


def _check_finite(column: pl.Series) -> None:
    if column.dtype.is_float() and (not column.is_finite().all()):
        raise DataError(f"column {column.name!r} holds NaN or infinity; replace them by null or quarantine the rows")


def _domain_of_labels(key: pl.Series, levels: list[pl.Series]) -> tuple[pl.Series, _Domain]:
    """A domain out of the data: the distinct labels of level 0, each with its labels above."""
    frame = pl.DataFrame([level.alias(f"level_{number}") for number, level in enumerate(levels)])
    domain = frame.unique(maintain_order=False).sort(frame.columns)
    if domain.get_column("level_0").is_duplicated().any():
        raise PolicyError(f"column {key.name!r}: the levels disagree: a label of level 0 has several labels above it")
    return frame.get_column("level_0"), _domain_of(domain.with_columns(key="level_0"), key.name)


def _with_unknown(level: pl.Series, label_is_any: bool) -> pl.Series:
    return level.fill_null(ANY if label_is_any else UNKNOWN)


def _from_file(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> tuple[pl.Series, _Domain]:
    assert spec.hierarchy is not None
    content, has_null = _content(spec.hierarchy), column.null_count() > 0
    make = _domain_of_file if len(content) <= REMEMBERED_BYTES else _domain_of_file.__wrapped__
    keys = _text(column)
    domain = make(content, spec.separator, has_null, spec.hierarchy.name, column.name)
    return keys.fill_null(UNKNOWN) if has_null else keys, domain


@lru_cache(maxsize=REMEMBERED_FILES)
def _domain_of_file(content: bytes, separator: str, has_null: bool, file_name: str, name: str) -> _Domain:
    """The domain of column `name` out of what the file holds; the same as long as the file holds the same."""
    table = _parsed(content, separator, file_name)
    if has_null:
        unknown = {
            level: ANY if table.get_column(level).n_unique() == 1 and table.get_column(level)[0] == ANY else UNKNOWN
            for level in table.columns
        }
        table = pl.concat([table, pl.DataFrame(unknown)])
        # A null shares the domain row of a literal `unknown`, if the file has one.
        table = table.unique(subset="level_0", keep="first", maintain_order=True)
    domain = _domain_of(table.with_columns(key="level_0"), name)
    for shared in (*domain.codes, *domain.cover):
        shared.setflags(write=False)
    return domain


def read_hierarchy(path: Path, separator: str = ";") -> pl.DataFrame:
    """A hierarchy file (`value;level 1;…`, UTF-8, no header) as columns level_0, level_1, ….

    Raises PolicyError naming the file when it is absent, ragged, empty, or lists a value twice.
    """
    return _parsed(_content(path), separator, path.name)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise PolicyError(f"hierarchy {path.name} cannot be read; check the path in the policy") from None


def _parsed(content: bytes, separator: str, name: str) -> pl.DataFrame:
    try:
        table = pl.read_csv(content, has_header=False, separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError:
        raise PolicyError(
            f"hierarchy {name} is empty or its rows have different numbers of levels; "
            f"write one value per line, levels separated by {separator!r}"
        ) from None
    table = table.rename({column: f"level_{number}" for number, column in enumerate(table.columns)})
    if table.null_count().row(0) != (0,) * table.width:
        raise PolicyError(f"hierarchy {name}: rows have different numbers of levels, or an empty label")
    if table.get_column("level_0").is_duplicated().any():
        raise PolicyError(f"hierarchy {name} lists a value twice; keep one line per value")
    return table


def _from_prefix(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> tuple[pl.Series, _Domain]:
    assert spec.prefix is not None
    text = _text(column)
    levels = [
        _with_unknown(text.str.slice(0, length), False) if length else pl.repeat(ANY, len(text), eager=True)
        for length in spec.prefix
    ]
    return _domain_of_labels(column, levels)


def _from_wilayah(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> tuple[pl.Series, _Domain]:
    text = _text(column)
    if wrong := _rows_of(~text.str.contains(WILAYAH_PATTERN).fill_null(True), number):
        raise DataError(
            f"column {column.name!r}: {wrong} row(s) hold no dotted Kemendagri code (11.01.01.2001, or a leading "
            "part of one); map the codes or quarantine the rows"
        )
    levels = [
        _with_unknown(text.str.slice(0, length), False) if length else pl.repeat(ANY, len(text), eager=True)
        for length in WILAYAH_CHARACTERS
    ]
    return _domain_of_labels(column, levels)


def _from_date(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> tuple[pl.Series, _Domain]:
    assert spec.date is not None
    if column.dtype not in (pl.Date, pl.Datetime):
        raise DataError(
            f"column {column.name!r} has type {type_name(column.dtype)}; a date hierarchy needs Date or Datetime"
        )
    levels = [_with_unknown(_date_label(column, unit), unit == ANY) for unit in spec.date]
    return _domain_of_labels(column, levels)


def _date_label(column: pl.Series, unit: str) -> pl.Series:
    if unit == ANY:
        return pl.repeat(ANY, len(column), eager=True)
    if unit == "day":
        return column.dt.strftime("%Y-%m-%d")
    if unit == "month":
        return column.dt.strftime("%Y-%m")
    year = column.dt.year()
    if unit == "quarter":
        return (
            pl.DataFrame({"year": year, "quarter": column.dt.quarter()})
            .select(pl.concat_str([pl.col("year").cast(pl.String), pl.lit("-Q"), pl.col("quarter").cast(pl.String)]))
            .to_series()
        )
    if unit == "year" or unit == "1y":
        return year.cast(pl.String)
    span = int(unit[:-1])
    start = year // span * span
    return (
        pl.DataFrame({"start": start})
        .select(
            pl.concat_str([pl.col("start").cast(pl.String), pl.lit("-"), (pl.col("start") + span - 1).cast(pl.String)])
        )
        .to_series()
    )


def _from_intervals(column: pl.Series, number: Numbers, spec: QuasiIdentifier) -> tuple[pl.Series, _Domain]:
    assert spec.intervals is not None
    if not column.dtype.is_numeric():
        raise DataError(f"column {column.name!r} has type {type_name(column.dtype)}; intervals need a number")
    _check_finite(column)
    breaks = spec.intervals
    # Interval i reaches from break i-1 to break i; 0 is the open end below, len(breaks) the one above.
    positions = list(range(len(breaks) + 1))
    levels: list[list[str]] = []
    width = 1
    for step in (1, *spec.then):
        if step == ANY:
            levels.append([ANY] * len(positions))
            continue
        width *= int(step)
        # Grouping starts at the first break, so that the open end below never shifts the bands.
        levels.append([_interval_label(breaks, (position - 1) // width * width + 1, width) for position in positions])
    keys = np.searchsorted(breaks, column.cast(pl.Float64).fill_null(0.0).to_numpy(), "right")
    if column.null_count():
        keys[column.is_null().to_numpy()] = len(positions)
        positions.append(len(positions))
        for labels in levels:
            labels.append(ANY if set(labels) == {ANY} else UNKNOWN)
    domain = pl.DataFrame({"key": positions} | {f"level_{number}": labels for number, labels in enumerate(levels)})
    return pl.Series(column.name, keys, dtype=pl.Int64), _domain_of(domain, column.name)


def _interval_label(breaks: tuple[float, ...], first: int, width: int) -> str:
    low, high = first - 1, first - 1 + width
    if low < 0:
        return f"<{_number(breaks[0])}"
    if high >= len(breaks):
        return f">={_number(breaks[low])}"
    return f"[{_number(breaks[low])}, {_number(breaks[high])})"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
