"""Landing a table from its file into the lake: versions, refusals, originals, what is written where."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.raw import assets, landing
from merajut_assets.sources.request import SourceError

TODAY = date(2026, 11, 20)
HRIS = registry.systems()["hris"]
MARKER = "PENANDA-RAHASIA-7f3a"


def land(lakehouse, contract, day: date = TODAY):
    return assets.land(lakehouse, HRIS, contract, day)


def stored_files(lakehouse) -> set[Path]:
    return {path for path in lakehouse.settings.lake.rglob("*.parquet") if path.is_file()}


def test_landing_the_same_input_twice_changes_nothing(lakehouse, employees, write_employees):
    """The hourly sync runs against sources that mostly stand still; each version costs a file and a key."""
    write_employees({}, {})
    first = land(lakehouse, employees)
    files, entries = stored_files(lakehouse), len(list(lakehouse.audit.entries()))
    again = land(lakehouse, employees, date(2026, 11, 21))
    assert (first.is_new, again.is_new) == (True, False)
    assert (first.number, again.number) == (1, 1)
    assert stored_files(lakehouse) == files
    assert len(list(lakehouse.audit.entries())) == entries
    assert len(lakehouse.lake.originals("hris", "employees")) == 1


def test_a_touched_file_of_equal_content_is_no_new_version(lakehouse, employees, write_employees):
    """An export job writes the same rows every night; the time of the file says nothing."""
    write_employees({}, {})
    land(lakehouse, employees)
    path = write_employees({}, {})
    os.utime(path, (1, 1))
    assert not land(lakehouse, employees).is_new


def test_changed_input_is_a_new_version_and_the_old_one_stays(lakehouse, employees, write_employees):
    """Raw is never rewritten: what conformed was built from must be there to be looked at."""
    write_employees({}, {})
    first = land(lakehouse, employees)
    write_employees({}, {"job_title": "manager"})
    second = land(lakehouse, employees, date(2026, 11, 21))
    assert second.is_new
    assert (second.number, second.schema_version) == (2, 1)
    assert second.digest != first.digest
    assert first.path.exists()
    assert "ingest_date=2026-11-21" in second.path.as_posix()
    assert lakehouse.lake.read_raw(first).height == 2
    write_employees({}, {})
    third = land(lakehouse, employees)
    assert third.number == 3, "what comes back after a change is news"


def test_the_digest_is_keyed(lakehouse, employees, write_employees, tmp_path):
    """The digest of a table of two rows could be guessed; another installation's must differ."""
    write_employees({})
    first = land(lakehouse, employees)
    other = type(lakehouse)(data_directory=str(tmp_path / "other"))
    shutil.copytree(tmp_path / "data" / "sources", tmp_path / "other" / "sources")
    assert land(other, employees).digest != first.digest


def test_a_changed_contract_is_a_new_schema_version(lakehouse, employees, write_employees, monkeypatch):
    """Rows that were judged by other rules are other rows, even when the source stood still."""
    write_employees({})
    assert land(lakehouse, employees).schema_version == 1
    monkeypatch.setattr(landing, "contract_fingerprint", lambda contract: "another")
    changed = land(lakehouse, employees)
    assert changed.is_new
    assert (changed.number, changed.schema_version) == (2, 2)
    assert "schema_version=2" in changed.path.as_posix()


@pytest.mark.parametrize(
    ("missing", "added", "rule", "name"),
    [("company", None, "missing_column", "company"), (None, "shoe_size", "undeclared_column", "shoe_size")],
)
def test_a_missing_and_a_new_column_are_refused_by_name(
    lakehouse, employees, write_employees, missing, added, rule, name
):
    """Silence about a column is how personal data come in and figures go wrong."""
    write_employees({})
    before = land(lakehouse, employees)
    columns = [one.name_in_source for one in employees.columns if one.name != missing] + list(employees.drops)
    write_employees({}, columns=[*columns, *([added] if added else [])])
    with pytest.raises(SourceError) as caught:
        land(lakehouse, employees)
    assert caught.value.rule == rule
    assert name in str(caught.value)
    assert "contracts/hris.py" in str(caught.value)
    assert lakehouse.lake.raw_versions("hris", "employees") == [replace(before, is_new=False)]
    assert stored_files(lakehouse) == {before.path}, "nothing is half-written"


