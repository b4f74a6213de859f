"""What a catalogue is told is true to the graph, is what the published schema says, and tells about nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from openlineage.client.event_v2 import RunState
from openlineage.client.serde import Serde

from merajut_assets.automation.lineage_events import RunTeller
from merajut_assets.definitions import build_defs
from merajut_assets.lineage.events import RunOfJob, Speaker, Table, TableColumn, namespace_of
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph
from merajut_assets.marts.project import asset_path, load_manifest, tables
from merajut_assets.marts.proof import whole_graph
from merajut_assets.privacy.steps import PrivacyStep
from tests.lineage.openlineage_schema import violations

MOMENT = datetime(2026, 11, 1, 4, 0, tzinfo=UTC)
RUN = RunOfJob(
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "release",
    "Dagster",
    "1.13.27",
    (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
)
CHILD = Table(
    "conformed/child", "Children.", ("team:care",), "sensitive", (TableColumn("sex", "text", "Sex", "sensitive"),)
)
MART = Table("mart/media/children", "Figures.", ("team:media",), "public", (TableColumn("children", "integer"),))


def edge(origin: str, target: str, how: How, kind: Kind = Kind.DIRECT, step: PrivacyStep | None = None) -> Edge:
    return Edge(
        ColumnRef.parse(f"conformed/child.{origin}"), ColumnRef.parse(f"mart/media/children.{target}"), kind, how, step
    )


GRAPH = LineageGraph.of(
    [
        edge("sex", "sex", How.IDENTITY, step=PrivacyStep.GENERALISE),
        edge("child_token", "children", How.COUNT),
        edge("sex", "sex", How.GROUP, Kind.INDIRECT),
        edge("sex", "children", How.GROUP, Kind.INDIRECT),
        edge("entered_on", "children", How.FILTER, Kind.INDIRECT),
    ]
)


def told(state: RunState = RunState.COMPLETE, error: str | None = None) -> dict[str, Any]:
    event = Speaker(GRAPH, namespace_of("test")).of_table(state, MOMENT, RUN, MART, [CHILD], error)
    return json.loads(Serde.to_json(event))


@pytest.mark.parametrize("state", [RunState.START, RunState.COMPLETE, RunState.FAIL, RunState.ABORT])
def test_every_event_is_as_the_published_schema_says(state: RunState) -> None:
    """A server refuses, or worse drops without a word, what is not."""
    event = told(state, "BudgetExceeded" if state is RunState.FAIL else None)
    assert violations(event) == []
    run = json.loads(Serde.to_json(Speaker(GRAPH, "here").of_run(state, MOMENT, RUN)))
    assert violations(run) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: event.pop("eventTime"),
        lambda event: event.update(eventTime="yesterday"),
        lambda event: event.update(eventType="DONE"),
        lambda event: event["run"].update(runId="run-1"),
        lambda event: event["outputs"][0].pop("namespace"),
        lambda event: event["outputs"][0]["facets"]["columnLineage"].pop("fields"),
        lambda event: event["outputs"][0]["facets"]["columnLineage"]["dataset"][0].pop("field"),
        lambda event: event["outputs"][0]["facets"]["schema"].update(feilds=[]),
        lambda event: event["run"]["facets"]["parent"].pop("_producer"),
        lambda event: event["run"]["facets"]["parent"].update(_producer="somebody"),
        lambda event: event.update(schemaURL="version two"),
        lambda event: event["run"]["facets"]["nominalTime"].update(nominalEndTime=None),
        lambda event: event["outputs"][0]["facets"]["schema"]["fields"][0].update(description=None),
    ],
)
def test_the_schema_finds_what_is_wrong(spoil: Any) -> None:
    """A validation that lets everything pass proves nothing."""
    event = told()
    spoil(event)
    assert violations(event)


def test_columns_come_from_where_the_graph_says() -> None:
    """The catalogue's picture is the second place where somebody looks where a figure comes from."""
    facet = told()["outputs"][0]["facets"]["columnLineage"]
    (origin,) = facet["fields"]["sex"]["inputFields"]
    assert (origin["namespace"], origin["name"], origin["field"]) == ("merajutasa-test", "conformed/child", "sex")
    (made,) = origin["transformations"]
    assert (made["type"], made["subtype"], made["masking"]) == ("DIRECT", "IDENTITY", True)
    counted, filtered = facet["fields"]["children"]["inputFields"]
    assert counted["transformations"][0] | {"description": ""} == {
        "type": "DIRECT",
        "subtype": "AGGREGATION",
        "masking": True,
        "description": "",
    }
    assert (filtered["field"], filtered["transformations"][0]["subtype"]) == ("entered_on", "FILTER")
    # What decides about the rows of all columns stands there once.
    (shared,) = facet["dataset"]
    assert (shared["field"], shared["transformations"][0]["type"]) == ("sex", "INDIRECT")


