"""What is remembered of child-level releases, so that later ones can be judged beside them.

Belongs here: the names under which the privacy ledger remembers children, and the way from there to the
history that `anonymise` is given, and back. Does not belong here: what several releases tell together
(`privacy.history`), how the ledger keeps it, and when a release is stored (`release`).

The ledger knows a child by a name of its own: published pseudonyms change from period to period, and whoever
has kept releases of several periods may still compare them class by class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.stakeholder import Microdata
from merajut_assets.privacy.history import CLASS, PARTITION, RELEASE, SUBJECT, least_values, signatures
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.privacy.verify_history import verify_history
from resources.lakehouse import Lakehouse


@dataclass(frozen=True)
class Memory:
    """`classes`: what is remembered of the dataset's other releases, as `signatures` returns it with the release.
    `names`, `digests`: the keys of the ledger's names and of what it remembers, 32 bytes at least."""

    classes: pl.DataFrame
    names: bytes
    digests: bytes

    def history(self, tokens: pl.Series, published: pl.Series) -> pl.DataFrame:
        """The history in terms of the pseudonyms `published` (rows,) of the children behind `tokens` (rows,);
        who is not among them keeps the ledger's name."""
        names = pl.DataFrame({SUBJECT: pseudonyms(tokens, self.names), "published": published})
        return (
            self.classes.join(names, on=SUBJECT, how="left", maintain_order="left")
            .with_columns(pl.coalesce("published", SUBJECT).alias(SUBJECT))
            .drop("published")
        )

    def remembered(
        self, released: pl.DataFrame, policy: Policy, tokens: pl.Series, published: pl.Series
    ) -> pl.DataFrame:
        """What is to be remembered of `released`, under the ledger's names."""
        names = pl.DataFrame({SUBJECT: published, "name": pseudonyms(tokens, self.names)})
        return (
            signatures(released, policy, self.digests)
            .join(names, on=SUBJECT, how="left", maintain_order="left")
            .with_columns(pl.col("name").alias(SUBJECT))
            .drop("name")
        )


def memory_of(lakehouse: Lakehouse, contract: TableContract, dataset: Microdata, release: str) -> Memory:
    """What is remembered of the dataset's releases other than `release`."""
    known = lakehouse.ledger.child_classes(contract.system, contract.name)
    empty = pl.DataFrame(
        schema=dict.fromkeys((RELEASE, SUBJECT, PARTITION, CLASS, *least_values(dataset.privacy)), pl.String)
    )
    # A sensitive column that was declared since was not shown in the earlier releases.
    others = pl.concat([empty, known.filter(pl.col(RELEASE) != release)], how="diagonal") if known.width else empty
    return Memory(others, name_key(lakehouse, contract), _digest_key(lakehouse))


def _digest_key(lakehouse: Lakehouse) -> bytes:
    return lakehouse.vault.named_key("ledger/classes")


def name_key(lakehouse: Lakehouse, contract: TableContract) -> bytes:
    """The key of the names under which the ledger knows the children of a dataset, for good."""
    return lakehouse.vault.named_key(f"ledger/{contract.system}/{contract.name}")


def not_remembered(
    lakehouse: Lakehouse, known: pl.DataFrame, privacy: Policy, stored: pl.DataFrame, release: str
) -> int:
    """How many rows of a stored release are in classes of which the ledger remembers fewer. `known`: all that it
    remembers of the dataset."""
    own = known.filter(pl.col(RELEASE) == release) if known.width else known
    counts = signatures(stored, privacy, _digest_key(lakehouse)).group_by(CLASS).len("stored")
    if not own.height:
        return stored.height
    compared = counts.join(own.group_by(CLASS).len("known"), on=CLASS, how="left").fill_null(0)
    return int(compared.select(pl.max_horizontal(pl.col("stored").cast(pl.Int64) - pl.col("known"), 0).sum()).item())


def together(known: pl.DataFrame, privacy: Policy) -> dict[str, Any]:
    """The verifier's figures about all releases of a dataset together, out of all that the ledger remembers of
    it: `releases`, `candidates`, `candidate_values`."""
    if not known.width:
        return {"releases": 0, "subjects": 0, "candidates": 0, "candidate_values": {}}
    sensitive, is_presence_known = list(least_values(privacy)), privacy.presence == "known"
    unknown = [name for name in sensitive if name not in known.columns]
    shown = known.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in unknown)
    # Which releases had a column is not remembered.
    return verify_history(shown, sensitive, presence_known=is_presence_known, declared_later=sensitive)
