"""Levels must say what they claim: every label covers exactly what is published under it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy.hierarchy import (
    REMEMBERED_BYTES,
    REMEMBERED_FILES,
    _domain_of_file,
    build_hierarchy,
    ranked_columns,
)
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


def test_a_file_that_was_rewritten_is_read_again(tmp_path: Path) -> None:
    """What a file held is kept for the next release; that release must follow the file as it then is, and the
    column and null of its own."""
    path = tmp_path / "h.csv"
    path.write_text("a;x;*\nb;y;*\n", encoding="utf-8")
    assert levels(pl.Series(["a", "b"]), hierarchy=path)[1] == ["x", "y"]
    assert levels(pl.Series(["a", None]), hierarchy=path)[1] == ["x", "unknown"]
    assert levels(pl.Series(["b", "a"]), hierarchy=path)[1] == ["y", "x"]
    path.write_text("a;y;*\nb;x;*\n", encoding="utf-8")
    assert levels(pl.Series(["a", "b"]), hierarchy=path)[1] == ["y", "x"]
    path.write_text("a;y;*\nb;y;-\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(PolicyError, match="levels disagree"):
            levels(pl.Series(["a", "b"]), hierarchy=path)


def test_what_is_kept_of_files_is_bounded(tmp_path: Path) -> None:
    """A service that sees many policies must not grow with them, nor keep a large file for good."""
    before = _domain_of_file.cache_info().currsize
    large = tmp_path / "large.csv"
    large.write_text("".join(f"{number};*\n" for number in range(REMEMBERED_BYTES // 4)), encoding="utf-8")
    assert levels(pl.Series(["7"]), hierarchy=large) == [["7"], ["*"]]
    assert _domain_of_file.cache_info().currsize == before
    for number in range(REMEMBERED_FILES + 5):
        small = tmp_path / f"{number}.csv"
        small.write_text("a;*\n", encoding="utf-8")
        levels(pl.Series(["a"]), hierarchy=small)
    assert _domain_of_file.cache_info().currsize == REMEMBERED_FILES


def test_whole_numbers_beyond_64_bits_with_a_sign_are_numbered() -> None:
    """They once ended the numbering with an error of Polars' that quoted them, even in a column nobody had named."""
    column = pl.Series("a", [2**63 + 7, 2**63 + 5, 2**63 + 7, None], dtype=pl.UInt64)
    ((values, places),) = ranked_columns([column])
    assert values.to_list() == [2**63 + 5, 2**63 + 7, None]
    assert places.tolist() == [1, 0, 1, 2]
