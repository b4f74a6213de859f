"""The evidence assets show what is stored, and their checks fail when it is not as it must be."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.compliance.assets import build_compliance_assets
from merajut_assets.compliance.certificates import ErasureReason, ErasureRegister
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.evidence import ALL, budgets, quality_trend, rows_of_erased
from merajut_assets.conformed.build import build_entity
from merajut_assets.conformed.quality_history import QUALITY_HISTORY, remember_quality
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.policies.stakeholder import epsilon_of_all_per_release, overall_policy
from resources.lakehouse import Lakehouse
from tests.compliance.small_lake import SmallLake


def _materialise(small: SmallLake, name: str) -> tuple[dict[str, Any], list[dg.AssetCheckEvaluation]]:
    """Metadata of one evidence asset, and what its checks said."""
    asset = next(asset for asset in build_compliance_assets() if asset.key.path[-1] == name)
    result = dg.materialize([asset], resources={"lakehouse": small.lakehouse}, raise_on_error=False)
    (made,) = [event.materialization for event in result.get_asset_materialization_events()]
    return {key: value.value for key, value in made.metadata.items()}, result.get_asset_check_evaluations()


def _passes(small: SmallLake, name: str) -> bool:
    _, (check,) = _materialise(small, name)
    return check.passed


def test_every_evidence_asset_is_described_and_owned() -> None:
    """Compliance staff find their way by these in the UI."""
    names = set()
    for asset in build_compliance_assets():
        (spec,) = asset.specs
        names.add("/".join(spec.key.path))
        assert spec.description
        assert spec.owners == ["team:compliance"]
        assert spec.group_name == "compliance"
        assert spec.kinds
        assert spec.tags["layer"] == "compliance"
        assert spec.tags["sensitivity"]
        schema = spec.metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns)
        assert all(check.blocking and check.description for check in asset.check_specs)
    assert names == {
        "compliance/quality_history",
        "compliance/audit_verification",
        "compliance/privacy_budget",
        "compliance/erasure_register",
        "compliance/processing_register",
    }


def test_an_untouched_installation_passes_every_check(small: SmallLake) -> None:
    """A check that never passes is switched off by somebody."""
    for name in ("audit_verification", "privacy_budget", "erasure_register"):
        assert _passes(small, name)


def test_the_trend_of_quality_says_how_the_score_moved(small: SmallLake) -> None:
    """One bad delivery shows only against the one before."""
    assert quality_trend(small.lakehouse).is_empty()
    remember_quality(small.lakehouse, build_entity(small.lakehouse, registry.entity("orphanage")))
    first = quality_trend(small.lakehouse).filter(quality_trend(small.lakehouse)["dimension"] == "score")
    assert first["change"].to_list() == [None]
    small.change("UPDATE orphanages SET accreditation = NULL, name = NULL, modified_at = '2026-11-05T00:00:00Z'")
    small.land_all()
    remember_quality(small.lakehouse, build_entity(small.lakehouse, registry.entity("orphanage")))
    trend = quality_trend(small.lakehouse)
    (change,) = trend.filter(trend["dimension"] == "completeness")["change"].to_list()
    assert change < 0
    metadata, checks = _materialise(small, "quality_history")
    assert "orphanage" in metadata["latest"]
    assert metadata["entities"] == 1
    assert checks == []
    assert small.lakehouse.lake.version(QUALITY_HISTORY) is not None


def test_a_tampered_audit_log_blocks(small: SmallLake) -> None:
    """Evidence that can be changed unseen is none."""
    path = small.lakehouse.settings.audit_log
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[4:]))
    metadata, (check,) = _materialise(small, "audit_verification")
    assert not check.passed
    assert metadata["first_broken_entry"] == 4


def test_spending_beyond_the_policy_blocks(small: SmallLake) -> None:
    """A policy made stricter after the fact, or a charge under other limits, must show."""
    small.lakehouse.ledger.charge(
        "government", "2026-10", "much", "demographics", 0.1, limit_per_release=9, limit_per_year=9
    )
    assert _passes(small, "privacy_budget")
    (state,) = [one for one in budgets(small.lakehouse, 2026) if one.category == "demographics"]
    assert (state.spent, state.left) == (pytest.approx(0.1), pytest.approx(state.limit - 0.1))
    small.lakehouse.ledger.charge(
        "government", "2026-10", "more", "demographics", 5.0, limit_per_release=9, limit_per_year=9
    )
    _, (check,) = _materialise(small, "privacy_budget")
    assert not check.passed
    assert check.metadata["exceeded"].value == "government demographics 2026"


def test_the_sum_over_all_stakeholders_is_stated_and_limited(small: SmallLake) -> None:
    """Recipients who put their figures together learn what the sum of ε allows, which was stated nowhere."""
    generous = {"limit_per_release": 500, "limit_per_year": 500}
    small.lakehouse.ledger.charge("government", "2026-10", "one", "public", 2.0, **generous)
    lost = small.lakehouse.ledger.charge("community", "2026-10", "two", "public", 2.0, **generous)
    small.lakehouse.ledger.write_off(lost)
    small.lakehouse.ledger.charge("media", "2026-09", "three", "public", 1.5, **generous)
    (together,) = [one for one in budgets(small.lakehouse, 2026) if one.stakeholder == ALL]
    assert (together.spent, together.largest_release) == (pytest.approx(5.5), pytest.approx(2.0))
    assert together.limit == overall_policy().epsilon_per_year
    assert together.limit_per_release == epsilon_of_all_per_release()
    metadata, (check,) = _materialise(small, "privacy_budget")
    assert check.passed
    assert "| all | all | 2026 | 5.5 | 96 | 90.5 | 2 |" in metadata["balance"]
    assert "76% of the counts are exactly true" in metadata["what_epsilon_means"]
    assert "Recipients who put all figures of a release together" in metadata["what_epsilon_means"]
    small.lakehouse.ledger.charge("media", "2026-08", "much", "public", 91.0, **generous)
    _, (check,) = _materialise(small, "privacy_budget")
    assert "all all 2026" in check.metadata["exceeded"].value


def test_a_charge_without_a_budget_is_beyond_it(small: SmallLake) -> None:
    """A category taken out of a policy has nothing left to spend."""
    small.lakehouse.ledger.charge("media", "2026-10", "odd", "unknown", 0.1, limit_per_release=9, limit_per_year=9)
    assert not _passes(small, "privacy_budget")


def test_an_unfinished_erasure_and_a_revived_person_block(small: SmallLake) -> None:
    """Either would make the certificate untrue."""
    before = small.lakehouse.lake.read("conformed/child")
    certificate = erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.GUARDIAN_REQUEST)
    assert _passes(small, "erasure_register")
    small.lakehouse.lake.overwrite("conformed/child", before)
    assert rows_of_erased(small.lakehouse) == {"conformed/child": 1}
    assert not _passes(small, "erasure_register")
    erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.GUARDIAN_REQUEST)
    assert _passes(small, "erasure_register")
    ErasureRegister(small.lakehouse.settings).write(type(certificate)(**{**certificate.__dict__, "completed_at": None}))
    assert not _passes(small, "erasure_register")


def test_a_vault_that_forgot_an_erasure_blocks(small: SmallLake) -> None:
    """The certificates would be untrue without anybody noticing."""
    erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.GUARDIAN_REQUEST)
    register = small.lakehouse.settings.tombstones
    register.write_text(f"{register.read_text()}child {'0' * 32}\n")
    small.lakehouse = Lakehouse(data_directory=str(small.directory))
    _, (check,) = _materialise(small, "erasure_register")
    assert not check.passed
    assert check.metadata["forgotten"].value == 1


def test_a_lost_ledger_blocks(small: SmallLake) -> None:
    """The budget would begin anew, and with it the figures that were bought."""
    figures = pl.DataFrame({"value": [1.0], "release": ["2026-10"]})
    table = "statistics/media/children_in_care"
    small.lakehouse.lake.overwrite(
        table, figures, partition={"release": "2026-10"}, facts={"release": "2026-10", "charge": 7}
    )
    _, (check,) = _materialise(small, "privacy_budget")
    assert not check.passed
    assert check.metadata["not_on_the_ledger"].value == "media/children_in_care of 2026-10"
