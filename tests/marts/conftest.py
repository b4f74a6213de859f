"""One prepared manifest and one built and released mini warehouse for all tests of the marts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mini_warehouse import RELEASE, build_warehouse, warehouse_of

from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.project import dbt_executable, prepare_manifest


class DbtProject:
    """Runs dbt as somebody would on a machine with an empty home folder."""

    def __init__(self, data: Path, home: Path, project: Path = DBT_PROJECT) -> None:
        self.data = data
        self.home = home
        self.project = project

    def run(self, *arguments: str, role: str = "analyst") -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "MERAJUT_DATA": str(self.data)}
        options: Sequence[str] = ("--target-path", str(self.home.parent / f"target-{role}"))
        if role == "pipeline":
            environment["MERAJUT_BUILD_FILE"] = str(warehouse_of(self.data).build_path(RELEASE))
            options = (*options, "--target", "pipeline")
        command = [str(dbt_executable()), "--log-level-file", "none", "--no-use-colors", *arguments, *options]
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture(scope="session")
def manifest_path() -> Path:
    return prepare_manifest()


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DbtProject]:
    """dbt over a release that the pipeline has built and released."""
    data = tmp_path_factory.mktemp("merajut") / "data"
    home = data.parent / "home"
    home.mkdir()
    build_warehouse(data)
    project = DbtProject(data, home)
    done = project.run("build", role="pipeline")
    assert done.returncode == 0, done.stdout
    warehouse_of(data).release(RELEASE)
    yield project
