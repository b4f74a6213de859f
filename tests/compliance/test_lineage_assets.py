"""The evidence about lineage: what is stored, what it says, and when it is red."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from merajut_assets.compliance.lineage_assets import EDGES, build_lineage_assets
from merajut_assets.compliance.lineage_report import report_name
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.marts.project import load_manifest, prepare_manifest
from merajut_assets.marts.proof import leaving_columns, whole_graph
from resources.lakehouse import Lakehouse
from resources.verifications import record_verification

RELEASE = "2026-10"


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    prepare_manifest()
    return Lakehouse(data_directory=str(tmp_path / "data"))


def make(
    lakehouse: Lakehouse, name: str, assets: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[dg.AssetCheckEvaluation]]:
    asset = next(one for one in build_lineage_assets(assets) if one.key.path[-1] == name)
    result = dg.materialize([asset], resources={"lakehouse": lakehouse}, raise_on_error=False)
    (made,) = [event.materialization for event in result.get_asset_materialization_events()]
    return {key: value.value for key, value in made.metadata.items()}, result.get_asset_check_evaluations()


def publish_reach(lakehouse: Lakehouse) -> None:
    """Something of the media is in force, of a release whose datasets are not stored."""
    import polars as pl

    lakehouse.publisher.publish("media", RELEASE, {"campaign_metrics": pl.DataFrame({"clicks": [1]})})


def test_every_asset_is_described_and_owned() -> None:
    assets = build_lineage_assets()
    assert [asset.key.to_user_string() for asset in assets] == [
        "compliance/lineage_edges",
        "compliance/lineage_proof",
        "compliance/lineage_report",
    ]
    for asset in assets:
        (spec,) = asset.specs
        assert spec.description
        assert spec.owners == ["team:compliance"]
        assert {dep.asset_key.path[0] for dep in spec.deps} == {"published"}
        assert all(column.description for column in spec.metadata["dagster/column_schema"].columns)
        assert all(check.blocking and check.description for check in asset.check_specs)


def test_the_edges_are_stored_once_and_read_back_whole(lakehouse) -> None:
    """The graph as it was is evidence; a version a day of the same would bury the day on which it changed."""
    first, _ = make(lakehouse, "lineage_edges")
    second, _ = make(lakehouse, "lineage_edges")
    assert (first["is_new"], second["is_new"]) == (True, False)
    assert lakehouse.lake.version(EDGES) == 0
    graph = LineageGraph.from_frame(lakehouse.lake.read(EDGES))
    assert graph == whole_graph()
    assert first["columns"] == len(graph.nodes) > 1_000


def test_before_anything_is_published_the_structure_is_proved(lakehouse) -> None:
    metadata, (check,) = make(lakehouse, "lineage_proof")
    assert check.passed, check.metadata
    assert metadata["proofs"].count("| yes |") == len(leaving_columns(load_manifest())) + 1
    assert "| – |" in metadata["proofs"]


def test_a_publication_without_evidence_is_red(lakehouse) -> None:
    """What is in force must be what would be published: evidence that is gone shows."""
    publish_reach(lakehouse)
    _, (check,) = make(lakehouse, "lineage_proof")
    assert not check.passed
    assert check.blocking
    faults = check.metadata["faults"].value
    assert "mart/media/campaign_metrics: protected/media/campaign_giving: nothing of release 2026-10" in faults
    assert "academia" not in faults


def test_an_asset_without_lineage_is_red(lakehouse) -> None:
    """Somebody writes a file by hand: it is an asset, and nobody knows what is in it."""
    _, (check,) = make(lakehouse, "lineage_proof", ("published/media", "published/press_kit"))
    assert not check.passed
    assert check.metadata["faults"].value == "every asset: published/press_kit.*: where it comes from is not known"


def test_every_mart_has_a_report(lakehouse) -> None:
    """For whoever must answer where a press figure comes from: one page, without any other program or file."""
    publish_reach(lakehouse)
    record_verification(lakehouse.audit, "protected/media/campaign_giving", RELEASE, None, passed=False)
    metadata, _ = make(lakehouse, "lineage_report")
    reports = {path.name: path for path in lakehouse.settings.lineage_reports.iterdir()}
    assert len(reports) == metadata["dagster/row_count"] == len(leaving_columns(load_manifest()))
    media = reports["media-campaign_metrics.html"].read_text()
    assert "<svg" in media
    assert "✗ not proved:" in media
    assert "nothing of release 2026-10 is stored" in media
    academia = reports["academia-research_dataset.html"].read_text()
    assert "✓ proved:" in academia
    assert "not asked for: nothing was published yet" in academia
    for page in (media, academia):
        assert 'src="' not in page
        assert "href=" not in page


def test_the_report_about_a_mart_that_is_gone_goes_with_it(lakehouse) -> None:
    """A page that nobody renews says of a mart that nobody checks that it is proved."""
    make(lakehouse, "lineage_report")
    folder = lakehouse.settings.lineage_reports
    (folder / "media-story_impact.html").write_text("proved")
    (folder / "notes.txt").write_text("somebody's own")
    metadata, _ = make(lakehouse, "lineage_report")
    assert metadata["removed_reports"] == "media-story_impact.html"
    assert {path.name for path in folder.iterdir()} == {
        "notes.txt",
        *(report_name(mart) for mart in leaving_columns(load_manifest())),
    }
