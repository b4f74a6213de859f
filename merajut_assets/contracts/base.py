"""What a contract is: the vocabulary in which every table is declared, once.

A contract is a pandera (Polars) model decorated with `table`. This module holds the
vocabulary and the registry and nothing about any particular table; it knows neither Dagster
nor files. Everything else that speaks about tables and columns is derived from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

import pandera.polars as pa
import polars as pl


class PrivacyClass(StrEnum):
    """How a column may identify somebody. Order of the members: most to least restricted."""

    DIRECT_IDENTIFIER = "direct_identifier"
    FREE_TEXT = "free_text"  # may contain anything, so it is treated as a direct identifier
    SENSITIVE = "sensitive"
    QUASI_IDENTIFIER = "quasi_identifier"
    OPERATIONAL = "operational"
    PUBLIC = "public"

    @property
    def is_personal(self) -> bool:
        """Personal columns live in raw only inside their subject's encrypted blob."""
        return self not in (PrivacyClass.OPERATIONAL, PrivacyClass.PUBLIC)

    @staticmethod
    def strictest(classes: Iterable[PrivacyClass]) -> PrivacyClass:
        order = list(PrivacyClass)
        return min(classes, key=order.index)


class LegalBasis(StrEnum):
    CONSENT = "consent"
    LEGAL_OBLIGATION = "legal_obligation"
    NONE = "none"
    NOT_APPLICABLE = "not_applicable"  # the rows are about no person


class DataOrigin(StrEnum):
    """Where a row's facts come from; every stored row carries it as `data_origin`."""

    GENERATED = "generated"
    REAL_SAMPLE = "real_sample"
    OPEN_DATA = "open_data"


# The column in which every stored row says it. Released rows rest on several: "generated, open_data".
DATA_ORIGIN = "data_origin"
ORIGIN_SEPARATOR = ", "
_ONE_ORIGIN = f"({'|'.join(DataOrigin)})"
ORIGINS_PATTERN = rf"^{_ONE_ORIGIN}({ORIGIN_SEPARATOR}{_ONE_ORIGIN})*$"


class Subject(StrEnum):
    CHILD = "child"
    GUARDIAN = "guardian"
    STAFF = "staff"
    VOLUNTEER = "volunteer"
    DONOR = "donor"
    EMPLOYEE = "employee"
    CONTACT = "contact"


class ContractError(ValueError):
    """A contract contradicts itself or another one. Never carries data values."""


# ── columns ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Column:
    """One declared column, as everything downstream of the contracts sees it.

    `required` counts for completeness; a row with an empty cell is refused only where the column is
    not `nullable`. `sources` are what the value is computed from; `linked_by` are columns that only find the rows it
    is computed from. `holds` are kinds of values (`privacy.detection`) that look personal and are public here, such as
    the address of an institution."""

    name: str
    dtype: pl.DataType
    privacy: PrivacyClass
    description: str
    key: bool = False
    required: bool = False
    nullable: bool = True
    required_when: str | None = None
    unit: str | None = None
    source_name: str | None = None
    source_format: str | None = None  # strptime format of a date or time written as text, such as "%d/%m/%Y"
    hierarchy: str | None = None
    token: str | None = None
    subject: Subject | None = None
    references: str | None = None
    accuracy: str | None = None
    sources: tuple[str, ...] = ()
    linked_by: tuple[str, ...] = ()
    # Says nothing about what is stored, so that stating it makes no new version of a table.
    holds: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name_in_source(self) -> str:
        return self.source_name or self.name


def _column(
    privacy: PrivacyClass | None,
    description: str,
    *,
    key: bool = False,
    required: bool = False,
    required_when: str | None = None,
    unit: str | None = None,
    source_name: str | None = None,
    source_format: str | None = None,
    hierarchy: str | None = None,
    token: str | None = None,
    subject: Subject | None = None,
    references: str | None = None,
    accuracy: str | None = None,
    sources: tuple[str, ...] = (),
    linked_by: tuple[str, ...] = (),
    holds: tuple[str, ...] = (),
    **checks: Any,
) -> Any:
    metadata = {
        "privacy": privacy,
        "key": key,
        "required": required or key,
        "required_when": required_when,
        "unit": unit,
        "source_name": source_name,
        "source_format": source_format,
        "hierarchy": hierarchy,
        "token": token,
        "subject": subject,
        "references": references,
        "accuracy": accuracy,
        "sources": sources,
        "linked_by": linked_by,
        "holds": holds,
    }
    nullable = checks.pop("nullable", not key)
    return pa.Field(nullable=nullable, description=description, metadata=metadata, **checks)


def direct_identifier(description: str, **options: Any) -> Any:
    """A column that names a person. `token="nik"` derives a keyed token of that kind at landing."""
    return _column(PrivacyClass.DIRECT_IDENTIFIER, description, **options)


