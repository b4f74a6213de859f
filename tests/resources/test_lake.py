"""The lake: nothing in clear, nothing half-landed, no row lost between writers, and files that die for good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.facts import PersonalFactError
from resources.lake import (
    NO_TABLE,
    Lake,
    LakeError,
    RawVersion,
    StaleVersionError,
    TableNotFound,
    TableSchemaError,
)
from resources.vault import FileKeyDestroyed, KeyVault, VaultError
from tests.resources.planted import MARKER, plain_places

TABLE = "conformed/child"
OPEN_LAKE = (
    "import sys, datetime as dt; from pathlib import Path; import polars as pl\n"
    "from resources import lake as module; from resources.vault import KeyVault\n"
    "root = Path(sys.argv[1])\n"
    "lake = module.Lake(root / 'lake', KeyVault(root / 'vault' / 'vault.sqlite', root / 'keys'))\n"
)


def rows(*keys: str, day: int = 1, note: str = MARKER) -> pl.DataFrame:
    return pl.DataFrame(
        {"token": keys, "modified": [datetime(2026, 1, day, tzinfo=UTC)] * len(keys), "note": [note] * len(keys)},
        schema={"token": pl.String, "modified": pl.Datetime("us", "UTC"), "note": pl.String},
    )


def merge(lake: Lake, frame: pl.DataFrame, buckets: int = 4):
    return lake.merge(TABLE, frame, key=["token"], order_by="modified", buckets=buckets)


def land(lake: Lake, digest: str = "d1", frame: pl.DataFrame | None = None) -> RawVersion:
    frame = rows("a", "b") if frame is None else frame
    return lake.land("panti", "child", frame, ingest_date=date(2026, 10, 1), schema_version=1, digest=digest)


def notes(lake: Lake, table: str = TABLE, **options) -> dict[str, str]:
    return dict(lake.read(table, **options).select("token", "note").iter_rows())


@pytest.mark.parametrize("buckets", [1, 4])
def test_what_is_gone_leaves_in_the_commit_that_brings_the_others(lake: Lake, buckets: int) -> None:
    """A reader between a merge and a deletion of its own would see people twice, or not at all."""
    merge(lake, rows(*"abcdef", day=3, note="old"), buckets)
    version = lake.version(TABLE) or 0

    def give(frame: pl.DataFrame, gone: str):
        names = list(gone)
        return lake.merge(
            TABLE, frame, key=["token"], order_by="modified", buckets=buckets, gone=pl.col("token").is_in(names)
        )

    result = give(rows("a", "b", "g", day=2, note="new"), gone="bcd")
    assert notes(lake) == {"a": "old", "b": "new", "e": "old", "f": "old", "g": "new"}, "b is older, and yet replaces"
    assert (result.inserted, result.updated, result.unchanged, result.deleted) == (1, 1, 1, 2)
    assert lake.version(TABLE) == result.version == version + 1
    assert set(notes(lake, version=version)) == set("abcdef"), "history keeps who was there"
    again = give(rows("a", "e", day=2), gone="xyz")
    assert (again.version, again.deleted) == (result.version, 0), "nobody gone and nothing new is no commit"
    assert give(rows(), gone="abefg").deleted == 5
    assert lake.read(TABLE).height == 0
    give(rows("a"), gone="")
    assert set(notes(lake)) == {"a"}


# ── encryption ───────────────────────────────────────────────────────────────────────────


def test_nothing_that_is_stored_is_plain(lake: Lake, tmp_path: Path) -> None:
    """One forgotten statistic, name or temporary file would undo all other protection."""
    land(lake)
    lake.keep_original("panti", "child", f"id;name\n1;{MARKER}".encode())
    merge(lake, rows(*"abcdef"))
    merge(lake, rows("a", day=2, note=f"{MARKER} 2"))
    lake.overwrite("protected/media/x", rows("a"), partition={"release": "2026-10"})
    lake.delete_where(TABLE, pl.col("token") == "b")
    lake.write_parquet(rows("a"), lake.root / "scratch.parquet")
    assert plain_places(tmp_path) == []
    (tmp_path / "planted.txt").write_text(MARKER)
    assert plain_places(tmp_path) == ["planted.txt"], "the search itself must be able to find something"


def test_the_delta_log_has_counts_and_no_statistics(lake: Lake) -> None:
    """Least and greatest values of a token or birth date column are personal values."""
    merge(lake, rows(*"abc"), buckets=1)
    log = (lake.root / TABLE / "_delta_log" / f"{0:020}.json").read_text()
    added = [json.loads(line)["add"] for line in log.splitlines() if "add" in json.loads(line)]
    assert [json.loads(action["stats"]) for action in added] == [{"numRecords": 3}]


def test_plain_readers_are_refused(lake: Lake) -> None:
    path = lake.root / "x.parquet"
    lake.write_parquet(rows("a"), path)
    assert path.read_bytes()[:4] == b"PARE"  # an encrypted footer, by the Parquet format
    with pytest.raises(OSError, match="encrypted"):
        pq.read_table(path)
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(path)


def test_a_file_under_a_foreign_vault_is_refused(lake: Lake, tmp_path: Path) -> None:
    lake.write_parquet(rows("a"), lake.root / "x.parquet")
    stranger = Lake(lake.root, KeyVault(tmp_path / "other" / "vault.sqlite", tmp_path / "other_keys"))
    with pytest.raises(VaultError, match="do not belong together"):
        stranger.read_parquet(lake.root / "x.parquet")


def test_an_altered_file_is_refused_without_quoting(lake: Lake) -> None:
    path = lake.root / "x.parquet"
    lake.write_parquet(rows(*"abc"), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(LakeError) as caught:
        lake.read_parquet(path)
    assert MARKER not in str(caught.value)


def test_a_destroyed_file_key_is_refused_in_the_same_process(lake: Lake) -> None:
    """Parquet's key tools cache opened keys for ten minutes: erased would not mean unreadable."""
    path = lake.root / "x.parquet"
    key_id = lake.write_parquet(rows("a"), path)
    lake.read_parquet(path)
    lake.vault.destroy_file_key(key_id)
    with pytest.raises(FileKeyDestroyed):
        lake.read_parquet(path)


