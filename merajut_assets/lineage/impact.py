"""What if: everything that a change of one column, or its loss, reaches.

Here belongs telling apart what a column's value goes into and what it only decides about; how many people stand behind
it is told by what is stored, and so by whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.lineage.graph import ColumnRef, Kind, LineageGraph


@dataclass(frozen=True)
class Impact:
    """What comes from a column. `by_value`: computed from it; `by_rows`: it decides which rows there are, or how they
    are grouped. `tables`: the raw tables about people whose rows stand behind the column: its own, or those that its
    value is computed from."""

    column: ColumnRef
    by_value: tuple[ColumnRef, ...]
    by_rows: tuple[ColumnRef, ...]
    tables: tuple[TableContract, ...]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The kinds of people whom these tables are about."""
        named = {subject for table in self.tables for subject in table.subjects}
        return tuple(subject for subject in Subject if subject in named)

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
    return Impact(column, tuple(sorted(by_value)), tuple(sorted(everything - by_value)), _tables(graph, column))


def _tables(graph: LineageGraph, column: ColumnRef) -> tuple[TableContract, ...]:
    landed = column.asset.replace("source/", "raw/", 1)
    about_people = {
        "/".join(contract.asset_key): contract for contract in registry.tables("raw").values() if contract.subjects
    }
    behind = {ref.asset for ref in graph.upstream(column, kinds=[Kind.DIRECT])}
    concerned = {landed} if landed.startswith("raw/") else behind
    return tuple(contract for asset, contract in sorted(about_people.items()) if asset in concerned)


def _assets(refs: Iterable[ColumnRef], layer: str) -> tuple[str, ...]:
    return tuple(sorted({ref.asset for ref in refs if ref.asset.startswith(f"{layer}/")}))
