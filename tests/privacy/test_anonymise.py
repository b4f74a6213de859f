"""The anonymiser's promises on small random tables, where everything can be tried."""

from __future__ import annotations

import gc
import math
from datetime import date, timedelta
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError, Policy, anonymise, verify
from merajut_assets.privacy.hierarchy import build_hierarchy
from merajut_assets.privacy.keys import Keys
from merajut_assets.privacy.margins import Prepared
from merajut_assets.privacy.problem import Problem

REGIONS = ["11.01", "11.02", "12.01", "12.02.03", None]
START = date(2010, 1, 1)
QUASI_IDENTIFIERS: dict[str, Any] = {
    "sex": {"prefix": [1, 0]},
    "birth": {"date": ["quarter", "year", "5y", "*"]},
    "region": {"codes": "wilayah", "least_level": 2},
    "income": {"intervals": [0, 10, 20, 30], "then": [2, "*"]},
}

row = st.fixed_dictionaries(
    {
        "subject": st.integers(0, 25).map("s{}".format),
        "sex": st.sampled_from(["L", "P", None]),
        "birth": st.integers(0, 2500).map(lambda days: START + timedelta(days=days)),
        "region": st.sampled_from(REGIONS),
        "income": st.one_of(st.none(), st.integers(-5, 40)),
        "reason": st.sampled_from(["a", "b", "c", None]),
        "jurisdiction": st.sampled_from(["ID", "GB"]),
    }
)
SCHEMA = {
    "subject": pl.String,
    "sex": pl.String,
    "birth": pl.Date,
    "region": pl.String,
    "income": pl.Int64,
    "reason": pl.String,
    "jurisdiction": pl.String,
}
frames = st.lists(row, min_size=0, max_size=40).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA))
policies = st.fixed_dictionaries(
    {
        "quasi_identifiers": st.lists(
            st.sampled_from(sorted(QUASI_IDENTIFIERS)), min_size=1, max_size=3, unique=True
        ).map(lambda names: {name: QUASI_IDENTIFIERS[name] for name in names}),
        "k": st.integers(1, 4),
        "suppression_limit": st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]),
        "sensitive": st.one_of(
            st.just({}), st.integers(1, 3).map(lambda number: {"reason": {"l_diversity": {"l": number}}})
        ),
        "subject": st.sampled_from([None, "subject"]),
        "exact": st.sampled_from([[], ["jurisdiction"]]),
    }
).map(Policy.model_validate)


def brute_force(frame: pl.DataFrame, policy: Policy) -> tuple[float, int] | None:
    """The least (Loss, suppressed) by the definitions, one node after the other, through labels and group-by."""
    hierarchies = {
        name: build_hierarchy(frame.get_column(name), spec) for name, spec in policy.quasi_identifiers.items()
    }
    rows = len(frame)
    best: tuple[float, int] | None = None
    spans = [range(policy.quasi_identifiers[name].least_level, h.levels) for name, h in hierarchies.items()]
    for node in product(*spans):
        labels = frame.with_columns(h.published(level) for h, level in zip(hierarchies.values(), node, strict=True))
        size = pl.col(policy.subject).n_unique() if policy.subject else pl.len()
        bad = size.over(list(hierarchies)) < policy.k
        for name, spec in policy.sensitive.items():
            if spec.l_diversity is not None:
                bad = bad | (pl.col(name).drop_nulls().n_unique().over(list(hierarchies)) < spec.l_diversity.l)
        suppressed = labels.select(bad.alias("bad")).get_column("bad")
        number = int(suppressed.sum())
        if number > math.floor(round(policy.suppression_limit * rows, 9)) or number == rows:
            continue
        logarithm = 0.0
        for h, level in zip(hierarchies.values(), node, strict=True):
            domain_labels = [h.labels[level][int(code)] for code in h.codes[level]]
            shares = {label: domain_labels.count(label) / h.domain for label in set(domain_labels)}
            total = sum(1.0 if gone else shares[label] for label, gone in zip(labels[h.name], suppressed, strict=True))
            least = rows / h.domain
            logarithm += math.log1p((total - least) / (rows - least)) if h.domain > 1 else 0.0
        loss = math.exp(logarithm / len(hierarchies)) - 1
        if best is None or loss < best[0] - 1e-12 or (abs(loss - best[0]) <= 1e-12 and number < best[1]):
            best = (loss, number)
    return best


