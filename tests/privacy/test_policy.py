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
        ({"search": "greedy"}, "search 'greedy'"),
        ({"metric": "ambiguity"}, "metric 'ambiguity'"),
        ({"delta_disclosure": 1.0}, "delta_disclosure"),
        ({"sensitive": {"s": {"delta_disclosure": 1.0}}}, "delta_disclosure"),
    ],
)
def test_what_is_not_available_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    """An ignored requirement would publish a table that its author believes to be protected."""
    with pytest.raises(PolicyError, match="not available") as caught:
        Policy.model_validate({**BASE, **change})
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"t_closeness": {"t": 0.2}}, "sensitive column"),
        ({"beta_likeness": 1.0}, "sensitive column"),
        ({"l_diversity": {"l": 2}}, "sensitive column"),
        ({"sensitive": {"s": {"k_map": {"k": 2}}}}, "whole policy"),
        ({"sensitive": {"s": {"delta_presence": {"max": 0.5}}}}, "whole policy"),
    ],
)
def test_a_requirement_in_the_wrong_place_is_refused(change: dict[str, Any], named: str) -> None:
    """Where it stands it would ask for nothing; the message says where it belongs."""
    with pytest.raises(PolicyError, match=named):
        Policy.model_validate({**BASE, **change})


def test_every_requirement_of_a_whole_policy_is_read(tmp_path: Path) -> None:
    """The form in which policies are written; paths count from the file."""
    (tmp_path / "p.yaml").write_text(
        """
        quasi_identifiers: {zip: {prefix: [4, 2, 0]}}
        sensitive:
          occupation:
            l_diversity: {kind: recursive, l: 3, c: 4}
            t_closeness: {kind: hierarchical, t: 0.2, hierarchy: occ.csv}
            beta_likeness: 1.0
          stage: {l_diversity: {kind: entropy, l: 2.5}, t_closeness: {kind: ordered, t: 0.1, order: [i, ii, iii]}}
        k: 5
        k_map: {k: 20, population: people.parquet}
        delta_presence: {min: 0.0, max: 0.8, population: people.parquet}
        suppression_limit: 0.02
        metric: aecs
        search: local
        """,
        encoding="utf-8",
    )
    policy = Policy.from_yaml(tmp_path / "p.yaml")
    occupation, stage = policy.sensitive["occupation"], policy.sensitive["stage"]
    assert occupation.l_diversity is not None
    assert (occupation.l_diversity.kind, occupation.l_diversity.l, occupation.l_diversity.c) == ("recursive", 3, 4)
    assert occupation.t_closeness is not None
    assert occupation.t_closeness.hierarchy == tmp_path / "occ.csv"
    assert stage.t_closeness is not None
    assert stage.t_closeness.order == ("i", "ii", "iii")
    assert policy.population == tmp_path / "people.parquet"
    assert policy.needs_population
    assert Policy.model_validate(policy.model_dump()) == policy


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0},
        {"suppression_limit": 1.5},
        {"suppression_limit": float("nan")},
        {"quasi_identifiers": {}},
        {"surprise": 1},
        {"history": []},
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
        {"sensitive": {"s": {"l_diversity": {"kind": "recursive", "l": 2}}}},
        {"sensitive": {"s": {"l_diversity": {"kind": "distinct", "l": 2, "c": 3}}}},
        {"sensitive": {"s": {"l_diversity": {"l": 2.5}}}},
        {"sensitive": {"s": {"t_closeness": {"t": 1.5}}}},
        {"sensitive": {"s": {"t_closeness": {"kind": "hierarchical", "t": 0.5}}}},
        {"sensitive": {"s": {"t_closeness": {"kind": "equal", "t": 0.5, "order": ["a", "b"]}}}},
        {"sensitive": {"s": {"t_closeness": {"kind": "ordered", "t": 0.5, "order": ["a", "a"]}}}},
        {"sensitive": {"s": {"t_closeness": {"kind": "ordered", "t": 0.5, "order": [1, "1"]}}}},
        {"sensitive": {"s": {"t_closeness": {"kind": "ordered", "t": 0.5, "order": [1, 1.0]}}}},
        {"sensitive": {"s": {"beta_likeness": 0}}},
        {"quasi_identifiers": {"zip": {"date": ["999999999999y"]}}},
        {"quasi_identifiers": {"zip": {"date": ["year", "5y\n"]}}},
        {"quasi_identifiers": {"": {"prefix": [2, 0]}}},
        {"exact": [""]},
        {"delta_presence": {"population": "a.parquet"}},
        {"delta_presence": {"min": 0.5, "max": 0.2}},
        {"k_map": {"k": 0}},
        {"k_map": {"k": 2, "population": "a.parquet"}, "delta_presence": {"population": "b.parquet"}},
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
