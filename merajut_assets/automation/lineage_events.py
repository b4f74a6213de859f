"""Telling a catalogue what was made from what: OpenLineage events of all runs, to a file or to a server.

Belongs here: which events follow from what Dagster has recorded, and how each of them arrives. How an event is worded
is `lineage.events`' matter. Nothing here is part of a run: what cannot be delivered stays to be delivered, and is
tried again by the next tick or command. All of it can be told again from Dagster's records, so that only how far one
has got is remembered.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import dagster as dg
from dagster import RunsFilter

from merajut_assets.automation.addresses import is_local
from merajut_assets.automation.continuation import is_failed_check
from merajut_assets.automation.sensors import LoadSettings, first_cause
from merajut_assets.failures import describe
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.render import without_colour
from resources.locks import LockTimeout, exclusive, flush_directory, write_atomically
from resources.settings import Settings

if TYPE_CHECKING:
    # Importing the client takes a second, which loading definitions need not wait for.
    from openlineage.client.event_v2 import RunEvent

    from merajut_assets.lineage.events import RunOfJob, Speaker, Table

LoadGraph = Callable[[], LineageGraph]

TIMEOUT_SECONDS = 5
_ENDPOINT = "api/v1/lineage"  # where OpenLineage servers take events, unless the address names another path
_SECONDS_BETWEEN_TICKS = 30
# Dagster ends a tick after a minute: what is left then is the next one's.
_SECONDS_PER_TICK = 25
# Two runs can be made within the precision of the clock.
_OVERLAP = timedelta(seconds=1)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_EVENT_TYPES = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_START,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}
_LOGGER = logging.getLogger("merajut.lineage_events")


class NotDelivered(RuntimeError):
    """An event did not arrive. Says why without an address, which may hold a password."""


# ── what happened, as events ─────────────────────────────────────────────────────────────


@dataclass
class RunTeller:
    """Turns the records of one run, in their order, into events. The events of the first records are the same,
    however many records there are by now."""

    run: RunOfJob
    assets: Any  # the asset graph of the definitions: a type that Dagster does not make public
    speaker: Speaker
    _planned: dict[str, list[dg.AssetKey]] = field(default_factory=dict)
    _open: dict[dg.AssetKey, str] = field(default_factory=dict)
    _made: set[dg.AssetKey] = field(default_factory=set)

    def tell(self, records: Iterable[dg.EventLogRecord]) -> Iterator[RunEvent]:
        """The events of a run: of itself, and of every asset whose making it began."""
        for record in records:
            event = record.event_log_entry.dagster_event
            if event is not None:
                yield from self._of(event, datetime.fromtimestamp(record.event_log_entry.timestamp, UTC))

    def _of(self, event: dg.DagsterEvent, moment: datetime) -> Iterator[RunEvent]:
        from openlineage.client.event_v2 import RunState

        kind, key, step = event.event_type, event.asset_key, event.step_key or ""
        if kind is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED and key is not None:
            self._planned.setdefault(step, []).append(key)
        elif kind is dg.DagsterEventType.STEP_START:
            for planned in self._planned.get(step, ()):
                self._open[planned] = step
                yield self.event_of(RunState.START, moment, planned)
        elif kind is dg.DagsterEventType.ASSET_MATERIALIZATION and key is not None and key not in self._made:
            self._open.pop(key, None)
            self._made.add(key)
            yield self.event_of(RunState.COMPLETE, moment, key)
        elif kind is dg.DagsterEventType.STEP_FAILURE:
            # A step whose blocking check failed has made its asset.
            error = "AssetCheckFailed" if is_failed_check(event) else first_cause(event)
            for failed in [asset for asset, its_step in self._open.items() if its_step == step]:
                del self._open[failed]
                yield self.event_of(RunState.FAIL, moment, failed, error)
        elif kind is dg.DagsterEventType.RUN_START:
            yield self.speaker.of_run(RunState.START, moment, self.run)
        elif kind in (
            dg.DagsterEventType.RUN_SUCCESS,
            dg.DagsterEventType.RUN_FAILURE,
            dg.DagsterEventType.RUN_CANCELED,
        ):
            for left in tuple(self._open):
                del self._open[left]
                yield self.event_of(RunState.ABORT, moment, left)
            states = {
                dg.DagsterEventType.RUN_SUCCESS: RunState.COMPLETE,
                dg.DagsterEventType.RUN_FAILURE: RunState.FAIL,
                dg.DagsterEventType.RUN_CANCELED: RunState.ABORT,
            }
            yield self.speaker.of_run(states[kind], moment, self.run)

    def event_of(self, state: Any, moment: datetime, key: dg.AssetKey, error: str | None = None) -> RunEvent:
        """The event about an asset. `state`: OpenLineage's RunState; `error`: class of the error that ended it."""
        table = _declared(self.assets, key)
        graph = self.speaker.graph
        columns = graph.assets.get(table.name, ())
        names = {edge.origin.asset for column in columns for edge in graph.incoming.get(column, ())}
        if self.assets.has(key):
            names |= {_name(parent) for parent in self.assets.get(key).parent_keys}
        inputs = [_declared(self.assets, dg.AssetKey(name.split("/")), is_input=True) for name in sorted(names)]
        return self.speaker.of_table(state, moment, self.run, table, inputs, error)


