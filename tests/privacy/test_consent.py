"""Consent is as of a date, and doubt means no."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError
from merajut_assets.privacy.consent import consented

SCHEMA = {
    "subject_token": pl.String,
    "purpose": pl.String,
    "status": pl.String,
    "decided_on": pl.Date,
    "valid_until": pl.Date,
}
START = date(2026, 1, 1)
SUBJECTS = ["s1", "s2", "s3"]
days = st.integers(0, 12).map(lambda number: START + timedelta(days=number))
decision = st.fixed_dictionaries(
    {
        "subject_token": st.sampled_from(SUBJECTS),
        "purpose": st.sampled_from(["research", "media"]),
        "status": st.sampled_from(["granted", "withdrawn"]),
        "decided_on": days,
        "valid_until": st.one_of(st.none(), days),
    }
)
decisions = st.lists(decision, max_size=12)


def who(rows: list[dict[str, Any]], on: date, purpose: str = "research") -> set[str]:
    subjects = pl.DataFrame({"subject_token": SUBJECTS})
    return set(consented(subjects, pl.DataFrame(rows, schema=SCHEMA), purpose, on).get_column("subject_token"))


def by_hand(rows: list[dict[str, Any]], on: date) -> set[str]:
    result = set()
    for subject in SUBJECTS:
        past = [
            r for r in rows if r["subject_token"] == subject and r["purpose"] == "research" and r["decided_on"] <= on
        ]
        latest = [r for r in past if r["decided_on"] == max(r["decided_on"] for r in past)]
        if latest and all(
            r["status"] == "granted" and (r["valid_until"] is None or r["valid_until"] >= on) for r in latest
        ):
            result.add(subject)
    return result


@settings(max_examples=150, deadline=None)
@given(decisions, days)
def test_the_latest_day_rules(rows: list[dict[str, Any]], on: date) -> None:
    """The rule, spelled out subject by subject."""
    assert who(rows, on) == by_hand(rows, on)


@settings(max_examples=80, deadline=None)
@given(decisions, days, st.sampled_from(SUBJECTS))
def test_without_decisions_nobody_consents(rows: list[dict[str, Any]], on: date, subject: str) -> None:
    """Removing all decisions of a subject removes the subject and touches nobody else."""
    rest = [r for r in rows if r["subject_token"] != subject]
    assert who(rest, on) == who(rows, on) - {subject}


@settings(max_examples=80, deadline=None)
@given(decisions, decision, days)
def test_a_withdrawal_never_adds_anyone(rows: list[dict[str, Any]], extra: dict[str, Any], on: date) -> None:
    """However the withdrawal lies among the other decisions."""
    assert who([*rows, {**extra, "status": "withdrawn"}], on) <= who(rows, on)


@settings(max_examples=80, deadline=None)
@given(decisions, decision, days)
def test_later_decisions_do_not_change_the_past(rows: list[dict[str, Any]], extra: dict[str, Any], on: date) -> None:
    """A re-run of an old release must find the people of that day."""
    later = {**extra, "decided_on": on + timedelta(days=1)}
    assert who([*rows, later], on) == who(rows, on)


@settings(max_examples=80, deadline=None)
@given(decisions, days, st.randoms(use_true_random=False))
def test_the_order_of_decisions_is_irrelevant(rows: list[dict[str, Any]], on: date, random: Any) -> None:
    """Source systems deliver in any order."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert who(shuffled, on) == who(rows, on)


def test_the_last_valid_day_counts() -> None:
    """An expiry off by one day either publishes a child too long or loses one too early."""
    row = {
        "subject_token": "s1",
        "purpose": "research",
        "status": "granted",
        "decided_on": START,
        "valid_until": START + timedelta(days=5),
    }
    assert who([row], START + timedelta(days=5)) == {"s1"}
    assert who([row], START + timedelta(days=6)) == set()
    assert who([row], START - timedelta(days=1)) == set()
    assert who([row], START, purpose="media") == set()


def test_withdrawn_wins_on_the_same_day() -> None:
    """Two entries of one day have no order; the one that protects is taken."""
    row = {"subject_token": "s1", "purpose": "research", "decided_on": START, "valid_until": None}
    assert who([{**row, "status": "withdrawn"}, {**row, "status": "granted"}], START) == set()


def test_a_null_subject_never_consents() -> None:
    """Null must not match a decision whose subject is unknown."""
    subjects = pl.DataFrame({"subject_token": [None]}, schema={"subject_token": pl.String})
    row = {
        "subject_token": None,
        "purpose": "research",
        "status": "granted",
        "decided_on": START,
        "valid_until": None,
    }
    assert consented(subjects, pl.DataFrame([row], schema=SCHEMA), "research", START).height == 0


@pytest.mark.parametrize("change", [{"status": "maybe"}, {"status": None}, {"decided_on": None}, {"purpose": None}])
def test_unreadable_decisions_are_refused(change: dict[str, Any]) -> None:
    """Skipping an unreadable withdrawal would publish somebody who said no."""
    row = {
        "subject_token": "s1",
        "purpose": "research",
        "status": "granted",
        "decided_on": START,
        "valid_until": None,
    }
    with pytest.raises(DataError):
        who([{**row, **change}], START)


def test_missing_columns_and_text_dates_are_refused() -> None:
    """Dates as text would be compared letter by letter."""
    subjects = pl.DataFrame({"subject_token": ["s1"]})
    frame = pl.DataFrame(schema=SCHEMA)
    with pytest.raises(DataError, match="status"):
        consented(subjects, frame.drop("status"), "research", START)
    with pytest.raises(DataError, match="subject_token"):
        consented(pl.DataFrame({"other": ["s1"]}), frame, "research", START)
    with pytest.raises(DataError, match="decided_on"):
        consented(subjects, frame.with_columns(decided_on=pl.lit("2026-01-01")), "research", START)
