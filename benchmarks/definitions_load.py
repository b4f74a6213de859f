"""How long loading our definitions takes on top of importing Dagster: to stay within 2 s.

    python benchmarks/definitions_load.py [repetitions]

Each repetition is a process of its own. Prints the median seconds and the number of assets and checks.
"""

from __future__ import annotations

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
    print(f"{median:.2f} s on top of importing dagster and dagster-dbt; {assets} assets, {checks} checks")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
