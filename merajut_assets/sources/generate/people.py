"""Names, identity numbers, phone numbers and addresses of people who do not exist.

First and last names are those of Faker's Indonesian provider; here they are only combined.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from faker.providers.person.id_ID import Provider

from merajut_assets.sources.generate.columns import Flags, Integers, flags, joined, numbered, pick
from merajut_assets.sources.generate.places import GenerationError

WOMAN_DAY_OFFSET = 40
_MAIL_HOSTS = ("mail.example", "surat.example", "pos.example")
_PHONE_PREFIXES = ("0812", "0813", "0821", "0852", "0857", "0878", "0896", "+62812", "+62857", "62821")
_SECOND_NAME_SHARE = 0.45
_LAST_SERIAL = 9_999


@lru_cache(maxsize=1)
def _pools() -> tuple[pl.Series, pl.Series, pl.Series]:
    """First names of women, of men, and last names; each distinct and in order."""

    def distinct(*groups: Sequence[str]) -> pl.Series:
        return pl.Series(sorted({name for group in groups for name in group if name.isalpha()}), dtype=pl.String)

    return (
        distinct(Provider.first_names_female),
        distinct(Provider.first_names_male),
        distinct(Provider.last_names, Provider.last_names_male, Provider.last_names_female),
    )


def last_names(generator: np.random.Generator, count: int) -> pl.Series:
    """Family names (count,)."""
    pool = _pools()[2]
    return pick(pool, generator.integers(0, len(pool), count))


def first_names(generator: np.random.Generator, is_female: Flags) -> pl.Series:
    """Given names, nearly half of them double."""
    women, men, _ = _pools()
    count = len(is_female)
    both = pl.concat([women, men])

    def given() -> pl.Series:
        low = np.where(is_female, 0, len(women))
        high = np.where(is_female, len(women), len(both))
        return pick(both, low + np.floor(generator.random(count) * (high - low)).astype(np.int64))

    first, second = given(), given()
    is_double = pl.Series(flags(generator, _SECOND_NAME_SHARE, count)) & (first != second)
    return joined(first, " ", second).zip_with(is_double, first)


def full_names(generator: np.random.Generator, is_female: Flags, last: pl.Series | None = None) -> pl.Series:
    """Given and family names; `last` when the family is known."""
    family = last_names(generator, len(is_female)) if last is None else last
    return joined(first_names(generator, is_female), " ", family)


def misspelt(name: str, generator: np.random.Generator) -> str:
    """The name as a hurried clerk writes it: a letter missing, doubled or exchanged."""
    if len(name) < 4:
        return name + name[-1]
    position = int(generator.integers(1, len(name) - 2))
    way = int(generator.integers(0, 3))
    if way == 0:
        return name[:position] + name[position + 1 :]
    if way == 1:
        return name[:position] + name[position] + name[position:]
    exchanged = name[:position] + name[position + 1] + name[position] + name[position + 2 :]
    return exchanged if exchanged != name else name[:position] + name[position + 1 :]


def phones(generator: np.random.Generator, count: int) -> pl.Series:
    """Mobile numbers in the ways in which people write them."""
    prefix = pick(_PHONE_PREFIXES, generator.integers(0, len(_PHONE_PREFIXES), count))
    return joined(prefix, numbered("", generator.integers(10_000_000, 100_000_000, count), 8))


def mail_addresses(
    generator: np.random.Generator, names: pl.Series, unique: Integers, host: pl.Series | None = None
) -> pl.Series:
    """Addresses under reserved domains, unique by a number."""
    local = names.str.to_lowercase().str.replace_all(r"[^a-z]+", ".")
    hosts = pick(_MAIL_HOSTS, generator.integers(0, len(_MAIL_HOSTS), len(names))) if host is None else host
    return joined(local, numbered(".", unique, 1), "@", hosts)


def identity_numbers(
    district_number: Integers, birth_day: Integers, is_female: Flags, slot: int, slots: int
) -> pl.Series:
    """Valid and unique identity numbers (NIK, 16 digits).

    Six digits of the district of registration, day (women: plus 40), month and two digits of the
    year of birth, and a serial number (after the published structure of the number). Each of the
    `slots` generators of numbers uses serials of its own, so that all stay distinct without
    knowing each other. GenerationError: more people of one district and day than serials."""
    born = pl.Series(birth_day.astype(np.int32)).cast(pl.Date)
    day = born.dt.day().cast(pl.Int64).to_numpy() + np.where(is_female, WOMAN_DAY_OFFSET, 0)
    month = born.dt.month().cast(pl.Int64).to_numpy()
    year = born.dt.year().cast(pl.Int64).to_numpy() % 100
    head = ((district_number * 100 + day) * 100 + month) * 100 + year
    order = np.argsort(head, kind="stable")
    ordered = head[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(head) else np.zeros(0, int)
    rank = np.empty(len(head), dtype=np.int64)
    rank[order] = np.arange(len(head)) - np.repeat(starts, np.diff(np.append(starts, len(head))))
    serial = rank * slots + slot + 1
    if len(serial) and serial.max() > _LAST_SERIAL:
        raise GenerationError("too many people for the serials of one district and day; generate fewer children")
    return numbered("", head * 10_000 + serial, 16)