def free_text(description: str, **options: Any) -> Any:
    return _column(PrivacyClass.FREE_TEXT, description, **options)


def sensitive(description: str, **options: Any) -> Any:
    return _column(PrivacyClass.SENSITIVE, description, **options)


def quasi_identifier(description: str, *, hierarchy: str, **options: Any) -> Any:
    """A column that singles people out in combination; `hierarchy` names how it generalises."""
    return _column(PrivacyClass.QUASI_IDENTIFIER, description, hierarchy=hierarchy, **options)


def operational(description: str, **options: Any) -> Any:
    return _column(PrivacyClass.OPERATIONAL, description, **options)


def public(description: str, **options: Any) -> Any:
    return _column(PrivacyClass.PUBLIC, description, **options)


def derived(*sources: str, description: str = "", privacy: PrivacyClass | None = None, **options: Any) -> Any:
    """A conformed column. `sources` are `system.table.column`; class, description, unit and
    hierarchy come from the first source (class: the strictest of all) unless given here."""
    return _column(privacy, description, sources=sources, **options)


# ── row rules over several columns ───────────────────────────────────────────────────────


def rule(name: str, description: str, holds: pl.Expr) -> Any:
    """A rule over several columns of one row; a row whose expression is false is refused
    under `name`. Null means "cannot be judged" and passes."""

    def check(cls: type, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(holds.fill_null(True))

    check.__name__ = f"rule_{name}"
    judged = {"columns": tuple(dict.fromkeys(holds.meta.root_names()))}
    return pa.dataframe_check(name=name, description=description, statistics=judged)(check)


def in_order(name: str, earlier: str, later: str) -> Any:
    return rule(name, f"{later} is not before {earlier}", pl.col(later) >= pl.col(earlier))


# ── systems and tables ───────────────────────────────────────────────────────────────────

DROP_UNDECLARED = "*"


class SourceFormat(StrEnum):
    """The natural format of a source system; `merajut_assets.sources` has one reader for each."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "json_lines"
    XML = "xml"
    DATABASE = "database"
    SQL_DUMP = "sql_dump"
    PARQUET = "parquet"
    SDMX_STRUCTURE = "sdmx_structure"


@dataclass(frozen=True)
class System:
    """An institution's system, and what all its tables share.

    `location` is a path under the data directory in which `{source}` stands for the table's
    name in the source: `sources/hris/{source}.csv`. `options` are the reader's (separator,
    encoding, record element, compression)."""

    name: str
    description: str
    owner: str
    format: SourceFormat
    location: str
    jurisdiction: str
    legal_basis: LegalBasis
    data_origin: DataOrigin
    purpose: str
    retention_days: int
    freshness_hours: float
    child_protection: bool = False
    options: tuple[tuple[str, str], ...] = ()
    licence: str | None = None


@dataclass(frozen=True)
class TableContract:
    """A declared table. `name` is table name, asset name and file name alike.

    `system` is the source system of a raw table and "conformed" for an entity; `drops` names
    the source columns known and not wanted (or DROP_UNDECLARED): any other undeclared column
    is new, and landing refuses it by name. `outlives` names those of its subjects without whom a decision
    that restricts (`privacy.consent.restricts`) stays when they are erased; other rows go with each of their
    subjects. `may_become_empty`: a source table without rows is believed, though it had some before."""

    layer: str
    system: str
    name: str
    model: type[pa.DataFrameModel] = field(repr=False)
    subjects: tuple[Subject, ...]
    purpose: str
    owner: str
    retention_days: int
    freshness_hours: float
    jurisdiction: str
    legal_basis: LegalBasis
    data_origin: DataOrigin | None
    source_name: str | None = None
    drops: tuple[str, ...] = ()
    modified_column: str | None = None
    outlives: tuple[Subject, ...] = ()
    may_become_empty: bool = False
    child_protection: bool = False
    country_of_storage: str = "ID"

    @property
    def name_in_source(self) -> str:
        return self.source_name or self.name

    @property
    def identifier(self) -> str:
        return self.name if self.layer == "conformed" else f"{self.system}.{self.name}"

    @property
    def asset_key(self) -> tuple[str, ...]:
        return ("conformed", self.name) if self.layer == "conformed" else (self.layer, self.system, self.name)

    @property
    def description(self) -> str:
        return " ".join((self.model.__doc__ or "").split())

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        return self.model.to_schema()

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(_resolve(self, name, spec) for name, spec in self.schema.columns.items())

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractError(f"{self.identifier} declares no column {name!r}")

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    @property
    def personal_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.privacy.is_personal)

    @property
    def plain_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.privacy.is_personal)

    @property
    def subject_columns(self) -> dict[Subject, str]:
        """Which column holds the source id of each person a row is about."""
        return {column.subject: column.name for column in self.columns if column.subject is not None}

    @property
    def sensitivity(self) -> PrivacyClass:
        return PrivacyClass.strictest(column.privacy for column in self.columns)


def _resolve(contract: TableContract, name: str, spec: Any) -> Column:
    metadata = dict(spec.metadata or {})
    if "privacy" not in metadata:
        raise ContractError(f"{contract.identifier}.{name}: declare a privacy class")
    dtype = spec.dtype.type if spec.dtype is not None else pl.String()
    description = spec.description or ""
    origins = [source_column(source) for source in metadata["sources"]]
    if metadata["privacy"] is None:
        if not origins:
            raise ContractError(f"{contract.identifier}.{name}: a derived column names its sources")
        metadata["privacy"] = PrivacyClass.strictest(origin.privacy for origin in origins)
    if origins:
        description = description or origins[0].description
        for inherited in ("unit", "hierarchy"):
            metadata[inherited] = metadata[inherited] or getattr(origins[0], inherited)
    if not description:
        raise ContractError(f"{contract.identifier}.{name}: describe the column")
    if metadata["holds"] and metadata["privacy"].is_personal:
        raise ContractError(f"{contract.identifier}.{name}: holds is for columns that are kept in clear")
    if metadata["source_format"] and "%z" in metadata["source_format"].lower():
        raise ContractError(f"{contract.identifier}.{name}: times are UTC; write the format without a zone")
    return Column(
        name=name,
        dtype=dtype() if isinstance(dtype, type) else dtype,
        description=description,
        nullable=spec.nullable,
        **metadata,
    )


# ── the registry ─────────────────────────────────────────────────────────────────────────

_TABLES: dict[tuple[str, str, str], TableContract] = {}
_SYSTEMS: dict[str, System] = {}
Model = TypeVar("Model", bound=type[pa.DataFrameModel])


def table(
    system: System, name: str, *, subjects: tuple[Subject, ...] = (), **overrides: Any
) -> Callable[[Model], Model]:
    """Register a pandera model as the contract of a source table; what is not overridden
    (owner, purpose, retention, freshness, jurisdiction, legal basis) is the system's."""
    shared = {
        "purpose": system.purpose,
        "owner": system.owner,
        "retention_days": system.retention_days,
        "freshness_hours": system.freshness_hours,
        "jurisdiction": system.jurisdiction,
        "legal_basis": system.legal_basis,
        "data_origin": system.data_origin,
        "child_protection": system.child_protection,
    }
    if _SYSTEMS.setdefault(system.name, system) != system:
        raise ContractError(f"system {system.name} is declared twice")
    return _register("raw", system.name, name, subjects, {**shared, **overrides})


