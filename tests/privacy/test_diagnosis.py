"""What is said to make a policy feasible does, and what would do is said.

A review found refusals that named a number which gave away much of the protection, where a few more suppressed rows
would have done: only the coarsest levels had been looked at, and there a model of sensitive values can fail for all.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, Release, anonymise, diagnosis
from tests.privacy.test_optimum import frames, people_of, policies, with_offers

LIMIT = "suppression_limit"
RARE = pl.DataFrame({"group": ["a"] * 6 + ["b"] * 40, "why": [*"pqrpqr", *"p" * 40]})
RULE: dict[str, Any] = {
    "quasi_identifiers": {"group": {"prefix": [1, 0]}},
    "k": 2,
    "suppression_limit": 0.5,
    "sensitive": {"why": {"l_diversity": {"kind": "recursive", "l": 3, "c": 2}}},
}


def offered(release: Release) -> tuple[dict[str, float], float | None]:
    numbers = dict(release.report["feasible_with"])
    return numbers, numbers.pop(LIMIT, None)


def test_the_limit_under_which_a_finer_level_would_do_is_offered() -> None:
    """Of the six three values are frequent enough; with the forty beside them, they are not."""
    refused = anonymise(RARE, Policy.model_validate(RULE))
    assert not refused.report["solution"]
    assert refused.report["feasible_with"][LIMIT] == 0.869566
    assert refused.report["reason"].endswith(f"or {LIMIT} >= 0.869566")
    released = anonymise(RARE, Policy.model_validate({**RULE, LIMIT: 0.869566}))
    assert released.report["suppressed"] == 40
    assert anonymise(RARE, Policy.model_validate({**RULE, LIMIT: 39 / 46})).frame is None


def test_a_lattice_of_many_tuples_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling why must not take longer than looking for a solution did."""
    monkeypatch.setattr(diagnosis, "TUPLES_LOOKED_AT", 0)
    monkeypatch.setattr(diagnosis, "search", None)
    assert list(anonymise(RARE, Policy.model_validate(RULE)).report["feasible_with"]) == ["l_diversity of why c"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frame=frames, policy=policies, others=frames, choice=st.sampled_from(["informed", "informed", "blind"]))
def test_whatever_is_offered_works(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame, choice: str) -> None:
    """The numbers of models taken together, and the suppression limit by itself, in all partitions; of a blind choice
    with partitions only those without a solution are spoken of."""
    changes: dict[str, Any] = {"choice": choice} if choice == "informed" else {"choice": choice, "exact": ()}
    policy, people = policy.model_copy(update=changes), people_of(frame, others)
    refused = anonymise(frame, policy, population=people)
    if refused.frame is not None:
        return
    numbers, limit = offered(refused)
    if "a larger k" in numbers:
        numbers["k"] = numbers.pop("a larger k")
    for eased in [
        *([with_offers(policy, numbers)] if numbers else []),
        *([policy.model_copy(update={LIMIT: limit})] if limit is not None else []),
    ]:
        assert anonymise(frame, eased, population=people).frame is not None, refused.report["reason"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frame=frames, policy=policies, others=frames)
def test_the_limit_is_offered_where_there_is_one_and_is_the_smallest(
    frame: pl.DataFrame, policy: Policy, others: pl.DataFrame
) -> None:
    policy, people = policy.model_copy(update={"exact": ()}), people_of(frame, others)
    refused = anonymise(frame, policy, population=people)
    if refused.frame is not None:
        return
    _, limit = offered(refused)
    too_little = 1.0 if limit is None else (round(limit * frame.height) - 1) / frame.height
    assert anonymise(frame, policy.model_copy(update={LIMIT: too_little}), population=people).frame is None


def test_of_several_partitions_the_easiest_number_is_offered() -> None:
    """What would do for the first of them only would be refused for the next."""
    frame = pl.DataFrame({"group": ["a"] * 9, "land": [*"xxxx", *"yyy", *"zz"], "why": [*"pqpq", *"pqp", *"pp"]})
    rules = {**RULE, LIMIT: 0.0, "exact": ["land"], "sensitive": {"why": {"l_diversity": {"l": 3}}}}
    refused = anonymise(frame, Policy.model_validate(rules))
    assert "3 of 3 partitions" in refused.report["reason"]
    assert refused.report["feasible_with"] == {"l_diversity of why": 1}
    assert "feasible there with l_diversity of why <= 1" in refused.report["reason"]
    few = anonymise(frame, Policy.model_validate({**RULE, "k": 4, "exact": ["land"], "sensitive": {}}))
    assert few.report["feasible_with"] == {"k": 2}


def test_partitions_without_a_change_for_all_are_said_to() -> None:
    """More rows are not the only remedy there: each partition has a k that is large enough for a blind choice, but none
    of them is known to be so for the other."""
    group, why = [*"aaabbb", *"cdcdcd"], [*"xxxyyy", *"xyxyxy"]
    frame = pl.DataFrame({"group": group * 2, "land": ["x"] * 12 + ["y"] * 12, "why": why * 2})
    rules = {**RULE, "choice": "blind", "exact": ["land"], "sensitive": {"why": {"l_diversity": {"l": 2}}}}
    refused = anonymise(frame, Policy.model_validate(rules)).report
    assert [list(part["feasible_with"]) for part in refused["partitions"]] == [["a larger k"]] * 2
    assert refused["feasible_with"] == {}
    assert "no one change would do in all of them" in refused["reason"]
