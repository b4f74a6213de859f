"""The kinds of personal values that are recognised, one `Kind` each: what they look like, and how far that tells.

Belongs here: everything that is particular to a kind. A new kind is one more entry of `KINDS`. Does not belong here:
how a column is judged (`columns`) and how a text is searched (`text`).

`chance` is worked out from the structure where it has one. How often other columns look alike (`lookalikes`), and how
large a share says something about a column (`least_share`), nobody has counted: those figures are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from merajut_assets.privacy.detection import structure
from merajut_assets.privacy.detection.reference import Reference, as_words


class Verdict(StrEnum):
    """What a column is taken for. Order of the members: most to least telling."""

    DIRECT_IDENTIFIER = "direct_identifier"
    QUASI_IDENTIFIER = "quasi_identifier"
    NONE = "none"


class Form(StrEnum):
    """How values are written: digits with what people put between them, or anything else."""

    NUMBER = "number"
    TEXT = "text"


Rule = Callable[[Reference], pl.Expr]
# What is built like nothing else matters where it is rare: a NIK among remarks, or among other numbers.
_FEWEST = 0.001


@dataclass(frozen=True)
class InText:
    """How a kind shows inside a text: group 1 of `pattern` is the value, if `is_valid`, over the columns `found` and
    `text`, says so.

    `candidates` is the pattern of everything that could have been meant (default: `pattern`), and `chance` how many of
    those are found though nothing of the kind was meant. A text without what `needs` says, or without a digit where
    every such value has some (`has_digits`), need not be searched. What could as well be parts of other numbers
    (`is_last`) is looked for in what all the other rules leave."""

    pattern: Callable[[Reference], str]
    chance: Callable[[Reference], float]
    needs: str
    is_valid: Rule | None = None
    is_last: bool = False
    candidates: str | None = None
    has_digits: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of personal value.

    Whole values: `has_shape` and `is_valid` judge the columns `text`, `digits` and `length` of `Form.NUMBER`, or
    `text` of `Form.TEXT`; what has not the shape is not judged further. `chance`: how many values of that shape are
    valid though nothing of the kind was meant. `lookalikes`: how many other columns hold nothing but such values.
    `least_share`: a column of which fewer values match is not of this kind; `least_share_within`, of which fewer texts
    hold one. `hints`: words of column names."""

    name: str
    description: str
    verdict: Verdict
    form: Form
    has_shape: Rule
    is_valid: Rule
    chance: Callable[[Reference], float]
    lookalikes: float
    least_share: float
    hints: tuple[str, ...]
    in_text: tuple[InText, ...]
    least_share_within: float = _FEWEST
    is_optional: bool = False


_TEXT, _DIGITS, _LENGTH, _FOUND = (pl.col(name) for name in ("text", "digits", "length", "found"))
# Days and months that a calendar has, of all pairs of two digits: men's and women's, leap years counted as such.
_DATES = 2 * 365.25 / 10**4
_SERIALS = 0.9999
# How many other columns hold nothing but such values.
_NEXT_TO_NONE, _FEW = 1e-4, 0.003
_SEVEN_DIGITS = structure.grouped_digits(7)
# Stands for a character that was found already; no digit, no letter, no blank, and one byte long.
HIDDEN = "\x01"
# Between a word and the number that it announces: not another number, found or not.
_BETWEEN = rf"[^\d{HIDDEN}]"


def _anything(_: Reference) -> pl.Expr:
    return pl.lit(True)


def _of_length(*lengths: int) -> Rule:
    return lambda _: _LENGTH.is_in(lengths)


def _always(share: float) -> Callable[[Reference], float]:
    return lambda _: share


# ── numbers of the register ──────────────────────────────────────────────────────────────


def _is_nik(reference: Reference, digits: pl.Expr = _DIGITS) -> pl.Expr:
    return structure.is_nik(digits) & structure.region_of(digits).is_in(reference.district_numbers.implode())


def _chance_of_nik(reference: Reference) -> float:
    return reference.region_share * _DATES * _SERIALS


def _is_card(reference: Reference) -> pl.Expr:
    return _is_nik(reference) & structure.is_of_a_man_or_a_card(_DIGITS)


def _found_digits() -> pl.Expr:
    return _FOUND.str.replace_all(r"\D", "")


_GROUPED_ALIKE = "|".join(rf"\d{{1,6}}(?:{mark}\d{{1,6}})+" for mark in (" ", r"\.", "-", "/"))


