"""The ledger never overspends, however many spend at once and whatever crashes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.ledger import (
    AlreadyCharged,
    BudgetExceeded,
    ForgetfulLedger,
    LedgerError,
    PrivacyLedger,
    StoredDraw,
)


@pytest.fixture
def ledger(tmp_path: Path) -> PrivacyLedger:
    return PrivacyLedger(tmp_path / "ledger" / "ledger.sqlite")


def charge(ledger: PrivacyLedger, name: str, epsilon: float = 0.1, release: str = "2026-10", **options: Any) -> int:
    limits = {"limit_per_release": 1.0, "limit_per_year": 2.0} | options
    return ledger.charge("government", release, name, "demographics", epsilon, **limits)


def test_ten_tenths_are_exactly_one(ledger: PrivacyLedger) -> None:
    """Ten times 0.1 as floats is 0.9999999999999999: an eleventh charge of 1e-16 would slip through."""
    for number in range(10):
        ledger.commit(charge(ledger, f"s{number}"))
    assert ledger.spent("government", release="2026-10").epsilon == 1.0
    with pytest.raises(BudgetExceeded):
        charge(ledger, "more", 1e-16)


def test_a_refusal_names_everything_and_books_nothing(ledger: PrivacyLedger) -> None:
    charge(ledger, "a", 0.7)
    with pytest.raises(BudgetExceeded) as caught:
        charge(ledger, "b", 0.4)
    for part in ("government", "demographics", "2026-10", "0.7", "0.4", "limit of 1", "coarser"):
        assert part in str(caught.value)
    assert ledger.spent("government").epsilon == 0.7


def test_the_year_limit_holds_across_releases(ledger: PrivacyLedger) -> None:
    charge(ledger, "a", 1.0, "2026-01")
    charge(ledger, "a", 1.0, "2026-02")
    with pytest.raises(BudgetExceeded, match="year 2026"):
        charge(ledger, "a", 0.1, "2026-03")
    charge(ledger, "a", 1.0, "2027-01")


def test_a_crash_loses_budget_of_the_year_not_of_the_release(ledger: PrivacyLedger) -> None:
    """Whether anybody saw the figures of a crashed run cannot be known, so the year pays; but the
    release must be completable."""
    lost = charge(ledger, "a", 0.8)
    again = charge(ledger, "a", 0.8)
    ledger.commit(again)
    assert ledger.spent("government", release="2026-10").epsilon == 0.8
    assert ledger.spent("government", year=2026).epsilon == 1.6
    with pytest.raises(LedgerError, match="replaced"):
        ledger.commit(lost)
    with pytest.raises(BudgetExceeded, match="year 2026"):
        charge(ledger, "b", 0.5, limit_per_release=9.0)
    row = ledger.balance()[0]
    assert (row.epsilon, row.epsilon_lost, row.epsilon_year, row.charges, row.pending) == (0.8, 0.8, 1.6, 2, 0)


def test_pending_charges_count_to_the_release(ledger: PrivacyLedger) -> None:
    """Otherwise two runs that charge before either commits would spend the budget twice."""
    charge(ledger, "a", 0.8)
    with pytest.raises(BudgetExceeded):
        charge(ledger, "b", 0.8)


def test_stored_figures_are_not_paid_for_again(ledger: PrivacyLedger) -> None:
    """A re-run of a release gives the same figures and spends nothing."""
    charge_id = charge(ledger, "a")
    assert ledger.committed("government", "2026-10", "a") is None
    ledger.commit(charge_id)
    ledger.commit(charge_id)
    assert ledger.committed("government", "2026-10", "a") == charge_id
    with pytest.raises(AlreadyCharged):
        charge(ledger, "a")
    ledger.write_off(charge_id)
    charge(ledger, "a")
    assert ledger.spent("government", year=2026).epsilon == 0.2


def test_delta_must_be_allowed_expressly(ledger: PrivacyLedger) -> None:
    with pytest.raises(BudgetExceeded, match="delta"):
        charge(ledger, "a", delta=1e-9)
    charge(ledger, "a", delta=1e-9, delta_limit_per_release=1e-9, delta_limit_per_year=1e-9)
    assert ledger.spent("government").delta == 1e-9


@pytest.mark.parametrize("epsilon", [-0.1, float("nan"), float("inf")])
def test_nonsense_costs_are_refused(ledger: PrivacyLedger, epsilon: float) -> None:
    """A negative charge would refill the budget."""
    with pytest.raises(ValueError, match="not negative"):
        charge(ledger, "a", epsilon)


def test_reading_makes_no_ledger(ledger: PrivacyLedger) -> None:
    assert ledger.balance() == []
    assert ledger.child_releases("government") == []
    assert not ledger.database.parent.exists()


def test_a_foreign_file_is_refused(ledger: PrivacyLedger) -> None:
    ledger.database.parent.mkdir()
    ledger.database.write_bytes(b"this is no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(LedgerError, match="not a privacy ledger"):
        charge(ledger, "a")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40), st.booleans()), max_size=12))
def test_sums_never_pass_the_limits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]]
) -> None:
    ledger = PrivacyLedger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    for name, hundredths, is_committed in steps:
        try:
            charge_id = charge(ledger, name, hundredths / 100)
        except (BudgetExceeded, AlreadyCharged):
            continue
        if is_committed:
            ledger.commit(charge_id)
    assert ledger.spent("government", release="2026-10").epsilon <= 1.0
    assert ledger.spent("government", year=2026).epsilon <= 2.0


def test_eight_processes_never_overspend(ledger: PrivacyLedger, race: Callable[..., list[str]]) -> None:
    printed = race(
        "import sys; from pathlib import Path; from resources.ledger import PrivacyLedger, BudgetExceeded\n"
        "ledger, done = PrivacyLedger(Path(sys.argv[1])), 0\n"
        "for n in range(12):\n"
        "    name, limits = f'{sys.argv[2]}-{n}', {'limit_per_release': 5.0, 'limit_per_year': 5.0}\n"
        "    try: ledger.commit(ledger.charge('g', '2026-10', name, 'c', 0.1, **limits)); done += 1\n"
        "    except BudgetExceeded: pass\n"
        "print(done)",
        [(ledger.database, writer) for writer in range(8)],
    )
    assert sum(map(int, printed)) == 50
    assert ledger.spent("g").epsilon == 5.0


def test_a_kill_after_the_charge_costs_budget(ledger: PrivacyLedger, kill: Callable[..., None]) -> None:
    kill(
        "import sys; from pathlib import Path; from resources.ledger import PrivacyLedger\n"
        "ledger = PrivacyLedger(Path(sys.argv[1]))\n"
        "ledger.charge('g', '2026-10', 'a', 'c', 0.4, limit_per_release=1.0, limit_per_year=1.0); die()",
        ledger.database,
    )
    assert ledger.spent("g", year=2026).epsilon == 0.4
    assert ledger.committed("g", "2026-10", "a") is None


def remembered(*subjects: str, name: str = "c1") -> pl.DataFrame:
    return pl.DataFrame({"subject": subjects, "partition": [""] * len(subjects), "class": [name] * len(subjects)})


def test_who_was_in_which_class_is_remembered_with_the_release(ledger: PrivacyLedger) -> None:
    """Later releases are judged beside these rows: what is lost here, nobody is protected from."""
    assert ledger.child_classes("government", "child_summary").is_empty()
    assert ledger.register_child_release("government", "child_summary", "2026-10", "d1", 5, remembered("a", "b")) == 1
    assert ledger.register_child_release("government", "child_summary", "2026-10", "d1", 5, remembered("a", "b")) == 1
    ledger.register_child_release("government", "child_summary", "2026-11", "d2", 5, remembered("b", name="c2"))
    ledger.register_child_release("academia", "research_child", "2026-11", "d3", 10, remembered("z"))
    known = ledger.child_classes("government", "child_summary")
    assert known.select("release", "subject", "class").rows() == [
        ("2026-10", "a", "c1"),
        ("2026-10", "b", "c1"),
        ("2026-11", "b", "c2"),
    ]


def test_an_attempt_that_was_never_stored_is_forgotten(ledger: PrivacyLedger) -> None:
    """Registered and then killed: what the next attempt stores is what was published."""
    ledger.register_child_release("government", "child_summary", "2026-10", "d1", 5, remembered("a", "b"))
    ledger.register_child_release("government", "child_summary", "2026-10", "d2", 5, remembered("b", "c"))
    assert ledger.child_classes("government", "child_summary")["subject"].to_list() == ["b", "c"]


def test_an_erased_child_loses_its_name_and_still_counts(ledger: PrivacyLedger) -> None:
    """Whoever kept the release counts the erased child among the candidates of others; the ledger must, too."""
    for release in ("2026-10", "2026-11"):
        ledger.register_child_release("government", "child_summary", release, release, 5, remembered("a", "b"))
    assert ledger.erase_children("government", "child_summary", ["a", "unknown"]) == 2
    known = ledger.child_classes("government", "child_summary")
    assert "a" not in known["subject"]
    assert known.height == 4
    assert known["subject"].n_unique() == 2


def test_an_erasure_makes_a_new_revision_of_the_same_release(ledger: PrivacyLedger) -> None:
    """Erasure rewrites protected rows, so that their digest changes; the old one stays on record."""
    ledger.register_child_release("government", "child_summary", "2026-10", "d1", 5)
    assert ledger.register_child_release("government", "child_summary", "2026-10", "d2", 6) == 2
    assert [one.classes_digest for one in ledger.child_releases("government")] == ["d1", "d2"]


def test_amounts_are_whole_numbers_in_the_database(ledger: PrivacyLedger) -> None:
    charge(ledger, "a", 0.1)
    with sqlite3.connect(ledger.database) as connection:
        assert connection.execute("SELECT epsilon FROM charge").fetchone() == (100_000_000,)


def test_a_refused_first_charge_leaves_a_readable_ledger(tmp_path):
    """The tables were once made inside the first transaction, and gone when it was refused."""
    ledger = PrivacyLedger(tmp_path / "ledger.sqlite")
    with pytest.raises(BudgetExceeded):
        ledger.charge("media", "2026-10", "counts", "public", 3.0, limit_per_release=2.0, limit_per_year=26.0)
    assert ledger.spent("media", category="public", year=2026).epsilon == 0
    assert ledger.balance() == []


# ── older state ──────────────────────────────────────────────────────────────────────────


def test_a_ledger_that_does_not_know_a_stored_draw_pays_for_none(tmp_path: Path) -> None:
    """With a lost ledger the year's budget began anew, and with it a second draw of the same figures."""
    stored: list[StoredDraw] = []
    ledger = PrivacyLedger(tmp_path / "ledger.sqlite", lambda: stored)
    older = charge(ledger, "a")
    shutil.copy(ledger.database, tmp_path / "older.sqlite")
    stored += [
        StoredDraw("government", "2026-10", "a", older),
        StoredDraw("government", "2026-10", "b", charge(ledger, "b")),
    ]
    assert ledger.forgotten() == []
    charge(ledger, "c")

    for left, forgotten in (("older.sqlite", stored[1:]), ("lost.sqlite", stored)):
        other = PrivacyLedger(tmp_path / left, lambda: stored)
        assert other.forgotten() == forgotten
        for name in ("b", "new"):
            with pytest.raises(ForgetfulLedger, match="government/b of 2026-10"):
                charge(other, name)
        assert other.spent("government", year=2026).epsilon == (0.1 if left == "older.sqlite" else 0)


def test_a_draw_whose_charge_is_not_on_record_needs_some_charge(tmp_path: Path) -> None:
    """The lake's history is cut after a while; what is stored stays stored."""
    ledger = PrivacyLedger(tmp_path / "ledger.sqlite", lambda: [StoredDraw("government", "2026-10", "a", None)])
    with pytest.raises(ForgetfulLedger):
        charge(ledger, "b")
    charge(PrivacyLedger(ledger.database), "a")
    charge(ledger, "b")


def test_a_charge_of_another_statistic_does_not_count(tmp_path: Path) -> None:
    """A lost ledger counts from 1 again, so that its numbers are taken by others."""
    draw = StoredDraw("government", "2026-10", "a", 1)
    charge(PrivacyLedger(tmp_path / "ledger.sqlite"), "b")
    assert PrivacyLedger(tmp_path / "ledger.sqlite", lambda: [draw]).forgotten() == [draw]


def test_the_ledger_is_private(ledger: PrivacyLedger) -> None:
    """What was asked about whom, and when, is nobody else's business."""
    charge(ledger, "a")
    files = list(ledger.database.parent.iterdir())
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    ledger.database.chmod(0o644)
    charge(ledger, "b")
    assert ledger.database.stat().st_mode & 0o777 == 0o600
