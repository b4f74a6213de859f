"""An erased person is gone from everything that can still be read, and nobody else is."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from merajut_assets.compliance import erasure
from merajut_assets.compliance.certificates import Certificate, ErasureReason, ErasureRegister
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.restoring import restore
from merajut_assets.compliance.subjects import UnknownSubject, linked_ids
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.consent import consented
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.protected.pipeline import examine
from merajut_assets.protected.release import read_release, release_dataset, stored_release
from resources.duckdb_files import connect, write_tables
from resources.lake import LakeError
from resources.lakehouse import Lakehouse
from resources.publication import PublicationError
from resources.vault import FileKeyDestroyed
from resources.verifications import stored_version
from tests.compliance.small_lake import MARKER, SmallLake

REPOSITORY = Path(__file__).parents[2]
RELEASE = "2026-10"


def _erase(small: SmallLake, number: str | None = None) -> Certificate:
    return erase(small.lakehouse, Subject.CHILD, "panti", number or small.ids[0], ErasureReason.GUARDIAN_REQUEST)


def test_the_marker_can_be_read_before_the_erasure(small: SmallLake) -> None:
    """Proves that the search finds what is there: in raw, quarantine and the originals."""
    places = small.places_with()
    assert {"raw/panti.children", "raw/panti.case_notes", "raw/panti.health_records"} <= set(places)
    assert "quarantine/panti" in places
    assert "originals/panti" in places


def test_an_erased_child_is_readable_nowhere(small: SmallLake) -> None:
    """Every version of raw and of every Delta table, quarantine and originals, with all keys there are."""
    small.change("UPDATE case_notes SET note = note || ' again', modified_at = '2026-11-01T00:00:00Z'")
    small.land_all(date(2026, 11, 21))
    small.build_all()
    tokens = small.token(*small.ids)
    assert small.rows_about(*small.ids)
    certificate = _erase(small)
    assert small.places_with() == []
    assert small.rows_about(*small.ids) == {}
    # Tokens as well: no version of a Delta table that can still be read holds one of them.
    assert [place for token in tokens for place in small.places_with(token)] == []
    assert certificate.is_complete
    assert certificate.linked_ids == 2
    assert certificate.originals_destroyed > 0
    assert {"conformed/child", "conformed/placement"} <= set(certificate.rows_removed)


def test_a_sibling_is_not_touched(small: SmallLake) -> None:
    """They share a guardian: linking by anything but the child's own identity would take the sibling, too."""
    before = small.rows_about(small.sibling)
    everybody = small.lakehouse.lake.rows("conformed/child")
    _erase(small)
    assert small.rows_about(small.sibling) == before
    assert small.lakehouse.lake.rows("conformed/child") == everybody - 1
    key = small.lakehouse.vault.subject_keys("child", [f"panti:{small.sibling}"], create=False)
    assert len(key) == 1


def test_any_registration_of_a_child_stands_for_all(small: SmallLake) -> None:
    """The guardian may know only the number that the second institution gave."""
    first = linked_ids(small.lakehouse, Subject.CHILD, "panti", small.ids[0])
    second = linked_ids(small.lakehouse, Subject.CHILD, "panti", small.ids[1])
    assert first == second == sorted(f"panti:{number}" for number in small.ids)
    assert _erase(small, small.ids[1]).certificate_id == _erase(small, small.ids[0]).certificate_id


def test_a_corrected_nik_does_not_link_two_children(small: SmallLake) -> None:
    """A NIK typed in wrongly for a day was another child's, who must survive the erasure."""
    small.change(
        "UPDATE children SET nik = (SELECT nik FROM children WHERE child_id = ?) WHERE child_id = ?",
        small.ids[0],
        small.sibling,
    )
    small.land_all(date(2026, 11, 21))
    assert f"panti:{small.sibling}" in linked_ids(small.lakehouse, Subject.CHILD, "panti", small.ids[0])
    small.change("UPDATE children SET nik = '3204110101120007' WHERE child_id = ?", small.sibling)
    small.land_all(date(2026, 11, 22))
    assert f"panti:{small.sibling}" not in linked_ids(small.lakehouse, Subject.CHILD, "panti", small.ids[0])


