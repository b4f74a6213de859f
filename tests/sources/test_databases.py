"""Databases, by file and by URL: read-only, one table at a time, and clear when they fail."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import polars as pl
import pytest

from merajut_assets.contracts.base import SourceFormat
from merajut_assets.sources.reader import Location, fingerprint, read


@pytest.fixture
def database(bench):
    path = bench.put("panti.sqlite", b"")
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE people ("ID" INTEGER, "Name" TEXT, "City" TEXT, "Note:x" TEXT, "At" TEXT)')
        connection.executemany(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?)",
            [(1, "Siti Rahmawati", "", "x", "2026-01-01T00:00:00"), (2, None, "Medan", "y", "2026-02-03 04:05:06")],
        )
    connection.close()
    return path


def systems(bench):
    return bench.system(SourceFormat.DATABASE, "panti.sqlite", timeout_seconds="0.1")


DROPS = ("Note:x", "At")


def by_url(bench, path):
    return Location(bench.location.data_directory, database_url=f"sqlite:///{path}")


def test_a_table_is_read_by_file_and_by_url_alike(bench, database):
    contract = bench.contract(drops=DROPS)
    file = read(contract, systems(bench), bench.location)
    url = read(contract, systems(bench), by_url(bench, database))
    assert file.frame.rows() == url.frame.rows() == [(1, "Siti Rahmawati", None), (2, None, "Medan")]
    assert file.frame.schema == {"person_id": pl.Int64, "full_name": pl.String, "city": pl.String}
    assert file.undeclared == url.undeclared == DROPS
    assert file.original == database
    assert url.original is None


def test_awkward_names_are_quoted(bench, database):
    """A colon means a parameter to SQLAlchemy, a quotation mark ends a name in SQL."""
    import pandera.polars as pa

    from merajut_assets.contracts.base import operational

    class Awkward(pa.DataFrameModel):
        """Awkward names."""

        note: str = operational("Note", source_name="Note:x", key=True)

    contract = bench.contract(model=Awkward, drops=("*",))
    assert read(contract, systems(bench), bench.location).frame["note"].to_list() == ["x", "y"]
    evil = bench.contract(model=Awkward, source_name='people"; DROP TABLE people; --')
    assert bench.refusal(lambda: read(evil, systems(bench), bench.location)).rule == "absent"
    assert read(contract, systems(bench), bench.location).frame.height == 2


def test_the_last_change_of_a_database_by_url_comes_from_its_rows(bench, database):
    import pandera.polars as pa

    from merajut_assets.contracts.base import operational

    class Dated(pa.DataFrameModel):
        """With its time of change."""

        person_id: int = operational("Number", source_name="ID", key=True)
        modified_at: datetime = operational("Changed", source_name="At")

    contract = bench.contract(model=Dated, drops=("*",), modified_column="modified_at")
    location = by_url(bench, database)
    assert read(contract, systems(bench), location).modified_at == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    before = fingerprint(contract, systems(bench), location)
    assert before == fingerprint(contract, systems(bench), location)
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO people VALUES (3, 'x', 'y', 'z', '2025-01-01')")
    connection.close()
    assert fingerprint(contract, systems(bench), location) != before
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE people SET At = 'Siti Rahmawati'")
    connection.close()
    error = bench.refusal(lambda: read(contract, systems(bench), location))
    assert (error.rule, error.column) == ("modified_column", "modified_at")


def test_without_a_modified_column_a_database_by_url_always_looks_changed(bench, database):
    """Better to read once too often than to miss a change."""
    contract, location = bench.contract(drops=DROPS), by_url(bench, database)
    first, second = (fingerprint(contract, systems(bench), location) for _ in range(2))
    assert first != second


def test_a_locked_database_is_refused_in_time(bench, database):
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        for location in (bench.location, by_url(bench, database)):
            error = bench.refusal(lambda at=location: read(bench.contract(drops=DROPS), systems(bench), at))
            assert error.rule == "locked"
    finally:
        holder.close()
    assert read(bench.contract(drops=DROPS), systems(bench), bench.location).frame.height == 2


def test_rows_still_in_the_journal_are_read_and_change_the_fingerprint(bench, database):
    """With a write-ahead log, new rows leave the main file untouched."""
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    contract = bench.contract(drops=DROPS)
    before = fingerprint(contract, systems(bench), bench.location)
    writer.execute("INSERT INTO people VALUES (3, 'x', 'y', 'z', NULL)")
    assert fingerprint(contract, systems(bench), bench.location) != before
    assert read(contract, systems(bench), bench.location).frame.height == 3
    writer.close()


def test_an_absent_database_is_refused_and_not_created(bench):
    error = bench.refusal(lambda: read(bench.contract(), systems(bench), bench.location))
    assert error.rule == "absent"
    target = bench.location.data_directory / "none.sqlite"
    error = bench.refusal(lambda: read(bench.contract(), systems(bench), by_url(bench, target)))
    assert error.rule == "unreachable"
    assert not target.exists()


def test_a_file_that_is_no_database_is_refused(bench):
    bench.put("panti.sqlite", b"Siti Rahmawati " * 100)
    assert bench.refusal(lambda: read(bench.contract(), systems(bench), bench.location)).rule == "damaged"
    bench.put("panti.sqlite", b"")
    assert bench.refusal(lambda: read(bench.contract(), systems(bench), bench.location)).rule == "empty"


def test_a_damaged_database_is_refused(bench, database):
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?)", [(i, "Siti Rahmawati" * 9, "x", "y", "z") for i in range(2000)]
        )
    connection.close()
    whole = database.read_bytes()
    bench.put("panti.sqlite", whole[:8192] + b"\xff" * (len(whole) - 8192))
    error = bench.refusal(lambda: read(bench.contract(drops=DROPS), systems(bench), bench.location))
    assert error.rule in {"damaged", "unreadable"}


def test_a_database_whose_last_page_is_missing_is_refused(bench, database):
    """The copy broke off near its end, in a page of another table: all that is asked for can be read."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE other (x TEXT)")
        connection.executemany("INSERT INTO other VALUES (?)", [("x" * 500,) for _ in range(500)])
    connection.close()
    whole = database.read_bytes()
    for cut in (1, 4096):
        bench.put("panti.sqlite", whole[:-cut])
        error = bench.refusal(lambda: read(bench.contract(drops=DROPS), systems(bench), bench.location))
        assert error.rule == "damaged"
    bench.put("panti.sqlite", whole)
    assert read(bench.contract(drops=DROPS), systems(bench), bench.location).frame.height == 2


