"""Building entities: what is refused and kept for the stewards, what late, repeated and killed builds do."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from merajut_assets.conformed import build, conform, entities
from merajut_assets.conformed.entities import CARE_TYPE_OF_PLACEMENT, REASON_OF_NEED
from merajut_assets.conformed.quality_history import QUALITY_HISTORY, remember_quality
from merajut_assets.conformed.raw_rows import NotLanded
from merajut_assets.contracts import registry, ssda903
from merajut_assets.contracts.base import LegalBasis, Subject
from resources.encryption import tokens
from resources.lake import TableSchemaError
from resources.lakehouse import Lakehouse
from tests.evolved import declare, gaining

NIK = "3273014502120001"
MARKER = "PENANDA-RAHASIA-7f3a"
YES = {"has_analytics_consent": "true"}


def token(small, subject: Subject, identity: str) -> str:
    return tokens(pl.Series([identity]), small.lakehouse.token_key(subject))[0]


# ── what refers to nothing ───────────────────────────────────────────────────────────────


def test_what_refers_to_nothing_is_refused(small):
    """A placement in an institution that nobody knows would vanish from every map."""
    small.put("panti.children", {}, {"child_id": "CH-2", "orphanage_id": "PA-9"})
    small.put(
        "panti.placements",
        {},
        {"placement_id": "PL-2", "child_id": "CH-2"},
        {"placement_id": "PL-3", "orphanage_id": "PA-9"},
    )
    assert small.build("child").refused == {"orphanage_id.reference": 1}
    summary = small.build("placement")
    assert summary.refused == {"child_token.reference": 1, "orphanage_id.reference": 1}
    assert (summary.rows_in, summary.passed, summary.quarantined) == (3, 1, 2)
    assert small.read("placement")["placement_id"].to_list() == ["PL-1"]


def test_references_of_supporting_tables_are_judged_too(small):
    """Hours in a shift of an unknown job have no place and no kind: they must not count as work."""
    small.put("volunteers.volunteers", {})
    small.put("volunteers.jobs", {})
    small.put(
        "volunteers.shifts", {}, {"shift_id": "SH-2", "job_id": "JO-9"}, {"shift_id": "SH-3", "shift_date": "tomorrow"}
    )
    small.put(
        "volunteers.hours",
        {},
        {"hours_id": "HO-2", "shift_id": "SH-2"},
        {"hours_id": "HO-3", "shift_id": "SH-3"},
        {"hours_id": "HO-4", "shift_id": "SH-9"},
        {"hours_id": "HO-5", "volunteer_id": "VO-9", "shift_id": "SH-9"},
    )
    small.put("volunteers.background_checks", {}, {"check_id": "BC-2", "volunteer_id": "VO-9"})
    summary = small.build("volunteer_activity")
    assert summary.refused == {"shift_id.reference": 4, "volunteer_token.reference": 1}
    assert (summary.rows_in, summary.passed, summary.quarantined) == (5, 1, 4)
    assert small.read("volunteer_activity")["activity_id"].to_list() == ["HO-1"]

    def kept(table: str, key: str) -> dict[str, str]:
        return dict(small.quarantine(f"volunteers.{table}").select(key, "failed_rules").iter_rows())

    assert kept("shifts", "shift_id") == {"SH-2": "job_id.reference", "SH-3": "shift_date.type"}
    assert kept("hours", "hours_id") == {
        "HO-2": "shift_id.reference",
        "HO-3": "shift_id.reference",
        "HO-4": "shift_id.reference",
        "HO-5": "volunteer_token.reference,shift_id.reference",
    }
    assert kept("background_checks", "check_id") == {"BC-2": "volunteer_id.reference"}


def test_allocations_of_every_source_say_what_they_are_for(small):
    """The product keeps the uses in a table of their own: an allocation to none of them has no purpose."""
    for table in ("donations.donors", "donations.gifts", "donations.allocations"):
        small.put(table, {})
    for table in ("npsp.contact", "npsp.opportunity", "npsp.general_accounting_unit"):
        small.put(table, {})
    to_nothing = {"allocation_id": "a0N000000000000002", "general_accounting_unit_id": "a0b000000000000009"}
    small.put("npsp.allocation", {}, to_nothing)
    assert small.build("allocation").refused == {"general_accounting_unit_id.reference": 1}
    kept = dict(small.read("allocation").select("allocation_id", "purpose").iter_rows())
    assert kept == {"a0N000000000000001": "Food", "AL-1": "health"}


def test_notes_of_a_refused_registration_of_a_known_child_stay(small):
    """The child is in the lake by another registration; the note is about that child."""
    small.put(
        "panti.children",
        {"child_id": "CH-1", "nik": NIK},
        {"child_id": "CH-2", "nik": NIK, "sex": "P"},
        {"child_id": "CH-3", "sex": "P"},
    )
    small.put(
        "panti.case_notes",
        {"child_id": "CH-2"},
        {"case_note_id": "CN-2", "child_id": "CH-3"},
        {"case_note_id": "CN-3", "child_id": "CH-9"},
    )
    small.build("child")
    assert small.read("child")["last_case_note_on"].to_list() == [date(2025, 5, 5)]
    assert dict(small.quarantine("panti.case_notes").select("case_note_id", "failed_rules").iter_rows()) == {
        "CN-2": "child_id.reference",
        "CN-3": "child_id.reference",
    }


# ── quarantine ───────────────────────────────────────────────────────────────────────────


def test_quarantine_keeps_the_whole_row_for_those_who_put_it_right(small):
    """Name, number and the text that could not be read: without them nobody can correct the source.
    One row is refused at landing, the other when the entity is built."""
    rows = (
        {"child_id": "CH-2", "full_name": MARKER, "nik": NIK, "birth_date": "2015-02-30"},
        {"child_id": "CH-3", "full_name": MARKER, "nik": NIK, "orphanage_id": "PA-9"},
    )
    small.put("panti.children", {"child_id": "CH-1"}, *rows)
    small.build("child")
    kept = {row["child_id"]: row for row in small.quarantine("panti.children").iter_rows(named=True)}
    assert {child: row["failed_rules"] for child, row in kept.items()} == {
        "CH-2": "birth_date.type",
        "CH-3": "orphanage_id.reference",
    }
    for given in rows:
        row = kept[given["child_id"]]
        assert (row["full_name"], row["nik"], row["village_code"]) == (MARKER, NIK, "32.73.01.1001")
        assert row["entity"] == "child"
        assert len(row["row_hash"]) == 64
    assert json.loads(kept["CH-2"]["unparsed"]) == {"birth_date": "2015-02-30"}
    assert kept["CH-3"]["birth_date"] == date(2012, 2, 5)
    assert kept["CH-3"]["unparsed"] is None


def test_quarantine_says_where_a_row_s_facts_come_from(small):
    """A refused row of the sample world must not be taken for one about a real child."""
    small.put("panti.children", {"sex": "P"}, {"child_id": "CH-2", "orphanage_id": "PA-9"})
    small.put("ssda903.header", {"sex": "7"})
    small.put("panti.orphanages", {}, {"orphanage_id": "PA-2", "capacity": "-1"})
    small.build("child")
    for system, origin, rows in (("panti", "generated", 3), ("ssda903", "real_sample", 1)):
        assert small.lakehouse.lake.read(f"quarantine/{system}")["data_origin"].to_list() == [origin] * rows


def test_quarantine_of_an_earlier_release_is_written_anew(small):
    """A table with other columns refuses every row: nothing could be built until somebody deleted it."""
    small.put("panti.children", {"sex": "P"})
    small.put("panti.orphanages", {}, {"orphanage_id": "PA-2", "capacity": "-1"})
    small.build("child")
    stored = small.lakehouse.lake.read("quarantine/panti").drop("data_origin")
    folder = small.lakehouse.settings.lake / "quarantine" / "panti"
    folder.rename(folder.with_name("elsewhere"))
    for (entity,), rows in stored.partition_by("entity", as_dict=True).items():
        small.lakehouse.lake.overwrite("quarantine/panti", rows, partition={"entity": entity})
    for name in ("orphanage", "child"):
        (small.lakehouse.settings.lake / "conformed_builds" / f"{name}.json").unlink()
    small.build("orphanage")
    small.build("child")
    now = small.lakehouse.lake.read("quarantine/panti")
    assert set(now.columns) == set(build.QUARANTINE_COLUMNS)
    assert now["entity"].sort().to_list() == ["child", "orphanage"]


def test_quarantine_shows_nothing_personal_without_the_person_s_key(small):
    """The table is read to count; who may open a row has its key."""
    small.put("panti.children", {"child_id": "CH-2", "full_name": MARKER, "nik": NIK, "sex": "P"})
    small.build("child")
    stored = small.lakehouse.lake.read("quarantine/panti")
    assert set(stored.columns) == set(build.QUARANTINE_COLUMNS)
    assert json.loads(stored["source_ids"][0]) == {"child_id": "CH-2"}
    plain = stored.drop("row").write_csv()
    assert MARKER not in plain
    assert NIK not in plain
    assert MARKER.encode() not in stored["row"][0]
    small.lakehouse.vault.destroy_subject(Subject.CHILD, "panti:CH-2")
    assert small.quarantine("panti.children").height == 0


def test_opening_quarantine_is_written_down(small):
    """Every decryption for a human eye leaves a trace."""
    small.put("panti.children", {"sex": "P"})
    small.build("child")
    small.quarantine("panti.children")
    last = list(small.lakehouse.audit.entries())[-1]
    assert last["event"] == "decryption"
    assert "panti.children" in json.dumps(last)


def test_a_second_build_adds_nothing_to_quarantine(small):
    """Rows that wait for a steward must not multiply with every hourly run."""
    small.put("panti.children", {}, {"child_id": "CH-2", "sex": "P"})
    small.build("child")
    version = small.lakehouse.lake.version("quarantine/panti")
    small.put("panti.children", {"abuse_type": "neglect"}, {"child_id": "CH-2", "sex": "P"})
    assert not small.build("child").is_unchanged
    assert small.lakehouse.lake.version("quarantine/panti") == version
    assert small.lakehouse.lake.rows("quarantine/panti") == 1


def test_the_rule_of_a_quarantined_row_is_brought_up_to_date(small):
    """The row is the same, and what is wrong with it is not: an old reason misleads the steward."""
    small.put("panti.children", {"orphanage_id": "PA-9"}, {"child_id": "CH-2"})
    small.build("child")
    frame = small.lakehouse.lake.read("quarantine/panti")
    stale = frame.with_columns(pl.lit("another.rule").alias("failed_rules"))
    small.lakehouse.lake.overwrite("quarantine/panti", stale, partition={"entity": "child"})
    small.put("panti.children", {"orphanage_id": "PA-9"}, {"child_id": "CH-2", "abuse_type": "neglect"})
    small.build("child")
    assert small.quarantine("panti.children")["failed_rules"].to_list() == ["orphanage_id.reference"]


def test_a_corrected_row_leaves_quarantine(small):
    """What was put right is in the entity, and nowhere else."""
    small.put("panti.children", {}, {"child_id": "CH-2", "sex": "P"})
    small.build("child")
    small.put("panti.children", {}, {"child_id": "CH-2", "sex": "M"})
    summary = small.build("child")
    assert (summary.passed, summary.quarantined) == (2, 0)
    assert small.quarantine("panti.children").height == 0


def test_each_entity_has_its_own_part_of_quarantine(small):
    """A volunteer's row feeds volunteer and consent: building one must not wipe what the other refused."""
    small.put("volunteers.volunteers", {}, {"volunteer_id": "VO-2", "sex": "L"})
    small.build("volunteer")
    small.build("consent")
    assert small.quarantine("volunteers.volunteers")["entity"].sort().to_list() == ["consent", "volunteer"]
    assert small.quarantine("volunteers.volunteers")["row_hash"].n_unique() == 1


