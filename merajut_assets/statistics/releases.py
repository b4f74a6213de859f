"""Differentially private figures about children in care, as pure functions.

Belongs here: one row per child, the draw, and which figures are useful. Does not belong here: what a
draw costs and whether it may be made (`store`). Calling `draw` spends budget: charge it before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from merajut_assets.contracts.base import LegalBasis, Subject
from merajut_assets.policies.stakeholder import Statistic, epsilon_of_all_per_release
from merajut_assets.privacy.dp import mean_absolute_noise, release_counts, release_means
from merajut_assets.protected.care import children_in_care, institution_places, last_school_year
from merajut_assets.protected.consent_filter import UsableRows, usable_rows
from merajut_assets.protected.summary import completed_years, province_of
from merajut_assets.statistics.declarations import REGISTERED, age_band

CONSENT_PURPOSE = "statistics"
SUBJECT = "child_token"
PLACES = {"province_code", "regency_code"}
# A figure whose noise is expected to be more than half of itself misleads more than it tells. Of a count, half of
# the least that it may be: at the ε of public figures a district with one child is withheld, and so is an empty one.
USEFUL_RELATIVE_ERROR = 0.5
FIGURES = (
    "measure",
    "value",
    "noise_scale",
    "interval_low",
    "interval_high",
    "expected_relative_error",
    "epsilon",
    "epsilon_all_stakeholders",
    "is_withheld",
)


def usable_children(entities: Mapping[str, pl.DataFrame], cut_off: date) -> UsableRows:
    """The rows of Indonesian children whose guardians agree to statistics on the cut-off date."""
    return usable_rows(
        entities,
        subjects=(Subject.CHILD,),
        jurisdictions=(REGISTERED,),
        legal_bases=(LegalBasis.CONSENT, LegalBasis.NOT_APPLICABLE),
        purpose=CONSENT_PURPOSE,
        cut_off=cut_off,
    )


def children(statistic: Statistic, entities: Mapping[str, pl.DataFrame], cut_off: date) -> pl.DataFrame:
    """One row per child in care on the cut-off date: child_token, the keys of the statistic, its values.

    `entities`: rows that may be used. A child's place is that of its institution. Values are those of the
    last school year begun.
    """
    in_care = children_in_care(entities, cut_off).with_columns(
        age_band(completed_years(pl.col("birth_date"), pl.lit(cut_off))).alias("age_band")
    )
    if PLACES & set(statistic.by):
        in_care = in_care.join(institution_places(entities["orphanage"]), on="institution_id", how="left").with_columns(
            province_of(pl.col("regency_code")).alias("province_code")
        )
    if "programme_id" in statistic.by:
        in_care = in_care.join(programme_of_institution(entities["contract"], cut_off), on="institution_id", how="left")
    if statistic.values:
        in_care = in_care.join(last_school_year(entities["education_record"], cut_off), on=SUBJECT, how="left")
    return in_care.select(SUBJECT, *statistic.by, *statistic.values)


def programme_of_institution(contracts: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    """Columns institution_id and programme_id: the programme of each institution under contract on the date.

    Of several, the one whose contract began first counts, then the first by programme_id: a child counts
    in one programme only, as the noise is sized for one. The choice depends on contracts alone.
    """
    in_force = (pl.col("start_date") <= cut_off) & (pl.col("end_date").is_null() | (pl.col("end_date") >= cut_off))
    return (
        contracts.filter(in_force)
        .sort("start_date", "programme_id", "contract_id")
        .unique("orphanage_id", keep="first", maintain_order=True)
        .select(pl.col("orphanage_id").alias("institution_id"), "programme_id")
    )


def draw(statistic: Statistic, rows: pl.DataFrame, keys: Mapping[str, Sequence[Any]], epsilon: float) -> pl.DataFrame:
    """The figures of a statistic: key columns, then FIGURES, for every combination of the public keys.

    `rows`: from `children`. `epsilon`: of the whole statistic; means divide it by their values' shares.
    Whether a figure is withheld follows from the noisy figure alone, so that it costs nothing more.
    """
    if statistic.measure == "child_count":
        return _counts(rows, keys, epsilon)
    return pl.concat(
        _means(rows, keys, name, bounded.bounds, epsilon * bounded.share) for name, bounded in statistic.values.items()
    )


def _counts(rows: pl.DataFrame, keys: Mapping[str, Sequence[Any]], epsilon: float) -> pl.DataFrame:
    figures = release_counts(rows, keys, epsilon, subject=SUBJECT)
    return _withholding(figures.rename({"count": "value"}), keys, "child_count", epsilon, pl.lit(False))


def _means(
    rows: pl.DataFrame, keys: Mapping[str, Sequence[Any]], name: str, bounds: tuple[float, float], epsilon: float
) -> pl.DataFrame:
    figures = release_means(rows, keys, name, bounds, epsilon, subject=SUBJECT)
    middle = sum(bounds) / 2
    # Errors of sum and count add up; a mean too noisy to be given is taken for the middle of its bounds.
    mean = pl.col("mean").fill_null(middle)
    count_error = mean_absolute_noise(figures.item(0, "count_noise_scale"))
    error = (pl.col("noise_scale") + (mean - middle).abs() * count_error) / pl.max_horizontal(pl.col("count"), 1)
    # Relative to the mean, but never to (nearly) nothing: a mean close to zero has no relative error.
    least = (bounds[1] - bounds[0]) / 1000
    figures = figures.with_columns((error / pl.max_horizontal(mean.abs(), least)).alias("expected_relative_error"))
    return _withholding(figures.rename({"mean": "value"}), keys, name, epsilon, pl.col("is_withheld"))


def _withholding(
    figures: pl.DataFrame, keys: Mapping[str, Sequence[Any]], measure: str, epsilon: float, withheld: pl.Expr
) -> pl.DataFrame:
    """The figures in their common columns, without those that are of no use."""
    is_useless = withheld | (pl.col("expected_relative_error") > USEFUL_RELATIVE_ERROR)
    shown = ("value", "interval_low", "interval_high")
    return (
        figures.with_columns(
            is_useless.alias("is_withheld"),
            pl.lit(measure).alias("measure"),
            pl.lit(epsilon).alias("epsilon"),
            pl.lit(epsilon_of_all_per_release()).alias("epsilon_all_stakeholders"),
        )
        .with_columns(pl.when(~pl.col("is_withheld")).then(pl.col(name).cast(pl.Float64)).alias(name) for name in shown)
        .select(*keys, *FIGURES)
    )
