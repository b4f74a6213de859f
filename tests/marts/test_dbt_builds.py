"""dbt itself, run as pipeline and analyst run it, on real encrypted files and an empty home folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.project import load_manifest, stakeholder_marts
from resources.settings import REPOSITORY
from resources.warehouse import connect
from tests.marts.support.dbt_runner import DbtProject
from tests.marts.support.mini_warehouse import (
    RELEASE,
    WITHHELD_PROVINCE,
    WITHHELD_REGENCY,
    release_frames,
    warehouse_of,
)

pytestmark = pytest.mark.slow


def mart(dbt: DbtProject, name: str) -> pl.DataFrame:
    return warehouse_of(dbt.data).read_table(RELEASE, f"mart_{name}")


# ── what the marts say ───────────────────────────────────────────────────────────────────


def test_every_mart_has_a_filled_measure(dbt, manifest_path) -> None:
    for stakeholder, nodes in stakeholder_marts(load_manifest(manifest_path)).items():
        for node in nodes:
            frame = mart(dbt, f"{stakeholder}.{node['name']}")
            figures = frame.select(pl.selectors.numeric()).drop("fiscal_year", strict=False)
            assert frame.height > 0
            assert any(figures[column].null_count() < frame.height for column in figures.columns), node["name"]


def test_true_counts_of_children_below_five_are_withheld(dbt) -> None:
    """Three children without a region and none in a province: neither count may be read off."""
    rows = mart(dbt, "government.compliance_reporting")
    counts = {(row["jurisdiction"], row["province_code"]): row for row in rows.to_dicts()}
    assert counts[("ID", "32")]["children"] == 40
    assert counts[("ID", "31")]["children"] == 7
    assert counts[("GB", "*")]["children"] == 8
    for withheld in (("ID", "*"), ("ID", "33")):
        assert counts[withheld]["children"] is None
        assert counts[withheld]["is_withheld"] is True
    assert rows["children"].drop_nulls().min() >= 5


def test_no_row_sums_up_others(dbt) -> None:
    """A total beside four shown provinces would give a withheld fifth away."""
    rows = mart(dbt, "government.compliance_reporting")
    assert rows.select("jurisdiction", "province_code").is_unique().all()
    assert set(rows["province_code"]) == {"31", "32", "33", "*"}


def test_licences_are_judged_on_the_cut_off_date(dbt) -> None:
    """Valid until the last day of the release counts, until the day before does not."""
    rows = mart(dbt, "government.compliance_reporting").filter(pl.col("province_code") == "32")
    assert rows["orphanages"].to_list() == [4]
    assert rows["licences_valid"].to_list() == [2]


def test_incidents_withheld_upstream_stay_withheld(dbt) -> None:
    rows = mart(dbt, "government.compliance_reporting").filter(pl.col("province_code") == "32")
    assert rows.select("incidents", "incident_kinds_withheld").rows() == [(11, 1)]


def test_estimates_add_up_with_their_noise(dbt) -> None:
    """Two districts with a half-width of 6 each make one of √2·6, not of 6 and not of 12."""
    row = mart(dbt, "government.compliance_reporting").filter(province_code="32", jurisdiction="ID").to_dicts()[0]
    cells = (
        warehouse_of(dbt.data)
        .read_table(RELEASE, "statistics.government__child_count_by_regency")
        .filter(pl.col("regency_code").str.starts_with("32."))
    )
    assert row["child_count_estimate"] == cells["value"].sum()
    half_width = (row["child_count_interval_high"] - row["child_count_interval_low"]) / 2
    assert half_width == pytest.approx(6 * cells.height**0.5, abs=0.1)


def test_a_withheld_cell_is_never_shown_as_a_zero(dbt) -> None:
    """SQL's greatest() ignores nulls and once made zeros of withheld figures."""
    province = mart(dbt, "government.compliance_reporting").filter(pl.col("province_code") == WITHHELD_PROVINCE)
    district = mart(dbt, "community.volunteer_metrics").filter(region_code=WITHHELD_REGENCY, topic="children")
    for rows in (province, district):
        assert rows.height == 1
        figures = rows.select("child_count_estimate", "child_count_interval_low", "child_count_interval_high")
        assert figures.row(0) == (None, None, None)


def test_small_groups_of_volunteers_and_employees_are_withheld(dbt) -> None:
    volunteers = mart(dbt, "community.volunteer_metrics").filter(topic="skill")
    assert dict(volunteers.filter(region_code="32").select("category", "volunteers").iter_rows()) == {
        "teaching": 40,
        "sports": None,
    }
    impact = mart(dbt, "business.csr_impact").select("company", "volunteering_employees").unique()
    assert dict(impact.iter_rows()) == {"PT Contoh": 10, "PT Sedikit": None}


def test_shares_of_money_are_what_they_are_called(dbt) -> None:
    row = mart(dbt, "business.csr_impact").to_dicts()[0]
    assert (row["budget_utilisation"], row["diverse_supplier_share"]) == (0.6, 0.25)
    assert row["average_score_interval_low"] < row["average_score"] < row["average_score_interval_high"]


def test_research_rows_keep_their_number_and_get_their_class_size(dbt) -> None:
    rows = mart(dbt, "academia.research_dataset")
    assert rows.height == 120
    classes = rows.group_by("sex", "region_code").agg(pl.len(), pl.col("class_size").unique())
    assert all(sizes == [number] for number, sizes in classes.select("len", "class_size").iter_rows())


def test_stories_and_giving_do_not_double_reach(dbt) -> None:
    rows = mart(dbt, "media.campaign_metrics")
    assert rows["impressions"].sum() == 16 * 1000
    assert set(rows.filter(campaign_id="C1", channel="instagram")["campaign_channel_approved_stories"]) == {8}
    assert rows.filter(campaign_id="C2")["campaign_donors"].null_count() == 8


