"""Reference figures of the generated world: its population, against which linkage attacks are simulated."""

from __future__ import annotations

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    System,
    public,
    table,
)

REFERENCE = System(
    name="reference",
    description="Synthetic population by district, sex and month of birth, anchored to the national total",
    owner="team:data-engineering",
    format=SourceFormat.PARQUET,
    location="sources/reference/{source}.parquet",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.GENERATED,
    purpose="Measuring re-identification risk",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
)


@table(REFERENCE, "population")
class Population(pa.DataFrameModel):
    """Inhabitants by district, sex and month of birth. Synthetic: no register was used."""

    regency_code: str = public("District, Kemendagri code", key=True, str_matches=r"^\d{2}\.\d{2}$")
    sex: str = public("Sex: F or M", key=True, isin=["F", "M"])
    birth_month: str = public("Month of birth, YYYY-MM", key=True, str_matches=r"^\d{4}-\d{2}$")
    inhabitants: int = public("Inhabitants", unit="people", required=True, nullable=False, ge=0)
