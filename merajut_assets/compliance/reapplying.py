"""Erasing again whoever a backup brings back that was taken before they were erased.

Belongs here: finding them. How a person is erased is `erasure`'s; which keys they had the vault's matter.
"""

from __future__ import annotations

from merajut_assets.compliance.certificates import Certificate, ErasureReason
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.subjects import erased_ids, linked_ids
from merajut_assets.contracts.base import Subject
from resources.lakehouse import Lakehouse


def erase_again(lakehouse: Lakehouse) -> list[Certificate]:
    """Put every erasure back into a restored vault, and carry it out again in the restored lake; returns a
    certificate for each person whom the lake knows. Called again, it completes what was killed.

    The vault comes first, because it opens nothing while it has forgotten somebody."""
    forgotten = lakehouse.vault.destroy_again()
    lakehouse.audit.append("erasure.again", forgotten=forgotten)
    certificates = []
    for subject in Subject:
        left = erased_ids(lakehouse, subject)
        while left:
            system, _, source_id = min(left).partition(":")
            linked = linked_ids(lakehouse, subject, system, source_id)
            certificates.append(erase(lakehouse, subject, system, source_id, ErasureReason.ERASED_BEFORE))
            left -= set(linked)
    return certificates
