"""What leaves the pipeline: one encrypted file per stakeholder, and the analysts' copy of the warehouse.

Here belongs what is put into a publication and how it is verified. How a file is written, kept and
rolled back is the publisher's matter (resources); what a mart holds is dbt's.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from merajut_assets.contracts.base import DATA_ORIGIN
from merajut_assets.failures import guarded
from merajut_assets.lineage.sql import RELEASED, released_name
from merajut_assets.marts.dbt import WAREHOUSE_GROUP, WAREHOUSE_POOL, count_rows, labelled_schema
from merajut_assets.marts.labels import strictest
from merajut_assets.marts.project import (
    MANIFEST,
    NOT_RENEWED,
    Node,
    asset_path,
    broken_rules,
    is_renewed,
    load_labels,
    load_manifest,
    sql_digests,
    stakeholder_marts,
    tables,
    upstream_sources,
)
from merajut_assets.marts.proof import evidence_of, prove_release
from merajut_assets.marts.publication_log import complete_log, log_released
from merajut_assets.marts.verified import refuse_unverified
from merajut_assets.policies.stakeholder import Aggregate, Microdata, StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.origins import all_origins, joined
from partitions import cut_off, release_partitions
from resources.duckdb_files import DatabaseFileError, connect, prepare
from resources.facts import Fact
from resources.lakehouse import WAREHOUSE_LAYERS, Lakehouse
from resources.publication import Publication
from resources.vault import WrongKeyError

PUBLISHED_GROUP = "published"
RELEASED_KEY = dg.AssetKey(RELEASED.split("/"))
CHECK_NAME = "opens_for_its_stakeholder_alone"
# Tells about the publication and is written by the publisher, not by dbt.
ABOUT_TABLE = "about"
_FAULTS_SHOWN = 5
_REMEDY = "Close the paths, or materialise what lacks evidence with its checks; `merajut lineage prove` says more"


def build_published_assets(
    manifest_path: Path = MANIFEST,
    *,
    holding_data: Callable[[], Collection[str]] = tuple,
    automation_condition: dg.AutomationCondition[dg.AssetKey] | None = None,
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> list[dg.AssetsDefinition]:
    """`published/<stakeholder>` for every stakeholder with a mart, and `warehouse/released`, by release.

    Needs the resource `lakehouse`. `holding_data` tells, when something is to be published, every asset with data, as
    `layer/…`: none may be without lineage. Raises ManifestError when the dbt project is not prepared.
    """
    manifest = load_manifest(manifest_path)
    shared = {"automation_condition": automation_condition, "freshness_policy": freshness_policy}
    published = [
        _published_asset(stakeholder, marts, manifest_path, holding_data, shared)
        for stakeholder, marts in stakeholder_marts(manifest).items()
    ]
    return [*published, _released_asset(manifest_path, load_labels(manifest_path)[RELEASED], shared)]


# ── one stakeholder's file ───────────────────────────────────────────────────────────────


def _published_asset(
    stakeholder: str,
    marts: Collection[Node],
    manifest_path: Path,
    holding_data: Callable[[], Collection[str]],
    shared: Mapping[str, Any],
) -> dg.AssetsDefinition:
    key = dg.AssetKey([PUBLISHED_GROUP, stakeholder])
    labels = load_labels(manifest_path)["/".join(key.path)]

    @dg.asset(
        key=key,
        group_name=PUBLISHED_GROUP,
        description=f"Encrypted DuckDB file with the marts of {stakeholder}, under that stakeholder's key.",
        deps=[dg.AssetKey(asset_path(mart)) for mart in marts],
        owners=["team:privacy"],
        kinds={"duckdb"},
        tags={"sensitivity": strictest(labels)},
        metadata=_column_metadata(marts, labels),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK_NAME,
                asset=key,
                blocking=True,
                description="The file opens with its key and with no other, holds the marts' rows, and no column "
                "that the marts' dbt contracts do not declare.",
            )
        ],
        partitions_def=release_partitions,
        pool=WAREHOUSE_POOL,
        **shared,
    )
    @guarded
    def published(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        release = context.partition_key
        publication = publish(
            lakehouse, stakeholder, release, marts, manifest_path=manifest_path, holding_data=holding_data()
        )
        faults = verify(lakehouse, publication, marts)
        if faults:
            lakehouse.audit.append(
                "published.faulty", stakeholder=stakeholder, release=release, number=publication.number
            )
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(publication.rows.values()),
                "file": publication.path.name,
                "version": publication.number,
                "is_new": publication.is_new,
                "tables": dict(publication.rows),
                "about": {name: value for name, value in publication.about.items() if value is not None},
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=CHECK_NAME, passed=not faults, metadata={"faults": "; ".join(faults) or "none"}
                )
            ],
        )

    return published


def publish(
    lakehouse: Lakehouse,
    stakeholder: str,
    release: str,
    marts: Collection[Node],
    *,
    manifest_path: Path = MANIFEST,
    holding_data: Collection[str] = (),
) -> Publication:
    """Publish a stakeholder's marts of a release, and log it.

    Raises dg.Failure, before anything is written, when a mart is missing, is not what its contract declares, was not
    made by SQL that was judged to rest on this stakeholder's data alone, or when the lineage proof does not hold for
    what this stakeholder would get, and for `holding_data`: assets of which none may be without lineage. Logged is also
    what a run that died had published without getting as far as its entry, once.
    """
    fault = _fault_in_making(lakehouse, release, marts, manifest_path) or _fault_in_proof(
        lakehouse, release, marts, manifest_path, holding_data
    )
    if fault:
        lakehouse.audit.append("published.refused", stakeholder=stakeholder, release=release, mart="every one")
        raise dg.Failure(f"nothing of {stakeholder} was published for {release}: {fault}")
    frames = {str(mart["name"]): _read_mart(lakehouse, release, mart) for mart in marts}
    for mart in marts:
        undeclared = set(frames[mart["name"]].columns) ^ set(mart["columns"])
        if undeclared:
            lakehouse.audit.append("published.refused", stakeholder=stakeholder, release=release, mart=mart["name"])
            raise dg.Failure(
                f"mart {stakeholder}.{mart['name']} differs from its dbt contract in {', '.join(sorted(undeclared))}; "
                f"nothing was published, materialise the marts of {release} again"
            )
    origins = joined([all_origins(frame) for frame in frames.values()])
    about = {**describe(stakeholder_policies()[stakeholder], release), DATA_ORIGIN: origins}
    publication = lakehouse.publisher.publish(stakeholder, release, frames, about=about)
    complete_log(lakehouse, publication)
    return publication


def _fault_in_making(lakehouse: Lakehouse, release: str, marts: Collection[Node], manifest_path: Path) -> str | None:
    """Why the stored marts may not be published, whatever is in them: judged is the SQL that really made them."""
    if not is_renewed(manifest_path):
        return f"{NOT_RENEWED}; run `make manifest` and materialise the marts of {release} again"
    broken = broken_rules(manifest_path)
    if broken:
        return f"the dbt project breaks rules of the marts: {'; '.join(broken)}"
    manifest = load_manifest(manifest_path)
    ran = lakehouse.warehouse.models(release)
    others = sorted(
        str(manifest["nodes"][unique_id]["name"])
        for unique_id, digest in sql_digests(manifest, marts).items()
        if ran.get(unique_id) != digest
    )
    if others:
        return (
            f"{', '.join(others)} were not built by the SQL that was judged; materialise the marts of {release} again"
        )
    return None


def _fault_in_proof(
    lakehouse: Lakehouse, release: str, marts: Collection[Node], manifest_path: Path, holding_data: Collection[str]
) -> str | None:
    """Why it is not shown that the marts tell about nobody."""
    named = ["/".join(asset_path(mart)) for mart in marts]
    proof = prove_release(lakehouse, release, named, manifest_path, assets=holding_data)
    if proof.holds:
        return None
    shown = proof.faults[:_FAULTS_SHOWN]
    more = len(proof.faults) - len(shown)
    return f"the lineage is {proof}. {'; '.join(shown)}{f'; and {more} more' if more else ''}. {_REMEDY}"


def _read_mart(lakehouse: Lakehouse, release: str, mart: Node) -> pl.DataFrame:
    try:
        return lakehouse.warehouse.read_table(release, f"{mart['schema']}.{mart['alias']}")
    except DatabaseFileError:
        raise dg.Failure(
            f"release {release} has no mart {mart['name']}; materialise {'/'.join(asset_path(mart))} first"
        ) from None


def describe(policy: StakeholderPolicy, release: str) -> dict[str, Fact]:
    """What a publication says about itself: from which day, for what, and how protected."""
    groups = [dataset.privacy.k for dataset in policy.datasets.values() if isinstance(dataset, Microdata)]
    groups += [dataset.k for dataset in policy.datasets.values() if isinstance(dataset, Aggregate)]
    return {
        "stakeholder": policy.stakeholder,
        "release": release,
        "cut_off": cut_off(release).isoformat(),
        "purpose": policy.purpose,
        "consent_purpose": policy.consent_purpose,
        "recipient_country": policy.recipient_country,
        "retention_days": policy.retention_days,
        "protection_level": policy.protection_level,
        "smallest_group": min(groups, default=None),
        "epsilon": round(sum(policy.epsilon(name) for name in policy.statistics), 6),
    }


def _column_metadata(marts: Collection[Node], labels: Mapping[str, str]) -> dict[str, Any]:
    """Columns of a file with the mart's columns that they are copies of, as `<table>.<column>`."""
    schemas = [labelled_schema(mart, labels, prefix=f"{mart['name']}.") for mart in marts]
    deps = {
        f"{mart['name']}.{column}": [dg.TableColumnDep(dg.AssetKey(asset_path(mart)), column)]
        for mart in marts
        for column in mart["columns"]
    }
    return {
        "dagster/column_schema": dg.TableSchema([column for schema in schemas for column in schema.columns]),
        "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps),
    }


