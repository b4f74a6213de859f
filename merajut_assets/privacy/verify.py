"""The independent check of a release: what a table protects, told from the table alone.

Belongs here: counting classes in DuckDB SQL over frames in memory. It must know nothing of
policies, hierarchies or the search, so that a fault there cannot hide itself here; it imports
none of the package's other modules for that reason.
"""

# ruff: noqa: S608 - SQL is put together from quoted identifiers and integers only, never from values

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl


class VerificationError(ValueError):
    """The frame cannot be verified as asked. Names columns, never values."""


def verify(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str] = (),
    subject: str | None = None,
    *,
    k: int | None = None,
    l: int | None = None,  # noqa: E741 (the model's own name)
) -> dict[str, Any]:
    """What `frame` reaches, by classes of equal `quasi_identifiers` (nulls are equal to each other).

    Returns `rows`; `classes`; `k`, the least number of distinct subjects in a class (rows, without a
    subject column; 0 for an empty frame); `average_class`; `l`, per sensitive column the least number
    of distinct values in a class, a null being no value. Given `k` or `l` as thresholds, also
    `classes_below_k`, `rows_below_k`, `classes_below_l` and `rows_below_l` (per column).
    Raises VerificationError when a column is missing or the subject column holds nulls.
    """
    names = [*quasi_identifiers, *sensitive, *([subject] if subject is not None else [])]
    _require(frame, names, "release")
    if subject is not None and frame.get_column(subject).null_count():
        raise VerificationError(f"subject column {subject!r} holds nulls; its rows cannot be counted towards k")
    grouping = ", ".join(_quoted(name) for name in quasi_identifiers)
    counted = f"count(DISTINCT {_quoted(subject)})" if subject is not None else "count(*)"
    diversity = "".join(f", count(DISTINCT {_quoted(name)}) AS l_{place}" for place, name in enumerate(sensitive))
    least = "".join(f", coalesce(min(l_{place}), 0)" for place in range(len(sensitive)))
    below = ", ".join(
        f"count(*) FILTER ({column} < {threshold}), coalesce(sum(size) FILTER ({column} < {threshold}), 0)::BIGINT"
        for column, threshold in [("subjects", int(k or 0)), *((f"l_{p}", int(l or 0)) for p in range(len(sensitive)))]
    )
    sql = f"""
        WITH class AS (
            SELECT count(*) AS size, {counted} AS subjects{diversity}
            FROM release {f"GROUP BY {grouping}" if grouping else ""}
            HAVING count(*) > 0
        )
        SELECT coalesce(sum(size), 0)::BIGINT, count(*), coalesce(min(subjects), 0), avg(size)::DOUBLE, {below}{least}
        FROM class
    """
    row = _query({"release": frame.select(list(dict.fromkeys(names))) if names else frame}, sql)[0]
    facts: dict[str, Any] = {
        "rows": row[0],
        "classes": row[1],
        "k": row[2],
        "average_class": row[3] or 0.0,
        "l": dict(zip(sensitive, row[6 + 2 * len(sensitive) :], strict=True)),
    }
    if k is not None:
        facts.update(classes_below_k=row[4], rows_below_k=row[5])
    if l is not None:
        facts["classes_below_l"] = {name: row[6 + 2 * place] for place, name in enumerate(sensitive)}
        facts["rows_below_l"] = {name: row[7 + 2 * place] for place, name in enumerate(sensitive)}
    return facts


def verify_join(
    frames: Mapping[str, pl.DataFrame],
    pseudonym: str,
    quasi_identifiers: Mapping[str, Sequence[str]],
    sensitive: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """What datasets that share a pseudonym protect for one who joins them.

    A subject's signature is, per dataset, the set of its quasi-identifier combinations, or its
    absence; subjects with equal signatures in all datasets form a class. Returns `subjects`,
    `classes`, `k` (least subjects in a class) and `l` per `dataset.column`: least distinct non-null
    values among the classes that occur in that dataset. Absence counts as known to the attacker,
    which can only make the result stricter. All keys of the mappings are dataset names.
    """
    sensitive = sensitive or {}
    if unknown := sorted((set(quasi_identifiers) | set(sensitive)) - set(frames)):
        raise VerificationError(f"no frame is given for dataset(s) {', '.join(unknown)}")
    if silent := sorted(set(frames) - set(quasi_identifiers)):
        raise VerificationError(f"no quasi-identifiers are named for dataset(s) {', '.join(silent)}")
    tables: dict[str, pl.DataFrame] = {}
    signatures: list[str] = []
    diversities: list[tuple[str, int, str]] = []
    for place, (name, frame) in enumerate(frames.items()):
        columns = [pseudonym, *quasi_identifiers[name], *sensitive.get(name, ())]
        _require(frame, columns, name)
        if frame.get_column(pseudonym).null_count():
            raise VerificationError(f"dataset {name!r}: pseudonym column {pseudonym!r} holds nulls")
        tables[f"dataset_{place}"] = frame.select(list(dict.fromkeys(columns)))
        fields = ", ".join(f"q{n} := {_quoted(column)}" for n, column in enumerate(quasi_identifiers[name]))
        packed = f"struct_pack({fields})" if fields else "1"
        signatures.append(
            f"signature_{place} AS (SELECT {_quoted(pseudonym)} AS pseudonym, "
            f"list_sort(list(DISTINCT {packed})) AS signature FROM dataset_{place} GROUP BY {_quoted(pseudonym)})"
        )
        for column in sensitive.get(name, ()):
            diversities.append((f"{name}.{column}", place, column))
    places = range(len(tables))
    everyone = " UNION ".join(f"SELECT pseudonym FROM signature_{place}" for place in places)
    joins = " ".join(f"LEFT JOIN signature_{place} USING (pseudonym)" for place in places)
    keys = ", ".join(f"signature_{place}.signature" for place in places)
    named = ", ".join(f"signature_{place}.signature AS s{place}" for place in places)
    common = f"""
        WITH {", ".join(signatures)},
        everyone AS ({everyone}),
        member AS (SELECT pseudonym, dense_rank() OVER (ORDER BY {keys}) AS class, {named} FROM everyone {joins})
    """
    sizes = "SELECT coalesce(sum(n), 0)::BIGINT, count(*), coalesce(min(n), 0) FROM "
    subjects, classes, k = _query(tables, f"{common} {sizes} (SELECT count(*) AS n FROM member GROUP BY class)")[0]
    least: dict[str, int] = {}
    for label, place, column in diversities:
        distinct = f"SELECT count(DISTINCT dataset_{place}.{_quoted(column)}) AS n FROM member"
        joined = f"JOIN dataset_{place} ON dataset_{place}.{_quoted(pseudonym)} = member.pseudonym GROUP BY class"
        least[label] = _query(tables, f"{common} SELECT coalesce(min(n), 0) FROM ({distinct} {joined})")[0][0]
    return {"subjects": subjects, "classes": classes, "k": k, "l": least}


def _require(frame: pl.DataFrame, columns: Sequence[str], dataset: str) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise VerificationError(f"{dataset}: column(s) {', '.join(missing)} are not in the frame")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(tables: Mapping[str, pl.DataFrame], sql: str) -> list[tuple[Any, ...]]:
    # Without a temporary directory DuckDB cannot spill rows in plain text; it runs out of memory instead.
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        for name, frame in tables.items():
            connection.register(name, frame.to_arrow())
        try:
            return connection.execute(sql).fetchall()
        except duckdb.Error as error:
            # DuckDB's messages may quote values.
            raise VerificationError(f"the verification query failed ({type(error).__name__})") from None