def test_every_way_of_coming_from_a_column_has_a_word() -> None:
    """A new kind of edge must not be told as something that it is not."""
    for how in How:
        for kind in Kind:
            graph = LineageGraph.of([edge("sex", "children", how, kind)])
            facet = Speaker(graph, "here").column_lineage("mart/media/children")
            assert facet is not None
            fields = [*facet.fields["children"].inputFields, *(facet.dataset or ())]
            assert [one.transformations[0].type for one in fields if one.transformations] == [kind.upper()]
            assert how.value in (fields[0].transformations or ())[0].description  # type: ignore[operator]


def test_an_event_delivered_twice_is_the_same_event() -> None:
    """Delivery is tried again after a failure that may have been none."""
    assert told() == told()
    assert told(RunState.START)["run"]["runId"] == told()["run"]["runId"] != RUN.run_id
    assert told()["run"]["facets"]["parent"]["run"]["runId"] == RUN.run_id


def test_nothing_but_names_types_and_times_is_told() -> None:
    """A catalogue is read by more people than the tables are: counts and texts of errors are not for all of them."""
    failed = told(RunState.FAIL, "BudgetExceeded")
    assert failed["run"]["facets"]["errorMessage"]["message"] == "BudgetExceeded"
    assert "stackTrace" not in failed["run"]["facets"]["errorMessage"]
    for event in (told(), failed):
        for dataset in (*event["inputs"], *event["outputs"]):
            assert set(dataset.get("facets", ())) <= {"schema", "documentation", "ownership", "tags", "columnLineage"}
            assert not dataset.get("inputFacets")
            assert not dataset.get("outputFacets")


def test_an_installation_tells_its_own_tables_from_those_of_another() -> None:
    """Test and production in one catalogue would otherwise overwrite each other."""
    assert namespace_of("test") != namespace_of("production")


def test_events_of_dbt_models_carry_column_lineage() -> None:
    """They are told like those of every other asset, and not by dbt's own reporter, which would name tables by the
    path of a scratch file: in a catalogue the way of a column must not end where SQL begins."""
    graph, manifest = whole_graph(), load_manifest()
    teller = RunTeller(RUN, build_defs().resolve_asset_graph(), Speaker(graph, namespace_of("test")))
    for model in tables(manifest):
        key = dg.AssetKey(asset_path(model))
        event = json.loads(Serde.to_json(teller.event_of(RunState.COMPLETE, MOMENT, key)))
        (output,) = event["outputs"]
        fields = output["facets"]["columnLineage"]["fields"]
        made = {ref.column for ref in graph.assets[output["name"]] if not graph.nodes[ref].is_constant}
        assert made <= set(fields), output["name"]
        named = {origin["name"] for field in fields.values() for origin in field["inputFields"]}
        assert named <= {one["name"] for one in event["inputs"]}, output["name"]
        assert all(name.split("/")[0] in ("protected", "statistics", "warehouse", "mart") for name in named)
        assert "sql" not in event["job"]["facets"], "SQL may quote anything"


@pytest.mark.slow
def test_every_asset_of_the_project_can_be_told() -> None:
    """What is true of a small example breaks on the asset that nobody thought of: with every table, schema and edge
    there is. What stands in the graph and what stands in the catalogue is the same."""
    graph, assets = whole_graph(), build_defs().resolve_asset_graph()
    teller = RunTeller(RUN, assets, Speaker(graph, namespace_of("test")))
    for key in assets.get_all_asset_keys():
        name = key.to_user_string()
        event = json.loads(Serde.to_json(teller.event_of(RunState.COMPLETE, MOMENT, key)))
        assert violations(event) == [], name
        facet = event["outputs"][0]["facets"].get("columnLineage", {"fields": {}, "dataset": []})
        of_all = {(one["name"], one["field"]) for one in facet.get("dataset", ())}
        drawn = {
            (origin, column)
            for column, found in facet["fields"].items()
            for origin in of_all | {(one["name"], one["field"]) for one in found["inputFields"]}
        }
        columns = graph.assets.get(name, ())
        edges = {
            ((edge.origin.asset, edge.origin.column), ref.column)
            for ref in columns
            for edge in graph.incoming.get(ref, ())
        }
        assert drawn == edges, name
        assert {origin[0] for origin, _ in drawn} <= {one["name"] for one in event["inputs"]}, name