@settings(max_examples=150, deadline=None)
@given(frames, policies)
def test_every_release_keeps_its_policy(frame: pl.DataFrame, policy: Policy) -> None:
    """The independent verifier must find k distinct subjects and l values in every published class."""
    release = anonymise(frame, policy)
    if release.frame is None:
        assert not release.report["solution"]
        assert release.report["reason"]
        return
    facts = verify(release.frame, policy.class_columns, list(policy.sensitive), policy.subject)
    assert facts["k"] >= policy.k
    for name, spec in policy.sensitive.items():
        assert spec.l_diversity is not None
        assert facts["l"][name] >= spec.l_diversity.l
    report = release.report
    assert facts["rows"] == report["rows"] - report["suppressed"] == len(release.frame)
    assert (facts["classes"], facts["k"]) == (report["classes"], report["min_class"])
    assert 0 <= report["loss"] <= 1 + 1e-9
    assert release.frame.columns == frame.columns


@settings(max_examples=120, deadline=None)
@given(frames, policies)
def test_the_optimum_equals_brute_force(frame: pl.DataFrame, policy: Policy) -> None:
    """Pruning must never lose the optimum, nor find a solution where there is none."""
    policy = policy.model_copy(update={"exact": ()})
    release = anonymise(frame, policy)
    expected = brute_force(frame, policy)
    if expected is None:
        assert release.frame is None
        return
    assert release.report["loss"] == pytest.approx(expected[0], abs=1e-10)
    assert release.report["suppressed"] == expected[1]
    assert release.report["lower_bound"] == release.report["metric_value"]
    assert release.report["nodes_checked"] + release.report["nodes_pruned"] == release.report["lattice_size"]


@settings(max_examples=60, deadline=None)
@given(frames, policies, st.randoms(use_true_random=False))
def test_row_order_and_column_names_change_nothing(frame: pl.DataFrame, policy: Policy, random: Any) -> None:
    """A release that depended on row order would tell something about the input's order."""
    order = list(range(len(frame)))
    random.shuffle(order)
    first = anonymise(frame, policy)
    second = anonymise(frame[order], policy)
    assert _comparable(first.report) == _comparable(second.report)
    renamed_policy = policy.model_copy(
        update={"quasi_identifiers": {f"x_{name}": spec for name, spec in policy.quasi_identifiers.items()}}
    )
    names = {name: f"x_{name}" for name in policy.quasi_identifiers}
    third = anonymise(frame.rename(names).select(reversed(frame.rename(names).columns)), renamed_policy)
    assert first.report["loss"] == third.report["loss"]
    if first.frame is None or second.frame is None or third.frame is None:
        assert first.frame is second.frame is third.frame is None
        return
    assert first.frame.equals(second.frame)
    back = third.frame.rename({new: old for old, new in names.items()}).select(first.frame.columns)
    assert back.sort(back.columns).equals(first.frame.sort(first.frame.columns))


@settings(max_examples=60, deadline=None)
@given(frames, policies)
def test_stricter_policies_never_lose_less(frame: pl.DataFrame, policy: Policy) -> None:
    """A larger k over a subset of the feasible nodes cannot have a better optimum."""
    policy = policy.model_copy(update={"exact": ()})
    loose, strict = anonymise(frame, policy), anonymise(frame, policy.model_copy(update={"k": policy.k + 1}))
    if strict.frame is not None:
        assert loose.frame is not None
        assert strict.report["loss"] >= loose.report["loss"] - 1e-12


@settings(max_examples=40, deadline=None)
@given(frames, policies)
def test_a_doubled_table_at_twice_k_gives_the_same_release(frame: pl.DataFrame, policy: Policy) -> None:
    """Every class doubles, so the same generalisation is optimal (without suppression, which rounds)."""
    policy = policy.model_copy(update={"exact": (), "subject": None, "suppression_limit": 0.0})
    single = anonymise(frame, policy)
    double = anonymise(pl.concat([frame, frame]), policy.model_copy(update={"k": 2 * policy.k}))
    assert single.report["transformation"] == double.report["transformation"]
    assert single.report["loss"] == double.report["loss"]


