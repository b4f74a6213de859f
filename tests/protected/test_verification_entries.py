"""The privacy checks leave evidence of what they saw: without it nothing is published."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.statistics.assets import build_statistics_assets
from resources.lakehouse import Lakehouse
from resources.verifications import RecordedVerification, recorded_verifications, stored_version
from tests.protected.conformed_world import RELEASE

GIVING = "protected/media/campaign_giving"
COUNTS = "statistics/media/child_count_by_province"


def parts_of(table: str) -> list[Any]:
    """The asset of a table and its check."""
    key = dg.AssetKey(table.split("/"))
    parts: list[Any] = [*build_protected_assets(), *build_statistics_assets()]
    return [part for part in parts if key in getattr(part, "keys", ()) or key in {c.asset_key for c in part.check_keys}]


def run(lakehouse: Lakehouse, table: str) -> list[dg.AssetCheckEvaluation]:
    result = dg.materialize(
        parts_of(table),
        resources={"lakehouse": lakehouse},
        partition_key=RELEASE,
        raise_on_error=False,
    )
    return result.get_asset_check_evaluations()


@pytest.mark.slow
@pytest.mark.parametrize("table", [GIVING, COUNTS])
def test_a_check_records_what_it_saw(lakehouse, table) -> None:
    (check,) = run(lakehouse, table)
    assert check.passed
    version = stored_version(lakehouse.lake, table, RELEASE)
    assert version is not None
    assert list(recorded_verifications(lakehouse.audit)) == [RecordedVerification(table, RELEASE, version, True)]


@pytest.mark.slow
@pytest.mark.parametrize("table", [GIVING, COUNTS])
def test_whoever_reads_a_release_is_in_the_audit_log(lakehouse, table) -> None:
    """That its rows were decrypted for the page and for the check was nowhere to be found."""
    run(lakehouse, table)
    read = [entry["facts"] for entry in lakehouse.audit.entries() if entry["event"] == "decryption"]
    purposes = {facts["purpose"] for facts in read if (facts["table"], facts.get("release")) == (table, RELEASE)}
    assert "check" in purposes
    assert purposes == ({"check", "page"} if table == GIVING else {"check"})
    assert all(facts["reader"] == table for facts in read)
    assert any(facts["table"].startswith("conformed/") for facts in read)


def test_a_failed_check_records_that(lakehouse) -> None:
    """Evidence of failure is evidence, too: that it passed before does not count any more."""
    run(lakehouse, GIVING)
    stored = lakehouse.lake.read(GIVING, partition={"release": RELEASE}).drop("release")
    few = stored.with_columns(pl.lit(1, pl.Int64).alias("donors"), pl.lit(False).alias("is_withheld"))
    # With the facts of the release, so that its asset finds nothing to do.
    facts = lakehouse.lake.history(GIVING)[0]["facts"]
    lakehouse.lake.overwrite(GIVING, few, partition={"release": RELEASE}, facts=facts)
    (check,) = run(lakehouse, GIVING)
    assert not check.passed
    *_, last = recorded_verifications(lakehouse.audit)
    assert last == RecordedVerification(GIVING, RELEASE, stored_version(lakehouse.lake, GIVING, RELEASE), False)
