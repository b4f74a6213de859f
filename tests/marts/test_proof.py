"""Nothing is published without the proof: structure, and the evidence for exactly what is stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets import definitions
from merajut_assets.lineage.disclosure import disclosure_tests
from merajut_assets.lineage.protection import Protection
from merajut_assets.marts.dbt import BuildOutcome, record_disclosure_tests
from merajut_assets.marts.project import INPUTS_FILE_NAME, asset_path, load_manifest, stakeholder_marts
from merajut_assets.marts.proof import evidence_of, prove_project, prove_release
from merajut_assets.marts.published import publish
from merajut_assets.privacy.steps import PrivacyStep
from resources.audit import AuditError
from resources.lakehouse import Lakehouse
from resources.verifications import record_verification, recorded_verifications, stored_version
from tests.marts.support.mini_warehouse import RELEASE

COUNTS, COUNTING = "model.merajut.compliance_reporting", "mart/government/compliance_reporting"
REACH, CHILDREN = "protected/media/campaign_reach", "protected/academia/research_child"
GIVING = "protected/media/campaign_giving"


def released(lakehouse: Lakehouse, stakeholder: str, manifest_path: Path) -> bool:
    """Whether a stakeholder's marts are published; what is said when they are not is in the failure."""
    marts = stakeholder_marts(load_manifest(manifest_path))[stakeholder]
    publish(lakehouse, stakeholder, RELEASE, marts, manifest_path=manifest_path)
    return True


def lines_of(lakehouse: Lakehouse) -> list[str]:
    return lakehouse.settings.audit_log.read_text().splitlines(keepends=True)


def test_a_verified_release_is_proved_and_published(built, manifest_path) -> None:
    proof = prove_release(built, RELEASE, manifest_path=manifest_path)
    assert proof.holds, proof.faults
    assert proof.release == RELEASE
    assert {protection.asset for protection in proof.steps} >= {GIVING, CHILDREN}
    assert released(built, "media", manifest_path)


def test_a_failed_check_blocks_its_stakeholder_and_nobody_else(built, manifest_path) -> None:
    """One refused dataset must not keep the others from theirs, nor theirs help it out."""
    record_verification(built.audit, CHILDREN, RELEASE, stored_version(built.lake, CHILDREN, RELEASE), passed=False)
    with pytest.raises(dg.Failure, match=f"{CHILDREN}: its privacy check failed on version"):
        released(built, "academia", manifest_path)
    assert built.publisher.list("academia") == []
    (refused,) = [entry for entry in built.audit.entries() if entry["event"] == "published.refused"]
    assert refused["facts"]["stakeholder"] == "academia"
    assert released(built, "media", manifest_path)


def test_rows_that_were_written_after_their_check_block(built, manifest_path) -> None:
    """A check of what was there before says nothing about what is there now."""
    frame = built.lake.read(GIVING, partition={"release": RELEASE}).drop("release")
    built.lake.overwrite(GIVING, frame, partition={"release": RELEASE}, facts={"release": RELEASE})
    with pytest.raises(dg.Failure, match=f"{GIVING}: version 1 is stored, and the privacy check saw version 0"):
        released(built, "media", manifest_path)
    record_verification(built.audit, GIVING, RELEASE, 1, passed=True)
    assert released(built, "media", manifest_path)


def test_another_release_leaves_the_evidence_as_it_is(built, manifest_path) -> None:
    """The version of a table goes up with every month; that of this month's rows does not."""
    frame = built.lake.read(GIVING, partition={"release": RELEASE}).drop("release")
    built.lake.overwrite(GIVING, frame, partition={"release": "2026-07"}, facts={"release": "2026-07"})
    assert stored_version(built.lake, GIVING, RELEASE) == 0
    assert stored_version(built.lake, GIVING, "2026-07") == 1
    assert stored_version(built.lake, GIVING, "2026-08") is None
    assert released(built, "media", manifest_path)


def test_a_rewritten_table_is_to_be_verified_again(built) -> None:
    """An erasure takes rows out of all releases, and with them somebody's large enough group."""
    assert built.lake.delete_where(GIVING, pl.col("campaign_id").is_not_null()) > 0
    assert stored_version(built.lake, GIVING, RELEASE) is None
    assert "nothing of release" in prove_release(built, RELEASE).unverified[GIVING]


