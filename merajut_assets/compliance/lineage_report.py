"""The report about a mart for whoever asks where its figures come from: picture, proof, and the checks it rests on.

Here belongs the page, as one HTML file that needs nothing else. What is proved and drawn is `lineage`'s; when it is
made, the assets'. It holds names and numbers of columns, paths and versions, and no value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path

from merajut_assets.lineage import render
from merajut_assets.lineage.evidence import Evidence
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.labels import Labels
from merajut_assets.lineage.proof import Proof
from resources.lakehouse import Lakehouse
from resources.locks import write_atomically

_STYLE = """
@page { size: A4 landscape; margin: 0 }
body { font: 11pt/1.4 Helvetica, Arial, sans-serif; color: #1f2933; margin: 0 }
svg { display: block; width: 100%; height: auto; page-break-after: always }
main { padding: 12mm 14mm }
h1 { font-size: 16pt } h2 { font-size: 12pt; margin-top: 8mm }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: 1.2mm 3mm 1.2mm 0; border-bottom: 1px solid #cbd2d9; vertical-align: top }
.holds { color: #1b6e53 } .fails { color: #b00020 }
"""


def report_page(graph: LineageGraph, mart: str, labels: Labels, proof: Proof, evidence: Evidence | None) -> str:
    """The report about a mart as HTML. Raises LineageError for one that the graph does not know."""
    verdict = f"{'✓' if proof.holds else '✗'} {proof}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>Lineage of {escape(mart)}</title><style>{_STYLE}</style></head><body>",
        render.svg(graph, mart, labels, findings=[verdict, *_resting_on(proof)]),
        f"<main><h1>{escape(mart)}</h1>",
        f'<p class="{"holds" if proof.holds else "fails"}"><b>{escape(verdict)}</b></p>',
        *_faults(proof),
        "<h2>Privacy steps that the proof rests on, and their checks</h2>",
        *_table(("dataset or statistic", "step", "paths protected", "check"), _checks(proof, evidence)),
        "<h2>Columns</h2>",
        *_table(
            ("column", "sensitivity"),
            [(ref.column, labels[ref].replace("_", " ")) for ref in graph.assets[mart]],
        ),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def report_name(mart: str) -> str:
    """How the file with the report about a mart is called."""
    return f"{mart.removeprefix('mart/').replace('/', '-')}.html"


def store_report(lakehouse: Lakehouse, mart: str, page: str) -> Path:
    """Write a report beside the other evidence; returns where."""
    path = lakehouse.settings.lineage_reports / report_name(mart)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())
    return path


def remove_reports_of_others(lakehouse: Lakehouse, marts: Collection[str]) -> list[str]:
    """Remove the reports about what is none of these marts any more, which nobody renews; returns their names."""
    kept = {report_name(mart) for mart in marts}
    left = sorted(path for path in lakehouse.settings.lineage_reports.glob("*.html") if path.name not in kept)
    for path in left:
        path.unlink()
    return [path.name for path in left]


def _resting_on(proof: Proof) -> list[str]:
    named = ", ".join(f"{one.asset} ({one.step.replace('_', ' ')})" for one in proof.steps)
    return [f"Rests on the checks of {named}"] if named else []


def _faults(proof: Proof) -> Iterable[str]:
    if proof.faults:
        yield f"<ul>{''.join(f'<li>{escape(fault)}</li>' for fault in proof.faults)}</ul>"


def _checks(proof: Proof, evidence: Evidence | None) -> list[tuple[str, str, str, str]]:
    return [
        (one.asset, one.step.replace("_", " "), f"{paths:,}", _check(one.asset, evidence))
        for one, paths in proof.steps.items()
    ]


def _check(asset: str, evidence: Evidence | None) -> str:
    if evidence is None:
        return "not asked for: nothing was published yet"
    return evidence.lacking(asset) or f"passed on version {evidence.stored[asset]}, release {evidence.release}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in header)}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</table>"
