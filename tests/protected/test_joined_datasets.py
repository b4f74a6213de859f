"""Two datasets of one stakeholder whose pseudonyms are the same: what is stored is judged on the join."""

from __future__ import annotations

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.protected.pipeline import examine
from merajut_assets.protected.release import examine_stored, read_release, release_dataset, table_of
from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import RELEASE

POLICY = stakeholder_policies()["business"]
EMPLOYEES = registry.protected_dataset("business", "employee_engagement")
DONORS = registry.protected_dataset("business", "donor_segment")


def test_shared_pseudonyms_turn_the_check_red(lakehouse: Lakehouse) -> None:
    """By a key that is used for two datasets, both safe by themselves, a person in both would be found by joining
    them: the check must see that in what is stored, for nothing says so in a policy."""
    for contract in (EMPLOYEES, DONORS):
        release_dataset(lakehouse, contract, POLICY, RELEASE)
        evidence = examine_stored(lakehouse, contract, POLICY, RELEASE)
        assert evidence.is_safe
        assert "joined_k" not in evidence.facts
    employees = (
        read_release(lakehouse, EMPLOYEES, RELEASE, "test")
        .get_column("employee_pseudonym")
        .sample(fraction=1, shuffle=True, seed=3)
    )
    donors = read_release(lakehouse, DONORS, RELEASE, "test")
    shared = pl.concat([employees, donors.get_column("donor_pseudonym")]).head(donors.height)
    planted = donors.with_columns(shared.alias("donor_pseudonym"))
    assert examine(planted, DONORS, POLICY.datasets["donor_segment"]).is_safe
    lakehouse.lake.overwrite(table_of(DONORS), planted, partition={"release": RELEASE})
    for contract in (EMPLOYEES, DONORS):
        evidence = examine_stored(lakehouse, contract, POLICY, RELEASE)
        assert evidence.facts["joined_k"] < POLICY.microdata["donor_segment"].privacy.k
        assert any(violation.startswith("k = 5 is not reached on the join") for violation in evidence.violations)
