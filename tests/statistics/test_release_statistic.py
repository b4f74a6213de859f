"""Paying for figures, drawing them once, and what a crash in between loses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.levels import protection_levels
from merajut_assets.policies.stakeholder import (
    Overall,
    epsilon_of_all_per_release,
    overall_policy,
    stakeholder_policies,
)
from merajut_assets.protected import origins
from merajut_assets.protected.release import RELEASE as RELEASE_COLUMN
from merajut_assets.protected.release import read_release, table_of
from merajut_assets.statistics.assets import build_statistics_assets
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.store import examine_stored, release_statistic
from resources.lake import Lake, TableSchemaError
from resources.lakehouse import Lakehouse
from resources.ledger import BudgetExceeded, ForgetfulLedger, PrivacyLedger
from tests import evolved
from tests.protected.conformed_world import RELEASE, store, withdrawn

STAKEHOLDER, NAME = "government", "child_count_by_regency"
POLICY = stakeholder_policies()[STAKEHOLDER]
CATEGORY = POLICY.statistics[NAME].category
EPSILON = POLICY.epsilon(NAME)
CONTRACT = statistic_contract(STAKEHOLDER, NAME)
TABLE = table_of(CONTRACT)


class _Crash(RuntimeError):
    """Stands for a process that died."""


def _crash(*_: object, **__: object) -> None:
    raise _Crash


def _spent_in_year(lakehouse: Lakehouse) -> float:
    return lakehouse.ledger.spent(STAKEHOLDER, category=CATEGORY, year=int(RELEASE[:4])).epsilon


def _rows(lakehouse: Lakehouse) -> pl.DataFrame:
    return read_release(lakehouse, CONTRACT, RELEASE, "test")


@pytest.fixture
def crashed_at(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Release the statistic with a process that dies in a method of a class."""

    def crash(owner: type, method: str) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, _crash)
            with pytest.raises(_Crash):
                release_statistic(lakehouse, POLICY, NAME, RELEASE)

    return crash


def test_a_rerun_gives_the_same_figures_and_spends_nothing(
    lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]
) -> None:
    """Drawing again would average the noise away; newer data do not change a release."""
    first = release_statistic(lakehouse, POLICY, NAME, RELEASE)
    figures, spent = _rows(lakehouse), _spent_in_year(lakehouse)
    store(lakehouse, withdrawn(entities, "child", "child0000", "statistics"))
    again = release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert _rows(lakehouse).equals(figures)
    assert _spent_in_year(lakehouse) == spent == pytest.approx(EPSILON)


