"""Release manifests: what a release pins, so that it can be repeated and explained.

A manifest is written once, when the first protected asset of a release is materialised, and
never changed: the cut-off date and the Delta version of every conformed entity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from partitions import cut_off
from resources.locks import exclusive, write_atomically


class ReleaseError(RuntimeError):
    """A release cannot be pinned or is damaged."""


@dataclass(frozen=True)
class ReleaseManifest:
    """`release` is YYYY-MM; `versions` maps entity to Delta version."""

    release: str
    cut_off: date
    versions: Mapping[str, int]
    pinned_at: datetime

    def version(self, entity: str) -> int:
        if entity not in self.versions:
            raise ReleaseError(
                f"release {self.release} was pinned before conformed/{entity} existed; "
                "materialise conformed, then make a new release"
            )
        return self.versions[entity]


class ReleaseRegister:
    """The manifests of all releases, one JSON file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, release: str) -> ReleaseManifest | None:
        path = self._path(release)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return ReleaseManifest(
                release=content["release"],
                cut_off=date.fromisoformat(content["cut_off"]),
                versions=content["versions"],
                pinned_at=datetime.fromisoformat(content["pinned_at"]),
            )
        except (ValueError, KeyError, TypeError):
            raise ReleaseError(f"the manifest of release {release} is damaged; restore it from a backup") from None

    def pin(self, release: str, versions: Mapping[str, int]) -> ReleaseManifest:
        """The manifest of a release; made from `versions` when there is none yet."""
        with exclusive(self._directory / ".lock"):
            known = self.find(release)
            if known is not None:
                return known
            manifest = ReleaseManifest(release, cut_off(release), dict(sorted(versions.items())), datetime.now(UTC))
            content = {
                "release": release,
                "cut_off": manifest.cut_off.isoformat(),
                "versions": manifest.versions,
                "pinned_at": manifest.pinned_at.isoformat(),
            }
            write_atomically(self._path(release), json.dumps(content, indent=1).encode())
        return manifest

    def _path(self, release: str) -> Path:
        return self._directory / f"{release}.json"
