"""What the columns of a table are taken for, and how sure that is.

Belongs here: weighing evidence about a column. Does not belong here: what a kind looks like (`kinds`), and where in a
text something stands (`text`).

A column is weighed for each kind by three explanations of its distinct values (repeating one proves nothing):

    it is of the kind          prior: 0.95 where the name of the column says so, else 0.03
    it is not, and some of its values have the structure by chance
    it is not, and is another numbering that has the same structure (`Kind.lookalikes`)

Of the values that have the shape of the kind (16 digits), the share v is valid (a region, a date). By chance the share
q would be (`Kind.chance`). The likelihood ratio of v against q over n such values is exp(n · KL(v ‖ q)), with the
Kullback-Leibler divergence of two yes-or-no variables; v ≤ q is no evidence. The posterior probability of the first
explanation is the confidence. Hence one valid NIK says something, twenty say nearly everything, and a thousand random
numbers of 16 digits, of which a few are valid, say nothing; ten digits that any number could have are a bank account
only where the column is called so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from re import findall

import polars as pl

from merajut_assets.privacy.detection.kinds import DEFAULT_KINDS, Form, InText, Kind, Verdict, chosen
from merajut_assets.privacy.detection.reference import Reference
from merajut_assets.privacy.detection.text import search

SURE = 0.9
WORTH_A_LOOK = 0.5
_PRIOR_NAMED = 0.95
_PRIOR = 0.03
# Beyond this, one in e^30, the model is less certain than the figure.
_MOST_EVIDENCE = 30.0

DETECTED = {
    "column": pl.String,
    "kind": pl.String,
    "within_text": pl.Boolean,
    "values": pl.UInt32,
    "matching": pl.UInt32,
    "share": pl.Float64,
    "confidence": pl.Float64,
    "verdict": pl.String,
    "advice": pl.String,
}

# Digits, and what people put between them; but not days, decimal fractions and amounts with marks between thousands.
_NUMBER = r"^[+(]?\d[\d \-./()]{3,24}$"
_NO_IDENTIFIER = (
    r"^(?:\d{1,2}[\-./ ]\d{1,2}[\-./ ]\d{4}|\d{4}[\-./ ]\d{1,2}[\-./ ]\d{1,2}"
    r"|(?:0|[1-9]\d{0,2})\.\d+|[1-9]\d{0,2}(?:\.\d{3})+)$"
)
_MARKS = [" ", "-", ".", "/", "(", ")", "+"]
# Whether values are mostly distinct is seen on so many of them.
_LOOKED_AT = 10_000
_MOSTLY_DISTINCT = 0.9
_WITHIN = r"\d[ .\-]?\d[ .\-]?\d[ .\-]?\d[ .\-]?\d|@|\p{L}+[ .]\p{L}"


@dataclass(frozen=True)
class _Finding:
    kind: Kind
    is_within: bool
    rows: int
    share: float
    confidence: float

    @property
    def verdict(self) -> Verdict:
        least = self.kind.least_share_within if self.is_within else self.kind.least_share
        return self.kind.verdict if self.confidence >= SURE and self.share >= least else Verdict.NONE


def detect_columns(frame: pl.DataFrame, reference: Reference, kinds: tuple[str, ...] = DEFAULT_KINDS) -> pl.DataFrame:
    """What each column of `frame` holds: a row per column and kind found, with the columns of `DETECTED`.

    `values` counts the rows that are not empty, `matching` those that are of the kind as a whole or, `within_text`,
    hold it inside a longer text; `share` is their quotient. `verdict` is that of the kind where `confidence` is at
    least `SURE` and the share is large enough, else "none". A column in which nothing was found has one row without
    a kind. Texts and numbers are judged; days, truth values and what has an inner structure are none of the kinds.

    UnknownKind: one of `kinds` is not among `KINDS`."""
    wanted = chosen(kinds)
    rows: list[dict[str, object]] = []
    for column in frame:
        values = _as_text(column)
        found = [] if values is None else _found(values, column.name, wanted, reference)
        filled = column.len() - column.null_count()
        rows += [_row(column.name, filled, finding) for finding in found] or [_row(column.name, filled, None)]
    return pl.DataFrame(rows, schema=DETECTED)


def _row(column: str, values: int, finding: _Finding | None) -> dict[str, object]:
    row: dict[str, object] = {"column": column, "values": values, "verdict": Verdict.NONE.value, "advice": "nothing"}
    if finding is None:
        return {**dict.fromkeys(DETECTED), **row}
    return {
        **row,
        "kind": finding.kind.name,
        "within_text": finding.is_within,
        "matching": finding.rows,
        "share": round(finding.share, 4),
        "confidence": round(finding.confidence, 4),
        "verdict": finding.verdict.value,
        "advice": _advice(finding),
    }


def _advice(finding: _Finding) -> str:
    if finding.verdict is Verdict.NONE:
        return "look at it"
    if finding.verdict is Verdict.QUASI_IDENTIFIER:
        return "generalise it before it is released"
    if finding.is_within:
        return "treat it as free text: encrypt it and do not release it"
    return "encrypt or drop it; do not release it"


# ── values ───────────────────────────────────────────────────────────────────────────────


def _as_text(column: pl.Series) -> pl.Series | None:
    """The values as text; None when no value of the type is of any kind."""
    if column.dtype.is_float():
        # A spreadsheet turns numbers with empty cells between them into fractions.
        whole = column.cast(pl.Int64, strict=False)
        is_whole = (whole.cast(column.dtype) == column).fill_null(False)
        return whole.cast(pl.String).zip_with(is_whole, column.cast(pl.String))
    if column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return None


def _distinct(values: pl.Series) -> pl.DataFrame:
    """`text` (without outer blanks), `rows` that hold it, and whether it is written as a number."""
    text = pl.col("text")
    stripped = values.drop_nulls().str.strip_chars().alias("text").to_frame().filter(text != "")
    some = stripped["text"].gather_every(max(1, stripped.height // _LOOKED_AT))
    if some.n_unique() < _MOSTLY_DISTINCT * some.len():
        counted = stripped.group_by("text").agg(pl.len().alias("rows"))
    else:
        # Counting would take longer than judging a few values twice.
        counted = stripped.with_columns(pl.lit(1, dtype=pl.UInt32).alias("rows"))
    return counted.with_columns((text.str.contains(_NUMBER) & ~text.str.contains(_NO_IDENTIFIER)).alias("is_number"))


def _of_form(distinct: pl.DataFrame, form: Form) -> pl.DataFrame:
    if form is Form.TEXT:
        return distinct.filter(~pl.col("is_number")).select("text", "rows")
    digits = pl.col("text").str.replace_many(_MARKS, "").alias("digits")
    numbers = distinct.filter("is_number").select("text", "rows", digits)
    return numbers.with_columns(pl.col("digits").str.len_bytes().alias("length"))


# ── evidence ─────────────────────────────────────────────────────────────────────────────


def _found(values: pl.Series, name: str, kinds: Sequence[Kind], reference: Reference) -> list[_Finding]:
    distinct = _distinct(values)
    filled = int(distinct["rows"].sum())
    if not filled:
        return []
    whole: list[_Finding] = []
    searchable = distinct.filter(~pl.col("is_number")).select("text", "rows")
    for form in Form:
        of_form = _of_form(distinct, form)
        candidates = [kind for kind in kinds if kind.form is form]
        if of_form.is_empty() or not candidates:
            continue
        judged = _judged(of_form, candidates, reference)
        found = sorted(
            _whole(judged, candidates, name, filled, reference),
            key=lambda one: one.confidence * one.share,
            reverse=True,
        )
        kept, explained = _apart(judged, found, filled)
        whole += kept
        if form is Form.TEXT:
            searchable = of_form.filter(~explained).select("text", "rows")
    # Streets are named after people: what is an address is not searched for names.
    known = {finding.kind.name for finding in whole}
    if "address" in known:
        known.add("person_name")
    left = [kind for kind in kinds if kind.name not in known]
    within = _within(searchable, left, name, filled, reference)
    return sorted([*whole, *within], key=lambda one: one.confidence * one.share, reverse=True)


def _judged(of_form: pl.DataFrame, kinds: Sequence[Kind], reference: Reference) -> pl.DataFrame:
    """`rows`, and for each kind which values have its shape and which are valid."""
    shapes = of_form.select(
        pl.repeat(True, pl.len()).and_(kind.has_shape(reference)).alias(f"{kind.name}.shape") for kind in kinds
    )
    judged = [of_form["rows"], *shapes]
    for kind in kinds:
        shaped = shapes[f"{kind.name}.shape"]
        valid = pl.repeat(False, of_form.height, dtype=pl.Boolean, eager=True)
        if shaped.any():
            able = of_form.with_row_index("place").filter(shaped)
            valid = valid.scatter(able.filter(kind.is_valid(reference))["place"], True)
        judged.append(valid.alias(f"{kind.name}.valid"))
    return pl.DataFrame(judged)


def _whole(
    judged: pl.DataFrame, kinds: Sequence[Kind], name: str, filled: int, reference: Reference
) -> Iterator[_Finding]:
    for kind in kinds:
        valid = judged[f"{kind.name}.valid"]
        matching = int(judged["rows"].filter(valid).sum())
        if not matching:
            continue
        prior = _prior(kind, name)
        shaped = int(judged[f"{kind.name}.shape"].sum())
        sure = _confidence(shaped, int(valid.sum()), kind.chance(reference), kind.lookalikes, prior)
        if sure >= WORTH_A_LOOK:
            yield _Finding(kind, False, matching, matching / filled, sure)


def _apart(judged: pl.DataFrame, found: Sequence[_Finding], filled: int) -> tuple[list[_Finding], pl.Series]:
    """The findings that explain enough values which no better one explains, and which values are explained by any
    but names and addresses: those may hold something else besides."""
    kept: list[_Finding] = []
    taken = closed = pl.repeat(False, judged.height, dtype=pl.Boolean, eager=True)
    for finding in found:
        own = judged[f"{finding.kind.name}.valid"]
        if judged["rows"].filter(own & ~taken).sum() < finding.kind.least_share * filled:
            continue
        kept.append(finding)
        taken = taken | own
        if finding.kind.name not in ("person_name", "address"):
            closed = closed | own
    return kept, closed


def _within(
    texts: pl.DataFrame, kinds: Sequence[Kind], name: str, filled: int, reference: Reference
) -> Iterator[_Finding]:
    texts = texts.filter(pl.col("text").str.contains(_WITHIN))
    if texts.is_empty():
        return
    spans = search(texts["text"], reference, tuple(kind.name for kind in kinds))
    rows = texts["rows"]
    for kind in kinds:
        of_kind = spans.filter(pl.col("kind") == kind.name)
        if of_kind.is_empty():
            continue
        sure = max(
            _confidence_of(rule, of_kind.filter(pl.col("rule") == place), texts, kind, _prior(kind, name), reference)
            for place, rule in enumerate(kind.in_text)
        )
        matching = int(rows.gather(of_kind["row"].unique()).sum())
        if sure >= WORTH_A_LOOK:
            yield _Finding(kind, True, matching, matching / filled, sure)


def _confidence_of(
    rule: InText, spans: pl.DataFrame, texts: pl.DataFrame, kind: Kind, prior: float, reference: Reference
) -> float:
    """How sure what one rule found makes of a kind."""
    valid = spans["row"].n_unique()
    if not valid:
        return 0.0
    meant = texts["text"].str.contains(rule.candidates or rule.pattern(reference)).sum()
    return _confidence(max(int(meant), valid), valid, rule.chance(reference), kind.lookalikes, prior)


def _prior(kind: Kind, name: str) -> float:
    words = "_" + "_".join(word.lower() for word in findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)) + "_"
    return _PRIOR_NAMED if any(f"_{hint}_" in words for hint in kind.hints) else _PRIOR


def _confidence(shaped: int, valid: int, chance: float, lookalikes: float, prior: float) -> float:
    """The posterior probability that values are of the kind (see the module)."""
    ratio = exp(min(_evidence(shaped, valid, chance), _MOST_EVIDENCE))
    by_chance = (1 - prior) * (1 - lookalikes)
    by_another = (1 - prior) * lookalikes * ratio
    return prior * ratio / (prior * ratio + by_chance + by_another)


def _evidence(shaped: int, valid: int, chance: float) -> float:
    """n · KL(v ‖ q) for v = valid / shaped above q = chance, else 0."""
    share = valid / shaped
    if share <= chance:
        return 0.0
    missed = (1 - share) * log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return shaped * (share * log(share / chance) + missed)
