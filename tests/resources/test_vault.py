"""The vault: keys stay the same, die for good, and open only under the right master key."""

from __future__ import annotations

import hmac
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.vault import (
    FileKeyDestroyed,
    ForgetfulVault,
    Hasher,
    KeyVault,
    NamedKeyDestroyed,
    VaultError,
    Watermark,
    WrongKeyError,
    row_key,
)
from tests.resources.planted import backup_of

IDS = [f"CH-{number:05d}" for number in range(500)]


def again(vault: KeyVault) -> KeyVault:
    """The same vault as another process would see it."""
    return KeyVault(vault.database, vault.key_directory)


def stored(vault: KeyVault) -> bytes:
    """Every byte that the database keeps, its log included."""
    return b"".join(path.read_bytes() for path in vault.database.parent.iterdir())


def test_construction_touches_nothing(vault: KeyVault, tmp_path: Path) -> None:
    """Loading the definitions must not create keys."""
    assert list(tmp_path.iterdir()) == []


def test_keys_are_stable_distinct_and_bound_to_the_subject_kind(vault: KeyVault) -> None:
    first = vault.subject_keys("child", IDS)
    assert again(vault).subject_keys("child", IDS, create=False) == first
    assert len(set(first.values())) == len(IDS)
    assert set(first.values()).isdisjoint(vault.subject_keys("guardian", IDS).values())


def test_unknown_ids_get_no_key_unless_asked(vault: KeyVault) -> None:
    assert vault.subject_keys("child", IDS, create=False) == {}
    assert vault.subject_keys("child", []) == {}


def test_bulk_speed(vault: KeyVault) -> None:
    """20,000 children must not cost the demo seconds: at least 25,000 keys a second."""
    many = [f"X{number}" for number in range(20_000)]
    begun = time.perf_counter()
    vault.subject_keys("child", many)
    vault.subject_keys("child", many)
    assert time.perf_counter() - begun < 1.6


def test_a_destroyed_subject_stays_destroyed(vault: KeyVault) -> None:
    """A source that still holds an erased child must not bring the key back at the next landing."""
    vault.subject_keys("child", IDS)
    assert vault.destroy_subject("child", IDS[3])
    assert not vault.destroy_subject("child", IDS[3])
    assert IDS[3] not in again(vault).subject_keys("child", IDS)
    assert vault.destroyed("child", IDS) == {IDS[3]}
    assert len(vault.subject_keys("child", IDS)) == len(IDS) - 1


def test_an_id_can_be_destroyed_before_it_was_ever_seen(vault: KeyVault) -> None:
    """Erasure may come before the system in which the person turns up next."""
    vault.destroy_subjects("child", ["later"])
    assert vault.subject_keys("child", ["later"]) == {}


def test_destroyed_key_bytes_are_gone_from_database_and_log(vault: KeyVault) -> None:
    """SQLite keeps deleted bytes in free pages and in its write-ahead log unless told otherwise."""
    vault.subject_keys("child", IDS)
    with sqlite3.connect(vault.database) as connection:
        before = {row[0] for row in connection.execute("SELECT wrapped FROM subject_key")}
    assert all(text in stored(vault) for text in before)
    vault.destroy_subjects("child", IDS[:50])
    with sqlite3.connect(vault.database) as connection:
        alive = {row[0] for row in connection.execute("SELECT wrapped FROM subject_key WHERE wrapped IS NOT NULL")}
    assert len(before - alive) == 50
    assert not any(text in stored(vault) for text in before - alive)


def test_no_id_is_stored_in_clear(vault: KeyVault) -> None:
    vault.subject_keys("child", ["ANAK-TERANG-1"])
    vault.destroy_subject("child", "ANAK-TERANG-1")
    assert b"ANAK-TERANG-1" not in stored(vault)


def test_a_wrapped_key_moved_to_another_person_does_not_open(vault: KeyVault) -> None:
    """Otherwise whoever can write the database could make one child's rows open as another's."""
    vault.subject_keys("child", IDS[:2])
    with sqlite3.connect(vault.database) as connection:
        connection.execute("UPDATE subject_key SET wrapped = (SELECT max(wrapped) FROM subject_key)")
    with pytest.raises(WrongKeyError, match="altered"):
        again(vault).subject_keys("child", IDS[:2])


# ── master key ───────────────────────────────────────────────────────────────────────────


