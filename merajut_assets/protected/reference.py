"""How sensitive values were distributed before anonymising: what a stored release is compared with.

Belongs here: keeping that beside a release, and giving it back. Does not belong here: what is compared with it
(`pipeline`) and how (`privacy.verify`).

t-closeness and β-likeness compare a class with all rows, those left out included. Once these are gone, the rows that
are published stand for them only up to the share that was left out, by which a looser table could pass; so the counts
themselves are kept. The table `distributions/<stakeholder>/<dataset>` says how many people had each value of one
sensitive column, over the whole dataset: no count of two columns together, no key, nobody's row. It is encrypted like
all others, loaded into no warehouse and released to nobody. An erasure leaves it as it is, like every figure about
all: what the erasure left was published beside these very counts, and is judged by them as before.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.stakeholder import Microdata, StakeholderPolicy
from merajut_assets.privacy.policy import Policy
from resources.lake import Lake
from resources.lakehouse import Lakehouse

RELEASE = "release"
_LAYER = "distributions"
COLUMN, VALUE, PEOPLE = "column", "value", "rows"


def distributions_table(contract: TableContract) -> str:
    return f"{_LAYER}/{contract.system}/{contract.name}"


def is_compared(privacy: Policy) -> bool:
    """Whether the policy asks for anything that compares classes with the rows from before."""
    return any(rule.t_closeness is not None or rule.beta_likeness is not None for rule in privacy.sensitive.values())


def has_distributions(policy: StakeholderPolicy, name: str) -> bool:
    """Whether distributions are kept beside a dataset."""
    dataset = policy.datasets[name]
    return isinstance(dataset, Microdata) and is_compared(dataset.privacy)


def distributions(rows: pl.DataFrame, privacy: Policy) -> pl.DataFrame:
    """How many of `rows` hold each value of each sensitive column: `column`, `value` (as text), `rows`."""
    return pl.concat(
        rows.get_column(name)
        .cast(pl.String)
        .alias(VALUE)
        .to_frame()
        .group_by(VALUE)
        .agg(pl.len().cast(pl.Int64).alias(PEOPLE))
        .sort(VALUE)
        .select(pl.lit(name).alias(COLUMN), VALUE, PEOPLE)
        for name in privacy.sensitive
    )


def remember_distributions(lake: Lake, contract: TableContract, release: str, counts: pl.DataFrame) -> None:
    """Keep what a release is about to be compared with; in place of an attempt that was never published."""
    lake.overwrite(distributions_table(contract), counts, partition={RELEASE: release})


def remembered_reference(
    lakehouse: Lakehouse, contract: TableContract, release: str, stored: pl.DataFrame
) -> pl.DataFrame | None:
    """The sensitive columns of the rows from before, each in an order of its own and typed as in `stored`; None
    when they are not remembered."""
    table = distributions_table(contract)
    if not lakehouse.lake.has_partition(table, {RELEASE: release}):
        return None
    reader = "/".join(contract.asset_key)
    counts = lakehouse.read(table, partition={RELEASE: release}, reader=reader, purpose="check").sort(COLUMN, VALUE)
    return reference_of(counts, stored.schema)


def reference_of(counts: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns that `counts`, from `distributions`, are of, each typed as in `schema`."""
    columns = []
    for (name,), values in counts.group_by(COLUMN, maintain_order=True):
        places = np.repeat(np.arange(values.height), values.get_column(PEOPLE).to_numpy())
        texts, dtype = values.get_column(VALUE).gather(pl.Series(places)), schema[str(name)]
        # Polars reads no truth values from text.
        columns.append((texts == "true" if dtype == pl.Boolean() else texts.cast(dtype)).alias(str(name)))
    return pl.DataFrame(columns)
