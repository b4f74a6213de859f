"""The warehouse: one encrypted DuckDB file per release, built by the pipeline, read by analysts.

Here belongs where these files are and how one becomes the released one. Which tables go in, and whether there
is evidence that they are verified, is decided by whoever calls. The whole warehouse opens with the analyst key.

    build/<release>.duckdb          the pipeline's: protected tables, then what dbt makes of them
    build/<release>.models.json     by which SQL each of its models was made, and in which build
    released/<release>-<n>.duckdb   a finished copy; released/current.json points at the one in force

The numbers of copies go on counting, also after copies were withdrawn: to a process that has had a file open,
another file of its name looks like the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from resources.duckdb_files import DatabaseFileError, close_cleanly, connect, write_tables
from resources.locks import exclusive, flush_directory, write_atomically
from resources.vault import KeyVault

PROTECTED_SCHEMA = "protected"
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RELEASED_FILE = re.compile(r"(?P<release>.+)-(?P<number>\d+)\.duckdb")
_COPY_BYTES = 8 * 1024 * 1024

__all__ = ["PROTECTED_SCHEMA", "Warehouse", "connect"]


class Warehouse:
    """The warehouse files under `root`. Nothing is opened or created before first use."""

    def __init__(self, root: Path, vault: KeyVault, keep: int = 3) -> None:
        self.root = Path(root)
        self.vault = vault
        self.keep = keep

    def build_path(self, release: str) -> Path:
        """The file in which the pipeline and its dbt build a release."""
        return self.root / "build" / f"{_checked_release(release)}.duckdb"

    def load_tables(
        self, release: str, tables: Mapping[str, pl.DataFrame], *, schema: str = PROTECTED_SCHEMA, alone: bool = False
    ) -> Path:
        """Replace `tables` (named `<stakeholder>__<dataset>`) in `schema` of the build file, all or none; `alone`:
        other tables of the schema go."""
        path = self.build_path(release)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._writing(release):
            if not path.exists():
                self._models_path(release).unlink(missing_ok=True)  # it told of a file that was removed
            connection = connect(path, self.vault.analyst_key(), read_only=False)
            try:
                write_tables(connection, schema, tables, alone=alone)
                close_cleanly(connection)
            finally:
                connection.close()
        return path

    def read_table(self, release: str, table: str) -> pl.DataFrame:
        """One table of a build file; `table` is `<schema>.<name>`, or a name in schema `protected`."""
        schema, _, name = table.rpartition(".")
        wanted = (schema or PROTECTED_SCHEMA, name)
        if ".".join(wanted) not in self.tables(release):
            raise DatabaseFileError(f"release {release} has no table {'.'.join(wanted)}; load or build it first")
        with self.open_build(release) as connection:
            return connection.table(".".join(f'"{part}"' for part in wanted)).pl()

    def tables(self, release: str) -> list[str]:
        """`<schema>.<name>` of all tables and views of a build file, sorted; empty without a file."""
        if not self.build_path(release).exists():
            return []
        with self.open_build(release) as connection:
            rows = connection.execute(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables "
                "WHERE table_catalog = current_database() ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows]

    def record_models(self, release: str, digests: Mapping[str, str | None]) -> None:
        """Remember the digest of the SQL by which each model was built just now; None forgets a model."""
        path = self._models_path(release)
        with self._writing(release):
            # The time tells builds apart, also those of a file that was removed and made again. In nanoseconds it has
            # too many digits to be taken for somebody's number.
            build = time.time_ns()
            built = {model: None if digest is None else (digest, build) for model, digest in digests.items()}
            known = {**self._built(release), **built}
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {model: made for model, made in known.items() if made is not None}
            write_atomically(path, json.dumps(kept, indent=1, sort_keys=True).encode())

    def models(self, release: str) -> dict[str, str]:
        """Digest of the SQL by model, of the models in a build file; empty without a file. Needs no vault."""
        return {model: digest for model, (digest, _) in self._built(release).items()}

    def builds(self, release: str) -> dict[str, int]:
        """In which build each model of a build file was made, as a number that no two builds share; empty without a
        file. Needs no vault."""
        return {model: build for model, (_, build) in self._built(release).items()}

    def _built(self, release: str) -> dict[str, tuple[str, int]]:
        if not self.build_path(release).exists():
            return {}
        try:
            known = json.loads(self._models_path(release).read_bytes())
            # A digest alone was written before builds were told apart: such a model is to be built again.
            built = {model: made for model, made in known.items() if not isinstance(made, str)}
            return {model: (str(digest), int(build)) for model, (digest, build) in built.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError):
            raise DatabaseFileError(
                f"{self._models_path(release).name} is damaged; remove it and materialise the marts again"
            ) from None

    def _models_path(self, release: str) -> Path:
        return self.build_path(release).with_suffix(".models.json")

    def open_build(self, release: str) -> duckdb.DuckDBPyConnection:
        """A read-only connection to a build file. Close it: while it is open, nobody can write the file."""
        return connect(self.build_path(release), self.vault.analyst_key(), read_only=True)

    def release(self, release: str) -> Path:
        """Copy the finished build file beside the released ones and point at it; returns the copy.

        A build file equal to the released one is not copied again, and one of an older release does not
        take its place: then the path of the released one is returned. Analysts who have an older copy open
        are not disturbed; the last `keep` copies stay.
        """
        build = self.build_path(release)
        if not build.exists():
            raise DatabaseFileError(f"release {release} has no warehouse file; materialise its protected assets first")
        with self._writing(release), exclusive(self.root / ".locks" / "released.lock"):
            self._checkpoint(build)
            digest = _file_digest(build)
            current = self._current()
            is_superseded = current is not None and release < current["release"]
            is_same = current is not None and current["digest"] == digest
            folder = self.root / "released"
            if current and current["file"] and (is_superseded or is_same) and (folder / current["file"]).exists():
                return folder / str(current["file"])
            folder.mkdir(parents=True, exist_ok=True)
            given = [self._number(path) for path in folder.glob("*.duckdb")]
            number = 1 + max([*given, current["number"] if current else 0])
            target = folder / f"{release}-{number}.duckdb"
            _copy(build, target)
            self._point({"file": target.name, "release": release, "number": number, "digest": digest})
            self._prune(folder, target)
        return target

    def kept(self) -> list[str]:
        """The release of every build file and released copy that is kept, in alphabetical order. Needs no vault."""
        copies = (_RELEASED_FILE.fullmatch(path.name) for path in (self.root / "released").glob("*.duckdb"))
        builds = (path.stem for path in (self.root / "build").glob("*.duckdb"))
        return sorted([*builds, *(name["release"] for name in copies if name is not None)])

    def released(self) -> Path | None:
        """The released file in force, or None before the first release or after a withdrawal. Needs no vault."""
        current = self._current()
        return None if current is None or not current["file"] else self.root / "released" / str(current["file"])

    def open_released(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection to the released file in force."""
        path = self.released()
        if path is None:
            raise DatabaseFileError("nothing was released yet; run a release first")
        return connect(path, self.vault.analyst_key(), read_only=True)

    def withdraw(self, release: str) -> int:
        """Remove the build file and every released copy of a release; returns how many files there were.

        When one of them is in force, none is afterwards, until a release is copied again. Readers who have a
        file open keep it until they close it. Killed in between, the next call completes."""
        with self._writing(release), exclusive(self.root / ".locks" / "released.lock"):
            copies = {path: _RELEASED_FILE.fullmatch(path.name) for path in (self.root / "released").glob("*.duckdb")}
            files = [path for path, name in copies.items() if name is not None and name["release"] == release]
            build = self.build_path(release)
            files += [
                path
                for path in (build.with_name(build.name + ".wal"), self._models_path(release), build)
                if path.exists()
            ]
            current = self._current()
            if current is not None and current["release"] == release and current["file"]:
                self._point({**current, "file": None, "digest": None})
            for path in files:
                path.unlink()
            for stray in (self.root / "released").glob(".*.part"):
                stray.unlink(missing_ok=True)
        return len(files)

    def _point(self, pointer: Mapping[str, Any]) -> None:
        write_atomically(self.root / "released" / "current.json", json.dumps(dict(pointer), indent=1).encode())

    def _writing(self, release: str) -> Any:
        return exclusive(self.root / ".locks" / f"build-{release}.lock", 600)

    def _checkpoint(self, build: Path) -> None:
        close_cleanly(connect(build, self.vault.analyst_key(), read_only=False))
        if build.with_name(build.name + ".wal").exists():
            raise DatabaseFileError(f"{build.name} still has a log of changes; end the run that writes it")

    def _current(self) -> dict[str, Any] | None:
        try:
            content = (self.root / "released" / "current.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            pointer: dict[str, Any] = json.loads(content)
            return {name: pointer[name] for name in ("file", "release", "number", "digest")}
        except (ValueError, KeyError, TypeError):
            raise DatabaseFileError("released/current.json is damaged; remove it and release again") from None

    def _number(self, path: Path) -> int:
        match = _RELEASED_FILE.fullmatch(path.name)
        return int(match["number"]) if match else 0

    def _prune(self, folder: Path, current: Path) -> None:
        """Keep the newest copies; readers that have an older one open keep it until they close it."""
        for stray in folder.glob(".*.part"):
            stray.unlink(missing_ok=True)
        newest = sorted(folder.glob("*.duckdb"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in newest[self.keep :]:
            if path != current:
                path.unlink(missing_ok=True)


def _checked_release(release: str) -> str:
    if not _RELEASE.fullmatch(release):
        raise DatabaseFileError("a release is named by letters, digits, '_' and '-', such as 2026-10")
    return release


def _file_digest(path: Path) -> str:
    """SHA-256 of ciphertext, which gives nothing away."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as reader, beside.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_directory(target.parent)
