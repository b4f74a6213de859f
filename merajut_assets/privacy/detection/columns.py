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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from re import findall

import polars as pl

from merajut_assets.privacy.detection.kinds import DEFAULT_KINDS, Form, Kind, Verdict, chosen
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

# As many digits as some kind has, and what people put between them; but not days, decimal fractions and amounts with
# marks between thousands. What has more digits is searched as a text: two numbers may stand in one cell.
_NUMBER = r"^[+(]?(?:[0-9][ \-./()]{0,3}){5,16}$"
_NO_IDENTIFIER = (
    r"^(?:\d{1,2}[\-./ ]\d{1,2}[\-./ ]\d{4}|\d{4}[\-./ ]\d{1,2}[\-./ ]\d{1,2}"
    r"|(?:0|[1-9]\d{0,2})\.\d+|[1-9]\d{0,2}(?:\.\d{3})+)$"
)
_WITHOUT_MARKS = dict.fromkeys(" -./()+", "")
_BATCH_VALUES = 1_000_000
# Where more values than this share are distinct, each is judged.
_MOSTLY_DISTINCT = 0.7
_WITHIN = r"\d[ .\-]?\d[ .\-]?\d[ .\-]?\d[ .\-]?\d|@|\p{L}+[ .]\p{L}"


@dataclass(frozen=True)
class _Column:
    """A column by its place and name, with the number of its rows that are not empty."""

    number: int
    name: str
    filled: int


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
    found: dict[int, list[_Finding]] = {}
    filled: dict[int, int] = {}
    for values in _batches(frame):
        own = dict(values.group_by("column").agg(pl.col("rows").sum()).iter_rows())
        filled |= own
        columns = [_Column(number, frame.columns[number], rows) for number, rows in own.items()]
        found |= _found(values, columns, wanted, reference)
    rows: list[dict[str, object]] = []
    for number, name in enumerate(frame.columns):
        count = filled.get(number, frame[name].len() - frame[name].null_count())
        best = sorted(found.get(number, []), key=_strength, reverse=True)
        rows += [_row(name, count, finding) for finding in best] or [_row(name, count, None)]
    return pl.DataFrame(rows, schema=DETECTED)


def _strength(finding: _Finding) -> float:
    return finding.confidence * finding.share


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


