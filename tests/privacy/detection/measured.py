"""How well personal values are found: recall and precision by kind, as docs/personal_data_detection.md shows them.

    python -m tests.privacy.detection.measured

Writes the page again; a test compares it with what is measured now. Everything is drawn by a seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from merajut_assets.privacy.detection import KINDS, Verdict, detect_columns, find_in_text
from tests.privacy.detection import samples

PAGE = Path(__file__).parents[3] / "docs" / "personal_data_detection.md"
SEED = 2026
ROWS = 2_000
COLUMNS = 20
ALL = tuple(kind.name for kind in KINDS)


@dataclass(frozen=True)
class Measured:
    """One kind. Values: share found of those of the kind, and share of the found ones that are of it, among as many
    of every other kind and of every thing that looks alike. Columns: the same of verdicts, by names that say nothing
    (`unnamed`) and names that say what it is (`named`); precision among columns of all sorts, named and not."""

    kind: str
    value_recall: float
    value_precision: float
    unnamed_recall: float
    named_recall: float
    column_precision: float


def by_kind() -> list[Measured]:
    """Values in columns, against the shipped lists and everything in `samples`."""
    generator, lists = np.random.default_rng(SEED), samples.reference()
    personal = {kind: make(lists, generator, ROWS) for kind, _, make in samples.PERSONAL}
    others = {name: make(lists, generator, ROWS) for name, make in samples.LOOK_ALIKE}
    matched = _matched({**personal, **others})
    found = {kind: {"unnamed": 0, "named": 0} for kind in personal}
    claimed = dict.fromkeys(personal, 0)
    for number in range(COLUMNS):
        sample = {f"unnamed {kind}": column for kind, column in personal.items()}
        sample |= {f"named {kind}": personal[kind] for kind, _, _ in samples.PERSONAL}
        sample |= {f"other {name}": column for name, column in others.items()}
        part = slice(number * ROWS // COLUMNS, (number + 1) * ROWS // COLUMNS)
        titles = {kind: title for kind, title, _ in samples.PERSONAL}
        for name, column in sample.items():
            way, _, source = name.partition(" ")
            title = titles[source] if way == "named" else "ref"
            verdicts = detect_columns(pl.DataFrame({title: column[part]}), lists, ALL)
            sure = verdicts.filter((pl.col("verdict") != Verdict.NONE.value) & ~pl.col("within_text"))["kind"].to_list()
            for kind in sure:
                claimed[kind] += 1
            if source in sure:
                found[source][way] += 1
    return [
        Measured(
            kind,
            float(matched[kind][kind] / ROWS),
            float(matched[kind][kind] / max(1, sum(matched[kind].values()))),
            found[kind]["unnamed"] / COLUMNS,
            found[kind]["named"] / COLUMNS,
            sum(found[kind].values()) / max(1, claimed[kind]),
        )
        for kind in personal
    ]


def _matched(columns: dict[str, pl.Series]) -> dict[str, dict[str, int]]:
    """How many values of each column are of each kind by themselves, whatever column they are in."""
    from merajut_assets.privacy.detection.columns import _batches, _judged, _of_form
    from merajut_assets.privacy.detection.kinds import Form

    lists = samples.reference()
    counts: dict[str, dict[str, int]] = {kind.name: {} for kind in KINDS}
    for name, column in columns.items():
        (values,) = _batches(column.to_frame(name))
        for form in Form:
            kinds = [kind for kind in KINDS if kind.form is form]
            of_form = _of_form(values, form)
            judged = _judged(of_form, kinds, lists)
            for kind in kinds:
                counts[kind.name][name] = int(judged["rows"].filter(judged[f"{kind.name}.valid"]).sum())
    return counts


def in_planted(world: dict[str, pl.DataFrame], planted: pl.DataFrame) -> list[tuple[str, str, float, float]]:
    """(kind, column, recall, precision) of rows of a generated world, against the truth about what was planted.

    `world` has the tables that `PLANTED` names, by identifier. Texts that other dirt has emptied are left out."""
    return [
        _against(world[identifier], key, column, kind, planted, identifier, truth)
        for kind, truth, identifier, key, column in PLANTED
    ]


PLANTED = (
    ("nik", "nik_in_text", "panti.case_notes", "case_note_id", "note"),
    ("nik", "nik_in_text", "panti.health_records", "health_record_id", "notes"),
    ("kk", "kk_in_text", "panti.case_notes", "case_note_id", "note"),
    ("phone", "phone_in_text", "panti.case_notes", "case_note_id", "note"),
    ("email", "email_in_text", "panti.case_notes", "case_note_id", "note"),
    ("address", "address_in_text", "panti.case_notes", "case_note_id", "note"),
    ("person_name", "person_name_in_text", "panti.case_notes", "case_note_id", "note"),
    ("phone", "phone_in_name", "panti.guardians", "guardian_id", "full_name"),
)


def _against(
    frame: pl.DataFrame, key: str, column: str, kind: str, planted: pl.DataFrame, identifier: str, truth: str
) -> tuple[str, str, float, float]:
    frame = frame.drop_nulls(column)
    spans = find_in_text(frame[column], samples.reference())
    rows = spans.filter(pl.col("kind") == kind)["row"].unique()
    found = set(frame[key].gather(rows))
    is_meant = (pl.col("kind") == truth) & (pl.concat_str("system", pl.lit("."), "table") == identifier)
    meant = set(planted.filter(is_meant)["key"]) & set(frame[key])
    right = len(found & meant)
    return kind, f"{identifier}.{column}", right / max(1, len(meant)), right / max(1, len(found))


@dataclass(frozen=True)
class Beside:
    """Shares that need no kind: of the sample world's names recognised, and of texts with sixteen random digits in
    which a NIK is seen."""

    other_names: float
    random_numbers: float


def render(measured: Iterable[Measured], beside: Beside, in_texts: Iterable[tuple[str, str, float, float]]) -> str:
    lines = [
        "# How well personal data are found",
        "",
        "Measured by `python -m tests.privacy.detection.measured`. Do not edit.",
        "",
        f"Values of every kind and of {len(samples.LOOK_ALIKE)} things that look alike (order numbers, days, amounts,",
        "coordinates, school and district codes, names of places and companies), as many of each, drawn by a seed from",
        "the lists in `data/reference`. *Value*: judged by itself. That cannot tell everything: the number of a family",
        "card is built like a NIK, and any ten digits can be an account. The verdict is therefore about *columns*:",
        f"{COLUMNS} of {ROWS // COLUMNS} values of each sort, once named `ref`, once named after what they hold. Where",
        "nothing but the name tells, as of accounts and passports, a column named `ref` is not found.",
        "",
        "| kind | value: recall | value: precision | column `ref`: recall | named: recall | columns: precision |",
        "|---|---|---|---|---|---|",
    ]
    for one in measured:
        figures = (
            *(one.value_recall, one.value_precision),
            *(one.unnamed_recall, one.named_recall, one.column_precision),
        )
        lines.append(f"| {one.kind} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    lines += [
        "",
        "The names were drawn from the list by which they are recognised. Of the sample world's, most of which are not",
        f"in it, {beside.other_names:.0%} are recognised one by one; a column of them is, because so many names in one",
        "column are no chance.",
        "",
        "Inside texts, against what the sample world is known to hold (11,000 children, rows). It was written with the",
        'words that people use ("Bapak", "KK"), by those who wrote the search: other texts will have others.',
        f"Of texts with sixteen random digits, {beside.random_numbers:.1%} are taken to hold a NIK, because numbers of",
        "districts that were renumbered since must be found, too.",
        "",
        "| kind | column | recall | precision |",
        "|---|---|---|---|",
        *(f"| {kind} | {column} | {recall:.3f} | {precision:.3f} |" for kind, column, recall, precision in in_texts),
        "",
    ]
    return "\n".join(lines)


def beside() -> Beside:
    generator, lists = np.random.default_rng(SEED), samples.reference()
    names = _matched({"names": samples.other_names(lists, generator, ROWS)})["person_name"]["names"] / ROWS
    texts = samples.joined("pesanan ", samples.padded(generator, 10**15, 10**16, 10 * ROWS, 16), " dikirim")
    return Beside(names, find_in_text(texts, lists)["row"].n_unique() / texts.len())


def world_of_truth(folder: Path) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """The tables that `PLANTED` names of a generated world, and the truth about it."""
    from merajut_assets.contracts import registry
    from merajut_assets.sources.generate import generate_world
    from merajut_assets.sources.reader import Location, read

    generate_world(11_000, 11, folder, samples.REFERENCE)
    tables = {}
    for identifier in {place[2] for place in PLANTED}:
        contract = registry.raw_table(*identifier.split("."))
        tables[identifier] = read(contract, registry.systems()[contract.system], Location(folder)).frame
    return tables, pl.read_parquet(folder / "sources" / "truth" / "planted.parquet")


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        page = render(by_kind(), beside(), in_planted(*world_of_truth(Path(directory))))
    PAGE.write_text(page, encoding="utf-8")
