"""What runs made is told to a catalogue, once, in order, and never at the cost of a run.

Events travel to real files and to a real local web server.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from merajut_assets.automation import lineage_events
from merajut_assets.automation.lineage_events import build_lineage_events_sensor, deliver, remove_old_files
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph
from partitions import release_partitions
from resources.settings import Settings
from tests.lineage.openlineage_schema import violations

PLANTED = "Siti Rahmawati 3174015203140001"
GRAPH = LineageGraph.of(
    [Edge(ColumnRef("conformed/child", "sex"), ColumnRef("mart/media/a", "sex"), Kind.DIRECT, How.IDENTITY)]
)


class RefusedRecord(Exception):
    """Stands for an error whose text quotes a record."""


def load_graph() -> LineageGraph:
    return GRAPH


def definitions(fails: bool = False, refuted: bool = False) -> dg.Definitions:
    schema = dg.TableSchema([dg.TableColumn("sex", "text", "Sex", tags={"sensitivity": "sensitive"})])
    shared: dict[str, Any] = {"partitions_def": release_partitions, "owners": ["team:care"]}

    @dg.asset(key=["protected", "child"], description="Children.", **shared)
    def protected() -> None:
        if fails:
            raise RefusedRecord(PLANTED)

    names = ["mart", "media"]

    @dg.multi_asset(
        name="marts",
        specs=[
            dg.AssetSpec(
                [*names, one], deps=[["protected", "child"]], metadata={"dagster/column_schema": schema}, **shared
            )
            for one in "ab"
        ],
        check_specs=[dg.AssetCheckSpec("tests", asset=[*names, "a"], blocking=True)],
        can_subset=True,
    )
    def marts() -> Iterator[Any]:
        yield dg.MaterializeResult(
            asset_key=[*names, "a"], check_results=[dg.AssetCheckResult(check_name="tests", passed=not refuted)]
        )
        yield dg.MaterializeResult(asset_key=[*names, "b"])

    job = dg.define_asset_job("release", selection="*", partitions_def=release_partitions)
    return dg.Definitions(assets=[protected, marts], jobs=[job], executor=dg.in_process_executor)


def run(parts: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    logging.getLogger("dagster").setLevel(logging.CRITICAL)  # its log of the planted failure is not what is tested
    return parts.resolve_job_def("release").execute_in_process(
        instance=instance, partition_key="2026-09", raise_on_error=False
    )


def told(settings: Settings) -> list[dict[str, Any]]:
    """All events in the files, in the order of their days."""
    files = sorted(settings.lineage_events.glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def words(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["eventType"], event["job"]["name"]) for event in events]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_directory=tmp_path)


# ── what is told ─────────────────────────────────────────────────────────────────────────


def test_a_run_is_told_asset_by_asset(instance: dg.DagsterInstance, settings: Settings) -> None:
    """By file when nothing is configured: whoever sets up a catalogue later can load what was before."""
    parts = definitions()
    result = run(parts, instance)
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 8
    events = told(settings)
    assert [violations(event) for event in events] == [[]] * 8
    assert words(events) == [
        ("START", "release"),
        ("START", "protected/child"),
        ("COMPLETE", "protected/child"),
        ("START", "mart/media/a"),
        ("START", "mart/media/b"),
        ("COMPLETE", "mart/media/a"),
        ("COMPLETE", "mart/media/b"),
        ("COMPLETE", "release"),
    ]
    made = events[5]
    assert made["run"]["facets"]["parent"]["run"]["runId"] == result.run_id
    assert made["run"]["facets"]["nominalTime"]["nominalStartTime"].startswith("2026-09-01")
    assert [one["name"] for one in made["inputs"]] == ["conformed/child", "protected/child"]
    facets = made["outputs"][0]["facets"]
    assert facets["schema"]["fields"][0]["name"] == "sex"
    assert facets["columnLineage"]["fields"]["sex"]["inputFields"][0]["name"] == "conformed/child"


def test_a_failure_is_told_by_the_class_of_its_error(instance: dg.DagsterInstance, settings: Settings) -> None:
    """The text of an error may quote a child's name; a catalogue is the last place for it."""
    parts = definitions(fails=True)
    run(parts, instance)
    deliver(instance, parts.resolve_asset_graph(), settings, load_graph)
    events = told(settings)
    assert words(events)[-2:] == [("FAIL", "protected/child"), ("FAIL", "release")]
    assert events[-2]["run"]["facets"]["errorMessage"]["message"] == "RefusedRecord"
    assert not any(part in json.dumps(events) for part in ("Siti", "Rahmawati", "3174015203140001"))


