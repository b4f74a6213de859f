"""Lineage as OpenLineage events: what a catalogue such as Marquez or DataHub is told about a run and its tables.

Belongs here: how a run, a table and the lineage graph are said in OpenLineage's words. Does not belong here: when
something happened, and how an event travels (`automation.lineage_events`). An event says names, types and
descriptions that are declared, and times; no count, no text of an error and no value, because whoever reads the
catalogue may know less than whoever reads the tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer

from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind, LineageGraph

PRODUCER = "urn:merajutasa:lakehouse"
INTEGRATION = "DAGSTER"
_NAMESPACE = "merajutasa"
_DIRECT = {How.IDENTITY: "IDENTITY", How.AGGREGATE: "AGGREGATION", How.COUNT: "AGGREGATION"}
_INDIRECT = {
    How.JOIN: "JOIN",
    How.GROUP: "GROUP_BY",
    How.DISTINCT: "GROUP_BY",
    How.ORDER: "SORT",
    How.WINDOW: "WINDOW",
    How.CONDITIONAL: "CONDITIONAL",
}

set_producer(PRODUCER)


@dataclass(frozen=True)
class TableColumn:
    """A column as declared; `sensitivity` is its privacy class, empty where none is declared."""

    name: str
    type: str
    description: str = ""
    sensitivity: str = ""


@dataclass(frozen=True)
class Table:
    """What is declared about an asset: `name` is its key, written with slashes."""

    name: str
    description: str = ""
    owners: tuple[str, ...] = ()
    sensitivity: str = ""
    columns: tuple[TableColumn, ...] = ()


@dataclass(frozen=True)
class RunOfJob:
    """A run of a job. `period`: first moment of the partition that it is about, and the first after it."""

    run_id: str
    job: str
    engine: str
    engine_version: str
    period: tuple[datetime, datetime] | None = None


@dataclass(frozen=True)
class Speaker:
    """Makes events of one installation. `namespace` keeps its tables apart from those of others in one catalogue."""

    graph: LineageGraph
    namespace: str

    def of_run(self, state: RunState, moment: datetime, run: RunOfJob) -> RunEvent:
        """That a run of a job started or ended."""
        return RunEvent(
            eventTime=moment.isoformat(),
            eventType=state,
            run=Run(_run_id(run.run_id), {**_period(run), **_engine(run)}),
            job=Job(self.namespace, run.job, {"jobType": _job_type("JOB")}),
        )

    def of_table(
        self,
        state: RunState,
        moment: datetime,
        run: RunOfJob,
        table: Table,
        inputs: Sequence[Table],
        error: str | None = None,
    ) -> RunEvent:
        """That the making of a table, within a run, started or ended. `error`: the class of the error that ended it.

        The making is a run of its own, of a job that is named as the table is: its id follows from both, so that an
        event that is delivered twice is the same event. Columns are told when it is complete."""
        is_complete = state is RunState.COMPLETE
        about_run: dict[str, facets.RunFacet] = {
            "parent": facets.parent_run.ParentRunFacet(
                run=facets.parent_run.Run(runId=_run_id(run.run_id)),
                job=facets.parent_run.Job(namespace=self.namespace, name=run.job),
            ),
            **_period(run),
            **_engine(run),
        }
        if error is not None:
            about_run["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(
                message=error, programmingLanguage="PYTHON"
            )
        about_job: dict[str, facets.JobFacet] = {"jobType": _job_type("ASSET")}
        if table.description:
            about_job["documentation"] = facets.documentation_job.DocumentationJobFacet(description=table.description)
        if table.owners:
            about_job["ownership"] = facets.ownership_job.OwnershipJobFacet(
                owners=[facets.ownership_job.Owner(name=owner, type="OWNER") for owner in table.owners]
            )
        made = _about(table) if is_complete else {}
        lineage = self.column_lineage(table.name) if is_complete else None
        if lineage is not None:
            made["columnLineage"] = lineage
        return RunEvent(
            eventTime=moment.isoformat(),
            eventType=state,
            run=Run(_run_id(run.run_id, table.name), about_run),
            job=Job(self.namespace, table.name, about_job),
            inputs=[
                InputDataset(self.namespace, one.name, facets=_about(one) if is_complete else {}) for one in inputs
            ],
            outputs=[OutputDataset(self.namespace, table.name, facets=made)],
        )

    def column_lineage(self, asset: str) -> facets.column_lineage_dataset.ColumnLineageDatasetFacet | None:
        """Where the columns of an asset come from; None for one that the graph knows nothing about.

        What decides about the rows of all columns alike is told once, for the whole table."""
        columns = {ref: self.graph.incoming.get(ref, ()) for ref in self.graph.assets.get(asset, ())}
        told = {ref: edges for ref, edges in columns.items() if edges}
        if not told:
            return None
        indirect = [{_source(edge) for edge in edges if edge.kind is Kind.INDIRECT} for edges in told.values()]
        shared = set.intersection(*indirect)
        return facets.column_lineage_dataset.ColumnLineageDatasetFacet(
            fields={
                ref.column: facets.column_lineage_dataset.Fields(
                    inputFields=self._fields(edge for edge in edges if _source(edge) not in shared)
                )
                for ref, edges in told.items()
            },
            dataset=self._fields(edge for edge in next(iter(told.values())) if _source(edge) in shared),
        )

    def _fields(self, edges: Iterable[Edge]) -> list[facets.column_lineage_dataset.InputField]:
        by_origin: dict[ColumnRef, list[Edge]] = {}
        for edge in sorted(edges):
            by_origin.setdefault(edge.origin, []).append(edge)
        return [
            facets.column_lineage_dataset.InputField(
                namespace=self.namespace,
                name=origin.asset,
                field=origin.column,
                transformations=[_transformation(edge) for edge in found],
            )
            for origin, found in by_origin.items()
        ]


def namespace_of(environment: str) -> str:
    """The namespace of an installation's jobs and tables, by its environment."""
    return f"{_NAMESPACE}-{environment}"


