"""PostgreSQL by URL, with a real server: what a dialect does to types, locks and rights shows there alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pandera.polars as pa
import psycopg
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import SourceFormat, direct_identifier, operational
from merajut_assets.raw import assets
from merajut_assets.sources.databases import _connected
from merajut_assets.sources.reader import Location, fingerprint, read
from merajut_assets.sources.request import TableRequest
from resources.lakehouse import Lakehouse

PASSWORD = "kata-sandi-rahasia"
START_SECONDS = 30.0


def programs() -> Path | None:
    """The folder of a server's programs, the newest if there are several."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def server_user() -> str | None:
    """The server refuses to run as the superuser, whom some build machines use for everything."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a database of a server that was started for this module."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed here (package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="merajut-postgresql-"))
    user = server_user()
    if user is not None:
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "owner", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"],
        user=user,
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    process = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "fsync=off"],
        user=user,
        cwd=folder,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://owner:{PASSWORD}@127.0.0.1:{port}/postgres"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


class People(pa.DataFrameModel):
    """People of a test."""

    person_id: int = operational("Number", source_name="ID", key=True)
    full_name: str = direct_identifier("Name", source_name="Name")
    born_on: date = operational("Birth date", source_name="Born")
    modified_at: datetime = operational("Changed", source_name="At")


@pytest.fixture
def people(bench, server):
    """The request for a table of two rows, in a schema of its own."""
    execute(
        server,
        "DROP SCHEMA IF EXISTS care CASCADE",
        "CREATE SCHEMA care",
        'CREATE TABLE care.people ("ID" integer, "Name" text, "Born" date, "At" timestamptz, "Note:x" text)',
        "INSERT INTO care.people VALUES (1, 'Siti Rahmawati', '2012-02-05', '2026-01-01 07:00+07', 'x')",
        "INSERT INTO care.people VALUES (2, '', NULL, '2026-02-03 04:05:06+00', 'y')",
    )
    system = bench.system(SourceFormat.DATABASE, "panti.sqlite", schema="care", timeout_seconds="0.3")
    contract = bench.contract(model=People, drops=("Note:x",), modified_column="modified_at")
    return contract, system, Location(bench.location.data_directory, database_url=server)


def test_a_table_keeps_its_types(people):
    """Dates and numbers come as such, times in UTC whatever the server's zone."""
    table = read(*people)
    assert table.frame.rows() == [
        (1, "Siti Rahmawati", date(2012, 2, 5), datetime(2026, 1, 1, tzinfo=UTC)),
        (2, None, None, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ]
    assert table.undeclared == ("Note:x",)
    assert table.original is None
    assert table.modified_at == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_a_change_changes_the_fingerprint(people, server):
    """Nobody reads the table again when this misses a change."""
    before = fingerprint(*people)
    assert fingerprint(*people) == before
    execute(server, 'UPDATE care.people SET "Name" = \'x\', "At" = \'2026-03-01\' WHERE "ID" = 1')
    assert fingerprint(*people) != before


def test_a_locked_table_is_refused_in_time(bench, people, server):
    """Somebody migrates the case management: the sync must not hang behind it, nor blame the file."""
    with psycopg.connect(server) as holder:
        holder.execute("LOCK TABLE care.people IN ACCESS EXCLUSIVE MODE")
        assert bench.refusal(lambda: read(*people)).rule == "locked"
    assert read(*people).frame.height == 2


def test_a_user_without_rights_is_told(bench, people, server):
    """Waiting and trying again mends nothing here."""
    execute(
        server,
        "DROP ROLE IF EXISTS reader",
        f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'",
        "GRANT USAGE ON SCHEMA care TO reader",
    )
    contract, system, _ = people
    location = Location(bench.location.data_directory, database_url=server.replace("owner:", "reader:"))
    assert bench.refusal(lambda: read(contract, system, location)).rule == "forbidden"
    execute(server, "GRANT SELECT ON care.people TO reader")
    assert read(contract, system, location).frame.height == 2


def test_a_wrong_password_and_an_absent_server_are_refused_without_the_url(bench, people, server):
    """The URL holds the password; the messages of driver and library hold host, user and port."""
    contract, system, _ = people
    port = server.rpartition(":")[2].split("/")[0]
    cases = {
        server.replace(PASSWORD, "salah"): "unreachable",
        server.replace(f":{port}/", ":9/"): "unreachable",
        server.replace(f":{port}/", f":{port}{PASSWORD}/"): "database_url",
    }
    for url, rule in cases.items():
        location = Location(bench.location.data_directory, database_url=url)
        error = bench.refusal(lambda at=location: read(contract, system, at))
        assert error.rule == rule
        assert not [part for part in ("salah", PASSWORD, "127.0.0.1", "owner", port) if part in str(error)]


def test_an_absent_table_and_a_changed_one_are_refused(bench, people, server):
    contract, system, location = people
    execute(server, 'ALTER TABLE care.people DROP COLUMN "Born"')
    error = bench.refusal(lambda: read(contract, system, location))
    assert (error.rule, error.column) == ("missing_column", "Born")
    execute(server, "DROP TABLE care.people")
    assert bench.refusal(lambda: read(contract, system, location)).rule == "absent"


def test_nothing_can_be_written(bench, people):
    """The source belongs to the institution: not even a mistake of ours may change it."""
    contract, system, location = people
    request = TableRequest(contract, system, database_url=location.database_url)

    def write() -> None:
        with _connected(request) as connection:
            connection.exec_driver_sql("DELETE FROM care.people")

    assert bench.refusal(write).rule == "unreadable"
    assert read(contract, system, location).frame.height == 2


def test_the_case_management_lands_from_postgresql(server, tmp_path, monkeypatch):
    """The whole way, by the setting that an installation makes: typed columns, one bad row, a second landing."""
    contract = registry.raw_table("panti", "children")
    types = {date: "date", datetime: "timestamp"}
    columns = [
        f'"{column.name_in_source}" {types.get(column.dtype.to_python(), "text")}' for column in contract.columns
    ]
    columns += [f'"{name}" text' for name in contract.drops]
    names = "child_id, full_name, nik, birth_date, sex, village_code, orphanage_id, admission_date, modified_at"
    good = (
        "'{}', 'Sari Dewi', '3273014502120001', '2012-02-05', '{}', '32.73.01.1001', 'PA-1', '2020-01-10', '2026-01-01'"
    )
    execute(
        server,
        "DROP TABLE IF EXISTS children",
        f"CREATE TABLE children ({', '.join(columns)})",
        f"INSERT INTO children ({names}) VALUES ({good.format('CH-1', 'F')})",
        f"INSERT INTO children ({names}) VALUES ({good.format('CH-2', 'P')})",
    )
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MERAJUT_PANTI_URL", server)
    lakehouse = Lakehouse()
    system = registry.systems()["panti"]
    version = assets.land(lakehouse, system, contract, date(2026, 11, 20))
    assert (version.rows, version.facts["refused_by_rule"]) == (2, "sex.allowed: 1")
    assert version.facts["source_time"] == "2026-01-01T00:00:00+00:00"
    assert not assets.land(lakehouse, system, contract, date(2026, 11, 21)).is_new
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path.name
