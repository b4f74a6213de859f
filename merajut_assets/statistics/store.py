"""Drawing and storing a statistic once per release, and paying for it first.

Belongs here: the order of ledger, noise and lake, and the evidence from what is stored. Does not belong
here: how figures are drawn (`releases`), and Dagster (`assets`).

Stored already: nothing is drawn and nothing spent. Else the charge is booked, then noise is drawn, then
the figures are stored with the charge's number, then the charge is committed. A crash after the charge
loses its budget; one after storing is made good by committing the number that is stored. That the figures
will fit the table is made sure before the charge.
"""

from __future__ import annotations

import math
import time
from typing import Any

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, TableContract
from merajut_assets.policies.levels import protection_levels
from merajut_assets.policies.stakeholder import StakeholderPolicy, Statistic, overall_policy
from merajut_assets.privacy.dp import DELTA, protection
from merajut_assets.protected.consent_filter import CONSENT_ENTITY
from merajut_assets.protected.origins import all_origins, with_origins
from merajut_assets.protected.pipeline import Evidence, conforming
from merajut_assets.protected.release import (
    RELEASE,
    read_release,
    refuse_unreadable,
    refuse_unstorable,
    store_release,
    stored_release,
    table_of,
)
from merajut_assets.statistics.declarations import public_keys
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.releases import USEFUL_RELATIVE_ERROR, children, draw, usable_children
from resources.facts import Fact
from resources.lakehouse import Lakehouse
from resources.ledger import LedgerError, PrivacyLedger
from resources.shapes import gained


def statistic_entities(contract: TableContract) -> tuple[str, ...]:
    """The conformed entities that a statistic is made from, as its columns name them, and the consents."""
    return (*(entity.name for entity in registry.source_entities(contract)), CONSENT_ENTITY)


def release_statistic(lakehouse: Lakehouse, policy: StakeholderPolicy, name: str, release: str) -> dict[str, Fact]:
    """Store the figures of one statistic for a release, if they are not stored yet; returns the facts.

    Raises BudgetExceeded when the stakeholder's budget or the limit over all stakeholders does not allow it, and
    AlreadyCharged when the figures were paid for but are gone. Nothing is drawn then, and only the refusal is
    written, to the audit log. Raises TableSchemaError when what is stored does not fit the columns declared now.
    """
    started = time.perf_counter()
    contract = statistic_contract(policy.stakeholder, name)
    stored = stored_release(lakehouse.lake, table_of(contract), release)
    if stored is not None and _is_paid(lakehouse.ledger, policy.stakeholder, release, name, stored.facts):
        refuse_unreadable(stored, contract, release)
        if gained(stored.columns, contract):
            # The very figures, with nothing in the columns declared since.
            kept = read_release(lakehouse, contract, release, "columns declared since")
            store_release(lakehouse.lake, contract, release, kept, stored.facts)
        facts, is_new = stored.facts, False
    else:
        refuse_unstorable(lakehouse.lake, contract, release)
        facts, is_new = _draw_and_store(lakehouse, policy, contract, release), True
    return {
        **facts,
        **protection(policy.epsilon(name), is_count=policy.statistics[name].measure == "child_count"),
        **spent_by_all(lakehouse.ledger, release),
        "is_new": is_new,
        "seconds": round(time.perf_counter() - started, 3),
    }


def spent_by_all(ledger: PrivacyLedger, release: str) -> dict[str, Fact]:
    """ε over all stakeholders and categories, as booked by now: of the release, and of its calendar year. What
    recipients who put their figures together can learn about one child is bounded by these sums."""
    balance = ledger.balance()
    years = {row.year for row in balance if row.release == release}
    of_year = (row.epsilon + row.epsilon_lost for row in balance if row.year in years)
    return {
        "epsilon_of_all_stakeholders_in_release": round(
            sum(row.epsilon for row in balance if row.release == release), 9
        ),
        "epsilon_of_all_stakeholders_in_year": round(sum(of_year), 9),
        "epsilon_limit_of_all_stakeholders_in_year": overall_policy().epsilon_per_year,
    }


def _is_paid(ledger: PrivacyLedger, stakeholder: str, release: str, name: str, facts: dict[str, Any]) -> bool:
    """Whether stored figures are paid for; commits their charge when a crash kept that from happening."""
    if ledger.committed(stakeholder, release, name) is not None:
        return True
    charge = facts.get("charge")
    if charge is None:
        return False
    try:
        ledger.commit(int(charge))
    except LedgerError:
        # The charge was given up for a later one that stored nothing: these figures are to be replaced.
        return False
    return True


def _draw_and_store(
    lakehouse: Lakehouse, policy: StakeholderPolicy, contract: TableContract, release: str
) -> dict[str, Fact]:
    name, statistic = contract.name, policy.statistics[contract.name]
    manifest = lakehouse.release_manifest(release)
    entities = {
        entity: lakehouse.read_conformed(entity, release, table_of(contract)) for entity in statistic_entities(contract)
    }
    keys = public_keys(statistic.by, entities)
    usable = usable_children(entities, manifest.cut_off)
    # All that can fail on account of the data is done before the charge, so that it costs no budget.
    rows = children(statistic, usable.entities, manifest.cut_off)
    epsilon = policy.epsilon(name)
    charge = _charge(lakehouse, policy, name, release, epsilon)
    figures = conforming(with_origins(draw(statistic, rows, keys, epsilon), contract, entities), contract)
    facts: dict[str, Fact] = {
        DATA_ORIGIN: all_origins(figures),
        RELEASE: release,
        "cut_off": manifest.cut_off.isoformat(),
        "charge": charge,
        "epsilon": epsilon,
        "delta": DELTA,
        "rows": figures.height,
        "withheld": int(figures.get_column("is_withheld").sum()),
        "useful_relative_error": USEFUL_RELATIVE_ERROR,
    }
    store_release(lakehouse.lake, contract, release, figures, facts)
    lakehouse.ledger.commit(charge)
    lakehouse.audit.append(
        "release", asset=table_of(contract), release=release, rows=figures.height, epsilon=epsilon, charge=charge
    )
    return facts


