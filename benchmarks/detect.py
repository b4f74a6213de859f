"""How many values a second are judged when columns are searched for personal values.

    python benchmarks/detect.py [rows]

A column of each kind and of each thing that looks alike, every value judged and most of them distinct; and texts of
which some hold a number. Values that are equal are judged once, so that real columns go faster. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from merajut_assets.privacy.detection import KINDS, detect_columns, find_in_text
from tests.privacy.detection import samples

ALL = tuple(kind.name for kind in KINDS)


def seconds(frame: pl.DataFrame) -> tuple[float, float]:
    """By the clock, and of all processors: the second says on a busy machine, too, what it costs."""
    began, spent = time.perf_counter(), time.process_time()
    detect_columns(frame, samples.reference(), ALL)
    return time.perf_counter() - began, time.process_time() - spent


def main(rows: int) -> None:
    generator, lists = np.random.default_rng(2026), samples.reference()
    made = {kind: make(lists, generator, rows) for kind, _, make in samples.PERSONAL}
    made |= {name: make(lists, generator, rows) for name, make in samples.LOOK_ALIKE}
    notes = samples.joined("anak sehat, kunjungan ke ", pl.Series(np.arange(rows)).cast(pl.String), ", makan teratur")
    notes = notes.scatter(
        np.arange(0, rows, 150), samples.joined("NIK ", samples.niks(lists, generator, -(-rows // 150)))
    )
    seconds(pl.DataFrame({name: column.head(1000) for name, column in made.items()}))  # lists are read, patterns built
    taken = {name: seconds(pl.DataFrame({name: column})) for name, column in made.items()}
    began = time.perf_counter()
    found = find_in_text(notes, lists).height
    in_texts = time.perf_counter() - began
    print(
        json.dumps(
            {
                "benchmark": "detect",
                "values": rows * len(taken),
                "values_per_second": round(rows * len(taken) / sum(clock for clock, _ in taken.values())),
                "values_per_processor_second": round(rows * len(taken) / sum(spent for _, spent in taken.values())),
                "values_per_second_by_column": {name: round(rows / clock) for name, (clock, _) in taken.items()},
                "values_per_processor_second_by_column": {
                    name: round(rows / spent) for name, (_, spent) in taken.items()
                },
                "texts_per_second": round(rows / in_texts),
                "found_in_texts": found,
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