# ── again, late, and killed ──────────────────────────────────────────────────────────────


def test_nothing_happens_when_nothing_changed(small):
    """Sync runs every hour over 32 entities."""
    small.put("panti.children", {}, {"child_id": "CH-2", "sex": "P"})
    first = small.build("child")
    versions = {name: small.lakehouse.lake.version(name) for name in small.lakehouse.lake.tables()}
    again = small.build("child")
    assert again.is_unchanged
    assert not first.is_unchanged
    assert (again.passed, again.refused, again.before) == (first.passed, first.refused, first.before)
    assert versions == {name: small.lakehouse.lake.version(name) for name in small.lakehouse.lake.tables()}


@pytest.mark.parametrize("what", ["raw", "reference", "erasure", "contract", "rules", "legal_basis"])
def test_each_kind_of_input_makes_a_new_build(small, what, monkeypatch, tmp_path):
    """An input that the fingerprint forgets leaves conformed as it was, and nobody notices. A corrected rule
    once changed nothing until the next export came."""
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.build("child")
    if what == "raw":
        small.put("panti.children", {"abuse_type": "neglect"}, {"child_id": "CH-2"})
    if what == "reference":
        small.put("panti.orphanages", {}, {"orphanage_id": "PA-2"})
        small.build("orphanage")
    if what == "erasure":
        small.lakehouse.vault.destroy_subject(Subject.CHILD, "panti:CH-2")
    if what == "contract":
        monkeypatch.setattr(build.landing, "contract_fingerprint", lambda contract: "another")
    if what == "rules":
        changed = tmp_path / "entities.py"
        changed.write_text(Path(entities.__file__).read_text().replace('"N7": "poverty"', '"N7": "hunger"'))
        files = [changed if file == Path(entities.__file__) else file for file in build.RULE_FILES]
        assert changed in files
        monkeypatch.setattr(build, "RULES", build.rules_digest(files))
    if what == "legal_basis":
        tables = [replace(table, legal_basis=LegalBasis.NONE) for table in build.raw_inputs(registry.entity("child"))]
        monkeypatch.setattr(build, "raw_inputs", lambda entity: tuple(tables))
    summary = small.build("child")
    assert not summary.is_unchanged
    assert summary.erased == (what == "erasure")


