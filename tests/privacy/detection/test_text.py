"""Where personal values stand inside texts."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.detection import KINDS, find_in_text
from merajut_assets.privacy.detection.kinds import HIDDEN
from merajut_assets.privacy.detection.text import FINDINGS
from tests.privacy.detection import samples

LISTS = samples.reference()
ALL = tuple(kind.name for kind in KINDS)


def shown(*texts: str | None, kinds: tuple[str, ...] = ALL) -> list[tuple[int, str, str]]:
    """(row, kind, the text at the position that was found)."""
    found = find_in_text(pl.Series(texts, dtype=pl.String), LISTS, kinds)
    return [
        (row, kind, (texts[row] or "").encode()[start : start + length].decode())
        for row, kind, start, length in found.iter_rows()
    ]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("lihat NIK 3273014502120001, ya", "nik", "3273014502120001"),
        ("NIK:3273.01.450212.0001", "nik", "3273.01.450212.0001"),
        ("NIK3273014502120001", "nik", "3273014502120001"),
        ("No. KK: 3273 0105 0212 0001", "kk", "3273 0105 0212 0001"),
        ("NPWP 01.300.066.6-091.000", "npwp", "01.300.066.6-091.000"),
        ("npwp013000666091000", "npwp", "013000666091000"),
        ("kartu BPJS 0001234567890 aktif", "bpjs", "0001234567890"),
        ("paspor no. A1234567", "passport", "A1234567"),
        ("hubungi 0812-3456-7890 saja", "phone", "0812-3456-7890"),
        ("WA +62 812 3456 7890", "phone", "+62 812 3456 7890"),
        ("Siti (081234567890)", "phone", "081234567890"),
        ("kantor (021) 555 12345", "phone", "(021) 555 12345"),
        ("telp. 0215551234", "phone", "0215551234"),
        ("surel Budi.S@Mail.Example.org.", "email", "Budi.S@Mail.Example.org"),
        ("transfer ke rek. BCA 123-456-7890", "bank_account", "123-456-7890"),
        ("mobil B 1234 XYZ parkir", "vehicle_plate", "B 1234 XYZ"),
        ("kode pos 40151", "postal_code", "40151"),
        ("tinggal di Jl. Merdeka No. 5, lalu", "address", "Jl. Merdeka No. 5"),
        ("rumah di RT 01/RW 02", "address", "RT 01/RW 02"),
        ("di Kel. Sukasari, Kec. Sukajadi, dekat pasar", "address", "Kel. Sukasari, Kec. Sukajadi"),
        ("diantar Bapak Joko Xaverius kemarin", "person_name", "Bapak Joko Xaverius"),
        ("bertemu Nurhaliza Siregar di sana", "person_name", "Nurhaliza Siregar"),
        ("pesan dari ibu Rina kemarin", "person_name", "ibu Rina"),
        ("NAMA: SITI NURHALIZA (ibu)", "person_name", "SITI NURHALIZA"),
    ],
)
def test_each_kind_is_found_where_it_stands(text, kind, value):
    """A position that is off by one hides the wrong characters."""
    assert shown(text) == [(0, kind, value)]
    assert shown(f"é – {text}") == [(0, kind, value)], "positions are bytes, and texts are not only ASCII"


@pytest.mark.parametrize(
    "text",
    [
        "pesanan 2026103112345678 dikirim",
        "resi 32730145021200017",
        "jam 2026-10-31T08:00:00Z",
        "-6.914744, 107.609810",
        "Rp 1.500.000.000 untuk 12 anak",
        "NPSN 20219024",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "anak berjalan kaki di jalan besar",
        "Ibu Kota negara dan Bapak Camat",
        "ibu Kepala Sekolah dan bapak guru",
        "KEGIATAN ANAK PANTI BULAN INI",
        "Panti Asuhan Kasih Ibu Bandung",
        "PT Maju Jaya Pangan",
        "rapat 31/10/2026 pukul 08.00",
        "halo@ dan @panti",
        "kode 40151 saja",
        "",
    ],
)
def test_what_looks_alike_is_left_alone(text):
    """A note in which everything is found tells nothing."""
    assert shown(text) == []


def test_several_of_one_kind_and_of_several_are_all_found_once():
    """Kinds overlap: the digits of a NIK hold those of a phone, a card's number is built like a NIK."""
    text = "NIK 3273014502120001 dan 3273010502120002, KK 3273010502120003, hp 081234567890/081298765432, a@b.example"
    assert [(kind, value[-4:]) for _, kind, value in shown(text)] == [
        ("nik", "0001"),
        ("nik", "0002"),
        ("kk", "0003"),
        ("phone", "7890"),
        ("phone", "5432"),
        ("email", "mple"),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # The same characters stand at the beginning of a longer number, which is none of the kinds.
        ("resi 081234567890123456, hp 081234567890", ["081234567890"]),
        ("resi 32730145021200011234, lalu 3273014502120001", ["3273014502120001"]),
        ("hp 081234567890 resi 081234567890123456, hp 081234567890", ["081234567890", "081234567890"]),
        ("no 00012345678901, 0001234567890", ["0001234567890"]),
        # What begins in a number beside it has the form of the kind, and is none.
        ("3273 0131 0212 3273 0145 0212 0001", ["3273 0145 0212 0001"]),
        ("telp 0215551234 12", ["0215551234"]),
        ("telp 021 555 1234 12", ["021 555 1234"]),
        # Read across the marks of two numbers, their digits are those of a NIK.
        ("635-494-1001 014.929.796.2-179.000", ["014.929.796.2-179.000"]),
        ("+62 635-494-1001 014.929.796.2-179.000", ["+62 635-494-1001", "014.929.796.2-179.000"]),
        ("3273.01.450212-0001", ["3273.01.450212-0001"]),
        ("32730145021200 01", ["32730145021200 01"]),
        # A word announces the number behind it, and not one behind that.
        ("rek 3273014502120001 hp 081234567890", ["3273014502120001", "081234567890"]),
        ("npwp a@b.id, 013000666091000", ["a@b.id"]),
    ],
)
def test_numbers_beside_each_other_are_told_apart(text: str, values: list[str]) -> None:
    """Whatever a remark holds besides, no number may be cut, lost or found where it does not stand: what is hidden by
    these positions would leave somebody's number in clear."""
    assert [value for *_, value in shown(text)] == values
    assert [value for *_, value in shown(f"é {text} é")] == values


