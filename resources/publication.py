"""Publications: for each stakeholder one encrypted DuckDB file per release, and a pointer to the one in force.

Here belongs how a set of verified tables becomes a file that only its stakeholder can open. Whether
it may be published is decided before.

    <stakeholder>/<stakeholder>-<release>-<n>.duckdb
    <stakeholder>/current.json      the publications kept, and which is in force: one atomic file

A withdrawn publication has no file any more and stays listed, so that its number is not given again.

Nothing older can be put in the place of either. A file carries its digest inside, where only a holder of its key
can write, and is opened only when that is the one the pointer names: this costs the same for a file of any size,
where a digest over its bytes would be read from end to end at every opening (DuckDB's encryption authenticates
the rest). The pointer is authenticated under a key of the vault, and its revisions are counted there.
"""

from __future__ import annotations

import builtins
import hmac
import json
import os
from collections.abc import Collection, Mapping, Sequence
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
from resources.vault import KeyVault, Watermark, WrongKeyError

PUBLISHED = "published.published"  # the event of the audit log that names a publication
_SCHEMA = "main"
_ABOUT = "about"
_ALIAS = "published"
_PURPOSE = "publication"  # of the key of pointers; with the stakeholder, of the watermark


class PublicationError(RuntimeError):
    """A publication cannot be made, found or rolled back. Names stakeholder and remedy."""


class PublicationReplaced(PublicationError):
    """A published file or pointer is not the one that was published. Names stakeholder and remedy."""


