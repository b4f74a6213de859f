"""The crosswalk from the school register's regencies to the region list, on the real data."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.contracts import base, schools, wilayah
from merajut_assets.sources.crosswalk import ALIAS, EXACT_NAME, UNMAPPED, map_regencies, name_key, with_regency_code
from merajut_assets.sources.reader import Location, read

DATA = Path(__file__).parents[2] / "data"
ALIASES = DATA / "reference" / "crosswalk" / "regency_aliases.csv"


@cache
def table(system: base.System, name: str) -> pl.DataFrame:
    contract = next(t for t in base.declared_tables() if t.system == system.name and t.name == name)
    return read(contract, system, Location(DATA)).frame


def register() -> pl.DataFrame:
    return table(schools.SCHOOL_REGISTER, "schools")


@cache
def described_register() -> pl.DataFrame:
    """The register with two columns that landing drops: how it writes district and province."""
    path = DATA / schools.SCHOOL_REGISTER.location.format(source="schools")
    places = pl.read_parquet(path, columns=["id", "kecamatan", "propinsi"]).rename(
        {"id": "school_id", "kecamatan": "district_name", "propinsi": "province_name"}
    )
    return register().join(places, on="school_id", validate="1:1", maintain_order="left")


def regencies() -> pl.DataFrame:
    return table(wilayah.WILAYAH, "regencies")


def aliases() -> pl.DataFrame:
    return pl.read_csv(ALIASES, infer_schema=False)


@cache
def mapping() -> pl.DataFrame:
    return map_regencies(register(), regencies(), aliases())


def test_every_regency_of_the_register_is_mapped_to_one_of_its_own():
    """514 regencies there, 514 here, none left over on either side: 499 by name, 15 by exception."""
    counts = dict(mapping()["method"].value_counts().iter_rows())
    assert counts == {EXACT_NAME: 499, ALIAS: 15}
    assert mapping()["dapodik_regency_code"].is_unique().all()
    assert mapping()["regency_code"].is_unique().all()
    assert set(mapping()["regency_code"]) == set(regencies()["code"])


def test_every_exception_is_needed():
    """An exception for what names settle anyway would hide a mistake in the names."""
    without = map_regencies(register(), regencies(), aliases().clear())
    missing = without.filter(pl.col("method") == UNMAPPED)
    assert set(missing["dapodik_regency_code"]) == set(aliases()["dapodik_regency_code"])
    assert set(missing["reason"]) == {"no region of this name"}


@pytest.mark.parametrize(
    ("dapodik", "kemendagri"),
    [
        ("021100", "32.05"),  # Garut
        ("022500", "32.18"),  # Pangandaran, written in two ways in the register
        ("010100", "31.01"),  # Kepulauan Seribu, an administrative regency
        ("071600", "12.12"),  # Toba Samosir is Toba today
        ("210400", "81.03"),  # Maluku Tenggara Barat is Kepulauan Tanimbar
        ("330200", "76.01"),  # Mamuju Utara is Pasangkayu
        ("253100", "95.05"),  # Mamberamo Tengah, in Papua then, in Papua Pegunungan now
    ],
)
def test_regencies_that_were_looked_up_by_hand(dapodik, kemendagri):
    found = mapping().filter(pl.col("dapodik_regency_code") == dapodik)
    assert found["regency_code"].to_list() == [kemendagri]


def test_the_districts_of_a_regency_confirm_it():
    """An independent witness: the names of the districts, which the mapping never looks at.
    Two thirds of the mapped regencies share every district name with the register."""

    def district_key(name: str) -> pl.Expr:
        return pl.col(name).str.to_lowercase().str.replace(r"^kec(amatan)?\.?\s*", "").str.replace_all(r"[^a-z]", "")

    located = with_regency_code(described_register(), mapping())
    there = located.select("regency_code", key=district_key("district_name")).unique()
    here = table(wilayah.WILAYAH, "districts").select("regency_code", key=district_key("name"), known=pl.lit(True))
    shares = (
        there.join(here.unique(), on=["regency_code", "key"], how="left")
        .group_by("regency_code")
        .agg(share=pl.col("known").fill_null(False).mean())
    )
    assert shares.height == 514
    assert (shares["share"] > 0.3).sum() >= 513  # Kota Bogor writes "Kota Bogor Utara" for "Bogor Utara"
    assert shares["share"].min() > 0.1
    assert shares["share"].mean() > 0.96


def test_schools_arrive_in_todays_38_provinces():
    """Of Papua and Papua Barat, six provinces were made; every other province stays what it was."""
    located = with_regency_code(described_register(), mapping())
    assert located.height == register().height
    assert located["npsn"].equals(register()["npsn"])
    assert located["province_code"].null_count() == 0
    provinces = dict(table(wilayah.WILAYAH, "provinces").iter_rows())
    assert set(located["province_code"]) == set(provinces)
    now = {
        before: {provinces[code] for code in codes}
        for before, codes in located.group_by("province_name").agg(pl.col("province_code").unique()).iter_rows()
    }
    assert now.pop("Prov. Papua") == {"Papua", "Papua Selatan", "Papua Tengah", "Papua Pegunungan"}
    assert now.pop("Prov. Papua Barat") == {"Papua Barat", "Papua Barat Daya"}
    assert all(len(names) == 1 for names in now.values())
    renamed = {"Bangka Belitung", "D.I. Yogyakarta", "D.K.I. Jakarta"}
    assert {before.removeprefix("Prov. ") for before, names in now.items() if before[6:] not in names} == renamed


def small(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["dapodik_regency_code", "regency_name"], orient="row")


def test_what_cannot_be_mapped_says_why():
    """Schools abroad, unknown names and contradictions stay without a region, never with a wrong one."""
    rows = small(
        ("350100  ", "Luar Negeri"),
        ("990100", "Kab. Nirwana"),
        ("990200", "Kab. Garut"),
        ("990200", "Kota Bandung"),
        ("990300", "Kab. Garut"),
        ("990300", "Kab. Nirwana"),
    )
    found = map_regencies(rows, regencies(), aliases())
    assert found["regency_code"].null_count() == found.height == 4
    assert dict(found.select("dapodik_regency_code", "reason").iter_rows()) == {
        "350100": "overseas",
        "990100": "no region of this name",
        "990200": "several names under one code",
        "990300": "several names under one code",
    }
    located = with_regency_code(rows, found)
    assert located["province_code"].null_count() == rows.height


def test_an_exception_does_not_follow_its_code_to_another_regency():
    """Codes are given again: 071600 with another name is another regency."""
    found = map_regencies(small(("071600", "Kab. Garut")), regencies(), aliases())
    assert found.row(0) == ("071600", "32.05", EXACT_NAME, None)


def test_a_regency_and_a_city_of_the_same_name_stay_apart():
    found = map_regencies(small(("1", "KAB. BANDUNG"), ("2", "Kota Bandung ")), regencies(), aliases())
    assert found["regency_code"].to_list() == ["32.04", "32.73"]


def test_a_contradictory_region_list_or_exception_is_refused():
    doubled = pl.DataFrame({"code": ["1", "2"], "name": ["Kabupaten A", "KAB. A"]})
    with pytest.raises(ValueError, match="share a name"):
        map_regencies(small(("1", "Kab. A")), doubled, aliases().clear())
    wrong = aliases().with_columns(regency_code=pl.lit("99.99"))
    with pytest.raises(ValueError, match="does not have"):
        map_regencies(register(), regencies(), wrong)


@given(st.text(max_size=40))
def test_the_key_of_a_name_ignores_case_and_punctuation(name):
    def key(text: str) -> str:
        return pl.DataFrame({"name": [text]}).select(name_key(pl.col("name"))).item()

    assert key("Kab. x" + name) == key("KABUPATEN  x" + name) == key(" kab x" + name)
    assert key("Kab. x" + name).isascii()
