"""The verifier of labels of different levels: against the definition in sets, and on releases that narrow people."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, anonymise
from merajut_assets.privacy.requirements import judge
from merajut_assets.privacy.verify import VerificationError
from merajut_assets.privacy.verify_local import narrowed, verify_presence

TEXTS = {
    "place": pl.DataFrame(
        {"value": list("abcd"), "0": list("abcd"), "1": ["ab", "ab", "cd", "cd"], "2": ["*"] * 4},
    ),
    # The text of a lone value stays as it is on the next level; nothing is coarser about it there.
    "age": pl.DataFrame({"value": [1, 2, 3], "0": ["1", "2", "3"], "1": ["1-2", "1-2", "3"], "2": ["*"] * 3}),
}
NAMES = list(TEXTS)
Label = tuple[str, str]
Person = tuple[str, int]

values = st.tuples(st.sampled_from("abcd"), st.sampled_from([1, 2, 3]))
rows = st.lists(st.tuples(values, st.integers(0, 2), st.integers(0, 2), st.sampled_from("xy")), min_size=1, max_size=30)


def texts_of(name: str, value: Any) -> list[str]:
    table = TEXTS[name]
    return list(table.filter(pl.col("value") == value).select(pl.exclude("value")).row(0))


def values_under(label: Label) -> set[Person]:
    """All combinations of values that a label may stand for."""
    allowed = [
        [value for value in table.get_column("value") if text in texts_of(name, value)]
        for (name, table), text in zip(TEXTS.items(), label, strict=True)
    ]
    return set(product(*allowed))


def finest(person: Person, labels: set[Label]) -> list[Label]:
    """The labels that cover a person and hold no finer one that does: the definition, in sets."""
    covering = {label: values_under(label) for label in labels if person in values_under(label)}
    return [label for label, under in covering.items() if not any(other < under for other in covering.values())]


def release_of(entries: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was published, and the rows behind it: each with levels of its own."""
    published, behind = [], []
    for number, (person, first, second, why) in enumerate(entries):
        label = (texts_of("place", person[0])[first], texts_of("age", person[1])[second])
        published.append((*label, why, number))
        behind.append((*person, why, number))
    schema = {"place": pl.String, "age": pl.String, "why": pl.String, "child": pl.Int64}
    return (
        pl.DataFrame(published, schema=schema, orient="row"),
        pl.DataFrame(behind, schema={**schema, "age": pl.Int64}, orient="row"),
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(entries=rows, matched=st.sampled_from([[], ["why"], ["child"], ["child", "why"]]))
def test_what_remains_is_what_the_definition_leaves(entries: list[Any], matched: list[str]) -> None:
    """A verifier that narrows less than an attacker does would pass what tells people apart."""
    released, original = release_of(entries)
    labels = set(released.select(NAMES).rows())
    people: Counter[Any] = Counter()
    for row in original.iter_rows(named=True):
        for label in finest((row["place"], row["age"]), labels):
            people[(label, *(row[name] for name in matched))] += 1
    kinds = Counter(
        ((row["place"], row["age"]), *(row[name] for name in matched)) for row in released.iter_rows(named=True)
    )
    left = narrowed(released, original, NAMES, TEXTS, matched)
    found = Counter(
        ((row["place"], row["age"]), *(row[name] for name in matched)) for row in left.iter_rows(named=True)
    )
    assert found == Counter({kind: min(often, people[kind]) for kind, often in kinds.items() if people[kind]})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(entries=rows, others=st.lists(values, max_size=20), by_subject=st.booleans())
def test_figures_of_a_population_are_those_of_the_definition(
    entries: list[Any], others: list[Person], by_subject: bool
) -> None:
    """People whom a finer label takes hide nobody; those in an overlap may or may not."""
    released, original = release_of(entries)
    released = released.with_columns(child=pl.col("child") // 2)
    everybody = [*original.select(NAMES).rows(), *others]
    population = pl.DataFrame(everybody, schema={"place": pl.String, "age": pl.Int64}, orient="row")
    labels = set(released.select(NAMES).rows())
    under = {person: finest(person, labels) for person in set(everybody)}
    most, least = verify_presence(released, population, NAMES, TEXTS, "child" if by_subject else None)
    for facts, alone in ((most, False), (least, True)):
        people, shares, outside = [], [], 0
        for label in labels:
            own = released.filter(
                pl.struct(NAMES) == pl.struct(pl.lit(label[0]).alias("place"), pl.lit(label[1]).alias("age"))
            )
            held = own.get_column("child").n_unique() if by_subject else own.height
            hidden = sum(label in under[person] and (not alone or len(under[person]) == 1) for person in everybody)
            people.append(hidden)
            if hidden:
                shares.append(held / hidden)
            else:
                outside += own.height
        assert facts["k_map"] == min(people)
        assert facts["delta_max"] == pytest.approx(max(shares, default=0.0))
        uncovered = any(not found for found in under.values())
        assert facts["delta_min"] == pytest.approx(0.0 if uncovered else min(shares, default=0.0))
        assert facts["rows_outside_population"] == outside


# ── planted violations, by a policy ────────────────────────────────────────────────────────


def policy_of(**more: Any) -> Policy:
    return Policy.model_validate(
        {
            "quasi_identifiers": {"place": {"prefix": [2, 1, 0]}, "age": {"intervals": [0, 10, 20], "then": ["*"]}},
            "k": 3,
            "search": "local",
            **more,
        }
    )


def people(*groups: tuple[str, int, str, int]) -> pl.DataFrame:
    """`number` people of each (place, age, why), numbered."""
    every = [(place, age, why) for place, age, why, number in groups for _ in range(number)]
    frame = pl.DataFrame(every, schema=["place", "age", "why"], orient="row")
    return frame.with_columns(child=pl.int_range(pl.len()))


def labelled(frame: pl.DataFrame, *labels: tuple[str, str, int]) -> pl.DataFrame:
    """`frame` published as `number` times each label (place, age)."""
    places = [place for place, _, number in labels for _ in range(number)]
    ages = [age for _, age, number in labels for _ in range(number)]
    return frame.with_columns(place=pl.Series(places), age=pl.Series(ages))


@pytest.mark.parametrize("subject", [None, "child"])
def test_a_class_that_a_finer_label_narrows_below_k_is_refused(subject: str | None) -> None:
    """Two leftovers topped up by one who would have been published as finely as the others pass for three."""
    frame = people(("11", 5, "x", 4), ("21", 5, "x", 2))
    released = labelled(frame, ("11", "[0, 10)", 3), ("*", "[0, 10)", 3))
    verdict = judge(released, frame, policy_of(subject=subject), {})
    assert verdict.facts["k"] == 3
    assert verdict.facts["narrowed"]["k"] == 2
    assert verdict.broken == ["k = 3 is not reached: the table has 2 (narrowed by finer labels)"]
    whole = labelled(frame, ("11", "[0, 10)", 4), ("*", "[0, 10)", 2))
    assert judge(whole, frame, policy_of(subject=subject, k=2), {}).broken == []


def test_a_class_of_which_finer_labels_leave_nobody_is_refused() -> None:
    """Three who would all have been published more finely hide nobody, and prove that somebody broke the rule."""
    frame = people(("11", 5, "x", 6))
    verdict = judge(labelled(frame, ("11", "[0, 10)", 3), ("1", "*", 3)), frame, policy_of(subject="child"), {})
    assert [text.split(":")[0] for text in verdict.broken] == ["k = 3 is not reached"]
    assert verdict.facts["narrowed"]["k"] == 0


def test_a_class_whose_values_are_alike_once_narrowed_is_refused() -> None:
    """Of four with two reasons those with the second reason are not under this label, for all that it shows."""
    frame = people(("11", 5, "x", 2), ("11", 5, "y", 3), ("21", 5, "x", 4))
    released = labelled(frame, ("11", "[0, 10)", 4), ("*", "[0, 10)", 5))
    policy = policy_of(sensitive={"why": {"l_diversity": {"l": 2}}}, subject="child")
    verdict = judge(released, frame, policy, {})
    assert verdict.facts["l"] == {"why": 2}
    assert verdict.broken == ["l of why = 2 is not reached: the table has 1 (narrowed by finer labels)"]


def test_k_map_counts_nobody_whom_a_finer_label_takes() -> None:
    frame = people(("11", 5, "x", 3), ("12", 15, "x", 3))
    released = labelled(frame, ("11", "[0, 10)", 3), ("1", "*", 3))
    population = people(("11", 5, "x", 9), ("12", 15, "x", 5)).drop("why", "child")
    assert judge(released, frame, policy_of(k_map={"k": 5}), {}, population).broken == []
    (broken,) = judge(released, frame, policy_of(k_map={"k": 6}), {}, population).broken
    assert broken == "k_map = 6 is not reached: the table has 5"


def test_presence_counts_nobody_whom_a_finer_label_takes() -> None:
    frame = people(("11", 5, "x", 3), ("12", 15, "x", 3))
    released = labelled(frame, ("11", "[0, 10)", 3), ("1", "*", 3))
    population = people(("11", 5, "x", 9), ("12", 15, "x", 4)).drop("why", "child")
    for bounds, broken in (
        ({"max": 0.75}, []),
        ({"max": 0.7}, ["delta_max = 0.7 is not reached: the table has 0.75"]),
        ({"min": 0.33, "max": 1.0}, []),
        ({"min": 0.34, "max": 1.0}, ["delta_min = 0.34 is not reached: the table has 0.333333"]),
    ):
        assert judge(released, frame, policy_of(delta_presence=bounds), {}, population).broken == broken
    beyond = pl.concat([population, people(("21", 5, "x", 1)).drop("why", "child")])
    (text,) = judge(released, frame, policy_of(delta_presence={"min": 0.1, "max": 1.0}), {}, beyond).broken
    assert text == "delta_min = 0.1 is not reached: the table has 0"


def test_rows_of_which_the_population_has_nobody_are_refused() -> None:
    """Who is not in the population is hidden among none of it."""
    frame = people(("11", 5, "x", 3))
    elsewhere = people(("21", 5, "x", 9)).drop("why", "child")
    verdict = judge(labelled(frame, ("1", "*", 3)), frame, policy_of(k_map={"k": 1}), {}, elsewhere)
    assert "rows_outside_population" in " ".join(verdict.broken)


def test_what_depends_on_people_in_an_overlap_is_not_taken_for_verified() -> None:
    """(1, young) and (11, any) overlap in three of the people; whose they are the release does not tell."""
    frame = people(("12", 5, "x", 3), ("11", 15, "x", 3))
    released = labelled(frame, ("1", "[0, 10)", 3), ("11", "*", 3))
    population = people(("12", 5, "x", 4), ("11", 15, "x", 4), ("11", 5, "x", 3)).drop("why", "child")

    def verdict(k: int) -> tuple[list[str], list[str]]:
        found = judge(released, frame, policy_of(k_map={"k": k}), {}, population)
        return found.broken, found.not_verified

    assert verdict(4) == ([], [])
    assert verdict(5) == ([], ["k_map"])
    assert verdict(8) == (["k_map = 8 is not reached: the table has 7"], [])


# ── what the engine makes ──────────────────────────────────────────────────────────────────


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.sampled_from(["11", "12", "21", "22", None]), st.integers(-3, 25), st.sampled_from("xyz")),
        min_size=6,
        max_size=60,
    ),
    k=st.integers(1, 4),
    least=st.integers(1, 6),
    search=st.sampled_from(["local", "optimal"]),
    exact=st.sampled_from([(), ("why",)]),
    bounds=st.sampled_from([None, {"max": 0.8}, {"min": 0.2, "max": 1.0}]),
    limit=st.sampled_from([0.0, 0.2]),
)
def test_what_the_engine_makes_is_never_refused(
    data: list[Any], k: int, least: int, search: str, exact: tuple[str, ...], bounds: Any, limit: float
) -> None:
    """Two code paths over one definition, with partitions, missing values and suppressed rows."""
    everybody = pl.DataFrame(data, schema={"place": pl.String, "age": pl.Int64, "why": pl.String}, orient="row")
    frame = everybody[::2]
    rules = {"k_map": {"k": least}} | ({} if bounds is None else {"delta_presence": bounds})
    policy = policy_of(k=k, search=search, exact=exact, suppression_limit=limit, **rules)
    release = anonymise(frame, policy, population=everybody)
    if release.frame is None:
        return
    verdict = judge(release.frame, frame, policy, release.report["transformation"], everybody)
    assert verdict.broken == []
    assert "narrowed" not in verdict.facts
    if search == "optimal":
        assert verdict.not_verified == []


