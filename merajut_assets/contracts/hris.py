"""Human resources of the partner companies: who may volunteer, and with which consent. CSV with BOM."""

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
    quasi_identifier,
    table,
)

HRIS = System(
    name="hris",
    description="Human resources system of the partner companies, CSV export with byte order mark",
    owner="team:partnerships",
    format=SourceFormat.CSV,
    location="sources/hris/{source}.csv",
    jurisdiction="ID",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.GENERATED,
    purpose="Coordination of employee volunteering",
    retention_days=3 * 365,
    freshness_hours=24,
    options=(("separator", ";"),),
)


@table(
    HRIS, "employees", subjects=(Subject.EMPLOYEE,), modified_column="modified_at", drops=("salary_band", "religion")
)
class Employees(pa.DataFrameModel):
    """Employees of partner companies who were asked about volunteering."""

    employee_id: str = operational("Employee number", key=True, subject=Subject.EMPLOYEE)
    full_name: str = direct_identifier("Full name", required=True)
    email_address: str = direct_identifier("Work e-mail address", required=True, token="email")
    company: str = operational("Company", required=True, nullable=False)
    department: str = quasi_identifier(
        "Department",
        hierarchy="department",
        required=True,
        isin=["finance", "operations", "sales", "technology", "human_resources", "legal", "production"],
    )
    job_title: str = quasi_identifier(
        "Job title", hierarchy="job_title", required=True, isin=["staff", "supervisor", "manager", "director"]
    )
    manager_id: str = operational("Employee number of the manager")
    employment_status: str = operational("Employment status", required=True, isin=["active", "inactive"])
    hire_date: date = quasi_identifier("First day of employment", hierarchy="date", required=True)
    location: str = quasi_identifier(
        "District of the work place, Kemendagri code", hierarchy="wilayah", required=True, str_matches=r"^\d{2}\.\d{2}$"
    )
    has_volunteer_consent: bool = operational("Opt-in to analysis of the volunteer programme", required=True)
    consent_decided_on: date = operational("Date of that decision")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)
