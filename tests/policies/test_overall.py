"""The limit over all stakeholders: it lets a year of releases through, and not much more."""

from __future__ import annotations

import pytest

from merajut_assets.policies import stakeholder
from merajut_assets.policies.stakeholder import (
    OVERALL,
    StakeholderPolicyError,
    epsilon_of_all_per_release,
    overall_policy,
    parse_policy,
    stakeholder_policies,
)


def test_it_is_no_stakeholders() -> None:
    """A file more in the folder once was a stakeholder more."""
    assert OVERALL not in stakeholder_policies()
    assert (stakeholder.DIRECTORY / f"{OVERALL}.yaml").exists()


def test_the_sum_is_over_every_statistic_of_everybody() -> None:
    by_hand = [
        policy.budget[statistic.category].epsilon_per_release * statistic.share
        for policy in stakeholder_policies().values()
        for statistic in policy.statistics.values()
    ]
    assert epsilon_of_all_per_release() == pytest.approx(sum(by_hand))


def test_a_year_of_releases_and_a_lost_draw_fit_and_a_thirteenth_does_not() -> None:
    """A limit that never bites is none; one that bites in December stops every stakeholder."""
    release, limit = epsilon_of_all_per_release(), overall_policy().epsilon_per_year
    costliest = max(policy.epsilon(name) for policy in stakeholder_policies().values() for name in policy.statistics)
    assert 12 * release + costliest <= limit < 13 * release


def test_a_malformed_limit_is_refused() -> None:
    with pytest.raises(StakeholderPolicyError, match="policy overall: epsilon_per_year"):
        stakeholder.parse_document(stakeholder.Overall, "epsilon_per_year: 0", OVERALL)
    with pytest.raises(StakeholderPolicyError, match="policy overall"):
        parse_policy("epsilon_per_year: 96", OVERALL)
