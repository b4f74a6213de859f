"""`merajut lineage` as people and CI use it: what it says, and with which exit code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from merajut_assets import cli
from merajut_assets.command.lineage import Format
from merajut_assets.marts.project import prepare_manifest
from resources.lakehouse import Lakehouse


@pytest.fixture(autouse=True)
def lakehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    prepare_manifest()
    monkeypatch.setenv("MERAJUT_DATA", str(tmp_path / "data"))
    return Lakehouse(data_directory=str(tmp_path / "data"))


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["lineage", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_proof_is_one_line(lakehouse) -> None:
    code, said, _ = invoke("prove")
    assert code == 0
    (line,) = said.splitlines()
    assert line.startswith("proved: ")
    assert "columns" in line
    assert "paths" in line
    assert "privacy steps (structure only, no release)" in line
    assert not lakehouse.settings.data_directory.exists(), "a question writes nothing"


def test_a_release_without_evidence_is_not_proved() -> None:
    code, said, _ = invoke("prove", "--release", "2026-10")
    assert code == 2
    assert said.startswith("not proved: 16 datasets without evidence;")
    assert "protected/academia/research_child: nothing of release 2026-10 is stored" in said
    code, said, _ = invoke("prove", "--release", "2026-10", "--json")
    assert code == 2
    assert json.loads(said)["unverified"]


def test_json_has_exact_numbers() -> None:
    code, said, _ = invoke("prove", "--json")
    facts = json.loads(said)
    assert code == 0
    assert facts["holds"] is True
    protecting = [step for step in facts["steps"] if not step["asset"].startswith("mart/")]
    assert int(facts["paths"]) == sum(int(step["paths"]) for step in protecting)
    # What a mart withholds was protected by a dataset before.
    withheld = [int(step["paths"]) for step in facts["steps"] if step not in protecting]
    assert withheld
    assert sum(withheld) < int(facts["paths"])


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (("prove", "--manifest", "nowhere.json"), "is not prepared"),
        (("prove", "--release", "October"), "a release is named after its month"),
        (("impact", "raw/panti/children"), "names no column"),
        (("impact", "raw/panti/children.shoe_size"), "no asset has a column"),
        (("show", "mart/media/nothing"), "there is no asset"),
    ],
)
def test_wrong_input_is_told_in_one_line(arguments, because) -> None:
    code, said, complaint = invoke(*arguments)
    assert code == 2
    assert said == ""
    assert because in complaint
    assert "Traceback" not in complaint


def test_impact_tells_what_a_change_reaches(lakehouse) -> None:
    """Everything that a change of one column reaches, and what is counted as people; who they are is read by nobody."""
    code, said, _ = invoke("impact", "raw/panti/children.birth_date")
    assert code == 0
    assert "published files: published/academia" in said
    assert "report pages: academia-research_dataset.html" in said
    assert "people of whom panti.children has rows, each counted once: child: not landed yet" in said
    assert not lakehouse.settings.audit_log.exists(), "nothing was decrypted"
    facts = json.loads(invoke("impact", "raw/panti/children.birth_date", "--json")[1])
    assert (facts["people"], facts["people_of"]) == ({"child": None}, ["panti.children"])
    assert "mart/academia/research_dataset.age_band" in facts["by_value"]
    assert "people: none has rows here" in invoke("impact", "raw/wilayah/provinces.name")[1]


def test_show_writes_each_format() -> None:
    mart = "mart/media/campaign_metrics"
    assert ET.fromstring(invoke("show", mart)[1]).tag.endswith("svg")
    assert invoke("show", mart, "--format", "mermaid")[1].startswith("flowchart LR")
    assert json.loads(invoke("show", mart, "--format", "json")[1])["asset"] == mart


def test_the_forms_of_the_command_are_those_there_are() -> None:
    assert [form.value for form in cli.Form] == [form.value for form in Format]
