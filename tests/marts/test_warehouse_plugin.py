"""The dbt plugin's refusals: each names what is wrong and what to do, and none quotes a key."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import duckdb
import polars as pl
import pytest
from dbt_common.exceptions import DbtRuntimeError

from merajut_assets.marts.dbt_sources import DBT_PROJECT
from resources.lakehouse import Lakehouse
from resources.openings import take_up_openings
from resources.settings import Settings
from resources.vault import KeyVault

_SPEC = importlib.util.spec_from_file_location("merajut_warehouse", DBT_PROJECT / "plugins" / "merajut_warehouse.py")
plugin = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(plugin)


def key_of(data: Path) -> str:
    settings = Settings(data_directory=data)
    return KeyVault(settings.vault, settings.keys).analyst_key()


def point_at(data: Path, content: bytes) -> None:
    folder = data / "warehouse" / "released"
    folder.mkdir(parents=True)
    (folder / "current.json").write_bytes(content)


def test_reads_the_key_that_the_vault_made(tmp_path) -> None:
    """The plugin stands alone; this holds it to the vault."""
    made = key_of(tmp_path)
    assert plugin.analyst_key(tmp_path) == made


def test_data_directory_is_that_of_the_settings(monkeypatch, tmp_path) -> None:
    """Two ways of finding the data that differ would make an analyst read another installation."""
    monkeypatch.delenv("MERAJUT_DATA", raising=False)
    assert plugin.data_directory() == Settings.load({}).data_directory
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path))
    assert plugin.data_directory() == Settings.load({"MERAJUT_DATA": str(tmp_path)}).data_directory


def test_missing_key_says_make_demo(tmp_path) -> None:
    with pytest.raises(DbtRuntimeError, match="make demo"):
        plugin.analyst_key(tmp_path)


def test_key_that_others_may_read_is_refused(tmp_path) -> None:
    key_of(tmp_path)
    (tmp_path / "keys" / "analyst.key").chmod(0o644)
    with pytest.raises(DbtRuntimeError, match="chmod 600"):
        plugin.analyst_key(tmp_path)


def test_malformed_key_is_refused_without_quoting_it(tmp_path) -> None:
    key_of(tmp_path)
    (tmp_path / "keys" / "analyst.key").write_text("not-the-key'; --")
    with pytest.raises(DbtRuntimeError, match="malformed") as refused:
        plugin.analyst_key(tmp_path)
    assert "not-the-key" not in str(refused.value)


def test_no_release_says_make_demo(tmp_path) -> None:
    with pytest.raises(DbtRuntimeError, match="no release"):
        plugin.released_file(tmp_path)


def test_a_withdrawn_release_says_which_to_run_again(tmp_path) -> None:
    """After an erasure an analyst finds nothing, and should not take it for a fault."""
    point_at(tmp_path, b'{"file": null, "release": "2026-10", "number": 2, "digest": null}')
    with pytest.raises(DbtRuntimeError, match=r"withdrawn because somebody was erased.*merajut run --release 2026-10"):
        plugin.released_file(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}"])
def test_damaged_pointer_is_told(tmp_path, content) -> None:
    point_at(tmp_path, content)
    with pytest.raises(DbtRuntimeError, match="damaged"):
        plugin.released_file(tmp_path)


def test_pointer_to_a_missing_file_is_told(tmp_path) -> None:
    point_at(tmp_path, json.dumps({"file": "2026-06-1.duckdb"}).encode())
    with pytest.raises(DbtRuntimeError, match=r"2026-06-1\.duckdb is gone"):
        plugin.released_file(tmp_path)


def test_pipeline_target_needs_a_named_build_file(monkeypatch) -> None:
    monkeypatch.delenv("MERAJUT_BUILD_FILE", raising=False)
    with pytest.raises(DbtRuntimeError, match="belongs to Dagster"):
        plugin.build_file()


def test_wrong_key_is_told_without_quoting_either(tmp_path) -> None:
    right, wrong = "a" * 43, "b" * 43
    path = tmp_path / "file.duckdb"
    with duckdb.connect(":memory:") as connection:
        plugin.prepare(connection)
        plugin.attach(connection, path, "made", right, read_only=False)
        connection.execute("CREATE TABLE made.main.numbers (number INTEGER)")
    with duckdb.connect(":memory:") as connection:
        plugin.prepare(connection)
        with pytest.raises(DbtRuntimeError, match="another key") as refused:
            plugin.attach(connection, path, "made", wrong, read_only=True)
    assert right not in str(refused.value)
    assert wrong not in str(refused.value)
    assert refused.value.__cause__ is None


def test_file_that_is_no_database_is_told(tmp_path) -> None:
    path = tmp_path / "file.duckdb"
    path.write_bytes(b"something else" * 1000)
    with duckdb.connect(":memory:") as connection:
        plugin.prepare(connection)
        with pytest.raises(DbtRuntimeError, match="cannot be opened"):
            plugin.attach(connection, path, "made", "a" * 43, read_only=True)


def released_warehouse(data: Path) -> None:
    warehouse = Lakehouse(data_directory=str(data)).warehouse
    warehouse.load_tables("2026-06", {"a__b": pl.DataFrame({"number": [1]})})
    warehouse.release("2026-06")


def test_what_an_analyst_opens_gets_into_the_audit_log(monkeypatch, tmp_path) -> None:
    """The plugin has no key of the log. What it writes is held to what the evidence run reads."""
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path))
    released_warehouse(tmp_path)
    with duckdb.connect(":memory:") as connection:
        plugin.Plugin(name="warehouse", plugin_config={"role": "analyst"}).configure_connection(connection)
    lakehouse = Lakehouse(data_directory=str(tmp_path))
    assert take_up_openings(lakehouse) == 1
    (facts,) = [entry["facts"] for entry in lakehouse.audit.entries() if entry["event"] == "decryption"]
    assert (facts["file"], facts["reader"], facts["purpose"]) == ("2026-06-1.duckdb", "analyst", "dbt")
    assert facts["opened_at"]


def test_what_cannot_be_noted_is_not_opened(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path))
    released_warehouse(tmp_path)
    (tmp_path / "analyst").write_text("in the way")
    with duckdb.connect(":memory:") as connection:
        with pytest.raises(DbtRuntimeError, match="cannot be noted"):
            plugin.Plugin(name="warehouse", plugin_config={"role": "analyst"}).configure_connection(connection)
        attached = connection.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert attached == [("memory",)]


def test_unknown_role_is_refused() -> None:
    with pytest.raises(DbtRuntimeError, match="role"):
        plugin.Plugin(name="warehouse", plugin_config={"role": "root"})
