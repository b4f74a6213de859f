"""The key vault: every key there is, made, wrapped, handed out and destroyed here.

Here belong keys and what proves that a key is gone. Encrypting rows or files with them does not
(see `encryption`, `lake`, `warehouse`). Ids of people are stored as keyed hashes only, and no
exception or representation shows an id or a key.

Master key file: one line per version of the key-encryption key, `<version> <base64 of 32 bytes>`.
There is one line, except while a rotation is under way. Rotation destroys the older version, so that
older backups of the vault cannot be opened any more, and with them the keys that erasures destroyed.

What a backup of the vault would take back is known outside it, too: the register of tombstones lists the
keyed hashes of everybody erased, one line each, `<kind> <hash>`. A vault that lacks one of them hands out no
key of a person or a file. The other way round, the vault keeps watermarks: how far files that only grow (the
audit log, the pointers of publications) had come, so that older copies of those show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resources.locks import exclusive, flush_directory, write_atomically

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAC_BYTES = 16
_IDS_PER_QUERY = 20_000
_BUSY_MILLISECONDS = 60_000
_CHECK_PURPOSE = b"vault check"
_IDENTITY_PURPOSE = "vault/identity"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ROW_KEY_SALT = b"merajut row key"

_INHERITED: list[sqlite3.Connection] = []  # never closed here: it would be closed under the parent's feet

_TABLES = """
CREATE TABLE master (
    version INTEGER PRIMARY KEY, proof BLOB NOT NULL) STRICT;
CREATE TABLE subject_key (
    subject TEXT NOT NULL, id_hash BLOB NOT NULL, wrapped BLOB,
    PRIMARY KEY (subject, id_hash)) STRICT, WITHOUT ROWID;