def test_columns_and_types_come_back(lake: Lake) -> None:
    """Categories and unsigned integers have no Delta type: they become text and wider integers."""
    frame = pl.DataFrame(
        {
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
            "count": pl.Series([1, None], dtype=pl.UInt32),
            "when": pl.Series([datetime(2026, 1, 1)] * 2, dtype=pl.Datetime("ms")),
            "list": [["a"], None],
            "day": [date(2026, 1, 1), None],
        }
    )
    lake.overwrite("conformed/x", frame)
    back = lake.read("conformed/x")
    assert back.schema == {
        "kind": pl.String,
        "count": pl.Int64,
        "when": pl.Datetime("us"),
        "list": pl.List(pl.String),
        "day": pl.Date,
    }
    assert back.rows() == frame.rows()
    assert lake.read("conformed/x", columns=["day"]).columns == ["day"]
    with pytest.raises(TableSchemaError, match=r"conformed/x\.bad"):
        lake.overwrite("conformed/x", pl.DataFrame({"bad": [None]}))


# ── raw ──────────────────────────────────────────────────────────────────────────────────


def test_landing_the_same_twice_is_a_no_op(lake: Lake) -> None:
    first, second = land(lake), land(lake)
    assert first.is_new
    assert not second.is_new
    assert first.path == second.path
    assert len(list(lake.root.rglob("*.parquet"))) == 1
    third = land(lake, "d2")
    assert [version.number for version in lake.raw_versions("panti", "child")] == [1, 2]
    assert lake.latest_raw("panti", "child").number == third.number == 2
    assert lake.read_raw(third).equals(rows("a", "b"))
    assert (
        third.path.parent.relative_to(lake.root).as_posix() == "raw/panti/child/ingest_date=2026-10-01/schema_version=1"
    )