def _is_found_in_one_form() -> pl.Expr:
    """Whether digits are written without a break, or in short groups with one mark between them: two numbers beside
    each other mostly are not."""
    return _FOUND.str.contains(rf"^(?:\d+|{_GROUPED_ALIKE})$")


_NIK_BY_PROVINCE = len(structure.PROVINCES) / 100 * _DATES * _SERIALS

# ── phones ───────────────────────────────────────────────────────────────────────────────


def _plan(reference: Reference) -> str:
    return f"(?:{reference.mobile}|{reference.fixed_line})"


def _is_phone(reference: Reference) -> pl.Expr:
    # Seven digits after the 0 are also any day written as 06122026; such short numbers hardly exist any more.
    dialled = _DIGITS.str.contains(rf"^(?:0|62)(?:{_plan(reference)})$") & (_LENGTH >= 9)
    # Spreadsheets take the leading 0 of a number away.
    bare = _DIGITS.str.contains(rf"^(?:{reference.mobile})$") & (_LENGTH >= 10)
    return dialled | bare


def _phone_in_text(_: Reference) -> str:
    """What can be a number; whether it is one, the numbering plan says (`_found_phone`)."""
    separated = r"(?:[ .\-]?\d)"
    mobile = rf"(?:\+?62|0)[ .\-]?8{separated}{{8,11}}"
    fixed = rf"\(0\d{{2,3}}\)[ .\-]?\d{separated}{{5,7}}|\+62[ .\-]?[2-79]{separated}{{7,10}}"
    return rf"(?:^|[^\d.])({mobile}|{fixed})(?:\D|$)"


def _found_phone(reference: Reference) -> pl.Expr:
    return _found_digits().str.contains(rf"^(?:0|62)(?:{_plan(reference)})$")


# ── people ───────────────────────────────────────────────────────────────────────────────

_MARKS_OF_NAMES = dict.fromkeys(".,-", " ")
# How people are addressed, and what comes with a name; the first group says by itself that a name follows.
_ADDRESS = ("bapak", "bpk", "ibu", "pak", "bu", "sdr", "sdri", "tn", "ny", "nn", "hj", "ustadz", "ustaz", "ustadzah")
_TITLES = ("dr", "drg", "ir", "drs", "dra", "prof", "kh", "ust", "adik", "kak", "mas", "mbak")
# Where one of these stands, a name is that of a place, an institution or a street, or nobody in particular is meant.
_NOT_A_PERSON = (
    *("pt", "cv", "ud", "tbk", "yayasan", "panti", "lksa", "rumah", "bank", "koperasi", "toko", "universitas"),
    *("institut", "politeknik", "akademi", "sekolah", "sd", "sdn", "smp", "smpn", "sma", "sman", "smk", "smkn", "slb"),
    *("tk", "paud", "mi", "mts", "ma", "madrasah", "pesantren", "rs", "rsud", "puskesmas", "klinik", "dinas"),
    *("kementerian", "badan", "balai", "kantor", "kabupaten", "kab", "kota", "provinsi", "kecamatan", "kec"),
    *("kelurahan", "kel", "desa", "dusun", "kampung", "pulau", "jalan", "jl", "jln", "gang", "gg", "blok", "pasar"),
    *("masjid", "gereja", "program", "kampanye", "negeri", "swasta", "guru", "kepala", "camat", "lurah", "asuh"),
)


def _is_name(reference: Reference) -> pl.Expr:
    words = _words_of(_TEXT.str.replace_many(_MARKS_OF_NAMES))
    addressed = words.str.contains(rf"^ (?:{'|'.join(_ADDRESS)}) +[a-z]{{3,}}")
    known = words.str.contains_any(as_words(reference.clear_names))
    return (addressed | known) & ~words.str.contains_any(as_words(_NOT_A_PERSON))


def _is_short_text_of_letters(_: Reference) -> pl.Expr:
    return _TEXT.str.contains(r"^[\p{L} .,'`\-]{2,60}$") & (_TEXT.str.count_matches(" ", literal=True) <= 6)


# Forms are filled in with capitals throughout.
_CAPITALISED = r"\p{Lu}[\p{L}']+"


def _addressed_in_text(_: Reference) -> str:
    words = "|".join((*_ADDRESS, *_TITLES))
    return rf"(?:^|\W)((?:(?i:{words})\.?|H\.) {_CAPITALISED}(?: {_CAPITALISED}){{0,3}})"


def _named_in_text(_: Reference) -> str:
    return rf"(?:^|\W)({_CAPITALISED}(?: {_CAPITALISED}){{1,3}})"


