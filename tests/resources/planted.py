"""A value to plant where it must not show, and the search for it; backups to take back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from resources.vault import KeyVault

# Distinctive enough that finding it anywhere in a file means that a row was written in clear.
MARKER = "PENANDA-RAHASIA-7f3a"


def plain_places(folder: Path, marker: str = MARKER) -> list[str]:
    """Names of the files below `folder` whose name or bytes show `marker`."""
    return [
        path.name
        for path in folder.rglob("*")
        if marker in path.name or (path.is_file() and marker.encode() in path.read_bytes())
    ]


def backup_of(vault: KeyVault, path: Path) -> None:
    """Copy a vault's database to `path`, as a backup taken while it is in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(vault.database)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
