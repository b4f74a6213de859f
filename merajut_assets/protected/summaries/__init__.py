"""One module per stakeholder; importing this package registers every summary."""

from merajut_assets.protected.summaries import academia, business, community, government, media, regions
from merajut_assets.protected.summary import Entities, Summary, registered_summaries, summary_of

__all__ = [
    "Entities",
    "Summary",
    "academia",
    "business",
    "community",
    "government",
    "media",
    "regions",
    "registered_summaries",
    "summary_of",
]
