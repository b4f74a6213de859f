"""What columns are taken for: every kind is found, nothing that looks alike is, and no value is told."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.detection import DEFAULT_KINDS, KINDS, UnknownKind, detect_columns
from merajut_assets.privacy.detection.columns import DETECTED, SURE
from tests.privacy.detection import samples

LISTS = samples.reference()
ALL = tuple(kind.name for kind in KINDS)
DISTRICTS = LISTS.districts.to_list()


def best(column: pl.Series, name: str = "ref", kinds: tuple[str, ...] = DEFAULT_KINDS) -> dict:
    return detect_columns(pl.DataFrame({name: column}), LISTS, kinds).row(0, named=True)


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("kind", "title", "make"), samples.PERSONAL, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_column_named_after_its_kind_is_found(kind, title, make):
    """One of each; what recall is over many columns is measured in test_measured."""
    found = best(make(LISTS, generator(), 500), title, ALL)
    assert (found["kind"], found["within_text"]) == (kind, False)
    assert found["confidence"] >= SURE
    assert found["verdict"] == next(one.verdict for one in KINDS if one.name == kind)
    assert found["values"] == 500


@pytest.mark.parametrize(("name", "make"), samples.LOOK_ALIKE, ids=[name for name, _ in samples.LOOK_ALIKE])
def test_what_looks_alike_is_not_taken_for_personal(name, make):
    """A false alarm stops a landing, and the next true one is clicked away."""
    column = make(LISTS, generator(), 2_000)
    for title in ("ref", name):
        found = detect_columns(pl.DataFrame({title: column}), LISTS, ALL)
        assert found["verdict"].to_list() == ["none"] * found.height, found


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DISTRICTS),
    st.dates(date(1940, 1, 1), date(2026, 1, 1)),
    st.booleans(),
    st.integers(1, 9999),
    st.sampled_from(["", " ", ".", "-"]),
)
def test_every_valid_number_is_found_however_it_is_grouped(district, born, is_woman, serial, mark):
    """A register gives out every one of them."""
    day = f"{born.day + 40 * is_woman:02d}{born:%m%y}"
    found = best(pl.Series([mark.join((district, day, f"{serial:04d}"))]))
    assert found["kind"] in ("nik", "kk")
    assert found["matching"] == 1
    assert found["confidence"] >= SURE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**16 - 1), min_size=1, max_size=200, unique=True))
def test_random_numbers_are_rarely_taken_for_one(numbers):
    """One in two thousand is one by chance: alone it may be suspected, among others it must not."""
    found = best(pl.Series([f"{number:016d}" for number in numbers]))
    assert found["verdict"] == "none" or len(numbers) < 100


def test_one_number_says_little_and_many_say_nearly_everything():
    """Confidence is derived: it grows with values, and repeating one value is no more than that value."""
    niks = samples.niks(LISTS, generator(), 50)
    mixed = pl.concat([niks.head(1), samples.padded(generator(), 10**15, 2 * 10**15, 999, 16)])
    sure = [best(values)["confidence"] or 0.0 for values in (mixed, niks.head(1), niks)]
    assert sure == sorted(sure)
    assert sure[0] < 0.5 < SURE < sure[2]
    # Ten repetitions of a code that happens to be a postal code, and ten different ones.
    codes = samples.postal_codes(LISTS, generator(), 10)
    repeated = best(pl.concat([codes.head(1)] * 10), "ref")["confidence"] or 0.0
    assert repeated < (best(codes)["confidence"] or 0.0)


def test_a_card_and_a_person_are_told_apart_by_the_days():
    """Both are built alike; a card has no woman's day."""
    assert best(samples.cards(LISTS, generator(), 200))["kind"] == "kk"
    assert best(samples.niks(LISTS, generator(), 200))["kind"] == "nik"


def test_numbers_without_structure_are_told_by_the_name_alone():
    """Ten digits are anything; called an account they are one."""
    accounts = samples.accounts(LISTS, generator(), 200)
    assert best(accounts, "ref")["verdict"] == "none"
    for name in ("no_rekening", "NoRekening", "Bank Account", "norek"):
        assert best(accounts, name)["verdict"] == "direct_identifier", name
    assert best(pl.Series(["lunas", "tunda"] * 50), "no_rekening")["kind"] is None, "a name alone proves nothing"


def test_numbers_that_were_read_as_numbers_are_judged_too():
    """Spreadsheets and inferred types turn NIKs and phones into integers and fractions, without their leading 0."""
    niks = samples.niks(LISTS, generator(), 100).cast(pl.Int64)
    assert best(niks)["kind"] == "nik"
    phones = samples.joined("812", samples.padded(generator(), 10**7, 10**8, 100, 8)).cast(pl.Int64)
    assert best(phones)["kind"] == "phone"
    assert best(pl.concat([phones.cast(pl.Float64), pl.Series([None, None], dtype=pl.Float64)]))["kind"] == "phone"


