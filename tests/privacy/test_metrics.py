"""Metrics by their definitions, and bounds that no node undercuts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.metrics import METRICS, ClassMetric, Prepared, SeparableMetric, Tally, tally
from merajut_assets.privacy.problem import Attribute, Problem

ATTRIBUTE = Attribute(
    codes=(np.array([0, 1, 2, 3], dtype=np.int32), np.array([0, 0, 1, 1], dtype=np.int32), np.zeros(4, dtype=np.int32)),
    cover=(np.array([1, 1, 1, 1, 1]), np.array([2, 3]), np.array([5])),
    domain=5,
)
COUNTS = np.array([4, 2, 1, 1])


def measured(metric: str, level: int, classes: list[int], attribute: Attribute = ATTRIBUTE) -> float:
    problem = Problem((attribute,), COUNTS, (), 8)
    found = tally(problem, np.full((4, 1), level), np.array(classes))
    return METRICS[metric].of(found, (attribute,))


def test_each_metric_by_its_definition() -> None:
    """Eight rows of four values; at the second level they are two classes, of which the smaller is suppressed."""
    classes = [0, 0, -1, -1]
    # Six rows cover 2 of 5 values, two count for all: (6 * 2/5 + 2 - 8/5) / (8 - 8/5).
    assert measured("loss", 1, classes) == pytest.approx((6 * 2 / 5 + 2 - 8 / 5) / (8 - 8 / 5))
    assert measured("precision", 1, classes) == pytest.approx((6 * 1 / 2 + 2) / 8)
    bits = 4 * math.log2(6 / 4) + 2 * math.log2(6 / 2) + 2 * math.log2(2 / 1)
    assert measured("entropy", 1, classes) == pytest.approx(bits)
    assert measured("aecs", 1, classes) == 8 / 2
    assert measured("discernibility", 1, classes) == 6**2 + 2 * 8
    # Suppressed rows of different values are told apart no longer.
    assert measured("entropy", 0, [0, 1, -1, -1]) == pytest.approx(2 * math.log2(2 / 1))


def test_levels_that_may_not_be_published_count_for_precision() -> None:
    """Height is that of the whole hierarchy: what the policy withholds is lost."""
    above = Attribute(ATTRIBUTE.codes[1:], ATTRIBUTE.cover[1:], 5, first_level=1)
    assert measured("precision", 0, [0, 0, 1, 1], above) == pytest.approx(1 / 2)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["loss", "precision", "entropy"]), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_terms_are_values_and_only_rise_with_suppression(metric: str, gone: set[int], more: set[int]) -> None:
    """A term that fell when more rows are suppressed would be no bound for finer nodes."""
    chosen = METRICS[metric]
    assert isinstance(chosen, SeparableMetric)
    problem = Problem((ATTRIBUTE,), COUNTS, (), 8)
    prepared = Prepared(problem)
    terms = chosen.terms(prepared, np.array(sorted(gone), dtype=np.int64))[0]
    risen = chosen.terms(prepared, np.array(sorted(gone | more), dtype=np.int64))[0]
    assert (risen >= terms - 1e-12).all()
    assert (np.diff(terms) >= -1e-12).all()
    for level in range(ATTRIBUTE.levels):
        classes = [-1 if place in gone else int(code) for place, code in enumerate(ATTRIBUTE.codes[level])]
        assert float(chosen.finish(terms, 1.0)[level]) == pytest.approx(measured(metric, level, classes))


@pytest.mark.parametrize("metric", ["aecs", "discernibility"])
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=12),
    st.integers(1, 6),
    st.sets(st.integers(0, 4)),
)
def test_bounds_by_class_sizes_are_never_undercut(
    metric: str, classes: list[tuple[int, int]], least: int, failing: set[int]
) -> None:
    """Finer classes are joined into coarser ones, of which the small and some others are suppressed."""
    chosen = METRICS[metric]
    assert isinstance(chosen, ClassMetric)
    finer = np.array([size for size, _ in classes])
    coarser = np.bincount([place for _, place in classes], weights=finer, minlength=5).astype(np.int64)
    kept = np.array([size for place, size in enumerate(coarser) if size >= least and place not in failing])
    rows = int(finer.sum())
    suppressed = rows - int(kept.sum())
    if not len(kept):
        return
    value = chosen.value(kept, suppressed, rows)
    assert chosen.coarser(finer, least, rows) <= value
    assert float(chosen.few(np.array([int((coarser > 0).sum())]), rows)[0]) <= value
    for lost in range(suppressed + 1):
        assert chosen.finer(lost, least, rows) <= value


@pytest.mark.parametrize(
    ("metric", "sizes", "coarser", "finer"),
    [("aecs", [5, 5, 1, 1], 12 / 3, 12 / 3), ("discernibility", [5, 5, 1, 1], 52.0, 2 * 12 + 10 * 5)],
)
def test_bounds_by_class_sizes_are_not_idle(metric: str, sizes: list[int], coarser: float, finer: float) -> None:
    """A bound of nothing would be valid, and prune nothing."""
    chosen = METRICS[metric]
    assert isinstance(chosen, ClassMetric)
    assert chosen.coarser(np.array(sizes), 5, sum(sizes)) == coarser
    assert chosen.finer(2, 5, sum(sizes)) == finer


def test_tallies_of_partitions_add_up() -> None:
    """The figures of a release in several partitions are those of all of its rows."""
    one = Tally(4, 1, 2, 5, (3,), (2,), (0.5,))
    both = one + one
    assert (both.rows, both.suppressed, both.classes, both.squares) == (8, 2, 4, 10)
    assert METRICS["discernibility"].of(both, (ATTRIBUTE,)) == 10 + 8 * 2
