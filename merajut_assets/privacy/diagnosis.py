"""Why a policy has no solution, and what would make one.

Belongs here: judging the coarsest generalisation, and the smallest changes of the policy's numbers under
which it would do. Does not belong here: the search, or frames.
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
from merajut_assets.privacy.problem import Flags, Integers, Problem, Requirement

SUPPRESSION_LIMIT = "suppression_limit"
LARGER_K = "a larger k"
PLACES = Decimal("0.000001")


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


def diagnose(problem: Problem) -> dict[str, Any]:
    """`reason`: which requirements even the coarsest generalisation misses. `feasible_with`: the numbers that,
    taken together, it would meet, and the suppression limit under which it would do without them."""
    if problem.rows == 0:
        return {"reason": "the frame has no rows", "feasible_with": {}}
    base = base_grouping(problem)
    top = group(problem, tuple(attribute.levels - 1 for attribute in problem.attributes), base)
    count(top, base)
    failures: list[str] = []
    feasible_with: dict[str, float] = {}
    everything = np.zeros(top.size, dtype=bool)  # failing as things are
    kept = np.zeros(top.size, dtype=bool)  # failing with what is offered
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
    suppressed = int(top.rows[everything].sum())
    if not failures:
        failures.append(
            "the requirements fail together, though each can be met alone: at the coarsest levels "
            f"{suppressed} of {problem.rows} rows would have to be suppressed and {problem.limit} may be"
        )
    if not _bearable(problem, top, kept):
        feasible_with = {}
    share = Decimal(suppressed) / Decimal(problem.rows)
    if suppressed < problem.rows and not _covers_population(problem):
        feasible_with[SUPPRESSION_LIMIT] = float(share.quantize(PLACES, rounding=ROUND_CEILING))
    return {"reason": "; ".join(failures), "feasible_with": feasible_with}


def explain(failed: Sequence[dict[str, Any]], parts: int) -> str:
    """The reason in words, out of the diagnoses of the partitions that have no solution."""
    if not failed:
        return "the frame has no rows; there is nothing to release"
    where = "" if parts == 1 else f"in {len(failed)} of {parts} partitions by the exact columns: "
    changes = dict(failed[0]["feasible_with"])
    share = changes.pop(SUPPRESSION_LIMIT, None)
    remedies = [" and ".join(f"{name} {_sign(name)} {value}" for name, value in changes.items())] if changes else []
    if share is not None:
        remedies.append(f"{SUPPRESSION_LIMIT} >= {share}")
    advice = f"; feasible there with {' or '.join(remedies)}" if remedies else "; feasible with more rows only"
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
