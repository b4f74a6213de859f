"""The generated world as a whole: block after block into the files of all systems, with the truth.

The only module that writes under the data directory. Everything is written into a hidden folder
beside the sources and moved into place when complete; `world.json` comes last and names the
parameters, so that a world without it is none, and one with equal parameters need not be made again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.sources.generate import (
    care,
    children,
    communication,
    community,
    dirt,
    giving,
    institutions,
    partnership,
)
from merajut_assets.sources.generate.catalogue import TABLES, contract_of, location_of, system_of
from merajut_assets.sources.generate.columns import Flags, Integers, joined
from merajut_assets.sources.generate.places import GenerationError, digest, read_places
from merajut_assets.sources.generate.plan import EDITION, Block, Parameters, Progress
from merajut_assets.sources.generate.plants import PERSONAL_IN_NAMES, PERSONAL_IN_NOTES, PLANTS, Written
from merajut_assets.sources.generate.population import population_table
from merajut_assets.sources.generate.shared import Shared, build_shared
from merajut_assets.sources.generate.writers import ParquetTable, SourceWriters

UNTIL = date(2026, 10, 31)
SOURCES = Path("sources")
TRUTH = SOURCES / "truth"
WORLD = SOURCES / "world.json"
PLANTED = "planted.parquet"
CONSENT_STATES = "consent_states.parquet"
EFFECTS = "effects.json"
_STAGING = ".generating"
_LOCK = ".generating.lock"

Tables = dict[tuple[str, str], pl.DataFrame]


@dataclass(frozen=True)
class WorldSummary:
    """Rows of each table (`system.table`), rows of the truth by kind, the seconds it took, and
    whether the world was there already."""

    rows: dict[str, int]
    planted: dict[str, int]
    seconds: float
    is_new: bool


@dataclass(frozen=True)
class BlockWorld:
    """All tables of a block with their dirt, and the truth about them."""

    tables: Tables
    planted: pl.DataFrame
    consent_states: pl.DataFrame


def generate_world(
    children: int,
    seed: int,
    out: Path,
    reference: Path,
    until: date = UNTIL,
    progress: Progress | None = None,
) -> WorldSummary:
    """Write a world of `children` children into the data directory `out`.

    `reference` holds the real regions, schools and population figures. Equal arguments give equal
    bytes; a world of equal parameters that is already there is left alone. `progress` is called
    with a step's name, steps done and steps in all.

    GenerationError: fewer than one child, a negative seed, a reference input is missing, or another process is
    generating into the same directory."""
    began = time.monotonic()
    if children < 1:
        raise GenerationError(f"a world needs at least one child; {children} were asked for")
    if seed < 0:
        raise GenerationError("the seed must not be negative")
    parameters = Parameters(children, seed, until)
    record = {
        "edition": EDITION,
        "children": children,
        "seed": seed,
        "until": until.isoformat(),
        "reference": digest(reference),
    }
    sources = out / SOURCES
    sources.mkdir(parents=True, exist_ok=True)
    with _alone(sources):
        present = _present(out, record)
        if present is not None:
            return WorldSummary(present["rows"], present["planted"], time.monotonic() - began, is_new=False)
        staging = sources / _STAGING
        shutil.rmtree(staging, ignore_errors=True)
        rows, planted = _write(parameters, staging, reference, progress)
        _date_files(staging, until)
        _move_into_place(staging, out, {**record, "rows": rows, "planted": planted}, until)
    return WorldSummary(rows, planted, time.monotonic() - began, is_new=True)


# ── making ───────────────────────────────────────────────────────────────────────────────


def make_shared_tables(shared: Shared) -> tuple[Tables, pl.DataFrame]:
    """The tables that do not grow with the blocks, with their dirt, and the truth about it."""
    tables: Tables = {("donations", "campaigns"): giving.campaigns_table(shared)}
    tables |= {("crm", name): frame for name, frame in partnership.crm_tables(shared).items()}
    tables |= {("erp", name): frame for name, frame in partnership.erp_shared_tables(shared).items()}
    tables[("media", "interactions")] = communication.interactions_table(shared)
    refusals = dirt.Refusals()
    planted = _plant_all(tables, refusals, shared.parameters.stream, {})
    return tables, planted


def make_block(shared: Shared, block: Block) -> BlockWorld:
    """All tables of one block; depends on the shared parts and the block's number alone."""
    registrations, families, truth = children.make_registrations(shared, block)
    guardians = children.make_guardians(shared, block, families)
    donors, donor_kinds = giving.make_donors(shared, block)
    employees, is_woman = community.make_employees(shared, block)
    volunteers = community.make_volunteers(shared, block, employees, is_woman)
    tables: Tables = {
        ("panti", "orphanages"): institutions.orphanages_table(shared, block),
        ("panti", "staff"): institutions.staff_table(shared, block),
        ("panti", "supplies"): institutions.supplies_table(shared, block),
        ("panti", "children"): children.children_table(shared, block, registrations),
        ("panti", "guardians"): guardians.frame,
        ("panti", "consents"): children.consents_table(block, registrations, families, guardians),
        ("panti", "placements"): care.placements_table(shared, block, registrations),
        ("panti", "reviews"): care.reviews_table(shared, block, registrations),
        ("panti", "health_records"): care.health_table(shared, block, registrations),
        ("panti", "education_records"): care.education_table(shared, block, registrations),
        ("panti", "case_notes"): care.case_notes_table(block, registrations),
        ("panti", "incidents"): care.incidents_table(shared, block, registrations),
        ("hris", "employees"): employees,
        **{("volunteers", name): frame for name, frame in volunteers.items()},
        ("donations", "donors"): donors,
        **{("donations", name): frame for name, frame in giving.make_gifts(shared, block, donors, donor_kinds).items()},
        **{("erp", name): frame for name, frame in partnership.make_orders(shared, block).items()},
    }
    # Nothing may refuse a registration that a merge relies on, nor an employee whom a volunteer names.
    sent = volunteers["volunteers"]["employee_id"].drop_nulls().implode()
    eligible = {
        ("panti", "children"): ~registrations.is_involved,
        ("hris", "employees"): (~employees["employee_id"].is_in(sent)).to_numpy(),
    }
    refusals = dirt.Refusals()
    identity_numbers = pl.DataFrame({"child_id": registrations.key, "nik": registrations.nik})
    truth += _plant_nik_in_texts(tables, block, identity_numbers)
    planted = pl.concat([*truth, _plant_all(tables, refusals, block.stream, eligible)])
    planted = pl.concat([planted, *_plant_personal_texts(tables, block, planted)])
    states = children.consent_states(
        registrations,
        tables[("panti", "consents")].filter(pl.col("consent_id").is_first_distinct()),
        refusals.of("panti.consents"),
        refusals.of("panti.children"),
        planted.filter(pl.col("outcome") == dirt.Outcome.MERGED.value)["key"],
        block.parameters.until.isoformat(),
    )
    stories, story_truth = _stories(shared, block, tables[("panti", "children")], states, refusals)
    tables[("media", "stories")] = stories
    return BlockWorld(tables, pl.concat([planted, story_truth]), states)


