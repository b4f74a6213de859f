"""Going back to an earlier publication, where that is allowed."""

from __future__ import annotations

from merajut_assets.command.exits import BadInput
from merajut_assets.compliance.certificates import ErasureRegister
from resources.lakehouse import Lakehouse
from resources.publication import Publication


def roll_back(lakehouse: Lakehouse, stakeholder: str, number: int | None) -> Publication:
    """Put publication `number` (default: the one before the current) in force again, and log it.

    Raises BadInput for one made before an erasure of somebody it may tell about, PublicationError for one
    that is not kept."""
    kept = lakehouse.publisher.list(stakeholder)
    place = next((index for index, one in enumerate(kept) if one.is_current), 0)
    wanted = number if number is not None else kept[place - 1].number if place else None
    if wanted is not None and ErasureRegister(lakehouse.settings).published_before(stakeholder, wanted):
        raise BadInput(
            f"publication {wanted} of {stakeholder} was made before somebody was erased; "
            "release the month again instead of going back to it"
        )
    publication = lakehouse.publisher.rollback(stakeholder, wanted)
    lakehouse.audit.append(
        "published.rolled_back", stakeholder=stakeholder, number=publication.number, release=publication.release
    )
    return publication
