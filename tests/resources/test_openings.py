"""What analysts open is told in the audit log, although they cannot write it, and whatever they write instead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from resources.lakehouse import Lakehouse
from resources.openings import take_up_openings

NIK = "3273014502120001"


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(tmp_path / "data"))


def leave(lakehouse: Lakehouse, content: bytes, name: str = "note") -> Path:
    path = lakehouse.settings.analyst / "openings" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def entries(lakehouse: Lakehouse) -> list[dict[str, object]]:
    return [entry["facts"] for entry in lakehouse.audit.entries()]


def test_a_note_becomes_an_entry_once(lakehouse: Lakehouse) -> None:
    note = leave(lakehouse, b'{"file": "2026-10-1.duckdb", "opened_at": "2026-11-20T08:00:00+00:00"}')
    assert take_up_openings(lakehouse) == 1
    assert entries(lakehouse) == [
        {
            "table": "warehouse/released",
            "file": "2026-10-1.duckdb",
            "opened_at": "2026-11-20T08:00:00+00:00",
            "reader": "analyst",
            "purpose": "dbt",
        }
    ]
    assert not note.exists()
    assert take_up_openings(lakehouse) == 0
    assert lakehouse.audit.verify().is_intact


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"file": "2026-10-1.duckdb"}',
        json.dumps({"file": f"{NIK}.duckdb", "opened_at": "2026-11-20"}).encode(),
        json.dumps({"file": "2026-10-1.duckdb", "opened_at": NIK}).encode(),
        json.dumps({"file": "x" * 10_000, "opened_at": "2026-11-20"}).encode(),
        b"[" * 4000,
    ],
)
def test_what_is_no_note_of_dbt_is_told_and_not_quoted(lakehouse: Lakehouse, content: bytes) -> None:
    """The folder is the analyst's: nothing that lies there may stop the evidence, or get into it."""
    leave(lakehouse, content)
    assert take_up_openings(lakehouse) == 1
    (facts,) = entries(lakehouse)
    assert (facts["file"], facts["opened_at"]) == (None, None)
    assert NIK not in lakehouse.settings.audit_log.read_text()


def test_no_folder_is_no_opening(lakehouse: Lakehouse) -> None:
    assert take_up_openings(lakehouse) == 0
    assert not lakehouse.settings.audit_log.exists()


def test_what_is_no_plain_file_is_left_alone(lakehouse: Lakehouse) -> None:
    """The folder is the analysts': a pipe there once kept the evidence waiting for good, a folder failed every run."""
    folder = leave(lakehouse, b"[]").parent
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(lakehouse.settings.audit_log)
    assert take_up_openings(lakehouse) == 1
    assert take_up_openings(lakehouse) == 0
    assert {path.name for path in folder.iterdir()} == {"pipe.json", "folder.json", "link.json"}
