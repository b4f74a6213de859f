"""Employees of partner companies and volunteers: system hris and system volunteers."""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.sources.generate import people
from merajut_assets.sources.generate.columns import (
    Flags,
    Integers,
    between,
    dates,
    draw,
    flags,
    keys,
    moments,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import COMPANIES, Shared, draw_regions

EMPLOYEES_PER_CHILD = 0.2
VOLUNTEERS_PER_CHILD = 0.125
HOURS_PER_CHILD = 1.0
HOURS_PER_SHIFT = 4
FROM_COMPANIES = 0.4
MENTORING_SATISFACTION = 0.6

_DEPARTMENTS = ("finance", "operations", "sales", "technology", "human_resources", "legal", "production")
_JOB_TITLES = ("staff", "supervisor", "manager", "director")
_SKILLS = ("teaching", "health", "sports", "arts", "construction", "mentoring")
_ACTIVITIES = ("tutoring", "health_day", "sports", "arts", "renovation", "mentoring")
_TITLES = (
    "Bimbingan belajar",
    "Hari sehat",
    "Latihan futsal",
    "Sanggar seni",
    "Perbaikan asrama",
    "Kakak pendamping",
)
_SIZES = ("S", "M", "L", "XL")
_BELIEFS = ("Islam", "Kristen", "Katolik", "Hindu", "Buddha", "Konghucu")

EFFECTS: tuple[dict[str, str | float], ...] = (
    {
        "name": "mentoring_satisfies",
        "outcome": "volunteers.hours.satisfaction",
        "exposure": "volunteers.jobs.activity_type mentoring",
        "measure": "points",
        "size": MENTORING_SATISFACTION,
    },
)


def make_employees(shared: Shared, block: Block) -> tuple[pl.DataFrame, Flags]:
    """Rows of hris.employees and who of them is a woman."""
    generator = block.stream("hris.employees")
    count = max(30, round(block.children * EMPLOYEES_PER_CHILD))
    is_female = flags(generator, 0.44, count)
    company = generator.integers(0, len(COMPANIES), count)
    company[: len(COMPANIES)] = np.arange(min(count, len(COMPANIES)))
    title = draw(generator, (0.70, 0.17, 0.11, 0.02), count)
    name = people.full_names(generator, is_female)
    key = keys("EMP-", block.first_number, count)
    manager = _managers(generator, company, title)
    hired = block.last_day - between(generator, 40, 14 * 365, count)
    decided = np.maximum(hired, block.last_day - between(generator, 20, 900, count))
    host = pl.Series([_host(name) for name in COMPANIES]).gather(company)
    frame = table(
        employee_id=key,
        full_name=name,
        email_address=people.mail_addresses(generator, name, np.arange(count) + block.first_number, host),
        company=pick(COMPANIES, company),
        department=pick(_DEPARTMENTS, draw(generator, (0.12, 0.24, 0.2, 0.14, 0.07, 0.04, 0.19), count)),
        job_title=pick(_JOB_TITLES, title),
        manager_id=only(pick(key, np.maximum(manager, 0)), manager >= 0),
        employment_status=pick(("inactive", "active"), flags(generator, 0.93, count).astype(np.int64)),
        hire_date=dates(hired),
        location=pick(shared.places.regency_code, _work_places(shared, generator, company)),
        has_volunteer_consent=pl.Series(flags(generator, 0.7, count)),
        consent_decided_on=dates(decided),
        modified_at=moments(generator, np.minimum(decided + between(generator, 0, 60, count), block.last_day)),
        salary_band=pick(("G3", "G4", "G5", "G6"), title),
        religion=pick(_BELIEFS, draw(generator, (0.8, 0.07, 0.04, 0.04, 0.03, 0.02), count)),
    )
    return frame, is_female


def _host(company: str) -> str:
    return company.removeprefix("PT ").lower().replace(" & ", "-").replace(" ", "-") + ".example"


def _managers(generator: np.random.Generator, company: Integers, title: Integers) -> Integers:
    """For each employee a colleague with a higher title in the same company, or -1."""
    manager = np.full(len(company), -1)
    for each in range(len(COMPANIES)):
        members = np.flatnonzero(company == each)
        leaders = members[title[members] >= 2]
        led = members[title[members] < 2]
        if len(leaders):
            manager[led] = leaders[generator.integers(0, len(leaders), len(led))]
    return manager


def _work_places(shared: Shared, generator: np.random.Generator, company: Integers) -> Integers:
    """Each company works in five districts."""
    seats = shared.parameters.stream("hris.seats")
    sites = draw_regions(seats, shared.places, len(COMPANIES) * 5).reshape(len(COMPANIES), 5)
    return sites[company, draw(generator, (0.5, 0.2, 0.15, 0.1, 0.05), len(company))]


def make_volunteers(shared: Shared, block: Block, employees: pl.DataFrame, is_woman: Flags) -> dict[str, pl.DataFrame]:
    """Rows of volunteers.volunteers, jobs, shifts, hours and background_checks."""
    generator = block.stream("volunteers.volunteers")
    count = max(30, round(block.children * VOLUNTEERS_PER_CHILD))
    active = np.flatnonzero((employees["employment_status"] == "active").to_numpy())
    sent = min(round(count * FROM_COMPANIES), len(active))
    employee = np.full(count, -1)
    employee[generator.choice(count, sent, replace=False)] = generator.choice(active, sent, replace=False)
    is_sent = employee >= 0
    row = np.maximum(employee, 0)
    is_female = np.where(is_sent, is_woman[row], flags(generator, 0.58, count))
    name = pick(employees["full_name"], row).zip_with(pl.Series(is_sent), people.full_names(generator, is_female))
    mail = pick(employees["email_address"], row).zip_with(
        pl.Series(is_sent), people.mail_addresses(generator, name, np.arange(count) + block.first_number)
    )
    joined_on = between(generator, block.first_day - 300, block.last_day - 45, count)
    skill = draw(generator, (0.3, 0.12, 0.14, 0.13, 0.12, 0.19), count)
    key = keys("VO-", block.first_number, count)
    home = draw_regions(generator, shared.places, count)
    near = shared.orphanages.region[generator.integers(0, len(shared.orphanages), count)]
    decided = np.minimum(joined_on + between(generator, 0, 30, count), block.last_day)
    volunteers = table(
        volunteer_id=key,
        full_name=name,
        email=mail,
        phone=only(people.phones(generator, count), flags(generator, 0.95, count)),
        birth_date=dates(block.last_day - between(generator, 18 * 366, 62 * 365, count), flags(generator, 0.9, count)),
        sex=only(pick(("M", "F"), is_female.astype(np.int64)), flags(generator, 0.96, count)),
        regency_code=pick(shared.places.regency_code, np.where(flags(generator, 0.7, count), near, home)),
        employee_id=only(pick(employees["employee_id"], row), is_sent),
        skill=pick(_SKILLS, skill),
        joined_on=dates(joined_on),
        has_analytics_consent=pl.Series(flags(generator, 0.82, count)),
        consent_decided_on=dates(decided),
        modified_at=moments(generator, np.minimum(decided + between(generator, 0, 200, count), block.last_day)),
        tshirt_size=pick(_SIZES, draw(generator, (0.2, 0.4, 0.3, 0.1), count)),
    )
    jobs, activity = _jobs(shared, block)
    shifts, shift_day, shift_job, planned = _shifts(block, jobs)
    return {
        "volunteers": volunteers,
        "jobs": jobs,
        "shifts": shifts,
        "hours": _hours(block, key, joined_on, shifts, shift_day, activity[shift_job], planned),
        "background_checks": _background_checks(block, key, joined_on),
    }


def _jobs(shared: Shared, block: Block) -> tuple[pl.DataFrame, Integers]:
    generator = block.stream("volunteers.jobs")
    first, last = block.share(len(shared.orphanages))
    orphanage = np.repeat(np.arange(first, last), 2)
    count = len(orphanage)
    activity = draw(generator, (0.34, 0.12, 0.16, 0.12, 0.1, 0.16), count)
    frame = table(
        job_id=keys("JOB-", block.first_number, count),
        orphanage_id=pick(shared.orphanages.key, orphanage),
        title=pick(_TITLES, activity),
        activity_type=pick(_ACTIVITIES, activity),
        modified_at=moments(generator, between(generator, block.first_day - 200, block.first_day, count)),
    )
    return frame, activity


def _shifts(block: Block, jobs: pl.DataFrame) -> tuple[pl.DataFrame, Integers, Integers, np.ndarray]:
    """Shifts in order of their days."""
    generator = block.stream("volunteers.shifts")
    count = max(40, round(block.children * HOURS_PER_CHILD / HOURS_PER_SHIFT))
    day = np.sort(between(generator, block.first_day, block.last_day, count))
    # The last shift lies at the very end, so that whoever joined late finds one.
    day[-1] = block.last_day
    job = generator.integers(0, len(jobs), count)
    planned = np.array([2.0, 3.0, 4.0, 6.0, 8.0])[draw(generator, (0.3, 0.3, 0.25, 0.1, 0.05), count)]
    frame = table(
        shift_id=keys("SH-", block.first_number, count),
        job_id=pick(jobs["job_id"], job),
        shift_date=dates(day),
        planned_hours=pl.Series(planned),
        places=pl.Series(generator.integers(4, 25, count)),
        modified_at=moments(generator, day - between(generator, 1, 40, count)),
    )
    return frame, day, job, planned


def _hours(
    block: Block,
    volunteer_key: pl.Series,
    joined_on: Integers,
    shifts: pl.DataFrame,
    shift_day: Integers,
    activity: Integers,
    planned: np.ndarray,
) -> pl.DataFrame:
    generator = block.stream("volunteers.hours")
    count = max(60, round(block.children * HOURS_PER_CHILD))
    volunteer = np.floor(len(volunteer_key) * generator.random(count) ** 1.4).astype(np.int64)
    earliest = np.searchsorted(shift_day, joined_on[volunteer], side="left")
    shift = between(generator, earliest, len(shift_day) - 1, count)
    worked = np.maximum(np.round(planned[shift] * generator.normal(1.0, 0.12, count) * 4) / 4, 0.5)
    mean = 3.7 + MENTORING_SATISFACTION * (activity[shift] == _ACTIVITIES.index("mentoring"))
    satisfaction = np.clip(np.round(mean + generator.normal(0.0, 0.8, count)), 1, 5).astype(np.int64)
    return table(
        hours_id=keys("HO-", block.first_number, count),
        volunteer_id=pick(volunteer_key, volunteer),
        shift_id=pick(shifts["shift_id"], shift),
        worked_hours=pl.Series(np.minimum(worked, 12.0)),
        satisfaction=only(pl.Series(satisfaction), flags(generator, 0.8, count)),
        modified_at=moments(generator, np.minimum(shift_day[shift] + between(generator, 0, 3, count), block.last_day)),
    )


def _background_checks(block: Block, volunteer_key: pl.Series, joined_on: Integers) -> pl.DataFrame:
    generator = block.stream("volunteers.background_checks")
    checked = np.flatnonzero(flags(generator, 0.88, len(volunteer_key)))
    count = len(checked)
    day = np.minimum(joined_on[checked] + between(generator, 0, 40, count), block.last_day)
    result = draw(generator, (0.93, 0.05, 0.02), count)
    return table(
        check_id=keys("BC-", block.first_number, count),
        volunteer_id=pick(volunteer_key, checked),
        checked_on=dates(day),
        valid_until=dates(day + between(generator, 700, 1100, count)),
        result=pick(("clear", "pending", "refused"), result),
        modified_at=moments(generator, np.minimum(day + 1, block.last_day)),
    )
