"""The kinds of protection that data pass through: the vocabulary of assets, policies and the lineage proof.

What a step does is in the modules of its own; which asset applies it is decided there.
"""

from __future__ import annotations

from enum import StrEnum


class PrivacyStep(StrEnum):
    """How an asset protects what passes through it."""

    PSEUDONYMISE = "pseudonymise"
    GENERALISE = "generalise"
    DP_RELEASE = "dp_release"
    DISCLOSURE_CONTROL = "disclosure_control"
    DROP = "drop"
