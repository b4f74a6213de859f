"""What is kept, why and in which state: derived from what is declared and recorded, and complete."""

from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
import pytest

from merajut_assets.compliance.assets import build_compliance_assets
from merajut_assets.compliance.inventory import DATASET_INVENTORY, SCHEMA, by_dataset, dataset_inventory, unknown_tables
from merajut_assets.compliance.register import (
    ANALYSTS,
    NOBODY,
    PROCESSING_REGISTER,
    Processing,
    as_frame,
    gaps,
    processing_register,
    store_register,
    unregistered,
)
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import LegalBasis
from merajut_assets.definitions import build_defs
from merajut_assets.policies.stakeholder import stakeholder_policies
from tests.compliance.small_lake import SmallLake

DISPUTE_WINDOW_DAYS = 30


@pytest.fixture(scope="module")
def entries() -> dict[str, Processing]:
    return {entry.dataset: entry for entry in processing_register(DISPUTE_WINDOW_DAYS)}


@pytest.fixture(scope="module")
def graph() -> Any:
    return build_defs().resolve_asset_graph()


def _materialise(small: SmallLake, name: str) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    asset = next(asset for asset in build_compliance_assets() if asset.key.path[-1] == name)
    result = dg.materialize([asset], resources={"lakehouse": small.lakehouse}, raise_on_error=False)
    (made,) = [event.materialization for event in result.get_asset_materialization_events()]
    (check,) = result.get_asset_check_evaluations()
    return {key: value.value for key, value in made.metadata.items()}, check


# ── register ─────────────────────────────────────────────────────────────────────────────


def test_everything_declared_is_in_the_register_once(entries: dict[str, Processing]) -> None:
    """What is not in the register is processed without anybody answering for it."""
    layers = ("raw", "conformed", "protected")
    declared = {"/".join(table.asset_key) for layer in layers for table in registry.tables(layer).values()}
    for policy in stakeholder_policies().values():
        declared |= {f"statistics/{policy.stakeholder}/{name}" for name in policy.statistics}
        declared.add(f"published/{policy.stakeholder}")
    beside = ("quarantine/", "contributors/", "distributions/")
    assert {name for name in entries if not name.startswith(beside)} == {*declared, "warehouse/released"}
    assert len(processing_register(DISPUTE_WINDOW_DAYS)) == len(entries)
    assert gaps(entries.values()) == []


def test_it_says_what_contract_and_policy_say(entries: dict[str, Processing]) -> None:
    """A register that is written down beside the contracts is wrong after the first change."""
    for contract in registry.tables("protected").values():
        entry, policy = entries["/".join(contract.asset_key)], stakeholder_policies()[contract.system]
        assert (entry.purpose, entry.owner, entry.retention_days) == (
            contract.purpose,
            contract.owner,
            contract.retention_days,
        )
        assert (entry.recipients, entry.countries_of_recipients) == (contract.system, policy.recipient_country)
        assert entry.country_of_storage == contract.country_of_storage
    summary = entries["protected/government/child_summary"]
    assert "at least 5 people alike" in summary.safeguards
    assert "reason_for_care at least 2" in summary.safeguards
    assert "ε = 2" in entries["statistics/media/child_count_by_province"].safeguards


def test_the_analysts_copy_is_accounted_for(entries: dict[str, Processing]) -> None:
    """It holds what all stakeholders get, in one file, and was in no register."""
    entry, policies = entries["warehouse/released"], stakeholder_policies().values()
    assert all(policy.purpose in entry.purpose for policy in policies)
    assert set(entry.legal_basis.split(", ")) == {basis.value for policy in policies for basis in policy.legal_bases}
    assert set(entry.consent_purpose.split(", ")) == {policy.consent_purpose for policy in policies}
    assert {"child", "donor", "volunteer", "employee"} <= set(entry.subjects.split(", "))
    assert (entry.recipients, entry.passed_on_to) == (ANALYSTS, NOBODY)
    assert (entry.country_of_storage, entry.countries_of_recipients, entry.is_sent_abroad) == ("ID", "ID", False)
    assert entry.retention_days == min(policy.retention_days for policy in policies)
    assert "sensitive: " in entry.data
    assert "direct_identifier" not in entry.data
    assert "analysts' key" in entry.safeguards


