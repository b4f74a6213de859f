"""All contracts together: what they say about each other, about entities.py and about the policies.

A contract is read by seven consumers (check, encryption, schema, freshness, dbt, dictionary,
lineage); a slip here is a slip in all of them at once.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pandera.polars as pa
import pytest

from merajut_assets.conformed import entities
from merajut_assets.conformed.build import quarantining_tables
from merajut_assets.conformed.conform import primary_tables, referenced
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import (
    Column,
    ContractError,
    LegalBasis,
    PrivacyClass,
    TableContract,
    operational,
    source_column,
)
from merajut_assets.policies.stakeholder import stakeholder_policies

LAYERS = ("raw", "conformed", "protected")
STRICTNESS = list(PrivacyClass)

# Columns that may be weaker than what they are made of, and why that is safe.
WEAKER_BY_DECISION = {
    "conformed child.is_nik_consistent": "one bit about agreement; says nothing about the number",
    "conformed guardian.is_reachable": "one bit about validity; says nothing about the number",
    "conformed health_record.is_note_personal": "one bit about a finding; says nothing about the text",
    "protected government.incident_summary.incident_type": "a count's category, withheld below k",
    "protected media.campaign_giving.amount": "a sum over at least k donors",
}

# Read by the functions of JOINS, without being the source of one column.
READ_BY_JOINS = {
    "donations.payments.gift_id",
    "donations.payments.is_paid",
    "erp.budgets.cost_centre_id",
    "erp.payments.invoice_id",
    "erp.purchase_orders.cost_centre_id",
    "npsp.allocation.general_accounting_unit_id",
    "npsp.payment.is_paid",
    "npsp.payment.opportunity_id",
    "school_register.schools.dapodik_regency_code",
    "school_register.schools.regency_name",
    "volunteers.hours.shift_id",
    "volunteers.shifts.job_id",
}


def every_table() -> list[TableContract]:
    return [table for layer in LAYERS for table in registry.tables(layer).values()]


def every_column() -> list[tuple[TableContract, Column]]:
    return [(table, column) for table in every_table() for column in table.columns]


def named(table: TableContract, column: Column) -> str:
    return f"{table.layer} {table.identifier}.{column.name}"


# ── every table and column ───────────────────────────────────────────────────────────────


def test_every_column_and_table_is_described():
    """The data dictionary, Dagster's schema and the dbt sources all take their words from here."""
    for table in every_table():
        assert table.description.endswith("."), table.identifier
        assert table.purpose
        assert table.retention_days > 0
        assert table.freshness_hours > 0
    for table, column in every_column():
        assert len(column.description) >= 3, named(table, column)


def test_names_are_those_of_the_field():
    """Asset, table and file share one name; a capital letter or a space breaks one of them."""
    for table, column in every_column():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", table.name), table.identifier
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name), named(table, column)


def test_owners_are_teams():
    """Dagster takes `team:` owners; a person's name would be personal data in every asset."""
    owners = {table.owner for table in every_table()} | {system.owner for system in registry.systems().values()}
    assert all(re.fullmatch(r"team:[a-z-]+", owner) for owner in owners)


def test_keys_are_there_and_are_never_empty():
    """Merging by a key that may be null joins strangers."""
    for table in every_table():
        assert table.key, table.identifier
        for name in table.key:
            assert not table.schema.columns[name].nullable, f"{table.identifier}.{name}"
            assert table.column(name).required


def test_columns_that_must_be_filled_count_as_required():
    """A row that is refused for an empty cell must also lower completeness."""
    for table, column in every_column():
        if not table.schema.columns[column.name].nullable:
            assert column.required, named(table, column)


def test_every_quasi_identifier_names_its_hierarchy():
    """Without one the anonymiser can only suppress, and the dictionary cannot say how it generalises."""
    missing = [
        named(table, column)
        for table, column in every_column()
        if column.privacy is PrivacyClass.QUASI_IDENTIFIER and not column.hierarchy
    ]
    assert missing == []