def test_rules_that_only_lie_elsewhere_are_the_same(tmp_path):
    """Another checkout, a touched file and another process must not build everything again."""
    copies = []
    for file in build.RULE_FILES:
        copies.append(tmp_path / f"{len(copies)}.py")
        copies[-1].write_bytes(file.read_bytes())
    assert build.rules_digest(copies) == build.RULES
    assert {Path(entities.__file__), Path(conform.__file__), Path(build.__file__)} <= set(build.RULE_FILES)


def test_a_new_column_of_the_contract_is_added_to_the_table(small):
    """The table could not be merged any more, and every build failed until somebody deleted it. A withdrawal
    whose record is gone must survive that, too."""
    small.put("panti.guardians", {})
    small.put("panti.consents", {}, {"consent_id": "CO-2", "status": "withdrawn"})
    small.build("consent")
    table = "conformed/consent"
    small.lakehouse.lake.overwrite(table, small.read("consent").drop("valid_until"))
    small.put("panti.consents", {})
    summary = small.build("consent")
    assert set(small.lakehouse.lake.schema(table)) == {column.name for column in registry.entity("consent").columns}
    assert sorted(small.read("consent")["consent_id"]) == ["CO-1", "CO-2"]
    assert summary.removed == 0
    version = small.lakehouse.lake.version(table)
    small.put("panti.consents", {"decided_on": "2025-01-01"}, source_time="2026-02-02T00:00:00+00:00")
    small.build("consent")
    assert small.lakehouse.lake.version(table) == version, "written once, and merged as ever afterwards"


