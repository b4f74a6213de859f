"""The dbt models as Dagster assets: from the release's verified tables to its marts.

Here belongs how a run of dbt becomes materialisations and checks. What the models are is in dbt_project/,
how its manifest is prepared in `project`. dbt's own tests appear as one blocking check per model, because a
check each would cost more than they do.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject

from merajut_assets.failures import guarded
from merajut_assets.lineage.disclosure import disclosure_tests
from merajut_assets.lineage.sql import ColumnLineage, asset_path, mart_stakeholder
from merajut_assets.marts.dbt_sources import DBT_PROJECT, source_differences
from merajut_assets.marts.labels import ColumnLabels, strictest
from merajut_assets.marts.project import (
    MANIFEST,
    NOT_RENEWED,
    Node,
    broken_rules,
    dbt_executable,
    is_renewed,
    load_labels,
    load_lineage,
    load_manifest,
    sql_digests,
    stakeholder_marts,
    tables,
    upstream_sources,
)
from merajut_assets.marts.proof import evidence_of
from merajut_assets.marts.verified import refuse_unverified, verified_versions
from partitions import release_partitions
from resources.lakehouse import DECRYPTION, Lakehouse
from resources.verifications import record_verification
from resources.warehouse import Warehouse

WAREHOUSE_GROUP = "warehouse"
# Everybody who opens a build file: DuckDB allows one writer or many readers.
WAREHOUSE_POOL = "warehouse"
CHECK_NAME = "dbt_tests"
_PARTIAL_PARSE = "partial_parse.msgpack"


class MartTranslator(DagsterDbtTranslator):
    """Names dbt's nodes as the rest of the graph does, and says who owns them and how sensitive they are."""

    def __init__(self, lineage: ColumnLineage, labels: ColumnLabels) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=False, enable_source_metadata=False))
        self._lineage = lineage
        self._labels = labels

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        node = self.get_resource_props(manifest, unique_id)
        meta = node["config"]["meta"]
        spec = (
            super()
            .get_asset_spec(manifest, unique_id, project)
            .replace_attributes(
                key=dg.AssetKey(asset_path(node)),
                description=str(node["description"]).strip(),
                group_name=mart_stakeholder(node) or WAREHOUSE_GROUP,
                owners=[meta["owner"]],
            )
        )
        metadata: dict[str, Any] = {"privacy_step": meta["privacy_step"]} if "privacy_step" in meta else {}
        labels = self._labels.get("/".join(spec.key.path), {})
        if labels:
            metadata["dagster/column_schema"] = labelled_schema(node, labels)
        return spec.merge_attributes(
            tags={"sensitivity": strictest(labels) if labels else meta["sensitivity"]},
            metadata={**metadata, **lineage_metadata(manifest, self._lineage, unique_id)},
        )


def labelled_schema(node: Node, labels: Mapping[str, str], prefix: str = "") -> dg.TableSchema:
    """A model's columns, each tagged with its sensitivity as it follows from what the column rests on. `prefix`: of the
    columns' names, as shown and in `labels`."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                name=prefix + column["name"],
                type=column["data_type"],
                description=column["description"],
                tags={"sensitivity": labels[prefix + column["name"]]},
            )
            for column in node["columns"].values()
        ]
    )


def lineage_metadata(manifest: Mapping[str, Any], lineage: ColumnLineage, unique_id: str) -> dict[str, Any]:
    """Dagster's column lineage of a model; empty for a source."""
    columns = lineage.get(unique_id)
    if columns is None:
        return {}
    known = {**manifest["sources"], **manifest["nodes"]}
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(asset_path(known[owner])), name) for owner, name in origins]
        for column, origins in columns.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps)}


def dbt_resource() -> DbtCliResource:
    """The resource `dbt`: the pipeline's target, without a log file and without asking the network anything."""
    return DbtCliResource(
        project_dir=str(DBT_PROJECT),
        profiles_dir=str(DBT_PROJECT),
        target="pipeline",
        dbt_executable=str(dbt_executable()),
        global_config_flags=["--log-level-file", "none", "--no-use-colors"],
    )


