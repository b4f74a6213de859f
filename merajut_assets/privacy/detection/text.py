"""Personal values inside free texts: where they are, and of which kind.

Belongs here: searching texts. Does not belong here: what a kind looks like (`kinds`), and what a column of texts is
taken for (`columns`). No value leaves this module: findings are positions.
"""

from __future__ import annotations

import polars as pl

from merajut_assets.privacy.detection.kinds import DEFAULT_KINDS, HIDDEN, InText, chosen
from merajut_assets.privacy.detection.reference import Reference

_SPAN = {"start": pl.UInt32, "length": pl.UInt32}
FINDINGS = {"row": pl.UInt32, "kind": pl.String, **_SPAN}


def find_in_text(texts: pl.Series, reference: Reference, kinds: tuple[str, ...] = DEFAULT_KINDS) -> pl.DataFrame:
    """Every personal value inside `texts`: row, kind, and first byte and length in bytes of the UTF-8 text.

    No two overlap: the first of `kinds.KINDS` counts, so that a card number is not found again as a NIK, and what could
    as well be parts of two numbers after all others. Never the value itself. Rows of the result are in the order of row
    and start; texts that are null hold nothing."""
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
    rules = [(kind, place, rule) for kind in wanted for place, rule in enumerate(kind.in_text)]
    for kind, place, rule in sorted(rules, key=lambda one: one[2].is_last):
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
    """`row`, `start`, `length` of all that one rule finds: from left to right, and of what begins at one place the
    longest that is valid. No two of them overlap."""
    pattern = rule.pattern(reference)
    spans = [pl.DataFrame(schema={"row": pl.UInt32, **_SPAN})]
    searched = texts.filter(pl.col("text").str.contains(pattern))
    while searched.height:
        candidates = _judged(searched, rule, reference)
        if rule.has_digits:
            candidates = _shortened(searched, candidates, rule, reference)
        spans.append(candidates.filter("is_valid").select(spans[0].columns))
        # What is valid is done with. Of what is not, a number may still begin at the next of its groups of digits.
        length = pl.col("length")
        done = pl.when("is_valid").then(length).otherwise(pl.col("first") if rule.has_digits else length)
        searched = _hide(searched, candidates.select("row", "start", done.alias("length")))
        searched = searched.filter(pl.col("text").str.contains(pattern))
    return pl.concat(spans)


def _judged(texts: pl.DataFrame, rule: InText, reference: Reference) -> pl.DataFrame:
    """Of each of `texts` that has any the first that the pattern of the rule finds, and whether it `is_valid`.

    `row`, `start`, `length`; `first` and `last`: the bytes of its first and of its last group of digits."""
    pattern = rule.pattern(reference)
    is_valid = pl.lit(True) if rule.is_valid is None else rule.is_valid(reference)
    groups = pl.col("found").str
    found = texts.with_columns(
        pl.col("text").str.extract(pattern, 0).alias("whole"), pl.col("text").str.extract(pattern, 1).alias("found")
    ).drop_nulls("found")
    # The same characters may stand further left where something else follows them, as in a longer number. Only then
    # the pattern itself is asked for the place, which takes longer.
    is_repeated = pl.col("text").str.count_matches(pl.col("whole"), literal=True) > 1
    repeated = found.filter(is_repeated).select("row", pl.col("text").str.find(pattern).alias("exact"))
    at = pl.coalesce("exact", pl.col("text").str.find(pl.col("whole"), literal=True))
    within = pl.col("whole").str.find(pl.col("found"), literal=True)
    return (
        found.join(repeated, on="row", how="left", maintain_order="left")
        .lazy()  # what a rule names twice is then computed once
        .select(
            "row",
            (at + within).alias("start"),
            groups.len_bytes().alias("length"),
            groups.extract(r"^\D*\d*", 0).str.len_bytes().alias("first"),
            groups.extract(r"\D*\d*$", 0).str.len_bytes().alias("last"),
            is_valid.alias("is_valid"),
        )
        .collect()
    )


def _shortened(texts: pl.DataFrame, candidates: pl.DataFrame, rule: InText, reference: Reference) -> pl.DataFrame:
    """The `candidates`, those that are not valid without as many of their last groups as it takes: a number beside a
    longer one is read as part of it."""
    kept = [candidates]
    tried = candidates.filter(~pl.col("is_valid"))
    while tried.height:
        end = pl.col("start") + pl.col("length") - pl.col("last")
        cut = pl.col("text").cast(pl.Binary).bin.head(end).cast(pl.String)
        shorter = tried.join(texts.select("row", "text"), on="row").filter(pl.col("length") > pl.col("last"))
        shorter = shorter.select("row", pl.col("start").alias("begin"), cut.alias("text"))
        judged = _judged(shorter, rule, reference).join(shorter.select("row", "begin"), on="row")
        judged = judged.filter(pl.col("start") == pl.col("begin")).drop("begin")
        kept.append(judged.filter("is_valid"))
        tried = judged.filter(~pl.col("is_valid"))
    return pl.concat(kept).unique("row", keep="last")


def _hide(texts: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The texts with the bytes of `spans` hidden; every other byte stays where it is."""
    for nth in spans.with_columns(pl.int_range(pl.len()).over("row").alias("nth")).partition_by("nth"):
        joined = texts.join(nth.drop("nth"), on="row", how="left", maintain_order="left")
        raw = pl.col("text").cast(pl.Binary)
        hidden = pl.concat_str(
            raw.bin.head(pl.col("start")).cast(pl.String),
            pl.lit("").str.pad_start(pl.col("length"), HIDDEN),
            raw.bin.slice(pl.col("start") + pl.col("length")).cast(pl.String),
        )
        texts = joined.select(
            *(name for name in texts.columns if name != "text"),
            pl.when(pl.col("start").is_null()).then(pl.col("text")).otherwise(hidden).alias("text"),
        )
    return texts
