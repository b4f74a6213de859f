"""A dbt test as a compiled manifest has it: what a declaration of disclosure control rests on."""

from __future__ import annotations

from typing import Any


def disclosure_test(model: str, column: str, flag: str, **arguments: Any) -> dict[str, Any]:
    """The node of a test of a model (its unique id). `arguments`: more of the test's own, as `contributors`."""
    return {
        "resource_type": "test",
        "unique_id": f"test.merajut.withheld_below_{column}",
        "name": f"withheld_below_{column}",
        "attached_node": model,
        "depends_on": {"nodes": [model]},
        "test_metadata": {
            "name": "withheld_below",
            "namespace": None,
            "kwargs": {"column_name": column, "flag": flag, "model": model, **arguments},
        },
        "config": {"severity": "ERROR", "where": None, "limit": None, "error_if": "!= 0", "fail_calc": "count(*)"},
    }
