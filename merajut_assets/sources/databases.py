"""Reads tables of a database: a SQLite file, or any database that SQLAlchemy reaches by URL.

Options of a database system: `schema` (default: the connection's own) and `timeout_seconds`
(how long to wait for a lock or a connection, default 10). Nothing is ever written: SQLite is
opened read-only, PostgreSQL in a read-only session.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from merajut_assets.sources.records import BATCH_ROWS, Batches
from merajut_assets.sources.request import RawTable, TableRequest

_DEFAULT_TIMEOUT_SECONDS = "10"
_SQLITE_HEADER_BYTES = 100


def read_table(request: TableRequest) -> RawTable:
    """The declared columns of a table, as one consistent read, in batches.

    SourceError: no database, no table, a lock that is not released in time, a file that is no
    database, and what `TableRequest.wanted` refuses."""
    with _connected(request) as connection:
        header = _header(request, connection)
        wanted = request.wanted(header)
        batches = Batches(wanted)
        try:
            for rows in _selected(request, connection, wanted):
                batches.add_rows(rows)
        except sa.exc.OperationalError as error:
            if not _is_undecodable(error):
                raise
            raise _encoding_refusal(request, connection, wanted) from None
        return RawTable(batches.frame(), tuple(header))


def _selected(
    request: TableRequest, connection: sa.Connection, names: Sequence[str]
) -> Iterator[Sequence[sa.Row[tuple[Any, ...]]]]:
    columns = ", ".join(_quoted(connection, name) for name in names)
    result = connection.execution_options(stream_results=True).execute(
        sa.text(f"SELECT {columns} FROM {_qualified(request, connection)}")  # noqa: S608 - names quoted by the dialect
    )
    while rows := result.fetchmany(BATCH_ROWS):
        yield rows


def _is_undecodable(error: sa.exc.DBAPIError) -> bool:
    # SQLite's driver has no code for this; the rest of its message quotes the value.
    return str(error.orig).startswith("Could not decode to UTF-8")


def _encoding_refusal(request: TableRequest, connection: sa.Connection, names: Sequence[str]) -> Exception:
    """Which column it is, found by reading each alone: the driver knows, and says it with the value."""
    found = None
    for name in names:
        try:
            for _ in _selected(request, connection, [name]):
                pass
        except sa.exc.OperationalError:
            found = name
            break
    return request.error("encoding", "a text of the table is not UTF-8", "export it again as UTF-8", column=found)


def count_and_last_change(request: TableRequest) -> tuple[int, datetime | None]:
    """Number of rows, and the largest value of the contract's modified column (UTC; None when
    the contract names none or no row has one)."""
    column = request.contract.modified_column
    with _connected(request) as connection:
        header = _header(request, connection)
        request.wanted(header)
        last = "NULL"
        if column is not None:
            last = f"max({_quoted(connection, request.contract.column(column).name_in_source)})"
        statement = f"SELECT count(*), {last} FROM {_qualified(request, connection)}"  # noqa: S608 - as above
        row = connection.execute(sa.text(statement)).one()
    count: int = row[0]
    changed: Any = row[1]
    return count, _moment(request, changed)


def _moment(request: TableRequest, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise request.error(
            "modified_column",
            "the last change in the source is no timestamp",
            "store ISO 8601 timestamps, or declare another modified_column",
            column=request.contract.modified_column,
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _connected(request: TableRequest) -> Iterator[sa.Connection]:
    engine = _engine(request)
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.DBAPIError as error:
        # The driver's message may quote the URL, the statement or a value.
        raise _refusal(request, error) from None
    finally:
        engine.dispose()


def _engine(request: TableRequest) -> sa.Engine:
    seconds = request.option("timeout_seconds", _DEFAULT_TIMEOUT_SECONDS) or _DEFAULT_TIMEOUT_SECONDS
    try:
        timeout = float(seconds)
    except ValueError:
        raise request.error("option", "the option timeout_seconds is no number", "state seconds, such as 10") from None
    if request.database_url is None:
        _refuse_cut_off(request, request.existing_path())
        return _sqlite_engine(request.existing_path(), timeout)
    try:
        url = sa.make_url(request.database_url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        arguments: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql":
            milliseconds = int(timeout * 1000)
            arguments = {
                "connect_timeout": max(2, int(timeout)),
                "options": f"-c lock_timeout={milliseconds} -c default_transaction_read_only=on -c timezone=UTC",
            }
        elif url.get_backend_name() == "sqlite":
            return _sqlite_engine(Path(url.database or ""), timeout)
        return sa.create_engine(url, connect_args=arguments, poolclass=sa.pool.NullPool, hide_parameters=True)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, ValueError):  # the last: of a port
        raise request.error(
            "database_url", "the database URL cannot be used", "state one such as postgresql://user@host/database"
        ) from None


def _refuse_cut_off(request: TableRequest, path: Path) -> None:
    """SQLite itself notices that pages are missing only when it needs one of them.

    The file's header holds its page size (bytes 16-17) and number of pages (28-31), valid when the counters
    at 24 and 92 agree (SQLite's description of its file format, section 1.3). A file without that header
    is refused when it is read."""
    with path.open("rb") as file:
        header = file.read(_SQLITE_HEADER_BYTES)
    if len(header) < _SQLITE_HEADER_BYTES or header[24:28] != header[92:96]:
        return
    page = int.from_bytes(header[16:18], "big")
    size = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    has_journal = path.with_name(path.name + "-wal").exists()  # may hold the pages that the file still lacks
    if header.startswith(b"SQLite format 3\0") and path.stat().st_size < size and not has_journal:
        raise request.error(
            "damaged", f"the file {request.place} is cut off", "transfer it again, or restore it from the source system"
        )


def _sqlite_engine(path: Path, timeout: float) -> sa.Engine:
    """Read-only: a plain connection would create a database that is absent."""
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, timeout=timeout),
        poolclass=sa.pool.NullPool,
        hide_parameters=True,
    )


def _header(request: TableRequest, connection: sa.Connection) -> list[str]:
    inspector = sa.inspect(connection)
    schema = request.option("schema")
    try:
        return [column["name"] for column in inspector.get_columns(request.source, schema=schema)]
    except sa.exc.NoSuchTableError:
        raise request.error(
            "absent", "the database has no such table", "check the table's name in the contract and the database"
        ) from None


def _quoted(connection: sa.Connection, name: str) -> str:
    # Text statements take a colon for a parameter.
    return connection.dialect.identifier_preparer.quote_identifier(name).replace(":", r"\:")


def _qualified(request: TableRequest, connection: sa.Connection) -> str:
    schema = request.option("schema")
    names = ([schema] if schema else []) + [request.source]
    return ".".join(_quoted(connection, name) for name in names)


def _refusal(request: TableRequest, error: sa.exc.DBAPIError) -> Exception:
    kind = str(getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "") or "")
    if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or kind == "55P03":
        return request.error(
            "locked",
            "the database is locked by another program",
            "run again when it is done, or raise the option timeout_seconds",
        )
    if kind.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return request.error("damaged", "the file is no database or damaged", "restore it from the source system")
    if kind in ("42501", "SQLITE_AUTH", "SQLITE_PERM", "SQLITE_READONLY"):
        return request.error("forbidden", "the database refuses the table to this user", "grant SELECT on the table")
    if _is_undecodable(error):  # the name of a column, or the time of the last change
        return request.error("encoding", "a text of the table is not UTF-8", "export it again as UTF-8")
    if kind.startswith("SQLITE_CANTOPEN") or (not kind and isinstance(error, sa.exc.OperationalError)):
        return request.error(
            "unreachable",
            "the database is absent, cannot be reached or refuses the connection",
            "check that it runs, and the URL and credentials",
        )
    return request.error(
        "unreadable", f"the database failed ({kind or type(error).__name__})", "look into the database's own log"
    )
