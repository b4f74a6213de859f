"""Copies the generated case management database to a server, where it is reached by URL.

The generated file stays the truth; this is for trying and testing a deployment whose case
management runs on PostgreSQL.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from merajut_assets.sources.generate.catalogue import TABLES, contract_of, location_of
from merajut_assets.sources.generate.places import GenerationError

_BATCH_ROWS = 20_000
_TYPES: dict[str, Any] = {"INTEGER": sa.BigInteger, "REAL": sa.Float, "TEXT": sa.Text}


def write_panti_database(data_directory: Path, url: str) -> dict[str, int]:
    """Copy all tables of the generated `panti` file under `data_directory` to the database at
    `url`, in one transaction; tables of the same names are replaced. Returns rows per table.

    Columns keep the types of the file: dates and moments stay text, since some of them are
    impossible. GenerationError: no generated file, or the database refuses; never quotes the URL."""
    contracts = [contract_of(system, name) for system, name in TABLES if system == "panti"]
    path = data_directory / location_of(contracts[0])
    if not path.is_file():
        raise GenerationError("there is no generated case management database; generate the world first")
    try:
        target = sa.make_url(url)
        if target.drivername in ("postgres", "postgresql"):
            target = target.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(target, hide_parameters=True, poolclass=sa.pool.NullPool)
        with closing(sqlite3.connect(path)) as source, engine.begin() as connection:
            return {
                contract.name_in_source: _copy(source, connection, contract.name_in_source) for contract in contracts
            }
    except (sa.exc.SQLAlchemyError, ImportError):
        # Messages of drivers quote URLs and values.
        raise GenerationError(
            "the database cannot be reached or refuses the tables; check URL, server and the right to create tables"
        ) from None


def _copy(source: sqlite3.Connection, connection: sa.Connection, name: str) -> int:
    columns = [
        sa.Column(column, _TYPES[kind]) for _, column, kind, *_ in source.execute(f'PRAGMA table_info("{name}")')
    ]
    table = sa.Table(name, sa.MetaData(), *columns)
    table.drop(connection, checkfirst=True)
    table.create(connection)
    names = [column.name for column in columns]
    rows = source.execute(f'SELECT * FROM "{name}"')  # noqa: S608 — a table name of our contracts
    count = 0
    while batch := rows.fetchmany(_BATCH_ROWS):
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in batch])
        count += len(batch)
    return count
