"""What happens to a child in care: placements, reviews, health, school, notes, incidents.

Outcomes depend on what came before; the sizes of these effects are constants here, and `EFFECTS`
tells them to the truth file.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.contracts.panti import (
    ABUSE_TYPES,
    CARE_TYPES,
    DIAGNOSIS_GROUPS,
    EDUCATION_LEVELS,
    REASONS_FOR_CARE,
)
from merajut_assets.sources.generate import people
from merajut_assets.sources.generate.children import Registrations
from merajut_assets.sources.generate.columns import (
    EPOCH,
    Flags,
    Floats,
    Integers,
    between,
    dates,
    day_number,
    draw,
    draw_each,
    flags,
    joined,
    keys,
    moments,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import NO_PROGRAMME, Shared

# Planted effects.
LATE_REVIEW_LOG_ODDS_PER_CHILD = 0.22
EDUCATION_PROGRAMME_POINTS = 6.0
ABUSE_POINTS = -5.0
ATTENDANCE_POINTS = 40.0
YEAR_IN_CARE_POINTS = 0.6
ABUSE_MENTAL_HEALTH_FACTOR = 3.5
HEALTH_PROGRAMME_IMMUNISATION = 0.12
SHORT_STAFF_INCIDENT_FACTOR = 1.8
SHORT_STAFF = 12.0

_REVIEW_INTERVAL = 182
_MOST_REVIEWS = 16
_EXAMINATION_INTERVAL = 330
_MOST_EXAMINATIONS = 6
_NOTE_INTERVAL = 240
_MOST_NOTES = 7
_INCIDENTS_A_YEAR = 0.09
_DAYS_A_YEAR = 365.25
_FULL_YEARS_IN_CARE = 6.0
_PLACEMENT_NUMBERS = (0.55, 0.32, 0.13)
_LEAST_PLACEMENT_DAYS = 45

EFFECTS: tuple[dict[str, str | float], ...] = (
    {
        "name": "late_reviews_where_staff_is_short",
        "outcome": "panti.reviews: held after due_date, or not held",
        "exposure": "children per caregiver and social worker in panti.staff of the institution",
        "measure": "log_odds_per_child",
        "size": LATE_REVIEW_LOG_ODDS_PER_CHILD,
    },
    {
        "name": "education_programme_raises_scores",
        "outcome": "panti.education_records.average_score",
        "exposure": "erp.contracts of a crm.csr_programmes with objective education over half of the school year",
        "measure": "points",
        "size": EDUCATION_PROGRAMME_POINTS,
    },
    {
        "name": "abuse_lowers_scores",
        "outcome": "panti.education_records.average_score",
        "exposure": "panti.children.abuse_type other than none",
        "measure": "points",
        "size": ABUSE_POINTS,
    },
    {
        "name": "attendance_raises_scores",
        "outcome": "panti.education_records.average_score",
        "exposure": "panti.education_records.attendance_rate",
        "measure": "points_per_unit",
        "size": ATTENDANCE_POINTS,
    },
    {
        "name": "years_in_care_raise_scores",
        "outcome": "panti.education_records.average_score",
        "exposure": "years since admission, at most six",
        "measure": "points_per_year",
        "size": YEAR_IN_CARE_POINTS,
    },
    {
        "name": "abuse_and_mental_health",
        "outcome": "panti.health_records.diagnosis_group mental_health",
        "exposure": "panti.children.abuse_type other than none",
        "measure": "weight_factor",
        "size": ABUSE_MENTAL_HEALTH_FACTOR,
    },
    {
        "name": "health_programme_and_immunisation",
        "outcome": "panti.health_records.is_immunisation_complete",
        "exposure": "erp.contracts of a crm.csr_programmes with objective health on the day",
        "measure": "probability",
        "size": HEALTH_PROGRAMME_IMMUNISATION,
    },
    {
        "name": "incidents_where_staff_is_short",
        "outcome": "panti.incidents per child and year",
        "exposure": f"more than {SHORT_STAFF:.0f} children per caregiver and social worker in the institution",
        "measure": "rate_factor",
        "size": SHORT_STAFF_INCIDENT_FACTOR,
    },
)


def placements_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.placements: one to three stays without a gap, the last one in the institution
    of registration."""
    generator = block.stream("panti.placements")
    count = len(registrations)
    length = registrations.exit_day - registrations.admission_day
    number = 1 + draw(generator, _PLACEMENT_NUMBERS, count)
    number = np.minimum(number, np.maximum(length // _LEAST_PLACEMENT_DAYS, 1))
    child = np.repeat(np.arange(count), number)
    position = np.arange(len(child)) - np.repeat(np.cumsum(number) - number, number)
    of = number[child]
    # Cuts near the equal parts of the stay, so that no part is empty and all are in order.
    shift = (generator.random(len(child)) - 0.5) * 0.6
    share = np.where(position == 0, 0.0, (position + shift) / of)
    start = registrations.admission_day[child] + np.floor(share * length[child]).astype(np.int64)
    is_last = position == of - 1
    end = np.where(is_last, registrations.exit_day[child], np.append(start[1:], 0))
    has_ended = ~is_last | registrations.has_left[child]
    elsewhere = between(generator, 0, len(shared.orphanages) - 1, len(child))
    moved_away = ~is_last & flags(generator, 0.7, len(child))
    orphanage = np.where(moved_away, elsewhere, registrations.orphanage[child])
    care_type = draw(generator, (0.74, 0.10, 0.07, 0.09), len(child))
    care_type = np.where(
        (position == 0) & (of > 1) & flags(generator, 0.35, len(child)),
        CARE_TYPES.index("temporary_shelter"),
        care_type,
    )
    changed = np.where(has_ended, end, start)
    return table(
        placement_id=keys("PL-", block.first_number, len(child)),
        child_id=pick(registrations.key, child),
        orphanage_id=pick(shared.orphanages.key, orphanage),
        care_type=pick(CARE_TYPES, care_type),
        start_date=dates(start),
        end_date=dates(end, has_ended),
        end_reason=only(_end_reasons(generator, registrations, child, end, is_last), has_ended),
        modified_at=moments(generator, np.minimum(changed + between(generator, 0, 3, len(child)), block.last_day)),
        social_worker_note=pick(_PLACEMENT_NOTES, generator.integers(0, len(_PLACEMENT_NOTES), len(child))),
    )


_PLACEMENT_NOTES = (
    "kamar bersama kakaknya",
    "ibu meminta kabar setiap minggu",
    "sering menangis pada malam hari",
    "sudah betah dan punya teman",
    "perlu kacamata baru",
)


def _end_reasons(
    generator: np.random.Generator, registrations: Registrations, child: Integers, end: Integers, is_last: Flags
) -> pl.Series:
    """Moved between stays; at the end of care aged out from 18 years on, otherwise mostly reunified."""
    reasons = ("moved", "reunified", "adopted", "absconded", "aged_out")
    age = (end - registrations.birth_day[child]) / _DAYS_A_YEAR
    other = 1 + draw(generator, (0.83, 0.09, 0.08), len(child))
    return pick(reasons, np.where(~is_last, 0, np.where(age >= 18.0, 4, other)))


def _occasions(
    generator: np.random.Generator,
    block: Block,
    registrations: Registrations,
    interval: int,
    most: int,
    jitter: int,
    keep: float = 1.0,
) -> tuple[Integers, Integers]:
    """Child (positions) and day of what recurs every `interval` days from the later of admission
    and the beginning of the recorded years, `jitter` days earlier or later, while in care."""
    count = len(registrations)
    begin = np.maximum(registrations.admission_day, block.first_day)
    offset = between(generator, 0, interval - 1, count)
    day = (begin + offset)[:, None] + interval * np.arange(most)[None, :]
    if jitter:
        day = day + generator.integers(-jitter, jitter + 1, day.shape)
    inside = (day >= begin[:, None]) & (day <= registrations.exit_day[:, None])
    if keep < 1.0:
        inside &= generator.random(day.shape) < keep
    child, number = np.nonzero(inside)
    return child, day[child, number]


def reviews_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.reviews, due each six months after admission."""
    generator = block.stream("panti.reviews")
    due_days = registrations.admission_day[:, None] + _REVIEW_INTERVAL * np.arange(1, _MOST_REVIEWS)[None, :]
    inside = (due_days >= block.first_day) & (due_days <= registrations.exit_day[:, None])
    child, number = np.nonzero(inside)
    due = due_days[child, number]
    burden = shared.orphanages.children_per_staff[registrations.orphanage[child]]
    log_odds = -3.4 + LATE_REVIEW_LOG_ODDS_PER_CHILD * burden
    is_late = flags(generator, 1.0 / (1.0 + np.exp(-log_odds)), len(child))
    is_missed = is_late & flags(generator, 0.3, len(child))
    held = due + np.where(is_late, between(generator, 3, 110, len(child)), -between(generator, 0, 14, len(child)))
    was_held = ~is_missed & (held <= block.last_day)
    age = (due - registrations.birth_day[child]) / _DAYS_A_YEAR
    took_part = flags(generator, np.clip((age - 3.0) / 12.0, 0.02, 0.95), len(child))
    changed = np.where(was_held, held, np.minimum(due + 1, block.last_day))
    return table(
        review_id=keys("RV-", block.first_number, len(child)),
        child_id=pick(registrations.key, child),
        due_date=dates(due),
        held_date=dates(held, was_held),
        child_took_part=only(pl.Series(took_part), was_held),
        modified_at=moments(generator, changed),
    )


def health_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.health_records: about one examination in eleven months of care."""
    generator = block.stream("panti.health_records")
    child, day = _occasions(generator, block, registrations, _EXAMINATION_INTERVAL, _MOST_EXAMINATIONS, 25)
    count = len(child)
    age = (day - registrations.birth_day[child]) / _DAYS_A_YEAR
    years_in_care = (day - registrations.admission_day[child]) / _DAYS_A_YEAR
    orphanage = registrations.orphanage[child]
    is_abused = registrations.abuse[child] != ABUSE_TYPES.index("none")
    weights = np.tile(np.array([0.52, 0.17, 0.10, 0.06, 0.04, 0.07, 0.04]), (count, 1))
    weights[:, DIAGNOSIS_GROUPS.index("mental_health")] *= np.where(is_abused, ABUSE_MENTAL_HEALTH_FACTOR, 1.0)
    weights[:, DIAGNOSIS_GROUPS.index("malnutrition")] *= np.exp(-0.5 * years_in_care) * np.where(
        registrations.reason[child] == REASONS_FOR_CARE.index("poverty"), 1.6, 1.0
    )
    diagnosis = draw_each(generator, weights)
    height, weight = _body(generator, registrations, child, age)
    weight = weight * np.where(diagnosis == DIAGNOSIS_GROUPS.index("malnutrition"), 0.86, 1.0)
    has_programme = _under_contract(
        shared.orphanages.health_programme,
        shared.orphanages.health_start,
        shared.orphanages.health_end,
        orphanage,
        day,
        day,
        1,
    )
    immunised = flags(
        generator, np.minimum(0.72 + 0.02 * years_in_care + HEALTH_PROGRAMME_IMMUNISATION * has_programme, 0.99), count
    )
    note = pick(_HEALTH_NOTES, generator.integers(0, len(_HEALTH_NOTES), count))
    return table(
        health_record_id=keys("HR-", block.first_number, count),
        child_id=pick(registrations.key, child),
        examined_on=dates(day),
        diagnosis_group=pick(DIAGNOSIS_GROUPS, diagnosis),
        height_cm=pl.Series(np.round(height, 1)),
        weight_kg=pl.Series(np.round(np.clip(weight, 2.0, 140.0), 1)),
        is_immunisation_complete=pl.Series(immunised),
        notes=only(note, flags(generator, 0.7, count)),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 4, count), block.last_day)),
        doctor_name=joined("dr. ", people.full_names(generator, flags(generator, 0.5, count))),
    )


