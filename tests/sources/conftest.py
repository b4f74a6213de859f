"""A small table that every reader is tried with, in whatever format a test writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandera.polars as pa
import pytest

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    System,
    TableContract,
    direct_identifier,
    operational,
)
from merajut_assets.sources.reader import Location, SourceError, SourceTable, read

SECRET = "Siti Rahmawati"


class People(pa.DataFrameModel):
    """People of a test."""

    person_id: str = operational("Number", source_name="ID", key=True)
    full_name: str = direct_identifier("Name", source_name="Name")
    city: str = operational("City", source_name="City")


class Bench:
    """Writes a source into a directory of its own and reads it through the one entry."""

    def __init__(self, directory: Path) -> None:
        self.location = Location(directory)

    def system(self, source_format: SourceFormat, location: str, **options: str) -> System:
        return System(
            name="demo",
            description="Test",
            owner="team:test",
            format=source_format,
            location=location,
            jurisdiction="ID",
            legal_basis=LegalBasis.CONSENT,
            data_origin=DataOrigin.GENERATED,
            purpose="Test",
            retention_days=1,
            freshness_hours=1,
            options=tuple(options.items()),
        )

    def contract(self, **overrides: Any) -> TableContract:
        values: dict[str, Any] = {
            "layer": "raw",
            "system": "demo",
            "name": "people",
            "model": People,
            "subjects": (),
            "purpose": "Test",
            "owner": "team:test",
            "retention_days": 1,
            "freshness_hours": 1,
            "jurisdiction": "ID",
            "legal_basis": LegalBasis.CONSENT,
            "data_origin": DataOrigin.GENERATED,
        }
        return TableContract(**{**values, **overrides})

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.location.data_directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def read(self, source_format: SourceFormat, location: str, **options: str) -> SourceTable:
        return read(self.contract(), self.system(source_format, location, **options), self.location)

    def refusal(self, action: Callable[[], Any]) -> SourceError:
        """The error of an action; it must name where and what to do, and no value."""
        with pytest.raises(SourceError) as caught:
            action()
        error = caught.value
        shown = f"{error!s} {error!r} {error.__cause__!r}"
        assert "Siti" not in shown
        assert "Rahmawati" not in shown
        assert str(self.location.data_directory) not in shown
        assert "demo.people" in str(error)
        assert error.remedy
        assert error.rule
        # `from None` keeps a driver's message, which quotes values, out of tracebacks.
        assert error.__suppress_context__ or error.__context__ is None
        return error


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "data")
