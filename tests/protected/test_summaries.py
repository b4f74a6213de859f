"""What the summaries say as of a date."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.protected.care import children_in_care, reporting_dates
from merajut_assets.protected.summaries import summary_of
from merajut_assets.protected.summary import banded, completed_months, completed_years, year_before
from tests.protected.conformed_world import CUT_OFF, INSTITUTIONS, child, conformed, placement

GB = {"jurisdiction": "GB", "source_system": "ssda903", "legal_basis": "legal_obligation"}


def _build(stakeholder: str, name: str, entities: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return summary_of(registry.protected_dataset(stakeholder, name))(entities, CUT_OFF)


def _care(
    children: list[dict[str, Any]],
    placements: list[dict[str, Any]] | None = None,
    reviews: list[dict[str, Any]] | None = None,
) -> dict[str, pl.DataFrame]:
    return {
        "child": conformed("child", children),
        "placement": conformed("placement", placements or []),
        "review": conformed("review", [{"review_id": str(n), **row} for n, row in enumerate(reviews or [])]),
        "orphanage": conformed("orphanage", INSTITUTIONS),
    }


def _gb_child(token: str, **changes: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(["orphanage_id", "admission_date", "reason_for_care", "abuse_type"])
    return child(token, **GB, **{**unknown, "birth_date": date(2010, 1, 1), **changes})


def _gb_placement(token: str, start: date, **changes: Any) -> dict[str, Any]:
    return placement(token, **GB, **{"start_date": start, "orphanage_id": None, **changes})


def test_in_care_is_admitted_and_not_left_on_the_cut_off_date() -> None:
    """A child who leaves on the cut-off date is not in care on it; one admitted on it is."""
    entities = _care(
        [
            child("stays"),
            child("admitted_that_day", admission_date=CUT_OFF),
            child("admitted_later", admission_date=date(2026, 10, 1)),
            child("left_that_day", exit_date=CUT_OFF),
            child("left_later", exit_date=date(2026, 10, 1)),
        ]
    )
    assert set(children_in_care(entities, CUT_OFF)["child_token"]) == {"stays", "admitted_that_day", "left_later"}


def test_place_and_form_of_care_are_those_of_the_open_placement() -> None:
    """A child who moved is where it lives, not where it was registered; a move after the cut-off is not known."""
    entities = _care(
        [child("a"), child("b")],
        [
            placement("a", start_date=date(2022, 3, 15), end_date=date(2024, 1, 1), orphanage_id="O1"),
            placement("a", start_date=date(2024, 1, 1), orphanage_id="O2", care_type="kinship"),
            placement("a", start_date=date(2026, 10, 5), orphanage_id="O1", care_type="temporary_shelter"),
        ],
    )
    rows = _build("government", "child_summary", entities).sort("child_pseudonym")
    assert rows["region_code"].to_list() == ["32.04", "31.71"]
    assert rows["care_type"].to_list() == ["kinship", None]
    assert rows["placements"].to_list() == ["2", None]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], "no_review"),
        ([None, None], "none"),
        ([0, 5, 5], "some"),
        ([0, 0, 5], "most"),
        ([-3, 0], "all"),
    ],
)
def test_reviews_on_time_are_those_due_in_the_last_year(held: list[int | None], expected: str) -> None:
    """Held on the due date is in time; a review due two years ago or after the cut-off does not count."""
    due = date(2026, 6, 15)
    reviews = [
        {"child_token": "a", "due_date": due, "held_date": None if days is None else due.replace(day=15 + days)}
        for days in held
    ]
    others = [
        {"child_token": "a", "due_date": date(2024, 6, 1), "held_date": date(2024, 8, 1)},
        {"child_token": "a", "due_date": date(2026, 11, 1), "held_date": None},
    ]
    rows = _build("government", "child_summary", _care([child("a")], [], reviews + others))
    assert rows["reviews_on_time"].to_list() == [expected]


def test_a_return_that_ended_is_read_as_of_its_end() -> None:
    """Nothing is known about its children after 2018: care and reviews are judged there, and adults are left out."""
    end = date(2018, 3, 1)
    entities = _care(
        [_gb_child("open"), _gb_child("ended"), _gb_child("adult", birth_date=date(2004, 1, 1)), child("id_child")],
        [
            _gb_placement("open", date(2016, 1, 1), end_date=date(2016, 6, 1), reason_for_care="neglect"),
            _gb_placement("open", date(2016, 6, 1), reason_for_care="neglect"),
            _gb_placement("ended", date(2016, 1, 1), end_date=date(2017, 1, 1)),
            _gb_placement("adult", date(2016, 1, 1)),
            _gb_placement("ended", date(2016, 6, 1), end_date=end),
            placement("id_child"),
        ],
        [
            {"child_token": "open", "held_date": date(2017, 4, 1), **GB},
            {"child_token": "open", "held_date": date(2017, 9, 1), **GB},
            {"child_token": "open", "held_date": end, **GB},
            # The sample has reviews in years to come; they do not make the return current.
            {"child_token": "open", "held_date": date(2026, 5, 1), **GB},
        ],
    )
    assert reporting_dates(entities, CUT_OFF) == {"panti": CUT_OFF, "ssda903": end}
    rows = _build("government", "child_summary", entities)
    gb = rows.filter(jurisdiction="GB")
    assert gb["child_pseudonym"].to_list() == ["open"]
    row = gb.row(0, named=True)
    assert (row["region_code"], row["reason_for_care"]) == (None, "neglect")
    assert (row["months_in_care"], row["placements"], row["reviews_on_time"]) == ("12-35", "2", "all")


def test_care_begins_with_the_present_spell() -> None:
    """Years spent at home between two spells are not years in care."""
    entities = _care(
        [_gb_child("a")],
        [
            _gb_placement("a", date(2012, 1, 1), end_date=date(2013, 1, 1)),
            _gb_placement("a", date(2017, 10, 1), end_date=date(2017, 12, 1)),
            _gb_placement("a", date(2017, 12, 2)),
        ],
    )
    assert children_in_care(entities, CUT_OFF)["care_since"].to_list() == [date(2017, 10, 1)]


def test_research_rows_ignore_what_happened_after_the_cut_off(entities: dict[str, pl.DataFrame]) -> None:
    """A release of September must not know October."""
    later = {
        "health_record_id": "H-later",
        "child_token": "child0000",
        "examined_on": date(2026, 10, 2),
        "diagnosis_group": "chronic",
    }
    next_year = {
        "education_record_id": "E-later",
        "child_token": "child0000",
        "school_year": "2027/2028",
        "education_level": "sma",
    }
    changed = {
        **entities,
        "health_record": pl.concat([entities["health_record"], conformed("health_record", [later])]),
        "education_record": pl.concat([entities["education_record"], conformed("education_record", [next_year])]),
    }
    before = _build("academia", "research_child", entities).sort("child_pseudonym")
    assert _build("academia", "research_child", changed).sort("child_pseudonym").equals(before)


def test_researchers_get_no_district(entities: dict[str, pl.DataFrame]) -> None:
    """The policy's hierarchy would allow districts; the dataset is declared to hold provinces."""
    assert set(_build("academia", "research_child", entities)["region_code"]) == {"31", "32"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "not_in_school"),
        (("none", None), "not_in_school"),
        (("sd", 59.9), "below_60"),
        (("sd", 60.0), "60_to_75"),
        (("sd", 75.0), "60_to_75"),
        (("sd", 75.1), "above_75"),
        (("sd", None), None),
    ],
)
def test_school_outcome(record: tuple[str, float | None] | None, expected: str | None) -> None:
    """The ends of the bands belong where the contract says; an unknown mark is no outcome."""
    records = (
        []
        if record is None
        else [
            {
                "education_record_id": "E",
                "child_token": "a",
                "school_year": "2025/2026",
                "education_level": record[0],
                "average_score": record[1],
            }
        ]
    )
    entities = {
        **_care([child("a")]),
        "education_record": conformed("education_record", records),
        "health_record": conformed("health_record", []),
    }
    assert _build("academia", "research_child", entities)["school_outcome"].to_list() == [expected]


