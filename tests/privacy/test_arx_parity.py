"""The optimum must be ARX's optimum: same loss, same number of suppressed records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy import Policy, anonymise, assess_risk, verify
from merajut_assets.privacy.certificate import Table as CertifiedTable

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


def test_the_class_of_equal_counts_is_kept_by_entropy(adult: pl.DataFrame) -> None:
    """The reference rejects classes whose entropy is log l exactly, by a rounding error. Where nothing is left to
    generalise, that is the whole difference: the rows of these classes, and no other."""
    columns = CASES[0]["quasi_identifiers"]
    prefix = {name: {"prefix": [99]} for name in columns}
    policy = {"quasi_identifiers": prefix, "k": 5, "suppression_limit": 1.0}
    close = {**policy, "sensitive": {"occupation": {"l_diversity": {"kind": "entropy", "l": 3}}}}
    release = anonymise(adult, Policy.model_validate(close))
    assert release.frame is not None
    kept = release.frame.group_by(columns).agg(pl.col("occupation").value_counts().struct.field("count"))
    equal = [counts for counts in kept.get_column("count").to_list() if len(counts) == 3 and len(set(counts)) == 1]
    assert equal
    assert verify(release.frame, columns, ["occupation"])["entropy_l"]["occupation"] == pytest.approx(3)


def test_every_case_is_compared() -> None:
    """A filter that drops cases would make the comparison pass for nothing."""
    assert len(CASES) == 61
    assert {model.split("=")[0] for case in CASES for model in case["models"]} == set(KINDS)
    assert {case["metric"] for case in CASES} == {"loss", "aecs"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_optimum_equals_arx(adult: pl.DataFrame, case: dict[str, Any]) -> None:
    """The value is the reference's. Where other levels tie with the reference's, ours suppress no more, and its own
    levels cost and suppress what it says."""
    policy = policy_of(case)
    release = anonymise(adult, policy)
    assert release.frame is not None
    report = release.report
    assert report["metric_value"] == pytest.approx(case["value"], abs=1e-8)
    assert report["lattice_size"] == case["lattice_size"]
    if report["transformation"] == case["levels"]:
        assert (report["suppressed"], report["classes"]) == (case["suppressed"], case["classes"])
    else:
        assert report["suppressed"] <= case["suppressed"]
        table = CertifiedTable(adult, policy, None)
        tied = table.evaluate(table.parts()[0], tuple(case["levels"][name] for name in case["quasi_identifiers"]))
        assert tied is not None
        assert tied.value == pytest.approx(case["value"], abs=1e-8)
        assert (tied.suppressed, tied.classes) == (case["suppressed"], case["classes"])
    assert report["nodes_checked"] + report["nodes_pruned"] == report["lattice_size"]
    # The verifier, which knows nothing of the search, finds what was asked for.
    facts = verify(release.frame, case["quasi_identifiers"], list(policy.sensitive))
    assert facts["k"] >= policy.k
    assert facts["rows"] == len(adult) - report["suppressed"]
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
