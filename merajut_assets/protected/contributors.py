"""Who stood behind the published figures about groups: the memory by which releases are compared.

Belongs here: storing, reading and checking the contributions of published cells, and what an erasure does
to them. Does not belong here: which change is too small (`privacy.disclosure`) and what a contribution is
(`pipeline`).

The table `contributors/<stakeholder>/<dataset>` is encrypted like all others, holds keyed digests only, is
loaded into no warehouse and released to nobody. It is written before the figures are: a crash in between
remembers a publication that never was, which withholds more, never less.
"""

from __future__ import annotations

import hashlib
import secrets
from itertools import combinations

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.policies.stakeholder import Aggregate, stakeholder_policies
from merajut_assets.privacy.pseudonym import PSEUDONYM_BYTES, pseudonyms
from merajut_assets.protected.summary import CONTRIBUTOR
from resources.lake import Lake, TableSchemaError
from resources.lakehouse import Lakehouse

PUBLICATION, FIGURE, CONTRIBUTION = "publication", "figure", "contribution"
_LAYER = "contributors"
_SEPARATOR = "."
_NO_KEYS = (FIGURE, CONTRIBUTOR, CONTRIBUTION, PUBLICATION)


def contributors_table(contract: TableContract) -> str:
    return f"{_LAYER}/{contract.system}/{contract.name}"


def contributor_key(lakehouse: Lakehouse, contract: TableContract) -> bytes:
    """The key of the digests: one for all releases of a dataset, for they are to be compared."""
    return lakehouse.vault.named_key(contributors_table(contract))


def published_contributions(lakehouse: Lakehouse, contract: TableContract) -> pl.DataFrame | None:
    """Who stood behind every published figure of the dataset, with the `publication`; None when there is none.

    A publication is a release as it was built once; one that was built anew with other people is two.
    Raises TableSchemaError when its cells have other keys than now: a cell could not be compared with what was
    published of the very same people."""
    table = contributors_table(contract)
    if lakehouse.lake.version(table) is None:
        return None
    known = lakehouse.lake.schema(table)
    keys = {name: dtype for name, dtype in known.items() if name not in _NO_KEYS}
    if keys != {name: contract.column(name).dtype for name in contract.key}:
        raise TableSchemaError(
            f"{table}: {contract.identifier} was published by {', '.join(keys)} and has the key "
            f"{', '.join(contract.key)} now, so that its figures cannot be compared between releases; put the key back "
            "as it was, or declare the dataset under a new name"
        )
    return lakehouse.read(table, reader="/".join(contract.asset_key), purpose="comparison of releases")


def remembered_releases(lake: Lake, contract: TableContract) -> set[str]:
    """The releases of the dataset of which contributions are remembered."""
    table = contributors_table(contract)
    if lake.version(table) is None:
        return set()
    return {partition[PUBLICATION].partition(_SEPARATOR)[0] for partition in lake.partitions(table)}


def remember(lake: Lake, contract: TableContract, release: str, contributions: pl.DataFrame) -> None:
    """Remember who stands behind the figures that are about to be published. The same ones again change nothing."""
    if contributions.is_empty():
        return
    rows = contributions.sort(contributions.columns)
    publication = f"{release}{_SEPARATOR}{hashlib.sha256(rows.write_csv().encode()).hexdigest()[:16]}"
    table = contributors_table(contract)
    if lake.version(table) is None or {PUBLICATION: publication} not in lake.partitions(table):
        lake.overwrite(table, rows, partition={PUBLICATION: publication})


def small_differences(contributions: pl.DataFrame, keys: tuple[str, ...], k: int) -> int:
    """How many pairs of publications of one figure of one cell differ in 1 to k - 1 people.

    Reads the whole memory, set by set and pair by pair: another way than that by which cells were withheld."""
    people: dict[tuple[object, ...], dict[str, set[tuple[str, str]]]] = {}
    for row in contributions.iter_rows(named=True):
        figure = (*(row[key] for key in keys), row[FIGURE])
        publications = people.setdefault(figure, {})
        publications.setdefault(row[PUBLICATION], set()).add((row[CONTRIBUTOR], row[CONTRIBUTION]))
    return sum(
        1 <= len({person for person, _ in one ^ other}) < k
        for publications in people.values()
        for one, other in combinations(publications.values(), 2)
    )


def forget(lakehouse: Lakehouse, subject: Subject, tokens: pl.Series, fact: dict[str, str]) -> list[str]:
    """Replace the digests of erased people by random ones; returns the tables, to be vacuumed by the caller.

    `tokens`: the tokens under which conformed knew them. Nothing leads from a random digest to anybody, and yet
    the figures remember that somebody stood behind them who is gone: else the next release could show that
    person's part as the difference."""
    tables = []
    for policy in stakeholder_policies().values():
        for name, dataset in policy.datasets.items():
            contract = registry.protected_dataset(policy.stakeholder, name)
            table = contributors_table(contract)
            if not isinstance(dataset, Aggregate) or subject not in contract.subjects:
                continue
            if lakehouse.lake.version(table) is None:
                continue
            erased = pseudonyms(tokens, contributor_key(lakehouse, contract))
            for partition in lakehouse.lake.partitions(table):
                rows = lakehouse.read(
                    table, partition=partition, reader="erasure", purpose="figures that the erased stood behind"
                ).drop(PUBLICATION)
                nobody = _without(rows, erased)
                if nobody is not None:
                    lakehouse.lake.overwrite(table, nobody, partition=partition, facts=fact)
            tables.append(table)
    return tables


def _without(rows: pl.DataFrame, erased: pl.Series) -> pl.DataFrame | None:
    """The rows with random digests in place of the erased ones; None when there are none of those."""
    gone = rows.get_column(CONTRIBUTOR).is_in(erased.implode())
    if not gone.any():
        return None
    ghosts = {person: secrets.token_hex(PSEUDONYM_BYTES) for person in rows.filter(gone)[CONTRIBUTOR].unique()}
    return rows.with_columns(
        pl.col(CONTRIBUTOR).replace(ghosts),
        pl.when(gone).then(pl.col(CONTRIBUTOR).replace(ghosts)).otherwise(CONTRIBUTION).alias(CONTRIBUTION),
    )
