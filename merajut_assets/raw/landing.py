"""Landing: from a table as its source has it to what raw stores. Pure functions over frames.

    parse    text and foreign types become the contract's types; what cannot be parsed is noted
    judge    the contract's rules, row by row, in clear and in memory
    shield   keyed tokens and validity flags for identifiers, then one encrypted blob per row

Nothing is lost: a refused row is stored like any other, with the rules it breaks beside it, and
a cell that cannot be parsed keeps its original text inside the blob. What reads raw decides
what to do with refused rows (`merajut_assets.conformed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context

from merajut_assets.contracts.base import Column, PrivacyClass, Subject, TableContract
from merajut_assets.privacy.consent import restricts
from merajut_assets.raw.identifiers import IDENTIFIERS, contains_nik, nik_agrees
from merajut_assets.sources.request import SourceError
from resources.encryption import encrypt_rows, rows_as_json, tokens
from resources.vault import row_key

FAILED_RULES = "failed_rules"
ENCRYPTED = "encrypted"
UNPARSED = "unparsed"
RULE_SEPARATOR = ","

TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
DAY = "%Y-%m-%d"
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

# A column of which most values cannot be parsed has changed its type; single bad cells are dirt.
RETYPED_SHARE = 0.5
RETYPED_LEAST_VALUES = 10

_CHECK_NAMES = {
    "not_nullable": "required",
    "isin": "allowed",
    "str_matches": "format",
    "greater_than": "range",
    "greater_than_or_equal_to": "range",
    "less_than": "range",
    "less_than_or_equal_to": "range",
    "in_range": "range",
}


@dataclass(frozen=True)
class Parsed:
    """`frame` has the contract's columns and types, plus `unparsed`: JSON of the original text of
    the cells that could not be parsed, else null. `failures` maps a column to a Boolean mask."""

    frame: pl.DataFrame
    failures: Mapping[str, pl.Series]


@dataclass(frozen=True)
class Landed:
    """`frame` is what raw stores. `refused` counts rows by rule; `erased` counts rows that named an erased
    person: left out, or kept without the name (`without_erased`)."""

    frame: pl.DataFrame
    refused: Mapping[str, int]
    erased: int


def contract_fingerprint(contract: TableContract) -> str:
    """Changes when the declared columns, their types, classes or rules change."""
    # Everything about a column but its words: references and sources decide about tokens and rows, too.
    declared = [replace(column, description="", unit=None, hierarchy=None) for column in contract.columns]
    checks = [
        (name, [str(check) for check in spec.checks], spec.nullable) for name, spec in contract.schema.columns.items()
    ]
    rules = [str(check) for check in contract.schema.checks]
    keys = (contract.key, contract.modified_column, contract.subjects, contract.outlives)
    return sha256(repr((declared, checks, rules, keys)).encode()).hexdigest()[:16]


# ── parse ────────────────────────────────────────────────────────────────────────────────


def parse(source: pl.DataFrame, contract: TableContract) -> Parsed:
    """The contract's columns in the contract's types.

    Raises SourceError when most values of a column cannot be parsed: its type has changed."""
    parsed = source.select(_cast(source.schema[column.name], column) for column in contract.columns)
    failures = {}
    for column in contract.columns:
        failed = _is_filled(source[column.name]) & parsed[column.name].is_null()
        if failed.any():
            _refuse_retyped(contract, column, failed, source[column.name])
            failures[column.name] = failed
    return Parsed(parsed.with_columns(_originals(source, failures)), failures)


def _is_filled(given: pl.Series) -> pl.Series:
    """Blank text is no value, as empty text is none."""
    return given.str.strip_chars().replace("", None).is_not_null() if given.dtype == pl.String else given.is_not_null()


def _cast(given: pl.DataType, column: Column) -> pl.Expr:
    value = pl.col(column.name)
    wanted = column.dtype.base_type()
    if (given == pl.Boolean and wanted != pl.Boolean) or (given.is_float() and wanted == pl.String):
        # Truth values are no numbers or texts, and fractions no texts: the source has changed its type.
        return pl.when(False).then(value).cast(column.dtype, strict=False).alias(column.name)
    if wanted == pl.String:
        return value.cast(pl.String).str.strip_chars().replace("", None)
    if wanted == pl.Float64:
        number = (value.str.strip_chars() if given == pl.String else value).cast(pl.Float64, strict=False)
        # "not a number" and infinity pass every lower bound.
        return pl.when(number.is_finite()).then(number).alias(column.name)
    if given == wanted:
        return value.cast(pl.Datetime("us")) if wanted == pl.Datetime else value
    if given != pl.String and wanted in (pl.Int64, pl.Boolean):
        converted = value.cast(column.dtype, strict=False)
        # A fraction must not become a whole number, nor 7 become "true".
        return pl.when(converted.cast(given, strict=False) == value).then(converted).alias(column.name)
    stripped = value.cast(pl.String).str.strip_chars()
    if wanted == pl.Date:
        return _as_written(stripped.str.to_date(_form(column), strict=False), stripped, column)
    if wanted == pl.Datetime:
        moment = stripped.str.to_datetime(_form(column), strict=False, time_unit="us")
        return _as_written(moment, stripped, column)
    if wanted == pl.Boolean:
        lowered = stripped.str.to_lowercase()
        return lowered.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    return stripped.cast(column.dtype, strict=False)


def _form(column: Column) -> str:
    """The strptime format in which a date or a time is written as text."""
    return column.source_format or (DAY if column.dtype.base_type() == pl.Date else TIMESTAMP)


def _as_written(parsed: pl.Expr, text: pl.Expr, column: Column) -> pl.Expr:
    # chrono accepts one-digit days and short years where the format asks for two or four digits;
    # writing the date back and comparing refuses what was not written as declared.
    return pl.when(parsed.dt.strftime(_form(column)) == text).then(parsed).alias(column.name)


def _expected(column: Column) -> str:
    """What the values of a column have to look like, in words for whoever exports them."""
    wanted = column.dtype.base_type()
    if wanted in (pl.Date, pl.Datetime):
        return f"written as {_form(column)}"
    if wanted == pl.Boolean:
        return f"one of {', '.join(_TRUTH)}"
    if wanted == pl.Int64:
        return "whole numbers"
    return "numbers, 1234.5" if wanted == pl.Float64 else "text"


def _refuse_retyped(contract: TableContract, column: Column, failed: pl.Series, source: pl.Series) -> None:
    present = source.is_not_null().sum()
    if present >= RETYPED_LEAST_VALUES and failed.sum() > RETYPED_SHARE * present:
        raise SourceError(
            contract.system,
            contract.name,
            "retyped",
            f"{failed.sum()} of {present} values are no {column.dtype.base_type().__name__.lower()} "
            f"(expected: {_expected(column)})",
            f"restore the column in the export, or change its type or source_format in {module_of(contract)}",
            column=column.name_in_source,
        )


def module_of(contract: TableContract) -> str:
    """The file that declares a table, for remedies."""
    return f"contracts/{contract.model.__module__.rpartition('.')[2]}.py"


def _originals(source: pl.DataFrame, failures: Mapping[str, pl.Series]) -> pl.Expr | pl.Series:
    if not failures:
        return pl.lit(None, dtype=pl.String).alias(UNPARSED)
    kept = pl.DataFrame({name: source[name].cast(pl.String).set(~failed, None) for name, failed in failures.items()})
    return rows_as_json(kept).set(~pl.DataFrame(failures).max_horizontal(), None).alias(UNPARSED)


# ── judge ────────────────────────────────────────────────────────────────────────────────


def judge(parsed: Parsed, contract: TableContract) -> pl.Series:
    """The rules that each row breaks, comma-separated, null for a good row.

    Names: `<column>.type|required|allowed|format|range|unique`, and the contract's own row rules."""
    frame = parsed.frame
    broken = [(f"{column}.type", failed) for column, failed in parsed.failures.items()]
    for rule, mask in broken_rules(frame.drop(UNPARSED), contract):
        unreadable = parsed.failures.get(rule.removesuffix(".required"))
        # What cannot be read is not missing: it is refused once, for its type.
        broken.append((rule, mask if unreadable is None else mask & ~unreadable))
    if contract.key:
        broken.append(outdated(frame, contract.key, contract.modified_column, broken))
    return combine_rules(broken, frame.height)


