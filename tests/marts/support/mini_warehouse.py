"""A small plausible release, so that dbt runs on real encrypted files without the layers before it.

Here belongs invented data with the columns of the contracts; what dbt makes of it is in the tests.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from merajut_assets.marts.dbt_sources import source_columns
from resources.lakehouse import Lakehouse
from resources.settings import Settings
from resources.vault import KeyVault
from resources.verifications import EVENT, record_verification
from resources.warehouse import Warehouse

RELEASE = "2026-06"
PROVINCES = {"31": "DKI JAKARTA", "32": "JAWA BARAT", "33": "JAWA TENGAH"}
REGENCIES = {"31.71": "JAKARTA PUSAT", "32.04": "BANDUNG", "32.05": "GARUT", "33.01": "CILACAP"}
# Where the noise would outweigh the figures, which are therefore withheld.
WITHHELD_PROVINCE = "33"
WITHHELD_REGENCY = "33.01"
_DTYPES = {
    "varchar": pl.String,
    "bigint": pl.Int64,
    "double": pl.Float64,
    "boolean": pl.Boolean,
    "date": pl.Date,
}

Rows = list[dict[str, object]]
Frames = dict[tuple[str, str], pl.DataFrame]


def warehouse_of(data: Path) -> Warehouse:
    settings = Settings(data_directory=data)
    return Warehouse(settings.warehouse, KeyVault(settings.vault, settings.keys))


def build_warehouse(data: Path, frames: Frames | None = None) -> Path:
    """The build file of RELEASE under `data`, holding `frames` (by default those of `release_frames`)."""
    warehouse = warehouse_of(data)
    given = release_frames() if frames is None else frames
    path = warehouse.build_path(RELEASE)
    for schema in ("protected", "statistics"):
        tables = {table: frame for (within, table), frame in given.items() if within == schema}
        path = warehouse.load_tables(RELEASE, tables, schema=schema)
    return path


def store_verified(lakehouse: Lakehouse, frames: Frames) -> None:
    """What the layers before would have left of the release: the tables in the lake, and their checks passed."""
    for (layer, table), frame in frames.items():
        path = "/".join([layer, *table.split("__")])
        facts = {"release": RELEASE}
        version = lakehouse.lake.overwrite(path, frame.drop("release"), partition=facts, facts=facts)
        record_verification(lakehouse.audit, path, RELEASE, version, passed=True)


def events_of(lakehouse: Lakehouse) -> list[str]:
    """What the audit log says beside the verifications of `store_verified`."""
    return [entry["event"] for entry in lakehouse.audit.entries() if entry["event"] != EVENT]


def release_frames() -> Frames:
    """Every source table of dbt, by (schema, table), with exactly the declared columns."""
    rows = {**_protected_rows(random.Random(7)), **_statistic_rows(random.Random(11))}
    return {
        table: pl.DataFrame(
            [{"data_origin": _origin_of(row), **row, "release": RELEASE} for row in rows[table]],
            schema={name: _DTYPES[sql_type] for name, sql_type in columns.items()},
        )
        for table, columns in source_columns().items()
    }


def _origin_of(row: Mapping[str, object]) -> str:
    """Children abroad are a real sample; everybody else is invented."""
    return "real_sample" if row.get("jurisdiction") == "GB" else "generated"


def _protected_rows(chance: random.Random) -> dict[tuple[str, str], Rows]:
    regions: Rows = [
        *({"region_code": code, "name": name, "level": "province"} for code, name in PROVINCES.items()),
        *(
            {"region_code": code, "name": name, "level": "regency", "parent_code": code[:2]}
            for code, name in REGENCIES.items()
        ),
    ]
    tables: dict[str, Rows] = {
        "government__region": regions,
        "academia__region": regions,
        "community__region": regions,
        "government__child_summary": _supervised(chance),
        "government__incident_summary": [
            {"province_code": "32", "incident_type": "injury", "children": 9, "incidents": 11, "is_withheld": False}
            | {"reported_within_three_days": 0.8},
            {"province_code": "32", "incident_type": "missing", "is_withheld": True},
            {"province_code": "31", "incident_type": "illness", "is_withheld": True},
        ],
        "government__orphanage": [
            {
                "orphanage_id": f"LKSA-{number}",
                "regency_code": regency,
                "capacity": 40 + number,
                "licence_valid_until": date(2026, 6, 30) if number % 2 else date(2026, 6, 29),
                "accreditation": "ABC"[number % 3] if number % 4 else "none",
            }
            for number, regency in enumerate([*REGENCIES, *REGENCIES])
        ],
        "government__staff_summary": [
            {"province_code": "32", "staff": 32, "background_check_share": 0.75, "is_withheld": False},
            {"province_code": "31", "is_withheld": True},
        ],
        "business__employee_engagement": [
            {
                "employee_pseudonym": f"e{number:04}",
                "company": "PT Contoh" if number < 20 else "PT Sedikit" if number < 40 else "*",
                "department": "*",
                "job_title": "*",
                "region_code": "*",
                "tenure": "*",
                "volunteer_hours": "1-8" if number % (2 if number < 20 else 10) == 0 else "none",
                "satisfaction": "high",
            }
            for number in range(60)
        ],
        "business__donor_segment": [
            {"donor_pseudonym": f"d{number:04}", "donor_type": "*", "age_band": "*", "region_code": "*"}
            | {"gifts": "1", "amount": "0-1"}
            for number in range(10)
        ],
        "business__programme_finance": [
            {
                "programme_id": programme,
                "fiscal_year": year,
                "programme_name": f"Programme {programme}",
                "company": "PT Contoh" if programme == "P1" else "PT Sedikit",
                "objective": "education",
                "orphanages": 3,
                "budget_amount": 1e9,
                "ordered_amount": 8e8,
                "ordered_from_diverse_vendors": 2e8,
                "invoiced_amount": 7e8,
                "paid_amount": 6e8,
            }
            for programme in ("P1", "P2")
            for year in (2025, 2026)
        ],
        "academia__research_child": [
            {
                "child_pseudonym": f"r{number:04}",
                "sex": "FM"[number % 2],
                "age_band": "[6, 9[",
                "region_code": list(PROVINCES)[number % 3] if number % 7 else "*",
                "education_level": "*",
                "years_in_care": "*",
                "diagnosis_group": chance.choice(["none", "respiratory", "nutrition"]),
                "abuse_type": chance.choice(["none", "neglect", "physical"]),
                "school_outcome": chance.choice(["below_60", "60_to_75", "above_75"]),
            }
            for number in range(120)
        ],
        "academia__indicator": [
            {"indicator_id": "CME|IDN|2023", "indicator_code": "CME", "country_code": "IDN", "sex": "_T"}
            | {"country_name": "Indonesia", "year": 2023, "value": 20.5, "unit": "per 1,000"}
        ],
        "community__volunteer_engagement": [
            {
                "volunteer_pseudonym": f"v{number:04}",
                "sex": "*",
                "age_band": "*",
                "region_code": "32.04" if number < 43 else "31",
                "skill": "teaching" if number < 40 else "sports",
                "worked_hours": "1-8",
                "satisfaction": chance.choice(["low", "high", "unknown"]),
            }
            for number in range(60)
        ],
        "community__activity_summary": [
            {"province_code": "32", "activity_type": "tutoring", "volunteers": 30, "worked_hours": 210.5}
            | {"is_withheld": False},
            {"province_code": "32", "activity_type": "arts", "is_withheld": True},
        ],
        "community__orphanage_need": [
            {"regency_code": regency, "category": category, "orphanages": 2, "quantity": 50.0, "needed_quantity": 80.0}
            for regency in REGENCIES
            for category in ("food", "medicine")
        ],
        "media__campaign_reach": [
            {
                "campaign_id": campaign,
                "month": month,
                "channel": channel,
                "age_band": band,
                "campaign_name": f"Campaign {campaign}",
                "impressions": 1000,
                "engagements": 80,
                "clicks": 20,
            }
            for campaign in ("C1", "C2")
            for month in ("2026-05", "2026-06")
            for channel in ("instagram", "radio")
            for band in ("18-24", "25-34")
        ],
        "media__campaign_giving": [
            {"campaign_id": "C1", "campaign_name": "Campaign C1", "goal_amount": 5e8, "donors": 12, "gifts": 15}
            | {"amount": 3e7, "is_withheld": False},
            {"campaign_id": "C2", "campaign_name": "Campaign C2", "goal_amount": 1e8, "is_withheld": True},
        ],
        "media__story_approval": [
            {"campaign_id": "C1", "channel": "instagram", "approval_state": state, "stories": 4}
            for state in ("draft", "approved", "published")
        ],
    }
    return {("protected", name): rows for name, rows in tables.items()}


def _supervised(chance: random.Random) -> Rows:
    """Forty children in one district, seven in another province, three whose region is suppressed, eight abroad."""
    places = ["32.04"] * 40 + ["31"] * 7 + ["*"] * 3
    indonesian: Rows = [{"jurisdiction": "ID", "region_code": place} for place in places]
    british: Rows = [{"jurisdiction": "GB", "region_code": "*"} for _ in range(8)]
    return [
        {
            **row,
            "child_pseudonym": f"g{number:04}",
            "sex": "FM"[number % 2],
            "birth_period": "2012",
            "care_type": "*",
            "reason_for_care": chance.choice(["poverty", "neglect"]),
            "reviews_on_time": chance.choice(["none", "most", "all", "no_review"]),
            "placements": "1",
            "months_in_care": "12-35",
        }
        for number, row in enumerate([*indonesian, *british])
    ]


def _statistic_rows(chance: random.Random) -> dict[tuple[str, str], Rows]:
    keys: dict[str, list[str]] = {
        "province_code": [*PROVINCES, "unknown"],
        "regency_code": [*REGENCIES, "unknown"],
        "age_band": ["0-5", "6-11", "12-17"],
        "sex": ["F", "M"],
        "programme_id": ["P1", "P2"],
    }
    tables: dict[tuple[str, str], Rows] = {}
    for (schema, table), columns in source_columns().items():
        if schema != "statistics":
            continue
        by = [name for name in columns if name in keys]
        cells: Rows = [{}]
        for name in by:
            cells = [{**cell, name: key} for cell in cells for key in keys[name]]
        measures = ["average_score", "attendance_rate"] if "outcome" in table else ["child_count"]
        tables[(schema, table)] = [{**cell, **_figure(measure, chance)} for cell in cells for measure in measures]
    for rows in tables.values():
        for row in rows:
            if row.get("regency_code") == WITHHELD_REGENCY or row.get("province_code") == WITHHELD_PROVINCE:
                row |= {"value": None, "interval_low": None, "interval_high": None, "is_withheld": True}
    return tables


def _figure(measure: str, chance: random.Random) -> dict[str, object]:
    middle, half_width = {"average_score": (70.0, 3.0), "attendance_rate": (0.9, 0.05)}.get(
        measure, (float(chance.randint(20, 60)), 6.0)
    )
    return {
        "measure": measure,
        "value": middle,
        "noise_scale": 2.0,
        "interval_low": middle - half_width,
        "interval_high": middle + half_width,
        "expected_relative_error": 2.0 / middle,
        "epsilon": 0.5,
        "is_withheld": False,
    }
