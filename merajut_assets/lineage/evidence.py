"""Whether what a proof rests on was verified: the privacy checks of a release, and of which stored version.

Here belongs judging entries that somebody else has read; where they are written and kept is `resources`' matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verification:
    """That a privacy check ran: over which stored version of a table, for which release, and whether it passed."""

    table: str
    release: str
    version: int
    passed: bool


@dataclass(frozen=True)
class Evidence:
    """What is known about a release. `stored`: the version in which each table holds it; `verifications`: oldest
    first; `fault`: why none of them can be believed, if so."""

    release: str
    stored: Mapping[str, int]
    verifications: Sequence[Verification] = field(default=(), repr=False)
    fault: str | None = None

    def lacking(self, table: str) -> str | None:
        """What is missing for a table to count as verified in this release; None when nothing is."""
        if self.fault is not None:
            return self.fault
        version = self.stored.get(table)
        if version is None:
            return f"nothing of release {self.release} is stored"
        about = [one for one in self.verifications if (one.table, one.release) == (table, self.release)]
        judged = [one for one in about if one.version == version]
        if judged:
            return None if judged[-1].passed else f"its privacy check failed on version {version}"
        if about:
            return f"version {version} is stored, and the privacy check saw version {about[-1].version}"
        return f"no privacy check of release {self.release} is in the audit log"