# ── verification ─────────────────────────────────────────────────────────────────────────


def verify(lakehouse: Lakehouse, publication: Publication, marts: Collection[Node]) -> list[str]:
    """What is wrong with a published file, read again from disk; empty when nothing is."""
    key = lakehouse.vault.stakeholder_key(publication.stakeholder)
    faults = [f"opens {how}" for how in _foreign_ways_in(publication.path, lakehouse.vault.analyst_key())]
    wanted_rows = {
        mart["name"]: rows
        for mart in marts
        for rows in count_rows(lakehouse.warehouse, publication.release, [mart]).values()
    }
    try:
        with connect(publication.path, key) as connection:
            rows, columns = _contents(connection)
    except (WrongKeyError, DatabaseFileError):
        return [*faults, "does not open with its key"]
    declared = {mart["name"]: set(mart["columns"]) for mart in marts}
    for table in sorted({*rows, *declared} - {ABOUT_TABLE}):
        if table not in declared:
            faults.append(f"holds table {table}, which is no mart")
        elif table not in rows:
            faults.append(f"lacks table {table}")
        else:
            if rows[table] != wanted_rows[table]:
                faults.append(f"{table} has {rows[table]} rows, its mart {wanted_rows[table]}")
            if columns[table] - declared[table]:
                faults.append(f"{table} has undeclared columns: {', '.join(sorted(columns[table] - declared[table]))}")
    return faults


