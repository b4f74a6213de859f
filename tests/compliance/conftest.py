"""A small lake per test, copied from one that is made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from merajut_assets.sources.generate import generate_world
from resources.lakehouse import Lakehouse
from resources.settings import REPOSITORY
from tests.compliance.small_lake import SmallLake, prepare

CHILDREN = 150


@pytest.fixture(scope="session")
def prepared_lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    directory = tmp_path_factory.mktemp("prepared") / "data"
    generate_world(CHILDREN, 7, directory, REPOSITORY / "data" / "reference")
    return prepare(directory)


@pytest.fixture
def small(prepared_lake: SmallLake, tmp_path: Path) -> SmallLake:
    """A copy of the prepared lake, with vault and keys, that a test may do anything to."""
    directory = tmp_path / "data"
    shutil.copytree(prepared_lake.directory, directory)
    lakehouse = Lakehouse(data_directory=str(directory))
    return SmallLake(lakehouse, directory, prepared_lake.ids, prepared_lake.sibling)
