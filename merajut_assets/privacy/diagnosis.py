"""Why a policy has no solution, and what would make one.

Belongs here: judging the coarsest generalisation, the smallest changes of the policy's numbers under which it would
do, and the smallest suppression limit under which any generalisation would. Does not belong here: the search, or
frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from merajut_assets.privacy.classes import Grouping, base_grouping, count, counts_for, group
from merajut_assets.privacy.lattice import is_too_large, lattice_size, search
from merajut_assets.privacy.metrics import ClassMetric, Floats, Tally
from merajut_assets.privacy.models import (
    AtLeast,
    BetaLikeness,
    Closeness,
    EntropyDiversity,
    MapAtLeast,
    Model,
    Presence,
    RecursiveDiversity,
)
from merajut_assets.privacy.problem import Attribute, Flags, Integers, Problem, Requirement

SUPPRESSION_LIMIT = "suppression_limit"
LARGER_K = "a larger k"
PLACES = Decimal("0.000001")
# How many tuples all nodes of a lattice may have for the suppression limit to be searched for: in a second or two.
TUPLES_LOOKED_AT = 10_000_000


@dataclass(frozen=True)
class _Offer:
    """A number of a model that may be eased: its `name` in reports, as it is `asked`, what each class reaches
    (c,), whether a `lower` number is easier, the model with another number, and which numbers exist."""

    name: str
    asked: Fraction
    reached: npt.NDArray[np.float64]
    lower: bool
    model: Callable[[Decimal], Model]
    valid: Callable[[Decimal], bool]
    whole: bool = False
    # A number that has to be exceeded is offered one step easier.
    beyond: bool = False


class _Suppressed(ClassMetric):
    """The number of suppressed rows."""

    def value(self, sizes: Integers, suppressed: int, rows: int) -> float:
        return float(suppressed)

    def of(self, tally: Tally, attributes: Sequence[Attribute]) -> float:
        return float(tally.suppressed)

    def few(self, classes: Floats | Integers, rows: int) -> Floats:
        return np.zeros(classes.shape)

    def coarser(self, sizes: Integers, least: int, rows: int) -> float:
        return 0.0

    def finer(self, lost: int, least: int, rows: int) -> float:
        return float(lost)


def diagnose(problem: Problem, works: Callable[[Problem], bool] = lambda _: True) -> dict[str, Any]:
    """`reason`: which requirements even the coarsest generalisation misses. `feasible_with`: the numbers that,
    taken together, it would meet, and the suppression limit under which there would be a solution without them: the
    smallest one, or, where many tuples make that too much to find, the one for the coarsest levels.

    `works`: whether a changed task is really solved, where that takes more than one generalisation that meets it;
    what does not work is not offered."""
    if problem.rows == 0:
        return {"reason": "the frame has no rows", "feasible_with": {}}
    base = base_grouping(problem)
    top = group(problem, tuple(attribute.levels - 1 for attribute in problem.attributes), base)
    count(top, base)
    failures: list[str] = []
    feasible_with: dict[str, float] = {}
    everything = np.zeros(top.size, dtype=bool)  # failing as things are
    kept = np.zeros(top.size, dtype=bool)  # failing with what is offered
    eased: list[Requirement] = []
    for requirement in problem.requirements:
        failing = _failing(top, requirement)
        everything |= failing
        if not _bearable(problem, top, failing):
            failures.append(
                f"{_asked(top, requirement)} fails: even at the coarsest levels {int(top.rows[failing].sum())} of "
                f"{problem.rows} rows would have to be suppressed and {problem.limit} may be"
            )
        if not _bearable(problem, top, kept | failing):
            requirement = _eased(problem, top, requirement, kept, feasible_with)
        kept |= _failing(top, requirement)
        eased.append(requirement)
    suppressed = int(top.rows[everything].sum())
    if not failures:
        failures.append(
            "the requirements fail together, though each can be met alone: at the coarsest levels "
            f"{suppressed} of {problem.rows} rows would have to be suppressed and {problem.limit} may be"
        )
    if not _bearable(problem, top, kept) or (feasible_with and not works(replace(problem, requirements=tuple(eased)))):
        feasible_with = {}
    least = _least_suppressed(problem, suppressed)
    if least < problem.rows and not _covers_population(problem) and works(replace(problem, limit=least)):
        share = Decimal(least) / Decimal(problem.rows)
        feasible_with[SUPPRESSION_LIMIT] = float(share.quantize(PLACES, rounding=ROUND_CEILING))
    return {"reason": "; ".join(failures), "feasible_with": feasible_with}


def _least_suppressed(problem: Problem, at_the_top: int) -> int:
    """The fewest rows that must be suppressed, given those at the coarsest levels; all of them without a solution."""
    if is_too_large(problem) or lattice_size(problem) * problem.tuples > TUPLES_LOOKED_AT:
        return at_the_top
    found = search(replace(problem, limit=problem.rows), _Suppressed())
    return problem.rows if found.levels is None else found.suppressed_rows


def together(failed: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What would do in all of the partitions that have no solution, out of their diagnoses: of each number the easiest.
    Those that have a solution keep it, but where the choice is blind: it is made anew there. A larger k may not be
    enough for one partition and too large for another."""
    offered = [dict(part["feasible_with"]) for part in failed]
    limits = [numbers.pop(SUPPRESSION_LIMIT, None) for numbers in offered]
    result: dict[str, float] = {}
    if all(offered) and (len(offered) == 1 or not any(LARGER_K in numbers for numbers in offered)):
        for name in dict.fromkeys(name for numbers in offered for name in numbers):
            easiest = max if _sign(name) == ">=" else min
            result[name] = easiest(numbers[name] for numbers in offered if name in numbers)
    if limits and None not in limits:
        result[SUPPRESSION_LIMIT] = max(limits)
    return result


