"""Volunteer management: people, jobs, shifts, hours and background checks, as JSON lines."""

from __future__ import annotations

from datetime import date, datetime

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    Subject,
    System,
    direct_identifier,
    operational,
    public,
    quasi_identifier,
    sensitive,
    table,
)

VOLUNTEERS = System(
    name="volunteers",
    description="Volunteer management, JSON lines export",
    owner="team:community",
    format=SourceFormat.JSON_LINES,
    location="sources/volunteers/{source}.jsonl",
    jurisdiction="ID",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.GENERATED,
    purpose="Coordination of volunteers",
    retention_days=3 * 365,
    freshness_hours=24,
)


@table(VOLUNTEERS, "volunteers", subjects=(Subject.VOLUNTEER,), modified_column="modified_at", drops=("tshirt_size",))
class Volunteers(pa.DataFrameModel):
    """Registered volunteers; those of a company carry its employee number."""

    volunteer_id: str = operational("Volunteer number", key=True, subject=Subject.VOLUNTEER)
    full_name: str = direct_identifier("Full name", required=True)
    email: str = direct_identifier("E-mail address", token="email")
    phone: str = direct_identifier("Phone number", token="phone")
    birth_date: date = quasi_identifier("Date of birth", hierarchy="date", ge=date(1920, 1, 1))
    sex: str = quasi_identifier("Sex: F or M", hierarchy="sex", isin=["F", "M"])
    regency_code: str = quasi_identifier(
        "District of residence, Kemendagri code", hierarchy="wilayah", required=True, str_matches=r"^\d{2}\.\d{2}$"
    )
    employee_id: str = operational(
        "Employee number when a company sent the volunteer", references="hris.employees.employee_id"
    )
    skill: str = quasi_identifier(
        "Main skill",
        hierarchy="skill",
        required=True,
        isin=["teaching", "health", "sports", "arts", "construction", "mentoring"],
    )
    joined_on: date = quasi_identifier("Date of registration", hierarchy="date", required=True, nullable=False)
    has_analytics_consent: bool = operational("Consent to analysis of the engagement", required=True)
    consent_decided_on: date = operational("Date of that decision")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(VOLUNTEERS, "jobs", modified_column="modified_at", legal_basis=LegalBasis.NOT_APPLICABLE, drops=("title",))
class Jobs(pa.DataFrameModel):
    """Volunteer work offered by an institution."""

    job_id: str = operational("Job number", key=True)
    orphanage_id: str = operational(
        "Institution", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    activity_type: str = public(
        "Kind of activity", required=True, isin=["tutoring", "health_day", "sports", "arts", "renovation", "mentoring"]
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(
    VOLUNTEERS,
    "shifts",
    modified_column="modified_at",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=("planned_hours", "places"),
)
class Shifts(pa.DataFrameModel):
    """Dated shifts of a job."""

    shift_id: str = operational("Shift number", key=True)
    job_id: str = operational("Job", required=True, nullable=False, references="volunteers.jobs.job_id")
    shift_date: date = operational("Day", required=True, nullable=False)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(VOLUNTEERS, "hours", subjects=(Subject.VOLUNTEER,), modified_column="modified_at")
class Hours(pa.DataFrameModel):
    """Hours a volunteer worked in a shift."""

    hours_id: str = operational("Entry number", key=True)
    volunteer_id: str = operational(
        "Volunteer",
        required=True,
        nullable=False,
        subject=Subject.VOLUNTEER,
        references="volunteers.volunteers.volunteer_id",
    )
    shift_id: str = operational("Shift", required=True, nullable=False, references="volunteers.shifts.shift_id")
    worked_hours: float = operational("Hours worked", unit="hours", required=True, gt=0.0, le=16.0)
    satisfaction: int = sensitive("Satisfaction given afterwards, 1 to 5", ge=1, le=5)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(
    VOLUNTEERS,
    "background_checks",
    subjects=(Subject.VOLUNTEER,),
    modified_column="modified_at",
    legal_basis=LegalBasis.LEGAL_OBLIGATION,
    drops=("checked_on",),
)
class BackgroundChecks(pa.DataFrameModel):
    """Police checks that allow work with children."""

    check_id: str = operational("Check number", key=True)
    volunteer_id: str = operational(
        "Volunteer checked",
        required=True,
        nullable=False,
        subject=Subject.VOLUNTEER,
        references="volunteers.volunteers.volunteer_id",
    )
    valid_until: date = operational("Last day of validity", required=True)
    result: str = sensitive("Result", required=True, isin=["clear", "pending", "refused"])
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)
