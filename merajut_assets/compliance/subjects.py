"""Who a person is in the lake: their source ids, and the tokens under which conformed knows them.

Belongs here: finding and counting people by what raw keeps in clear (source ids and keyed NIK tokens). Does not
belong here: erasing them (`erasure`) or taking an older table back (`restoring`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from merajut_assets.conformed import conform
from merajut_assets.conformed.entities import CHILDREN, child_links
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.privacy.consent import restricts
from merajut_assets.raw import landing
from resources.encryption import tokens
from resources.lake import TableSchemaError
from resources.lakehouse import Lakehouse
from resources.vault import FileKeyDestroyed

NIK_TOKEN = "nik_token"
_COUNT = "impact"  # who reads, for the audit log
_LAYER = "conformed"


class UnknownSubject(ValueError):
    """No landed table tells about such a person. Names kind and system, never the id."""


@dataclass(frozen=True)
class TokenColumn:
    """A column of a stored conformed table that may hold tokens of a kind of person.

    `goes`: whether a row that names an erased person goes with them; else it stays without the name."""

    table: str
    column: str
    goes: pl.Expr


def tables_about(subject: Subject, system: str) -> list[tuple[TableContract, str]]:
    """The source tables, of whatever system, with rows about people whom `system` gives their ids, and
    the column of the id. Raises UnknownSubject when there is none."""
    found = [
        (table, table.subject_columns[subject])
        for table in registry.tables("raw").values()
        if subject in table.subject_columns and landing.home_system(table, table.subject_columns[subject]) == system
    ]
    if not found:
        raise UnknownSubject(
            f"no table of system {system} is about a {subject}; known: {', '.join(sorted(_known_subjects()))}"
        )
    return found


def _known_subjects() -> set[str]:
    return {
        f"{subject} of {landing.home_system(table, column)}"
        for table in registry.tables("raw").values()
        for subject, column in table.subject_columns.items()
    }


def linked_ids(lakehouse: Lakehouse, subject: Subject, system: str, source_id: str) -> list[str]:
    """All source ids of the person who has `source_id`, as the vault knows them ("panti:…"), sorted.

    Children who are registered several times are linked as conformed links them, by a valid NIK: the
    registrations whose last known NIK token, over all landed versions, is that of the given one. (A NIK
    that was corrected later does not count, because it may have been another child's.)
    Raises UnknownSubject when nothing with that id was ever landed."""
    wanted = f"{system}:{source_id}"
    tables = tables_about(subject, system)
    is_known = any(
        (landing.subject_ids(frame, table, column) == wanted).any()
        for table, column in tables
        for frame in _versions(lakehouse, table, column)
    )
    if not is_known and not lakehouse.vault.destroyed(subject, [wanted]):
        before = [table.identifier for table, column in tables if _lacks(lakehouse, table, column)]
        land_again = f"; {', '.join(before)} was landed before its contract had that id: `merajut run` lands it again"
        raise UnknownSubject(
            f"no {subject} with that id was landed from system {system}; check id, kind and system "
            f"(see `merajut status` for what was landed){land_again if before else ''}"
        )
    linked = {wanted}
    if subject is Subject.CHILD and system == CHILDREN.split(".")[0]:
        linked |= set(_same_nik(lakehouse, source_id, system))
    return sorted(linked)


def _same_nik(lakehouse: Lakehouse, source_id: str, system: str) -> list[str]:
    children = registry.raw_table(*CHILDREN.split("."))
    last_known: dict[str, str] = {}
    for frame in _versions(lakehouse, children, "child_id", NIK_TOKEN):
        last_known.update(frame.drop_nulls().select("child_id", NIK_TOKEN).iter_rows())
    nik = last_known.get(source_id)
    return [f"{system}:{child}" for child, other in last_known.items() if nik is not None and other == nik]


def _versions(lakehouse: Lakehouse, table: TableContract, *columns: str) -> Iterator[pl.DataFrame]:
    """These columns of every landed version that can be read, oldest first."""
    for version in lakehouse.lake.raw_versions(table.system, table.name):
        try:
            yield lakehouse.read_raw(version, columns=columns, reader="compliance", purpose="who an id belongs to")
        except TableSchemaError:
            # Landed under a contract without one of the columns, so that there is nothing to learn from it.
            continue
        except FileKeyDestroyed:
            # Its retention is over and with it everything that could be erased.
            continue


def _lacks(lakehouse: Lakehouse, table: TableContract, column: str) -> bool:
    """Whether what was landed last lacks a column."""
    return lakehouse.lake.latest_raw(table.system, table.name) is not None and _newest(lakehouse, table, column) is None


def subject_tokens(lakehouse: Lakehouse, subject: Subject, ids: list[str]) -> pl.Series:
    """The tokens under which conformed knows these source ids."""
    return tokens(pl.Series("token", ids, dtype=pl.String), lakehouse.token_key(subject))


def people_in(lakehouse: Lakehouse, tables: Iterable[TableContract]) -> dict[Subject, int | None]:
    """How many people raw tables have rows of, as they were landed last, whatever was refused of them later; each is
    counted once over all tables, and so is a child of several registrations. None for a kind of people of whom nothing
    was landed yet that has their id: their column may have been declared since. Reads ids and NIK tokens, and nobody's
    row."""
    people: dict[Subject, set[str] | None] = {}
    tables = list(tables)
    linked = _one_id_of_each_child(lakehouse) if any(Subject.CHILD in table.subject_columns for table in tables) else {}
    for table in tables:
        for subject, column in table.subject_columns.items():
            people.setdefault(subject, None)
            rows = _newest(lakehouse, table, column)
            if rows is not None:
                ids = landing.subject_ids(rows, table, column)
                if subject is Subject.CHILD:
                    ids = ids.replace(linked)
                people[subject] = (people[subject] or set()) | set(ids.drop_nulls().to_list())
    return {subject: None if ids is None else len(ids) for subject, ids in people.items()}


def _one_id_of_each_child(lakehouse: Lakehouse) -> dict[str, str]:
    """By the id of every registration that of the one which stands for the child, as conformed links them."""
    children = registry.raw_table(*CHILDREN.split("."))
    rows = _newest(lakehouse, children, "child_id", NIK_TOKEN)
    if rows is None:
        return {}
    links = child_links(rows)
    return {f"{children.system}:{child}": f"{children.system}:{linked}" for child, linked in links.iter_rows()}


def _newest(lakehouse: Lakehouse, table: TableContract, *columns: str) -> pl.DataFrame | None:
    """These columns of what was landed last; None without it, or when it lacks one of them."""
    version = lakehouse.lake.latest_raw(table.system, table.name)
    if version is None:
        return None
    try:
        return lakehouse.read_raw(version, columns=columns, reader=_COUNT, purpose="number of people")
    except TableSchemaError:
        return None


def erased_ids(lakehouse: Lakehouse, subject: Subject) -> set[str]:
    """Source ids ("panti:…") of everybody of a kind who was erased and of whom raw still knows the id."""
    ids: set[str] = set()
    if lakehouse.vault.erasures():
        for table in registry.tables("raw").values():
            column = table.subject_columns.get(subject)
            if column is not None:
                for frame in _versions(lakehouse, table, column):
                    ids |= set(landing.subject_ids(frame, table, column).drop_nulls().to_list())
    return lakehouse.vault.destroyed(subject, sorted(ids))


def erased_tokens(lakehouse: Lakehouse, subject: Subject) -> pl.Series:
    """Tokens of everybody of a kind who was erased and of whom raw still knows the id."""
    return subject_tokens(lakehouse, subject, sorted(erased_ids(lakehouse, subject)))


def token_columns(lakehouse: Lakehouse, subject: Subject) -> list[TokenColumn]:
    """Every stored column of conformed that may hold a token of this kind of person, whatever the contract was under
    which it was written."""
    lake = lakehouse.lake
    return [column for table in lake.tables(_LAYER) for column in token_columns_of(table, lake.schema(table), subject)]


def token_columns_of(table: str, columns: Collection[str], subject: Subject) -> list[TokenColumn]:
    """Those of the `columns` of a conformed table that may hold a token of this kind of person.

    The contract tells whether a row is about somebody, or only refers to them, as an employee's row does to a
    manager. Of a column that it has no longer nobody can tell any more: the row goes, and comes back with the next
    build where its source still has it."""
    entity = registry.tables(_LAYER).get(table.removeprefix(f"{_LAYER}/"))
    declared = {} if entity is None else {column.name: column.sources for column in entity.columns}
    found = []
    for name in sorted(name for name in columns if name.endswith("_token")):
        if name not in declared:
            found.append(TokenColumn(table, name, pl.lit(True)))
        elif about := _is_about(subject, declared[name]):
            found.append(TokenColumn(table, name, _goes(subject, declared[name], columns, is_about=any(about))))
    return found


def _goes(subject: Subject, sources: tuple[str, ...], columns: Collection[str], *, is_about: bool) -> pl.Expr:
    """`TokenColumn.goes` for a declared column. Of rows about somebody, decisions that restrict outlive them."""
    if not is_about:
        return pl.lit(False)
    if not _is_outlived(subject, sources):
        return pl.lit(True)
    # Without the columns that tell, every decision stays: a withdrawal must not be taken for none.
    return ~restricts() if set(restricts().meta.root_names()) <= set(columns) else pl.lit(False)


def _is_about(subject: Subject, sources: tuple[str, ...]) -> list[bool]:
    """For each source column with ids of such people, whether its rows are about them."""
    found = []
    for path in sources:
        system, name, column = path.split(".")
        table = registry.raw_table(system, name)
        declared = table.column(column).subject
        if table.subjects and conform.token_subject(table, column) is subject:
            found.append(declared is subject)
    return found


def _is_outlived(subject: Subject, sources: tuple[str, ...]) -> bool:
    return any(subject in registry.raw_table(*path.split(".")[:2]).outlives for path in sources)


__all__ = [
    "TokenColumn",
    "UnknownSubject",
    "erased_ids",
    "erased_tokens",
    "linked_ids",
    "people_in",
    "subject_tokens",
    "tables_about",
    "token_columns",
    "token_columns_of",
]
