"""Small cells stay hidden, also from subtraction."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.privacy import DataError
from merajut_assets.privacy.disclosure import DisclosureError, refuse_margins, suppress_small_cells


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
