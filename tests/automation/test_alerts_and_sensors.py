"""People are told once, by every way that is configured, and never what a record holds.

Alerts travel to a real local web server and a real local mail server.
"""

from __future__ import annotations

import json
import logging
import os
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from merajut_assets.automation import build_automation
from merajut_assets.automation.alerts import Alert, AlertKind, deliver
from merajut_assets.automation.jobs import WINDOW_TAG
from merajut_assets.automation.sensors import Dropped, dropped_files, settle
from merajut_assets.contracts import registry
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.sources import reader
from partitions import ingest_partitions
from resources.lakehouse import Lakehouse
from resources.settings import Settings

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PLANTED = "Siti Rahmawati 3174015203140001"
ALERT = Alert(AlertKind.RUN_FAILED, "release", "run-1", {"failed steps": "mart__government"})


def no_lineage() -> LineageGraph:
    return LineageGraph.of(())


class RefusedRecord(Exception):
    """Stands for an error whose text quotes a record."""


# ── servers ──────────────────────────────────────────────────────────────────────────────


@dataclass
class Received:
    port: int = 0
    messages: list[str] = field(default_factory=list)
    status: int = 200
    location: str | None = None


@pytest.fixture
def webhook() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(received.status)
            if received.location:
                self.send_header("Location", received.location)
            self.end_headers()

        def do_GET(self) -> None:
            received.messages.append("GET")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet: the test output is not a web server's log."""

    yield from _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), received)


@pytest.fixture
def mail_server() -> Iterator[Received]:
    received = Received()

    class Session(socketserver.StreamRequestHandler):
        """As much of RFC 5321 as a client needs to hand over one message."""

        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            while line := self.rfile.readline().strip().upper():
                if line == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    received.messages.append(b"".join(lines).decode())
                self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 ok\r\n")
                if line == b"QUIT":
                    return

    yield from _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session), received)


def _serving(server: socketserver.BaseServer, received: Received) -> Iterator[Received]:
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _settings(tmp_path: Path, webhook: Received | None = None, mail: Received | None = None) -> Settings:
    return Settings(
        data_directory=tmp_path,
        alert_webhook=f"http://127.0.0.1:{webhook.port}/hook" if webhook else None,
        alert_email="operations@merajut.invalid" if mail else None,
        smtp_host=f"127.0.0.1:{mail.port}" if mail else None,
    )


# ── delivery ─────────────────────────────────────────────────────────────────────────────


def test_alert_arrives_by_every_configured_way(tmp_path: Path, webhook: Received, mail_server: Received) -> None:
    """An operator who reads mail only must hear of it as well as one who reads the chat."""
    assert deliver(ALERT, _settings(tmp_path, webhook, mail_server)) == ("log", "webhook", "e-mail")
    posted = json.loads(webhook.messages[0])
    assert (posted["job"], posted["run_id"], posted["kind"]) == ("release", "run-1", "run_failed")
    assert "mart__government" in posted["text"]
    assert "Subject: MerajutASA: run failed (release)" in mail_server.messages[0]
    assert "failed steps: mart__government" in mail_server.messages[0]


def test_log_alone_when_nothing_is_configured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log is the way that is always there."""
    assert deliver(ALERT, _settings(tmp_path)) == ("log",)
    assert "run-1" in caplog.text


def test_failed_delivery_is_logged_without_address_and_stops_nothing(
    tmp_path: Path, webhook: Received, mail_server: Received, caplog: pytest.LogCaptureFixture
) -> None:
    """A chat service that is down must neither hide the alert from the mail nor end the sensor."""
    webhook.status = 500
    assert deliver(ALERT, _settings(tmp_path, webhook, mail_server)) == ("log", "e-mail")
    assert "not delivered by webhook: HTTPError" in caplog.text
    assert f":{webhook.port}" not in caplog.text


def test_unreachable_servers_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens on port 1; the alert still stands in the log."""
    settings = _settings(tmp_path, Received(port=1), Received(port=1))
    assert deliver(ALERT, settings) == ("log",)
    assert "not delivered by webhook: URLError" in caplog.text
    assert "not delivered by e-mail: ConnectionRefusedError" in caplog.text


