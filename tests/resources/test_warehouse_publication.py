"""Warehouse and publications: encrypted, each under its own key, replaced without disturbing readers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from resources.duckdb_files import DatabaseFileError, connect, httpfs_extension
from resources.facts import PersonalFactError
from resources.publication import PublicationError, Publisher
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