def test_nothing_landed_is_none(lake: Lake) -> None:
    assert lake.latest_raw("panti", "child") is None
    assert not lake.root.exists()


@pytest.mark.parametrize(
    "point",
    ["module.write_atomically = die", "module.flush_directory = die", "module.pq.ParquetWriter.write_table = die"],
)
def test_a_killed_landing_never_happened(lake: Lake, tmp_path: Path, kill: Callable[..., None], point: str) -> None:
    """The next landing completes the work and clears the orphan away, together with its key."""
    kept = land(lake)
    kill(
        OPEN_LAKE + f"{point}\nlake.land('panti', 'child', pl.DataFrame({{'x': ['{MARKER}']}}), "
        "ingest_date=dt.date(2026, 10, 2), schema_version=1, digest='d2')",
        tmp_path,
    )
    assert [version.path for version in lake.raw_versions("panti", "child")] == [kept.path]
    files = {path for path in lake.root.rglob("*") if path.is_file() and "parquet" in path.name}
    assert len(files) == 2
    assert plain_places(tmp_path) == []
    new = land(lake, "d2")
    assert {path for path in lake.root.rglob("*") if path.is_file() and "parquet" in path.name} == {kept.path, new.path}


def test_eight_landings_at_once_keep_every_version(lake: Lake, tmp_path: Path, race: Callable[..., list[str]]) -> None:
    script = (
        "lake.land('panti', 'child', pl.DataFrame({'x': [sys.argv[2]]}), "
        "ingest_date=dt.date(2026, 10, 2), schema_version=1, digest=sys.argv[2])"
    )
    race(OPEN_LAKE + script, [(tmp_path, writer) for writer in range(8)])
    versions = lake.raw_versions("panti", "child")
    assert [version.number for version in versions] == list(range(1, 9))
    assert sorted(lake.read_raw(version).item() for version in versions) == [str(writer) for writer in range(8)]


def test_a_damaged_manifest_is_named(lake: Lake) -> None:
    land(lake)
    (lake.root / "raw/panti/child/versions.json").write_text("{")
    with pytest.raises(LakeError, match="raw/panti/child"):
        land(lake, "d2")


def test_personal_facts_are_refused(lake: Lake) -> None:
    """Manifests and commit facts are readable by everybody who can list files."""
    with pytest.raises(PersonalFactError):
        lake.overwrite(TABLE, rows("a"), facts={"note": "3171014101900001"})
    assert lake.version(TABLE) is None


def test_originals_live_for_the_dispute_window_only(lake: Lake) -> None:
    content = b"x" * (17 * 1024 * 1024)  # more than one chunk
    old = lake.keep_original("panti", "child", content, received=date(2026, 9, 1))
    new = lake.keep_original("panti", "child", b"", received=date(2026, 10, 1))
    assert lake.read_original(old) == content
    backup = lake.root / old.name
    shutil.copy(old, backup)
    assert lake.purge_originals(date(2026, 10, 1)) == 1
    assert not old.exists()
    with pytest.raises(FileKeyDestroyed):
        lake.read_original(backup)
    assert lake.read_original(new) == b""
    new.write_bytes(new.read_bytes()[:-1])
    with pytest.raises(LakeError, match="altered"):
        lake.read_original(new)


# ── Delta ────────────────────────────────────────────────────────────────────────────────


def test_overwrite_replaces_rows_and_schema(lake: Lake) -> None:
    assert lake.overwrite(TABLE, rows("a"), expected_version=NO_TABLE) == 0
    assert lake.overwrite(TABLE, pl.DataFrame({"other": [1]}), facts={"run": "r1"}) == 1
    assert lake.read(TABLE).to_dict(as_series=False) == {"other": [1]}
    assert lake.read(TABLE, version=0).equals(rows("a"))
    assert [entry["facts"] for entry in lake.history(TABLE)] == [{"run": "r1"}, {}]
    assert lake.overwrite(TABLE, rows()) == 2
    assert lake.read(TABLE).equals(rows())


