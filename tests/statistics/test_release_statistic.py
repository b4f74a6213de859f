"""Paying for figures, drawing them once, and what a crash in between loses."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from merajut_assets.policies.stakeholder import StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.release import RELEASE as RELEASE_COLUMN
from merajut_assets.protected.release import read_release, table_of
from merajut_assets.statistics.assets import build_statistics_assets
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.store import examine_stored, release_statistic
from resources.lake import Lake
from resources.lakehouse import Lakehouse
from resources.ledger import BudgetExceeded, PrivacyLedger
from tests.protected.conformed_world import RELEASE, store, withdrawn

STAKEHOLDER, NAME = "government", "child_count_by_regency"
CONTRACT = statistic_contract(STAKEHOLDER, NAME)
TABLE = table_of(CONTRACT)


class _Crash(RuntimeError):
    """Stands for a process that died."""


def _crash(*_: object, **__: object) -> None:
    raise _Crash


def _policy() -> StakeholderPolicy:
    return stakeholder_policies()[STAKEHOLDER]


def _category() -> str:
    return _policy().statistics[NAME].category


def _spent_in_year(lakehouse: Lakehouse) -> float:
    return lakehouse.ledger.spent(STAKEHOLDER, category=_category(), year=int(RELEASE[:4])).epsilon


def _rows(lakehouse: Lakehouse) -> pl.DataFrame:
    return read_release(lakehouse.lake, CONTRACT, RELEASE)


def test_a_rerun_gives_the_same_figures_and_spends_nothing(
    lakehouse: Lakehouse, entities: dict[str, pl.DataFrame]
) -> None:
    """Drawing again would average the noise away; newer data do not change a release."""
    first = release_statistic(lakehouse, _policy(), NAME, RELEASE)
    figures, spent = _rows(lakehouse), _spent_in_year(lakehouse)
    store(lakehouse, withdrawn(entities, "child", "child0000", "statistics"))
    again = release_statistic(lakehouse, _policy(), NAME, RELEASE)
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert _rows(lakehouse).equals(figures)
    assert _spent_in_year(lakehouse) == spent == pytest.approx(_policy().epsilon(NAME))


def test_the_charge_is_booked_before_noise_is_drawn(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that was drawn may have been seen, so that it has to be paid for by then."""
    seen: list[float] = []

    def spy(*arguments: object, **options: object) -> None:
        seen.append(_spent_in_year(lakehouse))
        raise _Crash

    monkeypatch.setattr("merajut_assets.statistics.store.draw", spy)
    with pytest.raises(_Crash):
        release_statistic(lakehouse, _policy(), NAME, RELEASE)
    assert seen == [pytest.approx(_policy().epsilon(NAME))]


def test_a_crash_between_charge_and_store_loses_budget_and_a_rerun_completes(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was drawn and lost is paid for all the same; the year's limit leaves room for one such loss."""
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "overwrite", _crash)
        with pytest.raises(_Crash):
            release_statistic(lakehouse, _policy(), NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) is None
    assert release_statistic(lakehouse, _policy(), NAME, RELEASE)["is_new"]
    assert examine_stored(lakehouse, _policy(), NAME, RELEASE).is_safe
    assert _spent_in_year(lakehouse) == pytest.approx(2 * _policy().epsilon(NAME))


def test_a_crash_between_store_and_commit_is_made_good_without_a_new_draw(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are there and paid for: only the ledger does not know yet."""
    with monkeypatch.context() as patched:
        patched.setattr(PrivacyLedger, "commit", _crash)
        with pytest.raises(_Crash):
            release_statistic(lakehouse, _policy(), NAME, RELEASE)
    figures = _rows(lakehouse)
    assert "no committed charge pays for the figures" in examine_stored(lakehouse, _policy(), NAME, RELEASE).violations
    assert not release_statistic(lakehouse, _policy(), NAME, RELEASE)["is_new"]
    assert _rows(lakehouse).equals(figures)
    assert examine_stored(lakehouse, _policy(), NAME, RELEASE).is_safe
    assert _spent_in_year(lakehouse) == pytest.approx(_policy().epsilon(NAME))


def test_an_exhausted_budget_is_a_clear_refusal(lakehouse: Lakehouse) -> None:
    """Nothing is drawn or stored, the refusal names what was exceeded, and it is on record."""
    year = _policy().budget[_category()].epsilon_per_year
    limits = {"limit_per_release": year, "limit_per_year": year}
    lakehouse.ledger.charge(STAKEHOLDER, "2026-01", "earlier releases", _category(), year, **limits)
    with pytest.raises(BudgetExceeded, match=f"government, category {_category()}"):
        release_statistic(lakehouse, _policy(), NAME, RELEASE)
    assert lakehouse.lake.version(TABLE) is None
    assert _spent_in_year(lakehouse) == pytest.approx(year)
    events = [entry["event"] for entry in lakehouse.audit.entries()]
    assert [event for event in events if event != "decryption"] == ["refusal"]


def test_all_statistics_of_a_release_fit_the_budgets(lakehouse: Lakehouse) -> None:
    """The declared shares must be payable together, or the second statistic of a category fails each month."""
    for policy in stakeholder_policies().values():
        for name in policy.statistics:
            assert release_statistic(lakehouse, policy, name, RELEASE)["is_new"]


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
