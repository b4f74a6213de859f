"""Levels must say what they claim: every label covers exactly what is published under it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy.hierarchy import build_hierarchy
from merajut_assets.privacy.policy import DataError, PolicyError, QuasiIdentifier


def levels(values: pl.Series, **spec: Any) -> list[list[str]]:
    hierarchy = build_hierarchy(values.alias("column"), QuasiIdentifier.model_validate(spec))
    return [hierarchy.published(level).to_list() for level in range(hierarchy.levels)]


def test_prefix_levels() -> None:
    """Prefixes shorten from level to level; a null is told apart until everything is `*`."""
    assert levels(pl.Series(["40115", "40232", None]), prefix=[4, 2, 0]) == [
        ["4011", "4023", "unknown"],
        ["40", "40", "unknown"],
        ["*", "*", "*"],
    ]


def test_date_levels() -> None:
    """Each unit is a calendar unit; spans start at multiples of their length."""
    dates = pl.Series([date(2014, 12, 31), date(2015, 1, 1), None])
    assert levels(dates, date=["day", "month", "quarter", "year", "5y", "*"]) == [
        ["2014-12-31", "2015-01-01", "unknown"],
        ["2014-12", "2015-01", "unknown"],
        ["2014-Q4", "2015-Q1", "unknown"],
        ["2014", "2015", "unknown"],
        ["2010-2014", "2015-2019", "unknown"],
        ["*", "*", "*"],
    ]


def test_interval_levels() -> None:
    """The open ends are labels of their own, and merging starts at the first break."""
    values = pl.Series([-1.0, 0.0, 999_999.5, 1e6, 5e6, 2e7, None])
    assert levels(values, intervals=[0, 1e6, 5e6, 2e7], then=[2, "*"]) == [
        ["<0", "[0, 1000000)", "[0, 1000000)", "[1000000, 5000000)", "[5000000, 20000000)", ">=20000000", "unknown"],
        ["<0", "[0, 5000000)", "[0, 5000000)", "[0, 5000000)", ">=5000000", ">=5000000", "unknown"],
        ["*"] * 7,
    ]


def test_wilayah_levels() -> None:
    """Village, sub-district, district, province; a code that starts higher stays as it is."""
    assert levels(pl.Series(["11.01.02.2003", "11.01", None]), codes="wilayah") == [
        ["11.01.02.2003", "11.01", "unknown"],
        ["11.01.02", "11.01", "unknown"],
        ["11.01", "11.01", "unknown"],
        ["11", "11", "unknown"],
        ["*", "*", "*"],
    ]


def test_file_levels_and_their_cover(tmp_path: Path) -> None:
    """The Loss counts hierarchy rows, including values that the data do not hold."""
    path = tmp_path / "h.csv"
    path.write_text("1;1-2;*\n2;1-2;*\n3;3-4;*\n4;3-4;*\n", encoding="utf-8")
    spec = QuasiIdentifier.model_validate({"hierarchy": path})
    hierarchy = build_hierarchy(pl.Series("age", [1, 1, 3]), spec)
    assert hierarchy.domain == 4
    assert [cover.tolist() for cover in hierarchy.cover] == [[1, 1, 1, 1], [2, 2], [4]]
    assert levels(pl.Series([3, None]), hierarchy=path) == [["3", "unknown"], ["3-4", "unknown"], ["*", "*"]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a;x;*\nb;x;+\n", "levels disagree"),
        ("a;x;*\na;y;*\n", "twice"),
        ("a;x;*\nb;x;y;*\n", "different numbers of levels"),
        ("a;x;*\nb;*\n", "different numbers of levels"),
        ("", "empty"),
    ],
)
def test_a_contradictory_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    """With a label below two others a coarser level would not merge classes, and pruning would be wrong."""
    path = tmp_path / "h.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PolicyError, match=reason):
        levels(pl.Series(["a", "b"]), hierarchy=path)
    with pytest.raises(PolicyError, match="cannot be read"):
        levels(pl.Series(["a"]), hierarchy=tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (pl.Series(["secret-value"]), {"codes": "wilayah"}),
        (pl.Series([float("nan")]), {"intervals": [0, 1]}),
        (pl.Series([float("inf")]), {"intervals": [0, 1]}),
        (pl.Series([float("nan")]), {"prefix": [1, 0]}),
        (pl.Series(["secret-value"]), {"intervals": [0, 1]}),
        (pl.Series(["secret-value"]), {"date": ["year"]}),
        (pl.Series([["secret-value"]]), {"prefix": [1]}),
    ],
)
def test_values_that_do_not_fit_are_named_by_column_only(values: pl.Series, spec: dict[str, Any]) -> None:
    """An error message ends in a log; a value in it would be a leak."""
    with pytest.raises(DataError, match="'column'") as caught:
        levels(values, **spec)
    assert "secret-value" not in str(caught.value)


def test_a_value_missing_in_its_hierarchy_is_refused(tmp_path: Path) -> None:
    """Passing it through would publish the raw value."""
    path = tmp_path / "h.csv"
    path.write_text("a;*\n", encoding="utf-8")
    with pytest.raises(DataError, match="missing in its hierarchy") as caught:
        levels(pl.Series(["a", "secret-value"]), hierarchy=path)
    assert "secret-value" not in str(caught.value)


def test_least_level_beyond_the_last_is_refused() -> None:
    """Silently taking the last level would publish something else than was asked."""
    with pytest.raises(PolicyError, match="least_level"):
        levels(pl.Series(["a"]), prefix=[1, 0], least_level=2)