def _plant_all(
    tables: Tables,
    refusals: dirt.Refusals,
    stream: Callable[[str], np.random.Generator],
    eligible: Mapping[tuple[str, str], Flags],
) -> pl.DataFrame:
    """Plants the dirt of all tables given, in place, and tells what follows from it."""
    planted: list[pl.DataFrame] = [pl.DataFrame(schema=dirt.PLANTED_SCHEMA)]
    for name in TABLES:
        if name not in tables:
            continue
        contract = contract_of(*name)
        tables[name], truth = dirt.plant(
            contract, tables[name], PLANTS.get(name, ()), stream(f"dirt.{contract.identifier}"), eligible.get(name)
        )
        truth += refusals.follow(contract, tables[name], truth)
        planted += truth
    return pl.concat(planted)


def _plant_nik_in_texts(tables: Tables, block: Block, identity_numbers: pl.DataFrame) -> list[pl.DataFrame]:
    truth: list[pl.DataFrame] = []
    for name, column in ((("panti", "case_notes"), "note"), (("panti", "health_records"), "notes")):
        contract = contract_of(*name)
        numbers = tables[name].join(identity_numbers, on="child_id", how="left", maintain_order="left")["nik"]
        tables[name], found = dirt.plant_in_text(
            contract,
            tables[name],
            column,
            "nik_in_text",
            dirt.NIK_IN_TEXT,
            partial(_nik_behind, numbers),
            block.stream(f"dirt.nik_in_text.{contract.identifier}"),
            numbers.is_not_null().to_numpy(),
        )
        truth += found
    return truth


def _nik_behind(numbers: pl.Series, positions: Integers) -> pl.Series:
    return joined("NIK ", numbers.gather(positions), ".")


def _written_behind(written: Written, generator: np.random.Generator, positions: Integers) -> pl.Series:
    return written(generator, len(positions))


def _plant_personal_texts(tables: Tables, block: Block, planted: pl.DataFrame) -> list[pl.DataFrame]:
    """Personal values in notes and in a name, in rows that nothing else is wrong with, and the truth about them."""
    truth: list[pl.DataFrame] = []
    for name, column, plants in (
        (("panti", "case_notes"), "note", PERSONAL_IN_NOTES),
        (("panti", "guardians"), "full_name", PERSONAL_IN_NAMES),
    ):
        contract = contract_of(*name)
        (key,) = contract.key
        is_own = (pl.col("system") == contract.system) & (pl.col("table") == contract.name)
        dirty = planted.filter(is_own)["key"]
        for kind, rate, written in plants:
            frame = tables[name]
            generator = block.stream(f"dirt.{kind}.{contract.identifier}")
            tables[name], found = dirt.plant_in_text(
                contract,
                frame,
                column,
                kind,
                rate,
                partial(_written_behind, written, generator),
                generator,
                (~frame[key].is_in(dirty.implode())).to_numpy(),
            )
            truth += found
            dirty = pl.concat([dirty, *(rows["key"] for rows in found)])
    return truth


