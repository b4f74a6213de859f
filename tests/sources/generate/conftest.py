"""One generated world for all tests of the generator, and how they look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from merajut_assets.sources.generate import UNTIL, WorldSummary, generate_world
from merajut_assets.sources.generate.catalogue import contract_of, generated_contracts, system_of
from merajut_assets.sources.generate.places import read_places
from merajut_assets.sources.generate.plan import Parameters
from merajut_assets.sources.generate.shared import Shared, build_shared
from merajut_assets.sources.reader import Location, SourceTable, read

REFERENCE = Path(__file__).parents[3] / "data" / "reference"
CHILDREN = 11_000  # more than one block
SEED = 11


@dataclass(frozen=True)
class World:
    """A generated world, its tables as our own readers see them, and its truth."""

    root: Path
    summary: WorldSummary
    tables: dict[str, SourceTable]
    planted: pl.DataFrame
    consent_states: pl.DataFrame

    def frame(self, identifier: str) -> pl.DataFrame:
        return self.tables[identifier].frame

    def clean(self, identifier: str) -> pl.DataFrame:
        """The rows of a table that nothing was planted into."""
        system, name = identifier.split(".")
        contract = contract_of(system, name)
        dirty = self.planted.filter((pl.col("system") == system) & (pl.col("table") == name))["key"]
        return self.frame(identifier).filter(~pl.col(contract.key[0]).is_in(dirty.implode()))


@pytest.fixture(scope="session")
def reference() -> Path:
    return REFERENCE


@pytest.fixture(scope="session")
def shared() -> Shared:
    return build_shared(Parameters(CHILDREN, SEED, UNTIL), read_places(REFERENCE))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    summary = generate_world(CHILDREN, SEED, root, REFERENCE)
    tables = {
        contract.identifier: read(contract, system_of(contract.system), Location(root))
        for contract in generated_contracts()
    }
    truth = root / "sources" / "truth"
    return World(
        root,
        summary,
        tables,
        pl.read_parquet(truth / "planted.parquet"),
        pl.read_parquet(truth / "consent_states.parquet"),
    )
