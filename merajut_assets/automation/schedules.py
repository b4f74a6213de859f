"""When jobs start by the clock. All times are UTC; what a job does is in `jobs`.

A tick that is older than the distance to the next one is skipped: landing reads what the sources hold
now, so that making up for missed ticks would land the same rows several times under old dates. The
monthly release is the exception, since every missed release is one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from merajut_assets.automation.jobs import DAILY, EVIDENCE, RELEASE, SYNC, Exclusive, ExecutableJob
from merajut_assets.automation.runs import unfinished_runs
from partitions import latest_release, today_partition

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Timetable:
    """One schedule. `waits_for`: the work of which no run may be unfinished when this one is asked for;
    without it, the job's own runs. `lapses_after`: from then on a missed tick is not made up for."""

    name: str
    job: str
    cron: str
    description: str
    partition: Callable[[datetime], str] | None = None
    waits_for: Exclusive | None = None
    lapses_after: timedelta | None = None


TIMETABLES = (
    Timetable(
        name="hourly_sync",
        job=SYNC.name,
        cron="0 * * * *",
        description="Every hour: lands what the sources hold now, unless a landing still runs or waits.",
        partition=today_partition,
        waits_for=Exclusive.LANDING,
        lapses_after=timedelta(hours=1),
    ),
    Timetable(
        name="daily_sync",
        job=DAILY.name,
        cron="0 2 * * *",
        description="Every day at 02:00 UTC: the full sync and the evidence about it; waits for a landing that runs.",
        partition=today_partition,
        lapses_after=timedelta(days=1),
    ),
    Timetable(
        name="weekly_evidence",
        job=EVIDENCE.name,
        cron="0 3 * * 0",
        description="Every Sunday at 03:00 UTC: renews the compliance evidence.",
        lapses_after=timedelta(weeks=1),
    ),
    Timetable(
        name="weekly_housekeeping",
        job="housekeeping",
        cron="0 3 * * 0",
        description="Every Sunday at 03:00 UTC: removes old records of runs.",
        lapses_after=timedelta(weeks=1),
    ),
    Timetable(
        name="monthly_release",
        job=RELEASE.name,
        cron="0 4 1 * *",
        description="On the first of every month at 04:00 UTC: the release of the month that has just ended.",
        partition=lambda moment: latest_release(moment.date()),
    ),
)


def build_schedule(
    timetable: Timetable, jobs: Mapping[str, ExecutableJob], status: dg.DefaultScheduleStatus, clock: Clock
) -> dg.ScheduleDefinition:
    """The Dagster schedule of a timetable."""

    @dg.schedule(
        name=timetable.name,
        description=timetable.description,
        job=jobs[timetable.job],
        cron_schedule=timetable.cron,
        execution_timezone="UTC",
        default_status=status,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        if timetable.lapses_after is not None and clock() - moment >= timetable.lapses_after:
            return dg.SkipReason("This tick was missed and a newer one has come; missed ticks are not made up for.")
        busy = (
            unfinished_runs(context.instance, job=timetable.job)
            if timetable.waits_for is None
            else unfinished_runs(context.instance, exclusive=timetable.waits_for)
        )
        if busy:
            return dg.SkipReason(f"{len(busy)} run(s) of the same work are running or waiting.")
        return dg.RunRequest(partition_key=timetable.partition(moment) if timetable.partition else None)

    return tick
