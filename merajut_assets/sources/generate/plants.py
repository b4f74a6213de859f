"""Which dirt goes into which table. How a kind of dirt works, and how often it comes, is in `dirt`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from merajut_assets.sources.generate import dirt, people
from merajut_assets.sources.generate.columns import between, flags, joined, numbered, pick
from merajut_assets.sources.generate.dirt import (
    Plant,
    duplicate_key,
    impossible_date,
    missing,
    misspelling,
    multiplied,
    not_allowed,
    orphan,
    out_of_range,
    required,
    set_to,
    shifted,
    swapped,
    wrong_nik,
)

_MISSPELT_NAME = Plant("misspelt_name", dirt.MISSPELT, misspelling("full_name"), column="full_name")
_UNKNOWN_CHILD = orphan("child_id", "CH-9999999999")
_UNKNOWN_VOLUNTEER = orphan("volunteer_id", "VO-9999999999")
_UNKNOWN_GIFT = orphan("gift_id", "006999999999999999")


def _nik(way: str, rate: float = dirt.INVALID_NIK) -> Plant:
    return Plant(f"invalid_nik_{way}", rate, wrong_nik(way), column="nik", where=pl.col("nik").is_not_null())


def _later(rule: str, column: str, source: str, low: int, high: int, where: pl.Expr | None = None) -> Plant:
    """A date on the wrong side of another one."""
    return Plant("wrong_order", dirt.RARE, shifted(column, source, low, high), rule=rule, column=column, where=where)


def _format(column: str, *values: str, rate: float = dirt.RARE) -> Plant:
    return Plant("wrong_format", rate, set_to(column, *values), rule=f"{column}.format", column=column)


Written = Callable[[np.random.Generator, int], pl.Series]


def _phone(generator: np.random.Generator, count: int) -> pl.Series:
    return joined("Nomor ibunya ", people.phones(generator, count), ".")


def _card(generator: np.random.Generator, count: int) -> pl.Series:
    """Numbers of family cards in groups of four, as they stand on the card."""
    day, month = between(generator, 1, 28, count), between(generator, 1, 12, count)
    year, serial = between(generator, 5, 26, count), between(generator, 1, 9_999, count)
    issued = numbered("", (day * 100 + month) * 100 + year, 6)
    number = joined(
        pick(_CARD_DISTRICTS, generator.integers(0, len(_CARD_DISTRICTS), count)), issued, numbered("", serial, 4)
    )
    return joined("KK ", number.str.replace(r"(\d{4})(\d{4})(\d{4})(\d{4})", "$1 $2 $3 $4"), ".")


def _mail(generator: np.random.Generator, count: int) -> pl.Series:
    names = people.full_names(generator, flags(generator, 0.5, count))
    return joined("Surel ayahnya ", people.mail_addresses(generator, names, between(generator, 1, 9_999, count)), ".")


def _address(generator: np.random.Generator, count: int) -> pl.Series:
    street = pick(_STREETS, generator.integers(0, len(_STREETS), count))
    number, hamlet = between(generator, 1, 120, count), between(generator, 1, 12, count)
    return joined("Sekarang di ", street, numbered(" No. ", number, 1), numbered(" RT ", hamlet, 2), "/03.")


def _person(generator: np.random.Generator, count: int) -> pl.Series:
    return joined("Diantar Bapak ", people.full_names(generator, flags(generator, 0.0, count)), ".")


def _phone_behind_name(generator: np.random.Generator, count: int) -> pl.Series:
    return people.phones(generator, count)


_CARD_DISTRICTS = ("327301", "317401", "357810", "120701", "730101", "510301")
_STREETS = ("Jl. Merdeka", "Jalan Diponegoro", "Gg. Melati", "Jl. Raya Timur", "Jln. Kenanga")
# Kind, rate, and what is written behind a note or a name.
PERSONAL_IN_NOTES: tuple[tuple[str, float, Written], ...] = (
    ("phone_in_text", dirt.PHONE_IN_TEXT, _phone),
    ("kk_in_text", dirt.CARD_IN_TEXT, _card),
    ("email_in_text", dirt.EMAIL_IN_TEXT, _mail),
    ("address_in_text", dirt.ADDRESS_IN_TEXT, _address),
    ("person_name_in_text", dirt.NAME_IN_TEXT, _person),
)
PERSONAL_IN_NAMES: tuple[tuple[str, float, Written], ...] = (("phone_in_name", dirt.PHONE_IN_NAME, _phone_behind_name),)

PLANTS: dict[tuple[str, str], tuple[Plant, ...]] = {
    ("panti", "children"): (
        impossible_date("birth_date"),
        _later("admission_after_birth", "birth_date", "admission_date", 30, 400),
        required("admission_date", dirt.RARE / 2),
        required("birth_date", dirt.RARE / 2),
        not_allowed("sex", "L", "P", "perempuan"),
        Plant(
            "swapped_fields",
            dirt.RARE,
            swapped("full_name", "village_code"),
            rule="village_code.format",
            column="village_code",
        ),
        Plant(
            "swapped_fields",
            dirt.RARE,
            swapped("admission_date", "exit_date"),
            rule="exit_after_admission",
            column="exit_date",
            where=(pl.col("exit_date") > pl.col("admission_date")) & (pl.col("exit_date") >= pl.col("birth_date")),
        ),
        out_of_range("birth_date", set_to("birth_date", "1899-12-31", "1900-01-01"), dirt.RARE / 2),
        orphan("orphanage_id", "PA-999999"),
        _nik("length"),
        _nik("region"),
        _nik("birth_date"),
        _MISSPELT_NAME,
        missing("full_name", dirt.MISSING / 2),
        missing("village_code"),
        missing("reason_for_care"),
        missing("abuse_type"),
    ),
    ("panti", "guardians"): (
        _nik("length"),
        _nik("region"),
        _MISSPELT_NAME,
        missing("phone", dirt.MISSING * 3),
        missing("relationship"),
    ),
    ("panti", "consents"): (
        _UNKNOWN_CHILD,
        orphan("guardian_id", "GU-9999999999"),
        not_allowed("status", "ya", "maybe"),
        not_allowed("purpose", "marketing"),
        _later("validity_after_decision", "valid_until", "decided_on", -300, -1),
        impossible_date("decided_on"),
        duplicate_key("consent_id"),
    ),
    ("panti", "placements"): (
        Plant(
            "swapped_fields",
            dirt.USUAL,
            swapped("start_date", "end_date"),
            rule="end_after_start",
            column="end_date",
            where=pl.col("end_date") > pl.col("start_date"),
        ),
        impossible_date("start_date"),
        not_allowed("care_type", "panti"),
        _UNKNOWN_CHILD,
        orphan("orphanage_id", "PA-999999"),
        missing("end_reason", where=pl.col("end_date").is_not_null()),
    ),
    ("panti", "reviews"): (
        _UNKNOWN_CHILD,
        impossible_date("due_date"),
        required("due_date"),
        duplicate_key("review_id"),
        missing("child_took_part", where=pl.col("held_date").is_not_null()),
    ),
    ("panti", "health_records"): (
        out_of_range("height_cm", multiplied("height_cm", 10.0)),
        out_of_range("weight_kg", multiplied("weight_kg", -1.0)),
        not_allowed("diagnosis_group", "flu", "demam"),
        impossible_date("examined_on"),
        _UNKNOWN_CHILD,
        duplicate_key("health_record_id"),
        missing("diagnosis_group"),
        missing("is_immunisation_complete"),
    ),
    ("panti", "education_records"): (
        out_of_range(
            "average_score", multiplied("average_score", 10.0), dirt.USUAL, where=pl.col("average_score") > 11.0
        ),
        out_of_range("attendance_rate", multiplied("attendance_rate", 100.0)),
        _format("npsn", "1234", "20-401-55"),
        _format("school_year", "2024-2025", "2024"),
        not_allowed("education_level", "SLTP", "kuliah"),
        _UNKNOWN_CHILD,
        missing("average_score", where=pl.col("education_level") != "none"),
    ),
    ("panti", "case_notes"): (_UNKNOWN_CHILD, required("written_on"), missing("note", dirt.MISSING / 4)),
    ("panti", "incidents"): (
        _later(
            "report_after_incident",
            "reported_on",
            "occurred_on",
            -60,
            -1,
            where=pl.col("reported_on").is_not_null(),
        ),
        not_allowed("severity", "berat"),
        impossible_date("occurred_on"),
        _UNKNOWN_CHILD,
    ),
    ("panti", "orphanages"): (Plant("missing_value", 0.01, set_to("licence_number", None), column="licence_number"),),
    ("panti", "supplies"): (
        out_of_range("quantity", multiplied("quantity", -1.0), where=pl.col("quantity") > 0.0),
        not_allowed("category", "toys"),
        orphan("orphanage_id", "PA-999999"),
        duplicate_key("supply_id"),
    ),
    ("panti", "staff"): (
        not_allowed("role", "satpam"),
        orphan("orphanage_id", "PA-999999"),
        _nik("length"),
        _MISSPELT_NAME,
        missing("is_background_checked"),
    ),
    ("hris", "employees"): (
        required("company"),
        impossible_date("hire_date"),
        not_allowed("department", "IT", "HRD"),
        _MISSPELT_NAME,
        missing("has_volunteer_consent"),
        missing("consent_decided_on"),
    ),
    ("volunteers", "volunteers"): (
        not_allowed("sex", "L", "P"),
        required("joined_on"),
        out_of_range("birth_date", set_to("birth_date", "1900-01-01")),
        _format("regency_code", "3273", "BANDUNG"),
        _MISSPELT_NAME,
        missing("skill"),
        missing("email", dirt.MISSING),
    ),
    ("volunteers", "hours"): (
        out_of_range("worked_hours", set_to("worked_hours", 24.0, 40.0, -2.0), dirt.USUAL),
        out_of_range("satisfaction", set_to("satisfaction", 0, 9)),
        _UNKNOWN_VOLUNTEER,
        orphan("shift_id", "SH-9999999999"),
        duplicate_key("hours_id"),
    ),
    ("volunteers", "shifts"): (orphan("job_id", "JOB-9999999999"),),
    ("volunteers", "background_checks"): (
        _UNKNOWN_VOLUNTEER,
        not_allowed("result", "ok"),
        impossible_date("valid_until"),
    ),
    ("donations", "donors"): (
        Plant("misspelt_name", dirt.MISSPELT, misspelling("last_name"), column="last_name"),
        not_allowed("donor_type", "alumni"),
        out_of_range("birth_year", set_to("birth_year", 1870, 2199)),
        missing("donor_type"),
    ),
    ("donations", "gifts"): (
        out_of_range("amount", set_to("amount", 0.0, -50_000.0), dirt.USUAL),
        orphan("donor_id", "003999999999999999"),
        Plant(
            "wrong_date_notation",
            dirt.RARE,
            set_to("close_date", "31/12/2025", "12-31-2025"),
            rule="close_date.type",
            column="close_date",
        ),
        not_allowed("stage", "Closed Won"),
        duplicate_key("gift_id"),
    ),
    ("donations", "payments"): (_UNKNOWN_GIFT, missing("is_paid", dirt.MISSING / 2)),
    ("donations", "allocations"): (_UNKNOWN_GIFT, required("purpose")),
    ("crm", "engagement_history"): (
        not_allowed("outcome", "good"),
        impossible_date("interaction_date"),
        missing("interaction_type"),
    ),
    ("erp", "budgets"): (out_of_range("fiscal_year", set_to("fiscal_year", 202, 20_245)),),
    ("erp", "purchase_orders"): (
        out_of_range("amount", multiplied("amount", -1.0)),
        orphan("vendor_id", "VEN-9999999"),
        missing("approval_status"),
    ),
    ("erp", "invoices"): (
        _later("due_after_invoice", "due_on", "invoiced_on", -40, -1),
        orphan("purchase_order_id", "PO-9999999999"),
    ),
    ("erp", "payments"): (orphan("invoice_id", "IV-9999999999"), required("paid_on")),
    ("media", "stories"): (
        not_allowed("channel", "whatsapp"),
        missing("published_on", where=pl.col("approval_state") == "published"),
    ),
    ("media", "interactions"): (
        out_of_range("impressions", set_to("impressions", -1)),
        not_allowed("age_band", "65+"),
        duplicate_key("interaction_id"),
    ),
}
