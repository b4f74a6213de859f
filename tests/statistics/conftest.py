"""What the tests of the statistics share."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import store, world


@pytest.fixture(scope="session")
def entities() -> dict[str, pl.DataFrame]:
    return world()


@pytest.fixture
def lakehouse(tmp_path: Path, entities: dict[str, pl.DataFrame]) -> Lakehouse:
    """A lakehouse of its own, with the small world in conformed."""
    made = Lakehouse(data_directory=str(tmp_path))
    store(made, entities)
    return made
