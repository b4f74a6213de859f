"""Donations of a charity, as the Nonprofit Success Pack for Salesforce stores them.

The product's own training data set (`trailhead`): invented donors, a real layout. Column
`source_name`s are the product's API names; the dump keeps more than a hundred columns a table,
of which conformed uses these.
"""

from __future__ import annotations

from datetime import date

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DROP_UNDECLARED,
    DataOrigin,
    LegalBasis,
    SourceFormat,
    Subject,
    System,
    direct_identifier,
    in_order,
    operational,
    public,
    quasi_identifier,
    table,
)

NPSP = System(
    name="npsp",
    description="Nonprofit Success Pack (Salesforce), training data set, SQL dump",
    owner="team:fundraising",
    format=SourceFormat.SQL_DUMP,
    location="reference/npsp/trailhead.sql",
    jurisdiction="US",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.REAL_SAMPLE,
    purpose="Thanking donors and accounting for their gifts",
    retention_days=7 * 365,
    freshness_hours=24 * 366,
    options=(("dialect", "sqlite"),),
    licence="BSD-3-Clause",
)

RECORD_ID = r"^[0-9A-Za-z]{18}$"


@table(NPSP, "contact", source_name="Contact", subjects=(Subject.DONOR,), drops=(DROP_UNDECLARED,))
class Contact(pa.DataFrameModel):
    """Donors and members of their households."""

    contact_id: str = operational(
        "Contact Id", source_name="sf_id", key=True, subject=Subject.DONOR, str_matches=RECORD_ID
    )
    first_name: str = direct_identifier("First name", source_name="FirstName")
    last_name: str = direct_identifier("Last name", source_name="LastName", required=True)
    home_email: str = direct_identifier("Private e-mail address", source_name="npe01__HomeEmail__c", token="email")
    work_email: str = direct_identifier("Work e-mail address", source_name="npe01__WorkEmail__c", token="email")


@table(
    NPSP,
    "campaign",
    source_name="Campaign",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=(DROP_UNDECLARED,),
)
class Campaign(pa.DataFrameModel):
    """Campaigns."""

    campaign_id: str = operational("Campaign Id", source_name="sf_id", key=True, str_matches=RECORD_ID)
    name: str = public("Name of the campaign", source_name="Name", required=True)
    start_date: date = public("First day", source_name="StartDate")
    end_date: date = public("Last day", source_name="EndDate")

    end_after_start = in_order("end_after_start", "start_date", "end_date")


@table(NPSP, "opportunity", source_name="Opportunity", subjects=(Subject.DONOR,), drops=(DROP_UNDECLARED,))
class Opportunity(pa.DataFrameModel):
    """Gifts asked for, pledged or received; of a person, or of an organisation (no donor)."""

    opportunity_id: str = operational("Opportunity Id", source_name="sf_id", key=True, str_matches=RECORD_ID)
    contact_id: str = operational(
        "Giver; empty when an organisation gave",
        source_name="npsp__primary_contact__c",
        subject=Subject.DONOR,
        references="npsp.contact.contact_id",
    )
    campaign_id: str = operational("Campaign", source_name="campaign_id", references="npsp.campaign.campaign_id")
    amount: float = quasi_identifier("Amount", source_name="Amount", hierarchy="amount", unit="USD", ge=0.0)
    close_date: date = quasi_identifier(
        "Date of the gift, or expected date", source_name="CloseDate", hierarchy="date", required=True, nullable=False
    )
    stage: str = operational(
        "Stage",
        source_name="StageName",
        required=True,
        isin=["Prospecting", "Pledged", "Verbal Commitment", "Posted", "Closed Won", "Closed Lost", "Withdrawn"],
    )


@table(
    NPSP,
    "payment",
    source_name="npe01__OppPayment__c",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=(DROP_UNDECLARED,),
)
class Payment(pa.DataFrameModel):
    """Payments towards a gift, made or scheduled."""

    payment_id: str = operational("Payment Id", source_name="sf_id", key=True, str_matches=RECORD_ID)
    opportunity_id: str = operational(
        "Gift",
        source_name="npe01__opportunity__c",
        required=True,
        nullable=False,
        references="npsp.opportunity.opportunity_id",
    )
    amount: float = operational("Amount", source_name="npe01__Payment_Amount__c", unit="USD", required=True, ge=0.0)
    is_paid: bool = operational("Whether it was received", source_name="npe01__Paid__c", required=True)


@table(
    NPSP,
    "allocation",
    source_name="npsp__Allocation__c",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=(DROP_UNDECLARED,),
)
class Allocation(pa.DataFrameModel):
    """What gifts, campaigns and recurring gifts are used for."""

    allocation_id: str = operational("Allocation Id", source_name="sf_id", key=True, str_matches=RECORD_ID)
    opportunity_id: str = operational(
        "Gift; empty when a campaign or a recurring gift is allocated",
        source_name="npsp__opportunity__c",
        references="npsp.opportunity.opportunity_id",
    )
    general_accounting_unit_id: str = operational(
        "Use",
        source_name="npsp__general_accounting_unit__c",
        required=True,
        nullable=False,
        references="npsp.general_accounting_unit.general_accounting_unit_id",
    )
    amount: float = operational(
        "Amount; empty when a share of a campaign or of a recurring gift is allocated",
        source_name="npsp__Amount__c",
        unit="USD",
        ge=0.0,
    )


@table(
    NPSP,
    "general_accounting_unit",
    source_name="npsp__General_Accounting_Unit__c",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    drops=(DROP_UNDECLARED,),
)
class GeneralAccountingUnit(pa.DataFrameModel):
    """Uses that gifts can be allocated to (general accounting units)."""

    general_accounting_unit_id: str = operational(
        "General accounting unit Id", source_name="sf_id", key=True, str_matches=RECORD_ID
    )
    name: str = public("Name of the use", source_name="Name", required=True)
