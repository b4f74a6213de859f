"""What a privacy step is good for: which one protects which class of column, for whom, and what is left to protect.

Here belongs the one rule by which the proof judges a single edge; walking whole paths is `proof`'s. A step counts
where the stakeholder's own policy has it applied, and nowhere else: a token made at landing, or what was generalised
for somebody else, protects nobody here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import PrivacyClass
from merajut_assets.lineage.graph import ColumnRef, Edge, How, Kind
from merajut_assets.policies.stakeholder import Aggregate, Microdata, StakeholderPolicy
from merajut_assets.privacy.steps import PrivacyStep
from merajut_assets.protected.pipeline import PRIVACY_STEPS


class Standing(StrEnum):
    """What of a source column is left at some point of a path."""

    VALUE = "value"  # it, or something computed from it
    INFLUENCE = "influence"  # which rows there are, or how many of its values
    PSEUDONYM = "pseudonym"  # of one person, under the stakeholder's own key
    COUNT = "count"  # figures about single persons or groups of them, counted by pseudonym
    SAFE = "safe"


@dataclass(frozen=True, order=True)
class Protection:
    """A privacy step as applied by one dataset or statistic."""

    asset: str
    step: PrivacyStep

    @property
    def stakeholder(self) -> str:
        return stakeholder_of(self.asset)


@dataclass(frozen=True)
class Burden:
    """What a path carries: the class of the column that it begins at, what is left of that, and what protects it:
    `protection` in a dataset or statistic, and `control` what withholds figures of it behind that."""

    privacy: PrivacyClass
    standing: Standing
    protection: Protection | None = None
    control: Protection | None = None

    @property
    def rests_on(self) -> tuple[Protection, ...]:
        """Every protection whose check must have passed for this to count."""
        return tuple(one for one in (self.protection, self.control) if one is not None)


_GROUPING = (How.GROUP, How.DISTINCT)
# By class, the steps that protect the value, and those that protect against its influence on rows and counts.
# Free text may hold anything about anybody, so that nothing computed from it leaves, and not even small counts.
_ALLOWED: Mapping[PrivacyClass, Mapping[Standing, frozenset[PrivacyStep]]] = {
    PrivacyClass.DIRECT_IDENTIFIER: {
        Standing.VALUE: frozenset({PrivacyStep.PSEUDONYMISE, PrivacyStep.DP_RELEASE}),
        Standing.INFLUENCE: frozenset(PrivacyStep),
    },
    PrivacyClass.FREE_TEXT: {
        Standing.VALUE: frozenset(),
        Standing.INFLUENCE: frozenset({PrivacyStep.DP_RELEASE, PrivacyStep.DROP}),
    },
    **{
        privacy: {
            Standing.VALUE: frozenset({PrivacyStep.GENERALISE, PrivacyStep.DISCLOSURE_CONTROL, PrivacyStep.DP_RELEASE}),
            Standing.INFLUENCE: frozenset(PrivacyStep),
        }
        for privacy in (PrivacyClass.SENSITIVE, PrivacyClass.QUASI_IDENTIFIER)
    },
}


def stakeholder_of(asset: str) -> str:
    """Whose an asset is: the second part of protected/…, statistics/…, mart/… and published/…; empty for others."""
    layer, _, rest = asset.partition("/")
    return rest.split("/")[0] if layer in ("protected", "statistics", "mart", "published") else ""


def identities() -> frozenset[ColumnRef]:
    """The columns before any protection that stand for one person, whatever class they have: ids of people in their
    systems, and the tokens made of them. To whoever has the system, or another release, they are names."""
    return frozenset(
        ColumnRef(asset, name)
        for layer in ("raw", "conformed")
        for contract in registry.tables(layer).values()
        for column in contract.columns
        if column.subject is not None
        for asset, name in (
            ("/".join(contract.asset_key), column.name),
            *([(f"source/{contract.system}/{contract.name}", column.name_in_source)] if layer == "raw" else []),
        )
    )


def begun(privacy: PrivacyClass) -> Burden:
    """What a path carries at the column that it begins at."""
    return Burden(privacy, Standing.VALUE if privacy.is_personal else Standing.SAFE)


def carried_over(burden: Burden, edge: Edge, policies: Mapping[str, StakeholderPolicy]) -> Burden:
    """What is left of a burden behind an edge."""
    if burden.standing is Standing.SAFE:
        return burden
    if burden.standing in (Standing.PSEUDONYM, Standing.COUNT):
        return _of_persons(burden, edge)
    standing = burden.standing
    if edge.kind is Kind.INDIRECT or edge.how is How.COUNT:
        standing = Standing.INFLUENCE
    if (
        edge.step is None
        or edge.step not in _ALLOWED[burden.privacy][standing]
        or not is_applied(edge.step, edge.target, standing, policies)
    ):
        return Burden(burden.privacy, standing)
    protection = Protection(edge.target.asset, edge.step)
    is_pseudonym = edge.step is PrivacyStep.PSEUDONYMISE and standing is Standing.VALUE
    return Burden(burden.privacy, Standing.PSEUDONYM if is_pseudonym else Standing.SAFE, protection)


def _of_persons(burden: Burden, edge: Edge) -> Burden:
    """Behind the pseudonym: what counts or groups by it tells about persons until small groups are withheld; rows that
    are joined, ordered or filtered by it are rows that were verified before."""
    is_counted = edge.how is How.COUNT or edge.how in _GROUPING
    if burden.standing is Standing.PSEUDONYM and not is_counted:
        left = Standing.PSEUDONYM if edge.kind is Kind.DIRECT else Standing.SAFE
    elif edge.step is PrivacyStep.DISCLOSURE_CONTROL:
        return Burden(burden.privacy, Standing.SAFE, burden.protection, Protection(edge.target.asset, edge.step))
    else:
        left = Standing.COUNT
    return Burden(burden.privacy, left, burden.protection)


def is_applied(
    step: PrivacyStep, target: ColumnRef, standing: Standing, policies: Mapping[str, StakeholderPolicy]
) -> bool:
    """Whether the policy of the stakeholder whose dataset the column is of has the step protect that column."""
    layer, _, name = target.asset.partition("/")
    stakeholder, _, name = name.partition("/")
    policy = policies.get(stakeholder)
    if policy is None:
        return False
    if layer == "statistics":
        return step is PrivacyStep.DP_RELEASE and name in policy.statistics
    dataset = policy.datasets.get(name) if layer == "protected" else None
    if dataset is None:
        return False
    if standing is Standing.INFLUENCE:
        # Which rows there are is protected by what the whole dataset was verified for.
        return step is PRIVACY_STEPS[dataset.kind] or (
            step is PrivacyStep.PSEUDONYMISE and isinstance(dataset, Microdata)
        )
    if isinstance(dataset, Microdata):
        if step is PrivacyStep.PSEUDONYMISE:
            return target == pseudonym_of(target.asset)
        privacy = dataset.privacy
        return step is PrivacyStep.GENERALISE and target.column in {*privacy.class_columns, *privacy.sensitive}
    return isinstance(dataset, Aggregate) and step is PrivacyStep.DISCLOSURE_CONTROL


def pseudonym_of(asset: str) -> ColumnRef | None:
    """The pseudonym of a dataset of rows about persons: its one key. None for an asset that no contract declares."""
    contract = registry.tables("protected").get(asset.removeprefix("protected/").replace("/", "."))
    return ColumnRef(asset, contract.key[0]) if contract is not None and len(contract.key) == 1 else None


def is_allowed_to_leave(burden: Burden, target: ColumnRef, is_row_level: bool) -> bool:
    """Whether a column of a mart or of a published file may carry a burden: it is safe, or counts persons or names them
    by pseudonym in a mart that is declared to have a row per person; and what protects it is its stakeholder's own."""
    if burden.protection is not None and burden.protection.stakeholder != stakeholder_of(target.asset):
        return False
    return burden.standing is Standing.SAFE or (
        is_row_level and burden.standing in (Standing.PSEUDONYM, Standing.COUNT)
    )


def why_not(burden: Burden, target: ColumnRef) -> str:
    """Why a column must not carry a burden, in words."""
    label = burden.privacy.replace("_", " ")
    protection = burden.protection
    if protection is not None and protection.stakeholder != stakeholder_of(target.asset):
        return f"{label}, protected by {protection.asset} for somebody else"
    if burden.standing is Standing.PSEUDONYM:
        return "pseudonym in a mart that is not declared to have a row per person"
    if burden.standing is Standing.COUNT:
        return "counted or grouped by pseudonym without disclosure control"
    what = "value of" if burden.standing is Standing.VALUE else "influence of"
    return f"{what} a {label} without a step that the stakeholder's policy allows for it"
