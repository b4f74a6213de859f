"""The picture: everything on the sheet, nothing over the edge, sensitivity in colour, shape and words."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage import render
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageError, LineageGraph, Node
from merajut_assets.lineage.impact import impact_of
from merajut_assets.lineage.labels import labels_of
from merajut_assets.lineage.picture import LAYERS, picture_of
from merajut_assets.marts.project import load_labels, load_manifest, tables
from merajut_assets.marts.proof import leaving_columns, whole_graph
from merajut_assets.privacy.steps import PrivacyStep

SVG = "{http://www.w3.org/2000/svg}"
MART = "mart/media/campaign_metrics"


@pytest.fixture(scope="module")
def graph(manifest_path) -> LineageGraph:
    return whole_graph(manifest_path)


@pytest.fixture(scope="module")
def labels(graph) -> dict[ColumnRef, PrivacyClass]:
    return labels_of(graph)


def boxes_of(picture: str) -> list[tuple[float, float, float, float]]:
    """x, y, width and height of the boxes of assets."""
    found = [one for one in ET.fromstring(picture).iter(f"{SVG}rect") if one.get("rx") == "4"]
    return [tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height")) for one in found]  # type: ignore[misc]


# ── the picture ──────────────────────────────────────────────────────────────────────────


def test_every_mart_has_a_legible_picture(graph, labels, manifest_path) -> None:
    """What runs over the edge of the sheet or over another box cannot be read; smaller than 7 pt neither."""
    for mart in leaving_columns(load_manifest(manifest_path)):
        picture = render.svg(graph, mart, labels)
        root = ET.fromstring(picture)
        assert (root.get("width"), root.get("height")) == ("297mm", "210mm")
        smallest = min(float(size) for size in re.findall(r'font-size="([\d.]+)"', picture))
        assert smallest * 297 / render.WIDTH / 25.4 * 72 >= 7
        boxes = boxes_of(picture)
        assert all(x >= 0 and x + width <= render.WIDTH for x, _, width, _ in boxes), mart
        assert all(y >= 80 and y + height <= render.HEIGHT - 70 for _, y, _, height in boxes), mart
        by_layer: dict[float, list[tuple[float, float]]] = {}
        for x, y, _, height in boxes:
            by_layer.setdefault(x, []).append((y, height))
        for column in by_layer.values():
            assert all(y + height <= below for (y, height), (below, _) in pairwise(sorted(column))), mart


def test_the_mart_itself_is_told_whole(graph, labels, manifest_path) -> None:
    """`compliance_report…` with some of its columns is not what somebody asked for; upstream tables may be folded."""
    for mart in leaving_columns(load_manifest(manifest_path)):
        root = ET.fromstring(render.svg(graph, mart, labels))
        texts = [one for one in root.iter(f"{SVG}text") if one.text]
        x = max(float(one.attrib["x"]) for one in texts if one.get("font-weight") == "bold")
        own = [one for one in texts if float(one.attrib["x"]) == x]
        name = "".join(one.text or "" for one in own if one.get("font-weight") == "bold")
        assert name == mart.removeprefix("mart/")
        assert {ref.column for ref in graph.assets[mart]} <= {one.text for one in own}, mart
        named = "".join(one.text or "" for one in texts if one.get("font-weight") == "bold")
        assert all(asset.partition("/")[2] in named for asset in _shown(graph, mart)), "no table's name is cut"


def _shown(graph: LineageGraph, mart: str) -> set[str]:
    ends = graph.assets[mart]
    return {ref.asset for ref in graph.upstream(*ends) if not ref.asset.startswith(("source/", "raw/"))}


@pytest.mark.parametrize("asset", ["quarantine/panti", "warehouse/released", "contributors/government/staff_summary"])
def test_what_is_kept_beside_the_way_has_a_picture(graph, labels, asset: str) -> None:
    picture = render.svg(graph, asset, labels)
    words = {text.text for text in ET.fromstring(picture).iter(f"{SVG}text")}
    height = float(ET.fromstring(picture).attrib["viewBox"].split()[3])
    boxes = boxes_of(picture)
    assert all(x + width <= render.WIDTH and y + high <= height - 70 for x, y, width, high in boxes)
    assert words & {"Quarantine", "Given out", "Kept beside"}
    assert "subgraph" in render.mermaid(graph, asset, labels)


def test_the_picture_goes_from_the_sources_to_the_mart_by_layers(graph, labels) -> None:
    picture = render.svg(graph, MART, labels)
    words = " ".join(text.text or "" for text in ET.fromstring(picture).iter(f"{SVG}text"))
    for layer in ("Source", "Raw", "Conformed", "Protected", "Warehouse", "Mart"):
        assert layer in words
    assert "media/campaign_giving" in words
    assert "disclosure control" in words
    assert all(privacy.replace("_", " ") in words for privacy in PrivacyClass), "the legend says it in words"


def test_no_two_classes_look_alike() -> None:
    """By colour or by shape alone, one in twelve men would take a name for a count."""
    assert set(render.STYLES) == set(PrivacyClass)
    assert len({style.colour for style in render.STYLES.values()}) == len(PrivacyClass)
    assert len({style.square for style in render.STYLES.values()}) == len(PrivacyClass)
    assert len({style.shape for style in render.STYLES.values()}) == len(PrivacyClass)


def test_columns_without_room_are_counted() -> None:
    """A picture that silently leaves columns out is a wrong answer."""
    mart = "mart/media/wide"
    edges = [
        Edge(ColumnRef("warehouse/w", f"c{number}"), ColumnRef(mart, f"c{number}"), Kind.DIRECT, How.IDENTITY)
        for number in range(100)
    ]
    strict = ColumnRef("warehouse/w", "c77")
    graph = LineageGraph.of(edges, [Node(strict, PrivacyClass.SENSITIVE)])
    picture = picture_of(graph, mart, labels_of(graph), rows_per_layer=20)
    (box,) = picture.layers[LAYERS["warehouse"]]
    assert len(box.rows) + box.folded == 100
    assert box.rows[0].name == "c77", "the strictest is shown first"
    drawn = render.svg(graph, mart, labels_of(graph))
    assert re.search(r"and \d+ more", drawn)


def test_what_is_shown_is_escaped() -> None:
    """A column's name is an analyst's text; in a page for compliance staff it must stay one."""
    ref = ColumnRef("mart/media/leak", "<script>alert(1)</script>")
    graph = LineageGraph.of([], [Node(ref, is_constant=True)])
    assert "<script>" not in render.svg(graph, "mart/media/leak", labels_of(graph), findings=["<b>proved</b>"])


def test_an_unknown_asset_is_named(graph, labels) -> None:
    for form in (render.svg, render.mermaid, render.as_json):
        with pytest.raises(LineageError, match="there is no asset mart/media/nothing"):
            form(graph, "mart/media/nothing", labels)


def test_mermaid_and_json_tell_the_same(graph, labels) -> None:
    chart = render.mermaid(graph, MART, labels)
    assert chart.startswith("flowchart LR")
    assert chart.count("subgraph") == chart.count("\n  end")
    facts = json.loads(render.as_json(graph, MART, labels))
    assert {edge["to"] for edge in facts["edges"]} <= {column["column"] for column in facts["columns"]}
    assert {str(ref) for ref in graph.upstream(*graph.assets[MART])} <= {one["column"] for one in facts["columns"]}


# ── labels ───────────────────────────────────────────────────────────────────────────────


def test_labels_flow_by_values_and_not_by_rows() -> None:
    a, b, c, d, e = (ColumnRef("warehouse/m", name) for name in "abcde")
    source, other = ColumnRef("protected/x/y", "abuse"), ColumnRef("protected/x/y", "sex")
    graph = LineageGraph.of(
        [
            Edge(source, a, Kind.DIRECT, How.CONDITIONAL),
            Edge(other, a, Kind.DIRECT, How.IDENTITY),
            Edge(source, b, Kind.INDIRECT, How.FILTER),
            Edge(other, b, Kind.DIRECT, How.IDENTITY),
            Edge(source, c, Kind.DIRECT, How.COUNT),
            Edge(source, d, Kind.DIRECT, How.AGGREGATE, PrivacyStep.DISCLOSURE_CONTROL),
        ],
        [
            Node(source, PrivacyClass.SENSITIVE),
            Node(other, PrivacyClass.QUASI_IDENTIFIER),
            Node(e, is_constant=True),
        ],
    )
    labels = labels_of(graph)
    assert labels[a] is PrivacyClass.SENSITIVE
    assert labels[b] is PrivacyClass.QUASI_IDENTIFIER
    assert labels[c] is labels[d] is PrivacyClass.OPERATIONAL
    assert labels[e] is PrivacyClass.PUBLIC


def test_labels_of_marts_are_those_of_the_whole_graph(graph, labels, manifest_path) -> None:
    """They are computed without the Python steps, from what the contracts have written into dbt's sources."""
    prepared = load_labels(manifest_path)
    assert prepared.keys() >= set(leaving_columns(load_manifest(manifest_path)))
    for asset, columns in prepared.items():
        assert columns == {ref.column: labels[ref].value for ref in graph.assets[asset]}, asset


