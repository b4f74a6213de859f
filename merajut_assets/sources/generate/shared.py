"""What all blocks of the world share: institutions, companies, programmes, campaigns, suppliers.

Arrays to draw from and to look up, small at any size of the world (one institution for forty
children). The tables that show them are made by the modules of their systems.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from merajut_assets.sources.generate.columns import (
    Flags,
    Floats,
    Integers,
    between,
    draw,
    flags,
    keys,
)
from merajut_assets.sources.generate.places import Places
from merajut_assets.sources.generate.plan import Parameters

CHILDREN_PER_ORPHANAGE = 40
LEAST_ORPHANAGES = 6
LEAST_DISTRICTS = 8
ORPHANAGES_PER_DISTRICT = 4
# Share of all registered children who still live in care on the last day (by the lengths of stay
# in `children`); capacities follow from it.
RESIDENT_SHARE = 0.46
COMPANIES = (
    "PT Samudra Karya Abadi",
    "PT Lentera Pangan Utama",
    "PT Cakra Energi Lestari",
    "PT Bahtera Niaga Raya",
    "PT Griya Sentosa & Mitra",
    "PT Surya Tekno Persada",
    "PT Rimba Hijau Makmur",
    "PT Mutiara Dana Sejahtera",
    "PT Kencana Logam Jaya",
    "PT Anugerah Farma Sehat",
    "PT Tirta Sari Nusantara",
    "PT Delta Ritel Sentral",
)
OBJECTIVES = ("education", "health", "safety", "livelihood")
_OBJECTIVE_SHARES = (0.4, 0.25, 0.15, 0.2)
LEAST_PROGRAMMES, MOST_PROGRAMMES = 24, 40
EDUCATION_CONTRACT_SHARE = 0.45
HEALTH_CONTRACT_SHARE = 0.30
NO_PROGRAMME = -1


@dataclass(frozen=True)
class Orphanages:
    """O institutions: key, row of `Places` of the district, share of the children, places,
    children per member of the care staff, share of the need that supplies cover, and the programme
    (row, or -1) with first and last day of its contract for education and for health."""

    key: pl.Series
    region: Integers
    weight: Floats
    capacity: Integers
    residents: Floats
    children_per_staff: Floats
    supply_ratio: Floats
    education_programme: Integers
    education_start: Integers
    education_end: Integers
    health_programme: Integers
    health_start: Integers
    health_end: Integers

    def __len__(self) -> int:
        return len(self.region)


@dataclass(frozen=True)
class Programmes:
    """P programmes of companies: key, company, objective (rows), first day, budget in IDR."""

    key: pl.Series
    company: Integers
    objective: Integers
    start: Integers
    budget: Floats

    def __len__(self) -> int:
        return len(self.company)


@dataclass(frozen=True)
class Campaigns:
    """C campaigns: key, first and last day, and whether stories accompany them."""

    key: pl.Series
    start: Integers
    end: Integers
    has_stories: Flags

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Shared:
    """All that the blocks have in common."""

    parameters: Parameters
    places: Places
    orphanages: Orphanages
    programmes: Programmes
    campaigns: Campaigns
    vendors: pl.Series
    cost_centres: pl.Series


def build_shared(parameters: Parameters, places: Places) -> Shared:
    """The shared parts of the world of these parameters."""
    programmes = _programmes(parameters)
    return Shared(
        parameters,
        places,
        _orphanages(parameters, places, programmes),
        programmes,
        _campaigns(parameters),
        keys("VEN-", 1, 20 + parameters.children // 200, 7),
        keys("CC-", 1, len(programmes) * 3, 5),
    )


def draw_regions(generator: np.random.Generator, places: Places, count: int) -> Integers:
    """Districts (rows of `places`) as the population is spread over them."""
    return draw(generator, places.weight.tolist(), count)


def _orphanages(parameters: Parameters, places: Places, programmes: Programmes) -> Orphanages:
    generator = parameters.stream("shared.orphanages")
    count = max(LEAST_ORPHANAGES, round(parameters.children / CHILDREN_PER_ORPHANAGE))
    # Institutions cluster: fewer districts than a draw for each of them would reach.
    districts = min(len(places.weight), max(LEAST_DISTRICTS, count // ORPHANAGES_PER_DISTRICT))
    chosen = np.sort(generator.choice(len(places.weight), districts, replace=False, p=places.weight))
    region = chosen[draw(generator, places.weight[chosen].tolist(), count)]
    region[: min(count, districts)] = chosen[: min(count, districts)]
    weight = generator.lognormal(0.0, 0.45, count)
    weight /= weight.sum()
    residents = weight * parameters.children * RESIDENT_SHARE
    capacity = np.ceil(residents * generator.uniform(1.0, 1.5, count)).astype(np.int64) + 3
    education = _contracts(parameters, generator, programmes, "education", EDUCATION_CONTRACT_SHARE, count)
    health = _contracts(parameters, generator, programmes, "health", HEALTH_CONTRACT_SHARE, count)
    return Orphanages(
        keys("PA-", 1, count, 6),
        region,
        weight,
        np.minimum(capacity, 2000),
        residents,
        generator.uniform(4.0, 16.0, count),
        np.clip(generator.normal(0.95, 0.22, count), 0.3, 1.6),
        *education,
        *health,
    )


def _contracts(
    parameters: Parameters,
    generator: np.random.Generator,
    programmes: Programmes,
    objective: str,
    share: float,
    count: int,
) -> tuple[Integers, Integers, Integers]:
    """Programme (row, or -1), first and last day for each institution."""
    fitting = np.flatnonzero(programmes.objective == OBJECTIVES.index(objective))
    programme = fitting[generator.integers(0, len(fitting), count)]
    start = between(generator, parameters.first_day - 300, parameters.last_day - 420, count)
    start = np.maximum(start, programmes.start[programme])
    end = start + between(generator, 540, 1100, count)
    return np.where(flags(generator, share, count), programme, NO_PROGRAMME), start, end


def _programmes(parameters: Parameters) -> Programmes:
    generator = parameters.stream("shared.programmes")
    count = min(MOST_PROGRAMMES, LEAST_PROGRAMMES + parameters.children // 2000)
    objective = draw(generator, _OBJECTIVE_SHARES, count)
    objective[: len(OBJECTIVES)] = np.arange(len(OBJECTIVES))
    return Programmes(
        keys("PRG-", 1, count, 4),
        np.arange(count) % len(COMPANIES),
        objective,
        between(generator, parameters.first_day - 900, parameters.first_day - 310, count),
        np.round(generator.lognormal(20.5, 0.6, count), -6),
    )


def _campaigns(parameters: Parameters) -> Campaigns:
    generator = parameters.stream("shared.campaigns")
    count = min(600, 10 + parameters.children // 2000)
    start = np.sort(between(generator, parameters.first_day, parameters.last_day - 75, count))
    has_stories = flags(generator, 0.5, count)
    has_stories[:2] = [True, False]
    return Campaigns(keys("701", 1, count, 15), start, start + between(generator, 30, 70, count), has_stories)
