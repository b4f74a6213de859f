"""The real inputs that are shipped, each read through its contract: how many rows there are, how
many are refused and by which rule. A contract that refuses good rows, or lets bad ones pass,
changes one of these numbers."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from functools import cache
from pathlib import Path

import pandera.errors
import polars as pl
import pytest

from merajut_assets.contracts import base, npsp, schools, ssda903, statistics_sources, wilayah
from merajut_assets.sources.reader import Location, read

DATA = Path(__file__).parents[2] / "data"
REFERENCE = DATA / "reference"
LIMIT_BYTES = 16_000_000

SYSTEMS = (
    ssda903.SSDA903,
    npsp.NPSP,
    wilayah.WILAYAH,
    wilayah.KODEPOS,
    schools.SCHOOL_REGISTER,
    statistics_sources.WORLD_BANK,
    statistics_sources.UNICEF,
    statistics_sources.UNICEF_REGISTRY,
)

# table: rows, and the rows refused by rule. `duplicate_key` counts those after the first of a key.
EXPECTED: dict[str, tuple[int, dict[str, int]]] = {
    "ssda903.header": (2675, {}),
    "ssda903.episodes": (5050, {}),
    "ssda903.reviews": (12582, {"duplicate_key": 14}),  # two reviews of a child on one day
    "ssda903.oc2": (2675, {}),
    "npsp.contact": (166, {}),
    "npsp.campaign": (17, {}),
    "npsp.opportunity": (102, {}),
    "npsp.payment": (104, {}),
    "npsp.allocation": (105, {}),
    "npsp.general_accounting_unit": (4, {}),
    "wilayah.provinces": (38, {}),
    "wilayah.regencies": (514, {}),
    "wilayah.districts": (7285, {}),
    "wilayah.villages": (83762, {}),
    "kodepos.postal_codes": (83762, {}),
    "school_register.schools": (215372, {}),
    "world_bank.population": (17195, {}),
    "unicef.indicators": (747, {}),
    "unicef_registry.countries": (454, {}),
}


def tables() -> dict[str, base.TableContract]:
    names = {system.name for system in SYSTEMS}
    return {
        table.identifier: table for table in base.declared_tables() if table.layer == "raw" and table.system in names
    }


def cast(text: pl.Expr, column: base.Column) -> pl.Expr:
    """A declared type from text, in the simplest way; null where it does not fit."""
    text = text.str.strip_chars()
    if column.dtype == pl.Date:
        return text.str.to_date(column.source_format or "%Y-%m-%d", strict=False)
    if column.dtype == pl.Boolean:
        return text.replace_strict({"true": True, "1": True, "false": False, "0": False}, return_dtype=pl.Boolean)
    return text.cast(column.dtype, strict=False)


@cache
def typed(identifier: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table as read, and cast to its contract."""
    contract = tables()[identifier]
    frame = read(contract, base.declared_systems()[contract.system], Location(DATA)).frame
    return frame, frame.select(cast(pl.col(column.name), column).alias(column.name) for column in contract.columns)


def refused(identifier: str) -> dict[str, int]:
    contract = tables()[identifier]
    text, frame = typed(identifier)
    counts: dict[str, set[int]] = {}
    for name in frame.columns:
        untyped = (text[name].is_not_null() & frame[name].is_null()).arg_true().to_list()
        if untyped:
            counts[f"type_{name}"] = set(untyped)
    doubled = (~frame.select(pl.struct(contract.key).is_first_distinct()).to_series()).arg_true().to_list()
    if doubled:
        counts["duplicate_key"] = set(doubled)
    return {rule: len(rows) for rule, rows in counts.items()} | broken_rules(contract, frame)


def broken_rules(contract: base.TableContract, frame: pl.DataFrame) -> dict[str, int]:
    """Rows that pandera refuses, by rule."""
    rows: dict[str, set[int]] = {}
    try:
        contract.schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for column, check, index in errors.failure_cases.select("column", "check", "index").iter_rows():
            rows.setdefault(f"{column}: {check}", set()).add(index)
    return {rule: len(indexes) for rule, indexes in rows.items()}


def spoilt(identifier: str, column: str, value: object) -> dict[str, int]:
    """What is refused once the first row of a table holds a wrong value."""
    _, frame = typed(identifier)
    first = pl.int_range(pl.len()) == 0
    wrong = frame.with_columns(
        pl.when(first).then(pl.lit(value, dtype=frame[column].dtype)).otherwise(pl.col(column)).alias(column)
    )
    return broken_rules(tables()[identifier], wrong)


