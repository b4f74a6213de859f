"""Personal values inside free texts: where they are, and of which kind.

Belongs here: searching texts. Does not belong here: what a kind looks like (`kinds`), and what a column of texts is
taken for (`columns`). No value leaves this module: findings are positions.
"""

from __future__ import annotations

import polars as pl

from merajut_assets.privacy.detection.kinds import DEFAULT_KINDS, InText, chosen
from merajut_assets.privacy.detection.reference import Reference

_SPAN = {"start": pl.UInt32, "length": pl.UInt32}
FINDINGS = {"row": pl.UInt32, "kind": pl.String, **_SPAN}
# Stands for a character that is not looked at again; no digit, no letter, no blank, and one byte long.
_HIDDEN = "\x01"


def find_in_text(texts: pl.Series, reference: Reference, kinds: tuple[str, ...] = DEFAULT_KINDS) -> pl.DataFrame:
    """Every personal value inside `texts`: row, kind, and first byte and length in bytes of the UTF-8 text.

    Where kinds overlap, the first of `kinds.KINDS` counts: a card number is not found again as a NIK. Never the
    value itself. Rows of the result are in the order of row and start; texts that are null hold nothing."""
    # Equal texts are searched once: remarks are often picked from a list.
    rows = pl.DataFrame({"text": texts.cast(pl.String)}).with_row_index("row").drop_nulls("text")
    distinct = rows.select(pl.col("text").unique(maintain_order=True)).with_row_index("text_number")
    found = _in_distinct(distinct, reference, kinds)
    if found.is_empty():
        return pl.DataFrame(schema=FINDINGS)
    numbers = rows.join(distinct, on="text", how="inner").select("row", "text_number")
    return numbers.join(found, on="text_number").select(*FINDINGS).sort("row", "start")


def _in_distinct(distinct: pl.DataFrame, reference: Reference, kinds: tuple[str, ...]) -> pl.DataFrame:
    """Findings by `text_number`."""
    found = [pl.DataFrame(schema={"text_number": pl.UInt32, "kind": pl.String, **_SPAN})]
    for kind in chosen(kinds):
        for rule in kind.in_text:
            spans = _spans(distinct, rule, reference)
            if spans.height:
                found.append(spans.select("text_number", pl.lit(kind.name).alias("kind"), "start", "length"))
                distinct = _hide(distinct, spans)
    return pl.concat(found)


def _spans(distinct: pl.DataFrame, rule: InText, reference: Reference) -> pl.DataFrame:
    """`text_number`, `start`, `length` of all that one rule finds."""
    pattern = rule.pattern(reference)
    searched = distinct if rule.needs is None else distinct.filter(pl.col("text").str.contains(rule.needs))
    searched = searched.filter(pl.col("text").str.contains(pattern))
    is_valid = pl.lit(True) if rule.is_valid is None else rule.is_valid(reference)
    spans = [pl.DataFrame(schema={"text_number": pl.UInt32, **_SPAN})]
    while searched.height:
        whole = pl.col("text").str.extract(pattern, 0)
        found = pl.col("text").str.extract(pattern, 1)
        searched = searched.with_columns(whole.alias("whole"), found.alias("found")).drop_nulls("found")
        at = pl.col("text").str.find(pl.col("whole"), literal=True)
        within = pl.col("whole").str.find(pl.col("found"), literal=True)
        searched = searched.with_columns((at + within).alias("start"), pl.col("found").str.len_bytes().alias("length"))
        spans.append(searched.filter(is_valid).select(spans[0].columns))
        # Whether it was valid or not, it is done with, and the next one is looked for behind it.
        searched = _hide(searched.select("text_number", "text"), searched.select(spans[0].columns))
        searched = searched.filter(pl.col("text").str.contains(pattern))
    return pl.concat(spans)


def _hide(distinct: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The texts with the bytes of `spans` hidden; every other byte stays where it is."""
    for nth in spans.with_columns(pl.int_range(pl.len()).over("text_number").alias("nth")).partition_by("nth"):
        joined = distinct.join(nth.drop("nth"), on="text_number", how="left", maintain_order="left")
        raw = pl.col("text").cast(pl.Binary)
        hidden = pl.concat_str(
            raw.bin.head(pl.col("start")).cast(pl.String),
            pl.lit("").str.pad_start(pl.col("length"), _HIDDEN),
            raw.bin.slice(pl.col("start") + pl.col("length")).cast(pl.String),
        )
        distinct = joined.select(
            *(name for name in distinct.columns if name != "text"),
            pl.when(pl.col("start").is_null()).then(pl.col("text")).otherwise(hidden).alias("text"),
        )
    return distinct
