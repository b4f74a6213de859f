"""Opens the release's warehouse for dbt: finds the files, takes the key, attaches, and shuts the other doors.

Here belongs what dbt needs to reach its sources and its own tables. It stands alone, because dbt loads it
from the project folder without the rest of the repository. Which tables are in the files is not its matter.

An analyst's opening is noted for the audit log, in the analyst's own folder.

    role       database `warehouse`                  where models are built
    analyst    the released copy, read-only          database `analysis`: <data>/analyst/analysis.duckdb
    pipeline   the build file of one release         in it
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

PROJECT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "MERAJUT_DATA"
BUILD_FILE_VARIABLE = "MERAJUT_BUILD_FILE"
_KEY = re.compile(r"[A-Za-z0-9_-]{43}")


class Plugin(BasePlugin):
    """The dbt-duckdb plugin; `role` is `analyst` or `pipeline`."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        self.role = str(plugin_config.get("role", "analyst"))
        if self.role not in ("analyst", "pipeline"):
            raise DbtRuntimeError("profiles.yml: the plugin's role is 'analyst' or 'pipeline'")

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        data = data_directory()
        prepare(conn)
        if self.role == "pipeline":
            attach(conn, build_file(), "warehouse", analyst_key(data), read_only=False)
        else:
            key, released = analyst_key(data), released_file(data)
            note_opening(data, released)
            attach(conn, released, "warehouse", key, read_only=True)
            attach(conn, analysis_file(data), "analysis", key, read_only=False)
        # From here on nothing but the attached files can be read or written, whatever a model says.
        conn.execute("SET enable_external_access = false")
        conn.execute("SET lock_configuration = true")


# ── files and key ────────────────────────────────────────────────────────────────────────


def data_directory() -> Path:
    """MERAJUT_DATA, or the folder `data` beside the dbt project."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser().absolute() if named else PROJECT.parent / "data"


def analyst_key(data: Path) -> str:
    """The text of keys/analyst.key. Raises DbtRuntimeError."""
    path = data / "keys" / "analyst.key"
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            is_open_to_others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            key = file.read().strip()
    except FileNotFoundError:
        raise DbtRuntimeError(f"there is no key {path.name}; run `make demo`, or ask for it and put it there") from None
    except PermissionError:
        raise DbtRuntimeError(f"the key {path.name} belongs to another user; ask for one of your own") from None
    if is_open_to_others:
        raise DbtRuntimeError(f"{path.name} may be read by others; run `chmod 600` on it and rotate the key")
    if not _KEY.fullmatch(key):
        raise DbtRuntimeError(f"{path.name} is malformed; put it back from its backup")
    return key


def released_file(data: Path) -> Path:
    """The released warehouse in force. Raises DbtRuntimeError."""
    folder = data / "warehouse" / "released"
    try:
        pointer = json.loads((folder / "current.json").read_bytes())
        name, release = pointer["file"], pointer.get("release")
    except FileNotFoundError:
        raise DbtRuntimeError("no release was made yet; run `make demo`") from None
    except (ValueError, KeyError, TypeError):
        raise DbtRuntimeError("released/current.json is damaged; remove it and release again") from None
    if name is None:
        raise DbtRuntimeError(
            f"the warehouse of {release} was withdrawn because somebody was erased; "
            f"run `merajut run --release {release}`"
        )
    path = folder / str(name)
    if not path.exists():
        raise DbtRuntimeError(f"{path.name} is gone although it is the release in force; run `make demo`")
    return path


def analysis_file(data: Path) -> Path:
    """The analyst's own file; its folder is made when missing."""
    folder = data / "analyst"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "analysis.duckdb"


def note_opening(data: Path, released: Path) -> None:
    """Leave a note in the analyst's own folder that the released warehouse is opened. Raises DbtRuntimeError.

    The pipeline's next evidence run takes it up into the audit log. The log itself is chained by a key with which
    everything could be read, so that nobody writes it from here. What the pipeline opens, it has logged before."""
    folder = data / "analyst" / "openings"
    opened_at = datetime.now(UTC).isoformat(timespec="seconds")
    name = f"{uuid.uuid4().hex}.json"
    beside = folder / f".{name}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_text(json.dumps({"file": released.name, "opened_at": opened_at}), encoding="utf-8")
        beside.replace(folder / name)
    except OSError:
        raise DbtRuntimeError(
            f"the opening of {released.name} cannot be noted in {folder.parent.name}/{folder.name}; make that folder "
            "writable for yourself, or free space on the disk"
        ) from None


def build_file() -> Path:
    """The build file that the pipeline named. Raises DbtRuntimeError."""
    named = os.environ.get(BUILD_FILE_VARIABLE)
    if not named or not Path(named).exists():
        raise DbtRuntimeError(
            f"the target `pipeline` belongs to Dagster, which names a release's file in {BUILD_FILE_VARIABLE}; "
            "leave out `--target` to build as an analyst"
        )
    return Path(named)


# ── DuckDB ───────────────────────────────────────────────────────────────────────────────


def httpfs_extension() -> Path:
    """The httpfs extension inside the installed package, without which DuckDB writes no encrypted file."""
    package = importlib.util.find_spec("duckdb_extension_httpfs")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
        if path.exists():
            return path
    raise DbtRuntimeError(f"the httpfs extension for DuckDB {duckdb.__version__} is not installed; run `make install`")


def prepare(conn: duckdb.DuckDBPyConnection) -> None:
    """Load httpfs from its file, never from the network, and let nothing plain spill to disk."""
    conn.execute(f"LOAD {_text(str(httpfs_extension()))}")
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "allow_persistent_secrets"):
        conn.execute(f"SET {setting} = false")
    conn.execute("SET temp_file_encryption = true")
    conn.execute("SET temp_directory = ''")


def attach(conn: duckdb.DuckDBPyConnection, path: Path, alias: str, key: str, *, read_only: bool) -> None:
    """Attach an encrypted file. DuckDB's own message may quote the statement and the key, so it is replaced."""
    options = f"ENCRYPTION_KEY {_text(key)}" + (", READ_ONLY" if read_only else "")
    try:
        conn.execute(f"ATTACH {_text(str(path))} AS {alias} ({options})")
    except duckdb.Error as error:
        raise DbtRuntimeError(_explained(path, str(error).lower())) from None


def _explained(path: Path, said: str) -> str:
    if "encryption key" in said:
        return f"{path.name} was written under another key than analyst.key; put that key back, or remove the file"
    if "lock" in said:
        return f"{path.name} is open in another process; wait for that run to end, or close it, and try again"
    return f"{path.name} cannot be opened; if it is damaged, remove it and run `make demo`"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
