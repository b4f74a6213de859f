"""What a policy requires, in the verifier's words.

Belongs here: turning a policy into the questions that `verify` is asked and the thresholds that `check`
compares. It is apart from both, because the verifier must know nothing of policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from merajut_assets.privacy.hierarchy import build_hierarchy, read_hierarchy
from merajut_assets.privacy.joined import Published
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.verify import check, verify
from merajut_assets.privacy.verify_join import check_join, verify_join


@dataclass(frozen=True)
class Questions:
    """`sensitive`, `options`: what `verify` is given besides frame and quasi-identifiers; `thresholds`: what
    `check` compares its facts with."""

    sensitive: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The verifier's `facts`, what of the policy is `broken`, and what it could `not_verified`, by name."""

    facts: dict[str, Any]
    broken: list[str]
    not_verified: list[str]


def questions(policy: Policy) -> Questions:
    """Everything that the policy requires of classes but what concerns a population.

    Raises PolicyError when a hierarchy that it names cannot be read.
    """
    thresholds: dict[str, Any] = {"k": policy.k}
    options: dict[str, dict[str, Any]] = {"recursive_l": {}, "orders": {}, "hierarchies": {}}

    def require(figure: str, column: str, threshold: float) -> None:
        thresholds.setdefault(figure, {})[column] = threshold

    for name, rule in policy.sensitive.items():
        if (diverse := rule.l_diversity) is not None:
            if diverse.kind == "recursive":
                assert diverse.c is not None
                options["recursive_l"][name] = int(diverse.l)
                require("recursive_c", name, diverse.c)
            else:
                require("l" if diverse.kind == "distinct" else "entropy_l", name, diverse.l)
        if (close := rule.t_closeness) is not None:
            require(f"t_{close.kind}", name, close.t)
            if close.kind == "ordered":
                options["orders"][name] = close.order
            elif close.kind == "hierarchical":
                assert close.hierarchy is not None
                options["hierarchies"][name] = read_hierarchy(close.hierarchy, close.separator)
        if rule.beta_likeness is not None:
            require("beta", name, rule.beta_likeness)
    return Questions(list(policy.sensitive), {**options, "subject": policy.subject}, thresholds)


def judge(
    released: pl.DataFrame,
    original: pl.DataFrame,
    policy: Policy,
    transformation: Mapping[str, int],
    population: pl.DataFrame | None = None,
) -> Verdict:
    """Whether a release keeps the policy, by the verifier's own count.

    `original`: the rows that were anonymised, with which distributions are compared. `population`: who k-map
    and δ-presence count; its values are put on the levels of `transformation`, so that they can be judged
    for a release with one transformation only, and are named in `not_verified` for any other.
    """
    asked = questions(policy)
    options, thresholds = dict(asked.options), dict(asked.thresholds)
    not_verified: list[str] = []
    if policy.needs_population:
        if population is not None and policy.search == "optimal" and not policy.exact:
            options["population"] = _on_levels(population, policy, transformation)
            thresholds["rows_outside_population"] = 0
            if policy.k_map is not None:
                thresholds["k_map"] = policy.k_map.k
            if policy.delta_presence is not None:
                thresholds |= {"delta_min": policy.delta_presence.min, "delta_max": policy.delta_presence.max}
        else:
            wanted = {"k_map": policy.k_map, "delta_presence": policy.delta_presence}
            not_verified = [name for name, rule in wanted.items() if rule is not None]
    facts = verify(released, policy.class_columns, asked.sensitive, reference=original, **options)
    return Verdict(facts, check(facts, thresholds), not_verified)


def judge_join(tables: Sequence[Published], subject: str, k: int | None) -> Verdict:
    """Whether `tables` that share their `subject` column keep k (None: any) and each one's numbers of sensitive values
    for one who joins them, by the verifier's own count."""
    facts = verify_join(
        {table.name: table.frame for table in tables},
        subject,
        {table.name: table.quasi_identifiers for table in tables},
        {table.name: list(table.sensitive) for table in tables},
    )
    least = {f"{table.name}.{name}": values for table in tables for name, values in table.sensitive.items()}
    return Verdict(facts, check_join(facts, k, least), [])


def _on_levels(population: pl.DataFrame, policy: Policy, transformation: Mapping[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            build_hierarchy(population.get_column(name), spec).published(transformation[name])
            for name, spec in policy.quasi_identifiers.items()
        ]
    )
