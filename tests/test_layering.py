"""Imports run downward only.

What may import what is data below; a new part of the code must be entered there first. The incident
this prevents: privacy code that quietly depends on storage can no longer be judged, or used, by itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("merajut_assets", "resources", "partitions")

# In the order in which data flows. A layer may use one that its data have passed before: conformed reads
# what raw has encrypted, statistics apply protected's consent filter, an erasure reaches them all.
_LAYERS = ("raw", "conformed", "protected", "statistics", "lineage", "marts", "compliance")
_UPSTREAM = {
    "conformed": {"raw"},
    "statistics": {"protected"},
    "marts": {"lineage", "protected", "statistics"},
    "compliance": {"raw", "conformed", "protected", "statistics", "lineage", "marts"},
}
_BELOW_THE_LAYERS = {"privacy", "contracts", "policies", "sources", "resources", "partitions", "catalogue", "failures"}

# Part → the other parts of ours that it may import. Parts are the folders (and single modules) of
# merajut_assets, and the packages beside it.
ALLOWED: dict[str, set[str]] = {
    "privacy": set(),
    "contracts": set(),
    "partitions": set(),
    "policies": {"contracts", "privacy"},
    "sources": {"contracts", "privacy", "resources", "partitions"},
    "resources": {"contracts", "privacy", "policies", "sources", "partitions"},
    "catalogue": {"contracts", "privacy"},
    "failures": set(),
    **{layer: _BELOW_THE_LAYERS | _UPSTREAM.get(layer, set()) for layer in _LAYERS},
    # What Python does on the way is read off the code that does it; nothing here runs on data.
    "lineage": {"contracts", "policies", "privacy", "sources", "raw", "conformed", "protected", "statistics"},
    # Jobs name layers by their keys; importing them would tie the calendar to every asset.
    "automation": {"partitions", "resources", "contracts", "failures", "lineage"},
    # The places that put the parts together: what Dagster loads, and the command with its folder.
    "definitions": {*_BELOW_THE_LAYERS, *_LAYERS, "lineage", "automation"},
    "command": {*_BELOW_THE_LAYERS, *_LAYERS, "lineage", "automation", "definitions"},
    "cli": {*_BELOW_THE_LAYERS, *_LAYERS, "lineage", "automation", "definitions", "command"},
}

# Parts that must be usable without Dagster: they are what a reviewer of the privacy claims reads.
WITHOUT_DAGSTER = {"privacy", "contracts", "policies", "sources", "lineage"}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def part_of(dotted: str) -> str | None:
    """The part that a dotted module name belongs to; None for modules that are not ours."""
    first, _, rest = dotted.partition(".")
    if first == "merajut_assets":
        return rest.split(".")[0] or None
    return first if first in PACKAGES else None


def imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names of everything imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            # `from merajut_assets import privacy` names the part in its second half only.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def dotted_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    module = dotted_name(path) + (".__init__" if path.name == "__init__.py" else "")
    return set(imported(ast.parse(path.read_text(encoding="utf-8")), module))


@pytest.mark.parametrize("path", modules(), ids=dotted_name)
def test_module_imports_only_what_lies_below(path: Path) -> None:
    """One upward import makes a circle sooner or later, and a part that cannot be read alone at once."""
    own = part_of(dotted_name(path))
    if own is None:
        assert not {part_of(name) for name in imports_of(path)} - {None}, "merajut_assets/__init__ must import nothing"
        return
    assert own in ALLOWED, f"{own} is a new part: enter what it may import into ALLOWED"
    used = {part for name in imports_of(path) if (part := part_of(name)) is not None} - {own}
    assert used <= ALLOWED[own], f"{dotted_name(path)} must not import {sorted(used - ALLOWED[own])}"
    if own in WITHOUT_DAGSTER:
        foreign = {name for name in imports_of(path) if name.split(".")[0].startswith("dagster")}
        assert not foreign, f"{dotted_name(path)} must not need Dagster"


@pytest.mark.parametrize("path", modules(), ids=dotted_name)
def test_no_private_module_of_dagster_is_imported(path: Path) -> None:
    """Dagster's inner modules change without notice; an update would break us in places nobody expects."""
    private = {name for name in imports_of(path) if name.startswith("dagster") and "._" in name}
    assert not private


def test_allowed_graph_has_no_upward_edges() -> None:
    """The graph itself must not allow privacy or contracts anything, nor a layer one that comes after it."""
    assert ALLOWED["privacy"] == ALLOWED["contracts"] == set()
    for place, layer in enumerate(_LAYERS):
        assert ALLOWED[layer].isdisjoint({*_LAYERS[place:], "automation", "definitions", "command", "cli"})


def test_check_sees_every_form_of_import() -> None:
    """A check that misses one form of import is worse than none."""
    code = "import resources.lake\nfrom merajut_assets import raw\ndef f():\n    from ..conformed.child import x\n"
    found = {part_of(name) for name in imported(ast.parse(code), "merajut_assets.privacy.risk")}
    assert found == {"resources", "raw", "conformed"}
