"""Whether a release lacks something, told over a release that is whole but for one thing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from merajut_assets.command import completeness
from merajut_assets.command.completeness import is_up_to_date, missing_parts
from merajut_assets.marts.project import load_manifest, prepare_manifest, sql_digests, stakeholder_marts, tables
from merajut_assets.marts.publication_log import complete_log
from resources.lakehouse import Lakehouse

RELEASE = "2026-10"
STAKEHOLDERS = ("academia", "business", "community", "government", "media")


@pytest.fixture
def manifest() -> dict[str, Any]:
    return copy.deepcopy(dict(load_manifest(prepare_manifest())))


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(tmp_path / "data"))


@pytest.fixture
def marts_missing(
    lakehouse: Lakehouse, manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """What is missing of models and publications of a release that has all of both; its datasets are left out."""
    lakehouse.release_manifest(RELEASE)
    lakehouse.warehouse.load_tables(RELEASE, {"x": pl.DataFrame({"a": [1]})})
    lakehouse.warehouse.record_models(RELEASE, dict(sql_digests(manifest, tables(manifest))))
    lakehouse.warehouse.release(RELEASE)
    for stakeholder, nodes in stakeholder_marts(manifest).items():
        frames = {str(node["name"]): pl.DataFrame({"a": [1]}) for node in nodes}
        complete_log(lakehouse, lakehouse.publisher.publish(stakeholder, RELEASE, frames))
    monkeypatch.setattr(completeness, "load_manifest", lambda: manifest)

    def missing() -> list[str]:
        layers = ("protected/", "statistics/")
        return [part for part in missing_parts(lakehouse, None, RELEASE) if not part.startswith(layers)]

    return missing


def test_a_release_with_all_marts_lacks_none(marts_missing) -> None:
    assert marts_missing() == []


def test_a_new_mart_is_missing_from_a_complete_release(marts_missing, manifest) -> None:
    """It was left out in silence until the next month."""
    mart = manifest["nodes"]["model.merajut.campaign_metrics"]
    manifest["nodes"]["model.merajut.more"] = {
        **mart,
        "unique_id": "model.merajut.more",
        "name": "more",
        "fqn": ["merajut", "mart", "media", "more"],
    }
    assert marts_missing() == ["mart/media/more", "published/media"]


def test_a_changed_mart_is_missing_and_one_behind_it_too(marts_missing, manifest) -> None:
    manifest["nodes"]["model.merajut.campaign_metrics"]["compiled_code"] += " -- changed"
    assert marts_missing() == ["mart/media/campaign_metrics"]


def test_a_removed_mart_leaves_its_publication_to_be_made_anew(marts_missing, manifest) -> None:
    del manifest["nodes"]["model.merajut.campaign_metrics"]
    assert marts_missing() == ["published/media"]


def test_a_publication_that_the_audit_log_does_not_know_is_not_complete(marts_missing, lakehouse) -> None:
    """A run that died between pointer and log was taken for done, and the entry never came."""
    lakehouse.publisher.publish("media", RELEASE, {"campaign_metrics": pl.DataFrame({"a": [1, 2]})})
    assert marts_missing() == ["published/media"]


def test_what_is_due_to_be_destroyed_is_no_state_to_be_left_alone(lakehouse, monkeypatch) -> None:
    """Where nothing had changed the command did nothing, and originals stayed beyond their window."""
    build = SimpleNamespace(entity="child")
    monkeypatch.setattr(completeness, "untouched_version", lambda *_: build)
    monkeypatch.setattr(completeness, "untouched_build", lambda *_: build)
    monkeypatch.setattr(completeness, "is_judged", lambda *_: True)
    assert is_up_to_date(lakehouse)
    lakehouse.lake.keep_original("hris", "employees", b"old", received=date(2020, 1, 1))
    assert not is_up_to_date(lakehouse)


def test_a_table_that_was_written_since_is_no_state_to_be_left_alone(lakehouse, monkeypatch) -> None:
    """A planted row would go unseen until a source changes."""
    lakehouse.lake.overwrite("conformed/child", pl.DataFrame({"a": [1]}))
    build = SimpleNamespace(entity="child", version=0)
    monkeypatch.setattr(completeness, "untouched_version", lambda *_: build)
    monkeypatch.setattr(completeness, "untouched_build", lambda *_: build)
    assert is_up_to_date(lakehouse)
    lakehouse.lake.overwrite("conformed/child", pl.DataFrame({"a": [2]}))
    assert not is_up_to_date(lakehouse)


def test_nothing_is_complete_before_it_was_begun(lakehouse) -> None:
    assert missing_parts(lakehouse, None, RELEASE) == [f"manifest of {RELEASE}"]