def test_a_warehouse_file_that_nobody_declares_is_seen(small: SmallLake) -> None:
    """The check looked at the lake and at publications only."""
    declared = processing_register(DISPUTE_WINDOW_DAYS)
    others = [entry for entry in declared if entry.dataset != "warehouse/released"]
    assert unregistered(small.lakehouse, others) == []
    small.lakehouse.warehouse.load_tables("2026-10", {"media__copy": pl.DataFrame({"a": [1]})})
    assert unregistered(small.lakehouse, others) == ["warehouse/released"]
    assert unregistered(small.lakehouse, declared) == []


def test_nobody_gets_rows_of_their_own_or_without_a_basis(entries: dict[str, Processing]) -> None:
    """Raw and conformed rows leave the house in protected form only, and without a legal basis in none."""
    for name, entry in entries.items():
        if name.startswith(("raw/", "conformed/", "quarantine/")):
            assert entry.recipients == NOBODY, name
        if entry.legal_basis == LegalBasis.NONE:
            assert entry.passed_on_to == NOBODY, name
    # Statutory returns are for the authorities; nobody consented to anything else.
    assert entries["raw/ssda903/episodes"].passed_on_to == "government"
    assert "media" in entries["raw/panti/children"].passed_on_to


def test_gaps_are_named_with_their_remedy(entries: dict[str, Processing]) -> None:
    """Each of them is a breach of the law on paper, before it is one in fact."""
    child = entries["conformed/child"]
    for change, word in (
        ({"purpose": ""}, "purpose"),
        ({"retention_days": 0}, "retention_days"),
        ({"legal_basis": "not_applicable"}, "legal basis"),
        ({"legal_basis": "none", "recipients": "media"}, "policy"),
    ):
        (gap,) = gaps([replace(child, **change)])
        assert "conformed/child" in gap
        assert word in gap
    assert gaps([replace(child, subjects="", purpose="")]) == []


