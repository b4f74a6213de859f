"""How long the anonymiser takes: Adult, and tables of a million rows and more, warm and in memory.

    python benchmarks/anonymise.py [repetitions] [millions of rows ...]

Without further arguments: 5 repetitions, 1 million rows; `0.1 1 10` shows that the search does not depend on the
number of rows, but on that of distinct tuples. The large tables draw Adult's records at random and take 5 % of
the values of each column from another record, so that the number of tuples grows with that of rows. Each of their
cases has a process of its own, which holds nothing but the columns of the case. Prints one JSON object: per case the
least and the median of the repetitions, in milliseconds (counting, searching, publishing and all together), and of
large tables the highest memory of the process, its table and the releases included, `as_enum` (text as small numbers)
and as String.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy import Policy, anonymise

ADULT = Path(__file__).resolve().parents[1] / "data" / "benchmark" / "adult"
EIGHT = ["sex", "age", "race", "marital-status", "education", "native-country", "workclass", "salary-class"]
NINE = [*EIGHT[:-1], "occupation", EIGHT[-1]]
DIVERSE = {"occupation": {"l_diversity": {"l": 2}}}
CLOSE = {"occupation": {"t_closeness": {"t": 0.2}}}
METRICS = ("loss", "aecs", "discernibility", "entropy", "precision")
LIMITS = (0.0, 0.02, 0.1)
SHARE_EXCHANGED = 0.05
SEED = 2026


def policy(columns: list[str], limit: float, sensitive: dict[str, Any] | None = None, metric: str = "loss") -> Policy:
    return Policy.model_validate(
        {
            "quasi_identifiers": {name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in columns},
            "sensitive": sensitive or {},
            "k": 5,
            "suppression_limit": limit,
            "metric": metric,
        }
    )


def adult_cases() -> dict[str, Policy]:
    cases: dict[str, Policy] = {}
    for limit in LIMITS:
        cases[f"8 quasi-identifiers, s={limit:g}"] = policy(EIGHT, limit)
        cases[f"9 quasi-identifiers, s={limit:g}"] = policy(NINE, limit)
        cases[f"8 quasi-identifiers, l=2, s={limit:g}"] = policy(EIGHT, limit, DIVERSE)
        cases[f"8 quasi-identifiers, t=0.2, s={limit:g}"] = policy(EIGHT, limit, CLOSE)
    for metric in METRICS[1:]:
        cases[f"8 quasi-identifiers, s=0.02, {metric}"] = policy(EIGHT, 0.02, metric=metric)
    return cases


def large_cases() -> dict[str, Policy]:
    return {
        "8 quasi-identifiers, s=0.02": policy(EIGHT, 0.02),
        "9 quasi-identifiers, s=0.02": policy(NINE, 0.02),
        "8 quasi-identifiers, l=2, s=0.02": policy(EIGHT, 0.02, DIVERSE),
        "8 quasi-identifiers, t=0.2, s=0.02": policy(EIGHT, 0.02, CLOSE),
    }


def drawn(adult: pl.DataFrame, rows: int) -> pl.DataFrame:
    """`rows` records of Adult, a share of whose values come from other records."""
    random = np.random.default_rng(SEED)
    record = random.integers(0, adult.height, rows)
    columns = []
    for name in adult.columns:
        exchanged = random.random(rows) < SHARE_EXCHANGED
        source = np.where(exchanged, random.integers(0, adult.height, rows), record)
        columns.append(adult.get_column(name).gather(source))
    return pl.DataFrame(columns)


def measure(frame: pl.DataFrame, case: Policy, repetitions: int, *, as_enum: bool = False) -> dict[str, Any]:
    frame = frame.select(*case.quasi_identifiers, *case.sensitive)
    anonymise(frame, case, as_enum=as_enum)
    reports, processor = [], []
    for _ in range(repetitions):
        started = time.process_time()
        reports.append(anonymise(frame, case, as_enum=as_enum).report)
        processor.append(time.process_time() - started)
    steps = {
        step: round(1000 * statistics.median(report["seconds_by_step"][step] for report in reports))
        for step in reports[0]["seconds_by_step"]
    }
    report = reports[0]
    return {
        "least_ms": round(1000 * min(report["seconds"] for report in reports)),
        "median_ms": round(1000 * statistics.median(report["seconds"] for report in reports)),
        # Of all threads: what is left when others use the machine, too.
        "processor_ms": round(1000 * statistics.median(processor)),
        **{f"{step}_ms": duration for step, duration in steps.items()},
        **{name: report[name] for name in ("metric_value", "suppressed", "classes", "lattice_size", "nodes_checked")},
    }


def write_drawn(rows: int, path: Path) -> dict[str, Any]:
    frame = drawn(pl.read_csv(ADULT / "adult.csv.gz", separator=";"), rows)
    frame.write_parquet(path)
    return {
        "distinct_tuples": {"8": frame.n_unique(EIGHT), "9": frame.n_unique(NINE)},
        "table_mb": round(frame.estimated_size() / 1e6),
    }


def measure_file(path: Path, name: str, repetitions: int, as_enum: bool) -> dict[str, Any]:
    case = large_cases()[name]
    frame = pl.read_parquet(path, columns=[*case.quasi_identifiers, *case.sensitive])
    found = measure(frame, case, repetitions, as_enum=as_enum)
    return {**found, "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)}


def main(repetitions: int, millions: list[float]) -> None:
    adult = pl.read_csv(ADULT / "adult.csv.gz", separator=";")
    figures: dict[str, Any] = {
        "benchmark": "anonymise",
        "repetitions": repetitions,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "adult": {name: measure(adult, case, repetitions) for name, case in adult_cases().items()},
    }
    # What one case leaves behind, or drawing the table, is no other's memory.
    fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with fresh, TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.parquet"
        for size in millions:
            table = fresh.submit(write_drawn, int(size * 1_000_000), path).result()
            cases = {
                name + suffix: fresh.submit(measure_file, path, name, repetitions, as_enum).result()
                for name in large_cases()
                for suffix, as_enum in ((", as_enum", True), ("", False))
            }
            figures[f"{size:g} million rows"] = {**table, **cases}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, [float(size) for size in sys.argv[2:]] or [1.0])