_HEALTH_NOTES = (
    "Kondisi umum baik, makan teratur.",
    "Batuk sejak tiga hari, diberi obat dan kontrol minggu depan.",
    "Berat badan naik, lanjutkan makanan tambahan.",
    "Gigi berlubang, dirujuk ke puskesmas.",
    "Sulit tidur, dianjurkan konseling.",
    "Penglihatan kabur dari jauh, periksa mata.",
    "Kulit gatal, satu kamar diobati bersama.",
    "Pemeriksaan rutin tanpa keluhan.",
)


def _body(
    generator: np.random.Generator, registrations: Registrations, child: Integers, age: Floats
) -> tuple[Floats, Floats]:
    """Height in cm and weight in kg by age: a smooth curve for each child, for plausibility only."""
    stature = generator.normal(1.0, 0.035, len(registrations))[child]
    build = generator.normal(1.0, 0.08, len(registrations))[child]
    grown = np.where(registrations.is_female[child], 156.0, 167.0)
    height = 50.0 + (grown - 50.0) * (1.0 - np.exp(-age / 5.6)) / (1.0 - np.exp(-18.0 / 5.6))
    height = np.clip(height * stature * generator.normal(1.0, 0.003, len(age)), 45.0, 195.0)
    mass_index = 15.2 + 0.32 * np.maximum(age - 5.0, 0.0)
    weight = mass_index * build * generator.normal(1.0, 0.02, len(age)) * (height / 100.0) ** 2
    return height, np.maximum(weight, 2.6)


