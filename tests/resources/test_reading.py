"""Nothing is read out of the lake without a trace in the audit log."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from resources.lake import TableNotFound
from resources.lakehouse import Lakehouse
from resources.settings import REPOSITORY
from resources.vault import FileKeyDestroyed

ROWS = pl.DataFrame({"number": [1, 2, 3], "name": ["Sari Dewi", "Andi", "Budi"]})
TABLE = "protected/media/story"
# The lake itself, and the one method that leaves the trace.
KEEPERS = {"resources/lake.py", "resources/lakehouse.py"}
READING = {"read", "read_raw", "read_parquet", "read_original"}


def readings(tree: ast.AST) -> Iterator[int]:
    """Lines on which a lake is read directly, whatever the path to it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in READING:
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name == "lake":
                yield node.lineno


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(tmp_path / "data"))


def entries(lakehouse: Lakehouse) -> list[dict[str, object]]:
    return [entry["facts"] for entry in lakehouse.audit.entries() if entry["event"] == "decryption"]


@pytest.mark.parametrize("package", ["merajut_assets", "resources"])
def test_the_lake_is_read_through_the_lakehouse_alone(package: str) -> None:
    """Reads of protected rows, of who stands behind figures and of conformed in builds once left no trace, because
    each place had to think of it."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        name = path.relative_to(REPOSITORY).as_posix()
        if name not in KEEPERS:
            found = list(readings(ast.parse(path.read_text(encoding="utf-8"))))
            assert not found, f"{name}:{found[0]} reads the lake; use Lakehouse.read or read_raw, which log it"


def test_the_search_sees_every_way_to_the_lake() -> None:
    code = "a.lake.read('x')\nlake.read_raw(v)\nread = self.lakehouse.lake.read_original\nwarehouse.read('x')\n"
    assert sorted(readings(ast.parse(code))) == [1, 2, 3]


def test_a_reading_says_what_was_read_for_whom_and_no_value(lakehouse: Lakehouse) -> None:
    for month in ("2026-09", "2026-10"):
        lakehouse.lake.overwrite(TABLE, ROWS, partition={"release": month}, facts={"release": month})
    read = lakehouse.read(
        TABLE,
        partition={"release": "2026-09"},
        columns=["number"],
        filter=pl.col("name") != "Andi",
        reader="erasure",
        purpose="check",
    )
    assert read["number"].to_list() == [1, 3]
    assert entries(lakehouse) == [
        {"table": TABLE, "version": 1, "rows": 2, "reader": "erasure", "purpose": "check", "release": "2026-09"}
    ]
    assert lakehouse.read(TABLE, version=0, reader="x", purpose="y").height == 3
    assert entries(lakehouse)[-1] == {"table": TABLE, "version": 0, "rows": 3, "reader": "x", "purpose": "y"}
    assert "Sari" not in lakehouse.settings.audit_log.read_text()
    assert lakehouse.audit.verify().is_intact


def test_a_landed_version_leaves_a_trace_too(lakehouse: Lakehouse) -> None:
    version = lakehouse.lake.land(
        "panti", "child", ROWS, ingest_date=date(2026, 11, 20), schema_version=1, digest="0" * 64
    )
    assert lakehouse.read_raw(version, columns=["number"], reader="conformed/child", purpose="build").height == 3
    assert entries(lakehouse) == [
        {"table": "raw/panti/child", "version": 1, "rows": 3, "reader": "conformed/child", "purpose": "build"}
    ]


def test_what_could_not_be_read_was_not_decrypted(lakehouse: Lakehouse) -> None:
    with pytest.raises(TableNotFound):
        lakehouse.read(TABLE, reader="x", purpose="y")
    lakehouse.lake.overwrite(TABLE, ROWS)
    lakehouse.lake.overwrite(TABLE, ROWS.head(1))
    lakehouse.lake.vacuum(TABLE)
    with pytest.raises(FileKeyDestroyed):
        lakehouse.read(TABLE, version=0, reader="x", purpose="y")
    assert entries(lakehouse) == []


def test_nothing_is_handed_out_when_the_trace_cannot_be_left(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not make readings invisible."""
    lakehouse.lake.overwrite(TABLE, ROWS)

    def full(*_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(type(lakehouse.audit), "append", full)
    with pytest.raises(OSError, match="no space left"):
        lakehouse.read(TABLE, reader="x", purpose="y")
