"""The dbt project as Python sees it: where it is, its manifest, and how to prepare that.

Here belongs reading and making the manifest. What Dagster makes of it is in `dbt`, what a project may hold in
`rules`. Run as a module, it prepares the manifest; loading definitions only reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.sql import ColumnLineage, column_lineage, mart_stakeholder, project_graph
from merajut_assets.lineage.sql import asset_path as asset_path
from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.labels import ColumnLabels, column_labels
from merajut_assets.marts.rules import IN_PYTHON, rule_faults, upstream
from resources.locks import write_atomically

# A folder of its own: what an analyst runs in the project writes to target/ and must not change the graph.
PIPELINE_TARGET = DBT_PROJECT / "target" / "pipeline"
MANIFEST = PIPELINE_TARGET / "manifest.json"
LINEAGE_FILE_NAME = "column_lineage.json"
LABELS_FILE_NAME = "column_labels.json"
VALUES_FILE_NAME = "column_values.json"
# What the manifest was made from: a digest of every file of the project, by path, and of the code that judged it and
# derived what lies beside it.
INPUTS_FILE_NAME = "inputs.json"
_CODE = (
    *(f"lineage/{name}.py" for name in ("disclosure", "grammar", "graph", "labels", "sql", "withholding")),
    *(f"marts/{name}.py" for name in ("labels", "rules")),
)
# Of the code that this process runs, and not of what lies there by the time of a run.
_JUDGED_BY = hashlib.sha256(b"".join((Path(__file__).parents[1] / name).read_bytes() for name in _CODE)).hexdigest()
# Beside hidden files these are no part of the project: dbt and Python write them.
_NO_SOURCES = ("target", "logs", "__pycache__")
_ERROR_LINES = 20
NOT_RENEWED = "the dbt project is not the one that its manifest was prepared from, and nobody has judged it"

Node = Mapping[str, Any]


class ManifestError(RuntimeError):
    """The dbt project was not prepared, or cannot be. Says what to run."""


@contextmanager
def lineage_of_project() -> Iterator[None]:
    """What the lineage refuses of the project's SQL is a manifest that cannot be used."""
    try:
        yield
    except ValueError as error:
        raise ManifestError(f"the lineage of the dbt project cannot be told: {error}") from None


def dbt_executable() -> Path:
    """The dbt of the running environment, whatever PATH says."""
    return Path(sys.executable).with_name("dbt")


# ── reading ──────────────────────────────────────────────────────────────────────────────


@cache
def load_manifest(path: Path = MANIFEST) -> Mapping[str, Any]:
    """The parsed manifest. Raises ManifestError when it was not prepared."""
    return _read(path)


@cache
def load_lineage(path: Path = MANIFEST) -> ColumnLineage:
    """Column lineage of every model, as prepared beside the manifest. Raises ManifestError."""
    lineage: ColumnLineage = _read(path.with_name(LINEAGE_FILE_NAME))
    return lineage


@cache
def load_labels(path: Path = MANIFEST) -> ColumnLabels:
    """The computed privacy class of every column of the models and published files, as prepared beside the manifest.
    Raises ManifestError."""
    labels: ColumnLabels = _read(path.with_name(LABELS_FILE_NAME))
    return labels


@cache
def load_values(path: Path = MANIFEST) -> LineageGraph:
    """What the values of the models and published files are computed from, as prepared beside the manifest: to be
    shown, where a proof reads the SQL itself. Raises ManifestError."""
    prepared = path.with_name(VALUES_FILE_NAME)
    try:
        return LineageGraph.from_json(prepared.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _unprepared(prepared) from None
    except ValueError:
        raise _damaged(prepared) from None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _unprepared(path) from None
    except ValueError:
        raise _damaged(path) from None


def _unprepared(path: Path) -> ManifestError:
    return ManifestError(f"the dbt project is not prepared ({path.name} is missing); run `make manifest`")


def _damaged(path: Path) -> ManifestError:
    return ManifestError(f"{path.name} of the dbt project is damaged; run `make manifest`")


def tables(manifest: Mapping[str, Any]) -> list[Node]:
    """The models that become tables, in alphabetical order; ephemeral ones are part of those."""
    nodes = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
    ]
    return sorted(nodes, key=lambda node: str(node["unique_id"]))


def stakeholder_marts(manifest: Mapping[str, Any]) -> dict[str, list[Node]]:
    """The mart models by stakeholder, both in alphabetical order."""
    marts: dict[str, list[Node]] = {}
    for node in tables(manifest):
        stakeholder = mart_stakeholder(node)
        if stakeholder:
            marts.setdefault(stakeholder, []).append(node)
    return dict(sorted(marts.items()))


