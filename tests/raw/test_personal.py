"""Landing refuses what would be kept in clear and looks personal, and says what new columns and texts hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import ContractError, DataOrigin
from merajut_assets.privacy.detection import DEFAULT_KINDS, KINDS, detect_columns
from merajut_assets.raw import assets, landing, personal
from merajut_assets.sources import reader
from merajut_assets.sources.generate import generate_world
from merajut_assets.sources.reader import Location
from merajut_assets.sources.request import SourceError
from resources.settings import REPOSITORY
from tests.privacy.detection import samples

TODAY = date(2026, 11, 20)
HRIS = registry.systems()["hris"]
LISTS = samples.reference()
HOLDING = [(table, column) for table in registry.tables("raw").values() for column in table.columns if column.holds]


def numbers(make=samples.niks, count: int = 200) -> list[str]:
    return make(LISTS, np.random.default_rng(4), count).to_list()


def landed(lakehouse, employees):
    return assets.land(lakehouse, HRIS, employees, TODAY)


def refused(lakehouse, employees, values) -> SourceError:
    with pytest.raises(SourceError) as caught:
        landed(lakehouse, employees)
    shown = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert not any(value in shown for value in values), "an error showed a value"
    assert lakehouse.lake.raw_versions("hris", "employees") == []
    return caught.value


# ── columns kept in clear ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (kind, make)
        for kind, _, make in samples.PERSONAL
        if kind in ("nik", "kk", "phone", "email", "address", "person_name")
    ],
)
def test_a_personal_column_that_is_declared_operational_is_refused(lakehouse, employees, write_employees, kind, make):
    """An export puts the identity number where a reference was: it would lie in the lake in clear, for good."""
    values = numbers(make)
    write_employees(*({"manager_id": value} for value in values))
    error = refused(lakehouse, employees, values)
    assert (error.system, error.table, error.column, error.rule) == ("hris", "employees", "manager_id", personal.RULE)
    assert kind in error.detail
    assert "% of the rows" in error.detail
    assert "contracts/hris.py" in error.remedy


def test_a_number_in_every_twentieth_row_is_too_many_and_one_is_counted(lakehouse, employees, write_employees):
    """A single slip must not stop the landing of a whole table; it is told, so that somebody corrects it."""
    niks = numbers(count=10)
    write_employees(*({"manager_id": niks[row // 20] if row % 20 == 0 else f"E-{row}"} for row in range(200)))
    assert "5.0% of the rows look like nik" in refused(lakehouse, employees, niks).detail
    write_employees(*({"manager_id": niks[0] if row == 7 else f"E-{row}"} for row in range(200)))
    version = landed(lakehouse, employees)
    assert version.facts["personal_in_clear"] == "manager_id nik: 1"
    assert assets._metadata(version)["personal values in columns kept in clear"] == "manager_id nik: 1"


def test_a_dropped_column_and_an_encrypted_one_may_hold_anything(lakehouse, employees, write_employees):
    """What the contract drops is never stored, and what it encrypts is where personal values belong."""
    write_employees(*({"salary_band": nik, "full_name": f"Budi {nik}"} for nik in numbers()))
    version = landed(lakehouse, employees)
    assert version.facts["personal_in_clear"] == ""
    assert version.facts["personal_in_texts"] == "full_name nik: 200"


def test_cells_that_cannot_be_parsed_are_judged_where_they_are_kept_in_clear():
    """Columns that moved put a number into a date: nobody's table keeps the original text of such a cell in clear."""
    contract = registry.raw_table("erp", "payments")
    rows = {column.name: ["1"] * 200 for column in contract.columns}
    niks = numbers(count=8)
    rows["modified_at"] = ["2026-10-31T08:00:00Z"] * 200
    rows["paid_on"] = [niks[row // 25] if row % 25 == 0 else "2026-10-31" for row in range(200)]
    parsed = landing.parse(pl.DataFrame(rows), contract)
    with pytest.raises(SourceError, match=r"cannot be parsed look like nik in 4\.0%") as caught:
        personal.refuse_personal_in_clear(parsed.frame, contract, LISTS)
    assert not any(nik[-6:] in str(caught.value) for nik in niks)


def test_the_judged_rows_are_spread_over_a_long_table():
    """A sample from the beginning would miss what a migration appended."""
    contract = registry.raw_table("panti", "supplies")
    count = 3 * personal.JUDGED_ROWS
    ids = pl.Series([f"SU-{row}" for row in range(count)])
    late = ids.scatter(range(count - 2_000, count), numbers(count=2_000))
    frame = landing.parse(
        pl.DataFrame(
            {column.name: late if column.name == "supply_id" else ids for column in contract.columns}
        ).with_columns(
            pl.lit(None, pl.String).alias(name) for name in ("counted_on", "modified_at", "quantity", "needed_quantity")
        ),
        contract,
    ).frame
    with pytest.raises(SourceError, match=r"3\.3% of the rows look like nik"):
        personal.refuse_personal_in_clear(frame, contract, LISTS)


# ── what institutions publish ────────────────────────────────────────────────────────────


def test_some_column_is_declared_to_hold_what_looks_personal():
    """Without one, the tests below would test nothing."""
    assert HOLDING


@pytest.mark.parametrize(("table", "column"), HOLDING, ids=lambda value: getattr(value, "name", ""))
def test_a_statement_that_a_column_holds_something_is_needed_and_names_kinds(table, column):
    """A statement that nothing needs any more would hide the day on which it is needed again."""
    assert set(column.holds) <= {kind.name for kind in KINDS}
    system = registry.systems()[table.system]
    assert system.data_origin is DataOrigin.OPEN_DATA, "what a generated column holds is tested with a generated world"
    frame = reader.read(table, system, Location(REPOSITORY / "data")).frame
    found = detect_columns(frame.select(column.name).gather_every(-(-frame.height // personal.JUDGED_ROWS)), LISTS)
    sure = set(found.filter(found["verdict"] != "none")["kind"])
    assert set(column.holds) <= sure


@pytest.mark.parametrize(("table", "column"), HOLDING, ids=lambda value: getattr(value, "name", ""))
def test_without_its_statement_the_column_is_refused(table, column, monkeypatch):
    """The statement is all that lets it through."""
    frame = landing.parse(
        reader.read(table, registry.systems()[table.system], Location(REPOSITORY / "data")).frame, table
    ).frame
    assert personal.refuse_personal_in_clear(frame, table, LISTS) == {}
    bare = replace(table)
    bare.__dict__["columns"] = tuple(replace(one, holds=()) for one in table.columns)
    with pytest.raises(SourceError, match="holds=") as caught:
        personal.refuse_personal_in_clear(frame, bare, LISTS)
    assert caught.value.column == column.name_in_source


def test_only_a_column_kept_in_clear_may_state_what_it_holds(employees):
    """Beside a personal class the statement would say nothing, and look as if it did."""
    from merajut_assets.contracts.base import _resolve

    spec = employees.schema.columns["full_name"]
    spec.metadata["holds"] = ("person_name",)
    try:
        with pytest.raises(ContractError, match="holds"):
            _resolve(employees, "full_name", spec)
    finally:
        spec.metadata["holds"] = ()


def test_a_statement_makes_no_new_version(employees):
    """It changes nothing about what is stored."""
    before = landing.contract_fingerprint(employees)
    stated = replace(employees)
    stated.__dict__["columns"] = tuple(
        replace(one, holds=("email",)) if not one.privacy.is_personal else one for one in employees.columns
    )
    assert landing.contract_fingerprint(stated) == before


@pytest.mark.slow
def test_all_that_is_shipped_and_generated_lands_without_alarm(tmp_path):
    """A rule that refuses good sources is switched off on the first day."""
    generate_world(1_000, 1, tmp_path, samples.REFERENCE)
    alarms = {}
    for identifier, table in registry.tables("raw").items():
        system = registry.systems()[table.system]
        is_shipped = system.location.startswith("reference/")
        frame = reader.read(table, system, Location(REPOSITORY / "data" if is_shipped else tmp_path)).frame
        alarms[identifier] = personal.refuse_personal_in_clear(landing.parse(frame, table).frame, table, LISTS)
    assert {identifier: few for identifier, few in alarms.items() if few} == {}


# ── new columns ──────────────────────────────────────────────────────────────────────────


def test_the_error_about_a_new_column_says_what_it_looks_like(lakehouse, employees, write_employees):
    """Whoever has to declare it should not need to look into the file, and must not be told a value."""
    phones = numbers(samples.phones)
    columns = [one.name_in_source for one in employees.columns] + list(employees.drops)
    write_employees(
        *({"shoe": "42", "nomor lain": phone} for phone in phones), columns=[*columns, "shoe", "nomor lain"]
    )
    error = refused(lakehouse, employees, phones)
    assert error.rule == "undeclared_column"
    assert "1 whose name is not shown looks like phone (100% of its values)" in error.detail
    assert "shoe looks like" not in error.detail
    write_employees(*({"contact": phone} for phone in phones), columns=[*columns, "contact"])
    assert "contact looks like phone" in refused(lakehouse, employees, phones).detail


def test_a_new_column_without_anything_personal_is_refused_as_before(lakehouse, employees, write_employees):
    """The name alone is enough for that."""
    columns = [one.name_in_source for one in employees.columns] + list(employees.drops)
    write_employees({}, columns=[*columns, "shoe_size"])
    assert "looks like" not in refused(lakehouse, employees, []).detail


# ── texts and names ──────────────────────────────────────────────────────────────────────


def test_personal_values_in_texts_and_names_are_counted_by_kind():
    """A phone number in a name and a NIK in a note: stored encrypted, and known to be there."""
    contract = registry.raw_table("panti", "case_notes")
    notes = ["NIK 3273014502120001", "hubungi 0812-3456-7890", "NIK 3273014502120001 hp 081234567890", "sehat", None]
    frame = pl.DataFrame({column.name: [None] * 5 for column in contract.columns}).with_columns(
        pl.Series("note", notes)
    )
    assert personal.personal_in_texts(frame, contract, LISTS) == {"note nik": 2, "note phone": 2}
    guardians = registry.raw_table("panti", "guardians")
    names = ["Siti Aminah 081234567890", "Budi Santoso", None]
    frame = pl.DataFrame({column.name: [None] * 3 for column in guardians.columns}).with_columns(
        pl.Series("full_name", names)
    )
    assert personal.personal_in_texts(frame, guardians, LISTS) == {"full_name phone": 1}


def test_kinds_that_are_optional_do_not_stop_a_landing():
    """Codes of three parts look like plates."""
    assert "vehicle_plate" not in DEFAULT_KINDS
