"""The optimum must be ARX's optimum: same loss, same number of suppressed records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy import Policy, anonymise, assess_risk, verify

ADULT = Path(__file__).parents[2] / "data" / "benchmark" / "adult"
CASES = json.loads((ADULT / "arx_cases.json").read_text(encoding="utf-8"))["cases"]
SUPPORTED = [
    case
    for case in CASES
    if case["metric"] == "loss" and all(model.split("=")[0] in ("k", "ld") for model in case["models"])
]


@pytest.fixture(scope="module")
def adult() -> pl.DataFrame:
    return pl.read_csv(ADULT / "adult.csv.gz", separator=";")


def policy_of(case: dict[str, Any]) -> Policy:
    models = dict(model.split("=") for model in case["models"])
    sensitive = {case["sensitive"]: {"l_diversity": {"l": int(models["ld"])}}} if "ld" in models else {}
    return Policy.model_validate(
        {
            "quasi_identifiers": {
                name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in case["quasi_identifiers"]
            },
            "sensitive": sensitive,
            "k": int(models["k"]),
            "suppression_limit": case["suppression_limit"],
        }
    )


def test_enough_cases_are_compared() -> None:
    """A filter that drops every case would make the comparison pass for nothing."""
    assert len(SUPPORTED) >= 25
    assert any("ld=5" in case["models"] for case in SUPPORTED)


@pytest.mark.parametrize("case", SUPPORTED, ids=lambda case: str(case["id"]))
def test_optimum_equals_arx(adult: pl.DataFrame, case: dict[str, Any]) -> None:
    """Transformations may tie; loss and suppression may not differ. The verifier confirms the models."""
    policy = policy_of(case)
    release = anonymise(adult, policy)
    assert release.frame is not None
    assert release.report["loss"] == pytest.approx(case["value"], abs=1e-8)
    assert release.report["suppressed"] == case["suppressed"]
    assert release.report["lattice_size"] == case["lattice_size"]
    facts = verify(release.frame, case["quasi_identifiers"], list(policy.sensitive))
    assert facts["k"] >= policy.k
    assert facts["rows"] == len(adult) - case["suppressed"]
    assert (facts["k"], facts["classes"]) == (release.report["min_class"], release.report["classes"])
    for name, spec in policy.sensitive.items():
        assert spec.l_diversity is not None
        assert facts["l"][name] >= spec.l_diversity.l


def test_prosecutor_risk_of_the_raw_table(adult: pl.DataFrame) -> None:
    """The published reference figures of the raw table with eight quasi-identifiers."""
    risk = assess_risk(adult, SUPPORTED[0]["quasi_identifiers"])
    assert risk["classes"] == 12_458
    assert risk["prosecutor"]["average"] == pytest.approx(0.41304, abs=5e-6)
    assert risk["prosecutor"]["share_above_threshold"] == pytest.approx(0.50902, abs=5e-6)
    assert risk["sample_unique_share"] == pytest.approx(0.29312, abs=5e-6)
