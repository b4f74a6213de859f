"""How source values become entity values, where that is more than taking them over.

`VALUES`  expressions for single columns, by entity and source table
`JOINS`   columns brought in from other source tables, by entity and source table
`REFINE`  what happens to all rows of an entity together

All pure. Everything that is not here follows from the contract: a column with a source in a
table takes that source's value, a subject column becomes a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from merajut_assets.contracts.base import LegalBasis, Subject
from merajut_assets.contracts.panti import CONSENT_PURPOSES
from merajut_assets.sources.crosswalk import map_regencies, with_regency_code

CHILDREN = "panti.children"


@dataclass(frozen=True)
class Inputs:
    """Good and refused rows by `system.table`; `every_child` holds id and NIK token of all registrations,
    refused ones included; `token(kind, texts)` makes keyed tokens; `aliases` are the crosswalk's
    exceptions."""

    raw: Mapping[str, pl.DataFrame]
    refused: Mapping[str, pl.DataFrame]
    every_child: pl.DataFrame
    token: Callable[[str, pl.Series], pl.Series]
    aliases: pl.DataFrame


# ── codes of the partner authority's return (SSDA903 guidance, England) ──────────────────

CARE_TYPE_OF_PLACEMENT = {
    **dict.fromkeys(("U1", "U2", "U3", "P1"), "kinship"),
    **dict.fromkeys(("U4", "U5", "U6", "A3", "A4", "A5", "A6"), "family_based"),
    **dict.fromkeys(("T0", "T1", "T2", "T3", "T4"), "temporary_shelter"),
    **dict.fromkeys(("H5", "K1", "K2", "P2", "P3", "R1", "R2", "R3", "R5", "S1", "Z1"), "residential"),
}
REASON_OF_NEED = {
    "N1": "abuse",
    "N2": "disability",
    "N3": "parental_illness",
    "N4": "family_stress",
    "N5": "family_dysfunction",
    "N6": "behaviour",
    "N7": "poverty",
    "N8": "abandonment",
}
SEX_CODES = {"1": "M", "2": "F"}
STAGES = {
    "Closed Won": "received",
    "Posted": "received",
    "Closed Lost": "cancelled",
    "Withdrawn": "cancelled",
}


def _decision(column: str) -> pl.Expr:
    return pl.when(pl.col(column)).then(pl.lit("granted")).otherwise(pl.lit("withdrawn"))


def _of(column: str, codes: Mapping[str, str], otherwise: str | None = None) -> pl.Expr:
    return pl.col(column).replace_strict(codes, default=otherwise, return_dtype=pl.String)


def _analytics_consent(subject: Subject, column: str) -> dict[str, pl.Expr]:
    return {
        "subject_type": pl.lit(subject.value),
        "purpose": pl.lit("analytics"),
        "status": _decision(column),
    }


VALUES: dict[tuple[str, str], dict[str, pl.Expr]] = {
    ("child", "panti.children"): {"registrations_token": pl.col("child_id")},
    ("child", "ssda903.header"): {"sex": _of("sex", SEX_CODES), "registrations_token": pl.col("child_id")},
    ("guardian", "panti.guardians"): {"is_reachable": pl.col("is_phone_valid").fill_null(False)},
    ("consent", "panti.consents"): {"subject_type": pl.lit(Subject.CHILD.value)},
    ("consent", "volunteers.volunteers"): _analytics_consent(Subject.VOLUNTEER, "has_analytics_consent"),
    ("consent", "donations.donors"): _analytics_consent(Subject.DONOR, "has_analytics_consent"),
    ("consent", "hris.employees"): _analytics_consent(Subject.EMPLOYEE, "has_volunteer_consent"),
    ("placement", "ssda903.episodes"): {
        "care_type": _of("placement_type", CARE_TYPE_OF_PLACEMENT),
        "reason_for_care": _of("need_code", REASON_OF_NEED),
    },
    ("review", "ssda903.reviews"): {
        # PN0: younger than four, who are not asked; PN7: did not take part.
        "child_took_part": pl.when(pl.col("review_code") != "PN0").then(pl.col("review_code") != "PN7"),
    },
    ("health_record", "panti.health_records"): {"is_note_personal": pl.col("notes_has_nik")},
    ("donation", "donations.gifts"): {"currency": pl.lit("IDR")},
    ("donation", "npsp.opportunity"): {"currency": pl.lit("USD"), "stage": _of("stage", STAGES, "pledged")},
    ("contact", "crm.csr_managers"): {"contact_type": pl.lit("csr_manager")},
    ("contact", "crm.executive_sponsors"): {"contact_type": pl.lit("executive_sponsor")},
    ("school", "school_register.schools"): {"is_public": pl.col("status") == "N"},
    ("region", "wilayah.provinces"): {"level": pl.lit("province")},
    ("region", "wilayah.regencies"): {"level": pl.lit("regency")},
    ("region", "wilayah.districts"): {"level": pl.lit("district")},
    ("region", "wilayah.villages"): {"level": pl.lit("village")},
    ("population", "world_bank.population"): {
        "population_id": pl.format("{}-{}", "country_code", "year"),
    },
    ("population", "reference.population"): {
        "population_id": pl.format("{}-{}-{}", "regency_code", "sex", "birth_month"),
        "country_code": pl.lit("IDN"),
    },
    ("indicator", "unicef.indicators"): {
        "indicator_id": pl.format(
            "{}-{}-{}-{}-{}", "indicator_code", "country_code", "sex", "wealth_quintile_code", "year"
        ),
    },
}

# Source rows whose own key names a person, or that have none: their key is a token of these columns.
TOKEN_KEYS: dict[tuple[str, str], tuple[str, ...]] = {
    ("consent", "volunteers.volunteers"): ("volunteer_id",),
    ("consent", "donations.donors"): ("donor_id",),
    ("consent", "hris.employees"): ("employee_id",),
    ("placement", "ssda903.episodes"): ("child_id", "start_date"),
    ("review", "ssda903.reviews"): ("child_id", "review_date"),
    ("health_record", "ssda903.oc2"): ("child_id",),
}


# ── joins ────────────────────────────────────────────────────────────────────────────────


def _with_background_check(volunteers: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    clear = inputs.raw["volunteers.background_checks"].filter(pl.col("result") == "clear")
    latest = clear.group_by("volunteer_id").agg(pl.col("valid_until").max().alias("background_check_valid_until"))
    return volunteers.join(latest, on="volunteer_id", how="left")


def _with_shift(hours: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    shifts = inputs.raw["volunteers.shifts"].select("shift_id", "job_id", pl.col("shift_date").alias("activity_date"))
    jobs = inputs.raw["volunteers.jobs"].select("job_id", "orphanage_id", "activity_type")
    return hours.join(shifts, on="shift_id", how="left").join(jobs, on="job_id", how="left")


def _paid(payments: str, gift: str) -> Callable[[pl.DataFrame, Inputs], pl.DataFrame]:
    def join(gifts: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
        received = (
            inputs.raw[payments].filter("is_paid").group_by(gift).agg(pl.col("amount").sum().alias("paid_amount"))
        )
        return gifts.join(received, on=gift, how="left").with_columns(pl.col("paid_amount").fill_null(0.0))

    return join


def _with_purpose(allocations: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    unit = "general_accounting_unit_id"
    uses = inputs.raw["npsp.general_accounting_unit"].select(unit, pl.col("name").alias("purpose"))
    return allocations.join(uses, on=unit, how="left")


def _with_programme(rows: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    centres = inputs.raw["erp.cost_centres"].select("cost_centre_id", "programme_id", "category")
    return rows.join(centres, on="cost_centre_id", how="left")


def _with_payments(invoices: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    paid = (
        inputs.raw["erp.payments"]
        .group_by("invoice_id")
        .agg(pl.col("amount").sum().alias("paid_amount"), pl.col("paid_on").max().alias("last_paid_on"))
    )
    return invoices.join(paid, on="invoice_id", how="left").with_columns(pl.col("paid_amount").fill_null(0.0))


def _with_postal_code(villages: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    codes = inputs.raw["kodepos.postal_codes"].select(pl.col("village_code").alias("code"), "postal_code")
    return villages.join(codes, on="code", how="left")


def _with_kemendagri_code(schools: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    regencies = inputs.raw["wilayah.regencies"]
    return with_regency_code(schools, map_regencies(schools, regencies, inputs.aliases)).drop("province_code")


def _with_country_name(indicators: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    names = inputs.raw["unicef_registry.countries"].select("country_code", pl.col("name").alias("country_name"))
    return indicators.join(names, on="country_code", how="left")


def _with_year(population: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    """The synthetic population is anchored to the national total of the World Bank's latest year."""
    indonesia = inputs.raw["world_bank.population"].filter(pl.col("country_code") == "IDN")
    return population.with_columns(pl.lit(indonesia["year"].max()).cast(pl.Int64).alias("year"))


