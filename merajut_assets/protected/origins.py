"""What released rows say about where their facts come from: generated, a real sample, open data.

Belongs here: that statement, for datasets and statistics alike. It is made once for all rows of a jurisdiction, of
what the source systems delivered, whoever agreed to be in the release: told row by row, it would part people whom
nothing else parts, and told of those who agreed, it would say something about them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import polars as pl

from merajut_assets.contracts.base import DATA_ORIGIN, ORIGIN_SEPARATOR, TableContract
from merajut_assets.protected.consent_filter import CONSENT_ENTITY, EVERYWHERE
from merajut_assets.protected.linkage import POPULATION_ENTITY, is_looked_up

JURISDICTION = "jurisdiction"


def with_origins(released: pl.DataFrame, contract: TableContract, entities: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """`released` with the column `data_origin`: by its column `jurisdiction` if it has one, else for all rows alike.

    `entities`: the conformed frames that were read for it."""
    facts = [entities[name] for name in told_by(contract, entities)]
    if JURISDICTION not in released.columns:
        every = contract.jurisdiction.split(",")
        return released.with_columns(pl.lit(_origins(facts, every), dtype=pl.String).alias(DATA_ORIGIN))
    told = {one: _origins(facts, [one]) for one in released.get_column(JURISDICTION).drop_nulls().unique()}
    stated = pl.col(JURISDICTION).replace_strict(told, default=None, return_dtype=pl.String)
    return released.with_columns(stated.alias(DATA_ORIGIN))


def told_by(contract: TableContract, entities: Iterable[str]) -> list[str]:
    """Those of some entities whose origins count: decisions on consent, and the population in which nobody may be
    found, are no facts of a release."""
    aside = {CONSENT_ENTITY, *([POPULATION_ENTITY] if is_looked_up(contract) else [])}
    return [name for name in entities if name not in aside]


def all_origins(released: pl.DataFrame) -> str:
    """The origins that any row of a released frame states, as one statement."""
    return joined(released.get_column(DATA_ORIGIN).drop_nulls().unique())


def joined(statements: Collection[str] | pl.Series) -> str:
    """Several statements made one: each origin once, in alphabetical order."""
    return ORIGIN_SEPARATOR.join(sorted({one for text in statements for one in text.split(ORIGIN_SEPARATOR) if one}))


def _origins(facts: Collection[pl.DataFrame], jurisdictions: Collection[str]) -> str | None:
    applies = pl.col(JURISDICTION).is_in([*jurisdictions, EVERYWHERE])
    found = [frame.filter(applies).get_column(DATA_ORIGIN).unique() for frame in facts]
    return joined(pl.concat(found)) if found else None
