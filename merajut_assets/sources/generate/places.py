"""The real places of the generated world: regions, schools and the national population.

The only module of the generator that knows where the reference inputs are. It turns them into
arrays to draw from; it draws nothing itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from merajut_assets.sources.crosswalk import map_regencies, with_regency_code
from merajut_assets.sources.generate.columns import Floats, Integers

REGENCIES = Path("wilayah/regencies.csv")
VILLAGES = Path("wilayah/villages.csv")
SCHOOLS = Path("school_register/schools.parquet")
ALIASES = Path("crosswalk/regency_aliases.csv")
POPULATION = Path("world_bank/population.csv")
INPUTS = (REGENCIES, VILLAGES, SCHOOLS, ALIASES, POPULATION)
COUNTRY = "IDN"
SCHOOL_LEVELS = ("sd", "smp", "sma", "smk")
# Schools of a town have more pupils than those of the countryside; without a figure for each
# school this factor stands for it.
_TOWN_FACTOR = 1.8
_FIRST_TOWN_NUMBER = 71  # Kemendagri numbers kabupaten from 01 and kota from 71 in each province


class GenerationError(ValueError):
    """The world cannot be generated as asked; says what to do."""


@dataclass(frozen=True)
class Schools:
    """The schools of one level in order of their district, with the range of each district.

    `first` and `count` (R,) name for each district of `Places` where its schools are; a district
    without one has those of its province, or of the country."""

    npsn: pl.Series
    first: Integers
    count: Integers


@dataclass(frozen=True)
class Places:
    """R districts, V villages in order of their codes, schools by level, and the population.

    `weight` (R,) is the share of the population; it adds up to one."""

    regency_code: pl.Series
    regency_name: pl.Series
    province: Integers
    weight: Floats
    village_code: pl.Series
    district_number: Integers
    first_village: Integers
    village_count: Integers
    schools: dict[str, Schools]
    inhabitants: int
    year: int


def digest(reference: Path) -> str:
    """SHA-256 over the reference inputs: another reference makes another world."""
    total = hashlib.sha256()
    for name in INPUTS:
        total.update(hashlib.sha256(_existing(reference, name).read_bytes()).digest())
    return total.hexdigest()


def read_places(reference: Path) -> Places:
    """All places. GenerationError: a reference input is missing or holds no row for us."""
    regencies = pl.read_csv(_existing(reference, REGENCIES), infer_schema=False).sort("code")
    villages = pl.read_csv(_existing(reference, VILLAGES), infer_schema=False).sort("code")
    villages = villages.filter(pl.col("code").str.slice(0, 5).is_in(regencies["code"].implode()))
    ranges = regencies.select("code").join(
        villages.group_by(pl.col("code").str.slice(0, 5).alias("regency")).len("villages"),
        left_on="code",
        right_on="regency",
        how="left",
        maintain_order="left",
    )
    counts = ranges["villages"].fill_null(0).to_numpy().astype(np.int64)
    if not len(regencies) or not counts.all():
        raise GenerationError(f"{VILLAGES} has no village for some district of {REGENCIES}; ship both of one edition")
    codes = villages["code"]
    register = _register(reference, regencies)
    inhabitants, year = _inhabitants(reference)
    return Places(
        regency_code=regencies["code"],
        regency_name=regencies["name"],
        province=regencies["code"].str.slice(0, 2).cast(pl.Int64).to_numpy(),
        weight=_weights(regencies, register),
        village_code=codes,
        district_number=codes.str.slice(0, 8).str.replace_all(".", "", literal=True).cast(pl.Int64).to_numpy(),
        first_village=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        village_count=counts,
        schools={level: _schools(level, regencies, register) for level in SCHOOL_LEVELS},
        inhabitants=inhabitants,
        year=year,
    )


def _existing(reference: Path, name: Path) -> Path:
    path = reference / name
    if not path.is_file():
        raise GenerationError(f"the reference input {name} is missing; restore it from the repository")
    return path


def _register(reference: Path, regencies: pl.DataFrame) -> pl.DataFrame:
    """Schools (npsn, level, regency_code) of all regions that the crosswalk knows, by region."""
    register = pl.read_parquet(
        _existing(reference, SCHOOLS), columns=["npsn", "bentuk", "kode_kab_kota", "kabupaten_kota"]
    ).rename({"kode_kab_kota": "dapodik_regency_code", "kabupaten_kota": "regency_name"})
    aliases = pl.read_csv(_existing(reference, ALIASES), infer_schema=False)
    regions = register.select("dapodik_regency_code", "regency_name").unique()
    mapping = map_regencies(regions, regencies.select("code", "name"), aliases)
    return (
        with_regency_code(register, mapping)
        .filter(pl.col("regency_code").is_not_null())
        .select("npsn", pl.col("bentuk").str.to_lowercase().alias("level"), "regency_code")
        .unique("npsn", keep="first", maintain_order=True)
        .sort("regency_code", "npsn")
    )


def _weights(regencies: pl.DataFrame, register: pl.DataFrame) -> Floats:
    """Share of each district in the population, by its primary schools: there is no open count
    of inhabitants by district among our inputs."""
    primary = register.filter(pl.col("level") == "sd").group_by("regency_code").len("schools")
    counted = regencies.select("code").join(
        primary, left_on="code", right_on="regency_code", how="left", maintain_order="left"
    )
    schools = counted["schools"].fill_null(counted["schools"].median()).to_numpy().astype(float)
    is_town = regencies["code"].str.slice(3, 2).cast(pl.Int64).to_numpy() >= _FIRST_TOWN_NUMBER
    weight = schools * np.where(is_town, _TOWN_FACTOR, 1.0)
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def _schools(level: str, regencies: pl.DataFrame, register: pl.DataFrame) -> Schools:
    own = register.filter(pl.col("level") == level)
    if own.is_empty():
        raise GenerationError(f"{SCHOOLS} has no school of level {level} in a known district")
    codes = own["regency_code"]
    wanted = regencies["code"]
    first, count = _ranges(codes, wanted)
    province_first, province_count = _ranges(codes.str.slice(0, 2), wanted.str.slice(0, 2))
    first = np.where(count > 0, first, province_first)
    count = np.where(count > 0, count, province_count)
    return Schools(own["npsn"], np.where(count > 0, first, 0), np.where(count > 0, count, len(own)))


def _ranges(ordered: pl.Series, wanted: pl.Series) -> tuple[Integers, Integers]:
    first = ordered.search_sorted(wanted, side="left").to_numpy().astype(np.int64)
    last = ordered.search_sorted(wanted, side="right").to_numpy().astype(np.int64)
    return first, last - first


def _inhabitants(reference: Path) -> tuple[int, int]:
    """The country's latest population figure and its year."""
    latest = (
        pl.read_csv(_existing(reference, POPULATION), infer_schema=False)
        .filter(pl.col("Country Code") == COUNTRY)
        .select(pl.col("Year").cast(pl.Int64), pl.col("Value").cast(pl.Float64).cast(pl.Int64))
        .sort("Year")
        .tail(1)
    )
    if latest.is_empty():
        raise GenerationError(f"{POPULATION} has no population of {COUNTRY}")
    return latest["Value"].item(), latest["Year"].item()
