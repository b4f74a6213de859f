"""Input that does not fit, and input at the edge: a clear error or the right result, never a leak or a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy import DataError, Policy, PolicyError, anonymise, verify

SECRET = "secret-value"
NAN, INFINITY = float("nan"), float("inf")
DIVERSE = {"sensitive": {"reason": {"l_diversity": {"l": 2}}}}


def release(frame: pl.DataFrame, **changes: Any) -> Any:
    policy = {"quasi_identifiers": {"zip": {"prefix": [2, 1, 0]}}, "k": 2, **changes}
    return anonymise(frame, Policy.model_validate(policy))


@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize(
    ("columns", "changes", "named"),
    [
        ({"zip": ["11", "12"]}, {"exact": ["country"]}, "column.*country"),
        ({"zip": ["11", "12"]}, DIVERSE, "column.*reason"),
        ({"place": ["11", "12"]}, {}, "column.*zip"),
        ({"zip": [1.0, NAN]}, {}, "'zip' holds NaN"),
        ({"zip": [1.0, INFINITY]}, {}, "'zip' holds NaN or infinity"),
        ({"zip": ["1", "1"], "reason": [1.0, NAN]}, DIVERSE, "'reason' holds NaN"),
        ({"zip": ["1", "1"], "reason": [1.0, -INFINITY]}, DIVERSE, "'reason' holds NaN or infinity"),
        ({"zip": ["1", "1"], "child": [1.0, NAN]}, {"subject": "child"}, "'child' holds NaN"),
        ({"zip": ["1", "1"], "country": [1.0, NAN]}, {"exact": ["country"]}, "'country' holds NaN"),
        ({"zip": ["1", "1"], "child": [SECRET, None]}, {"subject": "child"}, "'child' holds nulls"),
        ({"zip": [[SECRET], ["1"]]}, {}, "'zip'"),
        ({"zip": ["1", "1"], "": [SECRET, "a"]}, {}, "column 2 of the frame has no name"),
        ({"zip": ["1", "1"], "reason": [[SECRET], ["b"]]}, DIVERSE, "'reason' has a nested type"),
    ],
)
def test_what_does_not_fit_is_refused_by_column_and_rule(
    columns: dict[str, Any], changes: dict[str, Any], named: str, search: str
) -> None:
    """NaN as a second value of a class would pass for diversity; an error that quotes a value is a leak."""
    with pytest.raises(DataError, match=named) as caught:
        release(pl.DataFrame(columns), search=search, **changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "named"),
    [
        ("1;*\n", DataError, "'zip'.*missing in its hierarchy"),
        (f"{SECRET};x;*\n1;x;+\n", PolicyError, "levels disagree"),
        (f"{SECRET};*\n1;x;*\n", PolicyError, "different numbers of levels"),
    ],
)
def test_a_hierarchy_that_does_not_fit_is_refused(
    tmp_path: Path, content: str, error: type[Exception], named: str
) -> None:
    """A raw value would pass through, or a coarser level would not join classes."""
    (tmp_path / "zip.csv").write_text(content, encoding="utf-8")
    with pytest.raises(error, match=named) as caught:
        release(pl.DataFrame({"zip": ["1", SECRET]}), quasi_identifiers={"zip": {"hierarchy": tmp_path / "zip.csv"}})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("role", ["sensitive", "exact", "subject"])
def test_a_column_has_one_role(role: str) -> None:
    """A quasi-identifier that is sensitive, too, would be generalised and judged by its raw values at once."""
    changes = {"sensitive": {"zip": {"l_diversity": {"l": 2}}}, "exact": ["zip"], "subject": "zip"}
    with pytest.raises(PolicyError, match="one role"):
        release(pl.DataFrame({"zip": ["1", "2"]}), **{role: changes[role]})


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_nulls_are_a_group_of_their_own(search: str) -> None:
    """Two rows without a place are alike in that; one alone must not stand out."""
    alike = release(pl.DataFrame({"zip": [None, None, "11", "11"]}), search=search)
    assert alike.report["loss"] == 0.0
    assert verify(alike.frame, ["zip"])["classes"] == 2
    alone = release(pl.DataFrame({"zip": [None, "11", "11", "11"]}), search=search)
    assert verify(alone.frame, ["zip"])["k"] == 4
    nothing = release(pl.DataFrame({"zip": [None, None]}, schema={"zip": pl.String}), search=search)
    assert verify(nothing.frame, ["zip"])["k"] == 2


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_rows_that_are_all_alike_stay_as_they_are(search: str) -> None:
    """Nothing distinguishes them, so that nothing has to be given up; a domain of one value must not divide by zero."""
    whole = release(pl.DataFrame({"zip": ["11"] * 5}), search=search)
    assert whole.frame.get_column("zip").to_list() == ["11"] * 5
    assert (whole.report["loss"], whole.report["suppressed"], whole.report["classes"]) == (0.0, 0, 1)


@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize(("rows", "k"), [(0, 1), (1, 2), (4, 5)])
def test_fewer_rows_than_k_are_no_release(rows: int, k: int, search: str) -> None:
    """There is nobody to hide among; the answer says how few would do."""
    refused = release(pl.DataFrame({"zip": ["11"] * rows}, schema={"zip": pl.String}), k=k, search=search)
    assert refused.frame is None
    assert not refused.report["solution"]
    assert refused.report["reason"]
    assert refused.report["feasible_with"] == ({"k": rows} if rows else {})


def test_one_row_may_be_published_where_k_is_one() -> None:
    """k = 1 asks for nothing."""
    assert release(pl.DataFrame({"zip": ["11"]}), k=1).frame.get_column("zip").to_list() == ["11"]
