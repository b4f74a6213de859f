"""Which rows may be used: legal basis, jurisdiction and consent."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from merajut_assets.contracts.base import LegalBasis, Subject
from merajut_assets.privacy.policy import DataError
from merajut_assets.protected.consent_filter import UsableRows, usable_rows
from tests.protected.conformed_world import CUT_OFF, child, conformed, consent


def _usable(
    entities: dict[str, pl.DataFrame],
    decisions: list[dict[str, Any]],
    subjects: tuple[Subject, ...] = (Subject.CHILD,),
    bases: tuple[LegalBasis, ...] = (LegalBasis.CONSENT, LegalBasis.NOT_APPLICABLE),
) -> UsableRows:
    return usable_rows(
        {**entities, "consent": conformed("consent", decisions)},
        subjects=subjects,
        jurisdictions=("ID",),
        legal_bases=bases,
        purpose="research",
        cut_off=CUT_OFF,
    )


@pytest.mark.parametrize(
    ("decisions", "is_used"),
    [
        ([], False),
        ([consent("child", "a", "research")], True),
        ([consent("child", "a", "statistics")], False),
        ([consent("volunteer", "a", "research")], False),
        ([consent("child", "a", "research", status="withdrawn")], False),
        ([consent("child", "a", "research", valid_until=date(2026, 9, 29))], False),
        ([consent("child", "a", "research", valid_until=CUT_OFF)], True),
        ([consent("child", "a", "research", decided_on=date(2026, 10, 1))], False),
        (
            [
                consent("child", "a", "research"),
                consent("child", "a", "research", status="withdrawn", decided_on=date(2026, 10, 1)),
            ],
            True,
        ),
    ],
)
def test_consent_is_judged_by_person_purpose_and_date(decisions: list[dict[str, Any]], is_used: bool) -> None:
    """Another purpose, another kind of person with the same token, or another day is no consent."""
    usable = _usable({"child": conformed("child", [child("a")])}, decisions)
    assert usable.entities["child"].height == int(is_used)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"legal_basis": "none"}, "no_legal_basis"),
        ({"legal_basis": "legal_obligation"}, "basis_not_accepted"),
        ({"jurisdiction": "GB"}, "other_jurisdiction"),
    ],
)
def test_rows_are_refused_by_reason(changes: dict[str, Any], reason: str) -> None:
    """Even with consent, a row whose basis or jurisdiction does not fit is not used."""
    rows = {"child": conformed("child", [child("a", **changes)])}
    usable = _usable(rows, [consent("child", "a", "research")])
    assert usable.entities["child"].height == 0
    assert usable.excluded["child"] == {reason: 1}


def test_a_legal_obligation_needs_no_consent_where_it_is_accepted() -> None:
    """The statutory return is not based on consent."""
    rows = {"child": conformed("child", [child("a", legal_basis="legal_obligation")])}
    assert _usable(rows, [], bases=(LegalBasis.LEGAL_OBLIGATION,)).entities["child"].height == 1


def test_a_row_that_must_be_about_somebody_and_is_not_is_refused() -> None:
    """Nobody can have agreed to the use of a gift without giver."""
    gift = {"donation_id": "1", "amount": 1.0, "currency": "IDR", "donated_on": CUT_OFF, "stage": "received"}
    usable = _usable({"donation": conformed("donation", [gift])}, [], subjects=(Subject.DONOR,))
    assert usable.excluded["donation"] == {"no_subject": 1}


def test_a_row_that_may_be_about_nobody_needs_no_consent_when_it_is() -> None:
    """A story about an institution is nobody's; one about a child is that child's."""
    stories = conformed("story", [{"story_id": "1"}, {"story_id": "2", "child_token": "a"}])
    usable = _usable({"story": stories}, [], subjects=())
    assert usable.entities["story"]["story_id"].to_list() == ["1"]
    assert usable.excluded["story"] == {"no_consent": 1}


def test_the_decisions_themselves_are_not_passed_on() -> None:
    """A summary has no use for them, and must not publish them."""
    usable = _usable({"child": conformed("child", [child("a")])}, [])
    assert set(usable.entities) == {"child"}


def test_a_decision_that_cannot_be_read_is_not_taken_for_consent() -> None:
    """A status that nobody knows stops the release rather than letting a child through."""
    rows = {"child": conformed("child", [child("a")])}
    with pytest.raises(DataError, match="status"):
        _usable(rows, [consent("child", "a", "research", status="perhaps")])
