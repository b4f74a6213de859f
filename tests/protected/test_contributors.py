"""What releases of figures about groups tell together: nothing about fewer than k people."""

from __future__ import annotations

from datetime import date
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merajut_assets.compliance.erasure import ERASURE
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.protected.contributors import (
    PUBLICATION,
    contributors_table,
    forget,
    published_contributions,
    remember,
)
from merajut_assets.protected.pipeline import PrivacyRefused, entities_of, examine, protect
from merajut_assets.protected.release import examine_stored, read_release, release_dataset, table_of
from merajut_assets.protected.summary import CONTRIBUTIONS
from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import CUT_OFF, INSTITUTIONS, conformed, consent

KEY = b"k" * 32
GIVING = registry.protected_dataset("media", "campaign_giving")
MEDIA = stakeholder_policies()["media"]
STAFFING = registry.protected_dataset("government", "staff_summary")
GOVERNMENT = stakeholder_policies()["government"]
K = MEDIA.datasets["campaign_giving"].k  # type: ignore[union-attr]
RELEASES = ("2026-07", "2026-08", "2026-09", "2026-10")


def _giving(givers: dict[str, dict[int, int]]) -> dict[str, pl.DataFrame]:
    """Campaigns with the donors who gave, and how much."""
    donors = sorted({donor for people in givers.values() for donor in people})
    gifts = [
        {
            "donation_id": f"{campaign}-{donor}",
            "donor_token": f"donor{donor}",
            "campaign_id": campaign,
            "amount": float(amount),
            "currency": "IDR",
            "donated_on": date(2026, 6, 1),
            "stage": "received",
        }
        for campaign, people in givers.items()
        for donor, amount in people.items()
    ]
    made = {
        "campaign": conformed("campaign", [{"campaign_id": name, "name": name, "goal_amount": 1e9} for name in "AB"]),
        "donation": conformed("donation", gifts),
        "donor": conformed("donor", [{"donor_token": f"donor{donor}", "donor_type": "individual"} for donor in donors]),
        "consent": conformed("consent", [consent("donor", f"donor{donor}", "analytics") for donor in donors]),
    }
    return {name: made[name] for name in entities_of(GIVING)}


def _staff(checked: int, others: int) -> dict[str, pl.DataFrame]:
    rows = [
        {
            "staff_token": f"s{n}",
            "orphanage_id": "O1",
            "hired_on": date(2020, 1, 1),
            "is_background_checked": n < checked,
        }
        for n in range(checked + others)
    ]
    made = {
        "orphanage": conformed("orphanage", INSTITUTIONS),
        "staff": conformed("staff", rows),
        "consent": conformed("consent", []),
    }
    return {name: made[name] for name in entities_of(STAFFING)}


def _publish(lakehouse: Lakehouse, release: str, givers: dict[str, dict[int, int]]) -> dict[str, Any]:
    for name, frame in _giving(givers).items():
        lakehouse.lake.overwrite(f"conformed/{name}", frame)
    return release_dataset(lakehouse, GIVING, MEDIA, release)


def _shown(lakehouse: Lakehouse, release: str) -> dict[str, tuple[int, float]]:
    rows = read_release(lakehouse, GIVING, release, "test").filter(~pl.col("is_withheld"))
    return {name: (donors, amount) for name, donors, amount in rows.select("campaign_id", "donors", "amount").rows()}


_givers = st.dictionaries(
    st.sampled_from("AB"), st.dictionaries(st.integers(0, 13), st.integers(1, 2), max_size=14), max_size=2
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_givers, min_size=2, max_size=5))
def test_published_cells_of_any_releases_differ_by_nobody_or_by_k_people(
    releases: list[dict[str, dict[int, int]]],
) -> None:
    """Through the whole pipeline: who has all releases can single nobody out by subtracting two of them."""
    published, shown = None, list[dict[str, dict[int, int]]]()
    for number, givers in enumerate(releases):
        result = protect(GIVING, MEDIA, _giving(givers), CUT_OFF, KEY, published)
        assert result.contributions is not None
        told = set(result.frame.filter(~pl.col("is_withheld"))["campaign_id"])
        shown.append({name: people for name, people in givers.items() if name in told})
        rows = result.contributions.with_columns(pl.lit(str(number)).alias(PUBLICATION))
        published = rows if published is None else pl.concat([published, rows])
    for one, other in combinations(shown, 2):
        for campaign in one.keys() & other.keys():
            differing = one[campaign].keys() ^ other[campaign].keys()
            changed = {donor for donor, _ in one[campaign].items() ^ other[campaign].items()}
            assert not 1 <= len(differing) < K
            assert not 1 <= len(changed) < K


