"""Reads tables out of SQL dumps without running a database server.

Option of a dump system: `dialect`, `sqlite` (default) or `mysql`. A dump of SQLite is run in an
in-memory database that may do nothing but create and fill tables; of a dump of MySQL, only
CREATE TABLE (for the names of the columns) and INSERT are read, everything else is passed over.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

from merajut_assets.sources.files import read_text
from merajut_assets.sources.records import BATCH_ROWS, Batches
from merajut_assets.sources.request import RawTable, TableRequest

# What loading a dump needs; ATTACH, PRAGMA, functions and recursion are not among it, so that a
# dump can neither reach the disk nor keep the processor busy.
_ALLOWED_ACTIONS = frozenset(
    {
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_REINDEX,
    }
)

_TOKEN = re.compile(
    r"""
      (?P<blank>\s++|--[^\n]*+|\#[^\n]*+|/\*.*?\*/)
    | (?P<text>'(?:[^'\\]++|\\.|'')*+')
    | (?P<number>[-+]?\d++(?:\.\d++)?(?:[eE][-+]?\d++)?)
    | (?P<name>`(?:[^`]++|``)*+`|"(?:[^"]++|"")*+"|[A-Za-z_][\w$]*+)
    | (?P<mark>[(),;=.*@:+<>!/-])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}
_CONSTRAINTS = frozenset({"primary", "key", "unique", "constraint", "index", "fulltext", "foreign", "check", "spatial"})

Token = tuple[str, str]


def read_sql_dump(request: TableRequest) -> RawTable:
    """A table of the dump.

    SourceError: a statement that is invalid, unfinished or does more than fill tables, no such
    table, and what `TableRequest.wanted` refuses."""
    dialect = request.option("dialect", "sqlite")
    if dialect == "sqlite":
        return _read_sqlite_dump(request)
    if dialect == "mysql":
        return _read_mysql_dump(request)
    raise request.error("option", "the option dialect names no known dialect", "state sqlite or mysql")


def _read_sqlite_dump(request: TableRequest) -> RawTable:
    script = read_text(request)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.set_authorizer(_authorise)
        try:
            connection.executescript(script)
        except sqlite3.Error:
            raise request.error(
                "invalid_sql",
                "a statement of the dump is invalid, or does more than create and fill tables",
                "the dump is cut off or no dump of SQLite: export it again",
            ) from None
        if connection.in_transaction:
            raise request.error(
                "truncated", "the dump ends before its transaction does", "it is cut off: export it again"
            )
        connection.set_authorizer(None)
        name = request.source.replace('"', '""')
        header = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        if not header:
            raise _no_table(request)
        wanted = request.wanted(header)
        columns = ", ".join('"' + column.replace('"', '""') + '"' for column in wanted)
        cursor = connection.execute(f'SELECT {columns} FROM "{name}"')  # noqa: S608 - names quoted above
        batches = Batches(wanted)
        while rows := cursor.fetchmany(BATCH_ROWS):
            batches.add_rows(rows)
        return RawTable(batches.frame(), tuple(header))
    finally:
        connection.close()


def _authorise(action: int, first: str | None, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED_ACTIONS else sqlite3.SQLITE_DENY


def _read_mysql_dump(request: TableRequest) -> RawTable:
    header: list[str] | None = None
    batches: Batches | None = None
    for statement in _statements(request):
        words = [token[1].lower() for token in statement[:6]]
        if words[:2] == ["create", "table"]:
            position = 5 if words[2:5] == ["if", "not", "exists"] else 2
            if _name(statement[position]) == request.source:
                header = _column_names(statement[position + 1 :])
                batches = Batches(request.wanted(header))
        elif words[:2] == ["insert", "into"] and _name(statement[2]) == request.source:
            if header is None or batches is None:
                raise request.error(
                    "invalid_sql", "the dump fills the table before creating it", "export structure and data together"
                )
            _add_inserted(request, statement[3:], header, batches)
    if header is None or batches is None:
        raise _no_table(request)
    return RawTable(batches.frame(), tuple(header))


def _statements(request: TableRequest) -> Iterator[list[Token]]:
    """The statements of the dump as tokens; comments and blanks left out."""
    script = read_text(request)
    position = 0
    statement: list[Token] = []
    while position < len(script):
        match = _TOKEN.match(script, position)
        if match is None:
            line = script.count("\n", 0, position) + 1
            raise request.error(
                "invalid_sql",
                f"the dump cannot be understood from line {line} on",
                "it is cut off or no dump of MySQL: export it again",
            )
        position = match.end()
        kind = match.lastgroup or ""
        if kind == "mark" and match.group() == ";":
            if statement:
                yield statement
            statement = []
        elif kind != "blank":
            statement.append((kind, match.group()))
    if statement:
        raise request.error("truncated", "the dump ends inside a statement", "it is cut off: export it again")


def _name(token: Token) -> str:
    text = token[1]
    return text[1:-1].replace(text[0] * 2, text[0]) if text[0] in '`"' else text


def _column_names(tokens: list[Token]) -> list[str]:
    """The first name of each part between the outermost parentheses, keys and indexes apart."""
    names: list[str] = []
    depth, is_start = 0, False
    for token in tokens:
        if token == ("mark", "("):
            depth += 1
            is_start = depth == 1
        elif token == ("mark", ")"):
            depth -= 1
            if not depth:
                break
        elif token == ("mark", ","):
            is_start = depth == 1
        elif is_start:
            is_start = False
            if token[0] == "name" and token[1].lower() not in _CONSTRAINTS:
                names.append(_name(token))
    return names


def _add_inserted(request: TableRequest, tokens: list[Token], header: list[str], batches: Batches) -> None:
    columns = header
    position = next((i for i, token in enumerate(tokens) if token[1].lower() == "values"), None)
    if position is None:
        raise request.error("invalid_sql", "an INSERT of the dump has no VALUES", "export plain INSERT statements")
    if position:
        columns = [_name(token) for token in tokens[:position] if token[0] == "name"]
    row: list[Any] = []
    depth = 0
    for kind, text in tokens[position + 1 :]:
        if kind == "mark" and text == "(":
            depth, row = depth + 1, []
        elif kind == "mark" and text == ")":
            depth -= 1
            if len(row) != len(columns):
                raise request.error(
                    "ragged_row",
                    f"a row of the dump has {len(row)} values for {len(columns)} columns",
                    "the dump is damaged: export it again",
                )
            batches.add(dict(zip(columns, row, strict=True)))
        elif depth == 1 and kind != "mark":
            row.append(_value(request, kind, text))
        elif text != ",":
            raise request.error(
                "invalid_sql", "an INSERT of the dump holds more than plain values", "export plain INSERT statements"
            )


def _value(request: TableRequest, kind: str, text: str) -> Any:
    if kind == "text":
        return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]) if found[1] else "'", text[1:-1])
    if kind == "number":
        return float(text) if any(mark in text for mark in ".eE") else int(text)
    constants = {"null": None, "true": True, "false": False}
    if text.lower() not in constants:
        raise request.error(
            "invalid_sql", "an INSERT of the dump holds more than plain values", "export plain INSERT statements"
        )
    return constants[text.lower()]


def _no_table(request: TableRequest) -> Exception:
    return request.error("absent", "the dump has no such table", "check the table's name in the contract and the dump")
