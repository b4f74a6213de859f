"""The command as people and scripts use it: what it says, with which exit code, and what it never shows."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from merajut_assets import cli
from merajut_assets.command import exits
from merajut_assets.command.alone import LOCK
from merajut_assets.command.figures import figures_of, important
from merajut_assets.command.prompt import converse, execute, statements
from merajut_assets.command.typed import typed
from merajut_assets.compliance.certificates import Certificate, ErasureReason, ErasureRegister, PublishedBefore
from merajut_assets.contracts.base import Subject
from merajut_assets.policies.stakeholder import stakeholder_policies
from resources.lakehouse import Lakehouse
from resources.locks import exclusive
from tests.resources.planted import backup_of

REPOSITORY = Path(__file__).parents[1]
SECRET = "PENANDA-RAHASIA-7f3a"
ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "TERM": "dumb"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "data"
    monkeypatch.setenv("MERAJUT_DATA", str(directory))
    return directory


@pytest.fixture
def lakehouse(data: Path) -> Lakehouse:
    return Lakehouse(data_directory=str(data))


@pytest.fixture
def published(lakehouse: Lakehouse) -> Lakehouse:
    """Two publications of one stakeholder."""
    for release, rows in (("2026-09", 2), ("2026-10", 3)):
        frame = pl.DataFrame({"region_code": ["32"] * rows, "children": list(range(rows))})
        lakehouse.publisher.publish("government", release, {"counts": frame})
    return lakehouse


def invoke(*arguments: str, input: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, arguments, input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def in_a_process(*arguments: str, data: Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "merajut_assets.cli", *arguments],
        cwd=REPOSITORY,
        env={**ENVIRONMENT, "MERAJUT_DATA": str(data), "HOME": str(data.parent)},
        input=input,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


# ── explaining itself ────────────────────────────────────────────────────────────────────


def _commands() -> Iterator[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, (*path, name))

    yield from walk(typer.main.get_command(cli.app), ())


@pytest.mark.parametrize("path", list(_commands()), ids=" ".join)
def test_every_command_and_option_explains_itself(path: tuple[str, ...]) -> None:
    """A newcomer has nothing but --help."""
    code, said, _ = invoke(*path, "--help")
    assert code == 0
    assert "Usage" in said
    command = typer.main.get_command(cli.app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)


def test_the_promised_commands_are_there() -> None:
    """README and Makefile name them."""
    names = {" ".join(path) for path in _commands()}
    assert {
        "run",
        "status",
        "generate",
        "publish list",
        "publish rollback",
        "open",
        "erase",
        "audit verify",
        "audit show",
        "erase-again",
        "restore",
        "detect",
    } <= names


def test_the_choices_are_those_of_contracts_and_certificates() -> None:
    """They are repeated so that --help answers without loading the contracts; they must not drift apart."""
    assert {kind.value for kind in cli.Kind} == {subject.value for subject in Subject}
    assert {reason.value for reason in cli.Reason} == {reason.value for reason in ErasureReason}


# ── bad input ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--release", "2026-1"), "year-month"),
        (("run", "--release", "2199-01"), "a month that is over"),
        (("open", "nobody"), "known: academia"),
        (("open", "government"), "nothing was published for government"),
        (("publish", "rollback", "government"), "no such earlier publication"),
        (("publish", "list", "nobody"), "known: academia"),
        (("restore", "protected/government/child_summary", "--version", "0"), "only conformed tables"),
        (("restore", "conformed/child", "--version", "0"), "does not exist yet"),
        (("generate", "--until", "yesterday"), "2026-10-31"),
        (("erase", "--subject", "child", "--system", "panti", "--id", "CH-1", "--yes"), "no child with that id"),
        (("erase", "--subject", "donor", "--system", "panti", "--id", "1", "--yes"), "known: child of panti"),
        (("erase", "--subject", "child", "--system", "panti", "--id", "-"), "add --yes"),
    ],
)
def test_bad_input_ends_with_2_and_one_clear_line(data: Path, arguments: tuple[str, ...], said: str) -> None:
    """Scripts go by the code, people by the line; a traceback would help neither."""
    code, out, err = invoke(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1


def test_an_unknown_environment_is_bad_input(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for development, a misspelt production would run with the wrong settings."""
    monkeypatch.setenv("MERAJUT_ENVIRONMENT", "prodution")
    code, _, err = invoke("status")
    assert (code, "MERAJUT_ENVIRONMENT" in err) == (2, True)