def test_the_charge_is_booked_before_noise_is_drawn(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that was drawn may have been seen, so that it has to be paid for by then."""
    seen: list[float] = []

    def spy(*arguments: object, **options: object) -> None:
        seen.append(_spent_in_year(lakehouse))
        raise _Crash

    monkeypatch.setattr("merajut_assets.statistics.store.draw", spy)
    with pytest.raises(_Crash):
        release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert seen == [pytest.approx(EPSILON)]


def test_a_crash_between_charge_and_store_loses_budget_and_a_rerun_completes(
    lakehouse: Lakehouse, crashed_at: Callable[[type, str], None]
) -> None:
    """What was drawn and lost is paid for all the same; the year's limit leaves room for one such loss."""
    crashed_at(Lake, "overwrite")
    assert lakehouse.lake.version(TABLE) is None
    assert release_statistic(lakehouse, POLICY, NAME, RELEASE)["is_new"]
    assert examine_stored(lakehouse, POLICY, NAME, RELEASE).is_safe
    assert _spent_in_year(lakehouse) == pytest.approx(2 * EPSILON)


def test_a_crash_between_store_and_commit_is_made_good_without_a_new_draw(
    lakehouse: Lakehouse, crashed_at: Callable[[type, str], None]
) -> None:
    """The figures are there and paid for: only the ledger does not know yet."""
    crashed_at(PrivacyLedger, "commit")
    figures = _rows(lakehouse)
    assert "no committed charge pays for the figures" in examine_stored(lakehouse, POLICY, NAME, RELEASE).violations
    assert not release_statistic(lakehouse, POLICY, NAME, RELEASE)["is_new"]
    assert _rows(lakehouse).equals(figures)
    assert examine_stored(lakehouse, POLICY, NAME, RELEASE).is_safe
    assert _spent_in_year(lakehouse) == pytest.approx(EPSILON)


def test_delta_is_stated_and_held_against_the_level(lakehouse: Lakehouse) -> None:
    """δ stood in the protection levels and was read nowhere: noise that holds but for a share of cases would have
    passed for noise that always holds."""
    assert release_statistic(lakehouse, POLICY, NAME, RELEASE)["delta"] == 0
    evidence = examine_stored(lakehouse, POLICY, NAME, RELEASE)
    limit = protection_levels().levels[POLICY.protection_level].delta
    assert (evidence.facts["delta_of_release"], evidence.facts["delta_limit"]) == (0, limit)
    assert evidence.is_safe
    much = {
        "limit_per_release": 1.0,
        "limit_per_year": 1.0,
        "delta_limit_per_release": 1.0,
        "delta_limit_per_year": 1.0,
    }
    lakehouse.ledger.charge(STAKEHOLDER, RELEASE, "approximate", "research", 0.01, 2 * limit, **much)
    violations = examine_stored(lakehouse, POLICY, NAME, RELEASE).violations
    assert any(violation.startswith("δ of the release is") for violation in violations)


def test_an_exhausted_budget_is_a_clear_refusal(lakehouse: Lakehouse) -> None:
    """Nothing is drawn or stored, the refusal names what was exceeded, and it is on record."""
    year = POLICY.budget[CATEGORY].epsilon_per_year
    limits = {"limit_per_release": year, "limit_per_year": year}
    lakehouse.ledger.charge(STAKEHOLDER, "2026-01", "earlier releases", CATEGORY, year, **limits)
    with pytest.raises(BudgetExceeded, match=f"government, category {CATEGORY}"):
        release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) is None
    assert _spent_in_year(lakehouse) == pytest.approx(year)
    events = [entry["event"] for entry in lakehouse.audit.entries()]
    assert [event for event in events if event != "decryption"] == ["refusal"]


def test_all_statistics_of_a_release_fit_the_budgets(lakehouse: Lakehouse) -> None:
    """The declared shares must be payable together, or the second statistic of a category fails each month."""
    for policy in stakeholder_policies().values():
        for name in policy.statistics:
            assert release_statistic(lakehouse, policy, name, RELEASE)["is_new"]


