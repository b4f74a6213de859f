"""What the tests of landing share: source frames as readers hand them over, and keys in memory."""

from __future__ import annotations

import csv
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from resources.lakehouse import Lakehouse

GOOD_CHILD = {
    "child_id": "CH-1",
    "full_name": "Sari Dewi",
    "nik": "3273014502120001",
    "birth_date": "2012-02-05",
    "sex": "F",
    "village_code": "32.73.01.1001",
    "orphanage_id": "PA-1",
    "admission_date": "2020-01-10",
    "exit_date": None,
    "reason_for_care": "poverty",
    "abuse_type": "none",
    "modified_at": "2026-01-01T00:00:00Z",
}
GOOD_EMPLOYEE = {
    "employee_id": "E-1",
    "full_name": "Budi Santoso",
    "email_address": "budi@example.org",
    "company": "PT Contoh",
    "department": "finance",
    "job_title": "staff",
    "manager_id": "",
    "employment_status": "active",
    "hire_date": "2020-01-01",
    "location": "32.73",
    "has_volunteer_consent": "true",
    "consent_decided_on": "2025-01-01",
    "modified_at": "2026-01-01T00:00:00Z",
    "salary_band": "7",
    "religion": "x",
}


@pytest.fixture
def children() -> TableContract:
    return registry.raw_table("panti", "children")


@pytest.fixture
def employees() -> TableContract:
    return registry.raw_table("hris", "employees")


@pytest.fixture
def source_children() -> Callable[..., pl.DataFrame]:
    """Rows of panti.children as text: each a change of a good one; ids number themselves."""

    def make(*changes: Mapping[str, Any]) -> pl.DataFrame:
        rows = [{**GOOD_CHILD, "child_id": f"CH-{number}", **change} for number, change in enumerate(changes, 1)]
        return pl.DataFrame(rows, schema=dict.fromkeys(GOOD_CHILD, pl.String))

    return make


class Keys:
    """Subject and named keys that are made from their names; `erased` have none."""

    def __init__(self) -> None:
        self.erased: set[tuple[str, str]] = set()

    def named(self, purpose: str) -> bytes:
        return hmac.digest(b"k" * 32, purpose.encode(), "sha256")

    def subjects(self, subject: Subject, ids: Sequence[str]) -> dict[str, bytes]:
        return {one: self.named(f"subject/{subject}/{one}") for one in ids if (subject.value, one) not in self.erased}


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(tmp_path / "data"))


@pytest.fixture
def write_employees(tmp_path: Path) -> Callable[..., Path]:
    """Writes hris.employees as its source does: semicolons, byte order mark. Each row is a change of
    a good one; `columns` replaces the header."""

    def write(*changes: Mapping[str, str], columns: Sequence[str] | None = None) -> Path:
        path = tmp_path / "data" / "sources" / "hris" / "employees.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        names = list(columns or GOOD_EMPLOYEE)
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, names, delimiter=";", extrasaction="ignore", restval="x")
            writer.writeheader()
            for number, change in enumerate(changes, 1):
                writer.writerow({**GOOD_EMPLOYEE, "employee_id": f"E-{number}", **change})
        return path

    return write
