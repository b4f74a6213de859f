"""Measures the generated world: seconds, peak memory and bytes at several sizes, as JSON.

    python benchmarks/generate.py 1000 20000 50000

Each size runs in a process of its own, since peak memory is that of a process's whole life.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "data" / "reference"


def measure(children: int) -> dict[str, float]:
    """Generate a world in this process and tell what it took."""
    from merajut_assets.sources.generate import generate_world

    with tempfile.TemporaryDirectory() as folder:
        summary = generate_world(children, 1, Path(folder), REFERENCE)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {
        "children": children,
        "rows": sum(summary.rows.values()),
        "planted_rows": sum(summary.planted.values()),
        "seconds": round(summary.seconds, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "megabytes_written": round(size / 1e6, 1),
    }


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(int(arguments[1]))))
        return
    figures = []
    for children in arguments or ["1000", "20000", "50000"]:
        command = [sys.executable, __file__, "--one", children]
        figures.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
