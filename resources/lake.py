"""The lake: landed files and encrypted Delta tables under one folder.

Here belongs how frames become files and versions, and how files die. What the frames mean, and
whether they may be stored, is decided by the layers. Nothing is ever written in clear: a Parquet
payload is encrypted as it is written, under a key of its own that the vault holds; only its
schema, row count and commit facts are visible in the Delta log.

    raw/<system>/<table>/ingest_date=…/schema_version=…/<key id>.parquet, listed in versions.json
    raw/<system>/<table>/originals/<date>-<key id>.bin
    <layer>/…/<table>/_delta_log and part-<key id>.parquet, or bucket-<of>-<number>-<key id>.parquet

Each file's name ends with the id of its key, so that whoever removes a file can destroy its key.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, create_table_with_add_actions
from pyarrow import fs

from resources.facts import Fact, check_facts
from resources.locks import exclusive, flush_directory, write_atomically
from resources.vault import FileKeyDestroyed, KeyVault, VaultError, WrongKeyError

NO_TABLE = -1
_LOCK_SECONDS = 600.0
_NONCE_BYTES = 12
_ORIGINAL_CHUNK_BYTES = 16 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PARTITION_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BUCKET_FILE = re.compile(r"bucket-(\d+)-(\d+)-[0-9a-f]{32}\.parquet")
_KEYED_FILE = re.compile(r"(?:.*-)?([0-9a-f]{32})\.(?:parquet|bin)")
_WIDENED: dict[Any, type[pl.DataType]] = {
    pl.UInt8: pl.Int16,
    pl.UInt16: pl.Int32,
    pl.UInt32: pl.Int64,
    pl.UInt64: pl.Int64,
}
_STORED_AS_IS = (
    pl.String,
    pl.Boolean,
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.Float32,
    pl.Float64,
    pl.Date,
    pl.Binary,
    pl.Decimal,
)


class LakeError(RuntimeError):
    """The lake refuses. Messages name table, column and remedy, never a value."""


class TableNotFound(LakeError):
    """No such table, or no such version of it."""


class TableSchemaError(LakeError):
    """A frame does not fit the table, or has a type that Delta cannot store."""


class StaleVersionError(LakeError):
    """Somebody else changed the table since the caller read it."""


@dataclass(frozen=True)
class RawVersion:
    """One landed version of one source table. `path` is absolute; `number` counts from 1."""

    system: str
    table: str
    number: int
    path: Path
    ingest_date: date
    schema_version: int
    digest: str
    rows: int
    landed_at: datetime
    facts: dict[str, Fact] = field(default_factory=dict)
    is_new: bool = False


@dataclass(frozen=True)
class MergeResult:
    """What a merge did: the version afterwards, how many incoming rows ended how, and how many stored
    rows were deleted."""

    version: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int = 0


@dataclass(frozen=True)
class _DataFile:
    """One live file of a Delta table."""

    path: str
    size: int
    rows: int
    partition: dict[str, str]

    @property
    def bucket(self) -> tuple[int, int] | None:
        """(number of buckets, bucket), or None for a file that is not a bucket."""
        match = _BUCKET_FILE.fullmatch(Path(self.path).name)
        return (int(match[1]), int(match[2])) if match else None


class _FileKeys(pe.KmsClient):
    """Serves Parquet with file keys out of the vault; the file key's id stands where a key service has its own.

    Parquet only passes texts on, so the error that says why is kept for the caller in `errors`.
    """

    def __init__(self, vault: KeyVault, errors: list[VaultError]) -> None:
        super().__init__()
        self._vault = vault
        self._errors = errors

    def _aead(self, key_id: str) -> AESGCM:
        try:
            return AESGCM(self._vault.file_key(key_id))
        except VaultError as error:
            self._errors.append(error)
            raise

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = self._aead(master_key_identifier).encrypt(nonce, key_bytes, master_key_identifier.encode())
        return base64.b64encode(nonce + wrapped)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        wrapped = base64.b64decode(wrapped_key)
        try:
            return self._aead(master_key_identifier).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], master_key_identifier.encode()
            )
        except InvalidTag:
            self._errors.append(WrongKeyError("a file of the lake was altered or belongs to another vault"))
            raise


class Lake:
    """Encrypted storage of frames under `root`. Nothing is opened or created before first use."""

    def __init__(self, root: Path, vault: KeyVault) -> None:
        self.root = Path(root)
        self.vault = vault

    # ── single files ─────────────────────────────────────────────────────────────────────

    def write_parquet(self, frame: pl.DataFrame, path: Path) -> str:
        """Write `frame` to `path` (replaced whole), encrypted under a new file key; returns the key's id."""
        key_id, _ = self.vault.new_file_key()
        self._write_encrypted(frame, Path(path), key_id)
        return key_id

    def read_parquet(self, path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The frame in an encrypted file. Raises FileKeyDestroyed, LakeError."""
        path = Path(path)
        if not path.exists():
            raise LakeError(f"{path.name} is missing from the lake; restore it from a backup or land it again")
        return self._scan([(path, {})], None, path.name).collect(columns, None)

    def _write_encrypted(self, frame: pl.DataFrame, path: Path, key_id: str) -> int:
        """Write beside, flush, rename; returns the size in bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part")
        table = frame.to_arrow()
        errors: list[VaultError] = []
        configuration = pe.EncryptionConfiguration(
            footer_key=key_id, uniform_encryption=True, data_key_length_bits=256, double_wrapping=False
        )
        properties = self._factory(errors).file_encryption_properties(pe.KmsConnectionConfig(), configuration)
        try:
            with (
                beside.open("wb") as file,
                pq.ParquetWriter(file, table.schema, encryption_properties=properties, compression="zstd") as writer,
            ):
                writer.write_table(table)
                writer.close()
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        flush_directory(path.parent)
        return path.stat().st_size

    def _factory(self, errors: list[VaultError]) -> pe.CryptoFactory:
        """A new factory each time: it keeps opened keys, and a destroyed key must not live on in it."""
        return pe.CryptoFactory(lambda _configuration: _FileKeys(self.vault, errors))

    def _scan(self, files: Sequence[tuple[Path, Mapping[str, str]]], schema: pa.Schema | None, what: str) -> _Scan:
        return _Scan(self, files, schema, what)

    # ── raw ──────────────────────────────────────────────────────────────────────────────

    def land(
        self,
        system: str,
        table: str,
        frame: pl.DataFrame,
        *,
        ingest_date: date,
        schema_version: int,
        digest: str,
        facts: Mapping[str, Fact] | None = None,
    ) -> RawVersion:
        """Store a new version of a source table; its personal columns must be encrypted already.

        Input with the `digest` (keyed, over the source's content) of the newest version is not stored
        again: that version is returned with `is_new=False`. Until the manifest is replaced the new file
        does not exist for anybody; a landing killed before that is cleared away by the next one.
        """
        check_facts(facts or {}, f"raw/{system}/{table}")
        folder = self._raw_folder(system, table)
        with self._locked(f"raw/{system}/{table}"):
            versions = self.raw_versions(system, table)
            if versions and versions[-1].digest == digest:
                return versions[-1]
            self._clear_orphans(folder, {version.path for version in versions})
            key_id, _ = self.vault.new_file_key()
            place = folder / f"ingest_date={ingest_date.isoformat()}" / f"schema_version={schema_version}"
            path = place / f"{key_id}.parquet"
            self._write_encrypted(_storable(frame, f"raw/{system}/{table}"), path, key_id)
            version = RawVersion(
                system=system,
                table=table,
                number=versions[-1].number + 1 if versions else 1,
                path=path,
                ingest_date=ingest_date,
                schema_version=schema_version,
                digest=digest,
                rows=frame.height,
                landed_at=datetime.now(UTC),
                facts=dict(facts or {}),
            )
            self._write_manifest(folder, [*versions, version])
        return replace(version, is_new=True)

    def raw_versions(self, system: str, table: str) -> list[RawVersion]:
        """All landed versions of a source table, oldest first; empty when nothing was landed."""
        manifest = self._raw_folder(system, table) / "versions.json"
        try:
            content = manifest.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return [self._raw_version(system, table, entry) for entry in json.loads(content)["versions"]]
        except (ValueError, KeyError, TypeError):
            raise LakeError(
                f"the manifest of raw/{system}/{table} is damaged; restore versions.json from a backup"
            ) from None

    def latest_raw(self, system: str, table: str) -> RawVersion | None:
        """The newest landed version, or None."""
        versions = self.raw_versions(system, table)
        return versions[-1] if versions else None

    def read_raw(self, version: RawVersion, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of one landed version, personal columns still encrypted."""
        return self.read_parquet(version.path, columns)

    def _raw_folder(self, system: str, table: str) -> Path:
        return self.root / "raw" / _checked_name(system) / _checked_name(table)

    def _raw_version(self, system: str, table: str, entry: dict[str, Any]) -> RawVersion:
        return RawVersion(
            system=system,
            table=table,
            number=entry["number"],
            path=self._raw_folder(system, table) / entry["file"],
            ingest_date=date.fromisoformat(entry["ingest_date"]),
            schema_version=entry["schema_version"],
            digest=entry["digest"],
            rows=entry["rows"],
            landed_at=datetime.fromisoformat(entry["landed_at"]),
            facts=entry["facts"],
        )

    def _write_manifest(self, folder: Path, versions: Sequence[RawVersion]) -> None:
        entries = [
            {
                "number": version.number,
                "file": version.path.relative_to(folder).as_posix(),
                "ingest_date": version.ingest_date.isoformat(),
                "schema_version": version.schema_version,
                "digest": version.digest,
                "rows": version.rows,
                "landed_at": version.landed_at.isoformat(),
                "facts": version.facts,
            }
            for version in versions
        ]
        write_atomically(folder / "versions.json", json.dumps({"versions": entries}, indent=1).encode())

    def _clear_orphans(self, folder: Path, listed: set[Path]) -> None:
        """Remove what a killed landing left: files nobody lists, with their keys."""
        stray = [path for path in folder.glob("ingest_date=*/**/*") if path.is_file() and path not in listed]
        self._destroy_files(stray)

    def _destroy_files(self, paths: Sequence[Path]) -> int:
        """Destroy the keys of files, then the files: killed in between, what is left is unreadable."""
        self.vault.destroy_file_keys(filter(None, map(_key_id, paths)))
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    # ── originals, for the dispute window ────────────────────────────────────────────────

    def keep_original(self, system: str, table: str, content: bytes, *, received: date | None = None) -> Path:
        """Keep the bytes of a source file under a key of their own until `purge_originals` takes them.

        `received` (default: today, UTC) is when the dispute window begins. Returns the encrypted file.
        """
        key_id, key = self.vault.new_file_key()
        day = received or datetime.now(UTC).date()
        path = self._raw_folder(system, table) / "originals" / f"{day.isoformat()}-{key_id}.bin"
        write_atomically(path, b"".join(_seal(content, key, key_id)), mode=0o600)
        return path

    def originals(self, system: str, table: str) -> list[Path]:
        """The kept originals of a source table, oldest first."""
        return sorted((self._raw_folder(system, table) / "originals").glob("*.bin"))

    def read_original(self, path: Path) -> bytes:
        """The bytes of a kept original. Raises FileKeyDestroyed, LakeError."""
        key_id = _key_id(path)
        if key_id is None:
            raise LakeError("this file is not a kept original")
        return _unseal(path.read_bytes(), self.vault.file_key(key_id), key_id)

    def purge_originals(self, older_than: date) -> int:
        """Destroy the originals received before `older_than`, of all systems; returns how many."""
        return self._destroy_files(self.originals_before(older_than))

    def originals_before(self, day: date) -> list[Path]:
        """The kept originals, of all systems, that were received before `day`."""
        kept = sorted((self.root / "raw").glob("*/*/originals/*.bin"))
        return [path for path in kept if date.fromisoformat(path.name[:10]) < day]

    # ── encrypted Delta: reading ─────────────────────────────────────────────────────────

    def version(self, table: str) -> int | None:
        """The current version of a table, or None when it does not exist."""
        delta = self._open(table)
        return None if delta is None else delta.version()

    def schema(self, table: str, *, version: int | None = None) -> dict[str, pl.DataType]:
        """Column types of a version, the current one by default."""
        return dict(_polars_schema(self._existing(table, version)))

    def rows(self, table: str, *, version: int | None = None) -> int:
        """How many rows a version has, from the log alone."""
        return sum(file.rows for file in _files(self._existing(table, version)))

    def tables(self, below: str = "") -> list[str]:
        """Names of all Delta tables whose name starts with the folder `below`."""
        start = self.root / below if below else self.root
        return sorted(log.parent.relative_to(self.root).as_posix() for log in start.rglob("_delta_log"))

    def has_partition(self, table: str, partition: Mapping[str, str]) -> bool:
        """Whether the table exists and has rows in a partition."""
        return self.version(table) is not None and dict(partition) in self.partitions(table)

    def partitions(self, table: str) -> list[dict[str, str]]:
        """The partition values that have rows, sorted."""
        found = {tuple(sorted(file.partition.items())) for file in _files(self._existing(table))}
        return [dict(values) for values in sorted(found)]

    def history(self, table: str) -> list[dict[str, Any]]:
        """Commits, newest first: `version`, `timestamp` (UTC datetime), `operation`, `facts`."""
        entries = []
        for entry in self._existing(table).history():
            facts = json.loads(entry.get("merajut") or "{}")
            moment = datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
            entries.append(
                {"version": entry["version"], "timestamp": moment, "operation": entry["operation"], "facts": facts}
            )
        return entries

    def read(
        self,
        table: str,
        *,
        version: int | None = None,
        partition: Mapping[str, str] | None = None,
        columns: Sequence[str] | None = None,
        filter: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Rows of a table, decrypted in memory; `filter` and `columns` are pushed down into the files.

        Raises TableNotFound, FileKeyDestroyed (a version older than what vacuum kept), LakeError.
        """
        delta = self._existing(table, version)
        wanted = dict(partition or {})
        files = [file for file in _files(delta) if wanted.items() <= file.partition.items()]
        schema = _polars_schema(delta)
        unknown = sorted(set(columns or ()) - set(schema)) + sorted(set(wanted) - set(schema))
        if unknown:
            raise TableSchemaError(f"{table} has no column {', '.join(unknown)}")
        return self._read_files(table, files, schema, columns, filter)

    def _read_files(
        self,
        table: str,
        files: Sequence[_DataFile],
        schema: pl.Schema,
        columns: Sequence[str] | None = None,
        filter: pl.Expr | None = None,
    ) -> pl.DataFrame:
        if not files:
            empty = pl.DataFrame(schema=schema)
            empty = empty if filter is None else empty.filter(filter)
            return empty if columns is None else empty.select(columns)
        places = [(self._folder(table) / file.path, file.partition) for file in files]
        missing = sum(not path.exists() for path, _ in places)
        if missing:
            raise FileKeyDestroyed(f"{missing} files of this version of {table} were vacuumed; read a newer version")
        return self._scan(places, pl.DataFrame(schema=schema).to_arrow().schema, table).collect(columns, filter)

    # ── encrypted Delta: writing ─────────────────────────────────────────────────────────

    def overwrite(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        partition: Mapping[str, str] | None = None,
        expected_version: int | None = None,
        may_gain_columns: bool = False,
        facts: Mapping[str, Fact] | None = None,
    ) -> int:
        """Replace a table, or one partition of it, by `frame`; returns the new version.

        With `expected_version` (NO_TABLE for a table that must not exist yet), a table that was changed
        since is left alone: StaleVersionError. A frame of another schema replaces the schema when it
        replaces all rows, and is refused (TableSchemaError) when other partitions would keep the old one; but
        for new columns with `may_gain_columns`, which are null in the rows of other partitions then.
        """
        check_facts(facts or {}, table)
        values = _checked_partition(table, partition)
        data = _without_partition(table, _storable(frame, table), values)
        with self._locked(table):
            delta = self._open(table)
            _check_version(table, delta, expected_version)
            _check_partitioning(table, delta, values)
            schema = pl.Schema({**data.schema, **dict.fromkeys(values, pl.String())})
            files = [] if delta is None else _files(delta)
            kept = [file for file in files if values and file.partition != values]
            if delta is not None and kept:
                _check_schema(table, _polars_schema(delta), schema, may_gain_columns=may_gain_columns)
            added = [self._write_data(table, data, values)] if data.height else []
            if delta is None or not kept:
                return self._commit(table, delta, added, None, schema, list(values), facts)
            known = _polars_schema(delta)
            if not set(schema) <= set(known):
                gained = pl.Schema({**known, **schema})
                return self._commit(table, delta, added, None, gained, list(values), facts, replaced=values)
            removed = [file for file in files if file.partition == values]
            return self._commit(table, delta, added, removed, known, list(values), facts)

    def check_columns(
        self,
        table: str,
        schema: Mapping[str, pl.DataType],
        *,
        partition: Mapping[str, str],
        may_gain_columns: bool = False,
    ) -> None:
        """Refuse as `overwrite` would a frame of this schema in a partition, before there is one: TableSchemaError."""
        delta = self._open(table)
        if delta is None:
            return
        values = _checked_partition(table, partition)
        _check_partitioning(table, delta, values)
        if any(file.partition != values for file in _files(delta)):
            stored = _storable(pl.DataFrame(schema=schema), table).schema
            wanted = pl.Schema({**stored, **dict.fromkeys(values, pl.String())})
            _check_schema(table, _polars_schema(delta), wanted, may_gain_columns=may_gain_columns)

    def merge(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        key: Sequence[str],
        order_by: str,
        buckets: int = 1,
        gone: pl.Expr | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> MergeResult:
        """Insert or update rows by `key`; the row with the newer `order_by` stays, of equals the incoming one.

        Copy-on-write: the table is cut into `buckets` by a hash of the key, and only buckets in which
        something changes are rewritten. Nothing changed: no commit, same version. Of several incoming
        rows with one key, the newest counts and the others are "unchanged". Null in `order_by` is oldest.
        Stored rows for which `gone` is true count as not there: they are deleted in the same commit, or
        replaced by the incoming row of their key, however old that is.
        """
        check_facts(facts or {}, table)
        incoming = _storable(frame, table)
        _check_key(table, incoming, key, order_by)
        newest = incoming
        if incoming.select(key).hash_rows().n_unique() < incoming.height:
            newest = incoming.sort(order_by, nulls_last=False, maintain_order=True).unique(
                subset=list(key), keep="last", maintain_order=True
            )
        with self._locked(table):
            delta = self._open(table)
            _check_partitioning(table, delta, {})
            files = [] if delta is None else _files(delta)
            schema = newest.schema if delta is None else _polars_schema(delta)
            _check_schema(table, schema, newest.schema)
            newest = newest.select(schema.names())
            laid_out = all(file.bucket is not None and file.bucket[0] == buckets for file in files)
            plan = _plan_buckets(newest, files, key, buckets, gone) if laid_out else [(None, newest, files)]
            inserted = updated = deleted = 0
            added: list[AddAction] = []
            removed: list[_DataFile] = []
            for bucket, rows, current_files in plan:
                current = self._read_files(table, current_files, schema)
                outcome = _merge_rows(current, rows, key, order_by, gone)
                if outcome.merged is None and laid_out:
                    continue
                inserted += outcome.inserted
                updated += outcome.updated
                deleted += outcome.deleted
                if outcome.merged is not None:
                    removed += current_files
                    added += self._write_buckets(table, outcome.merged, key, buckets, bucket)
            if delta is not None and not (inserted or updated or deleted):
                return MergeResult(delta.version(), 0, 0, incoming.height)
            version = self._commit(table, delta, added, removed, schema, [], facts)
            return MergeResult(version, inserted, updated, incoming.height - inserted - updated, deleted)

    def delete_where(self, table: str, predicate: pl.Expr, *, facts: Mapping[str, Fact] | None = None) -> int:
        """Delete the rows for which `predicate` is true; returns how many. No match: no commit.

        The old files stay readable through older versions until `vacuum` destroys their keys.
        """
        return self._rewrite_where(table, predicate, lambda rows, found: rows.filter(~found), facts)

    def clear_where(
        self, table: str, column: str, predicate: pl.Expr, *, facts: Mapping[str, Fact] | None = None
    ) -> int:
        """Make `column` null in the rows for which `predicate` is true; returns how many. Else as `delete_where`."""
        return self._rewrite_where(
            table, predicate, lambda rows, found: rows.with_columns(rows[column].set(found, None)), facts
        )

    def _rewrite_where(
        self,
        table: str,
        predicate: pl.Expr,
        change: Callable[[pl.DataFrame, pl.Series], pl.DataFrame],
        facts: Mapping[str, Fact] | None,
    ) -> int:
        """Rewrite the files with rows for which `predicate` is true. `change` gets the rows of one, and which they
        are. Whatever the key and the layout of the table are."""
        check_facts(facts or {}, table)
        with self._locked(table):
            delta = self._existing(table)
            schema = _polars_schema(delta)
            absent = sorted(set(predicate.meta.root_names()) - set(schema))
            if absent:
                raise TableSchemaError(f"{table} has no column {', '.join(absent)}")
            changed = 0
            added: list[AddAction] = []
            removed: list[_DataFile] = []
            for file in _files(delta):
                rows = self._read_files(table, [file], schema)
                found = rows.select(found=predicate.fill_null(False) & pl.repeat(True, pl.len())).to_series()
                if not found.any():
                    continue
                changed += int(found.sum())
                removed.append(file)
                left = change(rows, found)
                if left.height:
                    prefix = "part" if file.bucket is None else "bucket-{}-{}".format(*file.bucket)
                    added.append(self._write_data(table, left.drop(list(file.partition)), file.partition, prefix))
            if changed:
                self._commit(table, delta, added, removed, schema, delta.metadata().partition_columns, facts)
            return changed

    def restore(self, table: str, version: int) -> int:
        """Make an older version the current one, as a new version, which is returned.

        Raises LakeError when vacuum has destroyed files of that version. Erasures and withdrawn consents
        since then have to be applied again by the caller.
        """
        with self._locked(table):
            wanted = self._existing(table, version)
            for file in _files(wanted):
                path = self._folder(table) / file.path
                if not path.exists():
                    raise LakeError(f"version {version} of {table} was vacuumed; choose a newer one")
                self.vault.file_key(_key_id(path) or "")
            delta = self._existing(table)
            try:
                delta.restore(version)
            except DeltaError:
                raise LakeError(f"version {version} of {table} could not be restored; see its history") from None
            return self._existing(table).version()

    def vacuum(self, table: str, retain_versions: int = 1) -> int:
        """Destroy the files that none of the newest `retain_versions` versions uses, keys first.

        What killed writers left goes with them. Returns the number of files.
        """
        if retain_versions < 1:
            raise ValueError("vacuum keeps at least the current version")
        with self._locked(table):
            current = self._existing(table).version()
            used: set[Path] = set()
            for number in range(max(0, current - retain_versions + 1), current + 1):
                used |= {self._folder(table) / file.path for file in _files(self._existing(table, number))}
            folder = self._folder(table)
            present = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".part")]
            return self._destroy_files(
                [path for path in present if path not in used and "_delta_log" not in path.parts]
            )

    # ── encrypted Delta: the parts ───────────────────────────────────────────────────────

    def _folder(self, table: str) -> Path:
        for part in table.split("/"):
            _checked_name(part)
        return self.root / table

    def _locked(self, table: str) -> Any:
        return exclusive(self.root / ".locks" / f"{table.replace('/', '.')}.lock", _LOCK_SECONDS)

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        folder = self._folder(table)
        if not (folder / "_delta_log").is_dir() or not DeltaTable.is_deltatable(str(folder)):
            return None
        try:
            return DeltaTable(str(folder), version=version)
        except DeltaError:
            wanted = "version" if version is None else f"version {version}"
            raise TableNotFound(f"{table} has no readable {wanted}; see its history") from None

    def _existing(self, table: str, version: int | None = None) -> DeltaTable:
        delta = self._open(table, version)
        if delta is None:
            raise TableNotFound(f"{table} does not exist yet; materialise the asset that writes it")
        return delta

    def _write_data(
        self, table: str, frame: pl.DataFrame, partition: Mapping[str, str], prefix: str = "part"
    ) -> AddAction:
        key_id, _ = self.vault.new_file_key()
        folder = "".join(f"{name}={value}/" for name, value in partition.items())
        path = f"{folder}{prefix}-{key_id}.parquet"
        size = self._write_encrypted(frame, self._folder(table) / path, key_id)
        # Statistics would show least and greatest values in clear, so that there is only the count.
        statistics = json.dumps({"numRecords": frame.height})
        return AddAction(path, size, dict(partition), _now_milliseconds(), True, statistics)

    def _write_buckets(
        self, table: str, merged: pl.DataFrame, key: Sequence[str], buckets: int, bucket: int | None
    ) -> list[AddAction]:
        """Write one bucket, or (bucket None) cut `merged` into all of them."""
        parts = {bucket: merged} if bucket is not None else _cut(merged, key, buckets)
        return [
            self._write_data(table, rows, {}, f"bucket-{buckets}-{number}")
            for number, rows in sorted(parts.items())
            if rows.height
        ]

    def _commit(
        self,
        table: str,
        delta: DeltaTable | None,
        added: Sequence[AddAction],
        removed: Sequence[_DataFile] | None,
        schema: pl.Schema,
        partition_by: Sequence[str],
        facts: Mapping[str, Fact] | None,
        replaced: Mapping[str, str] | None = None,
    ) -> int:
        """Commit on top of the version that was read, or not at all. `removed` None replaces everything, or the
        partition `replaced`, and the schema with it: Delta changes that in an overwrite only."""
        delta_schema = Schema.from_arrow(pl.DataFrame(schema=schema).to_arrow().schema)
        # No retries: another committer would mean that what was read is no longer what is there.
        properties = CommitProperties(
            custom_metadata={"merajut": json.dumps(dict(facts or {}), sort_keys=True)}, max_commit_retries=0
        )
        partitions = list(partition_by) or None
        if delta is None:
            folder = self._folder(table)
            folder.mkdir(parents=True, exist_ok=True)
            create_table_with_add_actions(
                str(folder), delta_schema, list(added), "error", partitions, commit_properties=properties
            )
            return 0
        version = delta.version()
        moment = _now_milliseconds()
        gone = [RemoveAction(file.path, True, moment, file.size, dict(file.partition)) for file in removed or ()]
        mode = "overwrite" if removed is None else "append"
        try:
            delta.create_write_transaction(
                [*added, *gone],
                mode,
                delta_schema,
                partitions,
                [(name, "=", value) for name, value in replaced.items()] if replaced else None,
                commit_properties=properties,
            )
        except DeltaError:
            raise StaleVersionError(
                f"{table} could not be committed on top of version {version}: it changed meanwhile; run again"
            ) from None
        return version + 1


class _Scan:
    """Encrypted files as one frame."""

    def __init__(
        self, lake: Lake, files: Sequence[tuple[Path, Mapping[str, str]]], schema: pa.Schema | None, what: str
    ) -> None:
        self._lake = lake
        self._files = files
        self._schema = schema
        self._what = what

    def collect(self, columns: Sequence[str] | None, filter: pl.Expr | None) -> pl.DataFrame:
        errors: list[VaultError] = []
        try:
            frame = pl.scan_pyarrow_dataset(self._dataset(errors))
            if filter is not None:
                frame = frame.filter(filter)
            if columns is not None:
                frame = frame.select(columns)
            collected = frame.collect()
            # Arrow keeps what it read for reuse; a run that reads a million rows once would hold them for good.
            pa.default_memory_pool().release_unused()
            return collected
        except (pl.exceptions.ColumnNotFoundError, pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError):
            raise TableSchemaError(f"{self._what} has not the columns or types that were asked for") from None
        except Exception:  # noqa: BLE001 - Arrow and Polars raise many kinds; all become one clean error
            # What Arrow says may quote content; the vault's reason is the one worth reading.
            if errors:
                raise type(errors[0])(f"{self._what}: {errors[0]}") from None
            raise LakeError(
                f"{self._what} holds a damaged or foreign file; restore an older version or build it again"
            ) from None

    def _dataset(self, errors: list[VaultError]) -> ds.FileSystemDataset:
        decryption = ds.ParquetDecryptionConfig(
            self._lake._factory(errors), pe.KmsConnectionConfig(), pe.DecryptionConfiguration()
        )
        options = ds.ParquetFragmentScanOptions(decryption_config=decryption)
        form = ds.ParquetFileFormat(default_fragment_scan_options=options)
        system = fs.LocalFileSystem()
        fragments = [
            form.make_fragment(str(path), filesystem=system, partition_expression=_expression(partition))
            for path, partition in self._files
        ]
        schema = self._schema if self._schema is not None else fragments[0].physical_schema
        return ds.FileSystemDataset(fragments, schema, form, system)


# ── frames and schemas ───────────────────────────────────────────────────────────────────


def _storable(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """`frame` in types that Delta has: categories as text, unsigned integers widened, times in microseconds."""
    wanted = {name: _stored_type(dtype, f"{table}.{name}") for name, dtype in frame.schema.items()}
    try:
        return frame.cast({name: dtype for name, dtype in wanted.items() if dtype != frame.schema[name]})
    except pl.exceptions.PolarsError:
        raise TableSchemaError(f"{table}: an unsigned integer is too large for Delta; use a smaller type") from None


def _stored_type(dtype: pl.DataType, column: str) -> pl.DataType:
    base = dtype.base_type()
    if base in _STORED_AS_IS:
        return dtype
    if base in (pl.Categorical, pl.Enum):
        return pl.String()
    if base in _WIDENED:
        return _WIDENED[base]()
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.List):
        return pl.List(_stored_type(_instance(dtype.inner), column))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({inner.name: _stored_type(_instance(inner.dtype), column) for inner in dtype.fields})
    raise TableSchemaError(f"{column}: type {base.__name__} cannot be stored; cast it to a plain type")


def _instance(dtype: Any) -> pl.DataType:
    """The type itself, for a class that stands for it."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def _polars_schema(delta: DeltaTable) -> pl.Schema:
    empty = pa.schema(delta.schema().to_arrow()).empty_table()
    frame = pl.from_arrow(empty)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a Delta schema is a schema of several columns")
    return frame.schema


def _check_schema(table: str, old: pl.Schema, new: pl.Schema, *, may_gain_columns: bool = False) -> None:
    """Same columns and types, in any order; or more of them."""
    missing = sorted(set(old) - set(new))
    extra = [] if may_gain_columns else sorted(set(new) - set(old))
    retyped = sorted(name for name in set(old) & set(new) if old[name] != new[name])
    if missing or extra or retyped:
        changes = [
            f"{label} {', '.join(names)}"
            for label, names in (("missing", missing), ("new", extra), ("retyped", retyped))
            if names
        ]
        raise TableSchemaError(
            f"the columns of {table} changed ({'; '.join(changes)}), and rows that are kept in it have the old ones; "
            "put them back in its contract, or declare the table under a new name"
        )


def _without_partition(table: str, frame: pl.DataFrame, values: Mapping[str, str]) -> pl.DataFrame:
    """Partition columns live in the log; those that the frame has must agree."""
    for name, value in values.items():
        agrees = (pl.col(name).cast(pl.String) == value).fill_null(False).all()
        if name in frame.columns and not frame.select(agrees).item():
            raise TableSchemaError(f"{table}: column {name} of the frame contradicts the partition it is written to")
    return frame.drop([name for name in values if name in frame.columns])


def _checked_partition(table: str, partition: Mapping[str, str] | None) -> dict[str, str]:
    values = dict(partition or {})
    for name, value in values.items():
        if not _NAME.fullmatch(name) or not _PARTITION_VALUE.fullmatch(value):
            raise LakeError(f"{table}: a partition is named by letters, digits, '.', '_' and '-'")
    return values


def _check_partitioning(table: str, delta: DeltaTable | None, values: Mapping[str, str]) -> None:
    if delta is None:
        return
    columns = list(delta.metadata().partition_columns)
    if sorted(columns) != sorted(values):
        said = f"is partitioned by {', '.join(columns)}" if columns else "is not partitioned"
        raise TableSchemaError(f"{table} {said}; write it the same way")


def _check_version(table: str, delta: DeltaTable | None, expected: int | None) -> None:
    current = NO_TABLE if delta is None else delta.version()
    if expected is not None and expected != current:
        raise StaleVersionError(
            f"{table} is at version {current} but version {expected} was read; read it again and repeat the step"
        )


def _check_key(table: str, frame: pl.DataFrame, key: Sequence[str], order_by: str) -> None:
    absent = [name for name in (*key, order_by) if name not in frame.columns]
    if absent:
        raise TableSchemaError(f"{table}: the frame has no column {', '.join(absent)} to merge by")
    for name in key:
        if frame.schema[name].is_float() or frame.schema[name].is_nested():
            raise TableSchemaError(f"{table}: column {name} has a type by which rows cannot be merged")
        if frame[name].null_count():
            raise TableSchemaError(f"{table}: key column {name} has nulls; quarantine those rows first")


# ── merging ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Merged:
    """The rows afterwards, None when nothing changed."""

    merged: pl.DataFrame | None
    inserted: int
    updated: int
    deleted: int = 0


def _merge_rows(
    current: pl.DataFrame, incoming: pl.DataFrame, key: Sequence[str], order_by: str, gone: pl.Expr | None = None
) -> _Merged:
    """Merge `incoming` (unique by key) into what is not `gone` of `current`, both with the same columns."""
    if current.is_empty():
        return _Merged(incoming if incoming.height else None, incoming.height, 0)
    keys = list(key)
    standing = current if gone is None else current.filter(~gone.fill_null(False))
    inserted = incoming.join(standing.select(keys), on=keys, how="anti")
    replaced = inserted.join(current.select(keys), on=keys, how="semi").height
    deleted = current.height - standing.height - replaced
    known = incoming.join(standing.with_columns(pl.lit(True).alias("_known")), on=keys, how="inner", suffix="_current")
    others = [name for name in incoming.columns if name not in keys]
    # A key column can serve as the order, too; then no update can be newer.
    before = pl.col(order_by if order_by in keys else f"{order_by}_current")
    not_older = pl.col(order_by).is_not_null() & (before <= pl.col(order_by)) | before.is_null()
    differs = pl.any_horizontal(*(pl.col(name).ne_missing(pl.col(f"{name}_current")) for name in others), pl.lit(False))
    updated = known.filter(not_older.fill_null(True) & differs).select(incoming.columns)
    if not (inserted.height or updated.height or deleted):
        return _Merged(None, 0, 0)
    kept = standing.join(updated.select(keys), on=keys, how="anti")
    merged = pl.concat([kept, updated, inserted])
    return _Merged(merged, inserted.height - replaced, updated.height + replaced, deleted)


def _plan_buckets(
    incoming: pl.DataFrame, files: Sequence[_DataFile], key: Sequence[str], buckets: int, gone: pl.Expr | None
) -> list[tuple[int | None, pl.DataFrame, list[_DataFile]]]:
    """(bucket, incoming rows, its current files) for each bucket that incoming rows fall into; when rows may
    be gone, for every bucket."""
    cut = _cut(incoming, key, buckets)
    stored = {file.bucket[1] for file in files if file.bucket is not None} if gone is not None else set()
    return [
        (number, cut.get(number, incoming.clear()), [file for file in files if file.bucket == (buckets, number)])
        for number in sorted(stored | set(cut))
    ]


def _cut(frame: pl.DataFrame, key: Sequence[str], buckets: int) -> dict[int, pl.DataFrame]:
    """Rows by bucket. CRC-32 because it is the same in every version of every library, unlike frame hashes."""
    if buckets == 1:
        return {0: frame}
    texts = frame.select(pl.concat_str([pl.col(name).cast(pl.String) for name in key], separator="\0")).to_series()
    numbers = pl.Series("_bucket", [zlib.crc32(text.encode()) % buckets for text in texts.to_list()], dtype=pl.Int64)
    cut = frame.with_columns(numbers).partition_by("_bucket", as_dict=True, include_key=False)
    return {int(number): rows for (number,), rows in cut.items()}


# ── files ────────────────────────────────────────────────────────────────────────────────


def _files(delta: DeltaTable) -> list[_DataFile]:
    actions = pl.from_arrow(pa.table(delta.get_add_actions(flatten=True)))
    if not isinstance(actions, pl.DataFrame):
        raise TypeError("the actions of a Delta table are a table")
    columns = list(delta.metadata().partition_columns)
    return [
        _DataFile(
            path=row["path"],
            size=row["size_bytes"],
            rows=row["num_records"],
            partition={name: row[f"partition.{name}"] for name in columns},
        )
        for row in actions.sort("path").iter_rows(named=True)
    ]


def _expression(partition: Mapping[str, str]) -> ds.Expression:
    expression = ds.scalar(True)
    for name, value in partition.items():
        expression = expression & (ds.field(name) == value)
    return expression


def _key_id(path: Path) -> str | None:
    """The id of a file's key, from its name (also from that of a file being written)."""
    name = path.name.removeprefix(".").removesuffix(".part")
    match = _KEYED_FILE.fullmatch(name)
    return match[1] if match else None


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise LakeError("systems and tables are named by lower-case letters, digits, '_' and '-'")
    return name


def _now_milliseconds() -> int:
    return int(time.time() * 1000)


def _seal(content: bytes, key: bytes, key_id: str) -> Iterable[bytes]:
    """AES-256-GCM in chunks; each is bound to its place and to whether it is the last."""
    aead = AESGCM(key)
    starts = range(0, max(len(content), 1), _ORIGINAL_CHUNK_BYTES)
    for number, start in enumerate(starts):
        nonce = os.urandom(_NONCE_BYTES)
        place = _place(key_id, number, number == len(starts) - 1)
        yield nonce + aead.encrypt(nonce, content[start : start + _ORIGINAL_CHUNK_BYTES], place)


def _unseal(sealed: bytes, key: bytes, key_id: str) -> bytes:
    aead = AESGCM(key)
    step = _NONCE_BYTES + _ORIGINAL_CHUNK_BYTES + 16
    starts = range(0, len(sealed), step)
    try:
        return b"".join(
            aead.decrypt(
                sealed[start : start + _NONCE_BYTES],
                sealed[start + _NONCE_BYTES : start + step],
                _place(key_id, number, number == len(starts) - 1),
            )
            for number, start in enumerate(starts)
        )
    except InvalidTag:
        raise LakeError("a kept original was altered or cut; it cannot serve as evidence") from None


def _place(key_id: str, number: int, is_last: bool) -> bytes:
    return f"original {key_id} {number} {is_last}".encode()
