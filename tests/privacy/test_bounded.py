"""Lattices beyond the exact search: what is found keeps the policy, and what is said of the optimum is true."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, PolicyError, Release, anonymise, bounded, lattice, verify
from merajut_assets.privacy.certificate import Table, verify_certificate
from tests.privacy.test_optimum import (
    MODELS,
    POLICY,
    QUASI_IDENTIFIERS,
    TABLE,
    WORK,
    frames,
    people_of,
    policies,
    tables,
)

AMPLE = 100_000


def bounded_release(frame: pl.DataFrame, policy: Policy, budget: int, share: float = 0.5, **beside: Any) -> Release:
    """The release when every lattice is too large and so many evaluations are allowed, a share of them for the node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lattice, "MAXIMUM_NODES", 0)
        patch.setattr(bounded, "CHECKS_PER_LEVEL", 0)
        patch.setattr(bounded, "MOST_CHECKS", budget)
        patch.setattr(bounded, "SHARE_FOR_THE_NODE", share)
        return anonymise(frame, policy, **beside)


def check_against_the_optimum(
    frame: pl.DataFrame, policy: Policy, people: pl.DataFrame, budget: int, share: float = 0.0
) -> str:
    """Every figure of every partition, against the exact search and by the certificate's own definitions."""
    exact = anonymise(frame, policy, population=people).report
    release = bounded_release(frame, policy, budget, share, population=people)
    report, table = release.report, Table(frame, policy, people)
    assert (release.frame is None) == (not report["solution"])
    for part, best, rows in zip(report["partitions"], exact["partitions"], table.parts(), strict=True):
        assert part["lattice_size"] == best["lattice_size"]
        assert (part["remark"] is None) == part["optimal"]
        if not part["solution"]:
            assert not (part["optimal"] and best["solution"])
            continue
        assert best["solution"]
        slack = 1e-9 * max(best["metric_value"], 1.0)
        assert part["lower_bound"] <= best["metric_value"] + slack
        assert part["metric_value"] >= best["metric_value"] - slack
        assert part["gap"] == part["metric_value"] - part["lower_bound"] >= 0
        if part["optimal"]:
            assert part["metric_value"] == pytest.approx(best["metric_value"], rel=1e-9, abs=1e-9)
        own = table.evaluate(rows, tuple(part["transformation"][name] for name in table.hierarchies))
        assert own is not None, "the levels break the policy"
        assert part["metric_value"] == pytest.approx(own.value, rel=1e-9, abs=1e-9)
        assert part["suppressed"] == own.suppressed
    return "proved" if report["optimal"] else "bounded" if report["solution"] else "nothing"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames, policies, frames, st.sampled_from([0, 5, 20, AMPLE]), st.sampled_from([0.0, 0.5]))
def test_whatever_the_budget_the_figures_are_true(
    frame: pl.DataFrame, policy: Policy, others: pl.DataFrame, budget: int, share: float
) -> None:
    """A bound above the optimum, or a node that breaks the policy, would be worse than the refusal before."""
    answer = check_against_the_optimum(frame, policy, people_of(frame, others), budget, share)
    assert answer == "proved" or budget < AMPLE


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "aecs", "discernibility", "entropy", "precision"])
@pytest.mark.parametrize("model", list(MODELS))
def test_bounds_hold_where_suppression_is_not_monotone(model: str, metric: str) -> None:
    """There a node may be feasible although the coarser one is not: a box that is closed for that hides the best."""
    answers = set()
    for seed in range(4):
        frame, others = tables(seed)
        for limit in (0.08, 0.2):
            policy = Policy.model_validate(
                {
                    "quasi_identifiers": {name: QUASI_IDENTIFIERS[name] for name in ("sex", "zip", "age", "race")},
                    "k": 2,
                    "suppression_limit": limit,
                    "metric": metric,
                    **MODELS[model],
                }
            )
            # Without descents, which find the best of so few nodes anyway: the boxes have to find and bound it.
            for budget in (15, 30, AMPLE):
                answers.add(check_against_the_optimum(frame, policy, people_of(frame, others), budget))
    assert "proved" in answers


# ── lattices that are too large indeed ───────────────────────────────────────────────────────


