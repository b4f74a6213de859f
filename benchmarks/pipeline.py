"""Measures `merajut run` on a generated world in a folder of its own; prints one JSON object.

    python benchmarks/pipeline.py [CHILDREN]        20,000 unless given

Times are wall seconds of whole processes, as a newcomer sees them; memory is the largest resident set of
the pipeline's process. Orchestration is what a job takes beyond its steps, per asset.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "merajut_assets.cli"]
RELEASE = "2026-10"
AIMS = {"demo_seconds": 120, "orchestration_seconds_per_asset": 0.1}

JOBS = """
import json
import dagster as dg
from merajut_assets.automation.instance import open_instance
from resources.settings import Settings
with open_instance(Settings.load()) as instance:
    jobs = {}
    for record in instance.get_run_records():
        entries = instance.all_logs(record.dagster_run.run_id)
        events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
        steps = sum(e.step_success_data.duration_ms for e in events if e.event_type is dg.DagsterEventType.STEP_SUCCESS)
        assets = sum(e.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION for e in events)
        checks = sum(e.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION for e in events)
        jobs[record.dagster_run.job_name] = {
            "seconds": round(record.end_time - record.start_time, 2),
            "seconds_in_steps": round(steps / 1000, 2), "assets": assets, "checks": checks,
        }
    print(json.dumps(jobs))
"""


def timed(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - started, 2)


def answer(code: str, environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(children: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MERAJUT_DATA": folder, "PYTHONWARNINGS": "ignore"}
        generate = timed([*COMMAND, "generate", "--children", str(children), "--seed", "2026"], environment)
        run = timed([*COMMAND, "run", "--release", RELEASE], environment)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        again = timed([*COMMAND, "run", "--release", RELEASE], environment)
        jobs = answer(JOBS, environment)
    assets = sum(job["assets"] for job in jobs.values())
    beyond = sum(job["seconds"] - job["seconds_in_steps"] for job in jobs.values())
    return {
        "benchmark": "pipeline",
        "children": children,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "demo_seconds": round(generate + run, 2),
        "generate_seconds": generate,
        "run_seconds": run,
        "second_run_seconds": again,
        "peak_memory_mib": round(peak),
        "jobs": jobs,
        "orchestration_seconds_per_asset": round(beyond / assets, 3),
        "aims": AIMS,
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000), indent=1))
