"""The evidence assets show what is stored, and their checks fail when it is not as it must be."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from merajut_assets.compliance.assets import build_compliance_assets
from merajut_assets.compliance.certificates import ErasureReason, ErasureRegister
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.evidence import budgets, quality_trend, rows_of_erased
from merajut_assets.conformed.build import build_entity
from merajut_assets.conformed.quality_history import QUALITY_HISTORY, remember_quality
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
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