def test_the_limit_over_all_stakeholders_is_refused_before_noise_is_drawn(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each budget held, and nobody had added up what recipients who collude learn about one child."""
    monkeypatch.setattr("merajut_assets.statistics.store.overall_policy", lambda: Overall(epsilon_per_year=EPSILON + 1))
    others = {"limit_per_release": 9.0, "limit_per_year": 9.0}
    lost = lakehouse.ledger.charge("media", "2026-01", "lost draw", "public", 0.5, **others)
    lakehouse.ledger.write_off(lost)
    lakehouse.ledger.charge("academia", "2026-02", "earlier release", "research", 0.75, **others)
    monkeypatch.setattr("merajut_assets.statistics.store.draw", _crash)
    with pytest.raises(BudgetExceeded, match="all stakeholders together, government"):
        release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) is None
    assert _spent_in_year(lakehouse) == 0
    assert [entry["event"] for entry in lakehouse.audit.entries() if entry["event"] != "decryption"] == ["refusal"]
    # Another year has another limit: only drawing stops this one.
    with pytest.raises(_Crash):
        release_statistic(lakehouse, POLICY, NAME, "2027-01")


def test_the_sum_over_all_stakeholders_is_said_beside_the_figures(lakehouse: Lakehouse) -> None:
    """What one child's ε is to recipients who put their figures together; after a whole release, what is declared."""
    for policy in stakeholder_policies().values():
        for name in policy.statistics:
            facts = release_statistic(lakehouse, policy, name, RELEASE)
    assert facts["epsilon_of_all_stakeholders_in_release"] == pytest.approx(epsilon_of_all_per_release())
    assert facts["epsilon_of_all_stakeholders_in_year"] == pytest.approx(epsilon_of_all_per_release())
    assert facts["epsilon_limit_of_all_stakeholders_in_year"] == overall_policy().epsilon_per_year
    assert set(_rows(lakehouse)["epsilon_all_stakeholders"]) == {epsilon_of_all_per_release()}
    assert "factor of" in str(facts["meaning"])


def _drop_a_cell(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.slice(1)


def _understate_noise(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("noise_scale") / 2)


def _show_withheld(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(3.0).alias("value"), pl.lit(True).alias("is_withheld"), pl.lit(0.9).alias("expected_relative_error")
    )


def _show_marked(rows: pl.DataFrame) -> pl.DataFrame:
    return _show_withheld(rows).with_columns(pl.lit(0.1).alias("expected_relative_error"))


def _show_useless(rows: pl.DataFrame) -> pl.DataFrame:
    return _show_withheld(rows).with_columns(pl.lit(False).alias("is_withheld"))


def _add_column(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit(1).alias("true_count"))


def _private_cell(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows.head(1).with_columns(pl.lit("99.99").alias("regency_code"))])


@pytest.mark.parametrize(
    "plant", [_drop_a_cell, _understate_noise, _show_marked, _show_useless, _add_column, _private_cell]
)
def test_what_is_planted_in_the_stored_figures_turns_the_check_red(
    lakehouse: Lakehouse, plant: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """The check reads what is stored and judges it by the policy, not by what the asset said."""
    key = dg.AssetKey(["statistics", STAKEHOLDER, NAME])
    checks = dg.AssetSelection.checks_for_assets(key)
    definitions = dg.Definitions(
        assets=build_statistics_assets(),
        resources={"lakehouse": lakehouse},
        jobs=[
            dg.define_asset_job("build", dg.AssetSelection.assets(key) | checks),
            dg.define_asset_job("check", checks),
        ],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"dagster/partition": RELEASE}
        built = definitions.resolve_job_def("build").execute_in_process(instance=instance, tags=tags)
        assert [evaluation.passed for evaluation in built.get_asset_check_evaluations()] == [True]
        (said,) = built.asset_materializations_for_node(f"statistics__{STAKEHOLDER}__{NAME}")
        assert said.metadata["privacy_step"].value == "dp_release"
        lakehouse.lake.overwrite(TABLE, plant(_rows(lakehouse)), partition={RELEASE_COLUMN: RELEASE})
        checked = definitions.resolve_job_def("check").execute_in_process(
            instance=instance, tags=tags, raise_on_error=False
        )
    (evaluation,) = checked.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.blocking


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "older"])
def test_a_lost_or_older_ledger_allows_no_second_draw(lakehouse: Lakehouse, is_lost: bool) -> None:
    """Such a ledger has budget left for what was bought already; two draws average the noise away. Neither the
    stored figures are drawn again nor new ones bought, and the refusal is on record."""
    ledger = lakehouse.settings.ledger
    others = [name for name in POLICY.statistics if name != NAME]
    release_statistic(lakehouse, POLICY, others[0], RELEASE)
    backup = ledger.read_bytes()
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    figures = _rows(lakehouse)
    ledger.unlink() if is_lost else ledger.write_bytes(backup)
    for policy, name, release in ((POLICY, NAME, RELEASE), (POLICY, others[0], "2026-10")):
        with pytest.raises(ForgetfulLedger, match=f"{STAKEHOLDER}/{NAME} of {RELEASE}"):
            release_statistic(lakehouse, policy, name, release)
    assert _rows(lakehouse).equals(figures)
    assert [entry["facts"]["reason"] for entry in lakehouse.audit.entries() if entry["event"] == "refusal"] == [
        "ForgetfulLedger"
    ] * 2