CREATE TABLE file_key (
    key_id TEXT PRIMARY KEY, wrapped BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE named_key (
    purpose TEXT PRIMARY KEY, wrapped BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE watermark (
    name TEXT PRIMARY KEY, number INTEGER NOT NULL, digest TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


class VaultError(RuntimeError):
    """The vault refuses. Messages name the rule and the remedy, never a key or an id."""


class WrongKeyError(VaultError):
    """A key does not open what it is tried on, or its file is missing, malformed or readable by others."""


class FileKeyDestroyed(VaultError):
    """The key of a file was destroyed on purpose; nobody can read the file any more."""


class ForgetfulVault(VaultError):
    """The vault is older than an erasure: it would hand out keys that were destroyed. Names the remedy."""


class NamedKeyDestroyed(VaultError):
    """The key of a purpose was destroyed on purpose; what it produced can no longer be linked."""


@dataclass(frozen=True)
class Watermark:
    """How far something had come: a number that only grows, and a digest of what it was then."""

    number: int
    digest: str


@dataclass(frozen=True)
class KeyEncryptionKey:
    """One version of the key that wraps all other keys."""

    version: int
    key: bytes = field(repr=False)


class _Cipher:
    """Wraps and unwraps keys under one key-encryption key; the wrapped text is bound to an identity."""

    def __init__(self, master: KeyEncryptionKey) -> None:
        self.version = master.version
        self._prefix = f"kek {master.version}\0".encode()
        self._aead = AESGCM(master.key)

    def wrap(self, key: bytes, identity: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, key, self._prefix + identity)

    def wrap_many(self, keys: Sequence[bytes], identities: Sequence[bytes]) -> list[bytes]:
        noise = os.urandom(_NONCE_BYTES * len(keys))
        encrypt, prefix, wrapped = self._aead.encrypt, self._prefix, []
        for position, (key, identity) in enumerate(zip(keys, identities, strict=True)):
            nonce = noise[position * _NONCE_BYTES : (position + 1) * _NONCE_BYTES]
            wrapped.append(nonce + encrypt(nonce, key, prefix + identity))
        return wrapped

    def unwrap(self, wrapped: bytes, identity: bytes) -> bytes:
        try:
            return self._aead.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], self._prefix + identity)
        except InvalidTag:
            raise WrongKeyError(
                "a stored key does not open under the master key: the vault was altered or mixed with another; "
                "restore vault and master key from the same backup"
            ) from None


class Hasher:
    """HMAC-SHA256 of many short messages under one key, with the key's part computed once.

    Same result as the standard library's HMAC (RFC 2104), about three times as fast.
    """

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class KeyVault:
    """Keys in an SQLite database, wrapped under a master key that lies in a file of its own.

    Safe for several processes and threads at once. Nothing is opened or created before first use.

    Parameters
    ----------
    database: the SQLite file.
    key_directory: holds `master.key`, `analyst.key` and `stakeholders/`; all 0600 in 0700 folders.
    tombstones: the register of tombstones; lies apart from the vault, so that it is not restored with it.
    """

    def __init__(self, database: Path, key_directory: Path, tombstones: Path | None = None) -> None:
        self.database = Path(database)
        self.key_directory = Path(key_directory)
        self.tombstones = tombstones
        self._remembers_all = False
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Path | None]:
        return {"database": self.database, "key_directory": self.key_directory, "tombstones": self.tombstones}

    def __setstate__(self, state: dict[str, Path | None]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def master_key_file(self) -> Path:
        return self.key_directory / "master.key"

    def open(self) -> None:
        """Open the vault now (creating it on first use), so that a wrong master key shows early."""
        self._connection()

    # ── subject keys ─────────────────────────────────────────────────────────────────────

    def subject_keys(self, subject: str, ids: Sequence[str], create: bool = True) -> dict[str, bytes]:
        """The 32-byte data keys of the people `ids` of the kind `subject` (such as "child").

        Missing keys are made when `create`. Ids whose key was destroyed stay absent from the result for
        ever; with `create=False`, so do ids never seen. Nulls must be left out by the caller.
        Raises ForgetfulVault.
        """
        self._refuse_forgetful()
        unique = list(dict.fromkeys(ids))
        if not unique:
            return {}
        hashes = self._id_hashes(subject, unique)
        found = self._read_subject_keys(subject, hashes)
        missing = [id_hash for id_hash in hashes if id_hash not in found]
        if create and missing:
            found.update(self._create_subject_keys(subject, missing))
        keys: dict[str, bytes] = {}
        for name, id_hash in zip(unique, hashes, strict=True):
            key = found.get(id_hash)
            if key is not None:
                keys[name] = key
        return keys

    def destroy_subject(self, subject: str, id: str) -> bool:
        """Destroy the key of one person for ever, whether it existed or not; see destroy_subjects."""
        return self.destroy_subjects(subject, [id]) == 1

    def destroy_subjects(self, subject: str, ids: Sequence[str]) -> int:
        """Overwrite the keys of `ids` and leave tombstones (keyed hashes), so that no key is made again.

        Returns how many were not destroyed before. Afterwards the write-ahead log is emptied, because it
        would still hold the old pages.
        """
        hashes = self._id_hashes(subject, list(dict.fromkeys(ids)))
        with self._transaction() as (connection, _):
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO subject_key VALUES (?, ?, NULL) "
                "ON CONFLICT DO UPDATE SET wrapped = NULL WHERE wrapped IS NOT NULL",
                [(subject, id_hash) for id_hash in hashes],
            )
            changed = connection.total_changes - before
        self._empty_log()
        self._register_tombstones()
        return changed

    def destroyed(self, subject: str, ids: Sequence[str]) -> set[str]:
        """Which of `ids` had their key destroyed."""
        unique = list(dict.fromkeys(ids))
        hashes = self._id_hashes(subject, unique)
        gone = {id_hash for id_hash, wrapped in self._select_subjects(subject, hashes) if wrapped is None}
        return {name for name, id_hash in zip(unique, hashes, strict=True) if id_hash in gone}

    def erasures(self) -> int:
        """How many people had their key destroyed; changes whenever somebody is erased."""
        with self._snapshot():
            (count,) = self._connection().execute("SELECT count(*) FROM subject_key WHERE wrapped IS NULL").fetchone()
        return int(count)

    def forgotten(self) -> int:
        """How many registered tombstones the vault lacks: more than none when it is older than an erasure."""
        return len(self._missing_tombstones())

    def destroy_again(self) -> int:
        """Put back the tombstones that a restored vault lacks, destroying those keys again; returns how many.

        Ids are hashed under a key of the vault itself: a vault that was made anew, rather than restored, gets
        tombstones that fit nobody. Its raw rows are unreadable anyway.
        """
        missing = self._missing_tombstones()
        with self._transaction() as (connection, _):
            connection.executemany(
                "INSERT INTO subject_key VALUES (?, ?, NULL) ON CONFLICT DO UPDATE SET wrapped = NULL", missing
            )
        self._empty_log()
        return len(missing)

    def _refuse_forgetful(self) -> None:
        """Checked once by each vault object: a vault is not exchanged under a running process."""
        if self._remembers_all:
            return
        forgotten = self.forgotten()
        if forgotten:
            raise ForgetfulVault(
                f"the key vault is older than {forgotten} erased source id(s): it would bring erased people back; put "
                "the newest vault.sqlite and master.key back, or, when they are lost, restore lake, vault, ledger and "
                "audit log from one backup and run `merajut erase-again`"
            )
        self._remembers_all = True

    def _missing_tombstones(self) -> list[tuple[str, bytes]]:
        registered = self._registered_tombstones()
        if not registered or not self.database.exists():
            return sorted(registered)
        with self._snapshot():
            return sorted(registered - self._known_tombstones())

    def _known_tombstones(self) -> set[tuple[str, bytes]]:
        return set(self._connection().execute("SELECT subject, id_hash FROM subject_key WHERE wrapped IS NULL"))

    def _registered_tombstones(self) -> set[tuple[str, bytes]]:
        if self.tombstones is None or not self.tombstones.exists():
            return set()
        try:
            pairs = (line.split(" ") for line in self.tombstones.read_text(encoding="ascii").splitlines())
            return {(subject, bytes.fromhex(id_hash)) for subject, id_hash in pairs}
        except ValueError:
            raise VaultError(
                f"the register of tombstones, {self.tombstones.name}, is damaged; restore it from a backup"
            ) from None

    def _register_tombstones(self) -> None:
        """After the keys are destroyed: killed in between, the erasure is unfinished and is called again."""
        if self.tombstones is None:
            return
        with exclusive(self.key_directory / ".lock"):
            everybody = sorted(self._known_tombstones() | self._registered_tombstones())
            lines = [f"{subject} {id_hash.hex()}\n" for subject, id_hash in everybody]
            write_atomically(self.tombstones, "".join(lines).encode(), mode=0o600)

    def _id_hashes(self, subject: str, ids: Sequence[str]) -> list[bytes]:
        hasher, prefix = Hasher(self.named_key(_IDENTITY_PURPOSE)), f"{subject}\0".encode()
        return [hasher.digest(prefix + name.encode())[:_MAC_BYTES] for name in ids]

    def _select_subjects(self, subject: str, hashes: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        connection = self._connection()
        for start in range(0, len(hashes), _IDS_PER_QUERY):
            chunk = hashes[start : start + _IDS_PER_QUERY]
            marks = ",".join("?" * len(chunk))
            yield from connection.execute(
                f"SELECT id_hash, wrapped FROM subject_key WHERE subject = ? AND id_hash IN ({marks})",  # noqa: S608
                (subject, *chunk),
            )

    def _read_subject_keys(self, subject: str, hashes: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Keys by id hash; None marks a tombstone."""
        with self._snapshot() as cipher:
            prefix, unwrap = f"subject {subject}\0".encode(), cipher.unwrap
            return {
                id_hash: None if wrapped is None else unwrap(wrapped, prefix + id_hash)
                for id_hash, wrapped in self._select_subjects(subject, hashes)
            }

    def _create_subject_keys(self, subject: str, hashes: Sequence[bytes]) -> dict[bytes, bytes | None]:
        noise = os.urandom(KEY_BYTES * len(hashes))
        fresh = [noise[start : start + KEY_BYTES] for start in range(0, len(noise), KEY_BYTES)]
        prefix = f"subject {subject}\0".encode()
        with self._transaction() as (connection, cipher):
            wrapped = cipher.wrap_many(fresh, [prefix + id_hash for id_hash in hashes])
            # Sorted inserts fill the tree from left to right instead of touching a page per row.
            rows = [(subject, id_hash, text) for id_hash, text in sorted(zip(hashes, wrapped, strict=True))]
            before = connection.total_changes
            connection.executemany("INSERT INTO subject_key VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)
            if connection.total_changes - before == len(rows):
                return dict(zip(hashes, fresh, strict=True))
        # Another process made some of them in between: whoever was first, wins.
        return self._read_subject_keys(subject, hashes)

    # ── file keys ────────────────────────────────────────────────────────────────────────

    def new_file_key(self) -> tuple[str, bytes]:
        """A new key for one file: (key id of 32 hex digits, 32 bytes)."""
        return self.new_file_keys(1)[0]

    def new_file_keys(self, count: int) -> list[tuple[str, bytes]]:
        """`count` new file keys in one transaction."""
        made = [(secrets.token_hex(16), os.urandom(KEY_BYTES)) for _ in range(count)]
        with self._transaction() as (connection, cipher):
            connection.executemany(
                "INSERT INTO file_key VALUES (?, ?)",
                [(key_id, cipher.wrap(key, f"file {key_id}".encode())) for key_id, key in made],
            )
        return made

    def file_key(self, key_id: str) -> bytes:
        """The key of one file. Raises FileKeyDestroyed, ForgetfulVault, or VaultError for a key this vault
        never made."""
        self._refuse_forgetful()
        with self._snapshot() as cipher:
            row = self._connection().execute("SELECT wrapped FROM file_key WHERE key_id = ?", (key_id,)).fetchone()
            if row is None:
                raise VaultError(
                    "this vault never made the key of that file: lake and vault do not belong together; "
                    "restore both from the same backup"
                )
            if row[0] is None:
                raise FileKeyDestroyed("the key of this file was destroyed; its content is gone for good")
            return cipher.unwrap(row[0], f"file {key_id}".encode())

    def destroy_file_key(self, key_id: str) -> None:
        """Destroy the key of one file for ever; see destroy_file_keys."""
        self.destroy_file_keys([key_id])

    def destroy_file_keys(self, key_ids: Iterable[str]) -> int:
        """Overwrite the keys of files; backups of the files die with them. Returns how many were alive."""
        with self._transaction() as (connection, _):
            before = connection.total_changes
            connection.executemany(
                "UPDATE file_key SET wrapped = NULL WHERE key_id = ? AND wrapped IS NOT NULL",
                [(key_id,) for key_id in key_ids],
            )
            changed = connection.total_changes - before
        if changed:
            self._empty_log()
        return changed

    # ── named keys ───────────────────────────────────────────────────────────────────────

    def named_key(self, purpose: str) -> bytes:
        """The 32-byte key of a purpose, such as "digest", "token/nik" or
        "pseudonym/<stakeholder>/<period>"; made on first use. Raises NamedKeyDestroyed."""
        key = self._read_named_key(purpose)
        return self._create_named_key(purpose) if key is None else key

    def rotate_named_key(self, purpose: str) -> bytes:
        """Replace the key of a purpose: what the old key produced can no longer be linked to the new."""
        with self._transaction() as (connection, cipher):
            key = os.urandom(KEY_BYTES)
            connection.execute(
                "INSERT INTO named_key VALUES (?, ?) ON CONFLICT DO UPDATE SET wrapped = excluded.wrapped",
                (purpose, cipher.wrap(key, f"named {purpose}".encode())),
            )
        self._empty_log()
        return key

    def destroy_named_key(self, purpose: str) -> None:
        """Destroy the key of a purpose for ever; asking for it again is refused."""
        with self._transaction() as (connection, _):
            connection.execute(
                "INSERT INTO named_key VALUES (?, NULL) ON CONFLICT DO UPDATE SET wrapped = NULL", (purpose,)
            )
        self._empty_log()

    def _read_named_key(self, purpose: str) -> bytes | None:
        with self._snapshot() as cipher:
            row = self._connection().execute("SELECT wrapped FROM named_key WHERE purpose = ?", (purpose,)).fetchone()
            if row is None:
                return None
            if row[0] is None:
                raise NamedKeyDestroyed(f"the key {purpose!r} was destroyed; choose a new purpose or period")
            return cipher.unwrap(row[0], f"named {purpose}".encode())

    def _create_named_key(self, purpose: str) -> bytes:
        with self._transaction() as (connection, cipher):
            connection.execute(
                "INSERT INTO named_key VALUES (?, ?) ON CONFLICT DO NOTHING",
                (purpose, cipher.wrap(os.urandom(KEY_BYTES), f"named {purpose}".encode())),
            )
        key = self._read_named_key(purpose)
        if key is None:
            raise VaultError(f"the key {purpose!r} could not be stored")
        return key

    # ── watermarks ───────────────────────────────────────────────────────────────────────

    def watermark(self, name: str) -> Watermark | None:
        """How far `name` had come, or None. Asking makes no vault."""
        if not self.database.exists():
            return None
        row = self._connection().execute("SELECT number, digest FROM watermark WHERE name = ?", (name,)).fetchone()
        return None if row is None else Watermark(int(row[0]), str(row[1]))

    def raise_watermark(self, name: str, number: int, digest: str) -> None:
        """Record that `name` has come to `number`; a smaller number than the recorded one changes nothing."""
        with self._transaction() as (connection, _):
            connection.execute(
                "INSERT INTO watermark VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET number = excluded.number, digest = excluded.digest WHERE excluded.number >= number",
                (name, number, digest),
            )

    # ── keys that other people hold ──────────────────────────────────────────────────────

    def stakeholder_key(self, stakeholder: str) -> str:
        """The url-safe text that opens the publications of one stakeholder; made on first use.

        It lies in a file of its own, so that it can be handed over without the vault.
        """
        if not _NAME.fullmatch(stakeholder):
            raise VaultError("a stakeholder is named by lower-case letters, digits and underscores")
        return _text_key(self.key_directory / "stakeholders" / f"{stakeholder}.key")

    def analyst_key(self) -> str:
        """The url-safe text that opens the warehouse. Needs neither vault nor master key."""
        return _text_key(self.key_directory / "analyst.key")

    # ── master key ───────────────────────────────────────────────────────────────────────

    def rotate(self) -> int:
        """Make a new version of the key-encryption key, wrap every key anew and destroy the old version.

        One transaction: other processes wait, then read the master key file again. Killed half-way, the
        version that the database names stays in force, and the next to open the vault drops the other.
        Returns the new version. Raises ForgetfulVault: rotating an older vault would lock out the newest one.
        """
        self.open()
        self._refuse_forgetful()
        with exclusive(self.key_directory / ".lock"):
            with self._transaction() as (connection, old):
                new = KeyEncryptionKey(old.version + 1, os.urandom(KEY_BYTES))
                current = _read_master_keys(self.master_key_file)[old.version]
                _write_master_keys(self.master_key_file, [current, new])
                cipher = _Cipher(new)
                connection.execute("DELETE FROM master")
                _record_master_key(connection, cipher)
                _rewrap(connection, old, cipher)
            _write_master_keys(self.master_key_file, [new])
        self._forget()
        self._empty_log()
        return new.version

    # ── the database ─────────────────────────────────────────────────────────────────────

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a forked child opens its own, as SQLite demands."""
        if getattr(self._local, "process", None) != os.getpid():
            self._forget()
            self._local.connection = self._connect()
            self._local.process = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        _private_directory(self.key_directory)
        _private_directory(self.database.parent)
        with exclusive(self.key_directory / ".lock"):
            is_new = not self.database.exists()
            if not is_new and not self.master_key_file.exists():
                raise WrongKeyError(
                    "the vault exists but its master key file is missing; put master.key back from its backup "
                    "(without it, everything encrypted is lost)"
                )
            if not self.master_key_file.exists():
                _write_master_keys(self.master_key_file, [KeyEncryptionKey(1, os.urandom(KEY_BYTES))])
            _read_master_keys(self.master_key_file)
            connection = _open_database(self.database)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'master'").fetchone() is None:
            masters = _read_master_keys(self.master_key_file)
            connection.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            _record_master_key(connection, _Cipher(masters[max(masters)]))
            connection.execute("COMMIT")
        cipher = self._local.cipher = self._open_cipher(connection)
        self._finish_rotation(cipher)

    def _finish_rotation(self, cipher: _Cipher) -> None:
        """Drop the other version that a rotation killed half-way left in the file. The caller holds the lock."""
        masters = _read_master_keys(self.master_key_file)
        if len(masters) > 1:
            _write_master_keys(self.master_key_file, [masters[cipher.version]])

    def _open_cipher(self, connection: sqlite3.Connection) -> _Cipher:
        """The cipher of the version in force, proven to be the one this vault was made with."""
        version, proof = connection.execute("SELECT version, proof FROM master").fetchone()
        remedy = "put back the master.key that belongs to this vault, or restore both from the same backup"
        master = _read_master_keys(self.master_key_file).get(version)
        if master is None:
            raise WrongKeyError(f"the master key file does not open this vault (another version); {remedy}")
        cipher = _Cipher(master)
        try:
            cipher.unwrap(proof, _CHECK_PURPOSE)
        except WrongKeyError:
            raise WrongKeyError(f"the master key file does not open this vault; {remedy}") from None
        return cipher

    def _current_cipher(self, connection: sqlite3.Connection) -> _Cipher:
        """Inside a transaction: the cipher in force, read again when another process rotated the master key."""
        cipher: _Cipher | None = getattr(self._local, "cipher", None)
        version = connection.execute("SELECT version FROM master").fetchone()[0]
        if cipher is None or cipher.version != version:
            cipher = self._local.cipher = self._open_cipher(connection)
        return cipher

    @contextmanager
    def _snapshot(self) -> Iterator[_Cipher]:
        """One consistent view for reading, so that keys and master version fit together."""
        connection = self._connection()
        if connection.in_transaction:
            yield self._current_cipher(connection)
            return
        connection.execute("BEGIN")
        try:
            yield self._current_cipher(connection)
        finally:
            connection.execute("COMMIT")

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, _Cipher]]:
        """One writer at a time; all or nothing."""
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            raise VaultError(
                f"{self.database.name} stayed locked by another run; wait for it to end, or stop it, and run again"
            ) from None
        try:
            yield connection, self._current_cipher(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _empty_log(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing: it still shows destroyed keys."""
        busy = self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise VaultError(
                "the key is destroyed, but another process kept the vault's log from being emptied; "
                "end other runs and repeat the command"
            )

    def _forget(self) -> None:
        """Close this thread's connection; one inherited by a fork is only put aside, since it is the parent's."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.process == os.getpid():
            connection.close()
        elif connection is not None:
            _INHERITED.append(connection)
        self._local.__dict__.clear()


def row_key(keys: Sequence[bytes]) -> bytes:
    """The key of a row about several people: losing any one of `keys` makes the row unreadable.

    One key is its own row key. Several are combined by HMAC-SHA256 (the extract step of RFC 5869), in
    an order that does not depend on the caller's. Raises ValueError without a key.
    """
    if not keys:
        raise ValueError("a personal row needs the key of at least one subject")
    if len(keys) == 1:
        return keys[0]
    return hmac.digest(_ROW_KEY_SALT, b"".join(sorted(keys)), "sha256")


# ── files of keys ────────────────────────────────────────────────────────────────────────


def _open_database(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_MILLISECONDS / 1000, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.DatabaseError:
        connection.close()
        raise VaultError(f"{path.name} is not a key vault, or is damaged; restore it from its backup") from None
    return connection


def _record_master_key(connection: sqlite3.Connection, cipher: _Cipher) -> None:
    proof = cipher.wrap(os.urandom(KEY_BYTES), _CHECK_PURPOSE)
    connection.execute("INSERT INTO master VALUES (?, ?)", (cipher.version, proof))


def _rewrap(connection: sqlite3.Connection, old: _Cipher, new: _Cipher) -> None:
    """Wrap every living key anew, table by table."""
    # Page by page along the primary key: rows must not be updated under an open cursor.
    place: tuple[str, bytes] = ("", b"")
    while rows := connection.execute(
        "SELECT subject, id_hash, wrapped FROM subject_key "
        "WHERE wrapped IS NOT NULL AND (subject, id_hash) > (?, ?) ORDER BY subject, id_hash LIMIT ?",
        (*place, _IDS_PER_QUERY),
    ).fetchall():
        place = rows[-1][:2]
        identities = [f"subject {subject}\0".encode() + id_hash for subject, id_hash, _ in rows]
        keys = [old.unwrap(row[2], identity) for row, identity in zip(rows, identities, strict=True)]
        wrapped = new.wrap_many(keys, identities)
        connection.executemany(
            "UPDATE subject_key SET wrapped = ? WHERE subject = ? AND id_hash = ?",
            [(text, row[0], row[1]) for text, row in zip(wrapped, rows, strict=True)],
        )
    for table, column, label in (("file_key", "key_id", "file"), ("named_key", "purpose", "named")):
        rows = connection.execute(f"SELECT {column}, wrapped FROM {table} WHERE wrapped IS NOT NULL").fetchall()  # noqa: S608
        identities = [f"{label} {name}".encode() for name, _ in rows]
        keys = [old.unwrap(row[1], identity) for row, identity in zip(rows, identities, strict=True)]
        connection.executemany(
            f"UPDATE {table} SET wrapped = ? WHERE {column} = ?",  # noqa: S608 - both are fixed names
            list(zip(new.wrap_many(keys, identities), (row[0] for row in rows), strict=True)),
        )


def _private_directory(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _read_private(path: Path) -> bytes:
    """The bytes of a key file, refused when group or others may read it."""
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise WrongKeyError(f"{path.name} may be read by others; run `chmod 600` on it and rotate the key")
        return file.read()


def _read_master_keys(path: Path) -> dict[int, KeyEncryptionKey]:
    """Key-encryption keys by version. Raises WrongKeyError."""
    masters = {}
    for line in _read_private(path).splitlines():
        version, _, text = line.partition(b" ")
        try:
            master = KeyEncryptionKey(int(version), base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error):
            raise WrongKeyError(f"{path.name} is malformed; put it back from its backup") from None
        if len(master.key) != KEY_BYTES:
            raise WrongKeyError(f"{path.name} holds a key of the wrong length; put it back from its backup")
        masters[master.version] = master
    if not masters:
        raise WrongKeyError(f"{path.name} is empty; put it back from its backup")
    return masters


def _write_master_keys(path: Path, masters: Sequence[KeyEncryptionKey]) -> None:
    lines = [f"{master.version} {base64.b64encode(master.key).decode()}\n" for master in masters]
    write_atomically(path, "".join(lines).encode(), mode=0o600)


def _text_key(path: Path) -> str:
    """The text in a key file, which is made on first use; of two makers, the first wins."""
    if not path.exists():
        _private_directory(path.parent)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        write_atomically(beside, secrets.token_urlsafe(KEY_BYTES).encode(), mode=0o600)
        try:
            os.link(beside, path)
        except FileExistsError:
            pass  # another process made the key in between: it is the one in force
        finally:
            beside.unlink()
        flush_directory(path.parent)
    text = _read_private(path).decode("ascii", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", text):
        raise WrongKeyError(f"{path.name} is malformed; put it back from its backup")
    return text
