"""A frame and a policy make a release: count, search, publish, report.

Belongs here: the order of these steps and the report. Does not belong here: counting (`counting`), the
searches (`lattice`, `local`), writing the rows (`publishing`), why there is no solution (`diagnosis`), the
proof that a release is the best one (`certificate`), and proving the outcome (`verify`, on purpose by another
code path).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.blind import large_enough, missed, unseeing
from merajut_assets.privacy.bounded import bounded_search
from merajut_assets.privacy.categories import without_categories
from merajut_assets.privacy.certificate import certify
from merajut_assets.privacy.classes import class_numbers
from merajut_assets.privacy.counting import Part, count_frame
from merajut_assets.privacy.diagnosis import LARGER_K, diagnose, explain, together
from merajut_assets.privacy.hierarchy import Hierarchy
from merajut_assets.privacy.history import PARTITION, SUBJECT, Diversity, codes_of, least_values, partitions, past_of
from merajut_assets.privacy.intake import taken
from merajut_assets.privacy.joined import OUT, SIGNATURE, Company, Published, company_of, require_joinable, share_of
from merajut_assets.privacy.lattice import LatticeTooLarge, is_too_large, lattice_size, search
from merajut_assets.privacy.local import local_recoding
from merajut_assets.privacy.local_repeated import recode_beside
from merajut_assets.privacy.metrics import METRICS, Metric, Tally, attribute_loss, tally
from merajut_assets.privacy.policy import Policy, PolicyError
from merajut_assets.privacy.problem import Integers, Problem
from merajut_assets.privacy.publishing import Answer, publish
from merajut_assets.privacy.repeated import Beside, RepeatedSolution, holds_beside, search_beside, why_not_beside

NONE = -1
# Of a part of which rows are left out for the sake of other tables.
_LEFT_OUT = {
    "optimal": False,
    "lower_bound": 0.0,
    "remark": "the optimum is not proven: whole classes are left out beside the other tables",
}


@dataclass(frozen=True)
class Release:
    """`frame`: the published rows, or None when the policy has no solution. `report`: figures only,
    never a value of the data; safe to log and to attach as metadata. `tally`: what every metric of the release is
    computed from; None without a solution."""

    frame: pl.DataFrame | None
    report: dict[str, Any]
    tally: Tally | None = None


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What was found for one partition. `class_of_tuple` (tuples,): -1 where suppressed; `levels` (tuples,
    attributes): places in `Attribute.codes`; both None without a solution. `figures`: the search's own."""

    class_of_tuple: Integers | None
    levels: Integers | None
    figures: dict[str, Any]
    tally: Tally | None = None

    @property
    def answer(self) -> Answer:
        assert self.class_of_tuple is not None
        assert self.levels is not None
        return self.class_of_tuple, self.levels


