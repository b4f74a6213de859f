"""One lakehouse for all integration tests: 1,000 generated children and the real files, through the real graph."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from merajut_assets.automation.instance import open_instance
from merajut_assets.definitions import build_defs
from merajut_assets.sources.generate import UNTIL, generate_world
from partitions import today_partition
from resources.lakehouse import Lakehouse
from resources.settings import REPOSITORY

CHILDREN = 1_000
SEED = 7
RELEASE = UNTIL.strftime("%Y-%m")


@dataclass
class Installation:
    """A materialised lakehouse: where it is, what Dagster recorded, and how long each job took."""

    lakehouse: Lakehouse
    instance: dg.DagsterInstance
    results: dict[str, dg.ExecuteInProcessResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.lakehouse.settings.data_directory

    @property
    def events(self) -> list[dg.DagsterEvent]:
        return [event for result in self.results.values() for event in result.all_events]

    def truth(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.directory / "sources" / "truth" / f"{name}.parquet")

    def materialise(self, name: str, job: str, partition: str | None) -> None:
        """Run one of our own jobs in this process, as the schedules and `merajut run` do."""
        definition = build_defs({"lakehouse": self.lakehouse}).resolve_job_def(job)
        began = time.monotonic()
        self.results[name] = definition.execute_in_process(
            instance=self.instance, partition_key=partition, raise_on_error=False
        )
        self.seconds[name] = time.monotonic() - began


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Everything is materialised once: sync, the release of the world's last month, the evidence.

    What Python logs meanwhile goes to a file among the stored ones, so that the leak test reads it."""
    directory = tmp_path_factory.mktemp("installation") / "data"
    generate_world(CHILDREN, SEED, directory, REPOSITORY / "data" / "reference")
    lakehouse = Lakehouse(data_directory=str(directory))
    home = os.environ.get("DAGSTER_HOME")
    log = directory / "logs" / "python.log"
    log.parent.mkdir()
    handler = logging.FileHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with open_instance(lakehouse.settings) as instance:
            made = Installation(lakehouse, instance)
            made.materialise("sync", "sync", today_partition(datetime.now(UTC)))
            made.materialise("release", "release", RELEASE)
            made.materialise("evidence", "evidence", None)
            yield made
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
        if home is None:
            os.environ.pop("DAGSTER_HOME", None)
        else:
            os.environ["DAGSTER_HOME"] = home
