"""Publications: for each stakeholder one encrypted DuckDB file per release, and a pointer to the one in force.

Here belongs how a set of verified tables becomes a file that only its stakeholder can open. Whether
it may be published is decided before.

    <stakeholder>/<stakeholder>-<release>-<n>.duckdb
    <stakeholder>/current.json      the publications kept, and which is in force: one atomic file
"""

from __future__ import annotations

import builtins
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from resources.duckdb_files import DatabaseFileError, close_cleanly, connect, write_tables
from resources.encryption import rows_as_json
from resources.facts import Fact, check_facts
from resources.locks import exclusive, flush_directory, write_atomically
from resources.vault import KeyVault

_SCHEMA = "main"


class PublicationError(RuntimeError):
    """A publication cannot be made, found or rolled back. Names stakeholder and remedy."""


@dataclass(frozen=True)
class Publication:
    """One published file. `rows` by table; `digest` is keyed; `is_new` is False when nothing had to be done."""

    stakeholder: str
    release: str
    number: int
    path: Path
    rows: dict[str, int]
    about: dict[str, Fact]
    digest: str
    published_at: datetime
    is_current: bool = True
    is_new: bool = field(default=False, compare=False)


class Publisher:
    """The publications under `root`. Nothing is opened or created before first use."""

    def __init__(self, root: Path, vault: KeyVault, keep: int = 3) -> None:
        self.root = Path(root)
        self.vault = vault
        self.keep = keep

    def publish(
        self,
        stakeholder: str,
        release: str,
        tables: Mapping[str, pl.DataFrame],
        about: Mapping[str, Fact] | None = None,
    ) -> Publication:
        """Write `tables` (and `about` as table `about`) under the stakeholder's key and make the file current.

        A release older than the current one is written and listed, and the newer one stays current.
        The same content as the current publication is not published again; `about` is content, too, so
        leave the time of the run out of it. Readers of an older file keep it; the last `keep` publications
        stay. Killed before the pointer moves, nothing was published.
        """
        facts = dict(about or {})
        check_facts(facts, f"published/{stakeholder}")
        key = self.vault.stakeholder_key(stakeholder)
        folder = self.root / stakeholder
        with exclusive(self.root / ".locks" / f"{stakeholder}.lock", 600):
            known = self._known(stakeholder)
            digest = self._digest(key, release, tables, facts)
            current = next((publication for publication in known if publication.is_current), None)
            is_latest = current is None or release >= current.release
            for same in (current,) if is_latest else known:
                if same is not None and same.digest == digest and same.path.exists():
                    return same
            number = 1 + max((publication.number for publication in known), default=0)
            path = folder / f"{stakeholder}-{release}-{number}.duckdb"
            self._remove_strays(folder, known)
            _write_file(path, key, tables, facts)
            publication = Publication(
                stakeholder=stakeholder,
                release=release,
                number=number,
                path=path,
                rows={name: frame.height for name, frame in tables.items()},
                about=facts,
                digest=digest,
                published_at=datetime.now(UTC),
                is_current=is_latest,
            )
            others = [replace(other, is_current=other.is_current and not is_latest) for other in known]
            everything = [*others, publication]
            kept = [one for one in everything if one.is_current or one in everything[-self.keep :]]
            self._point(stakeholder, kept)
            self._remove_strays(folder, kept)
        return replace(publication, is_new=True)

    def list(self, stakeholder: str) -> builtins.list[Publication]:
        """The publications kept, oldest first; empty before the first."""
        return self._known(stakeholder)

    def current(self, stakeholder: str) -> Publication | None:
        """The publication in force, or None."""
        return next((publication for publication in self._known(stakeholder) if publication.is_current), None)

    def rollback(self, stakeholder: str, number: int | None = None) -> Publication:
        """Point at the publication before the current one (or at `number`) again; files stay as they are."""
        with exclusive(self.root / ".locks" / f"{stakeholder}.lock", 600):
            known = self._known(stakeholder)
            place = next((index for index, publication in enumerate(known) if publication.is_current), 0)
            if number is None:
                target = known[place - 1] if place > 0 else None
            else:
                target = next((publication for publication in known if publication.number == number), None)
            if target is None or not target.path.exists():
                kept = ", ".join(str(publication.number) for publication in known) or "none"
                raise PublicationError(f"{stakeholder} has no such earlier publication to go back to (kept: {kept})")
            self._point(stakeholder, [replace(one, is_current=one == target) for one in known])
        return replace(target, is_current=True)

    def open(self, stakeholder: str, key: str | None = None) -> duckdb.DuckDBPyConnection:
        """A read-only connection to the publication in force. Raises WrongKeyError, PublicationError."""
        publication = self.current(stakeholder)
        if publication is None:
            raise PublicationError(f"nothing was published for {stakeholder} yet; run a release first")
        key = self.vault.stakeholder_key(stakeholder) if key is None else key
        return connect(publication.path, key, read_only=True, alias="published")

    def _digest(self, key: str, release: str, tables: Mapping[str, pl.DataFrame], about: Mapping[str, Fact]) -> str:
        """Keyed digest of what a file says and under which key, whatever the order of rows."""
        total = hmac.new(self.vault.named_key("digest"), digestmod=sha256)
        total.update(json.dumps([release, key, dict(about)], sort_keys=True).encode())
        for name, frame in sorted(tables.items()):
            total.update(json.dumps([name, [[column, str(dtype)] for column, dtype in frame.schema.items()]]).encode())
            for row in rows_as_json(frame).sort().to_list():
                total.update(row.encode() + b"\n")
        return total.hexdigest()

    def _known(self, stakeholder: str) -> builtins.list[Publication]:
        folder = self.root / stakeholder
        try:
            content = (folder / "current.json").read_bytes()
        except FileNotFoundError:
            return []
        try:
            pointer = json.loads(content)
            return [_from_entry(folder, entry, pointer["file"]) for entry in pointer["publications"]]
        except (ValueError, KeyError, TypeError):
            raise PublicationError(
                f"current.json of {stakeholder} is damaged; restore it from a backup or publish again"
            ) from None

    def _point(self, stakeholder: str, publications: Sequence[Publication]) -> None:
        current = next(publication for publication in publications if publication.is_current)
        pointer = {"file": current.path.name, "publications": [_to_entry(publication) for publication in publications]}
        write_atomically(self.root / stakeholder / "current.json", json.dumps(pointer, indent=1).encode())

    def _remove_strays(self, folder: Path, known: Sequence[Publication]) -> None:
        """Remove files that nobody lists: older than those kept, or left by a killed publication."""
        listed = {publication.path for publication in known}
        for path in (*folder.glob("*.duckdb"), *folder.glob(".*.part"), *folder.glob(".*.part.wal")):
            if path not in listed:
                path.unlink(missing_ok=True)


