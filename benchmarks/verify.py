"""How long the verifier takes over millions of rows, with every model asked for at once.

    python benchmarks/verify.py [rows ...]

Two releases per number of rows: Adult's own tuples drawn at random (9 quasi-identifiers, few large classes), and
classes of five rows each (the most classes that k = 5 allows). Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from merajut_assets.privacy.hierarchy import read_hierarchy
from merajut_assets.privacy.verify import verify

ADULT = Path(__file__).resolve().parents[1] / "data" / "benchmark" / "adult"
SENSITIVE = "occupation"


def drawn(rows: int, generator: np.random.Generator) -> pl.DataFrame:
    adult = pl.read_csv(ADULT / "adult.csv.gz", separator=";", infer_schema=False)
    return adult[generator.integers(0, adult.height, rows)]


def in_fives(rows: int, generator: np.random.Generator) -> pl.DataFrame:
    """Classes of five rows, told by four columns of text; sensitive values as often as in Adult."""
    number = pl.Series("number", np.arange(rows) // 5)
    columns = {f"q{place}": (number // 40**place % 40).cast(pl.String) for place in range(4)}
    return pl.DataFrame({**columns, SENSITIVE: drawn(rows, generator).get_column(SENSITIVE)})


def measure(frame: pl.DataFrame) -> dict[str, float]:
    quasi_identifiers = [name for name in frame.columns if name not in (SENSITIVE, "subject")]
    frame = frame.with_row_index("subject")
    tree = read_hierarchy(ADULT / f"adult_hierarchy_{SENSITIVE}.csv")
    models = {"orders": {SENSITIVE: None}, "hierarchies": {SENSITIVE: tree}, "recursive_l": {SENSITIVE: 3}}
    seconds = {}
    for name, sensitive, options in (
        ("k", [], {}),
        ("k_l_t_equal_beta", [SENSITIVE], {}),
        ("every_model", [SENSITIVE], {**models, "population": frame}),
    ):
        began = time.perf_counter()
        facts = verify(frame, quasi_identifiers, sensitive, "subject", **options)
        seconds[f"seconds_{name}"] = round(time.perf_counter() - began, 2)
    return {"classes": facts["classes"], **seconds}


def main(sizes: list[int]) -> None:
    generator = np.random.default_rng(2026)
    figures: dict[str, object] = {"benchmark": "verify"}
    for rows in sizes:
        for name, make in (("drawn", drawn), ("in_fives", in_fives)):
            figures[f"{name}_{rows}"] = measure(make(rows, generator))
    figures["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1_000_000, 5_000_000])
