"""Full-domain generalisation with record suppression: a frame and a policy make a release.

Belongs here: counting a frame down to distinct tuples, handing them to the search, applying
the chosen levels, and the report. Does not belong here: the search itself (`lattice`), reading
hierarchies (`hierarchy`), and proving the outcome (`verify`, on purpose by another code path).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.hierarchy import Codes, Hierarchy, build_hierarchy
from merajut_assets.privacy.lattice import (
    Attribute,
    LatticeTooLarge,
    Problem,
    Requirement,
    Solution,
    attribute_loss,
    class_keys,
    distinct_per_class,
    evaluate,
    metric,
    search,
)
from merajut_assets.privacy.policy import DataError, Policy, PolicyError


@dataclass(frozen=True)
class Release:
    """`frame`: the published rows, or None when the policy has no solution. `report`: figures only,
    never a value of the data; safe to log and to attach as metadata."""

    frame: pl.DataFrame | None
    report: dict[str, Any]


@dataclass(frozen=True)
class _Part:
    """One partition by the exact columns, counted: which rows, which tuple each row is, the problem."""

    rows: Codes
    tuple_of_row: Codes
    problem: Problem


def anonymise(frame: pl.DataFrame, policy: Policy) -> Release:
    """The release of `frame` that satisfies `policy` with the least Loss over the whole lattice.

    Quasi-identifiers are published as text at one level per column (per combination of the
    exact columns); every other column stays as it is. Suppressed records are removed. Rows are
    ordered by the content of the release, so the input's order tells nothing.

    The report: `solution`, `reason` and `feasible_with` (without a solution), `transformation` (level
    per quasi-identifier; with several partitions the coarsest, each one under `partitions`), `loss`
    (ARX's normalised Loss), `metric_value` (the same under the policy's weights), `rows`, `suppressed`,
    `classes`, `min_class` (distinct subjects, or rows without a subject column), `lattice_size`,
    `nodes_checked`, `nodes_pruned`, `pruned_by`, `lower_bound`, `seconds`.

    Raises DataError when the frame lacks a column or holds values that do not fit, and PolicyError
    when hierarchies contradict themselves or the lattice is too large.
    """
    started = time.perf_counter()
    _check_columns(frame, policy)
    hierarchies = {
        name: build_hierarchy(frame.get_column(name), spec) for name, spec in policy.quasi_identifiers.items()
    }
    parts = _count(frame, policy, hierarchies)
    try:
        solutions = [search(part.problem) for part in parts]
    except LatticeTooLarge as error:
        raise PolicyError(str(error)) from None
    report = _report(policy, hierarchies, parts, solutions)
    published = None
    if report["solution"]:
        published = _publish(frame, policy, hierarchies, parts, solutions)
    report["seconds"] = round(time.perf_counter() - started, 6)
    return Release(published, report)


def _check_columns(frame: pl.DataFrame, policy: Policy) -> None:
    subject = [policy.subject] if policy.subject is not None else []
    needed = [*policy.class_columns, *policy.sensitive, *subject]
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)} that the policy names")
    for name in subject:
        if frame.get_column(name).null_count():
            raise DataError(f"subject column {name!r} holds nulls; a row without a subject cannot be counted towards k")
    for name in [*policy.exact, *policy.sensitive, *subject]:
        if frame.schema[name].is_nested():
            raise DataError(f"column {name!r} has a nested type; exact, sensitive and subject columns need a scalar")


def _count(frame: pl.DataFrame, policy: Policy, hierarchies: dict[str, Hierarchy]) -> list[_Part]:
    """Rows become distinct tuples with counts, per partition; from here on, only they matter."""
    columns = {
        f"code_{place}": pl.Series(hierarchy.codes[policy.quasi_identifiers[name].least_level][hierarchy.rows])
        for place, (name, hierarchy) in enumerate(hierarchies.items())
    }
    if policy.exact:
        columns["part"] = _numbered(frame.select(policy.exact))
    if policy.subject is not None:
        columns["subject"] = _numbered(frame.select(policy.subject))
    for place, name in enumerate(policy.sensitive):
        # A null is no sensitive value: it keeps a null code and is not counted towards l.
        known = frame.select(pl.col(name).is_not_null().alias("known"), _numbered(frame.select(name)).alias("code"))
        columns[f"sensitive_{place}"] = known.select(pl.when("known").then("code")).to_series()
    encoded = pl.DataFrame(columns).with_row_index("row")
    tables = encoded.partition_by("part") if policy.exact else [encoded]
    if policy.exact:
        tables.sort(key=lambda table: int(table.item(0, "part")))
    return [_part(table, policy, hierarchies) for table in tables]


def _numbered(columns: pl.DataFrame) -> pl.Series:
    """Each row's number among the sorted distinct rows of `columns`; nulls are equal to each other."""
    names = columns.columns
    if len(columns) == 0:
        return pl.Series("number", [], dtype=pl.Int64)
    distinct = columns.unique().sort(names).with_row_index("number")
    return (
        columns.join(distinct, on=names, how="left", nulls_equal=True, maintain_order="left")
        .get_column("number")
        .cast(pl.Int64)
    )


