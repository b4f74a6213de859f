"""The calendar of days and releases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import (
    ReleaseNameError,
    cut_off,
    ingest_partitions,
    latest_release,
    release_partitions,
    today_partition,
)


def test_releases_are_the_complete_months_since_2024() -> None:
    """A release of the running month would be judged on half of its records."""
    keys = release_partitions.get_partition_keys(current_time=datetime(2026, 11, 1, 4, tzinfo=UTC))
    assert (keys[0], keys[-1]) == ("2024-01", "2026-10")
    assert len(keys) == 34
    before = release_partitions.get_partition_keys(current_time=datetime(2026, 10, 31, 23, 59, tzinfo=UTC))
    assert before[-1] == "2026-09"


def test_the_running_day_can_be_landed() -> None:
    """Records are landed while the day lasts; without the offset, today's would wait for tomorrow."""
    keys = ingest_partitions.get_partition_keys(current_time=datetime(2026, 11, 21, 0, 1, tzinfo=UTC))
    assert (keys[0], keys[-1]) == ("2026-01-01", "2026-11-21")


@pytest.mark.parametrize(
    ("release", "day"),
    [("2026-10", date(2026, 10, 31)), ("2024-02", date(2024, 2, 29)), ("2026-02", date(2026, 2, 28))],
)
def test_cut_off_is_the_last_day_of_the_month(release: str, day: date) -> None:
    """Consent is judged on this day; a day too early would use what was withdrawn on it."""
    assert cut_off(release) == day


@pytest.mark.parametrize("name", ["2026-1", "2026-13", "2026-00", "0000-01", "2026-10-31", "October", "", "2026-10\n"])
def test_a_release_has_one_name_only(name: str) -> None:
    """Two names of one month would be two releases, with the privacy budget spent twice."""
    with pytest.raises(ReleaseNameError):
        cut_off(name)


@given(st.dates(min_value=date(2024, 2, 1), max_value=date(2120, 12, 31)))
def test_latest_release_ended_before_today_and_the_next_has_not(today: date) -> None:
    """Whatever the day, exactly the last month that is over."""
    end = cut_off(latest_release(today))
    assert end < today
    following = end + timedelta(days=1)
    assert cut_off(following.strftime("%Y-%m")) >= today
    assert latest_release(today) in release_partitions.get_partition_keys(
        current_time=datetime(today.year, today.month, today.day, tzinfo=UTC)
    )


def test_today_is_a_day_in_utc() -> None:
    """In Jakarta the day begins seven hours earlier; partitions of two days would hold one landing."""
    jakarta = timezone(timedelta(hours=7))
    assert today_partition(datetime(2026, 11, 22, 6, 59, tzinfo=jakarta)) == "2026-11-21"
    with pytest.raises(ValueError, match="time zone"):
        today_partition(datetime(2026, 11, 22, 6, 59))
