"""Finding personal values in columns and texts, vectorised: no Dagster, no files, usable on its own.

    found = detect_columns(frame, reference)       # what each column is taken for, and how sure that is
    spans = find_in_text(series, reference)        # where personal values stand in texts

No result holds a value of the data. `kinds.KINDS` is the list of what is recognised.
"""

from merajut_assets.privacy.detection.columns import detect_columns
from merajut_assets.privacy.detection.kinds import DEFAULT_KINDS, KINDS, UnknownKind, Verdict
from merajut_assets.privacy.detection.reference import Reference
from merajut_assets.privacy.detection.text import find_in_text

__all__ = [
    "DEFAULT_KINDS",
    "KINDS",
    "Reference",
    "UnknownKind",
    "Verdict",
    "detect_columns",
    "find_in_text",
]
