"""The graph itself: closures, paths and how it is written down, on graphs small enough to look at."""

from __future__ import annotations

from itertools import islice, pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageError, LineageGraph, Node
from merajut_assets.privacy.steps import PrivacyStep


def ref(name: str) -> ColumnRef:
    return ColumnRef(f"layer/{name[0]}", name)


def edge(origin: str, target: str, kind: Kind = Kind.DIRECT, step: PrivacyStep | None = None) -> Edge:
    return Edge(ref(origin), ref(target), kind, How.IDENTITY, step)


DIAMOND = LineageGraph.of(
    [
        edge("a", "b"),
        edge("a", "c", Kind.INDIRECT),
        edge("b", "d"),
        edge("c", "d", step=PrivacyStep.DROP),
        edge("a", "d"),
    ],
    [Node(ref("a"), PrivacyClass.SENSITIVE), Node(ref("e"), is_constant=True)],
)


@st.composite
def graphs(draw: st.DrawFn) -> LineageGraph:
    """Graphs of up to nine columns, in which an edge only leads to a later one."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda p: p[0] < p[1]), max_size=20))
    kinds = draw(st.lists(st.sampled_from(Kind), min_size=20, max_size=20))
    names = "abcdefghi"
    return LineageGraph.of(
        [edge(names[a], names[b], kind) for (a, b), kind in zip(pairs, kinds, strict=False)],
        [Node(ref(n)) for n in names],
    )


def test_closures_follow_the_kinds_asked_for() -> None:
    assert DIAMOND.upstream(ref("d")) == {ref("a"), ref("b"), ref("c")}
    assert DIAMOND.downstream(ref("a"), kinds=[Kind.INDIRECT]) == {ref("c")}
    assert DIAMOND.upstream(ref("c"), kinds=[Kind.DIRECT]) == frozenset()


def test_a_column_that_nobody_has_is_refused_by_name() -> None:
    with pytest.raises(LineageError, match=r"no asset has a column layer/x\.xx"):
        DIAMOND.upstream(ref("xx"))


def test_a_circle_is_refused() -> None:
    """Paths would have no end, and the proof by dynamic programming no beginning."""
    with pytest.raises(LineageError, match="circle"):
        LineageGraph.of([edge("a", "b"), edge("b", "a")])


def test_paths_are_complete_and_shortest_first() -> None:
    found = list(DIAMOND.paths(ref("d")))
    assert [len(path) for path in found] == [1, 2, 2]
    assert all(path[0].origin == ref("a") and path[-1].target == ref("d") for path in found)
    assert list(DIAMOND.paths(ref("d"), [ref("c")])) == [(edge("c", "d", step=PrivacyStep.DROP),)]


@settings(deadline=None)
@given(graphs())
def test_paths_are_counted_as_they_are_listed(graph: LineageGraph) -> None:
    """The proof counts billions of paths that nobody can list; on small graphs both must agree."""
    counts = graph.path_counts()
    for target in graph.nodes:
        paths = list(graph.paths(target))
        assert len(paths) == len(set(paths)) == counts[target]
        assert [len(path) for path in paths] == sorted(len(path) for path in paths)
        assert all(first.target == second.origin for path in paths for first, second in pairwise(path))


def test_the_shortest_of_very_many_paths_come_at_once() -> None:
    """Forty layers of two columns have 2^40 paths."""
    names = [[ColumnRef(f"layer/{layer}", side) for side in "ab"] for layer in range(41)]
    edges = [
        Edge(origin, target, Kind.DIRECT, How.IDENTITY)
        for earlier, later in pairwise(names)
        for origin in earlier
        for target in later
    ]
    graph = LineageGraph.of(edges)
    assert len(list(islice(graph.paths(names[40][0]), 100))) == 100
    assert graph.path_counts()[names[40][0]] == 2**40


@settings(deadline=None)
@given(graphs())
def test_what_is_written_down_is_read_back(graph: LineageGraph) -> None:
    assert LineageGraph.from_frame(graph.to_frame()) == graph
    assert LineageGraph.from_json(graph.to_json()) == graph


def test_steps_classes_and_lonely_columns_are_written_down_too() -> None:
    again = LineageGraph.from_json(DIAMOND.to_json())
    assert again == DIAMOND
    assert again.node(ref("a")).privacy is PrivacyClass.SENSITIVE
    assert again.node(ref("e")).is_constant


@pytest.mark.parametrize(
    "frame", [pl.DataFrame({"x": [1]}), DIAMOND.to_frame().with_columns(pl.lit("??").alias("kind"))]
)
def test_what_is_no_lineage_is_refused(frame: pl.DataFrame) -> None:
    with pytest.raises(LineageError, match="not a lineage"):
        LineageGraph.from_frame(frame)


def test_of_two_graphs_what_one_knows_is_known() -> None:
    """The dbt graph names protected columns without knowing their class."""
    both = DIAMOND | LineageGraph.of([edge("d", "f")], [Node(ref("f"), PrivacyClass.PUBLIC)])
    assert both.node(ref("a")).privacy is PrivacyClass.SENSITIVE
    assert both == LineageGraph.of([edge("d", "f")], [Node(ref("f"), PrivacyClass.PUBLIC)]) | DIAMOND
    assert ref("a") in both.upstream(ref("f"))


@pytest.mark.parametrize(
    ("text", "asset", "column"),
    [
        ("raw/panti/children.birth_date", "raw/panti/children", "birth_date"),
        ("published/media.campaign_metrics.clicks", "published/media", "campaign_metrics.clicks"),
    ],
)
def test_columns_are_written_as_they_are_read(text: str, asset: str, column: str) -> None:
    assert ColumnRef.parse(text) == ColumnRef(asset, column)
    assert str(ColumnRef(asset, column)) == text


def test_text_that_names_no_column_is_refused() -> None:
    with pytest.raises(LineageError, match="write it as"):
        ColumnRef.parse("raw/panti/children")