def test_a_table_from_before_children_told_their_registrations_is_brought_up_to_date(small):
    """What decides whether a stored child is gone is the very column that the older table lacks."""
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.build("child")
    small.lakehouse.lake.overwrite("conformed/child", small.read("child").drop("registrations_token"))
    small.put("panti.children", {})
    assert small.build("child").removed == 1
    assert small.read("child")["child_token"].to_list() == small.child("CH-1")
    assert small.read("child")["registrations_token"].null_count() == 0


def test_a_restored_table_is_built_again(small):
    """The summary says that all is done, and the table is an older one: restoring must not last by accident."""
    small.put("panti.children", {})
    small.build("child")
    folder = small.lakehouse.settings.lake / "conformed" / "child"
    folder.rename(folder.with_name("elsewhere"))
    assert not small.build("child").is_unchanged
    assert small.read("child").height == 1


def test_an_older_export_does_not_overwrite_newer_data(small):
    """A backfill of an old day lands last and still tells of the past."""
    small.put("panti.children", {"abuse_type": "neglect", "modified_at": "2026-06-01T00:00:00Z"})
    small.build("child")
    small.put("panti.children", {"abuse_type": "none", "modified_at": "2026-01-01T00:00:00Z"}, {"child_id": "CH-2"})
    small.build("child")
    children = dict(small.read("child").select("child_token", "abuse_type").iter_rows())
    assert children == dict(zip(small.child("CH-1", "CH-2"), ["neglect", "none"], strict=True))


