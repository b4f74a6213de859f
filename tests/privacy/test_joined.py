"""A release beside tables that share its pseudonym: their join, judged by the verifier, keeps k and l.

Two tables of k = 33 and k = 9 once joined to k = 1: whoever has both can link them by the pseudonym.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError, Policy, PolicyError, Published, anonymise, verify, verify_join

K = 3


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(
        {
            "quasi_identifiers": {"a": {"prefix": [2, 1, 0]}, "b": {"prefix": [1, 0]}},
            "k": K,
            "subject": "who",
            "suppression_limit": 1.0,
            **changes,
        }
    )


def joined(released: pl.DataFrame, others: list[Published], sensitive: list[str]) -> dict[str, Any]:
    return verify_join(
        {"new": released, **{one.name: one.frame for one in others}},
        "who",
        {"new": ["a", "b"], **{one.name: one.quasi_identifiers for one in others}},
        {"new": sensitive, **{one.name: list(one.sensitive) for one in others}},
    )


def released_alone(people: list[int], qi: str, value: str, k: int = K, least: int = 1) -> pl.DataFrame:
    """A table of these people as it was released before: classes of k at least, with so many values."""
    frame = pl.DataFrame(
        {
            "who": [f"p{one}" for one in people],
            qi: [f"{one % 7}{one % 3}" for one in people],
            value: [f"v{one % 4}" for one in people],
        }
    )
    rules = {value: {"l_diversity": {"l": least}}}
    asked = Policy.model_validate(
        {"quasi_identifiers": {qi: {"prefix": [2, 1, 0]}}, "sensitive": rules, "k": k, "subject": "who"}
        | {"suppression_limit": 1.0}
    )
    released = anonymise(frame, asked).frame
    return frame.clear() if released is None else released


rows = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from("xy"), st.sampled_from("MN"), st.sampled_from("stu")),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    rows,
    st.sets(st.integers(0, 80), max_size=60),
    st.sets(st.integers(0, 80), max_size=60),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(1, 2),
    st.booleans(),
)
def test_the_join_keeps_k_and_l(
    drawn: list[tuple[str, str, str, str]],
    first: set[int],
    second: set[int],
    limit: float,
    least: int,
    has_exact: bool,
) -> None:
    """Whatever the tables hold: who is in one only, in several, or left out, is never among fewer than k."""
    frame = pl.DataFrame(
        {
            "who": [f"p{number}" for number in range(len(drawn))],
            "a": [a + b for a, b, _, _ in drawn],
            "b": [b for _, b, _, _ in drawn],
            "part": [part for *_, part, _ in drawn],
            "s": [value for *_, value in drawn],
        }
    )
    others = [
        Published("one", released_alone(sorted(first), "c", "d", least=least), ["c"], {"d": least}),
        Published("two", released_alone(sorted(second), "e", "f", k=5), ["e"]),
    ]
    asked = policy(
        suppression_limit=limit,
        exact=["part"] if has_exact else [],
        sensitive={"s": {"l_diversity": {"l": 2}, "t_closeness": {"t": 0.6}}},
    )
    release = anonymise(frame, asked, beside=others)
    if release.frame is None:
        assert release.report["reason"]
        hint = release.report["feasible_with"].get("suppression_limit")
        if hint is not None:
            eased = asked.model_copy(update={"suppression_limit": hint})
            assert anonymise(frame, eased, beside=others).frame is not None
        return
    assert release.frame.columns == frame.columns
    assert release.report["suppressed"] == frame.height - release.frame.height <= limit * frame.height
    facts = joined(release.frame, others, ["s"])
    assert facts["k"] >= K
    # A table with nobody in it has no values either.
    assert others[0].frame.is_empty() or facts["l"]["one.d"] >= least
    assert facts["l"]["new.s"] >= 2
    alone = verify(release.frame, ["a", "b"], ["s"], "who", reference=frame)
    assert alone["k"] >= K
    assert alone["t_equal"]["s"] <= 0.6


def _trial() -> tuple[pl.DataFrame, Published]:
    """The tables of the trial: the classes of either, k = 33 and k = 9, cross each other in single children."""
    people = range(297)
    frame = pl.DataFrame({"who": [f"p{n}" for n in people], "a": [f"{n % 33:02d}" for n in people], "b": ["x"] * 297})
    other = pl.DataFrame({"who": [f"p{n}" for n in people], "c": [str(n // 33) for n in people]})
    return frame, Published("other", other, ["c"])


def test_tables_that_join_to_one_are_kept_apart() -> None:
    """Each is safe by itself and the join singles everybody out; beside the other it keeps k at a stated price."""
    frame, other = _trial()
    asked = policy(k=9, suppression_limit=0.0)
    alone = anonymise(frame, asked)
    assert alone.frame is not None
    assert verify(alone.frame, ["a", "b"])["k"] == 9
    assert verify(other.frame, ["c"])["k"] == 33
    assert joined(alone.frame, [other], [])["k"] == 1
    beside = anonymise(frame, asked, beside=[other])
    assert beside.frame is not None
    assert joined(beside.frame, [other], [])["k"] >= 9
    assert beside.report["loss"] > alone.report["loss"]
    assert beside.report["certificate"] is None


def test_one_who_is_left_out_has_company() -> None:
    """Ten in a class of the other table, nine of them here: the tenth would be the only one who is absent."""
    frame = pl.DataFrame({"who": [f"p{n}" for n in range(9)], "a": ["Ax"] * 6 + ["By"] * 3, "b": ["x"] * 6 + ["y"] * 3})
    other = Published("other", pl.DataFrame({"who": [f"p{n}" for n in range(10)], "c": ["1"] * 10}), ["c"])
    release = anonymise(frame, policy(), beside=[other])
    assert release.frame is not None
    # The smaller class leaves whole, and keeps the tenth company.
    assert release.frame.height == 6
    assert joined(release.frame, [other], [])["k"] == 4
    refused = anonymise(frame, policy(suppression_limit=0.1), beside=[other])
    assert refused.frame is None
    assert "3 of 9 rows would have to be suppressed and 0 may be" in refused.report["reason"]
    assert refused.report["feasible_with"] == {"suppression_limit": 0.333334}


def test_tables_that_are_broken_already_leave_no_solution() -> None:
    """Two tables that single somebody out by themselves cannot be mended by a third one."""
    frame, other = _trial()
    broken = Published("broken", other.frame.with_columns(pl.col("who").alias("c")), ["c"])
    release = anonymise(frame, policy(), beside=[broken])
    assert release.frame is None
    assert "already tell fewer than k" in release.report["reason"]


def test_nothing_tells_the_classes_of_the_other_table() -> None:
    """The order of the rows must not group them by what the other table says: it is of no concern to one who has
    this table alone."""
    frame, other = _trial()
    release = anonymise(frame, policy(k=9), beside=[other])
    assert release.frame is not None
    assert release.frame.equals(release.frame.sort("a", "b", "who"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"who": ["p1", "p1", "p2"]}, "several rows per subject"),
        ({"who": [None, "p1", "p2"]}, "holds nulls"),
        ({"signature beside other tables": [1, 2, 3]}, "rename"),
    ],
)
def test_what_cannot_be_joined_is_refused(change: dict[str, Any], said: str) -> None:
    """Judged as if it were one row each, a second row would undo what the first keeps."""
    frame = pl.DataFrame({"who": ["p1", "p2", "p3"], "a": ["Ax"] * 3, "b": ["x"] * 3, **change})
    _, other = _trial()
    with pytest.raises(DataError, match=said):
        anonymise(frame, policy(), beside=[other])


def test_a_policy_that_does_not_fit_is_refused() -> None:
    frame, other = _trial()
    with pytest.raises(PolicyError, match="subject column"):
        anonymise(frame, policy(subject=None), beside=[other])
    with pytest.raises(PolicyError, match="at once"):
        anonymise(frame, policy(), beside=[other], history=pl.DataFrame())
    with pytest.raises(DataError, match="lacks column"):
        anonymise(frame, policy(), beside=[Published("other", other.frame, ["missing"])])


def test_subjects_of_another_type_are_refused() -> None:
    """Joined by text 1 and 1.0 are two subjects and by value one: the join had one class of one, and nobody noticed."""
    frame = pl.DataFrame({"who": [0, 1, 2, 3], "a": ["x", "x", "y", "y"]})
    other = Published("other", pl.DataFrame({"who": [0.0, 1.0, 2.0, 3.0], "q": list("ABAB")}), ["q"])
    asked = Policy.model_validate({"k": 2, "subject": "who", "quasi_identifiers": {"a": {"prefix": [1, 0]}}})
    with pytest.raises(DataError, match=r"'who' is of another type in table 'other'"):
        anonymise(frame, asked, beside=[other])


def test_both_zeros_are_one_value() -> None:
    """Written as text, 0.0 and -0.0 counted as the two values that a class of the join must keep."""
    people = [f"p{number}" for number in range(4)]
    frame = pl.DataFrame({"who": people, "a": ["x", "x", "y", "y"]})
    zeros = pl.DataFrame({"who": people, "q": ["A"] * 4, "v": [0.0, -0.0, 0.0, 1.0]})
    other = Published("other", zeros, ["q"], {"v": 2})
    asked = Policy.model_validate(
        {"k": 2, "subject": "who", "suppression_limit": 0.5, "quasi_identifiers": {"a": {"prefix": [1, 0]}}}
    )
    release = anonymise(frame, asked, beside=[other])
    assert release.frame is not None
    assert release.frame["a"].unique().to_list() == ["*"]


def test_local_recoding_is_refused_beside_other_tables() -> None:
    frame = pl.DataFrame({"who": ["p0", "p1"], "a": ["x", "y"]})
    other = Published("other", frame.rename({"a": "q"}), ["q"])
    asked = Policy.model_validate(
        {"k": 1, "subject": "who", "search": "local", "quasi_identifiers": {"a": {"prefix": [1, 0]}}}
    )
    with pytest.raises(PolicyError, match="search: local is not available beside other tables"):
        anonymise(frame, asked, beside=[other])
