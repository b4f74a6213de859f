"""Sequences of releases, judged by a checker that knows nothing but what was published and to whom it belongs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.history import (
    Diversity,
    fewest_candidates,
    past_of,
    safe_together,
)
from merajut_assets.privacy.policy import DataError

K, L = 3, 2
Published = dict[str, tuple[str, str | None]]  # subject -> (class, sensitive value)

children = st.dictionaries(
    st.sampled_from([f"s{number:02d}" for number in range(24)]),
    st.tuples(st.integers(0, 2), st.sampled_from(["x", "y", "z", None])),
    max_size=24,
)
worlds = st.lists(children, min_size=1, max_size=4)


def history_of(releases: list[Published]) -> pl.DataFrame:
    rows = [
        (f"2026-{number:02d}", subject, "", name, value)
        for number, published in enumerate(releases, 1)
        for subject, (name, value) in published.items()
    ]
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("release", "subject", "partition", "class", "value"), pl.String), orient="row"
    )


def publish(releases: list[Published], world: dict[str, tuple[int, str | None]], presence_known: bool) -> Published:
    """The next release of `world` (subject -> class and value) beside the earlier ones."""
    subjects = pl.Series("s", list(world), dtype=pl.String)
    keys = np.array([name for name, _ in world.values()], dtype=np.int64)
    codes = np.array(["xyz".index(value) if value else -1 for _, value in world.values()], dtype=np.int64)
    past = past_of(history_of(releases), subjects, {"value": L})
    kept = safe_together(
        past,
        keys,
        np.ones(len(keys), dtype=bool),
        K,
        [Diversity("value", codes, L)],
        presence_known=presence_known,
    )
    return {
        subject: (str(name), value)
        for (subject, (name, value)), is_kept in zip(world.items(), kept, strict=True)
        if is_kept
    }


def candidates(releases: list[Published], subject: str, presence_known: bool) -> set[str]:
    """Whom an attacker cannot tell from `subject`: written from the definition, in sets."""
    everybody = {other for published in releases for other in published}
    for published in releases:
        if subject in published:
            own = published[subject][0]
            everybody &= {other for other, (name, _) in published.items() if name == own}
        elif presence_known:
            everybody -= published.keys()
    return everybody


def violations(releases: list[Published], presence_known: bool) -> list[str]:
    found = []
    for subject in {subject for published in releases for subject in published}:
        who = candidates(releases, subject, presence_known)
        if len(who) < K:
            found.append("k")
        for published in releases:
            if subject in published and len({published[one][1] for one in who} - {None}) < L:
                found.append("m")
    return found


@pytest.mark.parametrize("presence_known", [False, True])
@settings(max_examples=150, deadline=None)
@given(worlds=worlds)
def test_everybody_keeps_k_candidates_with_m_values_over_all_releases(
    worlds: list[dict[str, tuple[int, str | None]]], presence_known: bool
) -> None:
    """Children come, leave, change class and value; a month that undoes another must not be published."""
    releases: list[Published] = []
    for world in worlds:
        releases.append(publish(releases, world, presence_known))
        assert violations(releases, presence_known) == []


def test_publishing_each_month_by_itself_is_what_this_prevents() -> None:
    """The checker must see the harm: two releases, each 3-anonymous, whose classes meet in single children."""
    first: Published = {f"s{n}": (str(n // 3), "xy"[n % 2]) for n in range(9)}
    second: Published = {f"s{n}": (str(n % 3), "xy"[n % 2]) for n in range(9)}
    assert violations([first], False) == []
    assert "k" in violations([first, second], False)
    kept = publish([first], {f"s{n}": (n % 3, "xy"[n % 2]) for n in range(9)}, False)
    assert kept == {}


def test_nothing_is_left_out_when_nothing_changes() -> None:
    """A guard that suppresses without need would soon publish nothing."""
    world: dict[str, tuple[int, str | None]] = {f"s{n}": (n // 4, "xyz"[n % 3]) for n in range(12)}
    releases: list[Published] = []
    for _ in range(3):
        releases.append(publish(releases, world, True))
    assert all(len(published) == 12 for published in releases)
    assert all(earlier == later for earlier, later in pairwise(releases))


def test_who_left_alone_gets_company_only_when_presence_is_known() -> None:
    """A neighbour who saw one child leave would find it as the one pseudonym that is missing."""
    first: dict[str, tuple[int, str | None]] = {f"s{n}": (0, "xy"[n % 2]) for n in range(9)}
    later = {name: value for name, value in first.items() if name != "s0"}
    releases = [publish([], first, True)]
    assert len(publish(releases, later, False)) == 8
    together = publish(releases, later, True)
    assert len(first) - len(together) == K
    assert violations([*releases, together], True) == []


def test_a_newcomer_waits_until_there_are_k() -> None:
    """The only new pseudonym of a month is the child whose arrival everybody saw."""
    first: dict[str, tuple[int, str | None]] = {f"s{n}": (0, "xy"[n % 2]) for n in range(6)}
    releases = [publish([], first, True)]
    with_one = {**first, "new0": (0, "x")}
    assert "new0" not in publish(releases, with_one, True)
    with_three: dict[str, tuple[int, str | None]] = {**with_one, "new1": (0, "y"), "new2": (0, "x")}
    assert {"new0", "new1", "new2"} <= publish(releases, with_three, True).keys()


def test_what_earlier_releases_showed_of_the_candidates_counts() -> None:
    """Values that differ today are no protection when all candidates showed the same one last month."""
    first: Published = {f"s{n}": ("0", "x" if n < 3 else "y") for n in range(6)}
    second: dict[str, tuple[int, str | None]] = {f"s{n}": (int(n >= 3), "xyz"[n % 3]) for n in range(6)}
    assert publish([first], second, False) == {}


def test_fewest_candidates_is_the_checkers_figure() -> None:
    """The report's figure and the definition in sets must be one number."""
    releases: list[Published] = [{f"s{n}": (str(n // 6), "xy"[n % 2]) for n in range(12)}]
    world: dict[str, tuple[int, str | None]] = {f"s{n}": (n // 6, "xy"[n % 2]) for n in range(1, 12)}
    published = publish(releases, world, False)
    kept = {subject: world[subject] for subject in published}
    past = past_of(history_of(releases), pl.Series("s", list(kept)), {"value": L})
    keys = np.array([name for name, _ in kept.values()], dtype=np.int64)
    for presence_known in (False, True):
        naive = min(len(candidates([*releases, published], subject, presence_known)) for subject in published)
        assert fewest_candidates(past, keys, np.ones(len(keys), dtype=bool), presence_known=presence_known) == naive


@pytest.mark.parametrize("broken", ["twice", "column", "null"])
def test_a_history_that_cannot_be_read_is_refused(broken: str) -> None:
    """Judging by half a history would pass what the other half forbids."""
    history = history_of([{"s0": ("0", "x"), "s1": ("0", "y")}])
    if broken == "twice":
        history = pl.concat([history, history])
    elif broken == "column":
        history = history.drop("value")
    else:
        history = history.with_columns(pl.lit(None, dtype=pl.String).alias("class"))
    with pytest.raises(DataError):
        past_of(history, pl.Series("s", ["s0"]), {"value": L})


def test_several_rows_of_one_subject_are_refused() -> None:
    """Candidates are counted in rows; a subject with two would be its own company."""
    with pytest.raises(DataError, match="one row each"):
        past_of(history_of([]), pl.Series("s", ["s0", "s0"]), {"value": L})
