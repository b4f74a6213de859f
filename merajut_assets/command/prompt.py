"""`merajut open`: SQL on a stakeholder's published file, read-only.

Belongs here: the prompt and how results are shown. Opening the file with its key is the publisher's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import duckdb
from rich.console import Console
from rich.table import Table

from merajut_assets.command.exits import BadInput

ROWS_SHOWN = 100
_HELP = "SQL ends with ; — SHOW TABLES; lists the tables, .help this text, .quit leaves."


def confine(connection: duckdb.DuckDBPyConnection) -> None:
    """Take away the ways to other files: the prompt shows, and writes nothing in clear."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def execute(connection: duckdb.DuckDBPyConnection, statement: str, console: Console) -> None:
    """Run one statement and show its rows. Raises BadInput with DuckDB's reason."""
    try:
        result = connection.execute(statement)
        header = [column[0] for column in result.description or ()]
        rows = result.fetchmany(ROWS_SHOWN + 1)
    except duckdb.Error as error:
        raise BadInput(str(error).split("\n\n")[0]) from None
    table = Table(header_style="bold")
    for name in header:
        table.add_column(name)
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table, markup=False)
    if len(rows) > ROWS_SHOWN:
        console.print(f"the first {ROWS_SHOWN} rows; add LIMIT or an aggregate", highlight=False)


def converse(connection: duckdb.DuckDBPyConnection, lines: Iterable[str], console: Console) -> None:
    """Read statements until the lines end; a wrong one is explained, and the prompt goes on."""
    console.print(_HELP, highlight=False)
    for statement in statements(lines):
        if statement in (".quit", ".exit"):
            return
        if statement.startswith("."):
            console.print(_HELP, highlight=False)
            continue
        try:
            execute(connection, statement, console)
        except BadInput as problem:
            console.print(str(problem), style="red", markup=False, highlight=False)


def statements(lines: Iterable[str]) -> Iterator[str]:
    """Lines put together to statements: each ends with a semicolon, a dot command with its line."""
    collected: list[str] = []
    for line in lines:
        if not collected and line.strip().startswith("."):
            yield line.strip()
            continue
        collected.append(line)
        whole = "\n".join(collected).strip()
        if whole.endswith(";"):
            collected = []
            yield whole.rstrip(";").strip()
    if "".join(collected).strip():
        yield "\n".join(collected).strip()


def typed_lines(stakeholder: str) -> Iterator[str]:
    """What somebody types, with the terminal's own line editing, until end of input."""
    while True:
        try:
            yield input(f"{stakeholder}> ")
        except EOFError:
            return
