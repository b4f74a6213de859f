"""The proof on small graphs: what a step is good for, that paths are counted exactly, and what evidence is demanded."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.evidence import Evidence, Verification
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph, Node
from merajut_assets.lineage.proof import Proof, prove
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.steps import PrivacyStep

CHILDREN = "protected/academia/research_child"  # rows about persons
GIVING = "protected/media/campaign_giving"  # figures about groups
REACH = "protected/media/campaign_reach"  # about nobody
COUNTS = "statistics/media/child_count_by_province"
RESEARCH = "mart/academia/research_dataset"
CAMPAIGNS = "mart/media/campaign_metrics"
RELEASE = "2026-10"

NAME = ColumnRef("source/panti/children", "full_name")
TEXT = ColumnRef("source/panti/case_notes", "note")
BORN = ColumnRef("source/panti/children", "birth_date")
ABUSE = ColumnRef("source/panti/children", "abuse_type")
CLICKS = ColumnRef("source/media/interactions", "clicks")
CLASSES = {
    NAME: PrivacyClass.DIRECT_IDENTIFIER,
    TEXT: PrivacyClass.FREE_TEXT,
    BORN: PrivacyClass.QUASI_IDENTIFIER,
    ABUSE: PrivacyClass.SENSITIVE,
    CLICKS: PrivacyClass.OPERATIONAL,
}
STEPS = PrivacyStep


def column(text: str) -> ColumnRef:
    return ColumnRef.parse(text)


def edge(origin: ColumnRef, target: ColumnRef, step: PrivacyStep | None = None, how: How = How.IDENTITY) -> Edge:
    decides = how in (How.FILTER, How.JOIN, How.GROUP, How.ORDER, How.DISTINCT, How.ROWS)
    return Edge(origin, target, Kind.INDIRECT if decides else Kind.DIRECT, how, step)


def graph_of(*edges: Edge) -> LineageGraph:
    return LineageGraph.of(edges, [Node(ref, privacy) for ref, privacy in CLASSES.items()])


def proof_of(*edges: Edge, row_level: tuple[str, ...] = (RESEARCH,), evidence: Evidence | None = None) -> Proof:
    """The proof of the columns of marts in a graph."""
    graph = graph_of(*edges)
    targets = [ref for ref in graph.nodes if ref.asset.startswith(("mart/", "published/"))]
    return prove(graph, targets, stakeholder_policies(), row_level=row_level, evidence=evidence)


def through(origin: ColumnRef, dataset: str, step: PrivacyStep | None, mart: str, how: How = How.IDENTITY) -> Proof:
    """The proof of one path: source, conformed, a dataset's column (`asset.column`), a mart."""
    conformed, released = column("conformed/child.value"), column(dataset)
    rest = edge(released, ColumnRef(mart, "value"))
    # A mart's value comes from somewhere also where the path only decides about rows.
    known = edge(CLICKS, released)
    return proof_of(edge(origin, conformed), edge(conformed, released, step, how), known, rest)


# ── what a step is good for ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("origin", "dataset", "step", "mart", "how"),
    [
        (NAME, f"{CHILDREN}.child_pseudonym", STEPS.PSEUDONYMISE, RESEARCH, How.EXPRESSION),
        (BORN, f"{CHILDREN}.age_band", STEPS.GENERALISE, RESEARCH, How.EXPRESSION),
        (ABUSE, f"{CHILDREN}.abuse_type", STEPS.GENERALISE, RESEARCH, How.IDENTITY),
        (NAME, f"{CHILDREN}.age_band", STEPS.GENERALISE, RESEARCH, How.JOIN),
        (ABUSE, f"{GIVING}.amount", STEPS.DISCLOSURE_CONTROL, CAMPAIGNS, How.AGGREGATE),
        (NAME, f"{GIVING}.donors", STEPS.DISCLOSURE_CONTROL, CAMPAIGNS, How.COUNT),
        (BORN, f"{COUNTS}.value", STEPS.DP_RELEASE, CAMPAIGNS, How.COUNT),
        (TEXT, f"{COUNTS}.value", STEPS.DP_RELEASE, CAMPAIGNS, How.COUNT),
        (NAME, f"{REACH}.clicks", STEPS.DROP, CAMPAIGNS, How.ROWS),
        (CLICKS, f"{REACH}.clicks", None, CAMPAIGNS, How.IDENTITY),
    ],
)
def test_a_step_that_the_policy_applies_protects(origin, dataset, step, mart, how) -> None:
    """A proof that refuses what is right would be switched off."""
    proof = through(origin, dataset, step, mart, how)
    assert proof.holds, proof.faults
    assert len(proof.steps) == (step is not None)


