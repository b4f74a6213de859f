"""Releases judged together: what one who holds all of them can tell about a subject.

Belongs here: which rows of a new release must be left out so that it does not undo earlier ones. Does not
belong here: models of one release alone (`models`), the search over generalisations (`repeated`), or where
a history is kept.

**What the attacker has.** Every release, with pseudonyms that link them; for the target, the
quasi-identifiers at the time of each release, and that the target is part of certain releases. The target's
*candidates* are then the subjects that were in the target's class in every one of these releases. Each
subject must keep at least k candidates, and among them, in every one of these releases, at least l different
values of a sensitive column that asks for l-diversity.

That is m-invariance (Xiao and Tao 2007, m = l) for releases that can be linked: the candidates are the same
subjects in each release, so that as long as values do not change, the set of values that they show is the
same in each release as well, and it has at least m members. Where values do change, which that paper does
not treat, each release of the candidates keeps m of them (in the sense of Li and Zhou 2008, m-distinct).
Counterfeit rows are never added; rows that cannot be shown safely are suppressed.

With `presence: known` the attacker also knows of which releases the target is *not* part (who came, who
left). Candidates are then the subjects with the same path: in each release the same class or the same
absence, and who is left out must keep candidates as well.

**Populations.** k-map and δ-presence count people of a population, and cannot be asked for beside a history. Each
release could be counted by itself; but one who holds all of them looks for people who were under the labels of a
pseudonym in *every* release, of whom there may be one where each label stands for thousands. To count these, it would
have to be kept of everybody in the population, and so of children who are in no release at all, under which labels
they were each month: a register that nobody needs otherwise. What is kept instead, digests of classes, tells of
nobody outside. It gives a bound on one side: candidates are people of the population, so that k of them make k-map
with the same k hold over all releases, which is what a policy can ask for. Towards δ-presence, for which those who are
*not* released have to be counted, it gives none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.policy import DataError, Policy, PolicyError
from merajut_assets.privacy.pseudonym import pseudonyms

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

RELEASE, SUBJECT, PARTITION, CLASS = "release", "subject", "partition", "class"
ABSENT = -1


@dataclass(frozen=True)
class Shown:
    """A sensitive column as an earlier release showed it: codes (members,), -1 where nothing is known."""

    attribute: str
    release: int
    codes: Integers
    least: int


@dataclass(frozen=True)
class Past:
    """What earlier releases showed of the subjects of a new one (rows,) and of those that are not in it.

    Members are the rows of the new release in their order, then the subjects that departed. `classes`
    (members, releases) is each one's class in each earlier release, ABSENT where it was not part of it.
    `path` (members,) numbers the distinct rows of `classes`; `pattern` (members,) those of the presence.
    """

    rows: int
    classes: Integers
    path: Integers
    pattern: Integers
    presence: Flags
    shown: tuple[Shown, ...]

    @property
    def releases(self) -> int:
        return int(self.classes.shape[1])


@dataclass(frozen=True)
class Diversity:
    """A sensitive column of the new release: codes (rows,), -1 for a null, and the least number of values."""

    attribute: str
    codes: Integers
    least: int


def least_values(policy: Policy) -> dict[str, int]:
    """How many different values candidates must show of each sensitive column: m = l, rounded up."""
    rules = {name: rule.l_diversity for name, rule in policy.sensitive.items()}
    return {name: math.ceil(rule.l) for name, rule in rules.items() if rule is not None}


def signatures(released: pl.DataFrame, policy: Policy, key: bytes) -> pl.DataFrame:
    """What is to be kept of a release for the `history` of later ones, to which a `release` column is added.

    One row per subject: `subject`, `partition`, and as keyed digests `class` and each sensitive column with
    l-diversity. `key`: 32 bytes at least, the same for all releases of the dataset.
    """
    if policy.subject is None:
        raise PolicyError("releases can only be judged together under a policy with a subject column")

    columns = {
        SUBJECT: released.get_column(policy.subject).cast(pl.String),
        PARTITION: partitions(released, policy),
        CLASS: pseudonyms(_texts(released, policy.class_columns), key),
    }
    for name in least_values(policy):
        known = released.get_column(name).is_not_null()
        columns[name] = pl.select(pl.when(known).then(pseudonyms(_texts(released, [name]), key))).to_series()
    return pl.DataFrame(columns)


def partitions(frame: pl.DataFrame, policy: Policy) -> pl.Series:
    """The partition of each row (rows,): its values of the exact columns, which are published as they are."""
    return _texts(frame, policy.exact)


def _texts(frame: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """One text per row for its values of the columns; lengths keep ("ab", "c") and ("a", "bc") apart."""
    texts = [pl.col(name).cast(pl.String) for name in names]
    lengths = [text.str.len_bytes().cast(pl.String).fill_null("null") for text in texts]
    parts = [part for length, text in zip(lengths, texts, strict=True) for part in (length, text.fill_null(""))]
    return frame.select(pl.concat_str([pl.repeat("", pl.len()), *parts], separator=":").alias("text")).to_series()


def past_of(history: pl.DataFrame, subjects: pl.Series, least: Mapping[str, int]) -> Past:
    """The past of the new release's `subjects` (rows,), one row each.

    `history`: text columns `release`, `subject`, `partition`, `class` (an opaque name of the class that the subject was
    in) and one per key of `least`, which maps sensitive columns to the l they need; its texts may be keyed
    digests. Raises DataError for a missing column, a null, or a subject that is twice in one release.
    """
    needed = [RELEASE, SUBJECT, PARTITION, CLASS, *least]
    if missing := [name for name in needed if name not in history.columns]:
        raise DataError(f"the history lacks column(s) {', '.join(missing)}; store what `signatures` returns")
    if history.select(pl.any_horizontal(pl.col(RELEASE, SUBJECT, CLASS).is_null().any())).item():
        raise DataError("the history holds nulls in release, subject or class")
    if history.select(pl.struct(RELEASE, SUBJECT).is_duplicated().any()).item():
        raise DataError("the history names a subject twice in one release; each has one row per release")
    if subjects.n_unique() != len(subjects):
        raise DataError(f"subject column {subjects.name!r} has several rows per subject; a history needs one row each")
    members = pl.concat([subjects.cast(pl.String).alias(SUBJECT), history.get_column(SUBJECT)]).unique(
        maintain_order=True
    )
    releases = sorted(history.get_column(RELEASE).unique())
    classes = np.full((len(members), len(releases)), ABSENT, dtype=np.int64)
    shown = []
    place = pl.DataFrame({SUBJECT: members}).with_row_index("member")
    for number, release in enumerate(releases):
        part = history.filter(pl.col(RELEASE) == release).join(place, on=SUBJECT, how="left", maintain_order="left")
        member = part.get_column("member").to_numpy()
        classes[member, number] = codes_of(part.get_column(CLASS))
        for name, minimum in least.items():
            if part.get_column(name).null_count() == part.height:
                continue  # the release did not show the column of anybody: there is nothing to learn from it
            codes = np.full(len(members), ABSENT, dtype=np.int64)
            codes[member] = codes_of(part.get_column(name))
            shown.append(Shown(name, number, codes, minimum))
    presence = classes != ABSENT
    return Past(len(subjects), classes, _numbered(classes), _numbered(presence), presence, tuple(shown))


def safe_together(
    past: Past, keys: Integers, kept: Flags, k: int, diversities: Sequence[Diversity], *, presence_known: bool = False
) -> Flags:
    """Which of the `kept` rows (rows,) may be published in the classes `keys` (rows,) beside the past.

    Rows are left out until every subject has k candidates with enough different values. Without
    `presence_known` the result is the largest such set. With it, rows may have to leave so that those who
    departed are not alone; these are taken in the order of rows, which must therefore mean nothing.
    """
    while True:
        kept = with_candidates(past, keys, kept, k, diversities, presence_known=presence_known)
        leaving = _company_of_absent(past, keys, kept, k) if presence_known else np.zeros(0, dtype=np.int64)
        if not len(leaving):
            return kept
        kept[leaving] = False


def with_candidates(
    past: Past, keys: Integers, kept: Flags, k: int, diversities: Sequence[Diversity], *, presence_known: bool = False
) -> Flags:
    """The largest part (rows,) of the `kept` rows in which each has k candidates with enough different values in the
    classes `keys` (rows,). Each class is judged on its own; of those who departed nothing is asked."""
    kept = kept.copy()
    while True:
        failing = kept & ~_with_candidates(past, keys, kept, k, diversities, presence_known)
        if not failing.any():
            return kept
        kept &= ~failing


def fewest_candidates(past: Past, keys: Integers, kept: Flags, *, presence_known: bool = False) -> int:
    """The least number of candidates that any published subject has; 0 when none is published."""
    least = [
        int(np.bincount(group.numbers)[group.numbers[group.judged]].min())
        for group in _groups(past, keys, kept, presence_known)
    ]
    return min(least, default=0)


@dataclass(frozen=True)
class _Groups:
    """Published subjects seen by an attacker with one kind of knowledge: rows (members,), those whom that
    knowledge is about, the number of each one's group, and the earlier releases that it reaches into."""

    rows: Integers
    judged: Flags
    numbers: Integers
    releases: Flags


