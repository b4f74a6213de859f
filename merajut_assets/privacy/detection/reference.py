"""What detection knows of the country: a value object that a caller fills from wherever the lists are kept.

Belongs here: the lists, and what follows from them alone. Does not belong here: files (`sources.identity` reads
those that are shipped) and rules about values (`structure`, `kinds`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

# A name that so many places bear says little about a person: Sari, Indah, Tanjung.
_PLACES_OF_A_DOUBTFUL_NAME = 10


@dataclass(frozen=True, eq=False)
class Reference:
    """The country's lists.

    `districts` and `postal_codes`: six and five digits each. `mobile`, `fixed_line`: regular expressions of
    national significant phone numbers, without the leading 0. `names`: given and family names. `places`: names of
    villages, districts and regencies, as often as they occur."""

    districts: pl.Series
    postal_codes: pl.Series
    mobile: str
    fixed_line: str
    names: pl.Series
    places: pl.Series

    @cached_property
    def _words(self) -> pl.Series:
        return self.names.str.to_lowercase().unique().sort()

    @cached_property
    def doubtful_names(self) -> pl.Series:
        """Names, in small letters, that many places bear, too."""
        words = self.places.str.to_lowercase().str.split(" ").explode().alias("word").to_frame()
        common = words.group_by("word").len().filter(pl.col("len") >= _PLACES_OF_A_DOUBTFUL_NAME)["word"]
        return self._words.filter(self._words.is_in(common.implode()))

    @cached_property
    def clear_names(self) -> pl.Series:
        """The other names, in small letters."""
        return self._words.filter(~self._words.is_in(self.doubtful_names.implode()))

    @cached_property
    def district_numbers(self) -> pl.Series:
        return self.districts.cast(pl.Int64).unique()

    @cached_property
    def region_share(self) -> float:
        """How many of all six-digit numbers are a district."""
        return self.district_numbers.len() / 10**6

    @cached_property
    def postal_share(self) -> float:
        """How many of all five-digit numbers are a postal code."""
        return self.postal_codes.n_unique() / 10**5


def as_words(names: Iterable[str]) -> list[str]:
    """Patterns that find whole words in texts whose words are set apart by single blanks."""
    return [f" {name} " for name in names]