def _under_contract(
    programme: Integers, start: Integers, end: Integers, orphanage: Integers, low: Integers, high: Integers, days: int
) -> Flags:
    """Whether the institution's contract covers at least `days` of the period low..high."""
    overlap = np.minimum(end[orphanage], high) - np.maximum(start[orphanage], low) + 1
    return (programme[orphanage] != NO_PROGRAMME) & (overlap >= days)


def education_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.education_records: the finished school years (July to June) that ended in care."""
    generator = block.stream("panti.education_records")
    until = block.parameters.until
    last_end = until.year if until.month >= 7 else until.year - 1
    ability = generator.normal(0.0, 4.0, len(registrations))
    school_draw = generator.random((len(registrations), len(EDUCATION_LEVELS)))
    prefers_smk = flags(generator, 0.48, len(registrations))
    parts: list[tuple[Integers, Integers, Integers, Integers]] = []
    for first in range(last_end - 3, last_end):
        july = day_number(EPOCH.replace(year=first, month=7, day=1))
        june = day_number(EPOCH.replace(year=first + 1, month=6, day=30))
        years = (july - registrations.birth_day) / _DAYS_A_YEAR
        was_there = (registrations.admission_day <= june - 60) & (registrations.exit_day >= june)
        pupils = np.flatnonzero(was_there & (years >= 4.0) & (years < 19.0))
        parts.append((pupils, np.full(len(pupils), july), np.full(len(pupils), june), np.full(len(pupils), first)))
    child, begin, end, year = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((year, child))
    child, begin, end, year = child[order], begin[order], end[order], year[order]
    count = len(child)
    age = (begin - registrations.birth_day[child]) / _DAYS_A_YEAR
    level = _levels(generator, age, prefers_smk[child])
    is_abused = registrations.abuse[child] != ABUSE_TYPES.index("none")
    orphanage = registrations.orphanage[child]
    attendance = np.clip(0.93 - 0.03 * is_abused + generator.normal(0.0, 0.05, count), 0.35, 1.0)
    years_in_care = np.clip((end - registrations.admission_day[child]) / _DAYS_A_YEAR, 0.0, _FULL_YEARS_IN_CARE)
    has_programme = _under_contract(
        shared.orphanages.education_programme,
        shared.orphanages.education_start,
        shared.orphanages.education_end,
        orphanage,
        begin,
        end,
        182,
    )
    score = (
        69.0
        + EDUCATION_PROGRAMME_POINTS * has_programme
        + ABUSE_POINTS * is_abused
        + ATTENDANCE_POINTS * (attendance - 0.9)
        + YEAR_IN_CARE_POINTS * years_in_care
        + ability[child]
        + generator.normal(0.0, 6.0, count)
    )
    is_pupil = level != EDUCATION_LEVELS.index("none")
    year_text = pl.Series(year)
    changed = np.minimum(end + between(generator, 2, 40, count), block.last_day)
    return table(
        education_record_id=keys("ED-", block.first_number, count),
        child_id=pick(registrations.key, child),
        npsn=_schools(shared, orphanage, level, school_draw[child, level]),
        school_year=joined(year_text.cast(pl.String), "/", (year_text + 1).cast(pl.String)),
        education_level=pick(EDUCATION_LEVELS, level),
        average_score=only(pl.Series(np.round(np.clip(score, 5.0, 100.0), 1)), is_pupil),
        attendance_rate=only(pl.Series(np.round(attendance, 3)), is_pupil),
        modified_at=moments(generator, changed),
        teacher_name=people.full_names(generator, flags(generator, 0.6, count)),
    )


def _levels(generator: np.random.Generator, age: Floats, prefers_smk: Flags) -> Integers:
    """School level by age on the first of July; some drop out from 15 years on."""
    names = np.select(
        [age < 6.0, age < 12.0, age < 15.0, prefers_smk],
        [EDUCATION_LEVELS.index(name) for name in ("paud", "sd", "smp", "smk")],
        EDUCATION_LEVELS.index("sma"),
    )
    is_out = flags(generator, np.where(age < 6.0, 0.3, np.where(age >= 15.0, 0.06, 0.01)), len(age))
    return np.where(is_out, EDUCATION_LEVELS.index("none"), names)


def _schools(shared: Shared, orphanage: Integers, level: Integers, position: Floats) -> pl.Series:
    """A real school of the level near the institution; none for kindergartens, which the register
    does not hold."""
    region = shared.orphanages.region[orphanage]
    npsn = pl.Series([None], dtype=pl.String).new_from_index(0, len(level))
    for name, schools in shared.places.schools.items():
        row = schools.first[region] + np.floor(position * schools.count[region]).astype(np.int64)
        npsn = pick(schools.npsn, row).zip_with(pl.Series(level == EDUCATION_LEVELS.index(name)), npsn)
    return npsn


def case_notes_table(block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.case_notes: free text that names the child."""
    generator = block.stream("panti.case_notes")
    child, day = _occasions(generator, block, registrations, _NOTE_INTERVAL, _MOST_NOTES, 40, keep=0.75)
    count = len(child)
    first_name = pick(registrations.name, child).str.split(" ").list.first()
    beginning = pick(_NOTE_BEGINNINGS, generator.integers(0, len(_NOTE_BEGINNINGS), count))
    ending = pick(_NOTE_ENDINGS, generator.integers(0, len(_NOTE_ENDINGS), count))
    return table(
        case_note_id=keys("CN-", block.first_number, count),
        child_id=pick(registrations.key, child),
        written_on=dates(day),
        note=joined(beginning, first_name, ending),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 2, count), block.last_day)),
        author_name=people.full_names(generator, flags(generator, 0.7, count)),
    )