@pytest.mark.parametrize("how", ["deleted", "refused", "refers_to_nothing"])
def test_what_its_source_no_longer_supports_leaves_the_entity(small, how):
    """Whoever was taken out of the case file stayed in every later publication; older versions keep the row."""
    now = {"child_id": "CH-2", "modified_at": "2026-06-01T00:00:00Z"}
    later = {"deleted": [], "refused": [{**now, "sex": "P"}], "refers_to_nothing": [{**now, "orphanage_id": "PA-9"}]}
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.put("panti.placements", {}, {"placement_id": "PL-2", "child_id": "CH-2"})
    small.build("placement")
    before = small.lakehouse.lake.version("conformed/child")
    small.put("panti.children", {}, *later[how])
    summary = small.build("child")
    assert small.read("child")["child_token"].to_list() == small.child("CH-1")
    assert (summary.removed, summary.passed, summary.quarantined) == (1, 1, len(later[how]))
    assert small.lakehouse.lake.read("conformed/child", version=before).height == 2
    assert small.build("placement").removed == 1
    assert small.read("placement")["placement_id"].to_list() == ["PL-1"], "what is about somebody goes with them"
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.build("child")
    assert small.read("child").height == 2, "what comes back is there again, however old it is"


def test_rows_about_nobody_leave_as_well(small):
    """A licence that was withdrawn by deleting it must not count as one."""
    small.put("panti.orphanages", {}, {"orphanage_id": "PA-2"})
    small.build("orphanage")
    small.put("panti.orphanages", {})
    assert small.build("orphanage").removed == 1
    assert small.read("orphanage")["orphanage_id"].to_list() == ["PA-1"]


def test_all_rows_may_leave(small):
    """The last row of a source is a row like any other."""
    small.put("volunteers.volunteers", {})
    small.build("volunteer")
    small.put("volunteers.volunteers")
    assert small.build("volunteer").removed == 1
    assert small.read("volunteer").height == 0


def test_an_unusual_loss_is_said(small):
    """An export that was cut off between two rows is valid, and nobody would notice that half of it is missing."""
    small.put("panti.children", *[{"child_id": f"CH-{number}"} for number in range(20)])
    small.build("child")
    small.put("panti.children", *[{"child_id": f"CH-{number}"} for number in range(18)])
    assert not any("gone" in text for text in small.build("child").shortcomings_before)
    small.put("panti.children", *[{"child_id": f"CH-{number}"} for number in range(9)])
    summary = small.build("child")
    assert any("9 of 18 rows are gone" in text for text in summary.shortcomings_before)
    assert summary.shortcomings_after == [], "it warns: who was taken out on purpose must not block the others"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_entity_tells_what_a_lake_built_from_nothing_would(small, tmp_path, seed):
    """Whatever came, went, was refused, merged and separated before: only the newest landing counts."""
    chance = random.Random(seed)
    told = {"PA-1": "poverty", "PA-2": "neglect", "PA-9": "abuse"}
    columns = pl.exclude("child_token", "registrations_token")
    state: dict[str, dict[str, str | None]] = {}
    for month in range(1, 7):
        for child in chance.sample(["CH-1", "CH-2", "CH-3", "CH-4"], 2):
            orphanage = chance.choice(list(told))
            state[child] = {
                "child_id": child,
                "nik": chance.choice([NIK, "3273014502120002", None]),
                "sex": chance.choice(["F", "F", "F", "P"]),
                "orphanage_id": orphanage,
                "reason_for_care": told[orphanage],
                "admission_date": f"2020-0{month}-01",
                "modified_at": f"2026-0{month}-01T00:00:00Z",
            }
        if len(state) > 2:
            del state[chance.choice(list(state))]
        fresh = type(small)(Lakehouse(data_directory=str(tmp_path / f"fresh-{month}")))
        for lake in (small, fresh):
            lake.put("panti.orphanages", {}, {"orphanage_id": "PA-2"})
            lake.put("panti.children", *state.values())
            lake.build("child")
        order = ["admission_date", "modified_at", "reason_for_care"]
        assert small.read("child").select(columns).sort(order).equals(fresh.read("child").select(columns).sort(order))


@pytest.mark.parametrize("place", ["_quarantine", "_store", "write_atomically"])
def test_a_killed_build_is_completed_by_the_next(small, monkeypatch, place):
    """Killed before, between and after the two writes: the result must be that of a build in one go."""
    small.put("panti.children", {}, {"child_id": "CH-2", "sex": "P"}, {"child_id": "CH-3", "orphanage_id": "PA-9"})
    small.build("orphanage")

    def die(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build, place, die)
        with pytest.raises(KeyboardInterrupt):
            small.build("child")
    if place == "_store":
        assert small.lakehouse.lake.rows("quarantine/panti") == 2, "what is refused is safe before the entity is"
    summary = small.build("child")
    assert not summary.is_unchanged
    assert (summary.passed, summary.quarantined) == (1, 2)
    assert small.read("child")["child_token"].to_list() == small.child("CH-1")
    assert small.lakehouse.lake.rows("quarantine/panti") == 2