def _name(key: dg.AssetKey) -> str:
    return "/".join(key.path)


def _declared(assets: Any, key: dg.AssetKey, *, is_input: bool = False) -> Table:
    """What the definitions say about an asset; of one that they do not know any more, its name alone, and likewise of
    an input that has events of its own."""
    from merajut_assets.lineage.events import Table, TableColumn

    if not assets.has(key) or (is_input and assets.get(key).is_materializable):
        return Table(_name(key))
    node = assets.get(key)
    schema = node.metadata.get("dagster/column_schema")
    schema = getattr(schema, "value", schema)
    columns = [
        TableColumn(one.name, one.type, one.description or "", (one.tags or {}).get("sensitivity", ""))
        for one in (schema.columns if schema is not None else ())
    ]
    return Table(
        _name(key),
        without_colour(node.description or ""),
        tuple(node.owners),
        node.tags.get("sensitivity", ""),
        tuple(columns),
    )


def _run_of_job(run: dg.DagsterRun, assets: Any) -> RunOfJob:
    from merajut_assets.lineage.events import RunOfJob

    return RunOfJob(run.run_id, run.job_name, "Dagster", dg.__version__, _period(run, assets))


def _period(run: dg.DagsterRun, assets: Any) -> tuple[datetime, datetime] | None:
    """The time that the run's partition stands for, None for a run of no partition."""
    partition = run.tags.get("dagster/partition")
    if partition is None:
        return None
    keys = run.asset_selection or assets.get_all_asset_keys()
    for definition in {assets.get(key).partitions_def for key in keys if assets.has(key)}:
        if isinstance(definition, dg.TimeWindowPartitionsDefinition) and definition.has_partition_key(partition):
            window = definition.time_window_for_partition_key(partition)
            return window.start, window.end
    return None


# ── ways of delivery ─────────────────────────────────────────────────────────────────────


class Way(Protocol):
    """Where events go."""

    def send(self, event: RunEvent) -> None:
        """Deliver one event. Raises NotDelivered."""


