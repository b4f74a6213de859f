"""Case management of the orphanages (panti asuhan): the children, and who and what surrounds them.

Everything here about a child rests on the consent of the guardian. One SQLite file, or a
PostgreSQL database by URL, with one table per contract.
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
    free_text,
    in_order,
    operational,
    public,
    quasi_identifier,
    sensitive,
    table,
)

PANTI = System(
    name="panti",
    description="Case management system shared by the orphanages",
    owner="team:child-protection",
    format=SourceFormat.DATABASE,
    location="sources/panti/panti.sqlite",
    jurisdiction="ID",
    legal_basis=LegalBasis.CONSENT,
    data_origin=DataOrigin.GENERATED,
    purpose="Care of children in residential institutions",
    retention_days=7 * 365,
    freshness_hours=24,
    child_protection=True,
)

SEXES = ["F", "M"]
REASONS_FOR_CARE = ["orphaned", "poverty", "neglect", "abuse", "abandonment", "disaster", "parental_illness"]
CARE_TYPES = ["residential", "family_based", "temporary_shelter", "kinship"]
DIAGNOSIS_GROUPS = ["none", "respiratory", "malnutrition", "mental_health", "disability", "infectious", "chronic"]
ABUSE_TYPES = ["none", "neglect", "physical", "emotional", "sexual", "exploitation"]
EDUCATION_LEVELS = ["none", "paud", "sd", "smp", "sma", "smk"]
CONSENT_PURPOSES = ["government_reporting", "research", "statistics", "publicity"]
CONSENT_STATUSES = ["granted", "withdrawn"]
VILLAGE_CODE = r"^\d{2}\.\d{2}\.\d{2}\.\d{4}$"
REGENCY_CODE = r"^\d{2}\.\d{2}$"


@table(PANTI, "children", subjects=(Subject.CHILD,), modified_column="modified_at", drops=("photo_path", "bed_number"))
class Children(pa.DataFrameModel):
    """Children in the care of an orphanage, one row per registration; a child who moved may be registered twice."""

    child_id: str = operational("Registration number in the case management system", key=True, subject=Subject.CHILD)
    full_name: str = direct_identifier("Full name as registered", required=True)
    nik: str = direct_identifier("National identity number (NIK), 16 digits", token="nik")
    birth_date: date = quasi_identifier(
        "Date of birth", hierarchy="date", required=True, nullable=False, ge=date(1990, 1, 1)
    )
    sex: str = quasi_identifier("Sex: F or M", hierarchy="sex", required=True, nullable=False, isin=SEXES)
    village_code: str = quasi_identifier(
        "Village of origin, Kemendagri code", hierarchy="wilayah", required=True, str_matches=VILLAGE_CODE
    )
    orphanage_id: str = operational(
        "Orphanage of registration", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    admission_date: date = quasi_identifier(
        "Date of admission into care", hierarchy="date", required=True, nullable=False
    )
    exit_date: date = quasi_identifier("Date of leaving care", hierarchy="date")
    reason_for_care: str = sensitive("Main reason for care", required=True, isin=REASONS_FOR_CARE)
    abuse_type: str = sensitive("Main type of abuse found at admission", required=True, isin=ABUSE_TYPES)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    admission_after_birth = in_order("admission_after_birth", "birth_date", "admission_date")
    exit_after_admission = in_order("exit_after_admission", "admission_date", "exit_date")


@table(PANTI, "guardians", subjects=(Subject.GUARDIAN,), modified_column="modified_at", drops=("occupation_note",))
class Guardians(pa.DataFrameModel):
    """Parents, relatives or legal guardians who decide for a child."""

    guardian_id: str = operational("Guardian number", key=True, subject=Subject.GUARDIAN)
    full_name: str = direct_identifier("Full name", required=True)
    nik: str = direct_identifier("National identity number (NIK)", token="nik")
    phone: str = direct_identifier("Phone number", token="phone")
    relationship: str = quasi_identifier(
        "Relationship to the child",
        hierarchy="relationship",
        required=True,
        isin=["mother", "father", "grandparent", "sibling", "aunt_uncle", "legal_guardian"],
    )
    village_code: str = quasi_identifier(
        "Village of residence, Kemendagri code", hierarchy="wilayah", str_matches=VILLAGE_CODE
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(
    PANTI,
    "consents",
    subjects=(Subject.CHILD, Subject.GUARDIAN),
    # A guardian's withdrawal goes on protecting the child when the guardian is erased.
    outlives=(Subject.GUARDIAN,),
    modified_column="modified_at",
)
class Consents(pa.DataFrameModel):
    """Decisions of a guardian about what a child's record may be used for, one row per decision."""

    consent_id: str = operational("Consent decision number", key=True)
    child_id: str = operational(
        "Child the decision is about",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="panti.children.child_id",
    )
    guardian_id: str = operational(
        "Guardian who decided",
        required=True,
        nullable=False,
        subject=Subject.GUARDIAN,
        references="panti.guardians.guardian_id",
    )
    purpose: str = operational(
        "Purpose that the decision is about", required=True, nullable=False, isin=CONSENT_PURPOSES
    )
    status: str = operational("Decision: granted or withdrawn", required=True, nullable=False, isin=CONSENT_STATUSES)
    decided_on: date = operational("Date of the decision", required=True, nullable=False)
    valid_until: date = operational("Last day on which the consent is valid; empty: until withdrawn")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    validity_after_decision = in_order("validity_after_decision", "decided_on", "valid_until")