def test_a_missing_source_is_named(small):
    """Whoever reads the message must know what to materialise."""
    with pytest.raises(NotLanded, match="raw/panti/orphanages"):
        build.build_entity(small.lakehouse, registry.entity("orphanage"))


def test_erased_people_are_not_built_again(small):
    """Raw still holds their rows; the keys are gone."""
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.lakehouse.vault.destroy_subject(Subject.CHILD, "panti:CH-2")
    summary = small.build("child")
    assert (summary.rows_in, summary.erased, summary.passed) == (1, 1, 1)


# ── consents ─────────────────────────────────────────────────────────────────────────────


def test_decisions_of_all_kinds_of_people_are_in_one_table(small):
    """Releases ask one question of everybody: did this person agree to this purpose?"""
    small.put("panti.guardians", {})
    small.put("panti.consents", {}, {"consent_id": "CO-2", "purpose": "publicity", "status": "withdrawn"})
    small.put(
        "volunteers.volunteers",
        {},
        {"volunteer_id": "VO-2", "has_analytics_consent": "false"},
        {"volunteer_id": "VO-3", "has_analytics_consent": "true", "consent_decided_on": None},
    )
    small.put("donations.donors", {"has_analytics_consent": "false"})
    small.put("hris.employees", {})
    small.build("consent")
    rows = set(small.read("consent").select("subject_type", "subject_token", "purpose", "status").iter_rows())
    assert rows == {
        ("child", small.child("CH-1")[0], "research", "granted"),
        ("child", small.child("CH-1")[0], "publicity", "withdrawn"),
        ("volunteer", token(small, Subject.VOLUNTEER, "volunteers:VO-1"), "analytics", "granted"),
        ("volunteer", token(small, Subject.VOLUNTEER, "volunteers:VO-2"), "analytics", "withdrawn"),
        ("donor", token(small, Subject.DONOR, "donations:DO-1"), "analytics", "withdrawn"),
        ("employee", token(small, Subject.EMPLOYEE, "hris:EM-1"), "analytics", "granted"),
    }, "who agreed on no day has not agreed"
    assert small.read("consent")["consent_id"].n_unique() == 6


@pytest.mark.parametrize("flag", ["false", None])
def test_a_flag_that_is_taken_back_without_a_date_withdraws(small, flag):
    """The row once vanished for want of a date, and the consent of the build before stayed in force."""
    small.put("volunteers.volunteers", {})
    small.build("consent")
    assert small.read("consent")["status"].to_list() == ["granted"]
    small.put(
        "volunteers.volunteers",
        {"has_analytics_consent": flag, "consent_decided_on": None, "modified_at": "2026-06-01T00:00:00Z"},
    )
    small.build("consent")
    assert small.read("consent").select("status", "decided_on").rows() == [("withdrawn", date(2026, 6, 1))]


def test_a_refused_decision_that_may_be_a_withdrawal_counts_as_one(small):
    """A guardian said no, and a clerk wrote the date wrongly: until it is put right, no it is."""
    small.put("panti.guardians", {})
    small.put(
        "panti.consents",
        {},
        {"consent_id": "CO-2", "status": "withdrawn", "decided_on": "2026-02-30"},
        {"consent_id": "CO-3", "child_id": "CH-2", "status": "granted", "decided_on": "2026-02-30"},
        {"consent_id": "CO-4", "child_id": "CH-3", "purpose": "marketing", "status": "withdrawn"},
    )
    small.build("consent")
    doubts = small.read("consent").filter(pl.col("consent_id").str.ends_with("-doubtful"))
    assert set(doubts.select("subject_token", "purpose", "status").iter_rows()) == {
        (small.child("CH-1")[0], "research", "withdrawn"),
        *((small.child("CH-3")[0], purpose, "withdrawn") for purpose in build_purposes()),
    }
    small.put("panti.consents", {}, {"consent_id": "CO-2", "status": "withdrawn", "decided_on": "2026-02-03"})
    small.build("consent")
    now = small.read("consent").filter(pl.col("subject_token") == small.child("CH-1")[0])
    assert sorted(now["consent_id"]) == ["CO-1", "CO-2"], "a doubt that was cleared up goes"