def test_landing_and_building_again_do_not_revive(small: SmallLake) -> None:
    """The source still has the child, and every landing delivers it again."""
    _erase(small)
    small.change("UPDATE children SET modified_at = '2026-11-02T00:00:00Z'")
    small.change("UPDATE placements SET modified_at = '2026-11-02T00:00:00Z'")
    small.land_all(date(2026, 11, 22))
    small.build_all()
    newest = small.lakehouse.lake.latest_raw("panti", "children")
    assert newest is not None
    assert newest.facts["erased_rows"] == 2
    assert small.rows_about(*small.ids) == {}
    assert [place for place in small.places_with() if not place.startswith("originals")] == []


def test_restoring_does_not_revive(small: SmallLake) -> None:
    """An older version whose files vacuum left may hold the child: it comes back without it."""
    lake = small.lakehouse.lake
    version = lake.version("conformed/child")
    assert version is not None
    held = lake.read("conformed/child", version=version)
    _erase(small)
    with pytest.raises((LakeError, FileKeyDestroyed), match="vacuumed"):
        restore(small.lakehouse, "conformed/child", version)
    # As if vacuum had not been reached: a version with the child, that can be read.
    lake.overwrite("conformed/child", held)
    revived = lake.version("conformed/child")
    assert revived is not None
    assert small.rows_about(*small.ids)
    outcome = restore(small.lakehouse, "conformed/child", revived)
    assert outcome.erased == 1
    assert small.rows_about(*small.ids) == {}
    assert lake.rows("conformed/child") == held.height - 1