def _words_of(text: pl.Expr) -> pl.Expr:
    """Small letters, with a blank before and after."""
    return pl.concat_str(pl.lit(" "), text.str.to_lowercase(), pl.lit(" "))


def _found_person(_: Reference) -> pl.Expr:
    # "UD Nuraini Tekstil", "Panti Asuhan Kasih Ibu": in titles, the word that tells may stand elsewhere.
    is_title = ~_TEXT.str.contains(r"(?:^|\s)\p{Ll}") & _words_of(_TEXT).str.contains_any(as_words(_NOT_A_PERSON))
    return ~_words_of(_FOUND).str.contains_any(as_words(_NOT_A_PERSON)) & ~is_title


def _found_name(reference: Reference) -> pl.Expr:
    return _found_person(reference) & _words_of(_FOUND).str.contains_any(as_words(reference.clear_names))


# ── places ───────────────────────────────────────────────────────────────────────────────

# Letters of the alphabet and no counted repetition: with either, positions take a hundred times as long to find.
_STREET = r"(?:\b[Jj][Ll][Nn]?\b\.?|\b(?:Jalan|JALAN|Gang|GANG)\b|\b[Gg]g\.|\bGG\.) ?[A-Z][A-Za-z0-9.' ]+"
_HAMLET = r"\b[Rr][Tt]\b\.? ?[0-9]+ ?/? ?(?:[Rr][Ww]\b\.? ?)?[0-9]+"
_VILLAGE = r"\b(?:(?:[Kk]el|KEL|[Kk]ec|KEC)\. ?|(?:Kelurahan|Kecamatan|Dusun) )[A-Z][A-Za-z'\- ]+"
_ADDRESS_WORDS = r"(?i)jl|jalan|gg\.|gang|rt|kel|kec|dusun"
# A district by itself is a region, of which there are official lists; with its village it is where somebody lives.
_ADDRESS_MARKS = f"{_STREET}|{_HAMLET}|(?:{_VILLAGE})[ ,]+(?:{_VILLAGE})"

# Codes before the number on the plate, by the police's regions of registration.
_PLATE_CODES = (
    *"ABDEFGHKLMNPRSTWZ",
    *(
        first + second
        for first, seconds in {
            "A": "ABDEG",
            "B": "ABDEGHKLMNP",
            "D": "ABCDEGHKLMNRSTW",
            "E": "ABD",
            "K": "BHTU",
            "P": "ABGSTY",
        }.items()
        for second in seconds
    ),
)
_PLATE_CODE = f"(?:{'|'.join(_PLATE_CODES)})"
_PLATE = rf"{_PLATE_CODE}[ \-]?[1-9]\d{{0,3}}[ \-]?[A-Z]{{1,3}}"

# Series of passports that are in use, before seven digits.
_PASSPORT = r"[A-EPSX]\d{7}"

# ── the list ─────────────────────────────────────────────────────────────────────────────

