"""The one gate through which facts reach logs, manifests and commit metadata.

Here belongs what a fact may be and the refusal of what looks personal; not where facts are stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Fact = str | int | float | bool | None

# A match must not touch a letter or digit, so that hex digests and key ids pass.
_ALONE = r"(?<![0-9A-Za-z]){}(?![0-9A-Za-z])"
_PERSONAL = {
    "a NIK": re.compile(_ALONE.format(r"\d(?:[.-]?\d){15}")),
    "an e-mail address": re.compile(r"[^\s@<>]+@[^\s@<>]+\.[A-Za-z]{2,}"),
    "a phone number": re.compile(r"(?<![0-9A-Za-z])(?:\+?62|0)[ .-]?8[1-9]\d(?:[ .-]?\d){6,9}(?![0-9A-Za-z])"),
}
_SIXTEEN_DIGITS = range(10**15, 10**16)


class PersonalFactError(ValueError):
    """A fact has the shape of a personal value. Names the fact, never the value."""


def check_facts(facts: Mapping[str, object], where: str) -> None:
    """Refuse facts that are not plain, or have the shape of a NIK, an e-mail address or a phone number.

    `where` names what they were meant for. Raises TypeError or PersonalFactError naming the fact.
    """
    for name, value in facts.items():
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise TypeError(f"{where}: fact {name!r} is not text, number, boolean or null; give counts and names only")
        if isinstance(value, float) and not math.isfinite(value):
            raise TypeError(f"{where}: fact {name!r} is not a finite number; give null instead")
        shape = personal_shape(value)
        if shape is not None:
            raise PersonalFactError(
                f"{where}: fact {name!r} looks like {shape}; give counts, rule names or keyed hashes instead"
            )


def personal_shape(value: object) -> str | None:
    """Which personal value `value` looks like, or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        # The digits after the point of a measure are not an identity number; sixteen before it may be.
        return "a NIK" if value.is_integer() and int(value) in _SIXTEEN_DIGITS else None
    if isinstance(value, int):
        value = str(value)
    if isinstance(value, str):
        return next((shape for shape, pattern in _PERSONAL.items() if pattern.search(value)), None)
    return None
