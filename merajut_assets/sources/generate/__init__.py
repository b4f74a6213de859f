"""The generated world: every source system, believable, of any size, from a seed.

What belongs here is what the systems would hold; reading it back belongs to the readers beside.
"""

from merajut_assets.sources.generate.database_copy import write_panti_database
from merajut_assets.sources.generate.places import GenerationError
from merajut_assets.sources.generate.world import UNTIL, WorldSummary, generate_world

__all__ = ["UNTIL", "GenerationError", "WorldSummary", "generate_world", "write_panti_database"]