@pytest.mark.parametrize(
    ("origin", "dataset", "step", "mart", "how", "because"),
    [
        # No step at all.
        (BORN, f"{CHILDREN}.age_band", None, RESEARCH, How.IDENTITY, "value of a quasi identifier without a step"),
        # A name is not made safe by being one of the generalised columns, nor by standing in a large group.
        (NAME, f"{CHILDREN}.sex", STEPS.GENERALISE, RESEARCH, How.IDENTITY, "value of a direct identifier"),
        (NAME, f"{GIVING}.campaign_name", STEPS.DISCLOSURE_CONTROL, CAMPAIGNS, How.AGGREGATE, "direct identifier"),
        # A pseudonym is the dataset's one key: any other column with a keyed token is not watched by anything.
        (NAME, f"{CHILDREN}.sex", STEPS.PSEUDONYMISE, RESEARCH, How.IDENTITY, "value of a direct identifier"),
        # The policy names no hierarchy for the column, so that no verifier measured it.
        (BORN, f"{CHILDREN}.birth_day", STEPS.GENERALISE, RESEARCH, How.IDENTITY, "value of a quasi identifier"),
        (ABUSE, f"{CHILDREN}.child_pseudonym", STEPS.GENERALISE, RESEARCH, How.IDENTITY, "value of a sensitive"),
        # Free text leaves in no form.
        (TEXT, f"{CHILDREN}.abuse_type", STEPS.GENERALISE, RESEARCH, How.EXPRESSION, "value of a free text"),
        (TEXT, f"{COUNTS}.value", STEPS.DP_RELEASE, CAMPAIGNS, How.AGGREGATE, "value of a free text"),
        (TEXT, f"{GIVING}.gifts", STEPS.DISCLOSURE_CONTROL, CAMPAIGNS, How.COUNT, "influence of a free text"),
        # That rows about persons are dropped says nothing of a value that is taken over.
        (BORN, f"{REACH}.month", STEPS.DROP, CAMPAIGNS, How.EXPRESSION, "value of a quasi identifier"),
        # A step that the dataset's kind does not have.
        (BORN, f"{GIVING}.amount", STEPS.GENERALISE, CAMPAIGNS, How.AGGREGATE, "value of a quasi identifier"),
        (BORN, f"{REACH}.clicks", STEPS.DP_RELEASE, CAMPAIGNS, How.COUNT, "influence of a quasi identifier"),
        # No dataset of any policy.
        (BORN, "protected/media/children.age", STEPS.GENERALISE, CAMPAIGNS, How.IDENTITY, "value of a quasi"),
        (BORN, "statistics/media/ages.value", STEPS.DP_RELEASE, CAMPAIGNS, How.COUNT, "influence of a quasi"),
        (BORN, "protected/nobody/children.age", STEPS.GENERALISE, CAMPAIGNS, How.IDENTITY, "value of a quasi"),
        # Protected, but for somebody else.
        (BORN, f"{CHILDREN}.age_band", STEPS.GENERALISE, CAMPAIGNS, How.IDENTITY, "for somebody else"),
        # Persons by pseudonym in a mart about groups.
        (NAME, f"{CHILDREN}.child_pseudonym", STEPS.PSEUDONYMISE, "mart/academia/groups", How.IDENTITY, "pseudonym in"),
    ],
)
def test_a_step_that_is_none_here_leaves_the_path_open(origin, dataset, step, mart, how, because) -> None:
    """Each is a way in which a name or a birth date would go out under the word of a step."""
    proof = through(origin, dataset, step, mart, how)
    assert not proof.holds
    assert proof.offending_paths == 1
    (offence,) = proof.offences
    assert because in offence.reason
    assert [str(ref) for ref in offence.columns] == [str(origin), "conformed/child.value", dataset, f"{mart}.value"]


