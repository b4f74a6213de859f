"""Who consented to a purpose, as of a date.

Belongs here: the rule by which decisions become a yes or no on a date. Does not belong here:
which rows need consent (their legal basis) or when the cut-off date is.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.privacy.intake import type_name
from merajut_assets.privacy.policy import DataError

SUBJECT = "subject_token"
GRANTED = "granted"
WITHDRAWN = "withdrawn"
COLUMNS = (SUBJECT, "purpose", "status", "decided_on", "valid_until")


def restricts() -> pl.Expr:
    """Whether a decision (columns status and valid_until) can take away from older ones: a withdrawal, one that
    is neither of the two, and a grant with an end. Without it an older grant would count again, whereas no
    consent becomes wider by leaving out a grant without an end."""
    return ~pl.col("status").eq_missing(GRANTED) | pl.col("valid_until").is_not_null()


def consented(subjects: pl.DataFrame, consents: pl.DataFrame, purpose: str, on: date) -> pl.DataFrame:
    """The rows of `subjects` (column subject_token) whose subject consents to `purpose` on the day `on`.

    `consents` holds decisions: subject_token, purpose, status (granted | withdrawn), decided_on,
    valid_until (its last valid day; null: no end). For each subject and purpose the decisions of the
    latest day on or before `on` rule: any withdrawal among them means no; so does an end before `on`
    of any grant among them. A subject without a decision has not consented, nor has a null subject.
    Decisions after `on` change nothing. The order of both frames is irrelevant; the order of `subjects`
    is kept.
    Raises DataError when a column is missing, a decision has no date, or a status is neither of the two:
    a decision that cannot be read must not be taken for consent.
    """
    _check(subjects, consents)
    effective = consents.filter((pl.col("purpose") == purpose) & (pl.col("decided_on") <= on))
    latest = effective.filter(pl.col("decided_on") == pl.col("decided_on").max().over(SUBJECT))
    yes = (
        latest.group_by(SUBJECT)
        .agg(
            ((pl.col("status") == GRANTED) & (pl.col("valid_until").is_null() | (pl.col("valid_until") >= on)))
            .all()
            .alias("consents")
        )
        .filter("consents")
    )
    return subjects.join(yes.select(SUBJECT), on=SUBJECT, how="semi", maintain_order="left")


def _check(subjects: pl.DataFrame, consents: pl.DataFrame) -> None:
    if SUBJECT not in subjects.columns:
        raise DataError(f"the subjects lack column {SUBJECT!r}")
    if missing := [name for name in COLUMNS if name not in consents.columns]:
        raise DataError(f"the consents lack column(s) {', '.join(missing)}")
    for name in ("decided_on", "valid_until"):
        if consents.schema[name] not in (pl.Date, pl.Null):
            raise DataError(f"consent column {name!r} has type {type_name(consents.schema[name])}; it must be a Date")
    for name in ("purpose", "status", "decided_on"):
        if nulls := consents.get_column(name).null_count():
            raise DataError(f"consent column {name!r} is null in {nulls} row(s); quarantine them")
    unknown = consents.filter(~pl.col("status").is_in([GRANTED, WITHDRAWN])).height
    if unknown:
        raise DataError(f"consent column 'status' is neither {GRANTED} nor {WITHDRAWN} in {unknown} row(s)")
