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
    distinct = rows.select(pl.col("text").unique(maintain_order=True))["text"]
    found = search(distinct, reference, kinds).rename({"row": "number"})
    if found.is_empty():
        return pl.DataFrame(schema=FINDINGS)
    numbers = rows.join(distinct.to_frame().with_row_index("number"), on="text").select("row", "number")
    return numbers.join(found, on="number").select(*FINDINGS).sort("row", "start")


def search(texts: pl.Series, reference: Reference, kinds: tuple[str, ...]) -> pl.DataFrame:
    """As `find_in_text`, in no order and with the place of the rule among the kind's own (`rule`); `texts` are searched
    one by one, and none is null."""
    wanted = chosen(kinds)
    needs = dict.fromkeys(rule.needs for kind in wanted for rule in kind.in_text if rule.has_digits)
    flags = {need: f"needs {place}" for place, need in enumerate(needs)}
    every = texts.alias("text").to_frame().with_row_index("row")
    # Most kinds are numbers, and most texts hold none.
    numbered = every.filter(pl.col("text").str.contains("[0-9]"))
    numbered = numbered.with_columns(pl.col("text").str.contains(need).alias(flag) for need, flag in flags.items())
    found = [pl.DataFrame(schema={**FINDINGS, "rule": pl.UInt32})]
    for kind in wanted:
        for place, rule in enumerate(kind.in_text):
            if rule.has_digits:
                able = numbered.filter(flags[rule.needs])
            else:
                able = every.filter(pl.col("text").str.contains(rule.needs))
            if able.is_empty():
                continue
            spans = _spans(able.select("row", "text"), rule, reference)
            if spans.height:
                named = pl.lit(kind.name).alias("kind"), pl.lit(place, dtype=pl.UInt32).alias("rule")
                found.append(spans.with_columns(named).select(found[0].columns))
                every, numbered = _hide(every, spans), _hide(numbered, spans)
    return pl.concat(found)


def _spans(texts: pl.DataFrame, rule: InText, reference: Reference) -> pl.DataFrame:
    """`row`, `start`, `length` of all that one rule finds."""
    pattern = rule.pattern(reference)
    searched = texts.filter(pl.col("text").str.contains(pattern))
    is_valid = pl.lit(True) if rule.is_valid is None else rule.is_valid(reference)
    spans = [pl.DataFrame(schema={"row": pl.UInt32, **_SPAN})]
    while searched.height:
        whole = pl.col("text").str.extract(pattern, 0)
        found = pl.col("text").str.extract(pattern, 1)
        searched = searched.with_columns(whole.alias("whole"), found.alias("found")).drop_nulls("found")
        at = pl.col("text").str.find(pl.col("whole"), literal=True)
        within = pl.col("whole").str.find(pl.col("found"), literal=True)
        searched = searched.with_columns((at + within).alias("start"), pl.col("found").str.len_bytes().alias("length"))
        told = searched.lazy().with_columns(is_valid.alias("is_valid")).collect()  # lazily: see `columns`
        spans.append(told.filter("is_valid").select(spans[0].columns))
        # Whether it was valid or not, it is done with, and the next one is looked for behind it.
        searched = _hide(searched.select("row", "text"), searched.select(spans[0].columns))
        searched = searched.filter(pl.col("text").str.contains(pattern))
    return pl.concat(spans)


def _hide(texts: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The texts with the bytes of `spans` hidden; every other byte stays where it is."""
    for nth in spans.with_columns(pl.int_range(pl.len()).over("row").alias("nth")).partition_by("nth"):
        joined = texts.join(nth.drop("nth"), on="row", how="left", maintain_order="left")
        raw = pl.col("text").cast(pl.Binary)
        hidden = pl.concat_str(
            raw.bin.head(pl.col("start")).cast(pl.String),
            pl.lit("").str.pad_start(pl.col("length"), _HIDDEN),
            raw.bin.slice(pl.col("start") + pl.col("length")).cast(pl.String),
        )
        texts = joined.select(
            *(name for name in texts.columns if name != "text"),
            pl.when(pl.col("start").is_null()).then(pl.col("text")).otherwise(hidden).alias("text"),
        )
    return texts
