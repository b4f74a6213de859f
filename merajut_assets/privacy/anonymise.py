"""A frame and a policy make a release: count, search, publish, report.

Belongs here: the order of these steps, applying the levels that were found, and the report. Does not
belong here: counting (`counting`), the searches (`lattice`, `local`), why there is no solution
(`diagnosis`), the proof that a release is the best one (`certificate`), and proving the outcome
(`verify`, on purpose by another code path).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.certificate import certify
from merajut_assets.privacy.classes import class_numbers
from merajut_assets.privacy.counting import MAXIMUM_RADIX, Part, count_frame
from merajut_assets.privacy.diagnosis import diagnose, explain
from merajut_assets.privacy.hierarchy import Codes, Hierarchy, Rows, distinct_values
from merajut_assets.privacy.history import PARTITION, SUBJECT, Diversity, codes_of, least_values, partitions, past_of
from merajut_assets.privacy.lattice import LatticeTooLarge, search
from merajut_assets.privacy.local import local_recoding
from merajut_assets.privacy.metrics import METRICS, Tally, attribute_loss, tally
from merajut_assets.privacy.policy import Policy, PolicyError
from merajut_assets.privacy.problem import Integers
from merajut_assets.privacy.repeated import Beside, search_beside, why_not_beside

NONE = -1


@dataclass(frozen=True)
class Release:
    """`frame`: the published rows, or None when the policy has no solution. `report`: figures only,
    never a value of the data; safe to log and to attach as metadata."""

    frame: pl.DataFrame | None
    report: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What was found for one partition. `class_of_tuple` (tuples,): -1 where suppressed; `levels` (tuples,
    attributes): places in `Attribute.codes`; both None without a solution. `figures`: the search's own."""

    class_of_tuple: Integers | None
    levels: Integers | None
    figures: dict[str, Any]
    tally: Tally | None = None


def anonymise(
    frame: pl.DataFrame,
    policy: Policy,
    *,
    population: pl.DataFrame | None = None,
    history: pl.DataFrame | None = None,
    digest_key: bytes | None = None,
) -> Release:
    """The release of `frame` that satisfies `policy` at the least cost.

    With `search: optimal` all rows (of each combination of the exact columns) have one level per
    quasi-identifier, the best over the whole lattice; with `search: local` each class has levels of its
    own. Quasi-identifiers are published as text; every other column stays as it is. Suppressed records
    are removed. Rows are ordered by the content of the release, so the input's order tells nothing.

    `population`: the people that k-map and δ-presence count, with the columns of the classes, one row
    each; it goes before a file that the policy names. `history`: what was kept of earlier releases (see
    `history.signatures`), beside which every subject must keep k candidates; an empty one is the first
    release's. `digest_key`: at least 32 bytes that bind the certificate to the frame.

    The report: `solution`, `reason` and `feasible_with` (without a solution), `transformation` (level
    per quasi-identifier; with several partitions or local levels the coarsest, each partition's under
    `partitions`), `loss` (ARX's normalised Loss), `column_loss` (the same of each quasi-identifier), `metric` and
    `metric_value` (under the policy's weights),
    `rows`, `suppressed`, `classes`, `min_class` (distinct subjects, or rows without a subject column),
    `lattice_size`, `nodes_checked`, `nodes_pruned`, `pruned_by` (nodes per requirement that none of them
    meets, or `bound`), `lower_bound`, `certificate` (None beside a history, which it does not hold), `seconds`,
    `seconds_by_step`; beside a history `candidates` (the fewest that any subject has),
    `candidates_presence_known` (for an attacker who knows who was absent) and `left_out_beside_history`.

    Raises DataError when frame or population lack a column or hold values that do not fit, and
    PolicyError when hierarchies contradict themselves, a population is missing or the lattice is too large.
    """
    clock = _Clock()
    if history is not None:
        _check_repeatable(policy)
        if history.height and policy.repeated_suppression_limit is not None:
            policy = policy.model_copy(update={"suppression_limit": policy.repeated_suppression_limit})
    counted = count_frame(frame, policy, population, by_row=history is not None)
    clock.lap("count")
    try:
        if history is None:
            outcomes = [_solve(part, policy) for part in counted.parts]
        else:
            outcomes = [_solve_beside(part, policy, frame, history) for part in counted.parts]
    except LatticeTooLarge as error:
        raise PolicyError(str(error)) from None
    clock.lap("search")
    report = _report(policy, counted.hierarchies, counted.parts, outcomes)
    published = None
    if report["solution"]:
        published = _publish(frame, policy, counted.hierarchies, counted.parts, outcomes)
    report["certificate"] = certify(report, policy, frame, digest_key) if history is None else None
    clock.lap("publish")
    report.update(seconds=clock.total(), seconds_by_step=clock.laps)
    return Release(published, report)


