"""Structure of Indonesian identifiers, as Polars expressions: what is valid, and in what form it is tokenised.

Here: NIK, phone number, e-mail address. Finding identifiers in columns that should have none is
the privacy engine's task, not landing's.

NIK, 16 digits: province, regency, district (two digits each), day of birth (women: + 40), month,
two-digit year, serial number. Source: Indonesian population administration law as implemented in
the register (the same structure python-stdnum checks); the province prefixes are Kemendagri's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

# Kemendagri's province codes; 91 to 97 are the provinces of Papua.
_PROVINCES = "1[1-9]|21|3[1-6]|5[1-3]|6[1-5]|7[1-6]|8[12]|9[1-7]"
_NIK = rf"^(?:{_PROVINCES})\d{{14}}$"
# People group the digits as they like, so that one separator may stand between any two of them.
_GAP = r"[ .\-/]?"


def _one_of(*pairs: str) -> str:
    """Any of some pairs of digits, each written as pattern of the first digit and pattern of the second."""
    return "(?:" + "|".join(_GAP.join(pair.split(" ")) for pair in pairs) + ")"


_NIK_IN_TEXT = (
    r"(?:^|\D)"
    + _GAP.join(
        (
            _one_of(*(f"{province[0]} {province[1:]}" for province in _PROVINCES.split("|"))),
            *[r"\d"] * 4,
            _one_of(r"[0-6] \d", "7 [01]"),
            _one_of("0 [1-9]", "1 [0-2]"),
            *[r"\d"] * 6,
        )
    )
    + r"(?:\D|$)"
)


@dataclass(frozen=True)
class Identifier:
    """`normalise` brings texts to one form; `is_valid` judges that form (null stays null)."""

    normalise: Callable[[pl.Series], pl.Series]
    is_valid: Callable[[pl.Series], pl.Series]


def _apply(values: pl.Series, expression: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    return pl.select(expression(pl.lit(values)).alias(values.name)).to_series()


def _normal_nik(values: pl.Series) -> pl.Series:
    return _apply(values, lambda text: text.str.replace_all(r"[\s.\-]", ""))


def _valid_nik(values: pl.Series) -> pl.Series:
    def holds(text: pl.Expr) -> pl.Expr:
        day = text.str.slice(6, 2).cast(pl.Int32, strict=False)
        month = text.str.slice(8, 2).cast(pl.Int32, strict=False)
        year = text.str.slice(10, 2).cast(pl.Int32, strict=False)
        # 2000 is a leap year, as 00 must be: the century is not part of the number.
        birthday = pl.format(
            "{}-{}-{}",
            2000 + year,
            month.cast(pl.String).str.zfill(2),
            pl.when(day > 40).then(day - 40).otherwise(day).cast(pl.String).str.zfill(2),
        )
        # `pl.date` would raise on a day that no calendar has, and quote it.
        exists = birthday.str.to_date("%Y-%m-%d", strict=False).is_not_null()
        possible = month.is_between(1, 12) & (day.is_between(1, 31) | day.is_between(41, 71))
        return text.str.contains(_NIK) & possible & exists & (text.str.slice(12, 4) != "0000")

    def safe(text: pl.Expr) -> pl.Expr:
        shaped = pl.when(
            text.str.contains(r"^\d{6}(?:0[1-9]|[12]\d|3[01]|4[1-9]|[56]\d|7[01])(?:0[1-9]|1[0-2])\d{6}$")
        ).then(text)
        return pl.when(text.is_not_null()).then(holds(shaped).fill_null(False))

    return _apply(values, safe)


def _normal_phone(values: pl.Series) -> pl.Series:
    return _apply(values, lambda text: text.str.replace_all(r"[\s().\-]", "").str.replace(r"^(?:\+?62|0)", "+62"))


def _valid_phone(values: pl.Series) -> pl.Series:
    # Mobile numbers begin with 8 and have 9 to 12 digits; area codes of fixed lines begin with 2 to 7 or 9.
    return _apply(values, lambda text: text.str.contains(r"^\+62(?:8\d{8,11}|[2-79]\d{7,10})$"))


def _normal_email(values: pl.Series) -> pl.Series:
    return _apply(values, lambda text: text.str.strip_chars().str.to_lowercase())


def _valid_email(values: pl.Series) -> pl.Series:
    return _apply(values, lambda text: text.str.contains(r"^[a-z0-9._%+\-']+@[a-z0-9\-]+(?:\.[a-z0-9\-]+)+$"))


IDENTIFIERS: dict[str, Identifier] = {
    "nik": Identifier(_normal_nik, _valid_nik),
    "phone": Identifier(_normal_phone, _valid_phone),
    "email": Identifier(_normal_email, _valid_email),
}


def nik_agrees(nik: pl.Series, birth_date: pl.Series, sex: pl.Series) -> pl.Series:
    """Whether the birth date and sex inside a NIK are those given; null when one is missing."""
    frame = pl.DataFrame({"nik": nik, "birth_date": birth_date, "sex": sex})
    day = pl.col("birth_date").dt.day() + pl.when(pl.col("sex") == "F").then(40).when(pl.col("sex") == "M").then(0)
    expected = pl.concat_str(day.cast(pl.String).str.zfill(2), pl.col("birth_date").dt.strftime("%m%y"))
    return frame.select((pl.col("nik").str.slice(6, 6) == expected).alias("agrees"))["agrees"]


def contains_nik(text: pl.Series) -> pl.Series:
    """Whether a free text holds something of the structure of a NIK."""
    return _apply(text, lambda value: value.str.contains(_NIK_IN_TEXT))