def _comparable(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if not key.startswith("seconds")}


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_k_counts_children_not_rows() -> None:
    """Five visits of one child are one child; counting rows would publish them as a class of five."""
    frame = table(child=["c1"] * 5 + ["c2"], zip=["1"] * 5 + ["2"])
    policy = Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [1, 0]}}, "k": 2, "subject": "child"})
    release = anonymise(frame, policy)
    assert release.frame is not None
    assert release.frame.get_column("zip").unique().to_list() == ["*"]
    rows_only = anonymise(frame, policy.model_copy(update={"subject": None, "suppression_limit": 0.5}))
    assert rows_only.frame is not None
    assert verify(rows_only.frame, ["zip"], subject="child")["k"] == 1


def test_classes_never_span_two_jurisdictions() -> None:
    """Two children in each country are not four: a reader knows where a return comes from."""
    frame = table(country=["ID", "ID", "GB", "GB"], zip=["1", "2", "1", "2"])
    policy = {"quasi_identifiers": {"zip": {"prefix": [1, 0]}}, "k": 2}
    apart = anonymise(frame, Policy.model_validate({**policy, "exact": ["country"]}))
    assert apart.frame is not None
    assert apart.frame.get_column("zip").unique().to_list() == ["*"]
    assert apart.frame.get_column("country").to_list() == ["GB", "GB", "ID", "ID"]
    assert len(apart.report["partitions"]) == 2
    none = anonymise(frame, Policy.model_validate({**policy, "exact": ["country"], "k": 3}))
    assert none.frame is None
    assert "2 of 2 partitions" in none.report["reason"]


def test_no_solution_names_what_fails_and_what_would_do() -> None:
    """Whoever is refused must learn which requirement to change, and by how much."""
    frame = table(zip=["1"] * 4, reason=["a", "a", "b", "b"])
    policy = {"quasi_identifiers": {"zip": {"prefix": [1, 0]}}, "k": 5}
    release = anonymise(frame, Policy.model_validate(policy))
    assert release.frame is None
    assert not release.report["solution"]
    assert "k = 5 fails" in release.report["reason"]
    assert release.report["feasible_with"] == {"k": 4}
    diverse = {**policy, "k": 2, "sensitive": {"reason": {"l_diversity": {"l": 3}}}}
    release = anonymise(frame, Policy.model_validate(diverse))
    assert "l_diversity of reason = 3 fails" in release.report["reason"]
    assert release.report["feasible_with"] == {"l_diversity of reason": 2}


@settings(max_examples=80, deadline=None)
@given(frames, policies)
def test_the_remedy_offered_works(frame: pl.DataFrame, policy: Policy) -> None:
    """A suggested suppression limit that still failed would send its reader in circles."""
    policy = policy.model_copy(update={"exact": ()})
    release = anonymise(frame, policy)
    limit = release.report.get("feasible_with", {}).get("suppression_limit")
    if limit is not None:
        assert anonymise(frame, policy.model_copy(update={"suppression_limit": limit})).frame is not None


def test_suppression_is_at_most_the_floor_of_the_share() -> None:
    """0.29 of 100 records are 29, although 0.29 * 100 is 28.999… in floating point."""
    frame = table(zip=["1"] * 71 + [f"{number:03}" for number in range(200, 229)])
    policy = Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [3]}}, "k": 2, "suppression_limit": 0.29})
    assert anonymise(frame, policy).report["suppressed"] == 29
    assert anonymise(frame, policy.model_copy(update={"suppression_limit": 0.28})).frame is None


def test_a_null_is_no_sensitive_value() -> None:
    """`a or nothing recorded` is not diverse: whoever has a record has a."""
    frame = table(zip=["1"] * 4, reason=["a", "a", None, None])
    policy = Policy.model_validate(
        {"quasi_identifiers": {"zip": {"prefix": [1]}}, "k": 2, "sensitive": {"reason": {"l_diversity": {"l": 2}}}}
    )
    assert anonymise(frame, policy).frame is None


def test_never_finer_than_the_least_level() -> None:
    """A stakeholder who may see districts must not get villages because the data would allow it."""
    frame = table(region=["11.01.01.2001"] * 10)
    spec = {"region": {"codes": "wilayah", "least_level": 2}}
    release = anonymise(frame, Policy.model_validate({"quasi_identifiers": spec, "k": 2}))
    assert release.frame is not None
    assert release.frame.get_column("region").unique().to_list() == ["11.01"]
    assert release.report["transformation"] == {"region": 2}


