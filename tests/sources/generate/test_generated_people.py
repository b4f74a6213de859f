"""The people of the world: identity numbers, families, references, consents, planted effects."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.exceptions import InvalidComponent
from stdnum.id import nik

from merajut_assets.sources.generate import care, children, communication, community, dirt, giving
from merajut_assets.sources.generate.catalogue import generated_contracts
from merajut_assets.sources.generate.columns import day_number
from merajut_assets.sources.generate.people import identity_numbers, misspelt
from merajut_assets.sources.generate.places import GenerationError
from merajut_assets.sources.generate.shared import Shared

if TYPE_CHECKING:
    from tests.sources.generate.conftest import World


# Provinces and districts that python-stdnum's table of places does not know (founded since, or with
# a new code); their numbers are checked by everything but the place.
NEW_PROVINCES = {"65", "92", "93", "94", "95", "96"}


def _numbers(world: World, table: str) -> pl.DataFrame:
    wrong = world.planted.filter(pl.col("kind").str.starts_with("invalid_nik") & (pl.col("table") == table))["key"]
    frame = world.frame(f"panti.{table}")
    return frame.filter(pl.col("nik").is_not_null() & ~pl.col(frame.columns[0]).is_in(wrong.implode()))


@pytest.mark.parametrize("table", ["children", "guardians", "staff"])
def test_identity_numbers_are_valid_and_unique(world: World, table: str) -> None:
    """Merging rests on the NIK: one number for two people would merge strangers."""
    numbers = _numbers(world, table)
    if table == "children":
        second = world.planted.filter(pl.col("kind") == "duplicate_registration")["key"]
        numbers = numbers.filter(~pl.col("child_id").is_in(second.implode()))
    assert numbers["nik"].is_unique().all()
    unknown_place = 0
    for number in numbers["nik"]:
        nik.get_birth_date(number)
        try:
            nik.validate(number)
        except InvalidComponent:
            assert number[:2] in NEW_PROVINCES
            unknown_place += 1
    assert unknown_place < 0.1 * len(numbers)


def test_no_identity_number_is_shared_between_kinds_of_people(world: World) -> None:
    """A guardian with a child's number would be taken for the child by any check on tokens."""
    kinds = [set(_numbers(world, table)["nik"]) for table in ("children", "guardians", "staff")]
    assert len(set().union(*kinds)) == sum(map(len, kinds))


def test_a_child_s_number_says_sex_birth_date_and_district(world: World) -> None:
    """The day of a girl is raised by forty; the first six digits are the undotted district."""
    frame = world.clean("panti.children").filter(pl.col("nik").is_not_null())
    birth = frame["birth_date"].str.to_date()
    day = birth.dt.day() + pl.Series((frame["sex"] == "F").cast(pl.Int8) * 40)
    assert frame["nik"].str.slice(6, 2).cast(pl.Int64).equals(day.cast(pl.Int64), check_names=False)
    assert frame["nik"].str.slice(8, 4).equals(birth.dt.strftime("%m%y"), check_names=False)
    district = frame["village_code"].str.slice(0, 8).str.replace_all(".", "", literal=True)
    assert frame["nik"].str.slice(0, 6).equals(district, check_names=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(110101, 961010), st.integers(-7300, 20_000), st.booleans()), min_size=1, max_size=60
    ),
    st.integers(1, 40),
)
def test_numbers_of_different_slots_never_meet(rows: list[tuple[int, int, bool]], slots: int) -> None:
    """Blocks draw their numbers without knowing each other: only the slots keep them apart."""
    district, day, woman = (np.array(column) for column in zip(*rows, strict=True))
    seen: list[str] = []
    for slot in range(slots):
        seen += identity_numbers(district.astype(np.int64), day.astype(np.int64), woman, slot, slots).to_list()
    assert len(seen) == len(set(seen))
    assert all(len(number) == 16 and number.isdigit() for number in seen)


def test_too_many_people_of_one_day_are_refused() -> None:
    """A serial of five digits would silently lengthen the number."""
    many = np.full(60, 110101)
    with pytest.raises(GenerationError, match="serials"):
        identity_numbers(many, np.full(60, 10_000), np.zeros(60, dtype=bool), 199, 200)


@given(st.text(alphabet="abcdefgh ", min_size=1, max_size=25), st.integers(0, 2**32))
def test_a_misspelt_name_differs_by_a_little(name: str, seed: int) -> None:
    """A misspelling that changes nothing would be recorded in the truth and not be there."""
    spoilt = misspelt(name, np.random.default_rng(seed))
    assert spoilt != name
    assert abs(len(spoilt) - len(name)) <= 1


