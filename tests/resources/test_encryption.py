"""Rows come back exactly as they were, or not at all; nothing in an error quotes them."""

from __future__ import annotations

import hmac
import os
from datetime import date, time, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.encryption import DecryptionError, decrypt_rows, digest, encrypt_rows, tokens

CONTEXT = b"raw/panti/children"
TYPES: dict[str, tuple[pl.DataType, st.SearchStrategy]] = {
    "text": (pl.String(), st.text(st.characters(exclude_categories=["Cs"]))),
    "whole": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (pl.UInt64(), st.integers(0, 2**64 - 1)),
    "real": (pl.Float64(), st.floats()),
    "yes": (pl.Boolean(), st.booleans()),
    "day": (pl.Date(), st.dates()),
    "moment": (pl.Datetime("us"), st.datetimes()),
    "zoned": (pl.Datetime("ms", "Asia/Jakarta"), st.just(None)),
    "clock": (pl.Time(), st.times().map(lambda moment: moment.replace(fold=0))),
    "span": (pl.Duration("us"), st.timedeltas(timedelta(-99999), timedelta(99999))),
    "bytes": (pl.Binary(), st.binary()),
    "amount": (pl.Decimal(18, 2), st.decimals(Decimal("-1e9"), Decimal("1e9"), places=2)),
    "kind": (pl.Enum(["a", "b"]), st.sampled_from(["a", "b"])),
    "words": (pl.List(pl.String()), st.lists(st.text(st.characters(exclude_categories=["Cs"])))),
}
SCHEMA = {name: dtype for name, (dtype, _) in TYPES.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({name: st.none() | values for name, (_, values) in TYPES.items()}), max_size=5))
def test_every_type_comes_back_exactly(rows: list[dict[str, object]]) -> None:
    """A lossy blob would alter evidence that nobody could compare with its source after the dispute window."""
    frame = pl.DataFrame(rows, schema=SCHEMA, strict=False) if rows else pl.DataFrame(schema=SCHEMA)
    keys = [os.urandom(32) for _ in rows]
    back, readable = decrypt_rows(encrypt_rows(frame, keys, CONTEXT), keys, SCHEMA, CONTEXT)
    assert back.equals(frame, null_equal=True)
    assert back.schema == frame.schema
    assert readable.all()


@pytest.fixture
def people() -> pl.DataFrame:
    return pl.DataFrame(
        {"name": ["Rahasia Satu", "Rahasia Dua", None], "birth_date": [date(2012, 3, 4), None, date(2015, 1, 1)]}
    )


@pytest.fixture
def keys() -> list[bytes]:
    return [os.urandom(32) for _ in range(3)]


def test_a_row_without_key_is_null_and_marked(people: pl.DataFrame, keys: list[bytes]) -> None:
    """This is what an erased child looks like ever after."""
    blobs = encrypt_rows(people, keys, CONTEXT)
    back, readable = decrypt_rows(blobs, [keys[0], None, keys[2]], people.schema, CONTEXT)
    assert readable.to_list() == [True, False, True]
    assert back.row(1) == (None, None)
    assert back[0].equals(people[0])
    assert back[2].equals(people[2])


def test_encrypting_without_key_gives_no_blob(people: pl.DataFrame, keys: list[bytes]) -> None:
    blobs = encrypt_rows(people, [None, *keys[1:]], CONTEXT)
    assert blobs.is_null().to_list() == [True, False, False]
    assert decrypt_rows(blobs, keys, people.schema, CONTEXT)[1].to_list() == [False, True, True]


def test_blobs_show_nothing_and_never_repeat(people: pl.DataFrame, keys: list[bytes]) -> None:
    twice = [encrypt_rows(people, keys, CONTEXT).to_list() for _ in range(2)]
    assert not any(b"Rahasia" in blob for blob in twice[0])
    assert set(twice[0]).isdisjoint(twice[1])


@pytest.mark.parametrize("tampering", ["context", "byte", "key", "row", "cut"])
def test_tampering_is_refused_without_quoting(people: pl.DataFrame, keys: list[bytes], tampering: str) -> None:
    blobs, context = encrypt_rows(people, keys, CONTEXT), CONTEXT
    if tampering == "context":
        context = b"raw/panti/guardians"
    elif tampering == "byte":
        blobs = pl.Series([blob[:-1] + bytes([blob[-1] ^ 1]) for blob in blobs.to_list()], dtype=pl.Binary)
    elif tampering == "key":
        keys = [os.urandom(32) for _ in keys]
    elif tampering == "row":
        blobs = blobs.reverse()
    else:
        blobs = pl.Series([blob[:5] for blob in blobs.to_list()], dtype=pl.Binary)
    with pytest.raises(DecryptionError) as caught:
        decrypt_rows(blobs, keys, people.schema, context)
    assert "Rahasia" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_columns_that_came_or_went_since(people: pl.DataFrame, keys: list[bytes]) -> None:
    """Old raw versions stay readable under a newer contract."""
    blobs = encrypt_rows(people, keys, CONTEXT)
    back, _ = decrypt_rows(blobs, keys, {"name": pl.String(), "phone": pl.String()}, CONTEXT)
    assert back["name"].equals(people["name"], null_equal=True)
    assert back["phone"].null_count() == 3


def test_a_retyped_column_is_refused_without_quoting(people: pl.DataFrame, keys: list[bytes]) -> None:
    """Polars' own message quotes the value that does not fit."""
    with pytest.raises(DecryptionError, match="current contract") as caught:
        decrypt_rows(encrypt_rows(people, keys, CONTEXT), keys, {"name": pl.Int64()}, CONTEXT)
    assert "Rahasia" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_type_that_cannot_travel_is_named() -> None:
    with pytest.raises(TypeError, match="'where'"):
        encrypt_rows(pl.DataFrame({"where": [{"x": time(1)}]}), [b"k" * 32], CONTEXT)


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_tokens_are_truncated_hmac(texts: list[str | None]) -> None:
    """Equal identifiers must meet, under one key only, and null must not become somebody."""
    series, key = pl.Series("nik", texts, dtype=pl.String), b"k" * 32
    expected = [None if text is None else hmac.digest(key, text.encode(), "sha256").hex()[:32] for text in texts]
    assert tokens(series, key).to_list() == expected
    assert tokens(series, key).name == "nik"


def test_digests_are_keyed() -> None:
    assert digest(b"a", b"content") != digest(b"b", b"content")
    assert digest(b"a", b"content") == hmac.digest(b"a", b"content", "sha256").hex()