def test_a_word_does_not_reach_over_what_was_found() -> None:
    """A phone number behind a NIK was taken for the account that was announced before it."""
    assert [kind for _, kind, _ in shown("rek 3273014502120001, 081234567890")] == ["nik", "phone"]


def _own_values() -> list[str]:
    """Values that are found as a whole when they stand by themselves, NIKs in groups among them."""
    generator, made = np.random.default_rng(7), dict[str, list[str]]()
    for kind, _, make in samples.PERSONAL:
        if kind in ("nik", "npwp", "bpjs", "phone", "email"):
            made[kind] = make(LISTS, generator, 300).to_list()
    made["nik"] += [mark.join((nik[:4], nik[4:8], nik[8:12], nik[12:])) for mark in " .-/" for nik in made["nik"][:30]]
    whole = [(kind, value) for kind, values in made.items() for value in values]
    found = set(find_in_text(pl.Series([value for _, value in whole]), LISTS, ALL).iter_rows())
    return [value for row, (kind, value) in enumerate(whole) if (row, kind, 0, len(value)) in found]


_own = st.sampled_from(_own_values())
_longer = st.builds("{}{}{}".format, st.sampled_from(["", "7", "31"]), _own, st.integers(1, 9999))
_other = st.one_of(st.integers(0, 10**9).map(str), _longer, st.sampled_from(["rek", "hp", "NIK", "KK", "telp", "anak"]))
_piece = st.one_of(_own.map(lambda value: [(True, value)]), _other.map(lambda value: [(False, value)]))
# The same digits at the beginning of a longer number first.
_twice = _own.map(lambda value: [(False, f"{value}93456"), (True, value)])
_note = st.tuples(
    st.lists(st.one_of(_piece, _twice), min_size=1, max_size=4).map(
        lambda pieces: [one for own in pieces for one in own]
    ),
    st.sampled_from([", ", " / ", "; ", " dan "]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_note, min_size=20, max_size=20))
def test_spans_are_apart_and_nothing_personal_is_left_over(notes: list[tuple[list[tuple[bool, str]], str]]) -> None:
    """However numbers stand beside others, longer ones with the same digits included."""
    texts = [between.join(value for _, value in pieces) for pieces, between in notes]
    # Everything here is ASCII, so that characters are bytes.
    covered: list[set[int]] = [set() for _ in texts]
    for row, _, start, length in find_in_text(pl.Series(texts), LISTS, ALL).iter_rows():
        span = set(range(start, start + length))
        assert not span & covered[row], "one byte belongs to one span"
        for edge in (start, start + length):
            assert not re.fullmatch(r"\d\d", texts[row][max(edge - 1, 0) : edge + 1]), "no number is cut"
        covered[row] |= span
    for row, (pieces, between) in enumerate(notes):
        place = 0
        for is_own, value in pieces:
            letters = {place + at for at, character in enumerate(value) if character.isalnum()}
            assert not is_own or letters <= covered[row]
            place += len(value) + len(between)
    hidden = [
        "".join(HIDDEN if at in covered[row] else one for at, one in enumerate(text)) for row, text in enumerate(texts)
    ]
    assert find_in_text(pl.Series(hidden), LISTS, ALL).is_empty(), "what the spans leave holds nothing more"


def test_rows_are_those_of_the_series_and_equal_texts_count_each():
    """Remarks are picked from lists: searching equal ones once must not lose any."""
    note = "NIK 3273014502120001"
    found = find_in_text(pl.Series([note, None, "sehat", note, ""]), LISTS)
    assert found["row"].to_list() == [0, 3]
    assert found.schema == pl.Schema(FINDINGS)
    assert find_in_text(pl.Series([], dtype=pl.String), LISTS).schema == pl.Schema(FINDINGS)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.integers(0, 49), st.text(max_size=40))
def test_a_nik_is_found_whatever_stands_around_it(before, number, behind):
    """Unless digits continue it, nothing that people write may hide it."""
    nik = samples.niks(LISTS, np.random.default_rng(3), 50)[number]
    before, behind = before + "x", "x" + behind
    found = shown(before + nik + behind, kinds=("nik",))
    assert (0, "nik", nik) in found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(alphabet="0123456789 .-/+()@JlRT", max_size=60)), max_size=5))
def test_every_text_comes_to_an_end(texts):
    """What has been looked at is never looked at again, and every position lies inside its text."""
    found = find_in_text(pl.Series(texts, dtype=pl.String), LISTS, ALL)
    for row, _, start, length in found.iter_rows():
        assert 0 <= start < start + length <= len((texts[row] or "").encode())


def test_the_answer_holds_positions_and_no_value():
    """It may be stored beside the text, and outlive it."""
    found = find_in_text(pl.Series(["NIK 3273014502120001"]), LISTS)
    assert "3273" not in str(found.to_dicts())
