"""What Dagster keeps about finished runs, and for how long.

Only Dagster's own records are removed here. What the lake holds about people is removed by the layers
that hold it, as the contracts' retention says.
"""

# No `annotations` import from the future here: Dagster reads the class of an op's configuration at run time.
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from merajut_assets.automation.jobs import Exclusive, run_tags
from merajut_assets.automation.runs import obsolete_runs

HOUSEKEEPING_WINDOW = timedelta(hours=2)


class RunRetention(dg.Config):
    """How long records of runs are kept."""

    keep_days: int = Field(default=90, ge=1, description="Days for which the record of a finished run is kept")


@dg.op(description="Removes records of finished runs that are old and in which nothing was made that still stands.")
def remove_old_runs(context: dg.OpExecutionContext, config: RunRetention) -> int:
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    # Listed in full first: removing while paging would skip runs.
    obsolete = list(obsolete_runs(context.instance, before))
    for run_id in obsolete:
        context.instance.delete_run(run_id)
    context.log.info(f"{len(obsolete)} run(s) older than {config.keep_days} days removed")
    return len(obsolete)


@dg.job(
    name="housekeeping",
    description="Keeps Dagster's own records from growing without end.",
    tags=run_tags(HOUSEKEEPING_WINDOW, Exclusive.HOUSEKEEPING),
)
def housekeeping() -> None:
    remove_old_runs()