def test_siblings_share_what_siblings_share(world: World) -> None:
    """Families are linked by guardians alone; if siblings differed there would be none to find."""
    families = (
        world.clean("panti.consents")
        .select("child_id", "guardian_id")
        .unique()
        .join(world.clean("panti.children"), on="child_id")
        .filter(~pl.col("child_id").is_in(_involved(world).implode()))
        .with_columns(pl.col("full_name").str.split(" ").list.last().alias("family_name"))
        .group_by("guardian_id")
        .agg(pl.len(), pl.col("village_code", "orphanage_id", "admission_date", "family_name").n_unique())
        .filter(pl.col("len") > 1)
    )
    assert len(families) > 1000
    assert families.select(pl.exclude("guardian_id", "len").max()).row(0) == (1, 1, 1, 1)


def _involved(world: World) -> pl.Series:
    rows = world.planted.filter(pl.col("kind").str.starts_with("duplicate_registration"))
    return pl.concat([rows["key"], rows["related_key"]])


def test_clean_rows_refer_to_rows_that_exist(world: World) -> None:
    """A dangling reference that nobody planted would be counted as a fault of the pipeline."""
    checked = 0
    for contract in generated_contracts():
        for column in contract.columns:
            if not column.references:
                continue
            parent, _, key = column.references.rpartition(".")
            known = world.frame(parent)[key]
            used = world.clean(contract.identifier)[column.name].drop_nulls()
            assert used.is_in(known.implode()).all(), f"{contract.identifier}.{column.name}"
            checked += 1
    assert checked >= 25


def test_volunteers_of_companies_are_their_employees(world: World) -> None:
    """The business mart joins both systems: the same person must be behind the number."""
    both = world.clean("volunteers.volunteers").join(
        world.clean("hris.employees"), on="employee_id", how="inner", suffix="_hris"
    )
    assert len(both) > 300
    assert (both["full_name"] == both["full_name_hris"]).all()
    assert (both["employment_status"] == "active").all()


def test_events_lie_in_the_recorded_years_and_in_the_time_in_care(world: World) -> None:
    """An examination before admission or after today would be a fault of the generator, not of a clerk."""
    stays = world.clean("panti.children").select("child_id", "admission_date", "exit_date")
    for table, day in (
        ("reviews", "due_date"),
        ("health_records", "examined_on"),
        ("case_notes", "written_on"),
        ("incidents", "occurred_on"),
        ("placements", "start_date"),
    ):
        joined = world.clean(f"panti.{table}").join(stays, on="child_id")
        assert (joined[day] >= joined["admission_date"]).all()
        assert (joined[day] <= joined["exit_date"].fill_null("2026-10-31")).all()
        if table != "placements":
            assert joined[day].min() >= "2023-11-01"
    for contract in generated_contracts():
        if contract.modified_column:
            assert world.frame(contract.identifier)["modified_at"].max() <= "2026-10-31T23:59:59Z"


def test_placements_follow_each_other_without_a_gap(shared: Shared) -> None:
    """Months in care are added up from stays: a gap or an overlap would falsify them."""
    registrations, *_ = children.make_registrations(shared, shared.parameters.block(0))
    stays = care.placements_table(shared, shared.parameters.block(0), registrations).with_columns(
        pl.col("start_date").shift(-1).over("child_id").alias("next"),
        pl.col("start_date").first().over("child_id").alias("first"),
        pl.len().over("child_id").alias("stays"),
    )
    assert set(stays["stays"]) == {1, 2, 3}
    assert stays["child_id"].unique().len() == len(registrations)
    moved = stays.drop_nulls("next")
    assert (moved["end_date"] == moved["next"]).all()
    assert (moved["end_reason"] == "moved").all()
    assert (stays["end_date"].drop_nulls() >= stays.drop_nulls("end_date")["start_date"]).all()
    admitted = children.children_table(shared, shared.parameters.block(0), registrations)
    joined = stays.join(admitted.select("child_id", "admission_date", "exit_date", "orphanage_id"), on="child_id")
    assert (joined["first"] == joined["admission_date"]).all()
    last = joined.filter(pl.col("next").is_null())
    assert last["end_date"].equals(last["exit_date"], check_names=False)
    assert (last["orphanage_id"] == last["orphanage_id_right"]).all()


def test_institutions_mostly_have_room(world: World) -> None:
    """Capacity below the residents is the exception that a regulator looks for, not the rule."""
    residents = (
        world.clean("panti.children").filter(pl.col("exit_date").is_null()).group_by("orphanage_id").len("residents")
    )
    both = world.frame("panti.orphanages").join(residents, on="orphanage_id", how="left").fill_null(0)
    assert 0.75 < (both["residents"] <= both["capacity"]).mean() < 1.0
    licences = world.frame("panti.orphanages")["licence_valid_until"]
    assert 0.02 < (licences < "2026-10-31").mean() < 0.2


