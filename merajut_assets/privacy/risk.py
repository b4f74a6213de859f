"""How likely somebody in a released table is to be picked out.

Belongs here: risk figures of one table, counted or estimated, and whether they are within limits. Does not
belong here: whether a policy is kept (`verify`), the estimators (`population`), simulated attacks (`attack`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from merajut_assets.privacy.intake import require_columns, require_scalars, require_texts, with_one_zero
from merajut_assets.privacy.policy import DataError, PolicyError
from merajut_assets.privacy.population import (
    Sample,
    classes_in_population_arx,
    dankar,
    pitman,
    slide_negative_binomial,
    zayatz,
)


def assess_risk(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    *,
    population: pl.DataFrame | int | None = None,
    population_count: str | None = None,
    threshold: float = 0.2,
    subject: str | None = None,
) -> dict[str, Any]:
    """Re-identification risk of `frame` for three attackers who know all quasi-identifiers (El Emam and Dankar 2008).

    - `prosecutor` knows that the person is in the table: a record's risk is 1 / distinct subjects (rows,
      without a subject column) of its class;
    - `journalist` does not, and looks the person up in the population: 1 / people of the population in the
      class. Only with a population frame;
    - `marketer` wants as many as possible: the share of records that they are expected to get right, in the
      population where there is a frame, otherwise within the table.

    The first two have `highest`, `average` (over records) and `share_above_threshold` (strictly above); the
    third is an `average`. Besides: `rows`, `classes`, `threshold`, `sample_unique_share`.

    `population`: how many people the table is a sample of, or a frame of them with the same quasi-identifiers
    in the same labels, one row each or as many as `population_count` says. With either,
    `population_uniqueness` holds the estimated share of the population that is unique: `dankar` (by
    `dankar_model`), `pitman`, `zayatz`, `snb` with ARX's number of classes and `snb_published` with the published
    one (see `population`); 0 as in ARX where a model has no solution, with its name in `without_estimate`.
    With a frame there are also `counted`, the share that is unique in truth, and `rows_outside_population`.

    All shares are in [0, 1]. Raises PolicyError for a threshold that is none, DataError for a missing column, one
    of a type that cannot be compared (as text, with a population frame), or a population smaller than the table.
    """
    if not 0 <= threshold <= 1:
        raise PolicyError("threshold must be between 0 and 1")
    require_scalars(frame, [*quasi_identifiers, *([subject] if subject is not None else [])])
    if subject is not None and frame.get_column(subject).null_count():
        raise DataError(f"subject column {subject!r} holds nulls; its rows cannot be counted as people")
    if isinstance(population, pl.DataFrame):
        # The labels of both are compared as text.
        require_texts(frame, quasi_identifiers, "the frame beside a population")
        require_texts(population, quasi_identifiers, "the population")
        require_columns(population, [population_count] if population_count is not None else [], "the population")
        frame, population = (with_one_zero(table, quasi_identifiers) for table in (frame, population))
    size = pl.len() if subject is None else pl.col(subject).n_unique()
    counts = [pl.len().alias("rows"), size.alias("subjects")]
    classes = _grouped(frame, quasi_identifiers, counts).filter(pl.col("rows") > 0)
    rows = classes.get_column("rows").to_numpy().astype(np.int64)
    subjects = classes.get_column("subjects").to_numpy().astype(np.int64)
    total = int(rows.sum())
    risk: dict[str, Any] = {
        "rows": total,
        "classes": len(rows),
        "threshold": threshold,
        "prosecutor": _figures(subjects, rows, threshold),
        "marketer": {"average": _average(subjects, rows)},
        "sample_unique_share": float(rows[subjects == 1].sum() / total) if total else 0.0,
    }
    if population is None or not total:
        return risk
    counted: dict[str, Any] = {}
    if isinstance(population, pl.DataFrame):
        people = _people(population, quasi_identifiers, population_count)
        found = _matched(classes, people, quasi_identifiers)
        # Whoever is in the table is in the population, whatever the population frame says.
        living = np.maximum(found, subjects)
        risk["journalist"] = _figures(living, rows, threshold)
        risk["marketer"] = {"average": _average(living, rows)}
        everybody = people.get_column("people").to_numpy().astype(np.int64)
        counted = {
            "counted": float((everybody == 1).sum() / everybody.sum()) if everybody.sum() else 0.0,
            "rows_outside_population": int(rows[found == 0].sum()),
        }
        population = int(everybody.sum())
    try:
        sample = Sample.of(subjects, population)
    except ValueError as error:
        raise DataError(str(error)) from None
    risk["population_uniqueness"] = {"population": population, **_estimates(sample), **counted}
    return risk


def exceeds(risk: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """Which figures of `risk` are above the `limits`, in words; empty when the release may go out.

    A limit names its figure by the way to it, such as `prosecutor.highest` or `linkage.share_right`, and
    may be reached. A figure that was not measured is above every limit: what was not shown is not safe.
    """
    broken = []
    for name, limit in limits.items():
        figure: Any = risk
        for step in name.split("."):
            figure = figure.get(step) if isinstance(figure, Mapping) else None
        if not isinstance(figure, int | float):
            broken.append(f"{name} is limited to {limit:g} and was not measured")
        elif not figure <= limit:
            broken.append(f"{name} is {figure:.6g}, above the limit {limit:g}")
    return broken


def _grouped(frame: pl.DataFrame, columns: Sequence[str], counts: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.group_by(columns).agg(counts) if columns else frame.select(counts)


def _people(population: pl.DataFrame, columns: Sequence[str], count: str | None) -> pl.DataFrame:
    number = pl.len() if count is None else pl.col(count).sum()
    return _grouped(population, columns, [number.cast(pl.Int64).alias("people")]).filter(pl.col("people") > 0)


def _matched(classes: pl.DataFrame, people: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.int64]:
    """People of the population in each class; 0 where there is nobody. Compared as text, as labels are."""
    if not columns:
        return np.full(classes.height, int(people.get_column("people").sum()), dtype=np.int64)
    keys = [pl.col(name).cast(pl.String).alias(f"key_{place}") for place, name in enumerate(columns)]
    names = [f"key_{place}" for place in range(len(columns))]
    known = people.select(*keys, "people").group_by(names).agg(pl.col("people").sum())
    joined = classes.select(keys).join(known, on=names, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column("people").fill_null(0).to_numpy().astype(np.int64)


def _figures(candidates: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], threshold: float) -> dict[str, float]:
    total = int(rows.sum())
    if not total:
        return {"highest": 0.0, "average": 0.0, "share_above_threshold": 0.0}
    risk = 1.0 / candidates
    return {
        "highest": float(risk.max()),
        "average": _average(candidates, rows),
        "share_above_threshold": float(rows[risk > threshold].sum() / total),
    }


def _average(candidates: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> float:
    return float((rows / candidates).sum() / rows.sum()) if rows.sum() else 0.0


def _estimates(sample: Sample) -> dict[str, Any]:
    found = {
        "pitman": pitman(sample),
        "zayatz": zayatz(sample),
        "snb": slide_negative_binomial(sample, classes_in_population_arx(sample)),
        "snb_published": slide_negative_binomial(sample),
    }
    advised, model = dankar(sample)
    return {
        "sampling_fraction": sample.fraction,
        "dankar": advised,
        "dankar_model": model,
        **{name: 0.0 if share is None else share for name, share in found.items()},
        "without_estimate": [name for name, share in found.items() if share is None],
    }
