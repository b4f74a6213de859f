"""Stakeholder policies: the YAML files beside this module, as validated objects.

What a stakeholder may get, from whom, how protected and at which privacy budget is decided in
those files alone; changing one changes no code. `overall.yaml` and `levels.yaml` are no stakeholder's: they
hold for all of them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from merajut_assets.contracts.base import LegalBasis
from merajut_assets.privacy.documents import DocumentError, StrictModel, explained, read_document
from merajut_assets.privacy.policy import Policy

DIRECTORY = Path(__file__).parent
OVERALL = "overall"
# What lies beside the stakeholders' files and is none of them.
OF_NO_STAKEHOLDER = frozenset({OVERALL, "levels"})


# The strictest first; what each one asks is in `levels.yaml`.
ProtectionLevel = Literal["maximum", "high", "standard"]


class StakeholderPolicyError(ValueError):
    """A stakeholder's policy file is malformed or contradicts itself."""


_Model = TypeVar("_Model", bound=StrictModel)


class Microdata(StrictModel):
    """Rows about single persons, anonymised under `privacy`."""

    kind: Literal["microdata"]
    privacy: Annotated[
        Policy, BeforeValidator(lambda value: value if isinstance(value, Policy) else Policy.model_validate(value))
    ]
    # The largest figures of risk that a release may show, such as `prosecutor.highest` or `linkage.share_right`.
    risk_limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


class Aggregate(StrictModel):
    """Figures about groups; a row with fewer than `k` distinct `contributors` is withheld."""

    kind: Literal["aggregate"]
    k: int = Field(ge=2)
    contributors: str


class Open(StrictModel):
    """Rows about no person."""

    kind: Literal["open"]


class Overall(StrictModel):
    """Limits for all stakeholders together. `epsilon_per_year`: the ε of one person in a calendar year, summed
    over every stakeholder and category."""

    epsilon_per_year: float = Field(gt=0)


Dataset = Annotated[Microdata | Aggregate | Open, Field(discriminator="kind")]


class Budget(StrictModel):
    epsilon_per_release: float = Field(gt=0)
    epsilon_per_year: float = Field(gt=0)

    @model_validator(mode="after")
    def _year_holds_a_release(self) -> Self:
        if self.epsilon_per_year < self.epsilon_per_release:
            raise ValueError("epsilon_per_year holds at least one release")
        return self


class BoundedValue(StrictModel):
    bounds: tuple[float, float]
    share: float = Field(gt=0, le=1)


class Statistic(StrictModel):
    """A differentially private release about children. `share` is its part of the category's ε."""

    category: Literal["demographics", "outcomes", "research", "public"]
    share: float = Field(gt=0, le=1)
    by: tuple[str, ...]
    measure: Literal["child_count", "mean"]
    values: dict[str, BoundedValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _values_fit_measure(self) -> Self:
        if (self.measure == "mean") != bool(self.values):
            raise ValueError("'values' belong to the measure 'mean', and it needs them")
        if self.values and sum(value.share for value in self.values.values()) > 1 + 1e-9:
            raise ValueError("the shares of 'values' exceed 1")
        return self


class StakeholderPolicy(StrictModel):
    stakeholder: str
    purpose: str
    consent_purpose: str
    legal_bases: tuple[LegalBasis, ...]
    recipient_country: str
    retention_days: int = Field(gt=0)
    protection_level: ProtectionLevel
    pseudonym_period: Literal["year", "month"]
    datasets: dict[str, Dataset]
    budget: dict[str, Budget] = Field(default_factory=dict)
    statistics: dict[str, Statistic] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if LegalBasis.NONE in self.legal_bases:
            raise ValueError("rows with legal basis 'none' never leave conformed")
        shares: dict[str, float] = {}
        for name, statistic in self.statistics.items():
            if statistic.category not in self.budget:
                raise ValueError(f"statistic {name}: no budget for category {statistic.category}")
            shares[statistic.category] = shares.get(statistic.category, 0.0) + statistic.share
        for category, share in shares.items():
            if share > 1 + 1e-9:
                raise ValueError(f"the statistics of category {category} spend {share:.0%} of its budget")
        return self

    @property
    def microdata(self) -> dict[str, Microdata]:
        return {name: dataset for name, dataset in self.datasets.items() if isinstance(dataset, Microdata)}

    def epsilon(self, statistic: str) -> float:
        """ε that one release of the statistic costs."""
        declared = self.statistics[statistic]
        return self.budget[declared.category].epsilon_per_release * declared.share

    @property
    def epsilon_per_release(self) -> float:
        """ε that one release of all the stakeholder's statistics costs."""
        return sum(self.epsilon(name) for name in self.statistics)


def parse_policy(text: str, name: str) -> StakeholderPolicy:
    """The policy in a YAML text; StakeholderPolicyError with the places that are wrong."""
    return parse_document(StakeholderPolicy, text, name)


def parse_document(model: type[_Model], text: str, name: str) -> _Model:
    """A policy file's text as `model`; StakeholderPolicyError with the places that are wrong."""
    try:
        return model.model_validate(read_document(text))
    except ValidationError as error:
        raise StakeholderPolicyError(f"policy {name}: {explained(error)}") from None
    except DocumentError as error:
        raise StakeholderPolicyError(f"policy {name}: {error}") from None


@cache
def stakeholder_policies() -> dict[str, StakeholderPolicy]:
    """All stakeholders' policies, by stakeholder, in alphabetical order."""
    paths = sorted(path for path in DIRECTORY.glob("*.yaml") if path.stem not in OF_NO_STAKEHOLDER)
    policies = [parse_policy(path.read_text(encoding="utf-8"), path.stem) for path in paths]
    return {policy.stakeholder: policy for policy in policies}


def fewest_retention_days(stakeholders: Iterable[str]) -> int:
    """For how many days something may be kept that holds data of several stakeholders together."""
    return min(stakeholder_policies()[name].retention_days for name in stakeholders)


@cache
def overall_policy() -> Overall:
    """What holds for all stakeholders together."""
    return parse_document(Overall, (DIRECTORY / f"{OVERALL}.yaml").read_text(encoding="utf-8"), OVERALL)


def epsilon_of_all_per_release() -> float:
    """ε of one release summed over all stakeholders: the bound for one child when all recipients put their
    figures together. (Basic composition; noise of different draws is independent.)"""
    return round(sum(policy.epsilon_per_release for policy in stakeholder_policies().values()), 9)
