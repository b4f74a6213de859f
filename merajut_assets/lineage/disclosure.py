"""The dbt tests that a model's disclosure control rests on.

A model declares in its meta that it withholds figures about few people. Belongs here: which tests of a compiled
manifest show that it does, and for which columns. What a test finds is for whoever runs it; whether the SQL of those
columns can be judged by a test at all is `withholding`'s matter, and what follows for the proof, `sql`'s and
`protection`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merajut_assets.privacy.steps import PrivacyStep

TEST = "withheld_below"
_DECLARED = "privacy_step"
# A test of which any of these is set otherwise could pass whatever is in the table.
_AS_THEY_ARE = {"severity": "error", "where": None, "limit": None, "error_if": "!= 0", "fail_calc": "count(*)"}

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """The columns of a model that tests judge. `people`: numbers of people that are not below the least one;
    `figures`: what stands on such a number; `flags`: what says that a row shows none of them."""

    people: frozenset[str] = frozenset()
    figures: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        return self.people | self.figures | self.flags


def declared_step(model: Node) -> PrivacyStep | None:
    """The step that a model says it applies to its figures. Raises ValueError for one that nobody knows."""
    declared = model["config"]["meta"].get(_DECLARED)
    if declared and declared not in list(PrivacyStep):
        raise ValueError(f"model {model['name']}: its {_DECLARED} is none; choose one of {', '.join(PrivacyStep)}")
    return PrivacyStep(declared) if declared else None


def disclosure_tests(manifest: Mapping[str, Any]) -> dict[str, list[Node]]:
    """By model that declares disclosure control, its tests that show it; none where it has none that could fail."""
    found: dict[str, list[Node]] = {
        unique_id: []
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and declared_step(node) is PrivacyStep.DISCLOSURE_CONTROL
    }
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node") in found and _can_fail(node):
            found[node["attached_node"]].append(node)
    return found


def judged_by(tests: Iterable[Node]) -> Judged:
    """What tests judge. `tests`: of one model, as `disclosure_tests` tells them."""
    asked = [test["test_metadata"]["kwargs"] for test in tests]
    people = frozenset(one["column_name"] for one in asked if one.get("contributors") is None)
    believed = [one for one in asked if one.get("contributors", one["column_name"]) in people]
    return Judged(
        people,
        figures=frozenset(one["column_name"] for one in believed) - people,
        flags=frozenset(one["flag"] for one in believed),
    )


def _can_fail(test: Node) -> bool:
    metadata, config = test.get("test_metadata") or {}, test["config"]
    return (
        metadata.get("name") == TEST
        and metadata.get("namespace") is None  # the project's own, and no package's of the same name
        and "minimum" not in metadata["kwargs"]
        and {"column_name", "flag"} <= metadata["kwargs"].keys()
        and {name: str(config[name]).lower() if config.get(name) else None for name in _AS_THEY_ARE} == _AS_THEY_ARE
    )
