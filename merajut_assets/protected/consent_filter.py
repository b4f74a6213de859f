"""Which conformed rows may be used for a dataset: legal basis, jurisdiction, and consent.

Belongs here: judging rows, before anything is computed from them. What counts as consent on a date is
`privacy.consent`'s rule; what a stakeholder accepts is the policy's.

A row is used when its jurisdiction is one of the dataset's, its legal basis is accepted, and, where
that basis is consent, every person it is judged by consents to the purpose on the cut-off date: the
people its entity is about, and those the dataset is about. Rows with basis `none` are never used.
A row of an entity that may be about nobody (a story without a child) needs no consent when it is.

Whoever is told about in a row refused for want of consent is left out altogether: an employee who
agreed as an employee and refused as a volunteer would else appear as one who never volunteered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import LegalBasis, Subject, TableContract
from merajut_assets.privacy.consent import COLUMNS, SUBJECT, consented

CONSENT_ENTITY = "consent"
EVERYWHERE = "WORLD"  # jurisdiction of reference figures that belong to no country

_REASON = "_reason"


@dataclass(frozen=True)
class UsableRows:
    """`entities` without the rows that may not be used; `excluded`: rows per entity and reason."""

    entities: dict[str, pl.DataFrame]
    excluded: dict[str, dict[str, int]]

    @property
    def rows(self) -> int:
        return sum(frame.height for frame in self.entities.values())


def usable_rows(
    entities: Mapping[str, pl.DataFrame],
    *,
    subjects: Collection[Subject],
    jurisdictions: Collection[str],
    legal_bases: Collection[LegalBasis],
    purpose: str,
    cut_off: date,
) -> UsableRows:
    """The rows of `entities` (conformed frames by name, the decisions under `consent`) that may be used.

    `subjects`: who the dataset is about. Reasons: other_jurisdiction, no_legal_basis,
    basis_not_accepted, no_subject, no_consent, refused_elsewhere. The decisions are not passed on.
    Raises privacy's DataError when a decision cannot be read.
    """
    judge = _Judge(entities.get(CONSENT_ENTITY), purpose, cut_off)
    judged = {
        name: judge.rows(frame, registry.entity(name), subjects, jurisdictions, legal_bases)
        for name, frame in entities.items()
        if name != CONSENT_ENTITY
    }
    judged = {name: _refused_elsewhere(name, frame, judged, subjects) for name, frame in judged.items()}
    return UsableRows(
        {name: frame.filter(pl.col(_REASON).is_null()).drop(_REASON) for name, frame in judged.items()},
        {name: _counts(frame) for name, frame in judged.items()},
    )


class _Judge:
    """Judges rows for one purpose and date; each kind of subject's decisions are read once."""

    def __init__(self, decisions: pl.DataFrame | None, purpose: str, cut_off: date) -> None:
        self._decisions = decisions
        self._purpose = purpose
        self._cut_off = cut_off

    def rows(
        self,
        frame: pl.DataFrame,
        contract: TableContract,
        subjects: Collection[Subject],
        jurisdictions: Collection[str],
        legal_bases: Collection[LegalBasis],
    ) -> pl.DataFrame:
        """`frame` with the reason why a row may not be used, or null."""
        people = {
            subject: column
            for subject, column in contract.subject_columns.items()
            if subject in contract.subjects or subject in subjects
        }
        must_have_subject = any(
            contract.column(column).required or contract.column(column).required_when for column in people.values()
        )
        has_subject = pl.any_horizontal(pl.lit(False), *(pl.col(column).is_not_null() for column in people.values()))
        basis = pl.col("legal_basis")
        needs_consent = (basis == LegalBasis.CONSENT) & (has_subject if not must_have_subject else pl.lit(True))
        effective = (
            pl.when((basis == LegalBasis.CONSENT) & ~needs_consent)
            .then(pl.lit(LegalBasis.NOT_APPLICABLE.value))
            .otherwise(basis)
        )
        consents = self._with_consent(frame, people)
        return consents.with_columns(
            pl.when(~pl.col("jurisdiction").is_in([*jurisdictions, EVERYWHERE]))
            .then(pl.lit("other_jurisdiction"))
            .when(basis.is_null() | (basis == LegalBasis.NONE))
            .then(pl.lit("no_legal_basis"))
            .when(~effective.is_in([accepted.value for accepted in legal_bases]))
            .then(pl.lit("basis_not_accepted"))
            .when(needs_consent & ~has_subject)
            .then(pl.lit("no_subject"))
            .when(needs_consent & ~pl.col("_consents"))
            .then(pl.lit("no_consent"))
            .alias(_REASON)
        ).drop("_consents")

    def _with_consent(self, frame: pl.DataFrame, people: Mapping[Subject, str]) -> pl.DataFrame:
        """`frame` with `_consents`: whether everybody named in a row consents."""
        flags = []
        for subject, column in people.items():
            tokens = frame.select(pl.col(column).alias(SUBJECT)).drop_nulls().unique()
            agreed = consented(tokens, self._decisions_of(subject), self._purpose, self._cut_off)
            flags.append(pl.col(column).is_null() | pl.col(column).is_in(agreed.get_column(SUBJECT).implode()))
        return frame.with_columns(pl.all_horizontal(pl.lit(True), *flags).alias("_consents"))

    def _decisions_of(self, subject: Subject) -> pl.DataFrame:
        if self._decisions is None:
            dates = {"decided_on", "valid_until"}
            return pl.DataFrame(schema={name: pl.Date if name in dates else pl.String for name in COLUMNS})
        return self._decisions.filter(pl.col("subject_type") == subject.value).rename(
            {"subject_token": SUBJECT}, strict=False
        )


def _refused_elsewhere(
    name: str, frame: pl.DataFrame, judged: Mapping[str, pl.DataFrame], subjects: Collection[Subject]
) -> pl.DataFrame:
    """Mark the rows about whoever the dataset is about and is named in another row without consent."""
    columns = registry.entity(name).subject_columns
    refused = pl.lit(False)
    for subject in subjects:
        if subject in columns:
            tokens = _refused_tokens(judged, subject)
            refused = refused | pl.col(columns[subject]).is_in(tokens.implode()).fill_null(False)
    return frame.with_columns(
        pl.when(pl.col(_REASON).is_null() & refused)
        .then(pl.lit("refused_elsewhere"))
        .otherwise(pl.col(_REASON))
        .alias(_REASON)
    )


def _refused_tokens(judged: Mapping[str, pl.DataFrame], subject: Subject) -> pl.Series:
    parts = [pl.Series("token", [], dtype=pl.String)]
    for name, frame in judged.items():
        column = registry.entity(name).subject_columns.get(subject)
        if column is not None:
            parts.append(
                frame.filter(pl.col(_REASON) == "no_consent").get_column(column).cast(pl.String).alias("token")
            )
    return pl.concat(parts).drop_nulls().unique()


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    counted = frame.drop_nulls(_REASON).group_by(_REASON).agg(pl.len()).sort(_REASON)
    return {str(reason): int(rows) for reason, rows in counted.iter_rows()}
