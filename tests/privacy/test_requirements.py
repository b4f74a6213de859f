"""Engine and verifier read the same policy: what one makes, the other accepts, and nothing looser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError, Policy, anonymise
from merajut_assets.privacy.requirements import judge, questions

TREE = "a;x;*\nb;x;*\nc;y;*\nd;y;*\n"
QUASI_IDENTIFIERS = {"zip": {"prefix": [2, 1, 0]}, "age": {"intervals": [0, 20, 40], "then": ["*"]}}
DIVERSITY = [
    None,
    {"kind": "distinct", "l": 2},
    {"kind": "entropy", "l": 1.8},
    {"kind": "recursive", "l": 2, "c": 2.5},
]
CLOSENESS = [
    None,
    {"kind": "equal", "t": 0.3},
    {"kind": "ordered", "t": 0.2, "order": ["d", "b", "a", "c"]},
    {"kind": "hierarchical", "t": 0.25},
]
people = st.lists(
    st.tuples(st.sampled_from(["11", "12", "21"]), st.integers(0, 59), st.sampled_from("abcd")), min_size=8, max_size=40
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tree") / "tree.csv"
    path.write_text(TREE, encoding="utf-8")
    return path


def policy_of(tree: Path, diversity: Any, closeness: Any, beta: float | None, **more: Any) -> Policy:
    if closeness is not None and closeness["kind"] == "hierarchical":
        closeness = {**closeness, "hierarchy": tree}
    rules = {"l_diversity": diversity, "t_closeness": closeness, "beta_likeness": beta}
    sensitive = {"why": {name: rule for name, rule in rules.items() if rule is not None}}
    return Policy.from_mapping(
        {"k": 2, "suppression_limit": 0.3, "quasi_identifiers": QUASI_IDENTIFIERS, "sensitive": sensitive, **more}
    )


@pytest.mark.parametrize("search", ["optimal", "local"])
@settings(max_examples=40, deadline=None)
@given(
    data=people,
    diversity=st.sampled_from(DIVERSITY),
    closeness=st.sampled_from(CLOSENESS),
    beta=st.sampled_from([None, 1.5]),
)
def test_what_the_engine_releases_the_verifier_accepts(
    tree: Path, search: str, data: list[Any], diversity: Any, closeness: Any, beta: float | None
) -> None:
    """Two code paths over the same definitions: a difference in one of them, nulls and suppressed rows
    included, would show here before it does in a refused release."""
    frame = pl.DataFrame(data, schema=["zip", "age", "why"], orient="row")
    policy = policy_of(tree, diversity, closeness, beta, search=search)
    release = anonymise(frame, policy)
    if release.frame is None:
        return
    verdict = judge(release.frame, frame, policy, release.report["transformation"])
    assert verdict.broken == []
    assert verdict.not_verified == []
    assert verdict.facts["k"] == release.report["min_class"]
    assert verdict.facts["classes"] == release.report["classes"]


@settings(max_examples=30, deadline=None)
@given(data=people, least=st.integers(1, 6))
def test_presence_and_k_map_mean_the_same_to_both(data: list[Any], least: int) -> None:
    """The released are a third of the people; the verifier puts these on the release's levels by itself."""
    everybody = pl.DataFrame(data, schema=["zip", "age", "why"], orient="row")
    frame = everybody[::3]
    mapping = {
        "k": 1,
        "suppression_limit": 0.5,
        "quasi_identifiers": QUASI_IDENTIFIERS,
        "k_map": {"k": least},
        "delta_presence": {"max": 0.75},
    }
    policy = Policy.from_mapping(mapping)
    release = anonymise(frame, policy, population=everybody)
    if release.frame is None:
        return
    verdict = judge(release.frame, frame, policy, release.report["transformation"], everybody)
    assert (verdict.broken, verdict.not_verified) == ([], [])
    assert verdict.facts["k_map"] >= least


def test_a_looser_table_is_refused_model_by_model(tree: Path) -> None:
    """Every requirement of a policy must be able to fail, or it is not checked."""
    frame = pl.DataFrame({"zip": ["11", "12"] * 4, "age": [1] * 8, "why": ["a", "b"] * 4})
    labels = frame.with_columns(pl.col("zip"), age=pl.lit("[0, 20)"))
    for diversity, closeness, beta, figure in [
        (DIVERSITY[1], None, None, "l of why"),
        (DIVERSITY[2], None, None, "entropy_l of why"),
        (DIVERSITY[3], None, None, "recursive_c of why"),
        (None, CLOSENESS[1], None, "t_equal of why"),
        (None, {**CLOSENESS[2], "t": 0.1}, None, "t_ordered of why"),
        (None, {**CLOSENESS[3], "t": 0.2}, None, "t_hierarchical of why"),
        (None, None, 0.5, "beta of why"),
    ]:
        policy = policy_of(tree, diversity, closeness, beta)
        (broken,) = judge(labels, frame, policy, {}).broken
        assert broken.startswith(figure)
    (broken,) = judge(labels, frame, policy_of(tree, None, None, None, k=5), {}).broken
    assert broken.startswith("k = 5")


def test_a_population_that_is_not_given_is_said_so() -> None:
    """Silence would be taken for a proof."""
    frame = pl.DataFrame({"zip": ["11"] * 4, "age": [1] * 4, "sex": ["f"] * 4})
    mapping = {"k": 2, "quasi_identifiers": QUASI_IDENTIFIERS, "k_map": {"k": 2}, "exact": ["sex"]}
    policy = Policy.from_mapping(mapping)
    released = anonymise(frame, policy, population=frame).frame
    assert released is not None
    assert judge(released, frame, policy, {}).not_verified == ["k_map"]
    assert judge(released, frame, policy, {}, frame).not_verified == []


def test_a_population_of_other_columns_or_types_is_refused_without_a_value() -> None:
    """What cannot be compared must not count as nobody, and what a library says of it must not be passed on."""
    frame = pl.DataFrame({"zip": ["11"] * 4, "age": [1] * 4})
    policy = Policy.from_mapping({"k": 2, "quasi_identifiers": QUASI_IDENTIFIERS, "k_map": {"k": 2}})
    report = anonymise(frame, policy, population=frame).report
    for people in (frame.drop("zip"), frame.with_columns(age=pl.lit("seventeen"))):
        with pytest.raises(DataError, match="the population lacks one of") as refused:
            judge(frame, frame, policy, report["transformation"], people)
        assert "seventeen" not in str(refused.value)


def test_every_requirement_of_a_sensitive_column_is_asked_for(tree: Path) -> None:
    """A rule that a later version adds to `Sensitive` must be translated, or this fails."""
    from merajut_assets.privacy.policy import Sensitive

    assert set(Sensitive.model_fields) == {"l_diversity", "t_closeness", "beta_likeness"}
    asked = questions(policy_of(tree, DIVERSITY[3], CLOSENESS[3], 1.0))
    assert set(asked.thresholds) == {"k", "recursive_c", "t_hierarchical", "beta"}
