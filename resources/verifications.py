"""Evidence that what is stored of a release passed its privacy check: entries of the audit log.

Here belongs how such an entry is written and read, and which version of a table a release is stored in. What a check
looks at is the layers' matter; what is demanded before something is published, the lineage proof's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resources.audit import AuditLog
from resources.lake import Lake

EVENT = "verification"
_RELEASE = "release"


class RecordedVerification(NamedTuple):
    """An entry: a privacy check ran over a stored version of a table, for a release."""

    table: str
    release: str
    version: int
    passed: bool


def stored_version(lake: Lake, table: str, release: str) -> int | None:
    """The version of a table since which its rows of a release are as they are; None when there are none.

    A commit that names no release has rewritten the whole table (an erasure, or a restore): what was verified
    before it does not count any more."""
    if lake.version(table) is None or {_RELEASE: release} not in lake.partitions(table):
        return None
    concerned = (
        int(commit["version"]) for commit in lake.history(table) if commit["facts"].get(_RELEASE, release) == release
    )
    return next(concerned, None)


def record_verification(audit: AuditLog, table: str, release: str, version: int | None, *, passed: bool) -> None:
    """Append that a privacy check has judged a version of a table. `version`: as `stored_version` told before the check
    read anything, so that what is written meanwhile is not taken for verified."""
    audit.append(EVENT, asset=table, release=release, version=version, passed=passed)


def recorded_verifications(audit: AuditLog) -> Iterator[RecordedVerification]:
    """All entries about a stored version, oldest first, as they stand: verify the log before believing them."""
    for entry in audit.entries():
        facts = entry["facts"]
        if entry["event"] == EVENT and facts["version"] is not None:
            yield RecordedVerification(facts["asset"], facts["release"], int(facts["version"]), facts["passed"] is True)
