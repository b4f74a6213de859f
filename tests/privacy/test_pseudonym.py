"""Pseudonyms: the same within a key, unrelated across keys."""

from __future__ import annotations

import hashlib
import hmac

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.privacy.pseudonym import derive_key, pseudonyms

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=20))
def test_pseudonyms_are_a_keyed_function_of_the_token(tokens: list[str | None]) -> None:
    """Equal tokens meet again, different ones never do, and a null stays unknown."""
    named = pseudonyms(pl.Series("token", tokens, dtype=pl.String), KEY)
    assert named.name == "token"
    expected = [
        None if token is None else hmac.new(KEY, token.encode(), hashlib.sha256).hexdigest()[:32] for token in tokens
    ]
    assert named.to_list() == expected


def test_keys_separate_stakeholders() -> None:
    """Two stakeholders who compare their tables must find no common pseudonym."""
    tokens = pl.Series("token", [str(number) for number in range(1000)])
    assert not set(pseudonyms(tokens, KEY)) & set(pseudonyms(tokens, OTHER))


def test_derived_keys_depend_on_every_part() -> None:
    """Without lengths, ("ab", "c") and ("a", "bc") would share their pseudonyms."""
    contexts = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", "")]
    keys = {derive_key(KEY, *context) for context in contexts}
    assert len(keys) == len(contexts)
    assert all(len(key) == 32 for key in keys)
    assert derive_key(KEY, "a") == derive_key(KEY, "a") != derive_key(OTHER, "a")


def test_weak_keys_and_wrong_types_are_refused() -> None:
    """A short key can be tried out; a number hashed as text would not match its token."""
    with pytest.raises(ValueError, match="32 bytes"):
        pseudonyms(pl.Series("token", ["a"]), b"short")
    with pytest.raises(TypeError):
        pseudonyms(pl.Series("token", [1]), KEY)
    with pytest.raises(ValueError, match="context"):
        derive_key(KEY)
