"""One prepared manifest for all tests of the lineage."""

from __future__ import annotations

from pathlib import Path

import pytest

from merajut_assets.marts.project import prepare_manifest


@pytest.fixture(scope="session")
def manifest_path() -> Path:
    return prepare_manifest()
