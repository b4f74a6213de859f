"""The audit log: every way of altering it shows, several writers share it, a kill does not break it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.audit import AuditError, AuditLog
from resources.facts import PersonalFactError
from resources.vault import KeyVault
from tests.resources.planted import backup_of

WRITE = (
    "import sys; from pathlib import Path; from resources import audit, vault\n"
    "root = Path(sys.argv[1]); keys = vault.KeyVault(root / 'vault' / 'vault.sqlite', root / 'keys')\n"
    "log = audit.AuditLog(root / 'audit' / 'audit.jsonl', keys)\n"
)


@pytest.fixture
def log(tmp_path: Path, vault: KeyVault) -> AuditLog:
    log = AuditLog(tmp_path / "audit" / "audit.jsonl", vault)
    for number in range(6):
        log.append("raw.landed", system="panti", rows=number, ratio=0.1234567890123456, first=None, ok=True)
    return log


def edit(log: AuditLog, change: Callable[[list[bytes]], list[bytes]]) -> None:
    log.path.write_bytes(b"".join(change(log.path.read_bytes().splitlines(keepends=True))))


def test_an_untouched_log_is_intact(log: AuditLog) -> None:
    report = log.verify()
    assert (report.entries, report.first_broken, report.is_intact) == (6, None, True)
    assert [entry["sequence"] for entry in log.entries()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("change", "first_broken"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b'"rows":2', b'"rows":9'), *lines[3:]], 3),
        (lambda lines: [*lines[:2], lines[2].replace(b'"rows":2', b'"rows": 2'), *lines[3:]], 3),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
        (lambda lines: [*lines[:5], lines[5][:-9]], 6),
        (lambda lines: [*lines[:5], lines[5][:-1]], 6),
        (lambda lines: lines[:4], 5),
        (lambda lines: [], 1),
        (lambda lines: [*lines[:2], b"\n", *lines[2:]], 3),
        (lambda lines: [*lines, b"{}\n"], 7),
    ],
    ids=[
        "edited",
        "reformatted",
        "removed",
        "first removed",
        "reordered",
        "repeated",
        "last cut",
        "last newline cut",
        "tail cut",
        "emptied",
        "blank line",
        "foreign entry",
    ],
)
def test_every_alteration_shows(log: AuditLog, change: Callable[[list[bytes]], list[bytes]], first_broken: int) -> None:
    edit(log, change)
    report = log.verify()
    assert report.first_broken == first_broken
    assert report.reason


def test_a_log_rewritten_from_the_start_shows(log: AuditLog, tmp_path: Path) -> None:
    """A forger has no key to compute a valid chain with."""
    forged = AuditLog(tmp_path / "forged" / "audit.jsonl", _another_vault(tmp_path))
    for number in range(7):
        forged.append("raw.landed", rows=number)
    log.path.write_bytes(forged.path.read_bytes())
    assert not log.verify().is_intact
    log.path.unlink()
    assert log.verify().first_broken == 1


def test_an_altered_log_is_not_continued(log: AuditLog) -> None:
    """Appending would bury the evidence under a new valid head."""
    edit(log, lambda lines: lines[:4])
    before = log.path.read_bytes()
    with pytest.raises(AuditError, match="audit verify"):
        log.append("raw.landed", rows=1)
    assert log.path.read_bytes() == before


@pytest.mark.parametrize(
    "fact",
    [
        "3171014101900001",
        "NIK 31.71.01.410190.0001 found",
        3171014101900001,
        3171014101900001.0,
        "ibu@example.org",
        "+62 812-3456-7890",
        "hub 081234567890",
    ],
)
def test_personal_values_are_refused_unquoted(log: AuditLog, fact: str | int | float) -> None:
    with pytest.raises(PersonalFactError, match="'note'") as caught:
        log.append("raw.landed", note=fact)
    assert str(fact) not in str(caught.value)
    assert log.verify().entries == 6


@pytest.mark.parametrize(
    "fact",
    [
        "a" * 31 + "1",
        "0123456789abcdef" * 4,
        "1234567890123456abcd",
        20261121,
        "2026-11-21T10:00:00+00:00",
        1.0,
        "2026-10",
    ],
)
def test_hashes_dates_and_counts_pass(log: AuditLog, fact: str | int | float) -> None:
    """Keyed row hashes are what the log is for."""
    assert log.append("raw.landed", fact=fact) == 7


def test_only_plain_facts_are_taken(log: AuditLog) -> None:
    with pytest.raises(TypeError, match="'rows'"):
        log.append("raw.landed", rows=[1])
    with pytest.raises(TypeError, match="finite"):
        log.append("raw.landed", rows=float("nan"))
    with pytest.raises(ValueError, match="lower-case"):
        log.append("Raw landed!")


def test_eight_writers_make_one_chain(log: AuditLog, tmp_path: Path, race: Callable[..., list[str]]) -> None:
    race(
        WRITE + "for n in range(25): log.append('release.charged', writer=int(sys.argv[2]), n=n)",
        [(tmp_path, writer) for writer in range(8)],
    )
    report = log.verify()
    assert (report.entries, report.is_intact) == (206, True)
    seen = [
        (entry["facts"]["writer"], entry["facts"]["n"])
        for entry in log.entries()
        if entry["event"] == "release.charged"
    ]
    assert sorted(seen) == [(writer, n) for writer in range(8) for n in range(25)]


def test_a_kill_between_entry_and_head_is_healed(log: AuditLog, tmp_path: Path, kill: Callable[..., None]) -> None:
    kill(WRITE + "vault.KeyVault.raise_watermark = die; log.append('raw.landed', rows=7)", tmp_path)
    assert log.verify().is_intact
    assert log.append("raw.landed", rows=8) == 8
    assert (log.verify().entries, log.verify().is_intact) == (8, True)


def test_a_half_written_entry_is_reported_then_healed(log: AuditLog) -> None:
    """A power cut inside a write is not tampering: nothing that was acknowledged is missing."""
    with log.path.open("ab") as file:
        file.write(b'{"event":"raw.la')
    assert log.verify().first_broken == 7
    assert log.append("raw.landed", rows=7) == 7
    assert log.verify().is_intact


def _another_vault(tmp_path: Path) -> KeyVault:
    return KeyVault(tmp_path / "other" / "vault.sqlite", tmp_path / "other_keys")


def test_an_emptied_log_without_its_folder_shows(log: AuditLog) -> None:
    """The head once lay beside the log, so that whoever emptied one could put the other right."""
    shutil.rmtree(log.path.parent)
    assert log.verify().first_broken == 1
    with pytest.raises(AuditError, match="audit verify"):
        log.append("raw.landed", rows=1)


def test_an_older_copy_of_the_log_shows(log: AuditLog) -> None:
    """Every entry of it is genuine, and its chain is whole: only the vault knows that there were more."""
    older = log.path.read_bytes()
    log.append("erasure", rows=1)
    log.path.write_bytes(older)
    report = log.verify()
    assert (report.first_broken, "7 entries were written" in str(report.reason)) == (7, True)


def test_an_older_vault_shows(log: AuditLog, vault: KeyVault, tmp_path: Path) -> None:
    """It may have forgotten more than entries: keys that were destroyed since are in it."""
    backup_of(vault, tmp_path / "backup.sqlite")
    for number in range(2):
        log.append("erasure", rows=number)
    taken_back = AuditLog(log.path, KeyVault(tmp_path / "backup.sqlite", vault.key_directory))
    report = taken_back.verify()
    assert (report.first_broken, "older than the log" in str(report.reason)) == (7, True)
    with pytest.raises(AuditError, match="one backup"):
        taken_back.append("raw.landed")


def test_a_log_without_its_vault_is_reported_and_none_is_made(log: AuditLog, tmp_path: Path) -> None:
    """A new vault would have a new key, under which nothing is as it was written."""
    stranger = AuditLog(log.path, _another_vault(tmp_path))
    assert "vault is missing" in str(stranger.verify().reason)
    assert not stranger.vault.database.exists()
    stranger.vault.open()
    assert stranger.verify().first_broken == 1
