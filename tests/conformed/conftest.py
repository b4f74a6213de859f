"""A lake of few hand-written rows, landed and built by the real code, without source files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.conformed import conform
from merajut_assets.conformed.build import BuildSummary, build_entity, raw_inputs
from merajut_assets.conformed.quarantined_rows import open_quarantined
from merajut_assets.contracts import registry
from merajut_assets.raw import landing
from resources.encryption import digest, tokens
from resources.lakehouse import Lakehouse

CHANGED = "2026-01-01T00:00:00Z"
GOOD: dict[str, dict[str, str | None]] = {
    "panti.orphanages": {
        "orphanage_id": "PA-1",
        "name": "Panti Satu",
        "regency_code": "32.73",
        "capacity": "50",
        "licence_valid_until": "2030-01-01",
        "modified_at": CHANGED,
    },
    "panti.children": {
        "child_id": "CH-1",
        "full_name": "Sari Dewi",
        "birth_date": "2012-02-05",
        "sex": "F",
        "village_code": "32.73.01.1001",
        "orphanage_id": "PA-1",
        "admission_date": "2020-01-10",
        "reason_for_care": "poverty",
        "abuse_type": "none",
        "modified_at": CHANGED,
    },
    "panti.guardians": {
        "guardian_id": "GU-1",
        "full_name": "Ibu Sari",
        "phone": "081234567890",
        "relationship": "mother",
        "village_code": "32.73.01.1001",
        "modified_at": CHANGED,
    },
    "panti.consents": {
        "consent_id": "CO-1",
        "child_id": "CH-1",
        "guardian_id": "GU-1",
        "purpose": "research",
        "status": "granted",
        "decided_on": "2025-01-01",
        "modified_at": CHANGED,
    },
    "panti.placements": {
        "placement_id": "PL-1",
        "child_id": "CH-1",
        "orphanage_id": "PA-1",
        "care_type": "residential",
        "start_date": "2020-01-10",
        "modified_at": CHANGED,
    },
    "panti.case_notes": {
        "case_note_id": "CN-1",
        "child_id": "CH-1",
        "written_on": "2025-05-05",
        "note": "sehat",
        "modified_at": CHANGED,
    },
    "volunteers.volunteers": {
        "volunteer_id": "VO-1",
        "full_name": "Andi",
        "regency_code": "32.73",
        "skill": "teaching",
        "joined_on": "2024-01-01",
        "has_analytics_consent": "true",
        "consent_decided_on": "2024-01-01",
        "modified_at": CHANGED,
    },
    "volunteers.jobs": {
        "job_id": "JO-1",
        "orphanage_id": "PA-1",
        "activity_type": "tutoring",
        "modified_at": CHANGED,
    },
    "volunteers.shifts": {
        "shift_id": "SH-1",
        "job_id": "JO-1",
        "shift_date": "2025-02-01",
        "modified_at": CHANGED,
    },
    "volunteers.hours": {
        "hours_id": "HO-1",
        "volunteer_id": "VO-1",
        "shift_id": "SH-1",
        "worked_hours": "2",
        "modified_at": CHANGED,
    },
    "volunteers.background_checks": {
        "check_id": "BC-1",
        "volunteer_id": "VO-1",
        "valid_until": "2027-01-01",
        "result": "clear",
        "modified_at": CHANGED,
    },
    "donations.donors": {
        "donor_id": "DO-1",
        "last_name": "Wijaya",
        "donor_type": "individual",
        "has_analytics_consent": "true",
        "consent_decided_on": "2024-01-01",
        "modified_at": CHANGED,
    },
    "donations.gifts": {
        "gift_id": "GI-1",
        "donor_id": "DO-1",
        "amount": "50000",
        "close_date": "2025-03-01",
        "stage": "received",
        "modified_at": CHANGED,
    },
    "donations.allocations": {
        "allocation_id": "AL-1",
        "gift_id": "GI-1",
        "purpose": "health",
        "amount": "50000",
        "modified_at": CHANGED,
    },
    "npsp.contact": {"contact_id": "003000000000000001", "last_name": "Smith"},
    "npsp.opportunity": {
        "opportunity_id": "006000000000000001",
        "contact_id": "003000000000000001",
        "amount": "50",
        "close_date": "2025-03-01",
        "stage": "Closed Won",
    },
    "npsp.general_accounting_unit": {"general_accounting_unit_id": "a0b000000000000001", "name": "Food"},
    "npsp.allocation": {
        "allocation_id": "a0N000000000000001",
        "opportunity_id": "006000000000000001",
        "general_accounting_unit_id": "a0b000000000000001",
        "amount": "50",
    },
    "hris.employees": {
        "employee_id": "EM-1",
        "full_name": "Budi",
        "email_address": "budi@example.org",
        "company": "PT Contoh",
        "department": "finance",
        "job_title": "staff",
        "employment_status": "active",
        "hire_date": "2020-01-01",
        "location": "32.73",
        "has_volunteer_consent": "true",
        "consent_decided_on": "2024-01-01",
        "modified_at": CHANGED,
    },
    "ssda903.header": {"child_id": "900", "sex": "2", "birth_date": "05/02/2012"},
    "ssda903.episodes": {
        "child_id": "900",
        "start_date": "01/06/2018",
        "need_code": "N1",
        "placement_type": "U4",
    },
    "ssda903.reviews": {"child_id": "900", "review_date": "01/06/2018", "review_code": "PN1"},
    "panti.reviews": {"review_id": "RE-1", "child_id": "CH-1", "due_date": "2025-01-01", "modified_at": CHANGED},
    "wilayah.provinces": {"code": "32", "name": "Jawa Barat"},
    "wilayah.regencies": {"code": "32.73", "province_code": "32", "name": "Kota Bandung"},
    "wilayah.districts": {"code": "32.73.01", "regency_code": "32.73", "name": "Sukasari"},
    "wilayah.villages": {"code": "32.73.01.1001", "district_code": "32.73.01", "name": "Gegerkalong"},
}
# Tables that always hold their one good row, unless a test says otherwise.
STANDING = ("panti.orphanages", "wilayah.provinces", "wilayah.regencies", "wilayah.districts", "wilayah.villages")
NIK = "3273014502120001"


@dataclass
class Small:
    """`put` lands rows, each a change of the table's good one; `build` builds an entity after what it
    refers to, landing nothing where a table was never put."""

    lakehouse: Lakehouse

    def put(self, identifier: str, *changes: Mapping[str, Any], source_time: str = "2026-01-01T00:00:00+00:00") -> None:
        contract = registry.tables("raw")[identifier]
        names = [column.name for column in contract.columns]
        rows = [{name: {**GOOD[identifier], **change}.get(name) for name in names} for change in changes]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))
        parsed = landing.parse(frame, contract)
        failed = landing.judge(parsed, contract)
        vault = self.lakehouse.vault
        landed = landing.shield(parsed.frame, failed, contract, vault.subject_keys, vault.named_key)
        self.lakehouse.lake.land(
            contract.system,
            contract.name,
            landed.frame,
            ingest_date=date(2026, 11, 20),
            schema_version=1,
            digest=digest(vault.named_key("digest"), frame.write_csv().encode()),
            facts={"source_time": source_time, "fingerprint": "none", "contract": "none"},
        )

    def build(self, name: str) -> BuildSummary:
        entity = registry.entity(name)
        for path in conform.referenced(entity):
            if self.lakehouse.lake.version(f"conformed/{path.split('.')[0]}") is None:
                self.build(path.split(".")[0])
        for table in raw_inputs(entity):
            if self.lakehouse.lake.latest_raw(table.system, table.name) is None:
                self.put(table.identifier, *([{}] if table.identifier in STANDING else []))
        return build_entity(self.lakehouse, entity)

    def read(self, name: str) -> pl.DataFrame:
        return self.lakehouse.lake.read(f"conformed/{name}")

    def child(self, *numbers: str) -> list[str]:
        """Tokens of registrations."""
        texts = pl.Series([f"panti:{number}" for number in numbers], dtype=pl.String)
        return tokens(texts, self.lakehouse.token_key("child")).to_list()

    def quarantine(self, identifier: str) -> pl.DataFrame:
        return open_quarantined(self.lakehouse, registry.tables("raw")[identifier])


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(Lakehouse(data_directory=str(tmp_path / "data")))