def test_a_step_of_the_landing_protects_nobody() -> None:
    """Tokens are the same for all stakeholders, who could put their files together by them."""
    token, released, mart = column("conformed/child.child_token"), column(f"{REACH}.clicks"), column(f"{CAMPAIGNS}.x")
    proof = proof_of(edge(NAME, token, STEPS.PSEUDONYMISE), edge(token, released), edge(released, mart))
    assert [offence.origin for offence in proof.offences] == [NAME]


def test_a_column_that_is_declared_personal_is_so_whatever_it_comes_from() -> None:
    """A diagnosis worked out of harmless measures is a diagnosis."""
    derived = Node(column("conformed/health_record.diagnosis"), PrivacyClass.SENSITIVE)
    edges = [edge(CLICKS, derived.ref), edge(derived.ref, column(f"{REACH}.clicks"))]
    edges.append(edge(column(f"{REACH}.clicks"), column(f"{CAMPAIGNS}.clicks")))
    graph = LineageGraph.of(edges, [Node(CLICKS, PrivacyClass.OPERATIONAL), derived])
    proof = prove(graph, [column(f"{CAMPAIGNS}.clicks")], stakeholder_policies())
    assert [(offence.origin, offence.privacy) for offence in proof.offences] == [(derived.ref, PrivacyClass.SENSITIVE)]


@pytest.mark.parametrize(
    ("how", "step", "mart", "holds"),
    [
        (How.COUNT, STEPS.DISCLOSURE_CONTROL, "mart/academia/groups", True),
        (How.COUNT, None, "mart/academia/groups", False),
        (How.COUNT, None, RESEARCH, True),
        (How.GROUP, None, "mart/academia/groups", False),
        (How.DISTINCT, STEPS.DISCLOSURE_CONTROL, "mart/academia/groups", True),
        (How.JOIN, None, "mart/academia/groups", True),
        (How.EXPRESSION, STEPS.DISCLOSURE_CONTROL, "mart/academia/groups", False),
        (How.AGGREGATE, STEPS.DISCLOSURE_CONTROL, "mart/academia/groups", False),
        (How.WINDOW, None, "mart/academia/groups", False),
        (How.CONDITIONAL, None, "mart/academia/groups", False),
    ],
)
def test_a_pseudonym_is_counted_with_small_counts_withheld_or_stays_in_rows(how, step, mart, holds) -> None:
    """The smallest pseudonym of a group is a pseudonym; a row per pseudonym is a row per child."""
    pseudonym, age = column(f"{CHILDREN}.child_pseudonym"), column(f"{CHILDREN}.age_band")
    between = column("warehouse/groups.children")
    proof = proof_of(
        edge(NAME, pseudonym, STEPS.PSEUDONYMISE),
        edge(BORN, age, STEPS.GENERALISE),
        edge(pseudonym, between, None, how),
        edge(age, between),
        edge(between, ColumnRef(mart, "children"), step, How.COUNT if step else How.IDENTITY),
    )
    # What a mart does is told of the way into it; counting twice is counting.
    if how in (How.EXPRESSION, How.AGGREGATE):
        direct = proof_of(
            edge(NAME, pseudonym, STEPS.PSEUDONYMISE), edge(pseudonym, ColumnRef(mart, "children"), step, how)
        )
        assert direct.holds is holds
    else:
        assert proof.holds is holds


def test_a_published_column_is_judged_as_that_of_its_mart() -> None:
    """A file that is row-level in one mart is not so in another."""
    pseudonym, mart = column(f"{CHILDREN}.child_pseudonym"), column(f"{RESEARCH}.child")
    first = [edge(NAME, pseudonym, STEPS.PSEUDONYMISE), edge(pseudonym, mart)]
    assert proof_of(*first, edge(mart, ColumnRef("published/academia", "research_dataset.child"))).holds
    leaked = proof_of(*first, edge(mart, ColumnRef("published/academia", "groups.child")))
    assert [offence.target.column for offence in leaked.offences] == ["groups.child"]
    foreign = proof_of(*first, edge(mart, ColumnRef("published/media", "research_dataset.child")))
    assert "for somebody else" in foreign.offences[0].reason


