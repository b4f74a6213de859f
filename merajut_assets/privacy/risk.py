"""How likely somebody in a released table is to be picked out.

Belongs here: risk figures of one table. Does not belong here: whether a policy is kept (`verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.policy import DataError, PolicyError


def assess_risk(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    *,
    population: pl.DataFrame | None = None,
    threshold: float = 0.2,
    subject: str | None = None,
) -> dict[str, Any]:
    """Prosecutor risk: the attacker knows that the person is in the table and all quasi-identifiers.

    A record's risk is 1 / distinct subjects (rows, without a subject column) of its class. Returns
    `rows`, `classes`, `threshold`, `prosecutor` with `highest`, `average` (over records) and
    `share_above_threshold` (strictly above), and `sample_unique_share`. All shares are in [0, 1].
    Raises PolicyError for a population, whose models are not available, and DataError for a
    missing column.
    """
    if population is not None:
        raise PolicyError("population is not available in this version; available: prosecutor risk within the table")
    if not 0 <= threshold <= 1:
        raise PolicyError("threshold must be between 0 and 1")
    needed = [*quasi_identifiers, *([subject] if subject is not None else [])]
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)}")
    size = pl.len() if subject is None else pl.col(subject).n_unique()
    counts = [pl.len().alias("rows"), size.alias("subjects")]
    classes = frame.group_by(quasi_identifiers).agg(counts) if quasi_identifiers else frame.select(counts)
    classes = classes.filter(pl.col("rows") > 0)
    rows = classes.get_column("rows").to_numpy().astype(np.int64)
    risk = 1.0 / classes.get_column("subjects").to_numpy().astype(np.float64)
    total = int(rows.sum())
    return {
        "rows": total,
        "classes": len(rows),
        "threshold": threshold,
        "prosecutor": {
            "highest": float(risk.max()) if total else 0.0,
            "average": float((risk * rows).sum() / total) if total else 0.0,
            "share_above_threshold": float(rows[risk > threshold].sum() / total) if total else 0.0,
        },
        "sample_unique_share": float(rows[risk == 1.0].sum() / total) if total else 0.0,
    }
