"""The privacy class of every model column in dbt's YAML, by which dbt's documentation shows it.

Here belongs writing computed classes into the text that analysts write; how they are computed is in `labels`. Run as
a module, it writes them. Of a file nothing else is touched: comments, order and layout are its authors'.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from merajut_assets.lineage.sql import asset_path
from merajut_assets.marts.dbt_sources import DBT_PROJECT
from merajut_assets.marts.labels import ColumnLabels
from merajut_assets.marts.project import ManifestError, load_labels, load_manifest, prepare_manifest, tables
from resources.locks import write_atomically

_MODELS = re.compile(r"^models:", re.MULTILINE)
_MODEL = re.compile(r"  - name: (?P<name>\w+)\s*")
_COLUMN = re.compile(r"      - name: (?P<name>\w+)\s*")
_LABEL = re.compile(r"        config: \{meta: \{privacy: \w+\}\}\s*")
_REMEDY = "write it in block style as in the other files, with `config: {meta: {privacy: …}}` of a column on one line"


class LabelsError(ValueError):
    """A YAML file is laid out so that labels cannot be written into it. Names file and remedy."""


def labels_by_model(manifest: Mapping[str, Any], labels: ColumnLabels) -> dict[str, Mapping[str, str]]:
    """The computed classes by name of the table model, and by column."""
    return {str(node["name"]): labels["/".join(asset_path(node))] for node in tables(manifest)}


def with_labels(text: str, labels: Mapping[str, Mapping[str, str]], name: str) -> str:
    """The YAML of some models with the class of each of their columns. `name`: of the file, for errors. Raises
    LabelsError when anything else would change, or a column would be left without."""
    written = "\n".join(_labelled(text.splitlines(), labels)) + "\n"
    before, after = yaml.safe_load(text), yaml.safe_load(written)
    for model in before.get("models", ()):
        for column in model.get("columns", ()) if model["name"] in labels else ():
            config = column.setdefault("config", {})
            config.setdefault("meta", {})["privacy"] = labels[model["name"]].get(column["name"])
    if before != after:
        raise LabelsError(f"{name}: the privacy classes of its columns cannot be written into it; {_REMEDY}")
    return written


def _labelled(lines: list[str], labels: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    classes: Mapping[str, str] = {}
    for line in lines:
        if classes and _LABEL.fullmatch(line):
            continue
        yield line
        if model := _MODEL.fullmatch(line):
            classes = labels.get(model["name"], {})
        elif (column := _COLUMN.fullmatch(line)) and column["name"] in classes:
            yield f"        config: {{meta: {{privacy: {classes[column['name']]}}}}}"


def write_labels(project: Path = DBT_PROJECT) -> list[Path]:
    """Write the classes into the YAML of all models; returns the files that changed. Raises LabelsError before any file
    is written, and ManifestError when the project is not prepared."""
    labels = labels_by_model(load_manifest(), load_labels())
    files = sorted(path for pattern in ("*.yml", "*.yaml") for path in (project / "models").rglob(pattern))
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    written = {path: with_labels(text, labels, path.name) for path, text in texts.items() if _MODELS.search(text)}
    changed = [path for path, text in written.items() if text != texts[path]]
    for path in changed:
        write_atomically(path, written[path].encode())
    return changed


if __name__ == "__main__":
    try:
        prepare_manifest()
        if write_labels():
            prepare_manifest()
    except (LabelsError, ManifestError) as error:
        sys.exit(str(error))
