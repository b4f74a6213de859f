"""A blind choice tells nothing of sensitive values but what each class shows, by going through all possible worlds."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, PolicyError, anonymise, verify
from merajut_assets.privacy.certificate import verify_certificate
from merajut_assets.privacy.history import RELEASE, signatures
from merajut_assets.privacy.requirements import judge

Labels = tuple[tuple[str, str] | None, ...]
rows = st.lists(
    st.tuples(st.sampled_from(["11", "12"]), st.sampled_from([5, 15]), st.sampled_from("xy")),
    min_size=4,
    max_size=8,
)


def policy_of(**more: Any) -> Policy:
    return Policy.model_validate(
        {
            "quasi_identifiers": {"place": {"prefix": [2, 1, 0]}, "age": {"intervals": [0, 10, 20], "then": ["*"]}},
            "sensitive": {"why": {"l_diversity": {"l": 2}}},
            "k": 2,
            "choice": "blind",
            **more,
        }
    )


def frame_of(data: list[Any]) -> pl.DataFrame:
    frame = pl.DataFrame(data, schema={"place": pl.String, "age": pl.Int64, "why": pl.String}, orient="row")
    return frame.with_columns(number=pl.int_range(pl.len()))


def labels_of(frame: pl.DataFrame, policy: Policy) -> Labels | None:
    """The published label of each row, None where it is suppressed; None altogether without a release."""
    released = anonymise(frame, policy).frame
    if released is None:
        return None
    found = {number: (place, age) for place, age, number in released.select("place", "age", "number").rows()}
    return tuple(found.get(number) for number in range(frame.height))


def possible_values(frame: pl.DataFrame, policy: Policy) -> list[set[str]] | None:
    """Which sensitive values each published row may have for one who knows all quasi-identifiers, the release and the
    algorithm: those of every world out of which the same release would have been made."""
    labels = labels_of(frame, policy)
    if labels is None:
        return None
    actual = frame.get_column("why").to_list()
    shown = sorted(zip(map(str, labels), actual, strict=True))
    possible: list[set[str]] = [set() for _ in actual]
    for world in set(permutations(actual)):
        is_alike = sorted(zip(map(str, labels), world, strict=True)) == shown
        if is_alike and labels_of(frame.with_columns(why=pl.Series(world)), policy) == labels:
            for values, value in zip(possible, world, strict=True):
                values.add(value)
    return [values for values, label in zip(possible, labels, strict=True) if label is not None]


@pytest.mark.slow
@pytest.mark.parametrize("search", ["local", "optimal"])
@settings(max_examples=25, deadline=None)
@given(data=rows, limit=st.sampled_from([0.0, 0.4]))
def test_every_row_may_have_every_value_of_its_class(search: str, data: list[Any], limit: float) -> None:
    """The minimality attack: whoever asks why a class is not finer must not get an answer about anybody."""
    frame, policy = frame_of(data), policy_of(search=search, suppression_limit=limit)
    possible = possible_values(frame, policy)
    if possible is not None:
        assert all(len(values) >= 2 for values in possible)


@pytest.mark.parametrize("search", ["local", "optimal"])
def test_an_informed_choice_can_be_seen_through(search: str) -> None:
    """What a blind choice is for: all six are one class with two values, and yet the first is known to be no x, because
    less would have been generalised if it were."""
    frame = frame_of([("11", 5, "y"), ("11", 15, "y"), ("12", 15, "y"), *[("21", 5, "x")] * 2, ("21", 5, "y")])
    informed = policy_of(search=search, choice="informed")
    assert labels_of(frame, informed) == (("*", "*"),) * 6
    possible = possible_values(frame, informed)
    assert possible is not None
    assert possible[0] == {"y"}
    assert labels_of(frame, policy_of(search=search)) is None


@settings(max_examples=40, deadline=None)
@given(data=rows, search=st.sampled_from(["local", "optimal"]), limit=st.sampled_from([0.0, 0.4]))
def test_what_is_chosen_blindly_keeps_the_policy(data: list[Any], search: str, limit: float) -> None:
    """Not looking must not become not caring; and nothing is gained by not looking."""
    frame, policy = frame_of(data * 3), policy_of(search=search, suppression_limit=limit)
    release = anonymise(frame, policy)
    if release.frame is None:
        return
    assert judge(release.frame, frame, policy, release.report["transformation"]).broken == []
    informed = anonymise(frame, policy.model_copy(update={"choice": "informed"}))
    assert informed.report["loss"] <= release.report["loss"] + 1e-9
    if search == "optimal":
        assert verify_certificate(frame, policy, release.report["certificate"])["valid"]


@pytest.mark.parametrize("rule", [{"l_diversity": {"l": 2}}, {"t_closeness": {"t": 0.3}}, {"beta_likeness": 0.5}])
def test_a_k_that_is_large_enough_is_named(rule: dict[str, Any]) -> None:
    """A refusal must say what would do; and it must do."""
    data = [("11", 5, "x")] * 3 + [("12", 5, "y")] * 3 + [("21", 15, "x"), ("21", 15, "y")] * 3
    policy = policy_of(search="local", sensitive={"why": rule})
    refused = anonymise(frame_of(data), policy).report
    assert not refused["solution"]
    assert "without sight of sensitive values" in refused["reason"]
    assert refused["certificate"] is None
    (enough,) = refused["feasible_with"].values()
    assert f"a larger k >= {enough}" in refused["reason"]
    released = anonymise(frame_of(data), policy.model_copy(update={"k": enough})).frame
    assert released is not None
    assert verify(released, ["place", "age"], ["why"])["l"]["why"] == 2


def test_no_k_is_named_where_none_is_large_enough() -> None:
    refused = anonymise(frame_of([("11", 5, "x")] * 6), policy_of()).report
    assert refused["feasible_with"] == {}
    assert "feasible with more rows only" in refused["reason"]


def test_a_blind_choice_beside_a_history_is_refused() -> None:
    """There, who is left out depends on sensitive values; saying nothing would be taken for a promise."""
    frame = frame_of([("11", 5, "x"), ("11", 5, "y")] * 3)
    policy = policy_of(subject="number")
    released = frame.clear().with_columns(pl.col("age").cast(pl.String))
    history = signatures(released, policy, bytes(32)).with_columns(pl.lit("").alias(RELEASE))
    with pytest.raises(PolicyError, match=r"blind is not available beside a history, .*; use choice: informed"):
        anonymise(frame, policy, history=history)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": "number"}, "choice: blind is not available beside a history, .*; use choice: informed"),
        ({"subject": "number", "choice": "informed", "k_map": {"k": 2}}, "k_map .* ask for as large a k"),
        ({"choice": "informed"}, "under a policy with a subject column; name it as subject"),
    ],
)
def test_what_is_not_available_beside_a_history_is_refused_before_any_work(changes: dict[str, Any], said: str) -> None:
    """What and why, and what to do instead. Nothing has been looked at by then: neither table has a column."""
    with pytest.raises(PolicyError, match=said):
        anonymise(pl.DataFrame(), policy_of(**changes), history=pl.DataFrame())


def test_a_policy_without_the_choice_reads_as_it_did() -> None:
    """Stored releases are known by the digest of their policy; a word that says nothing must not change it."""
    assert "choice" not in policy_of(choice="informed").model_dump()
    assert policy_of().model_dump(mode="json")["choice"] == "blind"
