"""The dbt project as Python sees it: where it is, its manifest, and how to prepare that.

Here belongs reading and making the manifest. What Dagster makes of it is in `dbt`. Run as a module, it
prepares the manifest; loading definitions only reads it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.lineage import ColumnLineage, column_lineage
from resources.locks import write_atomically

# A folder of its own: what an analyst runs in the project writes to target/ and must not change the graph.
PIPELINE_TARGET = DBT_PROJECT / "target" / "pipeline"
MANIFEST = PIPELINE_TARGET / "manifest.json"
LINEAGE_FILE_NAME = "column_lineage.json"
_SOURCE_FOLDERS = ("models", "macros", "tests", "plugins")
_ERROR_LINES = 20

Node = Mapping[str, Any]


class ManifestError(RuntimeError):
    """The dbt project was not prepared, or cannot be. Says what to run."""


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


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ManifestError(f"the dbt project is not prepared ({path.name} is missing); run `make manifest`") from None
    except ValueError:
        raise ManifestError(f"{path.name} of the dbt project is damaged; run `make manifest`") from None


def tables(manifest: Mapping[str, Any]) -> list[Node]:
    """The models that become tables, in alphabetical order; ephemeral ones are part of those."""
    nodes = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
    ]
    return sorted(nodes, key=lambda node: str(node["unique_id"]))


def asset_path(node: Node) -> tuple[str, ...]:
    """The asset key of a source or model: protected/…, statistics/…, warehouse/<model>, mart/<stakeholder>/<model>."""
    if node["resource_type"] == "source":
        meta = node["config"]["meta"]
        return (str(node["source_name"]), str(meta["stakeholder"]), str(meta["dataset"]))
    stakeholder = mart_stakeholder(node)
    return ("mart", stakeholder, str(node["name"])) if stakeholder else ("warehouse", str(node["name"]))


def mart_stakeholder(node: Node) -> str | None:
    """Whose mart a model is part of, by its folder; None for a model that is in no mart."""
    folders = node["fqn"][1:-1]
    return str(folders[1]) if len(folders) == 2 and folders[0] == "mart" else None


def stakeholder_marts(manifest: Mapping[str, Any]) -> dict[str, list[Node]]:
    """The mart models by stakeholder, both in alphabetical order."""
    marts: dict[str, list[Node]] = {}
    for node in tables(manifest):
        stakeholder = mart_stakeholder(node)
        if stakeholder:
            marts.setdefault(stakeholder, []).append(node)
    return dict(sorted(marts.items()))


def upstream_sources(manifest: Mapping[str, Any], nodes: Collection[Node]) -> set[tuple[str, str]]:
    """(schema, table) of every source that the models read, directly or through others."""
    waiting = [str(node["unique_id"]) for node in nodes]
    seen: set[str] = set()
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            waiting += manifest["parent_map"].get(unique_id, [])
    sources = [manifest["sources"][unique_id] for unique_id in seen if unique_id in manifest["sources"]]
    return {(source["schema"], source["identifier"]) for source in sources}


# ── preparing ────────────────────────────────────────────────────────────────────────────


def prepare_manifest(target: Path = PIPELINE_TARGET, *, project: Path = DBT_PROJECT) -> Path:
    """Compile `project` into `target` unless nothing changed since; returns the manifest.

    Needs no database, key, network or home folder. Raises ManifestError with what dbt complains about.
    """
    manifest = target / "manifest.json"
    lineage = target / LINEAGE_FILE_NAME
    if _is_newer(lineage, manifest) and all(_is_newer(manifest, source) for source in _source_files(project)):
        return manifest
    _compile(target, project)
    load_manifest.cache_clear()
    load_lineage.cache_clear()
    write_atomically(lineage, json.dumps(column_lineage(_read(manifest)), indent=1, sort_keys=True).encode())
    return manifest


def _compile(target: Path, project: Path) -> None:
    command = [str(dbt_executable()), "--quiet", "--log-level-file", "none", "compile", "--target", "pipeline"]
    command += ["--no-introspect", "--no-populate-cache", "--target-path", str(target)]
    command += ["--project-dir", str(project), "--profiles-dir", str(project)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_ERROR_LINES:])
        raise ManifestError(f"dbt cannot compile the project; mend it and run `make manifest`:\n{said}")


def _source_files(project: Path) -> Iterator[Path]:
    yield from project.glob("*.yml")
    for folder in _SOURCE_FOLDERS:
        yield from (path for path in (project / folder).rglob("*") if path.suffix in (".sql", ".yml", ".md", ".py"))


def _is_newer(made: Path, source: Path) -> bool:
    return made.exists() and source.exists() and made.stat().st_mtime_ns >= source.stat().st_mtime_ns


if __name__ == "__main__":
    prepare_manifest()
