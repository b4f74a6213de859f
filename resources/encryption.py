"""Rows to ciphertext and back, keyed digests and tokens: pure functions over frames and keys.

Here belongs how a personal row is encrypted. Where keys come from (`vault`) and where the result is
stored (`lake`) do not.

A row's personal columns become one JSON object, encrypted with AES-256-GCM under the row's key:
`nonce (12 bytes) || ciphertext || tag (16 bytes)`. Dates, times, decimals, floats and bytes travel in
a form that comes back exactly as it was. Nothing in an exception quotes a value.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resources.vault import Hasher

TOKEN_CHARACTERS = 32
_NONCE_BYTES = 12
_AS_PLAIN_JSON = (
    pl.String,
    pl.Boolean,
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
    pl.Null,
)
_AS_INTEGER = {pl.Date: pl.Int32, pl.Datetime: pl.Int64, pl.Duration: pl.Int64, pl.Time: pl.Int64}
_AS_TEXT = (pl.Float32, pl.Float64, pl.Decimal, pl.Categorical, pl.Enum, pl.Int128)


class DecryptionError(ValueError):
    """A blob does not open: altered, moved from another table, or the key is another one. Never quotes values."""


# ── rows ─────────────────────────────────────────────────────────────────────────────────


def encrypt_rows(frame_of_personal: pl.DataFrame, keys: Sequence[bytes | None], context: bytes) -> pl.Series:
    """One blob (Binary) per row of `frame_of_personal`; null where the key is None.

    `context` (such as b"raw/panti/children") is authenticated with every row, so that a blob moved
    to another table does not open. Raises TypeError naming a column whose type cannot be carried.
    """
    if len(keys) != frame_of_personal.height:
        raise ValueError("encrypt_rows needs one key (or None) per row")
    plain = rows_as_json(frame_of_personal).cast(pl.Binary).to_list()
    noise = os.urandom(_NONCE_BYTES * len(plain))
    blobs: list[bytes | None] = []
    for position, (key, row) in enumerate(zip(keys, plain, strict=True)):
        if key is None:
            blobs.append(None)
            continue
        nonce = noise[position * _NONCE_BYTES : (position + 1) * _NONCE_BYTES]
        blobs.append(nonce + AESGCM(key).encrypt(nonce, row, context))
    return pl.Series("encrypted", blobs, dtype=pl.Binary)


def decrypt_rows(
    blobs: pl.Series, keys: Sequence[bytes | None], schema: Mapping[str, pl.DataType], context: bytes
) -> tuple[pl.DataFrame, pl.Series]:
    """The personal columns of `blobs` in the types of `schema`, and a Boolean mask of the readable rows.

    A row whose key is None, or whose blob is null, comes back all null and False in the mask. Columns
    of `schema` that were not encrypted come back null; encrypted columns not in `schema` are left out.
    Raises DecryptionError when a blob does not open, or holds another type than `schema` says.
    """
    if len(keys) != len(blobs):
        raise ValueError("decrypt_rows needs one key (or None) per row")
    plain: list[bytes] = []
    readable: list[bool] = []
    refused = 0
    for key, blob in zip(keys, blobs.to_list(), strict=True):
        row = b"{}"
        if key is not None and blob is not None:
            try:
                row = AESGCM(key).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], context)
            except (InvalidTag, ValueError):
                refused += 1
        plain.append(row)
        readable.append(key is not None and blob is not None)
    if refused:
        raise DecryptionError(
            f"{refused} of {len(plain)} encrypted rows of {context.decode(errors='replace')} do not open: altered, "
            "moved from another table, or encrypted under other keys; land the source again"
        )
    return _rows_from_json(plain, schema, context), pl.Series("readable", readable, dtype=pl.Boolean)


def rows_as_json(frame: pl.DataFrame) -> pl.Series:
    """Each row as one JSON object (String), in a form that loses nothing."""
    if frame.width == 0:
        return pl.Series("row", ["{}"] * frame.height, dtype=pl.String)
    travelling = frame.select(_to_wire(name, dtype) for name, dtype in frame.schema.items())
    return travelling.select(pl.struct(pl.all()).struct.json_encode().alias("row")).to_series()


def _rows_from_json(rows: Sequence[bytes], schema: Mapping[str, pl.DataType], context: bytes) -> pl.DataFrame:
    wanted = dict(schema)
    if not rows or not wanted:
        return pl.DataFrame({name: pl.Series(name, [None] * len(rows), dtype=dtype) for name, dtype in wanted.items()})
    wire = {name: _wire_type(name, dtype) for name, dtype in wanted.items()}
    try:
        travelled = pl.read_ndjson(b"\n".join(rows), schema=wire)
        return travelled.select(_from_wire(name, dtype) for name, dtype in wanted.items())
    except (pl.exceptions.PolarsError, ValueError):
        raise DecryptionError(
            f"encrypted rows of {context.decode(errors='replace')} hold other types than the contract declares; "
            "land the source again under the current contract"
        ) from None


def _wire_type(name: str, dtype: pl.DataType) -> pl.DataType:
    """The type in which a column travels inside the JSON object."""
    base = dtype.base_type()
    if base in _AS_PLAIN_JSON:
        return dtype
    if base in _AS_INTEGER:
        return _AS_INTEGER[base]()
    if base in _AS_TEXT or base == pl.Binary:
        return pl.String()
    if (
        isinstance(dtype, pl.List)
        and isinstance(dtype.inner, pl.DataType)
        and dtype.inner.base_type() in _AS_PLAIN_JSON
    ):
        return dtype
    raise TypeError(f"column {name!r}: a personal column of type {base.__name__} cannot be encrypted; use a plain type")


def _to_wire(name: str, dtype: pl.DataType) -> pl.Expr:
    column, wire = pl.col(name), _wire_type(name, dtype)
    if dtype == pl.Binary:
        return column.bin.encode("base64")
    if dtype.base_type() in _AS_INTEGER:
        return column.to_physical()
    return column if wire == dtype else column.cast(wire)


def _from_wire(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Binary:
        return column.str.decode("base64")
    return column if _wire_type(name, dtype) == dtype else column.cast(dtype)


# ── digests and tokens ───────────────────────────────────────────────────────────────────


def digest(key: bytes, data: bytes) -> str:
    """HMAC-SHA256 of `data` in hex. Keyed, so that a small table cannot be guessed from its digest."""
    return hmac.digest(key, data, "sha256").hex()


def tokens(series: pl.Series, key: bytes) -> pl.Series:
    """A keyed token (HMAC-SHA256, first 32 hex digits) for each text of `series`; null stays null.

    Equal texts give equal tokens under one key; the caller normalises beforehand. Only distinct
    values are hashed.
    """
    distinct = series.cast(pl.String).unique().drop_nulls()
    hasher = Hasher(key)
    hashed = pl.Series(
        [hasher.digest(text.encode()).hex()[:TOKEN_CHARACTERS] for text in distinct.to_list()], dtype=pl.String
    )
    return (
        series.cast(pl.String).replace_strict(distinct, hashed, default=None, return_dtype=pl.String).alias(series.name)
    )
