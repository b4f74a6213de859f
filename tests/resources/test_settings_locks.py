"""Settings are exhaustive and inert; locks and atomic writes survive the death of their process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resources.locks import LockTimeout, exclusive, write_atomically
from resources.settings import REPOSITORY, Environment, Settings, SettingsError


def test_an_unknown_environment_is_refused() -> None:
    """A misspelt "prodution" must not run with the habits of development."""
    with pytest.raises(SettingsError, match="MERAJUT_ENVIRONMENT"):
        Settings.load({"MERAJUT_ENVIRONMENT": "prodution"})


def test_defaults_lie_in_the_repository() -> None:
    settings = Settings.load({})
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.data_directory == REPOSITORY / "data"
    assert (settings.dispute_window_days, settings.published_versions_kept) == (30, 3)


def test_paths_follow_the_data_directory_but_shipped_reference_does_not(tmp_path: Path) -> None:
    """A second installation elsewhere still needs the reference data that came with the code."""
    settings = Settings.load({"MERAJUT_DATA": str(tmp_path / "elsewhere")})
    inside = [settings.lake, settings.vault, settings.keys, settings.audit_log, settings.ledger, settings.sources]
    inside += [settings.dagster_home, settings.warehouse, settings.published]
    assert all(path.is_relative_to(tmp_path / "elsewhere") for path in inside)
    assert settings.reference == REPOSITORY / "data" / "reference"
    assert not (tmp_path / "elsewhere").exists(), "loading settings must not touch the disk"


def test_addresses_with_passwords_stay_out_of_the_representation() -> None:
    """Settings end up in logs and tracebacks."""
    settings = Settings.load(
        {
            "MERAJUT_PANTI_URL": "postgresql://u:geheim@h/d",
            "MERAJUT_ALERT_WEBHOOK": "https://h/geheim",
            "MERAJUT_OPENLINEAGE_URL": "https://u:geheim@h",
            "MERAJUT_OPENLINEAGE_KEY": "geheim",
        }
    )
    assert None not in (settings.panti_database_url, settings.openlineage_url, settings.openlineage_key)
    assert "geheim" not in repr(settings)


def test_windows_and_numbers_are_read_from_the_environment() -> None:
    settings = Settings.load({"MERAJUT_DISPUTE_WINDOW_DAYS": "0", "MERAJUT_PUBLISHED_VERSIONS_KEPT": " 12 "})
    assert (settings.dispute_window_days, settings.published_versions_kept) == (0, 12)
    unset = Settings.load({"MERAJUT_DISPUTE_WINDOW_DAYS": "", "MERAJUT_PUBLISHED_VERSIONS_KEPT": " "})
    assert (unset.dispute_window_days, unset.published_versions_kept) == (30, 3)


@pytest.mark.parametrize("value", ["-1", "3.5", "month", "1_0", "٣", "99999999999", "36501"])
@pytest.mark.parametrize("variable", ["MERAJUT_DISPUTE_WINDOW_DAYS", "MERAJUT_PUBLISHED_VERSIONS_KEPT"])
def test_a_number_that_is_none_is_refused_by_name(variable: str, value: str) -> None:
    """Taken for the default, originals would be kept, or destroyed, against what somebody has decided."""
    with pytest.raises(SettingsError, match=variable) as refused:
        Settings.load({variable: value})
    assert value not in str(refused.value)


def test_at_least_one_publication_is_kept() -> None:
    with pytest.raises(SettingsError, match="from 1"):
        Settings.load({"MERAJUT_PUBLISHED_VERSIONS_KEPT": "0"})


def test_a_held_lock_times_out_for_others(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "a.lock"),
        pytest.raises(LockTimeout, match=r"a\.lock"),
        exclusive(tmp_path / "a.lock", 0.05),
    ):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path, kill: Callable[..., None]) -> None:
    """Stale lock files would need an operator at night."""
    script = "import sys; from pathlib import Path; from resources.locks import exclusive\n"
    kill(script + "with exclusive(Path(sys.argv[1])): die()", tmp_path / "a.lock")
    with exclusive(tmp_path / "a.lock", 0.5):
        pass


def test_a_kill_before_the_rename_keeps_the_old_file(tmp_path: Path, kill: Callable[..., None]) -> None:
    """Pointers and manifests are read by others at any moment."""
    target = tmp_path / "pointer.json"
    write_atomically(target, b"old")
    kill(
        "import sys, pathlib; from resources.locks import write_atomically\n"
        "pathlib.Path.replace = die; write_atomically(pathlib.Path(sys.argv[1]), b'new')",
        target,
    )
    assert target.read_bytes() == b"old"