def test_master_key_file_is_private(vault: KeyVault) -> None:
    vault.open()
    assert stat.S_IMODE(vault.master_key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(vault.key_directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.chmod(0o640), "chmod 600"),
        (lambda path: path.write_text("1 c2hvcnQ=\n"), "wrong length"),
        (lambda path: path.write_text("nonsense\n"), "malformed"),
        (lambda path: path.write_text(""), "empty"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("1 " + "A" * 43 + "=\n"), "does not open this vault"),
        (lambda path: path.write_text("9 " + "A" * 43 + "=\n"), "does not open this vault"),
    ],
)
def test_a_wrong_master_key_is_refused_with_a_remedy(
    vault: KeyVault, damage: Callable[[Path], None], says: str
) -> None:
    """Going on with another key would make a second, incompatible vault out of the first."""
    vault.subject_keys("child", IDS)
    before = vault.database.read_bytes()
    damage(vault.master_key_file)
    with pytest.raises(WrongKeyError, match=says):
        again(vault).subject_keys("child", IDS)
    assert vault.database.read_bytes() == before


def test_rotation_keeps_all_keys(vault: KeyVault) -> None:
    other = again(vault)
    keys, (key_id, file_key) = other.subject_keys("child", IDS), other.new_file_key()
    digest = other.named_key("digest")
    vault.destroy_subject("child", IDS[0])
    assert vault.rotate() == 2
    for view in (vault, other, again(vault)):  # `other` was open all the time
        assert view.subject_keys("child", IDS) == {name: keys[name] for name in IDS[1:]}
        assert (view.file_key(key_id), view.named_key("digest")) == (file_key, digest)


def test_rotation_kills_backups_of_the_vault(vault: KeyVault, tmp_path: Path) -> None:
    """A backup made before an erasure still holds the erased keys: rotation must take the way to them."""
    vault.subject_keys("child", IDS)
    vault.rotate()
    vault.destroy_subject("child", IDS[0])
    shutil.copy(vault.database, tmp_path / "backup.sqlite")
    vault.rotate()
    with pytest.raises(WrongKeyError):
        KeyVault(tmp_path / "backup.sqlite", vault.key_directory).subject_keys("child", IDS)


@pytest.mark.parametrize(
    "point",
    [
        "vault._rewrap = die",
        "_write = vault._write_master_keys\n"
        "vault._write_master_keys = lambda path, keys: _write(path, keys) if len(keys) == 2 else die()",
    ],
)
def test_a_killed_rotation_loses_nothing(vault: KeyVault, kill: Callable[..., None], point: str) -> None:
    """Killed before or after the database was committed, the keys open, and only one master version is left."""
    keys = vault.subject_keys("child", IDS)
    kill(
        f"import sys; from pathlib import Path; from resources import vault\n{point}\n"
        "vault.KeyVault(Path(sys.argv[1]), Path(sys.argv[2])).rotate()",
        vault.database,
        vault.key_directory,
    )
    assert len(vault.master_key_file.read_text().splitlines()) == 2
    assert again(vault).subject_keys("child", IDS) == keys
    assert len(vault.master_key_file.read_text().splitlines()) == 1
    assert vault.subject_keys("child", IDS) == keys


def test_eight_processes_agree_on_every_key(vault: KeyVault, race: Callable[..., list[str]]) -> None:
    """Two keys for one child would make half of the rows unreadable."""
    printed = race(
        "import sys, hashlib; from pathlib import Path; from resources.vault import KeyVault\n"
        "keys = KeyVault(Path(sys.argv[1]), Path(sys.argv[2])).subject_keys('child', [f'c{n}' for n in range(2000)])\n"
        "print(len(keys), hashlib.sha256(b''.join(keys.values())).hexdigest())",
        [(vault.database, vault.key_directory)] * 8,
    )
    assert len(set(printed)) == 1
    assert printed[0].startswith("2000 ")


# ── file, named, handed-out keys ─────────────────────────────────────────────────────────


def test_a_destroyed_file_key_is_gone(vault: KeyVault) -> None:
    (kept, kept_key), (gone, _) = vault.new_file_keys(2)
    vault.destroy_file_key(gone)
    with pytest.raises(FileKeyDestroyed):
        again(vault).file_key(gone)
    assert vault.file_key(kept) == kept_key
    with pytest.raises(VaultError, match="do not belong together"):
        vault.file_key("0" * 32)


def test_named_keys_are_apart_and_can_be_rotated_and_destroyed(vault: KeyVault) -> None:
    """Pseudonyms of two stakeholders must not be linkable by key."""
    one, two = vault.named_key("pseudonym/government/2026"), vault.named_key("pseudonym/academia/2026")
    assert one != two
    assert again(vault).named_key("pseudonym/government/2026") == one
    rotated = vault.rotate_named_key("pseudonym/government/2026")
    assert one != rotated == again(vault).named_key("pseudonym/government/2026")
    vault.destroy_named_key("pseudonym/academia/2026")
    with pytest.raises(NamedKeyDestroyed):
        vault.named_key("pseudonym/academia/2026")