def _charge(lakehouse: Lakehouse, policy: StakeholderPolicy, name: str, release: str, epsilon: float) -> int:
    category = policy.statistics[name].category
    budget = policy.budget[category]
    try:
        return lakehouse.ledger.charge(
            policy.stakeholder,
            release,
            name,
            category,
            epsilon,
            DELTA,
            limit_per_release=budget.epsilon_per_release,
            limit_per_year=budget.epsilon_per_year,
            limit_of_all_per_year=overall_policy().epsilon_per_year,
        )
    except LedgerError as error:
        lakehouse.audit.append(
            "refusal", asset=f"statistics/{policy.stakeholder}/{name}", release=release, reason=type(error).__name__
        )
        raise


# ── evidence ─────────────────────────────────────────────────────────────────────────────


def examine_stored(lakehouse: Lakehouse, policy: StakeholderPolicy, name: str, release: str) -> Evidence:
    """What is stored of a statistic against what it must be: every public cell, noise that fits the ε paid
    for, no useless figure shown, and a committed charge."""
    contract = statistic_contract(policy.stakeholder, name)
    figures = read_release(lakehouse, contract, release, "check")
    reference = [entity.name for entity in registry.source_entities(contract) if not entity.subjects]
    keys = public_keys(
        policy.statistics[name].by,
        {entity: lakehouse.read_conformed(entity, release, table_of(contract)) for entity in reference},
    )
    charge = lakehouse.ledger.committed(policy.stakeholder, release, name)
    evidence = examine_figures(figures, contract, policy.statistics[name], keys, policy.epsilon(name), charge)
    return _with_delta(evidence, lakehouse.ledger, policy, release)


def _with_delta(evidence: Evidence, ledger: PrivacyLedger, policy: StakeholderPolicy, release: str) -> Evidence:
    """The evidence with δ, as booked for all the stakeholder's statistics of the release, beside what its protection
    level allows."""
    level = policy.protection_level
    spent, limit = ledger.spent(policy.stakeholder, release=release).delta, protection_levels().levels[level].delta
    found = (
        [f"δ of the release is {spent:g}, and the protection level {level} allows {limit:g}"] if spent > limit else []
    )
    facts = {**evidence.facts, "delta_of_release": spent, "delta_limit": limit}
    return Evidence(facts, (*evidence.violations, *found))


def examine_figures(
    figures: pl.DataFrame,
    contract: TableContract,
    statistic: Statistic,
    keys: dict[str, list[str]],
    epsilon: float,
    charge: int | None,
) -> Evidence:
    """The evidence about a frame of figures; see `examine_stored`."""
    declared = [column.name for column in contract.columns]
    if sorted(figures.columns) != sorted(declared):
        return Evidence({"rows": figures.height}, ("the columns are not those declared",))
    scales = _noise_scales(statistic, epsilon)
    cells = math.prod(len(values) for values in keys.values()) * len(scales)
    public = pl.all_horizontal(
        pl.col("measure").is_in(list(scales)), *(pl.col(key).is_in(values) for key, values in keys.items())
    )
    present = figures.filter(public.fill_null(False)).unique([*keys, "measure"]).height
    stated = pl.col("noise_scale") / pl.col("measure").replace_strict(scales, default=None, return_dtype=pl.Float64)
    wrong_noise = figures.filter(((stated - 1).abs() > 1e-9).fill_null(True)).height
    shown = pl.any_horizontal(pl.col("value", "interval_low", "interval_high").is_not_null())
    leaks = figures.filter(
        shown & (pl.col("is_withheld") | (pl.col("expected_relative_error") > USEFUL_RELATIVE_ERROR)).fill_null(True)
    ).height
    facts = {
        "rows": figures.height,
        "public_cells": cells,
        "withheld": int(figures.get_column("is_withheld").sum()),
        "epsilon": epsilon,
        "charge": charge,
    }
    findings = {
        f"{cells - present} public cell(s) are missing": cells - present,
        f"{figures.height - present} row(s) are no public cell": figures.height - present,
        f"{wrong_noise} row(s) state a noise that does not fit the budget paid": wrong_noise,
        f"{leaks} row(s) show figures that are to be withheld": leaks,
        "no committed charge pays for the figures": int(charge is None),
    }
    return Evidence(facts, tuple(text for text, count in findings.items() if count))


def _noise_scales(statistic: Statistic, epsilon: float) -> dict[str, float]:
    """The Laplace scale that each measure must have: sensitivity over ε. A mean spends half of its ε on its
    sum, in which a child weighs at most half the width of the bounds."""
    if statistic.measure == "child_count":
        return {"child_count": 1 / epsilon}
    return {
        name: (bounded.bounds[1] - bounded.bounds[0]) / 2 / (epsilon * bounded.share / 2)
        for name, bounded in statistic.values.items()
    }
