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
from typing import Any, Literal, Self

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

KINDS = ("hierarchy", "prefix", "date", "intervals", "codes")
ANY_DATE = "*"
DATE_UNIT = re.compile(r"^(day|month|quarter|year|[1-9]\d*y|\*)$")

# Requirements a policy may name one day. Ignoring one of them would publish data that its
# author believes to be protected, so each is refused by its name until it is enforced.
UNAVAILABLE_IN_POLICY = ("delta_presence", "k_map", "t_closeness", "beta_likeness", "delta_disclosure", "history")
UNAVAILABLE_FOR_SENSITIVE = ("t_closeness", "beta_likeness", "delta_disclosure", "delta_presence")


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class QuasiIdentifier(_Strict):
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
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
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
            if not self.date or any(not DATE_UNIT.match(unit) for unit in self.date):
                raise ValueError("'date' units are day, month, quarter, year, <n>y and *")
            if "*" in self.date[:-1]:
                raise ValueError("'*' can only be the last level")
            months = [_months(unit) for unit in self.date if unit != ANY_DATE]
            if any(coarser <= finer or coarser % finer for finer, coarser in pairwise(months)):
                raise ValueError("each 'date' unit must hold the one before it whole (2y fits into 4y or 10y, not 5y)")
        if self.intervals is not None:
            if len(self.intervals) < 1 or any(b != b or abs(b) == float("inf") for b in self.intervals):
                raise ValueError("'intervals' needs at least one finite break point")
            if list(self.intervals) != sorted(set(self.intervals)):
                raise ValueError("'intervals' break points must ascend")
            if "*" in self.then[:-1] or any(step != "*" and step < 2 for step in self.then):
                raise ValueError("'then' merges 2 or more neighbours per level; '*' can only be the last level")
        return self


class LDiversity(_Strict):
    """At least `l` different values of the sensitive column in every class; a null is no value."""

    kind: Literal["distinct"] = "distinct"
    l: int = Field(ge=1)  # noqa: E741 (the model's own name, written so in policies)

    @model_validator(mode="before")
    @classmethod
    def _available(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("kind", "distinct") != "distinct":
            _refuse(f"l_diversity of kind {data['kind']!r}", "available: distinct")
        return data


class Sensitive(_Strict):
    """What must hold for one sensitive column within every class."""

    l_diversity: LDiversity | None = None

    @model_validator(mode="before")
    @classmethod
    def _available(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name in UNAVAILABLE_FOR_SENSITIVE:
                if name in data:
                    _refuse(name, "available for sensitive columns: l_diversity of kind distinct")
        return data


class Policy(_Strict):
    """Everything `anonymise` needs to know besides the frame.

    `k` counts distinct values of `subject`, or rows when no subject column is named.
    `exact` columns are never generalised; classes never span two of their values, and each
    combination of their values is anonymised on its own, with its own share of suppression.
    Raises PolicyError (from `model_validate`, `from_mapping`, `from_yaml`) when the policy is
    malformed or asks for something that is not available.
    """

    quasi_identifiers: dict[str, QuasiIdentifier] = Field(min_length=1)
    sensitive: dict[str, Sensitive] = Field(default_factory=dict)
    k: int = Field(ge=1)
    suppression_limit: float = Field(default=0.0, ge=0.0, le=1.0, allow_inf_nan=False)
    metric: Literal["loss"] = "loss"
    search: Literal["optimal"] = "optimal"
    exact: tuple[str, ...] = ()
    subject: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _available(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for name in UNAVAILABLE_IN_POLICY:
            if name in data:
                _refuse(name, "available: k, and l_diversity of kind distinct")
        if data.get("metric", "loss") != "loss":
            _refuse(f"metric {data['metric']!r}", "available: loss")
        if data.get("search", "optimal") != "optimal":
            _refuse(f"search {data['search']!r}", "available: optimal")
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
                if column in roles:
                    raise ValueError(f"column {column!r} is declared {roles[column]} and {role}; give it one role")
                roles[column] = role
        return self

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise PolicyError(_explain(error)) from None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], directory: Path | None = None) -> Self:
        """The policy in `mapping`; relative hierarchy paths are resolved against `directory`."""
        if directory is None or not isinstance(mapping, Mapping):
            return cls.model_validate(mapping)
        columns = mapping.get("quasi_identifiers")
        if not isinstance(columns, Mapping):
            return cls.model_validate(mapping)
        resolved = {
            name: {**spec, "hierarchy": directory / spec["hierarchy"]}
            if isinstance(spec, Mapping) and isinstance(spec.get("hierarchy"), str | Path)
            else spec
            for name, spec in columns.items()
        }
        return cls.model_validate({**mapping, "quasi_identifiers": resolved})

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """The policy in a YAML file; relative hierarchy paths count from that file's directory."""
        path = Path(path)
        try:
            mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError:
            raise PolicyError(f"policy {path.name} cannot be read; check that the file exists") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise PolicyError(f"policy {path.name} is not valid YAML in UTF-8") from None
        if not isinstance(mapping, Mapping):
            raise PolicyError(f"policy {path.name} must be a mapping with quasi_identifiers and k")
        return cls.from_mapping(mapping, directory=path.parent)

    @property
    def class_columns(self) -> list[str]:
        """The columns whose equal values make a class: what `verify` is to be given."""
        return [*self.exact, *self.quasi_identifiers]


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"]) or "policy"
        problems.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)