def entity(name: str, *, subjects: tuple[Subject, ...] = (), **options: Any) -> Callable[[Model], Model]:
    """Register a pandera model as the contract of a conformed entity."""
    return _register("conformed", "conformed", name, subjects, options)


def protected(
    stakeholder: str, name: str, *, subjects: tuple[Subject, ...] = (), **options: Any
) -> Callable[[Model], Model]:
    """Register a pandera model as the contract of a dataset protected for one stakeholder."""
    return _register("protected", stakeholder, name, subjects, options)


def _register(
    layer: str, system: str, name: str, subjects: tuple[Subject, ...], options: dict[str, Any]
) -> Callable[[Model], Model]:
    def register(model: Model) -> Model:
        declared = _TABLES.get((layer, system, name))
        if declared is not None and declared.model.__qualname__ != model.__qualname__:
            raise ContractError(f"{layer} table {system}.{name} is declared twice")
        _TABLES[(layer, system, name)] = TableContract(
            layer=layer, system=system, name=name, model=model, subjects=subjects, **options
        )
        return model

    return register


def declared_tables() -> tuple[TableContract, ...]:
    """Every table declared by the modules imported so far; `contracts.registry` imports all."""
    return tuple(_TABLES.values())


def declared_table(layer: str, identifier: str) -> TableContract | None:
    """The table of a layer by its identifier (`system.table`; of an entity its name), None when nobody declares it."""
    system, _, name = identifier.rpartition(".")
    return _TABLES.get((layer, system or layer, name))


def declared_systems() -> dict[str, System]:
    return dict(_SYSTEMS)


def source_column(path: str) -> Column:
    """The column at `system.table.column` (raw) or `entity.column` (conformed);
    ContractError when nobody declares it."""
    owner, column = path.rsplit(".", 1)
    contract = declared_table("raw" if "." in owner else "conformed", owner)
    if contract is None:
        raise ContractError(f"no contract declares {owner}")
    return contract.column(column)