@table(PANTI, "placements", subjects=(Subject.CHILD,), modified_column="modified_at", drops=("social_worker_note",))
class Placements(pa.DataFrameModel):
    """Stays of a child in one institution and form of care."""

    placement_id: str = operational("Placement number", key=True)
    child_id: str = operational(
        "Child placed", required=True, nullable=False, subject=Subject.CHILD, references="panti.children.child_id"
    )
    orphanage_id: str = operational(
        "Institution of the placement", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    care_type: str = quasi_identifier(
        "Form of care", hierarchy="care_type", required=True, nullable=False, isin=CARE_TYPES
    )
    start_date: date = quasi_identifier("First day", hierarchy="date", required=True, nullable=False)
    end_date: date = quasi_identifier("Last day; empty while it lasts", hierarchy="date")
    end_reason: str = sensitive(
        "Why the placement ended",
        required_when="end_date IS NOT NULL",
        isin=["reunified", "moved", "adopted", "aged_out", "absconded"],
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    end_after_start = in_order("end_after_start", "start_date", "end_date")


@table(PANTI, "reviews", subjects=(Subject.CHILD,), modified_column="modified_at")
class Reviews(pa.DataFrameModel):
    """Periodic reviews of a child's care plan, due every six months."""

    review_id: str = operational("Review number", key=True)
    child_id: str = operational(
        "Child reviewed", required=True, nullable=False, subject=Subject.CHILD, references="panti.children.child_id"
    )
    due_date: date = operational("Date by which the review was due", required=True, nullable=False)
    held_date: date = operational("Date on which it was held; empty when it was not")
    child_took_part: bool = operational("Whether the child took part", required_when="held_date IS NOT NULL")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(PANTI, "health_records", subjects=(Subject.CHILD,), modified_column="modified_at", drops=("doctor_name",))
class HealthRecords(pa.DataFrameModel):
    """Health examinations."""

    health_record_id: str = operational("Examination number", key=True)
    child_id: str = operational(
        "Child examined", required=True, nullable=False, subject=Subject.CHILD, references="panti.children.child_id"
    )
    examined_on: date = quasi_identifier("Date of the examination", hierarchy="date", required=True, nullable=False)
    diagnosis_group: str = sensitive("Diagnosis group", required=True, isin=DIAGNOSIS_GROUPS)
    height_cm: float = sensitive("Height", unit="cm", ge=30.0, le=220.0)
    weight_kg: float = sensitive("Weight", unit="kg", ge=1.0, le=180.0)
    is_immunisation_complete: bool = sensitive("Whether immunisation is complete for the age", required=True)
    notes: str = free_text("Notes of the examiner")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(PANTI, "education_records", subjects=(Subject.CHILD,), modified_column="modified_at", drops=("teacher_name",))
class EducationRecords(pa.DataFrameModel):
    """School results of a child, one row per school year."""

    education_record_id: str = operational("Record number", key=True)
    child_id: str = operational(
        "Pupil", required=True, nullable=False, subject=Subject.CHILD, references="panti.children.child_id"
    )
    npsn: str = quasi_identifier("School, national school number (NPSN)", hierarchy="school", str_matches=r"^\w{8}$")
    school_year: str = operational(
        "School year, 2024/2025", required=True, nullable=False, str_matches=r"^\d{4}/\d{4}$"
    )
    education_level: str = quasi_identifier(
        "Level attended", hierarchy="education", required=True, isin=EDUCATION_LEVELS
    )
    average_score: float = sensitive(
        "Average of the year's marks", unit="points of 100", required_when="education_level <> 'none'", ge=0.0, le=100.0
    )
    attendance_rate: float = sensitive("Share of school days attended", unit="ratio", ge=0.0, le=1.0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(PANTI, "case_notes", subjects=(Subject.CHILD,), modified_column="modified_at", drops=("author_name",))
class CaseNotes(pa.DataFrameModel):
    """Notes of social workers. The text stays in the encrypted blob: only that and when a note was written is used."""

    case_note_id: str = operational("Note number", key=True)
    child_id: str = operational(
        "Child the note is about",
        required=True,
        nullable=False,
        subject=Subject.CHILD,
        references="panti.children.child_id",
    )
    written_on: date = operational("Date of the note", required=True, nullable=False)
    note: str = free_text("What was written", required=True)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(PANTI, "incidents", subjects=(Subject.CHILD,), modified_column="modified_at")
class Incidents(pa.DataFrameModel):
    """Safeguarding incidents."""

    incident_id: str = operational("Incident number", key=True)
    child_id: str = operational(
        "Child affected", required=True, nullable=False, subject=Subject.CHILD, references="panti.children.child_id"
    )
    orphanage_id: str = operational(
        "Where it happened", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    occurred_on: date = quasi_identifier("Date of the incident", hierarchy="date", required=True, nullable=False)
    reported_on: date = operational("Date of the report to the authority")
    incident_type: str = sensitive(
        "Kind of incident",
        required=True,
        isin=["injury", "illness", "abuse_allegation", "missing", "property", "conflict"],
    )
    severity: str = sensitive("Severity", required=True, isin=["low", "medium", "high"])
    description: str = free_text("Description")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    report_after_incident = in_order("report_after_incident", "occurred_on", "reported_on")


@table(
    PANTI, "orphanages", modified_column="modified_at", legal_basis=LegalBasis.NOT_APPLICABLE, drops=("director_name",)
)
class Orphanages(pa.DataFrameModel):
    """Licensed institutions."""

    orphanage_id: str = operational("Institution number", key=True)
    name: str = public("Name of the institution", required=True)
    regency_code: str = public("District (kabupaten or kota), Kemendagri code", required=True, str_matches=REGENCY_CODE)
    capacity: int = public("Licensed places", unit="children", required=True, ge=1, le=2000)
    licence_number: str = public("Operating licence number")
    licence_valid_until: date = public("Last day of the licence", required=True)
    accreditation: str = public("Accreditation", isin=["A", "B", "C", "none"])
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(PANTI, "supplies", modified_column="modified_at", legal_basis=LegalBasis.NOT_APPLICABLE)
class Supplies(pa.DataFrameModel):
    """Monthly stock of supplies in an institution."""

    supply_id: str = operational("Stock record number", key=True)
    orphanage_id: str = operational(
        "Institution", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    counted_on: date = operational("Day of the stock-taking", required=True, nullable=False)
    category: str = public(
        "Category", required=True, nullable=False, isin=["food", "medicine", "clothing", "school", "hygiene"]
    )
    quantity: float = public("Stock", unit="units", required=True, ge=0.0)
    needed_quantity: float = public("Need for a month", unit="units", required=True, ge=0.0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(
    PANTI, "staff", subjects=(Subject.STAFF,), modified_column="modified_at", legal_basis=LegalBasis.LEGAL_OBLIGATION
)
class Staff(pa.DataFrameModel):
    """Employees of the institutions; the licence obliges to report their number and checks."""

    staff_id: str = operational("Staff number", key=True, subject=Subject.STAFF)
    full_name: str = direct_identifier("Full name", required=True)
    nik: str = direct_identifier("National identity number (NIK)", token="nik")
    orphanage_id: str = operational(
        "Institution", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    role: str = quasi_identifier(
        "Role",
        hierarchy="role",
        required=True,
        isin=["caregiver", "social_worker", "cook", "administrator", "nurse", "teacher"],
    )
    hired_on: date = quasi_identifier("First day of work", hierarchy="date", required=True)
    is_background_checked: bool = operational("Whether the police check is valid", required=True)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)