def test_a_recipient_abroad_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer to another country needs grounds of its own."""
    policies = dict(stakeholder_policies())
    policies["media"] = policies["media"].model_copy(update={"recipient_country": "SG"})
    monkeypatch.setattr("merajut_assets.compliance.register.stakeholder_policies", lambda: policies)
    register = as_frame(processing_register(DISPUTE_WINDOW_DAYS))
    abroad = set(register.filter("is_sent_abroad")["dataset"])
    assert {"published/media", "protected/media/campaign_reach", "raw/panti/children"} <= abroad
    assert "published/government" not in abroad


def test_the_asset_shows_and_keeps_the_register(small: SmallLake) -> None:
    """Which declarations held when is asked years later; a day without a change adds no version."""
    metadata, check = _materialise(small, "processing_register")
    assert check.passed
    stored = small.lakehouse.lake.read(PROCESSING_REGISTER)
    assert stored.equals(as_frame(processing_register(DISPUTE_WINDOW_DAYS)))
    assert metadata["dagster/row_count"] == stored.height
    assert "Care of children in residential institutions" in metadata["register"]
    assert metadata["sent_abroad"] == "none"
    version = small.lakehouse.lake.version(PROCESSING_REGISTER)
    assert store_register(small.lakehouse, stored) == version
    assert store_register(small.lakehouse, stored.head(3)) == (version or 0) + 1
    assert small.lakehouse.lake.read(PROCESSING_REGISTER, version=version).equals(stored)


def test_a_stored_table_that_nobody_declares_fails_the_check(small: SmallLake) -> None:
    """A copy "for testing" is processing, too."""
    assert unregistered(small.lakehouse, processing_register(DISPUTE_WINDOW_DAYS)) == []
    small.lakehouse.lake.overwrite("protected/media/children_copy", pl.DataFrame({"a": [1]}))
    (small.directory / "published" / "friends").mkdir(parents=True)
    _, check = _materialise(small, "processing_register")
    assert not check.passed
    faults = "protected/media/children_copy is not declared; published/friends is not declared"
    assert check.metadata["faults"].value == faults


# ── inventory ────────────────────────────────────────────────────────────────────────────


def test_every_column_of_every_asset_is_in_the_inventory(graph: Any) -> None:
    """Read off the assets themselves: a column that is shown and not listed, or the other way round, cannot be."""
    with dg.DagsterInstance.ephemeral() as instance:
        inventory = dataset_inventory(graph, instance, {})
    assert inventory.schema == pl.Schema(SCHEMA)
    assert set(inventory["dataset"]) == {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert inventory["owner"].min() != ""
    assert inventory.filter(pl.col("column").is_not_null())["privacy_class"].null_count() == 0
    for contract in registry.tables("conformed").values():
        rows = inventory.filter(dataset=f"conformed/{contract.name}")
        assert dict(zip(rows["column"], rows["privacy_class"], strict=True)) == {
            column.name: column.privacy.value for column in contract.columns
        }
        assert set(rows["retention_days"]) == {contract.retention_days}
        assert set(rows["fresh_for_hours"]) == {contract.freshness_hours}
    media = inventory.filter(pl.col("dataset").str.starts_with("mart/media/"))
    assert set(media["retention_days"]) == {stakeholder_policies()["media"].retention_days}


def test_what_is_kept_of_people_says_for_how_long(graph: Any) -> None:
    """No table of the warehouse did, and the analysts' copy was a row without columns."""
    with dg.DagsterInstance.ephemeral() as instance:
        inventory = dataset_inventory(graph, instance, {})
    stored = inventory.filter(~pl.col("dataset").str.contains("^(source|compliance)/"))
    assert stored.filter(pl.col("retention_days").is_null())["dataset"].unique().to_list() == []
    assert stored.filter(pl.col("column").is_null())["dataset"].to_list() == []
    kept = {row["dataset"]: row["retention_days"] for row in by_dataset(stored).iter_rows(named=True)}
    days = {name: policy.retention_days for name, policy in stakeholder_policies().items()}
    assert kept["warehouse/fct_child_estimate_academia"] == days["academia"]
    assert kept["warehouse/dim_region"] == kept["warehouse/released"] == min(days.values())


def test_what_happened_to_a_dataset_stands_beside_it() -> None:
    """An owner sees at one glance what is old and what is red."""
    schema = dg.TableSchema([dg.TableColumn("nik", "text", "Number", tags={"sensitivity": "direct_identifier"})])
    error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    results = {"hard": (False, error), "soft": (False, warning), "good": (True, error)}

    @dg.asset(
        owners=["team:care"],
        tags={"sensitivity": "public"},
        metadata={"dagster/column_schema": schema, "retention_days": 7},
        check_specs=[dg.AssetCheckSpec(name, asset="made") for name in (*results, "later")],
        partitions_def=dg.StaticPartitionsDefinition(["2026-09"]),
    )
    def made() -> Any:
        yield dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(check_name=name, passed=passed, severity=severity)
                for name, (passed, severity) in results.items()
            ]
        )
        yield dg.AssetCheckResult(check_name="later", passed=True)

    @dg.asset(owners=["team:care"])
    def waiting() -> None: ...

    graph = dg.Definitions(assets=[made, waiting]).resolve_asset_graph()
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([made], instance=instance, partition_key="2026-09")
        inventory = dataset_inventory(graph, instance, {})
    first, second = inventory.rows(named=True)
    assert (first["dataset"], first["column"], first["privacy_class"]) == ("made", "nik", "direct_identifier")
    assert (first["partition"], first["retention_days"], first["checks_failed"]) == ("2026-09", 7, 1)
    assert first["checks"] == "good: passed; hard: failed; later: passed; soft: warned"
    assert first["materialised_at"].endswith("+00:00")
    assert (second["dataset"], second["column"], second["materialised_at"]) == ("waiting", None, None)
    assert by_dataset(inventory)["columns"].to_list() == [1, 0]


