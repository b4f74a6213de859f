"""What a release must satisfy, as data: the models a privacy policy is read into.

Belongs here: the shape of a policy and the refusal of everything that this version cannot
guarantee. Does not belong here: how a value generalises (`hierarchy`), how the best
generalisation is found (`lattice`), or which stakeholder has which policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import AliasChoices, Field, ValidationError, model_validator

from merajut_assets.privacy.documents import DocumentError, StrictModel, explained, read_document

Metric = Literal["loss", "aecs", "discernibility", "entropy", "precision"]
Search = Literal["optimal", "local"]
Presence = Literal["known", "unknown"]
Choice = Literal["informed", "blind"]
METRICS: tuple[str, ...] = get_args(Metric)
SEARCHES: tuple[str, ...] = get_args(Search)
KINDS = ("hierarchy", "prefix", "date", "intervals", "codes")
ANY_DATE = "*"
# Years have four digits at most; a longer span is a slip.
DATE_UNIT = re.compile(r"day|month|quarter|year|[1-9][0-9]{0,3}y|\*")

# Requirements a policy may name one day. Ignoring one of them would publish data that its
# author believes to be protected, so each is refused by its name until it is enforced.
UNAVAILABLE = ("delta_disclosure",)
# A requirement in the wrong place would be as silent as an unknown one.
BELONGS_TO_SENSITIVE = ("l_diversity", "t_closeness", "beta_likeness")
BELONGS_TO_POLICY = ("k", "k_map", "delta_presence")


class PolicyError(ValueError):
    """The policy contradicts itself or asks for what is not available. Never carries data values."""


class DataError(ValueError):
    """The frame does not fit the policy. Names column, rule and remedy, never a value."""


def _months(unit: str) -> float:
    """Length of a date unit, for judging whether one contains another; a day fits into all."""
    named = {"day": 1 / 32, "month": 1, "quarter": 3, "year": 12}
    return named[unit] if unit in named else 12 * int(unit[:-1])


def _refuse(what: str, instead: str) -> None:
    raise PolicyError(f"{what} is not available in this version; {instead}")


class QuasiIdentifier(StrictModel):
    """How one column generalises. Exactly one of the five kinds; level 0 is the first one listed.

    `hierarchy`: path of a CSV without header, `value;level 1;…;*`, level 0 being the value itself.
    `prefix`: numbers of leading characters kept, e.g. `[4, 2, 0]`; 0 is `*`.
    `date`: units out of day, month, quarter, year, `<n>y` (spans of n years) and `*`.
    `intervals`: ascending break points; `then` merges that many neighbours per further level.
    `codes`: `wilayah`, Kemendagri's dotted codes: village, sub-district, district, province, `*`.
    `least_level` (also read as `from_level`): the finest level that may be published.
    `weight`: exponent of the column in the weighted geometric mean that the search minimises.
    """

    hierarchy: Path | None = None
    separator: str = Field(default=";", min_length=1, max_length=1)
    prefix: tuple[int, ...] | None = None
    date: tuple[str, ...] | None = None
    intervals: tuple[float, ...] | None = None
    then: tuple[int | Literal["*"], ...] = ()
    codes: Literal["wilayah"] | None = None
    weight: float = Field(default=1.0, gt=0)
    least_level: int = Field(default=0, ge=0, validation_alias=AliasChoices("least_level", "from_level"))

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; {len(given)} are given")
        if self.then and self.intervals is None:
            raise ValueError("'then' belongs to 'intervals'")
        if self.prefix is not None:
            if not self.prefix or min(self.prefix) < 0:
                raise ValueError("'prefix' needs at least one length, none of them negative")
            if list(self.prefix) != sorted(set(self.prefix), reverse=True):
                raise ValueError("'prefix' lengths must become smaller from level to level")
        if self.date is not None:
            if not self.date or any(not DATE_UNIT.fullmatch(unit) for unit in self.date):
                raise ValueError("'date' units are day, month, quarter, year, <n>y (n up to 9999) and *")
            if "*" in self.date[:-1]:
                raise ValueError("'*' can only be the last level")
            months = [_months(unit) for unit in self.date if unit != ANY_DATE]
            if any(coarser <= finer or coarser % finer for finer, coarser in pairwise(months)):
                raise ValueError("each 'date' unit must hold the one before it whole (2y fits into 4y or 10y, not 5y)")
        if self.intervals is not None:
            if not self.intervals:
                raise ValueError("'intervals' needs at least one break point")
            if list(self.intervals) != sorted(set(self.intervals)):
                raise ValueError("'intervals' break points must ascend")
            if "*" in self.then[:-1] or any(step != "*" and step < 2 for step in self.then):
                raise ValueError("'then' merges 2 or more neighbours per level; '*' can only be the last level")
        return self


class LDiversity(StrictModel):
    """How many values of the sensitive column every class must hold; a null is no value.

    `distinct`: at least `l` different values. `entropy`: the entropy of the values is at least log `l`,
    which may be a fraction. `recursive`: the most frequent value occurs less than `c` times as often as
    the `l`-th most frequent and all rarer ones together.
    """

    kind: Literal["distinct", "entropy", "recursive"] = "distinct"
    l: int | float = Field(ge=1)  # noqa: E741 (the model's own name, written so in policies)
    c: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "entropy" and self.l != int(self.l):
            raise ValueError(f"l_diversity of kind {self.kind} needs a whole number l")
        if (self.kind == "recursive") != (self.c is not None):
            raise ValueError("'c' belongs to l_diversity of kind recursive, and is needed there")
        return self


class TCloseness(StrictModel):
    """How far the values of a class may be distributed from those of the whole frame, from 0 to 1.

    `equal`: total variation distance; a null is a value of its own. `ordered`: earth mover's distance
    over ranks, divided by the number of ranks - 1; `order` lists all values, otherwise they are sorted
    (numbers and dates by size, text by alphabet); a null has no rank and is refused. `hierarchical`:
    earth mover's distance over the tree of `hierarchy` (CSV as for quasi-identifiers, its last level
    one value), moving to another branch costing the level where they meet / number of levels above
    the values; a null is a value of its own that meets the others at the root.
    """

    kind: Literal["equal", "ordered", "hierarchical"] = "equal"
    t: float = Field(ge=0, le=1)
    hierarchy: Path | None = None
    separator: str = Field(default=";", min_length=1, max_length=1)
    order: tuple[str | int | float, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "hierarchical") != (self.hierarchy is not None):
            raise ValueError("'hierarchy' belongs to t_closeness of kind hierarchical, and is needed there")
        if self.order is not None:
            if self.kind != "ordered":
                raise ValueError("'order' belongs to t_closeness of kind ordered")
            # As text, too: columns of text are compared with the values as they are written.
            if min(len(set(self.order)), len({str(value) for value in self.order})) < max(len(self.order), 2):
                raise ValueError("'order' needs two values or more, each once (1 and '1' are the same text)")
        return self


class Sensitive(StrictModel):
    """What must hold for one sensitive column within every class.

    `beta_likeness`: basic β-likeness, (share in the class - share in the frame) / share in the frame is
    at most β for every value; a null is a value of its own.
    """

    l_diversity: LDiversity | None = None
    t_closeness: TCloseness | None = None
    beta_likeness: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _available(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name in UNAVAILABLE:
                if name in data:
                    _refuse(name, f"available for sensitive columns: {', '.join(BELONGS_TO_SENSITIVE)}")
            for name in BELONGS_TO_POLICY:
                if name in data:
                    raise PolicyError(f"{name} is a requirement of the whole policy, not of a sensitive column")
        return data


class KMap(StrictModel):
    """Every class is shared by at least `k` people of the `population`: rows of a Parquet file (or of the
    frame given to `anonymise`) with the columns of the classes."""

    k: int = Field(ge=1)
    population: Path | None = None


class DeltaPresence(StrictModel):
    """Of the people of the `population` in a class, the share that is in the release lies within [min, max].

    With `min` above 0 that is asked of every class of the population in the partitions that the frame has, also of
    those without a published row, so that nothing can be suppressed either.
    """

    min: float = Field(default=0.0, ge=0, le=1)
    max: float = Field(default=1.0, ge=0, le=1)
    population: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min > self.max:
            raise ValueError("'min' is larger than 'max'")
        if not self.model_fields_set & {"min", "max"}:
            raise ValueError("asks for nothing; give 'min', 'max' or both")
        return self


class Policy(StrictModel):
    """Everything `anonymise` needs to know besides the frame.

    `k` counts distinct values of `subject`, or rows when no subject column is named.
    `exact` columns are never generalised; classes never span two of their values, and each
    combination of their values is anonymised on its own, with its own share of suppression.
    `search`: one generalisation for all rows (`optimal`), or each class at levels of its own (`local`). A text of a
    `local` release stands for one set of values: `1234 (whole)` for that value where `1234` are all that begin so, and
    `Jakarta (level 1)` where a hierarchy has `Jakarta` on a finer level for other values.
    `metric`: what is minimised. `local` levels are searched by `loss` and only compared with one generalisation by
    another metric.
    `presence`: whether one who holds several releases also knows of which of them somebody is no part, as
    neighbours know who came and who left; it matters beside a history only. `repeated_suppression_limit`:
    the limit beside earlier releases, where rows must leave for their sake, too (None: the same).
    `choice`: whether the search may look at sensitive values. A `blind` one does not, so that nobody learns anything
    from what it did not choose (`blind`); it needs a larger k, and where a class misses a model there is no release.
    Raises PolicyError (from `model_validate`, `from_mapping`, `from_yaml`) when the policy is
    malformed or asks for something that is not available.
    """

    quasi_identifiers: dict[str, QuasiIdentifier] = Field(min_length=1)
    sensitive: dict[str, Sensitive] = Field(default_factory=dict)
    k: int = Field(ge=1)
    k_map: KMap | None = None
    delta_presence: DeltaPresence | None = None
    suppression_limit: float = Field(default=0.0, ge=0.0, le=1.0)
    metric: Metric = "loss"
    search: Search = "optimal"
    # Left out where it says nothing: releases that were stored before there was a choice keep their policy's digest.
    choice: Choice = Field(default="informed", exclude_if=lambda choice: choice == "informed")
    exact: tuple[str, ...] = ()
    subject: str | None = None
    presence: Presence = "known"
    repeated_suppression_limit: float | None = Field(default=None, ge=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _available(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for name in UNAVAILABLE:
            if name in data:
                _refuse(name, f"available: {', '.join((*BELONGS_TO_POLICY, *BELONGS_TO_SENSITIVE))}")
        for name in BELONGS_TO_SENSITIVE:
            if name in data:
                raise PolicyError(f"{name} is a requirement of a sensitive column: write it under sensitive")
        for name, available in (("metric", METRICS), ("search", SEARCHES)):
            if name in data and data[name] not in available:
                _refuse(f"{name} {data[name]!r}", f"available: {', '.join(available)}")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.exact)) != len(self.exact):
            raise ValueError("'exact' names a column twice")
        roles: dict[str, str] = {}
        subject = [self.subject] if self.subject is not None else []
        for role, columns in (
            ("quasi-identifier", list(self.quasi_identifiers)),
            ("sensitive", list(self.sensitive)),
            ("exact", list(self.exact)),
            ("subject", subject),
        ):
            for column in columns:
                if not column:
                    raise ValueError(f"a {role} column has no name")
                if column in roles:
                    raise ValueError(f"column {column!r} is declared {roles[column]} and {role}; give it one role")
                roles[column] = role
        paths = {spec.population for spec in (self.k_map, self.delta_presence) if spec and spec.population}
        if len(paths) > 1:
            raise ValueError("k_map and delta_presence name different populations; a policy has one")
        return self

    @property
    def population(self) -> Path | None:
        """The Parquet file of the population that the policy names, if any."""
        paths = [spec.population for spec in (self.k_map, self.delta_presence) if spec is not None]
        return next((path for path in paths if path is not None), None)

    @property
    def needs_population(self) -> bool:
        return self.k_map is not None or self.delta_presence is not None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise PolicyError(explained(error)) from None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], directory: Path | None = None) -> Self:
        """The policy in `mapping`; relative paths in it are resolved against `directory`."""
        if directory is None or not isinstance(mapping, Mapping):
            return cls.model_validate(mapping)
        return cls.model_validate(_resolved(mapping, directory))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """The policy in a YAML file; relative paths in it count from that file's directory."""
        path = Path(path)
        try:
            mapping = read_document(path.read_text(encoding="utf-8"))
            if isinstance(mapping, Mapping):
                return cls.from_mapping(mapping, directory=path.parent)
        except OSError:
            raise PolicyError(f"policy {path.name} cannot be read; check that the file exists") from None
        except UnicodeDecodeError:
            raise PolicyError(f"policy {path.name} is not in UTF-8; save it so") from None
        except (DocumentError, PolicyError) as error:
            raise PolicyError(f"policy {path.name}: {error}") from None
        raise PolicyError(f"policy {path.name} must be a mapping with quasi_identifiers and k")

    @property
    def class_columns(self) -> list[str]:
        """The columns whose equal values make a class: what `verify` is to be given."""
        return [*self.exact, *self.quasi_identifiers]


def _resolved(entry: Any, directory: Path, name: str = "") -> Any:
    """`entry` with every relative path in it, told by the `name` it stands under, counted from `directory`."""
    if isinstance(entry, Mapping):
        return {key: _resolved(value, directory, str(key)) for key, value in entry.items()}
    return directory / entry if name in ("hierarchy", "population") and isinstance(entry, str | Path) else entry
