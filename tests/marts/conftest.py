"""One prepared manifest and one built and released mini warehouse for all tests of the marts."""

from __future__ import annotations

from pathlib import Path

import pytest

from merajut_assets.marts.project import prepare_manifest
from tests.marts.support.dbt_runner import DbtProject
from tests.marts.support.mini_warehouse import RELEASE, build_warehouse, warehouse_of


@pytest.fixture(scope="session")
def manifest_path() -> Path:
    return prepare_manifest()


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> DbtProject:
    """dbt over a release that the pipeline has built and released."""
    data = tmp_path_factory.mktemp("merajut") / "data"
    home = data.parent / "home"
    home.mkdir()
    build_warehouse(data)
    project = DbtProject(data, home)
    done = project.run("build", role="pipeline")
    assert done.returncode == 0, done.stdout
    warehouse_of(data).release(RELEASE)
    return project
