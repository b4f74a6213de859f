"""How strongly the columns of a table hang together, and how strongly a recipient of its release finds that they do.

Belongs here: bias-corrected Cramér's V of two columns before and after, and what is counted for it. Does not belong
here: which columns are compared, and what published texts mean (`utility`).

Before and after are measured over the same categories, those of the original values: an association between the texts
themselves would rise only because there are fewer of them, and of local recoding it would show which columns were
made coarse together. A published row counts in each category by the share of the text's values that are in it. So V
cannot rise by generalising (but for chance), and a column published as `*` hangs together with nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.counting import Packed
from merajut_assets.privacy.hierarchy import Codes, Numbers, Rows, narrow

Floats = npt.NDArray[np.float64]
Values = Numbers | Rows | Codes

# So many of a column's values are told apart, the most frequent ones; tables of two columns stay small.
MOST_CATEGORIES = 300


@dataclass(frozen=True, eq=False)
class Sides:
    """One column on both sides: the category (n,) of each original row, the text (p,) of each published one, and what
    a text means: the share (texts, categories) of its values that are in each category, summing to 1."""

    before: Values
    after: Values
    meaning: Floats

    @cached_property
    def categories(self) -> int:
        """The categories that original rows are in."""
        return int((np.bincount(self.before) > 0).sum())

    @cached_property
    def told_apart(self) -> float:
        """How many categories published rows tell apart: as many as there are if each text is one, 1 if all texts mean
        the same."""
        rows = np.bincount(self.after, minlength=len(self.meaning))
        of_category = rows @ self.meaning
        used = of_category > 0
        return float((rows @ (self.meaning[:, used] ** 2 / of_category[used])).sum())


def associations(columns: Sequence[Sides]) -> tuple[Floats, Floats]:
    """Cramér's V of each pair of columns (columns, columns) before and after: 0 to 1, symmetric, 1 on the diagonal.

    W. Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", Journal of the Korean Statistical Society 42
    (2013): from χ²/n of r and c values its expectation under independence is taken, (r - 1)(c - 1)/(n - 1), and the
    rest is divided by the most that it can be, min(r, c) - 1, each likewise corrected. After, r and c of the
    expectation are what is told apart then; the divisor is that of before. 0 where nothing can be found: with one
    category, or with categories of one row each.
    """
    before, after = np.eye(len(columns)), np.eye(len(columns))
    for place, first in enumerate(columns):
        for beside, other in enumerate(columns[:place]):
            rows = len(first.before)
            most = min(_corrected(side.categories, rows) for side in (first, other))
            table = counted(first.before, other.before)
            before[place, beside] = before[beside, place] = cramers_v(table, (first.categories, other.categories), most)
            texts = counted(first.after, other.after, (len(first.meaning), len(other.meaning)))
            table = first.meaning.T @ texts @ other.meaning
            after[place, beside] = after[beside, place] = cramers_v(table, (first.told_apart, other.told_apart), most)
    return before, after


def cramers_v(table: Floats, values: tuple[float, float], most: float) -> float:
    """V of a table of counts (r, c) whose sides tell so many `values` apart; `most`: the corrected min(r, c) - 1."""
    rows = table.sum()
    if rows < 2 or most <= 0:
        return 0.0
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    surplus = float((table**2 / expected).sum()) - 1 - (values[0] - 1) * (values[1] - 1) / (rows - 1)
    # What is left of equal sums is rounding.
    return min(float(np.sqrt(surplus / most)), 1.0) if surplus > 1e-12 else 0.0


def counted(first: Values, other: Values, sizes: tuple[int, int] | None = None) -> Floats:
    """The table of counts of two columns (n,) of numbers, of these `sizes` (else: as large as the numbers ask for)."""
    if sizes is None:
        sizes = (int(first.max(initial=0)) + 1, int(other.max(initial=0)) + 1)
    numbers = Packed([first, other], sizes).numbers
    return np.bincount(numbers, minlength=sizes[0] * sizes[1]).astype(np.float64).reshape(sizes)


def _corrected(values: int, rows: int) -> float:
    return values - 1 - (values - 1) ** 2 / (rows - 1) if rows > 1 else 0.0


def pooled(rows: Codes, least: int, most: int = MOST_CATEGORIES) -> Numbers:
    """The category (values,) of each value, by how many `rows` (values,) it has: one of its own, or 0, shared by all
    that have fewer than `least` or are not among the `most` frequent; and if these have fewer than `least` together,
    by the rarest other one that there is.

    Values of few rows look bound to whatever they stand beside, and a figure that rests on them tells about few people.
    """
    rarest = np.argsort(rows, kind="stable")
    together = max(int((rows < least).sum()), len(rows) - most)
    if 0 < rows[rarest[:together]].sum() < least:
        together += int((rows[rarest[together:]] > 0).any())
    category = np.zeros(len(rows), dtype=np.int64)
    alone = np.sort(rarest[together:])
    category[alone] = np.arange(len(alone)) + (together > 0)
    return narrow(category, len(rows) + 1)
