"""The register of erasures: one certificate each, a JSON file without personal data.

Belongs here: what a certificate says and where it is kept. Does not belong here: erasing (`erasure`).

A certificate is written when an erasure begins and completed when it ends, so that one that was killed
shows as open, and is completed by calling the erasure again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from resources.facts import check_facts
from resources.locks import write_atomically
from resources.settings import Settings


class ErasureReason(StrEnum):
    """Why somebody is erased. A category, because a free text would tell about the person."""

    SUBJECT_REQUEST = "subject_request"
    GUARDIAN_REQUEST = "guardian_request"
    COURT_ORDER = "court_order"
    UNLAWFUL_COLLECTION = "unlawful_collection"
    END_OF_PURPOSE = "end_of_purpose"
    ERASED_BEFORE = "erased_before"  # again, from a backup that was taken back; the first certificate says why


class RegisterDamaged(RuntimeError):
    """A certificate cannot be read. Names the file and the remedy."""


@dataclass(frozen=True, order=True)
class PublishedBefore:
    """A publication that held, or may have held, an anonymised row of the person. It was withdrawn; whoever
    copied the file before still has the row, and is to be asked to delete it."""

    stakeholder: str
    release: str
    number: int


@dataclass(frozen=True)
class Certificate:
    """What an erasure did. `subject_hash` is keyed; `linked_ids` counts the source ids whose keys died.

    `rows_removed`: per stored table, rows about the person; in protected datasets with the rest of a class
    that the person was in. `references_cleared`: per table, rows that named the person and stay without the
    name. `published_before`: every publication with a row of the person, also those that were no longer kept.
    `completed_at` is None while the erasure is not finished."""

    certificate_id: str
    subject_kind: str
    system: str
    subject_hash: str
    reason: ErasureReason
    begun_at: datetime
    linked_ids: int
    originals_destroyed: int = 0
    rows_removed: Mapping[str, int] = field(default_factory=dict)
    references_cleared: Mapping[str, int] = field(default_factory=dict)
    tables_vacuumed: tuple[str, ...] = ()
    published_before: tuple[PublishedBefore, ...] = ()
    releases_to_rebuild: tuple[str, ...] = ()
    completed_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        return self.completed_at is not None

    def completed(self) -> Certificate:
        return replace(self, completed_at=datetime.now(UTC))


class ErasureRegister:
    """The certificates of an installation. Nothing is created before the first erasure."""

    def __init__(self, settings: Settings) -> None:
        self.directory: Path = settings.data_directory / "compliance" / "erasures"

    def find(self, certificate_id: str) -> Certificate | None:
        path = self._path(certificate_id)
        return _parsed(path) if path.exists() else None

    def write(self, certificate: Certificate) -> Path:
        """Store a certificate, replacing what was known of the same erasure."""
        content = _as_json(certificate)
        check_facts(
            {name: value for name, value in content.items() if not isinstance(value, (dict, list))},
            "erasure certificate",
        )
        path = self._path(certificate.certificate_id)
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
        return path

    def all(self) -> list[Certificate]:
        """Every certificate, oldest first. Raises RegisterDamaged."""
        certificates = [_parsed(path) for path in self.directory.glob("*.json")]
        return sorted(certificates, key=lambda certificate: certificate.begun_at)

    def published_before(self, stakeholder: str, number: int) -> bool:
        """Whether a publication is older than the erasure of somebody of whom it may hold a row."""
        return any(
            (earlier.stakeholder, earlier.number) == (stakeholder, number)
            for certificate in self.all()
            for earlier in certificate.published_before
        )

    def _path(self, certificate_id: str) -> Path:
        return self.directory / f"{certificate_id}.json"


def _as_json(certificate: Certificate) -> dict[str, Any]:
    return {
        **asdict(certificate),
        "begun_at": certificate.begun_at.isoformat(),
        "completed_at": certificate.completed_at.isoformat() if certificate.completed_at else None,
        "tables_vacuumed": list(certificate.tables_vacuumed),
        "releases_to_rebuild": list(certificate.releases_to_rebuild),
        "published_before": [asdict(earlier) for earlier in certificate.published_before],
    }


def _parsed(path: Path) -> Certificate:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        completed = content["completed_at"]
        return Certificate(
            **{
                **content,
                "reason": ErasureReason(content["reason"]),
                "begun_at": datetime.fromisoformat(content["begun_at"]),
                "completed_at": datetime.fromisoformat(completed) if completed else None,
                "tables_vacuumed": tuple(content["tables_vacuumed"]),
                "releases_to_rebuild": tuple(content["releases_to_rebuild"]),
                "published_before": tuple(PublishedBefore(**earlier) for earlier in content["published_before"]),
            }
        )
    except (ValueError, KeyError, TypeError):
        raise RegisterDamaged(
            f"the erasure certificate {path.name} is damaged; restore it from a backup, or erase the person again"
        ) from None