def test_a_stale_overwrite_is_refused(lake: Lake) -> None:
    """Delta itself accepts an overwrite that was computed before somebody else's rows came in."""
    read = lake.overwrite(TABLE, rows("a"))
    lake.overwrite(TABLE, rows("a", "b"))
    for expected in (read, NO_TABLE):
        with pytest.raises(StaleVersionError, match="version 1"):
            lake.overwrite(TABLE, rows("z"), expected_version=expected)
    assert lake.read(TABLE).height == 2


def test_partitions_are_replaced_one_by_one(lake: Lake) -> None:
    name = "protected/government/child_summary"
    for release, keys in (("2026-09", "ab"), ("2026-10", "abc"), ("2026-10", "xyz")):
        lake.overwrite(name, rows(*keys), partition={"release": release})
    assert sorted(lake.read(name, partition={"release": "2026-10"})["token"]) == ["x", "y", "z"]
    assert lake.read(name, filter=pl.col("release") == "2026-09").height == 2
    assert lake.partitions(name) == [{"release": "2026-09"}, {"release": "2026-10"}]
    with pytest.raises(TableSchemaError, match="missing note"):
        lake.overwrite(name, rows("a").drop("note"), partition={"release": "2026-10"})
    with pytest.raises(TableSchemaError, match="partitioned by release"):
        lake.overwrite(name, rows("a"))
    with pytest.raises(TableSchemaError, match="contradicts"):
        lake.overwrite(name, rows("a").with_columns(release=pl.lit("2026-09")), partition={"release": "2026-10"})
    assert lake.tables("protected") == [name]


def test_merge_inserts_updates_and_leaves(lake: Lake) -> None:
    assert merge(lake, rows(*"abc", day=5)).inserted == 3
    result = merge(lake, pl.concat([rows("a", day=6, note="newer"), rows("b", day=4, note="older"), rows("d", day=1)]))
    assert (result.version, result.inserted, result.updated, result.unchanged) == (1, 1, 1, 1)
    assert notes(lake) == {"a": "newer", "b": MARKER, "c": MARKER, "d": MARKER}


def test_backfilling_an_old_day_cannot_overwrite_newer_rows(lake: Lake) -> None:
    merge(lake, rows("a", day=9, note="newest"))
    assert merge(lake, rows("a", day=3, note="backfilled")).version == 0
    assert notes(lake) == {"a": "newest"}


def test_merging_the_same_again_commits_nothing(lake: Lake) -> None:
    merge(lake, rows(*"abc"))
    before = sorted(lake.root.rglob("*"))
    result = merge(lake, rows(*"abc"))
    assert (result.version, result.unchanged) == (0, 3)
    assert sorted(lake.root.rglob("*")) == before


def test_of_one_key_twice_the_newest_counts(lake: Lake) -> None:
    result = merge(lake, pl.concat([rows("a", day=3, note="new"), rows("a", day=2, note="old")]))
    assert (result.inserted, result.unchanged) == (1, 1)
    assert notes(lake) == {"a": "new"}


def test_merge_rewrites_only_touched_buckets(lake: Lake) -> None:
    """A thousand changed rows must not cost a rewrite of three million."""
    merge(lake, rows(*(f"k{number}" for number in range(200))), buckets=8)
    before = {Path(uri).name for uri in DeltaTable(str(lake.root / TABLE)).file_uris()}
    merge(lake, rows("k7", day=2), buckets=8)
    after = {Path(uri).name for uri in DeltaTable(str(lake.root / TABLE)).file_uris()}
    assert len(before) == len(after) == 8
    assert len(before - after) == 1


def test_another_number_of_buckets_keeps_all_rows(lake: Lake) -> None:
    keys = [f"k{number}" for number in range(50)]
    lake.overwrite(TABLE, rows(*keys))
    for day, buckets in enumerate((4, 8, 1), start=2):
        assert merge(lake, rows("k1", day=day, note=str(buckets)), buckets=buckets).updated == 1
        assert sorted(lake.read(TABLE)["token"]) == sorted(keys)
    assert merge(lake, rows("k1", day=30, note="end"), buckets=1).updated == 1