def test_the_documentation_of_dbt_says_the_same(manifest_path) -> None:
    """An analyst reads dbt's pages, where a column without a class looks like a harmless one, and a wrong class like
    the right one. What dbt's manifest says of a column is what these pages show."""
    prepared = load_labels(manifest_path)
    wrong = []
    for node in tables(load_manifest(manifest_path)):
        asset = "/".join(("mart", *node["fqn"][2:])) if node["fqn"][1] == "mart" else f"warehouse/{node['name']}"
        labels = prepared[asset]
        strictest = PrivacyClass.strictest(map(PrivacyClass, labels.values()))
        if node["config"]["meta"]["sensitivity"] != strictest:
            wrong.append(f"{node['name']}: config.meta.sensitivity is to be {strictest}")
        for name, column in node["columns"].items():
            if column["config"]["meta"].get("privacy") != labels[name]:
                wrong.append(f"{node['name']}.{name}: run `make docs`, which writes {labels[name]}")
    assert wrong == []


# ── what a change reaches ────────────────────────────────────────────────────────────────


def test_impact_tells_values_from_rows(graph) -> None:
    found = impact_of(graph, ColumnRef.parse("raw/panti/children.birth_date"))
    assert ColumnRef("mart/academia/research_dataset", "age_band") in found.by_value
    assert ColumnRef("published/academia", "research_dataset.age_band") in found.by_value
    assert ColumnRef("mart/academia/research_dataset", "abuse_type") in found.by_rows
    assert not set(found.by_value) & set(found.by_rows)
    assert "mart/academia/research_dataset" in found.marts
    assert "published/government" in found.published
    assert [table.identifier for table in found.tables] == ["panti.children"]
    assert [subject.value for subject in found.subjects] == ["child"]


def test_behind_a_figure_stand_those_whose_rows_it_is_computed_from(graph) -> None:
    """Not everybody who decides about its rows: those would be all people there are."""
    found = impact_of(graph, ColumnRef.parse("mart/media/campaign_metrics.campaign_amount"))
    assert {table.identifier for table in found.tables} == {"donations.gifts", "npsp.opportunity"}
    assert [subject.value for subject in found.subjects] == ["donor"]
    assert not impact_of(graph, ColumnRef.parse("mart/media/campaign_metrics.clicks")).tables


def test_impact_of_something_unknown_is_refused(graph) -> None:
    with pytest.raises(LineageError, match="no asset has a column"):
        impact_of(graph, ColumnRef.parse("raw/panti/children.shoe_size"))
