"""The one shape of every statistic: its key columns, then the figure columns declared here.

Belongs here: the contract of a statistic, made from a stakeholder's policy. Does not belong here: which
values the keys can have (`declarations`) and how figures are drawn (`releases`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pandera.polars as pa

from merajut_assets.contracts.base import LegalBasis, PrivacyClass, Subject, TableContract, derived, public
from merajut_assets.contracts.protected import Released
from merajut_assets.policies.stakeholder import Statistic, stakeholder_policies

STATISTICS = "statistics"
FRESHNESS_HOURS = 24 * 32

# What a key column is drawn from; the list of its values is public, whatever is counted under it.
KEY_SOURCES: dict[str, tuple[str, ...]] = {
    "province_code": ("region.region_code", "orphanage.regency_code"),
    "regency_code": ("region.region_code", "orphanage.regency_code"),
    "age_band": ("child.birth_date",),
    "sex": ("child.sex",),
    "programme_id": ("csr_programme.programme_id", "contract.programme_id", "contract.orphanage_id"),
}
KEY_DESCRIPTIONS = {
    "province_code": "Province of the institution, Kemendagri code",
    "regency_code": "District of the institution, Kemendagri code",
    "age_band": "Age in years at the cut-off date",
    "sex": "Sex: F or M",
    "programme_id": "Programme with the longest-standing contract with the child's institution",
}
# Columns that a policy fixes before anything is drawn; all other figures come of the noisy value.
FROM_POLICY = ("measure", "noise_scale", "epsilon", "epsilon_all_stakeholders")
# A child is counted when in care on the cut-off date; that is read from these.
IN_CARE_SOURCES = ("child.admission_date", "child.exit_date", "placement.start_date", "placement.end_date")


class Figures(Released):
    """The columns that every statistic has after its keys."""

    measure: str = public("What is measured: child_count, or the name of the value averaged", key=True)
    value: float = public("Noisy figure; empty when withheld")
    noise_scale: float = public(
        "Scale of the Laplace noise: of the count, or of the sum behind a mean", required=True, nullable=False, gt=0.0
    )
    interval_low: float = public("Lower end of the 95 % interval; empty when withheld")
    interval_high: float = public("Upper end of the 95 % interval; empty when withheld")
    expected_relative_error: float = public(
        "Expected size of the noise: of a count in relation to the lower end of its interval (infinite when that is "
        "0), of a mean in relation to the mean",
        unit="ratio",
        required=True,
        nullable=False,
        ge=0.0,
    )
    epsilon: float = public("Privacy loss of the measure", required=True, nullable=False, gt=0.0)
    epsilon_all_stakeholders: float = public(
        "Privacy loss of a release to all stakeholders together: the bound when recipients put their figures together",
        required=True,
        nullable=False,
        gt=0.0,
    )
    is_withheld: bool = public(
        "Whether the expected relative error is too large for the figure to be of use", required=True, nullable=False
    )


@cache
def statistic_contract(stakeholder: str, name: str) -> TableContract:
    """The contract of a statistic: keys as the policy declares them, then the figure columns."""
    policy = stakeholder_policies()[stakeholder]
    statistic = policy.statistics[name]
    measured = tuple(f"education_record.{value}" for value in statistic.values)
    keys: dict[str, Any] = {
        key: derived(*KEY_SOURCES[key], privacy=PrivacyClass.PUBLIC, description=KEY_DESCRIPTIONS[key], key=True)
        for key in statistic.by
    }
    value = derived(
        *IN_CARE_SOURCES, *measured, privacy=PrivacyClass.PUBLIC, description="Noisy figure; empty when withheld"
    )
    # The columns of a base come before those of the class that is named ahead of it.
    key_columns = type("Keys", (pa.DataFrameModel,), {"__annotations__": dict.fromkeys(statistic.by, str), **keys})
    model = type(
        f"{stakeholder}_{name}",
        (Figures, key_columns),
        {"__annotations__": {"value": float}, "__doc__": _describe(statistic), "value": value},
    )
    return TableContract(
        layer=STATISTICS,
        system=stakeholder,
        name=name,
        model=model,
        subjects=(Subject.CHILD,),
        purpose=policy.purpose,
        owner="team:privacy",
        retention_days=policy.retention_days,
        freshness_hours=FRESHNESS_HOURS,
        jurisdiction="ID",
        legal_basis=LegalBasis.CONSENT,
        data_origin=None,
        child_protection=True,
    )


def _describe(statistic: Statistic) -> str:
    keys = ", ".join(key.removesuffix("_code").removesuffix("_id").replace("_", " ") for key in statistic.by)
    what = (
        "Children in care"
        if statistic.measure == "child_count"
        else f"Means ({', '.join(statistic.values)}) of children in care"
    )
    return f"{what} whose guardians agreed to statistics, by {keys}: differentially private figures."
