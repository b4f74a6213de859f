"""Contracts, policies and dbt's sources say the same, so that a new column cannot slip past any of them."""

from __future__ import annotations

import pytest
import yaml

from merajut_assets.contracts import registry
from merajut_assets.marts.dbt_sources import (
    SOURCES_FILE,
    render_sources,
    source_columns,
    source_differences,
    write_sources,
)
from merajut_assets.policies.stakeholder import stakeholder_policies
from tests.marts.support.mini_warehouse import release_frames


def test_committed_file_is_the_rendered_one() -> None:
    """A contract changed without writing the sources would leave dbt on yesterday's columns."""
    assert SOURCES_FILE.read_text(encoding="utf-8") == render_sources(), (
        "run `python -m merajut_assets.marts.dbt_sources`"
    )


def test_every_dataset_and_statistic_is_a_source_and_nothing_else() -> None:
    expected = {("protected", identifier.replace(".", "__")) for identifier in registry.tables("protected")}
    expected |= {
        ("statistics", f"{stakeholder}__{name}")
        for stakeholder, policy in stakeholder_policies().items()
        for name in policy.statistics
    }
    assert set(source_columns()) == expected


def test_columns_are_those_of_the_contract_and_the_release() -> None:
    for identifier, contract in registry.tables("protected").items():
        columns = list(source_columns()[("protected", identifier.replace(".", "__"))])
        assert columns == [*(column.name for column in contract.columns), "release"]


def test_every_source_column_is_described_and_classified() -> None:
    for source in yaml.safe_load(render_sources())["sources"]:
        for table in source["tables"]:
            for column in table["columns"]:
                assert column["description"], f"{table['name']}.{column['name']}"
                assert column["config"]["meta"]["privacy"], f"{table['name']}.{column['name']}"


def test_writing_again_changes_nothing(tmp_path) -> None:
    """`git status` stays clean after a second run."""
    path = tmp_path / "sources.yml"
    assert write_sources(path)
    assert not write_sources(path)


def stored() -> dict[tuple[str, str], dict[str, str]]:
    return {table: dict(columns) for table, columns in source_columns().items()}


def test_agreeing_tables_show_no_difference() -> None:
    assert source_differences(stored()) == []
    assert set(stored()) == set(release_frames())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tables: tables.pop(("protected", "government__region")), "protected.government__region is missing"),
        (lambda tables: tables.update({("protected", "raw__children"): {}}), "protected.raw__children is declared"),
        (lambda tables: tables[("protected", "media__story_approval")].pop("stories"), "story_approval lacks stories"),
        (lambda tables: tables[("protected", "academia__region")].update(nik="varchar"), "undeclared column nik"),
        (lambda tables: tables[("protected", "academia__region")].update(name="bigint"), "bigint instead of varchar"),
    ],
)
def test_any_difference_is_told_by_name(change, told) -> None:
    """Both ways: what is missing breaks a mart, what is too much leaks to every analyst."""
    tables = stored()
    change(tables)
    problems = source_differences(tables)
    assert len(problems) == 1
    assert told in problems[0]


def test_tables_that_nobody_needs_may_be_missing_but_none_may_be_undeclared() -> None:
    """A run for one stakeholder does not wait for the others' datasets."""
    needed = {("protected", "media__story_approval")}
    tables = {table: columns for table, columns in stored().items() if table in needed}
    assert source_differences(tables, needed) == []
    assert source_differences({**tables, ("protected", "x"): {}}, needed) == ["protected.x is declared nowhere"]