def test_text_that_is_no_utf_8_is_refused_without_quoting_it(bench, database):
    """sqlite3 quotes the whole value in its message."""
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO people VALUES (3, CAST(? AS TEXT), '', '', '')", (b"Siti Rahmawati \xff",))
    connection.close()
    for location in (bench.location, by_url(bench, database)):
        error = bench.refusal(lambda at=location: read(bench.contract(drops=DROPS), systems(bench), at))
        assert (error.rule, error.column) == ("encoding", "Name")


@pytest.mark.parametrize("url", ["nonsense", "nodialect://x/y", "postgresql://u:Siti@127.0.0.1:9/Rahmawati"])
def test_a_url_is_never_shown(bench, url):
    """It holds the password."""
    location = Location(bench.location.data_directory, database_url=url)
    error = bench.refusal(lambda: read(bench.contract(), systems(bench), location))
    assert error.rule in {"database_url", "unreachable"}
    assert url not in str(error)


def test_missing_and_new_columns_are_refused_before_a_row_is_read(bench, database):
    assert bench.refusal(lambda: read(bench.contract(), systems(bench), bench.location)).rule == "undeclared_column"
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE people DROP COLUMN City")
    connection.close()
    error = bench.refusal(lambda: read(bench.contract(drops=DROPS), systems(bench), bench.location))
    assert (error.rule, error.column) == ("missing_column", "City")


def test_a_column_of_mixed_types_becomes_text(bench, database):
    """SQLite stores what it is given: "abc" in an INTEGER column must reach the contract's check."""
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO people VALUES ('abc', 'x', 'y', 'z', NULL)")
    connection.close()
    frame = read(bench.contract(drops=DROPS), systems(bench), bench.location).frame
    assert frame["person_id"].to_list() == ["1", "2", "abc"]