def broken_rules(frame: pl.DataFrame, contract: TableContract) -> list[tuple[str, pl.Series]]:
    """(rule, mask of the rows that break it) by the contract's pandera model.

    Validates a collected frame: on a lazy one pandera skips data checks."""
    try:
        # An environment variable can switch pandera's checks off for a whole process.
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.model.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.select("column", "check", "index", "schema_context")
    else:
        return []
    if cases["index"].null_count():
        raise SourceError(
            contract.system,
            contract.name,
            "contract",
            "the frame does not have the declared columns and types",
            f"correct the declaration in {module_of(contract)}",
        )
    found: dict[str, set[int]] = {}
    for column, check, index, context in cases.iter_rows():
        found.setdefault(_rule_name(column, check, context), set()).add(index)
    positions = pl.Series("row", range(frame.height), dtype=pl.Int64)
    return [(rule, positions.is_in(sorted(indices))) for rule, indices in sorted(found.items())]


def _rule_name(column: str, check: str, context: str) -> str:
    if context == "DataFrameSchema":
        return check
    return f"{column}.{_CHECK_NAMES.get(check.split('(')[0], 'type')}"


def outdated(
    frame: pl.DataFrame, key: Sequence[str], changed: str | None, broken: Sequence[tuple[str, pl.Series]]
) -> tuple[str, pl.Series]:
    """(`<key>.unique`, mask of the older duplicates among the rows that keep all other rules).

    A row that is refused anyway makes no other one outdated: the good row of its key stays."""
    good = combine_rules(broken, frame.height).is_null()
    return f"{key[0]}.unique", older_duplicates(frame, key, changed, good)