def _stories(
    shared: Shared, block: Block, registered: pl.DataFrame, states: pl.DataFrame, refusals: dirt.Refusals
) -> tuple[pl.DataFrame, pl.DataFrame]:
    contract = contract_of("media", "stories")
    publicity = states.filter(pl.col("purpose") == "publicity").join(
        registered.select("child_id", "full_name"), on="child_id", how="inner", maintain_order="left"
    )
    is_allowed = pl.col("state") == "granted"
    names = ("child_id", "full_name")
    frame, without = communication.stories_table(
        shared, block, publicity.filter(is_allowed).select(names), publicity.filter(~is_allowed).select(names)
    )
    truth = [
        dirt.planted_rows(
            contract,
            frame["story_id"].filter(pl.Series(without)),
            "story_without_consent",
            dirt.Outcome.KEPT,
            column="child_id",
        )
    ]
    frame, planted = dirt.plant(
        contract, frame, PLANTS[("media", "stories")], block.stream(f"dirt.{contract.identifier}"), np.asarray(~without)
    )
    truth += planted + refusals.follow(contract, frame, planted)
    return frame, pl.concat(truth)


# ── writing ──────────────────────────────────────────────────────────────────────────────


def _write(
    parameters: Parameters, staging: Path, reference: Path, progress: Progress | None
) -> tuple[dict[str, int], dict[str, int]]:
    def tell(step: str, done: int) -> None:
        if progress is not None:
            progress(step, done, parameters.blocks + 2)

    shared = build_shared(parameters, read_places(reference))
    writers = SourceWriters(staging)
    planted_writer = ParquetTable(staging / TRUTH / PLANTED)
    states_writer = ParquetTable(staging / TRUTH / CONSENT_STATES)
    counts: dict[str, int] = {}

    def write(tables: Tables, planted: pl.DataFrame) -> None:
        for name in TABLES:
            if name in tables:
                contract = contract_of(*name)
                writers.append(system_of(contract.system), contract, location_of(contract), tables[name])
        planted_writer.append(planted)
        for kind, count in planted.group_by("kind", maintain_order=True).len().iter_rows():
            counts[kind] = counts.get(kind, 0) + count

    tell("population", 0)
    population = {("reference", "population"): population_table(parameters, shared.places)}
    write(population, pl.DataFrame(schema=dirt.PLANTED_SCHEMA))
    tell("partners and campaigns", 1)
    write(*make_shared_tables(shared))
    for index in range(parameters.blocks):
        tell("children", index + 2)
        world = make_block(shared, parameters.block(index))
        write(world.tables, world.planted)
        states_writer.append(world.consent_states)
    writers.close()
    planted_writer.close()
    states_writer.close()
    effects = [*care.EFFECTS, *giving.EFFECTS, *community.EFFECTS, *communication.EFFECTS]
    (staging / TRUTH / EFFECTS).write_text(json.dumps(effects, indent=1) + "\n", encoding="utf-8")
    tell("done", parameters.blocks + 2)
    rows = {contract_of(*name).identifier: writers.rows.get(contract_of(*name).identifier, 0) for name in TABLES}
    return rows, dict(sorted(counts.items()))


def _date_files(staging: Path, until: date) -> None:
    """Every file was last changed in the last minute of the world: reproducible, and no sign of today."""
    for path in staging.rglob("*"):
        if path.is_file():
            _date_file(path, until)


def _date_file(path: Path, until: date) -> None:
    moment = datetime.combine(until, time_of_day(23, 59), UTC).timestamp()
    os.utime(path, (moment, moment))


def _move_into_place(staging: Path, out: Path, record: dict[str, object], until: date) -> None:
    """Replace the folders of our systems, then say that the world is complete."""
    (out / WORLD).unlink(missing_ok=True)
    for folder in sorted((staging / SOURCES).iterdir()):
        target = out / SOURCES / folder.name
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    record = {**record, "files": _sizes(out)}
    beside = staging / WORLD.name
    beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _date_file(beside, until)
    beside.replace(out / WORLD)
    shutil.rmtree(staging)


def _sizes(out: Path) -> dict[str, int]:
    """The sizes in bytes of all files of our systems and of the truth, by their paths under `out`."""
    folders = sorted({*(location_of(contract_of(*name)).parent for name in TABLES), TRUTH})
    return {
        path.relative_to(out).as_posix(): path.stat().st_size
        for folder in folders
        for path in sorted((out / folder).glob("*"))
    }


def _present(out: Path, record: Mapping[str, object]) -> dict[str, Any] | None:
    """What `world.json` says when a world of these parameters is there and complete."""
    try:
        present = json.loads((out / WORLD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if any(present.get(name) != value for name, value in record.items()) or present.get("files") != _sizes(out):
        return None
    return present


@contextmanager
def _alone(sources: Path) -> Iterator[None]:
    """Only one generation at a time writes into a data directory."""
    with (sources / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GenerationError(
                "another process is generating into this data directory; wait for it or choose another directory"
            ) from None
        yield
