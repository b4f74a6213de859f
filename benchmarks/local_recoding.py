"""Measures local recoding: Loss with and without the narrowing rule, classes, seconds and peak memory, as JSON.

    python benchmarks/local_recoding.py
    python benchmarks/local_recoding.py 1000000

Without an argument: Adult as it is, under several models. With numbers of rows: tables of so many rows
drawn from Adult, of which one value in ten is drawn by itself, so that there are many distinct tuples.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy import Policy
from merajut_assets.privacy.counting import count_frame
from merajut_assets.privacy.local import local_recoding

ADULT = Path(__file__).parents[1] / "data" / "benchmark" / "adult"
COLUMNS = ("sex", "age", "race", "marital-status", "education", "native-country", "workclass", "salary-class")
SENSITIVE = "occupation"
DRAWN_ANEW = 0.1
MODELS: list[tuple[int, dict[str, Any]]] = [
    (2, {}),
    (5, {}),
    (50, {}),
    (5, {"l_diversity": {"l": 5}}),
    (5, {"l_diversity": {"kind": "entropy", "l": 3}}),
    (5, {"l_diversity": {"kind": "recursive", "l": 3, "c": 4}}),
    (5, {"t_closeness": {"kind": "equal", "t": 0.2}}),
]


def table(rows: int) -> pl.DataFrame:
    """Rows of Adult drawn with replacement, single values drawn anew."""
    adult = pl.read_csv(ADULT / "adult.csv.gz", separator=";")
    generator = np.random.default_rng(1)
    drawn = generator.integers(0, len(adult), rows)
    anew = {
        name: np.where(generator.random(rows) < DRAWN_ANEW, generator.integers(0, len(adult), rows), drawn)
        for name in adult.columns
    }
    return pl.DataFrame({name: adult.get_column(name).gather(places) for name, places in anew.items()})


def measure(frame: pl.DataFrame, columns: tuple[str, ...], k: int, rule: dict[str, Any]) -> dict[str, Any]:
    policy = Policy.model_validate(
        {
            "quasi_identifiers": {name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in columns},
            "sensitive": {SENSITIVE: rule} if rule else {},
            "k": k,
            "search": "local",
        }
    )
    started = time.perf_counter()
    problem = count_frame(frame, policy).parts[0].problem
    counted = time.perf_counter()
    recoding = local_recoding(problem)
    assert recoding is not None
    return {
        "rows": len(frame),
        "tuples": problem.tuples,
        "quasi_identifiers": len(columns),
        "k": k,
        **rule,
        "classes": len(recoding.levels),
        **recoding.figures,
        "seconds_to_count": round(counted - started, 2),
        "seconds": round(time.perf_counter() - counted, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main(arguments: list[str]) -> None:
    if arguments:
        figures = [
            measure(table(int(rows)), columns, 5, {})
            for rows in arguments
            for columns in (COLUMNS, (*COLUMNS, SENSITIVE))
        ]
    else:
        adult = pl.read_csv(ADULT / "adult.csv.gz", separator=";")
        figures = [measure(adult, COLUMNS, k, rule) for k, rule in MODELS]
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
