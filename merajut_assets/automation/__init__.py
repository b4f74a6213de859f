"""Jobs, schedules and sensors, put together for the Definitions.

Everything is off until somebody turns it on, in the UI or for the whole installation by
MERAJUT_AUTOMATION=on: a demonstration on a laptop is not to start work of its own at night.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import dagster as dg

from merajut_assets.automation.continuation import build_continuation_sensor
from merajut_assets.automation.housekeeping import housekeeping
from merajut_assets.automation.jobs import ASSET_JOBS, RELEASE, SYNC, ExecutableJob, build_asset_job
from merajut_assets.automation.lineage_events import LoadGraph, build_lineage_events_sensor
from merajut_assets.automation.schedules import TIMETABLES, Clock, build_schedule
from merajut_assets.automation.sensors import (
    LoadSettings,
    build_drop_folder_sensor,
    build_failure_sensor,
    build_over_run_sensor,
    utc_now,
)
from resources.settings import Settings, SettingsError


class Automation(NamedTuple):
    """What `Definitions` takes as `jobs`, `schedules` and `sensors`."""

    jobs: Sequence[ExecutableJob]
    schedules: Sequence[dg.ScheduleDefinition]
    sensors: Sequence[dg.SensorDefinition]


def is_switched_on(variables: Mapping[str, str] | None = None) -> bool:
    """Whether schedules and sensors run without being turned on one by one: MERAJUT_AUTOMATION, on or off."""
    setting = (os.environ if variables is None else variables).get("MERAJUT_AUTOMATION") or "off"
    if setting not in ("on", "off"):
        raise SettingsError("MERAJUT_AUTOMATION is neither on nor off; set it to one of the two")
    return setting == "on"


def build_automation(
    load_settings: LoadSettings = Settings.load,
    clock: Clock = utc_now,
    switched_on: bool | None = None,
    *,
    load_graph: LoadGraph,
) -> Automation:
    """All jobs, schedules and sensors. Touches neither disk nor network.

    `load_settings`, `clock` and `load_graph` (the lineage of everything) are asked at every tick, not now.
    `switched_on` overrides the environment's MERAJUT_AUTOMATION.
    """
    running = is_switched_on() if switched_on is None else switched_on
    schedule_status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    sensor_status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    jobs: dict[str, ExecutableJob] = {job.name: build_asset_job(job) for job in ASSET_JOBS}
    jobs[housekeeping.name] = housekeeping
    return Automation(
        jobs=tuple(jobs.values()),
        schedules=tuple(build_schedule(timetable, jobs, schedule_status, clock) for timetable in TIMETABLES),
        sensors=(
            build_drop_folder_sensor(jobs[SYNC.name], sensor_status, load_settings, clock),
            build_over_run_sensor(sensor_status, load_settings, clock),
            build_failure_sensor(sensor_status, load_settings),
            build_continuation_sensor(jobs[RELEASE.name], RELEASE.layers, sensor_status),
            build_lineage_events_sensor(sensor_status, load_settings, load_graph),
        ),
    )
