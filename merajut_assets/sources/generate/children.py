"""Children, their guardians and the guardians' decisions: tables children, guardians, consents.

Families come first: siblings share village, family name, guardians, institution, day of admission
and reason for care. Some children are registered a second time when they move: that is dirt, but it
must be there before anything is recorded about a registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from merajut_assets.contracts.panti import ABUSE_TYPES, CONSENT_PURPOSES, REASONS_FOR_CARE
from merajut_assets.sources.generate import dirt, people
from merajut_assets.sources.generate.catalogue import contract_of
from merajut_assets.sources.generate.columns import (
    Flags,
    Floats,
    Integers,
    between,
    dates,
    draw,
    draw_each,
    flags,
    keys,
    moments,
    numbered,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import Shared, draw_regions

_FAMILY_SIZES = (0.70, 0.20, 0.07, 0.03)
_ADMISSION_YEARS = 7
_DAYS_A_YEAR = 365.25
_ADULT_DAYS = round(18 * _DAYS_A_YEAR)
_MEAN_STAY_DAYS = 3.6 * _DAYS_A_YEAR
_REASONS = (0.16, 0.34, 0.14, 0.10, 0.08, 0.06, 0.12)
_SAME_DISTRICT, _SAME_PROVINCE = 0.72, 0.22
_RELATIONSHIPS = ("mother", "father", "grandparent", "sibling", "aunt_uncle", "legal_guardian")
_RELATIONSHIPS_OF_ORPHANS = (0.0, 0.0, 0.42, 0.10, 0.33, 0.15)
_RELATIONSHIPS_OF_OTHERS = (0.42, 0.20, 0.17, 0.03, 0.11, 0.07)
_GUARDIAN_AGES = {"grandparent": (48, 74), "sibling": (20, 32)}
_SECOND_GUARDIAN = 0.4
_SECOND_GUARDIAN_DECIDES = 0.15
# Shares of families that granted, by purpose; withdrawn later, run out, never asked; the rest
# refused from the beginning, which the system records as withdrawn.
GRANTED = {"government_reporting": 0.85, "research": 0.60, "statistics": 0.80, "publicity": 0.20}
WITHDRAWN, EXPIRED, MISSING = 0.05, 0.04, 0.06
_GRANTED, _WITHDRAWN, _EXPIRED, _MISSING = range(4)
_LIMITED_VALIDITY = 0.3
_DUPLICATE_LEAST_STAY = 400


@dataclass(frozen=True)
class Registrations:
    """The registrations of a block, second ones last, as arrays (n,).

    `person` is the position of the child's first registration; `is_second` marks second
    registrations and `is_involved` both of such a pair. `exit_day` is the day of leaving or the
    world's last day; `has_left` tells which."""

    key: pl.Series
    person: Integers
    family: Integers
    is_second: Flags
    is_involved: Flags
    is_female: Flags
    birth_day: Integers
    admission_day: Integers
    exit_day: Integers
    has_left: Flags
    orphanage: Integers
    village: Integers
    name: pl.Series
    nik: pl.Series
    reason: Integers
    abuse: Integers

    def __len__(self) -> int:
        return len(self.person)


@dataclass(frozen=True)
class Families:
    """The families of a block as arrays (f,)."""

    size: Integers
    orphanage: Integers
    village: Integers
    last_name: pl.Series
    admission_day: Integers
    reason: Integers
    first_child: Integers


def make_registrations(shared: Shared, block: Block) -> tuple[Registrations, Families, list[pl.DataFrame]]:
    """All registrations of a block with their families, and the truth about double ones."""
    generator = block.stream("panti.children")
    size = _family_sizes(generator, block.children)
    family = np.repeat(np.arange(len(size)), size)
    first_child = np.concatenate([[0], np.cumsum(size)[:-1]])
    age = _ages(generator, size, family, first_child)
    admission, exit_day, has_left = _stays(generator, block, age, family, first_child)
    families = _families(shared, generator, size, admission[first_child], first_child)
    count = block.children
    is_female = flags(generator, 0.48, count)
    birth = admission - age
    reason = families.reason[family]
    nik = people.identity_numbers(
        shared.places.district_number[families.village[family]],
        birth,
        is_female,
        block.index,
        block.parameters.identity_slots,
    )
    has_nik = ~flags(generator, dirt.CHILDREN_WITHOUT_NIK, count)
    registrations = Registrations(
        key=keys("CH-", block.first_number, count),
        person=np.arange(count),
        family=family,
        is_second=np.zeros(count, dtype=bool),
        is_involved=np.zeros(count, dtype=bool),
        is_female=is_female,
        birth_day=birth,
        admission_day=admission,
        exit_day=exit_day,
        has_left=has_left,
        orphanage=families.orphanage[family],
        village=families.village[family],
        name=people.full_names(generator, is_female, pick(families.last_name, family)),
        nik=only(nik, has_nik),
        reason=reason,
        abuse=_abuse(generator, reason),
    )
    registrations, truth = _with_second_registrations(shared, block, registrations)
    return registrations, families, truth


