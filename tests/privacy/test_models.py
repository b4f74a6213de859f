"""Each model judges classes as its definition says, exactly at the threshold; and what it says is lost, is lost."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.models import (
    AtLeast,
    BetaLikeness,
    EntropyDiversity,
    EqualCloseness,
    HierarchicalCloseness,
    MapAtLeast,
    Model,
    OrderedCloseness,
    Presence,
    RecursiveDiversity,
    exceeds,
    fraction,
)

TREE = (np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]))


def fails(model: Model, *counts: int) -> bool:
    return bool(model.failing(np.array([counts], dtype=np.int64))[0])


def table(*counts: int) -> np.ndarray:
    return np.array(counts, dtype=np.int64)


def test_the_class_of_three_values_twice_each_is_three_diverse() -> None:
    """Its entropy is log 3; a rounding error of the logarithm must not reject it."""
    for number in (1, 2, 3, 7, 1_000_003):
        assert not fails(EntropyDiversity(3), number, number, number)
    assert fails(EntropyDiversity(3), 2, 2, 3)
    assert not fails(EntropyDiversity(2.9), 2, 2, 3)


def test_recursive_diversity_is_strict() -> None:
    """r1 < c (r2 + r3): equality fails."""
    assert fails(RecursiveDiversity(Fraction(2), 2), 6, 2, 1)
    assert not fails(RecursiveDiversity(Fraction(2), 2), 6, 2, 2)
    assert fails(RecursiveDiversity(Fraction(100), 3), 1, 1)
    # 0.3 * 10 is 3 exactly, though not in binary.
    assert fails(RecursiveDiversity(fraction(0.3), 2), 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)


def test_distances_are_exact_at_the_threshold() -> None:
    """The class (1, 3) of a table (1, 1) is a quarter away; 0.1 is a tenth, not its nearest double."""
    assert not fails(EqualCloseness(fraction(0.25), table(5, 5)), 1, 3)
    assert fails(EqualCloseness(fraction(0.2499999999999), table(5, 5)), 1, 3)
    assert not fails(EqualCloseness(fraction(0.1), table(5, 5)), 4, 6)
    # Moving 1/4 from rank 0 to rank 2 of three ranks costs 2/2 of it, to rank 1 half of it.
    ranks = table(2, 2, 4)
    assert not fails(OrderedCloseness(fraction(0.25), ranks), 0, 2, 6)
    assert fails(OrderedCloseness(fraction(0.2499999), ranks), 0, 2, 6)
    assert not fails(OrderedCloseness(fraction(0.125), ranks), 0, 4, 4)


def test_the_tree_charges_by_the_level_where_branches_meet() -> None:
    """A move within a branch costs half of one across, where there are two levels below the root."""
    whole = table(2, 2, 2, 2)
    within, across = (0, 4, 2, 2), (0, 2, 4, 2)
    assert not fails(HierarchicalCloseness(fraction(0.125), whole, TREE), *within)
    assert fails(HierarchicalCloseness(fraction(0.1249), whole, TREE), *within)
    assert not fails(HierarchicalCloseness(fraction(0.25), whole, TREE), *across)
    assert fails(HierarchicalCloseness(fraction(0.2499), whole, TREE), *across)


def test_likeness_is_relative_to_the_share_in_the_table() -> None:
    """From a tenth to a fifth is a gain of 1, from a half to a half none."""
    assert not fails(BetaLikeness(fraction(1.0), table(1, 5, 4)), 2, 5, 3)
    assert fails(BetaLikeness(fraction(0.99), table(1, 5, 4)), 2, 5, 3)


def test_presence_is_judged_from_both_sides() -> None:
    """Nobody in the population, too few of it, and too many of it all tell something."""
    model = Presence(fraction(0.1), fraction(0.5))
    assert not fails(model, 5, 10)
    assert not fails(model, 1, 10)
    assert fails(model, 6, 10)
    assert fails(model, 1, 11)
    assert fails(model, 1, 0)
    assert fails(model, 0, 10)
    assert fails(MapAtLeast(5), 4, 4)
    assert not fails(MapAtLeast(5), 1, 5)


def test_a_null_is_no_value_for_diversity_and_one_for_closeness() -> None:
    """Whoever has a record has `a`, if that is all that is known; and that nothing is known is known, too."""
    assert fails(EntropyDiversity(2, null=1), 5, 5)
    assert fails(RecursiveDiversity(Fraction(4), 2, null=1), 5, 5)
    assert fails(EqualCloseness(fraction(0.4), table(5, 5)), 0, 5)


def test_numbers_beyond_64_bits_are_compared_exactly() -> None:
    """An overflow would turn a failing class into a satisfying one."""
    large = np.array([2**61, 2**61 + 1], dtype=np.int64)
    assert exceeds(large, np.array([2**61, 2**61]), Fraction(1)).tolist() == [False, True]
    assert exceeds(large, np.array([2**61, 2**61]), Fraction(10**18 + 1, 10**18)).tolist() == [False, False]


# ── what is lost at every finer node ─────────────────────────────────────────────────────────

WHOLE = table(8, 4, 2, 2)
CONVEX = {
    "entropy": EntropyDiversity(2.5),
    "entropy, nulls": EntropyDiversity(2.0, null=3),
    "recursive": RecursiveDiversity(Fraction(3, 2), 2),
    "recursive, nulls": RecursiveDiversity(Fraction(2), 2, null=0),
    "equal": EqualCloseness(fraction(0.25), WHOLE),
    "ordered": OrderedCloseness(fraction(0.2), WHOLE),
    "hierarchical": HierarchicalCloseness(fraction(0.2), WHOLE, TREE),
    "beta": BetaLikeness(fraction(0.5), WHOLE),
}
# Parts that resemble the table satisfy, parts that hold little else than one value do not.
resembling = st.tuples(*(st.integers(max(n - 2, 0), n + 2) for n in WHOLE.tolist()))
peculiar = st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)).flatmap(
    st.permutations
)
parts = st.lists(st.one_of(resembling, peculiar.map(tuple)), min_size=1, max_size=5)


@pytest.mark.parametrize("name", list(CONVEX))
@settings(max_examples=300, deadline=None)
@given(parts)
def test_no_split_of_a_failing_class_loses_less(name: str, parts: list[tuple[int, ...]]) -> None:
    """The search closes all finer nodes on the strength of this bound: too high, and it prunes the optimum."""
    model = CONVEX[name]
    counts = np.array([part for part in parts if sum(part)], dtype=np.int64).reshape(-1, 4)
    whole = counts.sum(axis=0, keepdims=True)
    if not len(counts):
        return
    rows = counts.sum(axis=1)
    if not model.failing(whole)[0]:
        return
    lost = int(model.lost(whole, whole.sum(axis=1))[0])
    assert 1 <= lost <= int(rows[model.failing(counts)].sum())


@pytest.mark.parametrize(
    ("model", "kept", "gone"),
    [
        # What is removed holds one value only, and what is kept satisfies just so: the bound is reached.
        (EqualCloseness(fraction(0.25), table(6, 2)), (4, 4), (0, 1)),
        (EqualCloseness(fraction(0.25), table(10**6, 10**6, 1)), (375, 375, 250), (0, 0, 200)),
        (RecursiveDiversity(Fraction(3, 2), 2), (5, 4), (3, 0)),
        (BetaLikeness(fraction(0.5), table(4, 4)), (3, 1), (2, 0)),
        (EntropyDiversity(2), (4, 4), (3, 0)),
    ],
)
def test_the_bound_on_what_is_lost_is_not_idle(model: Model, kept: tuple[int, ...], gone: tuple[int, ...]) -> None:
    """A bound of one row for everything would be valid, and prune nothing."""
    counts = np.array([kept, gone], dtype=np.int64)
    assert model.failing(counts).tolist() == [False, True]
    whole = counts.sum(axis=0, keepdims=True)
    assert model.failing(whole)[0]
    lost = int(model.lost(whole, whole.sum(axis=1))[0])
    assert 1 <= lost <= sum(gone)
    many = model.lost(whole * 100, whole.sum(axis=1) * 100)
    assert int(many[0]) > 10


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=5))
def test_no_split_loses_less_to_presence(parts: list[tuple[int, int]]) -> None:
    """The people of the population are split along with the rows."""
    model = Presence(fraction(0), fraction(0.5))
    counts = np.array(parts, dtype=np.int64)
    whole = counts.sum(axis=0, keepdims=True)
    if whole[0, 0] and model.failing(whole)[0]:
        assert int(model.lost(whole, whole[:, 0])[0]) <= int(counts[model.failing(counts), 0].sum())


def test_what_only_grows_is_lost_whole() -> None:
    """Fewer rows, values or people than asked for are too few in every part."""
    counts = np.array([[3, 4]], dtype=np.int64)
    assert AtLeast(5).lost(counts, np.array([3])).tolist() == [3]
    assert MapAtLeast(5).lost(counts, np.array([3])).tolist() == [3]