def test_one_remark_with_a_number_is_noticed_in_a_column_of_remarks():
    """The case that started it all: somebody types a NIK into the notes."""
    notes = ["anak sehat"] * 300 + ["ibu menelepon kemarin"] * 300
    notes[17] = f"lihat NIK {samples.niks(LISTS, generator(), 1)[0]} ya"
    found = best(pl.Series(notes), "catatan")
    assert (found["kind"], found["within_text"], found["matching"]) == ("nik", True, 1)
    assert found["verdict"] == "direct_identifier"


def test_a_phone_number_in_a_name_is_noticed_beside_the_names():
    """A name column is expected to hold names; the number is found as something of its own."""
    names = samples.names(LISTS, generator(), 400)
    names = names.scatter([3, 90, 200], [f"{names[place]} 0812-3456-78{place:02d}"[:40] for place in (3, 90, 20)])
    found = detect_columns(pl.DataFrame({"nama": names}), LISTS)
    kinds = {row["kind"]: row for row in found.iter_rows(named=True)}
    assert kinds["person_name"]["verdict"] == "direct_identifier"
    assert kinds["phone"]["within_text"]
    assert kinds["phone"]["matching"] == 3
    assert kinds["phone"]["verdict"] == "direct_identifier"


def test_two_numbers_in_one_cell_are_found():
    """Both lines of a form in one field: more digits than any number has, and none of them hidden by that."""
    niks, phones = samples.niks(LISTS, generator(), 100), samples.padded(generator(), 0, 10**8, 100, 8)
    found = detect_columns(pl.DataFrame({"ref": samples.joined(niks, " / 0812", phones)}), LISTS)
    assert set(found.filter("within_text")["kind"]) == {"nik", "phone"}
    assert found["share"].to_list() == [1.0, 1.0]


def test_few_values_of_a_kind_are_found_among_others():
    """A column of references in which every fiftieth is a NIK is not harmless because of the forty-nine."""
    niks = samples.niks(LISTS, generator(), 40)
    others = samples.joined("PO-", samples.padded(generator(), 0, 10**6, 1960, 6))
    found = best(pl.concat([others, niks]))
    assert (found["kind"], found["matching"], found["verdict"]) == ("nik", 40, "direct_identifier")


def test_plates_are_looked_for_only_when_asked():
    """Many codes of three parts look like them."""
    plates = samples.plates(LISTS, generator(), 200)
    assert best(plates, "nopol")["kind"] is None
    assert best(plates, "nopol", (*DEFAULT_KINDS, "vehicle_plate"))["kind"] == "vehicle_plate"
    with pytest.raises(UnknownKind, match="vehicle_plate"):
        detect_columns(pl.DataFrame({"a": ["x"]}), LISTS, ("plate",))


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([], dtype=pl.String),
        pl.Series([None, None], dtype=pl.String),
        pl.Series(["", "   "]),
        pl.Series([True, False]),
        pl.Series([date(2026, 1, 1)]),
        pl.Series([1.5, float("nan"), float("inf")]),
        pl.Series([b"\xff\x00"]),
        pl.Series([["a"], []]),
        pl.Series([2**63 - 1, -5]),
        pl.Series(["\x01\x01 0812\n", "é́\u200d" * 500, "(((((", "@", "+"]),
        pl.Series(["a"], dtype=pl.Categorical),
    ],
    ids=lambda column: str(column.dtype),
)
def test_whatever_a_column_holds_it_has_one_row_at_least(column):
    """A detector that falls over a strange column stops the landing of a good table."""
    found = detect_columns(pl.DataFrame({"x": column}), LISTS, ALL)
    assert found.schema == pl.Schema(DETECTED)
    assert found["column"].to_list() == ["x"] * found.height
    assert found.height >= 1
    assert found["verdict"].to_list() == ["none"] * found.height


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=20))
def test_no_text_makes_it_fail(texts):
    """Nor may its error quote one."""
    assert detect_columns(pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)}), LISTS, ALL).height >= 1


def test_no_value_and_no_part_of_one_is_in_the_answer():
    """The answer is printed, logged and stored."""
    niks = samples.niks(LISTS, generator(), 30)
    frame = pl.DataFrame({"ref": niks, "note": samples.joined("anak ", niks, " sehat")})
    shown = str(detect_columns(frame, LISTS).to_dicts())
    assert not any(nik[:6] in shown or nik[-6:] in shown for nik in niks)


def test_a_frame_without_columns_has_an_empty_answer():
    """Nothing to judge is no error."""
    assert detect_columns(pl.DataFrame(), LISTS).is_empty()
