"""The raw layer in Dagster: one asset per source table, partitioned by ingest date.

Each asset lands its table as it is today. Nothing is written when the source has not changed.

No postponed annotations here: Dagster reads that of the context at run time.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from merajut_assets.catalogue import PrivacyStep, asset_options, source_key, source_spec
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DataOrigin, Subject, System, TableContract
from merajut_assets.failures import guarded
from merajut_assets.raw import landing, personal
from merajut_assets.sources import reader
from merajut_assets.sources.identity import read_reference
from merajut_assets.sources.request import SourceError
from partitions import ingest_partitions
from resources.encryption import digest
from resources.lake import RawVersion, TableSchemaError
from resources.lakehouse import Lakehouse

SOURCE_RETRY = dg.RetryPolicy(max_retries=3, delay=300)

_LANDING = "landing"

# What may be gone at the next attempt; any other refusal needs somebody to act.
TRANSIENT_RULES = frozenset({"locked", "unreachable", "changed_while_read"})


def build_source_specs() -> list[dg.AssetSpec]:
    """The external assets: every declared table where its source system keeps it."""
    systems = registry.systems()
    return [source_spec(systems[contract.system], contract) for contract in registry.tables("raw").values()]


def build_raw_assets() -> list[dg.AssetsDefinition]:
    systems = registry.systems()
    return [_raw_asset(systems[contract.system], contract) for contract in registry.tables("raw").values()]


def _raw_asset(system: System, contract: TableContract) -> dg.AssetsDefinition:
    options = asset_options(contract, privacy_step=PrivacyStep.PSEUDONYMISE if contract.subjects else None)

    @dg.asset(**options, deps=[source_key(contract)], partitions_def=ingest_partitions, retry_policy=SOURCE_RETRY)
    @guarded
    def raw_table(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        ingest_date = date.fromisoformat(context.partition_key)
        try:
            version = land(lakehouse, system, contract, ingest_date)
        except SourceError as error:
            lakehouse.audit.append("refusal", table=contract.identifier, column=error.column, rule=error.rule)
            # Only what the reader wrote itself is shown; a chained parser error could quote the source.
            raise dg.Failure(str(error), allow_retries=error.rule in TRANSIENT_RULES) from None
        return dg.MaterializeResult(metadata=_metadata(version))

    return raw_table


def land(lakehouse: Lakehouse, system: System, contract: TableContract, ingest_date: date) -> RawVersion:
    """Land one table; returns the version in force, which is the present one when nothing changed.

    A landing that was killed before it was in the audit log is completed first.
    Raises SourceError: the source is refused. Nothing is written then."""
    _complete_killed(lakehouse, system, contract)
    location = lakehouse.location(system)
    with _looks_of_new_columns(lakehouse, system, contract):
        fingerprint = reader.fingerprint(contract, system, location)
    declared = landing.contract_fingerprint(contract)
    known = lakehouse.lake.latest_raw(system.name, contract.name)
    if known is not None and _is_of(known, fingerprint, declared):
        return known
    with _looks_of_new_columns(lakehouse, system, contract):
        source = reader.read(contract, system, location)
    _refuse_emptied(contract, known, source.frame)
    content = _content_digest(lakehouse, source.frame, declared)
    if known is not None and known.digest == content:
        return known
    parsed = landing.parse(source.frame, contract)
    reference = read_reference(lakehouse.settings.reference)
    in_clear = personal.refuse_personal_in_clear(parsed.frame, contract, reference)
    in_texts = personal.personal_in_texts(parsed.frame, contract, reference)
    failed_rules = landing.judge(parsed, contract)
    landed = landing.shield(
        parsed.frame,
        failed_rules,
        contract,
        lambda subject, ids: _keys(lakehouse, subject, ids),
        lakehouse.vault.named_key,
    )
    begun = _begun(lakehouse, contract)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    version = lakehouse.lake.land(
        system.name,
        contract.name,
        landed.frame,
        ingest_date=ingest_date,
        schema_version=_schema_version(known, declared),
        digest=content,
        facts={
            "fingerprint": fingerprint,
            "contract": declared,
            "source_time": source.modified_at.isoformat(),
            "rows_in_source": source.frame.height,
            "dropped_columns": ", ".join(source.undeclared),
            "refused_rows": failed_rules.len() - failed_rules.null_count(),
            "refused_by_rule": ", ".join(f"{rule}: {rows}" for rule, rows in landed.refused.items()),
            "erased_rows": landed.erased,
            "personal_in_texts": personal.as_text(in_texts),
            "personal_in_clear": personal.as_text(in_clear),
        },
    )
    if landed.erased:
        _destroy_originals(lakehouse, system)
    _keep_original(lakehouse, system, contract, source, fingerprint, ingest_date)
    _audit(lakehouse, contract, version)
    begun.unlink()
    return version


@contextmanager
def _looks_of_new_columns(lakehouse: Lakehouse, system: System, contract: TableContract) -> Iterator[None]:
    """When a source is refused for new columns, the error also says which of them look personal, and how."""
    try:
        yield
    except SourceError as error:
        if error.rule != "undeclared_column":
            raise
        try:
            new = reader.read_new_columns(contract, system, lakehouse.location(system))
        except SourceError:
            raise error from None
        looks = personal.looks_of(new, read_reference(lakehouse.settings.reference))
        if not looks:
            raise
        raise SourceError(
            error.system, error.table, error.rule, f"{error.detail}; {looks}", error.remedy, column=error.column
        ) from None


def _audit(lakehouse: Lakehouse, contract: TableContract, version: RawVersion) -> None:
    lakehouse.audit.append(
        _LANDING, table=contract.identifier, version=version.number, rows=version.rows, digest=version.digest
    )


def _begun(lakehouse: Lakehouse, contract: TableContract) -> Path:
    """The empty file that is there while a version is stored and not yet in the audit log."""
    return lakehouse.settings.lake / ".landings" / contract.identifier


def _complete_killed(lakehouse: Lakehouse, system: System, contract: TableContract) -> None:
    """Do what a landing that was killed after storing its version had left to do, as far as it had."""
    begun = _begun(lakehouse, contract)
    if not begun.exists():
        return
    version = lakehouse.lake.latest_raw(system.name, contract.name)
    if version is not None:
        if version.facts["erased_rows"]:
            _destroy_originals(lakehouse, system)
        logged = (entry["facts"] for entry in lakehouse.audit.entries() if entry["event"] == _LANDING)
        if (contract.identifier, version.number) not in {(facts["table"], facts["version"]) for facts in logged}:
            _audit(lakehouse, contract, version)
    begun.unlink()


def _refuse_emptied(contract: TableContract, known: RawVersion | None, frame: pl.DataFrame) -> None:
    """Refuse a source that has lost all its rows: an export that failed looks just like that, and whatever is
    built from the table would lose its rows, too."""
    if known is not None and known.facts["rows_in_source"] and frame.is_empty() and not contract.may_become_empty:
        raise SourceError(
            contract.system,
            contract.name,
            "emptied",
            f"the source has its columns and no rows, where the version before had {known.facts['rows_in_source']}",
            "export it again; if the table can really lose all its rows, declare may_become_empty in "
            f"{landing.module_of(contract)}",
        )


def untouched_version(lakehouse: Lakehouse, system: System, contract: TableContract) -> RawVersion | None:
    """The version in force, when neither its source nor its contract was touched since; told without reading
    the source. Raises SourceError: there is no source."""
    fingerprint = reader.fingerprint(contract, system, lakehouse.location(system))
    known = lakehouse.lake.latest_raw(system.name, contract.name)
    if known is None or _begun(lakehouse, contract).exists():
        return None
    return known if _is_of(known, fingerprint, landing.contract_fingerprint(contract)) else None


def _is_of(version: RawVersion, fingerprint: str, declared: str) -> bool:
    """Whether a version was landed from a source, and under a contract, in this very state."""
    return version.facts["fingerprint"] == fingerprint and version.facts["contract"] == declared


def _keys(lakehouse: Lakehouse, subject: Subject, ids: Sequence[str]) -> dict[str, bytes]:
    return lakehouse.vault.subject_keys(subject, ids)


def _content_digest(lakehouse: Lakehouse, frame: pl.DataFrame, declared: str) -> str:
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer)
    return digest(lakehouse.vault.named_key("digest"), declared.encode() + buffer.getbuffer())


def _schema_version(known: RawVersion | None, declared: str) -> int:
    if known is None:
        return 1
    return known.schema_version + (known.facts["contract"] != declared)


def _keep_original(
    lakehouse: Lakehouse,
    system: System,
    contract: TableContract,
    source: reader.SourceTable,
    fingerprint: str,
    ingest_date: date,
) -> None:
    """Keep the file as delivered for the dispute window. A file that holds several tables is kept
    with the first of them that lands it; open data can be had again from where they come from."""
    if source.original is None or system.data_origin is DataOrigin.OPEN_DATA or _delivers_erased(lakehouse, system):
        return
    if "{source}" not in system.location and _is_landed(lakehouse, contract, fingerprint):
        return
    lakehouse.lake.keep_original(system.name, contract.name, source.original.read_bytes(), received=ingest_date)


def _delivers_erased(lakehouse: Lakehouse, system: System) -> bool:
    """Whether the system still delivers rows about an erased person, which its file would hold in clear."""
    if not lakehouse.vault.erasures():
        return False
    for table in _tables_of(system):
        version = lakehouse.lake.latest_raw(system.name, table.name)
        if version is None:
            continue
        if version.facts["erased_rows"]:
            return True
        for subject, column in table.subject_columns.items():
            whose, purpose = f"raw/{system.name}/{table.name}", "whether it delivers erased people"
            try:
                landed = lakehouse.read_raw(version, columns=[column], reader=whose, purpose=purpose)
            except TableSchemaError:
                return True  # Landed before the column was declared: whose rows they are cannot be told.
            ids = landing.subject_ids(landed, table, column)
            if lakehouse.vault.destroyed(subject, ids.drop_nulls().unique().to_list()):
                return True
    return False


def _destroy_originals(lakehouse: Lakehouse, system: System) -> None:
    """Destroy what was kept of a system before it was seen that an erased person is in it."""
    paths = [path for table in _tables_of(system) for path in lakehouse.lake.originals(system.name, table.name)]
    lakehouse.vault.destroy_file_keys(path.stem.rpartition("-")[2] for path in paths)
    for path in paths:
        path.unlink(missing_ok=True)


def _tables_of(system: System) -> list[TableContract]:
    return [table for table in registry.tables("raw").values() if table.system == system.name]


def _is_landed(lakehouse: Lakehouse, contract: TableContract, fingerprint: str) -> bool:
    """Whether another table of the system was landed from the file in this very state."""
    others = (
        lakehouse.lake.latest_raw(table.system, table.name)
        for table in registry.tables("raw").values()
        if table.system == contract.system and table.name != contract.name
    )
    return any(version is not None and version.facts["fingerprint"] == fingerprint for version in others)


def _metadata(version: RawVersion) -> dict[str, Any]:
    facts = version.facts
    dropped = str(facts["dropped_columns"])
    return {
        "dagster/row_count": version.rows,
        "rows_in_source": facts["rows_in_source"],
        **({} if facts["rows_in_source"] else {"warning": "the source has its columns and no rows"}),
        "refused_rows": facts["refused_rows"],
        "refused_by_rule": facts["refused_by_rule"] or "none",
        "erased_rows": facts["erased_rows"],
        "dropped_columns": len(dropped.split(", ")) if dropped else 0,
        "dropped_column_names": dropped or "none",
        # Versions that were landed before these were counted do not know them.
        "personal values in free text": facts.get("personal_in_texts", "not counted") or "none",
        "personal values in columns kept in clear": facts.get("personal_in_clear", "not counted") or "none",
        "keyed_digest": version.digest,
        "schema_version": version.schema_version,
        "version": version.number,
        "is_new_version": version.is_new,
        "source_time": dg.MetadataValue.timestamp(datetime.fromisoformat(str(facts["source_time"]))),
    }
