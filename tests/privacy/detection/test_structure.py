"""How identifiers are built: against the lists that are shipped, and against the figures that kinds declare."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from merajut_assets.privacy.detection import KINDS, structure
from merajut_assets.privacy.detection.columns import _batches, _judged, _of_form
from merajut_assets.privacy.detection.kinds import Form
from tests.privacy.detection import samples

DRAWN = 400_000


def holds(rule, *texts: str | None) -> list[bool | None]:
    return (
        pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
        .select(rule(pl.col("text")))
        .to_series()
        .to_list()
    )


def test_the_provinces_are_those_of_the_list():
    """A province that is missing would make every number from there invalid. 97 is one that Papua's numbers had."""
    provinces = pl.read_csv(samples.REFERENCE / "wilayah" / "provinces.csv", infer_schema=False)["code"]
    assert set(structure.PROVINCES) - set(provinces) == {"97"}
    assert set(provinces) <= set(structure.PROVINCES)


def test_a_number_with_a_sign_or_other_digits_is_no_nik():
    """They are read as numbers: what a program takes for a number need not be one on a card."""
    assert holds(structure.is_nik, "3273014502120001", "+327301450212000", "-327301450212000", " 327301450212000") == [
        True,
        *[False] * 3,
    ]
    assert holds(structure.is_nik, "٣٢٧٣٠١٤٥٠٢١٢٠٠٠١", "3273014502120001\n", None) == [False, False, None]


def test_tax_numbers_need_their_check_digit():
    """One wrong digit, or two that were exchanged, must show."""
    assert holds(structure.is_npwp, "013000666091000", "013000667091000", "010300666091000", "000000000000000") == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("name", ["nik", "kk", "npwp", "bpjs", "phone", "postal_code"])
def test_the_declared_chance_is_that_of_random_digits(name, record_property):
    """The confidence rests on it: a chance that is stated too small makes numbers of all sorts personal."""
    (kind,) = [kind for kind in KINDS if kind.name == name]
    lists, generator = samples.reference(), np.random.default_rng(5)
    lengths = {"nik": [16], "kk": [16], "npwp": [15], "bpjs": [13], "phone": range(9, 15), "postal_code": [5]}[name]
    digits = pl.concat([samples.padded(generator, 0, 10**length, DRAWN // len(lengths), length) for length in lengths])
    judged = _judged(_of_form(next(_batches(digits.to_frame())), Form.NUMBER), [kind], lists)
    share = judged[f"{name}.valid"].sum() / judged[f"{name}.shape"].sum()
    record_property(f"chance of {name}", share)
    assert share == pytest.approx(kind.chance(lists), rel=0.25)


def test_the_declared_chance_of_names_is_above_that_of_places(record_property):
    """Names of villages are made of names of people, and are what those are confused with first."""
    (kind,) = [kind for kind in KINDS if kind.name == "person_name"]
    lists = samples.reference()
    judged = _judged(_of_form(next(_batches(lists.places.to_frame())), Form.TEXT), [kind], lists)
    share = judged["person_name.valid"].sum() / judged["person_name.shape"].sum()
    record_property("chance of person_name", share)
    assert 0 < share < kind.chance(lists) / 5


def test_kinds_are_described_and_told_apart():
    """Reports and contracts name kinds; each has something to be found by."""
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)
    for kind in KINDS:
        assert kind.description
        assert kind.hints
        assert kind.in_text
        assert 0 < kind.lookalikes <= 1
        assert 0 < kind.least_share <= 1
