"""Warehouse and publications: encrypted, each under its own key, replaced without disturbing readers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from resources.duckdb_files import DatabaseFileError, connect, httpfs_extension
from resources.facts import PersonalFactError
from resources.publication import PublicationError, PublicationReplaced, Publisher
from resources.vault import KeyVault, WrongKeyError
from resources.warehouse import Warehouse
from tests.resources.planted import MARKER, plain_places

FRAME = pl.DataFrame({"name": [MARKER] * 500, "day": [date(2026, 1, 1)] * 500, "value": [1.5] * 500})
OPEN = (
    "import sys; from pathlib import Path; import polars as pl; from resources.vault import KeyVault\n"
    "from resources import publication, warehouse, duckdb_files\n"
    "root = Path(sys.argv[1]); vault = KeyVault(root / 'vault' / 'vault.sqlite', root / 'keys')\n"
    f"frame = pl.DataFrame({{'name': ['{MARKER}'] * 500, 'value': [2.5] * 500}})\n"
)


@pytest.fixture
def warehouse(tmp_path: Path, vault: KeyVault) -> Warehouse:
    return Warehouse(tmp_path / "warehouse", vault)


@pytest.fixture
def publisher(tmp_path: Path, vault: KeyVault) -> Publisher:
    return Publisher(tmp_path / "published", vault)


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


# ── warehouse ────────────────────────────────────────────────────────────────────────────


def test_loaded_tables_come_back(warehouse: Warehouse) -> None:
    assert warehouse.tables("2026-10") == []
    warehouse.load_tables("2026-10", {"government__child_summary": FRAME, "media__x": FRAME.head(0)})
    warehouse.load_tables("2026-10", {"media__x": FRAME.head(7)}, schema="statistics")
    assert warehouse.tables("2026-10") == [
        "protected.government__child_summary",
        "protected.media__x",
        "statistics.media__x",
    ]
    assert warehouse.read_table("2026-10", "government__child_summary").equals(FRAME)
    assert warehouse.read_table("2026-10", "statistics.media__x").height == 7
    with pytest.raises(DatabaseFileError, match=r"protected\.nothing"):
        warehouse.read_table("2026-10", "nothing")


def test_the_analyst_key_alone_opens_the_released_file(warehouse: Warehouse, vault: KeyVault) -> None:
    """An analyst gets no vault; and the file must not open with less."""
    warehouse.load_tables("2026-10", {"a__b": FRAME})
    path = warehouse.release("2026-10")
    key = (vault.key_directory / "analyst.key").read_text()
    assert not vault.master_key_file.exists()
    with connect(path, key) as connection:
        assert count(connection, "protected.a__b") == 500
        with pytest.raises(duckdb.InvalidInputException):
            connection.execute("CREATE TABLE protected.mine AS SELECT 1")
    with pytest.raises(WrongKeyError) as caught:
        connect(path, "another-key-that-is-wrong")
    assert "another-key" not in str(caught.value)
    with pytest.raises(duckdb.Error):
        duckdb.connect(str(path), read_only=True)


def test_a_release_does_not_disturb_readers_and_equal_ones_are_not_copied(warehouse: Warehouse) -> None:
    warehouse.load_tables("2026-10", {"a__b": FRAME})
    first = warehouse.release("2026-10")
    assert warehouse.release("2026-10") == first
    with warehouse.open_released() as reader:
        warehouse.load_tables("2026-10", {"a__b": FRAME.head(3)})
        second = warehouse.release("2026-10")
        assert count(reader, "protected.a__b") == 500
    assert second != first
    assert warehouse.released() == second
    with warehouse.open_released() as reader:
        assert count(reader, "protected.a__b") == 3


def test_only_the_last_copies_are_kept(warehouse: Warehouse) -> None:
    for number in range(5):
        warehouse.load_tables("2026-10", {"a__b": FRAME.head(number)})
        warehouse.release("2026-10")
    names = sorted(path.name for path in (warehouse.root / "released").glob("*.duckdb"))
    assert names == ["2026-10-3.duckdb", "2026-10-4.duckdb", "2026-10-5.duckdb"]


def test_releasing_nothing_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(DatabaseFileError, match="2026-10"):
        warehouse.release("2026-10")
    with pytest.raises(DatabaseFileError):
        warehouse.build_path("../x")
    assert warehouse.released() is None


def test_nothing_plain_even_when_killed_with_open_changes(
    tmp_path: Path, warehouse: Warehouse, kill: Callable[..., None]
) -> None:
    """The write-ahead log of an interrupted transaction is on disk, too; the next run goes on from it."""
    warehouse.load_tables("2026-10", {"a__b": FRAME})
    kill(
        OPEN
        + "warehouse.close_cleanly = die\n"
        + "warehouse.Warehouse(root / 'warehouse', vault).load_tables('2026-10', {'a__c': frame})",
        tmp_path,
    )
    assert list(warehouse.root.rglob("*.wal"))
    assert plain_places(tmp_path) == []
    warehouse.load_tables("2026-10", {"a__d": FRAME})
    assert warehouse.tables("2026-10") == ["protected.a__b", "protected.a__c", "protected.a__d"]
    assert plain_places(tmp_path) == []


def test_a_connection_cannot_spill(tmp_path: Path, warehouse: Warehouse) -> None:
    """DuckDB spills sorts into plain files in the working directory by default."""
    path = warehouse.load_tables("2026-10", {"a__b": FRAME})
    with connect(path, warehouse.vault.analyst_key()) as connection:
        found = dict(connection.execute("SELECT name, value FROM duckdb_settings()").fetchall())
        assert (found["temp_directory"], found["temp_file_encryption"]) == ("", "true")
        assert found["autoinstall_known_extensions"] == "false"


def test_the_extension_comes_from_the_package(tmp_path: Path, race: Callable[..., list[str]]) -> None:
    """With an empty home folder DuckDB would try to download it."""
    assert httpfs_extension().is_file()
    race(OPEN + "warehouse.Warehouse(root / 'warehouse', vault).load_tables('2026-10', {'a__b': frame})", [(tmp_path,)])
    assert not (tmp_path / "home").exists()


# ── publication ──────────────────────────────────────────────────────────────────────────


def test_a_publication_opens_with_its_key_only(publisher: Publisher, vault: KeyVault, tmp_path: Path) -> None:
    publication = publisher.publish("government", "2026-10", {"report": FRAME}, {"k": 5, "owner": "team"})
    assert publication.is_new
    assert publication.path.name == "government-2026-10-1.duckdb"
    assert publication.rows == {"report": 500}
    with publisher.open("government") as connection:
        assert connection.execute("SELECT * FROM report").pl().equals(FRAME)
        assert dict(connection.execute("SELECT * FROM about").fetchall()) == {"k": "5", "owner": "team"}
    for wrong in (vault.stakeholder_key("academia"), vault.analyst_key(), "nonsense", ""):
        with pytest.raises(WrongKeyError):
            publisher.open("government", wrong)
    assert plain_places(tmp_path) == []


def test_the_same_content_is_not_published_again(publisher: Publisher) -> None:
    """A second `make demo` changes nothing, even if the engine returns the rows in another order."""
    frame = FRAME.with_row_index("n")
    first = publisher.publish("government", "2026-10", {"report": frame}, {"k": 5})
    again = publisher.publish("government", "2026-10", {"report": frame.reverse()}, {"k": 5})
    assert again == first
    assert not again.is_new
    assert publisher.publish("government", "2026-10", {"report": frame.head(499)}, {"k": 5}).number == 2
    assert publisher.publish("government", "2026-10", {"report": frame.head(499)}, {"k": 6}).number == 3


def test_readers_keep_the_file_they_opened(publisher: Publisher) -> None:
    publisher.publish("media", "2026-10", {"report": FRAME})
    with publisher.open("media") as reader:
        for number in range(4):
            publisher.publish("media", "2026-11", {"report": FRAME.head(number)})
        assert count(reader, "report") == 500
    with publisher.open("media") as reader:
        assert count(reader, "report") == 3


def test_the_last_three_are_kept_and_rollback_moves_the_pointer(publisher: Publisher) -> None:
    for number in range(1, 6):
        publisher.publish("media", "2026-10", {"report": FRAME.head(number)})
    assert [publication.number for publication in publisher.list("media")] == [3, 4, 5]
    assert len(list((publisher.root / "media").glob("*.duckdb"))) == 3
    assert publisher.rollback("media").number == 4
    assert publisher.rollback("media").number == 3
    with publisher.open("media") as reader:
        assert count(reader, "report") == 3
    with pytest.raises(PublicationError, match="kept: 3, 4, 5"):
        publisher.rollback("media")
    assert publisher.current("media").number == 3
    assert publisher.rollback("media", 5).number == 5
    publisher.rollback("media")
    assert publisher.publish("media", "2026-10", {"report": FRAME.head(9)}).number == 6


@pytest.mark.parametrize(
    "point",
    ["publication.write_atomically = die", "publication.flush_directory = die", "publication.close_cleanly = die"],
)
def test_a_killed_publication_was_never_published(
    tmp_path: Path, publisher: Publisher, kill: Callable[..., None], point: str
) -> None:
    publisher.publish("media", "2026-10", {"report": FRAME})
    kill(
        OPEN
        + f"{point}\npublication.Publisher(root / 'published', vault).publish('media', '2026-10', {{'report': frame}})",
        tmp_path,
    )
    assert [publication.number for publication in publisher.list("media")] == [1]
    with publisher.open("media") as reader:
        assert count(reader, "report") == 500
    assert plain_places(tmp_path) == []
    publisher.publish("media", "2026-10", {"report": FRAME.head(2)})
    left = sorted(path.name for path in (publisher.root / "media").iterdir())
    assert left == ["current.json", "media-2026-10-1.duckdb", "media-2026-10-2.duckdb"]


def test_eight_publishers_make_one_publication(
    tmp_path: Path, publisher: Publisher, race: Callable[..., list[str]]
) -> None:
    race(
        OPEN + "publication.Publisher(root / 'published', vault).publish('media', '2026-10', {'report': frame})",
        [(tmp_path,)] * 8,
    )
    assert [publication.number for publication in publisher.list("media")] == [1]


def test_refusals_are_clear(publisher: Publisher) -> None:
    with pytest.raises(PublicationError, match="media"):
        publisher.open("media")
    with pytest.raises(PersonalFactError):
        publisher.publish("media", "2026-10", {"report": FRAME}, {"contact": "a@example.org"})
    publisher.publish("media", "2026-10", {"report": FRAME})
    (publisher.root / "media" / "current.json").write_text("{")
    with pytest.raises(PublicationError, match="damaged"):
        publisher.list("media")


def test_an_older_release_does_not_take_the_place_of_a_newer_one(publisher: Publisher, warehouse: Warehouse) -> None:
    """Backfilling September after October must not make a stakeholder read September."""
    publisher.publish("media", "2026-10", {"t": FRAME.head(3)})
    older = publisher.publish("media", "2026-09", {"t": FRAME.head(2)})
    assert not older.is_current
    assert publisher.publish("media", "2026-09", {"t": FRAME.head(2)}).number == older.number
    assert publisher.current("media").release == "2026-10"
    assert [(one.release, one.is_current) for one in publisher.list("media")] == [("2026-10", True), ("2026-09", False)]
    for release in ("2026-10", "2026-09"):
        warehouse.load_tables(release, {"media__t": FRAME})
    released = warehouse.release("2026-10")
    assert warehouse.release("2026-09") == released == warehouse.released()


def test_the_current_publication_outlives_many_older_ones(publisher: Publisher) -> None:
    publisher.publish("media", "2026-10", {"t": FRAME.head(1)})
    for month in range(1, 6):
        publisher.publish("media", f"2026-0{month}", {"t": FRAME.head(month)})
    assert publisher.current("media").release == "2026-10"
    assert publisher.current("media").path.exists()
    assert len(publisher.list("media")) == 4


# ── withdrawn ────────────────────────────────────────────────────────────────────────────


def test_a_withdrawn_publication_is_gone_and_its_number_is_not_given_again(publisher: Publisher) -> None:
    """Who was erased must not be read on; and a recipient who asks about number 2 must hear of one file only."""
    first = publisher.publish("media", "2026-09", {"report": FRAME.head(1)})
    second = publisher.publish("media", "2026-10", {"report": FRAME.head(2)})
    assert [one.number for one in publisher.withdraw("media", [2])] == [2]
    assert publisher.withdraw("media", [2]) == []
    assert (first.path.exists(), second.path.exists()) == (True, False)
    assert publisher.current("media") is None, "an older release does not take the place by itself"
    listed = publisher.list("media")
    assert [(one.number, one.withdrawn_at is not None, one.is_current) for one in listed] == [
        (1, False, False),
        (2, True, False),
    ]
    with pytest.raises(PublicationError, match=r"2 of media was withdrawn because somebody was erased.*2026-10"):
        publisher.open("media")
    with pytest.raises(PublicationError, match="kept: 1"):
        publisher.rollback("media", 2)
    again = publisher.publish("media", "2026-10", {"report": FRAME.head(2)})
    assert (again.number, again.is_new, again.is_current) == (3, True, True)
    with publisher.open("media") as reader:
        assert count(reader, "report") == 2
    for number in range(4, 9):
        publisher.publish("media", "2026-10", {"report": FRAME.head(number)})
    assert [one.number for one in publisher.list("media")] == [6, 7, 8]


def test_all_of_a_stakeholder_can_be_withdrawn_and_an_earlier_one_put_in_force(publisher: Publisher) -> None:
    """Nothing in force is a state like any other: for publishing, for a rollback by number, for the next withdrawal."""
    for number in (1, 2):
        publisher.publish("media", "2026-10", {"report": FRAME.head(number)})
    publisher.withdraw("media", [2])
    assert publisher.rollback("media", 1).number == 1
    assert publisher.current("media").number == 1
    publisher.withdraw("media", [1, 2])
    assert not list((publisher.root / "media").glob("*.duckdb"))
    assert publisher.publish("media", "2026-10", {"report": FRAME}).number == 3
    assert publisher.withdraw("government", [1]) == []


@pytest.mark.parametrize("point", ["publication.write_atomically = die", "Path.unlink = die"])
def test_a_killed_withdrawal_is_completed(
    tmp_path: Path, publisher: Publisher, kill: Callable[..., None], point: str
) -> None:
    """Between the pointer and the file: whatever comes next removes what is withdrawn."""
    made = publisher.publish("media", "2026-10", {"report": FRAME})
    kill(OPEN + f"{point}\npublication.Publisher(root / 'published', vault).withdraw('media', [1])", tmp_path)
    publisher.withdraw("media", [1])
    assert not made.path.exists()
    assert publisher.current("media") is None


def test_a_withdrawn_release_leaves_no_file_of_the_warehouse(warehouse: Warehouse) -> None:
    """Build file, copies and what was noted of its models; the other release stays, and numbers go on."""
    for release, rows in (("2026-09", 1), ("2026-10", 2), ("2026-10", 3)):
        warehouse.load_tables(release, {"a__b": FRAME.head(rows)})
        warehouse.record_models(release, {"model": "digest"})
        warehouse.release(release)
    assert warehouse.withdraw("2026-10") == 4
    assert warehouse.withdraw("2026-10") == 0
    left = {path.relative_to(warehouse.root).as_posix() for path in warehouse.root.rglob("2026-*")}
    assert left == {"build/2026-09.duckdb", "build/2026-09.models.json", "released/2026-09-1.duckdb"}
    assert warehouse.released() is None
    assert warehouse.models("2026-10") == {}
    warehouse.load_tables("2026-10", {"a__b": FRAME})
    assert warehouse.release("2026-10").name == "2026-10-4.duckdb"
    with warehouse.open_released() as reader:
        assert count(reader, "protected.a__b") == 500
    assert warehouse.withdraw("2026-09") == 3
    assert warehouse.released() is not None


def test_no_two_builds_of_a_model_are_the_same(warehouse: Warehouse) -> None:
    """What was tested is a build: one of a file that was removed and made again must not pass for the one before."""
    found = set()
    for _ in range(2):
        warehouse.load_tables("2026-10", {"a__b": FRAME})
        for _ in range(2):
            warehouse.record_models("2026-10", {"model": "digest", "other": None})
            found.add(warehouse.builds("2026-10")["model"])
        assert list(warehouse.builds("2026-10")) == list(warehouse.models("2026-10")) == ["model"]
        warehouse.withdraw("2026-10")
        assert warehouse.builds("2026-10") == {}
    assert len(found) == 4


def test_models_of_before_builds_were_told_apart_are_built_again(warehouse: Warehouse) -> None:
    """A release of an older version of the program must mend itself by a run, and not stop it."""
    path = warehouse.load_tables("2026-10", {"a__b": FRAME})
    path.with_suffix(".models.json").write_text(json.dumps({"model": "digest"}))
    assert warehouse.models("2026-10") == {}
    warehouse.record_models("2026-10", {"model": "digest"})
    assert warehouse.models("2026-10") == {"model": "digest"}


# ── replaced by something older ──────────────────────────────────────────────────────────


def _two(publisher: Publisher) -> tuple[Path, Path]:
    """The files of an older publication and of the one in force."""
    made = [publisher.publish("media", "2026-10", {"report": FRAME.head(rows)}) for rows in (1, 2)]
    return made[0].path, made[1].path


def test_an_older_file_in_the_place_of_the_current_one_does_not_open(publisher: Publisher) -> None:
    """It is valid and under the right key, so that it once opened as the current one."""
    older, current = _two(publisher)
    shutil.copy(older, current)
    with pytest.raises(PublicationReplaced, match="published as number 2") as caught:
        publisher.open("media")
    assert 'merajut run --release <release> --select "key:published/media"' in str(caught.value)
    again = publisher.publish("media", "2026-10", {"report": FRAME.head(2)})
    assert (again.number, again.is_new) == (3, True)
    with publisher.open("media") as reader:
        assert count(reader, "report") == 2


def test_nobody_goes_back_to_a_replaced_file(publisher: Publisher) -> None:
    older, current = _two(publisher)
    shutil.copy(current, older)
    with pytest.raises(PublicationReplaced):
        publisher.rollback("media")
    assert publisher.current("media").number == 2


def test_a_file_of_another_stakeholder_is_refused(publisher: Publisher) -> None:
    _, current = _two(publisher)
    other = publisher.publish("academia", "2026-10", {"report": FRAME})
    shutil.copy(other.path, current)
    with pytest.raises(WrongKeyError):
        publisher.open("media")


def _older_pointer(publisher: Publisher, pointer: Path) -> None:
    content = pointer.read_bytes()
    publisher.publish("media", "2026-11", {"report": FRAME})
    pointer.write_bytes(content)


def _foreign_pointer(publisher: Publisher, pointer: Path) -> None:
    publisher.publish("academia", "2026-10", {"report": FRAME})
    shutil.copy(publisher.root / "academia" / "current.json", pointer)


def _edited_pointer(_: Publisher, pointer: Path) -> None:
    pointer.write_text(
        pointer.read_text().replace('"file": "media-2026-10-2.duckdb"', '"file": "media-2026-10-1.duckdb"', 1)
    )


def _no_pointer(_: Publisher, pointer: Path) -> None:
    pointer.unlink()


@pytest.mark.parametrize("exchange", [_older_pointer, _foreign_pointer, _edited_pointer, _no_pointer])
def test_a_pointer_that_was_exchanged_is_refused_until_publishing_again(
    publisher: Publisher, exchange: Callable[[Publisher, Path], None]
) -> None:
    """The pointer says what is in force: an older one takes back a withdrawal as well as a correction."""
    _two(publisher)
    pointer = publisher.root / "media" / "current.json"
    before = pointer.read_bytes()
    exchange(publisher, pointer)
    assert not pointer.exists() or pointer.read_bytes() != before or exchange is _older_pointer
    for asked in (publisher.open, publisher.list, publisher.current, publisher.rollback):
        with pytest.raises(PublicationReplaced, match=r"current\.json of media"):
            asked("media")
    again = publisher.publish("media", "2026-12", {"report": FRAME.head(5)})
    assert again.number > 2, "no number is given twice"
    assert [one.number for one in publisher.list("media")] == [again.number]
    with publisher.open("media") as reader:
        assert count(reader, "report") == 5


def test_a_pointer_written_by_a_killed_process_is_in_force(
    tmp_path: Path, publisher: Publisher, kill: Callable[..., None]
) -> None:
    """It is ahead of what the vault knows by one, and of nothing older."""
    _two(publisher)
    kill(
        OPEN
        + "KeyVault.raise_watermark = die\n"
        + "publication.Publisher(root / 'published', vault).publish('media', '2026-10', {'report': frame})",
        tmp_path,
    )
    assert publisher.current("media").number == 3
    publisher.publish("media", "2026-10", {"report": FRAME.head(4)})
    assert [one.number for one in publisher.list("media")] == [2, 3, 4]