class _ToFiles:
    """One file of JSON lines for each day, by the time of the event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, event: RunEvent) -> None:
        from openlineage.client.serde import Serde

        path = self._folder / f"{event.eventTime[:10]}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            with path.open("a", encoding="utf-8") as file:
                file.write(Serde.to_json(event) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                flush_directory(self._folder)
        except OSError as error:
            raise NotDelivered(f"{path.name} could not be written: {type(error).__name__}") from None


class _ToServer:
    """An OpenLineage server: Marquez, DataHub or another that takes the events over HTTP."""

    def __init__(self, address: str, key: str | None) -> None:
        import requests
        from openlineage.client.transport.http import (
            ApiKeyTokenProvider,
            HttpConfig,
            HttpTransport,
            TokenProvider,
        )

        session = requests.Session()
        session.trust_env = not is_local(address, "MERAJUT_OPENLINEAGE_URL")  # a proxy's "localhost" is another machine
        session.max_redirects = 0  # a redirect could lead from an address that was checked to one that was not
        parts = urlsplit(address)
        # Both tell the address at the level of debugging, and it is nobody's business what stands in it.
        for chatty in ("openlineage", "urllib3"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._transport = HttpTransport(
            HttpConfig(
                url=f"{parts.scheme}://{parts.netloc}",
                endpoint=parts.path.strip("/") or _ENDPOINT,
                timeout=TIMEOUT_SECONDS,
                auth=TokenProvider({}) if key is None else ApiKeyTokenProvider({"api_key": key}),
                session=session,
                retry={"total": 0},  # the next tick tries again
            )
        )

    def send(self, event: RunEvent) -> None:
        try:
            self._transport.emit(event)
        except (OSError, ValueError) as error:  # every error of requests is an OSError
            response = getattr(error, "response", None)
            code = "" if response is None else f" {response.status_code}"
            raise NotDelivered(f"the server did not take it: {type(error).__name__}{code}") from None


def way_of(settings: Settings) -> Way:
    """Where the settings want events to go. Raises AddressRefused."""
    if settings.openlineage_url is None:
        return _ToFiles(settings.lineage_events)
    return _ToServer(settings.openlineage_url, settings.openlineage_key)


# ── how far one has got ──────────────────────────────────────────────────────────────────


@dataclass
class _Progress:
    """`since`: no run made before it has anything left to tell. `told`: of the runs since, how many events were
    delivered, None for all there will ever be."""

    since: datetime = _FIRST
    told: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Progress:
        """Raises NotDelivered for a file that is damaged."""
        try:
            stored = json.loads(path.read_bytes())
            return cls(datetime.fromisoformat(stored["since"]), dict(stored["told"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError):
            raise NotDelivered(f"{path.name} is damaged; remove it, and everything is told anew") from None

    def write(self, path: Path) -> None:
        write_atomically(path, json.dumps({"since": self.since.isoformat(), "told": self.told}, indent=1).encode())

    def close(self, runs: Sequence[dg.RunRecord]) -> None:
        """Forget what needs not be remembered. `runs`: all since `since`, oldest first."""
        made = {run.dagster_run.run_id: run.create_timestamp for run in runs}
        unfinished = [moment for run_id, moment in made.items() if self.told.get(run_id, 0) is not None]
        self.since = min(unfinished, default=max(made.values(), default=self.since))
        self.told = {
            run_id: told for run_id, told in self.told.items() if made.get(run_id, _FIRST) >= self.since - _OVERLAP
        }


@dataclass(frozen=True)
class Delivery:
    """What one attempt did: events delivered, and why it ended early, empty if it did not."""

    events: int = 0
    problem: str = ""


def deliver(
    instance: dg.DagsterInstance,
    assets: Any,
    settings: Settings,
    load_graph: LoadGraph,
    log: logging.Logger = _LOGGER,
) -> Delivery:
    """Deliver the events that were not delivered yet, in their order; `assets` is the asset graph of the definitions.

    Never raises on account of a delivery: the events are not the work. What failed is logged, and told again by
    the next attempt; an event that had arrived although its delivery failed arrives twice, with the same run id."""
    state = settings.lineage_events / "delivered.json"
    try:
        with exclusive(state.with_suffix(".lock"), timeout=0):
            delivery = _deliver(instance, assets, settings, load_graph, state)
    except LockTimeout:
        return Delivery(problem="another process is delivering them")
    except Exception as error:  # noqa: BLE001 - whatever it is, a run is not to suffer, and its text must not travel
        delivery = Delivery(problem=describe(error))
    if delivery.problem:
        log.error(f"lineage events are waiting to be delivered: {delivery.problem}")
    return delivery


def _deliver(
    instance: dg.DagsterInstance, assets: Any, settings: Settings, load_graph: LoadGraph, state: Path
) -> Delivery:
    progress = _Progress.read(state)
    runs = instance.get_run_records(
        filters=RunsFilter(created_after=progress.since - _OVERLAP), order_by="create_timestamp", ascending=True
    )
    waiting = [run for run in runs if progress.told.get(run.dagster_run.run_id, 0) is not None]
    if not waiting:
        return Delivery()
    from merajut_assets.lineage.events import Speaker, namespace_of

    way = way_of(settings)
    speaker = Speaker(load_graph(), namespace_of(settings.environment))
    deadline = time.monotonic() + _SECONDS_PER_TICK
    delivered, problem = 0, ""
    for record in waiting:
        run = record.dagster_run
        told = progress.told.get(run.run_id) or 0
        records = instance.get_records_for_run(run.run_id, of_type=_EVENT_TYPES).records
        events = list(RunTeller(_run_of_job(run, assets), assets, speaker).tell(records))
        try:
            for event in events[told:]:
                if time.monotonic() > deadline:
                    break
                way.send(event)
                told += 1
                delivered += 1
        except NotDelivered as error:
            problem = str(error)
        progress.told[run.run_id] = None if run.is_finished and told >= len(events) else told
        if problem or time.monotonic() > deadline:
            break
    progress.close(runs)
    progress.write(state)
    return Delivery(delivered, problem)


def remove_old_files(settings: Settings, before: datetime) -> int:
    """Remove the event files of days before that of `before`; returns how many."""
    old = [path for path in settings.lineage_events.glob("????-??-??.jsonl") if path.stem < before.date().isoformat()]
    for path in old:
        path.unlink()
    return len(old)


# ── the sensor ───────────────────────────────────────────────────────────────────────────


def build_lineage_events_sensor(
    status: dg.DefaultSensorStatus, load_settings: LoadSettings, load_graph: LoadGraph
) -> dg.SensorDefinition:
    """Delivers the events of all runs as they go on."""

    @dg.sensor(
        name="lineage_events",
        description="Tells a catalogue, as OpenLineage events, what every run makes from what.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=status,
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None, "Dagster gives a sensor its repository"
        delivery = deliver(
            context.instance, context.repository_def.asset_graph, load_settings(), load_graph, context.log
        )
        late = f"; the others wait: {delivery.problem}" if delivery.problem else ""
        return dg.SkipReason(f"{delivery.events} event(s) delivered{late}.")

    return tell
