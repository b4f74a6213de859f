"""One prepared manifest, one built and released mini warehouse, and the assets over them for all tests of the marts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from merajut_assets.marts.dbt import BuildOutcome, build_mart_assets, record_build, record_disclosure_tests
from merajut_assets.marts.project import load_manifest, prepare_manifest, tables
from merajut_assets.marts.published import build_published_assets
from resources.lakehouse import Lakehouse
from tests.marts.support.dbt_runner import DbtProject
from tests.marts.support.mini_warehouse import (
    RELEASE,
    build_warehouse,
    release_frames,
    store_verified,
    warehouse_of,
)


@pytest.fixture(scope="session")
def manifest_path() -> Path:
    return prepare_manifest()


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory, manifest_path: Path) -> DbtProject:
    """dbt over a release that the pipeline has built and released."""
    data = tmp_path_factory.mktemp("merajut") / "data"
    home = data.parent / "home"
    home.mkdir()
    build_warehouse(data)
    project = DbtProject(data, home)
    done = project.run("build", role="pipeline")
    assert done.returncode == 0, done.stdout
    results = json.loads((data.parent / "target-pipeline" / "run_results.json").read_text())["results"]
    outcome = BuildOutcome({result["unique_id"]: result for result in results}, {}, {})
    manifest, lakehouse = load_manifest(manifest_path), Lakehouse(data_directory=str(data))
    record_build(warehouse_of(data), RELEASE, manifest, outcome)
    warehouse_of(data).release(RELEASE)
    store_verified(lakehouse, release_frames())
    for node in tables(manifest):
        record_disclosure_tests(lakehouse, RELEASE, manifest, outcome, node)
    return project


@pytest.fixture(scope="session")
def marts(manifest_path: Path) -> dg.AssetsDefinition:
    return build_mart_assets(manifest_path)


@pytest.fixture(scope="session")
def published(manifest_path: Path) -> list[dg.AssetsDefinition]:
    return build_published_assets(manifest_path)


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    """A lakehouse with the mini release's datasets, verified, of which nothing was built yet."""
    lakehouse = Lakehouse(data_directory=str(tmp_path / "unbuilt"))
    store_verified(lakehouse, release_frames())
    return lakehouse


@pytest.fixture
def built(dbt: DbtProject, tmp_path: Path) -> Lakehouse:
    """A lakehouse with a built release and nothing published, which a test may spoil."""
    data = tmp_path / "data"
    shutil.copytree(dbt.data, data)
    return Lakehouse(data_directory=str(data))
