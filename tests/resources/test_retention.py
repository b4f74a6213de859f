"""What is beyond its time goes with its keys; what is in force stays, and is told."""

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
from resources.retention import Overdue, destroy_expired, is_anything_due, overdue, overdue_by_dataset
from resources.vault import FileKeyDestroyed
from resources.verifications import record_verification, stored_version

TODAY = datetime.now(UTC).date()
HRIS = registry.raw_table("hris", "employees")
KEPT_DAYS = HRIS.retention_days
GIVING = "protected/media/campaign_giving"
BESIDE = "distributions/media/campaign_giving"
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


def test_replaced_versions_go_when_their_time_is_over_and_the_newest_stays(lakehouse: Lakehouse, landed) -> None:
    """`retention_days` stood in every contract and in the register, and nothing was ever removed."""
    oldest, old, young = landed(KEPT_DAYS + 2), landed(KEPT_DAYS + 1), landed(KEPT_DAYS)
    assert overdue_by_dataset(lakehouse) == {"raw/hris/employees": 2}
    assert is_anything_due(lakehouse)
    assert destroy_expired(lakehouse) == 2
    (left,) = lakehouse.lake.raw_versions("hris", "employees")
    assert left.path == young.path
    assert [version.path.exists() for version in (oldest, old, young)] == [False, False, True]
    for version in (oldest, old):
        with pytest.raises(FileKeyDestroyed):
            lakehouse.vault.file_key(version.path.stem)
    assert not is_anything_due(lakehouse)
    assert destroy_expired(lakehouse) == 0
    assert landed(0).number == 4, "no number is given twice"
    (entry,) = lakehouse.audit.entries()
    assert (entry["event"], entry["facts"]) == ("retention.destroyed", {"table": "raw/hris/employees", "parts": 2})


def test_the_only_version_stays_however_old_and_is_told(lakehouse: Lakehouse, landed) -> None:
    """It is what the source holds now: whether that may be so is its owner's decision."""
    landed(KEPT_DAYS + 500)
    assert overdue(lakehouse) == [Overdue("raw/hris/employees", "1", is_in_force=True)]
    assert not is_anything_due(lakehouse)
    assert destroy_expired(lakehouse) == 0
    assert lakehouse.lake.latest_raw("hris", "employees") is not None
    assert lakehouse.lake.forget_raw("hris", "employees", [1]) == 0


def released(lakehouse: Lakehouse, *releases: str) -> None:
    """Stored, verified and loaded releases; the last one is published."""
    for release in releases:
        lakehouse.release_manifest(release)
        for table in (GIVING, COUNTS):
            facts = {"release": release}
            version = lakehouse.lake.overwrite(table, pl.DataFrame({"a": [1]}), partition=facts, facts=facts)
            record_verification(lakehouse.audit, table, release, version, passed=True)
        lakehouse.lake.overwrite(BESIDE, pl.DataFrame({"a": [1]}), partition={"release": release})
        lakehouse.load_release_tables(release, {GIVING: lakehouse.lake.version(GIVING) or 0})
        lakehouse.warehouse.release(release)
    lakehouse.publisher.publish("media", releases[-1], {"marts": pl.DataFrame({"a": [1]})})


def test_releases_in_force_for_nobody_go_when_their_time_is_over(lakehouse: Lakehouse) -> None:
    released(lakehouse, OLD, NEW)
    verified = stored_version(lakehouse.lake, GIVING, NEW)
    assert overdue(lakehouse) == []
    assert destroy_expired(lakehouse, AFTER_RETENTION) == 2
    for table in (GIVING, COUNTS, BESIDE):
        assert lakehouse.lake.partitions(table) == [{"release": NEW}]
        assert lakehouse.lake.read(table)["a"].to_list() == [1]
    assert not lakehouse.warehouse.build_path(OLD).exists()
    assert lakehouse.warehouse.tables(NEW) == ["protected.media__campaign_giving"]
    # What is in force is as verified as before, and told.
    assert stored_version(lakehouse.lake, GIVING, NEW) == verified
    assert overdue_by_dataset(lakehouse, AFTER_RETENTION) == {GIVING: 1, COUNTS: 1, "published/media": 1}
    assert not is_anything_due(lakehouse, AFTER_RETENTION)
    assert lakehouse.publisher.current("media") is not None
    events = [entry["event"] for entry in lakehouse.audit.entries() if entry["event"] != "verification"]
    assert [event for event in events if event != "decryption"] == [
        "warehouse.withdrawn",
        "retention.destroyed",
        "retention.destroyed",
    ]


def test_no_release_goes_while_it_cannot_be_told_what_is_in_force(lakehouse: Lakehouse) -> None:
    """A pointer that somebody exchanged must not make the release that it showed look superfluous."""
    released(lakehouse, OLD, NEW)
    (pointer,) = (lakehouse.settings.published / "media").glob("*.json")
    pointer.write_text(pointer.read_text().replace(NEW, OLD))
    with pytest.raises(PublicationReplaced):
        lakehouse.publisher.list("media")
    assert overdue(lakehouse, AFTER_RETENTION) == []
    assert destroy_expired(lakehouse, AFTER_RETENTION) == 0
    assert lakehouse.lake.partitions(GIVING) == [{"release": OLD}, {"release": NEW}]


def test_the_time_of_a_release_begins_when_it_is_made(lakehouse: Lakehouse) -> None:
    """A backfill of an old month would else be destroyed by the very run that makes it."""
    released(lakehouse, "2024-01", NEW)
    assert overdue(lakehouse) == []


def test_originals_are_due_by_the_day(lakehouse: Lakehouse) -> None:
    window = timedelta(days=lakehouse.settings.dispute_window_days)
    lakehouse.lake.keep_original("hris", "employees", b"young", received=TODAY - window)
    assert not is_anything_due(lakehouse)
    assert is_anything_due(lakehouse, TODAY + timedelta(days=1))
    assert destroy_expired(lakehouse, TODAY + timedelta(days=1)) == 1
    assert lakehouse.lake.originals("hris", "employees") == []


def test_an_empty_installation_has_nothing_beyond_its_time(lakehouse: Lakehouse) -> None:
    assert overdue(lakehouse, date(2100, 1, 1)) == []
    assert destroy_expired(lakehouse, date(2100, 1, 1)) == 0
    assert not lakehouse.settings.audit_log.exists()
