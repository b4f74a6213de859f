"""What Dagster is given: loads without anything, is the graph that was agreed on, and says what it is.

The agreed graph is tests/snapshots/definitions.json. After a wanted change, write it anew and look at the
difference before committing it:

    python -m tests.test_definitions
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from merajut_assets.catalogue import PrivacyStep
from merajut_assets.compliance.asset_pages import COLUMN_ORIGINS
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN, PrivacyClass
from merajut_assets.definitions import build_defs
from merajut_assets.lineage.render import STYLES, without_colour
from merajut_assets.raw import landing

REPOSITORY = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).parent / "snapshots" / "definitions.json"
MOST_CHECKS = 150
LANDED = (DATA_ORIGIN, landing.FAILED_RULES, landing.UNPARSED, "source_time")
LAYERS = ("source", "raw", "conformed", "quarantine", "protected", "statistics", "warehouse", "mart", "published",
          "compliance")  # fmt: skip

# Run in a process of its own: no network, no HOME, an empty data directory that nothing may be written to.
HERMETIC = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError("loading definitions opened a socket")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
import builtins, io, os
opened = []
def audit(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        opened.append(str(arguments[0]))
    # A library asks the system's `file` about the interpreter; it writes nothing.
    if event == "subprocess.Popen" and arguments[0] != "file":
        opened.append("process " + str(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.remove", "sqlite3.connect"):
        opened.append(event + " " + str(arguments[0]))
sys.addaudithook(audit)
from merajut_assets.definitions import build_defs
graph = build_defs().resolve_asset_graph()
written = [name for name in opened if "__pycache__" not in name and name not in (os.devnull,)]
print(len(graph.get_all_asset_keys()), written)
assert not written, written
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return list(definitions.resolve_all_asset_specs())


def check_specs(definitions: dg.Definitions) -> Iterator[dg.AssetCheckSpec]:
    graph = definitions.resolve_asset_graph()
    for node in graph.assets_defs:
        yield from node.check_specs


def snapshot_of(definitions: dg.Definitions) -> dict[str, Any]:
    """Names only: what somebody would miss, or find to be too much."""
    repository = definitions.get_repository_def()
    specs = definitions.resolve_all_asset_specs()
    return {
        "assets": sorted(spec.key.to_user_string() for spec in specs),
        "dependencies": sum(len(list(spec.deps)) for spec in specs),
        "checks": sorted(f"{spec.asset_key.to_user_string()}: {spec.name}" for spec in check_specs(definitions)),
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {
            one.name: str(one.cron_schedule) for one in sorted(repository.schedule_defs, key=lambda s: s.name)
        },
        "sensors": sorted(one.name for one in repository.sensor_defs),
        "resources": sorted(definitions.resources or {}),
    }


# ── loading ──────────────────────────────────────────────────────────────────────────────


def test_loading_needs_no_network_no_home_and_writes_nothing(tmp_path):
    """A code location that calls home or makes keys at import cannot be deployed, reviewed or rolled back."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o500)
    result = subprocess.run(
        [sys.executable, "-B", "-c", HERMETIC],
        cwd=REPOSITORY,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path / "nowhere"), "MERAJUT_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout.split()[0]) > 150
    assert list(data.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


def test_the_graph_is_the_one_that_was_agreed_on(definitions):
    """A renamed asset loses its history, and a schedule that disappears is missed only when it is needed."""
    assert SNAPSHOT.exists(), "write it with: python -m tests.test_definitions"
    assert snapshot_of(definitions) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_there_are_few_enough_checks(definitions):
    """Each costs about 45 ms in every run."""
    assert 0 < len(list(check_specs(definitions))) <= MOST_CHECKS


# ── what assets say about themselves ─────────────────────────────────────────────────────


def test_every_asset_says_what_it_is(specs):
    """Compliance staff read the graph, not the code."""
    lacking = []
    for spec in specs:
        name = spec.key.to_user_string()
        if not without_colour(spec.description or ""):
            lacking.append(f"{name}: description")
        if not spec.owners or not all(owner.startswith("team:") for owner in spec.owners):
            lacking.append(f"{name}: owner")
        if not spec.group_name or spec.group_name == "default":
            lacking.append(f"{name}: group")
        if not spec.kinds:
            lacking.append(f"{name}: kind")
        if spec.tags.get("sensitivity") not in list(PrivacyClass):
            lacking.append(f"{name}: sensitivity")
        elif spec.tags["sensitivity"] not in spec.kinds:
            lacking.append(f"{name}: sensitivity as a kind, by which the graph is filtered")
        elif not (spec.description or "").startswith(STYLES[PrivacyClass(spec.tags["sensitivity"])].square):
            lacking.append(f"{name}: the sensitivity's colour, with which the graph shows it")
        if spec.key.path[0] not in LAYERS:
            lacking.append(f"{name}: layer")
    assert lacking == []


def test_every_check_says_what_it_checks(definitions):
    """A red mark without a sentence is a riddle at three in the morning."""
    assert [spec.name for spec in check_specs(definitions) if not (spec.description or "").strip()] == []


def test_tables_show_their_columns_and_where_they_come_from(specs):
    """Column lineage from a mart to a source is the proof that the privacy layer lies between."""
    for spec in specs:
        layer, name = spec.key.path[0], spec.key.to_user_string()
        assert spec.metadata["dagster/column_schema"].columns, name
        if layer not in ("source", "compliance"):
            assert spec.metadata["dagster/column_lineage"].deps_by_column, name


def test_every_table_says_in_words_where_its_columns_come_from(specs):
    """Dagster's open-source UI draws no column lineage: without the words nobody reads it off a page."""
    for spec in specs:
        name, schema = spec.key.to_user_string(), spec.metadata["dagster/column_schema"]
        if spec.key.path[0] in ("source", "compliance"):  # where data begin, and what is about nobody
            continue
        rows = [line.split(" | ") for line in spec.metadata[COLUMN_ORIGINS].value.splitlines()[2:]]
        assert all(len(row) == 4 for row in rows), name
        told = {column for row in rows for column in row[0].removeprefix("| ").split(", ")}
        assert {column.name for column in schema.columns} <= told, name
        assert any("`" in row[2] for row in rows), f"{name}: no source column"


def test_whatever_is_stored_says_how_fresh_it_has_to_be(specs):
    """Quarantine and evidence that nobody renewed looked as good as new."""
    assert [
        spec.key.to_user_string() for spec in specs if spec.key.path[0] != "source" and spec.freshness_policy is None
    ] == []


def test_column_schemas_say_what_may_be_empty(specs):
    """A reader who trusts "not null" writes no case for the empty cell, and one who doubts it writes one too many."""
    shown = {spec.key: spec.metadata.get("dagster/column_schema") for spec in specs}
    for layer in ("raw", "conformed", "protected"):
        for contract in registry.tables(layer).values():
            schema = shown[dg.AssetKey(list(contract.asset_key))]
            nullable = {column.name: column.constraints.nullable for column in schema.columns}
            assert nullable == {name: spec.nullable for name, spec in contract.schema.columns.items()}, (
                contract.identifier
            )


def test_what_protects_data_says_how(specs):
    """The lineage proof follows `privacy_step`: a protected dataset without one would break the chain."""
    steps = {spec.key.to_user_string(): spec.metadata.get("privacy_step") for spec in specs}
    assert {step for step in steps.values() if step} <= {step.value for step in PrivacyStep}
    for contract in registry.tables("raw").values():
        if contract.subjects:
            assert steps["/".join(contract.asset_key)] == "pseudonymise"
    for name, step in steps.items():
        if name.startswith(("protected/", "statistics/")):
            assert step, name


def test_lineage_leads_to_columns_that_exist(specs):
    """A misspelt column in the lineage is a hole in the proof."""
    known = {
        spec.key: {column.name for column in spec.metadata["dagster/column_schema"].columns}
        for spec in specs
        if "dagster/column_schema" in spec.metadata
    }
    for contract in registry.tables("raw").values():
        # Landing keeps more beside the declared columns.
        known[dg.AssetKey(list(contract.asset_key))] |= {*landing.flag_sources(contract), *LANDED}
    for spec in specs:
        lineage = spec.metadata.get("dagster/column_lineage")
        for column, origins in lineage.deps_by_column.items() if lineage else ():
            for origin in origins:
                # The column `release` is the partition: it is added when a release is loaded.
                if origin.asset_key in known and origin.column_name != "release":
                    assert origin.column_name in known[origin.asset_key], f"{spec.key.to_user_string()}.{column}"


def test_no_mart_is_fed_by_raw_or_conformed(specs):
    """Everything that leaves goes through the privacy layer: the graph itself shows it."""
    allowed = {
        "warehouse": {"protected", "statistics", "warehouse", "mart"},
        "mart": {"protected", "statistics", "warehouse", "mart"},
        "published": {"mart"},
        "protected": {"conformed"},
    }
    for spec in specs:
        layer = spec.key.path[0]
        for dep in spec.deps:
            if layer in allowed:
                assert dep.asset_key.path[0] in allowed[layer], f"{spec.key.to_user_string()} <- {dep.asset_key}"


def test_every_contract_is_an_asset_and_the_other_way_round(specs):
    """Two-way drift: a table that is declared and not made, or made and not declared."""
    keys = {tuple(spec.key.path) for spec in specs}
    for layer in ("raw", "conformed", "protected"):
        declared = {contract.asset_key for contract in registry.tables(layer).values()}
        assert {key for key in keys if key[0] == layer} == declared


def test_overrides_replace_resources():
    """Tests load the real graph with other resources; a part that makes its own would escape them."""
    marker = dg.ResourceDefinition.hardcoded_resource("replaced")
    assert (build_defs({"lakehouse": marker}).resources or {})["lakehouse"] is marker


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(json.dumps(snapshot_of(build_defs()), indent=1) + "\n", encoding="utf-8")
