"""Customer relationship management of the partnerships: contacts, CSR programmes, engagement history. JSON."""

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
    free_text,
    in_order,
    operational,
    public,
    table,
)

CRM = System(
    name="crm",
    description="Partnership CRM, JSON export: one document per table with its records in `records`",
    owner="team:partnerships",
    format=SourceFormat.JSON,
    location="sources/crm/{source}.json",
    jurisdiction="ID",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.GENERATED,
    purpose="Stewardship of corporate partnerships",
    retention_days=7 * 365,
    freshness_hours=24,
    options=(("records", "records"),),
)


@table(
    CRM,
    "csr_managers",
    subjects=(Subject.CONTACT,),
    modified_column="modified_at",
    legal_basis=LegalBasis.NONE,
    drops=("department",),
)
class CsrManagers(pa.DataFrameModel):
    """Contacts who manage a company's CSR."""

    contact_id: str = operational("Contact number", key=True, subject=Subject.CONTACT)
    name: str = direct_identifier("Full name", required=True)
    email: str = direct_identifier("E-mail address", required=True, token="email")
    phone: str = direct_identifier("Phone number", token="phone")
    company: str = operational("Company", required=True, nullable=False)
    responsibility_area: str = operational("Area of responsibility", required=True)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(
    CRM,
    "executive_sponsors",
    subjects=(Subject.CONTACT,),
    modified_column="modified_at",
    legal_basis=LegalBasis.NONE,
    drops=("title",),
)
class ExecutiveSponsors(pa.DataFrameModel):
    """Executives who sponsor a programme."""

    contact_id: str = operational("Contact number", key=True, subject=Subject.CONTACT)
    name: str = direct_identifier("Full name", required=True)
    email: str = direct_identifier("E-mail address", required=True, token="email")
    company: str = operational("Company", required=True, nullable=False)
    executive_level: str = operational("Level", required=True, isin=["c_level", "vice_president", "director"])
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(CRM, "csr_programmes", modified_column="modified_at", legal_basis=LegalBasis.NOT_APPLICABLE)
class CsrProgrammes(pa.DataFrameModel):
    """Programmes a company funds."""

    programme_id: str = operational("Programme number", key=True)
    programme_name: str = public("Name of the programme", required=True)
    company: str = public("Company", required=True, nullable=False)
    budget_allocation: float = public("Budget", unit="IDR", required=True, ge=0.0)
    start_date: date = public("First day", required=True, nullable=False)
    end_date: date = public("Last day")
    objectives: str = public("Objective", required=True, isin=["education", "health", "safety", "livelihood"])
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    end_after_start = in_order("end_after_start", "start_date", "end_date")


@table(
    CRM, "engagement_history", subjects=(Subject.CONTACT,), modified_column="modified_at", legal_basis=LegalBasis.NONE
)
class EngagementHistory(pa.DataFrameModel):
    """Interactions with a company's contacts."""

    engagement_id: str = operational("Interaction number", key=True)
    contact_id: str = operational("Contact", required=True, nullable=False, subject=Subject.CONTACT)
    programme_id: str = operational("Programme", references="crm.csr_programmes.programme_id")
    interaction_date: date = operational("Date", required=True, nullable=False)
    interaction_type: str = operational("Kind", required=True, isin=["meeting", "call", "email", "site_visit", "event"])
    outcome: str = operational("Outcome", required=True, isin=["positive", "neutral", "negative"])
    next_steps: str = free_text("Next steps")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)
