"""The lists by which personal values are recognised, read from the shipped reference data.

Belongs here: which files they are in. What is done with them belongs to `merajut_assets.privacy.detection`.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from pathlib import Path

import polars as pl

from merajut_assets.privacy.detection import Reference

_PLACES = ("villages", "districts", "regencies")
# The code that ends each row of the dump; the reader of dumps needs a second for the whole of it.
_POSTAL_CODE = re.compile(r"'(\d{5})'\)")


@cache
def read_reference(directory: Path) -> Reference:
    """The lists in `data/reference`. OSError and PolarsError when one is missing or not as it is shipped."""

    def table(name: str) -> pl.DataFrame:
        return pl.read_csv(directory / name, infer_schema=False)

    regions = {name: table(f"wilayah/{name}.csv") for name in _PLACES}
    dump = gzip.decompress((directory / "kodepos" / "wilayah_kodepos.sql.gz").read_bytes()).decode()
    patterns = dict(table("identity/phone_patterns.csv").iter_rows())
    return Reference(
        districts=regions["districts"]["code"].str.replace_all(".", "", literal=True),
        postal_codes=pl.Series(sorted(set(_POSTAL_CODE.findall(dump)))),
        mobile=patterns["mobile"],
        fixed_line=patterns["fixed_line"],
        names=table("identity/names.csv")["name"],
        places=pl.concat([frame["name"] for frame in regions.values()]),
    )