def anonymise(
    frame: pl.DataFrame,
    policy: Policy,
    *,
    population: pl.DataFrame | None = None,
    history: pl.DataFrame | None = None,
    beside: Sequence[Published] = (),
    digest_key: bytes | None = None,
    as_enum: bool = False,
) -> Release:
    """The release of `frame` that satisfies `policy` at the least cost.

    With `search: optimal` all rows (of each combination of the exact columns) have one level per
    quasi-identifier, the best over the whole lattice, or, where that is too large, a good one with a bound on
    how far it is from the best; with `search: local` each class has levels of its own, and a label that has
    the text of another level's for other values gets a text of its own (`with_labels_apart`). These classes are
    searched by Loss whatever the metric; where one generalisation is better by the policy's metric, it is the answer,
    without `local` in the report, and the remark says what was compared. Quasi-identifiers are
    published as text; every other column stays as it is, but that Enum and Categorical become String, since their
    categories name what nobody publishes. Suppressed records are removed. Rows are ordered by
    the content of the release, so the input's order tells nothing.

    `population`: the people that k-map and δ-presence count, with the columns of the classes, one row
    each; it goes before a file that the policy names. `history`: what was kept of earlier releases (see
    `history.signatures`), beside which every subject must keep k candidates; an empty one is the first
    release's. `beside`: tables released already that share the policy's subject column; the join of all of them with
    the release keeps k and the values asked for (see `joined`), and rows are left out for that, within the suppression
    limit over all rows. `digest_key`: at least 32 bytes that bind the certificate to the frame. `as_enum`:
    quasi-identifiers are published as Enum over the texts that occur, which takes one or two bytes a value where String
    takes sixteen.

    The report: `solution`, `reason` and `feasible_with` (without a solution), `transformation` (level
    per quasi-identifier; with several partitions or local levels the coarsest, each partition's under
    `partitions`), `loss` (ARX's normalised Loss), `column_loss` (the same of each quasi-identifier), `metric` and
    `metric_value` (under the policy's weights),
    `rows`, `suppressed`, `classes`, `min_class` (distinct subjects, or rows without a subject column),
    `lattice_size`, `nodes_checked`, `nodes_pruned`, `pruned_by` (nodes per requirement that none of them
    meets, or `bound`), `lower_bound` and `gap` (how much less any release of this kind may cost; None for local
    recoding and several partitions), `optimal` (whether that is proved to be nothing, or that there is no
    solution), `remark` (in words, where it is not, and where local recoding is searched by another metric),
    `certificate` (None beside a history or other tables, which it does not hold, and where a blind choice has no
    solution though an informed one may), `seconds`, `seconds_by_step`; of
    local recoding `local` (with several partitions under `partitions` only), such as the
    `loss_without_narrowing_rule`; beside a history `candidates` (the fewest that any subject has),
    `candidates_presence_known` (for an attacker who knows who was absent) and `left_out_beside_history`; beside other
    tables `tables_beside`, how many.

    Raises DataError when frame or population lack a column or hold types or values that do not fit, and
    PolicyError when the policy is not available beside a history or other tables, hierarchies contradict
    themselves, a population is missing, or the lattice is too large for the search of one generalisation beside a
    history (`search: local` needs none of it).
    """
    clock = _Clock()
    if history is not None and beside:
        raise PolicyError("a release cannot be judged beside a history and other tables at once; give one of them")
    given, asked = frame, policy
    frame, policy = without_categories(frame, policy)
    if history is not None:
        _check_repeatable(policy)
        if history.height and policy.repeated_suppression_limit is not None:
            policy = policy.model_copy(update={"suppression_limit": policy.repeated_suppression_limit})
    if beside:
        require_joinable(policy)
    frame = taken(frame, policy, is_compared_as_text=history is not None)
    company = company_of(frame, policy, beside) if beside else None
    counted = (
        count_frame(frame, policy, population, by_row=history is not None)
        if company is None
        else count_frame(company.frame, company.policy)
    )
    clock.lap("count")
    try:
        if company is not None:
            outcomes, apart = _solve_joined(counted.parts, company)
        elif history is None:
            outcomes = [_solve(part, policy) for part in counted.parts]
        else:
            outcomes = [_solve_beside(part, policy, frame, history) for part in counted.parts]
    except LatticeTooLarge as error:
        raise PolicyError(str(error)) from None
    clock.lap("search")
    whole = _whole(outcomes)
    report = _report(policy, counted.hierarchies, counted.parts, outcomes, whole)
    published = None
    if company is not None:
        report.update(tables_beside=len(beside), **({} if apart is None else {"solution": False, **apart}))
    if report["solution"]:
        published = publish(frame, policy, counted, [outcome.answer for outcome in outcomes], as_enum=as_enum)
    is_alone = history is None and company is None
    is_certified = is_alone and (report["solution"] or policy.choice == "informed")
    report["certificate"] = certify(report, asked, given, digest_key) if is_certified else None
    clock.lap("publish")
    report.update(seconds=clock.total(), seconds_by_step=clock.laps)
    return Release(published, report, whole if published is not None else None)


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
    if policy.choice == "informed":
        return _found(part.problem, policy)
    problem = part.problem

    def works(changed: Problem) -> bool:
        chosen = _found(unseeing(changed), policy).class_of_tuple
        return chosen is not None and not missed(changed, chosen)

    outcome = _found(unseeing(problem), policy)
    if outcome.class_of_tuple is None:
        return replace(outcome, figures={**outcome.figures, "failure": diagnose(problem, works)})
    if not (names := missed(problem, outcome.class_of_tuple)):
        return outcome
    enough = large_enough(problem, lambda blind: _found(blind, policy).class_of_tuple)
    failure = {
        "reason": f"chosen without sight of sensitive values, a class misses {', '.join(names)}",
        "feasible_with": {} if enough is None else {LARGER_K: enough},
    }
    return _Outcome(None, None, {**outcome.figures, "failure": failure})