def twelve_of_ten_levels(rows: int = 2_000) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A table of people who live around forty places, with 12 quasi-identifiers of 10 levels."""
    random = np.random.default_rng(12)
    place = random.integers(0, 40, rows)
    columns = {}
    for number in range(12):
        centre = random.integers(0, 512, 40)
        columns[f"q{number:02}"] = np.clip(centre[place] + random.integers(-8, 9, rows), 0, 511)
    frame = pl.DataFrame({**columns, "work": random.choice(WORK, rows)})
    return frame, {name: {"intervals": list(range(0, 513, 2)), "then": [2] * 8 + ["*"]} for name in columns}


def hundred_of_two_levels(rows: int = 2_000) -> tuple[pl.DataFrame, dict[str, Any]]:
    random = np.random.default_rng(100)
    columns = {
        f"q{number:03}": np.where(random.random(rows) < 0.03 * (1 + number % 7), "b", "a") for number in range(100)
    }
    frame = pl.DataFrame({**columns, "work": random.choice(WORK, rows)})
    return frame, {name: {"prefix": [1, 0]} for name in columns}


LARGE = {"12 of 10 levels": (twelve_of_ten_levels, 10**12), "100 of 2 levels": (hundred_of_two_levels, 2**100)}


@pytest.mark.parametrize("table", list(LARGE))
@pytest.mark.parametrize(
    "asked",
    [
        {"metric": "loss"},
        {"metric": "aecs"},
        pytest.param(
            {"metric": "loss", "suppression_limit": 0.02, "sensitive": {"work": {"l_diversity": {"l": 3}}}},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"metric": "loss", "suppression_limit": 0.02, "sensitive": {"work": {"t_closeness": {"t": 0.3}}}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["loss", "aecs", "diverse", "close"],
)
def test_a_large_lattice_has_a_solution_with_a_stated_gap(table: str, asked: dict[str, Any]) -> None:
    """Refusing leaves whoever has many columns without a release; a claim of the optimum would be untrue."""
    make, size = LARGE[table]
    frame, quasi_identifiers = make()
    policy = Policy.model_validate({"quasi_identifiers": quasi_identifiers, "k": 5, **asked})
    release = anonymise(frame, policy)
    report = release.report
    assert release.frame is not None
    assert report["lattice_size"] == size
    assert not report["optimal"]
    assert "not proven" in report["remark"]
    assert report["gap"] == report["metric_value"] - report["lower_bound"]
    coarsest = {"loss": 1.0, "aecs": float(frame.height)}[policy.metric]
    assert 0 < report["lower_bound"] < report["metric_value"] < coarsest, "better than generalising everything"
    # Memory goes with the number of evaluations, the last of which may be a whole round over the attributes.
    assert report["nodes_checked"] < bounded.MOST_CHECKS + 10 * len(quasi_identifiers)
    facts = verify(release.frame, policy.class_columns, list(policy.sensitive))
    assert facts["k"] >= policy.k
    assert facts["rows"] == frame.height - report["suppressed"] >= 0.98 * frame.height
    if policy.sensitive and policy.sensitive["work"].l_diversity is not None:
        assert facts["l"]["work"] >= 3


def test_the_order_of_rows_does_not_change_a_bounded_search() -> None:
    """A limit in seconds, or an order by first occurrence, would make releases that nobody can reproduce."""
    frame, quasi_identifiers = twelve_of_ten_levels(500)
    policy = Policy.model_validate({"quasi_identifiers": quasi_identifiers, "k": 3, "suppression_limit": 0.02})
    first, second = anonymise(frame, policy), anonymise(frame.sample(fraction=1.0, shuffle=True, seed=1), policy)
    for release in (first, second):
        release.report.pop("seconds")
        release.report.pop("seconds_by_step")
    assert first.report == second.report
    assert first.frame is not None
    assert second.frame is not None
    assert first.frame.equals(second.frame)


def test_a_gap_of_nothing_is_a_proof() -> None:
    """Rows that are all alike need no generalisation, however large the lattice; to call that unproven is untrue."""
    names = [f"q{number}" for number in range(40)]
    frame = pl.DataFrame({name: ["a"] * 6 for name in names})
    policy = Policy.model_validate({"quasi_identifiers": {name: {"prefix": [1, 0]} for name in names}, "k": 5})
    report = anonymise(frame, policy).report
    assert (report["optimal"], report["metric_value"], report["gap"], report["remark"]) == (True, 0.0, 0.0, None)
    none = anonymise(frame, policy.model_copy(update={"k": 7})).report
    assert (none["solution"], none["optimal"], none["feasible_with"]) == (False, True, {"k": 6})
    assert none["nodes_checked"] + none["nodes_pruned"] == none["lattice_size"] == 2**40


def test_local_recoding_of_a_large_lattice_claims_nothing() -> None:
    """Its classes start from the best generalisation found, and no bound on one generalisation holds for it."""
    frame, quasi_identifiers = twelve_of_ten_levels(500)
    policy = Policy.model_validate({"quasi_identifiers": quasi_identifiers, "k": 3, "search": "local"})
    release = anonymise(frame, policy)
    assert release.frame is not None
    assert verify(release.frame, policy.class_columns)["k"] >= 3
    report = release.report
    assert (report["optimal"], report["lower_bound"], report["gap"], report["certificate"]) == (False, None, None, None)
    local = report["partitions"][0]["local"]
    assert report["metric_value"] <= local["best_found_of_one_generalisation"] + 1e-12
    assert "optimum_of_one_generalisation" not in local


def test_nothing_found_is_not_called_impossible() -> None:
    """The whole table is not diverse enough, what remains of it without one small class is: told that there is no
    solution, its owner would give up for nothing."""
    frame = pl.DataFrame(
        {
            "zip": ["1"] * 14 + ["2"] * 20,
            "sex": ["L"] * 4 + ["P"] * 10 + ["L"] * 10 + ["P"] * 10,
            "work": ["a"] * 4 + ["a", "b"] * 15,
        }
    )
    policy = Policy.model_validate(
        {
            "quasi_identifiers": {"zip": {"prefix": [1, 0]}, "sex": {"prefix": [1, 0]}},
            "sensitive": {"work": {"l_diversity": {"kind": "entropy", "l": 2}}},
            "k": 2,
            "suppression_limit": 0.3,
        }
    )
    assert anonymise(frame, policy).report["suppressed"] == 4
    nothing = bounded_release(frame, policy, 0).report
    assert (nothing["solution"], nothing["optimal"]) == (False, False)
    assert "no solution is not proven" in nothing["reason"]
    assert bounded_release(frame, policy, AMPLE).report["suppressed"] == 4


def test_beside_a_history_a_large_lattice_is_refused() -> None:
    """The search beside earlier releases holds the whole lattice; it must say so instead of exhausting the memory."""
    names = [f"q{number}" for number in range(30)]
    frame = pl.DataFrame({"child": ["c1", "c2"], **{name: ["a", "b"] for name in names}})
    quasi_identifiers = {name: {"prefix": [1, 0]} for name in names}
    policy = Policy.model_validate({"quasi_identifiers": quasi_identifiers, "k": 2, "subject": "child"})
    first = anonymise(frame, policy)
    assert first.frame is not None
    empty = pl.DataFrame(
        schema={"release": pl.String, "subject": pl.String, "partition": pl.String, "class": pl.String}
    )
    with pytest.raises(PolicyError, match="lattice"):
        anonymise(frame, policy, history=empty)


# ── the certificate ──────────────────────────────────────────────────────────────────────────


def test_a_bounded_search_certifies_no_optimum() -> None:
    """Whoever shows its certificate must not be able to pass it for a proof."""
    certificate = bounded_release(TABLE, POLICY, 0).report["certificate"]
    claim = certificate["partitions"][0]
    assert claim["optimal"] is False
    assert claim["gap"] > 0
    answer = verify_certificate(TABLE, POLICY, certificate)
    assert not answer["valid"]
    assert any("no optimum" in problem for problem in answer["problems"])
    without = copy.deepcopy(certificate)
    del without["partitions"][0]["optimal"]
    assert not verify_certificate(TABLE, POLICY, without)["valid"]


def test_a_bound_passed_for_an_optimum_is_found_out() -> None:
    """Value, suppression and lower bound are all true, and yet the levels are not the best."""
    certificate = anonymise(TABLE, POLICY).report["certificate"]
    table = Table(TABLE, POLICY, None)
    coarsest = table.evaluate(table.parts()[0], (1, 3))
    assert coarsest is not None
    assert coarsest.value > certificate["partitions"][0]["lower_bound"]
    forged = copy.deepcopy(certificate)
    forged["partitions"][0].update(
        levels={"sex": 1, "zip": 3}, value=coarsest.value, suppressed=coarsest.suppressed, gap=0.0
    )
    answer = verify_certificate(TABLE, POLICY, forged)
    assert not answer["valid"]
    assert [problem for problem in answer["problems"] if "others have" in problem]


def test_what_a_bounded_search_proves_is_a_proof() -> None:
    """Where its bound reaches the value found, trying everything must agree."""
    certificate = bounded_release(TABLE, POLICY, AMPLE).report["certificate"]
    assert certificate["partitions"][0]["optimal"]
    assert verify_certificate(TABLE, POLICY, certificate) == {"valid": True, "problems": [], "nodes": 8}


def test_of_an_empty_table_the_answer_is_proved() -> None:
    """That there is nobody to publish needs no search; the size of the lattice is told as ever."""
    release = bounded_release(TABLE.clear(), POLICY, 10)
    assert release.report["solution"] is False
    assert release.report["lattice_size"] == anonymise(TABLE, POLICY).report["lattice_size"]
    assert verify_certificate(TABLE.clear(), POLICY, release.report["certificate"])["valid"]
