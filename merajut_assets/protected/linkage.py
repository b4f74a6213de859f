"""How far a release resists somebody who looks every child up in a table of the whole population.

Belongs here: which attributes of the reference population stand beside which published columns, and the
figures that a policy limits. Does not belong here: how an attack is simulated (`privacy.attack`) or how risk
is counted (`privacy.risk`).

The requirements ask for a re-identification risk below 0.1 %. We read that as the share of all children whom such
an attacker guesses right, knowing district, sex and birth month of each; the risk of one who also knows that
the child takes part, 1 / k within a class, is stated beside it. So is how many rows are likely to be unique among
the people whom a release is a sample of: in the population where it can be looked up, else among all those of whom
there are records, whether they agreed or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from merajut_assets.contracts.base import PrivacyClass, Subject, TableContract
from merajut_assets.policies.stakeholder import Microdata
from merajut_assets.privacy.attack import Known, linkage_attack
from merajut_assets.privacy.risk import assess_risk
from merajut_assets.protected.summary import completed_years

POPULATION_ENTITY = "population"
COUNT = "inhabitants"
# The population table is of one country; children of another cannot be looked up in it.
JURISDICTION = "ID"

# What a published column that stands for it is called -> what the population tells of everybody.
ATTRIBUTES: dict[str, pl.Expr] = {
    "sex": pl.col("sex"),
    "region_code": pl.col("regency_code"),
    "birth_period": pl.col("birth_day"),
    "age_band": pl.col("age"),
}


def is_looked_up(contract: TableContract) -> bool:
    """Whether a dataset has rows about single children that could be found in the population."""
    return contract.subjects == (Subject.CHILD,) and any(
        column.privacy is PrivacyClass.QUASI_IDENTIFIER and column.name in ATTRIBUTES for column in contract.columns
    )


def people_known(contract: TableContract, entities: Mapping[str, pl.DataFrame]) -> int | None:
    """Of how many people the entity that a dataset's subjects come from tells, used or not; None when its key is no
    column of one entity."""
    sources = [source for name in contract.key for source in contract.column(name).sources]
    if len(sources) != 1:
        return None
    entity, column = sources[0].split(".")
    return int(entities[entity].get_column(column).n_unique())


def measured_risk(
    released: pl.DataFrame,
    contract: TableContract,
    dataset: Microdata,
    subject: str,
    population: pl.DataFrame | None,
    cut_off: date,
    people: int | None = None,
) -> dict[str, Any]:
    """`threshold`, `prosecutor`, `marketer` and `sample_unique_share` (see `assess_risk`); with a population `linkage`,
    too. With a population, or a number of `people` whom the release is a sample of, `population_uniqueness`."""
    risk = assess_risk(released, dataset.privacy.class_columns, subject=subject)
    figures: dict[str, Any] = {
        name: risk[name] for name in ("threshold", "prosecutor", "marketer", "sample_unique_share")
    }
    if population is not None:
        if "jurisdiction" in dataset.privacy.exact:
            released = released.filter(pl.col("jurisdiction") == JURISDICTION)
        figures["linkage"] = _linkage(released, dataset, subject, population, cut_off)
        people = int(population.get_column(COUNT).sum())
    if people is not None and released.height:
        # A release may hold people who have left the records since.
        size = max(people, released.get_column(subject).n_unique())
        sampled = assess_risk(released, dataset.privacy.class_columns, subject=subject, population=size)
        figures["population_uniqueness"] = sampled["population_uniqueness"]
    return figures


def _linkage(
    released: pl.DataFrame, dataset: Microdata, subject: str, population: pl.DataFrame, cut_off: date
) -> dict[str, Any]:
    specifications = dataset.privacy.quasi_identifiers
    shared = [name for name in ATTRIBUTES if name in specifications]
    born = population.filter(pl.col("birth_month").is_not_null()).with_columns(
        pl.col("birth_month").str.to_date("%Y-%m").alias("birth_day")
    )
    people = (
        born.with_columns(completed_years(pl.col("birth_day"), pl.lit(cut_off)).alias("age"))
        .group_by(*(ATTRIBUTES[name].alias(name) for name in shared))
        .agg(pl.col(COUNT).sum())
    )
    known: Mapping[str, Known] = {name: Known(name, specifications[name]) for name in shared}
    return linkage_attack(
        released,
        people,
        known,
        population_count=COUNT,
        subject=subject,
        classes=dataset.privacy.class_columns,
    )
