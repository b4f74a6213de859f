"""The conformed entities: one row per real holder, keyed by tokens, whatever system a row came from.

Each column names the source columns it comes from; class, description, unit and hierarchy
follow from them. How source values become entity values is in `merajut_assets.conformed`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    PrivacyClass,
    Subject,
    derived,
    entity,
    in_order,
    operational,
    public,
)

CARE: dict[str, Any] = {
    "purpose": "Care of children and the evidence that it is lawful",
    "owner": "team:child-protection",
    "retention_days": 7 * 365,
    "freshness_hours": 24,
    "jurisdiction": "ID,GB",
    "legal_basis": LegalBasis.CONSENT,
    "data_origin": None,
    "child_protection": True,
}
GIVING: dict[str, Any] = {
    **CARE,
    "purpose": "Accounting for gifts and their use",
    "owner": "team:fundraising",
    "child_protection": False,
    "jurisdiction": "ID,US",
}
COMMUNITY: dict[str, Any] = {
    **GIVING,
    "purpose": "Coordination of volunteers",
    "owner": "team:community",
    "retention_days": 3 * 365,
    "jurisdiction": "ID",
}
PARTNERSHIP: dict[str, Any] = {
    **GIVING,
    "purpose": "Stewardship and control of corporate programmes",
    "owner": "team:partnerships",
    "jurisdiction": "ID",
}
FINANCE: dict[str, Any] = {**PARTNERSHIP, "owner": "team:finance", "legal_basis": LegalBasis.NOT_APPLICABLE}
COMMUNICATION: dict[str, Any] = {**PARTNERSHIP, "purpose": "Awareness campaigns", "owner": "team:communication"}
REFERENCE: dict[str, Any] = {
    **FINANCE,
    "purpose": "Reference figures and codes",
    "owner": "team:data-engineering",
    "retention_days": 10 * 365,
    "freshness_hours": 24 * 366,
}


def token(*sources: str, subject: Subject | None = None, **options: Any) -> Any:
    """A person's keyed token: stable, meaningless outside conformed."""
    return derived(*sources, privacy=PrivacyClass.OPERATIONAL, subject=subject, **options)


