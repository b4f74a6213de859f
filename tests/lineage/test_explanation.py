"""The table by which a reader of an asset's page sees where its columns come from."""

from __future__ import annotations

import os
import subprocess
import sys

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.explanation import explained
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.privacy.steps import PrivacyStep
from resources.settings import REPOSITORY

NIK = ColumnRef("source/panti/children", "nik")
TOKEN = ColumnRef("raw/panti/children", "child_token")
PSEUDONYM = ColumnRef("mart/academia/research_dataset", "child_pseudonym")
RELEASE = ColumnRef("mart/academia/research_dataset", "release")
FILTER = ColumnRef("source/panti/consents", "status")

TELL = """
from merajut_assets.compliance.asset_pages import asset_pages
from merajut_assets.marts.proof import value_graph
print(*asset_pages(value_graph().assets).items(), sep="\\n")
"""


def graph() -> LineageGraph:
    return LineageGraph.of(
        [
            Edge(NIK, TOKEN, Kind.DIRECT, How.EXPRESSION, PrivacyStep.PSEUDONYMISE),
            Edge(TOKEN, PSEUDONYM, Kind.DIRECT, How.EXPRESSION, PrivacyStep.GENERALISE),
            Edge(FILTER, PSEUDONYM, Kind.INDIRECT, How.FILTER),
        ],
        [Node(NIK, PrivacyClass.DIRECT_IDENTIFIER), Node(RELEASE, is_constant=True)],
    )


def lines_with(graph: LineageGraph, asset: str, *parts: str) -> list[str]:
    """The first line of the text about an asset that has each part."""
    lines = explained(graph, [asset])[asset].splitlines()
    return [next(line for line in lines if part in line) for part in parts]


def test_sources_and_steps_of_a_column_are_told_in_the_order_of_the_way() -> None:
    """A compliance officer must see from one line what a column was and what happened to it."""
    head, line = lines_with(graph(), PSEUDONYM.asset, "computed from", "child_pseudonym")
    assert "`source/panti/children`" in head
    assert "`nik` (direct_identifier)" in line
    assert "pseudonymise, generalise" in line
    assert "consents" not in line


def test_a_column_without_source_says_so() -> None:
    """Silence would look like a lineage that was lost."""
    (line,) = lines_with(graph(), RELEASE.asset, "| release |")
    assert "no source" in line


def test_a_wide_table_stays_short() -> None:
    """Of a long table nobody sees the line that they look for: what is alike is said once, and of many sources some."""
    sources = [ColumnRef("source/panti/children", f"column_{number}") for number in range(9)]
    others = [ColumnRef("source/panti/guardians", "name"), *sources]
    wide = LineageGraph.of(
        Edge(source, ColumnRef("raw/panti/children", target), Kind.DIRECT, How.IDENTITY)
        for target, origins in (("one", sources[:1]), ("other", sources[:1]), ("rules", others))
        for source in origins
    )
    shared, rules = lines_with(wide, "raw/panti/children", "one, other", "rules")
    assert "`source/panti/children.column_0`" in shared, "where there are two tables, each column is named with its own"
    assert rules.count("`source/") == 4
    assert "and 6 more" in rules


def test_what_is_told_is_the_same_in_every_process() -> None:
    """Metadata of definitions that changed with every load would look like a change of what is defined."""
    told = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [sys.executable, "-c", TELL], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        told.add(done.stdout)
    (text,) = told
    assert "pseudonymise" in text