def older_duplicates(
    frame: pl.DataFrame, key: Sequence[str], changed: str | None, counting: pl.Series | None = None
) -> pl.Series:
    """Of the `counting` rows (default: all) with one key all but the newest; without times of change,
    all but the first. A row without a key is nobody's duplicate."""
    keys = frame.select(key)
    if all_different(keys):
        return pl.repeat(False, frame.height, eager=True)
    newest = pl.col(changed) if changed else pl.lit(None, dtype=pl.Datetime)
    counts = pl.repeat(True, frame.height, eager=True) if counting is None else counting
    newest_first = frame.select(
        *key, newest.alias("_changed"), counts.alias("_counts"), pl.int_range(pl.len()).alias("_position")
    ).sort("_counts", "_changed", "_position", descending=[True, True, False], nulls_last=True)
    numbered = newest_first.with_columns(pl.int_range(pl.len()).over(list(key)).alias("_rank"))
    rank = numbered.sort("_position")["_rank"]
    return (rank > 0) & counts & keys.select(pl.all_horizontal(pl.all().is_not_null())).to_series()


def all_different(keys: pl.DataFrame) -> bool:
    """True only when no two rows are equal; False, too, in the rare case that two hashes meet by chance.
    Counting hashes takes a tenth of the memory of counting rows."""
    return keys.hash_rows().n_unique() == keys.height


def combine_rules(broken: Sequence[tuple[str, pl.Series]], rows: int) -> pl.Series:
    """Names of the broken rules per row, comma-separated, null where none is."""
    if not broken:
        return pl.Series(FAILED_RULES, [None] * rows, dtype=pl.String)
    names = pl.DataFrame({rule: mask.fill_null(False) for rule, mask in broken})
    joined = names.select(
        pl.concat_str(
            [pl.when(rule).then(pl.lit(rule)) for rule in names.columns], separator=RULE_SEPARATOR, ignore_nulls=True
        )
        .replace("", None)
        .alias(FAILED_RULES)
    )
    return joined[FAILED_RULES]


def count_rules(failed_rules: pl.Series) -> dict[str, int]:
    """Rows by rule; a row that breaks two rules counts in both."""
    counted = (
        failed_rules.drop_nulls().str.split(RULE_SEPARATOR).explode().value_counts(name="rows").sort(failed_rules.name)
    )
    return dict(counted.iter_rows())


# ── shield ───────────────────────────────────────────────────────────────────────────────

KeyFinder = Callable[[Subject, Sequence[str]], Mapping[str, bytes]]
NamedKey = Callable[[str], bytes]


def shield(
    frame: pl.DataFrame, failed_rules: pl.Series, contract: TableContract, subject_keys: KeyFinder, named_key: NamedKey
) -> Landed:
    """What raw stores: plain columns, tokens, flags, and one blob per row about people.

    `subject_keys(subject, source ids)` gives the keys of those who were not erased; rows about
    anybody else are left out, or kept without them (`without_erased`). `named_key` gives the keys of tokens
    and of rows about nobody."""
    frame, spared = without_erased(frame, contract, subject_keys)
    plain = frame.select(
        *(column.name for column in contract.plain_columns), *derived_flags(frame, contract, named_key)
    ).with_columns(failed_rules)
    if contract.data_origin is not None:
        plain = plain.with_columns(pl.lit(contract.data_origin.value).alias("data_origin"))
    refused = count_rules(failed_rules)
    if not contract.subjects:
        return Landed(plain.with_columns(frame[UNPARSED]), refused, 0)
    keys = row_keys(frame, contract, subject_keys, named_key)
    personal = frame.select(*(column.name for column in contract.personal_columns), UNPARSED)
    kept = pl.Series([key is not None for key in keys], dtype=pl.Boolean)
    blobs = encrypt_rows(personal, keys, blob_context(contract))
    landed = plain.with_columns(blobs.alias(ENCRYPTED)).filter(kept)
    return Landed(landed, refused, int((~kept | spared).sum()))


