"""What compliance staff ask: quality over time, budgets, erasures, what was forgotten. Pure questions to what
is stored.

Belongs here: gathering evidence as frames and figures, for the assets and for `merajut status`. Does not
belong here: how Dagster shows it (`assets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from merajut_assets.compliance.certificates import ErasureRegister
from merajut_assets.compliance.subjects import erased_tokens, token_columns
from merajut_assets.conformed.quality_history import QUALITY_HISTORY
from merajut_assets.contracts.base import Subject
from merajut_assets.policies.stakeholder import epsilon_of_all_per_release, overall_policy, stakeholder_policies
from merajut_assets.protected.release import unregistered
from resources.lakehouse import Lakehouse
from resources.ledger import BalanceRow

_ROUNDING = 1e-9
# Recipients who put their figures together: their ε is the sum over all stakeholders and categories.
ALL = "all"


@dataclass(frozen=True)
class BudgetState:
    """ε of one stakeholder and category in one calendar year. `largest_release` is what the costliest release
    took; lost charges count to the year only."""

    stakeholder: str
    category: str
    year: int
    spent: float
    limit: float
    largest_release: float
    limit_per_release: float

    @property
    def left(self) -> float:
        return max(0.0, round(self.limit - self.spent, 9))

    @property
    def is_within_limits(self) -> bool:
        return self.spent <= self.limit + _ROUNDING and self.largest_release <= self.limit_per_release + _ROUNDING


def budgets(lakehouse: Lakehouse, year: int | None = None) -> list[BudgetState]:
    """The budgets of `year` (default: of this year and every year with a charge), charged or not.

    A category charged without a budget in its policy (any more) has the limit 0. The last one of each year, of
    stakeholder and category ALL, sums up all others: the bound on what recipients who collude learn about one
    person. Its limit is that of `policies/overall.yaml`, per release what the policies declare."""
    balance = lakehouse.ledger.balance()
    years = {year} if year is not None else {date.today().year, *(row.year for row in balance)}
    declared = {
        (policy.stakeholder, category): budget
        for policy in stakeholder_policies().values()
        for category, budget in policy.budget.items()
    }
    states = []
    for stakeholder, category in sorted({*declared, *((row.stakeholder, row.category) for row in balance)}):
        budget = declared.get((stakeholder, category))
        for one in sorted(years):
            charged = [
                row for row in balance if (row.stakeholder, row.category, row.year) == (stakeholder, category, one)
            ]
            states.append(
                BudgetState(
                    stakeholder=stakeholder,
                    category=category,
                    year=one,
                    spent=max((row.epsilon_year for row in charged), default=0.0),
                    limit=budget.epsilon_per_year if budget else 0.0,
                    largest_release=max((row.epsilon for row in charged), default=0.0),
                    limit_per_release=budget.epsilon_per_release if budget else 0.0,
                )
            )
    return [*states, *(_of_all(balance, one) for one in sorted(years))]


def _of_all(balance: Sequence[BalanceRow], year: int) -> BudgetState:
    releases: dict[str, float] = {}
    for row in balance:
        if row.year == year:
            releases[row.release] = releases.get(row.release, 0.0) + row.epsilon
    lost = sum(row.epsilon_lost for row in balance if row.year == year)
    return BudgetState(
        stakeholder=ALL,
        category=ALL,
        year=year,
        spent=round(sum(releases.values()) + lost, 9),
        limit=overall_policy().epsilon_per_year,
        largest_release=round(max(releases.values(), default=0.0), 9),
        limit_per_release=epsilon_of_all_per_release(),
    )


def quality_trend(lakehouse: Lakehouse) -> pl.DataFrame:
    """The latest measure after quarantine of every entity and dimension, and how it changed since the build
    before: entity, dimension, value, change (null for the first), built_at."""
    empty = {
        "entity": pl.String,
        "dimension": pl.String,
        "value": pl.Float64,
        "change": pl.Float64,
        "built_at": pl.String,
    }
    if lakehouse.lake.version(QUALITY_HISTORY) is None:
        return pl.DataFrame(schema=empty)
    history = lakehouse.read(
        QUALITY_HISTORY, filter=pl.col("moment") == "after_quarantine", reader=QUALITY_HISTORY, purpose="trend"
    )
    return (
        history.sort("built_at")
        .group_by("entity", "dimension")
        .agg(
            pl.col("value").last(),
            (pl.col("value").last() - pl.col("value").slice(-2, 1).first()).alias("difference"),
            pl.len().alias("builds"),
            pl.col("built_at").last(),
        )
        .select(
            "entity",
            "dimension",
            "value",
            pl.when(pl.col("builds") > 1).then(pl.col("difference")).alias("change"),
            "built_at",
        )
        .sort("entity", "dimension")
    )


def rows_of_erased(lakehouse: Lakehouse) -> dict[str, int]:
    """Rows in conformed that name an erased person, by table; empty when every erasure holds."""
    found: dict[str, int] = {}
    if not lakehouse.vault.erasures():
        return found
    for subject in Subject:
        erased = erased_tokens(lakehouse, subject)
        if erased.is_empty():
            continue
        for column in token_columns(lakehouse, subject):
            rows = lakehouse.read(
                column.table,
                columns=[column.column],
                filter=pl.col(column.column).is_in(erased.implode()),
                reader="compliance/erasure_register",
                purpose="rows of erased people",
            )
            if rows.height:
                found[column.table] = found.get(column.table, 0) + rows.height
    return found


def forgotten_erasures(lakehouse: Lakehouse) -> int:
    """How many erased source ids the vault does not know any more, at least: it was lost, or is an older one.

    Told by the register of tombstones, and by the certificates in case that went with the vault."""
    certified = [one.linked_ids for one in ErasureRegister(lakehouse.settings).all() if one.is_complete]
    known = lakehouse.vault.erasures() if lakehouse.settings.vault.exists() else 0
    # Two certificates may share ids, when a child was linked otherwise by then, but each has one of its own.
    return max(lakehouse.vault.forgotten(), max([len(certified), *certified]) - known)


def forgotten_releases(lakehouse: Lakehouse) -> list[str]:
    """Stored statistics and child-level releases that the privacy ledger does not know any more."""
    rows = [
        f"{policy.stakeholder}/{dataset} of {release}"
        for policy in stakeholder_policies().values()
        for dataset, release in unregistered(lakehouse, policy)
    ]
    return [*map(str, lakehouse.ledger.forgotten()), *rows]


def unfinished_erasures(lakehouse: Lakehouse) -> int:
    return sum(not certificate.is_complete for certificate in ErasureRegister(lakehouse.settings).all())