_Source = tuple[ColumnRef, Kind, How, str]


def _source(edge: Edge) -> _Source:
    """An edge without its target."""
    return edge.origin, edge.kind, edge.how, edge.step or ""


def _transformation(edge: Edge) -> facets.column_lineage_dataset.Transformation:
    """What an edge does, in the vocabulary of the facet. A value that is counted, or that a privacy step has
    changed, does not go on as it was: that is what the facet calls masking."""
    words, other = (_DIRECT, "TRANSFORMATION") if edge.kind is Kind.DIRECT else (_INDIRECT, "FILTER")
    return facets.column_lineage_dataset.Transformation(
        type=edge.kind.upper(),
        subtype=words.get(edge.how, other),
        description=edge.how.value if edge.step is None else f"{edge.how.value}, {edge.step.value}",
        masking=edge.step is not None or edge.how is How.COUNT,
    )


def _run_id(run_id: str, table: str | None = None) -> str:
    """The id of a run, or of the making of a table within it, as the same UUID whenever it is asked for."""
    try:
        run = uuid.UUID(run_id)
    except ValueError:
        run = uuid.uuid5(uuid.NAMESPACE_OID, run_id)
    return str(run if table is None else uuid.uuid5(run, table))


def _job_type(kind: str) -> facets.JobFacet:
    return facets.job_type_job.JobTypeJobFacet(processingType="BATCH", integration=INTEGRATION, jobType=kind)


def _period(run: RunOfJob) -> dict[str, facets.RunFacet]:
    if run.period is None:
        return {}
    start, end = (moment.isoformat() for moment in run.period)
    return {"nominalTime": facets.nominal_time_run.NominalTimeRunFacet(nominalStartTime=start, nominalEndTime=end)}


def _engine(run: RunOfJob) -> dict[str, facets.RunFacet]:
    engine = facets.processing_engine_run.ProcessingEngineRunFacet(version=run.engine_version, name=run.engine)
    return {"processing_engine": engine}


def _about(table: Table) -> dict[str, facets.DatasetFacet]:
    """Schema, description, owners and sensitivity of a table, as far as they are declared."""
    about: dict[str, facets.DatasetFacet] = {}
    if table.columns:
        about["schema"] = facets.schema_dataset.SchemaDatasetFacet(
            fields=[
                facets.schema_dataset.SchemaDatasetFacetFields(
                    name=column.name, type=column.type, description=column.description or None
                )
                for column in table.columns
            ]
        )
    if table.description:
        about["documentation"] = facets.documentation_dataset.DocumentationDatasetFacet(description=table.description)
    if table.owners:
        about["ownership"] = facets.ownership_dataset.OwnershipDatasetFacet(
            owners=[facets.ownership_dataset.Owner(name=owner, type="OWNER") for owner in table.owners]
        )
    tags = [("", table.sensitivity), *((column.name, column.sensitivity) for column in table.columns)]
    known: Mapping[str, str] = {name: value for name, value in tags if value}
    if known:
        about["tags"] = facets.tags_dataset.TagsDatasetFacet(
            tags=[
                facets.tags_dataset.TagsDatasetFacetFields(
                    key="sensitivity", value=value, source=INTEGRATION, field=name or None
                )
                for name, value in known.items()
            ]
        )
    return about