def _family_sizes(generator: np.random.Generator, children: int) -> Integers:
    size = 1 + draw(generator, _FAMILY_SIZES, children)
    families = int(np.searchsorted(np.cumsum(size), children)) + 1
    size = size[:families]
    size[-1] -= int(size.sum()) - children
    return size


def _ages(generator: np.random.Generator, size: Integers, family: Integers, first_child: Integers) -> Integers:
    """Age at admission in days; siblings one to four years apart, sometimes twins."""
    gap = np.where(flags(generator, 0.04, len(family)), 0, between(generator, 400, 1400, len(family)))
    gap[first_child] = 0
    spread = np.cumsum(gap) - np.repeat(np.cumsum(gap)[first_child], size)
    youngest = (generator.beta(1.7, 1.9, len(size)) * 17.2 * _DAYS_A_YEAR).astype(np.int64)
    last = spread[first_child + size - 1]
    youngest = np.clip(youngest, 20, np.maximum(_ADULT_DAYS - 250 - last, 20))
    return np.minimum(youngest[family] + spread, _ADULT_DAYS - 200)


def _stays(
    generator: np.random.Generator, block: Block, age: Integers, family: Integers, first_child: Integers
) -> tuple[Integers, Integers, Flags]:
    """Admission and exit; every stay reaches into the recorded years, and ends soon after the
    eighteenth birthday at the latest."""
    oldest = np.maximum.reduceat(age, first_child)
    earliest = np.maximum(
        block.last_day - round(_ADMISSION_YEARS * _DAYS_A_YEAR), block.first_day - (_ADULT_DAYS - oldest) + 60
    )
    admission = between(generator, earliest, block.last_day - 3, len(first_child))[family]
    adult = admission - age + _ADULT_DAYS + between(generator, 0, 150, len(age))
    stay = np.maximum(generator.exponential(_MEAN_STAY_DAYS, len(age)), 20).astype(np.int64)
    exit_day = np.minimum(admission + stay, adult)
    inside = between(generator, block.first_day, np.minimum(adult, block.last_day + 200), len(age))
    exit_day = np.where(exit_day < block.first_day, inside, exit_day)
    has_left = exit_day <= block.last_day
    return admission, np.minimum(exit_day, block.last_day), has_left


def _families(
    shared: Shared, generator: np.random.Generator, size: Integers, admission_day: Integers, first_child: Integers
) -> Families:
    count = len(size)
    orphanage = draw(generator, shared.orphanages.weight.tolist(), count)
    return Families(
        size=size,
        orphanage=orphanage,
        village=_villages(shared, generator, shared.orphanages.region[orphanage]),
        last_name=people.last_names(generator, count),
        admission_day=admission_day,
        reason=draw(generator, _REASONS, count),
        first_child=first_child,
    )


def _villages(shared: Shared, generator: np.random.Generator, region: Integers) -> Integers:
    """Villages of origin: mostly of the institution's district, else of its province, else any."""
    places = shared.places
    count = len(region)
    way = draw(generator, (_SAME_DISTRICT, _SAME_PROVINCE, 1 - _SAME_DISTRICT - _SAME_PROVINCE), count)
    province = places.province[region]
    first = np.searchsorted(places.province, province, side="left")
    last = np.searchsorted(places.province, province, side="right") - 1
    neighbour = between(generator, first, last, count)
    anywhere = draw_regions(generator, places, count)
    origin = np.select([way == 0, way == 1], [region, neighbour], anywhere)
    low = places.first_village[origin]
    return between(generator, low, low + places.village_count[origin] - 1, count)


def _abuse(generator: np.random.Generator, reason: Integers) -> Integers:
    """Main abuse found, by reason for care (rows of ABUSE_TYPES)."""
    # Columns in the order of ABUSE_TYPES.
    by_reason = np.tile(np.array([0.88, 0.04, 0.03, 0.03, 0.01, 0.01]), (len(REASONS_FOR_CARE), 1))
    by_reason[REASONS_FOR_CARE.index("abuse")] = [0.0, 0.05, 0.40, 0.25, 0.18, 0.12]
    by_reason[REASONS_FOR_CARE.index("neglect")] = [0.25, 0.60, 0.05, 0.08, 0.01, 0.01]
    by_reason[REASONS_FOR_CARE.index("abandonment")] = [0.60, 0.30, 0.04, 0.04, 0.01, 0.01]
    return draw_each(generator, by_reason[reason])


