"""What a reader is asked for, and how it refuses: the vocabulary that all readers share.

Here: the request for one table, the frame it answers with, and the one error by which a
source is refused. Not here: any file format (one module per family beside this one) and the
choice of the reader (`reader`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from merajut_assets.contracts.base import DROP_UNDECLARED, System, TableContract

# A name that somebody chose for a column. Some exports make keys of people's full names, so that anything
# else (blanks above all) is counted and not shown. A file without its header row offers a person's values
# as names instead, single words among them: before all declared columns are there, no other name is shown.
_SHOWABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z_./@-]*\d{0,3}[A-Za-z_./@-]*\Z")
_SHOWABLE_LENGTH = 80
HIDDEN_NAME = "(name not shown)"


class SourceError(Exception):
    """A source was refused. Names system, table, column, rule and remedy, and never a value.

    `rule` is a stable identifier for reports and tests; `detail` says in words what was found,
    with positions and counts only."""

    def __init__(
        self, system: str, table: str, rule: str, detail: str, remedy: str, *, column: str | None = None
    ) -> None:
        self.system = system
        self.table = table
        self.column = column
        self.rule = rule
        self.detail = detail
        self.remedy = remedy
        place = f"{system}.{table}" + (f".{column}" if column else "")
        super().__init__(f"{place}: {detail} [{rule}]. Remedy: {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders when a step runs in a process of its own.
        return _rebuild, (self.system, self.table, self.rule, self.detail, self.remedy, self.column)


def _rebuild(system: str, table: str, rule: str, detail: str, remedy: str, column: str | None) -> SourceError:
    return SourceError(system, table, rule, detail, remedy, column=column)


@dataclass(frozen=True)
class RawTable:
    """What a format reader returns: the declared columns under their names in the source, and
    the full header in its order."""

    frame: pl.DataFrame
    header: tuple[str, ...]


@dataclass(frozen=True)
class TableRequest:
    """One table to be read: contract, system, and the file or the database it is in."""

    contract: TableContract
    system: System
    path: Path | None = None
    database_url: str | None = None

    @property
    def source(self) -> str:
        """The table's name in the source: file stem, element, SQL table or codelist."""
        return self.contract.name_in_source

    @property
    def place(self) -> str:
        """Where the table is, relative to the data directory: safe to show."""
        return self.system.location.format(source=self.source)

    @property
    def declared(self) -> dict[str, str]:
        """Contract name by name in the source, in the order of the contract."""
        return {column.name_in_source: column.name for column in self.contract.columns}

    def option(self, name: str, default: str | None = None) -> str | None:
        return dict(self.system.options).get(name, default)

    def error(self, rule: str, detail: str, remedy: str, *, column: str | None = None) -> SourceError:
        return SourceError(self.system.name, self.contract.name, rule, detail, remedy, column=column)

    def existing_path(self) -> Path:
        """The file of the table; SourceError when it is absent, no file or empty."""
        if self.path is None:
            raise self.error("location", "the table has no file", "give the system a location in its contract")
        if not self.path.is_file():
            raise self.error(
                "absent", f"there is no file at {self.place} under the data directory", "put the export there"
            )
        if self.path.stat().st_size == 0:
            raise self.error("empty", f"the file {self.place} has no content", "export it again")
        return self.path

    def wanted(self, header: Sequence[str]) -> list[str]:
        """The declared columns, under their names in the source, once the header has passed.

        SourceError: a declared column is missing, a name occurs twice, or a column is neither
        declared nor dropped by the contract. Names that the contract does not know are shown only of a
        header that has all declared columns, and only when they look like names of columns."""
        module = f"contracts/{self.contract.model.__module__.rpartition('.')[2]}.py"
        missing = [name for name in self.declared if name not in set(header)]
        if len(missing) == len(self.declared):
            raise self.error(
                "header",
                "none of the declared columns is there",
                "check that the export is of this table and has its header row",
                column=self.contract.columns[0].name_in_source,
            )
        if missing:
            raise self.error(
                "missing_column",
                f"the source lacks the declared column(s) {', '.join(missing)}",
                f"export the column(s) again, or change the declaration in {module} if the source has changed",
                column=missing[0],
            )
        doubled = [name for name, count in Counter(header).items() if count > 1]
        if doubled:
            raise self.error(
                "duplicate_column",
                f"the source names more than one column {showable(doubled)}",
                "export every column once, under a name of its own",
                column=doubled[0] if _is_showable(doubled[0]) else None,
            )
        unknown = [name for name in self.undeclared(header) if name not in self.contract.drops]
        if unknown and DROP_UNDECLARED not in self.contract.drops:
            raise self.error(
                "undeclared_column",
                f"the source has the new column(s) {showable(unknown)}",
                f"declare each with a privacy class in {module}, or add it to drops",
                column=unknown[0] if _is_showable(unknown[0]) else None,
            )
        return list(self.declared)

    def undeclared(self, header: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in header if name not in self.declared)

    def left_behind(self, header: Iterable[str]) -> tuple[str, ...]:
        """The undeclared columns, for reports: one that the contract does not name and whose name looks like
        a value has none."""
        return tuple(
            name if name in self.contract.drops or _is_showable(name) else HIDDEN_NAME
            for name in self.undeclared(header)
        )


def _is_showable(name: str) -> bool:
    return len(name) <= _SHOWABLE_LENGTH and _SHOWABLE_NAME.match(name) is not None


def showable(names: Sequence[str]) -> str:
    """Column names for a message: those that look like names, and the number of the others."""
    shown = [name for name in names if _is_showable(name)]
    hidden = len(names) - len(shown)
    return ", ".join(shown + ([f"{hidden} whose name is not shown"] if hidden else []))
