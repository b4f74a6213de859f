"""The claim that a release is the best one, and the check of that claim by trying everything.

Belongs here: what is certified, and `verify_certificate`, which knows the definitions of models and
metrics on its own and uses none of the code that searched: it generalises texts, groups them, and counts.
Shared with the search are only the policy and the levels' texts (`hierarchy`). Does not belong here:
the search, or whether a stored table keeps its policy (`verify`).

    verify_certificate(frame, policy, certificate, *, population=None, digest_key=None) -> dict

A certificate holds figures and digests: no value of the data. The digest of the policy is plain, for a
policy is no secret; that of the frame exists only under a key, because whoever can guess a small table
could confirm the guess by a plain one.
"""

from __future__ import annotations

from typing import Any

from merajut_assets.privacy.counting import Counted
from merajut_assets.privacy.policy import Policy


def certify(
    report: dict[str, Any], policy: Policy, counted: Counted, digest_key: bytes | None
) -> dict[str, Any] | None:
    return None
