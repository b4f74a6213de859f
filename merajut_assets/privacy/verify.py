"""The independent check of a release: what a table protects, told from the table alone.

Belongs here: counting classes in DuckDB SQL over frames in memory, and comparing what was counted with
what is required; the models of sensitive columns are in `verify_models`, several tables in `verify_join`.
The verifier must know nothing of policies, hierarchies or the search, so that a fault there cannot hide
itself here; its modules import none of the package's others for that reason.

Only labels are looked at, so that it makes no difference whether one generalisation holds for all rows
or a finer one where the data allow.

Exactness: every figure but one comes from whole numbers; only the last division is rounded, to the
nearest double. The exception is entropy, a sum of logarithms: `check` grants it a relative
`ENTROPY_TOLERANCE`, so that a class of three values twice each is 3-diverse.
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl

from merajut_assets.privacy.verify_database import (
    VerificationError,
    by_keys,
    first_row,
    keys,
    opened,
    renamed,
    require_columns,
    run,
)
from merajut_assets.privacy.verify_join import verify_join
from merajut_assets.privacy.verify_models import (
    hierarchical_distance,
    judge_distribution,
    ordered_distance,
    ranks_of,
    share,
    tree_of,
)

__all__ = ["ENTROPY_TOLERANCE", "VerificationError", "check", "verify", "verify_join"]

ENTROPY_TOLERANCE = 1e-9

# What a requirement on a figure means. A figure that is None is unbounded: no threshold is met.
_AT_LEAST = ("k", "l", "entropy_l", "k_map", "delta_min")
_AT_MOST = ("t_equal", "t_ordered", "t_hierarchical", "beta", "delta_max", "rows_outside_population")
_LESS_THAN = ("recursive_c",)


def verify(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str] = (),
    subject: str | None = None,
    *,
    k: int | None = None,
    l: int | None = None,  # noqa: E741 (the model's own name)
    recursive_l: Mapping[str, int] | None = None,
    orders: Mapping[str, Sequence[Any] | None] | None = None,
    hierarchies: Mapping[str, pl.DataFrame] | None = None,
    reference: pl.DataFrame | None = None,
    population: pl.DataFrame | None = None,
    population_count: str | None = None,
) -> dict[str, Any]:
    """What `frame` reaches, by classes of equal `quasi_identifiers` (nulls are equal to each other).

    Always: `rows`; `classes`; `k`, the least number of distinct subjects in a class (rows, without a subject
    column; 0 for an empty frame); `average_class`; and per sensitive column, the worst class counting:

    - `l`: distinct values, a null being no value; `entropy_l`: exp(entropy) of the values, nulls left out
      (Machanavajjhala et al. 2007);
    - `t_equal`: total variation distance between a class and the `reference`, a null being a value of its
      own (Li, Li and Venkatasubramanian 2007);
    - `beta`: the largest (share in the class - share in the reference) / share in the reference (Cao and
      Karras 2012, basic); None where the reference does not have a value.

    Where it is asked for, per column:

    - `recursive_l` (l by column) gives `recursive_c`: the bound that c must exceed for recursive (c, l)-
      diversity, r1 / (r_l + ... + r_m); None where a class has fewer than l values;
    - `orders` (all values in their order, or None for the natural order) gives `t_ordered`: earth mover's
      distance over ranks, divided by their number - 1; nulls have no rank and are refused;
    - `hierarchies` (columns from the value to one root, first column the value as text) gives
      `t_hierarchical`: earth mover's distance over the tree, moving costing the level at which two values
      meet / levels above the values; a null meets the others at the root;
    - `population` (the same quasi-identifiers in the same labels; `population_count` names a column of
      counts, otherwise a row is a person) gives `delta_min` and `delta_max`, the least and largest share
      of a class of the population that is in the release (Nergiz, Atzori and Clifton 2007), `k_map`, the
      fewest people of the population in a released class, and `rows_outside_population`.

    `reference`: the frame that distributions are compared with; by default `frame` itself. An anonymiser
    that suppresses rows compares with the rows from before. Given `k` or `l` as thresholds, also
    `classes_below_k`, `rows_below_k`, `classes_below_l` and `rows_below_l` (per column).

    Raises VerificationError when a column is missing, the subject column holds nulls, or an order or a
    hierarchy does not hold all values.
    """
    names = [*quasi_identifiers, *sensitive, *([subject] if subject is not None else [])]
    require_columns(frame, names, "release")
    if subject is not None and frame.get_column(subject).null_count():
        raise VerificationError(f"subject column {subject!r} holds nulls; its rows cannot be counted towards k")
    recursive_l, orders, hierarchies = recursive_l or {}, orders or {}, hierarchies or {}
    for asked in (recursive_l, orders, hierarchies):
        if unknown := sorted(set(asked) - set(sensitive)):
            raise VerificationError(f"column(s) {', '.join(unknown)} are not among the sensitive ones")
    if reference is not None:
        require_columns(reference, sensitive, "reference")
        if other := [name for name in sensitive if reference.schema[name] != frame.schema[name]]:
            raise VerificationError(f"reference: column(s) {', '.join(other)} are of another type than the release's")
    facts: dict[str, Any] = {}
    per_column: dict[str, dict[str, Any]] = {
        "l": {},
        **({"classes_below_l": {}, "rows_below_l": {}} if l is not None else {}),
    }
    width = len(quasi_identifiers)
    tables = {"release": renamed(frame, q=quasi_identifiers, s=sensitive, subject=[] if subject is None else [subject])}
    if reference is not None:
        tables["reference"] = renamed(reference, s=sensitive)
    if population is not None:
        counted = [population_count] if population_count is not None else []
        require_columns(population, [*quasi_identifiers, *counted], "population")
        tables["population"] = renamed(population, q=quasi_identifiers, people=counted)
    with opened(tables) as database:
        facts.update(_classes(database, width, subject is not None, k))
        for place, name in enumerate(sensitive):
            source = "release" if reference is None else "reference"
            found = judge_distribution(database, width, f"s{place}", source, recursive_l.get(name), l)
            if name in orders:
                found["t_ordered"] = ordered_distance(database, ranks_of(frame, reference, name, orders[name]))
            if name in hierarchies:
                found["t_hierarchical"] = hierarchical_distance(
                    database, tree_of(frame, reference, name, hierarchies[name])
                )
            for figure, value in found.items():
                per_column.setdefault(figure, {})[name] = value
        if population is not None:
            facts.update(_presence(database, width, population_count is not None))
    return {**facts, **per_column}


def check(facts: Mapping[str, Any], requirements: Mapping[str, Any]) -> list[str]:
    """What of `requirements` the `facts` of `verify` do not reach, in words; empty when all is reached.

    Requirements are named and shaped as the facts: `{"k": 5, "l": {"diagnosis": 3}, "t_equal": {"diagnosis":
    0.2}, "delta_max": 0.8}`. `recursive_c` is to be exceeded by the c that is required; the t, beta and
    delta_max reached may be as large as required; k, l, entropy_l, k_map and delta_min at least so.
    Raises VerificationError for a requirement that was not measured: it must not count as met.
    """
    broken: list[str] = []
    for figure, required in requirements.items():
        if figure not in (*_AT_LEAST, *_AT_MOST, *_LESS_THAN):
            raise VerificationError(f"requirement {figure!r} is unknown")
        wanted = required if isinstance(required, Mapping) else {None: required}
        for column, threshold in wanted.items():
            label = figure if column is None else f"{figure} of {column}"
            try:
                reached = facts[figure] if column is None else facts[figure][column]
            except KeyError:
                raise VerificationError(f"{label} was not measured; ask `verify` for it") from None
            if not _is_met(figure, reached, threshold):
                shown = "no bound" if reached is None else f"{reached:g}"
                broken.append(f"{label} = {threshold:g} is not reached: the table has {shown}")
    return broken


def _is_met(figure: str, reached: float | None, threshold: float) -> bool:
    if reached is None:
        return False
    if figure in _AT_MOST:
        return reached <= threshold
    if figure in _LESS_THAN:
        return reached < threshold
    return reached >= threshold * (1 - ENTROPY_TOLERANCE if figure == "entropy_l" else 1)


# ── classes ──────────────────────────────────────────────────────────────────────────────


def _classes(database: duckdb.DuckDBPyConnection, width: int, has_subjects: bool, k: int | None) -> dict[str, Any]:
    """Makes the table `class` (q0, q1, …, size, subjects) and counts it."""
    counted = "count(*)"
    if has_subjects:
        rows, subjects = first_row(database, "SELECT count(*), count(DISTINCT subject0) FROM release")
        counted = counted if rows == subjects else "count(DISTINCT subject0)"
    run(
        database,
        f"""CREATE TEMP TABLE class AS
        SELECT {keys(width)}count(*) AS size, {counted} AS subjects
        FROM release {by_keys(width)} HAVING count(*) > 0""",
    )
    least = int(k or 0)
    row = first_row(
        database,
        f"""SELECT coalesce(sum(size), 0)::BIGINT, count(*), coalesce(min(subjects), 0), avg(size)::DOUBLE,
        count(*) FILTER (subjects < {least}), coalesce(sum(size) FILTER (subjects < {least}), 0)::BIGINT FROM class""",
    )
    facts = dict(zip(("rows", "classes", "k", "average_class"), (*row[:3], row[3] or 0.0), strict=True))
    return facts if k is None else {**facts, "classes_below_k": row[4], "rows_below_k": row[5]}


def _presence(database: duckdb.DuckDBPyConnection, width: int, is_counted: bool) -> dict[str, Any]:
    people = "sum(people0)::BIGINT" if is_counted else "count(*)"
    # As text: the labels of a release are text, whatever the population's columns are.
    labels = "".join(f"q{place}::VARCHAR AS q{place}, " for place in range(width))
    row = first_row(
        database,
        f"""WITH person AS (
            SELECT {keys(width)}{people} AS people FROM population {by_keys(width)}
        ), either AS (
            SELECT {labels}subjects AS held, 0 AS people, size FROM class
            UNION ALL SELECT {labels}0, people, 0 FROM person WHERE people > 0
        ), matched AS (
            SELECT sum(held)::BIGINT AS held, sum(people)::BIGINT AS people, sum(size)::BIGINT AS size
            FROM either {by_keys(width)}
        )
        SELECT arg_min(struct_pack(above := held, below := people), held / people::DOUBLE) FILTER (people > 0),
            arg_max(struct_pack(above := held, below := people), held / people::DOUBLE) FILTER (people > 0),
            coalesce(min(people) FILTER (held > 0), 0),
            coalesce(sum(size) FILTER (people = 0), 0)::BIGINT
        FROM matched""",
    )
    return {
        "delta_min": share(row[0], 1),
        "delta_max": share(row[1], 1),
        "k_map": row[2],
        "rows_outside_population": row[3],
    }
