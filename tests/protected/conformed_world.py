"""Conformed frames built by hand: rows from the contracts, and a small world in which every dataset has a solution."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DataOrigin, LegalBasis
from resources.lakehouse import Lakehouse

RELEASE = "2026-09"
CUT_OFF = date(2026, 9, 30)
BASE = {
    "source_system": "panti",
    "jurisdiction": "ID",
    "data_origin": DataOrigin.GENERATED.value,
    "modified_at": datetime(2026, 9, 1),
}


def conformed(entity: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A frame with an entity's columns and types; what a row does not say is null, or what most rows say."""
    contract = registry.entity(entity)
    schema = {column.name: column.dtype for column in contract.columns}
    unknown = {name for row in rows for name in row} - set(schema)
    assert not unknown, f"{entity} has no column {unknown}"
    basis = contract.legal_basis if contract.legal_basis is not LegalBasis.NONE else LegalBasis.CONSENT
    filled = [{**dict.fromkeys(schema), **BASE, "legal_basis": basis.value, **row} for row in rows]
    return pl.DataFrame(filled, schema=schema)


def consent(subject: str, token: str, purpose: str, **changes: Any) -> dict[str, Any]:
    return {
        "consent_id": f"{token}-{purpose}-{changes.get('status', 'granted')}",
        "subject_type": subject,
        "subject_token": token,
        "purpose": purpose,
        "status": "granted",
        "decided_on": date(2025, 1, 1),
        **changes,
    }


def child(token: str, **changes: Any) -> dict[str, Any]:
    return {
        "child_token": token,
        "sex": "F",
        "birth_date": date(2014, 5, 1),
        "orphanage_id": "O1",
        "admission_date": date(2022, 3, 15),
        "reason_for_care": "poverty",
        "abuse_type": "none",
        "registrations": 1,
        **changes,
    }


def placement(token: str, **changes: Any) -> dict[str, Any]:
    start = changes.get("start_date", date(2022, 3, 15))
    return {
        "placement_id": f"P-{token}-{start}",
        "child_token": token,
        "orphanage_id": "O1",
        "care_type": "residential",
        "start_date": start,
        **changes,
    }


INSTITUTIONS = [
    {"orphanage_id": "O1", "regency_code": "31.71", "capacity": 40, "licence_valid_until": date(2027, 1, 1)},
    {"orphanage_id": "O2", "regency_code": "32.04", "capacity": 60, "licence_valid_until": date(2027, 6, 1)},
]
REGIONS = [
    {"region_code": "31", "name": "Province A", "level": "province"},
    {"region_code": "32", "name": "Province B", "level": "province"},
    {"region_code": "31.71", "name": "District A", "level": "regency", "parent_code": "31"},
    {"region_code": "32.04", "name": "District B", "level": "regency", "parent_code": "32"},
    {"region_code": "32.04.01", "name": "Sub-district", "level": "district", "parent_code": "32.04"},
]


def world(children: int = 240, seed: int = 7) -> dict[str, pl.DataFrame]:
    """All conformed entities of a small world; every child and adult agreed to everything."""
    chance = random.Random(seed)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in registry.tables("conformed")}
    rows["orphanage"] = [dict(row) for row in INSTITUTIONS]
    rows["region"] = [dict(row) for row in REGIONS]
    for number in range(children):
        _add_child(rows, chance, f"child{number:04d}")
    for number in range(120):
        _add_adult(rows, chance, number)
    _add_things(rows)
    _add_population(rows)
    return {name: conformed(name, entity_rows) for name, entity_rows in rows.items()}