_NOTE_BEGINNINGS = (
    "Kunjungan rutin. Hari ini ",
    "Bicara dengan wali kelas: ",
    "Wali menelepon dan menanyakan ",
    "Rapat pengasuh: ",
    "Konseling pertama. ",
)
_NOTE_ENDINGS = (
    " terlihat ceria dan mau bercerita.",
    " masih pendiam, perlu didampingi.",
    " ingin pulang saat liburan.",
    " rajin membantu di dapur.",
    " berselisih dengan teman sekamar, sudah didamaikan.",
    " menunggu akta kelahiran untuk mendaftar sekolah.",
    " mengikuti lomba di sekolah.",
)


def incidents_table(shared: Shared, block: Block, registrations: Registrations) -> pl.DataFrame:
    """Rows of panti.incidents, more of them where the staff is short."""
    generator = block.stream("panti.incidents")
    begin = np.maximum(registrations.admission_day, block.first_day)
    years = np.maximum(registrations.exit_day - begin, 0) / _DAYS_A_YEAR
    is_short = shared.orphanages.children_per_staff[registrations.orphanage] > SHORT_STAFF
    rate = _INCIDENTS_A_YEAR * years * np.where(is_short, SHORT_STAFF_INCIDENT_FACTOR, 1.0)
    child = np.repeat(np.arange(len(registrations)), generator.poisson(rate))
    count = len(child)
    day = between(generator, begin[child], registrations.exit_day[child], count)
    reported = day + between(generator, 0, 9, count)
    was_reported = (reported <= block.last_day) & flags(generator, 0.9, count)
    kinds = ("injury", "illness", "abuse_allegation", "missing", "property", "conflict")
    kind = draw(generator, (0.27, 0.21, 0.08, 0.09, 0.11, 0.24), count)
    severity = draw_each(
        generator, np.where((kind == 2)[:, None], np.array([0.1, 0.4, 0.5]), np.array([0.6, 0.3, 0.1]))
    )
    text = pick(_INCIDENT_TEXTS, generator.integers(0, len(_INCIDENT_TEXTS), count))
    return table(
        incident_id=keys("IN-", block.first_number, count),
        child_id=pick(registrations.key, child),
        orphanage_id=pick(shared.orphanages.key, registrations.orphanage[child]),
        occurred_on=dates(day),
        reported_on=dates(reported, was_reported),
        incident_type=pick(kinds, kind),
        severity=pick(("low", "medium", "high"), severity),
        description=only(text, flags(generator, 0.85, count)),
        modified_at=moments(generator, np.where(was_reported, reported, day)),
    )


_INCIDENT_TEXTS = (
    "Terjatuh saat bermain bola, luka ringan di lutut.",
    "Tidak kembali dari sekolah sampai malam, ditemukan di rumah paman.",
    "Bertengkar karena sepatu, dilerai pengasuh.",
    "Demam tinggi, dibawa ke puskesmas.",
    "Jendela kamar pecah.",
    "Melapor kepada konselor, kasus diteruskan ke dinas sosial.",
)
