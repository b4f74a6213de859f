"""What analysts' dbt has noted about opening the released warehouse, taken up into the audit log.

An analyst cannot write into the log: it is chained by a key of the vault, and whoever has that key opens everything.
So dbt leaves a note in the analyst's own folder, and blocks nobody; here belongs reading the notes. They are the
analyst's word: whoever leaves them out is not found by them. What cannot be left out is the pipeline's own entry, that
a warehouse was released to the holders of the analysts' key.
"""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from resources.lakehouse import DECRYPTION, Lakehouse

READER = "analyst"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}-\d{1,9}\.duckdb")
_LONGEST_NOTE_BYTES = 4096


def take_up_openings(lakehouse: Lakehouse) -> int:
    """Append an entry to the audit log for every note, and remove the note; returns how many there were.

    A note that is not as dbt writes it is told as such, without its content. Killed between the entry and the removal,
    or unable to remove it, the next call tells the opening a second time. The folder is not ours: what is no plain file
    there is left alone."""
    found = sorted((lakehouse.settings.analyst / "openings").glob("*.json"))
    notes = [note for note in found if stat.S_ISREG(note.lstat().st_mode)]
    for note in notes:
        told = _told(note)
        file, opened_at = told if told is not None else (None, None)
        lakehouse.audit.append(
            DECRYPTION,
            table="warehouse/released",
            file=file,
            opened_at=opened_at,
            reader=READER,
            purpose="dbt" if told is not None else "a note that is not dbt's",
        )
        with suppress(OSError):
            note.unlink()
    return len(notes)


def _told(note: Path) -> tuple[str, str] | None:
    """(file, time) of a note; None when it is not as dbt writes it."""
    try:
        # Neither led elsewhere by a link nor kept waiting by a pipe that took the file's place.
        with os.fdopen(os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            content = json.loads(stream.read(_LONGEST_NOTE_BYTES))
        file, opened_at = str(content["file"]), datetime.fromisoformat(str(content["opened_at"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (file, opened_at.isoformat(timespec="seconds")) if _FILE.fullmatch(file) else None
