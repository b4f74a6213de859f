"""What the storage tests share: real vaults and lakes in temporary folders, and processes to race or kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from resources.lake import Lake
from resources.vault import KeyVault

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def vault(tmp_path: Path) -> KeyVault:
    return KeyVault(tmp_path / "vault" / "vault.sqlite", tmp_path / "keys")


@pytest.fixture
def lake(tmp_path: Path, vault: KeyVault) -> Lake:
    return Lake(tmp_path / "lake", vault)


def start(script: str, *arguments: object, home: Path) -> subprocess.Popen[str]:
    """A Python process of its own running `script`, with an empty home folder."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        env={"HOME": str(home), "PATH": os.environ.get("PATH", ""), "POLARS_MAX_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def race(tmp_path: Path) -> Callable[..., list[str]]:
    """Run one script in a process per tuple of arguments, all at once; returns what each printed."""

    def run(script: str, arguments: Sequence[tuple[object, ...]]) -> list[str]:
        processes = [start(script, *each, home=tmp_path / "home") for each in arguments]
        printed = []
        for process in processes:
            out, err = process.communicate(timeout=50)
            assert process.returncode == 0, err
            printed.append(out.strip())
        return printed

    return run


@pytest.fixture
def kill(tmp_path: Path) -> Callable[..., None]:
    """Run a script that must end by SIGKILL at the point where it kills itself."""

    def run(script: str, *arguments: object) -> None:
        process = start(
            "import os, signal\ndef die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n" + script,
            *arguments,
            home=tmp_path / "home",
        )
        _, err = process.communicate(timeout=50)
        assert process.returncode == -signal.SIGKILL, err

    return run