def explain(failed: Sequence[dict[str, Any]], parts: int) -> str:
    """The reason in words, out of the diagnoses of the partitions that have no solution."""
    if not failed:
        return "the frame has no rows; there is nothing to release"
    where = "" if parts == 1 else f"in {len(failed)} of {parts} partitions by the exact columns: "
    changes = together(failed)
    share = changes.pop(SUPPRESSION_LIMIT, None)
    remedies = [" and ".join(f"{name} {_sign(name)} {value}" for name, value in changes.items())] if changes else []
    if share is not None:
        remedies.append(f"{SUPPRESSION_LIMIT} >= {share}")
    if remedies:
        advice = f"; feasible there with {' or '.join(remedies)}"
    elif any(part["feasible_with"] for part in failed):
        advice = "; no one change would do in all of them"
    else:
        advice = "; feasible with more rows only"
    return f"{where}{failed[0]['reason']}{advice}"


def _sign(name: str) -> str:
    raised = ("t_closeness", "beta_likeness", "delta_presence max", LARGER_K)
    return ">=" if name.startswith(raised) or name.endswith(" c") else "<="


def _covers_population(problem: Problem) -> bool:
    models = (requirement.model for requirement in problem.requirements)
    return any(isinstance(model, Presence) and model.least > 0 for model in models)


def _failing(top: Grouping, requirement: Requirement) -> Flags:
    return np.concatenate([requirement.model.failing(counts) for _, counts in counts_for(top, requirement)])


def _bearable(problem: Problem, top: Grouping, failing: Flags) -> bool:
    """Whether the failing classes may be suppressed; one without rows has none to suppress, but for δ-presence
    from below, which has no remedy in suppression."""
    return int(top.rows[failing].sum()) <= problem.allowed


def _asked(top: Grouping, requirement: Requirement) -> str:
    offers = _offers(requirement, *_counts(top, requirement))
    return " and ".join(f"{offer.name} = {_number(offer.asked)}" for offer in offers)


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else str(float(value))