JOINS: dict[tuple[str, str], Callable[[pl.DataFrame, Inputs], pl.DataFrame]] = {
    ("volunteer", "volunteers.volunteers"): _with_background_check,
    ("volunteer_activity", "volunteers.hours"): _with_shift,
    ("donation", "donations.gifts"): _paid("donations.payments", "gift_id"),
    ("donation", "npsp.opportunity"): _paid("npsp.payment", "opportunity_id"),
    ("allocation", "npsp.allocation"): _with_purpose,
    ("purchase_order", "erp.purchase_orders"): _with_programme,
    ("budget_line", "erp.budgets"): _with_programme,
    ("invoice", "erp.invoices"): _with_payments,
    ("region", "wilayah.villages"): _with_postal_code,
    ("school", "school_register.schools"): _with_kemendagri_code,
    ("indicator", "unicef.indicators"): _with_country_name,
    ("population", "reference.population"): _with_year,
}

# Source tables that JOINS reads and no column of the entity names as its source.
ALSO_READ: dict[str, tuple[str, ...]] = {"school": ("wilayah.regencies",)}


# ── all rows of an entity together ───────────────────────────────────────────────────────


def child_links(every_child: pl.DataFrame) -> pl.DataFrame:
    """`child_id` of every registration and `linked_id`, one of them for all of a child.

    Registrations with the same valid NIK are one child; the smallest registration number stands
    for it. Columns in: child_id, nik_token (null without a valid NIK), of a registration that was
    sent twice the row that counts first."""
    same = pl.when(pl.col("nik_token").is_not_null()).then(pl.col("child_id").min().over("nik_token"))
    registrations = every_child.drop_nulls("child_id").unique("child_id", keep="first", maintain_order=True)
    return registrations.select("child_id", pl.coalesce(same, "child_id").alias("linked_id"))


