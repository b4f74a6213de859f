"""Where personal values stand inside texts."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.detection import KINDS, find_in_text
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
