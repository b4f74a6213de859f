"""How long the lineage of the whole graph takes: to stay within 10 s for 150 assets and 2,000 columns.

    python benchmarks/lineage.py [repetitions]

Measured are our own graph, from the contracts to the published files, and a made-up dbt project of the size aimed at,
in which every model joins, filters, groups and ranks columns of earlier ones. Timed is what the lineage proof needs:
deriving the edges, putting them into one graph, counting all paths to every column, and writing the graph down.
The dbt project must be prepared (`make manifest`). Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from merajut_assets.lineage import python_steps
from merajut_assets.lineage.graph import LineageGraph
from merajut_assets.lineage.sql import project_graph
from merajut_assets.marts.project import load_manifest

SOURCES, LAYERS, MODELS_PER_LAYER, COLUMNS = 30, 6, 20, 14
AIM = {"seconds": 10, "assets": 150, "columns": 2_000}


def real_graph() -> LineageGraph:
    for cached in (python_steps.python_graph, python_steps._read_by_statistic):
        cached.cache_clear()
    return python_steps.python_graph() | project_graph(load_manifest())


def made_up_graph() -> LineageGraph:
    return project_graph(made_up_manifest())


def made_up_manifest() -> dict[str, Any]:
    """A compiled manifest of AIM's size: sources, and layers of models that each read three tables before them."""
    names = [f"c{number}" for number in range(COLUMNS)]
    sources = {f"source.s{number}": _node("source", f"s{number}", names) for number in range(SOURCES)}
    before = [f"warehouse.protected.s{number}" for number in range(SOURCES)]
    nodes = {}
    for layer in range(LAYERS):
        made = []
        for number in range(MODELS_PER_LAYER):
            name = f"m{layer}_{number}"
            read = [before[(number * 3 + step) % len(before)] for step in range(3)]
            nodes[f"model.{name}"] = {**_node("model", name, names), "compiled_code": _query(read, names)}
            made.append(f"warehouse.core.{name}")
        before = made
    return {"sources": sources, "nodes": nodes}


def _node(kind: str, name: str, columns: list[str]) -> dict[str, Any]:
    return {
        "resource_type": kind,
        "unique_id": f"{kind}.{name}",
        "name": name,
        "alias": name,
        "identifier": name,
        "source_name": "protected",
        "database": "warehouse",
        "schema": "protected" if kind == "source" else "core",
        "fqn": ["project", "warehouse", name],
        "config": {"materialized": "table", "meta": {}},
        "columns": {column: {"name": column, "data_type": "varchar"} for column in columns},
    }


def _query(tables: list[str], names: list[str]) -> str:
    first, second, third = tables
    taken = ", ".join(f"a.{name}" for name in names[:6])
    sums = ", ".join(f"sum(b.{name}) as {name}" for name in names[6:10])
    return f"""
        with grouped as (select b.c0, {sums} from {second} as b where b.c1 > 3 group by b.c0),
        ranked as (
            select c.c0, c.c1, row_number() over (partition by c.c2 order by c.c3) as c10, count(*) over () as c11
            from {third} as c
        )
        select {taken}, grouped.c6, grouped.c7, grouped.c8, grouped.c9, ranked.c10, ranked.c11,
            case when a.c4 = 'x' then grouped.c6 else ranked.c10 end as c12,
            coalesce(a.c13, ranked.c1) as c13
        from {first} as a
        left join grouped on grouped.c0 = a.c0
        inner join ranked on ranked.c0 = a.c0 and ranked.c1 = a.c1
        where a.c5 <> 'y'
    """


def measure(build: Callable[[], LineageGraph], repetitions: int) -> dict[str, Any]:
    """Median seconds of a graph and of everything that is asked of it, and its size."""
    wall, processor = [], []
    for _ in range(repetitions):
        began, busy = time.perf_counter(), time.process_time()
        graph = build()
        paths = graph.path_counts()
        frame = graph.to_frame()
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    return {
        "seconds": round(statistics.median(wall), 2),
        "processor_seconds": round(statistics.median(processor), 2),
        "assets": len(graph.assets),
        "columns": len(graph.nodes),
        "edges": len(graph.edges),
        "rows_written": frame.height,
        "paths": sum(paths.values()),
    }


def main(repetitions: int) -> None:
    figures = {
        "benchmark": "lineage",
        "processors": os.cpu_count(),
        "repetitions": repetitions,
        "our_graph": measure(real_graph, repetitions),
        "made_up_graph": measure(made_up_graph, repetitions),
        "aims": AIM,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
