"""The one entry: every format has a reader, and change is noticed cheaply."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from merajut_assets.contracts.base import SourceFormat
from merajut_assets.sources import reader
from merajut_assets.sources.reader import fingerprint, original, read
from merajut_assets.sources.request import RawTable, TableRequest

CONTENT = "ID,Name,City\n1,Siti Rahmawati,Medan\n"


def test_every_format_of_the_contracts_has_a_reader():
    """A new format without a reader would fail only when its first file comes."""
    assert set(reader._READERS) == set(SourceFormat)


def test_the_fingerprint_follows_size_and_time_only(bench):
    path = bench.put("people.csv", CONTENT)
    contract, system = bench.contract(), bench.system(SourceFormat.CSV, "{source}.csv")
    before = fingerprint(contract, system, bench.location)
    assert fingerprint(contract, system, bench.location) == before
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprint(contract, system, bench.location) != before
    path.unlink()
    assert bench.refusal(lambda: fingerprint(contract, system, bench.location)).rule == "absent"
    assert original(contract, system, bench.location) == path


def test_the_time_of_a_file_is_its_modification_in_utc(bench):
    path = bench.put("people.csv", CONTENT)
    os.utime(path, (0, 1_700_000_000))
    table = bench.read(SourceFormat.CSV, "people.csv")
    assert table.modified_at == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_file_that_changes_while_it_is_read_is_refused(bench, monkeypatch):
    """Half of the old export and half of the new one are no table."""

    def slow(request: TableRequest) -> RawTable:
        table = reader.read_csv(request)
        bench.put("people.csv", CONTENT * 2)
        return table

    monkeypatch.setitem(reader._READERS, SourceFormat.CSV, slow)
    bench.put("people.csv", CONTENT)
    assert bench.refusal(lambda: bench.read(SourceFormat.CSV, "people.csv")).rule == "changed_while_read"


@pytest.mark.parametrize("source_format", [f for f in SourceFormat if f is not SourceFormat.DATABASE])
def test_a_folder_in_the_place_of_a_file_is_refused(bench, source_format):
    (bench.location.data_directory / "people").mkdir(parents=True)
    assert bench.refusal(lambda: bench.read(source_format, "people")).rule == "absent"


@pytest.mark.parametrize("source_format", list(SourceFormat))
def test_random_bytes_are_refused_by_every_reader(bench, source_format):
    """Whatever arrives, the answer is a SourceError that quotes nothing."""
    for seed in range(20):
        noise = bytes((seed * 37 + i * i * 31 + i // 7) % 256 for i in range(seed * 50 + 1))
        bench.put("noise", noise + b"Siti Rahmawati")
        error = bench.refusal(
            lambda: read(bench.contract(), bench.system(source_format, "noise", timeout_seconds="1"), bench.location)
        )
        assert error.rule
