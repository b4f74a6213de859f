"""`merajut lineage` as people and CI use it: what it says, and with which exit code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from merajut_assets import cli, definitions
from merajut_assets.command import lineage
from merajut_assets.command.lineage import Format
from merajut_assets.marts.project import INPUTS_FILE_NAME, MANIFEST, prepare_manifest
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


@pytest.fixture
def outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared manifest as it stays behind when the project is changed, or what was changed is refused."""
    prepared = tmp_path / "pipeline" / MANIFEST.name
    prepared.parent.mkdir()
    prepared.write_bytes(MANIFEST.read_bytes())
    made_from = json.loads(MANIFEST.with_name(INPUTS_FILE_NAME).read_text())
    made_from["models/mart/media/campaign_metrics.sql"] = "0" * 64
    prepared.with_name(INPUTS_FILE_NAME).write_text(json.dumps(made_from))
    monkeypatch.setattr(lineage, "MANIFEST", prepared)
    return prepared


@pytest.mark.parametrize("more", [(), ("--json",), ("--release", "2026-10")])
def test_an_outdated_manifest_is_not_proved(outdated, more) -> None:
    """`proved` was said of what preparing had refused to replace; CI and a hurried reader believe the exit code."""
    code, said, complaint = invoke("prove", *more)
    assert (code, said) == (2, "")
    assert "the dbt project is not the one that its manifest was prepared from" in complaint
    assert "make manifest" in complaint
    # Whoever names a manifest asks about that one.
    if not more:
        assert invoke("prove", "--manifest", str(outdated))[0] == 0


def test_an_answer_from_an_outdated_manifest_says_so(outdated) -> None:
    """An analyst looks around while a model is half written: the answer is of use, and not that of today."""
    for question in (("impact", "raw/panti/children.birth_date"), ("show", "mart/media/campaign_metrics")):
        code, said, complaint = invoke(*question)
        assert code == 0
        assert said
        assert complaint == "merajut: the dbt project was changed since; this is how it was prepared last\n"


def test_an_asset_without_lineage_is_not_proved(monkeypatch, tmp_path) -> None:
    """A Python asset that writes a mart by itself was green for the command, and red only after publication."""

    @dg.asset(key=["mart", "media", "by_hand"])
    def by_hand() -> None: ...

    monkeypatch.setattr(definitions, "build_compliance_assets", lambda: [by_hand])
    elsewhere = tmp_path / "manifest.json"
    elsewhere.write_bytes(MANIFEST.read_bytes())
    for arguments in ((), ("--manifest", str(elsewhere))):
        code, said, _ = invoke("prove", *arguments)
        assert code == 2
        assert said.startswith("not proved: 1 columns of unknown origin;")
        assert "mart/media/by_hand.*: where it comes from is not known" in said


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
