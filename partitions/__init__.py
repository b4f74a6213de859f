"""In which portions the lake is filled: a day of ingestion, a month of release.

Here belong the two partition definitions and the calendar that goes with them; not when something
runs (automation) and not what a release pins (resources). All dates are UTC.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import dagster as dg

RELEASE_FORMAT = "%Y-%m"

# The day that has begun counts, because records are landed while it lasts.
ingest_partitions = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)
# Complete months only: a release of a month that still runs would be judged on half of it.
release_partitions = dg.MonthlyPartitionsDefinition(start_date="2024-01", timezone="UTC", fmt=RELEASE_FORMAT)

_RELEASE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class ReleaseNameError(ValueError):
    """A release is not named as a month. Says how it is named."""


def cut_off(release: str) -> date:
    """The last day whose events the release of the month `release` ("2026-10") holds.

    Raises ReleaseNameError when `release` is not a month written as year-month.
    """
    named = _RELEASE.fullmatch(release)
    # strptime would take "2026-1" too, and one month would then have two names.
    if named is None or int(named[1]) == 0:
        raise ReleaseNameError("a release is named after its month, as year-month with two digits: 2026-10")
    year, month = int(named[1]), int(named[2])
    return date(year, month, monthrange(year, month)[1])


def latest_release(today: date) -> str:
    """The release of the last month that was over on the day `today`."""
    return (today.replace(day=1) - timedelta(days=1)).strftime(RELEASE_FORMAT)


def today_partition(now: datetime) -> str:
    """The ingest partition of the moment `now`, which must know its time zone (ValueError otherwise)."""
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone belongs to no certain day; give one with a time zone")
    return now.astimezone(UTC).date().isoformat()