def _part(table: pl.DataFrame, policy: Policy, hierarchies: dict[str, Hierarchy]) -> _Part:
    names = list(hierarchies)
    codes = [f"code_{place}" for place in range(len(names))]
    tuples = table.group_by(codes).agg(pl.len().alias("count")).sort(codes).with_row_index("tuple")
    tuple_of_row = (
        table.join(tuples.select(*codes, "tuple"), on=codes, how="left", maintain_order="left")
        .get_column("tuple")
        .cast(pl.Int64)
    )
    attributes = []
    for name, column in zip(names, codes, strict=True):
        hierarchy, spec = hierarchies[name], policy.quasi_identifiers[name]
        base = tuples.get_column(column).to_numpy()
        levels = range(spec.least_level, hierarchy.levels)
        attributes.append(
            Attribute(
                tuple(_parents(hierarchy, spec.least_level, level)[base] for level in levels),
                tuple(hierarchy.cover[level] for level in levels),
                hierarchy.domain,
                spec.weight,
            )
        )
    requirements = [_requirement("k", policy.k, table, tuple_of_row, "subject" if policy.subject else None)]
    for place, (name, sensitive) in enumerate(policy.sensitive.items()):
        if sensitive.l_diversity is not None:
            label = f"l_diversity of {name}"
            requirements.append(_requirement(label, sensitive.l_diversity.l, table, tuple_of_row, f"sensitive_{place}"))
    limit = int(Decimal(repr(policy.suppression_limit)) * len(table))
    counts = tuples.get_column("count").cast(pl.Int64).to_numpy()
    problem = Problem(tuple(attributes), counts, tuple(requirements), limit)
    return _Part(table.get_column("row").to_numpy(), tuple_of_row.to_numpy(), problem)


def _parents(hierarchy: Hierarchy, finer: int, coarser: int) -> Codes:
    """The code on the coarser level of each code on the finer one."""
    parents = np.zeros(len(hierarchy.cover[finer]), dtype=np.int64)
    parents[hierarchy.codes[finer]] = hierarchy.codes[coarser]
    return parents


def _requirement(name: str, minimum: int, table: pl.DataFrame, tuples: pl.Series, column: str | None) -> Requirement:
    if column is None:
        return Requirement(name, minimum)
    values = table.get_column(column)
    if name == "k" and values.n_unique() == len(values):
        return Requirement(name, minimum)  # one row per subject: counting rows is counting subjects, and faster
    pairs = pl.DataFrame({"tuple": tuples, "value": values}).drop_nulls().unique()
    return Requirement(name, minimum, pairs.get_column("tuple").to_numpy(), pairs.get_column("value").to_numpy())


