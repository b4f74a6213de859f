"""How much of a table is left in its release: one report of figures, before against after.

Belongs here: comparing an original with what was published of it. Does not belong here: what a generalisation costs
(`metrics`: those figures are taken from the release), associations as such (`association`), and plots.

**What a recipient reconstructs.** Of a generalised value one knows which values of the hierarchy it stands for, and
nothing about which of them is meant: its rows are spread evenly over these. A suppressed row is one whose every value
is the most general, as in ARX's Loss: it is spread over all values, so that leaving out whoever is unusual shows as a
change. Columns that are published as they are, sensitive and exact ones, are treated alike, over the values that
occur. A text that stands on several levels in use for different values is read as all of them: nobody who is given
the release can tell.

**What is shown, and why it is harmless.** Figures of whole columns, pairs of columns and the whole table; no value, no
count of a value or of a cell, and sizes of classes, which are at least k, only as their mean, median, largest and in
bands. What rests on the release alone tells no more than the release. What rests on the original, too, could tell
whoever has the release and the figure with all its digits about the few rows that were left out. So these figures are
rounded to steps of at least k / rows, which is more than fewer than k rows change in the share of anything, and values
of fewer than k rows are pooled before associations are measured. That hides a row unless the figure happens to lie
beside the edge of a step: the report is for those who answer for a release, and no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.anonymise import Release
from merajut_assets.privacy.association import Floats, Sides, Values, associations, pooled
from merajut_assets.privacy.categories import without_categories
from merajut_assets.privacy.counting import Packed, tally
from merajut_assets.privacy.hierarchy import (
    ANY,
    UNKNOWN,
    Codes,
    Hierarchy,
    as_published,
    build_hierarchy,
    ranked_columns,
)
from merajut_assets.privacy.metrics import METRICS
from merajut_assets.privacy.policy import DataError, Policy, QuasiIdentifier, TCloseness
from merajut_assets.privacy.problem import Attribute

# The finest steps in which figures are given; coarser where k is a larger share of the rows.
SHIFT_STEP = 0.001
ASSOCIATION_STEP = 0.01
# Classes are counted in bands that begin at k and double, so many of them.
SIZE_BANDS = 5
# Decimals of shares and of means that rest on the release alone: with all of them, a figure can have the shape of an
# identity or phone number, which is refused in metadata.
SHARE_DIGITS, MEAN_DIGITS = 6, 2


@dataclass(frozen=True, eq=False)
class _Column:
    """One column before and after. `values` (n,): the place of each original row among the column's values, the
    leaves; `texts` (p,): the number of what each published row shows. `before` (leaves,), `shown` (texts,): the rows
    of each. `text`, `leaf` (pairs,): what each text stands for, one leaf or several. `order`: the leaves that have
    one, ascending; None without an order. `hierarchy`, `least_level`: of a quasi-identifier."""

    name: str
    role: str
    values: Values
    texts: Values
    before: Floats
    shown: Floats
    text: Codes
    leaf: Codes
    order: Codes | None
    hierarchy: Hierarchy | None = None
    least_level: int = 0

    @property
    def after(self) -> Floats:
        """The published rows (leaves,) that a recipient supposes behind each leaf."""
        cover = np.bincount(self.text, minlength=len(self.shown))
        rows = np.bincount(self.leaf, weights=(self.shown / cover)[self.text], minlength=len(self.before))
        return rows.astype(np.float64)

    @property
    def finest(self) -> Values:
        """The number (n,) of what each original row would show at the finest permitted level."""
        return self.values if self.hierarchy is None else self.hierarchy.codes[self.least_level][self.values]


def utility_report(original: pl.DataFrame, release: Release, policy: Policy) -> dict[str, Any]:
    """What `release`, made by `anonymise` from `original` under `policy`, has kept. Plain figures, fit for JSON.

    - `rows`, `suppressed`; `loss` (as in the release's report); `granularity`: 1 - the mean of the columns' losses
      (Iyengar 2002; 1: as fine as before); `precision`: 1 - the mean share of the hierarchy climbed (Sweeney 2002);
      `discernibility` (Bayardo and Agrawal 2005), and `discernibility_share`: the same as a share of rows², that is of
      the pairs of rows that are told apart no longer; `average_class`: rows per class, all suppressed rows being one
      (LeFevre, DeWitt and Ramakrishnan 2006, without their division by k).
    - `class_sizes`: `mean`, `median`, `largest` and `bands` of the published classes, in persons (rows, without a
      subject column).
    - `columns`: per column its `role` (quasi_identifier, exact, sensitive). Of a quasi-identifier `loss` (ARX's, as in
      the release's report) and `entropy_lost`: the bits of non-uniform entropy lost (see `metrics`) as a share of the
      entropy of the values at the finest permitted level within each exact value (Gionis and Tassa 2009); not told of
      a release beside other tables.
      And how far the distribution that a recipient reconstructs is from the original's: `total_variation` (0 to 1),
      `jensen_shannon` (bits, 0 to 1; Lin 1991), and `earth_mover` where values have an order (over ranks, divided by
      their number - 1, unknown values having none; None elsewhere).
    - `association`: of all these `columns` the matrix of Cramér's V `before`, between original values, and `after`,
      as a recipient reconstructs them (see `association`; suppressed rows are in no pair, and a column published as
      `*` hangs together with nothing: 0), the `largest_change` and which pair it is of (`most_changed`; None without).
    - `steps`: in which steps the figures that rest on the original are given.

    A column of numbers that hardly repeat has no association, because its values are pooled. Raises DataError when
    there is no release, or when it is not one of `original` under `policy`.
    """
    published, counted = release.frame, release.tally
    if published is None or counted is None:
        raise DataError("there is no release whose utility could be measured")
    named = [*policy.class_columns, *policy.sensitive]
    if (
        not {*named} <= {*original.columns} & {*published.columns}
        or (original.height, published.height) != (counted.rows, counted.rows - counted.suppressed)
        or list(release.report["column_loss"]) != list(policy.quasi_identifiers)
    ):
        raise DataError("the release is not one of this frame under this policy; give what anonymise was given")
    original, policy = without_categories(original, policy)
    columns = _columns(original, published, release, policy)
    steps = {"shift": step_of(counted.rows, policy.k, SHIFT_STEP)}
    steps["association"] = max(steps["shift"], ASSOCIATION_STEP)
    discernibility = METRICS["discernibility"].of(counted, ())
    return {
        "rows": counted.rows,
        "suppressed": counted.suppressed,
        "loss": round(release.report["loss"], SHARE_DIGITS),
        "granularity": round(1 - float(np.mean(list(release.report["column_loss"].values()))), SHARE_DIGITS),
        "precision": round(1 - METRICS["precision"].of(counted, _attributes(columns)), SHARE_DIGITS),
        "discernibility": int(discernibility),
        "discernibility_share": round(discernibility / counted.rows**2, SHARE_DIGITS),
        "average_class": round(METRICS["aecs"].of(counted, ()), MEAN_DIGITS),
        "class_sizes": _class_sizes(published, columns, policy),
        "columns": {
            column.name: {"role": column.role, **lost, **_shift(column, counted.suppressed, steps["shift"])}
            for column, lost in zip(columns, _lost(columns, release, steps["shift"]), strict=True)
        },
        "association": _association(columns, policy.k, steps["association"]),
        "steps": steps,
    }


# ── rounding ─────────────────────────────────────────────────────────────────────────────


def step_of(rows: int, k: int, finest: float) -> float:
    """The least of 1, 2, 5, 10, … times `finest` (a power of ten) that is k / rows or more, and 1 at most."""
    steps = (multiple * finest * 10**power for power in range(9) for multiple in (1, 2, 5))
    return round(min(next(step for step in steps if step >= min(k / max(rows, 1), 1.0)), 1.0), 9)


def _stepped(value: float, step: float) -> float:
    return round(round(value / step) * step, 9)


# ── columns ──────────────────────────────────────────────────────────────────────────────


def _columns(original: pl.DataFrame, published: pl.DataFrame, release: Release, policy: Policy) -> list[_Column]:
    columns = [
        _generalised(original, published.get_column(name), policy, _levels_in_use(release, name, spec))
        for name, spec in policy.quasi_identifiers.items()
    ]
    for name, rule in policy.sensitive.items():
        columns.append(_as_it_is(original.get_column(name), published.get_column(name), "sensitive", rule.t_closeness))
    for name in policy.exact:
        columns.append(_as_it_is(original.get_column(name), published.get_column(name), "exact", None))
    return columns


def _levels_in_use(release: Release, name: str, spec: QuasiIdentifier) -> list[int]:
    """The levels at which a release may show a column: of local recoding the coarsest alone is known."""
    used: set[int] = set()
    for part in release.report["partitions"]:
        coarsest = part["transformation"][name]
        used |= set(range(spec.least_level if "local" in part else coarsest, coarsest + 1))
    return sorted(used)


def _generalised(original: pl.DataFrame, published: pl.Series, policy: Policy, levels: Sequence[int]) -> _Column:
    spec = policy.quasi_identifiers[published.name]
    hierarchy = build_hierarchy(original.get_column(published.name), spec)
    ((texts, numbers),) = ranked_columns([published.cast(pl.String)])
    text, leaf = _leaves_of(as_published(hierarchy, policy), levels, texts)
    return _Column(
        *(published.name, "quasi_identifier", hierarchy.rows, numbers),
        *(_rows(hierarchy.rows, hierarchy.domain), _rows(numbers, len(texts)), text, leaf),
        *(_order_of_leaves(hierarchy, spec), hierarchy, spec.least_level),
    )


def _rows(numbers: Values, size: int) -> Floats:
    return np.bincount(numbers, minlength=size).astype(np.float64)


def _leaves_of(hierarchy: Hierarchy, levels: Sequence[int], texts: pl.Series) -> tuple[Codes, Codes]:
    """The pairs of a text and a leaf that it stands for on one of the levels."""
    places = pl.DataFrame({"text": texts}).with_row_index("place")
    pairs: list[Codes] = []
    for level in levels:
        labels = hierarchy.labels[level].alias("text").to_frame()
        joined = labels.join(places, on="text", how="left", maintain_order="left").get_column("place")
        text_of_leaf = joined.cast(pl.Int64).fill_null(-1).to_numpy()[hierarchy.codes[level]]
        leaves = np.flatnonzero(text_of_leaf >= 0)
        pairs.append(text_of_leaf[leaves] * hierarchy.domain + leaves)
    text, leaf = np.divmod(np.unique(np.concatenate(pairs)), hierarchy.domain)
    if unknown := len(texts) - len(np.unique(text)):
        raise DataError(
            f"column {hierarchy.name!r}: {unknown} published value(s) are on none of the levels of its hierarchy that "
            "the release uses; give the frame and policy that it was made with"
        )
    return text, leaf


def _order_of_leaves(hierarchy: Hierarchy, spec: QuasiIdentifier) -> Codes | None:
    texts = hierarchy.labels[0].gather(hierarchy.codes[0])
    known = (~texts.is_in([UNKNOWN, ANY])).to_numpy()
    if spec.kind in ("date", "intervals"):
        # Domains of both kinds are written down in their order.
        return np.flatnonzero(known)
    numbers = texts.cast(pl.Float64, strict=False)
    if spec.kind != "hierarchy" or numbers.is_null().to_numpy()[known].any():
        return None
    ascending = numbers.arg_sort().to_numpy().astype(np.int64)
    return np.asarray(ascending[known[ascending]])


def _as_it_is(original: pl.Series, published: pl.Series, role: str, closeness: TCloseness | None) -> _Column:
    ((values, numbers),) = ranked_columns([pl.concat([original, published])])
    before, after = numbers[: len(original)], numbers[len(original) :]
    ranks = None
    is_ordered = closeness is not None and closeness.kind == "ordered"
    if closeness is not None and closeness.order is not None:
        order = [str(value) for value in closeness.order]
        places = values.cast(pl.String).replace_strict(order, list(range(len(order))), default=None)
        ranks = places.arg_sort(nulls_last=True).to_numpy().astype(np.int64)[: len(places) - places.null_count()]
    elif is_ordered or values.dtype.is_numeric() or values.dtype.is_temporal():
        ranks = np.arange(len(values) - values.null_count())
    same = np.arange(len(values))
    return _Column(
        *(original.name, role, before, after, _rows(before, len(values)), _rows(after, len(values)), same, same, ranks),
    )


def _attributes(columns: Sequence[_Column]) -> list[Attribute]:
    """The quasi-identifiers as `metrics` asks for them, all of one weight; their codes are those of the leaves."""
    attributes = []
    for column in columns:
        if (hierarchy := column.hierarchy) is not None:
            codes = tuple(level.astype(np.int32) for level in hierarchy.codes[column.least_level :])
            cover = hierarchy.cover[column.least_level :]
            attributes.append(Attribute(codes, cover, hierarchy.domain, first_level=column.least_level))
    return attributes


# ── what each column has lost ────────────────────────────────────────────────────────────


def _lost(columns: Sequence[_Column], release: Release, step: float) -> Iterator[dict[str, float]]:
    """Per column the information lost; nothing is to be said of those that are published as they are."""
    assert release.tally is not None
    exact = [column for column in columns if column.role == "exact"]
    within = _entropy([column.values for column in exact])
    bits = dict(zip(release.report["column_loss"], release.tally.bits, strict=True))
    for column in columns:
        if column.hierarchy is None:
            yield {}
            continue
        whole = _entropy([column.finest, *(other.values for other in exact)]) - within
        share = bits[column.name] / whole if whole > 0 else 0.0
        loss = round(release.report["column_loss"][column.name], SHARE_DIGITS)
        if "tables_beside" in release.report:
            # The bits are those lost within what the other tables show of each row, which the release does not tell.
            yield {"loss": loss}
            continue
        yield {"loss": loss, "entropy_lost": _stepped(min(max(share, 0.0), 1.0), step)}


def _entropy(columns: Sequence[Values]) -> float:
    """The joint entropy of columns (n,) in bits, times n."""
    if not columns or not len(columns[0]):
        return 0.0
    _, counts = tally(Packed(columns, [int(column.max()) + 1 for column in columns]).numbers)
    return float((counts * (np.log2(counts.sum()) - np.log2(counts))).sum())


# ── how distributions shift ──────────────────────────────────────────────────────────────


def _shift(column: _Column, suppressed: int, step: float) -> dict[str, float | None]:
    rows = len(column.values)
    before = column.before / rows
    after = (column.after + suppressed / len(before)) / rows
    moved = None if column.order is None else earth_mover(before[column.order], after[column.order])
    return {
        "total_variation": _stepped(total_variation(before, after), step),
        "jensen_shannon": _stepped(jensen_shannon(before, after), step),
        "earth_mover": None if moved is None else _stepped(moved, step),
    }


def total_variation(before: Floats, after: Floats) -> float:
    """Half the sum of the differences of two distributions (values,): the largest by which the share of any set of
    values differs."""
    return float(np.abs(before - after).sum() / 2)


def jensen_shannon(before: Floats, after: Floats) -> float:
    """The Jensen-Shannon divergence of two distributions (values,) in bits, from 0 to 1 (J. Lin, "Divergence measures
    based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991)."""
    middle = (before + after) / 2
    bits = sum(
        float((shares[shares > 0] * np.log2(shares[shares > 0] / middle[shares > 0])).sum())
        for shares in (before, after)
    )
    return min(max(bits / 2, 0.0), 1.0)


def earth_mover(before: Floats, after: Floats) -> float | None:
    """The earth mover's distance of two distributions over ordered values (values,), moving by one rank costing
    1 / (values - 1), each made to sum to 1; None where one of them is empty. Li, Li and Venkatasubramanian 2007."""
    if not before.sum() > 0 or not after.sum() > 0:
        return None
    carried = np.cumsum(before / before.sum() - after / after.sum())[:-1]
    return float(np.abs(carried).mean()) if len(carried) else 0.0


# ── associations ─────────────────────────────────────────────────────────────────────────


def _association(columns: Sequence[_Column], k: int, step: float) -> dict[str, Any]:
    before, after = (
        np.array([[_stepped(figure, step) for figure in row] for row in matrix.tolist()])
        for matrix in associations([_sides(column, k) for column in columns])
    )
    # Of figures that are rounded: which of several changes is the largest rests on single rows otherwise.
    change = np.abs(before - after)
    first, other = sorted(int(place) for place in np.unravel_index(change.argmax(), change.shape))
    return {
        "columns": [column.name for column in columns],
        "before": before.tolist(),
        "after": after.tolist(),
        "largest_change": _stepped(float(change[first, other]), step),
        "most_changed": [columns[first].name, columns[other].name] if first != other else None,
    }


def _sides(column: _Column, k: int) -> Sides:
    """A column in categories of k rows or more. Texts beyond the most frequent ones are taken together, too, and mean
    what they mean on average."""
    category = pooled(column.before.astype(np.int64), k)
    number = pooled(column.shown.astype(np.int64), 0)
    sizes = (int(number.max(initial=0)) + 1, int(category.max(initial=0)) + 1)
    of_number = np.bincount(number, weights=column.shown, minlength=sizes[0])
    share = column.shown / np.maximum(of_number, 1)[number] / np.bincount(column.text, minlength=len(column.shown))
    places = number[column.text].astype(np.int64) * sizes[1] + category[column.leaf]
    meaning = np.bincount(places, weights=share[column.text], minlength=sizes[0] * sizes[1])
    return Sides(category[column.values], number[column.texts], meaning.astype(np.float64).reshape(sizes))


# ── classes ──────────────────────────────────────────────────────────────────────────────


def _class_sizes(published: pl.DataFrame, columns: Sequence[_Column], policy: Policy) -> dict[str, Any]:
    texts = [column.texts for column in columns if column.role != "sensitive"]
    keys = Packed(texts, [int(column.max(initial=0)) + 1 for column in texts]).numbers
    if policy.subject is None:
        sizes = pl.Series(tally(keys)[1])
    else:
        members = pl.DataFrame({"class": keys, "member": published.get_column(policy.subject)}).unique()
        sizes = members.group_by("class").len().get_column("len")
    counts = sizes.to_numpy()
    return {
        "mean": round(float(counts.mean()), MEAN_DIGITS) if len(counts) else 0.0,
        "median": float(np.median(counts)) if len(counts) else 0.0,
        "largest": int(counts.max(initial=0)),
        "bands": dict(size_bands(sizes, policy.k)),
    }


def size_bands(sizes: pl.Series, k: int) -> Iterator[tuple[str, int]]:
    """How many classes have how many persons, in bands that begin at k and double; the last one is open.

    A band of classes below k is there only if there is such a class, which no release has."""
    edges = [k * 2**number for number in range(SIZE_BANDS)]
    if below := int((sizes < k).sum()):
        yield f"below {k}", below
    for low, high in pairwise(edges):
        yield f"{low} to {high - 1}", int(sizes.is_between(low, high - 1).sum())
    yield f"{edges[-1]} or more", int((sizes >= edges[-1]).sum())