def upstream_sources(manifest: Mapping[str, Any], nodes: Iterable[Node]) -> set[tuple[str, str]]:
    """(schema, table) of every source that the models read, directly or through others."""
    sources = [manifest["sources"][one] for one in upstream(manifest, nodes) if one in manifest["sources"]]
    return {(source["schema"], source["identifier"]) for source in sources}


def sql_digests(manifest: Mapping[str, Any], nodes: Iterable[Node]) -> dict[str, str]:
    """SHA-256 of the compiled SQL of the models and of every table model that they rest on, by unique id."""
    wanted = upstream(manifest, nodes)
    return {
        node["unique_id"]: hashlib.sha256(str(node["compiled_code"]).encode()).hexdigest()
        for node in tables(manifest)
        if node["unique_id"] in wanted
    }


@cache
def broken_rules(path: Path = MANIFEST) -> tuple[str, ...]:
    """The rules that a prepared manifest breaks; none, unless it was prepared before a rule was made."""
    return tuple(rule_faults(load_manifest(path)))


def is_renewed(path: Path = MANIFEST, *, project: Path = DBT_PROJECT) -> bool:
    """Whether the manifest is that of the project as it is now."""
    made_from = path.with_name(INPUTS_FILE_NAME)
    return path.exists() and made_from.exists() and _read(made_from) == _digests(project)


# ── preparing ────────────────────────────────────────────────────────────────────────────


def prepare_manifest(target: Path = PIPELINE_TARGET, *, project: Path = DBT_PROJECT) -> Path:
    """Compile `project` into `target` unless nothing changed since, and judge it; returns the manifest.

    Needs no database, key, network or home folder. Raises ManifestError with what dbt complains about, or with the
    rules that are broken: then the manifest stays the one that was prepared before.
    """
    manifest = target / "manifest.json"
    lineage, labels, values = (target / name for name in (LINEAGE_FILE_NAME, LABELS_FILE_NAME, VALUES_FILE_NAME))
    made_from = target / INPUTS_FILE_NAME
    is_complete = all(path.exists() for path in (lineage, labels, values))
    if is_complete and is_renewed(manifest, project=project):
        return manifest
    before = manifest.read_bytes() if manifest.exists() and made_from.exists() else None
    digests = _digests(project)
    # dbt would run these instead of compiling them, and fail for want of a database.
    _refuse(f"model {path.stem} {IN_PYTHON}" for path in sorted((project / "models").rglob("*.py")))
    try:
        _compile(target, project)
        compiled = _read(manifest)
        _refuse(rule_faults(compiled))
        with lineage_of_project():
            columns, classes = column_lineage(compiled), column_labels(compiled)
            graph = project_graph(compiled).values()
    except BaseException:
        _put_back(manifest, before)
        raise
    for cached in (load_manifest, load_lineage, load_labels, load_values, broken_rules):
        cached.cache_clear()
    write_atomically(lineage, json.dumps(columns, indent=1, sort_keys=True).encode())
    write_atomically(labels, json.dumps(classes, indent=1, sort_keys=True).encode())
    write_atomically(values, graph.to_json().encode())
    write_atomically(made_from, json.dumps(digests, indent=1).encode())
    return manifest


def _refuse(faults: Iterable[str]) -> None:
    told = "".join(f"\n  {fault}" for fault in faults)
    if told:
        raise ManifestError(f"the dbt project breaks rules of the marts:{told}")


def _put_back(manifest: Path, content: bytes | None) -> None:
    """Nothing that was refused stays to be loaded."""
    if content is None:
        manifest.unlink(missing_ok=True)
    else:
        write_atomically(manifest, content)


def _compile(target: Path, project: Path) -> None:
    command = [str(dbt_executable()), "--quiet", "--log-level-file", "none", "compile", "--target", "pipeline"]
    command += ["--no-introspect", "--no-populate-cache", "--target-path", str(target)]
    command += ["--project-dir", str(project), "--profiles-dir", str(project)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_ERROR_LINES:])
        raise ManifestError(f"dbt cannot compile the project; mend it and run `make manifest`:\n{said}")


def _digests(project: Path) -> dict[str, str]:
    """SHA-256 of every file of the project by its path, so that a file that was removed or put back shows, too; and of
    the code, under an empty path: by other rules, or followed in another way, the same project is judged anew."""
    digests = {"": _JUDGED_BY}
    for folder, folders, files in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in _NO_SOURCES and not name.startswith("."))
        for path in sorted(Path(folder) / name for name in files if not name.startswith(".")):
            digests[path.relative_to(project).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


if __name__ == "__main__":
    try:
        prepare_manifest()
    except ManifestError as error:
        sys.exit(str(error))