@pytest.mark.parametrize(
    "address",
    ["http://chat.invalid/hook?token=s3cret", "file:///etc/hostname?s3cret", "ftp://127.0.0.1/s3cret", "s3cret"],
)
def test_webhook_over_an_open_line_is_refused_and_its_address_not_shown(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Run ids and step names are not for everybody on the way, and the address is a password."""
    assert deliver(ALERT, Settings(data_directory=tmp_path, alert_webhook=address)) == ("log",)
    assert "MERAJUT_ALERT_WEBHOOK" in caplog.text
    assert "s3cret" not in caplog.text


def test_webhook_follows_no_redirect(tmp_path: Path, webhook: Received) -> None:
    """A redirect leads away from the address that was checked."""
    webhook.status, webhook.location = 302, f"http://127.0.0.1:{webhook.port}/elsewhere"
    assert deliver(ALERT, _settings(tmp_path, webhook)) == ("log",)
    assert len(webhook.messages) == 1


def test_mail_without_server_is_refused_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a configuration must say which half is missing."""
    assert deliver(ALERT, Settings(data_directory=tmp_path, alert_email="a@merajut.invalid")) == ("log",)
    assert "MERAJUT_SMTP_HOST" in caplog.text


def test_mail_to_another_machine_is_never_sent_in_clear(
    tmp_path: Path, mail_server: Received, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink offers no encryption; as a remote server it must get nothing."""
    monkeypatch.setattr("merajut_assets.automation.alerts.LOCAL_HOSTS", frozenset())
    assert deliver(ALERT, _settings(tmp_path, None, mail_server)) == ("log",)
    assert mail_server.messages == []
    assert "not delivered by e-mail" in caplog.text


# ── failed runs ──────────────────────────────────────────────────────────────────────────


def test_failure_alert_names_steps_and_error_class_but_never_the_text(
    tmp_path: Path, webhook: Received, mail_server: Received, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of an error may quote a child's name; chat and mail are the last places for it."""

    @dg.op
    def land_children() -> None:
        raise RefusedRecord(f"row of {PLANTED} is broken")

    @dg.job
    def sync() -> None:
        land_children()

    caplog.set_level(logging.CRITICAL)  # Dagster's own log of the planted failure is not what is tested
    settings = _settings(tmp_path, webhook, mail_server)
    sensor = next(
        sensor
        for sensor in build_automation(lambda: settings, switched_on=False, load_graph=no_lineage).sensors
        if sensor.name == "run_failure"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = sync.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="run_failure",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        sensor(context)
    posted, mailed = webhook.messages[0], mail_server.messages[0]
    for message in (posted, mailed):
        assert result.dagster_run.run_id in message
        assert "land_children" in message
        assert "RefusedRecord" in message
        assert not any(part in message for part in ("Siti", "Rahmawati", "3174015203140001", "broken"))


# ── late runs ────────────────────────────────────────────────────────────────────────────


def _sensor(name: str, settings: Settings, now: datetime) -> dg.SensorDefinition:
    automation = build_automation(lambda: settings, clock=lambda: now, switched_on=False, load_graph=no_lineage)
    return next(sensor for sensor in automation.sensors if sensor.name == name)


def test_late_run_is_reported_once(tmp_path: Path, webhook: Received) -> None:
    """An alert a minute for hours teaches people to look away."""
    settings = _settings(tmp_path, webhook)

    @dg.job(tags={WINDOW_TAG: "3600"})
    def release() -> None:
        pass

    @dg.job
    def without_window() -> None:
        pass

    with dg.instance_for_test() as instance:
        late = instance.create_run_for_job(release, tags=release.tags, status=dg.DagsterRunStatus.STARTED)
        done = instance.create_run_for_job(release, tags=release.tags, status=dg.DagsterRunStatus.SUCCESS)
        instance.create_run_for_job(without_window, status=dg.DagsterRunStatus.STARTED)
        began = datetime.now(UTC)
        cursor: str | None = None
        reported = []
        for minutes in (30, 61, 62, 300):
            sensor = _sensor("over_run", settings, began + timedelta(minutes=minutes))
            data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))
            cursor = data.cursor
            reported.append(len(webhook.messages))
    assert reported == [0, 1, 1, 1]
    assert late.run_id in webhook.messages[0]
    assert done.run_id not in webhook.messages[0]
    assert json.loads(webhook.messages[0])["kind"] == "run_late"


# ── drop folder ──────────────────────────────────────────────────────────────────────────


def _definitions(settings: Settings) -> dg.Definitions:
    automation = build_automation(lambda: settings, clock=lambda: NOW, switched_on=False, load_graph=no_lineage)

    @dg.asset(key=["raw", "hris", "employees"], partitions_def=ingest_partitions)
    def employees() -> None:
        pass

    return dg.Definitions(
        assets=[employees],
        jobs=automation.jobs,
        schedules=automation.schedules,
        sensors=automation.sensors,
        resources={"lakehouse": Lakehouse()},
    )


class Looker:
    """Ticks the drop-folder sensor and carries its cursor along, as the daemon does."""

    def __init__(self, settings: Settings) -> None:
        self.definitions = _definitions(settings)
        self.cursor: str | None = None

    def look(self) -> list[dg.RunRequest]:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=self.cursor, repository_def=self.definitions.get_repository_def()
            )
            data = self.definitions.resolve_sensor_def("drop_folder").evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        return list(data.run_requests or ())


