"""Originals go when their window is over; whatever else is kept beyond its time is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lake import RawVersion
from resources.lakehouse import Lakehouse
from resources.publication import PublicationReplaced
from resources.retention import are_originals_due, destroy_originals, overdue

TODAY = datetime.now(UTC).date()
HRIS = registry.raw_table("hris", "employees")
KEPT_DAYS = HRIS.retention_days
GIVING = "protected/media/campaign_giving"
COUNTS = "statistics/media/child_count_by_province"
AFTER_RETENTION = TODAY + timedelta(days=stakeholder_policies()["media"].retention_days + 1)
OLD, NEW = "2026-09", "2026-10"


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(tmp_path / "data"))


@pytest.fixture
def landed(lakehouse: Lakehouse) -> Callable[[int], RawVersion]:
    """Lands a version of a table so many days ago."""

    def land(days: int) -> RawVersion:
        return lakehouse.lake.land(
            "hris",
            "employees",
            pl.DataFrame({"a": [days]}),
            ingest_date=TODAY - timedelta(days=days),
            schema_version=1,
            digest=str(days),
        )

    return land


def test_landed_versions_beyond_their_time_are_told_and_stay(lakehouse: Lakehouse, landed) -> None:
    """`retention_days` stood in every contract and nobody could see what was older. It is not destroyed by itself: an
    erasure finds people by the landed versions."""
    for days in (KEPT_DAYS + 2, KEPT_DAYS + 1, KEPT_DAYS):
        landed(days)
    assert overdue(lakehouse) == {"raw/hris/employees": 2}
    assert len(lakehouse.lake.raw_versions("hris", "employees")) == 3


def released(lakehouse: Lakehouse, *releases: str) -> None:
    """Stored releases; the last one is published."""
    for release in releases:
        lakehouse.release_manifest(release)
        for table in (GIVING, COUNTS):
            facts = {"release": release}
            lakehouse.lake.overwrite(table, pl.DataFrame({"a": [1]}), partition=facts, facts=facts)
    lakehouse.publisher.publish("media", releases[-1], {"marts": pl.DataFrame({"a": [1]})})


def test_releases_and_publications_beyond_their_time_are_told(lakehouse: Lakehouse) -> None:
    released(lakehouse, OLD, NEW)
    assert overdue(lakehouse) == {}
    assert overdue(lakehouse, AFTER_RETENTION) == {GIVING: 2, COUNTS: 2, "published/media": 1}


def test_warehouse_files_beyond_their_time_are_told(lakehouse: Lakehouse) -> None:
    """The analysts' copies hold what all stakeholders get, and no date was set to them."""
    for release in (OLD, NEW):
        lakehouse.release_manifest(release)
        lakehouse.warehouse.load_tables(release, {"media__a": pl.DataFrame({"a": [1]})})
    lakehouse.warehouse.release(NEW)
    assert lakehouse.warehouse.kept() == [OLD, NEW, NEW]
    fewest = min(policy.retention_days for policy in stakeholder_policies().values())
    assert overdue(lakehouse, TODAY + timedelta(days=fewest)) == {}
    assert overdue(lakehouse, TODAY + timedelta(days=fewest + 1)) == {"warehouse/released": 3}


def test_a_replaced_pointer_does_not_hide_what_is_overdue(lakehouse: Lakehouse) -> None:
    released(lakehouse, OLD, NEW)
    (pointer,) = (lakehouse.settings.published / "media").glob("*.json")
    pointer.write_text(pointer.read_text().replace(NEW, OLD))
    with pytest.raises(PublicationReplaced):
        lakehouse.publisher.list("media")
    assert overdue(lakehouse, AFTER_RETENTION) == {GIVING: 2, COUNTS: 2}


def test_the_time_of_a_release_begins_when_it_is_made(lakehouse: Lakehouse) -> None:
    """A backfill of an old month would else be destroyed by the very run that makes it."""
    released(lakehouse, "2024-01", NEW)
    assert overdue(lakehouse) == {}


def test_originals_are_due_by_the_day(lakehouse: Lakehouse) -> None:
    window = timedelta(days=lakehouse.settings.dispute_window_days)
    lakehouse.lake.keep_original("hris", "employees", b"young", received=TODAY - window)
    assert not are_originals_due(lakehouse)
    assert are_originals_due(lakehouse, TODAY + timedelta(days=1))
    assert destroy_originals(lakehouse, TODAY + timedelta(days=1)) == 1
    assert lakehouse.lake.originals("hris", "employees") == []


def test_an_empty_installation_has_nothing_beyond_its_time(lakehouse: Lakehouse) -> None:
    assert overdue(lakehouse, date(2100, 1, 1)) == {}
    assert destroy_originals(lakehouse, date(2100, 1, 1)) == 0
    assert not lakehouse.settings.audit_log.exists()