def test_a_register_s_refused_row_that_may_be_a_withdrawal_counts_as_one(small):
    """The volunteer said no, and the same row has a code that nobody knows: the consent of the build before
    must not stay in force. Nor does that of somebody whose refused row says yes: a lake built from nothing would
    not have it. A refused row beside a good one changes nothing."""
    small.put("volunteers.volunteers", {}, {"volunteer_id": "VO-2"}, {"volunteer_id": "VO-3"})
    small.put("donations.donors", {})
    small.put("hris.employees", {})
    small.build("consent")
    assert small.read("consent")["status"].unique().to_list() == ["granted"]
    later = {"sex": "L", "modified_at": "2026-06-01T00:00:00Z"}
    no = {"has_analytics_consent": "false", "consent_decided_on": "2026-05-05"}
    small.put(
        "volunteers.volunteers",
        {**later, **no},
        {"volunteer_id": "VO-2", **later},
        {"volunteer_id": "VO-3", "modified_at": "2026-07-01T00:00:00Z"},
        {"volunteer_id": "VO-3", **later, **no},
    )
    small.put("donations.donors", {"donor_type": "alumni", "has_analytics_consent": None, "modified_at": None})
    small.put("hris.employees", {"department": "IT", "has_volunteer_consent": "maybe"})
    small.build("consent")
    assert set(small.read("consent").select("subject_token", "status").iter_rows()) == {
        (token(small, Subject.VOLUNTEER, "volunteers:VO-1"), "withdrawn"),
        (token(small, Subject.VOLUNTEER, "volunteers:VO-3"), "granted"),
        (token(small, Subject.DONOR, "donations:DO-1"), "withdrawn"),
        (token(small, Subject.EMPLOYEE, "hris:EM-1"), "withdrawn"),
    }
    assert small.read("consent").height == 4
    assert len(small.quarantine("volunteers.volunteers")) == 3


@pytest.mark.parametrize("flag", ["false", None])
def test_a_register_s_newer_refused_row_outdoes_an_older_consent(small, flag):
    """The older row of the same file is good and says yes: the newest, which cannot be read whole, does not."""
    newest = {"has_analytics_consent": flag, "sex": "L", "modified_at": "2026-06-01T00:00:00Z"}
    small.put("volunteers.volunteers", {}, newest, {"volunteer_id": "VO-2"}, {**newest, "volunteer_id": "VO-2"} | YES)
    small.build("volunteer")
    assert small.read("volunteer").height == 2, "the older rows are good ones"
    small.build("consent")
    assert set(small.read("consent").select("subject_token", "status").iter_rows()) == {
        (token(small, Subject.VOLUNTEER, "volunteers:VO-1"), "withdrawn"),
        (token(small, Subject.VOLUNTEER, "volunteers:VO-2"), "granted"),
    }


def test_a_withdrawal_stays_when_its_record_goes(small):
    """Deleting the record of a refusal is not agreeing."""
    small.put("panti.guardians", {})
    small.put("panti.consents", {"status": "withdrawn"}, {"consent_id": "CO-2", "purpose": "statistics"})
    small.build("consent")
    small.put("panti.consents")
    small.build("consent")
    children = small.read("consent").filter(pl.col("subject_type") == "child")
    assert children.select("purpose", "status").rows() == [("research", "withdrawn")]


@pytest.mark.parametrize("change", ["deleted", "unreadable_end"])
def test_a_grant_that_the_source_no_longer_holds_is_none(small, change):
    """The merge keeps what it knows; for a consent that was taken out or wrongly ended that kept the child in use."""
    small.put("panti.guardians", {})
    good, other = {"consent_id": "CO-1"}, {"consent_id": "CO-2", "purpose": "statistics"}
    small.put("panti.consents", good, other)
    small.build("consent")
    ended = {**good, "valid_until": "soon", "modified_at": "2026-06-01T00:00:00Z"}
    small.put("panti.consents", *([other] if change == "deleted" else [ended, other]))
    small.build("consent")
    children = small.read("consent").filter(pl.col("subject_type") == "child")
    assert children.select("purpose", "status").rows() == [("statistics", "granted")]


def build_purposes() -> list[str]:
    return ["government_reporting", "research", "statistics", "publicity"]


# ── the partner authority's codes ────────────────────────────────────────────────────────


def test_every_code_of_the_return_is_translated():
    """A code without translation would be an empty cell in every row that has it."""
    assert set(CARE_TYPE_OF_PLACEMENT) == set(ssda903.PLACEMENTS)
    assert set(REASON_OF_NEED) == set(ssda903.CATEGORIES_OF_NEED)