class _Clock:
    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.laps[step] = round(now - self.last, 6)
        self.last = now

    def total(self) -> float:
        return round(self.last - self.started, 6)


# ── searching ────────────────────────────────────────────────────────────────────────────────


def _solve(part: Part, policy: Policy) -> _Outcome:
    problem = part.problem
    found = search(problem, METRICS[policy.metric])
    figures: dict[str, Any] = {
        "lattice_size": found.lattice_size,
        "nodes_checked": found.nodes_checked,
        "nodes_pruned": sum(found.pruned.values()),
        "pruned_by": found.pruned,
    }
    if found.levels is None:
        return _Outcome(None, None, figures)
    figures["optimum"] = found.metric
    if policy.search == "local":
        recoding = local_recoding(problem, found.levels)
        if recoding is not None:
            classes = recoding.class_of_tuple
            levels = recoding.levels[np.maximum(classes, 0)]
            return _Outcome(classes, levels, {**figures, "local": recoding.figures}, tally(problem, levels, classes))
    classes = class_numbers(problem, found.levels)
    classes[found.suppressed] = NONE
    levels = np.tile(np.array(found.levels, dtype=np.int64), (problem.tuples, 1))
    return _Outcome(classes, levels, figures, tally(problem, levels, classes))


def _check_repeatable(policy: Policy) -> None:
    if policy.subject is None:
        raise PolicyError("releases can only be judged together under a policy with a subject column")
    if policy.search == "local":
        raise PolicyError("search: local is not available beside a history; use search: optimal")
    if policy.needs_population:
        raise PolicyError("k_map and delta_presence are not available beside a history")


def _solve_beside(part: Part, policy: Policy, frame: pl.DataFrame, history: pl.DataFrame) -> _Outcome:
    assert policy.subject is not None
    own = frame if part.rows is None else frame[part.rows]
    subjects = own.get_column(policy.subject).cast(pl.String)
    here = partitions(own, policy).unique()
    elsewhere = ~pl.col(PARTITION).is_in(here.implode())
    # Who was in another partition before would be told by the move, and stays out.
    permitted = ~subjects.is_in(history.filter(elsewhere).get_column(SUBJECT).implode()).to_numpy()
    least = least_values(policy)
    past = past_of(history.filter(~elsewhere), subjects, least)
    diversities = tuple(Diversity(name, codes_of(own.get_column(name)), least[name]) for name in least)
    beside = Beside(past, diversities, permitted, policy.presence == "known")
    found = search_beside(part.problem, METRICS[policy.metric], beside, policy.k)
    figures: dict[str, Any] = {
        "lattice_size": found.lattice_size,
        "nodes_checked": found.nodes_checked,
        "nodes_pruned": sum(found.pruned.values()),
        "pruned_by": found.pruned,
    }
    if found.levels is None or found.class_of_row is None:
        alone = search(part.problem, METRICS[policy.metric])
        if alone.levels is not None:
            figures["failure"] = why_not_beside(part.problem, beside, policy.k)
        return _Outcome(None, None, figures)
    figures["beside"] = {
        "candidates": found.candidates,
        "candidates_presence_known": found.candidates_presence_known,
        "left_out_beside_history": found.left_out,
    }
    levels = np.tile(np.array(found.levels, dtype=np.int64), (part.problem.tuples, 1))
    return _Outcome(found.class_of_row, levels, figures, found.tally)


# ── reporting ────────────────────────────────────────────────────────────────────────────────


