"""What the dbt project promises without running on data: contracts, descriptions, policies, lineage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from merajut_assets.lineage.sql import column_lineage
from merajut_assets.marts import project
from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.project import (
    ManifestError,
    asset_path,
    load_lineage,
    load_manifest,
    prepare_manifest,
    stakeholder_marts,
    tables,
    upstream_sources,
)
from merajut_assets.policies.stakeholder import Aggregate, Microdata, stakeholder_policies
from resources.settings import REPOSITORY


@pytest.fixture(scope="session")
def manifest(manifest_path: Path):
    return load_manifest(manifest_path)


def test_every_stakeholder_has_a_mart(manifest) -> None:
    assert set(stakeholder_marts(manifest)) == set(stakeholder_policies())


def test_every_model_names_owner_sensitivity_and_describes_its_columns(manifest) -> None:
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model":
            meta = node["config"]["meta"]
            assert meta["owner"].startswith("team:"), node["name"]
            assert meta["sensitivity"], node["name"]
            assert node["description"], node["name"]
            assert all(column["description"] for column in node["columns"].values()), node["name"]


def test_every_table_has_an_enforced_contract_and_a_test_of_its_key(manifest) -> None:
    """Without them a column may come or go, or a join may double rows, and nobody is told."""
    keyed = {
        node["attached_node"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        and (node["test_metadata"]["name"] if "test_metadata" in node else "") in ("unique", "unique_combination")
    }
    for node in tables(manifest):
        assert node["config"]["contract"]["enforced"], node["name"]
        assert node["unique_id"] in keyed, node["name"]


def test_every_mart_is_tested_for_a_filled_measure(manifest) -> None:
    tested = {
        node["attached_node"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node.get("test_metadata", {}).get("name") == "any_value"
    }
    aggregate = {m["unique_id"] for ms in stakeholder_marts(manifest).values() for m in ms} - {
        node["unique_id"] for node in tables(manifest) if node["config"]["meta"].get("is_row_level")
    }  # rows, held to the protected ones by a test of its own
    assert aggregate <= tested


def test_counts_below_k_are_withheld_at_the_policies_k() -> None:
    """dbt cannot read the policies, so its variable is held to them here."""
    import yaml

    minimum = yaml.safe_load((DBT_PROJECT / "dbt_project.yml").read_text())["vars"]["minimum_contributors"]
    for name in ("government", "business", "community", "media"):
        datasets = stakeholder_policies()[name].datasets.values()
        groups = {dataset.privacy.k for dataset in datasets if isinstance(dataset, Microdata)}
        groups |= {dataset.k for dataset in datasets if isinstance(dataset, Aggregate)}
        assert groups == {minimum}, name


def test_every_statistic_about_children_is_part_of_the_estimates(manifest) -> None:
    """A statistic added to a policy must reach analysts, not only cost budget."""
    estimates = [node for node in tables(manifest) if node["name"].startswith("fct_child_estimate_")]
    read = upstream_sources(manifest, estimates)
    declared = {
        ("statistics", f"{stakeholder}__{name}")
        for stakeholder, policy in stakeholder_policies().items()
        for name, statistic in policy.statistics.items()
        if statistic.measure == "child_count"
    }
    assert read == declared


def test_marts_read_their_own_stakeholders_data_only(manifest) -> None:
    """Two stakeholders' releases of one table must not be put together; regions are the same open list."""
    for stakeholder, marts in stakeholder_marts(manifest).items():
        for _, table in upstream_sources(manifest, marts):
            assert table.endswith("__region") or table.startswith(f"{stakeholder}__"), f"{stakeholder} reads {table}"


def test_true_counts_of_children_are_in_the_government_mart_alone(manifest) -> None:
    """Rule 6 of the design: every other count of children is a noisy one."""
    lineage = load_lineage()
    for stakeholder, marts in stakeholder_marts(manifest).items():
        for mart in marts:
            for column, origins in lineage[mart["unique_id"]].items():
                counts = [name for owner, name in origins if name == "child_pseudonym" and column != name]
                assert not counts or stakeholder == "government", f"{mart['name']}.{column}"


def test_lineage_covers_every_column_and_ends_at_declared_ones(manifest) -> None:
    lineage = load_lineage()
    known = {**manifest["sources"], **manifest["nodes"]}
    for node in tables(manifest):
        assert set(lineage[node["unique_id"]]) == set(node["columns"])
        for origins in lineage[node["unique_id"]].values():
            for owner, column in origins:
                assert column in known[owner]["columns"], f"{node['name']}: {owner}.{column}"


def test_lineage_goes_through_ephemeral_models_into_protected_columns(manifest) -> None:
    """The proof that nothing identifying reaches a mart needs the way to go on behind staging."""
    share = load_lineage()["model.merajut.compliance_reporting"]["review_on_time_share"]
    assert ["source.merajut.protected.government__child_summary", "reviews_on_time"] in share


def test_lineage_needs_compiled_sql(manifest) -> None:
    parsed = json.loads(json.dumps(manifest))
    for node in parsed["nodes"].values():
        node.pop("compiled_code", None)
    with pytest.raises(ValueError, match="has no compiled SQL"):
        column_lineage(parsed)


def test_asset_paths_follow_the_layers(manifest) -> None:
    paths = {asset_path(node) for node in (*manifest["sources"].values(), *tables(manifest))}
    assert ("protected", "government", "child_summary") in paths
    assert ("statistics", "business", "outcome_by_programme") in paths
    assert ("warehouse", "dim_region") in paths
    assert ("mart", "academia", "research_dataset") in paths


def test_missing_manifest_says_what_makes_it(tmp_path) -> None:
    with pytest.raises(ManifestError, match="make manifest"):
        load_manifest(tmp_path / "manifest.json")


def test_damaged_manifest_says_what_makes_it(tmp_path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("{")
    with pytest.raises(ManifestError, match=r"damaged.*make manifest"):
        load_manifest(path)


@pytest.mark.slow
def test_manifest_is_prepared_on_an_empty_home_without_keys(tmp_path) -> None:
    """A clean clone has neither a dbt profile in the home folder nor data; preparing must not write there."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import pathlib, sys; from merajut_assets.marts.project import prepare_manifest; "
        "prepare_manifest(pathlib.Path(sys.argv[1]))"
    )
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "MERAJUT_DATA": str(tmp_path / "nowhere")}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "target")], cwd=REPOSITORY, env=environment, check=True, timeout=120
    )
    assert (tmp_path / "target" / "manifest.json").exists()
    assert list(home.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


def test_preparing_again_does_nothing(manifest_path, monkeypatch) -> None:
    """A second `make demo` is quick."""
    monkeypatch.setattr(project, "_compile", lambda *_: pytest.fail("compiled again"))
    assert prepare_manifest() == manifest_path