def test_evidence_that_was_taken_out_of_the_log_blocks_everybody(built, manifest_path) -> None:
    """Whoever can remove one entry can remove the one that says `failed`: then nothing in the log is believed."""
    kept = [line for line in lines_of(built) if json.loads(line)["facts"].get("asset") != GIVING]
    assert len(kept) < len(lines_of(built))
    built.settings.audit_log.write_text("".join(kept))
    proof = prove_release(built, RELEASE, manifest_path=manifest_path)
    assert not proof.holds
    assert all("the audit log is not as it was written" in reason for reason in proof.unverified.values())


def test_evidence_that_was_never_written_blocks(built, manifest_path) -> None:
    """A release that was made before there were checks, or around them."""
    built.settings.audit_log.unlink()
    # The vault remembers how many entries there were, so that even removing all of them shows.
    assert "the log is missing" in (evidence_of(built, RELEASE, manifest_path).fault or "")
    with pytest.raises(AuditError):  # not even the refusal is appended to such a log
        released(built, "media", manifest_path)
    assert built.publisher.list("media") == []


def test_an_edited_entry_is_not_believed(built, manifest_path) -> None:
    record_verification(built.audit, GIVING, RELEASE, 0, passed=False)
    edited = [line.replace('"passed":false', '"passed":true') for line in lines_of(built)]
    built.settings.audit_log.write_text("".join(edited))
    assert not prove_release(built, RELEASE, manifest_path=manifest_path).holds


def test_a_structural_leak_blocks_publication(built, manifest_path, monkeypatch) -> None:
    """Also when the dbt project was judged, and all checks passed: a policy was changed so that a step is gone."""
    from merajut_assets.marts import proof
    from merajut_assets.policies.stakeholder import Open, stakeholder_policies

    media = stakeholder_policies()["media"]
    opened = media.model_copy(update={"datasets": {**media.datasets, "campaign_giving": Open(kind="open")}})
    monkeypatch.setattr(proof, "stakeholder_policies", lambda: {**stakeholder_policies(), "media": opened})
    with pytest.raises(dg.Failure, match=r"the lineage is not proved: .* offending paths") as failed:
        released(built, "media", manifest_path)
    assert "→ mart/media/campaign_metrics." in str(failed.value)
    assert released(built, "academia", manifest_path)


def test_an_asset_without_lineage_blocks_publication(built, monkeypatch) -> None:
    """Evidence that is made afterwards had asked for every asset, and publication had asked for the marts alone: what
    a Python asset of its own wrote went out before anybody was told."""

    @dg.asset(key=["mart", "media", "by_hand"], tags={"sensitivity": "public"})
    def by_hand() -> None: ...

    monkeypatch.setattr(definitions, "build_compliance_assets", lambda: [by_hand])
    published = definitions.build_defs().get_assets_def(["published", "media"])
    run = dg.materialize([published], partition_key=RELEASE, resources={"lakehouse": built}, raise_on_error=False)
    (failed,) = run.get_step_failure_events()
    assert "mart/media/by_hand.*: where it comes from is not known" in failed.event_specific_data.error.message
    assert built.publisher.list("media") == []
    monkeypatch.undo()
    published = definitions.build_defs().get_assets_def(["published", "media"])
    assert dg.materialize([published], partition_key=RELEASE, resources={"lakehouse": built}).success


def test_nothing_is_published_by_an_outdated_manifest(built, manifest_path, tmp_path) -> None:
    """A model was edited, and preparing it refused: the manifest before it still holds, and nobody asked whether it is
    the project's."""
    prepared = tmp_path / "pipeline" / "manifest.json"
    shutil.copytree(manifest_path.parent, prepared.parent)
    assert released(built, "media", prepared)
    made_from = json.loads(prepared.with_name(INPUTS_FILE_NAME).read_text())
    made_from.pop("models/mart/academia/research_dataset.sql")
    prepared.with_name(INPUTS_FILE_NAME).write_text(json.dumps(made_from))
    with pytest.raises(dg.Failure, match=r"is not the one that its manifest was prepared from.*make manifest"):
        released(built, "academia", prepared)
    assert built.publisher.list("academia") == []


