"""No personal value in any stored byte, log line, event or metadata value; and the search finds what is there."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DataOrigin, PrivacyClass
from merajut_assets.sources.reader import read

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PIECE_BYTES = 8 << 20
BATCH_BYTES = 64 << 20
# Shorter texts, such as a first name, occur by chance in any binary file.
LEAST_CHARACTERS = 10
MOST_PER_COLUMN = 1_500


def personal_texts(installation) -> dict[str, pl.Series]:
    """Values that must be nowhere, by column: all identity numbers, names, phones, addresses and texts
    of the generated world (of the long columns every n-th)."""
    found = {}
    for contract in registry.tables("raw").values():
        system = registry.systems()[contract.system]
        if system.data_origin is not DataOrigin.GENERATED:
            continue
        frame = read(contract, system, installation.lakehouse.location(system)).frame
        for column in contract.columns:
            if column.privacy not in (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT):
                continue
            texts = frame[column.name].cast(pl.String).drop_nulls().unique().sort()
            texts = texts.filter(texts.str.len_chars() >= LEAST_CHARACTERS)
            if column.token is None:
                # One word alone is also the name of a village or a school, which are public.
                texts = texts.filter(texts.str.contains(" ", literal=True))
            step = 1 if column.token == "nik" else max(1, texts.len() // MOST_PER_COLUMN)
            found[f"{contract.identifier}.{column.name}"] = texts.gather_every(step)
    return found


class Search:
    """Finds any of many texts in bytes. Text is searched as UTF-8, as UTF-16 and as JSON escapes it."""

    def __init__(self, texts: Iterable[str]) -> None:
        patterns = set()
        for text in texts:
            patterns |= {text.encode(), text.encode("utf-16-le"), json.dumps(text)[1:-1].encode()}
        self.longest = max(map(len, patterns))
        # As Latin-1 every byte is one character, so that an automaton over texts searches bytes.
        self._patterns = pl.Series(sorted(pattern.decode("latin-1") for pattern in patterns))

    def found_in(self, places: Iterable[tuple[str, bytes]]) -> list[str]:
        """The names of the places whose bytes show one of the texts; never what was found."""
        found: set[str] = set()
        names: list[str] = []
        pieces: list[str] = []
        waiting = 0
        for name, data in places:
            names.append(name)
            pieces.append(data.decode("latin-1"))
            waiting += len(data)
            if waiting > BATCH_BYTES:
                found |= self._search(names, pieces)
                names, pieces, waiting = [], [], 0
        return sorted(found | self._search(names, pieces))

    def _search(self, names: list[str], pieces: list[str]) -> set[str]:
        frame = pl.DataFrame({"name": names, "piece": pieces}, schema={"name": pl.String, "piece": pl.String})
        return set(frame.filter(pl.col("piece").str.contains_any(self._patterns.implode()))["name"])


def pieces_of(path: Path, overlap: int) -> Iterator[bytes]:
    """A file's bytes in pieces that overlap, so that no value is cut in two."""
    with path.open("rb") as file:
        tail = b""
        while piece := file.read(PIECE_BYTES):
            yield tail + piece
            tail = piece[-overlap:]


def stored_files(directory: Path) -> list[Path]:
    """Everything under the data directory but the sources themselves."""
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).parts[0] != "sources"
    ]


def inflated(data: bytes) -> bytes:
    """What Dagster keeps compressed in SQLite, opened; anything else as it is."""
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