def test_modified_columns_are_declared_and_filled():
    """Merging goes by the time of change; an empty one would lose against every older row."""
    for table in registry.tables("raw").values():
        if table.modified_column is not None:
            table.column(table.modified_column)
            assert not table.schema.columns[table.modified_column].nullable, table.identifier


# ── subjects and legal basis ─────────────────────────────────────────────────────────────


def test_personal_columns_have_a_subject_in_every_layer():
    """What is about nobody is encrypted under the table's key, and no erasure reaches it."""
    for table in every_table():
        assert table.subjects or not table.personal_columns, table.identifier
        assert bool(table.subjects) == (table.legal_basis is not LegalBasis.NOT_APPLICABLE), table.identifier


def test_raw_rows_say_whom_they_are_about():
    """Row keys are made of the subject columns: one too few, and an erasure leaves the row readable."""
    for table in registry.tables("raw").values():
        assert set(table.subject_columns) == set(table.subjects), table.identifier
        for name in table.subject_columns.values():
            assert not table.column(name).privacy.is_personal, "the id must stand outside the blob to find its key"


def test_references_to_people_are_subjects():
    """A row that refers to a person by id is about that person, and must go when the person goes."""
    for table in registry.tables("raw").values():
        for column in table.columns:
            if not column.references:
                continue
            system, name, target = column.references.split(".")
            person = registry.raw_table(system, name).column(target).subject
            # A volunteer's employee number leads to another person's record, and is no record about that one.
            if person is not None and (table.identifier, column.name) != ("volunteers.volunteers", "employee_id"):
                assert column.subject is person, f"{table.identifier}.{column.name}"


def test_identifiers_have_tokens_only_where_they_are_identifiers():
    """A token of a quasi-identifier would let conformed link people by birth date."""
    for table in registry.tables("raw").values():
        for column in table.columns:
            assert column.token is None or column.privacy is PrivacyClass.DIRECT_IDENTIFIER, named(table, column)


def test_conformed_holds_no_identifier_and_no_text():
    """Conformed carries tokens, never identifiers; a free text may hold anything."""
    for layer in ("conformed", "protected"):
        for table in registry.tables(layer).values():
            for column in table.columns:
                assert column.privacy not in (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT), named(
                    table, column
                )


# ── references ───────────────────────────────────────────────────────────────────────────


def test_references_lead_to_the_key_of_a_declared_table():
    """A reference to a column that is no key says that something exists when it may be there twice."""
    for table in registry.tables("raw").values():
        for column in table.columns:
            if column.references:
                system, name, target = column.references.split(".")
                assert target in registry.raw_table(system, name).key, f"{table.identifier}.{column.name}"
    for table in registry.tables("conformed").values():
        for path in referenced(table):
            name, target = path.split(".")
            assert registry.entity(name).column(target).key, f"{table.identifier} -> {path}"


def test_entities_can_be_built_in_some_order():
    """Two entities that refer to each other could never be built for the first time."""
    done: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for reference in referenced(registry.entity(name)):
                visit(reference.split(".")[0], (*path, name))
            done.append(name)

    for name in registry.tables("conformed"):
        visit(name, ())
    assert len(done) == len(registry.tables("conformed"))


def test_a_form_of_times_names_no_zone():
    """Times are stored without one, in UTC: what a form with a zone means would be decided by its reader."""

    class Table(pa.DataFrameModel):
        """A table of a test."""

        changed_at: datetime = operational("Changed", source_format="%d/%m/%Y %H:%M %z")

    hris = next(table for table in registry.tables("raw").values() if table.system == "hris")
    with pytest.raises(ContractError, match="changed_at: times are UTC"):
        _ = replace(hris, model=Table).columns