def _add_population(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Enough people of every sex and birth month that somebody who looks a child up finds a crowd."""
    months = [f"{year}-{month:02d}" for year in range(2008, 2020) for month in range(1, 13)]
    rows["population"] = [
        {
            "population_id": f"{place['regency_code']}-{sex}-{month}",
            "country_code": "IDN",
            "year": 2025,
            "regency_code": place["regency_code"],
            "sex": sex,
            "birth_month": month,
            "inhabitants": 400,
        }
        for place in INSTITUTIONS
        for sex in "FM"
        for month in months
    ]


def _add_child(rows: dict[str, list[dict[str, Any]]], chance: random.Random, token: str) -> None:
    admitted = date(2019, 1, 1) + timedelta(days=chance.randrange(2500))
    place = chance.choice(["O1", "O2"])
    rows["child"].append(
        child(
            token,
            sex=chance.choice("FM"),
            birth_date=date(2009, 1, 1) + timedelta(days=chance.randrange(3600)),
            orphanage_id=place,
            admission_date=admitted,
            reason_for_care=chance.choice(["poverty", "neglect", "orphaned"]),
            abuse_type=chance.choice(["none", "neglect", "physical", "emotional"]),
        )
    )
    for spell in range(chance.randrange(1, 4)):
        begun = admitted + timedelta(days=30 * spell)
        rows["placement"].append(
            placement(
                token,
                start_date=begun,
                orphanage_id=place,
                care_type=chance.choice(["residential", "kinship"]),
                end_date=None if spell == 2 else begun + timedelta(days=29),
            )
        )
    for half in range(2):
        due = CUT_OFF - timedelta(days=30 + 180 * half)
        held = due + timedelta(days=chance.choice([-5, 5]))
        rows["review"].append(
            {"review_id": f"R-{token}-{half}", "child_token": token, "due_date": due, "held_date": held}
        )
    rows["health_record"].append(
        {
            "health_record_id": f"H-{token}",
            "child_token": token,
            "examined_on": date(2026, 2, 1),
            "diagnosis_group": chance.choice(["none", "respiratory", "malnutrition", "disability"]),
        }
    )
    rows["education_record"].append(
        {
            "education_record_id": f"E-{token}",
            "child_token": token,
            "school_year": "2025/2026",
            "education_level": chance.choice(["sd", "smp"]),
            "average_score": chance.uniform(40, 95),
            "attendance_rate": chance.uniform(0.6, 1),
        }
    )
    rows["incident"].append(
        {
            "incident_id": f"I-{token}",
            "child_token": token,
            "orphanage_id": place,
            "occurred_on": date(2026, 3, 1),
            "reported_on": date(2026, 3, chance.choice([2, 9])),
            "incident_type": chance.choice(["injury", "illness"]),
            "severity": "low",
        }
    )
    for purpose in ("government_reporting", "research", "statistics"):
        rows["consent"].append(consent("child", token, purpose, guardian_token="g1"))


def _add_adult(rows: dict[str, list[dict[str, Any]]], chance: random.Random, number: int) -> None:
    volunteer, employee, donor = f"volunteer{number:03d}", f"employee{number:03d}", f"donor{number:03d}"
    rows["volunteer"].append(
        {
            "volunteer_token": volunteer,
            "employee_token": employee if number % 2 else None,
            "birth_date": date(1970 + number % 30, 1, 1),
            "sex": chance.choice("FM"),
            "regency_code": "31.71",
            "skill": chance.choice(["teaching", "health"]),
            "joined_on": date(2024, 1, 1),
            "background_check_valid_until": date(2027, 1, 1),
        }
    )
    rows["volunteer_activity"].append(
        {
            "activity_id": f"A-{number}",
            "volunteer_token": volunteer,
            "orphanage_id": "O1",
            "activity_type": "tutoring",
            "activity_date": date(2026, 5, 1),
            "worked_hours": float(chance.choice([4, 12, 30])),
            "satisfaction": chance.choice([2, 3, 5]),
        }
    )
    rows["employee"].append(
        {
            "employee_token": employee,
            "company": "Company A",
            "department": chance.choice(["sales", "legal"]),
            "job_title": "staff",
            "employment_status": "active",
            "hire_date": date(2020, 1, 1),
            "location": "31.71",
        }
    )
    rows["donor"].append(
        {
            "donor_token": donor,
            "birth_year": 1960 + number % 40,
            "regency_code": "32.04",
            "donor_type": "individual",
        }
    )
    for gift in range(1 + number % 2):
        rows["donation"].append(
            {
                "donation_id": f"D-{number}-{gift}",
                "donor_token": donor,
                "campaign_id": "C1" if number > 2 else "C2",
                "amount": float(chance.choice([500_000, 5_000_000, 20_000_000])),
                "currency": "IDR",
                "donated_on": date(2026, 1, 1),
                "stage": "received",
            }
        )
    for subject, token in (("volunteer", volunteer), ("employee", employee), ("donor", donor)):
        rows["consent"].append(consent(subject, token, "analytics"))


def _add_things(rows: dict[str, list[dict[str, Any]]]) -> None:
    """What is about no person, and staff."""
    day = date(2026, 8, 1)
    rows["staff"] = [
        {
            "staff_token": f"s{n}",
            "orphanage_id": "O1",
            "hired_on": date(2020, 1, 1),
            "is_background_checked": n % 2 == 0,
        }
        for n in range(12)
    ]
    rows["supply"] = [
        {
            "supply_id": "S1",
            "orphanage_id": "O1",
            "counted_on": day,
            "category": "food",
            "quantity": 3.0,
            "needed_quantity": 9.0,
        }
    ]
    rows["campaign"] = [
        {"campaign_id": "C1", "name": "Campaign one", "goal_amount": 1e9},
        {"campaign_id": "C2", "name": "Campaign two", "goal_amount": 2e9},
    ]
    rows["interaction"] = [
        {
            "interaction_id": f"I{n}",
            "campaign_id": "C1",
            "day": day,
            "channel": "press",
            "age_band": "25-34",
            "impressions": 100,
            "engagements": 10,
            "clicks": 1,
        }
        for n in range(2)
    ]
    rows["story"] = [
        {"story_id": "T1", "campaign_id": "C1", "channel": "press", "approval_state": "published", "published_on": day},
        {
            "story_id": "T2",
            "campaign_id": "C1",
            "channel": "press",
            "approval_state": "draft",
            "child_token": "child0001",
        },
    ]
    rows["csr_programme"] = [
        {
            "programme_id": "G1",
            "name": "School",
            "company": "Company A",
            "start_date": date(2024, 1, 1),
            "objective": "schooling",
        },
        {
            "programme_id": "G2",
            "name": "Health",
            "company": "Company B",
            "start_date": date(2024, 1, 1),
            "objective": "health",
        },
    ]
    rows["contract"] = [
        {
            "contract_id": "K1",
            "programme_id": "G1",
            "orphanage_id": "O1",
            "start_date": date(2024, 1, 1),
            "amount": 1.0,
        },
        {
            "contract_id": "K2",
            "programme_id": "G2",
            "orphanage_id": "O1",
            "start_date": date(2025, 1, 1),
            "amount": 1.0,
        },
        {
            "contract_id": "K3",
            "programme_id": "G2",
            "orphanage_id": "O2",
            "start_date": date(2025, 1, 1),
            "amount": 1.0,
        },
    ]
    rows["vendor"] = [{"vendor_id": "V1", "name": "Vendor", "diversity_class": "women_owned"}]
    rows["purchase_order"] = [
        {
            "purchase_order_id": "PO1",
            "programme_id": "G1",
            "vendor_id": "V1",
            "ordered_on": day,
            "amount": 70.0,
            "approval_status": "approved",
        }
    ]
    rows["invoice"] = [
        {
            "invoice_id": "N1",
            "purchase_order_id": "PO1",
            "invoiced_on": day,
            "due_on": day,
            "amount": 70.0,
            "paid_amount": 50.0,
        }
    ]
    rows["budget_line"] = [
        {
            "budget_id": "B1",
            "programme_id": "G1",
            "category": "programme",
            "fiscal_year": 2026,
            "amount": 100.0,
            "approval_status": "approved",
        },
        {
            "budget_id": "B2",
            "programme_id": "G1",
            "category": "programme",
            "fiscal_year": 2026,
            "amount": 900.0,
            "approval_status": "draft",
        },
    ]
    rows["indicator"] = [
        {
            "indicator_id": "X",
            "indicator_code": "X",
            "country_code": "IDN",
            "country_name": "Indonesia",
            "sex": "_T",
            "year": 2024,
            "value": 1.0,
            "unit": "PCNT",
            "jurisdiction": "WORLD",
        }
    ]


def store(lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]) -> None:
    """Write conformed frames where the pipeline reads them."""
    for name, frame in entities.items():
        lakehouse.lake.overwrite(f"conformed/{name}", frame)


def withdrawn(entities: dict[str, pl.DataFrame], subject: str, token: str, purpose: str) -> dict[str, pl.DataFrame]:
    """The world after one person's consent to one purpose was withdrawn."""
    decision = consent(subject, token, purpose, status="withdrawn", decided_on=date(2026, 6, 1))
    return {**entities, "consent": pl.concat([entities["consent"], conformed("consent", [decision])])}