def test_british_rows_speak_the_words_of_the_entities(small):
    """One mart reads both jurisdictions; a code among words would be a category of its own."""
    small.put("ssda903.header", {}, {"child_id": "901", "sex": "1"})
    small.put(
        "ssda903.episodes",
        {},
        {"child_id": "901", "placement_type": "K1", "need_code": "N8"},
        {"child_id": "901", "start_date": "02/07/2018", "placement_type": "P1", "need_code": "N7"},
    )
    small.put("ssda903.reviews", {}, {"child_id": "901", "review_code": "PN0"}, {"child_id": "902"})
    small.put("panti.reviews", {})
    small.put("panti.children", {})
    small.put("panti.placements", {})
    small.build("placement")
    british = small.read("placement").filter(pl.col("jurisdiction") == "GB").sort("start_date", "care_type")
    assert british.select("care_type", "reason_for_care", "legal_basis", "data_origin").rows() == [
        ("family_based", "abuse", "legal_obligation", "real_sample"),
        ("residential", "abandonment", "legal_obligation", "real_sample"),
        ("kinship", "poverty", "legal_obligation", "real_sample"),
    ]
    assert british["placement_id"].n_unique() == 3
    assert british["placement_id"].str.len_chars().unique().to_list() == [32], "a key that names a child is a token"
    summary = small.build("review")
    assert summary.refused == {"child_token.reference": 1}
    took_part = small.read("review").filter(pl.col("jurisdiction") == "GB")["child_took_part"]
    assert sorted(took_part.to_list(), key=str) == [None, True]
    assert small.read("child").filter(pl.col("jurisdiction") == "GB")["sex"].sort().to_list() == ["F", "M"]


# ── what is written down ─────────────────────────────────────────────────────────────────


def test_no_value_reaches_summaries_logs_or_the_history(small, caplog):
    """Summaries and the history are read by everybody."""
    caplog.set_level(logging.DEBUG)
    small.put("panti.children", {"full_name": MARKER}, {"child_id": "CH-2", "sex": MARKER, "full_name": MARKER})
    summary = small.build("child")
    remember_quality(small.lakehouse, summary)
    remember_quality(small.lakehouse, summary)
    history = small.lakehouse.lake.read(QUALITY_HISTORY)
    assert history.height == 2 * 6, "once per build, whatever is repeated"
    assert history.filter((pl.col("moment") == "after_quarantine") & (pl.col("dimension") == "score"))["value"][0] <= 1
    for path in small.lakehouse.settings.data_directory.rglob("*"):
        if path.is_file():
            assert MARKER.encode() not in path.read_bytes(), path.name
    assert MARKER not in caplog.text + str(summary) + history.write_csv()


def test_conformed_carries_tokens_and_no_source_numbers_of_people(small):
    """A registration number in conformed would link every mart back to the case file."""
    small.put("panti.children", {"child_id": "CH-1"})
    small.put("panti.placements", {"child_id": "CH-1"})
    small.build("placement")
    for name in ("child", "placement"):
        assert "CH-1" not in small.read(name).write_csv()


@pytest.mark.parametrize(
    ("older", "told"),
    [
        (lambda rows: rows.drop("source_system"), "stored without source_system"),
        (
            lambda rows: rows.with_columns(pl.col("decided_on").cast(pl.String)),
            "stored with another type of decided_on",
        ),
    ],
)
def test_what_outlives_its_source_is_not_made_to_fit(small, older, told):
    """Nulls that the contract forbids, and values that the new type does not know, went into a withdrawal without
    anybody noticing: no source is left to build it from again."""
    small.put("panti.guardians", {})
    small.put("panti.consents", {}, {"consent_id": "CO-2", "status": "withdrawn"})
    small.build("consent")
    version = small.lakehouse.lake.overwrite("conformed/consent", older(small.read("consent")))
    small.put("panti.consents", {})
    with pytest.raises(TableSchemaError, match=f"conformed/consent: 1 rows that outlive their source: {told}"):
        small.build("consent")
    assert small.lakehouse.lake.version("conformed/consent") == version


def test_a_landing_from_before_a_column_was_declared_is_to_be_made_again(small, monkeypatch):
    """Building from it failed with an error whose text is withheld; taken for empty, it would have been believed."""
    small.put("panti.children", {})
    declare(monkeypatch, gaining(registry.raw_table("panti", "children")))
    with pytest.raises(
        NotLanded, match=r"panti\.children was landed last before its contract declared remark.*merajut run"
    ):
        small.build("child")