def _counts(top: Grouping, requirement: Requirement) -> tuple[Integers]:
    return (np.concatenate([counts for _, counts in counts_for(top, requirement)]),)


def _eased(
    problem: Problem, top: Grouping, requirement: Requirement, kept: Flags, feasible_with: dict[str, float]
) -> Requirement:
    """The requirement with the strictest numbers that the classes outside `kept` meet; they are entered in
    `feasible_with`. As it is, where no number would do."""
    for place in range(len(_offers(requirement, *_counts(top, requirement)))):
        offer = _offers(requirement, *_counts(top, requirement))[place]
        candidates = sorted({float(value) for value in offer.reached if math.isfinite(value)}, reverse=offer.lower)
        for candidate in candidates:
            worse = offer.reached < candidate if offer.lower else offer.reached > candidate
            if _bearable(problem, top, kept | worse):
                value = _rounded(candidate, offer)
                if offer.valid(value) and _easier(value, offer):
                    requirement = replace(requirement, model=offer.model(value))
                    feasible_with[offer.name] = int(value) if offer.whole else float(value)
                break
    return requirement


def _rounded(value: float, offer: _Offer) -> Decimal:
    """To six places, on the easier side."""
    if offer.whole:
        return Decimal(int(value))
    # A hair of rounding error must not push the number to the next place.
    slack = Decimal("1e-9") if offer.lower else Decimal("-1e-9")
    if offer.beyond:
        return (Decimal(value)).quantize(PLACES, rounding=ROUND_FLOOR) + PLACES
    rounding = ROUND_FLOOR if offer.lower else ROUND_CEILING
    return (Decimal(value) + slack).quantize(PLACES, rounding=rounding)


def _easier(value: Decimal, offer: _Offer) -> bool:
    return Fraction(value) < offer.asked if offer.lower else Fraction(value) > offer.asked


def _offers(requirement: Requirement, counts: Integers) -> list[_Offer]:
    name, model = requirement.name, requirement.model
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(model, AtLeast | MapAtLeast):
            reached = counts[:, -1].astype(float)
            asked = Fraction(model.minimum)
            return [
                _Offer(name, asked, reached, True, lambda v: replace(model, minimum=int(v)), lambda v: v >= 1, True)
            ]
        if isinstance(model, EntropyDiversity):
            return [
                _Offer(
                    name,
                    Fraction(str(model.l)),
                    model.reached(counts),
                    True,
                    lambda v: replace(model, l=float(v)),
                    lambda v: v >= 1,
                )
            ]
        if isinstance(model, RecursiveDiversity):
            return [
                _Offer(
                    f"{name} c",
                    model.c,
                    model.reached(counts),
                    False,
                    lambda v: replace(model, c=Fraction(v)),
                    lambda v: v > 0,
                    beyond=True,
                )
            ]
        if isinstance(model, Closeness):
            return [
                _Offer(
                    name,
                    model.t,
                    model.reached(counts),
                    False,
                    lambda v: replace(model, t=Fraction(v)),
                    lambda v: 0 <= v <= 1,
                )
            ]
        if isinstance(model, BetaLikeness):
            return [
                _Offer(
                    name,
                    model.beta,
                    model.reached(counts),
                    False,
                    lambda v: replace(model, beta=Fraction(v)),
                    lambda v: v > 0,
                )
            ]
        assert isinstance(model, Presence)
        share = counts[:, 0] / counts[:, 1]
        return [
            _Offer(
                f"{name} max",
                model.most,
                np.where(np.isnan(share), 0.0, share),
                False,
                lambda v: replace(model, most=Fraction(v)),
                lambda v: v <= 1,
            ),
            _Offer(
                f"{name} min",
                model.least,
                np.where(np.isfinite(share), share, 1.0),
                True,
                lambda v: replace(model, least=Fraction(v)),
                lambda v: v >= 0,
            ),
        ]
