"""Where things are and how this installation differs from another: read from the environment, once.

Here belong paths, windows and addresses. Not what a table is (contracts) or what may be released
(policies). Constructing settings touches neither disk nor network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_LARGEST_NUMBER = 36_500  # a hundred years of days


class SettingsError(ValueError):
    """An environment variable holds what it must not. Names the variable and the remedy."""


class Environment(StrEnum):
    """Every environment there is; an unknown one is refused rather than taken for development."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"

    @classmethod
    def load(cls, variables: Mapping[str, str] | None = None) -> Environment:
        """The environment named by MERAJUT_ENVIRONMENT, development when it is unset or empty."""
        named = (os.environ if variables is None else variables).get("MERAJUT_ENVIRONMENT") or cls.DEVELOPMENT
        try:
            return cls(named)
        except ValueError:
            known = ", ".join(cls)
            raise SettingsError(f"MERAJUT_ENVIRONMENT names no known environment; set it to one of {known}") from None


def _number(given: Mapping[str, str], variable: str, default: int, *, least: int) -> int:
    text = given.get(variable, "").strip()
    if not text:
        return default
    # Digits of other scripts are digits to `int`, too; nobody means them.
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= _LARGEST_NUMBER:
        raise SettingsError(f"{variable} is no whole number from {least} to {_LARGEST_NUMBER}; correct or unset it")
    return int(text)


@dataclass(frozen=True)
class Settings:
    """One installation. `data_directory` holds everything made at run time except the shipped data.

    `dispute_window_days`: for how long the bytes of source files are kept.
    What may carry a password or is one stays out of the representation.
    """

    data_directory: Path = REPOSITORY / "data"
    environment: Environment = Environment.DEVELOPMENT
    panti_database_url: str | None = field(default=None, repr=False)
    alert_webhook: str | None = field(default=None, repr=False)
    alert_email: str | None = field(default=None, repr=False)
    smtp_host: str | None = None
    openlineage_url: str | None = field(default=None, repr=False)
    openlineage_key: str | None = field(default=None, repr=False)
    dispute_window_days: int = 30
    published_versions_kept: int = 3

    @classmethod
    def load(cls, variables: Mapping[str, str] | None = None) -> Settings:
        """Settings from environment variables (or from `variables` instead). Raises SettingsError."""
        given = os.environ if variables is None else variables
        data = given.get("MERAJUT_DATA")
        return cls(
            data_directory=Path(data).expanduser().absolute() if data else REPOSITORY / "data",
            environment=Environment.load(given),
            panti_database_url=given.get("MERAJUT_PANTI_URL") or None,
            alert_webhook=given.get("MERAJUT_ALERT_WEBHOOK") or None,
            alert_email=given.get("MERAJUT_ALERT_EMAIL") or None,
            smtp_host=given.get("MERAJUT_SMTP_HOST") or None,
            openlineage_url=given.get("MERAJUT_OPENLINEAGE_URL") or None,
            openlineage_key=given.get("MERAJUT_OPENLINEAGE_KEY") or None,
            dispute_window_days=_number(given, "MERAJUT_DISPUTE_WINDOW_DAYS", cls.dispute_window_days, least=0),
            published_versions_kept=_number(
                given, "MERAJUT_PUBLISHED_VERSIONS_KEPT", cls.published_versions_kept, least=1
            ),
        )

    @property
    def lake(self) -> Path:
        return self.data_directory / "lake"

    @property
    def warehouse(self) -> Path:
        return self.data_directory / "warehouse"

    @property
    def published(self) -> Path:
        return self.data_directory / "published"

    @property
    def analyst(self) -> Path:
        """What analysts build with dbt from the released warehouse."""
        return self.data_directory / "analyst"

    @property
    def vault(self) -> Path:
        return self.data_directory / "vault" / "vault.sqlite"

    @property
    def keys(self) -> Path:
        return self.data_directory / "keys"

    @property
    def tombstones(self) -> Path:
        """Beside the certificates of erasures: evidence, which is not restored with the vault."""
        return self.data_directory / "compliance" / "erasures" / "tombstones"

    @property
    def lineage_reports(self) -> Path:
        """Pages about where each mart comes from: names and numbers, so they need no key."""
        return self.data_directory / "compliance" / "lineage"

    @property
    def audit_log(self) -> Path:
        return self.data_directory / "audit" / "audit.jsonl"

    @property
    def lineage_events(self) -> Path:
        """OpenLineage events by day, and how far they were delivered."""
        return self.data_directory / "openlineage"

    @property
    def ledger(self) -> Path:
        return self.data_directory / "ledger" / "ledger.sqlite"

    @property
    def sources(self) -> Path:
        """Where the systems' exports lie, one folder per system: of the generated world, or put there by somebody.
        The drop-folder sensor watches it."""
        return self.data_directory / "sources"

    @property
    def reference(self) -> Path:
        """Shipped, read-only reference data: part of the repository wherever the run-time data are."""
        return REPOSITORY / "data" / "reference"

    @property
    def dagster_home(self) -> Path:
        return self.data_directory / "dagster"
