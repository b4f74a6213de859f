"""Who is in care on a date, where, in which form of care, and in which school year.

Belongs here: reading registrations, placements and school records as of a date, for everything that
counts children. Does not belong here: whose rows may be used (`consent_filter`).

Two kinds of sources tell it differently. A register (Indonesia) records admission and exit, and is
kept up to date: a child is in care when admitted on or before the cut-off and not yet left. A return
(England) records placements only, and ends: after its last placement began or ended nothing is known.
If that day lies more than a year before the cut-off, it is the return's *reporting date*, as of which it
is read; and persons who are adults by the cut-off (21, when leaving care ends) are no children in care,
however open their last placement was left.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from merajut_assets.protected.summary import Entities, completed_years, province_of

ADULT_AGE = 21
SCHOOL_YEAR_BEGINS = (7, 1)
RETURN_IS_CURRENT = timedelta(days=366)
_DAY = pl.duration(days=1)


def reporting_dates(entities: Entities, cut_off: date) -> dict[str, date]:
    """The day as of which each source of children is read: the cut-off, or the end of an ended return."""
    returns = (
        entities["child"]
        .group_by("source_system")
        .agg(pl.col("admission_date").is_null().all().alias("is_return"))
        .sort("source_system")
    )
    dates: dict[str, date] = {}
    for source, is_return in returns.iter_rows():
        last = _last_placement_event(entities["placement"], source, cut_off) if is_return else None
        ended = last is not None and last < cut_off - RETURN_IS_CURRENT
        dates[source] = last if ended and last is not None else cut_off
    return dates


def _last_placement_event(placements: pl.DataFrame, source: str, cut_off: date) -> date | None:
    own = placements.filter(pl.col("source_system") == source)
    days = pl.concat([own.get_column(name).alias("day") for name in ("start_date", "end_date")])
    return days.filter(days <= cut_off).max()  # type: ignore[return-value]


def with_reporting_date(frame: pl.DataFrame, dates: dict[str, date], cut_off: date) -> pl.DataFrame:
    """`frame` with `reporting_date`, by its source system."""
    known = pl.DataFrame(
        {"source_system": list(dates), "reporting_date": list(dates.values())},
        schema={"source_system": pl.String, "reporting_date": pl.Date},
    )
    return frame.join(known, on="source_system", how="left", maintain_order="left").with_columns(
        pl.col("reporting_date").fill_null(cut_off)
    )


def children_in_care(entities: Entities, cut_off: date) -> pl.DataFrame:
    """The children in care on the cut-off date, one row each, with where and how.

    The columns of `child`, and: `reporting_date`; of the placement that was open then (or else the last
    one begun) `care_type`, `placement_reason`; `institution_id`, of that placement or else of the
    registration; `placements`, how many had begun; `care_since`.
    Reads the entities child and placement.
    """
    children = with_reporting_date(entities["child"], reporting_dates(entities, cut_off), cut_off)
    begun = (
        entities["placement"]
        .join(children.select("child_token", "reporting_date"), on="child_token")
        .filter(pl.col("start_date") <= pl.col("reporting_date"))
        .with_columns((pl.col("end_date").is_null() | (pl.col("end_date") > pl.col("reporting_date"))).alias("is_open"))
    )
    with_placement = children.join(_placement_facts(begun), on="child_token", how="left", maintain_order="left")
    registered = (pl.col("admission_date") <= cut_off) & (
        pl.col("exit_date").is_null() | (pl.col("exit_date") > cut_off)
    )
    is_minor = completed_years(pl.col("birth_date"), pl.lit(cut_off)) < ADULT_AGE
    in_return = pl.col("is_open").fill_null(False) & is_minor.fill_null(False)
    return (
        with_placement.filter(pl.when(pl.col("admission_date").is_null()).then(in_return).otherwise(registered))
        .with_columns(
            pl.coalesce("placement_institution", "orphanage_id").alias("institution_id"),
            pl.coalesce("admission_date", "spell_start").alias("care_since"),
        )
        .drop("is_open", "placement_institution", "spell_start")
    )


def _placement_facts(begun: pl.DataFrame) -> pl.DataFrame:
    """Per child: the current placement, the number of placements, and when the present spell began."""
    current = (
        begun.sort("is_open", "start_date", "placement_id", descending=True)
        .unique("child_token", keep="first", maintain_order=True)
        .select(
            "child_token",
            "care_type",
            "is_open",
            pl.col("reason_for_care").alias("placement_reason"),
            pl.col("orphanage_id").alias("placement_institution"),
        )
    )
    # A placement that begins on the day after the one before it, or earlier, continues the same spell.
    previous_end = pl.col("end_date").shift(1).over("child_token")
    is_new = (pl.col("start_date") > previous_end + _DAY).fill_null(False)
    spells = (
        begun.sort("child_token", "start_date", "placement_id")
        .with_columns(is_new.alias("is_new"))
        .with_columns(pl.col("is_new").cum_sum().over("child_token").alias("spell"))
        .filter(pl.col("spell") == pl.col("spell").max().over("child_token"))
        .group_by("child_token")
        .agg(pl.col("start_date").min().alias("spell_start"))
    )
    counts = begun.group_by("child_token").agg(pl.col("placement_id").n_unique().cast(pl.Int64).alias("placements"))
    return current.join(spells, on="child_token").join(counts, on="child_token")


def institution_places(orphanage: pl.DataFrame) -> pl.DataFrame:
    """Columns institution_id and regency_code of the institutions."""
    return orphanage.select(pl.col("orphanage_id").alias("institution_id"), "regency_code")


def institution_provinces(orphanage: pl.DataFrame) -> pl.DataFrame:
    """Columns institution_id and province_code of the institutions."""
    return institution_places(orphanage).select(
        "institution_id", province_of(pl.col("regency_code")).alias("province_code")
    )


def last_school_year(records: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    """Each child's record of the last school year begun by the cut-off date (school years begin in July)."""
    month, day = SCHOOL_YEAR_BEGINS
    begins = pl.date(pl.col("school_year").str.slice(0, 4).cast(pl.Int32), month, day)
    return (
        records.filter(begins <= cut_off)
        .sort("school_year", "education_record_id", descending=True)
        .unique("child_token", keep="first", maintain_order=True)
        .select("child_token", "education_level", "average_score", "attendance_rate")
    )
