"""The optimum under every model and metric, against trying everything; and the release, against counting by hand.

The search and these checks share only the policy and the levels of the columns.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, PolicyError, anonymise
from merajut_assets.privacy.certificate import verify_certificate

ADULT = Path(__file__).parents[2] / "data" / "benchmark" / "adult"
WORK = ["Private", "Self-emp-inc", "Federal-gov", "Without-pay", "Never-worked"]
QUASI_IDENTIFIERS: dict[str, Any] = {
    "sex": {"prefix": [1, 0]},
    "zip": {"prefix": [3, 2, 1, 0], "weight": 2.0},
    "age": {"intervals": [0, 10, 20, 30], "then": [2, "*"], "least_level": 1},
    "race": {"hierarchy": ADULT / "adult_hierarchy_race.csv"},
}
row = st.fixed_dictionaries(
    {
        "child": st.integers(0, 30),
        "sex": st.sampled_from(["L", "P", None]),
        "zip": st.sampled_from(["111", "112", "121", "211", "212"]),
        "age": st.one_of(st.none(), st.integers(-2, 40)),
        "race": st.sampled_from(["White", "Black", "Other"]),
        "work": st.sampled_from([*WORK, None]),
        "stage": st.integers(1, 4),
        "country": st.sampled_from(["ID", "GB"]),
    }
)
SCHEMA = {
    "child": pl.Int64,
    "sex": pl.String,
    "zip": pl.String,
    "age": pl.Int64,
    "race": pl.String,
    "work": pl.String,
    "stage": pl.Int64,
    "country": pl.String,
}
frames = st.lists(row, min_size=1, max_size=40).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA))

shares = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0])
diversities = st.one_of(
    st.fixed_dictionaries({"l": st.integers(1, 3)}),
    st.fixed_dictionaries({"kind": st.just("entropy"), "l": st.sampled_from([1, 1.5, 2, 3])}),
    st.fixed_dictionaries(
        {"kind": st.just("recursive"), "l": st.integers(1, 3), "c": st.sampled_from([0.5, 1.0, 1.5, 4.0])}
    ),
)
betas = st.sampled_from([0.25, 0.5, 1.0, 3.0])
of_work = st.fixed_dictionaries(
    {},
    optional={
        "l_diversity": diversities,
        "t_closeness": st.one_of(
            st.fixed_dictionaries({"kind": st.just("equal"), "t": shares}),
            st.fixed_dictionaries(
                {
                    "kind": st.just("hierarchical"),
                    "t": shares,
                    "hierarchy": st.just(ADULT / "adult_hierarchy_workclass.csv"),
                }
            ),
        ),
        "beta_likeness": betas,
    },
)
of_stage = st.fixed_dictionaries(
    {},
    optional={
        "l_diversity": diversities,
        "t_closeness": st.fixed_dictionaries(
            {"kind": st.just("ordered"), "t": shares}, optional={"order": st.just([1, 2, 3, 4])}
        ),
        "beta_likeness": betas,
    },
)


def _one_row_each(rules: dict[str, Any]) -> dict[str, Any]:
    """Without a subject, whose several rows would be refused, where presence is asked for."""
    return {name: rule for name, rule in rules.items() if name != "subject" or "delta_presence" not in rules}


policies = st.fixed_dictionaries(
    {
        "quasi_identifiers": st.lists(
            st.sampled_from(sorted(QUASI_IDENTIFIERS)), min_size=1, max_size=3, unique=True
        ).map(lambda names: {name: QUASI_IDENTIFIERS[name] for name in names}),
        "k": st.integers(1, 4),
        "suppression_limit": st.sampled_from([0.0, 0.05, 0.1, 0.29, 0.5, 1.0]),
        "metric": st.sampled_from(["loss", "aecs", "discernibility", "entropy", "precision"]),
        "sensitive": st.fixed_dictionaries({}, optional={"work": of_work, "stage": of_stage}),
    },
    optional={
        "subject": st.just("child"),
        "exact": st.just(["country"]),
        "k_map": st.integers(1, 8).map(lambda k: {"k": k}),
        "delta_presence": st.tuples(st.sampled_from([0.0, 0.0, 0.1, 0.3]), shares).map(
            lambda bounds: {"min": min(bounds), "max": max(bounds)}
        ),
    },
).map(lambda rules: Policy.model_validate(_one_row_each(rules)))


def people_of(frame: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """A population that holds the frame's rows."""
    return pl.concat([frame, others])


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames, policies, frames)
def test_the_optimum_is_what_trying_everything_finds(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Pruning must never lose the optimum, under no model, metric or limit; the certificate must say what is true."""
    population = people_of(frame, others)
    release = anonymise(frame, policy, population=population)
    report = release.report
    facts = verify_certificate(frame, policy, report["certificate"], population=population)
    assert facts["valid"], facts["problems"]
    assert report["nodes_checked"] + report["nodes_pruned"] == report["lattice_size"]
    assert report["nodes_pruned"] == sum(report["pruned_by"].values())
    if release.frame is None:
        assert report["reason"]


# Tables in which what is sensitive depends on where somebody lives, so that some classes fail, some do not, and the
# best generalisation suppresses some: there a bound that is a little too high prunes the optimum.
MODELS: dict[str, dict[str, Any]] = {
    "k": {"k": 3},
    "distinct": {"sensitive": {"work": {"l_diversity": {"l": 3}}}},
    "entropy": {"sensitive": {"work": {"l_diversity": {"kind": "entropy", "l": 2.2}}}},
    "recursive": {"sensitive": {"work": {"l_diversity": {"kind": "recursive", "l": 2, "c": 1.5}}}},
    "equal": {"sensitive": {"work": {"t_closeness": {"t": 0.4}}}},
    "ordered": {"sensitive": {"stage": {"t_closeness": {"kind": "ordered", "t": 0.2}}}},
    "beta": {"sensitive": {"work": {"beta_likeness": 1.3}}},
    "presence": {"delta_presence": {"max": 0.6}},
    "map": {"k_map": {"k": 9}},
}


def tables(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A table of 40 to 90 rows and the people beside it."""
    random = np.random.default_rng(seed)
    rows = int(random.integers(80, 180))
    places = random.choice(
        ["111", "112", "121", "122", "211", "212", "221", "222"], rows, p=random.dirichlet([1.0] * 8)
    )
    ages = random.choice([5, 15, 25, 35], rows)
    tastes = {place: random.dirichlet([0.6] * len(WORK)) for place in np.unique(places)}
    table = pl.DataFrame(
        {
            "child": np.arange(rows),
            "sex": random.choice(["L", "P"], rows),
            "zip": places,
            "age": ages,
            "race": random.choice(["White", "Black"], rows),
            "work": [random.choice(WORK, p=tastes[place]) for place in places],
            "stage": [1 + int(random.choice(4, p=tastes[place][:4] / tastes[place][:4].sum())) for place in places],
            "country": ["ID"] * rows,
        },
        schema=SCHEMA,
    )
    half = rows // 2
    return table.head(half), table.slice(half)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "aecs", "discernibility", "entropy", "precision"])
