"""What is judged when definitions load: a dataset that is half declared, or that cannot be protected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import ContractError, TableContract
from merajut_assets.policies.stakeholder import Aggregate, Open, StakeholderPolicy, stakeholder_policies
from merajut_assets.protected import consistency
from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.protected.consistency import dataset_problems
from merajut_assets.protected.summaries import registered_summaries

Contracts = dict[tuple[str, str], TableContract]


def _contracts() -> Contracts:
    return {(contract.system, contract.name): contract for contract in registry.tables("protected").values()}


def _policies(stakeholder: str, **datasets: Any) -> dict[str, StakeholderPolicy]:
    """The policies with some datasets of one stakeholder changed; None takes one out."""
    policies = dict(stakeholder_policies())
    changed = {**policies[stakeholder].datasets, **datasets}
    kept = {name: dataset for name, dataset in changed.items() if dataset is not None}
    policies[stakeholder] = policies[stakeholder].model_copy(update={"datasets": kept})
    return policies


def test_what_there_is_fits_together() -> None:
    assert dataset_problems(stakeholder_policies(), _contracts(), registered_summaries()) == []


def test_whatever_is_missing_is_named_with_its_place() -> None:
    """It once failed at night with a KeyError, or was never released without anybody noticing."""
    contracts, summaries = _contracts(), registered_summaries()
    key = ("media", "campaign_giving")
    without_contract = {name: contract for name, contract in contracts.items() if name != key}
    cases = {
        "a dataset in policies/media.yaml": (_policies("media", campaign_giving=None), contracts, summaries),
        "a contract in contracts/protected.py": (stakeholder_policies(), without_contract, summaries),
        "a summary in protected/summaries": (stakeholder_policies(), contracts, summaries - {key}),
    }
    for place, given in cases.items():
        (problem,) = dataset_problems(*given)
        assert problem.startswith("media.campaign_giving has ")
        assert f"but not {place}" in problem


def test_every_dataset_of_rows_has_limits_of_risk() -> None:
    """The requirement on the risk is about all anonymised datasets; three of five once had no limit at all."""
    contracts, summaries = _contracts(), registered_summaries()
    for stakeholder, name, limits, missing in (
        ("business", "donor_segment", {}, "prosecutor.highest"),
        ("academia", "research_child", {"prosecutor.highest": 0.1}, "linkage.share_right"),
    ):
        dataset = stakeholder_policies()[stakeholder].microdata[name].model_copy(update={"risk_limits": limits})
        (problem,) = dataset_problems(_policies(stakeholder, **{name: dataset}), contracts, summaries)
        assert problem.startswith(f"{stakeholder}.{name} has rows about persons and no limit of risk for {missing}")


def test_definitions_do_not_load_when_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        consistency, "registered_summaries", lambda: registered_summaries() - {("government", "region")}
    )
    with pytest.raises(ContractError, match=r"government\.region has .* but not a summary"):
        build_protected_assets()


def test_an_open_dataset_that_counts_people_is_refused() -> None:
    """The list of institutions, open to everybody, told of each how many staff had no background check."""
    contracts, summaries = _contracts(), registered_summaries()
    for stakeholder, name, people in (
        ("government", "staff_summary", "staff"),
        ("community", "activity_summary", "volunteer_activity"),
        ("media", "campaign_giving", "donation"),
    ):
        problems = dataset_problems(_policies(stakeholder, **{name: Open(kind="open")}), contracts, summaries)
        assert any(problem.startswith(f"{stakeholder}.{name} is open") and people in problem for problem in problems)


def test_a_sensitive_column_without_diversity_is_refused() -> None:
    """Left out of the policy, it was released as it was, also where a whole class had the same value."""
    policies = stakeholder_policies()
    dataset = policies["business"].microdata["donor_segment"]
    rules = {name: rule for name, rule in dataset.privacy.sensitive.items() if name != "gifts"}
    careless = dataset.model_copy(update={"privacy": dataset.privacy.model_copy(update={"sensitive": rules})})
    (problem,) = dataset_problems(_policies("business", donor_segment=careless), _contracts(), registered_summaries())
    assert "sensitive column gifts" in problem


def test_an_aggregate_names_its_contributors_and_their_kind() -> None:
    """k counts that column, and the kind decides whose erasure it feels."""
    contracts, summaries = _contracts(), registered_summaries()
    wrong = Aggregate(kind="aggregate", k=5, contributors="givers")
    (problem,) = dataset_problems(_policies("media", campaign_giving=wrong), contracts, summaries)
    assert "without the column(s) givers" in problem
    nobody = {**contracts, ("media", "campaign_giving"): replace(contracts["media", "campaign_giving"], subjects=())}
    (problem,) = dataset_problems(stakeholder_policies(), nobody, summaries)
    assert "one kind of subject" in problem


def test_two_breakdowns_of_the_same_people_are_refused() -> None:
    """The total of one, less the visible cells of the other, is the withheld cell."""
    contracts, summaries = _contracts(), registered_summaries()
    activity = contracts["community", "activity_summary"]
    by_province = replace(
        contracts["government", "staff_summary"], system="community", name="by_province", subjects=activity.subjects
    )
    dataset = Aggregate(kind="aggregate", k=5, contributors="staff")
    given = {**contracts, ("community", "by_province"): by_province}
    key = ("community", "by_province")
    problems = dataset_problems(_policies("community", by_province=dataset), given, summaries | {key})
    assert any("break the same contributors down differently" in problem for problem in problems)