def _found(problem: Problem, policy: Policy) -> _Outcome:
    # What searching keeps to be faster goes with this copy.
    problem = replace(problem)
    found = (bounded_search if is_too_large(problem) else search)(problem, METRICS[policy.metric])
    figures: dict[str, Any] = {
        "lattice_size": found.lattice_size,
        "nodes_checked": found.nodes_checked,
        "nodes_pruned": sum(found.pruned.values()),
        "pruned_by": found.pruned,
        "optimal": found.optimal,
        "lower_bound": found.lower_bound,
    }
    if found.levels is None:
        return _Outcome(None, None, figures)
    figures["optimum"] = found.metric
    classes = class_numbers(problem, found.levels)
    if found.suppressed is not None:
        classes[found.suppressed] = NONE
    levels = np.broadcast_to(np.array(found.levels, dtype=np.int64), (problem.tuples, len(found.levels)))
    one = _Outcome(classes, levels, figures, tally(problem, levels, classes))
    if policy.search == "optimal" or (recoding := local_recoding(problem, found.levels)) is None:
        return one
    classes = recoding.class_of_tuple
    levels = recoding.levels[np.maximum(classes, 0)]
    local = _Outcome(classes, levels, {**figures, "local": recoding.figures}, tally(problem, levels, classes))
    return one if _costs_less(METRICS[policy.metric], problem, one, local) else local


def _costs_less(metric: Metric, problem: Problem, one: _Outcome, other: _Outcome) -> bool:
    """Whether `one` solution is better than the `other`: by the metric, and of equal ones the one with fewer rows
    suppressed."""
    assert one.tally is not None
    assert other.tally is not None
    value, compared = metric.of(one.tally, problem.attributes), metric.of(other.tally, problem.attributes)
    tie = metric.tie(compared)
    return value < compared - tie or (value <= compared + tie and one.tally.suppressed < other.tally.suppressed)


def _solve_joined(parts: Sequence[Part], company: Company) -> tuple[list[_Outcome], dict[str, Any] | None]:
    """What each part may publish so that the join with the other tables holds (see `joined`), and `reason` and
    `feasible_with` where that is nothing."""
    rows = company.frame.height
    if company.is_apart:
        reason = "the tables beside it already tell fewer than k, or too few values, apart when they are joined"
        return [_nothing(part) for part in parts], {"reason": reason, "feasible_with": {}}
    allowed = int(Decimal(str(company.policy.suppression_limit)) * rows)
    is_signed = [bool(company.frame.item(int(part.rows[0]), SIGNATURE)) for part in parts if part.rows is not None]
    # Where the limit does not do for what each part leaves out and for what must leave besides, the former stays.
    for is_last in (False, True):
        whole = [replace(part, problem=replace(part.problem, limit=0)) for part in parts]
        outcomes = []
        for part, unsuppressed, signed in zip(parts, whole, is_signed, strict=True):
            outcome = _solve(unsuppressed if is_last else part, company.policy)
            # Fewer than k who are left out are no company for each other.
            if signed and not is_last and outcome.tally is not None and 0 < outcome.tally.suppressed < company.policy.k:
                outcome = _solve(unsuppressed, company.policy)
            outcomes.append(outcome if outcome.tally is not None else _nothing(part))
        outcomes = _in_company(parts, outcomes, company)
        left_out = sum(outcome.tally.suppressed for outcome in outcomes if outcome.tally is not None)
        if left_out <= min(allowed, rows - 1):
            return outcomes, None
    reason = (
        f"beside the other tables {left_out} of {rows} rows would have to be suppressed and {allowed} may be, so that "
        "their join tells no fewer than k apart"
    )
    limit = {"suppression_limit": share_of(left_out, rows)} if left_out < rows else {}
    advice = "; feasible with " + (f"suppression_limit >= {limit['suppression_limit']}" if limit else "more rows only")
    return [_nothing(part) for part in parts], {"reason": reason + advice, "feasible_with": limit}


def _nothing(part: Part) -> _Outcome:
    """A part of which every row is left out."""
    problem = part.problem
    classes = np.full(problem.tuples, NONE, dtype=np.int64)
    levels = np.zeros((problem.tuples, len(problem.attributes)), dtype=np.int64)
    unsearched = {"lattice_size": 0, "nodes_checked": 0, "nodes_pruned": 0, "pruned_by": {}}
    return _Outcome(classes, levels, {**unsearched, **_LEFT_OUT}, tally(problem, levels, classes))


