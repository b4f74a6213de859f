"""Public keys: the values for which a statistic gives a figure, known without looking at any child.

Places and programmes come from reference entities about no person, age bands and sexes are fixed
here. A key list read from children's rows would itself say where children are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from merajut_assets.contracts.panti import SEXES

# (first age, label), ascending; the bands follow the school stages and end with majority.
AGE_BANDS = ((0, "0-5"), (6, "6-11"), (12, "12-17"), (18, "18+"))
REGISTERED = "ID"


class NoPublicKeys(ValueError):
    """A key of a statistic has no public values. Names the key and the remedy."""


def _regions(level: str) -> Callable[[Mapping[str, pl.DataFrame]], list[str]]:
    def keys(entities: Mapping[str, pl.DataFrame]) -> list[str]:
        region = entities["region"]
        return _sorted(region.filter(pl.col("level") == level, pl.col("jurisdiction") == REGISTERED), "region_code")

    return keys


def _sorted(frame: pl.DataFrame, column: str) -> list[str]:
    return frame.get_column(column).drop_nulls().unique().sort().to_list()


_LISTS: dict[str, Callable[[Mapping[str, pl.DataFrame]], list[str]]] = {
    "province_code": _regions("province"),
    "regency_code": _regions("regency"),
    "programme_id": lambda entities: _sorted(entities["csr_programme"], "programme_id"),
    "age_band": lambda _: [label for _, label in AGE_BANDS],
    "sex": lambda _: list(SEXES),
}


def public_keys(by: Sequence[str], entities: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    """The public values of each key column. Raises NoPublicKeys for an unknown or empty key."""
    keys: dict[str, list[str]] = {}
    for name in by:
        if name not in _LISTS:
            raise NoPublicKeys(f"no public list of values is declared for {name}; choose one of {', '.join(_LISTS)}")
        keys[name] = _LISTS[name](entities)
        if not keys[name]:
            raise NoPublicKeys(f"the public list for {name} is empty; load the entity it is read from")
    return keys


def age_band(age: pl.Expr) -> pl.Expr:
    """The band of an age in whole years; null stays null."""
    label = pl.lit(None, dtype=pl.String)
    for first, name in AGE_BANDS:
        label = pl.when(age >= first).then(pl.lit(name)).otherwise(label)
    return label
