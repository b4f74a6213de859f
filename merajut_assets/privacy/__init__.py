"""Anonymisation as pure functions over Polars frames: no Dagster, no stores, usable on its own.

Differential privacy is imported from `merajut_assets.privacy.dp`, consent, pseudonyms and
disclosure control from their modules.
"""

from merajut_assets.privacy.anonymise import Release, anonymise
from merajut_assets.privacy.certificate import verify_certificate
from merajut_assets.privacy.joined import Published
from merajut_assets.privacy.policy import DataError, Policy, PolicyError
from merajut_assets.privacy.risk import assess_risk
from merajut_assets.privacy.utility import utility_report
from merajut_assets.privacy.verify import VerificationError, verify, verify_join

__all__ = [
    "DataError",
    "Policy",
    "PolicyError",
    "Published",
    "Release",
    "VerificationError",
    "anonymise",
    "assess_risk",
    "utility_report",
    "verify",
    "verify_certificate",
    "verify_join",
]