def test_a_table_that_no_asset_makes_is_found(small: SmallLake, graph: Any) -> None:
    """What a renamed asset leaves behind is nobody's, is never renewed and never erased from."""
    with dg.DagsterInstance.ephemeral() as instance:
        inventory = dataset_inventory(graph, instance, {})
    assert unknown_tables(small.lakehouse, inventory) == []
    # Of figures about groups it is remembered who stood behind them, of rows what they are compared with.
    small.lakehouse.lake.overwrite("contributors/government/staff_summary", pl.DataFrame({"a": [1]}))
    small.lakehouse.lake.overwrite("distributions/academia/research_child", pl.DataFrame({"a": [1]}))
    assert unknown_tables(small.lakehouse, inventory) == []
    assert unregistered(small.lakehouse, processing_register(DISPUTE_WINDOW_DAYS)) == []
    small.lakehouse.lake.overwrite("conformed/children", pl.DataFrame({"a": [1]}))
    assert unknown_tables(small.lakehouse, inventory) == ["conformed/children"]


def test_the_evidence_destroys_old_originals_and_tells_what_is_overdue(small: SmallLake) -> None:
    """Housekeeping alone did, which no run reaches unless somebody turns its schedule on."""
    lake = small.lakehouse.lake
    lake.keep_original("panti", "children", b"old", received=date(2020, 1, 1))
    young = lake.keep_original("panti", "children", b"young")
    lake.land("hris", "employees", pl.DataFrame({"a": [1]}), ingest_date=date(2001, 1, 1), schema_version=1, digest="a")
    definitions = build_defs({"lakehouse": small.lakehouse})
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("evidence").execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["compliance", "dataset_inventory"])]
        )
    (made,) = [event.materialization for event in result.get_asset_materialization_events()]
    assert made.metadata["originals_destroyed"].value == 1
    assert made.metadata["overdue"].value == "raw/hris/employees"
    assert lake.originals("panti", "children")[-1] == young
    assert not [path for path in lake.originals("panti", "children") if path.name.startswith("2020")]
    stored = lake.read(DATASET_INVENTORY).filter(dataset="raw/hris/employees")
    assert set(stored["overdue"]) == {1}


def test_the_asset_stores_the_inventory_of_all_definitions(small: SmallLake) -> None:
    """The run itself knows every asset of its code location; yesterday's inventory is not kept."""
    definitions = build_defs({"lakehouse": small.lakehouse})
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            result = definitions.resolve_job_def("evidence").execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(["compliance", "dataset_inventory"])]
            )
            assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    stored = small.lakehouse.lake.read(DATASET_INVENTORY)
    assert stored["dataset"].n_unique() == len(definitions.resolve_asset_graph().get_all_asset_keys())
    own = stored.filter(dataset="compliance/dataset_inventory")
    assert own["checks"][0] == "everything_is_known: passed"


def test_the_inventory_knows_of_evidence_made_in_the_same_run(small: SmallLake) -> None:
    """After the first evidence run nearly all evidence seemed never to have been made: by name, the inventory came
    before it. That evidence fails its check must not keep it from telling so, either."""
    (small.directory / "published" / "friends").mkdir(parents=True)  # the register knows of no such recipient
    names = ["quality_history", "privacy_budget", "processing_register", "dataset_inventory"]
    definitions = build_defs({"lakehouse": small.lakehouse})
    with dg.DagsterInstance.ephemeral() as instance:
        definitions.resolve_job_def("evidence").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["compliance", name]) for name in names],
            raise_on_error=False,
        )
    stored = by_dataset(small.lakehouse.lake.read(DATASET_INVENTORY))
    of_run = stored.filter(pl.col("dataset").is_in([f"compliance/{name}" for name in names]))
    assert of_run.filter(pl.col("materialised_at").is_null())["dataset"].to_list() == []
    assert of_run.filter(dataset="compliance/processing_register")["checks_failed"].item() == 1
