"""dbt as a process of its own, the way pipeline and analysts run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.project import dbt_executable
from tests.marts.support.mini_warehouse import RELEASE, warehouse_of


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
