"""Numbers of classes: equal where all published values are, without gaps, in the order of the labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.privacy.keys import SMALL_KEY_SPACE, Keys, numbered
from merajut_assets.privacy.problem import Attribute

WIDTHS = (6, 5, 4, 3)
ROWS = st.lists(st.tuples(*(st.integers(0, width - 1) for width in WIDTHS)), min_size=1, max_size=40)


@pytest.mark.parametrize("slots", [50, 100 * SMALL_KEY_SPACE])
@given(st.lists(st.integers(0, 49), min_size=1, max_size=30))
def test_a_table_numbers_as_sorting_does(slots: int, keys: list[int]) -> None:
    """The two ways, of which the size of the key space decides, must not differ."""
    numbers, size = numbered(np.array(keys), slots)
    assert numbers.tolist() == [sorted(set(keys)).index(key) for key in keys]
    assert size == len(set(keys))


@given(ROWS, st.tuples(*(st.integers(0, 3) for _ in WIDTHS)), st.data())
def test_tuples_share_a_key_exactly_where_they_show_the_same(
    rows: list[tuple[int, ...]], node: tuple[int, ...], data: st.DataObject
) -> None:
    """Two classes with one key would be published as one that nobody judged. Level 2 is one label for all; level 3
    leaves the attribute out. Asked for all and for some, first and again, as what is kept must be the same."""
    values = np.array(rows)
    attributes = []
    for place, width in enumerate(WIDTHS):
        levels = [values[:, place], values[:, place] // 2, np.zeros(len(rows), dtype=np.int64)]
        sizes = (width, (width + 1) // 2, 1)
        covers = tuple(np.ones(size, dtype=np.int64) for size in sizes)
        attributes.append(Attribute(tuple(codes.astype(np.int32) for codes in levels), covers, width))
    shown = [
        tuple(
            int(attribute.codes[level][row]) if level < 2 else 0
            for attribute, level in zip(attributes, node, strict=True)
        )
        for row in range(len(rows))
    ]
    keys = Keys(tuple(attributes), len(rows))
    members = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10)))
    for chosen in (members, None, members, None):
        found, slots = keys.of(node, chosen)
        expected = shown if chosen is None else [shown[row] for row in chosen.tolist()]
        assert numbered(found, slots)[0].tolist() == [sorted(set(expected)).index(labels) for labels in expected]