# ── the assets ───────────────────────────────────────────────────────────────────────────


def build_mart_assets(
    manifest_path: Path = MANIFEST,
    *,
    automation_condition: dg.AutomationCondition[dg.AssetKey] | None = None,
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> dg.AssetsDefinition:
    """All models as one asset step, partitioned by release. Raises ManifestError when there is no manifest.

    Needs the resources `lakehouse` and `dbt`. Reads the prepared manifest and nothing else.
    """
    manifest = load_manifest(manifest_path)
    translator = MartTranslator(load_lineage(manifest_path), load_labels(manifest_path))
    nodes = {dg.AssetKey(asset_path(node)): node for node in tables(manifest)}
    specs = [
        translator.get_asset_spec(manifest, node["unique_id"], None).replace_attributes(
            automation_condition=automation_condition, freshness_policy=freshness_policy
        )
        for node in nodes.values()
    ]

    @dg.multi_asset(
        name="marts",
        specs=specs,
        check_specs=[_check_spec(key) for key in nodes],
        partitions_def=release_partitions,
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    @guarded
    def marts(
        context: dg.AssetExecutionContext, lakehouse: Lakehouse, dbt: DbtCliResource
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        release = context.partition_key
        refuse_unjudged(manifest_path)
        selected = [nodes[key] for key in context.selected_asset_keys]
        checked = {key.asset_key for key in context.selected_asset_check_keys}
        needed = upstream_sources(manifest, [*selected, *(nodes[key] for key in checked)])
        evidence = evidence_of(lakehouse, release, manifest_path)
        refuse_unverified(lakehouse, evidence, needed, "what dbt was to build")
        # What is not verified and nobody asked for stays out, so that the other stakeholders get theirs.
        loaded = lakehouse.load_release_tables(release, verified_versions(evidence))
        context.log.info(f"{len(loaded)} verified tables with {sum(loaded.values())} rows loaded for {release}")
        check_sources(lakehouse.warehouse, release, needed)
        outcome = run_dbt(dbt, manifest, lakehouse, release, selected, [nodes[key] for key in checked])
        record_build(lakehouse.warehouse, release, manifest, outcome)
        rows = count_rows(lakehouse.warehouse, release, [node for node in selected if outcome.is_built(node)])
        for key, node in _in_build_order(nodes, outcome):
            if key in context.selected_asset_keys and outcome.is_built(node):
                lineage = lineage_metadata(manifest, load_lineage(manifest_path), node["unique_id"])
                yield dg.MaterializeResult(
                    asset_key=key,
                    metadata={
                        "dagster/row_count": rows[node["unique_id"]],
                        **lineage,
                        "build_seconds": outcome.seconds(node),
                    },
                )
            if key in checked:
                record_disclosure_tests(lakehouse, release, manifest, outcome, node)
                yield outcome.check_result(key, node)
        unbuilt = [str(node["name"]) for node in selected if not outcome.is_built(node)]
        if unbuilt:
            raise dg.Failure(
                f"dbt did not build {', '.join(sorted(unbuilt))} of release {release}; the checks and the log of the "
                "step name what failed. Mend it and materialise the marts again"
            )

    return marts


def _check_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        CHECK_NAME,
        asset=key,
        blocking=True,
        description="All dbt tests of the model: keys, relationships, accepted values, and withheld small counts.",
    )


# ── one run of dbt ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class BuildOutcome:
    """What dbt said about models and tests, by unique id; `tests` lists the tests of each model."""

    results: Mapping[str, Mapping[str, Any]]
    tests: Mapping[str, Collection[str]]
    names: Mapping[str, str]

    def is_built(self, node: Node) -> bool:
        return bool(self._status(node["unique_id"]) == "success")

    def sql_digest(self, node: Node) -> str:
        """SHA-256 of the SQL that dbt ran for a model."""
        return hashlib.sha256(str(self.results[node["unique_id"]]["compiled_code"]).encode()).hexdigest()

    def seconds(self, node: Node) -> float:
        return round(float(self.results[node["unique_id"]]["execution_time"]), 3)

    def check_result(self, key: dg.AssetKey, node: Node) -> dg.AssetCheckResult:
        """One result for all tests of a model; a test that could not run counts as failed."""
        ran = {test: self._status(test) for test in self.tests.get(node["unique_id"], ())}
        failed = sorted(self.names[test] for test, status in ran.items() if status not in ("pass", "warn", None))
        was_refused = self._status(node["unique_id"]) in ("error", "skipped")
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=CHECK_NAME,
            passed=not failed and not was_refused,
            metadata={
                "tests": len(ran),
                "passed": sum(status == "pass" for status in ran.values()),
                "warned": sum(status == "warn" for status in ran.values()),
                "not_run": sum(status is None for status in ran.values()),
                "failed": len(failed),
                "failed_tests": ", ".join(failed) or "none",
                "model": self._status(node["unique_id"]) or "not built in this run",
            },
        )

    def have_passed(self, tests: Collection[Node]) -> bool:
        """Whether there are tests, and every one of them ran and found nothing."""
        return bool(tests) and all(self._status(test["unique_id"]) == "pass" for test in tests)

    def position(self, node: Node) -> int:
        """Where dbt finished the model; those it did not touch come last."""
        order = list(self.results)
        return order.index(node["unique_id"]) if node["unique_id"] in self.results else len(order)

    def _status(self, unique_id: str) -> str | None:
        result = self.results.get(unique_id)
        return None if result is None else str(result["status"])


def run_dbt(
    dbt: DbtCliResource,
    manifest: Mapping[str, Any],
    lakehouse: Lakehouse,
    release: str,
    build: Collection[Node],
    test: Collection[Node] = (),
) -> BuildOutcome:
    """`dbt build` of the models in `build` into the release's build file, or `dbt test` when only checks are wanted.

    Raises what dagster-dbt raises when dbt ends without results, as for a model that does not compile.
    """
    wanted = build or test
    lakehouse.audit.append(
        DECRYPTION, table=f"warehouse/{release}", models=len(wanted), reader="dbt", purpose="build" if build else "test"
    )
    everything = len(wanted) == len(tables(manifest))
    # One argument: dagster-dbt would move all but the first of several away from their option.
    selection = [] if everything else ["--select", " ".join(sorted(str(node["name"]) for node in wanted))]
    command = ["build" if build else "test", "--indirect-selection", "buildable", *selection]
    target = lakehouse.settings.dagster_home / "dbt" / release
    _prepare_target(target)
    build_file = str(lakehouse.warehouse.build_path(release))
    with _environment(MERAJUT_DATA=str(lakehouse.settings.data_directory), MERAJUT_BUILD_FILE=build_file):
        invocation = dbt.cli(command, raise_on_error=False, manifest=manifest, target_path=target)
    invocation.wait()
    if not (target / "run_results.json").exists():
        error = invocation.get_error()
        raise error or dg.Failure("dbt ended without results; run it again")
    results = invocation.get_artifact("run_results.json")["results"]
    by_model: dict[str, list[str]] = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] == "test":
            for model in _tested_models(manifest, node):
                by_model.setdefault(model, []).append(unique_id)
    return BuildOutcome(
        results={result["unique_id"]: result for result in results},
        tests=by_model,
        names={unique_id: str(node["name"]) for unique_id, node in manifest["nodes"].items()},
    )


