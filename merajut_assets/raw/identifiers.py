"""The identifiers that landing makes tokens of: in what form, and when they are valid.

Here: NIK, phone number, e-mail address as the contracts name them. How they are built is said in
`merajut_assets.privacy.detection.structure`; finding them in columns that should have none, in `raw.personal`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from merajut_assets.privacy.detection import structure


@dataclass(frozen=True)
class Identifier:
    """`normalise` brings texts to one form; `is_valid` judges that form (null stays null)."""

    normalise: Callable[[pl.Series], pl.Series]
    is_valid: Callable[[pl.Series], pl.Series]


def _over(expression: Callable[[pl.Expr], pl.Expr]) -> Callable[[pl.Series], pl.Series]:
    def apply(values: pl.Series) -> pl.Series:
        return pl.select(expression(pl.lit(values)).alias(values.name)).to_series()

    return apply


IDENTIFIERS: dict[str, Identifier] = {
    "nik": Identifier(_over(structure.normal_nik), _over(structure.is_nik)),
    "phone": Identifier(_over(structure.normal_phone), _over(structure.is_phone)),
    "email": Identifier(_over(structure.normal_email), _over(structure.is_email)),
}


def nik_agrees(nik: pl.Series, birth_date: pl.Series, sex: pl.Series) -> pl.Series:
    """Whether the birth date and sex inside a NIK are those given; null when one is missing."""
    frame = pl.DataFrame({"nik": nik, "birth_date": birth_date, "sex": sex})
    offset = pl.when(pl.col("sex") == "F").then(structure.WOMAN_DAY_OFFSET).when(pl.col("sex") == "M").then(0)
    day = pl.col("birth_date").dt.day() + offset
    expected = pl.concat_str(day.cast(pl.String).str.zfill(2), pl.col("birth_date").dt.strftime("%m%y"))
    return frame.select((pl.col("nik").str.slice(6, 6) == expected).alias("agrees"))["agrees"]


def contains_nik(text: pl.Series) -> pl.Series:
    """Whether a free text holds something of the structure of a NIK."""
    return _over(lambda value: value.str.contains(structure.NIK_IN_TEXT))(text)
