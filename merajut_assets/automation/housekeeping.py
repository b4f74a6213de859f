"""What is kept for a while only: Dagster's records of finished runs, files of lineage events, and data beyond their
retention.

What that is, and what of it may be destroyed, is `resources.retention`'s matter; the evidence job does it, too, because
no schedule is on by default.
"""

# No `annotations` import from the future here: Dagster reads the class of an op's configuration at run time.
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from merajut_assets.automation.jobs import Exclusive, run_tags
from merajut_assets.automation.lineage_events import remove_old_files
from merajut_assets.automation.runs import obsolete_runs
from merajut_assets.failures import guarded
from resources.lakehouse import Lakehouse
from resources.retention import destroy_originals

HOUSEKEEPING_WINDOW = timedelta(hours=2)


class RunRetention(dg.Config):
    """How long records of runs are kept, and what was told of them."""

    keep_days: int = Field(default=90, ge=1, description="Days for which what is known of a finished run is kept")


@dg.op(description="Removes records of finished runs that are old and in which nothing was made that still stands.")
def remove_old_runs(context: dg.OpExecutionContext, config: RunRetention) -> int:
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    # Listed in full first: removing while paging would skip runs.
    obsolete = list(obsolete_runs(context.instance, before))
    for run_id in obsolete:
        context.instance.delete_run(run_id)
    context.log.info(f"{len(obsolete)} run(s) older than {config.keep_days} days removed")
    return len(obsolete)


@dg.op(description="Removes old files of lineage events; a catalogue that is to know them has taken them by then.")
def remove_old_events(context: dg.OpExecutionContext, config: RunRetention, lakehouse: Lakehouse) -> int:
    removed = remove_old_files(lakehouse.settings, datetime.now(UTC) - timedelta(days=config.keep_days))
    context.log.info(f"{removed} file(s) of events older than {config.keep_days} days removed")
    return removed


@dg.op(description="Destroys, with their keys, the originals of source files whose dispute window is over.")
@guarded
def destroy_old_originals(context: dg.OpExecutionContext, lakehouse: Lakehouse) -> int:
    destroyed = destroy_originals(lakehouse)
    context.log.info(f"{destroyed} original(s) destroyed whose dispute window is over")
    return destroyed


@dg.job(
    name="housekeeping",
    description="Removes what is kept for a while only: records of old runs, files of old lineage events, originals "
    "after the dispute window.",
    tags=run_tags(HOUSEKEEPING_WINDOW, Exclusive.HOUSEKEEPING),
)
def housekeeping() -> None:
    remove_old_runs()
    remove_old_events()
    destroy_old_originals()