def _report(
    policy: Policy, hierarchies: dict[str, Hierarchy], parts: Sequence[_Part], solutions: Sequence[Solution]
) -> dict[str, Any]:
    parted = [_part_report(policy, part, solution) for part, solution in zip(parts, solutions, strict=True)]
    rows = sum(part["rows"] for part in parted)
    solved = bool(parts) and rows > 0 and all(part["solution"] for part in parted)
    report: dict[str, Any] = {
        "solution": solved,
        "transformation": None,
        "loss": None,
        "metric_value": None,
        "rows": rows,
        "suppressed": None,
        "classes": None,
        "min_class": None,
        "lattice_size": sum(solution.lattice_size for solution in solutions),
        "nodes_checked": sum(solution.nodes_checked for solution in solutions),
        "nodes_pruned": sum(part["nodes_pruned"] for part in parted),
        "pruned_by": {
            "requirement": sum(solution.pruned_by_requirement for solution in solutions),
            "bound": sum(solution.pruned_by_bound for solution in solutions),
        },
        "lower_bound": None,
        "partitions": parted,
    }
    if not solved:
        failed = [part for part in parted if not part["solution"]]
        report["reason"] = _reason(failed, len(parted))
        report["feasible_with"] = failed[0]["feasible_with"] if failed else {}
        return report
    names = list(hierarchies)
    report["transformation"] = {name: max(part["transformation"][name] for part in parted) for name in names}
    # The Loss of the whole release: sums over all rows of all partitions, each at its own levels.
    losses = [
        attribute_loss(sum(solution.covered[place] for solution in solutions), rows, hierarchies[name].domain)
        for place, name in enumerate(names)
    ]
    weights = [spec.weight for spec in policy.quasi_identifiers.values()]
    report["loss"] = metric(losses, [1.0] * len(losses))
    report["metric_value"] = metric(losses, weights)
    report["suppressed"] = sum(part["suppressed"] for part in parted)
    report["classes"] = sum(part["classes"] for part in parted)
    report["min_class"] = min(part["min_class"] for part in parted)
    if len(parted) == 1:
        report["lower_bound"] = solutions[0].lower_bound
    else:
        # Each partition is optimal by itself; a bound over the pooled figure would claim something else.
        report["lower_bound"] = None
    return report


def _part_report(policy: Policy, part: _Part, solution: Solution) -> dict[str, Any]:
    problem = part.problem
    report: dict[str, Any] = {
        "solution": solution.levels is not None,
        "rows": problem.rows,
        "nodes_checked": solution.nodes_checked,
        "nodes_pruned": solution.pruned_by_requirement + solution.pruned_by_bound,
    }
    if solution.levels is None:
        return {**report, **_diagnosis(problem)}
    kept_keys, slots = class_keys(problem, solution.levels)
    requirement = problem.requirements[0]
    sizes = distinct_per_class(problem, requirement, kept_keys, slots)[np.unique(kept_keys[~solution.suppressed])]
    report.update(
        transformation={
            name: spec.least_level + level
            for (name, spec), level in zip(policy.quasi_identifiers.items(), solution.levels, strict=True)
        },
        metric_value=solution.metric,
        lower_bound=solution.lower_bound,
        suppressed=solution.suppressed_rows,
        classes=len(sizes),
        min_class=int(sizes.min()),
    )
    return report


