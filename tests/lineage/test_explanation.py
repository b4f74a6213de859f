"""The table by which a reader of an asset's page sees where its columns come from."""

from __future__ import annotations

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.explanation import explained
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.privacy.steps import PrivacyStep

NIK = ColumnRef("source/panti/children", "nik")
TOKEN = ColumnRef("raw/panti/children", "child_token")
PSEUDONYM = ColumnRef("mart/academia/research_dataset", "child_pseudonym")
RELEASE = ColumnRef("mart/academia/research_dataset", "release")
FILTER = ColumnRef("source/panti/consents", "status")


def graph() -> LineageGraph:
    return LineageGraph.of(
        [
            Edge(NIK, TOKEN, Kind.DIRECT, How.EXPRESSION, PrivacyStep.PSEUDONYMISE),
            Edge(TOKEN, PSEUDONYM, Kind.DIRECT, How.EXPRESSION, PrivacyStep.GENERALISE),
            Edge(FILTER, PSEUDONYM, Kind.INDIRECT, How.FILTER),
        ],
        [Node(NIK, PrivacyClass.DIRECT_IDENTIFIER), Node(RELEASE, is_constant=True)],
    )


def test_sources_and_steps_of_a_column_are_told_in_the_order_of_the_way() -> None:
    """A compliance officer must see from one line what a column was and what happened to it."""
    line = next(line for line in explained(graph(), PSEUDONYM.asset).splitlines() if "child_pseudonym" in line)
    assert "`source/panti/children.nik` (direct_identifier)" in line
    assert "pseudonymise, generalise" in line
    assert "consents" not in line


def test_a_column_without_source_says_so() -> None:
    """Silence would look like a lineage that was lost."""
    line = next(line for line in explained(graph(), RELEASE.asset).splitlines() if "| release |" in line)
    assert "no source" in line