def test_a_cell_is_shown_again_when_enough_people_have_changed(lakehouse: Lakehouse) -> None:
    """Withheld while few came, and compared with what was shown, not with what was withheld in between."""
    ten = dict.fromkeys(range(10), 100)
    first = _publish(lakehouse, RELEASES[0], {"A": ten, "B": ten})
    second = _publish(lakehouse, RELEASES[1], {"A": {**ten, 10: 7}, "B": ten})
    third = _publish(lakehouse, RELEASES[2], {"A": {**ten, **dict.fromkeys(range(10, 15), 7)}, "B": ten})
    assert _shown(lakehouse, RELEASES[0]) == {"A": (10, 1000.0), "B": (10, 1000.0)}
    assert _shown(lakehouse, RELEASES[1]) == {"B": (10, 1000.0)}
    assert _shown(lakehouse, RELEASES[2]) == {"A": (15, 1035.0), "B": (10, 1000.0)}
    told = ("cells_withheld_small", "cells_withheld_small_change", "publications_compared")
    assert [[facts[name] for name in told] for facts in (first, second, third)] == [[0, 0, 0], [0, 1, 1], [0, 0, 2]]
    assert all(examine_stored(lakehouse, GIVING, MEDIA, release).is_safe for release in RELEASES[:3])


def test_an_earlier_month_is_compared_with_later_ones(lakehouse: Lakehouse) -> None:
    """A backfill is a release like any other to whoever reads it."""
    ten = dict.fromkeys(range(10), 100)
    _publish(lakehouse, RELEASES[2], {"A": ten})
    _publish(lakehouse, RELEASES[0], {"A": dict.fromkeys(range(9), 100)})
    assert _shown(lakehouse, RELEASES[0]) == {}


def test_the_memory_is_no_part_of_what_is_released(lakehouse: Lakehouse) -> None:
    """Digests of donors in a release would let it be joined with others."""
    _publish(lakehouse, RELEASES[0], {"A": dict.fromkeys(range(10), 100)})
    assert CONTRIBUTIONS not in read_release(lakehouse, GIVING, RELEASES[0], "test").columns
    loaded = lakehouse.load_release_tables(RELEASES[0], {table_of(GIVING): 0, contributors_table(GIVING): 0})
    assert not any("contributors" in table for table in loaded)
    memory = published_contributions(lakehouse, GIVING)
    assert memory is not None
    stored = {value for column in memory.iter_columns() for value in column.to_list()}
    assert not stored & {f"donor{number}" for number in range(10)}
    assert "100.0" not in stored


def test_an_erased_donor_is_forgotten_and_still_counts_as_a_difference(lakehouse: Lakehouse) -> None:
    """Were the digest only deleted, the next release would show exactly what the erased donor had given."""
    ten = dict.fromkeys(range(10), 100)
    _publish(lakehouse, RELEASES[0], {"A": ten})
    before = published_contributions(lakehouse, GIVING)
    tables = forget(lakehouse, Subject.DONOR, pl.Series("token", ["donor3"]), {ERASURE: "certificate"})
    after = published_contributions(lakehouse, GIVING)
    assert before is not None
    assert after is not None
    assert contributors_table(GIVING) in tables
    assert before.height == after.height
    assert len(set(before["contributor"]) - set(after["contributor"])) == 1
    assert len(set(before["contribution"]) - set(after["contribution"])) == 3
    _publish(lakehouse, RELEASES[1], {"A": {donor: amount for donor, amount in ten.items() if donor != 3}})
    assert _shown(lakehouse, RELEASES[1]) == {}


def test_a_lost_memory_is_a_refusal(lakehouse: Lakehouse) -> None:
    """Without it nothing can be compared, and any difference could be published."""
    _publish(lakehouse, RELEASES[0], {"A": dict.fromkeys(range(10), 100)})
    lakehouse.lake.delete_where(contributors_table(GIVING), pl.lit(True))
    with pytest.raises(PrivacyRefused, match=f"{RELEASES[0]} are stored, and who stood behind them is not remembered"):
        _publish(lakehouse, RELEASES[1], {"A": dict.fromkeys(range(9), 100)})