@pytest.mark.parametrize("model", list(MODELS))
def test_suppression_and_pruning_together_keep_the_optimum(model: str, metric: str) -> None:
    """Where models are not monotone, a class that fails may be kept in part by a finer node: each model's bound on
    what is lost at the least has to hold there."""
    suppressing = 0
    for seed in range(8):
        frame, others = tables(seed)
        for limit in (0.08, 0.2, 0.4):
            policy = Policy.model_validate(
                {
                    "quasi_identifiers": {name: QUASI_IDENTIFIERS[name] for name in ("sex", "zip", "age")},
                    "k": 2,
                    "suppression_limit": limit,
                    "metric": metric,
                    **MODELS[model],
                }
            )
            population = people_of(frame, others)
            report = anonymise(frame, policy, population=population).report
            facts = verify_certificate(frame, policy, report["certificate"], population=population)
            assert facts["valid"], (seed, limit, facts["problems"])
            suppressing += bool(report["suppressed"])
    assert suppressing


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames, policies, frames)
def test_every_release_keeps_every_model(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Counted by hand in exact fractions, from the published rows and the input alone."""
    release = anonymise(frame, policy, population=people_of(frame, others))
    if release.frame is None:
        return
    parts = frame.partition_by(policy.exact) if policy.exact else [frame]
    allowed = sum(math.floor(Fraction(str(policy.suppression_limit)) * part.height) for part in parts)
    assert release.report["suppressed"] == frame.height - release.frame.height <= allowed
    classes = defaultdict(list)
    for published in release.frame.to_dicts():
        classes[tuple(published[name] for name in policy.class_columns)].append(published)
    assert release.report["classes"] == len(classes)
    for rows in classes.values():
        assert len({one["child"] for one in rows} if policy.subject else rows) >= policy.k
        for name, spec in policy.sensitive.items():
            whole = Counter(frame.get_column(name).to_list())
            assert not missed(Counter(one[name] for one in rows), whole, spec.model_dump(exclude_none=True))


def missed(here: Counter[Any], whole: Counter[Any], spec: dict[str, Any]) -> list[str]:
    """The models of one sensitive column that a class with these values misses."""
    size, rows = sum(here.values()), sum(whole.values())
    share = {value: Fraction(here[value], size) for value in whole}
    whole_share = {value: Fraction(whole[value], rows) for value in whole}
    known = sorted((number for value, number in here.items() if value is not None), reverse=True)
    problems = []
    if diversity := spec.get("l_diversity"):
        least = diversity["l"]
        if diversity["kind"] == "distinct":
            kept = len(known) >= least
        elif diversity["kind"] == "entropy":
            total = sum(known)
            kept = bool(known) and sum(-n / total * math.log(n / total) for n in known) >= math.log(least) - 1e-9
        else:
            kept = bool(known) and known[0] < Fraction(str(diversity["c"])) * sum(known[least - 1 :])
        problems += [] if kept else ["l_diversity"]
    if closeness := spec.get("t_closeness"):
        values = sorted(whole, key=str)
        if closeness["kind"] == "equal":
            distance = sum((abs(share[value] - whole_share[value]) for value in values), Fraction(0)) / 2
        elif closeness["kind"] == "ordered":
            ranks = [v for v in range(1, 5) if "order" in closeness or v in whole]
            running, moved = Fraction(0), Fraction(0)
            for value in ranks:
                running += share.get(value, Fraction(0)) - whole_share.get(value, Fraction(0))
                moved += abs(running)
            distance = moved / max(len(ranks) - 1, 1)
        else:
            lines = [line.split(";") for line in closeness["hierarchy"].read_text(encoding="utf-8").splitlines()]
            path = {line[0]: line for line in lines}
            distance = Fraction(0)
            height = len(lines[0]) - 1
            for level in range(height):
                apart: dict[Any, Fraction] = defaultdict(Fraction)
                for value in values:
                    node = None if value is None else path[value][level]
                    apart[node] += share[value] - whole_share[value]
                distance += sum(abs(difference) for difference in apart.values()) / 2 / height
        problems += [] if distance <= Fraction(str(closeness["t"])) else ["t_closeness"]
    if "beta_likeness" in spec:
        largest = max(share[value] / whole_share[value] - 1 for value in whole)
        problems += [] if largest <= Fraction(str(spec["beta_likeness"])) else ["beta_likeness"]
    return problems


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames, policies, frames, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(
    frame: pl.DataFrame, policy: Policy, others: pl.DataFrame, random: Any
) -> None:
    """Under no model may a release tell something about the order in which children were recorded."""
    order = list(range(frame.height))
    random.shuffle(order)
    population = people_of(frame, others)
    first = anonymise(frame, policy, population=population)
    second = anonymise(frame[order], policy, population=population.reverse())
    without_time = [
        {name: figure for name, figure in release.report.items() if not name.startswith("seconds")}
        for release in (first, second)
    ]
    assert without_time[0] == without_time[1]
    if first.frame is None or second.frame is None:
        assert first.frame is second.frame is None
    else:
        assert first.frame.equals(second.frame)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames, policies, frames)
def test_the_remedies_offered_work_together(frame: pl.DataFrame, policy: Policy, others: pl.DataFrame) -> None:
    """Whoever follows the advice must not be refused again."""
    policy = policy.model_copy(update={"exact": ()})
    population = people_of(frame, others)
    report = anonymise(frame, policy, population=population).report
    if report["solution"]:
        return
    offers = dict(report["feasible_with"])
    limit = offers.pop("suppression_limit", None)
    if limit is not None:
        eased = policy.model_copy(update={"suppression_limit": limit})
        assert anonymise(frame, eased, population=population).frame is not None
    if offers:
        assert anonymise(frame, with_offers(policy, offers), population=population).frame is not None, report["reason"]


def with_offers(policy: Policy, offers: dict[str, float]) -> Policy:
    changed = policy.model_dump(exclude_none=True)
    for name, value in offers.items():
        if name in ("k",):
            changed["k"] = value
        elif name == "k_map":
            changed["k_map"]["k"] = value
        elif name.startswith("delta_presence "):
            changed["delta_presence"][name.removeprefix("delta_presence ")] = value
        else:
            model, _, column = name.partition(" of ")
            column, _, part = column.partition(" ")
            if model == "l_diversity":
                changed["sensitive"][column]["l_diversity"][part or "l"] = value
            elif model == "t_closeness":
                changed["sensitive"][column]["t_closeness"]["t"] = value
            else:
                changed["sensitive"][column]["beta_likeness"] = value
    return Policy.model_validate(changed)


# ── the certificate ──────────────────────────────────────────────────────────────────────────

TABLE = pl.DataFrame(
    {
        "sex": ["L", "L", "P", "P", "L", "P", "L", "P"],
        "zip": ["111", "111", "112", "112", "211", "211", "212", "121"],
        "work": ["Private", "Federal-gov"] * 4,
    }
)
POLICY = Policy.model_validate(
    {
        "quasi_identifiers": {name: QUASI_IDENTIFIERS[name] for name in ("sex", "zip")},
        "sensitive": {"work": {"l_diversity": {"l": 2}}},
        "k": 2,
        "suppression_limit": 0.25,
    }
)
KEY = bytes(range(32))


def test_a_certificate_holds_for_what_it_was_made_of_only() -> None:
    """Otherwise a certificate of one table could be shown for another."""
    certificate = anonymise(TABLE, POLICY, digest_key=KEY).report["certificate"]
    assert verify_certificate(TABLE.reverse(), POLICY, certificate, digest_key=KEY)["valid"]
    other = verify_certificate(TABLE.with_columns(work=pl.lit("Private")), POLICY, certificate, digest_key=KEY)
    assert any("another frame" in problem for problem in other["problems"])
    stricter = verify_certificate(TABLE, POLICY.model_copy(update={"k": 3}), certificate, digest_key=KEY)
    assert any("another policy" in problem for problem in stricter["problems"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", 0.0),
        ("lower_bound", 0.9),
        ("suppressed", 0),
        ("levels", {"sex": 1, "zip": 3}),
        ("levels", {"sex": 0, "zip": 0}),
        ("lattice_size", 7),
        ("nodes_checked", 10**6),
        ("rows", 9),
        ("solution", False),
    ],
)
def test_a_certificate_that_was_changed_is_found_out(field: str, value: Any) -> None:
    """A certificate that is believed whatever it says proves nothing."""
    certificate = anonymise(TABLE, POLICY).report["certificate"]
    assert verify_certificate(TABLE, POLICY, certificate)["valid"]
    forged = copy.deepcopy(certificate)
    assert forged["partitions"][0][field] != value
    forged["partitions"][0][field] = value
    assert not verify_certificate(TABLE, POLICY, forged)["valid"]


def test_a_certificate_without_a_key_says_nothing_about_values() -> None:
    """A plain digest of a small table could be guessed; without a key there is none."""
    assert anonymise(TABLE, POLICY).report["certificate"]["input_digest"] is None
    with pytest.raises(PolicyError, match="32 bytes"):
        anonymise(TABLE, POLICY, digest_key=b"short")


@pytest.mark.parametrize(
    "changes", [{}, {"exact": ["sex"], "quasi_identifiers": {"zip": {"prefix": [2, 0]}}}, {"metric": "discernibility"}]
)
@pytest.mark.parametrize("k", [1, 2])
def test_an_empty_table_has_a_certificate_that_holds(changes: dict[str, Any], k: int) -> None:
    """It said that the lattice has no nodes and was taken for a forged one. That nothing can be published of nobody is
    as true of all nodes as any other claim, and false as soon as there is somebody."""
    policy = Policy.model_validate({**POLICY.model_dump(exclude_none=True), **changes, "k": k, "sensitive": {}})
    report = anonymise(TABLE.clear(), policy, digest_key=KEY).report
    certificate = report["certificate"]
    assert (report["solution"], certificate["solution"], report["optimal"]) == (False, False, True)
    assert verify_certificate(TABLE.clear(), policy, certificate, digest_key=KEY)["valid"]
    assert report["nodes_checked"] + sum(report["pruned_by"].values()) == report["lattice_size"]
    assert not verify_certificate(TABLE, policy, certificate, digest_key=KEY)["valid"]
    forged = {
        **certificate,
        "solution": True,
        "partitions": [{**one, "solution": True} for one in certificate["partitions"]],
    }
    assert not verify_certificate(TABLE.clear(), policy, forged)["valid"]


def test_a_certificate_of_a_large_lattice_is_not_tried() -> None:
    """Trying millions of nodes would never end; it says so instead."""
    names = [f"q{number}" for number in range(15)]
    frame = pl.DataFrame({name: ["a", "b"] for name in names})
    policy = Policy.model_validate({"quasi_identifiers": {name: {"prefix": [1, 0]} for name in names}, "k": 2})
    certificate = anonymise(frame, policy).report["certificate"]
    with pytest.raises(PolicyError, match="nodes"):
        verify_certificate(frame, policy, certificate)
