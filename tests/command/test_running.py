"""What `merajut run` says at its end: the sums of its table, and what it did not make."""

from __future__ import annotations

import io

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from merajut_assets.command.exits import PROBLEM
from merajut_assets.command.figures import closing_table, figures_of
from merajut_assets.command.running import Outcome, Problem, _show, outcome_of

COUNTS = st.integers(min_value=0, max_value=10**9)


def shown(outcomes: list[Outcome], unmade: list[str]) -> tuple[int, str]:
    out = io.StringIO()
    code = _show(Console(file=out, width=400), "2026-10", outcomes, [], unmade)
    return code, out.getvalue()


def test_a_refused_source_says_what_was_therefore_not_made() -> None:
    """The table ended with quarantine, and a reader took the release for made."""
    problems = [
        Problem("raw/hris/employees", "SourceError: hris.employees: the file is empty; export it again"),
        Problem("conformed/staff", "check quality failed", is_blocking=False),
    ]
    code, said = shown([Outcome("sync", "0" * 36, False, problems=problems)], ["release 2026-10", "evidence"])
    assert code == PROBLEM
    (line,) = [line for line in said.splitlines() if line.startswith("NOT MADE")]
    assert "release 2026-10 and evidence" in line
    assert "raw/hris/employees" in line
    assert "conformed/staff" not in line
    assert "run the same command again" in line


def test_nothing_is_said_to_be_missing_from_a_whole_run() -> None:
    code, said = shown([Outcome("sync", "0" * 36, True)], [])
    assert (code, "NOT MADE" in said) == (0, False)


@given(COUNTS, COUNTS, COUNTS)
def test_every_line_of_the_closing_table_adds_up(rows: int, refused: int, apart: int) -> None:
    """Rows that merge or are withheld were in no column, so that 16,771 came in and 16,770 were accounted for."""
    rows_in = rows + refused + apart
    for key, metadata in (
        (("raw", "a", "b"), {"rows_in_source": rows_in, "dagster/row_count": rows + refused, "refused_rows": refused}),
        (("conformed", "a"), {"rows_in": rows_in, "dagster/row_count": rows, "quarantined": refused}),
        (("protected", "a", "b"), {"rows_in": 1, "subjects": rows_in, "dagster/row_count": rows, "suppressed": 1}),
        (("protected", "a", "c"), {"rows_in": 1, "dagster/row_count": rows_in, "suppressed": apart}),
    ):
        one = figures_of(key, metadata, None)
        assert one.rows_in == (one.passed or 0) + (one.quarantined or 0) + (one.left_out or 0)
        assert one.left_out == (apart if key != ("protected", "a", "b") else apart + refused)


def test_an_open_dataset_leaves_nothing_out() -> None:
    one = figures_of(("protected", "a", "b"), {"rows_in": 900, "dagster/row_count": 30, "suppressed": 0}, None)
    assert (one.rows_in, one.passed, one.left_out) == (30, 30, 0)


def test_the_table_says_what_its_columns_mean() -> None:
    out = io.StringIO()
    Console(file=out, width=400).print(closing_table([], "Release"))
    assert "rows in = passed + quarantined + left out" in out.getvalue()


# ── what the events of a run are taken for ───────────────────────────────────────────────


def outcome_with(
    *, passed: bool, blocking: bool = True, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> Outcome:
    """Of a real run of an asset with a check, and of another asset behind it."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("privacy", asset="first", blocking=blocking)])
    def first() -> dg.MaterializeResult:
        verdict = {"violations": "k = 10 is not reached: the table has 1"}
        check = dg.AssetCheckResult(passed=passed, severity=severity, metadata=verdict)
        return dg.MaterializeResult(check_results=[check], metadata={"is_new_version": True})

    @dg.asset(deps=[first])
    def behind() -> None: ...

    done = dg.materialize([first, behind], raise_on_error=False)
    return outcome_of("release", done.run_id, done.success, done.all_events)


def test_a_failed_blocking_check_fails_the_command() -> None:
    """Whoever calls the command from a timetable has its exit code alone; and nothing behind the check is made."""
    outcome = outcome_with(passed=False)
    assert not outcome.is_good
    (problem,) = outcome.problems
    assert problem.is_blocking
    assert (problem.place, problem.text) == (
        "first",
        "check privacy failed: k = 10 is not reached: the table has 1",
    )
    assert [one.key for one in outcome.figures] == [("first",)]
    assert outcome.progress.refuted == {dg.AssetKey("first")}
    code, said = shown([outcome], [])
    assert code == PROBLEM
    assert "FAILED  first: check privacy failed: k = 10 is not reached" in said
    assert "run the same command again" in said


def test_a_check_that_was_refuted_fails_the_command_even_if_the_run_went_on() -> None:
    """A run that is called a success in spite of a failed blocking check must not pass for one."""
    outcome = outcome_with(passed=False)
    outcome.succeeded = True
    assert shown([outcome], [])[0] == PROBLEM


@pytest.mark.parametrize(
    "options",
    [{"blocking": False}, {"severity": dg.AssetCheckSeverity.WARN}],
    ids=["not blocking", "a warning"],
)
def test_a_check_that_warns_is_told_and_fails_nothing(options) -> None:
    outcome = outcome_with(passed=False, **options)
    assert outcome.is_good
    assert [problem.is_blocking for problem in outcome.problems] == [False]
    assert len(outcome.figures) == 2
    code, said = shown([outcome], [])
    assert code == 0
    assert "warning first: check privacy failed" in said


def test_a_passed_check_is_no_problem() -> None:
    outcome = outcome_with(passed=True)
    assert (outcome.problems, outcome.is_good, outcome.changed) == ([], True, 1)
    assert shown([outcome], [])[0] == 0


def test_a_failed_step_fails_the_command_without_quoting_a_stranger() -> None:
    """The text of an exception that is not ours may hold a record."""

    @dg.asset
    def broken() -> None:
        raise ValueError("Sari Dewi, 3273014502120001")

    done = dg.materialize([broken], raise_on_error=False)
    outcome = outcome_of("sync", done.run_id, done.success, done.all_events)
    (problem,) = outcome.problems
    assert (problem.place, problem.is_blocking) == ("broken", True)
    code, said = shown([outcome], [])
    assert code == PROBLEM
    assert "ValueError" in said
    assert "Sari" not in said
