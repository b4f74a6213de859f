"""One writer for each format in which the systems keep their tables.

A writer takes a table in parts and appends them, so that no table is ever held as a whole. Frames
come with the contract's column names; files have the source's names.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from io import BufferedWriter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from merajut_assets.contracts.base import SourceFormat, System, TableContract

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SQLITE_TYPES = {
    pl.Int64(): "INTEGER",
    pl.Float64(): "REAL",
    pl.Boolean(): "INTEGER",
}
# Characters that XML does not take as they are, in the order in which they must be replaced.
_XML_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


class TableWriter(ABC):
    """Appends parts of one table to its place in the source."""

    @abstractmethod
    def append(self, frame: pl.DataFrame) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


def arranged(contract: TableContract, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame in the source's order and names: declared columns, then those that landing drops.

    ValueError: the frame has other columns than that."""
    wanted = {column.name: column.name_in_source for column in contract.columns}
    wanted |= {name: name for name in contract.drops}
    if set(frame.columns) != set(wanted):
        wrong = sorted(set(frame.columns) ^ set(wanted))
        raise ValueError(f"{contract.identifier}: the generated columns are not those of the contract: {wrong}")
    return frame.select(pl.col(name).alias(source) for name, source in wanted.items())


class Database:
    """A SQLite file; its tables are written in one transaction, so that its bytes are the same
    for the same rows."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=OFF")
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.execute("BEGIN")

    def close(self) -> None:
        self.connection.execute("COMMIT")
        self.connection.close()


class DatabaseTable(TableWriter):
    """A table of a SQLite file: dates as text, booleans as 0 and 1, no constraints, as in the
    systems whose dirt we mimic."""

    def __init__(self, database: Database, contract: TableContract) -> None:
        self._connection = database.connection
        self._table = contract.name_in_source
        self._insert: str | None = None

    def append(self, frame: pl.DataFrame) -> None:
        if self._insert is None:
            columns = ", ".join(f'"{name}" {_SQLITE_TYPES.get(dtype, "TEXT")}' for name, dtype in frame.schema.items())
            self._connection.execute(f'CREATE TABLE "{self._table}" ({columns})')
            marks = ", ".join("?" * frame.width)
            self._insert = f'INSERT INTO "{self._table}" VALUES ({marks})'  # noqa: S608 — names of our contracts
        self._connection.executemany(self._insert, frame.iter_rows())

    def close(self) -> None:
        """The database is closed once, for all its tables."""


class _FileTable(TableWriter):
    """A table in a file of its own."""

    def __init__(self, path: Path, system: System) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: BufferedWriter = path.open("wb")
        self._system = system
        self._is_first = True

    def option(self, name: str, default: str) -> str:
        return dict(self._system.options).get(name, default)

    def append(self, frame: pl.DataFrame) -> None:
        self._write(frame)
        self._is_first = False

    def close(self) -> None:
        self._stream.close()

    @abstractmethod
    def _write(self, frame: pl.DataFrame) -> None: ...


class CsvTable(_FileTable):
    """Delimited text with a header. A system with another separator than the comma exports for
    spreadsheets and so begins with a byte order mark."""

    def _write(self, frame: pl.DataFrame) -> None:
        separator = self.option("separator", ",")
        if self._is_first and separator != ",":
            self._stream.write(_BYTE_ORDER_MARK)
        frame.write_csv(self._stream, separator=separator, include_header=self._is_first, float_precision=2)


class JsonLinesTable(_FileTable):
    """One object per line."""

    def _write(self, frame: pl.DataFrame) -> None:
        frame.write_ndjson(self._stream)


class JsonTable(_FileTable):
    """One document with the records in a list."""

    def _write(self, frame: pl.DataFrame) -> None:
        name = self.option("records", "records")
        self._stream.write(f'{{"{name}": [\n'.encode() if self._is_first else b",\n")
        self._stream.write(frame.write_ndjson().strip().replace("\n", ",\n").encode())

    def close(self) -> None:
        self._stream.write(b"\n]}\n")
        super().close()


class XmlTable(_FileTable):
    """One element per record, one element in it per column; an empty one for no value."""

    def __init__(self, path: Path, system: System, contract: TableContract) -> None:
        super().__init__(path, system)
        self._root = contract.name_in_source

    def _write(self, frame: pl.DataFrame) -> None:
        if self._is_first:
            self._stream.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<{self._root}>\n'.encode())
        record = self.option("record", "record")
        parts: list[pl.Expr] = [pl.lit(f"<{record}>")]
        for name, dtype in frame.schema.items():
            value = pl.col(name)
            if dtype == pl.Float64():
                # Money: never in scientific notation.
                value = value.round(2).cast(pl.Decimal(20, 2))
            text = value.cast(pl.String)
            if dtype == pl.String():
                for character, escape in _XML_ESCAPES:
                    text = text.str.replace_all(character, escape, literal=True)
            parts.append(
                pl.when(value.is_null())
                .then(pl.lit(f"<{name}/>"))
                .otherwise(pl.concat_str(pl.lit(f"<{name}>"), text, pl.lit(f"</{name}>")))
            )
        parts.append(pl.lit(f"</{record}>\n"))
        lines = frame.select(pl.concat_str(parts)).to_series()
        self._stream.write("".join(lines.to_list()).encode())

    def close(self) -> None:
        self._stream.write(f"</{self._root}>\n".encode())
        super().close()


class ParquetTable(TableWriter):
    """A Parquet file, one row group for each part."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def append(self, frame: pl.DataFrame) -> None:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        table = table.cast(pa.schema([_plain(field) for field in table.schema]))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _plain(field: pa.Field) -> pa.Field:
    return pa.field(field.name, pa.string()) if pa.types.is_large_string(field.type) else field


class SourceWriters:
    """The writers of all tables under one data directory, opened as their first rows come.

    `rows` counts what was written for each `system.table`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._databases: dict[Path, Database] = {}
        self._writers: dict[str, TableWriter] = {}
        self.rows: dict[str, int] = {}

    def append(self, system: System, contract: TableContract, path: Path, frame: pl.DataFrame) -> None:
        """Append rows (contract column names) to the table at `path` under the root."""
        name = contract.identifier
        if name not in self._writers:
            self._writers[name] = self._open(system, contract, self._root / path)
        self._writers[name].append(arranged(contract, frame))
        self.rows[name] = self.rows.get(name, 0) + len(frame)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        for database in self._databases.values():
            database.close()

    def _open(self, system: System, contract: TableContract, path: Path) -> TableWriter:
        match system.format:
            case SourceFormat.DATABASE:
                if path not in self._databases:
                    self._databases[path] = Database(path)
                return DatabaseTable(self._databases[path], contract)
            case SourceFormat.CSV:
                return CsvTable(path, system)
            case SourceFormat.JSON_LINES:
                return JsonLinesTable(path, system)
            case SourceFormat.JSON:
                return JsonTable(path, system)
            case SourceFormat.XML:
                return XmlTable(path, system, contract)
            case SourceFormat.PARQUET:
                return ParquetTable(path)
        raise ValueError(f"the generator writes no {system.format.value}")