# ── what nobody knows ────────────────────────────────────────────────────────────────────


def test_a_column_without_lineage_fails() -> None:
    """What cannot be followed could be anything: of the mart, of what it comes from, or of an asset that is not in
    the graph at all."""
    between, mart = column("warehouse/loose.x"), column(f"{CAMPAIGNS}.x")
    (loose,) = proof_of(edge(between, mart)).unknown
    assert loose.columns == (between, mart)
    missing = column("mart/media/unheard_of.x")
    proof = prove(graph_of(), [missing], stakeholder_policies())
    assert [one.columns for one in proof.unknown] == [(missing,)]
    assert "mart/media/unheard_of.x: where it comes from is not known" in proof.faults


def test_rows_explain_no_value() -> None:
    """A column whose value nobody followed is not known because its rows are filtered by a known one."""
    mart = column(f"{CAMPAIGNS}.x")
    assert [one.origin for one in proof_of(edge(CLICKS, mart, how=How.FILTER)).unknown] == [mart]


def test_a_declared_constant_is_known() -> None:
    constant = Node(column(f"{CAMPAIGNS}.topic"), is_constant=True)
    graph = LineageGraph.of([], [constant])
    assert prove(graph, [constant.ref], stakeholder_policies()).holds


def test_an_unclassified_source_column_fails() -> None:
    """Nobody has looked at it."""
    stray, mart = column("source/panti/children.new_column"), column(f"{CAMPAIGNS}.x")
    assert [one.columns for one in proof_of(edge(stray, mart)).unknown] == [(stray, mart)]


# ── paths ────────────────────────────────────────────────────────────────────────────────


def test_offending_paths_are_shown_shortest_first_and_counted_exactly() -> None:
    """Of a leak by two roads somebody closes the one that is shown; the number says that there is another."""
    between, mart = column("warehouse/a.x"), column(f"{CAMPAIGNS}.x")
    proof = proof_of(edge(BORN, between), edge(between, mart), edge(BORN, mart), edge(BORN, mart, how=How.FILTER))
    assert [len(offence.path) for offence in proof.offences] == [1, 1, 2]
    assert proof.offending_paths == proof.paths == 3


def test_more_paths_than_anybody_could_walk() -> None:
    """Seventy diamonds in a row have more paths than a computer counts one by one; they are counted all the same, and
    the shortest of them shown at once."""
    stops = [BORN, *(column(f"warehouse/m{number}.x") for number in range(70)), column(f"{CAMPAIGNS}.x")]
    edges = [
        Edge(origin, target, kind, how)
        for origin, target in pairwise(stops)
        for kind, how in ((Kind.DIRECT, How.IDENTITY), (Kind.DIRECT, How.CONDITIONAL))
    ]
    proof = proof_of(*edges)
    assert proof.offending_paths == 2**71
    assert len(proof.offences) == 20
    assert {len(offence.path) for offence in proof.offences} == {71}
    assert len(set(proof.offences)) == 20
    assert f"and {2**71 - 20:,} more paths" in proof.faults


def test_the_proof_is_said_in_one_line_and_in_json() -> None:
    proof = through(BORN, f"{CHILDREN}.age_band", STEPS.GENERALISE, RESEARCH)
    assert str(proof) == "proved: 1 columns, 1 paths, 1 privacy steps (structure only, no release)"
    facts = json.loads(json.dumps(proof.as_facts()))
    assert facts["holds"] is True
    assert facts["steps"] == [{"asset": CHILDREN, "step": "generalise", "paths": "1"}]
    leak = json.loads(json.dumps(through(BORN, f"{CHILDREN}.age_band", None, RESEARCH).as_facts()))
    assert leak["offences"][0]["path"][-1]["to"] == f"{RESEARCH}.value"
    assert leak["holds"] is False


LAYERS = ("conformed/a", "conformed/b", CHILDREN, GIVING, "warehouse/a", "warehouse/b", CAMPAIGNS, RESEARCH)
COLUMNS = ("sex", "child_pseudonym", "amount")


