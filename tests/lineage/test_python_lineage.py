"""The lineage of the Python steps: complete, and with the step that each asset applies.

Whether it is true is shown in `test_what_really_flows`; here, that nothing is missing and that steps are not claimed
where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl
import pytest

from merajut_assets.catalogue import column_lineage
from merajut_assets.conformed.build import QUARANTINE_COLUMNS, quarantining_tables
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageError, LineageGraph
from merajut_assets.lineage.python_steps import asset_of, python_graph, python_values, quarantine_of
from merajut_assets.lineage.reading import columns_read
from merajut_assets.policies.stakeholder import Aggregate, stakeholder_policies
from merajut_assets.privacy.steps import PrivacyStep
from merajut_assets.protected.contributors import PUBLICATION, contributors_table
from merajut_assets.protected.pipeline import PRIVACY_STEPS, contributions_of, figure_columns, subject_column
from merajut_assets.protected.reference import RELEASE, distributions, distributions_table, has_distributions
from merajut_assets.protected.summary import CONTRIBUTOR
from merajut_assets.raw import landing
from merajut_assets.statistics.declarations import public_keys
from merajut_assets.statistics.figures import FROM_POLICY, statistic_contract
from merajut_assets.statistics.releases import children, draw, usable_children
from tests.protected.conformed_world import CUT_OFF, world

SCHEMA: dict[str, Mapping[str, pl.DataType]] = {
    "pupil": {"name": pl.String(), "score": pl.Float64(), "left_on": pl.Date(), "notes": pl.String()},
    "school": {"name": pl.String(), "place": pl.String()},
}


@pytest.fixture(scope="module")
def graph() -> LineageGraph:
    return python_graph()


def edges_into(graph: LineageGraph, asset: str, column: str) -> tuple[Edge, ...]:
    return graph.incoming[ColumnRef(asset, column)]


# ── the graph ────────────────────────────────────────────────────────────────────────────


def test_what_values_come_from_is_the_same_when_nothing_else_is_asked(graph: LineageGraph) -> None:
    """Pages show the part of the lineage that is there at once; it must be that of the proof."""
    assert python_values() == graph.values()


def test_every_declared_column_comes_from_somewhere(graph: LineageGraph) -> None:
    """Unknown lineage fails the proof, so that nothing that is made here may be unknown."""
    declared = [
        *registry.tables("raw").values(),
        *registry.tables("conformed").values(),
        *registry.tables("protected").values(),
        *(statistic_contract(p.stakeholder, name) for p in stakeholder_policies().values() for name in p.statistics),
    ]
    for contract in declared:
        for column in contract.columns:
            ref = ColumnRef(asset_of(contract), column.name)
            assert graph.node(ref).privacy is column.privacy
            assert ref in graph.incoming or graph.node(ref).is_constant, str(ref)


def test_what_has_no_origin_is_a_source_or_a_constant(graph: LineageGraph) -> None:
    begins = {ref for ref in graph.nodes if ref not in graph.incoming and not graph.node(ref).is_constant}
    assert {ref.asset.split("/")[0] for ref in begins} == {"source"}


def test_what_contracts_declare_is_in_the_graph(graph: LineageGraph) -> None:
    """Dagster shows the declared lineage; the graph must not know less."""
    for layer in ("raw", "conformed", "protected"):
        for contract in registry.tables(layer).values():
            shown = column_lineage(contract)
            assert shown is not None
            for column, deps in shown.deps_by_column.items():
                direct = {
                    (edge.origin.asset, edge.origin.column)
                    for edge in edges_into(graph, asset_of(contract), column)
                    if edge.kind is Kind.DIRECT
                }
                assert {("/".join(dep.asset_key.path), dep.column_name) for dep in deps} <= direct


def test_flags_of_landing_are_those_that_landing_makes() -> None:
    """`flag_sources` says of which columns; a flag that it does not know would have no lineage."""
    for table in registry.tables("raw").values():
        empty = pl.DataFrame(schema={column.name: column.dtype for column in table.columns})
        made = {flag.name for flag in landing.derived_flags(empty, table, lambda _: b"k" * 32)}
        assert made == set(landing.flag_sources(table)), table.identifier


def test_tokens_and_only_tokens_are_pseudonymised_on_the_way_to_conformed(graph: LineageGraph) -> None:
    """A birth date beside a token is as it was; claiming a step for it would let it pass the proof."""
    for edge in graph.edges:
        if edge.target.asset.startswith("conformed/") and edge.kind is Kind.DIRECT:
            is_personal = bool(registry.entity(edge.target.asset.split("/")[1]).subjects)
            if edge.target.column.endswith("_token"):
                assert edge.step is (PrivacyStep.PSEUDONYMISE if is_personal else None)
            elif edge.step is not None:
                assert edge.how is not How.IDENTITY
                assert registry.entity(edge.target.asset.split("/")[1]).column(edge.target.column).key
    assert {e.step for e in edges_into(graph, "conformed/child", "birth_date")} == {None}


def test_a_decision_of_a_volunteer_has_a_token_for_its_number(graph: LineageGraph) -> None:
    origins = {
        edge.origin: edge.step
        for edge in edges_into(graph, "conformed/consent", "consent_id")
        if edge.kind is Kind.DIRECT
    }
    assert origins[ColumnRef("raw/volunteers/volunteers", "volunteer_id")] is PrivacyStep.PSEUDONYMISE
    assert origins[ColumnRef("raw/panti/consents", "consent_id")] is None


def test_every_way_into_protected_data_passes_the_step_of_its_asset(graph: LineageGraph) -> None:
    for policy in stakeholder_policies().values():
        for name, dataset in policy.datasets.items():
            contract = registry.protected_dataset(policy.stakeholder, name)
            steps = {
                edge.step
                for column in contract.columns
                for edge in edges_into(graph, asset_of(contract), column.name)
                if dataset.kind != "microdata" or column.name != subject_column(contract) or edge.kind is Kind.INDIRECT
            }
            assert steps == {PRIVACY_STEPS[dataset.kind]}
        for name in policy.statistics:
            contract = statistic_contract(policy.stakeholder, name)
            assert {e.step for e in edges_into(graph, asset_of(contract), "value")} == {PrivacyStep.DP_RELEASE}


def test_consent_and_jurisdiction_decide_about_every_column_of_a_dataset_about_people(graph: LineageGraph) -> None:
    for column in registry.protected_dataset("government", "child_summary").columns:
        origins = {edge.origin for edge in edges_into(graph, "protected/government/child_summary", column.name)}
        for place in ("consent.status", "consent.valid_until", "consent.subject_type", "child.jurisdiction"):
            entity, name = place.split(".")
            assert ColumnRef(f"conformed/{entity}", name) in origins


def test_who_is_counted_is_an_origin_of_the_count(graph: LineageGraph) -> None:
    """The number of children comes from who they are, though no column of theirs is declared as its source."""
    direct = {
        e.origin for e in edges_into(graph, "protected/government/incident_summary", "children") if e.how is How.COUNT
    }
    assert direct == {ColumnRef("conformed/incident", "child_token")}


def test_merging_registrations_is_seen(graph: LineageGraph) -> None:
    """Which registrations are one child is told by the NIK, whose token decides about every column of the child."""
    for column in ("child_token", "sex", "registrations"):
        origins = {edge.origin for edge in edges_into(graph, "conformed/child", column)}
        assert ColumnRef("raw/panti/children", "nik_token") in origins
    assert ColumnRef("source/panti/children", "nik") in graph.upstream(
        ColumnRef("protected/academia/research_child", "sex")
    )


# ── kept beside the way ──────────────────────────────────────────────────────────────────


def test_refused_rows_come_whole_from_raw(graph: LineageGraph) -> None:
    """Quarantine keeps what nobody may see, and was in no lineage."""
    for entity in registry.tables("conformed").values():
        for table in quarantining_tables(entity):
            asset = quarantine_of(table)
            assert {ref.column for ref in graph.assets[asset]} == set(QUARANTINE_COLUMNS)
            declared = {ColumnRef(asset_of(table), column.name) for column in table.columns}
            for kept in ("row", "row_hash"):
                assert declared <= {edge.origin for edge in edges_into(graph, asset, kept) if edge.kind is Kind.DIRECT}
    deciding = {edge.origin for edge in edges_into(graph, "quarantine/panti", "row") if edge.kind is Kind.INDIRECT}
    assert ColumnRef("raw/panti/children", "failed_rules") in deciding
    assert deciding >= {e.origin for e in edges_into(graph, "conformed/child", "sex") if e.kind is Kind.INDIRECT}


def test_kept_tables_have_the_columns_that_are_stored(graph: LineageGraph) -> None:
    """What is remembered of people beside a release is made by other code than the lineage is."""
    kept = set()
    for policy in stakeholder_policies().values():
        for name, dataset in policy.datasets.items():
            contract = registry.protected_dataset(policy.stakeholder, name)
            if isinstance(dataset, Aggregate):
                asset, key = contributors_table(contract), bytes(32)
                figures = [one for one in figure_columns(contract, dataset) if one != dataset.contributors]
                people = pl.DataFrame(schema=dict.fromkeys([*contract.key, CONTRIBUTOR, *figures], pl.String))
                stored = {*contributions_of(contract, dataset, people, key).columns, PUBLICATION}
            elif has_distributions(policy, name):
                asset = distributions_table(contract)
                rows = pl.DataFrame(schema=dict.fromkeys(dataset.privacy.sensitive, pl.String))
                stored = {*distributions(rows, dataset.privacy).columns, RELEASE}
            else:
                continue
            kept.add(asset)
            assert {ref.column for ref in graph.assets[asset]} == stored
    assert kept == {one for one in graph.assets if one.startswith(("contributors/", "distributions/"))}
    assert len({one.split("/")[0] for one in kept}) == 2


def test_who_is_remembered_beside_a_figure_is_a_digest_of_the_person(graph: LineageGraph) -> None:
    (edge,) = (
        one
        for one in edges_into(graph, "contributors/government/incident_summary", "contributor")
        if one.kind is Kind.DIRECT
    )
    assert (str(edge.origin), edge.step) == ("conformed/incident.child_token", PrivacyStep.PSEUDONYMISE)
    value = edges_into(graph, "distributions/academia/research_child", "value")
    sensitive = {
        f"conformed/{source}"
        for column in registry.protected_dataset("academia", "research_child").columns
        if column.privacy is PrivacyClass.SENSITIVE
        for source in column.sources
    }
    assert {str(one.origin) for one in value if one.kind is Kind.DIRECT} == sensitive


def test_everything_that_is_kept_beside_the_way_comes_from_somewhere(graph: LineageGraph) -> None:
    """The proof asks it of what leaves alone; a column that is kept, and of which nobody says what it is, is a hole."""
    unknown = [
        str(ref)
        for ref, node in graph.nodes.items()
        if ref.asset.startswith(("quarantine/", "contributors/", "distributions/"))
        and not node.is_constant
        and not any(edge.kind is Kind.DIRECT for edge in graph.incoming.get(ref, ()))
    ]
    assert unknown == []


@pytest.mark.slow
def test_figures_that_a_policy_fixes_do_not_depend_on_anybody() -> None:
    """They are declared constants; a noise scale that followed the data would tell about them unprotected."""
    entities = world(children=60)
    usable = usable_children(entities, CUT_OFF).entities
    for policy in stakeholder_policies().values():
        for name, statistic in policy.statistics.items():
            rows = children(statistic, usable, CUT_OFF)
            keys = public_keys(statistic.by, entities)
            order = [*statistic.by, "measure"]
            drawn = [
                draw(statistic, some, keys, policy.epsilon(name)).sort(order).select(*order, *FROM_POLICY[1:])
                for some in (rows, rows.head(7))
            ]
            assert drawn[0].equals(drawn[1]), f"{policy.stakeholder} {name}"


# ── what a function reads ────────────────────────────────────────────────────────────────


def test_columns_are_read_when_they_filter_join_or_are_selected() -> None:
    def run(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        left = frames["pupil"].filter(pl.col("score") > 3).drop("notes", strict=False)
        return left.join(frames["school"], on="name").select("left_on")

    expected = {("pupil", "score"), ("pupil", "name"), ("pupil", "left_on"), ("school", "name")}
    assert columns_read(run, SCHEMA) == expected
    assert columns_read(run, SCHEMA, likely=[("pupil", "score"), ("school", "place")]) == expected


@pytest.mark.parametrize("is_empty", [True, False])
def test_columns_of_a_branch_that_only_some_rows_lead_to_are_read(is_empty: bool) -> None:
    def run(frames: Mapping[str, pl.DataFrame]) -> object:
        if frames["pupil"].is_empty() == is_empty:
            return frames["pupil"].select("score")
        return frames["pupil"].select("name")

    assert columns_read(run, SCHEMA) == {("pupil", "score"), ("pupil", "name")}


def test_columns_of_a_branch_for_nulls_are_read() -> None:
    """A source without admission dates is read as a return, by other columns than a register."""

    def run(frames: Mapping[str, pl.DataFrame]) -> object:
        if frames["pupil"]["left_on"].is_null().all():
            return frames["pupil"].select("notes")
        return frames["pupil"]

    assert columns_read(run, SCHEMA) == {("pupil", "left_on"), ("pupil", "notes")}


def test_a_function_that_never_ends_well_is_not_judged() -> None:
    """Without a run that ends, every column would look like one that is read, or none."""

    def run(frames: Mapping[str, pl.DataFrame]) -> object:
        raise ValueError(date(2020, 1, 1))

    with pytest.raises(LineageError, match="fails on every frame"):
        columns_read(run, SCHEMA)
