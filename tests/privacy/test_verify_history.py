"""The verifier of several releases against the definition in sets, and on releases that undo each other."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.verify import VerificationError
from merajut_assets.privacy.verify_history import verify_history

rows = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 9), st.sampled_from("AB"), st.sampled_from(["x", "y", None])),
    unique_by=lambda row: (row[0], row[1]),
    min_size=1,
    max_size=40,
)


def frame(entries: list[tuple[int, int, str, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(f"2026-{month:02d}", f"s{subject}", name, value) for month, subject, name, value in entries],
        schema=dict.fromkeys(("release", "subject", "class", "value"), pl.String),
        orient="row",
    )


@pytest.mark.parametrize("presence_known", [True, False])
@settings(max_examples=25, deadline=None)
@given(entries=rows)
def test_figures_are_those_of_the_definition(
    entries: list[tuple[int, int, str, str | None]], presence_known: bool
) -> None:
    """A verifier that counts otherwise than the definition says would pass what should be refused."""
    lives: dict[int, dict[int, tuple[str, str | None]]] = {}
    for month, subject, name, value in entries:
        lives.setdefault(subject, {})[month] = (name, value)
    fewest, values = 10**9, 10**9
    for life in lives.values():
        who = [
            other
            for other in lives.values()
            if all(month in other and other[month][0] == name for month, (name, _) in life.items())
            and (not presence_known or other.keys() == life.keys())
        ]
        fewest = min(fewest, len(who))
        values = min(values, *(len({other[month][1] for other in who} - {None}) for month in life))
    facts = verify_history(frame(entries), ["value"], presence_known=presence_known)
    assert facts["candidates"] == fewest
    assert facts["candidate_values"] == {"value": values}
    assert facts["subjects"] == len(lives)


def test_two_releases_that_cross_are_found() -> None:
    """Each of three classes of three; together they name everybody."""
    first = [(1, subject, "AB"[subject % 2], "x") for subject in range(6)]
    second = [(2, subject, str(subject // 2), "x") for subject in range(6)]
    assert verify_history(frame(first))["candidates"] == 3
    assert verify_history(frame([*first, *second]))["candidates"] == 1


def test_a_subject_twice_in_a_release_is_refused() -> None:
    """Pairs would be counted double, and candidates with them."""
    twice = pl.concat([frame([(1, 1, "A", "x")])] * 2)
    with pytest.raises(VerificationError):
        verify_history(twice)


def test_a_column_that_came_later_is_judged_where_it_is_shown() -> None:
    """A release that never had the column passed for one in which nobody's candidates show any value of it; one that
    shows it of somebody is judged as ever, and so is every release where nothing is said."""
    early = [(1, subject, "A", None) for subject in range(4)]
    late = [(2, subject, "A", "xy"[subject % 2]) for subject in range(4)]
    alike = [(3, subject, "A", "x" if subject else None) for subject in range(4)]

    def values(*entries: tuple[int, int, str, str | None], declared_later: list[str]) -> int:
        facts = verify_history(frame([*entries]), ["value"], declared_later=declared_later)
        return int(facts["candidate_values"]["value"])

    assert values(*early, *late, declared_later=[]) == 0
    assert values(*early, *late, declared_later=["value"]) == 2
    assert values(*early, *late, *alike, declared_later=["value"]) == 1
    assert values(*early, declared_later=["value"]) == 0