def _groups(past: Past, keys: Integers, kept: Flags, presence_known: bool) -> Iterator[_Groups]:
    rows = np.flatnonzero(kept)
    patterns = past.pattern[rows]
    for pattern in np.unique(patterns):
        own = patterns == pattern
        known = past.presence[rows[own.argmax()]]
        # Who is in further releases as well is a candidate, too, unless it is known that the target is not.
        also = own if presence_known else past.presence[rows][:, known].all(axis=1)
        members = rows[also]
        table = np.column_stack([past.classes[members][:, known], keys[members]])
        yield _Groups(members, own[also], _numbered(table), known)


def _with_candidates(
    past: Past, keys: Integers, kept: Flags, k: int, diversities: Sequence[Diversity], presence_known: bool
) -> Flags:
    """Which published rows (rows,) have k candidates and, in each release known, enough values among them."""
    fine = np.zeros(past.rows, dtype=bool)
    for group in _groups(past, keys, kept, presence_known):
        enough = np.bincount(group.numbers) >= k
        for diversity in diversities:
            enough &= _distinct(group.numbers, diversity.codes[group.rows]) >= diversity.least
        for shown in past.shown:
            if group.releases[shown.release]:
                enough &= _distinct(group.numbers, shown.codes[group.rows]) >= shown.least
        fine[group.rows[group.judged]] = enough[group.numbers[group.judged]]
    return fine