def _with_second_registrations(
    shared: Shared, block: Block, first: Registrations
) -> tuple[Registrations, list[pl.DataFrame]]:
    generator = block.stream("panti.children.second")
    able = np.flatnonzero(~first.has_left & (first.admission_day < block.last_day - _DUPLICATE_LEAST_STAY))
    wanted = min(max(2, round(dirt.DUPLICATE_REGISTRATIONS * len(first))), len(able))
    chosen = np.sort(generator.choice(able, wanted, replace=False))
    without = np.arange(wanted) < max(1, round(dirt.DUPLICATES_WITHOUT_NIK * wanted))
    without = generator.permutation(without)
    # A merge needs the number on both registrations.
    without |= first.nik.is_null().to_numpy()[chosen]
    left_open = flags(generator, dirt.DUPLICATES_LEFT_OPEN, wanted)
    move = between(
        generator, np.maximum(first.admission_day[chosen] + 100, block.first_day), block.last_day - 60, wanted
    )
    exit_day, has_left, is_involved = first.exit_day.copy(), first.has_left.copy(), first.is_involved.copy()
    exit_day[chosen] = np.where(left_open, exit_day[chosen], move)
    has_left[chosen] = ~left_open
    is_involved[chosen] = True
    step = generator.integers(1, max(len(shared.orphanages), 2), wanted)
    name = [
        people.misspelt(value, generator) if is_misspelt else value
        for value, is_misspelt in zip(
            first.name.gather(chosen), flags(generator, dirt.DUPLICATES_MISSPELT, wanted), strict=True
        )
    ]

    def both(values: np.ndarray, added: np.ndarray) -> np.ndarray:
        return np.concatenate([values, added])

    second_key = keys("CH-", block.first_number + len(first), wanted)
    registrations = Registrations(
        key=pl.concat([first.key, second_key]),
        person=both(first.person, chosen),
        family=both(first.family, first.family[chosen]),
        is_second=both(first.is_second, np.ones(wanted, dtype=bool)),
        is_involved=both(is_involved, np.ones(wanted, dtype=bool)),
        is_female=both(first.is_female, first.is_female[chosen]),
        birth_day=both(first.birth_day, first.birth_day[chosen]),
        admission_day=both(first.admission_day, move + between(generator, 0, 20, wanted)),
        exit_day=both(exit_day, np.full(wanted, block.last_day)),
        has_left=both(has_left, np.zeros(wanted, dtype=bool)),
        orphanage=both(first.orphanage, (first.orphanage[chosen] + step) % len(shared.orphanages)),
        village=both(first.village, first.village[chosen]),
        name=pl.concat([first.name, pl.Series(name, dtype=pl.String)]),
        nik=pl.concat([first.nik, only(first.nik.gather(chosen), ~without)]),
        reason=both(first.reason, first.reason[chosen]),
        abuse=both(first.abuse, first.abuse[chosen]),
    )
    originals = first.key.gather(chosen)
    return registrations, _second_registration_truth(second_key, originals, without)


def _second_registration_truth(second_key: pl.Series, original: pl.Series, without: Flags) -> list[pl.DataFrame]:
    contract = contract_of("panti", "children")
    found, lost = pl.Series(~without), pl.Series(without)
    return [
        dirt.planted_rows(
            contract,
            second_key.filter(found),
            "duplicate_registration",
            dirt.Outcome.MERGED,
            column="nik",
            related=original.filter(found),
        ),
        dirt.planted_rows(
            contract,
            second_key.filter(lost),
            "duplicate_registration_without_nik",
            dirt.Outcome.KEPT,
            column="nik",
            related=original.filter(lost),
        ),
    ]


# ── tables ───────────────────────────────────────────────────────────────────────────────


