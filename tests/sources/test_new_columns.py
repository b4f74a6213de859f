"""The values of columns that no contract knows: read for the one purpose of saying what they look like."""

from __future__ import annotations

import io
import json
import sqlite3

import polars as pl
import pytest

from merajut_assets.contracts.base import SourceFormat
from merajut_assets.sources.reader import Location, read_new_columns
from merajut_assets.sources.request import SourceError

ROWS = [
    {"ID": "1", "Name": "Siti Rahmawati", "City": "Medan", "Kept out": "x", "Ref": "a"},
    {"ID": "2", "Name": "Budi", "City": "Ambon", "Kept out": "y", "Ref": "b"},
]


def _sqlite(folder) -> bytes:
    with sqlite3.connect(folder / "made") as connection:
        connection.execute('CREATE TABLE people ("ID" TEXT, "Name" TEXT, "City" TEXT, "Kept out" TEXT, "Ref" TEXT)')
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", [tuple(row.values()) for row in ROWS])
    connection.close()
    return (folder / "made").read_bytes()


def _parquet(_) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(ROWS).write_parquet(buffer)
    return buffer.getvalue()


def _xml(_) -> bytes:
    records = "".join(
        "<record>"
        + "".join(f"<{name.replace(' ', '_')}>{value}</{name.replace(' ', '_')}>" for name, value in row.items())
        + "</record>"
        for row in ROWS
    )
    return f"<all>{records}</all>".encode()


def _dump(_) -> bytes:
    inserts = "".join(f"INSERT INTO people VALUES {tuple(row.values())};" for row in ROWS)
    return f'CREATE TABLE people ("ID", "Name", "City", "Kept out", "Ref");{inserts}'.encode()


FORMATS = {
    SourceFormat.CSV: lambda _: b"ID,Name,City,Kept out,Ref\n1,Siti Rahmawati,Medan,x,a\n2,Budi,Ambon,y,b\n",
    SourceFormat.JSON: lambda _: json.dumps(ROWS).encode(),
    SourceFormat.JSON_LINES: lambda _: "\n".join(map(json.dumps, ROWS)).encode(),
    SourceFormat.XML: _xml,
    SourceFormat.DATABASE: _sqlite,
    SourceFormat.SQL_DUMP: _dump,
    SourceFormat.PARQUET: _parquet,
}


@pytest.mark.parametrize("source_format", list(FORMATS), ids=str)
def test_new_columns_are_read_and_no_others(bench, tmp_path, source_format):
    """A column that is dropped is nobody's business, and those that are declared are read elsewhere."""
    bench.put("source", FORMATS[source_format](tmp_path))
    system = bench.system(source_format, "source")
    new = read_new_columns(bench.contract(drops=("Kept out", "Kept_out")), system, bench.location)
    assert new.to_dict(as_series=False) == {"Ref": ["a", "b"]}
    everything = bench.contract(drops=("Kept out", "Kept_out", "Ref"))
    assert read_new_columns(everything, system, bench.location).is_empty()


def test_a_database_by_url_is_read_alike(bench, tmp_path):
    """There the refusal comes before any row is read."""
    path = bench.put("source", _sqlite(tmp_path))
    location = Location(bench.location.data_directory, database_url=f"sqlite:///{path}")
    system = bench.system(SourceFormat.DATABASE, "source")
    assert read_new_columns(bench.contract(drops=("Kept out",)), system, location)["Ref"].to_list() == ["a", "b"]


def test_what_cannot_be_read_is_refused_as_ever(bench):
    """The caller then tells of the new column without what it looks like."""
    with pytest.raises(SourceError):
        read_new_columns(bench.contract(), bench.system(SourceFormat.CSV, "absent"), bench.location)