def test_a_crash_before_the_figures_are_stored_remembers_too_much(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other order would publish figures that nothing is compared with."""
    overwrite = type(lakehouse.lake).overwrite

    def crash_at_figures(lake: Any, table: str, *arguments: Any, **options: Any) -> int:
        if table == table_of(GIVING):
            raise RuntimeError
        return overwrite(lake, table, *arguments, **options)

    ten = {"A": dict.fromkeys(range(10), 100)}
    with monkeypatch.context() as patched:
        patched.setattr(type(lakehouse.lake), "overwrite", crash_at_figures)
        with pytest.raises(RuntimeError):
            _publish(lakehouse, RELEASES[0], ten)
    assert published_contributions(lakehouse, GIVING) is not None
    assert release_dataset(lakehouse, GIVING, MEDIA, RELEASES[0])["is_new"]
    assert _shown(lakehouse, RELEASES[0]) == {"A": (10, 1000.0)}


def test_a_small_difference_behind_the_pipelines_back_turns_the_check_red(lakehouse: Lakehouse) -> None:
    """The check reads the whole memory itself, pair by pair."""
    _publish(lakehouse, RELEASES[0], {"A": dict.fromkeys(range(10), 100)})
    memory = published_contributions(lakehouse, GIVING)
    assert memory is not None
    one = memory["contributor"][0]
    remember(lakehouse.lake, GIVING, RELEASES[1], memory.drop(PUBLICATION).filter(pl.col("contributor") != one))
    evidence = examine_stored(lakehouse, GIVING, MEDIA, RELEASES[0])
    assert evidence.facts["small_differences"] == 3
    assert any("differ between releases" in violation for violation in evidence.violations)


# ── shares of people ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("checked", "others", "is_shown"), [(12, 0, False), (0, 12, False), (10, 4, False), (4, 10, False), (7, 5, True)]
)
def test_a_share_of_staff_needs_k_people_on_either_side(checked: int, others: int, is_shown: bool) -> None:
    """`all checked` and `nobody checked` were shown of provinces with a handful of staff."""
    result = protect(STAFFING, GOVERNMENT, _staff(checked, others), CUT_OFF, KEY)
    row = result.frame.filter(province_code="31").row(0, named=True)
    assert row["staff"] == checked + others
    assert row["background_check_share"] == (pytest.approx(checked / (checked + others)) if is_shown else None)
    assert result.report["shares_withheld"] == int(not is_shown)


def test_staff_of_a_province_with_few_are_withheld() -> None:
    """They are people as children are; the open dataset of institutions counted them one by one."""
    result = protect(STAFFING, GOVERNMENT, _staff(2, 2), CUT_OFF, KEY)
    assert result.frame["is_withheld"].all()
    assert result.frame["staff"].null_count() == result.frame.height
    institutions = {column.name for column in registry.protected_dataset("government", "orphanage").columns}
    assert not any("staff" in name for name in institutions)


def test_a_share_of_nobody_or_all_is_found_by_the_last_gate() -> None:
    """The gate does not trust the step before it."""
    result = protect(STAFFING, GOVERNMENT, _staff(7, 5), CUT_OFF, KEY)
    dataset = GOVERNMENT.datasets["staff_summary"]
    assert examine(result.frame, STAFFING, dataset).is_safe
    for share in (0.0, 1.0):
        planted = result.frame.with_columns(pl.lit(share).alias("background_check_share"))
        assert not examine(planted.filter(~pl.col("is_withheld")), STAFFING, dataset).is_safe


def test_a_summary_that_keeps_its_contributors_to_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures could be compared with nothing."""
    import merajut_assets.protected.pipeline as pipeline

    build = pipeline.summary_of(STAFFING)
    for spoil in (
        lambda frame: frame.drop(CONTRIBUTIONS),
        lambda frame: frame.with_columns(pl.col("staff") + 1),
        lambda frame: frame.with_columns(pl.col(CONTRIBUTIONS).list.concat(pl.col(CONTRIBUTIONS))),
    ):
        monkeypatch.setattr(pipeline, "summary_of", lambda _, spoil=spoil: lambda *given: spoil(build(*given)))
        with pytest.raises(PrivacyRefused, match=r"government\.staff_summary"):
            protect(STAFFING, GOVERNMENT, _staff(7, 5), CUT_OFF, KEY)