def test_gifts_of_the_last_year_are_received_ones(entities: dict[str, pl.DataFrame]) -> None:
    """A pledge is no gift, and a gift of two years ago is none of the last year."""
    donor = entities["donor"].head(1)
    token = donor.item(0, "donor_token")
    gift = {"donor_token": token, "currency": "IDR", "amount": 2e6, "stage": "received"}
    gifts = [
        {**gift, "donation_id": "1", "donated_on": date(2026, 1, 1)},
        {**gift, "donation_id": "2", "donated_on": date(2024, 1, 1)},
        {**gift, "donation_id": "3", "donated_on": date(2026, 1, 1), "stage": "pledged"},
    ]
    rows = _build("business", "donor_segment", {"donor": donor, "donation": conformed("donation", gifts)})
    assert rows.select("gifts", "amount").row(0) == ("1", "1-10")


def test_programme_finance_counts_what_is_approved(entities: dict[str, pl.DataFrame]) -> None:
    """A draft budget is no budget; the diverse vendor's order counts in both columns."""
    row = _build("business", "programme_finance", entities).row(0, named=True)
    assert (row["programme_id"], row["fiscal_year"], row["orphanages"]) == ("G1", 2026, 1)
    assert (row["budget_amount"], row["ordered_amount"], row["ordered_from_diverse_vendors"]) == (100.0, 70.0, 70.0)
    assert (row["invoiced_amount"], row["paid_amount"]) == (70.0, 50.0)