def database_values(path: Path) -> Iterator[bytes]:
    """Every row of a SQLite file: its pages may cut a text in two, and its values may be compressed."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                yield b"\n".join(inflated(value) for value in row if isinstance(value, bytes))


def stored_places(directory: Path, overlap: int) -> Iterator[tuple[str, bytes]]:
    """(file, bytes) of everything stored: names, contents, and the values inside databases."""
    for path in stored_files(directory):
        name = path.relative_to(directory).as_posix()
        yield name, name.encode()
        yield from ((name, piece) for piece in pieces_of(path, overlap))
        with path.open("rb") as file:
            is_database = file.read(16) == b"SQLite format 3\0"
        if is_database:
            yield from ((name, value) for value in database_values(path))


def leaking_files(directory: Path, search: Search) -> list[str]:
    return search.found_in(stored_places(directory, search.longest))


def leaking_events(events: Iterable[dg.DagsterEvent], search: Search) -> list[str]:
    """Events that show a text anywhere, their metadata included."""
    return search.found_in(
        (f"{event.event_type_value} {event.step_key}", f"{event.message} {event.event_specific_data!r}".encode())
        for event in events
    )


@pytest.fixture(scope="module")
def search(installation) -> Search:
    texts = personal_texts(installation)
    assert {
        "panti.children.nik",
        "panti.children.full_name",
        "panti.case_notes.note",
        "hris.employees.email_address",
    } <= set(texts)
    assert sum(series.len() for series in texts.values()) > 5_000
    return Search(text for series in texts.values() for text in series)


# ── the search finds what is there ───────────────────────────────────────────────────────


def test_the_search_finds_the_values_in_the_sources_themselves(installation, search):
    """A search that finds nothing where everything is would find nothing anywhere."""
    sources = installation.directory / "sources"
    names = ("panti/panti.sqlite", "hris/employees.csv", "donations/Contact.csv", "volunteers/volunteers.jsonl")
    places = [(name, piece) for name in names for piece in pieces_of(sources / name, search.longest)]
    assert search.found_in(places) == sorted(names)


@pytest.mark.parametrize("way", ["plain", "utf-16", "json", "name", "sqlite", "compressed"])
def test_a_planted_leak_is_found(installation, search, tmp_path, way):
    """One identity number among a thousand files is enough to fail."""
    nik = personal_texts(installation)["panti.children.nik"][17]
    name = next(text for text in personal_texts(installation)["panti.children.full_name"] if " " in text)
    folder = tmp_path / "lake"
    folder.mkdir()
    (folder / "clean.bin").write_bytes(b"\0" * 1000)
    assert leaking_files(tmp_path, search) == []
    if way == "plain":
        (folder / "leak.bin").write_bytes(b"\1" * 999 + nik.encode() + b"\2" * 999)
    if way == "utf-16":
        (folder / "leak.bin").write_bytes(name.encode("utf-16-le"))
    if way == "json":
        (folder / "leak.bin").write_text(f'{{"note": "{name}"}}')
    if way == "name":
        (folder / f"{nik}.bin").touch()
    if way in ("sqlite", "compressed"):
        with sqlite3.connect(folder / "leak.bin") as connection:
            connection.execute("CREATE TABLE event_logs (event BLOB)")
            value = name.encode() if way == "sqlite" else zlib.compress(name.encode() * 3)
            connection.execute("INSERT INTO event_logs VALUES (?)", (value,))
        connection.close()
    found = leaking_files(tmp_path, search)
    assert len(found) == 1
    assert "clean" not in found[0]


def test_a_planted_metadata_value_is_found(installation, search):
    """The way a value gets into the UI: somebody shows an example row."""
    name = personal_texts(installation)["panti.children.full_name"][3]

    def events_of(shown: str) -> list[Any]:
        @dg.asset
        def leaky() -> dg.MaterializeResult[Any]:
            return dg.MaterializeResult(metadata={"example": dg.MetadataValue.json({"row": [shown]})})

        return dg.materialize([leaky]).all_events

    assert leaking_events(events_of("nothing"), search) == []
    assert leaking_events(events_of(name), search)


# ── nothing is there ─────────────────────────────────────────────────────────────────────


def test_what_is_searched_is_what_the_lakehouse_stores(installation):
    """A folder that moves out of the data directory must not escape the search."""
    roots = {path.relative_to(installation.directory).parts[0] for path in stored_files(installation.directory)}
    settings = installation.lakehouse.settings
    places = (
        settings.lake,
        settings.warehouse,
        settings.published,
        settings.vault,
        settings.audit_log,
        settings.ledger,
    )
    expected = {place.relative_to(installation.directory).parts[0] for place in places} | {"logs", "dagster"}
    assert expected <= roots


def test_no_stored_byte_shows_a_person(installation, search):
    """Lake, warehouse, publications, vault, audit log, Dagster's databases, logs and manifests."""
    assert leaking_files(installation.directory, search) == []


def test_no_event_and_no_metadata_value_shows_a_person(installation, search):
    """What Dagster shows is open to everybody who may look at the graph."""
    assert len(installation.events) > 700
    assert leaking_events(installation.events, search) == []


def opened_tables(installation, layers: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What the lake's tables say to who has the keys; blobs under the keys of persons stay closed."""
    lake = installation.lakehouse.lake
    for layer in layers:
        for name in lake.tables(layer):
            yield name, lake.read(name).select(pl.exclude(pl.Binary)).write_csv().encode()


def warehouse_tables(installation) -> Iterator[tuple[str, bytes]]:
    with installation.lakehouse.warehouse.open_build("2026-10") as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database()"
        ).fetchall()
        assert len(tables) > 20
        for schema, table in tables:
            rows = connection.execute(f'SELECT * FROM "{schema}"."{table}"').pl()
            yield f"{schema}.{table}", rows.write_csv().encode()


def test_no_opened_table_shows_a_person(installation, search):
    """Encryption must not be what hides a leak from this test."""
    layers = ("conformed", "quarantine", "protected", "statistics", "compliance")
    assert search.found_in(opened_tables(installation, layers)) == []
    assert search.found_in(warehouse_tables(installation)) == []


def test_no_number_and_no_token_of_a_child_leaves_conformed(installation):
    """Pseudonyms are made anew for every stakeholder; the source's own number would undo them all."""
    panti = registry.systems()["panti"]
    location = installation.lakehouse.location(panti)
    numbers = read(registry.raw_table("panti", "children"), panti, location).frame["child_id"].drop_nulls()
    conformed = installation.lakehouse.lake.read("conformed/child")["child_token"]
    search = Search([*numbers, *conformed])
    assert search.found_in(opened_tables(installation, ["conformed"])), "tokens are where they belong"
    assert search.found_in(opened_tables(installation, ("protected", "statistics", "compliance"))) == []
    assert search.found_in(warehouse_tables(installation)) == []