def test_an_unforeseen_error_shows_its_class_and_no_text(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of libraries quote values, and the terminal may be recorded."""

    def fail() -> None:
        raise ValueError(f"could not parse {SECRET}")

    monkeypatch.setattr(cli, "_lakehouse", fail)
    code, out, err = invoke("status")
    assert code == exits.PROBLEM
    assert "ValueError" in err
    assert SECRET not in out + err


def test_only_one_command_changes_an_installation_at_a_time(data: Path) -> None:
    """Two runs at once would land the same day twice and fight over the warehouse."""
    with exclusive(data / LOCK):
        finished = in_a_process("run", data=data)
    assert finished.returncode == 2
    assert "another merajut command" in finished.stderr


# ── publications ─────────────────────────────────────────────────────────────────────────


def test_publications_are_listed_and_rolled_back(published: Lakehouse) -> None:
    """The pointer goes back, and the audit log says so."""
    code, said, _ = invoke("publish", "list", "government")
    assert code == 0
    assert "2026-09" in said
    assert "2026-10" in said
    assert invoke("publish", "rollback", "government")[0] == 0
    current = published.publisher.current("government")
    assert current is not None
    assert current.release == "2026-09"
    (entry,) = [entry for entry in published.audit.entries() if entry["event"] == "published.rolled_back"]
    assert entry["facts"]["number"] == 1


def test_nobody_goes_back_to_a_publication_older_than_an_erasure(published: Lakehouse) -> None:
    """It still counts, in anonymised rows, somebody who was erased since."""
    certificate = Certificate(
        certificate_id="c" * 24,
        subject_kind="child",
        system="panti",
        subject_hash="d" * 64,
        reason=ErasureReason.COURT_ORDER,
        begun_at=published.publisher.list("government")[1].published_at,
        linked_ids=1,
        published_before=(PublishedBefore("government", "2026-09", 1),),
    )
    ErasureRegister(published.settings).write(certificate.completed())
    for arguments in (("publish", "rollback", "government"), ("publish", "rollback", "government", "--to", "1")):
        code, _, err = invoke(*arguments)
        assert (code, "somebody was erased" in err) == (2, True)
    current = published.publisher.current("government")
    assert current is not None
    assert current.number == 2


def test_a_published_file_answers_sql(published: Lakehouse) -> None:
    """What a stakeholder does with the file, on the command line."""
    code, said, _ = invoke("open", "government", "--command", "SELECT sum(children) AS total FROM counts")
    assert code == 0
    assert "total" in said
    assert "3" in said
    code, said, _ = invoke("open", "government", input="SELECT count(*) AS n\nFROM counts;\nSELECT 42 AS answer;")
    assert code == 0
    assert "42" in said


def test_the_right_key_opens_and_a_wrong_one_is_told_so(published: Lakehouse, tmp_path: Path) -> None:
    """The file is handed over with its key; with any other it must stay shut, and say why."""
    right, wrong = tmp_path / "right.key", tmp_path / "wrong.key"
    right.write_text(published.vault.stakeholder_key("government"))
    wrong.write_text(published.vault.stakeholder_key("business"))
    assert invoke("open", "government", "--key-file", str(right), "-c", "SELECT 1")[0] == 0
    code, _, err = invoke("open", "government", "--key-file", str(wrong), "-c", "SELECT 1")
    assert (code, "key does not open" in err) == (2, True)
    assert published.vault.stakeholder_key("business") not in err
    code, _, err = invoke("open", "government", "--key-file", str(tmp_path / "none"), "-c", "SELECT 1")
    assert (code, "cannot be read" in err) == (2, True)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine AS SELECT 1",
        "DELETE FROM counts",
        "COPY counts TO '{folder}/plain.csv'",
        "ATTACH '{folder}/other.duckdb' AS other",
        "SET enable_external_access = true",
    ],
)
def test_the_prompt_writes_nothing(published: Lakehouse, tmp_path: Path, statement: str) -> None:
    """A protected file must not become a plain one by a slip at the prompt."""
    before = {path.name for path in tmp_path.iterdir()}
    code, _, err = invoke("open", "government", "-c", statement.format(folder=tmp_path))
    assert code == 2
    assert err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_statements_may_span_lines() -> None:
    """People paste queries."""
    lines = ["SELECT 1", "  ;", ".help", "SELECT 2; ", "SELECT 3"]
    assert list(statements(lines)) == ["SELECT 1", ".help", "SELECT 2", "SELECT 3"]


def test_the_words_of_other_prompts_work_here() -> None:
    """Whoever types exit; or quit wants to leave, and not to read about a syntax error."""
    assert list(statements(["exit"])) == [".exit"]
    assert list(statements(["SELECT 1", "exit;", "QUIT;", " help "])) == ["SELECT 1\nexit", ".quit", ".help"]
    assert list(statements([".TABLES;"])) == [".tables"]


def _said(width: int, connection: duckdb.DuckDBPyConnection, *lines: str) -> str:
    console = Console(file=io.StringIO(), width=width)
    converse(connection, iter(lines), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_prompt_says_how_to_leave_lists_tables_and_leaves(published: Lakehouse) -> None:
    """A newcomer has nothing but the prompt."""
    with published.publisher.open("government") as connection:
        said = _said(80, connection, ".tables", "SELEC 1;", "exit", "SELECT 42;")
    first, *rest = said.splitlines()
    for word in (".tables", "help", "exit", "quit"):
        assert word in first
    assert any("counts" in line for line in rest)
    assert "Parser Error" in said
    assert "42" not in said


def test_a_result_wider_than_the_terminal_is_shown_row_by_row() -> None:
    """Squeezed into columns of three letters, a mart of fifteen columns cannot be read."""
    with duckdb.connect(":memory:") as connection:
        columns = ", ".join(f"'[red]value {number}' AS column_{number}" for number in range(12))
        narrow, wide = (Console(file=io.StringIO(), width=width) for width in (60, 400))
        for console in (narrow, wide):
            execute(connection, f"SELECT {columns} FROM range(2)", console)
    lines = narrow.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if line.startswith("row ")] == ["row 1", "row 2"]
    assert "  column_11  [red]value 11" in [line.rstrip() for line in lines]
    assert "row 1" not in wide.file.getvalue()  # type: ignore[attr-defined]


# ── audit, keys, status ──────────────────────────────────────────────────────────────────


def test_a_changed_audit_log_ends_with_1(lakehouse: Lakehouse) -> None:
    """The nightly check of a compliance officer goes by the exit code."""
    for number in range(3):
        lakehouse.audit.append("landing", rows=number)
    assert invoke("audit", "verify")[0] == 0
    code, said, _ = invoke("audit", "show", "--last", "2")
    assert (code, "rows 2" in said, "rows 0" in said) == (0, True, False)
    path = lakehouse.settings.audit_log
    path.write_text(path.read_text().replace('"rows":1', '"rows":7'))
    code, _, err = invoke("audit", "verify")
    assert (code, "entry 2" in err) == (1, True)
    code, said, _ = invoke("audit", "verify", "--json")
    assert code == 1
    assert json.loads(said)["first_broken"] == 2


def test_an_emptied_audit_log_ends_with_1(lakehouse: Lakehouse) -> None:
    """Log and head once lay side by side: without both, the log was a new one and intact."""
    lakehouse.audit.append("landing", rows=1)
    shutil.rmtree(lakehouse.settings.audit_log.parent)
    code, _, err = invoke("audit", "verify")
    assert (code, "the log is missing" in err) == (1, True)
    state = json.loads(invoke("status", "--json")[1])
    assert not state["audit"]["is_intact"]
    assert "restore log and key vault" in invoke("status")[1].splitlines()[0]


def test_a_vault_older_than_an_erasure_is_told_by_status_and_verify(lakehouse: Lakehouse, tmp_path: Path) -> None:
    """Found by whoever looks, before a run refuses to go on."""
    lakehouse.vault.subject_keys("child", ["panti:1"])
    backup_of(lakehouse.vault, tmp_path / "backup.sqlite")
    lakehouse.vault.destroy_subject("child", "panti:1")
    vault = lakehouse.settings.vault
    for file in vault.parent.iterdir():
        file.unlink()
    shutil.copy(tmp_path / "backup.sqlite", vault)
    code, said, _ = invoke("audit", "verify", "--json")
    assert (code, json.loads(said)["forgotten_erasures"]) == (1, 1)
    code, _, err = invoke("audit", "verify")
    assert (code, "1 erased source id(s)" in err) == (1, True)
    state = json.loads(invoke("status", "--json")[1])
    assert state["erasures"]["forgotten"] == 1
    assert "erase-again" in state["problems"][0]
    assert "To do: the key vault does not know 1" in invoke("status")[1]
    code, _, err = invoke("keys", "rotate")
    assert (code, "erase-again" in err) == (1, True)
    assert invoke("erase-again")[0] == 0
    assert invoke("audit", "verify")[0] == 0
    assert invoke("keys", "rotate")[0] == 0


def test_a_lost_ledger_is_told_by_status(lakehouse: Lakehouse) -> None:
    figures = pl.DataFrame({"value": [1.0], "release": ["2026-10"]})
    table, facts = "statistics/media/children_in_care", {"release": "2026-10", "charge": 7}
    lakehouse.lake.overwrite(table, figures, partition={"release": "2026-10"}, facts=facts)
    state = json.loads(invoke("status", "--json")[1])
    assert state["ledger"]["forgotten"] == ["media/children_in_care of 2026-10"]
    assert "the privacy ledger does not know media/children_in_care" in state["problems"][0]


def test_a_replaced_publication_is_told_and_does_not_open(published: Lakehouse) -> None:
    """An older file, or an older pointer, in the place of the one in force."""
    older, current = published.publisher.list("government")
    content = current.path.read_bytes()
    shutil.copy(older.path, current.path)
    code, _, err = invoke("open", "government", "-c", "SELECT 1")
    assert (code, "not the file that was published" in err) == (1, True)
    state = json.loads(invoke("status", "--json")[1])
    assert [one["stakeholder"] for one in state["replaced"]] == ["government"]
    assert "key:published/government" in state["problems"][0]
    current.path.write_bytes(content)
    assert json.loads(invoke("status", "--json")[1])["replaced"] == []
    pointer = current.path.with_name("current.json")
    pointer.write_text(pointer.read_text().replace("2026-10-2", "2026-09-1", 1))
    assert json.loads(invoke("status", "--json")[1])["replaced"][0]["stakeholder"] == "government"
    assert invoke("publish", "list", "government")[0] == 1


def test_advice_can_be_typed_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make demo` the command is in .venv/bin and on nobody's PATH."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "merajut"):
        (programs / name).touch(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.chdir(tmp_path)
    assert typed("status") == ".venv/bin/merajut status"
    monkeypatch.setenv("PATH", str(programs))
    assert typed("status") == "merajut status"


def test_keys_are_rotated_and_everything_still_opens(published: Lakehouse) -> None:
    """A rotation that lost a key would lose all that it wrapped."""
    before = published.vault.named_key("digest")
    code, said, _ = invoke("keys", "rotate")
    assert (code, "version 2" in said) == (0, True)
    assert published.vault.named_key("digest") == before


def test_an_empty_installation_has_a_status_and_stays_empty(data: Path) -> None:
    """Looking must not make keys, databases or folders."""
    code, said, _ = invoke("status")
    assert (code, "Nothing was landed yet" in said) == (0, True)
    code, said, _ = invoke("status", "--json")
    state = json.loads(said)
    assert code == 0
    assert state["audit"]["is_intact"]
    assert state["releases"] == []
    assert not (data / "vault").exists()
    assert not (data / "keys").exists()
    assert not (data / "dagster").exists()


def test_a_world_is_generated_once(data: Path) -> None:
    """`make demo` calls it every time."""
    first = in_a_process("generate", "--children", "20", "--seed", "5", data=data)
    assert first.returncode == 0, first.stderr
    assert "rows in" in first.stdout
    again = in_a_process("generate", "--children", "20", "--seed", "5", data=data)
    assert (again.returncode, "there already" in again.stdout) == (0, True)


# ── figures ──────────────────────────────────────────────────────────────────────────────


def test_figures_are_read_from_metadata_layer_by_layer() -> None:
    """The closing table is what `make demo` is judged by."""
    raw = figures_of(("raw", "a", "b"), {"rows_in_source": 5, "dagster/row_count": 5, "refused_rows": 2}, 0.1)
    assert (raw.rows_in, raw.passed, raw.quarantined) == (5, 3, 2)
    protected = figures_of(("protected", "a", "b"), {"rows_in": 9, "dagster/row_count": 7, "k": 5, "seconds": 2}, None)
    assert (protected.rows_in, protected.passed, protected.protection, protected.seconds) == (9, 7, "k 5", 2.0)
    statistic = figures_of(("statistics", "a", "b"), {"dagster/row_count": 7, "epsilon": 0.1}, 1.0)
    assert statistic.protection == "ε 0.1"
    published = figures_of(("published", "a"), {"dagster/row_count": 7}, 1.0)
    assert (published.passed, published.published) == (None, 7)


def test_the_tables_that_lost_most_rows_are_shown() -> None:
    """Sixty source tables would bury the one that matters."""
    tables = [
        figures_of(("conformed", name), {"rows_in": 9, "dagster/row_count": 9 - lost, "quarantined": lost}, 0.0)
        for name, lost in (("a", 0), ("b", 1), ("c", 3))
    ]
    assert [one.table for one in important("conformed", tables)] == ["c", "b"]


# ── the real thing ───────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.integration
def test_a_run_killed_on_the_way_is_completed_and_a_complete_release_left_alone(tmp_path: Path) -> None:
    """What a newcomer does, with the worst that can happen in between; then a person is erased."""
    data = tmp_path / "data"
    assert in_a_process("generate", "--children", "1500", "--seed", "3", data=data).returncode == 0
    killed = subprocess.Popen(
        [sys.executable, "-m", "merajut_assets.cli", "run"],
        cwd=REPOSITORY,
        env={**ENVIRONMENT, "MERAJUT_DATA": str(data), "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    manifest = data / "lake" / "releases" / "2026-10.json"
    release = _latest_release()
    manifest = manifest.with_name(f"{release}.json")
    deadline = time.monotonic() + 300
    while not manifest.exists() and time.monotonic() < deadline:
        assert killed.poll() is None
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    state = json.loads(in_a_process("status", "--json", data=data).stdout)
    assert state["releases"][0]["missing"]

    completed = in_a_process("run", data=data)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "published" in completed.stdout
    for leftover in ("Traceback", "DEBUG"):
        assert leftover not in completed.stdout + completed.stderr

    pointers = {path: path.read_bytes() for path in (data / "published").rglob("current.json")}
    assert {path.parent.name for path in pointers} == set(stakeholder_policies())
    again = in_a_process("run", data=data)
    assert again.returncode == 0
    assert f"Release {release} is complete and stays as it is; nothing changed" in again.stdout
    assert {path: path.read_bytes() for path in (data / "published").rglob("current.json")} == pointers

    selected = in_a_process("run", "--select", "key:conformed/orphanage", data=data)
    assert selected.returncode == 0, selected.stdout + selected.stderr
    assert "1 tables" in selected.stdout
    for selection in ("key:nothing/here", "((("):
        assert in_a_process("run", "--select", selection, data=data).returncode == 2

    erased = in_a_process(
        *("erase", "--subject", "child", "--system", "panti", "--id", "-", "--yes"), data=data, input="CH-0000000001\n"
    )
    assert erased.returncode == 0, erased.stderr
    assert "certificate" in erased.stdout
    assert "CH-0000000001" not in erased.stdout + erased.stderr
    rebuilt = in_a_process("run", data=data)
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert json.loads(in_a_process("status", "--json", data=data).stdout)["releases"][0]["missing"] == []

    (data / "sources" / "hris" / "employees.csv").write_text("nonsense")
    failed = in_a_process("run", "--only", "sync", data=data)
    assert failed.returncode == 1
    assert "FAILED  raw/hris/employees" in failed.stdout
    shutil.rmtree(data)


def _latest_release() -> str:
    from datetime import UTC, datetime

    from partitions import latest_release

    return latest_release(datetime.now(UTC).date())
