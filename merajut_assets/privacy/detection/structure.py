"""How Indonesian identifiers are built: what is valid, and in what form it is compared.

Belongs here: rules that hold for one value and need no list, each of them once; landing's tokens and the detection
of personal columns both rest on them. Does not belong here: what a value means beside others (`columns`), and what
is found inside texts (`text`).

NIK, 16 digits: province, regency, district (two digits each), day of birth (women: + 40), month, two-digit year,
serial number. A family card's number (KK) is built alike, with the day on which the card was issued. Source:
Indonesian population administration law as implemented in the register; the region codes are Kemendagri's.
NPWP, 15 digits: nine for the taxpayer, the ninth a check digit (Luhn, ISO/IEC 7812-1) over the eight before, three for
the office, three for the branch; of 16 digits: a 0 before those, or the person's NIK.
"""

from __future__ import annotations

import polars as pl

WOMAN_DAY_OFFSET = 40
# Kemendagri's province codes; 91 to 97 are the provinces of Papua.
PROVINCES = tuple(
    str(code)
    for first, last in ((11, 19), (21, 21), (31, 36), (51, 53), (61, 65), (71, 76), (81, 82), (91, 97))
    for code in range(first, last + 1)
)
# People group the digits as they like, so that one separator may stand between any two of them.
GAP = r"[ .\-/]?"


def _one_of(*pairs: str) -> str:
    """Any of some pairs of digits, each written as pattern of the first digit and pattern of the second."""
    return "(?:" + "|".join(GAP.join(pair.split(" ")) for pair in pairs) + ")"


def grouped_digits(count: int) -> str:
    """So many digits, however they are grouped."""
    return GAP.join([r"\d"] * count)


def alone(pattern: str) -> str:
    """The pattern (group 1) where no digit stands before or after it."""
    return rf"(?:^|\D)({pattern})(?:\D|$)"


NIK_DIGITS = GAP.join(
    (
        _one_of(*(" ".join(province) for province in PROVINCES)),
        grouped_digits(4),
        _one_of(r"[0-6] \d", "7 [01]"),
        _one_of("0 [1-9]", "1 [0-2]"),
        grouped_digits(6),
    )
)
NIK_IN_TEXT = alone(NIK_DIGITS)
EMAIL = r"[a-z0-9._%+\-']+@[a-z0-9\-]+(?:\.[a-z0-9\-]+)+"


def normal_nik(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[\s.\-]", "")


def is_nik(text: pl.Expr) -> pl.Expr:
    """Whether texts in normal form have the structure of a NIK; null stays null."""
    # A sign or a blank in front would be read as well: what is left is too small to have a province.
    number = pl.when(text.str.len_bytes() == 16).then(text).cast(pl.Int64, strict=False)
    day, month, year = (number // 10**places % 100 for places in (8, 6, 4))
    of_month = pl.when(day > WOMAN_DAY_OFFSET).then(day - WOMAN_DAY_OFFSET).otherwise(day)
    # The century is not part of the number, and 1900 alone of all multiples of four is no leap year.
    longest = pl.when(month == 2).then(28 + (year % 4 == 0)).otherwise(31 - month.is_in([4, 6, 9, 11]))
    holds = (
        (number // 10**14).is_in([int(code) for code in PROVINCES])
        & month.is_between(1, 12)
        & of_month.is_between(1, longest)
        & (number % 10**4 != 0)
    )
    return pl.when(text.is_not_null()).then(holds.fill_null(False))


def region_of(text: pl.Expr) -> pl.Expr:
    """The first six digits of numbers with the structure of a NIK, as a number."""
    return text.cast(pl.Int64, strict=False) // 10**10


def is_of_a_man_or_a_card(text: pl.Expr) -> pl.Expr:
    """Whether the day inside a number with the structure of a NIK is one of a calendar."""
    return text.cast(pl.Int64, strict=False) // 10**8 % 100 <= 31


def is_npwp(digits: pl.Expr) -> pl.Expr:
    """Whether 15 digits carry the right check digit."""
    total = pl.lit(0, dtype=pl.Int32)
    for place in range(9):
        digit = digits.str.slice(place, 1).cast(pl.Int32, strict=False)
        doubled = digit * 2
        # Counted from the right, every second digit is doubled, and 9 taken off what has two digits then.
        total = total + (pl.when(doubled > 9).then(doubled - 9).otherwise(doubled) if place % 2 else digit)
    return (total % 10 == 0) & (digits.str.slice(0, 9) != "000000000")


def normal_phone(text: pl.Expr) -> pl.Expr:
    """Phone numbers as +62 and the national number."""
    return text.str.replace_all(r"[\s().\-]", "").str.replace(r"^(?:\+?62|0)", "+62")


def is_phone(text: pl.Expr) -> pl.Expr:
    """Whether texts in normal form can be phone numbers, whatever the numbering plan says today."""
    # Mobile numbers begin with 8 and have 9 to 12 digits; area codes of fixed lines begin with 2 to 7 or 9.
    return text.str.contains(r"^\+62(?:8\d{8,11}|[2-79]\d{7,10})$")


def normal_email(text: pl.Expr) -> pl.Expr:
    return text.str.strip_chars().str.to_lowercase()


def is_email(text: pl.Expr) -> pl.Expr:
    return text.str.contains(f"^{EMAIL}$")
