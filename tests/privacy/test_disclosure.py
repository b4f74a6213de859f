"""Small cells stay hidden, also from subtraction."""

from __future__ import annotations

from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.privacy import DataError
from merajut_assets.privacy.disclosure import (
    DisclosureError,
    cells_with_small_changes,
    refuse_margins,
    suppress_small_cells,
    withhold_disclosing_shares,
)


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=20), st.integers(2, 8))
def test_figures_of_small_cells_are_gone(counts: list[int | None], k: int) -> None:
    """Every figure of a cell below k is null, every other figure is untouched."""
    frame = pl.DataFrame(
        {"cell": list(range(len(counts))), "children": counts, "cost": [1.0] * len(counts)},
        schema={"cell": pl.Int64, "children": pl.Int64, "cost": pl.Float64},
    )
    result = suppress_small_cells(frame, "children", k, ["cost"])
    assert result.columns == ["cell", "children", "cost", "is_withheld"]
    for count, row in zip(counts, result.iter_rows(named=True), strict=True):
        small = count is None or count < k
        assert row["is_withheld"] is small
        assert (row["children"], row["cost"]) == ((None, None) if small else (count, 1.0))
    kept = suppress_small_cells(frame, "children", k, ["cost"], keep_rows=False)
    assert kept.height == sum(count is not None and count >= k for count in counts)


def test_bad_arguments_are_refused() -> None:
    """k = 1 would withhold nobody; a measure misspelt would be published."""
    frame = pl.DataFrame({"children": [1]})
    with pytest.raises(DataError, match="at least 2"):
        suppress_small_cells(frame, "children", 1)
    with pytest.raises(DataError, match="cost"):
        suppress_small_cells(frame, "children", 5, ["cost"])
    with pytest.raises(DataError, match="whole numbers"):
        suppress_small_cells(frame.cast(pl.Float64), "children", 5)
    with pytest.raises(DataError, match="is_withheld"):
        suppress_small_cells(suppress_small_cells(frame, "children", 5), "children", 5)


def test_margins_are_refused() -> None:
    """A total less the visible cells is the withheld cell; so is one breakdown less another."""
    refuse_margins({})
    refuse_margins({"one": ["district"], "two": ["district"]})
    for other in (["province"], ["district", "sex"], []):
        with pytest.raises(DisclosureError, match=r"'one' and 'two'"):
            refuse_margins({"one": ["district"], "two": other})


# ── shares ───────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20), st.integers(1, 6))
def test_a_share_is_shown_only_with_enough_people_on_either_side(sides: list[tuple[int, int]], least: int) -> None:
    """A share of 1 once told that every member of staff of a province was checked, and one of 0 that nobody was."""
    frame = pl.DataFrame(
        {
            "share": [yes / max(yes + no, 1) for yes, no in sides],
            "yes": [yes for yes, _ in sides],
            "no": [no for _, no in sides],
        },
        schema={"share": pl.Float64, "yes": pl.Int64, "no": pl.Int64},
    )
    result = withhold_disclosing_shares(frame, "share", "yes", "no", least)
    assert result.drop("share").equals(frame.drop("share"))
    for (yes, no), before, after in zip(sides, frame["share"], result["share"], strict=True):
        assert after == (before if min(yes, no) >= least else None)
        assert after not in (0.0, 1.0)


def test_a_share_of_which_a_side_is_not_counted_is_withheld() -> None:
    frame = pl.DataFrame({"share": [0.5, 0.5], "yes": [None, 9], "no": [9, None]})
    assert withhold_disclosing_shares(frame, "share", "yes", "no", 1)["share"].to_list() == [None, None]
    with pytest.raises(DataError, match="at least one"):
        withhold_disclosing_shares(frame, "share", "yes", "no", 0)
    with pytest.raises(DataError, match="lacks column"):
        withhold_disclosing_shares(frame, "share", "yes", "maybe", 1)


# ── differences between publications ─────────────────────────────────────────────────────

Cells = dict[str, dict[int, int]]  # cell -> person -> contribution


def _rows(cells: Cells, publication: int | None = None) -> pl.DataFrame:
    """The contributions to two figures: a count of people, and a sum."""
    rows = [
        {"cell": cell, "figure": figure, "contributor": str(person), "contribution": str(part)}
        for cell, people in cells.items()
        for person, amount in people.items()
        for figure, part in (("people", 1), ("amount", amount))
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(["cell", "figure", "contributor", "contribution"], pl.String))
    return frame if publication is None else frame.with_columns(pl.lit(str(publication)).alias("publication"))


# Mostly small steps from month to month: whole new cells would hardly ever be refused.
_people = st.dictionaries(st.integers(0, 11), st.integers(1, 2), max_size=12)
_releases = st.lists(st.dictionaries(st.sampled_from(["a", "b"]), _people, max_size=2), min_size=2, max_size=6)


@given(_releases, st.integers(2, 5))
def test_no_two_published_cells_differ_by_fewer_than_k_people(releases: list[Cells], k: int) -> None:
    """Two months of true counts that differed by one donor told what that donor gave."""
    published = _rows({}, 0)
    shown: list[Cells] = []
    for number, cells in enumerate(releases):
        large = {cell: people for cell, people in cells.items() if len(people) >= k}
        withheld = set(cells_with_small_changes(_rows(large), published, ["cell"], k)["cell"])
        shown.append({cell: people for cell, people in large.items() if cell not in withheld})
        published = pl.concat([published, _rows(shown[-1], number)])
    for one, other in combinations(shown, 2):
        for cell in one.keys() & other.keys():
            came_or_went = one[cell].keys() ^ other[cell].keys()
            changed = {person for person, _ in one[cell].items() ^ other[cell].items()}
            assert len(came_or_went) == 0 or len(came_or_went) >= k
            assert len(changed) == 0 or len(changed) >= k


def test_what_may_be_published_again() -> None:
    """The rule withholds nothing more than it must: unchanged cells and large changes are shown."""
    ten = dict.fromkeys(range(10), 1)
    cases = {
        "unchanged": (ten, False),
        "one came": ({**ten, 10: 1}, True),
        "one went": (dict.fromkeys(range(9), 1), True),
        "one for another": ({**dict.fromkeys(range(9), 1), 99: 1}, True),
        "one gave more": ({**ten, 3: 2}, True),
        "four came": ({**ten, **dict.fromkeys(range(20, 24), 1)}, True),
        "five came": ({**ten, **dict.fromkeys(range(20, 25), 1)}, False),
        "all gave more": (dict.fromkeys(range(10), 2), False),
        "others altogether": (dict.fromkeys(range(50, 57), 1), False),
    }
    before = _rows(dict.fromkeys(cases, ten), 1)
    now = _rows({name: people for name, (people, _) in cases.items()})
    withheld = set(cells_with_small_changes(now, before, ["cell"], 5)["cell"])
    assert withheld == {name for name, (_, is_withheld) in cases.items() if is_withheld}
    assert cells_with_small_changes(now, _rows({"another cell": ten}, 1), ["cell"], 5).is_empty()


def test_contributions_that_cannot_be_compared_are_refused() -> None:
    """A person with two contributions would count as changed or not by chance."""
    rows = _rows({"a": {1: 1}})
    with pytest.raises(DataError, match="two contributions"):
        cells_with_small_changes(pl.concat([rows, rows]), _rows({}, 1), ["cell"], 5)
    with pytest.raises(DataError, match="publication"):
        cells_with_small_changes(rows, rows, ["cell"], 5)
    with pytest.raises(DataError, match="at least 2"):
        cells_with_small_changes(rows, _rows({}, 1), ["cell"], 1)
