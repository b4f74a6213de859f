"""A value to plant where it must not show, and the search for it."""

from __future__ import annotations

from pathlib import Path

# Distinctive enough that finding it anywhere in a file means that a row was written in clear.
MARKER = "PENANDA-RAHASIA-7f3a"


def plain_places(folder: Path, marker: str = MARKER) -> list[str]:
    """Names of the files below `folder` whose name or bytes show `marker`."""
    return [
        path.name
        for path in folder.rglob("*")
        if marker in path.name or (path.is_file() and marker.encode() in path.read_bytes())
    ]
