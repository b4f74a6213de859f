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
KINDS = ("k", "ld", "lr", "te", "th")


@pytest.fixture(scope="module")
def adult() -> pl.DataFrame:
    return pl.read_csv(ADULT / "adult.csv.gz", separator=";")


def requirement_of(model: str, number: str, sensitive: str) -> dict[str, Any]:
    if model == "ld":
        return {"l_diversity": {"l": int(number)}}
    if model == "lr":
        c, least = number.split(":")
        return {"l_diversity": {"kind": "recursive", "c": float(c), "l": int(least)}}
    if model == "te":
        return {"t_closeness": {"t": float(number)}}
    hierarchy = ADULT / f"adult_hierarchy_{sensitive}.csv"
    return {"t_closeness": {"kind": "hierarchical", "t": float(number), "hierarchy": hierarchy}}


def policy_of(case: dict[str, Any]) -> Policy:
    models = dict(model.split("=") for model in case["models"])
    sensitive: dict[str, Any] = {}
    for model, number in models.items():
        if model != "k":
            sensitive.setdefault(case["sensitive"], {}).update(requirement_of(model, number, case["sensitive"]))
    return Policy.model_validate(
        {
            "quasi_identifiers": {
                name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in case["quasi_identifiers"]
            },
            "sensitive": sensitive,
            "k": int(models["k"]),
            "suppression_limit": case["suppression_limit"],
            "metric": case["metric"],
        }
    )


def test_every_case_is_compared() -> None:
    """A filter that drops cases would make the comparison pass for nothing."""
    assert len(CASES) == 61
    assert {model.split("=")[0] for case in CASES for model in case["models"]} == set(KINDS)
    assert {case["metric"] for case in CASES} == {"loss", "aecs"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_optimum_equals_arx(adult: pl.DataFrame, case: dict[str, Any]) -> None:
    """Transformations may tie; value, suppression and number of classes may not differ."""
    policy = policy_of(case)
    release = anonymise(adult, policy)
    assert release.frame is not None
    report = release.report
    assert report["metric_value"] == pytest.approx(case["value"], abs=1e-8)
    assert report["suppressed"] == case["suppressed"]
    assert report["lattice_size"] == case["lattice_size"]
    assert report["classes"] == case["classes"]
    assert report["nodes_checked"] + report["nodes_pruned"] == report["lattice_size"]
    # The verifier, which knows nothing of the search, finds what was asked for.
    facts = verify(release.frame, case["quasi_identifiers"], list(policy.sensitive))
    assert facts["k"] >= policy.k
    assert facts["rows"] == len(adult) - case["suppressed"]
    assert (facts["k"], facts["classes"]) == (report["min_class"], report["classes"])
    for name, spec in policy.sensitive.items():
        if spec.l_diversity is not None and spec.l_diversity.kind == "distinct":
            assert facts["l"][name] >= spec.l_diversity.l


def test_prosecutor_risk_of_the_raw_table(adult: pl.DataFrame) -> None:
    """The published reference figures of the raw table with eight quasi-identifiers."""
    risk = assess_risk(adult, CASES[0]["quasi_identifiers"])
    assert risk["classes"] == 12_458
    assert risk["prosecutor"]["average"] == pytest.approx(0.41304, abs=5e-6)
    assert risk["prosecutor"]["share_above_threshold"] == pytest.approx(0.50902, abs=5e-6)
    assert risk["sample_unique_share"] == pytest.approx(0.29312, abs=5e-6)
