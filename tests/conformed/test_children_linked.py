"""Which registrations are one child: by a valid identity number, and by nothing else."""

from __future__ import annotations

import random
from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.conformed.entities import child_links

NIK = "3273014502120001"
OTHER_NIK = "3273014502120002"


def linked(*rows: tuple[str, str | None]) -> dict[str, str]:
    frame = pl.DataFrame(rows, schema={"child_id": pl.String, "nik_token": pl.String}, orient="row")
    return dict(child_links(frame).iter_rows())


# ── links ────────────────────────────────────────────────────────────────────────────────


def test_the_smallest_number_stands_for_all_registrations_of_a_token():
    """The choice must not depend on the order of rows, or tokens would change from run to run."""
    assert linked(("B", "t"), ("A", "t"), ("C", "u"), ("D", None), ("E", None)) == {
        "A": "A",
        "B": "A",
        "C": "C",
        "D": "D",
        "E": "E",
    }


def test_a_registration_that_was_sent_twice_links_by_the_row_that_counts():
    """The refused older row had another number: it must not tie a third child to this one."""
    assert linked(("B", "new"), ("A", "old"), ("B", "old")) == {"A": "A", "B": "B"}


@settings(max_examples=80, deadline=None)
@given(
    rows=st.dictionaries(st.integers(0, 20).map("{:02d}".format), st.sampled_from(["t", "u", None]), max_size=9),
    seed=st.integers(0, 99),
)
def test_links_do_not_depend_on_the_order_of_rows(rows, seed):
    """Every registration has one link; the linked one links to itself."""
    pairs = list(rows.items())
    found = linked(*pairs)
    random.Random(seed).shuffle(pairs)
    assert linked(*pairs) == found
    assert set(found) == set(rows)
    for child, link in found.items():
        assert found[link] == link
        assert (rows[child] is not None and rows[child] == rows[link]) or child == link


# ── children ─────────────────────────────────────────────────────────────────────────────


def test_only_a_valid_number_merges(small):
    """Two children without number, or with the same nonsense in its place, are two children."""
    small.put(
        "panti.children",
        {"child_id": "CH-1", "nik": NIK},
        {"child_id": "CH-2", "nik": "3273.01.450212.0001"},
        {"child_id": "CH-3"},
        {"child_id": "CH-4"},
        {"child_id": "CH-5", "nik": "0073014502120001"},
        {"child_id": "CH-6", "nik": "0073014502120001"},
        {"child_id": "CH-7", "nik": "3273013102120001"},
    )
    summary = small.build("child")
    assert (summary.rows_in, summary.merged, summary.passed) == (7, 1, 6)
    children = small.read("child")
    assert set(children["child_token"]) == set(small.child("CH-1", "CH-3", "CH-4", "CH-5", "CH-6", "CH-7"))
    assert children.filter(pl.col("child_token") == small.child("CH-1")[0])["registrations"].item() == 2
    assert children["registrations"].sum() == 7


def test_the_newest_registration_tells_and_the_earliest_admission_counts(small):
    """The child is where the newest registration says, and in care since the first."""
    small.put("panti.orphanages", {}, {"orphanage_id": "PA-2"})
    small.put(
        "panti.children",
        {"child_id": "CH-1", "nik": NIK, "reason_for_care": "neglect", "exit_date": "2022-01-01"},
        {
            "child_id": "CH-2",
            "nik": NIK,
            "orphanage_id": "PA-2",
            "reason_for_care": "poverty",
            "admission_date": "2022-01-05",
            "exit_date": "2023-01-01",
            "modified_at": "2026-06-01T00:00:00Z",
        },
    )
    small.put(
        "panti.case_notes",
        {"child_id": "CH-1", "written_on": "2021-01-01"},
        {"case_note_id": "CN-2", "child_id": "CH-2", "written_on": "2022-02-02"},
    )
    small.build("child")
    child = small.read("child").row(0, named=True)
    assert child["child_token"] == small.child("CH-1")[0]
    assert (child["orphanage_id"], child["reason_for_care"]) == ("PA-2", "poverty")
    assert (child["admission_date"], child["exit_date"]) == (date(2020, 1, 10), date(2023, 1, 1))
    assert child["modified_at"] == datetime(2026, 6, 1)
    assert child["last_case_note_on"] == date(2022, 2, 2)


def test_an_open_registration_keeps_the_child_in_care(small):
    """One institution forgot to close its registration; leaving one is not leaving care."""
    small.put(
        "panti.children",
        {"child_id": "CH-1", "nik": NIK},
        {"child_id": "CH-2", "nik": NIK, "exit_date": "2023-01-01", "modified_at": "2026-06-01T00:00:00Z"},
    )
    small.build("child")
    assert small.read("child")["exit_date"].to_list() == [None]


def test_placements_of_every_registration_follow_the_child(small):
    """Even those of a registration that was refused: the child is known by its number."""
    small.put(
        "panti.children",
        {"child_id": "CH-1", "nik": NIK, "sex": "P"},
        {"child_id": "CH-2", "nik": NIK},
        {"child_id": "CH-3", "nik": OTHER_NIK, "sex": "P"},
    )
    small.put(
        "panti.placements",
        {"placement_id": "PL-1", "child_id": "CH-1"},
        {"placement_id": "PL-2", "child_id": "CH-2"},
        {"placement_id": "PL-3", "child_id": "CH-3"},
        {"placement_id": "PL-4", "child_id": "CH-9"},
    )
    summary = small.build("placement")
    (token,) = small.child("CH-1")
    assert small.read("child")["child_token"].to_list() == [token]
    assert dict(small.read("placement").select("placement_id", "child_token").iter_rows()) == {
        "PL-1": token,
        "PL-2": token,
    }
    assert summary.refused == {"child_token.reference": 2}