# In this order texts are searched: what has been found is hidden from the kinds after it, but for rules that are last.
KINDS: tuple[Kind, ...] = (
    Kind(
        name="email",
        description="e-mail address",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.TEXT,
        has_shape=lambda _: _TEXT.str.contains("@", literal=True),
        is_valid=lambda _: structure.is_email(structure.normal_email(_TEXT)),
        chance=_always(0.01),
        lookalikes=_NEXT_TO_NONE,
        least_share=_FEWEST,
        hints=("email", "mail", "surel"),
        in_text=(InText(lambda _: f"(?i)({structure.EMAIL})", _always(1e-6), needs="@", has_digits=False),),
    ),
    Kind(
        name="kk",
        description="family card number (KK), 16 digits",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=_of_length(16),
        is_valid=_is_card,
        chance=lambda reference: reference.region_share * _DATES / 2 * _SERIALS,
        lookalikes=_NEXT_TO_NONE,
        least_share=_FEWEST,
        hints=("kk", "kartu_keluarga", "family_card"),
        in_text=(
            InText(
                lambda _: (
                    rf"(?i)\b(?:kk|kartu keluarga|family card)\b{_BETWEEN}{{0,12}}({structure.NIK_DIGITS})(?:\D|$)"
                ),
                _always(0.01),
                needs=r"(?i)kk|keluarga|family",
            ),
        ),
    ),
    Kind(
        name="nik",
        description="national identity number (NIK), 16 digits",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=_of_length(16),
        is_valid=_is_nik,
        chance=_chance_of_nik,
        lookalikes=_NEXT_TO_NONE,
        least_share=_FEWEST,
        hints=("nik", "ktp", "national_id"),
        in_text=(
            InText(
                lambda _: structure.NIK_IN_TEXT,
                _chance_of_nik,
                is_valid=lambda reference: _is_nik(reference, _found_digits()) & _is_found_in_one_form(),
                candidates=structure.alone(structure.grouped_digits(16)),
                needs=_SEVEN_DIGITS,
            ),
            # People keep the number of a district that was renumbered since.
            InText(
                lambda _: structure.NIK_IN_TEXT,
                _always(_NIK_BY_PROVINCE),
                is_valid=lambda _: structure.is_nik(_found_digits()) & _is_found_in_one_form(),
                candidates=structure.alone(structure.grouped_digits(16)),
                needs=_SEVEN_DIGITS,
            ),
            InText(
                lambda _: structure.NIK_IN_TEXT,
                _always(_NIK_BY_PROVINCE),
                is_valid=lambda _: structure.is_nik(_found_digits()),
                candidates=structure.alone(structure.grouped_digits(16)),
                needs=_SEVEN_DIGITS,
                is_last=True,
            ),
        ),
    ),
    Kind(
        name="npwp",
        description="taxpayer number (NPWP), 15 digits, or 16 beginning with 0",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=lambda _: (_LENGTH == 15) | ((_LENGTH == 16) & _DIGITS.str.starts_with("0")),
        is_valid=lambda _: structure.is_npwp(_DIGITS.str.tail(15)),
        chance=_always(0.1),
        lookalikes=_FEW,
        least_share=0.3,
        hints=("npwp", "tax_number", "taxpayer"),
        in_text=(
            InText(
                lambda _: r"(?:^|\D)(0?\d{2}\.\d{3}\.\d{3}\.\d-\d{3}\.\d{3})(?:\D|$)",
                _always(0.1),
                is_valid=lambda _: structure.is_npwp(_found_digits().str.tail(15)),
                needs=r"\d-\d",
            ),
            InText(
                lambda _: rf"(?i)npwp{_BETWEEN}{{0,12}}(0?\d{{15}})(?:\D|$)",
                _always(0.01),
                is_valid=lambda _: structure.is_npwp(_found_digits().str.tail(15)),
                needs=r"(?i)npwp",
            ),
        ),
    ),
    Kind(
        name="bpjs",
        description="health insurance number (BPJS), 13 digits beginning with 000",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=_of_length(13),
        is_valid=lambda _: _DIGITS.str.contains(r"^000[1-9]"),
        chance=_always(9e-4),
        lookalikes=_FEW,
        least_share=0.3,
        hints=("bpjs", "jkn", "kis"),
        in_text=(
            InText(
                lambda _: r"(?:^|[^\d\-])(000[1-9]\d{9})(?:\D|$)",
                _always(9e-4),
                candidates=structure.alone(structure.grouped_digits(13)),
                needs=_SEVEN_DIGITS,
            ),
        ),
    ),
    Kind(
        name="bank_account",
        description="bank account number, 10 to 16 digits",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=_of_length(*range(10, 17)),
        # No check digit is common to the banks: only the name of the column, or the words before it, can tell.
        is_valid=_anything,
        chance=_always(1.0),
        lookalikes=1.0,
        least_share=0.5,
        hints=("rekening", "norek", "no_rek", "bank_account", "account_number", "iban"),
        in_text=(
            InText(
                lambda _: (
                    rf"(?i)\b(?:rek(?:ening)?|norek)\b{_BETWEEN}{{0,20}}(\d(?:{structure.GAP}\d){{9,15}})(?:\D|$)"
                ),
                _always(0.02),
                needs=r"(?i)rek",
            ),
        ),
    ),
    Kind(
        name="phone",
        description="phone number, by the Indonesian numbering plan",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=_of_length(*range(9, 15)),
        is_valid=_is_phone,
        chance=_always(0.083),
        lookalikes=_FEW,
        least_share=0.3,
        hints=("phone", "telp", "telepon", "telephone", "hp", "handphone", "mobile", "wa", "whatsapp", "fax"),
        in_text=(
            InText(
                _phone_in_text,
                _always(0.01),
                is_valid=_found_phone,
                candidates=r"(?:^|[^\d.])\+?\(?\d(?:[ .\-)]{0,2}\d){8,13}(?:\D|$)",
                needs=_SEVEN_DIGITS,
            ),
            InText(
                lambda _: (
                    r"(?i)\b(?:telp|tel|telepon|phone|hp|wa|fax)\b\W{0,3}"
                    r"((?:\+?62|0)[ .\-]?\d(?:[ .\-]?\d){6,10})(?:\D|$)"
                ),
                _always(0.01),
                is_valid=_found_phone,
                needs=r"(?i)tel|phone|hp|wa|fax",
            ),
        ),
    ),
    Kind(
        name="passport",
        description="passport number, a letter and seven digits",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.TEXT,
        has_shape=lambda _: _TEXT.str.contains(r"^[A-Z]{1,2} ?\d{6,7}$"),
        is_valid=lambda _: _TEXT.str.contains(rf"^{_PASSPORT}$"),
        chance=_always(0.3),
        lookalikes=0.3,
        least_share=0.5,
        hints=("passport", "paspor"),
        in_text=(
            InText(
                lambda _: rf"(?i:pas(?:port|por)){_BETWEEN}{{0,12}}\b({_PASSPORT})\b",
                _always(0.01),
                needs=r"(?i)paspor|passport",
            ),
        ),
    ),
    Kind(
        name="vehicle_plate",
        description="vehicle plate",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.TEXT,
        has_shape=lambda _: _TEXT.str.contains(r"^[A-Z]{1,2}[ \-]?\d{1,4}[ \-]?[A-Z]{1,3}$"),
        is_valid=lambda _: _TEXT.str.contains(f"^{_PLATE}$"),
        chance=_always(len(_PLATE_CODES) / (26 + 26**2)),
        lookalikes=_FEW,
        least_share=0.5,
        hints=("plate", "plat", "nopol", "no_polisi"),
        in_text=(
            InText(
                lambda _: rf"(?:^|\W)({_PLATE_CODE} [1-9]\d{{0,3}} [A-Z]{{1,3}})(?:\W|$)",
                _always(0.2),
                needs=r"[A-Z] \d",
            ),
        ),
        is_optional=True,
    ),
    Kind(
        name="postal_code",
        description="postal code",
        verdict=Verdict.QUASI_IDENTIFIER,
        form=Form.NUMBER,
        has_shape=lambda _: (_LENGTH == 5) & (_TEXT.str.len_bytes() == 5),
        is_valid=lambda reference: _DIGITS.is_in(reference.postal_codes.implode()),
        chance=lambda reference: reference.postal_share,
        lookalikes=_FEW,
        least_share=0.8,
        hints=("kodepos", "kode_pos", "postal_code", "postcode", "zip", "zipcode"),
        in_text=(
            InText(
                lambda _: rf"(?i)\b(?:kode ?pos|postal code)\b{_BETWEEN}{{0,5}}(\d{{5}})(?:\D|$)",
                _always(0.01),
                needs=r"(?i)pos",
            ),
        ),
    ),
    Kind(
        name="address",
        description="street address: Jl., RT/RW, Kel., Kec.",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.TEXT,
        has_shape=_anything,
        is_valid=lambda _: _TEXT.str.contains(_ADDRESS_MARKS),
        chance=_always(0.002),
        lookalikes=_FEW,
        least_share=0.1,
        hints=("address", "alamat", "street", "jalan", "domisili"),
        in_text=(InText(lambda _: f"({_ADDRESS_MARKS})", _always(0.002), needs=_ADDRESS_WORDS, has_digits=False),),
        least_share_within=0.01,
    ),
    Kind(
        name="person_name",
        description="name of a person, by a list of names and by titles",
        verdict=Verdict.DIRECT_IDENTIFIER,
        form=Form.TEXT,
        has_shape=_is_short_text_of_letters,
        is_valid=_is_name,
        chance=_always(0.03),  # ten times what names of places have: other texts have more of them
        lookalikes=_FEW,
        least_share=0.1,
        hints=("name", "nama", "contact_person", "guardian", "wali", "ibu", "ayah"),
        in_text=(
            InText(_addressed_in_text, _always(0.05), is_valid=_found_person, needs=r"\p{Lu}", has_digits=False),
            InText(_named_in_text, _always(0.03), is_valid=_found_name, needs=r"\p{Lu}", has_digits=False),
        ),
        least_share_within=0.02,
    ),
)
DEFAULT_KINDS: tuple[str, ...] = tuple(kind.name for kind in KINDS if not kind.is_optional)


class UnknownKind(ValueError):
    """A kind was asked for that there is none of. Names those that there are."""


def chosen(names: tuple[str, ...]) -> tuple[Kind, ...]:
    """The kinds of these names, in the order in which texts are searched."""
    known = {kind.name for kind in KINDS}
    if unknown := [name for name in names if name not in known]:
        raise UnknownKind(f"there is no kind {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return tuple(kind for kind in KINDS if kind.name in names)
