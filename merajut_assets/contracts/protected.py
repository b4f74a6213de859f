"""The datasets that may leave the pipeline, one contract per stakeholder and dataset, as released.

Quasi-identifiers are text here, because they are generalised: "2012", "32", "*". Which of them
are generalised how far is the stakeholder's policy; that no dataset carries more than what is
declared here is enforced when it is stored. All of them get the column `release` in the warehouse.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pandera.polars as pa

from merajut_assets.contracts.base import (
    ORIGINS_PATTERN,
    LegalBasis,
    PrivacyClass,
    Subject,
    derived,
    operational,
    protected,
    public,
)

# Of aggregates, for `is_withheld`.
WITHHELD = (
    "Whether the row's figures are withheld: fewer than k people stand behind it, or the people behind a figure "
    "differ from those of another release by fewer than k"
)
ORIGIN = (
    "Where the data behind the row come from: generated, real_sample, open_data; one statement for all rows of a "
    "jurisdiction"
)
COMMON: dict[str, Any] = {"retention_days": 3 * 365, "freshness_hours": 24 * 32, "data_origin": None}
GOVERNMENT: dict[str, Any] = {
    **COMMON,
    "owner": "team:privacy",
    "purpose": "Supervision of care",
    "jurisdiction": "ID,GB",
    "legal_basis": LegalBasis.LEGAL_OBLIGATION,
    "child_protection": True,
}
BUSINESS: dict[str, Any] = {
    **COMMON,
    "owner": "team:privacy",
    "purpose": "Measurement of CSR",
    "jurisdiction": "ID",
    "legal_basis": LegalBasis.CONSENT,
}
ACADEMIA: dict[str, Any] = {
    **COMMON,
    "owner": "team:privacy",
    "purpose": "Research on care and its outcomes",
    "jurisdiction": "ID",
    "legal_basis": LegalBasis.CONSENT,
    "child_protection": True,
}
COMMUNITY: dict[str, Any] = {
    **COMMON,
    "owner": "team:privacy",
    "purpose": "Local coordination",
    "jurisdiction": "ID",
    "legal_basis": LegalBasis.CONSENT,
}
MEDIA: dict[str, Any] = {
    **COMMON,
    "owner": "team:privacy",
    "purpose": "Measurement of awareness",
    "jurisdiction": "ID",
    "legal_basis": LegalBasis.CONSENT,
}


class Released(pa.DataFrameModel):
    """What every released row says about itself."""

    data_origin: str = public(ORIGIN, required=True, nullable=False, str_matches=ORIGINS_PATTERN)


# ── government ───────────────────────────────────────────────────────────────────────────


@protected("government", "child_summary", subjects=(Subject.CHILD,), **GOVERNMENT)
class GovernmentChildSummary(Released):
    """One row per child in care at the cut-off date, anonymised; jurisdictions never share a class."""

    child_pseudonym: str = derived(
        "child.child_token", description="Pseudonym, good for this stakeholder and year only", key=True
    )
    jurisdiction: str = derived("child.jurisdiction", required=True)
    sex: str = derived("child.sex", description="Sex, or * when generalised")
    birth_period: str = derived("child.birth_date", description="Quarter, year or years of birth, or *")
    region_code: str = derived(
        "child.village_code", "orphanage.regency_code", description="District or province of the institution, or *"
    )
    care_type: str = derived("placement.care_type", description="Form of care, or *")
    reason_for_care: str = derived(
        "child.reason_for_care", "placement.reason_for_care", description="Main reason for care"
    )
    reviews_on_time: str = derived(
        "review.held_date",
        "review.due_date",
        privacy=PrivacyClass.SENSITIVE,
        description="Share of the last year's reviews held on time: none, some, most, all, no_review",
    )
    placements: str = derived(
        "placement.placement_id", privacy=PrivacyClass.SENSITIVE, description="Placements so far: 1, 2, 3+"
    )
    months_in_care: str = derived(
        "child.admission_date",
        "placement.start_date",
        privacy=PrivacyClass.SENSITIVE,
        description="Months in care: 0-11, 12-35, 36-59, 60-95, 96+",
    )


@protected("government", "incident_summary", subjects=(Subject.CHILD,), **GOVERNMENT)
class GovernmentIncidentSummary(Released):
    """Incidents of the last twelve months by province and kind; rows about fewer than k children are withheld."""

    province_code: str = derived("orphanage.regency_code", description="Province of the institution", key=True)
    incident_type: str = derived("incident.incident_type", privacy=PrivacyClass.OPERATIONAL, key=True)
    children: int = operational("Children affected; empty when withheld", unit="children")
    incidents: int = derived("incident.incident_id", description="Incidents; empty when withheld", unit="incidents")
    reported_within_three_days: float = derived(
        "incident.reported_on",
        description="Share reported within three days; empty when withheld, and when it would be exactly 0 or 1",
        unit="ratio",
    )
    is_withheld: bool = public(WITHHELD, required=True, nullable=False)


@protected("government", "orphanage", **{**GOVERNMENT, "legal_basis": LegalBasis.NOT_APPLICABLE})
class GovernmentOrphanage(Released):
    """Institutions with their licence."""

    orphanage_id: str = derived("orphanage.orphanage_id", key=True)
    regency_code: str = derived("orphanage.regency_code", required=True)
    capacity: int = derived("orphanage.capacity", required=True)
    licence_valid_until: date = derived("orphanage.licence_valid_until", required=True)
    accreditation: str = derived("orphanage.accreditation")


@protected("government", "staff_summary", subjects=(Subject.STAFF,), **{**GOVERNMENT, "jurisdiction": "ID"})
class GovernmentStaffSummary(Released):
    """Staff of the institutions by province; what would tell about fewer than k of them is withheld."""

    province_code: str = derived("orphanage.regency_code", description="Province of the institution", key=True)
    staff: int = derived("staff.staff_token", description="Staff employed; empty when withheld", unit="people")
    background_check_share: float = derived(
        "staff.is_background_checked",
        privacy=PrivacyClass.SENSITIVE,
        description="Share of staff with a valid background check; empty when fewer than k have one or lack it",
        unit="ratio",
    )
    is_withheld: bool = public(WITHHELD, required=True, nullable=False)


@protected("government", "region", **{**GOVERNMENT, "legal_basis": LegalBasis.NOT_APPLICABLE})
class GovernmentRegion(Released):
    """Names of provinces and districts."""

    region_code: str = derived("region.region_code", key=True)
    name: str = derived("region.name", required=True)
    level: str = derived("region.level", required=True)
    parent_code: str = derived("region.parent_code")


# ── business ─────────────────────────────────────────────────────────────────────────────


@protected("business", "employee_engagement", subjects=(Subject.EMPLOYEE,), **BUSINESS)
class BusinessEmployeeEngagement(Released):
    """One row per employee who opted in, anonymised, with the volunteering of the last year."""

    employee_pseudonym: str = derived(
        "employee.employee_token", description="Pseudonym, good for this stakeholder, dataset and year only", key=True
    )
    company: str = derived("employee.company", description="Company, or *")
    department: str = derived("employee.department", description="Department, or *")
    job_title: str = derived("employee.job_title", description="Job title, or *")
    region_code: str = derived("employee.location", description="District or province of the work place, or *")
    tenure: str = derived("employee.hire_date", description="Years of employment, or *")
    volunteer_hours: str = derived(
        "volunteer_activity.worked_hours",
        linked_by=("volunteer.employee_token",),
        privacy=PrivacyClass.SENSITIVE,
        description="Hours volunteered in the last year: none, 1-8, 9-24, 25+",
    )
    satisfaction: str = derived(
        "volunteer_activity.satisfaction", description="Mean satisfaction: low, medium, high, unknown"
    )


@protected("business", "donor_segment", subjects=(Subject.DONOR,), **BUSINESS)
class BusinessDonorSegment(Released):
    """One row per donor who agreed, anonymised, with the giving of the last year."""

    donor_pseudonym: str = derived(
        "donor.donor_token", description="Pseudonym, good for this stakeholder, dataset and year only", key=True
    )
    donor_type: str = derived("donor.donor_type", description="Type of donor, or *")
    age_band: str = derived("donor.birth_year", description="Age in years, or *")
    region_code: str = derived("donor.regency_code", description="District or province, or *")
    gifts: str = derived(
        "donation.donation_id", privacy=PrivacyClass.SENSITIVE, description="Gifts in the last year: 0, 1, 2-4, 5+"
    )
    amount: str = derived(
        "donation.amount",
        privacy=PrivacyClass.SENSITIVE,
        description="Given in the last year, million IDR: 0, 0-1, 1-10, 10+",
    )


@protected("business", "programme_finance", **{**BUSINESS, "legal_basis": LegalBasis.NOT_APPLICABLE})
class BusinessProgrammeFinance(Released):
    """Money of each programme by year."""

    programme_id: str = derived("csr_programme.programme_id", key=True)
    fiscal_year: int = derived("budget_line.fiscal_year", key=True)
    programme_name: str = derived("csr_programme.name", required=True)
    company: str = derived("csr_programme.company", required=True)
    objective: str = derived("csr_programme.objective", required=True)
    orphanages: int = derived("contract.orphanage_id", description="Institutions under contract", unit="institutions")
    budget_amount: float = derived("budget_line.amount", description="Approved budget", unit="IDR")
    ordered_amount: float = derived("purchase_order.amount", description="Ordered", unit="IDR")
    ordered_from_diverse_vendors: float = derived(
        "purchase_order.amount",
        "vendor.diversity_class",
        description="Ordered from suppliers of a diversity class",
        unit="IDR",
    )
    invoiced_amount: float = derived("invoice.amount", description="Invoiced", unit="IDR")
    paid_amount: float = derived("invoice.paid_amount", description="Paid", unit="IDR")


# ── academia ─────────────────────────────────────────────────────────────────────────────


@protected("academia", "research_child", subjects=(Subject.CHILD,), **ACADEMIA)
class AcademiaResearchChild(Released):
    """One row per child whose guardian agreed to research, anonymised."""

    child_pseudonym: str = derived(
        "child.child_token", description="Pseudonym, good for this stakeholder and year only", key=True
    )
    sex: str = derived("child.sex", description="Sex, or *")
    age_band: str = derived("child.birth_date", description="Age in years at the cut-off date, or *")
    region_code: str = derived(
        "orphanage.regency_code", "child.village_code", description="Province, or *", hierarchy="wilayah"
    )
    education_level: str = derived("education_record.education_level", description="Level attended last, or *")
    years_in_care: str = derived("child.admission_date", description="Years in care, or *")
    diagnosis_group: str = derived(
        "health_record.diagnosis_group", description="Diagnosis group of the last examination"
    )
    abuse_type: str = derived("child.abuse_type")
    school_outcome: str = derived(
        "education_record.average_score", description="Last average mark: below_60, 60_to_75, above_75, not_in_school"
    )


@protected("academia", "region", **{**ACADEMIA, "legal_basis": LegalBasis.NOT_APPLICABLE})
class AcademiaRegion(GovernmentRegion):
    """Names of provinces and districts."""


@protected("academia", "indicator", **{**ACADEMIA, "legal_basis": LegalBasis.NOT_APPLICABLE})
class AcademiaIndicator(Released):
    """Published indicators for comparison between countries."""

    indicator_id: str = derived("indicator.indicator_id", key=True)
    indicator_code: str = derived("indicator.indicator_code", required=True)
    country_code: str = derived("indicator.country_code", required=True)
    country_name: str = derived("indicator.country_name", required=True)
    sex: str = derived("indicator.sex", required=True)
    year: int = derived("indicator.year", required=True)
    value: float = derived("indicator.value", required=True)
    unit: str = derived("indicator.unit", required=True)


# ── community ────────────────────────────────────────────────────────────────────────────


@protected("community", "volunteer_engagement", subjects=(Subject.VOLUNTEER,), **COMMUNITY)
class CommunityVolunteerEngagement(Released):
    """One row per volunteer who agreed, anonymised, with the engagement of the last year."""

    volunteer_pseudonym: str = derived(
        "volunteer.volunteer_token", description="Pseudonym, good for this stakeholder and year only", key=True
    )
    sex: str = derived("volunteer.sex", description="Sex, or *")
    age_band: str = derived("volunteer.birth_date", description="Age in years at the cut-off date, or *")
    region_code: str = derived("volunteer.regency_code", description="District or province, or *")
    skill: str = derived("volunteer.skill", description="Main skill, or *")
    worked_hours: str = derived(
        "volunteer_activity.worked_hours",
        privacy=PrivacyClass.SENSITIVE,
        description="Hours in the last year: none, 1-8, 9-24, 25+",
    )
    satisfaction: str = derived(
        "volunteer_activity.satisfaction", description="Mean satisfaction: low, medium, high, unknown"
    )


@protected("community", "activity_summary", subjects=(Subject.VOLUNTEER,), **COMMUNITY)
class CommunityActivitySummary(Released):
    """Volunteer activities of the last twelve months by province and kind.

    Rows about fewer than k volunteers are withheld."""

    province_code: str = derived("orphanage.regency_code", description="Province of the institution", key=True)
    activity_type: str = derived("volunteer_activity.activity_type", key=True)
    volunteers: int = operational("Volunteers who took part; empty when withheld", unit="people")
    worked_hours: float = derived(
        "volunteer_activity.worked_hours", description="Hours worked; empty when withheld", unit="hours"
    )
    is_withheld: bool = public(WITHHELD, required=True, nullable=False)


@protected("community", "orphanage_need", **{**COMMUNITY, "legal_basis": LegalBasis.NOT_APPLICABLE})
class CommunityOrphanageNeed(Released):
    """What the institutions of a district have and need, last stock-taking."""

    regency_code: str = derived("orphanage.regency_code", key=True)
    category: str = derived("supply.category", key=True)
    orphanages: int = derived("supply.orphanage_id", description="Institutions counted", unit="institutions")
    quantity: float = derived("supply.quantity", required=True)
    needed_quantity: float = derived("supply.needed_quantity", required=True)


@protected("community", "region", **{**COMMUNITY, "legal_basis": LegalBasis.NOT_APPLICABLE})
class CommunityRegion(GovernmentRegion):
    """Names of provinces and districts."""


# ── media ────────────────────────────────────────────────────────────────────────────────


@protected("media", "campaign_reach", **{**MEDIA, "legal_basis": LegalBasis.NOT_APPLICABLE})
class MediaCampaignReach(Released):
    """How campaigns were received, by month, channel and age band of the audience."""

    campaign_id: str = derived("campaign.campaign_id", key=True)
    month: str = derived("interaction.day", description="Month, YYYY-MM", key=True)
    channel: str = derived("interaction.channel", key=True)
    age_band: str = derived("interaction.age_band", key=True)
    campaign_name: str = derived("campaign.name", required=True)
    impressions: int = derived("interaction.impressions", required=True)
    engagements: int = derived("interaction.engagements", required=True)
    clicks: int = derived("interaction.clicks", required=True)


@protected("media", "campaign_giving", subjects=(Subject.DONOR,), **MEDIA)
class MediaCampaignGiving(Released):
    """Gifts received by campaign from donors who agreed to analysis.

    Campaigns with fewer than k such donors are withheld."""

    campaign_id: str = derived("campaign.campaign_id", key=True)
    campaign_name: str = derived("campaign.name", required=True)
    goal_amount: float = derived("campaign.goal_amount")
    donors: int = operational("Donors; empty when withheld", unit="people")
    gifts: int = derived("donation.donation_id", description="Gifts; empty when withheld", unit="gifts")
    amount: float = derived(
        "donation.amount",
        privacy=PrivacyClass.OPERATIONAL,
        description="Amount received; empty when withheld",
        unit="IDR",
    )
    is_withheld: bool = public(WITHHELD, required=True, nullable=False)


@protected("media", "story_approval", **{**MEDIA, "legal_basis": LegalBasis.NOT_APPLICABLE})
class MediaStoryApproval(Released):
    """State of the editorial approval of stories about institutions, by campaign.

    Stories about a child are not counted."""

    campaign_id: str = derived("campaign.campaign_id", key=True)
    channel: str = derived("story.channel", key=True)
    approval_state: str = derived("story.approval_state", key=True)
    stories: int = derived("story.story_id", description="Stories", unit="stories", required=True)