def _merge_registrations(children: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    """One row per child: the newest registration's values, the earliest admission, and no exit
    while one registration is open. `registrations_token` comes in as the registration's number and
    becomes the token of all numbers that were merged."""
    newest = children.sort("modified_at", "admission_date", descending=True, nulls_last=True, maintain_order=True)
    open_stay = pl.col("exit_date").is_null().any()
    spans = children.group_by("child_token").agg(
        pl.col("admission_date").min(),
        pl.when(open_stay).then(None).otherwise(pl.col("exit_date").max()).alias("exit_date"),
        pl.len().cast(pl.Int64).alias("registrations"),
        pl.col("registrations_token").sort().str.join("|"),
    )
    spans = spans.with_columns(
        inputs.token("row", "child|" + spans["registrations_token"]).alias("registrations_token")
    )
    merged = newest.drop(
        "admission_date", "exit_date", "registrations", "registrations_token", "last_case_note_on"
    ).unique("child_token", keep="first", maintain_order=True)
    return merged.join(spans, on="child_token").join(_last_notes(inputs), on="child_token", how="left")


def _last_notes(inputs: Inputs) -> pl.DataFrame:
    linked = inputs.raw["panti.case_notes"].join(child_links(inputs.every_child), on="child_id", how="left")
    tokens = inputs.token(Subject.CHILD, "panti:" + linked["linked_id"].fill_null(linked["child_id"]))
    notes = linked.with_columns(tokens.alias("child_token"))
    return notes.group_by("child_token").agg(pl.col("written_on").max().alias("last_case_note_on"))


# Registers in which consent is a flag of the person: whose it is, their number, the flag.
CONSENT_FLAGS = {
    "volunteers.volunteers": (Subject.VOLUNTEER, "volunteer_id", "has_analytics_consent"),
    "donations.donors": (Subject.DONOR, "donor_id", "has_analytics_consent"),
    "hris.employees": (Subject.EMPLOYEE, "employee_id", "has_volunteer_consent"),
}

# A decision that was refused is in quarantine, and still it may be a withdrawal. Until a steward
# has put it right it counts as one: its id ends like this.
DOUBTFUL = "-doubtful"


def _with_doubts(consents: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    """Decisions that were made, and a withdrawal for each refused decision that is not clearly a
    grant. Who was never asked has made no decision: no row, and so no consent."""
    decided = _dated(consents).filter(
        (pl.col("subject_type") == Subject.CHILD.value) | pl.col("decided_on").is_not_null()
    )
    # First, because of two rows of one time the first counts.
    decided = pl.concat([*(_doubtful_flags(table, inputs) for table in CONSENT_FLAGS), decided], how="diagonal")
    refused = inputs.refused["panti.consents"].filter(
        pl.col("child_id").is_not_null() & ~pl.col("status").eq_missing("granted")
    )
    if refused.is_empty():
        return decided
    linked = refused.join(child_links(inputs.every_child), on="child_id", how="left", maintain_order="left")
    known_purpose = pl.when(pl.col("purpose").is_in(CONSENT_PURPOSES)).then(pl.concat_list("purpose"))
    withdrawals = linked.select(
        pl.format("{}-{}{}", "consent_id", pl.int_range(pl.len()), pl.lit(DOUBTFUL)).alias("consent_id"),
        pl.lit(Subject.CHILD.value).alias("subject_type"),
        inputs.token(Subject.CHILD, "panti:" + linked["linked_id"].fill_null(linked["child_id"])).alias(
            "subject_token"
        ),
        pl.coalesce(known_purpose, pl.lit(CONSENT_PURPOSES)).alias("purpose"),
        pl.lit("withdrawn").alias("status"),
        pl.coalesce("decided_on", pl.coalesce("modified_at", "source_time").dt.date()).alias("decided_on"),
        pl.lit("panti").alias("source_system"),
        pl.lit("ID").alias("jurisdiction"),
        pl.lit(LegalBasis.CONSENT.value).alias("legal_basis"),
        "data_origin",
        pl.coalesce("modified_at", "source_time").alias("modified_at"),
        pl.lit(DOUBTFUL).alias("_origin"),
    ).explode("purpose")
    numbered = withdrawals.with_columns(pl.format("{}-{}", "purpose", "consent_id").alias("consent_id"))
    return pl.concat([decided, numbered], how="diagonal")


def _doubtful_flags(table: str, inputs: Inputs) -> pl.DataFrame:
    """A withdrawal for each person whose newest row in a register was refused, unless its flag is a clear
    yes. It has the key of the person's decision, and so takes the place of an earlier consent."""
    subject, number, flag = CONSENT_FLAGS[table]
    changed = pl.coalesce("modified_at", "source_time")
    good = inputs.raw[table].group_by(number).agg(changed.max().alias("_good_since"))
    rows = (
        inputs.refused[table]
        .filter(pl.col(number).is_not_null() & ~pl.col(flag).eq_missing(True))
        .join(good, on=number, how="left", maintain_order="left")
        .filter(pl.col("_good_since").is_null() | (changed >= pl.col("_good_since")))
    )
    system = table.split(".")[0]
    return rows.select(
        inputs.token("row", f"{table}|" + rows[number]).alias("consent_id"),
        pl.lit(subject.value).alias("subject_type"),
        inputs.token(subject, f"{system}:" + rows[number]).alias("subject_token"),
        pl.lit("analytics").alias("purpose"),
        pl.lit("withdrawn").alias("status"),
        pl.coalesce("consent_decided_on", changed.dt.date()).alias("decided_on"),
        pl.lit(system).alias("source_system"),
        pl.lit("ID").alias("jurisdiction"),
        pl.lit(LegalBasis.CONSENT.value).alias("legal_basis"),
        "data_origin",
        changed.alias("modified_at"),
        pl.lit(DOUBTFUL).alias("_origin"),
    )


def _dated(consents: pl.DataFrame) -> pl.DataFrame:
    """A withdrawal that a system keeps as a flag without a date counts from the row's last change:
    left out, it would leave the consent of an earlier build standing."""
    is_flag = (pl.col("subject_type") != Subject.CHILD.value) & (pl.col("status") == "withdrawn")
    changed = pl.when(is_flag).then(pl.col("modified_at").dt.date())
    return consents.with_columns(pl.coalesce("decided_on", changed).alias("decided_on"))


def _one_row_per_school(schools: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    """Two schools of the register share a number; the first in the register keeps it."""
    return schools.unique("npsn", keep="first", maintain_order=True)


REFINE: dict[str, Callable[[pl.DataFrame, Inputs], pl.DataFrame]] = {
    "child": _merge_registrations,
    "consent": _with_doubts,
    "school": _one_row_per_school,
}

# Rows that a rule does not refuse: a withdrawal counts whoever declared it.
EXEMPT: dict[tuple[str, str], pl.Expr] = {
    ("consent", "guardian_token.reference"): pl.col("status") == "withdrawn",
}

# Rows of an entity that stay when their record goes, and with it whoever they name: only a grant goes.
OUTLIVING: dict[str, pl.Expr] = {"consent": pl.col("status") != "granted"}
