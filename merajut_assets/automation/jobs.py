"""Which assets are materialised together, and within which time.

Here belong selections of assets and what every run of a job carries with it; not when a job starts
(schedules, sensors) and not how an asset is made (the layers). A selection names layers, never single
assets, so that a new table joins its job by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias

import dagster as dg
from dagster import AssetSelection

from partitions import ingest_partitions, release_partitions

# A JobDefinition, or what `define_asset_job` returns: a type that Dagster does not make public.
ExecutableJob: TypeAlias = Any

WINDOW_TAG = "merajut/window_seconds"
EXCLUSIVE_TAG = "merajut/exclusive"  # limited to one run per value in dagster.yaml
_MAXIMUM_RUNTIME_TAG = "dagster/max_runtime"
# A late run is reported at the end of its window and goes on. Only what outlasts the window this many
# times is taken for dead and ended, so that it does not hold up the runs behind it for ever.
_WINDOWS_UNTIL_DEAD = 6

_LANDING_LAYERS = ("raw", "conformed", "quarantine")
_RELEASE_LAYERS = ("protected", "statistics", "warehouse", "mart", "published")
_EVIDENCE_LAYERS = ("compliance",)


class Exclusive(StrEnum):
    """What a run keeps to itself: runs with the same value never work at the same time."""

    LANDING = "landing"
    RELEASE = "release"
    EVIDENCE = "evidence"
    HOUSEKEEPING = "housekeeping"


@dataclass(frozen=True)
class AssetJob:
    """A job over whole layers. `window`: how long a run may take before somebody is told."""

    name: str
    description: str
    layers: tuple[str, ...]
    window: timedelta
    exclusive: Exclusive
    partitions: dg.PartitionsDefinition | None = None


SYNC = AssetJob(
    name="sync",
    description="Lands what the sources hold now and brings the conformed tables up to date.",
    layers=_LANDING_LAYERS,
    window=timedelta(hours=1),
    exclusive=Exclusive.LANDING,
    partitions=ingest_partitions,
)
DAILY = AssetJob(
    name="daily",
    description="The day's full sync, and the evidence about it.",
    layers=(*_LANDING_LAYERS, *_EVIDENCE_LAYERS),
    window=timedelta(hours=1),
    exclusive=Exclusive.LANDING,
    partitions=ingest_partitions,
)
EVIDENCE = AssetJob(
    name="evidence",
    description="Renews the compliance evidence: quality over time, audit chain, privacy budget, erasures; destroys "
    "what is beyond its time and in force for nobody.",
    layers=_EVIDENCE_LAYERS,
    window=timedelta(hours=2),
    exclusive=Exclusive.EVIDENCE,
)
RELEASE = AssetJob(
    name="release",
    description="Makes one month's release: protects, counts with noise, builds the marts and publishes them.",
    layers=_RELEASE_LAYERS,
    window=timedelta(hours=4),
    exclusive=Exclusive.RELEASE,
    partitions=release_partitions,
)
ASSET_JOBS = (SYNC, DAILY, EVIDENCE, RELEASE)


def layers_selection(layers: tuple[str, ...]) -> AssetSelection:
    """All assets whose key begins with one of `layers`, with their checks."""
    return AssetSelection.key_prefixes(*([layer] for layer in layers))


def run_tags(window: timedelta, exclusive: Exclusive) -> Mapping[str, str]:
    """What every run of a job carries: read by the over-run sensor, the run queue and run monitoring."""
    seconds = int(window.total_seconds())
    return {
        WINDOW_TAG: str(seconds),
        EXCLUSIVE_TAG: exclusive.value,
        _MAXIMUM_RUNTIME_TAG: str(_WINDOWS_UNTIL_DEAD * seconds),
    }


def build_asset_job(job: AssetJob) -> ExecutableJob:
    """The Dagster job of a declaration; its executor is that of the Definitions it is put into."""
    return dg.define_asset_job(
        name=job.name,
        description=job.description,
        selection=layers_selection(job.layers),
        tags=run_tags(job.window, job.exclusive),
        partitions_def=job.partitions,
    )