def test_people_of_partitions_without_rows_are_no_part_of_the_release() -> None:
    """Partitions are releases of their own: that one has no rows does not make the others' presence fail."""
    frame = people(("11", 5, "x", 3))
    population = people(("11", 5, "x", 6), ("11", 5, "y", 6)).drop("child")
    policy = policy_of(exact=("why",), delta_presence={"min": 0.5, "max": 0.6})
    release = anonymise(frame, policy, population=population)
    assert release.frame is not None
    verdict = judge(release.frame, frame, policy, release.report["transformation"], population)
    assert (verdict.broken, verdict.not_verified) == ([], [])


def test_values_without_texts_are_refused() -> None:
    """A person who is under no text at all would be counted nowhere."""
    released, original = release_of([(("a", 1), 0, 0, "x")])
    with pytest.raises(VerificationError, match="'place' do not hold all of its values"):
        narrowed(released, original.with_columns(place=pl.lit("z")), NAMES, TEXTS)
    with pytest.raises(VerificationError, match="no texts are given"):
        narrowed(released, original, NAMES, {"place": TEXTS["place"]})


def test_the_verifier_knows_nothing_of_the_engine() -> None:
    """A fault of the engine that its checker shared would stay hidden."""
    source = Path(narrowed.__code__.co_filename).read_text(encoding="utf-8")
    imported = [line for line in source.splitlines() if line.startswith("from merajut_assets")]
    assert imported
    assert all("verify_database" in line for line in imported)


def test_large_releases_are_narrowed_in_seconds() -> None:
    """Labels are followed from their beginnings: comparing each label with each person would take hours."""
    generator = np.random.default_rng(5)
    frame = pl.DataFrame(
        {
            "place": generator.choice([f"{place:02d}" for place in range(100)], 100_000),
            "age": generator.integers(0, 90, 100_000),
            "why": generator.choice(["x", "y"], 100_000),
        }
    )
    policy = Policy.model_validate(
        {
            "quasi_identifiers": {
                "place": {"prefix": [2, 1, 0]},
                "age": {"intervals": list(range(0, 90, 3)), "then": [2, 5, "*"]},
            },
            "k": 30,
            "search": "local",
        }
    )
    release = anonymise(frame, policy)
    assert release.frame is not None
    verdict = judge(release.frame, frame, policy, release.report["transformation"])
    assert (verdict.broken, "narrowed" in verdict.facts) == ([], False)