def test_what_is_dropped_is_counted_and_named(lakehouse, employees, write_employees):
    """Somebody has to be able to ask where a column went."""
    write_employees({}, {"department": "IT"})
    version = land(lakehouse, employees)
    metadata = assets._metadata(version)
    assert metadata["dropped_columns"] == 2
    assert metadata["dropped_column_names"] == "salary_band, religion"
    assert metadata["refused_rows"] == 1
    assert metadata["refused_by_rule"] == "department.allowed: 1"
    assert metadata["rows_in_source"] == metadata["dagster/row_count"] == 2
    assert metadata["keyed_digest"] == version.digest


def test_the_stored_file_has_no_personal_column_and_no_plain_text(lakehouse, employees, write_employees):
    """What is written is looked at as a thief would: names of columns through our reader, bytes without."""
    write_employees({"full_name": MARKER, "email_address": f"{MARKER}@example.org", "department": MARKER})
    version = land(lakehouse, employees)
    stored = lakehouse.lake.read_raw(version)
    assert not set(stored.columns) & {column.name for column in employees.personal_columns}
    for path in lakehouse.settings.data_directory.rglob("*"):
        if path.is_file() and "sources" not in path.parts:
            assert MARKER.encode() not in path.read_bytes(), path.name
            assert MARKER.lower().encode() not in path.read_bytes(), path.name


def test_an_erased_employee_does_not_come_back(lakehouse, employees, write_employees):
    """The source still has the row; landing it again must not undo the erasure."""
    write_employees({}, {}, {})
    land(lakehouse, employees)
    lakehouse.vault.destroy_subject(Subject.EMPLOYEE, "hris:E-2")
    write_employees({}, {"company": "PT Lain"}, {})
    version = land(lakehouse, employees)
    assert lakehouse.lake.read_raw(version)["employee_id"].to_list() == ["E-1", "E-3"]
    assert version.facts["erased_rows"] == 1


