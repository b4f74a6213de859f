"""The data dictionary, rendered from the contracts: `python -m merajut_assets.contracts.dictionary`.

docs/data_dictionary.md is this module's output and is never edited; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Column, TableContract

DICTIONARY = Path(__file__).parents[2] / "docs" / "data_dictionary.md"

_LAYERS = {
    "raw": "Raw: tables as their source systems keep them",
    "conformed": "Conformed: one row per real holder",
    "protected": "Protected: what stakeholders' marts are made of",
}


def render_dictionary() -> str:
    """The dictionary as Markdown: a section per layer, a table per declared table."""
    parts = ["# Data dictionary", "", "Generated from `merajut_assets/contracts` by `make docs`. Do not edit.", ""]
    for layer, title in _LAYERS.items():
        parts += [f"## {title}", ""]
        for _, contract in sorted(registry.tables(layer).items()):
            parts += _table(contract)
    return "\n".join(parts)


def _table(contract: TableContract) -> Iterable[str]:
    subjects = ", ".join(contract.subjects) or "no person"
    yield f"### {'/'.join(contract.asset_key)}"
    yield ""
    yield contract.description
    yield ""
    yield (
        f"Purpose: {contract.purpose}. Owner: {contract.owner}. About: {subjects}. Legal basis: "
        f"{contract.legal_basis.value}. Jurisdiction: {contract.jurisdiction}. Kept: {contract.retention_days} days."
    )
    yield ""
    yield "| column | type | class | meaning |"
    yield "|---|---|---|---|"
    for column in contract.columns:
        yield f"| {column.name} | {str(column.dtype).lower()} | {column.privacy.value} | {_meaning(column)} |"
    yield ""


def _meaning(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    need = (
        " Key."
        if column.key
        else f" Required when {column.required_when}."
        if column.required_when
        else " Required."
        if column.required
        else ""
    )
    public = f" Public here: {', '.join(column.holds)}." if column.holds else ""
    text = f"{column.description}{unit}.{need}{public}"
    return text.replace("|", "\\|").replace("*", "\\*")


def write_dictionary() -> Path:
    DICTIONARY.write_text(render_dictionary(), encoding="utf-8")
    return DICTIONARY


if __name__ == "__main__":
    write_dictionary()