# ── consents ─────────────────────────────────────────────────────────────────────────────


def test_consent_states_follow_from_the_consent_rows(world: World) -> None:
    """The truth is what the release is judged by, so it is derived here a second time, row by row."""
    planted = world.planted.filter(pl.col("system") == "panti")
    merged = dict(planted.filter(pl.col("outcome") == "merged").select("key", "related_key").iter_rows())
    refused = set(
        planted.filter(
            (pl.col("table") == "consents") & (pl.col("outcome") == "refused") & (pl.col("rule") != "consent_id.unique")
        )["key"]
    )
    latest: dict[tuple[str, str], tuple[str, bool, str | None]] = {}
    for row in world.frame("panti.consents").iter_rows(named=True):
        if row["consent_id"] in refused:
            continue
        place = (merged.get(row["child_id"], row["child_id"]), row["purpose"])
        decision = (row["decided_on"], row["status"] == "withdrawn", row["valid_until"])
        if place not in latest or decision[:2] > latest[place][:2]:
            latest[place] = decision
    for child, person, purpose, state in world.consent_states.select(
        "child_id", "person_id", "purpose", "state"
    ).iter_rows():
        assert person == merged.get(child, child)
        decision = latest.get((person, purpose))
        if decision is None:
            assert state == "missing"
        elif decision[1]:
            assert state == "withdrawn"
        else:
            assert state == ("expired" if decision[2] is not None and decision[2] < "2026-10-31" else "granted")


def test_every_registration_that_is_not_refused_has_a_state_for_each_purpose(world: World) -> None:
    """A child without a state would be judged by no test."""
    refused = world.planted.filter((pl.col("table") == "children") & (pl.col("outcome") == "refused"))["key"]
    kept = set(world.frame("panti.children")["child_id"]) - set(refused)
    assert set(world.consent_states["child_id"]) == kept
    assert len(world.consent_states) == 4 * len(kept)


def test_consent_shares_are_those_stated(world: World) -> None:
    """Releases are sized by these shares; every state must occur for every purpose."""
    shares = world.consent_states.group_by("purpose", "state").len().pivot("state", index="purpose", values="len")
    total = len(world.consent_states) / 4
    for row in shares.iter_rows(named=True):
        assert row["granted"] / total == pytest.approx(children.GRANTED[row["purpose"]], abs=0.025)
        assert row["expired"] / total == pytest.approx(children.EXPIRED, abs=0.01)
        assert row["missing"] / total == pytest.approx(children.MISSING, abs=0.02)
        assert row["withdrawn"] / total > 0.03


# ── effects ──────────────────────────────────────────────────────────────────────────────


def test_the_effects_on_scores_can_be_found(world: World) -> None:
    """Statistics by programme are to show what was planted: least squares must find it from the files."""
    records = world.clean("panti.education_records").drop_nulls(["average_score", "attendance_rate"])
    people = world.clean("panti.children").select("child_id", "abuse_type", "orphanage_id", "admission_date")
    education = world.frame("crm.csr_programmes").filter(pl.col("objectives") == "education")["programme_id"]
    contracts = (
        world.frame("erp.contracts")
        .filter(pl.col("programme_id").is_in(education.implode()))
        .select("orphanage_id", "start_date", "end_date")
    )
    joined = (
        records.join(people, on="child_id")
        .drop_nulls("abuse_type")
        .join(contracts, on="orphanage_id", how="left")
        .with_columns(
            (pl.col("school_year").str.slice(0, 4) + "-07-01").str.to_date().alias("begin"),
            (pl.col("school_year").str.slice(5, 4) + "-06-30").str.to_date().alias("end"),
        )
    )
    overlap = (
        pl.min_horizontal(pl.col("end_date").str.to_date(), "end")
        - pl.max_horizontal(pl.col("start_date").str.to_date(), "begin")
    ).dt.total_days() + 1
    design = joined.select(
        pl.lit(1.0).alias("one"),
        (pl.col("start_date").is_not_null() & (overlap >= 182)).cast(pl.Float64).alias("programme"),
        (pl.col("abuse_type") != "none").cast(pl.Float64).alias("abuse"),
        pl.col("attendance_rate"),
        ((pl.col("end") - pl.col("admission_date").str.to_date()).dt.total_days() / 365.25).clip(0, 6).alias("years"),
    )
    found, *_ = np.linalg.lstsq(design.to_numpy(), joined["average_score"].to_numpy(), rcond=None)
    assert found[1] == pytest.approx(care.EDUCATION_PROGRAMME_POINTS, abs=0.8)
    assert found[2] == pytest.approx(care.ABUSE_POINTS, abs=0.8)
    assert found[3] == pytest.approx(care.ATTENDANCE_POINTS, abs=5.0)
    assert found[4] == pytest.approx(care.YEAR_IN_CARE_POINTS, abs=0.3)


