"""Building one conformed entity: read, assemble, judge, quarantine, merge, remember.

The order matters: refused rows are in quarantine before the entity is committed, so a build that
is killed loses nothing, and the next one completes it.

An entity holds what its sources hold now. Every reader hands over whole tables, so that a row which is
not in the newest landing is gone from its source, and goes from the entity: somebody whose file was
deleted must not stay in publications for ever. A row whose newest version is refused goes, too, whoever
it is about, and waits in quarantine: what changed may be the very thing that forbids its use, an older
version would speak for it without anybody noticing, and a lake that is built from nothing would not have
it. Older versions of the table keep what was. Two things outlive this. Of a row that is still there, the
version that was changed last counts, so that an older export overwrites nothing. And a withdrawn consent
stays when its record goes: deleting it is not agreeing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from merajut_assets.conformed import conform, quality, quarantined_rows
from merajut_assets.conformed.entities import ALSO_READ, CHILDREN, DOUBTFUL, OUTLIVING, Inputs
from merajut_assets.conformed.raw_rows import RawRows, living_keys, newest_version, read_raw_rows, read_whole_rows
from merajut_assets.conformed.supporting import judge_references, supporting_tables
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.raw import landing
from merajut_assets.sources import crosswalk
from resources.encryption import digest, encrypt_rows, rows_as_json, tokens
from resources.lakehouse import Lakehouse
from resources.locks import write_atomically
from resources.shapes import in_shape, refuse_unfit

QUARANTINE_COLUMNS = ("entity", "source_table", "data_origin", "failed_rules", "source_ids", "row_hash", "row")
BUCKETS_OF_PERSONAL_TABLES = 8

# An export that was cut off between two rows is a valid one: nothing but its size tells.
LARGEST_USUAL_LOSS = 0.1

# The code that makes rows of an entity out of raw ones. Whole modules, because what a rule calls is part
# of it; a changed comment costs a build that finds nothing to write.
RULE_FILES = (
    *sorted(Path(__file__).parent.glob("*.py")),
    *(Path(str(module.__file__)) for module in (landing, crosswalk)),
)


def rules_digest(files: Sequence[Path]) -> str:
    """Changes when the content of a file does, and not when they merely lie elsewhere or are touched."""
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()


# Of the code that this process runs, and not of what lies there by the time of a build.
RULES = rules_digest(RULE_FILES)


@dataclass(frozen=True)
class BuildSummary:
    """What a build did. `refused` counts rows by rule; `before` and `after` are the quality of
    all candidate rows and of what is stored in `version`, read back and judged again; `removed` counts rows of
    earlier builds that no source supports any more."""

    entity: str
    inputs: str
    rows_in: int
    passed: int
    quarantined: int
    merged: int
    erased: int
    refused: dict[str, int]
    before: dict[str, float | int | None]
    after: dict[str, float | int | None]
    shortcomings_before: list[str]
    shortcomings_after: list[str]
    version: int
    built_at: str
    is_unchanged: bool = False
    removed: int = 0


def raw_inputs(entity: TableContract) -> tuple[TableContract, ...]:
    """The source tables that an entity is built from, those it needs for linking included."""
    tables = {table.identifier: table for table in registry.source_tables(entity)}
    for identifier in ALSO_READ.get(entity.name, ()):
        tables[identifier] = registry.raw_table(*identifier.split("."))
    if any(_links_children(table) for table in tables.values()):
        tables[CHILDREN] = registry.raw_table(*CHILDREN.split("."))
    return tuple(tables.values())


def _links_children(table: TableContract) -> bool:
    column = table.subject_columns.get(Subject.CHILD)
    return column is not None and landing.home_system(table, column) == CHILDREN.split(".")[0]


def quarantining_tables(entity: TableContract) -> tuple[TableContract, ...]:
    """The source tables whose refused rows go to quarantine with the entity."""
    return (*conform.primary_tables(entity), *supporting_tables(raw_inputs(entity)))


def build_entity(lakehouse: Lakehouse, entity: TableContract) -> BuildSummary:
    """Bring a conformed entity up to date with raw. When its inputs are unchanged, only a table that is not as it was
    judged last is judged again: one that was taken back, or that somebody else has written.

    Raises NotLanded when a source table is missing."""
    untouched = untouched_build(lakehouse, entity)
    if untouched is not None:
        return untouched if is_judged(lakehouse, untouched) else _judged_again(lakehouse, entity, untouched)
    fingerprint = _inputs_fingerprint(lakehouse, entity)
    rows = {
        table.identifier: read_raw_rows(lakehouse, table, _needed(entity, table), _table(entity))
        for table in raw_inputs(entity)
    }
    references = _references(lakehouse, entity)
    inputs = _inputs(lakehouse, rows)
    candidates = conform.assemble(entity, inputs)
    judged, supporting = judge_references(
        entity, conform.judge(entity, candidates, references), inputs.raw, inputs.every_child
    )
    quarantined = _quarantine(lakehouse, entity, rows, judged, supporting)
    passed = judged.passed
    known_rows = _known_rows(lakehouse, entity)
    version, removed = _store(lakehouse, entity, passed)
    now = datetime.now(UTC)
    before_rows, before_rules = _with_refused(entity, rows, judged)
    before = quality.measure(entity, before_rows, before_rules, references, now)
    after = _quality_of_stored(lakehouse, entity, version, references, now)
    primary = [rows[table.identifier] for table in conform.primary_tables(entity)]
    summary = BuildSummary(
        entity=entity.name,
        inputs=fingerprint,
        rows_in=sum(part.good.height + part.refused.height for part in primary),
        passed=passed.height,
        quarantined=quarantined,
        merged=sum(part.good.height for part in primary) - _taken_over(entity, candidates),
        erased=sum(part.erased for part in primary),
        refused=dict(sorted(quarantined_rules(primary, judged).items())),
        before=before.as_facts(),
        after=after.as_facts(),
        shortcomings_before=[*quality.shortcomings(entity, before), *_unusual_loss(removed, known_rows)],
        shortcomings_after=quality.shortcomings(entity, after),
        version=version,
        built_at=now.isoformat(),
        removed=removed,
    )
    _write_summary(lakehouse, entity, summary)
    return summary


def is_judged(lakehouse: Lakehouse, build: BuildSummary) -> bool:
    """Whether what is stored of an entity is what the last judgement was about."""
    return lakehouse.lake.version(f"conformed/{build.entity}") == build.version


def _judged_again(lakehouse: Lakehouse, entity: TableContract, known: BuildSummary) -> BuildSummary:
    version = lakehouse.lake.version(f"conformed/{entity.name}")
    assert version is not None, "an untouched build is stored"
    now = datetime.now(UTC)
    after = _quality_of_stored(lakehouse, entity, version, _references(lakehouse, entity), now)
    summary = replace(
        known,
        after=after.as_facts(),
        shortcomings_after=quality.shortcomings(entity, after),
        version=version,
        built_at=now.isoformat(),
        is_unchanged=False,
    )
    _write_summary(lakehouse, entity, summary)
    return summary


def _quality_of_stored(
    lakehouse: Lakehouse, entity: TableContract, version: int, references: Mapping[str, pl.Series], now: datetime
) -> quality.Quality:
    """The quality of the entity's stored rows: read back, so that it is no property of the frame that was written."""
    stored = lakehouse.read(_table(entity), version=version, reader=_table(entity), purpose="quality")
    return quality.measure(entity, stored, conform.judge_stored(entity, stored, references), references, now)