def _write_file(path: Path, key: str, tables: Mapping[str, pl.DataFrame], about: Mapping[str, Fact]) -> None:
    """Write beside, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    described = pl.DataFrame(
        {"name": list(about), "value": [None if value is None else str(value) for value in about.values()]},
        schema={"name": pl.String, "value": pl.String},
    )
    if "about" in tables:
        raise PublicationError("a published table cannot be called about: that one tells about the publication")
    connection = connect(beside, key, read_only=False)
    try:
        write_tables(connection, _SCHEMA, {**tables, "about": described})
        close_cleanly(connection)
    except BaseException:
        connection.close()
        beside.unlink(missing_ok=True)
        raise
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    flush_directory(path.parent)


def _to_entry(publication: Publication) -> dict[str, Any]:
    entry = asdict(publication)
    for derived in ("is_current", "is_new", "path"):
        del entry[derived]
    return {**entry, "file": publication.path.name, "published_at": publication.published_at.isoformat()}


def _from_entry(folder: Path, entry: dict[str, Any], current: str) -> Publication:
    return Publication(
        stakeholder=entry["stakeholder"],
        release=entry["release"],
        number=entry["number"],
        path=folder / entry["file"],
        rows=entry["rows"],
        about=entry["about"],
        digest=entry["digest"],
        published_at=datetime.fromisoformat(entry["published_at"]),
        is_current=entry["file"] == current,
    )


__all__ = ["DatabaseFileError", "Publication", "PublicationError", "Publisher"]