def test_merge_refuses_what_it_cannot_match(lake: Lake) -> None:
    merge(lake, rows("a"))
    with pytest.raises(TableSchemaError, match="key column token has nulls"):
        merge(lake, rows("a").with_columns(token=pl.lit(None, dtype=pl.String)))
    with pytest.raises(TableSchemaError, match="missing note; new memo"):
        merge(lake, rows("a").rename({"note": "memo"}))
    with pytest.raises(TableSchemaError, match="no column modified"):
        merge(lake, rows("a").drop("modified"))
    assert lake.version(TABLE) == 0


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 9), st.sampled_from("xyz")), max_size=5), max_size=4
    ),
    st.integers(1, 3),
)
def test_merge_is_last_newest_wins(tmp_path: Path, vault: KeyVault, batches: list, buckets: int) -> None:
    """Against the plainest model: a dictionary that takes a row unless it has a newer one."""
    lake = Lake(tmp_path / f"lake{len(list(tmp_path.iterdir()))}", vault)
    model: dict[str, tuple[int, str]] = {}
    merge(lake, rows(), buckets)
    for batch in batches:
        frames = [rows(key, day=day, note=note) for key, day, note in batch]
        merge(lake, pl.concat([rows(), *frames]), buckets)
        for key, day, note in sorted(batch, key=lambda row: row[1]):
            if key not in model or day >= model[key][0]:
                model[key] = (day, note)
    assert {row[0]: (row[1].day, row[2]) for row in lake.read(TABLE).rows()} == model
    assert lake.rows(TABLE) == len(model)


def test_eight_merging_processes_lose_no_row(lake: Lake, tmp_path: Path, race: Callable[..., list[str]]) -> None:
    script = (
        "moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)\n"
        "for n in range(3):\n"
        "    keys = [f'{sys.argv[2]}-{n}-{i}' for i in range(20)] + ['shared']\n"
        "    when = moment + dt.timedelta(int(sys.argv[2]))\n"
        "    frame = pl.DataFrame({'token': keys, 'modified': [when] * 21, 'note': [sys.argv[2]] * 21})\n"
        "    lake.merge('conformed/child', frame, key=['token'], order_by='modified', buckets=2)\n"
    )
    race(OPEN_LAKE + script, [(tmp_path, writer) for writer in range(8)])
    assert lake.read(TABLE).height == lake.read(TABLE)["token"].n_unique() == 8 * 3 * 20 + 1
    assert notes(lake)["shared"] == "7", "the newest writer's row must win, whoever came last"


def test_eight_read_and_overwrite_processes_lose_no_row(
    lake: Lake, tmp_path: Path, race: Callable[..., list[str]]
) -> None:
    """With the version that was read, a lost update becomes a refusal that the loser can repeat."""
    lake.overwrite("conformed/list", pl.DataFrame({"x": ["start"]}))
    script = (
        "while True:\n"
        "    version = lake.version('conformed/list'); seen = lake.read('conformed/list', version=version)\n"
        "    more = pl.concat([seen, pl.DataFrame({'x': [sys.argv[2]]})])\n"
        "    try: lake.overwrite('conformed/list', more, expected_version=version); break\n"
        "    except module.StaleVersionError: pass\n"
    )
    race(OPEN_LAKE + script, [(tmp_path, writer) for writer in range(8)])
    assert sorted(lake.read("conformed/list")["x"]) == [*map(str, range(8)), "start"]