# ── what dbt refuses ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def changed(dbt, tmp_path):
    """A copy of the project and of the data in which a test may break something."""
    project = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    data = tmp_path / "data"
    shutil.copytree(dbt.data, data)
    home = tmp_path / "home"
    home.mkdir()
    return DbtProject(data, home, project)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_column_outside_the_contract_stops_the_build(changed) -> None:
    """A pseudonym that somebody adds to an aggregate mart must not get as far as a table."""
    path = changed.project / "models" / "mart" / "media" / "campaign_metrics.sql"
    replace_in(path, "    reach.clicks,\n", "    reach.clicks,\n    reach.age_band as child_pseudonym,\n")
    done = changed.run("build", "--select", "campaign_metrics", role="pipeline")
    assert done.returncode == 1
    assert "child_pseudonym" in done.stdout
    assert "enforced contract" in done.stdout


def test_a_shown_count_below_k_stops_the_build(changed) -> None:
    """The macro that withholds is one line; should it break, the tests on its results must not break with it."""
    path = changed.project / "macros" / "disclosure.sql"
    replace_in(path, ">= {{ minimum }} then", ">= 1 then")
    done = changed.run("build", "--select", "compliance_reporting", "csr_impact", role="pipeline")
    assert done.returncode == 1
    said = " ".join(line for line in done.stdout.splitlines() if "FAIL" in line)
    for planted in ("compliance_reporting_children__is_withheld", "csr_impact_volunteering_employees"):
        assert f"withheld_below_{planted}" in said


def test_a_pseudonym_in_an_aggregate_mart_is_caught_even_when_its_contract_allows_it(changed) -> None:
    mart_folder = changed.project / "models" / "mart" / "media"
    replace_in(
        mart_folder / "campaign_metrics.sql",
        "    reach.clicks,\n",
        "    reach.clicks,\n    reach.age_band as child_pseudonym,\n",
    )
    replace_in(
        mart_folder / "media.yml",
        "      - name: clicks\n",
        "      - name: child_pseudonym\n        data_type: varchar\n      - name: clicks\n",
    )
    built = changed.run("run", "--select", "campaign_metrics", role="pipeline")
    assert built.returncode == 0, built.stdout
    done = changed.run("test", "--select", "no_person_column_in_aggregate_marts", role="pipeline")
    assert done.returncode == 1


def test_a_doubled_research_row_is_caught(changed) -> None:
    """The verifier judged other rows than those that a wrong join would publish."""
    path = changed.project / "models" / "mart" / "academia" / "research_dataset.sql"
    replace_in(path, "on region.release = child.release and region.region_code = child.region_code", "on true")
    done = changed.run("build", "--select", "research_dataset", role="pipeline")
    assert done.returncode == 1
    assert "research_rows_are_the_verified_ones" in done.stdout


# ── the analyst ──────────────────────────────────────────────────────────────────────────

HOLD_OPEN = """
import sys, pathlib
from tests.marts.support.mini_warehouse import RELEASE, warehouse_of
from resources.warehouse import connect
warehouse = warehouse_of(pathlib.Path(sys.argv[1]))
connection = connect(warehouse.build_path(RELEASE), warehouse.vault.analyst_key(), read_only=False)
connection.execute("CREATE OR REPLACE TABLE protected.half_written (number INTEGER)")
print("open", flush=True)
sys.stdin.read()
connection.execute("DROP TABLE protected.half_written")
"""


def test_an_analyst_builds_tests_and_documents_while_the_pipeline_writes(dbt) -> None:
    """Pipeline and analyst never wait for each other: the one has the build file, the other the released copy."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(dbt.data)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline().strip() == "open"
        for command in (["build"], ["test"], ["docs", "generate"]):
            done = dbt.run(*command)
            assert done.returncode == 0, done.stdout
    finally:
        holder.communicate("", timeout=30)
    assert list(dbt.home.iterdir()) == [], "dbt wrote into the home folder"

    analysis = dbt.data / "analyst" / "analysis.duckdb"
    with pytest.raises(duckdb.Error), duckdb.connect(analysis, read_only=True):
        pass
    with connect(analysis, warehouse_of(dbt.data).vault.analyst_key()) as connection:
        built = connection.execute("SELECT count(*) FROM mart_government.compliance_reporting").fetchall()
    assert built == [(5,)]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_parquet('{data}/lake/raw/panti/children/*.parquet')",
        "select * from read_text('{data}/keys/analyst.key')",
    ],
)
def test_an_analyst_reaches_no_file_but_those_attached(dbt, query) -> None:
    """Not even by mistake: raw, conformed and the keys lie on the same disk."""
    done = dbt.run("show", "--inline", query.format(data=dbt.data))
    assert done.returncode != 0
    assert "disabled by configuration" in done.stdout


def test_an_analyst_cannot_write_into_the_released_warehouse(dbt) -> None:
    query = "create table warehouse.mart_media.mine as select 1 as one"
    done = dbt.run("run-operation", "run_query", "--args", f"{{sql: '{query}'}}")
    assert done.returncode != 0
    assert "read-only" in done.stdout


def test_nothing_in_the_project_names_a_real_path() -> None:
    """The project works wherever it is cloned to."""
    for path in (*DBT_PROJECT.glob("*.yml"), *DBT_PROJECT.glob("plugins/*.py")):
        text = path.read_text(encoding="utf-8")
        assert str(REPOSITORY) not in text
        assert "/home/" not in text


def test_the_mini_release_is_repeatable() -> None:
    """It is the yardstick of the tests above, so it must not change from run to run."""
    first, second = release_frames(), release_frames()
    assert all(first[table].equals(second[table]) for table in first)
