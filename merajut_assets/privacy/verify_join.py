"""Several datasets that share a pseudonym, judged as one who holds all of them would read them.

Belongs here: k and l of their join. Does not belong here: one dataset by itself (`verify`).
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from merajut_assets.privacy.verify_database import VerificationError, first_row, opened, renamed, require_columns


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
    values among the classes that occur in that dataset, None where none does. Absence counts as known to the attacker,
    which can only make the result stricter. All keys of the mappings are dataset names.
    """
    sensitive = sensitive or {}
    if unknown := sorted((set(quasi_identifiers) | set(sensitive)) - set(frames)):
        raise VerificationError(f"no frame is given for dataset(s) {', '.join(unknown)}")
    if silent := sorted(set(frames) - set(quasi_identifiers)):
        raise VerificationError(f"no quasi-identifiers are named for dataset(s) {', '.join(silent)}")
    tables: dict[str, pa.Table] = {}
    signatures: list[str] = []
    diversities: list[tuple[str, int, str]] = []
    for place, (name, frame) in enumerate(frames.items()):
        columns, values = quasi_identifiers[name], sensitive.get(name, ())
        require_columns(frame, [pseudonym, *columns, *values], name)
        if frame.get_column(pseudonym).null_count():
            raise VerificationError(f"dataset {name!r}: pseudonym column {pseudonym!r} holds nulls")
        tables[f"dataset_{place}"] = renamed(frame, pseudonym=[pseudonym], q=columns, s=values)
        packed = f"struct_pack({', '.join(f'q{n} := q{n}' for n in range(len(columns)))})" if columns else "1"
        signatures.append(
            f"signature_{place} AS (SELECT pseudonym0 AS pseudonym, list_sort(list(DISTINCT {packed})) AS signature "
            f"FROM dataset_{place} GROUP BY pseudonym0)"
        )
        diversities += [(f"{name}.{column}", place, f"s{number}") for number, column in enumerate(values)]
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
    least: dict[str, int | None] = {}
    with opened(tables) as database:
        subjects, classes, k = first_row(
            database, f"{common} {sizes} (SELECT count(*) AS n FROM member GROUP BY class)"
        )
        for label, place, column in diversities:
            distinct = f"SELECT count(DISTINCT dataset_{place}.{column}) AS n FROM member"
            joined = f"JOIN dataset_{place} ON dataset_{place}.pseudonym0 = member.pseudonym GROUP BY class"
            least[label] = first_row(database, f"{common} SELECT min(n) FROM ({distinct} {joined})")[0]
    return {"subjects": subjects, "classes": classes, "k": k, "l": least}


def check_join(facts: Mapping[str, Any], k: int | None, least: Mapping[str, int]) -> list[str]:
    """What of k (None: any) and of the `least` values by `dataset.column` the `facts` of `verify_join` do not reach, in
    words. Raises VerificationError for a column that was not measured."""
    if unmeasured := sorted(set(least) - set(facts["l"])):
        raise VerificationError(f"{', '.join(unmeasured)} was not measured on the join; ask `verify_join` for it")
    # Of no subjects there is nobody to tell apart, and of a table without rows no value.
    asked = {"k": (k, facts["k"])} if k is not None and facts["subjects"] else {}
    asked |= {f"l of {name}": (minimum, facts["l"][name]) for name, minimum in least.items()}
    return [
        f"{name} = {wanted} is not reached on the join: it has {reached}"
        for name, (wanted, reached) in asked.items()
        if reached is not None and reached < wanted
    ]