def _in_company(parts: Sequence[Part], outcomes: Sequence[_Outcome], company: Company) -> list[_Outcome]:
    """The outcomes without the classes that must leave, so that nobody of a signature is left out alone."""
    classes = np.full(company.frame.height, OUT, dtype=np.int64)
    starts = np.cumsum([0, *(part.problem.tuples for part in parts)])
    for part, outcome, start in zip(parts, outcomes, starts[:-1], strict=True):
        # Rows with a subject of their own are never alike, so that each is a line.
        assert part.lines.places is not None
        own = outcome.answer[0][part.lines.tuples]
        classes[part.lines.places] = np.where(own == NONE, OUT, own + start)
    leaving = company.leaving(classes)
    kept = []
    for part, outcome, start in zip(parts, outcomes, starts[:-1], strict=True):
        own, levels = outcome.answer
        is_leaving = np.isin(own + start, leaving) & (own != NONE)
        if is_leaving.any():
            left = np.where(is_leaving, NONE, own)
            outcome = _Outcome(left, levels, {**outcome.figures, **_LEFT_OUT}, tally(part.problem, levels, left))
        kept.append(outcome)
    return kept


def _check_repeatable(policy: Policy) -> None:
    if policy.subject is None:
        raise PolicyError(
            "releases can only be judged together under a policy with a subject column; name it as subject"
        )
    if policy.needs_population:
        raise PolicyError(
            "k_map and delta_presence are not available beside a history: where people of a population were in earlier "
            "releases is not kept. Every subject has k candidates among the published subjects; ask for as large a k"
        )
    if policy.choice == "blind":
        raise PolicyError(
            "choice: blind is not available beside a history, where sensitive values of earlier releases decide who is "
            "left out; use choice: informed"
        )


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
    metric, is_local = METRICS[policy.metric], policy.search == "local"
    if is_local and is_too_large(part.problem):
        found = RepeatedSolution(lattice_size=lattice_size(part.problem))
    else:
        found = search_beside(part.problem, metric, beside, policy.k)
    optimum = found.metric
    local = recode_beside(part.problem, metric, beside, policy.k, found) if is_local else None
    figures: dict[str, Any] = {
        "lattice_size": found.lattice_size,
        "nodes_checked": found.nodes_checked,
        "nodes_pruned": sum(found.pruned.values()),
        "pruned_by": found.pruned,
        "optimal": True,
        "optimum": optimum if math.isfinite(optimum) else None,
        "lower_bound": found.metric,
    }
    if found.levels is None or found.class_of_row is None:
        if is_too_large(part.problem) or search(part.problem, metric).levels is not None:
            figures["failure"] = why_not_beside(part.problem, beside, policy.k)
        else:
            figures["failure"] = diagnose(part.problem, lambda changed: holds_beside(changed, beside, changed.k))
        return _Outcome(None, None, figures)
    figures["beside"] = {
        "candidates": found.candidates,
        "candidates_presence_known": found.candidates_presence_known,
        "left_out_beside_history": found.left_out,
    }
    if local is not None:
        figures["local"] = local
    return _Outcome(found.class_of_row, found.levels, figures, found.tally)


# ── reporting ────────────────────────────────────────────────────────────────────────────────


def _whole(outcomes: Sequence[_Outcome]) -> Tally | None:
    """The tally of all partitions that have a solution."""
    whole = None
    for outcome in outcomes:
        if outcome.tally is not None:
            whole = outcome.tally if whole is None else whole + outcome.tally
    return whole