def test_a_killed_landing_is_completed_by_the_next(lakehouse, employees, write_employees, monkeypatch):
    """Killed between file and manifest: nobody may read the file, and the next run clears it away."""
    write_employees({})

    def die(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(lakehouse.lake), "_write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            land(lakehouse, employees)
    assert lakehouse.lake.latest_raw("hris", "employees") is None
    version = land(lakehouse, employees)
    assert version.is_new
    assert stored_files(lakehouse) == {version.path}


@pytest.mark.parametrize("killed_at", ["_audit", "_keep_original"])
def test_a_landing_killed_before_its_audit_entry_gets_one(
    lakehouse, employees, write_employees, monkeypatch, killed_at
):
    """The version was in force and nobody could tell from the log; and it must not be told twice."""

    def entries():
        return [entry["facts"] for entry in lakehouse.audit.entries() if entry["event"] == "landing"]

    def die(*_arguments, **_options):
        raise KeyboardInterrupt

    write_employees({})
    with monkeypatch.context() as patched:
        patched.setattr(assets, killed_at, die)
        with pytest.raises(KeyboardInterrupt):
            land(lakehouse, employees)
    stored = lakehouse.lake.latest_raw("hris", "employees")
    assert stored is not None
    assert entries() == []
    assert assets.untouched_version(lakehouse, HRIS, employees) is None, "a run that skips landing would skip the entry"
    again = land(lakehouse, employees)
    assert (again.number, again.is_new) == (1, False)
    assert assets.untouched_version(lakehouse, HRIS, employees) is not None
    land(lakehouse, employees)
    assert [(one["table"], one["version"], one["digest"]) for one in entries()] == [
        ("hris.employees", 1, stored.digest)
    ]


def test_a_landing_killed_after_its_audit_entry_is_not_told_twice(lakehouse, employees, write_employees, monkeypatch):
    """What says that an entry is missing goes after the entry is written: a kill in between must not double it."""

    def die(*_arguments, **_options):
        raise KeyboardInterrupt

    write_employees({})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            land(lakehouse, employees)
    land(lakehouse, employees)
    assert [entry["event"] for entry in lakehouse.audit.entries()].count("landing") == 1


def test_a_source_that_has_lost_all_its_rows_is_refused(lakehouse, employees, write_employees):
    """An export job that fails after the header writes just that, and everything built from it would go."""
    write_employees({}, {})
    before = land(lakehouse, employees)
    write_employees()
    with pytest.raises(SourceError, match=r"no rows, where the version before had 2 \[emptied\].*may_become_empty"):
        land(lakehouse, employees)
    assert lakehouse.lake.latest_raw("hris", "employees") == replace(before, is_new=False)
    assert not (lakehouse.settings.lake / ".landings" / "hris.employees").exists()
    version = land(lakehouse, replace(employees, may_become_empty=True))
    assert (version.number, version.rows) == (2, 0)
    write_employees({})
    assert land(lakehouse, employees).rows == 1


def test_a_first_landing_without_rows_is_told(lakehouse, employees, write_employees):
    """A new system may have nothing yet; whoever looks at the asset must see that it is nothing."""
    write_employees()
    version = land(lakehouse, employees)
    assert version.rows == 0
    assert "no rows" in assets._metadata(version)["warning"]
    write_employees({})
    assert "warning" not in assets._metadata(land(lakehouse, employees))


# ── files that are not what they should be, the whole way ────────────────────────────────


@pytest.fixture
def panti(tmp_path, children, source_children) -> Path:
    """A database with 2,000 rows of panti.children, as its system writes it."""
    path = tmp_path / "data" / registry.systems()["panti"].location
    path.parent.mkdir(parents=True)
    rows = source_children(*[{"full_name": f"{MARKER} {number}"} for number in range(2000)]).rows(named=True)
    declared = {column.name_in_source: column.name for column in children.columns}
    names = [*declared, *children.drops]
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE {children.name_in_source} ({', '.join(f'{name} TEXT' for name in names)})")
        database.executemany(
            f"INSERT INTO {children.name_in_source} VALUES ({', '.join('?' * len(names))})",
            [[row.get(declared.get(name, "")) for name in names] for row in rows],
        )
    database.close()
    return path


def refused(lakehouse, contract) -> SourceError:
    """The refusal of a landing after a good one, which stays in force; nothing else is stored or shown."""
    files, versions = stored_files(lakehouse), lakehouse.lake.raw_versions(contract.system, contract.name)
    with pytest.raises(SourceError) as caught:
        assets.land(lakehouse, registry.systems()[contract.system], contract, TODAY)
    error = caught.value
    assert str(error).startswith(f"{contract.identifier}{f'.{error.column}' if error.column else ''}: ")
    assert f"[{error.rule}]. Remedy: " in str(error)
    assert error.remedy
    assert MARKER not in f"{error!r} {error.__cause__!r}"
    assert error.__suppress_context__ or error.__context__ is None
    assert stored_files(lakehouse) == files
    assert lakehouse.lake.raw_versions(contract.system, contract.name) == versions
    result = run(lakehouse, contract)
    assert not result.success
    assert not [event for event in result.all_events if MARKER in str(event)]
    return error


def test_a_database_with_bytes_that_are_no_text_is_refused(lakehouse, panti, children):
    """An old program wrote one name in another code; the driver's message quotes the name."""
    assets.land(lakehouse, registry.systems()["panti"], children, TODAY)
    with sqlite3.connect(panti) as database:
        database.execute(
            f"UPDATE {children.name_in_source} SET full_name = CAST(? AS TEXT) WHERE child_id = 'CH-1500'",
            (MARKER.encode() + b" Andr\xe9",),
        )
    database.close()
    error = refused(lakehouse, children)
    assert (error.rule, error.column) == ("encoding", "full_name")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_a_database_that_was_cut_off_is_refused(lakehouse, panti, children, share):
    """A copy that broke off opens, and its first rows can be read: half of the children would be gone."""
    assets.land(lakehouse, registry.systems()["panti"], children, TODAY)
    whole = panti.read_bytes()
    panti.write_bytes(whole[: int(len(whole) * share)])
    assert refused(lakehouse, children).rule == "damaged"


@pytest.mark.parametrize("codec", ["cp1252", "utf-16", "utf-16-le"])
def test_a_file_in_another_code_is_refused(lakehouse, employees, write_employees, codec):
    """A spreadsheet program saved it on an older machine: names would come out as others."""
    path = write_employees(*[{"full_name": f"{MARKER} Andr\u00e9"}] * 3)
    land(lakehouse, employees)
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode(codec))
    assert refused(lakehouse, employees).rule in {"encoding", "nul"}