def test_dropped_file_starts_one_sync_when_it_is_at_rest(tmp_path: Path) -> None:
    """A file that is still being copied, landed half, would be refused or, worse, accepted."""
    settings = Settings(data_directory=tmp_path)
    looker = Looker(settings)
    assert looker.look() == []
    file = settings.sources / "hris" / f"{PLANTED}.csv"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    assert looker.look() == []  # new
    file.write_text("ab")
    assert looker.look() == []  # has grown
    [request] = looker.look()  # at rest
    assert request.partition_key == "2026-11-21"
    assert looker.look() == []  # asked for already
    file.write_text("abc")
    assert looker.look() == []
    [again] = looker.look()
    assert again.run_key != request.run_key


def test_names_of_dropped_files_are_not_kept(tmp_path: Path) -> None:
    """Somebody will name a file after the child it is about, and Dagster's database is not encrypted."""
    settings = Settings(data_directory=tmp_path)
    folder = settings.sources / "hris"
    folder.mkdir(parents=True)
    (folder / f"{PLANTED}.csv").write_text("a")
    looker = Looker(settings)
    looker.look()
    [request] = looker.look()
    shown = json.dumps([looker.cursor, request.run_key, dict(request.tags)])
    assert not any(part in shown for part in ("Siti", "Rahmawati", "3174015203140001"))


def test_same_names_give_other_digests_under_another_key(tmp_path: Path) -> None:
    """A digest without a key is found by trying names; two installations must not agree."""
    cursors = []
    for installation in ("one", "two"):
        settings = Settings(data_directory=tmp_path / installation)
        file = settings.sources / "hris" / "employees.csv"
        file.parent.mkdir(parents=True)
        file.write_text("a")
        os.utime(file, ns=(1, 1))
        looker = Looker(settings)
        looker.look()
        cursors.append(set(json.loads(looker.cursor or "{}")))
    assert cursors[0].isdisjoint(cursors[1])


def test_several_files_start_one_sync(tmp_path: Path) -> None:
    """A sync lands all systems; one per file would be the same work many times over."""
    settings = Settings(data_directory=tmp_path)
    for system in ("hris", "crm"):
        for number in range(3):
            file = settings.sources / system / "inner" / f"{number}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("a")
    looker = Looker(settings)
    looker.look()
    [request] = looker.look()
    assert request.tags["merajut/dropped_files"] == "6"


def test_unfinished_hidden_and_linked_files_do_not_count(tmp_path: Path) -> None:
    """Browsers and copy programs write beside and rename; a link may lead out of the folder."""
    folder = tmp_path / "drop"
    (folder / "hris").mkdir(parents=True)
    for name in (".hidden.csv", "a.csv.part", "b.csv.TMP", "c.csv~"):
        (folder / "hris" / name).write_text("a")
    (folder / "of_no_system.csv").write_text("a")
    (folder / "hris" / "link.csv").symlink_to("/etc/hostname")
    (folder / "linked").symlink_to(folder / "hris")
    (folder / "hris" / ".sync").mkdir()
    (folder / "hris" / ".sync" / "state.csv").write_text("a")
    assert list(dropped_files(folder)) == []
    (folder / "hris" / "d.csv").write_text("a")
    assert [path for path, _ in dropped_files(folder)] == [b"hris/d.csv"]


def test_a_state_settles_once_and_what_is_gone_is_forgotten() -> None:
    """The cursor must not grow for as long as the installation lives."""
    first, settled = settle({}, {"p": "1", "q": "1"})
    assert settled == []
    second, settled = settle(first, {"p": "1", "q": "2"})
    assert settled == ["1"]
    third, settled = settle(second, {"p": "1", "q": "2"})
    assert settled == ["2"]
    assert third == {"p": Dropped("1", requested=True), "q": Dropped("2", requested=True)}
    assert settle(third, {}) == ({}, [])


def test_what_the_sensor_sees_is_what_a_sync_lands(tmp_path: Path) -> None:
    """It once watched a folder that no reader ever looked into."""
    settings = Settings(data_directory=tmp_path)
    for contract in registry.tables("raw").values():
        system = registry.systems()[contract.system]
        if system.location.startswith("sources/"):
            path = reader.original(contract, system, Lakehouse(data_directory=str(tmp_path)).location(system))
            assert path is not None
            assert path.is_relative_to(settings.sources / system.name)


def test_folders_of_no_declared_system_are_not_looked_at(tmp_path: Path) -> None:
    """The generated world keeps its truth beside the systems; its files are no delivery."""
    settings = Settings(data_directory=tmp_path)
    (settings.sources / "truth").mkdir(parents=True)
    (settings.sources / "truth" / "planted.parquet").write_text("a")
    looker = Looker(settings)
    assert looker.look() == looker.look() == []
