"""The audit log: what was done, in an order that cannot be changed unseen.

Here belongs the chain of entries and its verification. Which events are logged is decided by those
who act. One JSON object per line; each entry's hash covers the entry and the hash before it, keyed by
the vault: without it nobody can compute a valid chain. The head (count and last hash) is a watermark of
the vault, raised after every entry, so that a log that was cut, emptied or replaced by an older one shows.
Log and vault taken back together from one backup fit each other, and do not show.

    sequence, time (UTC), event, facts, previous, hash
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from resources.facts import Fact, check_facts
from resources.locks import exclusive
from resources.vault import KeyVault, Watermark

_PURPOSE = "audit"  # of the key, and of the watermark
_START = "0" * 64
_EVENT = re.compile(r"[a-z][a-z0-9_.]*")
_TAIL_BYTES = 64 * 1024
_FIELDS = {"sequence", "time", "event", "facts", "previous", "hash"}


class AuditError(RuntimeError):
    """The log does not fit its head: it was altered. Nothing is appended to it."""


@dataclass(frozen=True)
class AuditReport:
    """What verification found. `first_broken` is the sequence (from 1) of the first entry that is not as
    it was written, None for an intact log; `reason` says what is wrong with it."""

    entries: int
    first_broken: int | None
    reason: str | None

    @property
    def is_intact(self) -> bool:
        return self.first_broken is None


class AuditLog:
    """An append-only log at `path`, for several processes at once. Made on the first append."""

    def __init__(self, path: Path, vault: KeyVault) -> None:
        self.path = Path(path)
        self.vault = vault

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def append(self, event: str, **facts: Fact) -> int:
        """Add an entry and return its sequence; it is on disk when this returns.

        `event` is such as "raw.landed". Facts are text, numbers, booleans or null; those with the shape of
        a personal value are refused (PersonalFactError). A log that does not fit its head is not continued:
        AuditError.
        """
        if not _EVENT.fullmatch(event):
            raise ValueError("an audit event is named by lower-case letters, digits, '.' and '_'")
        check_facts(facts, f"audit event {event}")
        key = self.vault.named_key(_PURPOSE)
        with exclusive(self._lock_path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                head = self._continue_from(file, key)
                line, entry_hash = _entry(head, event, facts, key)
                file.seek(0, os.SEEK_END)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self.vault.raise_watermark(_PURPOSE, head.number + 1, entry_hash)
        return head.number + 1

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries as they stand, oldest first, unverified; a line that is no entry ends the iteration."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                entry = _parsed(line)
                if entry is None:
                    return
                yield entry

    def verify(self) -> AuditReport:
        """Walk the whole chain. Detects entries edited, removed, inserted, reordered or cut off, and a log or
        a vault that is older than the other. An installation without a vault stays without."""
        if not self.vault.database.exists():
            if self.path.exists():
                return AuditReport(0, 1, "the key vault is missing; restore it and the log from the same backup")
            return AuditReport(0, None, None)
        with exclusive(self._lock_path):
            return self._verify()

    def _verify(self) -> AuditReport:
        key, head = self.vault.named_key(_PURPOSE), self._head()
        if not self.path.exists():
            if head.number:
                return AuditReport(0, 1, f"the log is missing; {head.number} entries were written")
            return AuditReport(0, None, None)
        count, previous, at_head = 0, _START, _START
        with self.path.open("rb") as file:
            for line in file:
                reason = _fault(line, count + 1, previous, key)
                if reason is not None:
                    return AuditReport(count, count + 1, reason)
                entry = _parsed(line)
                previous = entry["hash"] if entry else _START
                count += 1
                if count == head.number:
                    at_head = previous
        if count < head.number:
            return AuditReport(count, count + 1, f"the log ends early: {head.number} entries were written")
        if count > head.number + 1:  # a kill between entry and watermark leaves one uncounted entry, never two
            return AuditReport(
                count, head.number + 1, f"the key vault is older than the log: it knows of {head.number} entries"
            )
        if at_head != head.digest:
            return AuditReport(count, max(head.number, 1), "the log was rewritten: its hash is not the recorded one")
        return AuditReport(count, None, None)

    def _continue_from(self, file: BinaryIO, key: bytes) -> Watermark:
        """The head to append to. Heals what a kill leaves, which can only be ahead of the recorded head:
        a half-written line is cut off, a complete entry that the head does not count yet is taken up."""
        head = self._head()
        offset, last = _last_line(file)
        if last and not last.endswith(b"\n"):
            file.truncate(offset)
            offset, last = _last_line(file)
        entry = _parsed(last) if last else None
        if entry is None and not last:
            found = Watermark(0, _START)
        elif entry is not None:
            found = Watermark(entry["sequence"], entry["hash"])
        else:
            found = Watermark(-1, "")
        is_uncounted = entry is not None and _fault(last, head.number + 1, head.digest, key) is None
        if found != head and not is_uncounted:
            raise AuditError(
                f"{self.path.name} does not end with the entry that was written last; "
                "run `merajut audit verify`, secure the file as evidence and restore log and vault from one backup"
            )
        return found

    def _head(self) -> Watermark:
        return self.vault.watermark(_PURPOSE) or Watermark(0, _START)


def _entry(head: Watermark, event: str, facts: dict[str, Fact], key: bytes) -> tuple[bytes, str]:
    """A line to append, and its hash."""
    body = {
        "sequence": head.number + 1,
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "event": event,
        "facts": facts,
        "previous": head.digest,
    }
    entry_hash = _hash(body, key)
    return _canonical({**body, "hash": entry_hash}) + b"\n", entry_hash


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _hash(body: dict[str, Any], key: bytes) -> str:
    """HMAC-SHA256 over the hash before and the entry in canonical form."""
    return hmac.digest(key, body["previous"].encode() + b"\n" + _canonical(body), "sha256").hex()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() == _FIELDS and isinstance(entry["sequence"], int) else None


def _fault(line: bytes, sequence: int, previous: str, key: bytes) -> str | None:
    """Why a line is not the entry that belongs at `sequence` after the hash `previous`, or None."""
    if not line.endswith(b"\n"):
        return "the last entry is cut off"
    entry = _parsed(line)
    if entry is None:
        return "the line is no entry"
    if entry["previous"] != previous or entry["sequence"] != sequence:
        return "the entry does not follow the one before: entries were removed, inserted or reordered"
    body = {name: value for name, value in entry.items() if name != "hash"}
    if _canonical(entry) + b"\n" != line or _hash(body, key) != entry["hash"]:
        return "the entry was edited"
    return None


def _last_line(file: BinaryIO) -> tuple[int, bytes]:
    """(offset, last line), reading backwards from the end; empty for an empty file."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start > 0:
        step = min(_TAIL_BYTES, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
        cut = tail.rfind(b"\n", 0, len(tail) - 1)
        if cut >= 0:
            return start + cut + 1, tail[cut + 1 :]
    return 0, tail