def _tested_models(manifest: Mapping[str, Any], test: Node) -> Collection[str]:
    """The models whose check tells a test: the one it is written at, or those it reads; every mart when it reads
    none, because it is then about the project."""
    if test.get("attached_node"):
        return [test["attached_node"]]
    return test["depends_on"]["nodes"] or [
        mart["unique_id"] for marts in stakeholder_marts(manifest).values() for mart in marts
    ]


def refuse_unjudged(manifest_path: Path) -> None:
    """Refuse to run a dbt project that is not the judged one, or that breaks a rule (dg.Failure)."""
    if not is_renewed(manifest_path):
        raise dg.Failure(f"{NOT_RENEWED}; run `make manifest`, reload the definitions and materialise the marts again")
    faults = broken_rules(manifest_path)
    if faults:
        raise dg.Failure(f"the dbt project breaks rules of the marts: {'; '.join(faults)}")


def record_build(warehouse: Warehouse, release: str, manifest: Mapping[str, Any], outcome: BuildOutcome) -> None:
    """Remember by which SQL the release's tables were made: a mart is published only when that was judged.

    A model that dbt ran with other SQL than it was judged by is forgotten instead (dg.Failure)."""
    judged = sql_digests(manifest, tables(manifest))
    ran = {node["unique_id"]: outcome.sql_digest(node) for node in tables(manifest) if outcome.is_built(node)}
    altered = sorted(unique_id for unique_id, digest in ran.items() if judged[unique_id] != digest)
    warehouse.record_models(release, {one: None if one in altered else digest for one, digest in ran.items()})
    if altered:
        names = ", ".join(str(manifest["nodes"][unique_id]["name"]) for unique_id in altered)
        raise dg.Failure(
            f"dbt ran other SQL for {names} than was judged, because the SQL depends on the run; write it so that it "
            "compiles to the same at any time, then run `make manifest` and materialise the marts again"
        )


