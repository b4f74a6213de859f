"""Published statistics about whole countries: the World Bank's population and UNICEF's
indicators, with the codelist that names UNICEF's areas."""

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

WORLD_BANK = System(
    name="world_bank",
    description="World Bank: population by country and year, CSV",
    owner="team:data-engineering",
    format=SourceFormat.CSV,
    location="reference/world_bank/{source}.csv",
    jurisdiction="WORLD",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="National totals that figures are set against",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    licence="CC-BY-4.0",
)

UNICEF = System(
    name="unicef",
    description="UNICEF data warehouse: indicators about children, SDMX-CSV",
    owner="team:data-engineering",
    format=SourceFormat.CSV,
    location="reference/unicef/{source}.csv",
    jurisdiction="WORLD",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="International indicators that figures are set against",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    licence="MIT",
)

UNICEF_REGISTRY = System(
    name="unicef_registry",
    description="UNICEF's SDMX registry: codelists, structure messages in XML",
    owner="team:data-engineering",
    format=SourceFormat.SDMX_STRUCTURE,
    location="reference/unicef/codelist_{source}.xml",
    jurisdiction="WORLD",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="Names of the areas of UNICEF's indicators",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    options=(("language", "en"),),
    licence="MIT",
)


@table(WORLD_BANK, "population", drops=("Country Name",))
class Population(pa.DataFrameModel):
    """Inhabitants by country, or group of countries, and year."""

    country_code: str = public(
        "Country or group, ISO 3166 alpha-3 or the World Bank's own code",
        source_name="Country Code",
        key=True,
        str_matches=r"^[A-Z]{3}$",
    )
    year: int = public("Year", source_name="Year", key=True, ge=1960, le=2100)
    inhabitants: int = public(
        "Inhabitants at mid-year", source_name="Value", unit="people", required=True, nullable=False, ge=0
    )


@table(
    UNICEF,
    "indicators",
    source_name="CME_MRY0T4",
    drops=(
        "Geographic area",
        "Indicator",
        "Sex",
        "Wealth Quintile",
        "DATA_SOURCE",
        "COUNTRY_NOTES",
        "Unit of measure",
        "REF_PERIOD",
        "LOWER_BOUND",
        "UPPER_BOUND",
        "OBS_STATUS",
        "Observation Status",
    ),
)
class Indicators(pa.DataFrameModel):
    """Observed values of indicators by area, sex and year; here mortality under five in 2020."""

    country_code: str = public(
        "Country or group of countries",
        source_name="REF_AREA",
        key=True,
        references="unicef_registry.countries.country_code",
        str_matches=r"^[A-Za-z0-9_]+$",
    )
    indicator_code: str = public("Indicator", source_name="INDICATOR", key=True)
    sex: str = public("F, M or _T (both)", source_name="SEX", key=True, isin=["F", "M", "_T"])
    wealth_quintile_code: str = public("Wealth quintile, _T: all", source_name="WEALTH_QUINTILE", key=True)
    year: int = public("Year", source_name="TIME_PERIOD", key=True, ge=1900, le=2100)
    unit: str = public("Unit of the value", source_name="UNIT_MEASURE", required=True)
    value: float = public("Value, in the unit named beside it", source_name="OBS_VALUE", required=True)


@table(UNICEF_REGISTRY, "countries", source_name="CL_COUNTRY", drops=("description", "parent"))
class Countries(pa.DataFrameModel):
    """Countries of UNICEF's codelist of reference areas."""

    country_code: str = public("Code of the country", source_name="id", key=True, str_matches=r"^[A-Za-z0-9_]+$")
    name: str = public("Name in English", required=True, nullable=False)
