"""Protection levels: what rows about people must keep at least, by whom they are about, class and purpose.

Belongs here: the levels of `levels.yaml`, which one a dataset needs, and what it lacks. Does not belong
here: what a dataset keeps beyond that, which its stakeholder's policy says.

A dataset has the stricter one of the level that it needs and the level that its stakeholder's policy states; the
policy may not state a weaker one than a dataset needs. So what is stated is true of every dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal, get_args

from pydantic import Field, model_validator

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Column, PrivacyClass, Subject, TableContract
from merajut_assets.policies.stakeholder import (
    DIRECTORY,
    Aggregate,
    Microdata,
    Open,
    ProtectionLevel,
    StakeholderPolicy,
    parse_document,
)
from merajut_assets.privacy.documents import StrictModel

LEVELS = "levels"
# The strictest first.
NAMES: tuple[ProtectionLevel, ...] = get_args(ProtectionLevel)
Region = Literal["village", "district", "regency", "province"]
# Kemendagri's codes from the finest level of a hierarchy of kind `codes` upwards.
REGIONS: tuple[Region, ...] = ("village", "district", "regency", "province")


class Level(StrictModel):
    """Least k; least number of values and largest distance of sensitive columns, by kind of distance; the finest
    region; how many quasi-identifiers at most; for statistics the largest δ of a release, and ε (None: the budget
    decides)."""

    k: int = Field(ge=2)
    l: int = Field(ge=2)  # noqa: E741 (the model's own name)
    t: float = Field(gt=0, le=1)
    t_ordered: float = Field(gt=0, le=1)
    finest_region: Region
    quasi_identifiers: int = Field(ge=1)
    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(ge=0, lt=1)

    def largest_distance(self, kind: str) -> float:
        """The largest t for a distance of this kind."""
        return self.t_ordered if kind == "ordered" else self.t


class Choice(StrictModel):
    subject: Subject | None = None
    classification: PrivacyClass | None = None
    purpose: str | None = None
    level: ProtectionLevel


class Levels(StrictModel):
    levels: dict[ProtectionLevel, Level]
    choice: tuple[Choice, ...]
    close: tuple[str, ...]
    close_hierarchies: tuple[str, ...]

    @model_validator(mode="after")
    def _everything_has_a_level(self) -> Levels:
        if missing := {one.level for one in self.choice} - set(self.levels):
            raise ValueError(f"choice names level(s) {', '.join(sorted(missing))} that are not declared")
        last = self.choice[-1] if self.choice else None
        if last is None or (last.subject, last.classification, last.purpose) != (None, None, None):
            raise ValueError("the last entry of choice must fit everything")
        return self

    def needed(self, contract: TableContract, purpose: str) -> ProtectionLevel:
        """The level that a dataset needs when people agreed to `purpose`."""
        classes = {column.privacy for column in contract.columns}
        return next(
            one.level
            for one in self.choice
            if (one.subject is None or one.subject in contract.subjects)
            and (one.classification is None or one.classification in classes)
            and (one.purpose is None or one.purpose == purpose)
        )


@cache
def protection_levels() -> Levels:
    """The levels of `levels.yaml`. Raises StakeholderPolicyError when they contradict themselves."""
    return parse_document(Levels, (DIRECTORY / f"{LEVELS}.yaml").read_text(encoding="utf-8"), LEVELS)


def level_of(policy: StakeholderPolicy, contract: TableContract, levels: Levels | None = None) -> ProtectionLevel:
    """The level that a dataset of rows or figures about people has: the stricter of what it needs and what its
    stakeholder's policy states."""
    needed = (levels or protection_levels()).needed(contract, policy.consent_purpose)
    return min(needed, policy.protection_level, key=NAMES.index)


def is_close(column: Column, levels: Levels | None = None) -> bool:
    """Whether the values of a sensitive column may not stand out in a class: those about health, abuse and behaviour,
    which `levels.yaml` names, and those about time, place and demography, as the entities' columns that they are made
    from tell."""
    known = levels or protection_levels()
    if column.name in known.close:
        return True
    made_from = (registry.entity(entity).column(name) for entity, name in (one.split(".") for one in column.sources))
    return any(one.dtype.is_temporal() or one.hierarchy in known.close_hierarchies for one in made_from)


def level_problems(policy: StakeholderPolicy, contract: TableContract, levels: Levels | None = None) -> Iterator[str]:
    """What a dataset about people keeps less than its level asks, in words with the remedy."""
    dataset = policy.datasets[contract.name]
    if isinstance(dataset, Open):
        return
    known = levels or protection_levels()
    needed, name = known.needed(contract, policy.consent_purpose), level_of(policy, contract, known)
    if needed != policy.protection_level and name == needed:
        yield f"needs the protection level {needed}: its stakeholder's policy states {policy.protection_level}"
    level = known.levels[name]
    needs = f"needs the protection level {name}"
    k = dataset.k if isinstance(dataset, Aggregate) else dataset.privacy.k
    if k < level.k:
        yield f"{needs}: k of at least {level.k}, not {k}"
    if isinstance(dataset, Microdata):
        yield from (f"{needs}: {problem}" for problem in _row_problems(contract, dataset, level, known))


def _row_problems(contract: TableContract, dataset: Microdata, level: Level, known: Levels) -> Iterator[str]:
    privacy = dataset.privacy
    if len(privacy.quasi_identifiers) > level.quasi_identifiers:
        yield f"{level.quasi_identifiers} quasi-identifiers at most, not {len(privacy.quasi_identifiers)}"
    for column, spec in privacy.quasi_identifiers.items():
        finest = REGIONS.index(level.finest_region)
        if spec.codes is not None and spec.least_level < finest:
            yield f"{column} no finer than {level.finest_region} (least_level {finest})"
    for declared in contract.columns:
        if declared.privacy is not PrivacyClass.SENSITIVE:
            continue
        rule = privacy.sensitive.get(declared.name)
        diversity = rule.l_diversity if rule is not None else None
        if diversity is None or diversity.l < level.l:
            yield f"l-diversity of {level.l} or more for the sensitive column {declared.name}"
        closeness = rule.t_closeness if rule is not None else None
        largest = level.largest_distance(closeness.kind if closeness is not None else "equal")
        if is_close(declared, known) and (closeness is None or closeness.t > largest):
            yield f"t-closeness of {largest:g} or less for the sensitive column {declared.name}"


def budget_problems(policy: StakeholderPolicy, levels: Levels | None = None) -> Iterator[str]:
    """Budgets that are larger than the stakeholder's own protection level allows."""
    level = (levels or protection_levels()).levels[policy.protection_level]
    for category, budget in policy.budget.items():
        if level.epsilon is not None and budget.epsilon_per_release > level.epsilon:
            yield (
                f"{policy.stakeholder} has the protection level {policy.protection_level}: ε of {category} may be "
                f"{level.epsilon:g} per release at most, not {budget.epsilon_per_release:g}"
            )
