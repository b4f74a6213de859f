"""The national register of schools (Dapodik), as published in 2019.

Its region codes are the ministry of education's own (padded with blanks in the file, which
landing takes off) and know 34 provinces;
`merajut_assets.sources.crosswalk` translates them.
"""

from __future__ import annotations

import pandera.polars as pa

from merajut_assets.contracts.base import DataOrigin, LegalBasis, SourceFormat, System, public, table

SCHOOL_REGISTER = System(
    name="school_register",
    description="National register of primary and secondary schools (Dapodik), 2019, Parquet",
    owner="team:data-engineering",
    format=SourceFormat.PARQUET,
    location="reference/school_register/{source}.parquet",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.OPEN_DATA,
    purpose="Common school numbers of all education records",
    retention_days=10 * 365,
    freshness_hours=24 * 366,
    licence="MIT",
)

DAPODIK_CODE = r"^\d{6}$"


@table(
    SCHOOL_REGISTER,
    "schools",
    drops=("kode_prop", "propinsi", "kode_kec", "kecamatan", "alamat_jalan", "lintang", "bujur", "_source_file"),
)
class Schools(pa.DataFrameModel):
    """Primary, secondary and special schools, state and private."""

    school_id: str = public(
        "Identifier of the register's record",
        source_name="id",
        key=True,
        str_matches=r"^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$",
    )
    # Not the key: two schools of the register share one number.
    npsn: str = public(
        "National school number (NPSN)",
        required=True,
        nullable=False,
        str_matches=r"^[0-9A-Z]{8}$",
    )
    name: str = public("Name of the school", source_name="sekolah", required=True, nullable=False)
    school_type: str = public(
        "Type: SD, SMP, SMA, SMK, or special school (SLB, SDLB, SMPLB, SMLB)",
        source_name="bentuk",
        required=True,
        isin=["SD", "SMP", "SMA", "SMK", "SLB", "SDLB", "SMPLB", "SMLB"],
    )
    status: str = public("N: state (negeri), S: private (swasta)", required=True, isin=["N", "S"])
    dapodik_regency_code: str = public(
        "Regency, Dapodik code",
        source_name="kode_kab_kota",
        required=True,
        nullable=False,
        str_matches=DAPODIK_CODE,
    )
    regency_name: str = public("Regency, as the register writes it", source_name="kabupaten_kota", required=True)