def test_references_join_columns_of_one_type():
    """A number never equals a text: every row would be refused."""
    for table in registry.tables("raw").values():
        for column in table.columns:
            if column.references:
                system, name, target = column.references.split(".")
                assert column.dtype == registry.raw_table(system, name).column(target).dtype


# ── sources of derived columns ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("layer", ["conformed", "protected"])
def test_sources_exist_one_layer_up(layer):
    """Column lineage is made of these paths; one that leads nowhere hides where a value comes from."""
    parts = 3 if layer == "conformed" else 2
    for table in registry.tables(layer).values():
        for column in table.columns:
            for source in column.sources:
                assert len(source.split(".")) == parts, named(table, column)
                source_column(source)


def test_derived_columns_are_as_strict_as_their_sources_or_the_exception_is_argued():
    """A weaker class takes a column out of the blob and past the lineage proof."""
    weaker = {
        named(table, column)
        for table, column in every_column()
        if column.sources
        and STRICTNESS.index(column.privacy)
        > STRICTNESS.index(PrivacyClass.strictest(source_column(source).privacy for source in column.sources))
    }
    assert weaker == set(WEAKER_BY_DECISION)
    for table, column in every_column():
        if named(table, column) in WEAKER_BY_DECISION:
            assert table.schema.columns[column.name].metadata["privacy"] is not None, "weaker only by declaration"


def test_every_entity_column_can_be_filled():
    """A column with neither a source nor a value stays empty in every row."""
    shared = {"source_system", "jurisdiction", "legal_basis", "data_origin", "modified_at", "registrations"}
    valued = {(entity, column) for (entity, _), values in entities.VALUES.items() for column in values}
    joined = {("school", "regency_code"), ("population", "year")}
    for table in registry.tables("conformed").values():
        assert primary_tables(table), table.identifier
        for column in table.columns:
            known = column.sources or column.name in shared or (table.name, column.name) in valued | joined
            assert known, named(table, column)


def test_values_joins_and_token_keys_speak_of_what_is_declared():
    """An entry under a misspelt name is never used, and nobody notices."""
    conformed, raw = registry.tables("conformed"), registry.tables("raw")
    for name, table in {*entities.VALUES, *entities.JOINS, *entities.TOKEN_KEYS}:
        assert raw[table] in registry.source_tables(conformed[name]) or table in entities.ALSO_READ.get(name, ())
    for (name, _), values in entities.VALUES.items():
        for column in values:
            conformed[name].column(column)
    for (_, table), columns in entities.TOKEN_KEYS.items():
        assert set(columns) <= {column.name for column in raw[table].columns}
    for name, rule in entities.EXEMPT:
        conformed[name].column(rule.removesuffix(".reference"))
    assert set(entities.REFINE) <= set(conformed)


def test_raw_columns_have_a_reader():
    """What nobody reads is risk without use, and costs a place in every blob: it belongs into `drops`.

    Two classes stay without one: raw is the encrypted archive of whom a row is about, so that names
    and addresses are kept, and texts, which are searched for identity numbers."""
    used = {
        source
        for table in registry.tables("conformed").values()
        for column in table.columns
        for source in column.sources
    }
    assert used & READ_BY_JOINS == set(), "an entry that is no longer needed"
    in_need = set()
    for table in registry.tables("raw").values():
        for column in table.columns:
            identifies_row = column.key or column.subject or column.name == table.modified_column
            is_archived = column.privacy in (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT)
            if not identifies_row and not is_archived:
                in_need.add(f"{table.identifier}.{column.name}")
    assert in_need - used - READ_BY_JOINS == set()
    assert in_need >= READ_BY_JOINS, "an entry under a misspelt name"


def test_dropped_columns_are_not_declared():
    """A column that is declared and dropped would be kept, and be reported as dropped."""
    for table in registry.tables("raw").values():
        declared = {column.name_in_source for column in table.columns}
        assert len(set(table.drops)) == len(table.drops), table.identifier
        assert not declared & set(table.drops), table.identifier