def _company_of_absent(past: Past, keys: Integers, kept: Flags, k: int) -> Integers:
    """Rows to leave out (leaving,), so that those who were published before and now are not have company.

    Of each path whose absent members are too few or too alike: from its largest class as many rows as are
    missing and as that class can spare; when it can spare none, its smallest class whole.
    """
    published = np.zeros(len(past.path), dtype=bool)
    published[: past.rows] = kept
    ever = past.presence.any(axis=1)
    absent = ever & ~published
    if not absent.any():
        return np.zeros(0, dtype=np.int64)
    size = np.bincount(past.path[absent], minlength=int(past.path.max()) + 1)
    lacking = (size > 0) & (size < k)
    for shown in past.shown:
        known = absent & past.presence[:, shown.release]
        alike = _distinct(past.path[known], shown.codes[known], len(size)) < shown.least
        lacking |= alike & (np.bincount(past.path[known], minlength=len(size)) > 0)
    rows = np.flatnonzero(kept & lacking[past.path[: past.rows]])
    if not len(rows):
        return rows
    order = np.lexsort((rows, keys[rows], past.path[rows]))
    rows = rows[order]
    leaving: list[int] = []
    for path, of_path in groupby(rows.tolist(), key=lambda row: int(past.path[row])):
        classes = sorted((list(one) for _, one in groupby(of_path, key=lambda row: int(keys[row]))), key=len)
        spare = len(classes[-1]) - k
        needed = max(1, k - int(size[path]))
        leaving += classes[-1][: min(spare, needed)] if spare > 0 else classes[0]
    return np.array(leaving, dtype=np.int64)


def _distinct(groups: Integers, codes: Integers, slots: int | None = None) -> Integers:
    """How many different non-negative codes each group has (groups,)."""
    count = slots if slots is not None else int(groups.max(initial=-1)) + 1
    known = codes >= 0
    if not known.any():
        return np.zeros(count, dtype=np.int64)
    width = int(codes.max()) + 1
    pairs = np.unique(groups[known] * width + codes[known])
    return np.bincount(pairs // width, minlength=count)


def codes_of(column: pl.Series) -> Integers:
    """Each value's number among the distinct ones (rows,); -1 for a null."""
    return column.rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1


def _numbered(table: npt.NDArray[Any]) -> Integers:
    """The number of each row among the distinct rows of a table (rows, columns)."""
    numbers = np.zeros(len(table), dtype=np.int64)
    for column in np.asarray(table, dtype=np.int64).T:
        _, codes = np.unique(column, return_inverse=True)
        _, numbers = np.unique(numbers * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return numbers
