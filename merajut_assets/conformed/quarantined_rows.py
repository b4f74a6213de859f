"""Opening what quarantine keeps, for the data stewards who put it right in the source.

How rows get into quarantine is in `build`.
"""

from __future__ import annotations

import polars as pl

from merajut_assets.conformed.raw_rows import living_keys
from merajut_assets.contracts.base import TableContract
from merajut_assets.raw import landing
from resources.encryption import decrypt_rows
from resources.lakehouse import DECRYPTION, Lakehouse


def context(table: TableContract) -> bytes:
    """What a quarantined row is bound to: its source table."""
    return f"quarantine/{table.identifier}".encode()


def plain_ids(table: TableContract) -> list[str]:
    """The columns that raw shows, too, by which a row and the people it is about are found."""
    wanted = {*table.key, *table.subject_columns.values()}
    return [column.name for column in table.plain_columns if column.name in wanted]


def open_quarantined(lakehouse: Lakehouse, table: TableContract) -> pl.DataFrame:
    """The quarantined rows of a source table: `entity`, `failed_rules`, `row_hash`, all declared
    columns, and `unparsed`, the original text of cells that could not be read (JSON).

    Rows about somebody who was erased are left out. The opening is written to the audit log."""
    stored = lakehouse.read(
        f"quarantine/{table.system}",
        filter=pl.col("source_table") == table.identifier,
        reader="data steward",
        purpose="mending",
    )
    names = plain_ids(table)
    ids = stored["source_ids"].str.json_decode(pl.Struct(dict.fromkeys(names, pl.String()))).struct.unnest()
    keys = landing.row_keys(ids, table, living_keys(lakehouse), lakehouse.vault.named_key)
    schema = {**{column.name: column.dtype for column in table.columns}, landing.UNPARSED: pl.String()}
    rows, readable = decrypt_rows(stored["row"], keys, schema, context(table))
    source, opened = f"quarantine/{table.identifier}", int(readable.sum())
    lakehouse.audit.append(DECRYPTION, table=source, rows=opened, reader="data steward", purpose="rows of people")
    return stored.select("entity", "failed_rules", "row_hash").hstack(rows).filter(readable)