def test_every_asset_that_was_begun_is_ended(instance: dg.DagsterInstance, settings: Settings) -> None:
    """A run that never ends stands in the catalogue as running for ever."""
    parts = definitions(refuted=True)
    run(parts, instance)
    deliver(instance, parts.resolve_asset_graph(), settings, load_graph)
    states: dict[str, list[str]] = {}
    for state, name in words(told(settings)):
        states.setdefault(name, []).append(state)
    assert states["mart/media/a"] == ["START", "COMPLETE"], "it was made; its check is another matter"
    assert all(found[0] == "START" and len(found) == 2 for found in states.values()), states


# ── once, and in the end ─────────────────────────────────────────────────────────────────


def test_nothing_is_told_twice_and_nothing_left_out(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Ticks come every half minute, and runs end between them."""
    parts = definitions()
    graph = parts.resolve_asset_graph()
    assert deliver(instance, graph, settings, load_graph).events == 0
    run(parts, instance)
    run(parts, instance)
    assert [deliver(instance, graph, settings, load_graph).events for _ in range(3)] == [16, 0, 0]
    run(parts, instance)
    assert deliver(instance, graph, settings, load_graph).events == 8
    assert len(told(settings)) == 24


def test_a_run_is_told_while_it_goes_on(settings: Settings) -> None:
    """A release takes hours; what it has made by now is there to be seen."""
    parts = definitions()
    counts: list[int] = []
    with dg.DagsterInstance.ephemeral() as instance:
        graph = parts.resolve_asset_graph()

        def look(entry: dg.EventLogEntry) -> None:
            event = entry.dagster_event
            if event is not None and event.event_type is dg.DagsterEventType.STEP_SUCCESS:
                counts.append(deliver(instance, graph, settings, load_graph).events)

        run_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
        instance.add_event_listener(run_id, look)
        parts.resolve_job_def("release").execute_in_process(instance=instance, partition_key="2026-09", run_id=run_id)
        counts.append(deliver(instance, graph, settings, load_graph).events)
    assert sum(counts) == 8
    assert counts[0] > 0, "nothing was told before the end"


def test_events_that_could_not_be_delivered_are_delivered_later(
    instance: dg.DagsterInstance, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk at night must neither fail the release nor leave a hole in the lineage."""
    parts = definitions()
    graph = parts.resolve_asset_graph()
    assert run(parts, instance).success
    blocked = settings.lineage_events / f"{datetime.now(UTC).date()}.jsonl"
    blocked.mkdir(parents=True)
    delivery = deliver(instance, graph, settings, load_graph)
    assert (delivery.events, "IsADirectoryError" in delivery.problem) == (0, True)
    assert "waiting to be delivered" in caplog.text
    blocked.rmdir()
    assert deliver(instance, graph, settings, load_graph).events == 8


def test_a_lineage_that_cannot_be_loaded_fails_nothing(
    instance: dg.DagsterInstance, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The events are not the work, whatever is wrong with them; and what is logged quotes nothing."""

    def broken() -> LineageGraph:
        raise RefusedRecord(PLANTED)

    parts = definitions()
    run(parts, instance)
    assert "RefusedRecord" in deliver(instance, parts.resolve_asset_graph(), settings, broken).problem
    assert "Siti" not in caplog.text
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 8


def test_a_long_list_is_told_in_several_ticks(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster ends a tick after a minute, and everything it did would be lost."""
    parts = definitions()
    run(parts, instance)
    monkeypatch.setattr(lineage_events, "_SECONDS_PER_TICK", -1)
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 0
    monkeypatch.undo()
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 8


def test_the_sensor_starts_no_run_and_says_what_it_did(instance: dg.DagsterInstance, settings: Settings) -> None:
    """A tick without a sentence looks like one that did nothing."""
    sensor = build_lineage_events_sensor(dg.DefaultSensorStatus.STOPPED, lambda: settings, load_graph)
    parts = definitions()
    run(parts, instance)
    context = dg.build_sensor_context(
        instance, definitions=dg.Definitions.merge(parts, dg.Definitions(sensors=[sensor]))
    )
    outcome = sensor(context)
    assert isinstance(outcome, dg.SkipReason)
    assert outcome.skip_message == "8 event(s) delivered."


def test_old_files_go(settings: Settings) -> None:
    """Hourly runs write megabytes a day."""
    settings.lineage_events.mkdir(parents=True)
    today = datetime.now(UTC)
    for days in (0, 89, 91, 400):
        (settings.lineage_events / f"{(today - timedelta(days=days)).date()}.jsonl").touch()
    (settings.lineage_events / "delivered.json").touch()
    assert remove_old_files(settings, today - timedelta(days=90)) == 2
    assert len(list(settings.lineage_events.iterdir())) == 3


# ── to a server ──────────────────────────────────────────────────────────────────────────


@dataclass
class Received:
    port: int = 0
    paths: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    status: int = 201
    location: str | None = None


@pytest.fixture
def server() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.paths.append(self.path)
            if received.status < 300:
                received.events.append(json.loads(body))
                received.keys.add(self.headers["Authorization"])
            self.send_response(received.status)
            if received.location:
                self.send_header("Location", received.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *arguments: object) -> None:
            """Quiet: the test output is not a web server's log."""

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.port = made.server_address[1]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def serving(tmp_path: Path, server: Received, path: str = "") -> Settings:
    url = f"http://127.0.0.1:{server.port}{path}"
    return Settings(data_directory=tmp_path, openlineage_url=url, openlineage_key="geheim")


@pytest.mark.parametrize(("path", "expected"), [("", "/api/v1/lineage"), ("/openapi/openlineage/api/v1/lineage", None)])
def test_a_server_gets_them_by_setting(
    instance: dg.DagsterInstance, tmp_path: Path, server: Received, path: str, expected: str | None
) -> None:
    """Marquez takes them at the usual place, DataHub at one of its own."""
    parts = definitions()
    run(parts, instance)
    settings = serving(tmp_path, server, path)
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 8
    assert set(server.paths) == {expected or path}
    assert server.keys == {"Bearer geheim"}
    assert [violations(event) for event in server.events] == [[]] * 8
    assert told(settings) == []


def test_a_server_that_is_down_gets_them_when_it_is_up(
    instance: dg.DagsterInstance, tmp_path: Path, server: Received, caplog: pytest.LogCaptureFixture
) -> None:
    """Each once and in order; address and key stay out of the log."""
    parts = definitions()
    run(parts, instance)
    settings = serving(tmp_path, server)
    server.status = 503
    caplog.set_level(logging.DEBUG)
    delivery = deliver(instance, parts.resolve_asset_graph(), settings, load_graph)
    assert (delivery.events, len(server.paths)) == (0, 1)
    assert "HTTPError 503" in delivery.problem
    assert f":{server.port}" not in caplog.text
    assert "geheim" not in caplog.text
    server.status = 201
    assert deliver(instance, parts.resolve_asset_graph(), settings, load_graph).events == 8
    assert words(server.events)[0] == ("START", "release")


def test_a_redirect_is_not_followed(instance: dg.DagsterInstance, tmp_path: Path, server: Received) -> None:
    """It could lead from an encrypted address to one that is not."""
    parts = definitions()
    run(parts, instance)
    server.status, server.location = 307, f"http://127.0.0.1:{server.port}/elsewhere"
    assert deliver(instance, parts.resolve_asset_graph(), serving(tmp_path, server), load_graph).problem
    assert server.paths == ["/api/v1/lineage"]


def test_another_machine_is_reached_encrypted_or_not_at_all(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Names of tables and columns are nobody's business on the way, and neither is the key."""
    parts = definitions()
    run(parts, instance)
    settings = Settings(data_directory=tmp_path, openlineage_url="http://catalogue.invalid")
    assert "MERAJUT_OPENLINEAGE_URL" in deliver(instance, parts.resolve_asset_graph(), settings, load_graph).problem