def _contents(connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Rows and columns of every table of the database in use."""
    columns: dict[str, set[str]] = {}
    found = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_catalog = current_database()"
    ).fetchall()
    for table, column in found:
        columns.setdefault(table, set()).add(column)
    rows = {
        table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0]  # noqa: S608
        for table in columns
    }
    return rows, columns


def _foreign_ways_in(path: Path, other_key: str) -> list[str]:
    """In which ways the file opens that it must not open in."""
    options = {
        "without a key": "(READ_ONLY)",
        "with the analysts' key": f"(READ_ONLY, ENCRYPTION_KEY '{other_key}')",
    }
    opened = []
    for how, option in options.items():
        with duckdb.connect(":memory:") as connection:
            prepare(connection)
            try:
                connection.execute(f"ATTACH '{path}' AS foreign_way {option}")
            except duckdb.Error:
                continue  # refused, as it must be
        opened.append(how)
    return opened


# ── the analysts' copy ───────────────────────────────────────────────────────────────────


def _released_asset(manifest_path: Path, labels: Mapping[str, str], shared: Mapping[str, Any]) -> dg.AssetsDefinition:
    manifest = load_manifest(manifest_path)
    nodes, sources = tables(manifest), manifest["sources"].values()
    schemas = [labelled_schema(node, labels, prefix=released_name(node, "")) for node in (*sources, *nodes)]

    @dg.asset(
        key=RELEASED_KEY,
        group_name=WAREHOUSE_GROUP,
        description="Copy of the release's warehouse for analysts, read-only to them, and the pointer to it.",
        deps=[dg.AssetKey(asset_path(node)) for node in nodes],
        owners=["team:data-engineering"],
        kinds={"duckdb"},
        tags={"sensitivity": strictest(labels)},
        metadata={"dagster/column_schema": dg.TableSchema([one for schema in schemas for one in schema.columns])},
        partitions_def=release_partitions,
        pool=WAREHOUSE_POOL,
        **shared,
    )
    @guarded
    def released(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
        release = context.partition_key
        evidence = evidence_of(lakehouse, release, manifest_path)
        refuse_unverified(lakehouse, evidence, _held_sources(lakehouse, release, manifest_path), "the warehouse")
        before = lakehouse.warehouse.released()
        path = lakehouse.warehouse.release(release)
        log_released(lakehouse, release, path.name, is_new=path != before)
        return dg.MaterializeResult(
            metadata={"file": path.name, "bytes": path.stat().st_size, "is_new": path != before}
        )

    return released


def _held_sources(lakehouse: Lakehouse, release: str, manifest_path: Path) -> set[tuple[str, str]]:
    """(schema, table) of everything that a build file tells of: its source tables, and those that its models were made
    from, whether these are still in it or not."""
    manifest, built = load_manifest(manifest_path), lakehouse.warehouse.models(release)
    held = {tuple(name.split(".", 1)) for name in lakehouse.warehouse.tables(release)}
    loaded = {(schema, table) for schema, table in held if schema in WAREHOUSE_LAYERS}
    return loaded | upstream_sources(manifest, [node for node in tables(manifest) if node["unique_id"] in built])
