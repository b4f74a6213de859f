"""What must not change when a table is written down differently, and what can only get worse when more is asked.

Under every model and metric, on random tables and on a sample of a real one. Rows in another order are tried in
`test_optimum`, trying every node in `test_optimum` and, on the sample, here.
"""

from __future__ import annotations

import csv
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, anonymise, verify_certificate
from tests.privacy.test_optimum import ADULT, frames, people_of, policies

SAME = {"rel": 1e-9, "abs": 1e-9}
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def adult() -> pl.DataFrame:
    return pl.read_csv(ADULT / "adult.csv.gz", separator=";").sample(600, seed=5)


def hierarchies(*names: str) -> dict[str, Any]:
    return {name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in names}


# Each with what may be asked on top of it, from less to more.
ON_ADULT: dict[str, list[dict[str, Any]]] = {
    "k": [{"k": 3}, {"k": 10}, {"k": 40}],
    "distinct": [{"sensitive": {"occupation": {"l_diversity": {"l": number}}}} for number in (2, 4, 8)],
    "entropy": [
        {"sensitive": {"occupation": {"l_diversity": {"kind": "entropy", "l": number}}}} for number in (1.5, 3, 6.5)
    ],
    "recursive": [
        {"sensitive": {"occupation": {"l_diversity": {"kind": "recursive", "l": number, "c": c}}}}
        for number, c in ((2, 4.0), (3, 4.0), (3, 1.0))
    ],
    "equal": [{"sensitive": {"occupation": {"t_closeness": {"t": t}}}} for t in (0.5, 0.35, 0.2)],
    "hierarchical": [
        {
            "sensitive": {
                "occupation": {
                    "t_closeness": {
                        "kind": "hierarchical",
                        "t": t,
                        "hierarchy": ADULT / "adult_hierarchy_occupation.csv",
                    }
                }
            }
        }
        for t in (0.5, 0.3, 0.15)
    ],
    "beta": [{"sensitive": {"occupation": {"beta_likeness": beta}}} for beta in (4.0, 2.0, 1.0)],
}
on_adult = pytest.mark.parametrize("model", list(ON_ADULT))
limits = pytest.mark.parametrize("limit", [0.0, 0.05])


def policy_on_adult(asked: dict[str, Any], limit: float, metric: str = "loss") -> Policy:
    names = ("sex", "age", "race", "marital-status", "education")
    content = {"quasi_identifiers": hierarchies(*names), "k": 3, "suppression_limit": limit, "metric": metric, **asked}
    return Policy.model_validate(content)


def figures(frame: pl.DataFrame, policy: Policy, people: pl.DataFrame | None = None) -> dict[str, Any]:
    return anonymise(frame, policy, population=people).report


