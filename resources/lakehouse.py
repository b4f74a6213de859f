"""The one Dagster resource: everything that touches disk, put together.

Constructing it touches nothing; each part opens what it needs on first use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import polars as pl
from dagster import ConfigurableResource
from pydantic import Field

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import SourceFormat, Subject, System
from merajut_assets.sources.reader import Location
from resources.audit import AuditLog
from resources.lake import Lake, RawVersion
from resources.ledger import PrivacyLedger, StoredDraw
from resources.publication import Publisher
from resources.releases import ReleaseManifest, ReleaseRegister
from resources.settings import REPOSITORY, Settings
from resources.shapes import in_shape, refuse_unfit
from resources.vault import FileKeyDestroyed, KeyVault
from resources.warehouse import Warehouse

# What a release's warehouse file holds of the lake: a schema for each, and in it `<stakeholder>__<dataset>`.
WAREHOUSE_LAYERS = ("protected", "statistics")
DECRYPTION = "decryption"  # the event of the audit log


class Lakehouse(ConfigurableResource["Lakehouse"]):
    """Storage, keys, audit log and ledger of one installation.

    `data_directory`: where everything made at run time lives; empty takes the environment's.
    """

    data_directory: str = Field(default="", description="Data directory; empty: MERAJUT_DATA or data/")

    @cached_property
    def settings(self) -> Settings:
        return Settings.load({"MERAJUT_DATA": self.data_directory}) if self.data_directory else Settings.load()

    @cached_property
    def vault(self) -> KeyVault:
        return KeyVault(self.settings.vault, self.settings.keys, self.settings.tombstones)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.settings.audit_log, self.vault)

    @cached_property
    def ledger(self) -> PrivacyLedger:
        return PrivacyLedger(self.settings.ledger, self.stored_draws)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake, self.vault)

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.settings.warehouse, self.vault)

    @cached_property
    def publisher(self) -> Publisher:
        return Publisher(self.settings.published, self.vault, keep=self.settings.published_versions_kept)

    @cached_property
    def releases(self) -> ReleaseRegister:
        return ReleaseRegister(self.settings.lake / "releases")

    def location(self, system: System) -> Location:
        """Where a system's files are: shipped reference data are part of the repository."""
        is_shipped = Path(system.location).parts[0] == "reference"
        url = self.settings.panti_database_url if system.format is SourceFormat.DATABASE else None
        return Location(REPOSITORY / "data" if is_shipped else self.settings.data_directory, url)

    # ── reading, which leaves a trace ────────────────────────────────────────────────────

    def read(
        self,
        table: str,
        *,
        reader: str,
        purpose: str,
        version: int | None = None,
        partition: Mapping[str, str] | None = None,
        columns: Sequence[str] | None = None,
        filter: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Rows of a table of the lake, as `Lake.read` gives them, and an entry in the audit log: what was decrypted,
        how many rows, and for whom. Nothing outside `resources` reads the lake in another way.

        `reader`: the asset or command that reads; `purpose`: what for, in a few words, and never a value."""
        number = self.lake.version(table) if version is None else version
        frame = self.lake.read(table, version=number, partition=partition, columns=columns, filter=filter)
        release = (partition or {}).get("release")
        self._log_reading(table, number, frame, reader, purpose, {} if release is None else {"release": release})
        return frame

    def read_raw(
        self, version: RawVersion, *, reader: str, purpose: str, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The rows of one landed version, personal columns still encrypted, and an entry in the audit log as by
        `read`."""
        frame = self.lake.read_raw(version, columns)
        self._log_reading(f"raw/{version.system}/{version.table}", version.number, frame, reader, purpose, {})
        return frame

    def _log_reading(
        self,
        table: str,
        version: int | None,
        frame: pl.DataFrame,
        reader: str,
        purpose: str,
        of_release: Mapping[str, str],
    ) -> None:
        self.audit.append(
            DECRYPTION, table=table, version=version, rows=frame.height, reader=reader, purpose=purpose, **of_release
        )

    # ── conformed, as a release sees it ──────────────────────────────────────────────────

    def release_manifest(self, release: str) -> ReleaseManifest:
        """The release's manifest; pins the present versions of conformed on first use."""
        known = self.releases.find(release)
        if known is not None:
            return known
        tables = self.lake.tables("conformed")
        versions = {table.split("/", 1)[1]: self.lake.version(table) for table in tables}
        return self.releases.pin(
            release, {entity: version for entity, version in versions.items() if version is not None}
        )

    def read_conformed(self, entity: str, release: str, reader: str) -> pl.DataFrame:
        """An entity at the version that the release pinned.

        Erasure rewrites the table and destroys the keys of the older files, so that no version
        that can still be read holds an erased person. When that took the pinned version, the
        newest one stands in for it. `reader`: the asset that reads.

        Columns that the entity's contract gained since the release was pinned are null. Raises TableSchemaError when
        they may not be, or have another type."""
        table, purpose = f"conformed/{entity}", f"release {release}"
        try:
            pinned = self.release_manifest(release).version(entity)
            rows = self.read(table, version=pinned, reader=reader, purpose=purpose)
        except FileKeyDestroyed:
            rows = self.read(table, reader=reader, purpose=purpose)
        contract = registry.entity(entity)
        refuse_unfit(
            rows.schema,
            contract,
            f"{table} as release {release} has pinned it",
            "make a newer release, or declare the column as before, or as one that may be empty",
        )
        return in_shape(rows, contract)

    def stored_draws(self) -> list[StoredDraw]:
        """Every draw of a statistic that the lake has stored, with its charge as far as the history goes back."""
        draws = []
        for table in self.lake.tables("statistics"):
            _, stakeholder, name = table.split("/")
            paid = {
                (str(facts["release"]), int(facts["charge"]))
                for facts in (commit["facts"] for commit in self.lake.history(table))
                if "release" in facts and "charge" in facts
            }
            kept = {partition["release"] for partition in self.lake.partitions(table)}
            draws += [StoredDraw(stakeholder, release, name, charge) for release, charge in paid]
            draws += [StoredDraw(stakeholder, release, name, None) for release in kept - {one for one, _ in paid}]
        return draws

    def token_key(self, subject: Subject) -> bytes:
        return self.vault.named_key(f"token/{subject}")

    # ── the release's warehouse ──────────────────────────────────────────────────────────

    def load_release_tables(self, release: str, verified: Mapping[str, int]) -> dict[str, int]:
        """Make a release's warehouse file hold these protected datasets and statistics, and no others.

        `verified`: by table the version whose rows of the release a privacy check has seen and passed, as the audit
        log tells; the rows of that very version are loaded, whatever is stored since. Returns rows by
        `<schema>.<table>`."""
        rows: dict[str, int] = {}
        for layer in WAREHOUSE_LAYERS:
            frames: dict[str, pl.DataFrame] = {}
            for table, version in verified.items():
                within, stakeholder, name = table.split("/")
                if within == layer:
                    frames[f"{stakeholder}__{name}"] = self.read(
                        table,
                        version=version,
                        partition={"release": release},
                        reader=f"warehouse/{release}",
                        purpose="loading what is verified",
                    )
            self.warehouse.load_tables(release, frames, schema=layer, alone=True)
            rows.update({f"{layer}.{name}": frame.height for name, frame in frames.items()})
        return rows
