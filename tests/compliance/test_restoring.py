"""A restore takes rows back, and nothing that people have decided since."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from merajut_assets.compliance.certificates import ErasureReason
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.restoring import RestoreRefused, keep_decisions, restore
from merajut_assets.contracts.base import Subject
from resources.lake import TableNotFound
from tests.compliance.small_lake import SmallLake


def _decisions(**columns: list) -> pl.DataFrame:
    return pl.DataFrame(columns, schema={"consent_id": pl.String, "status": pl.String, "valid_until": pl.Date})


def test_a_table_comes_back_as_it_was(small: SmallLake) -> None:
    """The rows of the old version, in a new one, and an entry in the audit log."""
    lake = small.lakehouse.lake
    old, version = lake.read("conformed/orphanage"), lake.version("conformed/orphanage")
    assert version is not None
    lake.overwrite("conformed/orphanage", old.head(1))
    outcome = restore(small.lakehouse, "conformed/orphanage", version)
    assert outcome.version > version + 1
    assert lake.read("conformed/orphanage").sort("orphanage_id").equals(old.sort("orphanage_id"))
    assert [entry["facts"]["table"] for entry in small.lakehouse.audit.entries() if entry["event"] == "restore"] == [
        "conformed/orphanage"
    ]


def test_a_withdrawal_survives_the_restore_of_older_decisions(small: SmallLake) -> None:
    """Restored as it was, the table would say again that the guardian agrees."""
    lake = small.lakehouse.lake
    granted = lake.read("conformed/consent").filter(pl.col("status") == "granted")["consent_id"][0]
    version = lake.version("conformed/consent")
    assert version is not None
    withdrawn = pl.when(pl.col("consent_id") == granted).then(pl.lit("withdrawn")).otherwise(pl.col("status"))
    lake.overwrite("conformed/consent", lake.read("conformed/consent").with_columns(withdrawn.alias("status")))
    outcome = restore(small.lakehouse, "conformed/consent", version)
    assert outcome.decisions == 1
    row = lake.read("conformed/consent").filter(pl.col("consent_id") == granted)
    assert row["status"].to_list() == ["withdrawn"]


def test_nobody_comes_back_under_the_name_that_a_column_had_before(small: SmallLake) -> None:
    """The contract of an older version may have named the erased in a column that today's has no longer; without that
    column the rows would be anybody's."""
    lake, table = small.lakehouse.lake, "conformed/story"
    token = small.token(*small.ids)[0]
    is_first = pl.int_range(pl.len()) == 0
    rows = lake.read(table).with_columns(
        pl.when(is_first).then(pl.lit(token)).otherwise("child_token").alias("child_token")
    )
    erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.GUARDIAN_REQUEST)
    version = lake.overwrite(table, rows.rename({"child_token": "client_token"}))
    lake.overwrite(table, rows.tail(1))
    outcome = restore(small.lakehouse, table, version)
    assert outcome.erased >= 1
    assert rows["story_id"][0] not in lake.read(table)["story_id"].to_list()


def test_what_restricts_is_kept_and_what_allows_is_not() -> None:
    """Withdrawn, ended and deleted decisions stay so; a newer grant does not come in by a restore."""
    old = _decisions(consent_id=["w", "e", "gone", "same"], status=["granted"] * 4, valid_until=[None] * 4)
    newer = _decisions(
        consent_id=["w", "e", "same", "new"],
        status=["withdrawn", "granted", "granted", "granted"],
        valid_until=[None, date(2026, 1, 1), None, None],
    )
    kept, decisions = keep_decisions(old, newer)
    assert decisions == 3
    assert kept.sort("consent_id").rows() == [
        ("e", "granted", date(2026, 1, 1)),
        ("same", "granted", None),
        ("w", "withdrawn", None),
    ]


def test_only_conformed_tables_and_known_versions_are_restored(small: SmallLake) -> None:
    """A release taken back would undo what was refused or erased since; a wrong version has no rows."""
    for table in ("protected/government/child_summary", "conformed/unknown", "raw"):
        with pytest.raises(RestoreRefused, match="only conformed tables"):
            restore(small.lakehouse, table, 0)
    with pytest.raises(TableNotFound, match="version 99"):
        restore(small.lakehouse, "conformed/child", 99)
