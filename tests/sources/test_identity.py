"""The lists by which personal values are recognised, as they are shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from merajut_assets.contracts import registry
from merajut_assets.sources.identity import read_reference
from merajut_assets.sources.reader import Location, read

DATA = Path(__file__).parents[2] / "data"
LISTS = read_reference(DATA / "reference")


def test_postal_codes_are_those_that_the_dump_holds():
    """They are picked out of the dump by a shortcut; the reader of dumps is the judge of it."""
    contract = registry.raw_table("kodepos", "postal_codes")
    whole = read(contract, registry.systems()["kodepos"], Location(DATA)).frame["postal_code"]
    assert set(LISTS.postal_codes) == set(whole)


def test_regions_names_and_patterns_are_there():
    """A list that came empty would find nothing, and say that all is well."""
    assert LISTS.districts.str.contains(r"^\d{6}$").all()
    assert LISTS.districts.n_unique() == LISTS.districts.len() > 7_000
    assert LISTS.names.n_unique() > 500
    assert LISTS.places.len() > 80_000
    assert re.fullmatch(LISTS.mobile, "81234567890")
    assert re.fullmatch(LISTS.fixed_line, "215551234")
    assert not re.fullmatch(LISTS.mobile, "8012345678")


def test_names_that_places_bear_are_set_apart():
    """Sari is a name and half of a village; by itself it says nothing."""
    assert {"sari", "indah", "tanjung"} <= set(LISTS.doubtful_names)
    assert {"santoso", "siti"} <= set(LISTS.clear_names)
    assert set(LISTS.clear_names) | set(LISTS.doubtful_names) == set(LISTS.names.str.to_lowercase())


def test_an_installation_without_lists_says_so(tmp_path):
    """Rather than finding nothing."""
    with pytest.raises(OSError, match="villages"):
        read_reference(tmp_path)
