"""How long loading our definitions takes on top of importing Dagster: to stay within 2 s.

    python benchmarks/definitions_load.py [repetitions]

Each repetition is a process of its own. Prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MEASURE = """
import time
import dagster, dagster_dbt
began = time.perf_counter()
from merajut_assets.definitions import build_defs
definitions = build_defs()
graph = definitions.resolve_asset_graph()
seconds = time.perf_counter() - began
print(seconds, len(graph.get_all_asset_keys()), len(graph.asset_check_keys))
"""


def measure() -> tuple[float, int, int]:
    """Seconds, assets and checks of one load in a new process."""
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    seconds, assets, checks = done.stdout.split()
    return float(seconds), int(assets), int(checks)


def main(repetitions: int) -> None:
    measure()  # writes the compiled modules
    measured = [measure() for _ in range(repetitions)]
    median = statistics.median(seconds for seconds, _, _ in measured)
    _, assets, checks = measured[0]
    figures = {
        "benchmark": "definitions_load",
        "median_seconds_beyond_dagster": round(median, 2),
        "repetitions": repetitions,
        "assets": assets,
        "checks": checks,
        "aims": {"median_seconds_beyond_dagster": 2, "checks": 150},
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
