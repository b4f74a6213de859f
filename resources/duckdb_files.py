"""Opening encrypted DuckDB files so that nothing plain spills, and writing frames into them.

Here belongs what warehouse and publication share about DuckDB itself; not which tables they hold.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl

from resources.vault import WrongKeyError

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_ALIAS = "merajut"


class DatabaseFileError(RuntimeError):
    """An encrypted DuckDB file is missing, busy or damaged. Names the file and the remedy."""


def httpfs_extension() -> Path:
    """The file of the httpfs extension inside the installed Python package.

    DuckDB writes encrypted files only with it. It is loaded from the package, never installed from the
    network, so that a machine with an empty home folder and no way out works as well.
    """
    package = importlib.util.find_spec("duckdb_extension_httpfs")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
        if path.exists():
            return path
    raise DatabaseFileError(
        f"the httpfs extension for DuckDB {duckdb.__version__} is not installed; "
        f"install the package duckdb-extension-httpfs {duckdb.__version__}"
    )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Load httpfs and shut the ways by which data would leave memory in clear."""
    connection.execute(f"LOAD {_text(str(httpfs_extension()))}")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET allow_persistent_secrets = false")
    connection.execute("SET temp_file_encryption = true")
    connection.execute("SET temp_directory = ''")


def connect(path: Path, key: str, read_only: bool = True, *, alias: str = _ALIAS) -> duckdb.DuckDBPyConnection:
    """A connection with the encrypted file at `path` attached as database `alias` and in use.

    The main database is an empty one in memory. A file that does not exist is made unless `read_only`.
    Raises WrongKeyError, DatabaseFileError.
    """
    path = Path(path)
    if read_only and not path.exists():
        raise DatabaseFileError(f"{path.name} does not exist; run the release that writes it")
    connection = duckdb.connect(":memory:")
    try:
        prepare(connection)
        _attach(connection, path, key, read_only, alias)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, key: str, read_only: bool, alias: str) -> None:
    if not _IDENTIFIER.fullmatch(alias):
        raise ValueError("a database alias consists of lower-case letters, digits and underscores")
    if not key:
        raise WrongKeyError(f"{path.name} needs a key; give the one it was handed over with")
    options = f"ENCRYPTION_KEY {_text(key)}" + (", READ_ONLY" if read_only else "")
    try:
        connection.execute(f"ATTACH {_text(str(path))} AS {alias} ({options})")
        connection.execute(f"USE {alias}")
    except duckdb.Error as error:
        # DuckDB's own message could quote the statement, and with it the key.
        raise _explained(path, error) from None


def _explained(path: Path, error: duckdb.Error) -> Exception:
    said = str(error)
    if "encryption key" in said.lower():
        return WrongKeyError(f"the key does not open {path.name}; use the key that was handed over for it")
    if "lock" in said.lower():
        return DatabaseFileError(f"{path.name} is open in another process for writing; close it and try again")
    return DatabaseFileError(f"{path.name} is not an encrypted DuckDB file, or is damaged; publish it again")


def write_tables(
    connection: duckdb.DuckDBPyConnection, schema: str, tables: Mapping[str, pl.DataFrame], *, alone: bool = False
) -> None:
    """Replace `tables` in `schema` of the database in use, all or none. `alone`: other tables of the schema go."""
    for name in (schema, *tables):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"table or schema name {name!r}: use lower-case letters, digits and underscores")
    connection.execute("BEGIN")
    try:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for name, frame in tables.items():
            connection.register("_incoming", frame.to_arrow())
            # Names are checked above; a statement cannot take them as parameters.
            connection.execute(f"CREATE OR REPLACE TABLE {schema}.{name} AS SELECT * FROM _incoming")  # noqa: S608
            connection.unregister("_incoming")
        if alone:
            present = connection.execute(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_catalog = current_database() AND table_schema = ?",
                [schema],
            ).fetchall()
            for (name,) in present:
                if name not in tables:
                    connection.execute(f'DROP TABLE {schema}."{name}"')
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise DatabaseFileError(
            f"the tables of schema {schema} could not be written; nothing was changed, check their column types"
        ) from None


def close_cleanly(connection: duckdb.DuckDBPyConnection, alias: str = _ALIAS) -> None:
    """Checkpoint, detach and close, so that everything is in the one file."""
    connection.execute(f"CHECKPOINT {alias}")
    connection.execute("USE memory")
    connection.execute(f"DETACH {alias}")
    connection.close()


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
