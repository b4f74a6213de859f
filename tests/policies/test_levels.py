"""Protection levels: which one a dataset needs, and that nothing weaker is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass, TableContract
from merajut_assets.policies.levels import (
    Levels,
    budget_problems,
    is_close,
    level_of,
    level_problems,
    protection_levels,
)
from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.policy import Policy


def of(stakeholder: str, name: str) -> tuple[StakeholderPolicy, TableContract]:
    return stakeholder_policies()[stakeholder], registry.protected_dataset(stakeholder, name)


def changed(policy: StakeholderPolicy, name: str, **changes: Any) -> StakeholderPolicy:
    dataset = policy.microdata[name]
    privacy = Policy.model_validate({**dataset.privacy.model_dump(exclude_none=True), **changes})
    datasets = {**policy.datasets, name: dataset.model_copy(update={"privacy": privacy})}
    return policy.model_copy(update={"datasets": datasets})


def test_the_levels_in_force_are_met() -> None:
    """What is shipped must hold by its own rules."""
    for policy in stakeholder_policies().values():
        assert list(budget_problems(policy)) == []
        for name in policy.microdata:
            assert list(level_problems(policy, registry.protected_dataset(policy.stakeholder, name))) == []


def test_maximum_is_what_the_requirements_say() -> None:
    """k = 50, ε = 0.1, δ = 1e-5 and districts are requirements, not our choice."""
    maximum = protection_levels().levels["maximum"]
    assert (maximum.k, maximum.epsilon, maximum.delta, maximum.finest_region) == (50, 0.1, 1e-5, "regency")


@pytest.mark.parametrize(
    ("stakeholder", "name", "purpose", "level"),
    [
        ("government", "child_summary", "government_reporting", "standard"),
        ("academia", "research_child", "research", "high"),
        ("academia", "research_child", "analytics", "maximum"),
        ("business", "donor_segment", "analytics", "standard"),
    ],
)
def test_classification_and_purpose_choose_the_level(stakeholder: str, name: str, purpose: str, level: str) -> None:
    """Rows about children for any purpose that is not named get the strongest level."""
    assert protection_levels().needed(of(stakeholder, name)[1], purpose) == level


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"k": 9}, "k of at least 10"),
        ({"sensitive": {"diagnosis_group": {"l_diversity": {"l": 2}, "t_closeness": {"t": 0.4}}}}, "l-diversity of 3"),
        ({"sensitive": {"diagnosis_group": {"l_diversity": {"l": 3}}}}, "t-closeness of 0.4"),
        ({"sensitive": {}}, "for the sensitive column abuse_type"),
        ({"quasi_identifiers": {"region_code": {"codes": "wilayah"}}}, "no finer than province"),
    ],
)
def test_a_dataset_weaker_than_its_level_is_named(changes: dict[str, Any], problem: str) -> None:
    """A policy that is edited to be weaker must not load: the level is what was promised for such rows."""
    policy, contract = of("academia", "research_child")
    problems = list(level_problems(changed(policy, "research_child", **changes), contract))
    assert any(problem in one for one in problems)


def test_rows_about_children_for_analytics_need_the_maximum() -> None:
    """A business that gets rows about children by mistake would find k of 50 missing."""
    policy, contract = of("academia", "research_child")
    other = policy.model_copy(update={"consent_purpose": "analytics"})
    problems = " ".join(level_problems(other, contract))
    assert "k of at least 50" in problems
    assert "3 quasi-identifiers at most" in problems


def test_a_stated_level_that_is_not_kept_is_named() -> None:
    """It was a label kept by hand: `high` beside k = 5 went into every publication unnoticed."""
    stated = stakeholder_policies()["government"].model_copy(update={"protection_level": "high"})
    summary, incidents = (of("government", name)[1] for name in ("child_summary", "incident_summary"))
    problems = " ".join(level_problems(stated, summary))
    assert "k of at least 10, not 5" in problems
    assert "region_code no finer than province" in problems
    assert list(level_problems(stated, incidents)) == ["needs the protection level high: k of at least 10, not 5"]


def test_a_stated_level_below_what_a_dataset_needs_is_named() -> None:
    """A publication would call itself less protected than it must be, and its statistics would be judged so."""
    policy, contract = of("academia", "research_child")
    problems = list(level_problems(policy.model_copy(update={"protection_level": "standard"}), contract))
    assert problems == ["needs the protection level high: its stakeholder's policy states standard"]
    assert level_of(policy, contract) == "high"


def test_columns_about_time_and_place_must_be_close_without_being_named() -> None:
    """The requirements ask for t-closeness of geographic, demographic and temporal distributions; a list of names
    would forget the next such column."""
    close = {
        (contract.name, column.name)
        for contract in registry.tables("protected").values()
        for column in contract.columns
        if column.privacy is PrivacyClass.SENSITIVE
        and column.name not in protection_levels().close
        and is_close(column)
    }
    assert close == {("child_summary", "months_in_care"), ("child_summary", "reviews_on_time")}
    known = [
        hierarchy
        for contract in registry.tables("conformed").values()
        for hierarchy in {column.hierarchy for column in contract.columns}
    ]
    assert set(protection_levels().close_hierarchies) <= set(known)
    policy, contract = of("government", "child_summary")
    rules = {name: {"l_diversity": {"l": 2}} for name in policy.microdata["child_summary"].privacy.sensitive}
    problems = " ".join(level_problems(changed(policy, "child_summary", sensitive=rules), contract))
    assert "for the sensitive column months_in_care" in problems
    assert "for the sensitive column reviews_on_time" in problems
    assert "t-closeness of 0.6 or less for the sensitive column placements" not in problems


def test_an_ordered_distance_has_a_limit_of_its_own() -> None:
    """0.6 by the ordered distance is kept by nearly every class: one at the end of evenly filled ranks has 0.5."""
    policy, contract = of("government", "child_summary")
    order = ["0-11", "12-35", "36-59", "60-95", "96+"]
    sensitive = policy.microdata["child_summary"].privacy.model_dump(exclude_none=True)["sensitive"]
    sensitive["months_in_care"]["t_closeness"] = {"kind": "ordered", "t": 0.6, "order": order}
    problems = list(level_problems(changed(policy, "child_summary", sensitive=sensitive), contract))
    limit = protection_levels().levels["standard"].t_ordered
    assert problems == [
        f"needs the protection level standard: t-closeness of {limit:g} or less for the sensitive column months_in_care"
    ]


def test_a_budget_above_the_level_is_named() -> None:
    """At maximum the ε of the requirements is a limit for statistics, too."""
    policy = stakeholder_policies()["media"].model_copy(update={"protection_level": "maximum"})
    assert any("ε of public may be 0.1" in problem for problem in budget_problems(policy))


def test_levels_that_leave_something_without_a_level_are_refused() -> None:
    """A dataset that no entry fits would have no level at all."""
    document = protection_levels().model_dump(mode="json")
    with pytest.raises(ValueError, match="must fit everything"):
        Levels.model_validate({**document, "choice": document["choice"][:-1]})
