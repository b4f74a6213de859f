"""`merajut detect` on files, as people and scripts use it: real processes, no installation, no value shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.privacy.detection import samples
from tests.test_anonymising import merajut

ROWS = 200


@pytest.fixture
def table() -> pl.DataFrame:
    lists, generator = samples.reference(), np.random.default_rng(6)
    return pl.DataFrame(
        {
            "ref_no": samples.niks(lists, generator, ROWS),
            "nama": samples.names(lists, generator, ROWS),
            "kode_pos": samples.postal_codes(lists, generator, ROWS),
            "nopol": samples.plates(lists, generator, ROWS),
            "jumlah": pl.Series(generator.integers(1, 10**6, ROWS)),
            "catatan": ["sehat"] * (ROWS - 1) + ["hubungi 0812-3456-7890, NIK 3273014502120001"],
        }
    )


def values_of(table: pl.DataFrame) -> list[str]:
    return [str(value) for name in ("ref_no", "nama", "nopol") for value in table[name]] + ["3456-7890", "45021200"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_listed_with_kind_share_confidence_and_verdict(tmp_path: Path, table: pl.DataFrame, ending) -> None:
    """What somebody asks who got a file: may I keep it, and what in it may I not?"""
    path = tmp_path / f"people.{ending}"
    table.write_csv(path, separator=";") if ending == "csv" else table.write_parquet(path)
    done = merajut("detect", path, "--separator", ";", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert "nik" in lines["ref_no"]
    assert "100.00%" in lines["ref_no"]
    assert "direct_identifier" in lines["ref_no"]
    assert "quasi_identifier" in lines["kode_pos"]
    assert " none " in lines["jumlah"]
    assert "within" in lines["catatan"]
    assert " none " in lines["nopol"], "plates are looked for when asked"
    assert not any(value in done.stdout + done.stderr for value in values_of(table))


@pytest.mark.slow
def test_scripts_get_json_and_an_exit_code(tmp_path: Path, table: pl.DataFrame) -> None:
    """A check before a file leaves the house."""
    path = tmp_path / "people.parquet"
    table.write_parquet(path)
    done = merajut("detect", path, "--json", "--refuse", "--also", "vehicle_plate", folder=tmp_path)
    assert done.returncode == 1
    assert "look personal: ref_no, nama" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["rows"] == ROWS
    assert set(answer["direct_identifier"]) == {"ref_no", "nama", "nopol", "catatan"}
    assert answer["quasi_identifier"] == ["kode_pos"]
    assert {"column", "kind", "share", "confidence", "verdict", "advice", "within_text"} <= set(answer["columns"][0])
    assert not any(value in done.stdout + done.stderr for value in values_of(table))
    table.select("jumlah").write_parquet(path)
    assert merajut("detect", path, "--refuse", folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_wrong_input_is_told_in_one_line(tmp_path: Path) -> None:
    """A missing file, a kind that is none, a table without a header: none of them shows what is inside."""
    absent = merajut("detect", "absent.csv", folder=tmp_path)
    assert (absent.returncode, "not there" in absent.stderr) == (2, True)
    path = tmp_path / "headless.csv"
    path.write_text("3273014502120001,Siti Aminah,0812-3456-7890,x\n3273014502120002,Budi,0812-3456-7891,y\n")
    empty = merajut("detect", path, "--also", "vehicle_plate,", folder=tmp_path)
    assert (empty.returncode, "--also: a name is empty" in empty.stderr) == (2, True)
    unknown = merajut("detect", path, "--also", "shoe_size", folder=tmp_path)
    assert (unknown.returncode, "vehicle_plate" in unknown.stderr) == (2, True)
    done = merajut("detect", path, folder=tmp_path)
    assert done.returncode == 0
    assert "column 1 (not shown)" in done.stdout
    for value in ("3273014502120001", "Siti", "0812"):
        assert value not in done.stdout + done.stderr + absent.stderr + unknown.stderr
