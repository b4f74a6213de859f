"""What if: everything that a change of one column, or its loss, reaches.

Here belongs telling apart what a column's value goes into and what it only decides about; how many people stand behind
it is told by what is stored, and so by whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.lineage.graph import ColumnRef, Kind, LineageGraph


@dataclass(frozen=True)
class Impact:
    """What comes from a column. `by_value`: computed from it; `by_rows`: it decides which rows there are, or how they
    are grouped. `subjects`: the kinds of people whom the table of the column is about."""

    column: ColumnRef
    by_value: tuple[ColumnRef, ...]
    by_rows: tuple[ColumnRef, ...]
    subjects: tuple[Subject, ...]

    @property
    def marts(self) -> tuple[str, ...]:
        """The marts that are reached."""
        return _assets((*self.by_value, *self.by_rows), "mart")

    @property
    def published(self) -> tuple[str, ...]:
        """The published files that are reached."""
        return _assets((*self.by_value, *self.by_rows), "published")


def impact_of(graph: LineageGraph, column: ColumnRef) -> Impact:
    """What comes from a column. Raises LineageError for one that is not in the graph."""
    everything = graph.downstream(column)
    by_value = graph.downstream(column, kinds=[Kind.DIRECT])
    return Impact(column, tuple(sorted(by_value)), tuple(sorted(everything - by_value)), _subjects(graph, column))


def _subjects(graph: LineageGraph, column: ColumnRef) -> tuple[Subject, ...]:
    """Whom the contract of the asset is about; where none declares it, those of the contracts that it comes from."""
    contracts = {
        "/".join(contract.asset_key): contract
        for layer in ("raw", "conformed", "protected")
        for contract in registry.tables(layer).values()
    }
    asset = column.asset.replace("source/", "raw/", 1)
    concerned = [asset] if asset in contracts else sorted({ref.asset for ref in graph.upstream(column)})
    named = {subject for one in concerned if one in contracts for subject in contracts[one].subjects}
    return tuple(subject for subject in Subject if subject in named)


def _assets(refs: Iterable[ColumnRef], layer: str) -> tuple[str, ...]:
    return tuple(sorted({ref.asset for ref in refs if ref.asset.startswith(f"{layer}/")}))