def record_disclosure_tests(
    lakehouse: Lakehouse, release: str, manifest: Mapping[str, Any], outcome: BuildOutcome, node: Node
) -> None:
    """Append to the audit log whether the tests that a model's disclosure control rests on passed on its build, for
    the lineage proof to demand it; nothing for a model that declares none."""
    tests = disclosure_tests(manifest).get(node["unique_id"])
    if tests is not None:
        build = lakehouse.warehouse.builds(release).get(node["unique_id"])
        asset = "/".join(asset_path(node))
        record_verification(lakehouse.audit, asset, release, build, passed=outcome.have_passed(tests))


def _prepare_target(target: Path) -> None:
    """A folder for dbt's files of a release, with the pipeline's parse and without the last run's results."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "run_results.json").unlink(missing_ok=True)
    parsed = MANIFEST.with_name(_PARTIAL_PARSE)
    if parsed.exists():
        shutil.copyfile(parsed, target / _PARTIAL_PARSE)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the process started within: dbt takes no path as an argument, and a dbt
    variable instead would make it parse the whole project anew."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def check_sources(warehouse: Warehouse, release: str, needed: Collection[tuple[str, str]]) -> None:
    """Refuse a build file whose source tables are not those that the contracts declare (dg.Failure)."""
    stored: dict[tuple[str, str], dict[str, str]] = {}
    with warehouse.open_build(release) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_catalog = current_database() AND table_schema IN ('protected', 'statistics')"
        ).fetchall()
    for schema, table, column, sql_type in columns:
        stored.setdefault((schema, table), {})[column] = sql_type
    problems = source_differences(stored, needed)
    if problems:
        raise dg.Failure(
            f"the tables of release {release} are not what their contracts declare: {'; '.join(problems)}. "
            "Materialise their protected and statistics assets; if a contract changed, remove the release's build file"
        )


def count_rows(warehouse: Warehouse, release: str, nodes: Collection[Node]) -> dict[str, int]:
    """Rows of the models' tables by unique id, in one query."""
    if not nodes:
        return {}
    query = " UNION ALL ".join(
        f'SELECT \'{node["unique_id"]}\', count(*) FROM "{node["schema"]}"."{node["alias"]}"'  # noqa: S608
        for node in nodes
    )
    with warehouse.open_build(release) as connection:
        return dict(connection.execute(query).fetchall())


def _in_build_order(nodes: Mapping[dg.AssetKey, Node], outcome: BuildOutcome) -> list[tuple[dg.AssetKey, Node]]:
    return sorted(nodes.items(), key=lambda item: outcome.position(item[1]))


__all__ = [
    "CHECK_NAME",
    "WAREHOUSE_GROUP",
    "WAREHOUSE_POOL",
    "BuildOutcome",
    "MartTranslator",
    "build_mart_assets",
    "check_sources",
    "count_rows",
    "dbt_resource",
    "record_build",
    "record_disclosure_tests",
    "refuse_unjudged",
    "run_dbt",
]