def test_every_shipped_table_is_expected_and_the_other_way_round():
    """A table that nobody counts here would be a contract that nobody tried."""
    assert set(tables()) == set(EXPECTED)


@pytest.mark.parametrize("identifier", EXPECTED)
def test_rows_and_refusals_of_the_real_input(identifier):
    rows, refusals = EXPECTED[identifier]
    assert typed(identifier)[0].height == rows
    assert refused(identifier) == refusals


@pytest.mark.parametrize("identifier", EXPECTED)
def test_required_columns_of_the_real_input_are_filled(identifier):
    """What a contract requires must be what the sources give, or completeness can never pass."""
    contract = tables()[identifier]
    _, frame = typed(identifier)
    empty = {column.name: frame[column.name].null_count() for column in contract.columns if column.required}
    assert {name for name, nulls in empty.items() if nulls} == set()
    for column in contract.columns:
        assert frame[column.name].null_count() < max(frame.height, 1), f"{column.name} is always empty"


@pytest.mark.parametrize(
    ("identifier", "column"),
    [(name, column.name) for name, table in tables().items() for column in table.columns if column.references],
)
def test_references_of_the_real_input_lead_somewhere(identifier, column):
    system, table, target = str(tables()[identifier].column(column).references).split(".")
    values = typed(identifier)[1][column].drop_nulls()
    assert values.len() > 0
    assert values.is_in(typed(f"{system}.{table}")[1][target].implode()).all()


@pytest.mark.parametrize(
    ("identifier", "column", "value"),
    [
        ("ssda903.header", "sex", "9"),
        ("ssda903.header", "child_id", None),
        ("ssda903.header", "birth_date", date(1948, 1, 1)),
        ("ssda903.episodes", "end_date", date(1999, 1, 1)),
        ("ssda903.episodes", "need_code", "N9"),
        ("ssda903.oc2", "child_id", "no number"),
        ("npsp.opportunity", "amount", -1.0),
        ("npsp.opportunity", "stage", "Perhaps"),
        ("npsp.payment", "opportunity_id", None),
        ("npsp.contact", "contact_id", "short"),
        ("wilayah.villages", "code", "99.01.01.2001"),
        ("wilayah.regencies", "code", "1101"),
        ("kodepos.postal_codes", "postal_code", "2377"),
        ("school_register.schools", "status", "X"),
        ("school_register.schools", "dapodik_regency_code", "32.05"),
        ("world_bank.population", "inhabitants", -1),
        ("unicef.indicators", "year", 202),
        ("unicef.indicators", "sex", "X"),
    ],
)
def test_a_bad_row_is_refused_and_alone(identifier, column, value):
    """Each rule refuses the row it is meant for, and no other one with it."""
    refusals = spoilt(identifier, column, value)
    assert refusals
    assert set(refusals.values()) == {1}


def test_dates_of_the_return_are_read_day_first():
    """Read month first, two of five dates would silently become other days."""
    text, frame = typed("ssda903.header")
    day = text["birth_date"].str.slice(0, 2).cast(pl.Int8)
    assert (frame["birth_date"].dt.day() == day).all()
    assert frame["birth_date"].null_count() == 0


def test_undeclared_columns_are_dropped_by_name_where_they_are_few():
    """`*` would let a new column of a small table pass unseen; it is for the wide dumps alone."""
    wide = {name for name, table in tables().items() if base.DROP_UNDECLARED in table.drops}
    assert {name.split(".")[0] for name in wide} == {"npsp"}


def test_people_of_the_real_samples_are_subjects():
    """A table with personal columns but without a subject could never be erased."""
    for table in tables().values():
        assert set(table.subject_columns) == set(table.subjects)
        assert bool(table.subjects) == (table.legal_basis is not base.LegalBasis.NOT_APPLICABLE)
        assert table.subjects or not table.personal_columns


def test_what_is_shipped_has_a_stated_origin_and_is_what_was_taken():
    """Licences ask for the origin; the checksum shows that nobody has edited a source."""
    for folder in sorted(path for path in REFERENCE.iterdir() if path.is_dir()):
        provenance = (folder / "PROVENANCE.md").read_text()
        assert "- Licence: " in provenance
        assert "- Commit: " in provenance
        stated = dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", provenance, re.MULTILINE))
        present = {path.name for path in folder.iterdir()} - {"PROVENANCE.md", "LICENCE"}
        assert set(stated) == present
        for name, digest in stated.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, f"{folder.name}/{name}"


def test_the_shipped_data_stay_small():
    """The whole repository has a budget of 40 MB."""
    assert sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()) < LIMIT_BYTES
