"""A real lake of a small generated world, in which one child carries a marker wherever it is told about.

What is stored is made by the real landing, builds and releases; only the region and school tables, of
which nothing is tested here, are put in directly, because their 300,000 rows would take most of the time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from merajut_assets.compliance.subjects import subject_tokens
from merajut_assets.conformed.build import build_entity, raw_inputs
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.raw import landing
from merajut_assets.raw.assets import land
from resources.encryption import DecryptionError, decrypt_rows
from resources.lakehouse import Lakehouse
from resources.settings import REPOSITORY
from resources.vault import FileKeyDestroyed

MARKER = "PENANDA-RAHASIA-7f3a"
INGEST_DATE = date(2026, 11, 20)
ENTITIES = (
    "orphanage",
    "child",
    "guardian",
    "employee",
    "volunteer",
    "consent",
    "placement",
    "review",
    "health_record",
    "education_record",
    "incident",
    "campaign",
    "story",
)


@dataclass
class SmallLake:
    """`ids`: the registrations of the marked child; `sibling`: another child with the same guardian."""

    lakehouse: Lakehouse
    directory: Path
    ids: tuple[str, ...]
    sibling: str

    @property
    def panti(self) -> Path:
        return self.directory / "sources" / "panti" / "panti.sqlite"

    def land_all(self, on: date = INGEST_DATE) -> None:
        for contract in self.tables():
            land(self.lakehouse, registry.systems()[contract.system], contract, on)

    def build_all(self) -> None:
        for name in ENTITIES:
            build_entity(self.lakehouse, registry.entity(name))

    @staticmethod
    def tables() -> list:
        return list(
            {table.identifier: table for name in ENTITIES for table in raw_inputs(registry.entity(name))}.values()
        )

    def change(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.panti) as connection:
            connection.execute(statement, values)
        connection.close()

    def token(self, *ids: str, subject: Subject = Subject.CHILD) -> list[str]:
        return subject_tokens(self.lakehouse, subject, [f"panti:{number}" for number in ids]).to_list()

    def rows_about(self, *ids: str, version: int | None = None) -> dict[str, int]:
        """Rows of each conformed table that name one of these children."""
        wanted = self.token(*ids)
        found = {}
        for name in ENTITIES:
            table = f"conformed/{name}"
            columns = [column for column in self.lakehouse.lake.schema(table) if column.endswith("_token")]
            if columns:
                frame = self.lakehouse.lake.read(table, columns=columns, version=version)
                rows = frame.filter(pl.any_horizontal(pl.col(columns).is_in(wanted))).height
                if rows:
                    found[name] = rows
        return found

    # ── what somebody with all keys can still read ───────────────────────────────────────

    def readable_texts(self) -> Iterator[tuple[str, str]]:
        """(where, content) of everything that opens with the keys there are: every version of raw, every
        version of every Delta table, quarantined rows, kept originals."""
        yield from self._raw()
        yield from self._delta()
        yield from self._quarantine()
        yield from self._originals()

    def places_with(self, marker: str = MARKER) -> list[str]:
        return sorted({place for place, text in self.readable_texts() if marker in text})

    def _raw(self) -> Iterator[tuple[str, str]]:
        vault = self.lakehouse.vault
        for table in self.tables():
            for version in self.lakehouse.lake.raw_versions(table.system, table.name):
                frame = self.lakehouse.lake.read_raw(version)
                yield f"raw/{table.identifier}", frame.drop(landing.ENCRYPTED, strict=False).write_csv()
                if table.subjects:
                    keys = landing.row_keys(
                        frame, table, lambda who, ids: vault.subject_keys(who, ids, create=False), vault.named_key
                    )
                    rows, _ = decrypt_rows(
                        frame[landing.ENCRYPTED], keys, landing.blob_schema(table), landing.blob_context(table)
                    )
                    yield f"raw/{table.identifier}", rows.write_json()

    def _delta(self) -> Iterator[tuple[str, str]]:
        lake = self.lakehouse.lake
        for table in lake.tables():
            for version in range((lake.version(table) or 0) + 1):
                try:
                    frame = lake.read(table, version=version)
                except FileKeyDestroyed:
                    continue
                yield table, frame.select(pl.exclude(pl.Binary)).write_csv()

    def _quarantine(self) -> Iterator[tuple[str, str]]:
        """Tries every living subject key there could be on every quarantined row."""
        lake, vault = self.lakehouse.lake, self.lakehouse.vault
        for name in lake.tables("quarantine"):
            stored = lake.read(name)
            for table in self.tables():
                rows = stored.filter(pl.col("source_table") == table.identifier)
                if rows.height == 0 or Subject.CHILD not in table.subject_columns or len(table.subjects) > 1:
                    continue
                ids = [f"panti:{number}" for number in (*self.ids, self.sibling)]
                for key in vault.subject_keys(Subject.CHILD, ids, create=False).values():
                    for blob in rows["row"].to_list():
                        try:
                            opened, _ = decrypt_rows(
                                pl.Series([blob]),
                                [key],
                                {column.name: column.dtype for column in table.columns},
                                f"quarantine/{table.identifier}".encode(),
                            )
                        except DecryptionError:
                            continue
                        yield name, opened.write_json()

    def _originals(self) -> Iterator[tuple[str, str]]:
        for table in self.tables():
            for path in self.lakehouse.lake.originals(table.system, table.name):
                yield f"originals/{table.system}", self.lakehouse.lake.read_original(path).decode(errors="replace")


def prepare(directory: Path) -> SmallLake:
    """Mark a child of the world in `directory`, land everything and build conformed."""
    panti = directory / "sources" / "panti" / "panti.sqlite"
    ids, sibling = _mark(panti)
    lakehouse = Lakehouse(data_directory=str(directory))
    small = SmallLake(lakehouse, directory, ids, sibling)
    _put_references(lakehouse)
    small.land_all()
    small.build_all()
    return small


def _mark(panti: Path) -> tuple[tuple[str, ...], str]:
    with sqlite3.connect(panti) as connection:
        # A good registration, a second one under the same NIK, and a child of the same guardian.
        first, nik, sibling = connection.execute(
            "SELECT c.child_id, c.nik, s.child_id FROM children c "
            "JOIN consents a ON a.child_id = c.child_id JOIN consents b ON b.guardian_id = a.guardian_id "
            "JOIN children s ON s.child_id = b.child_id AND s.nik <> c.nik "
            "JOIN health_records h ON h.child_id = c.child_id JOIN case_notes n ON n.child_id = c.child_id "
            "WHERE length(c.nik) = 16 AND length(s.nik) = 16 AND c.exit_date IS NULL AND c.birth_date LIKE '20%' "
            "AND c.modified_at LIKE '20%' ORDER BY c.child_id LIMIT 1"
        ).fetchone()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(children)")]
        second = "Z-" + first
        values = ", ".join("?" if name == "child_id" else name for name in columns)
        connection.execute(
            f"INSERT INTO children ({', '.join(columns)}) SELECT {values} FROM children WHERE child_id = ?",
            (second, first),
        )
        connection.execute("UPDATE children SET full_name = ? WHERE child_id IN (?, ?)", (MARKER, first, second))
        connection.execute("UPDATE case_notes SET note = ? WHERE child_id = ?", (MARKER, first))
        connection.execute("UPDATE health_records SET notes = ? WHERE child_id = ?", (MARKER, first))
        # Refused by its range, so that a row of the child lies in quarantine.
        names = [row[1] for row in connection.execute("PRAGMA table_info(health_records)")]
        changed = {"health_record_id": "'H-REFUSED'", "height_cm": "999.0"}
        connection.execute(
            f"INSERT INTO health_records ({', '.join(names)}) "
            f"SELECT {', '.join(changed.get(name, name) for name in names)} FROM health_records "
            "WHERE child_id = ? LIMIT 1",
            (first,),
        )
    connection.close()
    assert nik
    return (first, second), sibling


def _put_references(lakehouse: Lakehouse) -> None:
    folder = REPOSITORY / "data" / "reference"
    levels = {"provinces": "province", "regencies": "regency", "districts": "district", "villages": "village"}
    parts = []
    for file, level in levels.items():
        codes = pl.read_csv(folder / "wilayah" / f"{file}.csv", infer_schema=False)
        parts.append(codes.select(pl.first().alias("region_code"), pl.lit(level).alias("level")))
    regions = pl.concat(parts).with_columns(
        pl.col("region_code").alias("name"),
        pl.col("region_code").str.extract(r"^(.*)\.[^.]*$", 1).alias("parent_code"),
        **_said_of_itself("wilayah"),
    )
    lakehouse.lake.overwrite("conformed/region", regions)
    schools = pl.read_parquet(folder / "school_register" / "schools.parquet")
    column = next(name for name in schools.columns if "npsn" in name.lower())
    lakehouse.lake.overwrite("conformed/school", schools.select(pl.col(column).alias("npsn").cast(pl.String)).unique())
    lakehouse.lake.overwrite("conformed/population", _people(regions))


def _said_of_itself(system: str) -> dict[str, pl.Expr]:
    """The columns that every conformed row has."""
    return {
        "source_system": pl.lit(system),
        "jurisdiction": pl.lit("ID"),
        "legal_basis": pl.lit("not_applicable"),
        "data_origin": pl.lit("generated"),
        "modified_at": pl.lit(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)),
    }


def _people(regions: pl.DataFrame) -> pl.DataFrame:
    """As many people of every district, sex and birth month as make a child one of many."""
    months = [f"{year}-{month:02d}" for year in range(1996, 2027) for month in range(1, 13)]
    return (
        regions.filter(pl.col("level") == "regency")
        .select(pl.col("region_code").alias("regency_code"))
        .join(pl.DataFrame({"sex": ["F", "M"]}), how="cross")
        .join(pl.DataFrame({"birth_month": months}), how="cross")
        .with_columns(
            pl.concat_str("regency_code", "sex", "birth_month", separator="|").alias("population_id"),
            pl.lit(300, dtype=pl.Int64).alias("inhabitants"),
            **_said_of_itself("reference"),
        )
    )


__all__ = ["INGEST_DATE", "MARKER", "SmallLake", "prepare"]