def test_stories_about_a_child_are_not_counted(entities: dict[str, pl.DataFrame]) -> None:
    """A count of one story about a child would say that there is one."""
    assert _build("media", "story_approval", entities)["approval_state"].to_list() == ["published"]


def test_regions_end_with_districts(entities: dict[str, pl.DataFrame]) -> None:
    """Sub-districts and villages are finer than anything that is released."""
    assert set(_build("community", "region", entities)["level"]) == {"province", "regency"}


def test_need_is_that_of_the_last_stock_taking(entities: dict[str, pl.DataFrame]) -> None:
    """Sums over months would count the same rice twice."""
    older = entities["supply"].with_columns(
        pl.lit("S0").alias("supply_id"), pl.lit(date(2026, 7, 1)).alias("counted_on"), pl.lit(99.0).alias("quantity")
    )
    later = entities["supply"].with_columns(
        pl.lit("S2").alias("supply_id"), pl.lit(date(2026, 10, 1)).alias("counted_on"), pl.lit(77.0).alias("quantity")
    )
    rows = _build("community", "orphanage_need", {**entities, "supply": pl.concat([older, entities["supply"], later])})
    assert rows.select("regency_code", "orphanages", "quantity").rows() == [("31.71", 1, 3.0)]


@pytest.mark.parametrize(
    ("born", "on", "years", "months"),
    [
        (date(2010, 9, 30), date(2026, 9, 30), 16, 192),
        (date(2010, 10, 1), date(2026, 9, 30), 15, 191),
        (date(2012, 2, 29), date(2013, 2, 28), 0, 11),
        (date(2026, 9, 30), date(2026, 9, 30), 0, 0),
    ],
)
def test_ages_are_completed_years(born: date, on: date, years: int, months: int) -> None:
    """On the day before a birthday a child is not a year older."""
    spans = pl.select(
        completed_years(pl.lit(born), pl.lit(on)).alias("years"),
        completed_months(pl.lit(born), pl.lit(on)).alias("months"),
    )
    assert spans.row(0) == (years, months)


def test_a_year_before_a_leap_day_exists() -> None:
    """A release of February 2028 must not fail."""
    assert year_before(date(2028, 2, 29)) == date(2027, 2, 28)


def test_bands_hold_their_upper_ends() -> None:
    """Eight hours are 1-8, eight and a half are not."""
    hours = pl.DataFrame({"h": [0.0, 0.5, 8.0, 8.5, None]})
    labels = hours.select(banded(pl.col("h"), [(0, "none"), (8, "1-8")], "9+")).to_series()
    assert labels.to_list() == ["none", "1-8", "1-8", "9+", None]