@pytest.mark.parametrize(
    "step", ["_without_originals", "_rewrite_conformed", "_without_published", "_rewrite_protected", "_accounted"]
)
def test_an_erasure_that_fails_half_way_is_completed_by_the_next_call(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After any step: the open certificate shows it, nothing encrypted is readable, the next call finishes."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(erasure, step, fail)
        with pytest.raises(OSError, match="no space"):
            _erase(small)
    (unfinished,) = ErasureRegister(small.lakehouse.settings).all()
    assert not unfinished.is_complete
    assert not [place for place in small.places_with() if place.startswith(("raw/", "quarantine/"))]
    finished = _erase(small)
    assert finished.certificate_id == unfinished.certificate_id
    assert finished.is_complete
    assert finished.rows_removed["conformed/child"] == 1
    assert finished.originals_destroyed > 0
    assert small.places_with() == []
    assert small.rows_about(*small.ids) == {}


def test_a_killed_erasure_is_completed(small: SmallLake) -> None:
    """SIGKILL between rewriting and vacuuming: the old files still lie there with living keys."""
    script = (
        "import os, signal, sys\n"
        "from resources.lakehouse import Lakehouse\n"
        "from resources.lake import Lake\n"
        "from merajut_assets.compliance.erasure import ErasureReason, erase\n"
        "from merajut_assets.contracts.base import Subject\n"
        "Lake.vacuum = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "erase(Lakehouse(data_directory=sys.argv[1]), Subject.CHILD, 'panti', sys.argv[2],"
        " ErasureReason.COURT_ORDER)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(small.directory), small.ids[0]],
        cwd=REPOSITORY,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(small.directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    token = small.token(small.ids[0])[0]
    assert "conformed/child" in small.places_with(token)
    certificate = _erase(small)
    assert certificate.reason is ErasureReason.COURT_ORDER
    assert certificate.rows_removed["conformed/child"] == 1
    assert small.places_with(token) == []


def test_the_certificate_and_the_audit_log_say_what_was_done_and_not_to_whom(small: SmallLake) -> None:
    """A certificate with an id or a token in it would itself be what was to be erased."""
    certificate = _erase(small)
    stored = (small.directory / "compliance" / "erasures" / f"{certificate.certificate_id}.json").read_text()
    logged = json.dumps([entry for entry in small.lakehouse.audit.entries() if entry["event"] == "erasure"])
    for told in (stored, logged):
        assert certificate.certificate_id in told
        for secret in (MARKER, *small.ids, *small.token(*small.ids)):
            assert secret not in told
    assert small.lakehouse.audit.verify().is_intact
    assert ErasureRegister(small.lakehouse.settings).find(certificate.certificate_id) == certificate


def test_an_unknown_person_is_refused_and_nothing_changed(small: SmallLake) -> None:
    """A mistyped id would be certified as erased while the person stays."""
    erased = small.lakehouse.vault.erasures()
    with pytest.raises(UnknownSubject, match="no child with that id") as caught:
        _erase(small, "CH-TYPO")
    assert "TYPO" not in str(caught.value)
    with pytest.raises(UnknownSubject, match="no table of system panti is about a donor"):
        erase(small.lakehouse, Subject.DONOR, "panti", "x", ErasureReason.COURT_ORDER)
    assert small.lakehouse.vault.erasures() == erased
    assert not (small.directory / "compliance").exists()


def test_a_guardian_takes_open_grants_along_and_leaves_the_child_protected(small: SmallLake) -> None:
    """What the guardian agreed to without an end is gone with the guardian; what restricts stays without the name."""
    lake = small.lakehouse.lake
    raw = lake.latest_raw("panti", "consents")
    assert raw is not None
    consents = lake.read_raw(raw, ["child_id", "guardian_id"])
    guardian = consents.filter(pl.col("child_id") == small.ids[0])["guardian_id"][0]
    token = small.token(guardian, subject=Subject.GUARDIAN)
    of_guardian = lake.read("conformed/consent").filter(pl.col("guardian_token").is_in(token))
    certificate = erase(small.lakehouse, Subject.GUARDIAN, "panti", guardian, ErasureReason.SUBJECT_REQUEST)
    after = lake.read("conformed/consent")
    assert after.filter(pl.col("guardian_token").is_in(token)).is_empty()
    stays = (pl.col("status") == "withdrawn") | pl.col("valid_until").is_not_null()
    left = of_guardian.join(after, on="consent_id", how="semi")
    assert 0 < left.height < of_guardian.height
    assert set(left["consent_id"]) == set(of_guardian.filter(stays)["consent_id"])
    assert certificate.references_cleared["conformed/consent"] == left.height
    assert lake.read("conformed/child").filter(pl.col("child_token").is_in(small.token(small.ids[0]))).height == 1


@pytest.mark.parametrize(
    ("status", "valid_until"), [("withdrawn", None), ("granted", "2026-06-30"), ("perhaps", None)], ids=str
)
def test_no_consent_returns_with_the_guardian_who_took_it_back(
    small: SmallLake, status: str, valid_until: str | None
) -> None:
    """One guardian's grant counted again when the other, who had withdrawn it, was erased. The withdrawal (or the
    end, or what cannot be read) stays after the erasure, a new landing, and the restore of an older version."""
    lake, child = small.lakehouse.lake, small.ids[0]
    with sqlite3.connect(small.panti) as database:
        first, second = database.execute("SELECT guardian_id FROM guardians ORDER BY guardian_id LIMIT 2").fetchall()
    database.close()
    small.change("DELETE FROM consents WHERE child_id IN (?, ?)", *small.ids)
    insert = (
        "INSERT INTO consents (consent_id, child_id, guardian_id, status, decided_on, valid_until, modified_at, "
        "purpose) VALUES (?, ?, ?, ?, ?, ?, ?, 'research')"
    )
    small.change(insert, "C-1", child, *first, "granted", "2025-01-01", None, "2025-01-01T00:00:00Z")

    def land_and_build(day: int) -> None:
        small.land_all(date(2026, 11, day))
        small.build_all()

    def consents() -> bool:
        decisions = lake.read("conformed/consent").filter(pl.col("subject_type") == "child")
        subject = pl.DataFrame({"subject_token": small.token(child)})
        return consented(subject, decisions, "research", date(2026, 9, 30)).height == 1

    land_and_build(21)
    assert consents()
    small.change(insert, "C-2", child, *second, status, "2026-01-01", valid_until, "2026-01-01T00:00:00Z")
    land_and_build(22)
    assert not consents()
    older = lake.read("conformed/consent")
    erase(small.lakehouse, Subject.GUARDIAN, "panti", *second, ErasureReason.SUBJECT_REQUEST)
    assert not consents()
    small.build_all()
    assert not consents()
    small.change("UPDATE consents SET modified_at = '2026-11-02T00:00:00Z' WHERE consent_id = 'C-1'")
    land_and_build(23)
    assert not consents()
    newest = lake.latest_raw("panti", "consents")
    assert newest is not None
    assert second[0] not in lake.read_raw(newest)["guardian_id"].to_list()
    # As if vacuum had not been reached: a version that still names the guardian.
    lake.overwrite("conformed/consent", older)
    version = lake.version("conformed/consent")
    assert version is not None
    restore(small.lakehouse, "conformed/consent", version)
    assert not consents()
    token = small.token(*second, subject=Subject.GUARDIAN)
    assert lake.read("conformed/consent").filter(pl.col("guardian_token").is_in(token)).is_empty()


def test_a_manager_is_erased_from_the_rows_of_others_without_taking_them(small: SmallLake) -> None:
    """Employees' rows are about them; only the reference to the erased manager goes."""
    lake, manager = small.lakehouse.lake, _a_manager(small)
    before = lake.rows("conformed/employee")
    certificate = erase(small.lakehouse, Subject.EMPLOYEE, "hris", manager, ErasureReason.SUBJECT_REQUEST)
    token = subject_token(small, manager)
    left = lake.read("conformed/employee")
    assert left.height == before - 1
    assert left.filter((pl.col("manager_token") == token) | (pl.col("employee_token") == token)).height == 0
    assert certificate.references_cleared["conformed/employee"] > 0
    assert certificate.rows_removed["conformed/employee"] == 1


def _a_manager(small: SmallLake) -> str:
    raw = small.lakehouse.lake.latest_raw("hris", "employees")
    assert raw is not None
    employees = small.lakehouse.lake.read_raw(raw, ["employee_id", "manager_id"])
    managers = employees.join(employees.select(employee_id="manager_id"), on="employee_id", how="semi")
    return str(managers["employee_id"][0])


def subject_token(small: SmallLake, employee: str) -> str:
    from merajut_assets.compliance.subjects import subject_tokens

    return subject_tokens(small.lakehouse, Subject.EMPLOYEE, [f"hris:{employee}"]).item()


# ── releases ─────────────────────────────────────────────────────────────────────────────


def test_a_stored_release_loses_the_row_and_stays_safe(small: SmallLake) -> None:
    """Without the row its class may be too small, and would then point at those who are left."""
    policy = stakeholder_policies()["government"]
    contract = registry.protected_dataset("government", "child_summary")
    release_dataset(small.lakehouse, contract, policy, RELEASE)
    before = read_release(small.lakehouse, contract, RELEASE, "test")
    indonesian = before.filter(pl.col("jurisdiction") == "ID")
    assert indonesian.height
    number = _released_child(small, indonesian["child_pseudonym"])
    certificate = erase(small.lakehouse, Subject.CHILD, "panti", number, ErasureReason.GUARDIAN_REQUEST)
    after = read_release(small.lakehouse, contract, RELEASE, "test")
    assert after.height < before.height
    assert examine(after, contract, policy.datasets["child_summary"]).is_safe
    assert certificate.releases_to_rebuild == (RELEASE,)
    assert certificate.rows_removed["protected/government/child_summary"] == before.height - after.height
    stored = stored_release(small.lakehouse.lake, "protected/government/child_summary", RELEASE)
    assert stored is not None
    assert not stored.is_current
    # The next build of the same release is without the child, too.
    facts = release_dataset(small.lakehouse, contract, policy, RELEASE)
    assert facts["is_new"]


def _released_child(small: SmallLake, government: pl.Series, academia: pl.Series | None = None) -> str:
    """The registration of a child that is in the government's release (and not in that of academia, if one is
    given), found as nobody without the keys could."""
    raw = small.lakehouse.lake.latest_raw("panti", "children")
    assert raw is not None
    for number in small.lakehouse.lake.read_raw(raw, ["child_id"])["child_id"].to_list():
        if _is_in(small, number, "government/2026/child_summary", government) and (
            academia is None or not _is_in(small, number, "academia/2026/research_child", academia)
        ):
            return number
    raise AssertionError("no generated child is in the release")


def _is_in(small: SmallLake, number: str, dataset: str, released: pl.Series) -> bool:
    key = small.lakehouse.vault.named_key(f"pseudonym/{dataset}")
    return pseudonyms(pl.Series(small.token(number)), key).is_in(released.implode()).any()


RELEASES = ("2026-09", "2026-10")


def _publish(small: SmallLake, release: str = RELEASE, *, edition: int = 1) -> None:
    """What the release job does beyond the lake, without dbt: warehouse, released copy, a file per stakeholder."""
    lakehouse = small.lakehouse
    lakehouse.load_release_tables(release, _stored_versions(lakehouse, release))
    lakehouse.warehouse.release(release)
    for stakeholder in ("government", "academia"):
        (table,) = lakehouse.lake.tables(f"protected/{stakeholder}")
        if {"release": release} in lakehouse.lake.partitions(table):
            rows = lakehouse.lake.read(table, partition={"release": release})
            made = lakehouse.publisher.publish(stakeholder, release, {"rows": rows}, about={"edition": edition})
            lakehouse.audit.append("published.published", stakeholder=stakeholder, release=release, number=made.number)
    lakehouse.publisher.publish("media", release, {"stories": pl.DataFrame({"stories": [3]})})


def _stored_versions(lakehouse: Lakehouse, release: str) -> dict[str, int]:
    versions = {table: stored_version(lakehouse.lake, table, release) for table in lakehouse.lake.tables("protected")}
    return {table: version for table, version in versions.items() if version is not None}


def _copied_by_an_analyst(small: SmallLake) -> Path:
    """What `dbt build` leaves of the released warehouse in the analyst's own file."""
    path = small.lakehouse.settings.analyst / "analysis.duckdb"
    path.parent.mkdir()
    released = small.lakehouse.warehouse.open_released()
    rows = released.table("protected.government__child_summary").pl()
    released.close()
    with connect(path, small.lakehouse.vault.analyst_key(), read_only=False) as connection:
        write_tables(connection, "mine", {"children": rows})
    return path


def _held(small: SmallLake, number: str) -> list[str]:
    """The DuckDB files below the data directory that hold a pseudonym of the child, opened with their keys."""
    vault = small.lakehouse.vault
    keys = [
        f"pseudonym/{policy.stakeholder}/{period}/{name}"
        for policy in stakeholder_policies().values()
        for name in policy.microdata
        for period in ("2026", *RELEASES)
    ]
    names = {name for key in keys for name in pseudonyms(pl.Series(small.token(number)), vault.named_key(key))}
    found = []
    for path in sorted(small.directory.rglob("*.duckdb")):
        is_published = "published" in path.parts
        with connect(path, vault.stakeholder_key(path.parent.name) if is_published else vault.analyst_key()) as opened:
            tables = opened.execute(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_catalog = current_database()"
            ).fetchall()
            texts = [opened.table(f'"{schema}"."{name}"').pl().write_csv() for schema, name in tables]
        if any(name in text for name in names for text in texts):
            found.append(path.relative_to(small.directory).as_posix())
    return found


@pytest.fixture
def published(small: SmallLake) -> tuple[SmallLake, str]:
    """Two releases, two publications of one of them, an analyst's copy; and a child that is in the newer release."""
    policies, lakehouse = stakeholder_policies(), small.lakehouse
    release_dataset(
        lakehouse, registry.protected_dataset("academia", "research_child"), policies["academia"], "2026-09"
    )
    contract = registry.protected_dataset("government", "child_summary")
    release_dataset(lakehouse, contract, policies["government"], RELEASE)
    _publish(small, "2026-09")
    _publish(small, edition=1)
    _publish(small, edition=2)
    _copied_by_an_analyst(small)
    rows = read_release(lakehouse, contract, RELEASE, "test").filter(pl.col("jurisdiction") == "ID")
    return small, _released_child(small, rows["child_pseudonym"])


@pytest.mark.slow
def test_no_file_holds_an_erased_child_and_a_rerun_publishes_again(published: tuple[SmallLake, str]) -> None:
    """The row stayed in three publications, the build file, its copies and what an analyst had made of them."""
    small, number = published
    publisher, warehouse = small.lakehouse.publisher, small.lakehouse.warehouse
    before = _held(small, number)
    assert {path.split("/")[0] for path in before} == {"analyst", "published", "warehouse"}
    assert {path for path in before if path.startswith("published/government")} == {
        "published/government/government-2026-10-1.duckdb",
        "published/government/government-2026-10-2.duckdb",
    }
    certificate = _erase(small, number)
    assert certificate.is_complete
    assert _held(small, number) == []
    told = {(one.stakeholder, one.release, one.number) for one in certificate.published_before}
    assert told >= {("government", "2026-10", 1), ("government", "2026-10", 2)}
    assert ErasureRegister(small.lakehouse.settings).find(certificate.certificate_id) == certificate
    withdrawn = [entry["facts"] for entry in small.lakehouse.audit.entries() if entry["event"] == "published.withdrawn"]
    assert {(one["stakeholder"], one["release"], one["number"]) for one in withdrawn} == told
    with pytest.raises(PublicationError, match=r"2 of government was withdrawn because somebody was erased.*2026-10"):
        publisher.open("government")
    assert warehouse.released() is None
    # Nobody else's is touched.
    media = publisher.current("media")
    assert media is not None
    assert media.path.exists()

    policy, contract = stakeholder_policies()["government"], registry.protected_dataset("government", "child_summary")
    release_dataset(small.lakehouse, contract, policy, RELEASE)
    _publish(small, edition=2)
    again = publisher.current("government")
    assert again is not None
    assert (again.number, again.is_current) == (3, True)
    assert _held(small, number) == []
    assert warehouse.released() is not None
    # Once more for the same person: what was published without them stays.
    assert _erase(small, number).published_before == certificate.published_before
    assert publisher.current("government") == again


@pytest.mark.slow
def test_only_the_stakeholders_who_got_the_child_lose_their_publication(small: SmallLake) -> None:
    """An erasure must not take away what does not concern it: half of the recipients would be asked in vain."""
    policies, lakehouse = stakeholder_policies(), small.lakehouse
    for stakeholder, name in (("government", "child_summary"), ("academia", "research_child")):
        contract = registry.protected_dataset(stakeholder, name)
        release_dataset(lakehouse, contract, policies[stakeholder], RELEASE)
    _publish(small)
    government = registry.protected_dataset("government", "child_summary")
    academia = registry.protected_dataset("academia", "research_child")
    number = _released_child(
        small,
        read_release(lakehouse, government, RELEASE, "test")["child_pseudonym"],
        read_release(lakehouse, academia, RELEASE, "test")["child_pseudonym"],
    )
    certificate = _erase(small, number)
    assert {one.stakeholder for one in certificate.published_before} == {"government"}
    assert lakehouse.publisher.current("government") is None
    for stakeholder in ("academia", "media"):
        current = lakehouse.publisher.current(stakeholder)
        assert current is not None
        assert current.path.exists()


@pytest.mark.slow
def test_what_was_published_between_a_killed_erasure_and_its_completion_is_withdrawn(
    published: tuple[SmallLake, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after withdrawing: a release that is run again then would publish the child once more."""
    small, number = published

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(erasure, "_rewrite_protected", fail)
        with pytest.raises(OSError, match="no space"):
            _erase(small, number)
    assert _held(small, number) == []
    _publish(small, edition=2)
    assert _held(small, number)
    certificate = _erase(small, number)
    assert _held(small, number) == []
    assert {one.number for one in certificate.published_before if one.stakeholder == "government"} == {1, 2, 3}


@pytest.mark.slow
def test_a_publication_of_which_nothing_can_be_told_is_withdrawn(published: tuple[SmallLake, str]) -> None:
    """An earlier erasure has taken the child's whole class along, so that the lake cannot tell any more; and of a
    replaced pointer nobody can tell which files belong to which release."""
    small, number = published
    lakehouse = small.lakehouse
    table = "protected/government/child_summary"
    rows = lakehouse.lake.read(table, partition={"release": RELEASE}).drop("release")
    facts = {erasure.ERASURE: "another", "of_release": RELEASE}
    lakehouse.lake.overwrite(table, rows.clear(), partition={"release": RELEASE}, facts=facts)
    (lakehouse.publisher.root / "academia" / "current.json").write_text("{}")
    certificate = _erase(small, number)
    assert {one.number for one in certificate.published_before if one.stakeholder == "government"} == {1, 2}
    assert _held(small, number) == []
    assert not list((lakehouse.publisher.root / "academia").glob("*.duckdb"))


def test_originals_are_not_kept_while_the_source_still_delivers_the_child(small: SmallLake) -> None:
    """The file as delivered holds the child in clear, whichever of its tables has changed."""
    _erase(small)
    small.change("UPDATE orphanages SET modified_at = '2026-11-02T00:00:00Z'")
    small.land_all(date(2026, 11, 22))
    assert small.places_with() == []
    small.change("UPDATE children SET modified_at = '2026-11-02T00:00:00Z'")
    small.land_all(date(2026, 11, 23))
    assert small.places_with() == []
    for table in ("children", "case_notes", "health_records"):
        small.change(f"DELETE FROM {table} WHERE child_id IN (?, ?)", *small.ids)
    small.land_all(date(2026, 11, 24))
    assert small.places_with() == []


def test_an_erased_manager_does_not_come_back_by_the_rows_of_others(small: SmallLake) -> None:
    """Those rows stay, and their source goes on naming the manager."""
    manager = _a_manager(small)
    erase(small.lakehouse, Subject.EMPLOYEE, "hris", manager, ErasureReason.SUBJECT_REQUEST)
    small.land_all(date(2026, 11, 22))
    small.build_all()
    token = subject_token(small, manager)
    employees = small.lakehouse.lake.read("conformed/employee")
    named = (pl.col("manager_token") == token) | (pl.col("employee_token") == token)
    assert employees.filter(named).is_empty()
    volunteers = small.lakehouse.lake.read("conformed/volunteer")
    assert volunteers.filter(pl.col("employee_token") == token).is_empty()
