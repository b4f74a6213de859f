"""Several releases of one dataset, judged as one who holds all of them and follows the pseudonyms would.

Belongs here: the fewest subjects that any subject cannot be told from, counted in DuckDB. Does
not belong here: one release by itself (`verify`), several datasets (`verify_join`), and which rows a new
release leaves out, which is decided by other code (`history`).
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from merajut_assets.privacy.verify_database import VerificationError, first_row, opened, renamed, require_columns, run


def verify_history(
    history: pl.DataFrame,
    sensitive: Sequence[str] = (),
    *,
    presence_known: bool = True,
    declared_later: Sequence[str] = (),
) -> dict[str, Any]:
    """What `history` protects: a row per `release` and `subject`, with the `class` the subject was in and, as
    far as they are judged, its `sensitive` values or digests of them.

    A subject's candidates are those who were in its class in every release that it is part of; with
    `presence_known` also absent from all others. Returns `releases`, `subjects`, `candidates` (the fewest of
    any subject; 0 without subjects) and `candidate_values` (per sensitive column the fewest different
    non-null values that the candidates of any subject show in any release that it is part of). `declared_later`:
    sensitive columns that not every release had; one that shows them of nobody is not judged by them.
    Raises VerificationError when a column is missing, or a subject is twice in one release.
    """
    require_columns(history, ["release", "subject", "class", *sensitive], "history")
    if history.select(pl.struct("release", "subject").is_duplicated().any()).item():
        raise VerificationError("history: a subject is named twice in one release")
    shown = renamed(history, release=["release"], subject=["subject"], class_=["class"], s=sensitive)
    # Subjects with the same path, class by class, are each other's candidates: pairs of paths are few.
    prepared = f"""
        CREATE TEMP TABLE shown AS (
            SELECT release0 AS release, subject0 AS subject, class_0 AS class, * FROM shown_rows);
        CREATE TEMP TABLE path AS (
            SELECT subject, list_sort(list(struct_pack(release, class))) AS steps FROM shown GROUP BY subject);
        CREATE TEMP TABLE way AS (
            SELECT steps, len(steps) AS n, count(*) AS subjects, row_number() OVER () AS way FROM path GROUP BY steps);
        CREATE TEMP TABLE candidate AS (
            WITH step AS (SELECT way, unnest(steps) AS step FROM way),
            shared AS (
                SELECT mine.way, theirs.way AS other, count(*) AS n
                FROM step AS mine JOIN step AS theirs ON mine.step = theirs.step GROUP BY ALL)
            SELECT shared.way, shared.other, theirs.subjects
            FROM shared JOIN way AS mine ON mine.way = shared.way JOIN way AS theirs ON theirs.way = shared.other
            WHERE shared.n = mine.n AND (theirs.n = mine.n OR NOT {str(presence_known).upper()}));
    """
    with opened({"shown_rows": shown}) as database:
        run(database, prepared)
        releases, subjects = first_row(database, "SELECT count(DISTINCT release), count(DISTINCT subject) FROM shown")
        (candidates,) = first_row(
            database,
            "SELECT coalesce(min(n), 0) FROM (SELECT sum(subjects)::BIGINT AS n FROM candidate GROUP BY way)",
        )
        values = {}
        for place, name in enumerate(sensitive):
            (values[name],) = first_row(
                database,
                f"""WITH held AS (
                    SELECT DISTINCT way.way, shown.release, s{place} AS value
                    FROM shown JOIN path USING (subject) JOIN way USING (steps)),
                told AS (SELECT DISTINCT release FROM held WHERE value IS NOT NULL OR NOT {name in declared_later}),
                known AS (
                    SELECT candidate.way, release.release, count(DISTINCT held.value) AS n
                    FROM candidate
                    JOIN (SELECT DISTINCT way, release FROM held SEMI JOIN told USING (release)) AS release
                        ON release.way = candidate.way
                    JOIN held ON held.way = candidate.other AND held.release = release.release
                    GROUP BY ALL)
                SELECT coalesce(min(n), 0) FROM known""",
            )
    return {"releases": releases, "subjects": subjects, "candidates": candidates, "candidate_values": values}