def assert_same(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> None:
    assert one["solution"] == other["solution"]
    for name in names if one["solution"] else ():
        expected = pytest.approx(one[name], **SAME) if isinstance(one[name], float) else one[name]
        assert other[name] == expected, name


# ── the table twice ──────────────────────────────────────────────────────────────────────────


def doubled(policy: Policy) -> Policy:
    k_map = policy.k_map.model_copy(update={"k": 2 * policy.k_map.k}) if policy.k_map is not None else None
    return policy.model_copy(update={"k": 2 * policy.k, "k_map": k_map, "subject": None})


def assert_doubled(one: dict[str, Any], twice: dict[str, Any]) -> None:
    assert_same(one, twice, ("loss", "transformation", "classes", "optimal"))
    if one["solution"]:
        assert (twice["suppressed"], twice["min_class"]) == (2 * one["suppressed"], 2 * one["min_class"])


@relaxed
@given(frames, policies, frames)
def test_every_row_twice_at_twice_k_is_the_same(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Every class doubles, and every share stays: a difference is an error in counting or in a limit's rounding."""
    policy, people = policy.model_copy(update={"subject": None}), people_of(frame, others)
    assert_doubled(
        figures(frame, policy, people),
        figures(pl.concat([frame, frame]), doubled(policy), pl.concat([people, people])),
    )


@on_adult
@limits
def test_adult_twice_at_twice_k_is_the_same(adult: pl.DataFrame, model: str, limit: float) -> None:
    """The same on real values, where many nodes are pruned."""
    policy = policy_on_adult(ON_ADULT[model][1], limit)
    assert_doubled(figures(adult, policy), figures(pl.concat([adult, adult]), doubled(policy)))


# ── other names, another order ───────────────────────────────────────────────────────────────


def renamed_text(text: str) -> str:
    """Another text, one for each, that comes elsewhere in the alphabet."""
    return "".join(chr(ord("!") + (ord("~") - ord(letter)) % 94) for letter in reversed(text)) + "x"


def renamed_file(path: Path, folder: Path) -> Path:
    """The hierarchy with other names on every level, its lines the other way round."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [[renamed_text(text) for text in line] for line in csv.reader(file, delimiter=";")]
    target = folder / path.name
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(reversed(lines))
    return target


def renamed_policy(entry: Any, folder: Path) -> Any:
    if not isinstance(entry, dict):
        return entry
    changed = {name: renamed_policy(value, folder) for name, value in entry.items()}
    if isinstance(path := changed.get("hierarchy"), Path):
        changed.update(hierarchy=renamed_file(path, folder), separator="\t")
    return changed


@on_adult
@limits
def test_other_names_of_the_values_change_nothing(
    adult: pl.DataFrame, tmp_path: Path, model: str, limit: float
) -> None:
    """A result that depends on the alphabet depends on more than the policy."""
    policy = policy_on_adult(ON_ADULT[model][1], limit)
    other = Policy.model_validate(renamed_policy(policy.model_dump(exclude_none=True), tmp_path))
    names = [*policy.quasi_identifiers, "occupation"]
    values = adult.with_columns(pl.col(name).cast(pl.String).map_elements(renamed_text, pl.String) for name in names)
    assert_same(
        figures(adult, policy),
        figures(values, other),
        ("loss", "metric_value", "suppressed", "transformation", "classes", "min_class"),
    )


@relaxed
@given(frames, policies, frames)
def test_other_names_change_no_random_table(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Nulls stay nulls, whatever values are called."""
    content = policy.model_dump(exclude_none=True)
    changed = {name: pl.col(name).map_elements(renamed_text, pl.String) for name in ("race", "work", "country")}
    with tempfile.TemporaryDirectory() as folder:
        other = Policy.model_validate(renamed_policy(content, Path(folder)))
        people = people_of(frame, others)
        assert_same(
            figures(frame, policy, people),
            figures(frame.with_columns(**changed), other, people.with_columns(**changed)),
            ("loss", "metric_value", "suppressed", "transformation", "classes", "min_class"),
        )


@relaxed
@given(frames, policies, frames)
def test_the_order_of_columns_changes_nothing(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Neither that of the table nor that of the policy; of levels that cost the same, others may be chosen."""
    reordered = {name: dict(reversed(getattr(policy, name).items())) for name in ("quasi_identifiers", "sensitive")}
    names = ("metric_value", "suppressed", "classes") if not policy.exact else ("suppressed", "classes")
    people = people_of(frame, others)
    assert_same(
        figures(frame, policy, people),
        figures(frame.select(reversed(frame.columns)), policy.model_copy(update=reordered), people),
        names,
    )


@on_adult
@limits
def test_the_order_of_columns_changes_nothing_on_adult(adult: pl.DataFrame, model: str, limit: float) -> None:
    """The same where the search takes other ways for another order."""
    policy = policy_on_adult(ON_ADULT[model][1], limit)
    reordered = policy.model_copy(update={"quasi_identifiers": dict(reversed(policy.quasi_identifiers.items()))})
    one, other = figures(adult, policy), figures(adult.select(reversed(adult.columns)), reordered)
    assert_same(one, other, ("loss", "metric_value", "suppressed", "classes"))


# ── asking for more ──────────────────────────────────────────────────────────────────────────


def assert_no_better(loose: dict[str, Any], strict: dict[str, Any]) -> None:
    if strict["solution"]:
        assert loose["solution"]
        assert strict["metric_value"] >= loose["metric_value"] - 1e-9 * max(loose["metric_value"], 1.0)


def stricter(policy: Policy) -> list[Policy]:
    """The policy with one of its numbers asking for more, each in turn."""
    content = policy.model_dump(exclude_none=True)
    changes: list[tuple[tuple[str, ...], float]] = [(("k",), 1)]
    if policy.k_map is not None:
        changes.append((("k_map", "k"), 2))
    if policy.delta_presence is not None and policy.delta_presence.max - 0.1 > policy.delta_presence.min:
        changes.append((("delta_presence", "max"), -0.1))
    for name, spec in policy.sensitive.items():
        if spec.l_diversity is not None:
            changes.append((("sensitive", name, "l_diversity", "l"), 1))
            if spec.l_diversity.c is not None:
                changes.append((("sensitive", name, "l_diversity", "c"), -0.25))
        if spec.t_closeness is not None and spec.t_closeness.t >= 0.1:
            changes.append((("sensitive", name, "t_closeness", "t"), -0.1))
        if spec.beta_likeness is not None:
            changes.append((("sensitive", name, "beta_likeness"), -spec.beta_likeness / 2))
    return [Policy.model_validate(changed(content, path, by)) for path, by in changes]


def changed(content: dict[str, Any], path: tuple[str, ...], by: float) -> dict[str, Any]:
    first, *rest = path
    value = round(content[first] + by, 6) if not rest else changed(content[first], tuple(rest), by)
    return {**content, first: value}


@relaxed
@given(frames, policies, frames, st.data())
def test_asking_for_more_never_costs_less(
    frame: pl.DataFrame, policy: Policy, others: pl.DataFrame, data: st.DataObject
) -> None:
    """A larger k, l or k-map, a smaller t, c, β or δ leave fewer choices; a better value then was missed before."""
    policy, people = policy.model_copy(update={"exact": ()}), people_of(frame, others)
    more = data.draw(st.sampled_from(stricter(policy)))
    assert_no_better(figures(frame, policy, people), figures(frame, more, people))


@on_adult
@limits
@pytest.mark.parametrize("metric", ["loss", "aecs", "discernibility", "entropy", "precision"])
def test_asking_for_more_never_costs_less_on_adult(adult: pl.DataFrame, model: str, limit: float, metric: str) -> None:
    """Step by step, under every metric."""
    steps = [figures(adult, policy_on_adult(asked, limit, metric)) for asked in ON_ADULT[model]]
    assert steps[0]["solution"]
    for loose, strict in pairwise(steps):
        assert_no_better(loose, strict)


# ── against trying everything ────────────────────────────────────────────────────────────────


@pytest.mark.slow
@on_adult
@limits
def test_a_lattice_of_adult_that_can_be_tried_is_tried(adult: pl.DataFrame, model: str, limit: float) -> None:
    """On real values, too, the optimum is what the certificate's own definitions find among all nodes."""
    policy = policy_on_adult(ON_ADULT[model][1], limit)
    policy = policy.model_copy(update={"quasi_identifiers": hierarchies_of(policy, "sex", "age", "race", "education")})
    report = figures(adult, policy)
    assert report["lattice_size"] <= 200
    answer = verify_certificate(adult, policy, report["certificate"])
    assert answer["valid"], answer["problems"]
    assert answer["nodes"] == report["lattice_size"]


def hierarchies_of(policy: Policy, *names: str) -> dict[str, Any]:
    return {name: policy.quasi_identifiers[name] for name in names}