def test_handed_out_keys_need_neither_vault_nor_master_key(vault: KeyVault) -> None:
    """An analyst has the analyst key file and nothing else."""
    key = vault.analyst_key()
    assert not vault.database.exists()
    assert not vault.master_key_file.exists()
    assert again(vault).analyst_key() == key
    assert len({key, vault.stakeholder_key("government"), vault.stakeholder_key("media")}) == 3
    files = [vault.key_directory / "analyst.key", *(vault.key_directory / "stakeholders").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_stakeholder_name_cannot_leave_its_folder(vault: KeyVault) -> None:
    with pytest.raises(VaultError):
        vault.stakeholder_key("../master")


def test_eight_processes_agree_on_the_analyst_key(vault: KeyVault, race: Callable[..., list[str]]) -> None:
    script = "import sys; from pathlib import Path; from resources.vault import KeyVault\n"
    script += "print(KeyVault(Path(sys.argv[1]), Path(sys.argv[2])).analyst_key())"
    assert len(set(race(script, [(vault.database, vault.key_directory)] * 8))) == 1


# ── pure parts ───────────────────────────────────────────────────────────────────────────


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=4, unique=True), st.randoms())
def test_a_row_key_needs_every_subject_and_no_order(keys: list[bytes], random) -> None:
    shuffled = random.sample(keys, len(keys))
    assert row_key(shuffled) == row_key(keys)
    assert all(row_key([other for other in keys if other != key]) != row_key(keys) for key in keys)
    assert row_key(keys[:1]) == keys[0]


def test_a_row_without_subject_has_no_key() -> None:
    with pytest.raises(ValueError, match="at least one subject"):
        row_key([])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_fast_hasher_is_hmac(key: bytes, message: bytes) -> None:
    """Tokens must be reproducible by anybody with the key and a standard library."""
    assert Hasher(key).digest(message) == hmac.digest(key, message, "sha256")


# ── older state ──────────────────────────────────────────────────────────────────────────


def test_a_vault_that_forgot_an_erasure_hands_out_nothing(vault: KeyVault, tmp_path: Path) -> None:
    """A vault taken back from a backup once read erased people again, and nobody noticed."""
    register = tmp_path / "evidence" / "tombstones"
    keeper = KeyVault(vault.database, vault.key_directory, register)
    keys = keeper.subject_keys("child", IDS)
    (key_id, _) = keeper.new_file_key()
    backup_of(keeper, tmp_path / "backup.sqlite")
    keeper.destroy_subjects("child", IDS[:2])
    assert keeper.forgotten() == 0

    older = KeyVault(tmp_path / "backup.sqlite", vault.key_directory, register)
    assert older.forgotten() == 2
    for asked in (
        lambda: older.subject_keys("child", IDS[:1]),
        lambda: older.subject_keys("child", IDS, create=False),
        lambda: older.subject_keys("guardian", ["new"]),
        lambda: older.file_key(key_id),
    ):
        with pytest.raises(ForgetfulVault, match="erase-again"):
            asked()

    assert older.destroy_again() == 2
    assert older.forgotten() == 0
    assert older.destroyed("child", IDS) == set(IDS[:2])
    assert older.subject_keys("child", IDS) == {name: keys[name] for name in IDS[2:]}


def test_a_lost_vault_is_not_replaced_by_a_new_one_unseen(vault: KeyVault, tmp_path: Path) -> None:
    """With an empty vault, the next landing would give erased people new keys."""
    register = tmp_path / "evidence" / "tombstones"
    KeyVault(vault.database, vault.key_directory, register).destroy_subject("child", IDS[0])
    fresh = KeyVault(tmp_path / "fresh.sqlite", tmp_path / "fresh_keys", register)
    assert fresh.forgotten() == 1
    with pytest.raises(ForgetfulVault):
        fresh.subject_keys("child", IDS)
    assert not fresh.database.exists()


def test_the_register_of_tombstones_is_private_shows_nobody_and_is_refused_when_damaged(
    vault: KeyVault, tmp_path: Path
) -> None:
    register = tmp_path / "evidence" / "tombstones"
    KeyVault(vault.database, vault.key_directory, register).destroy_subjects("child", IDS)
    assert register.stat().st_mode & 0o777 == 0o600
    assert not any(name in register.read_text() for name in IDS)
    register.write_text("child not-a-hash\n")
    with pytest.raises(VaultError, match="damaged"):
        KeyVault(vault.database, vault.key_directory, register).subject_keys("child", IDS)


def test_a_watermark_only_rises(vault: KeyVault) -> None:
    """Whoever is late must not hide what came after; asking for one makes no vault."""
    assert vault.watermark("audit") is None
    assert not vault.database.exists()
    for number, digest in ((3, "three"), (2, "two")):
        vault.raise_watermark("audit", number, digest)
    assert vault.watermark("audit") == Watermark(3, "three")
    assert vault.watermark("other") is None