def test_weights_decide_between_columns() -> None:
    """The heavier column is kept; the unweighted Loss is reported beside the weighted value."""
    frame = table(a=["1", "2", "1", "2"], b=["1", "1", "2", "2"])
    for heavy, light in (("a", "b"), ("b", "a")):
        spec = {heavy: {"prefix": [1, 0], "weight": 5.0}, light: {"prefix": [1, 0]}}
        report = anonymise(frame, Policy.model_validate({"quasi_identifiers": spec, "k": 2})).report
        assert report["transformation"] == {heavy: 0, light: 1}
        assert report["metric_value"] < report["loss"]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_table_with_hardly_any_rows(rows: int) -> None:
    """Nothing can be hidden in one row; no row is no release."""
    frame = pl.DataFrame({"zip": ["1"] * rows}, schema={"zip": pl.String})
    release = anonymise(frame, Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [1, 0]}}, "k": 2}))
    assert release.frame is None
    assert release.report["reason"]


def test_all_suppressed_is_no_solution() -> None:
    """With everything suppressed an empty table would count as a success."""
    policy = Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [1]}}, "k": 2, "suppression_limit": 1.0})
    assert anonymise(table(zip=["1", "2"]), policy).frame is None


def test_key_space_beyond_64_bits() -> None:
    """Twelve columns of a thousand values overflow a plain mixed-radix key; classes must not collide."""
    names = [f"q{number}" for number in range(12)]
    frame = pl.DataFrame(
        {name: [f"{(row * 7 + place) % 1000:03}" for row in range(2000)] for place, name in enumerate(names)}
    )
    policy = Policy.model_validate({"quasi_identifiers": {name: {"prefix": [3, 0]} for name in names}, "k": 2})
    release = anonymise(frame, policy)
    assert release.frame is not None
    assert release.report["loss"] == 0.0
    assert verify(release.frame, names)["classes"] == release.report["classes"] == 1000


def test_a_wide_key_does_not_lose_its_first_column() -> None:
    """Seventy columns of two values: unguarded, the first one would be shifted out of 64 bits and two classes
    of two would be published as one class of four."""
    names = [f"q{number}" for number in range(70)]
    rows = [dict.fromkeys(names, "a")] * 2 + [dict.fromkeys(names, "b")] * 3
    rows += [{**dict.fromkeys(names, "a"), "q0": "b"}] * 2
    policy = Policy.model_validate({"quasi_identifiers": {name: {"prefix": [1]} for name in names}, "k": 3})
    assert anonymise(pl.DataFrame(rows), policy).frame is None
    assert anonymise(pl.DataFrame(rows), policy.model_copy(update={"k": 2})).report["classes"] == 3


def test_missing_columns_and_null_subjects_are_refused() -> None:
    """A row without a subject would be counted as one more child than is known."""
    policy = Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [1]}}, "k": 1, "subject": "child"})
    with pytest.raises(DataError, match="child"):
        anonymise(table(zip=["1"]), policy)
    with pytest.raises(DataError, match="nulls"):
        anonymise(table(zip=["1", "2"], child=["c", None]), policy)


def test_other_columns_pass_unchanged() -> None:
    """Nested and untouched columns belong to the caller; only quasi-identifiers become text."""
    frame = table(zip=[10, 11], tags=[["x"], ["y"]], amount=[1.5, 2.5])
    release = anonymise(frame, Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [1]}}, "k": 2}))
    assert release.frame is not None
    assert release.frame.schema == {"zip": pl.String, "tags": pl.List(pl.String), "amount": pl.Float64}
    assert sorted(release.frame.get_column("amount")) == [1.5, 2.5]


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_nothing_of_a_search_outlives_it(search: str) -> None:
    """What refers to itself stays until the collector comes: of ten million rows that was 85 MB a release."""
    frame = pl.DataFrame({"zip": ["11", "12", "21", "22"] * 5, "reason": ["a", "b"] * 10})
    policy = Policy.model_validate(
        {
            "quasi_identifiers": {"zip": {"prefix": [2, 1, 0]}},
            "sensitive": {"reason": {"l_diversity": {"l": 2}}},
            "k": 5,
            "search": search,
        }
    )
    gc.collect()
    gc.disable()
    try:
        assert anonymise(frame, policy).frame is not None
        left = [type(thing).__name__ for thing in gc.get_objects() if type(thing) in (Problem, Keys, Prepared)]
    finally:
        gc.enable()
    assert not left
