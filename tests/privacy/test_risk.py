"""Risk figures by hand on a table small enough to see."""

from __future__ import annotations

import polars as pl
import pytest

from merajut_assets.privacy import DataError, PolicyError, assess_risk


def test_prosecutor_risk_by_hand() -> None:
    """Classes of 1, 2 and 5 rows: highest 1, average 3/8, three of eight rows strictly above 0.2."""
    frame = pl.DataFrame({"zip": ["a"] + ["b"] * 2 + ["c"] * 5})
    risk = assess_risk(frame, ["zip"])
    assert risk["prosecutor"] == {"highest": 1.0, "average": 3 / 8, "share_above_threshold": 3 / 8}
    assert risk["sample_unique_share"] == 1 / 8


def test_risk_counts_subjects() -> None:
    """Five rows of one child are a class of one."""
    frame = pl.DataFrame({"zip": ["a"] * 5, "child": ["c"] * 5})
    assert assess_risk(frame, ["zip"], subject="child")["prosecutor"]["highest"] == 1.0


def test_population_is_refused_by_name() -> None:
    """A figure without the population model that was asked for would be mistaken for it."""
    frame = pl.DataFrame({"zip": ["a"]})
    with pytest.raises(PolicyError, match="population"):
        assess_risk(frame, ["zip"], population=frame)
    with pytest.raises(DataError, match="age"):
        assess_risk(frame, ["age"])
    with pytest.raises(PolicyError, match="threshold"):
        assess_risk(frame, ["zip"], threshold=2)


def test_an_empty_table_has_no_risk() -> None:
    """Division by nothing must not surface as NaN in metadata."""
    empty = pl.DataFrame(schema={"zip": pl.String})
    assert assess_risk(empty, ["zip"])["prosecutor"]["highest"] == 0.0
    assert assess_risk(empty, [])["prosecutor"]["highest"] == 0.0
