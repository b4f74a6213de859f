"""The one entry to all source systems: reads a declared table, whatever its format.

    source = read(contract, system, Location(data_directory))

Chooses the reader by the system's format and hands back the declared columns under their
contract names, with values as read: casting to the contract's types, checks and encryption
belong to landing. Each reader states its options in its own module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from merajut_assets.contracts.base import SourceFormat, System, TableContract
from merajut_assets.sources.json_records import read_json, read_json_lines
from merajut_assets.sources.request import RawTable, SourceError, TableRequest
from merajut_assets.sources.sql_dump import read_sql_dump
from merajut_assets.sources.tabular import read_csv, read_parquet
from merajut_assets.sources.xml_records import read_sdmx_codelist, read_xml

__all__ = ["Location", "SourceError", "SourceTable", "fingerprint", "original", "read", "read_new_columns"]


@dataclass(frozen=True)
class Location:
    """Where the systems of this deployment are: the directory that the contracts' locations
    are relative to, and the URL that database systems use instead of their file, if any."""

    data_directory: Path
    database_url: str | None = None


@dataclass(frozen=True)
class SourceTable:
    """A table as its source has it.

    `frame` holds the declared columns under their contract names: text for text formats, the
    source's own types otherwise; empty text is null. `undeclared` names the columns that were
    left behind, as far as their names may be shown. `modified_at` is UTC. `original` is the file as
    delivered, None for a database that is reached by URL."""

    frame: pl.DataFrame
    undeclared: tuple[str, ...]
    modified_at: datetime
    original: Path | None


def _read_database(request: TableRequest) -> RawTable:
    # Loading definitions need not wait for SQLAlchemy.
    from merajut_assets.sources.databases import read_table

    return read_table(request)


def _count_and_last_change(request: TableRequest) -> tuple[int, datetime | None]:
    from merajut_assets.sources.databases import count_and_last_change

    return count_and_last_change(request)


_READERS: dict[SourceFormat, Callable[[TableRequest], RawTable]] = {
    SourceFormat.CSV: read_csv,
    SourceFormat.JSON: read_json,
    SourceFormat.JSON_LINES: read_json_lines,
    SourceFormat.XML: read_xml,
    SourceFormat.DATABASE: _read_database,
    SourceFormat.SQL_DUMP: read_sql_dump,
    SourceFormat.PARQUET: read_parquet,
    SourceFormat.SDMX_STRUCTURE: read_sdmx_codelist,
}


def read(contract: TableContract, system: System, location: Location) -> SourceTable:
    """Read a table from its source.

    SourceError (system, table, column, rule, remedy; never a value): the source is absent,
    locked, damaged, wrongly encoded or cut off; it changed while it was read; a declared column
    is missing or named twice; a column is neither declared nor dropped by the contract."""
    request = _request(contract, system, location)
    before = _state(request)
    raw = _READERS[system.format](request)
    if request.path is not None and system.format is not SourceFormat.DATABASE and _state(request) != before:
        raise request.error(
            "changed_while_read", f"the file {request.place} changed while it was read", "run again when it is complete"
        )
    return SourceTable(
        frame=raw.frame.select(list(request.declared)).rename(request.declared),
        undeclared=request.left_behind(raw.header),
        modified_at=_modified_at(request),
        original=request.path,
    )


@dataclass(frozen=True)
class _NewColumns(TableRequest):
    """A request for what the contract does not know: first which columns these are, then their values."""

    names: tuple[str, ...] | None = None

    @property
    def declared(self) -> dict[str, str]:
        return {name: name for name in self.names or ()}

    def wanted(self, header: Sequence[str]) -> list[str]:
        if self.names is None:
            known = {*super().declared, *self.contract.drops}
            raise _HeaderRead(tuple(name for name in dict.fromkeys(header) if name not in known))
        return list(self.names)


class _HeaderRead(Exception):
    """Ends a reading at the header; what it found is for the reader alone, because names may be values."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__("the header was read")
        self.names = names


def read_new_columns(contract: TableContract, system: System, location: Location) -> pl.DataFrame:
    """The columns that the contract neither declares nor drops, under their names in the source: what they look like
    is told to whoever has to declare them.

    SourceError: the source cannot be read."""
    request = _request(contract, system, location)
    new = _NewColumns(contract, system, request.path, request.database_url)
    names: tuple[str, ...] = ()
    try:
        _READERS[system.format](new)
    except _HeaderRead as read:
        names = read.names
    if not names:
        return pl.DataFrame()
    return _READERS[system.format](replace(new, names=names)).frame.select(names)


def original(contract: TableContract, system: System, location: Location) -> Path | None:
    """The file that holds the table, whether or not it exists; None for a database by URL."""
    return _request(contract, system, location).path


def fingerprint(contract: TableContract, system: System, location: Location) -> str:
    """A cheap sign of change: equal as long as the source has not been touched.

    Files: size and modification time in nanoseconds. Databases by URL: number of rows and last
    modification; without a modified column in the contract there is no cheap sign, and every
    call differs. SourceError: absent, or the database cannot be reached."""
    request = _request(contract, system, location)
    if request.path is not None:
        return _state(request)
    count, changed = _count_and_last_change(request)
    if contract.modified_column is None:
        return f"unknown-{time.time_ns()}"
    return f"{count}-{changed.isoformat() if changed else 'none'}"


def _request(contract: TableContract, system: System, location: Location) -> TableRequest:
    if system.format is SourceFormat.DATABASE and location.database_url is not None:
        return TableRequest(contract, system, database_url=location.database_url)
    path = location.data_directory / system.location.format(source=contract.name_in_source)
    return TableRequest(contract, system, path=path)


def _state(request: TableRequest) -> str:
    """Size and modification time of the file, and of a SQLite journal that may hold newer rows."""
    if request.path is None:
        return ""
    path = request.existing_path()
    journal = path.with_name(path.name + "-wal")
    # Opening a database may leave an empty journal behind, which is no change.
    states = [path.stat()] + ([journal.stat()] if journal.exists() and journal.stat().st_size else [])
    return "-".join(f"{state.st_size}-{state.st_mtime_ns}" for state in states)


def _modified_at(request: TableRequest) -> datetime:
    if request.path is None:
        return _count_and_last_change(request)[1] or datetime.now(UTC)
    seconds = request.path.stat().st_mtime_ns / 1e9
    return datetime.fromtimestamp(seconds, UTC)
