"""Indonesia's administrative regions and their postal codes, by the codes of the Ministry of
Home Affairs (Kemendagri)."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from merajut_assets.contracts.base import DataOrigin, LegalBasis, SourceFormat, System, public, rule, table

WILAYAH = System(
    name="wilayah",
    description="Administrative regions of Indonesia after Kepmendagri 300.2.2-2138/2025, CSV",
    owner="team:data-engineering",
    format=SourceFormat.CSV,
    location="reference/wilayah/{source}.csv",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="Common region codes of all tables",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    licence="ODbL-1.0",
)

KODEPOS = System(
    name="kodepos",
    description="Postal code of every village, dump of a MySQL table",
    owner="team:data-engineering",
    format=SourceFormat.SQL_DUMP,
    location="reference/kodepos/{source}.sql.gz",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="Checking and generalising addresses",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    options=(("dialect", "mysql"),),
    licence="MIT",
)

PROVINCE_CODE = r"^\d{2}$"
REGENCY_CODE = r"^\d{2}\.\d{2}$"
DISTRICT_CODE = r"^\d{2}\.\d{2}\.\d{2}$"
VILLAGE_CODE = r"^\d{2}\.\d{2}\.\d{2}\.\d{4}$"


@table(WILAYAH, "provinces")
class Provinces(pa.DataFrameModel):
    """Provinces (provinsi)."""

    code: str = public("Code of the province", key=True, str_matches=PROVINCE_CODE)
    name: str = public("Name", required=True, nullable=False)


@table(WILAYAH, "regencies")
class Regencies(pa.DataFrameModel):
    """Regencies and cities (kabupaten, kota)."""

    code: str = public("Code of the regency", key=True, str_matches=REGENCY_CODE)
    province_code: str = public("Province", required=True, nullable=False, references="wilayah.provinces.code")
    name: str = public("Name, beginning with Kabupaten or Kota", required=True, nullable=False)

    code_within_province = rule(
        "code_within_province",
        "The code begins with that of the province",
        pl.col("code").str.starts_with(pl.col("province_code") + "."),
    )


@table(WILAYAH, "districts")
class Districts(pa.DataFrameModel):
    """Districts within a regency (kecamatan)."""

    code: str = public("Code of the district", key=True, str_matches=DISTRICT_CODE)
    regency_code: str = public("Regency", required=True, nullable=False, references="wilayah.regencies.code")
    name: str = public("Name", required=True, nullable=False)

    code_within_regency = rule(
        "code_within_regency",
        "The code begins with that of the regency",
        pl.col("code").str.starts_with(pl.col("regency_code") + "."),
    )


@table(WILAYAH, "villages")
class Villages(pa.DataFrameModel):
    """Villages (desa, kelurahan)."""

    code: str = public("Code of the village", key=True, str_matches=VILLAGE_CODE)
    district_code: str = public("District", required=True, nullable=False, references="wilayah.districts.code")
    name: str = public("Name", required=True, nullable=False)

    code_within_district = rule(
        "code_within_district",
        "The code begins with that of the district",
        pl.col("code").str.starts_with(pl.col("district_code") + "."),
    )


@table(KODEPOS, "postal_codes", source_name="wilayah_kodepos")
class PostalCodes(pa.DataFrameModel):
    """Postal codes of the villages."""

    village_code: str = public(
        "Village", source_name="kode", key=True, references="wilayah.villages.code", str_matches=VILLAGE_CODE
    )
    postal_code: str = public(
        "Postal code", source_name="kodepos", required=True, str_matches=r"^[1-9]\d{4}$", holds=("postal_code",)
    )
