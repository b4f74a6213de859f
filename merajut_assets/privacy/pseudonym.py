"""Pseudonyms: keyed one-way names for subjects.

Belongs here: deriving a pseudonym from a subject token under a key, and one key from another.
Does not belong here: where keys are kept (a resource) or which dataset uses which key.
"""

from __future__ import annotations

import hashlib
import hmac

import polars as pl

from merajut_assets.privacy.intake import type_name

MINIMUM_KEY_BYTES = 32
PSEUDONYM_BYTES = 16  # 128 bits: a collision among a billion subjects has probability below 1e-20


def pseudonyms(tokens: pl.Series, key: bytes) -> pl.Series:
    """A pseudonym for each token: HMAC-SHA256 under `key`, cut to 128 bits, 32 hexadecimal digits.

    Equal tokens under one key give equal pseudonyms; under different keys they cannot be matched.
    A null stays null. The result (n,) keeps the series' name.
    Raises ValueError for a key shorter than 32 bytes and TypeError for tokens that are not text.
    """
    _check_key(key)
    if tokens.dtype not in (pl.String, pl.Null):
        raise TypeError(f"column {tokens.name!r} has type {type_name(tokens.dtype)}; tokens are text")
    distinct = tokens.cast(pl.String).drop_nulls().unique()
    named = [
        hmac.digest(key, token.encode("utf-8"), hashlib.sha256)[:PSEUDONYM_BYTES].hex() for token in distinct.to_list()
    ]
    table = pl.DataFrame({"token": distinct, "pseudonym": pl.Series(named, dtype=pl.String)})
    return (
        tokens.cast(pl.String)
        .alias("token")
        .to_frame()
        .join(table, on="token", how="left", maintain_order="left")
        .get_column("pseudonym")
        .alias(tokens.name)
    )


def derive_key(master: bytes, *context: str) -> bytes:
    """A 32-byte key for a context such as (stakeholder, period) or (stakeholder, period, dataset).

    Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") give different keys.
    """
    _check_key(master)
    if not context:
        raise ValueError("a derived key needs a context")
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in context)
    return hmac.digest(master, message, hashlib.sha256)


def _check_key(key: bytes) -> None:
    if len(key) < MINIMUM_KEY_BYTES:
        raise ValueError(f"a pseudonym key needs at least {MINIMUM_KEY_BYTES} bytes")