def untouched_build(lakehouse: Lakehouse, entity: TableContract) -> BuildSummary | None:
    """The last build, when nothing it was made of was touched since. Raises NotLanded."""
    known = last_build(lakehouse, entity)
    if known is None or known.inputs != _inputs_fingerprint(lakehouse, entity):
        return None
    if lakehouse.lake.version(f"conformed/{entity.name}") is None:
        return None
    return replace(known, is_unchanged=True)


def last_build(lakehouse: Lakehouse, entity: TableContract) -> BuildSummary | None:
    """The summary of the last completed build, or None."""
    path = _summary_path(lakehouse, entity)
    return BuildSummary(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _write_summary(lakehouse: Lakehouse, entity: TableContract, summary: BuildSummary) -> None:
    write_atomically(_summary_path(lakehouse, entity), json.dumps(asdict(summary), indent=1).encode())


def _table(entity: TableContract) -> str:
    return "/".join(entity.asset_key)


def _summary_path(lakehouse: Lakehouse, entity: TableContract) -> Any:
    return lakehouse.settings.lake / "conformed_builds" / f"{entity.name}.json"


# ── inputs ───────────────────────────────────────────────────────────────────────────────


def _inputs_fingerprint(lakehouse: Lakehouse, entity: TableContract) -> str:
    """Changes when a source version, a referenced entity, a contract, the code of the rules or an
    erasure does."""
    versions = [
        (table.identifier, newest_version(lakehouse, table).digest, table.jurisdiction, table.legal_basis.value)
        for table in raw_inputs(entity)
    ]
    others = [(path, lakehouse.lake.version(f"conformed/{path.split('.')[0]}")) for path in conform.referenced(entity)]
    erasures = lakehouse.vault.erasures()
    declared = landing.contract_fingerprint(entity)
    rules = (RULES, rules_digest([_aliases(lakehouse)]))
    return sha256(repr((versions, others, erasures, declared, rules)).encode()).hexdigest()


def _aliases(lakehouse: Lakehouse) -> Path:
    return lakehouse.settings.reference / "crosswalk" / "regency_aliases.csv"


def _needed(entity: TableContract, table: TableContract) -> set[str]:
    """The personal columns of a source table that the entity's values are made of."""
    named = {
        source.split(".")[2]
        for column in entity.columns
        for source in column.sources
        if source.rsplit(".", 1)[0] == table.identifier
    }
    identifiers = {column.name for column in table.columns if column.token is not None}
    return named - identifiers


def _inputs(lakehouse: Lakehouse, rows: Mapping[str, RawRows]) -> Inputs:
    linking = ["child_id", "nik_token"]
    children = rows.get(CHILDREN)
    every_child = (
        pl.concat([children.good.select(linking), children.refused.select(linking)])
        if children is not None
        else pl.DataFrame(schema=dict.fromkeys(linking, pl.String))
    )
    return Inputs(
        raw={identifier: part.good for identifier, part in rows.items()},
        refused={identifier: part.refused for identifier, part in rows.items()},
        every_child=every_child,
        token=lambda kind, texts: _living_tokens(lakehouse, kind, texts),
        aliases=pl.read_csv(_aliases(lakehouse), infer_schema=False),
    )


def _living_tokens(lakehouse: Lakehouse, kind: str, texts: pl.Series) -> pl.Series:
    """Tokens of `texts`; null for an erased person, whom rows about others may still name."""
    made = tokens(texts, lakehouse.vault.named_key(f"token/{kind}"))
    if kind not in list(Subject) or not lakehouse.vault.erasures():
        return made
    erased = lakehouse.vault.destroyed(kind, texts.drop_nulls().unique().to_list())
    return made.set(texts.is_in(sorted(erased)).fill_null(False), None) if erased else made


def _references(lakehouse: Lakehouse, entity: TableContract) -> dict[str, pl.Series]:
    wanted: dict[str, list[str]] = {}
    for path in conform.referenced(entity):
        other, column = path.split(".")
        wanted.setdefault(other, []).append(column)
    return {
        f"{other}.{column}": values.drop_nulls().unique()
        for other, columns in wanted.items()
        for column, values in lakehouse.read(
            f"conformed/{other}", columns=columns, reader=_table(entity), purpose="references"
        )
        .to_dict()
        .items()
    }


# ── quarantine ───────────────────────────────────────────────────────────────────────────


def _quarantine(
    lakehouse: Lakehouse,
    entity: TableContract,
    rows: Mapping[str, RawRows],
    judged: conform.Conformed,
    supporting: Mapping[str, pl.Series],
) -> int:
    """Store the refused rows of an entity and of the tables that support it, by system; returns how
    many were to become the entity's.

    A row keeps its rules, its source ids, a keyed hash and all its declared columns, encrypted under
    the keys of the people it is about (`quarantined_rows` opens it)."""
    refused: dict[str, list[pl.DataFrame]] = {}
    primary = [table.identifier for table in conform.primary_tables(entity)]
    own = 0
    for table in quarantining_tables(entity):
        part = rows[table.identifier]
        if table.identifier in primary:
            is_of_table = pl.col(conform.ORIGIN) == table.identifier
            places = judged.candidates.select(conform.ORIGIN, conform.POSITION)
            positions = places.with_columns(judged.failed_rules).filter(is_of_table)
        else:
            positions = supporting[table.identifier].to_frame().with_row_index(conform.POSITION)
        failed = positions.filter(pl.col(landing.FAILED_RULES).is_not_null())
        late = read_whole_rows(
            lakehouse, table, part.version, part.good[failed[conform.POSITION].to_list()], _table(entity)
        ).with_columns(failed[landing.FAILED_RULES])
        sealed = [_sealed(lakehouse, entity, table, frame) for frame in (part.refused, late) if frame.height]
        refused.setdefault(table.system, []).extend(sealed)
        own += sum(frame.height for frame in sealed) if table.identifier in primary else 0
    for system, frames in refused.items():
        _replace_quarantine(lakehouse, entity, system, frames)
    return own


def _sealed(lakehouse: Lakehouse, entity: TableContract, table: TableContract, frame: pl.DataFrame) -> pl.DataFrame:
    columns = [column.name for column in table.columns if column.name in frame.columns]
    whole = frame.select(*columns, *(name for name in (landing.UNPARSED,) if name in frame.columns))
    keys = landing.row_keys(frame, table, living_keys(lakehouse), lakehouse.vault.named_key)
    hash_key = lakehouse.vault.named_key("digest")
    hashes = [digest(hash_key, text.encode()) for text in rows_as_json(whole).to_list()]
    return pl.DataFrame(
        {
            "source_table": [table.identifier] * frame.height,
            "data_origin": frame["data_origin"],
            "failed_rules": frame[landing.FAILED_RULES],
            # Without the ids of those it is about nobody could tell which keys open the row.
            "source_ids": rows_as_json(frame.select(quarantined_rows.plain_ids(table))),
            "row_hash": hashes,
            "row": encrypt_rows(whole, keys, quarantined_rows.context(table)),
        }
    ).with_columns(pl.lit(entity.name).alias("entity"))


def _replace_quarantine(
    lakehouse: Lakehouse, entity: TableContract, system: str, frames: Sequence[pl.DataFrame]
) -> None:
    name, partition = f"quarantine/{system}", {"entity": entity.name}
    if lakehouse.lake.version(name) is not None and set(lakehouse.lake.schema(name)) != set(QUARANTINE_COLUMNS):
        # Written by code that kept other columns, whose digest is another: every entity puts its part back.
        lakehouse.lake.delete_where(name, pl.lit(True))
    schema = {**dict.fromkeys(QUARANTINE_COLUMNS[:-1], pl.String()), "row": pl.Binary()}
    frame = pl.concat(frames).select(QUARANTINE_COLUMNS) if frames else pl.DataFrame(schema=schema)
    is_stored = lakehouse.lake.version(name) is not None and partition in lakehouse.lake.partitions(name)
    told = ["source_table", "row_hash", "failed_rules"]
    stored = (
        lakehouse.read(name, partition=partition, columns=told, reader=_table(entity), purpose="comparison")
        if is_stored
        else None
    )
    if stored is not None and stored.sort(told).equals(frame.select(told).sort(told)):
        return
    if frame.height or is_stored or lakehouse.lake.version(name) is None:
        lakehouse.lake.overwrite(name, frame, partition=partition)
        if frame.height or is_stored:
            lakehouse.audit.append("refusal", table=f"conformed/{entity.name}", system=system, rows=frame.height)


def quarantined_rules(primary: Sequence[RawRows], judged: conform.Conformed) -> dict[str, int]:
    counts = landing.count_rules(judged.failed_rules)
    for part in primary:
        for rule, rows in landing.count_rules(part.refused[landing.FAILED_RULES]).items():
            counts[rule] = counts.get(rule, 0) + rows
    return counts


# ── storing ──────────────────────────────────────────────────────────────────────────────


def _known_rows(lakehouse: Lakehouse, entity: TableContract) -> int:
    table = f"conformed/{entity.name}"
    return 0 if lakehouse.lake.version(table) is None else lakehouse.lake.rows(table)


def _unusual_loss(removed: int, known_rows: int) -> list[str]:
    if removed <= LARGEST_USUAL_LOSS * known_rows:
        return []
    return [f"{removed} of {known_rows} rows are gone: no longer in their source, or refused now"]


def _store(lakehouse: Lakehouse, entity: TableContract, passed: pl.DataFrame) -> tuple[int, int]:
    """Make the entity hold what passed, in one commit; returns the version and how many rows left it."""
    table = f"conformed/{entity.name}"
    key, facts = list(entity.key), {"rows": passed.height}
    gone = _gone(entity, passed)
    if lakehouse.lake.version(table) is not None and lakehouse.lake.schema(table) != dict(passed.schema):
        # The contract has other columns than when the table was written: nothing could be merged.
        known = lakehouse.read(table, reader=table, purpose="change of columns")
        lost = known.join(passed, on=key, how="anti")
        can_stay = set(gone.meta.root_names()) <= set(lost.columns)
        staying = lost.filter(~gone.fill_null(False)) if can_stay else lost.clear()
        whole = passed
        if staying.height:
            remedy = "declare the column as before, or as one that may be empty"
            refuse_unfit(staying.schema, entity, f"{table}: {staying.height} rows that outlive their source", remedy)
            whole = pl.concat([passed, in_shape(staying, entity).select(passed.columns)])
        return lakehouse.lake.overwrite(table, whole, facts=facts), lost.height - staying.height
    merged = lakehouse.lake.merge(
        table,
        passed,
        key=key,
        order_by="modified_at",
        buckets=BUCKETS_OF_PERSONAL_TABLES if entity.subjects else 1,
        gone=gone,
        facts=facts,
    )
    return merged.version, merged.deleted


def _gone(entity: TableContract, passed: pl.DataFrame) -> pl.Expr:
    """Which stored rows no source supports any more: those whose key did not pass again. A child made of
    other registrations than now is gone as well, because the values of one that left would stay with it.
    Of consents only grants go, and doubts that were settled; a grant that is none now is gone, too."""
    if entity.name == "consent":
        is_grant = ~OUTLIVING[entity.name]
        granted = passed.filter(is_grant)["consent_id"]
        no_grant = is_grant & ~pl.col("consent_id").is_in(granted.implode())
        is_settled = pl.col("consent_id").str.ends_with(DOUBTFUL) & ~pl.col("consent_id").is_in(
            passed["consent_id"].implode()
        )
        return no_grant | is_settled
    names = [*entity.key, *(name for name in ("registrations_token",) if name in passed.columns)]
    identity = pl.concat_str([pl.col(name).cast(pl.String) for name in names], separator="|")
    return ~identity.is_in(passed.select(identity).to_series().implode())


def _taken_over(entity: TableContract, candidates: pl.DataFrame) -> int:
    """Candidate rows that are source rows, and not concluded from others."""
    origins = [table.identifier for table in conform.primary_tables(entity)]
    return int(candidates[conform.ORIGIN].is_in(origins).sum())


def _with_refused(
    entity: TableContract, rows: Mapping[str, RawRows], judged: conform.Conformed
) -> tuple[pl.DataFrame, pl.Series]:
    """All rows that came in, as far as they have the entity's columns, and whether they passed."""
    names = [column.name for column in entity.columns]
    candidates = judged.candidates.select(names)
    lost = sum(rows[table.identifier].refused.height for table in conform.primary_tables(entity))
    empty = pl.DataFrame(
        {name: pl.Series(name, [None] * lost, dtype=dtype) for name, dtype in candidates.schema.items()}
    )
    rules = pl.concat([judged.failed_rules, pl.Series(landing.FAILED_RULES, ["landing"] * lost, dtype=pl.String)])
    return pl.concat([candidates, empty]), rules