def test_a_file_without_its_header_row_shows_nobody(lakehouse, employees, write_employees):
    """Its first row then takes the place of the names of columns, and errors name columns."""
    path = write_employees({"full_name": "Penanda"})
    land(lakehouse, employees)
    lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    path.write_text("".join(lines[1:]), encoding="utf-8-sig")
    error = refused(lakehouse, employees)
    assert error.rule == "header"
    assert "Penanda" not in str(error)


# ── files as delivered ───────────────────────────────────────────────────────────────────


def test_the_original_comes_back_byte_by_byte(lakehouse, employees, write_employees):
    """In a dispute the file counts, not what we made of it."""
    path = write_employees({})
    land(lakehouse, employees)
    (kept,) = lakehouse.lake.originals("hris", "employees")
    assert lakehouse.lake.read_original(kept) == path.read_bytes()


def test_a_file_of_several_tables_is_kept_once_for_each_state(lakehouse, tmp_path, children):
    """Only one table of the database changed: the new file is evidence all the same, and it is kept once."""
    panti = registry.systems()["panti"]
    path = tmp_path / "data" / panti.location
    path.parent.mkdir(parents=True)
    tables = [registry.raw_table("panti", name) for name in ("children", "guardians", "consents")]
    with sqlite3.connect(path) as database:
        for table in tables:
            names = [*(column.name_in_source for column in table.columns), *table.drops]
            database.execute(f"CREATE TABLE {table.name_in_source} ({', '.join(names)})")

    def land_all() -> int:
        for table in tables:
            assets.land(lakehouse, panti, table, TODAY)
        return sum(len(lakehouse.lake.originals("panti", table.name)) for table in registry.tables("raw").values())

    assert land_all() == 1
    assert land_all() == 1
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO consents (consent_id) VALUES ('C1')")
    os.utime(path, ns=(1, 1))
    assert land_all() == 2


# ── the asset ────────────────────────────────────────────────────────────────────────────


def run(lakehouse, contract, day: str = "2026-11-20") -> dg.ExecuteInProcessResult:
    asset = assets._raw_asset(registry.systems()[contract.system], contract)
    return dg.materialize([asset], partition_key=day, resources={"lakehouse": lakehouse}, raise_on_error=False)


def test_the_asset_lands_and_tells(lakehouse, employees, write_employees):
    """The asset is thin: what it says is what the landing did."""
    write_employees({}, {"department": "IT"})
    result = run(lakehouse, employees)
    assert result.success
    (event,) = result.asset_materializations_for_node("raw__hris__employees")
    assert event.metadata["refused_rows"].value == 1
    assert event.metadata["dagster/row_count"].value == 2


def test_a_refused_source_fails_the_step_cleanly(lakehouse, employees, write_employees):
    """What Dagster stores of a failure is shown to everybody; and a refusal does not get better by itself."""
    write_employees(*[{"hire_date": MARKER}] * 12)
    result = run(lakehouse, employees)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    text = str(failure.event_specific_data)
    assert "hire_date" in text
    assert "retyped" in text
    assert not [event for event in result.all_events if MARKER in str(event)]
    (entry,) = [entry for entry in lakehouse.audit.entries() if entry["event"] == "refusal"]
    assert entry["facts"] == {"table": "hris.employees", "column": "hire_date", "rule": "retyped"}


def test_every_raw_asset_is_told_whether_to_try_again():
    """Locked and unreachable sources come back; three attempts, five minutes apart."""
    for asset in assets.build_raw_assets():
        assert asset.op.retry_policy.max_retries == 3
        assert asset.op.retry_policy.delay == 300
    assert "retyped" not in assets.TRANSIENT_RULES


def test_contracts_without_subjects_keep_no_blob():
    """Rows about nobody need no key of anybody; what could not be parsed stands beside them."""
    contract = registry.raw_table("erp", "vendors")
    frame = pl.DataFrame({column.name: ["x"] for column in contract.columns})
    parsed = landing.parse(frame, contract)
    landed = landing.shield(
        parsed.frame, landing.judge(parsed, contract), contract, lambda subject, ids: {}, lambda purpose: b"k" * 32
    )
    assert landed.frame.height == 1
    assert landing.ENCRYPTED not in landed.frame.columns
    assert landed.frame[landing.UNPARSED][0] is not None