def _report(
    policy: Policy,
    hierarchies: dict[str, Hierarchy],
    parts: Sequence[Part],
    outcomes: Sequence[_Outcome],
    whole: Tally | None,
) -> dict[str, Any]:
    parted = [_part_report(policy, part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    rows = sum(part["rows"] for part in parted)
    solved = all(part["solution"] for part in parted) and any(part.get("classes") for part in parted)
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
        "gap": None,
        "optimal": all(part["optimal"] for part in parted),
        "remark": "; ".join(dict.fromkeys(part["remark"] for part in parted if part["remark"])) or None,
        "partitions": parted,
    }
    if not solved or whole is None:
        failed = [part for part in parted if not part["solution"]]
        report["reason"] = "; ".join(filter(None, [explain(failed, len(parted)), report["remark"]]))
        report["feasible_with"] = together(failed)
        return report
    attributes = parts[0].problem.attributes
    shown = [part for part in parted if part["classes"]]
    report["transformation"] = {name: max(part["transformation"][name] for part in shown) for name in hierarchies}
    report["loss"] = METRICS["loss"].of(whole, [attribute.unweighted() for attribute in attributes])
    report["column_loss"] = {
        name: float(attribute_loss(covered, whole.rows, attribute.domain))
        for name, covered, attribute in zip(hierarchies, whole.covered, attributes, strict=True)
    }
    report["metric_value"] = METRICS[policy.metric].of(whole, attributes)
    report["suppressed"] = whole.suppressed
    report["classes"] = whole.classes
    report["min_class"] = min(part["min_class"] for part in shown)
    # Each partition is optimal by itself; a bound over the pooled figure would claim something else.
    for name in ("lower_bound", "gap"):
        report[name] = parted[0].get(name) if len(parted) == 1 else None
    if "local" in parted[0] and len(parted) == 1:
        report["local"] = parted[0]["local"]
    if "candidates" in parted[0]:
        for name in ("candidates", "candidates_presence_known"):
            report[name] = min(part[name] for part in parted)
        report["left_out_beside_history"] = sum(part["left_out_beside_history"] for part in parted)
    return report


def _part_report(policy: Policy, part: Part, outcome: _Outcome) -> dict[str, Any]:
    problem, found = part.problem, outcome.tally
    is_bounded = not outcome.figures["optimal"]
    report: dict[str, Any] = {
        "solution": found is not None,
        "rows": problem.rows,
        **{name: outcome.figures[name] for name in ("lattice_size", "nodes_checked", "nodes_pruned", "pruned_by")},
        "optimal": not is_bounded and (policy.search == "optimal" or found is None),
        "remark": "; ".join(_remarks(policy, outcome)) or None,
    }
    if found is None or outcome.class_of_tuple is None or outcome.levels is None:
        return {**report, **(outcome.figures.get("failure") or diagnose(problem))}
    kept = (outcome.class_of_tuple >= 0) & (problem.counts > 0)
    if not kept.any():
        # Nothing is published on any level; the finest stands for none.
        levels = {name: spec.least_level for name, spec in policy.quasi_identifiers.items()}
        return {**report, "transformation": levels, "suppressed": found.suppressed, "classes": 0}
    coarsest = outcome.levels[kept].max(axis=0)
    value = METRICS[policy.metric].of(found, problem.attributes)
    report.update(
        transformation={
            name: spec.least_level + int(level)
            for (name, spec), level in zip(policy.quasi_identifiers.items(), coarsest, strict=True)
        },
        metric_value=value,
        **_bounds(policy, outcome, value),
        suppressed=found.suppressed,
        classes=found.classes,
        min_class=_smallest(part, outcome.class_of_tuple),
    )
    report.update(outcome.figures.get("beside", {}))
    if "local" in outcome.figures:
        name = "best_found_of_one_generalisation" if is_bounded else "optimum_of_one_generalisation"
        report["local"] = {**outcome.figures["local"], name: outcome.figures["optimum"]}
    return report


def _remarks(policy: Policy, outcome: _Outcome) -> Iterator[str]:
    if not outcome.figures["optimal"]:
        yield outcome.figures.get("remark") or _unproved(outcome)
    if outcome.tally is not None and policy.search == "local" and policy.metric != "loss":
        worth = "worse" if "local" in outcome.figures else "better"
        yield (
            f"classes with levels of their own are searched by loss; by {policy.metric} they are only compared with "
            f"one generalisation, and are no {worth}"
        )


def _unproved(outcome: _Outcome) -> str:
    what = "the optimum is not proven" if outcome.tally is not None else "that there is no solution is not proven"
    return f"{what}: the lattice of {outcome.figures['lattice_size']:.3g} nodes was searched under a budget"


def _bounds(policy: Policy, outcome: _Outcome, value: float) -> dict[str, float | None]:
    if policy.search == "local":
        return {"lower_bound": None, "gap": None}
    # The search compares sums that are rounded otherwise; where it proved that nothing is below its best, this is it.
    least = value if outcome.figures["optimal"] else min(outcome.figures["lower_bound"], value)
    return {"lower_bound": least, "gap": value - least}


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
