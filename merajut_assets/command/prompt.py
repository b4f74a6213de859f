"""`merajut open`: SQL on a stakeholder's published file, read-only.

Belongs here: the prompt and how results are shown. Opening the file with its key is the publisher's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from merajut_assets.command.exits import BadInput

ROWS_SHOWN = 100
_HELP = "SQL ends with a semicolon · .tables lists the tables · help · exit or quit"
_LEAVE = (".exit", ".quit")
_TABLES = ".tables"
# Other prompts take these without a dot, and so people type them; none of them is SQL.
_WORDS = ("exit", "help", "quit")
_UNBOUNDED = 1_000_000


def confine(connection: duckdb.DuckDBPyConnection) -> None:
    """Take away the ways to other files: the prompt shows, and writes nothing in clear."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def execute(connection: duckdb.DuckDBPyConnection, statement: str, console: Console) -> None:
    """Run one statement and show its rows, one below the other when they are wider than the terminal.

    Raises BadInput with DuckDB's reason."""
    try:
        result = connection.execute(statement)
        header = [column[0] for column in result.description or ()]
        rows = result.fetchmany(ROWS_SHOWN + 1)
    except duckdb.Error as error:
        raise BadInput(str(error).split("\n\n")[0]) from None
    cells = [["" if value is None else str(value) for value in row] for row in rows[:ROWS_SHOWN]]
    table = _table(header, cells)
    width = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum
    if width <= console.width:
        console.print(table)
    else:
        for number, row in enumerate(cells, 1):
            console.print(f"row {number}", style="bold", highlight=False)
            console.print(_upright(header, row))
    if len(rows) > ROWS_SHOWN:
        console.print(f"the first {ROWS_SHOWN} rows; add LIMIT or an aggregate", highlight=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(header_style="bold")
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))  # as text, because a value in brackets is no style
    return table


def _upright(header: Sequence[str], row: Sequence[str]) -> Table:
    """One row with a line for each column."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in zip(header, row, strict=True):
        table.add_row(Text(f"  {name}"), Text(value))
    return table


def obey(connection: duckdb.DuckDBPyConnection, statement: str, console: Console) -> bool:
    """Do what a statement, or a dot command, says; False when it says to leave. Raises BadInput."""
    if statement in _LEAVE:
        return False
    if statement == _TABLES:
        execute(connection, "SHOW TABLES", console)
    elif statement.startswith("."):
        console.print(_HELP, highlight=False)
    elif statement:
        execute(connection, statement, console)
    return True


def converse(connection: duckdb.DuckDBPyConnection, lines: Iterable[str], console: Console) -> None:
    """Read statements until the lines end; a wrong one is explained, and the prompt goes on."""
    console.print(_HELP, highlight=False)
    for statement in statements(lines):
        try:
            if not obey(connection, statement, console):
                return
        except BadInput as problem:
            console.print(str(problem), style="red", markup=False, highlight=False)


def statements(lines: Iterable[str]) -> Iterator[str]:
    """Lines put together to statements: each ends with a semicolon, a dot command with its line.

    `exit`, `help` and `quit` on a line of their own become dot commands."""
    collected: list[str] = []
    for line in lines:
        word = line.strip().rstrip(";").rstrip()
        if not collected and (word.startswith(".") or word.lower() in _WORDS):
            yield f".{word.lstrip('.').lower()}"
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