def _report(
    policy: Policy, hierarchies: dict[str, Hierarchy], parts: Sequence[Part], outcomes: Sequence[_Outcome]
) -> dict[str, Any]:
    parted = [_part_report(policy, part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    rows = sum(part["rows"] for part in parted)
    solved = rows > 0 and all(part["solution"] for part in parted)
    rules = sorted({rule for outcome in outcomes for rule in outcome.figures["pruned_by"]})
    report: dict[str, Any] = {
        "solution": solved,
        "transformation": None,
        "loss": None,
        "column_loss": None,
        "metric": policy.metric,
        "metric_value": None,
        "rows": rows,
        "suppressed": None,
        "classes": None,
        "min_class": None,
        **{
            name: sum(outcome.figures[name] for outcome in outcomes)
            for name in ("lattice_size", "nodes_checked", "nodes_pruned")
        },
        "pruned_by": {rule: sum(outcome.figures["pruned_by"].get(rule, 0) for outcome in outcomes) for rule in rules},
        "lower_bound": None,
        "partitions": parted,
    }
    tallies = [outcome.tally for outcome in outcomes if outcome.tally is not None]
    if not solved or not tallies:
        failed = [part for part in parted if not part["solution"]]
        report["reason"] = explain(failed, len(parted))
        report["feasible_with"] = failed[0]["feasible_with"] if failed else {}
        return report
    whole = tallies[0]
    for other in tallies[1:]:
        whole = whole + other
    attributes = parts[0].problem.attributes
    report["transformation"] = {name: max(part["transformation"][name] for part in parted) for name in hierarchies}
    report["loss"] = METRICS["loss"].of(whole, [attribute.unweighted() for attribute in attributes])
    report["column_loss"] = {
        name: float(attribute_loss(covered, whole.rows, attribute.domain))
        for name, covered, attribute in zip(hierarchies, whole.covered, attributes, strict=True)
    }
    report["metric_value"] = METRICS[policy.metric].of(whole, attributes)
    report["suppressed"] = whole.suppressed
    report["classes"] = whole.classes
    report["min_class"] = min(part["min_class"] for part in parted)
    # Each partition is optimal by itself; a bound over the pooled figure would claim something else.
    report["lower_bound"] = parted[0]["lower_bound"] if len(parted) == 1 else None
    if "candidates" in parted[0]:
        for name in ("candidates", "candidates_presence_known"):
            report[name] = min(part[name] for part in parted)
        report["left_out_beside_history"] = sum(part["left_out_beside_history"] for part in parted)
    return report


def _part_report(policy: Policy, part: Part, outcome: _Outcome) -> dict[str, Any]:
    problem, found = part.problem, outcome.tally
    report: dict[str, Any] = {
        "solution": found is not None,
        "rows": problem.rows,
        **{name: outcome.figures[name] for name in ("lattice_size", "nodes_checked", "nodes_pruned", "pruned_by")},
    }
    if found is None or outcome.class_of_tuple is None or outcome.levels is None:
        return {**report, **(outcome.figures.get("failure") or diagnose(problem))}
    kept = (outcome.class_of_tuple >= 0) & (problem.counts > 0)
    coarsest = outcome.levels[kept].max(axis=0)
    value = METRICS[policy.metric].of(found, problem.attributes)
    report.update(
        transformation={
            name: spec.least_level + int(level)
            for (name, spec), level in zip(policy.quasi_identifiers.items(), coarsest, strict=True)
        },
        metric_value=value,
        # The search compares sums that are rounded otherwise; what it proved is that nothing is below its best.
        lower_bound=value if policy.search == "optimal" else None,
        suppressed=found.suppressed,
        classes=found.classes,
        min_class=_smallest(part, outcome.class_of_tuple),
    )
    report.update(outcome.figures.get("beside", {}))
    if "local" in outcome.figures:
        report["local"] = {**outcome.figures["local"], "optimum_of_one_generalisation": outcome.figures["optimum"]}
    return report


def _smallest(part: Part, class_of_tuple: Integers) -> int:
    """Distinct subjects (rows, where each is one) of the smallest published class."""
    problem = part.problem
    kept = class_of_tuple >= 0
    k = problem.requirements[0]
    if k.source is None:
        sizes = np.bincount(class_of_tuple[kept], weights=problem.counts[kept])
    else:
        source = problem.sources[k.source]
        classes = class_of_tuple[source.tuples]
        pairs = np.unique(np.column_stack([classes, source.values])[classes >= 0], axis=0)
        sizes = np.bincount(pairs[:, 0])
    return int(sizes[sizes > 0].min())


# ── publishing ───────────────────────────────────────────────────────────────────────────────


def _publish(
    frame: pl.DataFrame,
    policy: Policy,
    hierarchies: dict[str, Hierarchy],
    parts: Sequence[Part],
    outcomes: Sequence[_Outcome],
) -> pl.DataFrame:
    """The kept rows with generalised quasi-identifiers, ordered by their own content."""
    texts = {
        name: _Texts(hierarchy, _levels_in_use(place, spec.least_level, outcomes))
        for place, ((name, hierarchy), spec) in enumerate(
            zip(hierarchies.items(), policy.quasi_identifiers.values(), strict=True)
        )
    }
    pieces = []
    for part, outcome in zip(parts, outcomes, strict=True):
        assert outcome.class_of_tuple is not None
        assert outcome.levels is not None
        rows = np.arange(len(frame)) if part.rows is None else part.rows
        tuples = None
        if (outcome.class_of_tuple < 0).any() or not _is_uniform(outcome.levels):
            tuples = part.of_rows(np.arange(part.problem.tuples, dtype=np.int32))
            kept = outcome.class_of_tuple[tuples] >= 0
            rows, tuples = rows[kept], tuples[kept]
        published = {}
        for place, (name, hierarchy) in enumerate(hierarchies.items()):
            least = policy.quasi_identifiers[name].least_level
            column = outcome.levels[:, place]
            levels = least + (int(column[0]) if tuples is None or _is_uniform(column) else column[tuples])
            published[name] = texts[name].numbers(hierarchy, rows, levels)
        pieces.append((rows, published))
    rows = np.concatenate([rows for rows, _ in pieces])
    numbers = {name: np.concatenate([published[name] for _, published in pieces]) for name in hierarchies}
    return _ordered(frame, rows, numbers, texts, policy)


def _levels_in_use(place: int, least: int, outcomes: Sequence[_Outcome]) -> list[int]:
    used: set[int] = set()
    for outcome in outcomes:
        if outcome.levels is not None and outcome.class_of_tuple is not None:
            used |= set(np.unique(outcome.levels[outcome.class_of_tuple >= 0, place]).tolist())
    return [least + level for level in sorted(used)]


def _is_uniform(levels: Integers) -> bool:
    return bool((levels == levels[:1]).all())


class _Texts:
    """The texts that one column publishes, over all levels in use, in alphabetical order."""

    def __init__(self, hierarchy: Hierarchy, levels: list[int]) -> None:
        self.labels = pl.concat([hierarchy.labels[level] for level in levels]).unique().sort()
        self.number_of = {
            level: self.labels.search_sorted(hierarchy.labels[level]).to_numpy().astype(np.int32) for level in levels
        }

    def numbers(self, hierarchy: Hierarchy, rows: Codes, levels: int | Integers) -> Rows:
        """The place among `labels` of what each of `rows` publishes at its level."""
        domain = hierarchy.rows[rows]
        if isinstance(levels, int):
            return np.asarray(self.number_of[levels][hierarchy.codes[levels]][domain])
        numbers = np.zeros(len(rows), dtype=np.int32)
        for level, number_of in self.number_of.items():
            here = levels == level
            numbers[here] = number_of[hierarchy.codes[level][domain[here]]]
        return numbers


def _ordered(
    frame: pl.DataFrame, rows: Codes, numbers: dict[str, Rows], texts: dict[str, _Texts], policy: Policy
) -> pl.DataFrame:
    """The release, sorted by its own content: class first, then pseudonym, then the rest. Rows that still tie
    differ only in columns that cannot be sorted; these are shuffled first, so no input order survives.

    Columns are sorted as numbers in the order of their values, as many of them packed into one as 64 bits hold:
    that is several times faster than sorting texts.
    """
    others = [name for name in frame.columns if name not in numbers]
    kept = frame.select(others)
    if len(rows) < len(frame) or policy.exact:
        kept = kept[rows]
    first = [*policy.class_columns, *([policy.subject] if policy.subject is not None else [])]
    rest = [name for name in others if name not in first and not _unsortable(frame.schema[name])]
    if len(first) + len(rest) < frame.width:
        shuffled = np.random.default_rng(secrets.randbits(128)).permutation(len(rows))
        kept, numbers = kept[shuffled], {name: codes[shuffled] for name, codes in numbers.items()}
    order = _order(
        [
            (numbers[name], len(texts[name].labels)) if name in numbers else _ranks(kept.get_column(name))
            for name in [*first, *rest]
        ]
    )
    published = {name: texts[name].labels.gather(codes[order]).alias(name) for name, codes in numbers.items()}
    ordered = kept[order]
    return pl.DataFrame([published[name] if name in published else ordered.get_column(name) for name in frame.columns])


def _ranks(column: pl.Series) -> tuple[Rows, int]:
    """Each row's place among the distinct values in ascending order, nulls last, and the number of values."""
    distinct, places = distinct_values(column)
    rank = np.empty(len(distinct), dtype=np.int32)
    rank[distinct.arg_sort(nulls_last=True).to_numpy()] = np.arange(len(distinct), dtype=np.int32)
    return rank[places], len(distinct)


def _order(columns: Sequence[tuple[Rows, int]]) -> Codes:
    """The places (n,) of the rows in the order of their numbers, of which each column has so many."""
    words: list[Codes] = []
    slots = 0
    for codes, size in columns:
        if not words or slots > MAXIMUM_RADIX // max(size, 1):
            words.append(codes.astype(np.int64))
            slots = max(size, 1)
            continue
        words[-1] *= size
        words[-1] += codes
        slots *= max(size, 1)
    return pl.Series(words[0]).arg_sort().to_numpy() if len(words) == 1 else np.lexsort(words[::-1])


def _unsortable(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype in (pl.Object, pl.Binary)