def _diagnosis(problem: Problem) -> dict[str, Any]:
    """Why even the coarsest generalisation fails, and the smallest changes that would each be enough."""
    if problem.rows == 0:
        return {"reason": "the frame has no rows", "feasible_with": {}}
    top = tuple(attribute.levels - 1 for attribute in problem.attributes)
    keys, slots = class_keys(problem, top)
    rows_per_class = np.bincount(keys, weights=problem.counts, minlength=slots).astype(np.int64)
    failures: list[str] = []
    feasible_with: dict[str, float] = {}
    for requirement in problem.requirements:
        reached = distinct_per_class(problem, requirement, keys, slots)
        failing = int(rows_per_class[reached < requirement.minimum].sum())
        if failing <= problem.limit and failing < problem.rows:
            continue
        largest = _largest_minimum(reached, rows_per_class, problem.limit)
        failures.append(
            f"{requirement.name} = {requirement.minimum} fails: even at the coarsest levels {failing} of "
            f"{problem.rows} rows would have to be suppressed and {problem.limit} may be"
        )
        if largest >= 1:
            feasible_with[requirement.name] = largest
    if not failures:
        failures.append(
            "the requirements fail together, though each can be met alone: at the coarsest levels "
            f"{evaluate(problem, top).suppressed_rows} of {problem.rows} rows would have to be suppressed and "
            f"{problem.limit} may be"
        )
    suppressed = evaluate(problem, top).suppressed_rows
    if suppressed < problem.rows:
        share = Decimal(suppressed) / Decimal(problem.rows)
        feasible_with["suppression_limit"] = float(share.quantize(Decimal("0.000001"), rounding=ROUND_CEILING))
    return {"reason": "; ".join(failures), "feasible_with": feasible_with}


def _largest_minimum(reached: Codes, rows: Codes, limit: int) -> int:
    """The largest minimum for which the rows of failing classes stay within the limit, some being kept."""
    used = rows > 0
    reached, rows = reached[used], rows[used]
    order = np.argsort(reached, kind="stable")
    below = 0
    for size in np.unique(reached[order]):
        at = int(rows[reached == size].sum())
        if below + at > limit or below + at == int(rows.sum()):
            return int(size)
        below += at
    return 0


def _reason(failed: Sequence[dict[str, Any]], parts: int) -> str:
    if not failed:
        return "the frame has no rows; there is nothing to release"
    where = "" if parts == 1 else f"in {len(failed)} of {parts} partitions by the exact columns: "
    changes = failed[0]["feasible_with"]
    remedy = " or ".join(
        f"suppression_limit >= {value}" if name == "suppression_limit" else f"{name} <= {value}"
        for name, value in changes.items()
    )
    advice = f"; feasible there with {remedy}" if remedy else "; feasible with more rows only"
    return f"{where}{failed[0]['reason']}{advice}"


def _publish(
    frame: pl.DataFrame,
    policy: Policy,
    hierarchies: dict[str, Hierarchy],
    parts: Sequence[_Part],
    solutions: Sequence[Solution],
) -> pl.DataFrame:
    pieces = []
    for part, solution in zip(parts, solutions, strict=True):
        assert solution.levels is not None
        kept = part.rows[~solution.suppressed[part.tuple_of_row]]
        generalised = [
            hierarchy.labels[level].gather(hierarchy.codes[level][hierarchy.rows[kept]]).alias(name)
            for (name, hierarchy), level in zip(hierarchies.items(), _absolute(policy, solution.levels), strict=True)
        ]
        pieces.append(frame[kept].with_columns(generalised))
    return _ordered(pl.concat(pieces), policy)


def _absolute(policy: Policy, levels: Sequence[int]) -> list[int]:
    return [spec.least_level + level for spec, level in zip(policy.quasi_identifiers.values(), levels, strict=True)]


def _ordered(frame: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Sorted by its own content: class first, then pseudonym, then the rest. Rows that still tie differ
    only in columns that cannot be sorted; these are shuffled first, so no input order survives."""
    first = [*policy.class_columns, *([policy.subject] if policy.subject is not None else [])]
    rest = [name for name in frame.columns if name not in first and not _unsortable(frame.schema[name])]
    if len(first) + len(rest) < frame.width:
        frame = frame.sample(fraction=1.0, shuffle=True, seed=secrets.randbits(63))
    return frame.sort(*first, *rest, nulls_last=True, maintain_order=True)


def _unsortable(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype == pl.Object