def _batches(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The distinct values of some columns at a time: `column` (its place), `text`, `rows`, `is_number`. Small columns
    are judged together, because asking costs more than the answer; large ones by themselves, for the memory."""
    batch: list[pl.DataFrame] = []
    for number, column in enumerate(frame):
        text = _as_text(column)
        if text is not None:
            batch.append(_distinct(text).with_columns(pl.lit(number, dtype=pl.UInt32).alias("column")))
        if sum(values.height for values in batch) >= _BATCH_VALUES:
            yield _with_form(pl.concat(batch))
            batch = []
    if batch:
        yield _with_form(pl.concat(batch))


def _distinct(values: pl.Series) -> pl.DataFrame:
    """`text` (without outer blanks) and `rows` that hold it."""
    stripped = values.drop_nulls().str.strip_chars().alias("text").to_frame().filter(pl.col("text") != "")
    different = stripped.select(pl.col("text").approx_n_unique()).item()
    if different < _MOSTLY_DISTINCT * stripped.height:
        return stripped.group_by("text").agg(pl.len().alias("rows"))
    # Counting would take longer than judging a few values twice.
    return stripped.with_columns(pl.lit(1, dtype=pl.UInt32).alias("rows"))


def _with_form(values: pl.DataFrame) -> pl.DataFrame:
    text = pl.col("text")
    return values.with_columns((text.str.contains(_NUMBER) & ~text.str.contains(_NO_IDENTIFIER)).alias("is_number"))


def _of_form(values: pl.DataFrame, form: Form) -> pl.DataFrame:
    if form is Form.TEXT:
        return values.filter(~pl.col("is_number")).select("column", "text", "rows")
    digits = pl.col("text").str.replace_many(_WITHOUT_MARKS).alias("digits")
    numbers = values.filter("is_number").select("column", "text", "rows", digits)
    return numbers.with_columns(pl.col("digits").str.len_bytes().alias("length"))


# ── evidence ─────────────────────────────────────────────────────────────────────────────


def _found(
    values: pl.DataFrame, columns: Sequence[_Column], kinds: Sequence[Kind], reference: Reference
) -> dict[int, list[_Finding]]:
    """What was found, by the place of the column."""
    found: dict[int, list[_Finding]] = {column.number: [] for column in columns}
    texts = pl.DataFrame()
    for form in Form:
        of_form = _of_form(values, form)
        candidates = [kind for kind in kinds if kind.form is form]
        judged = _judged(of_form, candidates, reference)
        kept = _whole(judged, columns, candidates, reference)
        for number, findings in kept.items():
            found[number] += findings
        if form is Form.TEXT:
            texts = of_form.filter(~_closed(judged, kept))
    for number, findings in _within(texts, columns, kinds, found, reference).items():
        found[number] += findings
    return found


def _judged(of_form: pl.DataFrame, kinds: Sequence[Kind], reference: Reference) -> pl.DataFrame:
    """`column`, `rows`, and for each kind which values have its shape and which are valid."""
    shapes = of_form.select(
        pl.repeat(True, pl.len()).and_(kind.has_shape(reference)).alias(f"{kind.name}.shape") for kind in kinds
    )
    judged = [of_form["column"], of_form["rows"], *shapes]
    for kind in kinds:
        shaped = shapes[f"{kind.name}.shape"]
        valid = pl.repeat(False, of_form.height, dtype=pl.Boolean, eager=True)
        if shaped.any():
            able = of_form.with_row_index("place").filter(shaped)
            # Lazily: what a rule names twice is then computed once.
            told = able.lazy().select("place", kind.is_valid(reference).alias("is_valid")).collect()
            valid = valid.scatter(told["place"].filter(told["is_valid"]), True)
        judged.append(valid.alias(f"{kind.name}.valid"))
    return pl.DataFrame(judged)


def _whole(
    judged: pl.DataFrame, columns: Sequence[_Column], kinds: Sequence[Kind], reference: Reference
) -> dict[int, list[_Finding]]:
    """Kinds of whole values, by the place of the column."""
    counted = judged.group_by("column").agg(
        count
        for kind in kinds
        for count in (
            pl.col(f"{kind.name}.shape").sum(),
            pl.col(f"{kind.name}.valid").sum(),
            pl.col("rows").filter(f"{kind.name}.valid").sum().alias(f"{kind.name}.rows"),
        )
    )
    counts = {row["column"]: row for row in counted.iter_rows(named=True)}
    found: dict[int, list[_Finding]] = {}
    for column in columns:
        findings = []
        for kind in kinds:
            shaped, valid, rows = (
                counts.get(column.number, {}).get(f"{kind.name}.{what}", 0) for what in ("shape", "valid", "rows")
            )
            if not valid:
                continue
            prior = _prior(kind, column.name)
            sure = _confidence(shaped, valid, kind.chance(reference), kind.lookalikes, prior)
            if sure >= WORTH_A_LOOK:
                findings.append(_Finding(kind, False, rows, rows / column.filled, sure))
        if findings:
            own = judged.filter(pl.col("column") == column.number)
            found[column.number] = _apart(own, sorted(findings, key=_strength, reverse=True), column.filled)
    return found


def _apart(judged: pl.DataFrame, found: Sequence[_Finding], filled: int) -> list[_Finding]:
    """The findings that explain enough values of a column which no better one explains."""
    kept: list[_Finding] = []
    taken = pl.repeat(False, judged.height, dtype=pl.Boolean, eager=True)
    for finding in found:
        own = judged[f"{finding.kind.name}.valid"]
        if judged["rows"].filter(own & ~taken).sum() >= finding.kind.least_share * filled:
            kept.append(finding)
            taken = taken | own
    return kept


def _closed(judged: pl.DataFrame, found: Mapping[int, Sequence[_Finding]]) -> pl.Series:
    """Which texts are explained as a whole by any kind but names and addresses, which may hold something besides."""
    closed = pl.repeat(False, judged.height, dtype=pl.Boolean, eager=True)
    for number, findings in found.items():
        for finding in findings:
            if finding.kind.name not in ("person_name", "address"):
                closed = closed | (judged[f"{finding.kind.name}.valid"] & (judged["column"] == number))
    return closed


def _within(
    texts: pl.DataFrame,
    columns: Sequence[_Column],
    kinds: Sequence[Kind],
    whole: Mapping[int, Sequence[_Finding]],
    reference: Reference,
) -> dict[int, list[_Finding]]:
    """Kinds that longer texts hold, by the place of the column."""
    texts = texts.filter(pl.col("text").str.contains(_WITHIN))
    alike: dict[tuple[Kind, ...], list[_Column]] = {}
    for column in columns:
        known = {finding.kind.name for finding in whole[column.number]}
        # Streets are named after people: what is an address is not searched for names.
        known |= {"person_name"} if "address" in known else set()
        alike.setdefault(tuple(kind for kind in kinds if kind.name not in known), []).append(column)
    found: dict[int, list[_Finding]] = {}
    for left, members in alike.items():
        searched = texts.filter(pl.col("column").is_in([column.number for column in members]))
        spans = search(searched["text"], reference, tuple(kind.name for kind in left))
        spans = spans.with_columns(searched["column"].gather(spans["row"]), searched["rows"].gather(spans["row"]))
        present = set(spans.select("column", "kind").unique().iter_rows())
        for column in members:
            for kind in left:
                if (column.number, kind.name) in present:
                    finding = _of_spans(
                        spans.filter((pl.col("column") == column.number) & (pl.col("kind") == kind.name)),
                        searched.filter(pl.col("column") == column.number)["text"],
                        column,
                        kind,
                        reference,
                    )
                    if finding.confidence >= WORTH_A_LOOK:
                        found.setdefault(column.number, []).append(finding)
    return found


def _of_spans(spans: pl.DataFrame, texts: pl.Series, column: _Column, kind: Kind, reference: Reference) -> _Finding:
    """What the findings of one kind in the texts of one column come to: as sure as the rule that says most."""
    sure = 0.0
    for place, rule in enumerate(kind.in_text):
        valid = spans.filter(pl.col("rule") == place)["row"].n_unique()
        if valid:
            meant = int(texts.str.contains(rule.candidates or rule.pattern(reference)).sum())
            prior = _prior(kind, column.name)
            sure = max(sure, _confidence(max(meant, valid), valid, rule.chance(reference), kind.lookalikes, prior))
    rows = int(spans.unique("row")["rows"].sum())
    return _Finding(kind, True, rows, rows / column.filled, sure)


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
