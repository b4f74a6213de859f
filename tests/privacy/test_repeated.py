"""Monthly releases through `anonymise`, judged from the published frames alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, PolicyError, Release, anonymise, verify
from merajut_assets.privacy.classes import class_numbers
from merajut_assets.privacy.counting import count_frame
from merajut_assets.privacy.history import RELEASE, Diversity, codes_of, least_values, past_of, signatures
from merajut_assets.privacy.metrics import METRICS
from merajut_assets.privacy.repeated import Beside, RepeatedSolution, offer, search_beside, standing
from merajut_assets.privacy.requirements import judge
from merajut_assets.privacy.verify_history import verify_history

KEY = bytes(range(32))
K, L = 4, 2


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(
        {
            "subject": "child",
            "k": K,
            "suppression_limit": 0.4,
            "quasi_identifiers": {
                "sex": {"prefix": [1, 0]},
                "district": {"codes": "wilayah", "least_level": 2},
                "birth": {"date": ["quarter", "year", "5y", "*"]},
            },
            "sensitive": {"reason": {"l_diversity": {"kind": "distinct", "l": L}}},
            **changes,
        }
    )


def children(count: int, generator: np.random.Generator, prefix: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "child": [f"{prefix}{number}" for number in range(count)],
            "sex": generator.choice(["F", "M"], count),
            "district": generator.choice(["31.71", "31.72", "32.01", "32.02"], count),
            "birth": pl.Series(
                [f"{year}-{month:02d}-15" for year, month in zip(
                    generator.integers(2012, 2022, count), generator.integers(1, 13, count), strict=True
                )]
            ).str.to_date(),
            "reason": generator.choice(["loss", "need", "study"], count),
        }
    )  # fmt: skip


def months(seed: int, count: int, number: int) -> list[pl.DataFrame]:
    """A population of which each month some leave, some come and some move."""
    generator = np.random.default_rng(seed)
    world, frames = children(count, generator, "a"), []
    for month in range(number):
        if month:
            world = world.filter(pl.Series(generator.random(world.height) > 0.05))
            moved = pl.Series(generator.random(world.height) < 0.03)
            world = world.with_columns(
                district=pl.when(moved).then(pl.lit("32.02")).otherwise(pl.col("district")),
                reason=pl.when(moved).then(pl.lit("study")).otherwise(pl.col("reason")),
            )
            world = pl.concat([world, children(count // 15, generator, f"n{month}x")])
        frames.append(world)
    return frames


def no_history(frame: pl.DataFrame, rules: Policy) -> pl.DataFrame:
    """The history of a first release."""
    return signatures(_nothing(frame), rules, KEY).with_columns(pl.lit("").alias(RELEASE))


def with_release(history: pl.DataFrame, release: Release, rules: Policy, month: int) -> pl.DataFrame:
    """The history with what is kept of one more release."""
    if release.frame is None:
        return history
    kept = signatures(release.frame, rules, KEY).with_columns(pl.lit(f"{month:02d}").alias(RELEASE))
    return pl.concat([history, kept.select(history.columns)])


def publish(frames: list[pl.DataFrame], rules: Policy) -> list[Release]:
    """Each month beside all earlier ones that were published."""
    history = no_history(frames[0], rules)
    releases = []
    for month, frame in enumerate(frames):
        releases.append(anonymise(frame, rules, history=history))
        history = with_release(history, releases[-1], rules, month)
    return releases


def _nothing(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.clear().with_columns(pl.col("birth").cast(pl.String))


def fewest(releases: list[Release], presence_known: bool) -> tuple[int, int]:
    """The fewest candidates of any child and the fewest values among them, told from published rows alone."""
    published = []
    for release in releases:
        if release.frame is not None:
            rows = release.frame.iter_rows(named=True)
            published.append(
                {row["child"]: ((row["sex"], row["district"], row["birth"]), row["reason"]) for row in rows}
            )
    least_candidates, least_values = 10**9, 10**9
    everybody = set().union(*published)
    for child in everybody:
        who = set(everybody)
        for month in published:
            if child in month:
                who &= {other for other, (labels, _) in month.items() if labels == month[child][0]}
            elif presence_known:
                who -= month.keys()
        least_candidates = min(least_candidates, len(who))
        for month in published:
            if child in month:
                least_values = min(least_values, len({month[other][1] for other in who}))
    return least_candidates, least_values


@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize("presence", ["known", "unknown"])
def test_every_child_keeps_k_candidates_and_m_values_over_a_year_quarter(presence: str, search: str) -> None:
    """Without judging months together, three of them single children out, each being 4-anonymous by itself."""
    frames = months(seed=7, count=400, number=4)
    rules = policy(presence=presence, search=search)
    releases = publish(frames, rules)
    assert sum(release.frame is not None for release in releases) >= 2
    candidates, values = fewest(releases, presence == "known")
    assert candidates >= K
    assert values >= L
    alone = [anonymise(frame, rules) for frame in frames]
    assert fewest(alone, presence == "known")[0] < K


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_a_release_beside_others_holds_by_itself_too(search: str) -> None:
    """Rows are left out one by one here, after which each class must still have k children and l values."""
    for release in publish(months(seed=3, count=400, number=3), policy(search=search)):
        assert release.frame is not None
        facts = verify(release.frame, policy().class_columns, ["reason"], "child", k=K)
        assert facts["k"] >= K
        assert facts["l"]["reason"] >= L
        assert release.report["suppressed"] <= 0.4 * release.report["rows"]
        assert release.report["candidates"] >= K


@pytest.mark.slow
@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize("presence_known", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(20, 120))
def test_any_sequence_of_months_keeps_candidates(seed: int, count: int, presence_known: bool, search: str) -> None:
    """Small worlds leave and come in ways that large ones rarely do."""
    rules = policy(presence="known" if presence_known else "unknown", suppression_limit=0.9, search=search)
    releases = [release for release in publish(months(seed, count, 4), rules) if release.frame is not None]
    if releases:
        assert fewest(releases, presence_known)[0] >= K


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_an_empty_history_changes_nothing(search: str) -> None:
    """The first release must be the one that would be made without a history."""
    frame = months(seed=1, count=300, number=1)[0]
    rules = policy(search=search)
    first, alone = publish([frame], rules)[0], anonymise(frame, rules)
    assert first.frame is not None
    assert alone.frame is not None
    assert first.report["transformation"] == alone.report["transformation"]
    assert first.frame.equals(alone.frame)


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_partitions_are_judged_together(search: str) -> None:
    """A child that moves to the other jurisdiction is neither absent nor new; it must not be told by that."""
    frames = [
        frame.with_columns(
            land=pl.when(pl.col("district").str.starts_with("31")).then(pl.lit("A")).otherwise(pl.lit("B"))
        )
        for frame in months(seed=5, count=400, number=3)
    ]
    rules = policy(exact=("land",), suppression_limit=0.6, search=search)
    releases = publish(frames, rules)
    assert sum(release.frame is not None for release in releases) >= 2
    assert fewest([release for release in releases if release.frame is not None], True)[0] >= K


def test_what_cannot_be_published_beside_the_past_is_refused_with_the_reason() -> None:
    """A steward must see that it is the past that forbids a release, and what would allow it."""
    frames = months(seed=2, count=120, number=3)
    releases = publish(frames, policy(suppression_limit=0.0))
    refused = next(release for release in releases if release.frame is None)
    assert "beside the earlier releases" in refused.report["reason"]
    limit = refused.report["feasible_with"]["suppression_limit"]
    eased = policy(suppression_limit=limit)
    assert all(release.frame is not None for release in publish(frames[:2], eased))


@pytest.mark.parametrize("changes", [{"subject": None}, {"k_map": {"k": 5}}, {"delta_presence": {"max": 0.5}}])
def test_what_the_past_cannot_be_combined_with_is_refused(changes: dict[str, Any]) -> None:
    """A requirement that is silently not judged would be believed to hold."""
    frame = months(seed=2, count=50, number=1)[0]
    history = no_history(frame, policy())
    with pytest.raises(PolicyError):
        anonymise(frame, policy(**changes), history=history)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(20, 150),
    limit=st.sampled_from([0.0, 0.1, 0.4]),
    presence_known=st.booleans(),
)
def test_one_generalisation_beside_the_past_is_the_best_of_all(
    seed: int, count: int, limit: float, presence_known: bool
) -> None:
    """What leaves the search untried must not be the best: compared with trying every node."""
    rules = policy(suppression_limit=limit, presence="known" if presence_known else "unknown")
    earlier, frame = months(seed, count, 2)
    history = with_release(no_history(earlier, rules), anonymise(earlier, rules), rules, 0)
    problem = count_frame(frame, rules, by_row=True).parts[0].problem
    least = least_values(rules)
    beside = Beside(
        past_of(history, frame.get_column("child"), least),
        tuple(Diversity(name, codes_of(frame.get_column(name)), least[name]) for name in least),
        np.ones(frame.height, dtype=bool),
        presence_known,
    )
    every = RepeatedSolution()
    for node in product(*(range(attribute.levels) for attribute in problem.attributes)):
        keys = class_numbers(problem, node)
        kept = standing(problem, keys, beside, K)
        if not isinstance(kept, str):
            levels = np.tile(np.array(node), (frame.height, 1))
            offer(every, problem, METRICS["loss"], levels, keys, kept, beside, 0)
    found = search_beside(problem, METRICS["loss"], beside, K)
    assert found.metric == pytest.approx(every.metric)
    assert (found.levels is None) == (every.levels is None)


@pytest.mark.slow
@pytest.mark.parametrize("presence_known", [True, False])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(40, 200),
    limit=st.sampled_from([0.0, 0.2, 0.5]),
    rule=st.sampled_from(
        [
            {"l_diversity": {"l": L}},
            {"l_diversity": {"kind": "entropy", "l": 1.5}},
            {"l_diversity": {"kind": "recursive", "l": L, "c": 3}},
            {"l_diversity": {"l": L}, "t_closeness": {"t": 0.4}},
        ]
    ),
)
def test_local_recodings_beside_each_other_pass_the_verifiers(
    presence_known: bool, seed: int, count: int, limit: float, rule: dict[str, Any]
) -> None:
    """Levels that differ from class to class must neither narrow anybody down within a month nor over the months, and
    whoever asks for them must not lose more than by the same levels for all beside the same past."""
    presence = "known" if presence_known else "unknown"
    rules = policy(presence=presence, suppression_limit=limit, search="local", sensitive={"reason": rule})
    one_level = rules.model_copy(update={"search": "optimal"})
    frames = months(seed, count, 3)
    history = no_history(frames[0], rules)
    for month, frame in enumerate(frames):
        release = anonymise(frame, rules, history=history)
        plain = anonymise(frame, one_level, history=history)
        history = with_release(history, release, rules, month)
        if release.frame is None:
            assert plain.frame is None
            continue
        assert plain.frame is None or release.report["loss"] <= plain.report["loss"] + 1e-9
        verdict = judge(release.frame, frame, rules, release.report["transformation"])
        assert verdict.broken == []
        assert "narrowed" not in verdict.facts
        assert verdict.facts["rows"] == frame.height - release.report["suppressed"] >= (1 - limit) * frame.height
        facts = verify_history(history, ["reason"], presence_known=presence_known)
        assert facts["candidates"] >= K
        assert facts["candidate_values"]["reason"] >= L


def test_levels_differ_beside_the_past_where_that_keeps_more() -> None:
    """A local recoding that always fell back on the same levels for all would pass every other test."""
    rules = policy(search="local", suppression_limit=0.15, presence="unknown")
    for release in publish(months(seed=7, count=400, number=3), rules):
        assert release.report["loss"] < release.report["local"]["optimum_of_one_generalisation"]
        assert release.report["optimal"] is False


def test_local_recoding_beside_the_past_needs_no_lattice() -> None:
    """Twenty columns make 3^20 level vectors, which no search of one generalisation for all can hold."""
    names = [f"column_{number}" for number in range(20)]
    rules = Policy.model_validate(
        {
            "subject": "child",
            "k": K,
            "search": "local",
            "suppression_limit": 0.3,
            "quasi_identifiers": {name: {"prefix": [2, 1, 0]} for name in names},
        }
    )
    generator = np.random.default_rng(9)
    kinds = generator.choice(["ax", "ay", "bx", "by"], (6, len(names)))
    children = pl.DataFrame(kinds[generator.integers(0, 6, 120)], schema=names, orient="row")
    first = children.with_columns(child=pl.int_range(pl.len()).cast(pl.String))
    history = signatures(first.clear(), rules, KEY).with_columns(pl.lit("").alias(RELEASE))
    for month, frame in enumerate((first, first[:110])):
        release = anonymise(frame, rules, history=history)
        assert release.frame is not None
        history = with_release(history, release, rules, month)
    assert verify_history(history)["candidates"] >= K
    refused = anonymise(first[:K], rules, history=history).report
    assert "beside the earlier releases" in refused["reason"]
    with pytest.raises(PolicyError, match="lattice"):
        anonymise(first, rules.model_copy(update={"search": "optimal"}), history=history)


def test_months_recoded_locally_each_by_itself_are_found() -> None:
    """The verifier must see the harm: finer classes of two months meet in single children."""
    rules = policy(search="local")
    frames = months(seed=7, count=400, number=2)
    history = no_history(frames[0], rules)
    for month, frame in enumerate(frames):
        history = with_release(history, anonymise(frame, rules), rules, month)
    assert verify_history(history, ["reason"])["candidates"] < K


def test_signatures_hold_no_value_of_the_release() -> None:
    """What the ledger keeps must not be a copy of what was published."""
    frame = months(seed=4, count=200, number=1)[0]
    release = anonymise(frame, policy())
    assert release.frame is not None
    kept = signatures(release.frame, policy(), KEY)
    texts = set(kept.select("class", "reason").to_series(0)) | set(kept.get_column("reason"))
    assert all(len(text) == 32 for text in texts)
    other = signatures(release.frame, policy(), bytes(reversed(KEY)))
    assert not set(kept.get_column("class")) & set(other.get_column("class"))
    classes = release.frame.select(policy().class_columns).unique().height
    assert kept.get_column("class").n_unique() == classes


@pytest.mark.parametrize("k", [30, 90, 200])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_is_offered_beside_a_history_holds_beside_it(seed: int, k: int) -> None:
    """What would do for the release alone would be refused again for the sake of the past."""
    frames = months(seed=seed, count=80, number=2)
    first = anonymise(
        frames[0], policy(), history=signatures(frames[0].clear(), policy(), KEY).with_columns(release=pl.lit(""))
    )
    assert first.frame is not None
    history = signatures(first.frame, policy(), KEY).with_columns(pl.lit("first").alias(RELEASE))
    numbers = dict(anonymise(frames[1], policy(k=k), history=history).report.get("feasible_with", {}))
    limit = numbers.pop("suppression_limit", None)
    offered = [{"suppression_limit": limit, "k": k}] if limit is not None else []
    for changes in [*offered, *([numbers] if numbers else [])]:
        assert anonymise(frames[1], policy(**changes), history=history).frame is not None
