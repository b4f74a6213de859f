"""Reading raw back: the newest version of a table, decrypted in memory, good and refused rows apart.

Rows about an erased person do not come back, whatever version they are in; decisions that outlive a person
come back without them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.raw import landing
from resources.encryption import decrypt_rows
from resources.lake import RawVersion
from resources.lakehouse import DECRYPTION, Lakehouse


class NotLanded(RuntimeError):
    """A source table was never landed. Names it and the remedy."""


@dataclass(frozen=True)
class RawRows:
    """`good` and `refused` have the contract's columns, the derived tokens and flags, and
    `source_time`; `refused` has `failed_rules`, too. `erased` counts rows left out."""

    version: RawVersion
    good: pl.DataFrame
    refused: pl.DataFrame
    erased: int


def read_raw_rows(lakehouse: Lakehouse, contract: TableContract, needed: Collection[str], reader: str) -> RawRows:
    """The newest landed rows, for the asset `reader`. Personal columns of good rows are decrypted only when `needed`;
    refused rows are decrypted whole, because quarantine keeps them whole."""
    version = newest_version(lakehouse, contract)
    landed = lakehouse.read_raw(version, reader=reader, purpose="build")
    _refuse_outgrown(contract, landed.columns)
    stored = landed.with_columns(
        pl.lit(datetime.fromisoformat(str(version.facts["source_time"])).replace(tzinfo=None)).alias("source_time")
    )
    if not contract.subjects:
        return RawRows(version, *_split(stored), 0)
    stored, keys = _with_living_keys(lakehouse, contract, stored)
    alive = pl.Series([key is not None for key in keys], dtype=pl.Boolean)
    erased = stored.height - int(alive.sum())
    is_good = stored[landing.FAILED_RULES].is_null()
    wanted = {name: dtype for name, dtype in landing.blob_schema(contract).items() if name in needed}
    good = _decrypted(stored, keys, is_good & alive, wanted, contract)
    refused = _decrypted(stored, keys, ~is_good & alive, landing.blob_schema(contract), contract)
    opened = refused.height + (good.height if wanted else 0)
    if opened:
        _audit(lakehouse, contract, version, opened, reader)
    return RawRows(version, good.drop(landing.FAILED_RULES), refused, erased)


def _refuse_outgrown(contract: TableContract, landed: Collection[str]) -> None:
    """A landing is made anew whenever its contract changes: to take what it lacks for empty would be wrong."""
    declared = [*(column.name for column in contract.plain_columns), *landing.flag_sources(contract)]
    if missing := [name for name in declared if name not in landed]:
        raise NotLanded(
            f"{contract.identifier} was landed last before its contract declared {', '.join(missing)}; materialise "
            f"raw/{contract.system}/{contract.name}, as `merajut run` does"
        )


def read_whole_rows(
    lakehouse: Lakehouse, contract: TableContract, version: RawVersion, rows: pl.DataFrame, reader: str
) -> pl.DataFrame:
    """Some of the good rows of a version again, in their order, with all their personal columns.

    `rows` have the contract's key, which no two good rows share."""
    if not contract.subjects or rows.is_empty():
        return rows
    landed = lakehouse.read_raw(version, reader=reader, purpose="quarantine")
    stored = landed.filter(pl.col(landing.FAILED_RULES).is_null())
    found = stored.join(rows, on=[name for name in contract.key if name in stored.columns], how="semi")
    found, keys = _with_living_keys(lakehouse, contract, found)
    alive = pl.Series([key is not None for key in keys], dtype=pl.Boolean)
    whole = _decrypted(found, keys, alive, landing.blob_schema(contract), contract)
    _audit(lakehouse, contract, version, whole.height, reader)
    return rows.select(contract.key).join(whole, on=contract.key, how="left", maintain_order="left")


def _with_living_keys(
    lakehouse: Lakehouse, contract: TableContract, stored: pl.DataFrame
) -> tuple[pl.DataFrame, list[bytes | None]]:
    """Stored rows and their keys. What was encrypted under the key of somebody erased since is taken out of
    the rows that outlive them."""
    kept, spared = landing.without_erased(stored, contract, living_keys(lakehouse))
    if spared.any():
        kept = kept.with_columns(kept[landing.ENCRYPTED].set(spared, None))
    return kept, landing.row_keys(kept, contract, living_keys(lakehouse), lakehouse.vault.named_key)


def _audit(lakehouse: Lakehouse, contract: TableContract, version: RawVersion, rows: int, reader: str) -> None:
    """That the keys of people were used: the rows that were opened with them."""
    lakehouse.audit.append(
        DECRYPTION, table=contract.identifier, version=version.number, rows=rows, reader=reader, purpose="people's rows"
    )


def newest_version(lakehouse: Lakehouse, contract: TableContract) -> RawVersion:
    version = lakehouse.lake.latest_raw(contract.system, contract.name)
    if version is None:
        raise NotLanded(f"{contract.identifier} was never landed; materialise raw/{contract.system}/{contract.name}")
    return version


def living_keys(lakehouse: Lakehouse) -> Callable[[Subject, Sequence[str]], Mapping[str, bytes]]:
    """Finds the keys of those who were not erased, and makes none."""

    def find(subject: Subject, ids: Sequence[str]) -> Mapping[str, bytes]:
        return lakehouse.vault.subject_keys(subject, ids, create=False)

    return find


def _split(stored: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    is_good = stored[landing.FAILED_RULES].is_null()
    return stored.filter(is_good).drop(landing.FAILED_RULES), stored.filter(~is_good)


def _decrypted(
    stored: pl.DataFrame,
    keys: Sequence[bytes | None],
    chosen: pl.Series,
    schema: Mapping[str, pl.DataType],
    contract: TableContract,
) -> pl.DataFrame:
    rows = stored.filter(chosen)
    plain = rows.drop(landing.ENCRYPTED)
    if not schema:
        return plain
    chosen_keys = [key for key, is_chosen in zip(keys, chosen.to_list(), strict=True) if is_chosen]
    personal, _ = decrypt_rows(rows[landing.ENCRYPTED], chosen_keys, schema, landing.blob_context(contract))
    return plain.hstack(personal)
