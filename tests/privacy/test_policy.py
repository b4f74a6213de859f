"""A policy is a promise. What this version cannot keep must be refused, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merajut_assets.privacy import Policy, PolicyError

BASE: dict[str, Any] = {"quasi_identifiers": {"zip": {"prefix": [4, 2, 0]}}, "k": 5}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"search": "local"}, "search 'local'"),
        ({"metric": "entropy"}, "metric 'entropy'"),
        ({"delta_presence": {"max": 0.5}}, "delta_presence"),
        ({"k_map": 5}, "k_map"),
        ({"t_closeness": 0.2}, "t_closeness"),
        ({"sensitive": {"s": {"t_closeness": {"kind": "equal", "t": 0.2}}}}, "t_closeness"),
        ({"sensitive": {"s": {"beta_likeness": 1.0}}}, "beta_likeness"),
        ({"sensitive": {"s": {"l_diversity": {"kind": "entropy", "l": 2}}}}, "'entropy'"),
        ({"sensitive": {"s": {"l_diversity": {"kind": "recursive", "l": 2, "c": 4}}}}, "'recursive'"),
    ],
)
def test_what_is_not_available_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    """An ignored t-closeness would publish a table that its author believes to be t-close."""
    with pytest.raises(PolicyError, match="not available") as caught:
        Policy.model_validate({**BASE, **change})
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0},
        {"suppression_limit": 1.5},
        {"suppression_limit": float("nan")},
        {"quasi_identifiers": {}},
        {"surprise": 1},
        {"quasi_identifiers": {"zip": {}}},
        {"quasi_identifiers": {"zip": {"prefix": [2, 4]}}},
        {"quasi_identifiers": {"zip": {"prefix": [2, 0], "codes": "wilayah"}}},
        {"quasi_identifiers": {"zip": {"date": ["month", "fortnight"]}}},
        {"quasi_identifiers": {"zip": {"date": ["2y", "5y"]}}},
        {"quasi_identifiers": {"zip": {"date": ["year", "quarter"]}}},
        {"quasi_identifiers": {"zip": {"date": ["*", "year"]}}},
        {"quasi_identifiers": {"zip": {"intervals": [3, 1]}}},
        {"quasi_identifiers": {"zip": {"intervals": [1, 3], "then": [1]}}},
        {"quasi_identifiers": {"zip": {"prefix": [2, 0], "then": [2]}}},
        {"sensitive": {"zip": {"l_diversity": {"l": 2}}}},
        {"exact": ["zip"]},
        {"subject": "zip"},
    ],
)
def test_a_contradictory_policy_is_refused(change: dict[str, Any]) -> None:
    """A column with two roles, or levels that do not nest, has no defined release."""
    with pytest.raises(PolicyError):
        Policy.model_validate({**BASE, **change})


def test_hierarchy_paths_count_from_the_policy_file(tmp_path: Path) -> None:
    """A policy must mean the same from whatever directory the pipeline is started."""
    (tmp_path / "p.yaml").write_text("quasi_identifiers: {sex: {hierarchy: sex.csv}}\nk: 2\n", encoding="utf-8")
    policy = Policy.from_yaml(tmp_path / "p.yaml")
    assert policy.quasi_identifiers["sex"].hierarchy == tmp_path / "sex.csv"


@pytest.mark.parametrize("text", ["k: [", "- a\n- b\n", ""])
def test_a_file_that_holds_no_policy_is_a_policy_error(tmp_path: Path, text: str) -> None:
    """A broken file must not surface as a parser's traceback that quotes its content."""
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=r"broken\.yaml"):
        Policy.from_yaml(path)
    with pytest.raises(PolicyError, match=r"absent\.yaml"):
        Policy.from_yaml(tmp_path / "absent.yaml")


def test_least_level_is_also_read_as_from_level() -> None:
    """Both words are in use for the finest geographic level a stakeholder may see."""
    spec = {"region": {"codes": "wilayah", "from_level": 2}}
    assert Policy.model_validate({"quasi_identifiers": spec, "k": 2}).quasi_identifiers["region"].least_level == 2