@pytest.mark.parametrize(
    "point",
    ["module.Lake._commit = die", "module.DeltaTable.create_write_transaction = die", "module.flush_directory = die"],
)
def test_a_killed_merge_changes_nothing(lake: Lake, tmp_path: Path, kill: Callable[..., None], point: str) -> None:
    """The next merge completes; vacuum takes the orphans and their keys."""
    merge(lake, rows(*"abc"))
    kill(
        OPEN_LAKE + f"{point}\nframe = lake.read('conformed/child').with_columns(note=pl.lit('{MARKER} 2'))\n"
        "lake.merge('conformed/child', frame, key=['token'], order_by='modified', buckets=4)",
        tmp_path,
    )
    assert (lake.version(TABLE), notes(lake)) == (0, dict.fromkeys("abc", MARKER))
    assert plain_places(tmp_path) == []
    present = {path.name for path in (lake.root / TABLE).glob("*.parquet")}
    used = {Path(uri).name for uri in DeltaTable(str(lake.root / TABLE)).file_uris()}
    assert present > used
    assert merge(lake, rows("a", day=2, note="n")).updated == 1
    lake.vacuum(TABLE)
    used = {Path(uri).name for uri in DeltaTable(str(lake.root / TABLE)).file_uris()}
    assert {path.name for path in (lake.root / TABLE).glob("*.parquet")} == used


def test_time_travel_and_restore(lake: Lake) -> None:
    merge(lake, rows("a", note="one"))
    merge(lake, rows("a", day=2, note="two"))
    assert notes(lake, version=0) == {"a": "one"}
    assert lake.restore(TABLE, 0) == 2
    assert notes(lake) == {"a": "one"}
    assert merge(lake, rows("a", day=3, note="three")).version == 3


def test_vacuum_kills_old_versions_and_their_backups(lake: Lake, tmp_path: Path) -> None:
    """Erasure is only true when yesterday's backup of the file is unreadable as well."""
    merge(lake, rows(*"abc"))
    shutil.copytree(lake.root / TABLE, tmp_path / "backup")
    assert lake.delete_where(TABLE, pl.col("token") == "b") == 1
    assert lake.delete_where(TABLE, pl.col("token") == "b") == 0
    assert lake.read(TABLE, version=0).height == 3
    assert lake.vacuum(TABLE, retain_versions=2) == 0
    assert lake.vacuum(TABLE, retain_versions=1) == 1
    assert sorted(lake.read(TABLE)["token"]) == ["a", "c"]
    with pytest.raises(FileKeyDestroyed):
        lake.read(TABLE, version=0)
    with pytest.raises(LakeError, match="vacuumed"):
        lake.restore(TABLE, 0)
    for path in (tmp_path / "backup").glob("*.parquet"):
        if not (lake.root / TABLE / path.name).exists():
            shutil.copy(path, lake.root / TABLE / path.name)
    with pytest.raises(FileKeyDestroyed):
        lake.read(TABLE, version=0)


def test_deleting_reaches_every_partition_and_spares_nulls(lake: Lake) -> None:
    name = "protected/academia/x"
    for release in ("2026-09", "2026-10"):
        frame = pl.concat([rows("a", "b"), rows("c").with_columns(note=pl.lit(None, dtype=pl.String))])
        lake.overwrite(name, frame, partition={"release": release})
    assert lake.delete_where(name, pl.col("note") == MARKER) == 4
    assert sorted(lake.read(name).select("release", "token").rows()) == [("2026-09", "c"), ("2026-10", "c")]


def test_missing_tables_versions_and_columns_are_named(lake: Lake) -> None:
    with pytest.raises(TableNotFound, match="conformed/child does not exist"):
        lake.read(TABLE)
    assert lake.version(TABLE) is None
    lake.overwrite(TABLE, rows("a"))
    with pytest.raises(TableNotFound, match="version 9"):
        lake.read(TABLE, version=9)
    with pytest.raises(TableSchemaError, match="no column nothing"):
        lake.read(TABLE, columns=["nothing"])
    with pytest.raises(TableSchemaError):
        lake.read(TABLE, filter=pl.col("nothing") == 1)
    with pytest.raises(LakeError):
        lake.overwrite("../outside", rows("a"))


def test_deltas_are_plain_protocol(lake: Lake) -> None:
    """Spark and other engines read the log as any Delta table's; only the payload needs keys."""
    merge(lake, rows(*"abc"))
    delta = DeltaTable(str(lake.root / TABLE))
    assert [field.name for field in delta.schema().fields] == ["token", "modified", "note"]
    assert (delta.protocol().min_reader_version, delta.protocol().min_writer_version) == (1, 2)
    assert delta.get_add_actions(flatten=True).num_rows > 0