class Entity(pa.DataFrameModel):
    """What every conformed row says about itself."""

    source_system: str = operational("System the row came from", required=True, nullable=False)
    jurisdiction: str = operational("Country whose law applies", required=True, nullable=False)
    legal_basis: str = operational(
        "Legal basis of the processing", required=True, nullable=False, isin=list(LegalBasis)
    )
    data_origin: str = operational(
        "Generated, real sample or open data", required=True, nullable=False, isin=list(DataOrigin)
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


# ── children and their care ──────────────────────────────────────────────────────────────


@entity("child", subjects=(Subject.CHILD,), **CARE)
class Child(Entity):
    """Children in care, one row per child; registrations with the same valid NIK are one child."""

    child_token: str = token(
        "panti.children.child_id",
        "ssda903.header.child_id",
        description="Child, keyed token",
        key=True,
        subject=Subject.CHILD,
    )
    sex: str = derived("panti.children.sex", "ssda903.header.sex", required=True, isin=["F", "M"])
    birth_date: date = derived("panti.children.birth_date", "ssda903.header.birth_date", required=True)
    village_code: str = derived(
        "panti.children.village_code", required_when="jurisdiction = 'ID'", accuracy="region.region_code"
    )
    orphanage_id: str = derived(
        "panti.children.orphanage_id", required_when="jurisdiction = 'ID'", references="orphanage.orphanage_id"
    )
    admission_date: date = derived("panti.children.admission_date", required_when="jurisdiction = 'ID'")
    exit_date: date = derived("panti.children.exit_date")
    reason_for_care: str = derived("panti.children.reason_for_care", required_when="jurisdiction = 'ID'")
    abuse_type: str = derived("panti.children.abuse_type", required_when="jurisdiction = 'ID'")
    is_nik_consistent: bool = derived(
        "panti.children.nik",
        "panti.children.birth_date",
        "panti.children.sex",
        privacy=PrivacyClass.OPERATIONAL,
        description="Whether a valid NIK agrees with birth date and sex; empty without a valid NIK",
        accuracy="is_nik_consistent",
    )
    last_case_note_on: date = derived(
        "panti.case_notes.written_on", description="Date of the latest case note; its text stays in raw"
    )
    registrations: int = operational("Registrations merged into this child", required=True, nullable=False, ge=1)
    registrations_token: str = operational(
        "Which registrations those are, one keyed token: another one means that the row was made of others"
    )


@entity("guardian", subjects=(Subject.GUARDIAN,), **CARE)
class Guardian(Entity):
    """Those who decide for a child."""

    guardian_token: str = token(
        "panti.guardians.guardian_id", description="Guardian, keyed token", key=True, subject=Subject.GUARDIAN
    )
    relationship: str = derived("panti.guardians.relationship", required=True)
    village_code: str = derived("panti.guardians.village_code", accuracy="region.region_code")
    is_reachable: bool = derived(
        "panti.guardians.phone",
        privacy=PrivacyClass.OPERATIONAL,
        description="Whether a valid phone number is known",
        required=True,
    )


@entity("consent", subjects=(Subject.CHILD, Subject.VOLUNTEER, Subject.DONOR, Subject.EMPLOYEE), **CARE)
class Consent(Entity):
    """Every decision about what a person's records may be used for, for all kinds of subjects."""

    consent_id: str = derived(
        "panti.consents.consent_id", description="Decision number, unique within its system", key=True
    )
    subject_type: str = operational(
        "Kind of the person the decision is about", required=True, nullable=False, isin=list(Subject)
    )
    subject_token: str = token(
        "panti.consents.child_id",
        "volunteers.volunteers.volunteer_id",
        "donations.donors.donor_id",
        "hris.employees.employee_id",
        description="Person the decision is about, keyed token",
        required=True,
        nullable=False,
    )
    guardian_token: str = token(
        "panti.consents.guardian_id",
        description="Guardian who decided, keyed token",
        required_when="subject_type = 'child'",
        references="guardian.guardian_token",
    )
    purpose: str = derived("panti.consents.purpose", description="Purpose decided on", required=True, nullable=False)
    status: str = derived(
        "panti.consents.status",
        "volunteers.volunteers.has_analytics_consent",
        "donations.donors.has_analytics_consent",
        "hris.employees.has_volunteer_consent",
        required=True,
        nullable=False,
        isin=["granted", "withdrawn"],
    )
    decided_on: date = derived(
        "panti.consents.decided_on",
        "volunteers.volunteers.consent_decided_on",
        "donations.donors.consent_decided_on",
        "hris.employees.consent_decided_on",
        required=True,
        nullable=False,
    )
    valid_until: date = derived("panti.consents.valid_until")


@entity("placement", subjects=(Subject.CHILD,), **CARE)
class Placement(Entity):
    """Stays of a child in one form of care."""

    placement_id: str = derived("panti.placements.placement_id", description="Placement number", key=True)
    child_token: str = token(
        "panti.placements.child_id",
        "ssda903.episodes.child_id",
        description="Child, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="child.child_token",
    )
    orphanage_id: str = derived(
        "panti.placements.orphanage_id", required_when="jurisdiction = 'ID'", references="orphanage.orphanage_id"
    )
    care_type: str = derived("panti.placements.care_type", "ssda903.episodes.placement_type", required=True)
    start_date: date = derived(
        "panti.placements.start_date", "ssda903.episodes.start_date", required=True, nullable=False
    )
    end_date: date = derived("panti.placements.end_date", "ssda903.episodes.end_date")
    reason_for_care: str = derived(
        "ssda903.episodes.need_code", description="Main reason for care, where the source records it with the placement"
    )
    end_reason: str = derived("panti.placements.end_reason")

    end_after_start = in_order("end_after_start", "start_date", "end_date")


@entity("review", subjects=(Subject.CHILD,), **CARE)
class Review(Entity):
    """Reviews of a care plan."""

    review_id: str = derived("panti.reviews.review_id", description="Review number", key=True)
    child_token: str = token(
        "panti.reviews.child_id",
        "ssda903.reviews.child_id",
        description="Child, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="child.child_token",
    )
    due_date: date = derived("panti.reviews.due_date", required_when="jurisdiction = 'ID'")
    held_date: date = derived("panti.reviews.held_date", "ssda903.reviews.review_date")
    child_took_part: bool = derived("panti.reviews.child_took_part", "ssda903.reviews.review_code")


@entity("health_record", subjects=(Subject.CHILD,), **CARE)
class HealthRecord(Entity):
    """Health examinations, without the examiner's text."""

    health_record_id: str = derived("panti.health_records.health_record_id", description="Examination number", key=True)
    child_token: str = token(
        "panti.health_records.child_id",
        "ssda903.oc2.child_id",
        description="Child, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="child.child_token",
    )
    examined_on: date = derived("panti.health_records.examined_on", required_when="jurisdiction = 'ID'")
    diagnosis_group: str = derived("panti.health_records.diagnosis_group", required_when="jurisdiction = 'ID'")
    height_cm: float = derived("panti.health_records.height_cm")
    weight_kg: float = derived("panti.health_records.weight_kg")
    is_immunisation_complete: bool = derived(
        "panti.health_records.is_immunisation_complete", "ssda903.oc2.is_immunisation_complete"
    )
    is_note_personal: bool = derived(
        "panti.health_records.notes",
        privacy=PrivacyClass.OPERATIONAL,
        description="Whether a NIK was found in the notes, which stay in raw",
    )


@entity("education_record", subjects=(Subject.CHILD,), **CARE)
class EducationRecord(Entity):
    """School results by school year."""

    education_record_id: str = derived(
        "panti.education_records.education_record_id", description="Record number", key=True
    )
    child_token: str = token(
        "panti.education_records.child_id",
        description="Child, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="child.child_token",
    )
    npsn: str = derived("panti.education_records.npsn", accuracy="school.npsn")
    school_year: str = derived("panti.education_records.school_year", required=True, nullable=False)
    education_level: str = derived("panti.education_records.education_level", required=True)
    average_score: float = derived("panti.education_records.average_score", required_when="education_level <> 'none'")
    attendance_rate: float = derived("panti.education_records.attendance_rate")


@entity("incident", subjects=(Subject.CHILD,), **CARE)
class Incident(Entity):
    """Safeguarding incidents, without their description."""

    incident_id: str = derived("panti.incidents.incident_id", key=True)
    child_token: str = token(
        "panti.incidents.child_id",
        description="Child, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="child.child_token",
    )
    orphanage_id: str = derived("panti.incidents.orphanage_id", required=True, references="orphanage.orphanage_id")
    occurred_on: date = derived("panti.incidents.occurred_on", required=True)
    reported_on: date = derived("panti.incidents.reported_on")
    incident_type: str = derived("panti.incidents.incident_type", required=True)
    severity: str = derived("panti.incidents.severity", required=True)


@entity("orphanage", **{**CARE, "legal_basis": LegalBasis.NOT_APPLICABLE, "jurisdiction": "ID"})
class Orphanage(Entity):
    """Licensed institutions."""

    orphanage_id: str = derived("panti.orphanages.orphanage_id", key=True)
    name: str = derived("panti.orphanages.name", required=True)
    regency_code: str = derived("panti.orphanages.regency_code", required=True, accuracy="region.region_code")
    capacity: int = derived("panti.orphanages.capacity", required=True)
    licence_number: str = derived("panti.orphanages.licence_number")
    licence_valid_until: date = derived("panti.orphanages.licence_valid_until", required=True)
    accreditation: str = derived("panti.orphanages.accreditation")


@entity(
    "staff", subjects=(Subject.STAFF,), **{**CARE, "legal_basis": LegalBasis.LEGAL_OBLIGATION, "jurisdiction": "ID"}
)
class Staff(Entity):
    """Employees of the institutions."""

    staff_token: str = token(
        "panti.staff.staff_id", description="Member of staff, keyed token", key=True, subject=Subject.STAFF
    )
    orphanage_id: str = derived(
        "panti.staff.orphanage_id", required=True, nullable=False, references="orphanage.orphanage_id"
    )
    role: str = derived("panti.staff.role", required=True)
    hired_on: date = derived("panti.staff.hired_on", required=True)
    is_background_checked: bool = derived("panti.staff.is_background_checked", required=True)


@entity("supply", **{**CARE, "legal_basis": LegalBasis.NOT_APPLICABLE, "jurisdiction": "ID"})
class Supply(Entity):
    """Stock of supplies by institution, month and category."""

    supply_id: str = derived("panti.supplies.supply_id", key=True)
    orphanage_id: str = derived(
        "panti.supplies.orphanage_id", required=True, nullable=False, references="orphanage.orphanage_id"
    )
    counted_on: date = derived("panti.supplies.counted_on", required=True, nullable=False)
    category: str = derived("panti.supplies.category", required=True)
    quantity: float = derived("panti.supplies.quantity", required=True)
    needed_quantity: float = derived("panti.supplies.needed_quantity", required=True)


# ── volunteers ───────────────────────────────────────────────────────────────────────────


@entity("volunteer", subjects=(Subject.VOLUNTEER,), **COMMUNITY)
class Volunteer(Entity):
    """Registered volunteers and whether their background check is valid."""

    volunteer_token: str = token(
        "volunteers.volunteers.volunteer_id", description="Volunteer, keyed token", key=True, subject=Subject.VOLUNTEER
    )
    employee_token: str = token(
        "volunteers.volunteers.employee_id",
        description="Employee who volunteers, keyed token",
        subject=Subject.EMPLOYEE,
        references="employee.employee_token",
    )
    birth_date: date = derived("volunteers.volunteers.birth_date")
    sex: str = derived("volunteers.volunteers.sex")
    regency_code: str = derived("volunteers.volunteers.regency_code", required=True, accuracy="region.region_code")
    skill: str = derived("volunteers.volunteers.skill", required=True)
    joined_on: date = derived("volunteers.volunteers.joined_on", required=True)
    background_check_valid_until: date = derived(
        "volunteers.background_checks.valid_until",
        "volunteers.background_checks.result",
        description="Last day on which the background check is clear",
    )


@entity("volunteer_activity", subjects=(Subject.VOLUNTEER,), **COMMUNITY)
class VolunteerActivity(Entity):
    """Hours worked by a volunteer, with where and in what kind of activity."""

    activity_id: str = derived("volunteers.hours.hours_id", key=True)
    volunteer_token: str = token(
        "volunteers.hours.volunteer_id",
        description="Volunteer, keyed token",
        required=True,
        nullable=False,
        subject=Subject.VOLUNTEER,
        references="volunteer.volunteer_token",
    )
    orphanage_id: str = derived("volunteers.jobs.orphanage_id", required=True, references="orphanage.orphanage_id")
    activity_type: str = derived("volunteers.jobs.activity_type", required=True)
    activity_date: date = derived("volunteers.shifts.shift_date", required=True)
    worked_hours: float = derived("volunteers.hours.worked_hours", required=True)
    satisfaction: int = derived("volunteers.hours.satisfaction")


# ── donors ───────────────────────────────────────────────────────────────────────────────


@entity("donor", subjects=(Subject.DONOR,), **GIVING)
class Donor(Entity):
    """Donors."""

    donor_token: str = token(
        "donations.donors.donor_id",
        "npsp.contact.contact_id",
        description="Donor, keyed token",
        key=True,
        subject=Subject.DONOR,
    )
    birth_year: int = derived("donations.donors.birth_year")
    regency_code: str = derived("donations.donors.regency_code", accuracy="region.region_code")
    donor_type: str = derived("donations.donors.donor_type", required_when="jurisdiction = 'ID'")


@entity("donation", subjects=(Subject.DONOR,), **GIVING)
class Donation(Entity):
    """Gifts and what of them was paid."""

    donation_id: str = derived("donations.gifts.gift_id", "npsp.opportunity.opportunity_id", key=True)
    donor_token: str = token(
        "donations.gifts.donor_id",
        "npsp.opportunity.contact_id",
        description="Donor, keyed token",
        required_when="jurisdiction = 'ID'",
        subject=Subject.DONOR,
        references="donor.donor_token",
    )
    campaign_id: str = derived(
        "donations.gifts.campaign_id", "npsp.opportunity.campaign_id", references="campaign.campaign_id"
    )
    orphanage_id: str = derived("donations.gifts.orphanage_id", references="orphanage.orphanage_id")
    amount: float = derived(
        "donations.gifts.amount", "npsp.opportunity.amount", description="Amount in `currency`", required=True
    )
    currency: str = operational("Currency, ISO 4217", required=True, nullable=False)
    paid_amount: float = derived(
        "donations.payments.amount",
        "npsp.payment.amount",
        privacy=PrivacyClass.QUASI_IDENTIFIER,
        hierarchy="amount",
        description="Paid so far, in `currency`",
    )
    donated_on: date = derived("donations.gifts.close_date", "npsp.opportunity.close_date", required=True)
    stage: str = derived(
        "donations.gifts.stage", "npsp.opportunity.stage", required=True, isin=["pledged", "received", "cancelled"]
    )


@entity("campaign", **{**GIVING, "legal_basis": LegalBasis.NOT_APPLICABLE})
class Campaign(Entity):
    """Fund-raising campaigns."""

    campaign_id: str = derived("donations.campaigns.campaign_id", "npsp.campaign.campaign_id", key=True)
    name: str = derived("donations.campaigns.name", "npsp.campaign.name", required=True)
    start_date: date = derived(
        "donations.campaigns.start_date", "npsp.campaign.start_date", required_when="jurisdiction = 'ID'"
    )
    end_date: date = derived("donations.campaigns.end_date", "npsp.campaign.end_date")
    goal_amount: float = derived("donations.campaigns.goal_amount")


@entity("allocation", **{**GIVING, "legal_basis": LegalBasis.NOT_APPLICABLE})
class Allocation(Entity):
    """What gifts are used for."""

    allocation_id: str = derived("donations.allocations.allocation_id", "npsp.allocation.allocation_id", key=True)
    donation_id: str = derived(
        "donations.allocations.gift_id",
        "npsp.allocation.opportunity_id",
        required_when="jurisdiction = 'ID'",
        references="donation.donation_id",
    )
    purpose: str = derived("donations.allocations.purpose", "npsp.general_accounting_unit.name", required=True)
    amount: float = derived(
        "donations.allocations.amount", "npsp.allocation.amount", required_when="jurisdiction = 'ID'"
    )


# ── companies ────────────────────────────────────────────────────────────────────────────


@entity("employee", subjects=(Subject.EMPLOYEE,), **PARTNERSHIP)
class Employee(Entity):
    """Employees of partner companies."""

    employee_token: str = token(
        "hris.employees.employee_id", description="Employee, keyed token", key=True, subject=Subject.EMPLOYEE
    )
    manager_token: str = token("hris.employees.manager_id", description="Manager, keyed token", subject=None)
    company: str = derived("hris.employees.company", required=True, nullable=False)
    department: str = derived("hris.employees.department", required=True)
    job_title: str = derived("hris.employees.job_title", required=True)
    employment_status: str = derived("hris.employees.employment_status", required=True)
    hire_date: date = derived("hris.employees.hire_date", required=True)
    location: str = derived("hris.employees.location", required=True, accuracy="region.region_code")


@entity("contact", subjects=(Subject.CONTACT,), **{**PARTNERSHIP, "legal_basis": LegalBasis.NONE})
class Contact(Entity):
    """Business contacts: CSR managers and executive sponsors. They never leave this layer."""

    contact_token: str = token(
        "crm.csr_managers.contact_id",
        "crm.executive_sponsors.contact_id",
        description="Contact, keyed token",
        key=True,
        subject=Subject.CONTACT,
    )
    contact_type: str = operational(
        "csr_manager or executive_sponsor", required=True, nullable=False, isin=["csr_manager", "executive_sponsor"]
    )
    company: str = derived("crm.csr_managers.company", "crm.executive_sponsors.company", required=True)
    responsibility_area: str = derived(
        "crm.csr_managers.responsibility_area", required_when="contact_type = 'csr_manager'"
    )
    executive_level: str = derived(
        "crm.executive_sponsors.executive_level", required_when="contact_type = 'executive_sponsor'"
    )


@entity("csr_programme", **{**PARTNERSHIP, "legal_basis": LegalBasis.NOT_APPLICABLE})
class CsrProgramme(Entity):
    """Programmes that companies fund."""

    programme_id: str = derived("crm.csr_programmes.programme_id", key=True)
    name: str = derived("crm.csr_programmes.programme_name", required=True)
    company: str = derived("crm.csr_programmes.company", required=True)
    budget_allocation: float = derived("crm.csr_programmes.budget_allocation", required=True)
    start_date: date = derived("crm.csr_programmes.start_date", required=True)
    end_date: date = derived("crm.csr_programmes.end_date")
    objective: str = derived("crm.csr_programmes.objectives", required=True)


@entity("engagement", subjects=(Subject.CONTACT,), **{**PARTNERSHIP, "legal_basis": LegalBasis.NONE})
class Engagement(Entity):
    """Interactions with business contacts. They never leave this layer."""

    engagement_id: str = derived("crm.engagement_history.engagement_id", key=True)
    contact_token: str = token(
        "crm.engagement_history.contact_id",
        description="Contact, keyed token",
        required=True,
        nullable=False,
        subject=Subject.CONTACT,
        references="contact.contact_token",
    )
    programme_id: str = derived("crm.engagement_history.programme_id", references="csr_programme.programme_id")
    interaction_date: date = derived("crm.engagement_history.interaction_date", required=True)
    interaction_type: str = derived("crm.engagement_history.interaction_type", required=True)
    outcome: str = derived("crm.engagement_history.outcome", required=True)


@entity("vendor", **FINANCE)
class Vendor(Entity):
    """Suppliers."""

    vendor_id: str = derived("erp.vendors.vendor_id", key=True)
    name: str = derived("erp.vendors.name", required=True)
    regency_code: str = derived("erp.vendors.regency_code", accuracy="region.region_code")
    diversity_class: str = derived("erp.vendors.diversity_class", required=True)


@entity("purchase_order", **FINANCE)
class PurchaseOrder(Entity):
    """Purchase orders with the programme they are for."""

    purchase_order_id: str = derived("erp.purchase_orders.purchase_order_id", key=True)
    programme_id: str = derived("erp.cost_centres.programme_id", required=True, references="csr_programme.programme_id")
    vendor_id: str = derived("erp.purchase_orders.vendor_id", required=True, references="vendor.vendor_id")
    orphanage_id: str = derived("erp.purchase_orders.orphanage_id", references="orphanage.orphanage_id")
    ordered_on: date = derived("erp.purchase_orders.ordered_on", required=True)
    amount: float = derived("erp.purchase_orders.amount", required=True)
    approval_status: str = derived("erp.purchase_orders.approval_status", required=True)


@entity("invoice", **FINANCE)
class Invoice(Entity):
    """Invoices and what of them was paid."""

    invoice_id: str = derived("erp.invoices.invoice_id", key=True)
    purchase_order_id: str = derived(
        "erp.invoices.purchase_order_id", required=True, references="purchase_order.purchase_order_id"
    )
    invoiced_on: date = derived("erp.invoices.invoiced_on", required=True)
    due_on: date = derived("erp.invoices.due_on", required=True)
    amount: float = derived("erp.invoices.amount", required=True)
    paid_amount: float = derived("erp.payments.amount", description="Paid so far", required=True)
    last_paid_on: date = derived("erp.payments.paid_on", description="Date of the last payment")


@entity("budget_line", **FINANCE)
class BudgetLine(Entity):
    """Yearly budgets with the programme they are for."""

    budget_id: str = derived("erp.budgets.budget_id", key=True)
    programme_id: str = derived("erp.cost_centres.programme_id", required=True, references="csr_programme.programme_id")
    category: str = derived("erp.cost_centres.category", required=True)
    fiscal_year: int = derived("erp.budgets.fiscal_year", required=True)
    amount: float = derived("erp.budgets.amount", required=True)
    approval_status: str = derived("erp.budgets.approval_status", required=True)


@entity("contract", **FINANCE)
class Contract(Entity):
    """Contracts that give an institution a part in a programme."""

    contract_id: str = derived("erp.contracts.contract_id", key=True)
    programme_id: str = derived("erp.contracts.programme_id", required=True, references="csr_programme.programme_id")
    orphanage_id: str = derived("erp.contracts.orphanage_id", required=True, references="orphanage.orphanage_id")
    start_date: date = derived("erp.contracts.start_date", required=True)
    end_date: date = derived("erp.contracts.end_date")
    amount: float = derived("erp.contracts.amount", required=True)


# ── media ────────────────────────────────────────────────────────────────────────────────


@entity("story", subjects=(Subject.CHILD,), **COMMUNICATION)
class Story(Entity):
    """Stories and their approval, without their text."""

    story_id: str = derived("media.stories.story_id", key=True)
    child_token: str = token(
        "media.stories.child_id",
        description="Child told about, keyed token",
        subject=Subject.CHILD,
        references="child.child_token",
    )
    campaign_id: str = derived("media.stories.campaign_id", references="campaign.campaign_id")
    channel: str = derived("media.stories.channel", required=True)
    approval_state: str = derived("media.stories.approval_state", required=True)
    published_on: date = derived("media.stories.published_on", required_when="approval_state = 'published'")


@entity("interaction", **{**COMMUNICATION, "legal_basis": LegalBasis.NOT_APPLICABLE})
class Interaction(Entity):
    """Daily counts of interactions with campaigns."""

    interaction_id: str = derived("media.interactions.interaction_id", key=True)
    campaign_id: str = derived("media.interactions.campaign_id", required=True, references="campaign.campaign_id")
    day: date = derived("media.interactions.day", required=True)
    channel: str = derived("media.interactions.channel", required=True)
    age_band: str = derived("media.interactions.age_band", required=True)
    impressions: int = derived("media.interactions.impressions", required=True)
    engagements: int = derived("media.interactions.engagements", required=True)
    clicks: int = derived("media.interactions.clicks", required=True)


# ── reference ────────────────────────────────────────────────────────────────────────────


@entity("school", **REFERENCE)
class School(Entity):
    """Schools with the Kemendagri code of their district."""

    npsn: str = derived("school_register.schools.npsn", key=True)
    name: str = derived("school_register.schools.name", required=True)
    school_type: str = derived("school_register.schools.school_type", required=True)
    is_public: bool = derived("school_register.schools.status", description="Whether the state runs it")
    regency_code: str = public(
        "District by the crosswalk from the register's own codes",
        accuracy="region.region_code",
        str_matches=r"^\d{2}\.\d{2}$",
    )


@entity("region", **REFERENCE)
class Region(Entity):
    """Provinces, districts, sub-districts and villages in one table."""

    region_code: str = derived(
        "wilayah.villages.code",
        "wilayah.districts.code",
        "wilayah.regencies.code",
        "wilayah.provinces.code",
        description="Kemendagri code",
        key=True,
    )
    name: str = derived(
        "wilayah.villages.name",
        "wilayah.districts.name",
        "wilayah.regencies.name",
        "wilayah.provinces.name",
        description="Name",
        required=True,
    )
    level: str = public(
        "province, regency, district or village",
        required=True,
        nullable=False,
        isin=["province", "regency", "district", "village"],
    )
    parent_code: str = derived(
        "wilayah.villages.district_code",
        "wilayah.districts.regency_code",
        "wilayah.regencies.province_code",
        description="Code of the region above",
        required_when="level <> 'province'",
        references="region.region_code",
    )
    postal_code: str = derived("kodepos.postal_codes.postal_code", required_when="level = 'village'")


@entity("population", **REFERENCE)
class Population(Entity):
    """Inhabitants: by country and year (World Bank), and by district, sex and birth month (synthetic)."""

    population_id: str = public("Country and year, or district, sex and birth month", key=True)
    country_code: str = derived(
        "world_bank.population.country_code", description="Country, ISO 3166-1 alpha-3", required=True
    )
    year: int = derived("world_bank.population.year", description="Year of the figure", required=True)
    regency_code: str = derived("reference.population.regency_code", accuracy="region.region_code")
    sex: str = derived("reference.population.sex")
    birth_month: str = derived("reference.population.birth_month")
    inhabitants: int = derived("reference.population.inhabitants", "world_bank.population.inhabitants", required=True)


@entity("indicator", **REFERENCE)
class Indicator(Entity):
    """Published child welfare indicators."""

    indicator_id: str = public("Indicator, country, sex, wealth quintile and year", key=True)
    indicator_code: str = derived("unicef.indicators.indicator_code", required=True)
    country_code: str = derived("unicef.indicators.country_code", required=True)
    country_name: str = derived(
        "unicef_registry.countries.name", description="Name of the country in the code list", required=True
    )
    sex: str = derived("unicef.indicators.sex", required=True)
    year: int = derived("unicef.indicators.year", required=True)
    value: float = derived("unicef.indicators.value", description="Observed value in `unit`", required=True)
    unit: str = derived("unicef.indicators.unit", required=True)