@st.composite
def small_graphs(draw: st.DrawFn) -> LineageGraph:
    refs = [NAME, BORN, *(ColumnRef(asset, name) for asset in LAYERS for name in COLUMNS)]
    edges = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(refs) - 1),
                st.integers(2, len(refs) - 1),
                st.sampled_from(How),
                st.sampled_from([None, *PrivacyStep]),
            ),
            max_size=25,
        )
    )
    return graph_of(*(edge(refs[a], refs[b], step, how) for a, b, how, step in edges if LAYER[a] < LAYER[b]))


LAYER = [0, 0, *(number for number in range(1, 1 + len(LAYERS)) for _ in COLUMNS)]


@given(small_graphs())
def test_the_walk_finds_what_walking_every_single_path_finds(graph) -> None:
    """The shortcut over burdens must be the same proof as the one that looks at each path by itself."""
    from merajut_assets.lineage.proof import mart_of
    from merajut_assets.lineage.protection import begun, carried_over, is_allowed_to_leave

    policies = stakeholder_policies()
    targets = [ref for ref in graph.nodes if ref.asset.startswith("mart/")]
    walked = offending = 0
    lengths = []
    for target in targets:
        for path in graph.paths(target, [NAME, BORN]):
            burden = begun(CLASSES[path[0].origin])
            for step in path:
                burden = carried_over(burden, step, policies)
            walked += 1
            if not is_allowed_to_leave(burden, target, mart_of(target) == RESEARCH):
                offending += 1
                lengths.append(len(path))
    proof = prove(graph, targets, policies, row_level=[RESEARCH], shown=10_000)
    assert (proof.paths, proof.offending_paths) == (walked, offending)
    assert [len(offence.path) for offence in proof.offences] == sorted(lengths)


# ── evidence ─────────────────────────────────────────────────────────────────────────────


def verified(*verifications: Verification, stored: int = 3, fault: str | None = None) -> Proof:
    edges = [edge(BORN, column(f"{CHILDREN}.age_band"), STEPS.GENERALISE)]
    edges.append(edge(column(f"{CHILDREN}.age_band"), column(f"{RESEARCH}.age_band")))
    return proof_of(*edges, evidence=Evidence(RELEASE, {CHILDREN: stored}, verifications, fault))


def passed(version: int, passed: bool = True, release: str = RELEASE, table: str = CHILDREN) -> Verification:
    return Verification(table, release, version, passed)


def test_a_passed_check_of_the_stored_version_is_demanded() -> None:
    assert verified(passed(3)).holds
    assert verified(passed(2), passed(3, False), passed(3)).holds, "the last check of a version counts"


@pytest.mark.parametrize(
    ("verifications", "because"),
    [
        ((), "no privacy check of release 2026-10 is in the audit log"),
        ((passed(2),), "version 3 is stored, and the privacy check saw version 2"),
        ((passed(3, False),), "its privacy check failed on version 3"),
        ((passed(3), passed(3, False)), "its privacy check failed on version 3"),
        ((passed(3, release="2026-09"),), "no privacy check of release 2026-10"),
        ((passed(3, table=GIVING),), "no privacy check of release 2026-10"),
    ],
)
def test_other_evidence_is_none(verifications, because) -> None:
    """A check of last month's rows, or of those before an erasure, says nothing about these."""
    proof = verified(*verifications)
    assert not proof.holds
    assert because in proof.unverified[CHILDREN]
    assert any(because in fault for fault in proof.faults)
    assert "1 datasets without evidence" in str(proof)


def test_nothing_in_a_broken_log_is_believed() -> None:
    assert "edited" in verified(passed(3), fault="the audit log was edited").unverified[CHILDREN]


def test_a_dataset_that_is_not_stored_is_not_verified() -> None:
    edges = [edge(BORN, column(f"{CHILDREN}.age_band"), STEPS.GENERALISE)]
    edges.append(edge(column(f"{CHILDREN}.age_band"), column(f"{RESEARCH}.age_band")))
    proof = proof_of(*edges, evidence=Evidence(RELEASE, {}))
    assert "nothing of release 2026-10 is stored" in proof.unverified[CHILDREN]