def test_a_smaller_number_that_comes_later_takes_the_child_over(small):
    """The old token would otherwise stay as a second child that nobody feeds any more."""
    small.put("panti.children", {"child_id": "CH-5", "nik": NIK})
    small.put("panti.placements", {"child_id": "CH-5"})
    small.build("child")
    small.build("placement")
    assert small.read("child")["child_token"].to_list() == small.child("CH-5")
    small.put("panti.children", {"child_id": "CH-5", "nik": NIK}, {"child_id": "CH-2", "nik": NIK})
    small.build("child")
    small.build("placement")
    assert small.read("child")["child_token"].to_list() == small.child("CH-2")
    assert small.read("placement")["child_token"].to_list() == small.child("CH-2")


@pytest.mark.parametrize("how", ["corrected", "deleted", "refused", "exchanged"])
def test_a_registration_that_leaves_takes_its_values_along(small, how):
    """Two children once shared a misread number. Told apart, the first kept the other's story, because that was
    the newer one."""
    small.put("panti.orphanages", {}, {"orphanage_id": "PA-2"})
    first = {"child_id": "CH-1", "nik": NIK, "reason_for_care": "poverty", "abuse_type": "none"}
    second = {"child_id": "CH-2", "nik": NIK, "orphanage_id": "PA-2", "reason_for_care": "abuse"}
    second |= {"abuse_type": "sexual", "admission_date": "2019-01-01", "modified_at": "2026-06-01T00:00:00Z"}
    small.put("panti.children", first, second)
    small.build("child")
    merged = small.read("child").row(0, named=True)
    assert (merged["registrations"], merged["abuse_type"]) == (2, "sexual")
    corrected = {**second, "nik": OTHER_NIK, "modified_at": "2026-07-01T00:00:00Z"}
    third = {**first, "child_id": "CH-3", "modified_at": "2026-02-01T00:00:00Z"}
    after = {
        "corrected": [first, corrected],
        "deleted": [first],
        "refused": [first, {**second, "sex": "P"}],
        "exchanged": [first, third, corrected],
    }[how]
    small.put("panti.children", *after)
    small.build("child")
    (token,) = small.child("CH-1")
    child = small.read("child").filter(pl.col("child_token") == token).row(0, named=True)
    told = (child["orphanage_id"], child["reason_for_care"], child["abuse_type"], child["admission_date"])
    assert told == ("PA-1", "poverty", "none", date(2020, 1, 10))
    assert child["registrations"] == (2 if how == "exchanged" else 1)
    others = small.read("child").filter(pl.col("child_token") != token)
    assert others["abuse_type"].to_list() == (["sexual"] if how in ("corrected", "exchanged") else [])


def test_a_registration_that_stands_in_for_a_refused_one_leaves_no_trace(small):
    """The child has the number of the refused registration and the values of the other: one registration each
    time, and yet another one."""
    older = {"child_id": "CH-1", "nik": NIK, "abuse_type": "none"}
    newer = {"child_id": "CH-2", "nik": NIK, "abuse_type": "sexual", "modified_at": "2026-06-01T00:00:00Z"}
    small.put("panti.children", {**older, "sex": "P"}, newer)
    small.build("child")
    assert small.read("child")["abuse_type"].to_list() == ["sexual"]
    small.put("panti.children", older, {**newer, "nik": OTHER_NIK})
    small.build("child")
    told = dict(small.read("child").select("child_token", "abuse_type").iter_rows())
    assert told == dict(zip(small.child("CH-1", "CH-2"), ["none", "sexual"], strict=True))


def test_the_newest_of_two_rows_counts_only_when_it_is_valid(small):
    """One typing error in the newer row once took the good older row of the same child along."""
    newer = {"modified_at": "2026-06-01T00:00:00Z", "abuse_type": "neglect"}
    small.put(
        "panti.children",
        {"child_id": "CH-1"},
        {"child_id": "CH-1", **newer, "sex": "P"},
        {"child_id": "CH-2"},
        {"child_id": "CH-2", **newer},
    )
    summary = small.build("child")
    assert summary.refused == {"child_id.unique": 1, "sex.allowed": 1}
    told = dict(small.read("child").select("child_token", "abuse_type").iter_rows())
    assert told == dict(zip(small.child("CH-1", "CH-2"), ["none", "neglect"], strict=True))
    kept = small.quarantine("panti.children").select("child_id", "abuse_type", "failed_rules").rows()
    assert sorted(kept) == [("CH-1", "neglect", "sex.allowed"), ("CH-2", "none", "child_id.unique")]


def test_children_of_two_jurisdictions_never_meet(small):
    """The numbers of two authorities mean nothing to each other: equal ones are two children."""
    small.put("panti.children", {"child_id": "900"})
    small.put("ssda903.header", {"child_id": "900"})
    small.build("child")
    children = small.read("child")
    assert children["child_token"].n_unique() == 2
    assert set(children["jurisdiction"]) == {"ID", "GB"}
    assert children["sex"].to_list() == ["F", "F"]