def without_erased(
    frame: pl.DataFrame, contract: TableContract, subject_keys: KeyFinder
) -> tuple[pl.DataFrame, pl.Series]:
    """`frame` without the ids of erased people in the rows that outlive them, and which rows those are.

    A withdrawal is kept without the guardian who declared it: were it dropped, another's older grant would
    count again."""
    spared = pl.repeat(False, frame.height, eager=True, dtype=pl.Boolean)
    for subject in contract.outlives:
        column = contract.subject_columns[subject]
        ids = subject_ids(frame, contract, column)
        living = list(subject_keys(subject, ids.drop_nulls().unique().to_list()))
        is_erased = ids.is_not_null() & ~ids.is_in(living) & frame.select(restricts()).to_series()
        frame = frame.with_columns(frame[column].set(is_erased, None))
        spared = spared | is_erased
    return frame, spared


def blob_context(contract: TableContract) -> bytes:
    return "/".join(contract.asset_key).encode()


def blob_schema(contract: TableContract) -> dict[str, pl.DataType]:
    return {**{column.name: column.dtype for column in contract.personal_columns}, UNPARSED: pl.String()}


def home_system(contract: TableContract, column: str) -> str:
    """The system that gives out the ids in a subject column: the one the column refers to."""
    references = contract.column(column).references
    return references.split(".")[0] if references else contract.system


def subject_ids(frame: pl.DataFrame, contract: TableContract, column: str) -> pl.Series:
    """Source ids as the vault and the tokens know them: unique across systems."""
    return (home_system(contract, column) + ":" + frame[column]).alias(column)


def row_keys(
    frame: pl.DataFrame, contract: TableContract, subject_keys: KeyFinder, named_key: NamedKey
) -> list[bytes | None]:
    """One key per row, made of the keys of all people it is about; None when one of them was
    erased. A row about nobody gets the table's own key."""
    parts: list[list[bytes | bool | None]] = []
    for subject, column in contract.subject_columns.items():
        ids = subject_ids(frame, contract, column)
        known = subject_keys(subject, ids.drop_nulls().unique().to_list())
        parts.append([True if value is None else known.get(value) for value in ids.to_list()])
    table_key = named_key(f"row/{'/'.join(contract.asset_key)}")
    if not parts:
        return [table_key] * frame.height
    return [_combined(row, table_key) for row in zip(*parts, strict=True)]


def _combined(parts: tuple[bytes | bool | None, ...], table_key: bytes) -> bytes | None:
    if None in parts:
        return None
    people = [part for part in parts if isinstance(part, bytes)]
    return row_key(people) if people else table_key


def flag_sources(contract: TableContract) -> dict[str, tuple[str, ...]]:
    """The columns that `derived_flags` makes for a table, and which columns each is made of."""
    names = {column.name for column in contract.columns}
    sources: dict[str, tuple[str, ...]] = {}
    for column in contract.columns:
        if column.token is not None:
            sources |= {f"{column.name}_token": (column.name,), f"is_{column.name}_valid": (column.name,)}
            if column.token == "nik" and {"birth_date", "sex"} <= names:
                sources["is_nik_consistent"] = (column.name, "birth_date", "sex")
        if column.privacy is PrivacyClass.FREE_TEXT:
            sources[f"{column.name}_has_nik"] = (column.name,)
    return sources


def derived_flags(frame: pl.DataFrame, contract: TableContract, named_key: NamedKey) -> list[pl.Series]:
    """Tokens and validity of identifiers, agreement of a NIK with birth date and sex, and whether
    a free text holds a NIK."""
    flags: list[pl.Series] = []
    for column in contract.columns:
        if column.token is not None:
            normal = IDENTIFIERS[column.token].normalise(frame[column.name])
            valid = IDENTIFIERS[column.token].is_valid(normal)
            flags.append(
                tokens(normal.set(~valid.fill_null(False), None), named_key(f"token/{column.token}")).alias(
                    f"{column.name}_token"
                )
            )
            flags.append(valid.alias(f"is_{column.name}_valid"))
            if column.token == "nik" and {"birth_date", "sex"} <= set(frame.columns):
                agrees = nik_agrees(normal, frame["birth_date"], frame["sex"])
                flags.append(agrees.set(~valid.fill_null(False), None).alias("is_nik_consistent"))
        if column.privacy is PrivacyClass.FREE_TEXT:
            flags.append(contains_nik(frame[column.name]).alias(f"{column.name}_has_nik"))
    return flags
