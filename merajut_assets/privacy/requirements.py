"""What a policy requires, in the verifier's words.

Belongs here: turning a policy into the questions that `verify` is asked and the thresholds that `check`
compares. It is apart from both, because the verifier must know nothing of policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from merajut_assets.privacy.categories import without_categories
from merajut_assets.privacy.hierarchy import as_published, build_hierarchy, read_hierarchy
from merajut_assets.privacy.joined import Published, require_distinct
from merajut_assets.privacy.policy import DataError, Policy
from merajut_assets.privacy.verify import check, verify
from merajut_assets.privacy.verify_join import check_join, verify_join
from merajut_assets.privacy.verify_local import narrowed, verify_presence


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

    `original`: the rows that were anonymised, with which distributions are compared. `transformation`: the levels of a
    release that has the same ones everywhere. Where levels differ from class to class, everything that is asked of a
    class is also asked of what is left of it when the labels beside it are read (facts under `narrowed`).
    `population`: who k-map and δ-presence count. They are named in `not_verified` without one, and where it depends
    on people in the overlap of two labels, of whom the release does not tell under which they are.
    """
    original, policy = without_categories(original, policy)
    asked = questions(policy)
    people = population if policy.needs_population else None
    shown = _shown(original, people, policy, transformation)
    facts = verify(released, policy.class_columns, asked.sensitive, reference=original, **asked.options)
    broken = check(facts, asked.thresholds)
    if policy.search == "local":
        matched = [*([policy.subject] if policy.subject is not None else []), *asked.sensitive]
        left = narrowed(released, shown.rows, policy.class_columns, shown.texts, matched)
        if left.height < released.height:
            less = verify(left, policy.class_columns, asked.sensitive, reference=original, **asked.options)
            # Of a class that is gone nobody is left.
            facts["narrowed"] = {**less, "k": less["k"] if less["classes"] == facts["classes"] else 0}
            broken += [f"{text} (narrowed by finer labels)" for text in check(facts["narrowed"], asked.thresholds)]
    not_verified: list[str] = []
    wanted = _of_population(policy)
    if shown.people is None:
        return Verdict(facts, broken, list(wanted))
    most, least = verify_presence(released, shown.people, policy.class_columns, shown.texts, policy.subject)
    for name, thresholds in wanted.items():
        missed = check(most, thresholds)
        broken += missed
        if not missed and check(least, thresholds):
            not_verified.append(name)
    return Verdict({**facts, **most}, broken, not_verified)


def _of_population(policy: Policy) -> dict[str, dict[str, float]]:
    """Per requirement that counts a population the thresholds of the verifier's figures."""
    found: dict[str, dict[str, float]] = {}
    if policy.k_map is not None:
        found["k_map"] = {"k_map": policy.k_map.k, "rows_outside_population": 0}
    if (bounds := policy.delta_presence) is not None:
        found["delta_presence"] = {
            "delta_min": bounds.min,
            "delta_max": bounds.max,
            "rows_outside_population": 0,
        }
    return found


@dataclass(frozen=True)
class _Shown:
    """The `rows` that were anonymised and the `people` of the population with numbers for the values of their
    quasi-identifiers, and the `texts` that each value may be published as."""

    rows: pl.DataFrame
    people: pl.DataFrame | None
    texts: dict[str, pl.DataFrame]


def _shown(
    original: pl.DataFrame, population: pl.DataFrame | None, policy: Policy, transformation: Mapping[str, int]
) -> _Shown:
    is_one_level = policy.search == "optimal" and not policy.exact
    if is_one_level and population is None:
        return _Shown(original, None, {})
    rows, people, texts = original, _typed(population, original, policy), {}
    for name, spec in policy.quasi_identifiers.items():
        column = original.get_column(name)
        if people is not None:
            column = pl.concat([column, people.get_column(name)])
        hierarchy = as_published(build_hierarchy(column, spec), policy)
        levels = [transformation[name]] if is_one_level else range(spec.least_level, hierarchy.levels)
        texts[name] = pl.DataFrame(
            [
                pl.int_range(hierarchy.domain, dtype=pl.Int32, eager=True).alias("value"),
                *(hierarchy.labels[level].gather(hierarchy.codes[level]).alias(str(level)) for level in levels),
            ]
        )
        numbers = pl.Series(name, hierarchy.rows)
        rows = rows.with_columns(numbers.head(len(original)))
        people = None if people is None else people.with_columns(numbers.slice(len(original)))
    for name in policy.exact:
        values = original.get_column(name).unique()
        texts[name] = pl.DataFrame([values.alias("value"), values.alias("0")])
    if people is not None and policy.exact:
        # Partitions are judged one by one, as they are anonymised; people of others are no part of any.
        people = people.join(original.select(policy.exact).unique(), on=policy.exact, how="semi", nulls_equal=True)
    return _Shown(rows, people, texts)


def _typed(population: pl.DataFrame | None, original: pl.DataFrame, policy: Policy) -> pl.DataFrame | None:
    """The columns of the classes of the population, typed as in the rows that were anonymised."""
    if population is None:
        return None
    try:
        return population.select(pl.col(name).cast(original.schema[name]) for name in policy.class_columns)
    except pl.exceptions.PolarsError:
        # Its message may quote values.
        raise DataError(
            f"the population lacks one of the column(s) {', '.join(policy.class_columns)}, or has another type there "
            "than the rows that were anonymised"
        ) from None


def judge_join(tables: Sequence[Published], subject: str, k: int | None) -> Verdict:
    """Whether `tables` that share their `subject` column keep k (None: any) and each one's numbers of sensitive values
    for one who joins them, by the verifier's own count. Raises DataError when two of them share a name."""
    require_distinct(tables)
    facts = verify_join(
        {table.name: table.frame for table in tables},
        subject,
        {table.name: table.quasi_identifiers for table in tables},
        {table.name: list(table.sensitive) for table in tables},
    )
    least = {f"{table.name}.{name}": values for table in tables for name, values in table.sensitive.items()}
    return Verdict(facts, check_join(facts, k, least), [])