def test_refused_rows_of_every_source_table_find_a_quarantine():
    """A table that no entity reads lands, is judged, and its refused rows end nowhere."""
    reached = {
        table.identifier for entity in registry.tables("conformed").values() for table in quarantining_tables(entity)
    }
    assert set(registry.tables("raw")) - reached == set()


# ── policies ─────────────────────────────────────────────────────────────────────────────


def test_policies_and_protected_contracts_name_the_same_datasets():
    """A dataset without policy has no protection; a policy without dataset protects nothing."""
    promised = {f"{name}.{dataset}" for name, policy in stakeholder_policies().items() for dataset in policy.datasets}
    assert promised == set(registry.tables("protected"))


def microdata() -> list[tuple[str, str]]:
    return [(name, dataset) for name, policy in stakeholder_policies().items() for dataset in policy.microdata]


@pytest.mark.parametrize(("stakeholder", "dataset"), microdata())
def test_policies_speak_of_the_columns_of_their_dataset(stakeholder, dataset):
    """A misspelt quasi-identifier would be released as it is."""
    policy = stakeholder_policies()[stakeholder].microdata[dataset].privacy
    contract = registry.protected_dataset(stakeholder, dataset)
    columns = {column.name: column for column in contract.columns}
    assert set(policy.quasi_identifiers) | set(policy.sensitive) | set(policy.exact) <= set(columns)
    assert not set(policy.quasi_identifiers) & set(policy.sensitive)
    singling_out = {name for name, column in columns.items() if column.privacy is PrivacyClass.QUASI_IDENTIFIER}
    assert singling_out <= set(policy.quasi_identifiers) | set(policy.exact), "a quasi-identifier is not generalised"
    assert not any(
        columns[name].privacy in (PrivacyClass.DIRECT_IDENTIFIER, PrivacyClass.FREE_TEXT) for name in columns
    )
    assert len(contract.key) == 1
    assert contract.key[0].endswith("_pseudonym")


def test_sensitive_columns_without_diversity_are_known():
    """l-diversity holds for the columns that the policy names; what it leaves out would be told of whole classes."""
    left_out = {
        f"{stakeholder}.{dataset}.{column.name}"
        for stakeholder, dataset in microdata()
        for column in registry.protected_dataset(stakeholder, dataset).columns
        if column.privacy is PrivacyClass.SENSITIVE
        and column.name not in stakeholder_policies()[stakeholder].microdata[dataset].privacy.sensitive
    }
    assert left_out == set()


def test_aggregates_count_their_contributors():
    """A row below k is withheld by this column; without it the rule has nothing to look at."""
    for name, policy in stakeholder_policies().items():
        for dataset, declared in policy.datasets.items():
            if declared.kind == "aggregate":
                columns = {column.name for column in registry.protected_dataset(name, dataset).columns}
                assert {declared.contributors, "is_withheld"} <= columns
            if declared.kind == "open":
                assert not registry.protected_dataset(name, dataset).subjects, f"{name}.{dataset}"


def test_media_get_nothing_made_of_single_children():
    """The issue allows media no child-level input; a source column would be the way in."""
    about_children = {
        table.name
        for table in registry.tables("conformed").values()
        if "child_token" in {column.name for column in table.columns}
    }
    for table in registry.tables("protected").values():
        if table.system == "media":
            sources = [source.split(".") for column in table.columns for source in column.sources]
            # Stories are counted, and those about a child are left out.
            assert {entity for entity, _ in sources} & about_children <= {"story"}
            assert "child_token" not in {column for _, column in sources}


def test_what_has_no_legal_basis_is_no_source_of_a_protected_dataset():
    """Rows with legal basis `none` never leave conformed."""
    for table in registry.tables("protected").values():
        for source in registry.source_entities(table):
            assert source.legal_basis is not LegalBasis.NONE, f"{table.identifier} reads {source.name}"
