"""What of a table looks personal at landing: columns that would be kept in clear, new columns, texts and names.

Belongs here: comparing what `privacy.detection` finds with what the contract says. Does not belong here: how a kind
is recognised. Pure functions over frames; no message and no count holds a value.

Columns kept in clear are judged on `JUDGED_ROWS` rows, evenly spaced: enough for a share of one in a hundred, which a
sample misses with a probability of 0.99^20000 at most, unless the rows come in an order that has it so. Texts and
names are searched in all rows, because each single finding counts; equal ones once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from merajut_assets.contracts.base import Column, PrivacyClass, TableContract
from merajut_assets.privacy.detection import Reference, Verdict, detect_columns, find_in_text
from merajut_assets.raw.landing import UNPARSED, module_of
from merajut_assets.sources.request import SourceError, showable

RULE = "looks_personal"
# Fewer rows are dirt of a column that is what it is declared to be: they are counted in the metadata of the landing.
# More of them mean that the column is not what the contract takes it for.
LEAST_SHARE = 0.01
JUDGED_ROWS = 20_000


def refuse_personal_in_clear(frame: pl.DataFrame, contract: TableContract, reference: Reference) -> dict[str, int]:
    """Rows by `<column> <kind>`, of those that were judged, that look personal in columns kept in clear, as long as
    they are few.

    `frame` has the contract's columns, as `landing.parse` hands them on. A kind that a column is declared to hold
    (`holds`) is not counted. SourceError: a column of which `LEAST_SHARE` of the rows or more look personal."""
    holds: dict[str, tuple[str, ...]] = {column.name: column.holds for column in contract.plain_columns}
    clear = [name for name, dtype in frame.schema.items() if name in holds and _can_identify(dtype)]
    if not contract.subjects and UNPARSED in frame.columns:
        clear.append(UNPARSED)
    judged = frame.select(clear).gather_every(-(-frame.height // JUDGED_ROWS) or 1)
    few: dict[str, int] = {}
    for found in _sure(detect_columns(judged, reference)):
        name, kind, matching = found["column"], found["kind"], found["matching"]
        if kind in holds.get(name, ()):
            continue
        share = matching / judged.height
        if share >= LEAST_SHARE:
            raise _refusal(contract, name, kind, share)
        few[f"{name} {kind}"] = matching
    return few


def _can_identify(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_numeric()


def _sure(found: pl.DataFrame) -> Iterator[dict[str, Any]]:
    return found.filter(pl.col("kind").is_not_null() & (pl.col("verdict") != Verdict.NONE.value)).iter_rows(named=True)


def _refusal(contract: TableContract, name: str, kind: str, share: float) -> SourceError:
    if name == UNPARSED:
        return SourceError(
            contract.system,
            contract.name,
            RULE,
            f"cells that cannot be parsed look like {kind} in {share:.1%} of the rows, and would be kept in clear",
            "correct the export, whose columns have probably moved",
        )
    return SourceError(
        contract.system,
        contract.name,
        RULE,
        f"{share:.1%} of the rows look like {kind}, and the column is declared {contract.column(name).privacy.value}, "
        "which is kept in clear",
        f"give the column a personal privacy class in {module_of(contract)}, or drop it there; where it is public by "
        f'its nature, such as the address of an institution, declare holds=("{kind}",)',
        column=contract.column(name).name_in_source,
    )


def looks_of(new: pl.DataFrame, reference: Reference) -> str:
    """What columns that no contract knows look like, for the error that refuses them; empty: like nothing personal."""
    return "; ".join(
        f"{showable([str(found['column'])])} looks like {found['kind']} ({found['share']:.0%} of its values)"
        for found in _sure(detect_columns(new, reference))
    )


def personal_in_texts(frame: pl.DataFrame, contract: TableContract, reference: Reference) -> dict[str, int]:
    """Rows by `<column> <kind>` in which a free text holds a personal value, or a name holds more than a name."""
    counts: dict[str, int] = {}
    for column in contract.columns:
        if not _is_text_about_people(column):
            continue
        found = find_in_text(frame[column.name], reference)
        if column.privacy is PrivacyClass.DIRECT_IDENTIFIER:
            found = found.filter(pl.col("kind") != "person_name")
        rows = found.group_by("kind").agg(pl.col("row").n_unique()).sort("kind")
        counts |= {f"{column.name} {kind}": count for kind, count in rows.iter_rows()}
    return counts


def _is_text_about_people(column: Column) -> bool:
    """Free texts, and direct identifiers of no structure: names."""
    is_name = column.privacy is PrivacyClass.DIRECT_IDENTIFIER and column.token is None
    return column.dtype == pl.String and (is_name or column.privacy is PrivacyClass.FREE_TEXT)


def as_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {rows}" for name, rows in counts.items())
