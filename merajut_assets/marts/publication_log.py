"""Whether the audit log tells of everything that is in force: publications and released warehouse files.

Here belongs finding what was logged and logging what was not. A pointer and the log cannot move together, so a
run that dies between the two leaves a publication without an entry; the next run finds that here and completes it.
"""

from __future__ import annotations

from datetime import datetime

from resources.lakehouse import Lakehouse
from resources.publication import PUBLISHED, Publication

RELEASED = "warehouse.released"


def logged_publications(lakehouse: Lakehouse) -> dict[tuple[str, str, int], datetime]:
    """When a publication was last logged, by stakeholder, release and number."""
    return {
        (str(facts["stakeholder"]), str(facts["release"]), int(facts["number"])): datetime.fromisoformat(entry["time"])
        for entry in lakehouse.audit.entries()
        if entry["event"] == PUBLISHED and (facts := entry["facts"])
    }


def is_logged(publication: Publication, logged: dict[tuple[str, str, int], datetime]) -> bool:
    """Whether the log tells of the publication, and not of an older one of the same number."""
    told_at = logged.get((publication.stakeholder, publication.release, publication.number))
    return told_at is not None and told_at >= publication.published_at


def complete_log(lakehouse: Lakehouse, publication: Publication) -> None:
    """Log a publication unless that was done; a new one cannot have been."""
    if not publication.is_new and is_logged(publication, logged_publications(lakehouse)):
        return
    lakehouse.audit.append(
        PUBLISHED,
        stakeholder=publication.stakeholder,
        release=publication.release,
        number=publication.number,
        file=publication.path.name,
        tables=", ".join(sorted(publication.rows)),
        rows=sum(publication.rows.values()),
    )


def log_released(lakehouse: Lakehouse, release: str, file: str, *, is_new: bool) -> None:
    """Log the file that a release has put in force unless that was done; the file of a newer release is not its."""
    if not file.startswith(f"{release}-"):
        return
    is_told = (entry["event"] == RELEASED and entry["facts"].get("file") == file for entry in lakehouse.audit.entries())
    if is_new or not any(is_told):
        lakehouse.audit.append(RELEASED, release=release, file=file)
