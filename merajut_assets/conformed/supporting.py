"""Source tables that an entity takes columns from, and not its rows: payments of a gift, shifts of an hour.

No entity is named after them, and still their rows keep the rules or are refused: what refers to
nothing, or to a refused row, goes to quarantine with the entity that reads the table; and a row of
the entity that refers to a lost supporting row is lost itself. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from merajut_assets.conformed.conform import ORIGIN, POSITION, Conformed, primary_tables
from merajut_assets.conformed.entities import CHILDREN, child_links
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.raw import landing


def supporting_tables(tables: tuple[TableContract, ...]) -> tuple[TableContract, ...]:
    """Those of some source tables of which no entity takes the rows."""
    primary = {table.identifier for entity in registry.tables("conformed").values() for table in primary_tables(entity)}
    return tuple(table for table in tables if table.identifier not in primary)


def judge_references(
    entity: TableContract, judged: Conformed, good: Mapping[str, pl.DataFrame], every_child: pl.DataFrame
) -> tuple[Conformed, dict[str, pl.Series]]:
    """`judged` with the rows that refer to a lost supporting row refused (`<column>.reference`),
    and the failed rules of each supporting table, parallel to its good rows.

    `good` maps source tables to their good rows. A supporting table is read after those it refers
    to; other references are the entity's to judge."""
    primary = {table.identifier: table for table in primary_tables(entity)}
    waiting = {
        table.identifier: table
        for table in supporting_tables(tuple(registry.raw_table(*name.split(".")) for name in good))
    }
    # A table that is only read along, such as the children for their links, is judged where it is at home.
    at_home = {*primary, *waiting}
    parents = {
        name: {column.references.rpartition(".")[0] for column in table.columns if column.references} & at_home
        for name, table in waiting.items()
    }
    alive: dict[str, pl.Series] = {}
    failed: dict[str, pl.Series] = {}

    def settle() -> None:
        """Judge the supporting tables of which all parents have been judged."""
        known = -1
        while known < len(failed):
            known = len(failed)
            for name, table in waiting.items():
                if name not in failed and parents[name] <= set(alive):
                    failed[name] = landing.combine_rules(_lost(table, good[name], alive), good[name].height)
                    alive[name] = good[name].filter(failed[name].is_null())[table.key[0]]

    settle()
    for name, table in primary.items():
        judged = _refuse(judged, name, _lost(table, good[name], alive))
    alive |= {name: _surviving(table, judged, good[name], every_child) for name, table in primary.items()}
    settle()
    return judged, failed


def _lost(table: TableContract, rows: pl.DataFrame, alive: Mapping[str, pl.Series]) -> list[tuple[str, pl.Series]]:
    """(rule, mask of the rows that refer to nothing that is alive)."""
    broken = []
    for column in table.columns:
        parent = column.references.rpartition(".")[0] if column.references else ""
        if parent in alive and column.name in rows.columns:
            values = rows[column.name]
            broken.append((f"{column.name}.reference", values.is_not_null() & ~values.is_in(alive[parent].implode())))
    return broken


def _refuse(judged: Conformed, origin: str, broken: list[tuple[str, pl.Series]]) -> Conformed:
    rules = [judged.failed_rules]
    for rule, mask in broken:
        is_lost = (judged.candidates[ORIGIN] == origin) & judged.candidates[POSITION].is_in(mask.arg_true().implode())
        rules.append(landing.combine_rules([(rule, is_lost)], is_lost.len()).alias(rule))
    joined = pl.DataFrame(rules).select(
        pl.concat_str(pl.all(), separator=landing.RULE_SEPARATOR, ignore_nulls=True)
        .replace("", None)
        .alias(landing.FAILED_RULES)
    )
    return Conformed(judged.candidates, joined[landing.FAILED_RULES])


def _surviving(table: TableContract, judged: Conformed, rows: pl.DataFrame, every_child: pl.DataFrame) -> pl.Series:
    """Keys of the source rows that are in the entity, those of a child's merged registrations included."""
    is_refused = (judged.candidates[ORIGIN] == table.identifier) & judged.failed_rules.is_not_null()
    positions = judged.candidates[POSITION].filter(is_refused)
    key = table.key[0]
    if table.identifier != CHILDREN:
        return rows.with_row_index(POSITION).filter(~pl.col(POSITION).is_in(positions.implode()))[key]
    links = child_links(every_child)
    is_passed = (judged.candidates[ORIGIN] == table.identifier) & judged.failed_rules.is_null()
    passed = rows[judged.candidates[POSITION].filter(is_passed).to_list()].select(key)
    children = passed.join(links, on=key)["linked_id"]
    return links.filter(pl.col("linked_id").is_in(children.implode()))[key]