@dataclass(frozen=True)
class Publication:
    """One published file. `rows` by table; `digest` is keyed; `is_new` is False when nothing had to be done.
    `withdrawn_at`: since when its file is gone, because an erased person may have been in it."""

    stakeholder: str
    release: str
    number: int
    path: Path
    rows: dict[str, int]
    about: dict[str, Fact]
    digest: str
    published_at: datetime
    withdrawn_at: datetime | None = None
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
        What somebody has replaced or altered is not gone by: the file is written anew, and with a new pointer
        what the old one listed is gone.
        """
        facts = dict(about or {})
        check_facts(facts, f"published/{stakeholder}")
        key = self.vault.stakeholder_key(stakeholder)
        folder = self.root / stakeholder
        with exclusive(self.root / ".locks" / f"{stakeholder}.lock", 600):
            try:
                known = self._known(stakeholder)
                lost = 0
            except PublicationReplaced:
                # No number is given twice: each publication was a revision of the pointer.
                known, lost = [], self._watermark(stakeholder).number
            digest = self._digest(key, release, tables, facts)
            current = next((publication for publication in known if publication.is_current), None)
            is_latest = current is None or release >= current.release
            for same in (current,) if is_latest else known:
                if same is not None and same.digest == digest and self.is_genuine(same):
                    return same
            number = 1 + max((publication.number for publication in known), default=lost)
            path = folder / f"{stakeholder}-{release}-{number}.duckdb"
            self._remove_strays(folder, known)
            _write_file(path, key, tables, facts, digest)
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

    def is_genuine(self, publication: Publication) -> bool:
        """Whether the file of a publication is there, and is the one that was published."""
        try:
            self._connect(publication, self.vault.stakeholder_key(publication.stakeholder)).close()
        except (DatabaseFileError, PublicationReplaced, WrongKeyError):
            return False
        return True

    def list(self, stakeholder: str) -> builtins.list[Publication]:
        """The publications kept and those withdrawn lately, oldest first; empty before the first."""
        return self._known(stakeholder)

    def withdraw(self, stakeholder: str, numbers: Collection[int]) -> builtins.list[Publication]:
        """Take these publications out of force and remove their files; none takes their place. Returns those
        that were not withdrawn before.

        Of what cannot be told any more, because the pointer was replaced, all files go. Readers who have a file
        open keep it until they close it. Killed in between, the next call completes."""
        with exclusive(self.root / ".locks" / f"{stakeholder}.lock", 600):
            try:
                known = self._known(stakeholder)
            except PublicationReplaced:
                self._remove_strays(self.root / stakeholder, [])
                return []
            new = [one for one in known if one.number in numbers and one.withdrawn_at is None]
            now = datetime.now(UTC)
            left = [replace(one, withdrawn_at=now, is_current=False) if one in new else one for one in known]
            if new:
                self._point(stakeholder, left)
            self._remove_strays(self.root / stakeholder, left)
        return new

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
                kept = ", ".join(str(one.number) for one in known if one.withdrawn_at is None) or "none"
                raise PublicationError(f"{stakeholder} has no such earlier publication to go back to (kept: {kept})")
            if not self.is_genuine(target):
                raise _replaced(target)
            self._point(stakeholder, [replace(one, is_current=one == target) for one in known])
        return replace(target, is_current=True)

    def open(self, stakeholder: str, key: str | None = None) -> duckdb.DuckDBPyConnection:
        """A read-only connection to the publication in force.

        Raises WrongKeyError, PublicationError, and PublicationReplaced for a file or pointer that somebody exchanged.
        """
        publication = self.current(stakeholder)
        if publication is None:
            withdrawn = [one for one in self._known(stakeholder) if one.withdrawn_at is not None]
            if withdrawn:
                raise PublicationError(
                    f"publication {withdrawn[-1].number} of {stakeholder} was withdrawn because somebody was erased; "
                    f"run release {withdrawn[-1].release} again to publish without them"
                )
            raise PublicationError(f"nothing was published for {stakeholder} yet; run a release first")
        key = self.vault.stakeholder_key(stakeholder) if key is None else key
        return self._connect(publication, key)

    def _connect(self, publication: Publication, key: str) -> duckdb.DuckDBPyConnection:
        connection = connect(publication.path, key, read_only=True, alias=_ALIAS)
        found = connection.execute(
            "SELECT comment FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = (?, ?, ?)",
            [_ALIAS, _SCHEMA, _ABOUT],
        ).fetchone()
        if found != (publication.digest,):
            connection.close()
            raise _replaced(publication)
        return connection

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
        last = self._watermark(stakeholder)
        try:
            content = (folder / "current.json").read_bytes()
        except FileNotFoundError:
            if not last.number:
                return []
            raise PublicationReplaced(f"current.json of {stakeholder} is missing; {_remedy(stakeholder)}") from None
        try:
            signed = json.loads(content)
            pointer = signed["pointer"]
            is_own = hmac.compare_digest(self._signature(stakeholder, pointer), bytes.fromhex(signed["signature"]))
            mark = Watermark(int(pointer["revision"]), signed["signature"])
            if is_own and (mark == last or mark.number > last.number):
                return [_from_entry(folder, entry, pointer["file"]) for entry in pointer["publications"]]
        except (ValueError, KeyError, TypeError):
            raise PublicationReplaced(f"current.json of {stakeholder} is damaged; {_remedy(stakeholder)}") from None
        how = "is older than the last one written" if is_own else "was altered, or belongs to another vault"
        raise PublicationReplaced(f"current.json of {stakeholder} {how}; {_remedy(stakeholder)}")

    def _watermark(self, stakeholder: str) -> Watermark:
        """Revision and signature of the pointer that was written last, as the vault knows; 0 before the first."""
        return self.vault.watermark(f"{_PURPOSE}/{stakeholder}") or Watermark(0, "")

    def _signature(self, stakeholder: str, pointer: Mapping[str, Any]) -> bytes:
        content = json.dumps([stakeholder, pointer], sort_keys=True).encode()
        return hmac.digest(self.vault.named_key(_PURPOSE), content, "sha256")

    def _point(self, stakeholder: str, publications: Sequence[Publication]) -> None:
        file = next((publication.path.name for publication in publications if publication.is_current), None)
        revision = 1 + self._watermark(stakeholder).number
        pointer = {
            "file": file,
            "revision": revision,
            "publications": [_to_entry(publication) for publication in publications],
        }
        signature = self._signature(stakeholder, pointer).hex()
        content = json.dumps({"pointer": pointer, "signature": signature}, indent=1)
        write_atomically(self.root / stakeholder / "current.json", content.encode())
        # Killed before this, the pointer is one revision ahead, which is no older one.
        self.vault.raise_watermark(f"{_PURPOSE}/{stakeholder}", revision, signature)

    def _remove_strays(self, folder: Path, known: Sequence[Publication]) -> None:
        """Remove files that nobody lists: older than those kept, withdrawn, or left by a killed publication."""
        listed = {publication.path for publication in known if publication.withdrawn_at is None}
        for path in (*folder.glob("*.duckdb"), *folder.glob(".*.part"), *folder.glob(".*.part.wal")):
            if path not in listed:
                path.unlink(missing_ok=True)


def _remedy(stakeholder: str) -> str:
    return (
        "put it back from a backup, or publish the newest release again: "
        f'merajut run --release <release> --select "key:published/{stakeholder}"'
    )


def _replaced(publication: Publication) -> PublicationReplaced:
    return PublicationReplaced(
        f"{publication.path.name} is not the file that was published as number {publication.number}; "
        f"{_remedy(publication.stakeholder)}"
    )


def _write_file(
    path: Path, key: str, tables: Mapping[str, pl.DataFrame], about: Mapping[str, Fact], digest: str
) -> None:
    """Write beside, flush, rename. `digest` becomes the comment of the table about."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    described = pl.DataFrame(
        {"name": list(about), "value": [None if value is None else str(value) for value in about.values()]},
        schema={"name": pl.String, "value": pl.String},
    )
    if _ABOUT in tables:
        raise PublicationError("a published table cannot be called about: that one tells about the publication")
    connection = connect(beside, key, read_only=False)
    try:
        write_tables(connection, _SCHEMA, {**tables, _ABOUT: described})
        # A statement on a schema takes no parameters; the digest is hexadecimal.
        connection.execute(f"COMMENT ON TABLE {_SCHEMA}.{_ABOUT} IS '{digest}'")
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
    withdrawn_at = publication.withdrawn_at
    return {
        **entry,
        "file": publication.path.name,
        "published_at": publication.published_at.isoformat(),
        "withdrawn_at": None if withdrawn_at is None else withdrawn_at.isoformat(),
    }


def _from_entry(folder: Path, entry: dict[str, Any], current: str | None) -> Publication:
    withdrawn_at = entry.get("withdrawn_at")
    return Publication(
        stakeholder=entry["stakeholder"],
        release=entry["release"],
        number=entry["number"],
        path=folder / entry["file"],
        rows=entry["rows"],
        about=entry["about"],
        digest=entry["digest"],
        published_at=datetime.fromisoformat(entry["published_at"]),
        withdrawn_at=datetime.fromisoformat(withdrawn_at) if withdrawn_at else None,
        is_current=entry["file"] == current,
    )


__all__ = ["PUBLISHED", "DatabaseFileError", "Publication", "PublicationError", "PublicationReplaced", "Publisher"]
