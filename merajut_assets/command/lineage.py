"""`merajut lineage`: proving, asking what a change reaches, and showing where something comes from.

Belongs here: what each command says, as text and as JSON. The proof, the graph and its picture are `lineage`'s; what
goes into them, `marts.proof`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from merajut_assets.command.exits import BadInput
from merajut_assets.compliance.lineage_report import report_name
from merajut_assets.contracts.base import Subject
from merajut_assets.lineage import render
from merajut_assets.lineage.graph import ColumnRef, LineageError
from merajut_assets.lineage.impact import Impact, impact_of
from merajut_assets.lineage.labels import labels_of
from merajut_assets.lineage.proof import Proof
from merajut_assets.lineage.sql import dbt_graph
from merajut_assets.marts.project import MANIFEST, NOT_RENEWED, ManifestError, is_renewed, load_manifest
from merajut_assets.marts.proof import prove_project, prove_release, whole_graph
from partitions import cut_off
from resources.lakehouse import Lakehouse


class Format(StrEnum):
    """What `show` can make."""

    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"


def proof(lakehouse: Lakehouse, manifest: Path | None, release: str | None) -> Proof:
    """The proof of the project, or of a release with its evidence. Raises BadInput for a manifest that cannot be used,
    for the prepared one when the project was changed since, and for a release that is none."""
    path = manifest or MANIFEST
    try:
        if manifest is None and is_outdated():
            raise BadInput(f"{NOT_RENEWED}; run `make manifest`, which also says what keeps it from being prepared")
        assets = _assets_to_prove(path)
        if release is None:
            return prove_project(path, assets=assets)
        cut_off(release)
        return prove_release(lakehouse, release, manifest_path=path, assets=assets)
    except ManifestError as error:
        raise BadInput(str(error)) from None


def is_outdated() -> bool:
    """Whether the dbt project was changed since it was prepared. Raises ManifestError when it never was."""
    load_manifest(MANIFEST)
    return not is_renewed(MANIFEST)


def outdated_warning() -> str | None:
    """What to say beside an answer that is read off the prepared manifest, when the project was changed since."""
    try:
        return "the dbt project was changed since; this is how it was prepared last" if is_outdated() else None
    except ManifestError:
        return None  # then there is no answer, and that says why


def _assets_to_prove(path: Path) -> list[str]:
    """The assets that must have a lineage in a manifest. What dbt makes has one in the prepared manifest, and need not
    be in another."""
    from merajut_assets.definitions import assets_with_data

    load_manifest(path)
    made_by_dbt = () if path == MANIFEST else dbt_graph(load_manifest(MANIFEST)).assets
    return [asset for asset in assets_with_data() if asset not in made_by_dbt]


def impact(column: str) -> Impact:
    """What comes from a column, written `raw/panti/children.birth_date`. Raises BadInput."""
    try:
        return impact_of(whole_graph(), ColumnRef.parse(column))
    except (LineageError, ManifestError) as error:
        raise BadInput(str(error)) from None


def impact_lines(found: Impact, people: dict[Subject, int | None]) -> Iterable[str]:
    """An impact in words, for a terminal."""
    yield f"{found.column} reaches {_several(len(found.by_value) + len(found.by_rows), 'column')}"
    for title, refs in (("its value goes into", found.by_value), ("it decides about the rows of", found.by_rows)):
        for asset, columns in _by_asset(refs).items():
            yield f"  {title} {asset}: {', '.join(columns)}"
    yield f"marts: {', '.join(found.marts) or 'none'}"
    yield f"published files: {', '.join(found.published) or 'none'}"
    yield f"report pages: {', '.join(map(report_name, found.marts)) or 'none'}"
    told = [f"{subject}: {'not landed yet' if number is None else f'{number:,}'}" for subject, number in people.items()]
    where = ", ".join(table.identifier for table in found.tables)
    yield (
        f"people of whom {where} has rows, each counted once: {', '.join(told)}"
        if told
        else "people: none has rows here"
    )


def impact_facts(found: Impact, people: dict[Subject, int | None]) -> dict[str, Any]:
    """An impact for JSON."""
    return {
        "column": str(found.column),
        "by_value": [str(ref) for ref in found.by_value],
        "by_rows": [str(ref) for ref in found.by_rows],
        "marts": list(found.marts),
        "published": list(found.published),
        "pages": [report_name(mart) for mart in found.marts],
        "people": {subject.value: number for subject, number in people.items()},
        "people_of": [table.identifier for table in found.tables],
    }


def show(asset: str, form: Format) -> str:
    """The lineage of an asset as a picture or as data. Raises BadInput for an unknown asset."""
    try:
        graph = whole_graph()
        labels = labels_of(graph)
        if form is Format.SVG:
            return render.svg(graph, asset, labels)
        if form is Format.MERMAID:
            return render.mermaid(graph, asset, labels)
        return render.as_json(graph, asset, labels)
    except (LineageError, ManifestError) as error:
        raise BadInput(str(error)) from None


def proof_text(found: Proof, as_json: bool) -> str:
    """A proof for a terminal: one line when it holds, else what speaks against it; or JSON."""
    if as_json:
        return json.dumps(found.as_facts(), indent=1)
    return "\n".join([str(found), *found.faults])


def _by_asset(refs: Iterable[ColumnRef]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref in refs:
        found.setdefault(ref.asset, []).append(ref.column)
    return found


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