def test_short_staff_means_late_reviews_and_more_incidents(world: World) -> None:
    """Government looks for exactly this connection."""
    caring = (
        world.frame("panti.staff")
        .filter(pl.col("role").is_in(["caregiver", "social_worker"]))
        .group_by("orphanage_id")
        .len("staff")
    )
    people = world.clean("panti.children").select("child_id", "orphanage_id")
    burden = people.group_by("orphanage_id").len("children").join(caring, on="orphanage_id")
    people = people.join(
        burden.select("orphanage_id", (pl.col("children") / pl.col("staff")).alias("burden")), on="orphanage_id"
    )
    middle = people["burden"].median()
    is_short = pl.col("burden") > middle
    reviews = world.clean("panti.reviews").join(people, on="child_id")
    late = (pl.col("held_date").is_null() | (pl.col("held_date") > pl.col("due_date"))).mean()
    assert (
        reviews.filter(is_short).select(late.mean()).item() > 1.5 * reviews.filter(~is_short).select(late.mean()).item()
    )
    incidents = world.clean("panti.incidents").join(people, on="child_id")
    assert len(incidents.filter(is_short)) / len(people.filter(is_short)) > 1.15 * (
        len(incidents.filter(~is_short)) / len(people.filter(~is_short))
    )


def test_other_effects_point_the_right_way(world: World) -> None:
    """Health, giving, volunteering and campaigns each have something to find."""
    health = world.clean("panti.health_records").join(
        world.clean("panti.children").select("child_id", "abuse_type"), on="child_id"
    )
    ill = health.group_by(pl.col("abuse_type") != "none").agg((pl.col("diagnosis_group") == "mental_health").mean())
    shares = dict(ill.drop_nulls().iter_rows())
    assert shares[True] > 2.0 * shares[False]

    told = world.frame("media.stories")["campaign_id"].unique()
    gifts = world.clean("donations.gifts").drop_nulls("campaign_id").with_columns(pl.col("amount").cast(pl.Float64))
    logs = dict(
        gifts.group_by(pl.col("campaign_id").is_in(told.implode())).agg(pl.col("amount").log().mean()).iter_rows()
    )
    assert np.exp(logs[True] - logs[False]) == pytest.approx(giving.STORY_AMOUNT_FACTOR, rel=0.15)

    hours = (
        world.clean("volunteers.hours")
        .join(world.clean("volunteers.shifts").select("shift_id", "job_id"), on="shift_id")
        .join(world.clean("volunteers.jobs").select("job_id", "activity_type"), on="job_id")
    )
    mean = dict(hours.group_by(pl.col("activity_type") == "mentoring").agg(pl.col("satisfaction").mean()).iter_rows())
    assert mean[True] - mean[False] == pytest.approx(community.MENTORING_SATISFACTION, abs=0.2)

    seen = world.clean("media.interactions").filter(pl.col("channel") == "tiktok")
    rates = dict(
        seen.group_by(pl.col("age_band").is_in(["13-17", "18-24"]))
        .agg(pl.col("engagements").sum() / pl.col("impressions").sum())
        .iter_rows()
    )
    assert rates[True] / rates[False] == pytest.approx(communication.YOUNG_TIKTOK_FACTOR, rel=0.05)


def test_schools_are_real_and_near(world: World, shared: Shared) -> None:
    """An invented school number would fail the cross-reference that accuracy is measured by."""
    records = world.clean("panti.education_records").drop_nulls("npsn")
    for level, schools in shared.places.schools.items():
        assert records.filter(pl.col("education_level") == level)["npsn"].is_in(schools.npsn.implode()).all()
        assert schools.npsn.str.contains(r"^\w{8}$").all()
    assert records["education_level"].is_in(["sd", "smp", "sma", "smk"]).all()


def test_children_without_a_number_are_as_many_as_stated(world: World) -> None:
    """Too few or too many would make merging by number look better or worse than it is."""
    assert world.clean("panti.children")["nik"].is_null().mean() == pytest.approx(dirt.CHILDREN_WITHOUT_NIK, abs=0.02)
    assert day_number(date(1970, 1, 2)) == 1
