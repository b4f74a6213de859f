"""Donations, in the shape of Salesforce's Nonprofit Success Pack: contacts, opportunities, payments, allocations.

Column `source_name`s are the API names of that product's export.
"""

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
    table,
)

DONATIONS = System(
    name="donations",
    description="Donation management (Salesforce, Nonprofit Success Pack), CSV export",
    owner="team:fundraising",
    format=SourceFormat.CSV,
    location="sources/donations/{source}.csv",
    jurisdiction="ID",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.GENERATED,
    purpose="Thanking donors and accounting for their gifts",
    retention_days=7 * 365,
    freshness_hours=24,
)

DONOR_TYPES = ["individual", "household", "company", "foundation"]


@table(
    DONATIONS,
    "donors",
    source_name="Contact",
    subjects=(Subject.DONOR,),
    modified_column="modified_at",
    drops=("Salutation", "LeadSource"),
)
class Donors(pa.DataFrameModel):
    """Donors; companies and foundations by their contact person."""

    donor_id: str = operational("Contact Id", source_name="Id", key=True, subject=Subject.DONOR)
    first_name: str = direct_identifier("First name", source_name="FirstName")
    last_name: str = direct_identifier("Last name", source_name="LastName", required=True)
    email: str = direct_identifier("E-mail address", source_name="Email", token="email")
    phone: str = direct_identifier("Phone number", source_name="Phone", token="phone")
    birth_year: int = quasi_identifier("Year of birth", source_name="Birth_Year__c", hierarchy="age", ge=1900, le=2020)
    regency_code: str = quasi_identifier(
        "District of residence, Kemendagri code",
        source_name="Regency_Code__c",
        hierarchy="wilayah",
        str_matches=r"^\d{2}\.\d{2}$",
    )
    donor_type: str = quasi_identifier(
        "Type of donor", source_name="Donor_Type__c", hierarchy="donor_type", required=True, isin=DONOR_TYPES
    )
    has_analytics_consent: bool = operational(
        "Consent to analysis of the gifts", source_name="Analytics_Consent__c", required=True
    )
    consent_decided_on: date = operational("Date of that decision", source_name="Consent_Date__c")
    modified_at: datetime = operational(
        "Last change in the source, UTC", source_name="SystemModstamp", required=True, nullable=False
    )


@table(
    DONATIONS,
    "campaigns",
    source_name="Campaign",
    modified_column="modified_at",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=("IsActive",),
)
class Campaigns(pa.DataFrameModel):
    """Fund-raising campaigns."""

    campaign_id: str = operational("Campaign Id", source_name="Id", key=True)
    name: str = public("Name of the campaign", source_name="Name", required=True)
    start_date: date = public("First day", source_name="StartDate", required=True)
    end_date: date = public("Last day", source_name="EndDate")
    goal_amount: float = public("Goal", source_name="ExpectedRevenue", unit="IDR", ge=0.0)
    modified_at: datetime = operational(
        "Last change in the source, UTC", source_name="SystemModstamp", required=True, nullable=False
    )


@table(
    DONATIONS,
    "gifts",
    source_name="Opportunity",
    subjects=(Subject.DONOR,),
    modified_column="modified_at",
    drops=("Probability", "ForecastCategory"),
)
class Gifts(pa.DataFrameModel):
    """Gifts pledged or received."""

    gift_id: str = operational("Opportunity Id", source_name="Id", key=True)
    donor_id: str = operational(
        "Giver",
        source_name="npsp__Primary_Contact__c",
        required=True,
        nullable=False,
        subject=Subject.DONOR,
        references="donations.donors.donor_id",
    )
    campaign_id: str = operational("Campaign", source_name="CampaignId", references="donations.campaigns.campaign_id")
    orphanage_id: str = operational(
        "Institution the gift is meant for", source_name="Orphanage__c", references="panti.orphanages.orphanage_id"
    )
    amount: float = quasi_identifier(
        "Amount", source_name="Amount", hierarchy="amount", unit="IDR", required=True, nullable=False, gt=0.0
    )
    close_date: date = quasi_identifier(
        "Date of the gift", source_name="CloseDate", hierarchy="date", required=True, nullable=False
    )
    stage: str = operational("Stage", source_name="StageName", required=True, isin=["pledged", "received", "cancelled"])
    modified_at: datetime = operational(
        "Last change in the source, UTC", source_name="SystemModstamp", required=True, nullable=False
    )


@table(
    DONATIONS,
    "payments",
    source_name="npe01__OppPayment__c",
    modified_column="modified_at",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=("npe01__Payment_Date__c",),
)
class Payments(pa.DataFrameModel):
    """Payments towards a gift."""

    payment_id: str = operational("Payment Id", source_name="Id", key=True)
    gift_id: str = operational(
        "Gift", source_name="npe01__Opportunity__c", required=True, nullable=False, references="donations.gifts.gift_id"
    )
    amount: float = operational("Amount", source_name="npe01__Payment_Amount__c", unit="IDR", required=True, gt=0.0)
    is_paid: bool = operational("Whether it was received", source_name="npe01__Paid__c", required=True)
    modified_at: datetime = operational(
        "Last change in the source, UTC", source_name="SystemModstamp", required=True, nullable=False
    )


@table(
    DONATIONS,
    "allocations",
    source_name="npsp__Allocation__c",
    modified_column="modified_at",
    legal_basis=LegalBasis.NOT_APPLICABLE,
)
class Allocations(pa.DataFrameModel):
    """What a gift is used for."""

    allocation_id: str = operational("Allocation Id", source_name="Id", key=True)
    gift_id: str = operational(
        "Gift", source_name="npsp__Opportunity__c", required=True, nullable=False, references="donations.gifts.gift_id"
    )
    purpose: str = public("Use", source_name="npsp__General_Accounting_Unit__c", required=True, nullable=False)
    amount: float = operational("Amount", source_name="npsp__Amount__c", unit="IDR", required=True, gt=0.0)
    modified_at: datetime = operational(
        "Last change in the source, UTC", source_name="SystemModstamp", required=True, nullable=False
    )