# ── a contract that has changed ──────────────────────────────────────────────────────────

NEXT_RELEASE = "2026-10"


def _declare(monkeypatch: pytest.MonkeyPatch, contract: TableContract) -> None:
    """Let the statistic have a changed contract, and code that knows its new column."""

    def with_origins(frame: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return evolved.noted(origins.with_origins(frame, *rest), contract)

    monkeypatch.setattr("merajut_assets.statistics.store.statistic_contract", lambda *_: contract)
    monkeypatch.setattr("merajut_assets.statistics.store.with_origins", with_origins)


@pytest.mark.parametrize("nullable", [True, False])
def test_the_next_release_has_a_column_that_was_declared_since(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, nullable: bool
) -> None:
    """Every statistic of a data directory from before `data_origin` was declared failed when it was written, for good,
    and took the budget of each attempt with it. Earlier releases do not bind the shape of the next one."""
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    contract = evolved.gaining(CONTRACT, nullable=nullable)
    _declare(monkeypatch, contract)
    assert release_statistic(lakehouse, POLICY, NAME, NEXT_RELEASE)["is_new"]
    noted = lakehouse.lake.read(TABLE).group_by(RELEASE_COLUMN).agg(pl.col(evolved.NOTE).unique())
    assert dict(noted.iter_rows()) == {RELEASE: [None], NEXT_RELEASE: [evolved.TEXT]}
    assert examine_stored(lakehouse, POLICY, NAME, NEXT_RELEASE).is_safe
    assert _spent_in_year(lakehouse) == pytest.approx(2 * EPSILON)


def test_stored_figures_take_on_a_column_that_may_be_empty_and_cost_nothing(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mart that was added later needs an earlier release in the declared columns; a second draw would average the
    noise away."""
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    figures = _rows(lakehouse)
    _declare(monkeypatch, evolved.gaining(CONTRACT))
    assert not release_statistic(lakehouse, POLICY, NAME, RELEASE)["is_new"]
    stored = lakehouse.lake.read(TABLE).drop(RELEASE_COLUMN)
    assert stored[evolved.NOTE].null_count() == stored.height
    assert stored.select(figures.columns).equals(figures)
    assert examine_stored(lakehouse, POLICY, NAME, RELEASE).is_safe
    version = lakehouse.lake.version(TABLE)
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) == version
    assert _spent_in_year(lakehouse) == pytest.approx(EPSILON)


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        (evolved.losing(CONTRACT, "interval_low"), "missing interval_low"),
        (evolved.retyping(CONTRACT, "measure", pl.Int64), "retyped measure"),
    ],
)
def test_figures_that_will_not_fit_are_refused_before_they_are_paid_for(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, contract: TableContract, told: str
) -> None:
    """The charge was booked, then the write was refused, and each further attempt cost as much again."""
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    before = lakehouse.ledger.balance()
    _declare(monkeypatch, contract)
    with pytest.raises(TableSchemaError, match=f"columns of {TABLE} changed .{told}.*contract"):
        release_statistic(lakehouse, POLICY, NAME, NEXT_RELEASE)
    assert lakehouse.ledger.balance() == before


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        (evolved.gaining(CONTRACT, nullable=False), f"without {evolved.NOTE}"),
        (evolved.losing(CONTRACT, "interval_low"), "with interval_low"),
        (evolved.retyping(CONTRACT, "measure", pl.Int64), "with another type of measure"),
    ],
)
def test_a_stored_release_that_does_not_fit_the_contract_says_so(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, contract: TableContract, told: str
) -> None:
    """It is not drawn again to fit, and what rests on it is told what is wrong."""
    release_statistic(lakehouse, POLICY, NAME, RELEASE)
    version = lakehouse.lake.version(TABLE)
    _declare(monkeypatch, contract)
    with pytest.raises(TableSchemaError, match=f"{TABLE}, release {RELEASE}: stored {told}.*newer release"):
        release_statistic(lakehouse, POLICY, NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) == version
    assert _spent_in_year(lakehouse) == pytest.approx(EPSILON)
