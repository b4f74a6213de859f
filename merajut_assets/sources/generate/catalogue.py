"""Which tables the generator writes, parents before children, and where the contracts put them."""

from __future__ import annotations

from pathlib import Path

from merajut_assets.contracts import crm, donations, erp, hris, media, panti, reference, volunteers
from merajut_assets.contracts.base import System, TableContract, declared_tables

SYSTEMS: tuple[System, ...] = (
    panti.PANTI,
    hris.HRIS,
    volunteers.VOLUNTEERS,
    donations.DONATIONS,
    crm.CRM,
    erp.ERP,
    media.MEDIA,
    reference.REFERENCE,
)
_BY_NAME = {system.name: system for system in SYSTEMS}
# A table comes after those that it refers to; refusals are followed in this order.
TABLES: tuple[tuple[str, str], ...] = (
    ("panti", "orphanages"),
    ("panti", "staff"),
    ("panti", "supplies"),
    ("panti", "children"),
    ("panti", "guardians"),
    ("panti", "consents"),
    ("panti", "placements"),
    ("panti", "reviews"),
    ("panti", "health_records"),
    ("panti", "education_records"),
    ("panti", "case_notes"),
    ("panti", "incidents"),
    ("hris", "employees"),
    ("volunteers", "volunteers"),
    ("volunteers", "jobs"),
    ("volunteers", "shifts"),
    ("volunteers", "hours"),
    ("volunteers", "background_checks"),
    ("donations", "campaigns"),
    ("donations", "donors"),
    ("donations", "gifts"),
    ("donations", "payments"),
    ("donations", "allocations"),
    ("crm", "csr_managers"),
    ("crm", "executive_sponsors"),
    ("crm", "csr_programmes"),
    ("crm", "engagement_history"),
    ("erp", "cost_centres"),
    ("erp", "budgets"),
    ("erp", "vendors"),
    ("erp", "contracts"),
    ("erp", "purchase_orders"),
    ("erp", "invoices"),
    ("erp", "payments"),
    ("media", "stories"),
    ("media", "interactions"),
    ("reference", "population"),
)
_CONTRACTS = {(contract.system, contract.name): contract for contract in declared_tables() if contract.layer == "raw"}


def system_of(name: str) -> System:
    """A system that the generator writes."""
    return _BY_NAME[name]


def contract_of(system: str, name: str) -> TableContract:
    """The contract of a source table."""
    return _CONTRACTS[(system, name)]


def location_of(contract: TableContract) -> Path:
    """Where the table's file belongs, relative to the data directory."""
    return Path(system_of(contract.system).location.format(source=contract.name_in_source))


def generated_contracts() -> tuple[TableContract, ...]:
    """The contracts of all tables that the generator writes, parents before children."""
    return tuple(contract_of(*name) for name in TABLES)