# ── tables whose contract has changed ────────────────────────────────────────────────────

DATED = "statistics/government/child_count"


def store(lake: Lake, release: str, frame: pl.DataFrame, *, may_gain_columns: bool = True) -> int:
    return lake.overwrite(
        DATED, frame, partition={"release": release}, may_gain_columns=may_gain_columns, facts={"release": release}
    )


def test_a_partition_brings_new_columns_into_its_table(lake: Lake) -> None:
    """A release that gained a column could not be stored beside the earlier ones. It takes one commit, which names its
    release: one without a name would pass for a rewrite of all of them."""
    store(lake, "2026-08", rows("a").drop("note"))
    store(lake, "2026-09", rows("b").drop("note"))
    with pytest.raises(TableSchemaError, match="new note"):
        store(lake, "2026-10", rows("c"), may_gain_columns=False)
    version = store(lake, "2026-10", rows("c"))
    assert notes(lake, table=DATED) == {"a": None, "b": None, "c": MARKER}
    assert [entry["facts"].get("release") for entry in lake.history(DATED)] == ["2026-10", "2026-09", "2026-08"]
    assert "note" not in lake.read(DATED, version=version - 1).columns
    assert "note" not in lake.schema(DATED, version=version - 1)
    store(lake, "2026-09", rows("b"))
    assert notes(lake, table=DATED) == {"a": None, "b": MARKER, "c": MARKER}
    assert lake.delete_where(DATED, pl.col("note").is_null()) == 1
    assert notes(lake, table=DATED) == {"b": MARKER, "c": MARKER}
    assert MARKER.encode() not in b"".join(file.read_bytes() for file in lake.root.rglob("*") if file.is_file())


def test_an_empty_partition_may_bring_new_columns_too(lake: Lake) -> None:
    store(lake, "2026-09", rows("b").drop("note"))
    store(lake, "2026-10", rows())
    assert notes(lake, table=DATED) == {"b": None}


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (rows("c").drop("note"), "missing note"),
        (rows("c").with_columns(pl.lit(1).alias("note")), "retyped note"),
    ],
)
def test_what_other_partitions_cannot_follow_is_refused_beforehand_in_the_same_words(
    lake: Lake, frame: pl.DataFrame, told: str
) -> None:
    """Who pays for rows before they are stored has to ask first; a partition alone may have any shape."""
    store(lake, "2026-09", rows("b"))
    lake.check_columns(DATED, frame.schema, partition={"release": "2026-09"}, may_gain_columns=True)
    with pytest.raises(TableSchemaError, match=told) as asked:
        lake.check_columns(DATED, frame.schema, partition={"release": "2026-10"}, may_gain_columns=True)
    with pytest.raises(TableSchemaError) as refused:
        store(lake, "2026-10", frame)
    assert str(asked.value) == str(refused.value)
    assert DATED in str(asked.value)
    lake.check_columns("not/there", frame.schema, partition={"release": "2026-10"})
    lake.check_columns(DATED, rows("c").schema, partition={"release": "2026-10"})


def test_a_column_is_cleared_in_some_rows_only(lake: Lake) -> None:
    """An erasure takes a name out of rows that stay, whatever the key of their table was when it was written."""
    merge(lake, rows(*"abcd"))
    assert lake.clear_where(TABLE, "note", pl.col("token").is_in(["a", "z"])) == 1
    assert notes(lake) == {"a": None, "b": MARKER, "c": MARKER, "d": MARKER}
    version = lake.version(TABLE)
    assert lake.clear_where(TABLE, "note", pl.col("token") == "z") == 0
    assert lake.version(TABLE) == version


def test_a_condition_on_a_column_that_is_not_there_is_refused_by_name(lake: Lake) -> None:
    """Polars' own error passed, whose text is withheld because it may quote a record."""
    merge(lake, rows("a"))
    with pytest.raises(TableSchemaError, match="no column elsewhere"):
        lake.delete_where(TABLE, pl.col("elsewhere") == "a")