# ── what a mart withholds by itself ──────────────────────────────────────────────────────


def judging(manifest_path: Path) -> list[Mapping[str, Any]]:
    return disclosure_tests(load_manifest(manifest_path))[COUNTS]


def build_of(lakehouse: Lakehouse) -> int:
    return lakehouse.warehouse.builds(RELEASE)[COUNTS]


def test_a_mart_that_withholds_rests_on_its_tests_too(built, manifest_path) -> None:
    """`disclosure_control` in a mart's meta was believed; now the proof names the mart beside the dataset."""
    proof = prove_release(built, RELEASE, [COUNTING], manifest_path)
    assert proof.holds, proof.faults
    assert Protection(COUNTING, PrivacyStep.DISCLOSURE_CONTROL) in proof.steps
    assert judging(manifest_path)


@pytest.mark.parametrize("status", ["fail", "error", "warn", "skipped", None])
def test_a_mart_whose_tests_did_not_pass_is_not_published(built, manifest_path, status) -> None:
    """A check that blocks in its own run is forgotten by the next run, which publishes what that run had built. A test
    that did not run is not passed either."""
    outcome = outcome_with(manifest_path, status)
    manifest = load_manifest(manifest_path)
    record_disclosure_tests(built, RELEASE, manifest, outcome, manifest["nodes"][COUNTS])
    with pytest.raises(dg.Failure, match=f"{COUNTING}: its privacy check failed on version"):
        released(built, "government", manifest_path)
    assert built.publisher.list("government") == []
    assert released(built, "media", manifest_path)


def test_a_mart_that_was_built_again_is_to_be_tested_again(built, manifest_path) -> None:
    """Tests of the build before say nothing about this one; not even where the file of the release was made anew."""
    digest = built.warehouse.models(RELEASE)[COUNTS]
    tested = build_of(built)
    built.warehouse.record_models(RELEASE, {COUNTS: digest})
    assert build_of(built) != tested
    with pytest.raises(dg.Failure, match=f"{COUNTING}: version .* is stored, and the privacy check saw version"):
        released(built, "government", manifest_path)
    manifest = load_manifest(manifest_path)
    record_disclosure_tests(built, RELEASE, manifest, outcome_with(manifest_path, "pass"), manifest["nodes"][COUNTS])
    assert released(built, "government", manifest_path)


def test_a_mart_whose_tests_never_ran_is_not_proved(built, manifest_path) -> None:
    """A mart that was built without its checks, as somebody may select in the UI."""
    evidence = evidence_of(built, RELEASE, manifest_path)
    without = replace(evidence, verifications=[one for one in evidence.verifications if one.table != COUNTING])
    proof = prove_project(manifest_path, marts=[COUNTING], evidence=without)
    assert proof.unverified == {COUNTING: f"no privacy check of release {RELEASE} is in the audit log"}


def outcome_with(manifest_path: Path, status: str | None) -> BuildOutcome:
    """What dbt said: all tests of the mart passed but the first, which ended otherwise or not at all."""
    first, *others = (test["unique_id"] for test in judging(manifest_path))
    results = {test: {"status": "pass"} for test in others} | ({first: {"status": status}} if status else {})
    return BuildOutcome(results, {}, {})


def test_entries_say_what_was_verified(built) -> None:
    entries = list(recorded_verifications(built.audit))
    assert (GIVING, RELEASE, 0, True) in entries
    assert all(entry.table.startswith(("protected/", "statistics/", "mart/")) for entry in entries)
    assert {entry.table for entry in entries if entry.table.startswith("mart/")} == {
        "/".join(asset_path(load_manifest()["nodes"][model])) for model in disclosure_tests(load_manifest())
    }


def test_marts_are_judged_one_by_one(built, manifest_path) -> None:
    (mart,) = stakeholder_marts(load_manifest(manifest_path))["media"]
    alone = prove_release(built, RELEASE, ["/".join(asset_path(mart))], manifest_path)
    assert alone.columns == 2 * len(mart["columns"])
    assert {protection.stakeholder for protection in alone.steps} == {"media"}