def children_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.children."""
    generator = block.stream("panti.children.table")
    count = len(registrations)
    changed = np.where(registrations.has_left, registrations.exit_day, registrations.admission_day)
    changed = np.minimum(changed + between(generator, 0, 5, count), block.last_day)
    return table(
        child_id=registrations.key,
        full_name=registrations.name,
        nik=registrations.nik,
        birth_date=dates(registrations.birth_day),
        sex=pick(("M", "F"), registrations.is_female.astype(np.int64)),
        village_code=pick(shared.places.village_code, registrations.village),
        orphanage_id=pick(shared.orphanages.key, registrations.orphanage),
        admission_date=dates(registrations.admission_day),
        exit_date=dates(registrations.exit_day, registrations.has_left),
        reason_for_care=pick(REASONS_FOR_CARE, registrations.reason),
        abuse_type=pick(ABUSE_TYPES, registrations.abuse),
        modified_at=moments(generator, changed),
        photo_path=numbered("foto/anak/", generator.integers(0, 10**9, count), 9),
        bed_number=numbered("K", generator.integers(1, 60, count), 2),
    )


@dataclass(frozen=True)
class Guardians:
    """The guardians of a block: their table, and of each family the one who decides (f,)."""

    frame: pl.DataFrame
    decides: pl.Series


def make_guardians(shared: Shared, block: Block, families: Families) -> Guardians:
    """Rows of panti.guardians: one or two for each family."""
    generator = block.stream("panti.guardians")
    places = shared.places
    count = len(families.size)
    has_second = flags(generator, _SECOND_GUARDIAN, count)
    family = np.concatenate([np.arange(count), np.flatnonzero(has_second)])
    is_orphan = families.reason[family] == REASONS_FOR_CARE.index("orphaned")
    probabilities: Floats = np.where(
        is_orphan[:, None], np.array(_RELATIONSHIPS_OF_ORPHANS), np.array(_RELATIONSHIPS_OF_OTHERS)
    )
    relationship = draw_each(generator, probabilities)
    is_female = flags(generator, 0.5, len(family))
    is_female = np.where(relationship == 0, True, np.where(relationship == 1, False, is_female))
    low, high = np.full(len(family), 24), np.full(len(family), 52)
    for name, (youngest, eldest) in _GUARDIAN_AGES.items():
        is_such = relationship == _RELATIONSHIPS.index(name)
        low, high = np.where(is_such, youngest, low), np.where(is_such, eldest, high)
    age = between(generator, low * 365, high * 365, len(family))
    village = families.village[family]
    nik = people.identity_numbers(
        places.district_number[village], block.last_day - age, is_female, block.index, block.parameters.identity_slots
    )
    key = keys("GU-", block.first_number, len(family))
    changed = np.minimum(families.admission_day[family] + between(generator, 0, 40, len(family)), block.last_day)
    second = np.full(count, -1)
    second[has_second] = count + np.arange(int(has_second.sum()))
    decider = np.where((second >= 0) & flags(generator, _SECOND_GUARDIAN_DECIDES, count), second, np.arange(count))
    frame = table(
        guardian_id=key,
        full_name=people.full_names(generator, is_female, pick(families.last_name, family)),
        nik=only(nik, ~flags(generator, dirt.GUARDIANS_WITHOUT_NIK, len(family))),
        phone=people.phones(generator, len(family)),
        relationship=pick(_RELATIONSHIPS, relationship),
        village_code=pick(places.village_code, village),
        modified_at=moments(generator, changed),
        occupation_note=pick(_OCCUPATIONS, generator.integers(0, len(_OCCUPATIONS), len(family))),
    )
    return Guardians(frame, pick(key, decider))


_OCCUPATIONS = (
    "buruh tani, upah harian",
    "pedagang pasar pagi",
    "nelayan, sering melaut",
    "bekerja di luar negeri",
    "tidak bekerja karena sakit",
    "pengemudi ojek",
)


def consents_table(
    block: Block, registrations: Registrations, families: Families, guardians: Guardians
) -> pl.DataFrame:
    """Rows of panti.consents: the decisions of each family for each purpose, one row per decision."""
    generator = block.stream("panti.consents")
    first = np.flatnonzero(~registrations.is_second)
    count = len(families.size)
    state = np.stack([draw(generator, _shares(purpose), count) for purpose in CONSENT_PURPOSES], axis=1)
    refused = np.stack(
        [flags(generator, _refused(purpose) / (WITHDRAWN + _refused(purpose)), count) for purpose in CONSENT_PURPOSES],
        axis=1,
    )
    purposes = len(CONSENT_PURPOSES)
    child = np.repeat(first, purposes)
    purpose = np.tile(np.arange(purposes), len(first))
    family = registrations.family[child]
    states = state[family, purpose]
    is_refused = refused[family, purpose] & (states == _WITHDRAWN)
    last = block.last_day
    decided = np.minimum(registrations.admission_day[child] + between(generator, 0, 90, len(child)), last - 2)
    has_limit = (states == _GRANTED) & flags(generator, _LIMITED_VALIDITY, len(child))
    until = np.where(
        states == _EXPIRED,
        between(generator, decided, last - 1, len(child)),
        last + between(generator, 30, 700, len(child)),
    )
    has_until = has_limit | (states == _EXPIRED)
    asked = states != _MISSING
    withdrawn = asked & (states == _WITHDRAWN) & ~is_refused
    withdrawal = between(generator, decided + 1, last, len(child))
    again, again_purpose, again_day = _decisions_again(block, generator, registrations, state)
    granted_again = flags(generator, 0.7, len(again))

    def stack(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts)

    of_child = stack(child[asked], child[withdrawn], again)
    of_purpose = stack(purpose[asked], purpose[withdrawn], again_purpose)
    is_granted = stack(~is_refused[asked], np.zeros(int(withdrawn.sum()), dtype=bool), granted_again)
    day = stack(decided[asked], withdrawal[withdrawn], again_day)
    limit = stack(until[asked], np.zeros(int(withdrawn.sum()), dtype=np.int64), np.zeros(len(again), dtype=np.int64))
    limited = stack(has_until[asked], np.zeros(int(withdrawn.sum()), dtype=bool), np.zeros(len(again), dtype=bool))
    return table(
        consent_id=keys("CO-", block.first_number, len(of_child)),
        child_id=pick(registrations.key, of_child),
        guardian_id=pick(guardians.decides, registrations.family[of_child]),
        purpose=pick(CONSENT_PURPOSES, of_purpose),
        status=pick(("withdrawn", "granted"), is_granted.astype(np.int64)),
        decided_on=dates(day),
        valid_until=dates(limit, limited),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 2, len(day)), last)),
    )


def _shares(purpose: str) -> tuple[float, float, float, float]:
    """Shares of families that granted, withdrew or refused, let it run out, were not asked."""
    return GRANTED[purpose], WITHDRAWN + _refused(purpose), EXPIRED, MISSING


def _refused(purpose: str) -> float:
    """Share of families that refused from the beginning."""
    return round(1.0 - GRANTED[purpose] - WITHDRAWN - EXPIRED - MISSING, 6)


def _decisions_again(
    block: Block, generator: np.random.Generator, registrations: Registrations, state: Integers
) -> tuple[Integers, Integers, Integers]:
    """Decisions taken again at a second registration: registration, purpose and day of each."""
    purposes = len(CONSENT_PURPOSES)
    child = np.repeat(np.flatnonzero(registrations.is_second), purposes)
    purpose = np.tile(np.arange(purposes), len(child) // purposes)
    asked = state[registrations.family[child], purpose] != _MISSING
    taken = asked & flags(generator, dirt.DUPLICATES_WITH_DECISION, len(child))
    day = np.minimum(registrations.admission_day[child] + between(generator, 0, 30, len(child)), block.last_day)
    return child[taken], purpose[taken], day[taken]


def consent_states(
    registrations: Registrations,
    consents: pl.DataFrame,
    refused_consents: pl.Series,
    refused_children: pl.Series,
    merged: pl.Series,
    until: str,
) -> pl.DataFrame:
    """What each registered child's guardian allows on the day `until`: one row per purpose.

    Decisions of merged registrations count together; the latest counts, on one day a withdrawal
    before a grant; decisions in refused rows do not count. `person_id` is the first registration of
    the child as far as the NIK shows it. States: granted, withdrawn, expired, missing."""
    first = registrations.key.gather(registrations.person)
    people_of = pl.DataFrame(
        {
            "child_id": registrations.key,
            "person_id": first.zip_with(registrations.key.is_in(merged.implode()), registrations.key),
        }
    ).filter(~pl.col("child_id").is_in(refused_children.implode()))
    latest = (
        consents.filter(~pl.col("consent_id").is_in(refused_consents.implode()))
        .join(people_of, on="child_id", how="inner")
        .filter(pl.col("decided_on") <= until)
        .sort("person_id", "purpose", "decided_on", pl.col("status") == "withdrawn")
        .group_by("person_id", "purpose", maintain_order=True)
        .last()
        .select("person_id", "purpose", "status", "decided_on", "valid_until")
    )
    return (
        people_of.join(pl.DataFrame({"purpose": CONSENT_PURPOSES}), how="cross", maintain_order="left_right")
        .join(latest, on=["person_id", "purpose"], how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("status").is_null())
            .then(pl.lit("missing"))
            .when(pl.col("status") == "withdrawn")
            .then(pl.lit("withdrawn"))
            .when(pl.col("valid_until") < until)
            .then(pl.lit("expired"))
            .otherwise(pl.lit("granted"))
            .alias("state")
        )
        .select("child_id", "person_id", "purpose", "state", "decided_on", "valid_until")
    )
