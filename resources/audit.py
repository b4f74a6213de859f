"""The audit log: what was done, in an order that cannot be changed unseen.

Here belongs the chain of entries and its verification. Which events are logged is decided by those
who act. One JSON object per line; each entry's hash covers the entry and the hash before it. The
head (count and last hash) is kept beside the log, so that cutting its tail shows as well.

    sequence, time (UTC), event, facts, previous, hash
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from resources.facts import Fact, check_facts
from resources.locks import exclusive, write_atomically

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


@dataclass(frozen=True)
class _Head:
    entries: int
    hash: str


class AuditLog:
    """An append-only log at `path`, for several processes at once. Made on the first append."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def head_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.head.json")

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
        with exclusive(self._lock_path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                head = self._continue_from(file)
                line, entry_hash = _entry(head, event, facts)
                file.seek(0, os.SEEK_END)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._write_head(_Head(head.entries + 1, entry_hash))
        return head.entries + 1

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
        """Walk the whole chain. Detects entries edited, removed, inserted, reordered or cut off."""
        with exclusive(self._lock_path):
            return self._verify()

    def _verify(self) -> AuditReport:
        try:
            head = self._read_head()
        except AuditError as error:
            return AuditReport(0, 1, str(error))
        if not self.path.exists():
            if head.entries:
                return AuditReport(0, 1, f"the log is missing; {head.entries} entries were written")
            return AuditReport(0, None, None)
        count, previous, at_head = 0, _START, _START
        with self.path.open("rb") as file:
            for line in file:
                reason = _fault(line, count + 1, previous)
                if reason is not None:
                    return AuditReport(count, count + 1, reason)
                entry = _parsed(line)
                previous = entry["hash"] if entry else _START
                count += 1
                if count == head.entries:
                    at_head = previous
        if count < head.entries:
            return AuditReport(count, count + 1, f"the log ends early: {head.entries} entries were written")
        if count > head.entries + 1:  # a kill between entry and head leaves one uncounted entry, never two
            return AuditReport(count, head.entries + 1, "entries were added without the log's own head")
        if at_head != head.hash:
            return AuditReport(count, max(head.entries, 1), "the log was rewritten: its hash is not the recorded one")
        return AuditReport(count, None, None)

    def _continue_from(self, file: BinaryIO) -> _Head:
        """The head to append to. Heals what a kill leaves, which can only be behind the recorded head:
        a half-written line is cut off, a complete entry that the head does not count yet is taken up."""
        head = self._read_head()
        offset, last = _last_line(file)
        if last and not last.endswith(b"\n"):
            file.truncate(offset)
            offset, last = _last_line(file)
        entry = _parsed(last) if last else None
        if entry is None and not last:
            found = _Head(0, _START)
        elif entry is not None:
            found = _Head(entry["sequence"], entry["hash"])
        else:
            found = _Head(-1, "")
        is_uncounted = entry is not None and _fault(last, head.entries + 1, head.hash) is None
        if found != head and not is_uncounted:
            raise AuditError(
                f"{self.path.name} does not end with the entry that was written last; "
                "run `merajut audit verify`, secure the file as evidence and restore log and head from a backup"
            )
        return found

    def _read_head(self) -> _Head:
        try:
            content = self.head_path.read_bytes()
        except FileNotFoundError:
            return _Head(0, _START)
        try:
            head = json.loads(content)
            return _Head(int(head["entries"]), str(head["hash"]))
        except (ValueError, KeyError, TypeError):
            raise AuditError(f"{self.head_path.name} is damaged; restore it with the log from a backup") from None

    def _write_head(self, head: _Head) -> None:
        content = json.dumps({"entries": head.entries, "hash": head.hash})
        write_atomically(self.head_path, content.encode(), mode=0o600)


def _entry(head: _Head, event: str, facts: dict[str, Fact]) -> tuple[bytes, str]:
    """A line to append, and its hash."""
    body = {
        "sequence": head.entries + 1,
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "event": event,
        "facts": facts,
        "previous": head.hash,
    }
    entry_hash = _hash(body)
    return _canonical({**body, "hash": entry_hash}) + b"\n", entry_hash


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _hash(body: dict[str, Any]) -> str:
    """SHA-256 over the hash before and the entry in canonical form."""
    return hashlib.sha256(body["previous"].encode() + b"\n" + _canonical(body)).hexdigest()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() == _FIELDS and isinstance(entry["sequence"], int) else None


def _fault(line: bytes, sequence: int, previous: str) -> str | None:
    """Why a line is not the entry that belongs at `sequence` after the hash `previous`, or None."""
    if not line.endswith(b"\n"):
        return "the last entry is cut off"
    entry = _parsed(line)
    if entry is None:
        return "the line is no entry"
    if entry["previous"] != previous or entry["sequence"] != sequence:
        return "the entry does not follow the one before: entries were removed, inserted or reordered"
    body = {name: value for name, value in entry.items() if name != "hash"}
    if _canonical(entry) + b"\n" != line or _hash(body) != entry["hash"]:
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
