"""Institutions and what they have: tables orphanages, staff, supplies of the case management."""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.sources.generate import people
from merajut_assets.sources.generate.columns import (
    between,
    dates,
    day_number,
    draw,
    flags,
    joined,
    keys,
    moments,
    numbered,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block, Parameters
from merajut_assets.sources.generate.shared import Shared

SUPPLY_CATEGORIES = ("food", "medicine", "clothing", "school", "hygiene")
_UNITS_PER_CHILD = (30.0, 2.0, 1.5, 4.0, 3.0)
_SUPPLY_MONTHS = 12
_ROLES = ("caregiver", "social_worker", "cook", "administrator", "nurse", "teacher")
CARE_ROLES = ("caregiver", "social_worker")
_NAMES = ("Panti Asuhan", "LKSA", "Yayasan Panti", "Rumah Anak")
_QUALITIES = ("Kasih Ibu", "Harapan Bangsa", "Al Ikhlas", "Tunas Mulia", "Bina Insani", "Cahaya Hati", "Putra Setia")
_ACCREDITATIONS = ("A", "B", "C", "none")


def orphanages_table(shared: Shared, block: Block) -> pl.DataFrame:
    """Rows of panti.orphanages: this block's part of the institutions."""
    generator = block.stream("panti.orphanages")
    first, last = block.share(len(shared.orphanages))
    count = last - first
    own = slice(first, last)
    region = shared.orphanages.region[own]
    is_expired = flags(generator, 0.08, count)
    valid_until = np.where(
        is_expired,
        block.last_day - between(generator, 10, 500, count),
        block.last_day + between(generator, 30, 1600, count),
    )
    quality = pick(_QUALITIES, generator.integers(0, len(_QUALITIES), count))
    kind = pick(_NAMES, generator.integers(0, len(_NAMES), count))
    town = pick(shared.places.regency_name, region).str.replace(r"^(Kabupaten|Kota( Administrasi)?) ", "")
    number = np.arange(first + 1, last + 1)
    return table(
        orphanage_id=shared.orphanages.key[own],
        name=joined(kind, " ", quality, " ", town, numbered(" ", number, 1)),
        regency_code=pick(shared.places.regency_code, region),
        capacity=pl.Series(shared.orphanages.capacity[own]),
        licence_number=numbered("LKSA/", generator.integers(0, 10**8, count), 8),
        licence_valid_until=dates(valid_until),
        accreditation=pick(_ACCREDITATIONS, draw(generator, (0.25, 0.4, 0.2, 0.15), count)),
        modified_at=moments(generator, block.last_day - between(generator, 0, 300, count)),
        director_name=people.full_names(generator, flags(generator, 0.45, count)),
    )


def staff_table(shared: Shared, block: Block) -> pl.DataFrame:
    """Rows of panti.staff: as many who care for children as the institution's burden says, and others."""
    generator = block.stream("panti.staff")
    places = shared.places
    first, last = block.share(len(shared.orphanages))
    orphanages = np.arange(first, last)
    residents = shared.orphanages.residents[orphanages]
    caring = np.maximum(np.round(residents / shared.orphanages.children_per_staff[orphanages]), 1).astype(np.int64)
    others = np.maximum(np.round(residents / 18.0), 1).astype(np.int64)
    orphanage = np.concatenate([np.repeat(orphanages, caring), np.repeat(orphanages, others)])
    is_caring = np.arange(len(orphanage)) < caring.sum()
    count = len(orphanage)
    role = np.where(is_caring, draw(generator, (0.75, 0.25), count), 2 + draw(generator, (0.4, 0.3, 0.1, 0.2), count))
    is_female = flags(generator, 0.62, count)
    region = shared.orphanages.region[orphanage]
    low = places.first_village[region]
    village = between(generator, low, low + places.village_count[region] - 1, count)
    nik = people.identity_numbers(
        places.district_number[village],
        block.last_day - between(generator, 23 * 365, 60 * 365, count),
        is_female,
        block.parameters.blocks + block.index,
        block.parameters.identity_slots,
    )
    hired = block.last_day - between(generator, 20, 12 * 365, count)
    return table(
        staff_id=keys("ST-", block.first_number, count),
        full_name=people.full_names(generator, is_female),
        nik=only(nik, ~flags(generator, 0.03, count)),
        orphanage_id=pick(shared.orphanages.key, orphanage),
        role=pick(_ROLES, role),
        hired_on=dates(hired),
        is_background_checked=pl.Series(flags(generator, 0.88, count)),
        modified_at=moments(generator, np.minimum(hired + between(generator, 0, 400, count), block.last_day)),
    )


def _month_ends(parameters: Parameters) -> list[int]:
    """The last days of the twelve months up to `until`."""
    first_of_month = pl.Series([parameters.until.replace(day=1)])
    ends = [first_of_month.dt.offset_by(f"-{months}mo").dt.month_end()[0] for months in range(_SUPPLY_MONTHS)]
    last = parameters.until
    return sorted(day_number(min(end, last)) for end in ends)


def supplies_table(shared: Shared, block: Block) -> pl.DataFrame:
    """Rows of panti.supplies: stock and need at the ends of the last twelve months."""
    generator = block.stream("panti.supplies")
    first, last = block.share(len(shared.orphanages))
    days = np.array(_month_ends(block.parameters))
    categories = len(SUPPLY_CATEGORIES)
    institutions = last - first
    count = institutions * len(days) * categories
    orphanage = np.repeat(np.arange(first, last), len(days) * categories)
    day = np.tile(np.repeat(days, categories), institutions)
    category = np.tile(np.arange(categories), institutions * len(days))
    need = shared.orphanages.residents[orphanage] * np.array(_UNITS_PER_CHILD)[category]
    stock = need * shared.orphanages.supply_ratio[orphanage] * generator.lognormal(0.0, 0.18, count)
    return table(
        supply_id=keys("SU-", block.first_number, count),
        orphanage_id=pick(shared.orphanages.key, orphanage),
        counted_on=dates(day),
        category=pick(SUPPLY_CATEGORIES, category),
        quantity=pl.Series(np.round(stock, 1)),
        needed_quantity=pl.Series(np.round(need, 1)),
        modified_at=moments(generator, day),
    )
