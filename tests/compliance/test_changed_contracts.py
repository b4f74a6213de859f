"""People's rights over a data directory that an earlier state of the contracts has written.

Somebody adds a column to a contract every week; a person's right must not wait until everything was built again.
"""

from __future__ import annotations

import polars as pl
import pytest

from merajut_assets.compliance.certificates import ErasureReason
from merajut_assets.compliance.erasure import erase
from merajut_assets.compliance.evidence import rows_of_erased
from merajut_assets.compliance.restoring import restore
from merajut_assets.compliance.subjects import UnknownSubject, linked_ids, people_in, subject_tokens
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.pseudonym import pseudonyms
from merajut_assets.protected.release import (
    RELEASE,
    examine_rows,
    pseudonym_key,
    read_release,
    release_dataset,
    table_of,
)
from merajut_assets.raw.assets import land
from resources.lake import TableSchemaError
from tests.compliance.small_lake import INGEST_DATE, SmallLake
from tests.evolved import NOTE, declare, gaining, losing

MONTH = "2026-10"
DATASET = registry.protected_dataset("government", "child_summary")
POLICY = stakeholder_policies()["government"]
CHILDREN = registry.raw_table("panti", "children")


def _tables_naming(small: SmallLake, *tokens: str) -> list[str]:
    """The conformed tables with one of the tokens in any column of text."""
    lake = small.lakehouse.lake
    found = []
    for table in lake.tables("conformed"):
        texts = lake.read(table).select(pl.selectors.string())
        if texts.select(pl.any_horizontal(pl.all().is_in(tokens)).any()).item():
            found.append(table)
    return found


def test_an_erasure_reaches_tables_of_any_shape(small: SmallLake) -> None:
    """One that was written before a token got its name, or whose entity is no longer declared, stopped the erasure
    half-way, with the keys destroyed and the rows still there."""
    lake, tokens = small.lakehouse.lake, small.token(*small.ids)
    lake.overwrite("conformed/child", lake.read("conformed/child").drop("abuse_type", "registrations_token"))
    lake.overwrite("conformed/placement", lake.read("conformed/placement").rename({"child_token": "client_token"}))
    lake.overwrite("conformed/consent", lake.read("conformed/consent").drop("valid_until"))
    lake.overwrite("conformed/case", lake.read("conformed/health_record"))
    assert {"conformed/child", "conformed/placement", "conformed/case"} <= set(_tables_naming(small, *tokens))
    others = lake.rows("conformed/placement")
    certificate = erase(small.lakehouse, Subject.CHILD, "panti", small.ids[0], ErasureReason.GUARDIAN_REQUEST)
    assert certificate.is_complete
    assert _tables_naming(small, *tokens) == []
    removed = certificate.rows_removed["conformed/placement"]
    assert 0 < removed < others
    assert lake.rows("conformed/placement") == others - removed, "nobody else's rows went"
    assert "conformed/case" in certificate.rows_removed
    assert rows_of_erased(small.lakehouse) == {}


def _held(small: SmallLake) -> str:
    """A child with a row in the stored release."""
    key = pseudonym_key(small.lakehouse, DATASET, POLICY, MONTH)
    assert key is not None
    published = read_release(small.lakehouse, DATASET, MONTH, "test").filter(pl.col("jurisdiction") == "ID")
    children = small.lakehouse.lake.read_raw(small.lakehouse.lake.latest_raw("panti", "children"))["child_id"]  # type: ignore[arg-type]
    ids = children.drop_nulls().unique().sort()
    tokens = subject_tokens(small.lakehouse, Subject.CHILD, [f"panti:{number}" for number in ids])
    named = ids.filter(pseudonyms(tokens, key).is_in(published["child_pseudonym"].implode()))
    return str(named[0])


@pytest.mark.parametrize("nullable", [True, False])
def test_a_release_from_before_a_column_was_declared_loses_the_person(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch, nullable: bool
) -> None:
    """It loses the class of the person and stays safe; and it is as unfit for the new contract as before."""
    release_dataset(small.lakehouse, DATASET, POLICY, MONTH)
    before, number = small.lakehouse.lake.read(table_of(DATASET)), _held(small)
    now = gaining(DATASET, nullable=nullable)
    declare(monkeypatch, now)
    certificate = erase(small.lakehouse, Subject.CHILD, "panti", number, ErasureReason.GUARDIAN_REQUEST)
    after = small.lakehouse.lake.read(table_of(DATASET))
    assert 0 < after.height < before.height
    assert after.columns == before.columns
    assert certificate.releases_to_rebuild == (MONTH,)
    assert _pseudonym(small, number) not in after["child_pseudonym"].to_list()
    assert examine_rows(small.lakehouse, DATASET, POLICY, MONTH, after.drop(RELEASE)).is_safe
    if nullable:
        assert release_dataset(small.lakehouse, now, POLICY, MONTH)["is_new"]
    else:
        with pytest.raises(TableSchemaError, match=f"stored without {NOTE}"):
            release_dataset(small.lakehouse, now, POLICY, MONTH)


def test_a_person_is_found_in_a_release_under_another_name_of_the_pseudonym(small: SmallLake) -> None:
    """What cannot be examined any more is not kept, and the person is gone in any case."""
    release_dataset(small.lakehouse, DATASET, POLICY, MONTH)
    number = _held(small)
    lake, table = small.lakehouse.lake, table_of(DATASET)
    older = lake.read(table).drop(RELEASE).rename({"child_pseudonym": "child_alias"})
    lake.overwrite(table, older, partition={RELEASE: MONTH}, facts={RELEASE: MONTH})
    certificate = erase(small.lakehouse, Subject.CHILD, "panti", number, ErasureReason.GUARDIAN_REQUEST)
    assert certificate.is_complete
    assert _pseudonym(small, number) not in lake.read(table)["child_alias"].to_list()
    assert certificate.releases_to_rebuild == (MONTH,)


def _pseudonym(small: SmallLake, number: str) -> str:
    key = pseudonym_key(small.lakehouse, DATASET, POLICY, MONTH)
    assert key is not None
    token = subject_tokens(small.lakehouse, Subject.CHILD, [f"panti:{number}"])
    return str(pseudonyms(token, key).item())


def test_people_are_not_counted_by_an_id_that_was_not_landed(small: SmallLake) -> None:
    """Asked what a change reaches, the command failed until everything was landed again."""
    counted = people_in(small.lakehouse, [CHILDREN])[Subject.CHILD]
    now = gaining(CHILDREN, subject=Subject.STAFF)
    assert people_in(small.lakehouse, [now]) == {Subject.CHILD: counted, Subject.STAFF: None}


def test_an_unknown_id_says_when_it_could_not_have_been_known(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Nobody has that id" was told of people who were landed under a column of another name."""
    employees = registry.raw_table("hris", "employees")
    (number,) = small.lakehouse.lake.read_raw(_landed(small, employees), ["employee_id"])["employee_id"].drop_nulls()[
        :1
    ]
    assert linked_ids(small.lakehouse, Subject.EMPLOYEE, "hris", number) == [f"hris:{number}"]
    declare(monkeypatch, gaining(losing(employees, "employee_id"), subject=Subject.EMPLOYEE, key=True))
    with pytest.raises(
        UnknownSubject, match=r"hris\.employees was landed before its contract had that id: `merajut run`"
    ):
        linked_ids(small.lakehouse, Subject.EMPLOYEE, "hris", number)


def _landed(small: SmallLake, table: TableContract):
    version = small.lakehouse.lake.latest_raw(table.system, table.name)
    assert version is not None
    return version


def test_an_original_is_not_kept_when_nobody_can_tell_whose_rows_it_holds(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landing a table failed on another one of its system, which had got a column with the ids of people."""
    lake = small.lakehouse.lake
    small.lakehouse.vault.destroy_subject(Subject.CHILD, "panti:somebody who is in no table")
    kept = len([path for table in small.tables() for path in lake.originals("panti", table.name)])
    declare(monkeypatch, gaining(registry.raw_table("panti", "guardians"), subject=Subject.STAFF))
    small.change("UPDATE children SET reason_for_care = 'poverty', modified_at = '2026-11-01T00:00:00Z'")
    assert land(small.lakehouse, registry.systems()["panti"], CHILDREN, INGEST_DATE).is_new
    assert len([path for table in small.tables() for path in lake.originals("panti", table.name)]) == kept


def test_an_older_version_comes_back_in_the_columns_of_today(small: SmallLake) -> None:
    """It came back as it was, and no release could be made of it."""
    lake, table = small.lakehouse.lake, "conformed/consent"
    rows = lake.read(table)
    older = lake.overwrite(table, rows.drop("valid_until").with_columns(pl.lit("x").alias("forgotten")))
    unfit = lake.overwrite(table, rows.drop("source_system"))
    lake.overwrite(table, rows)
    restore(small.lakehouse, table, older)
    assert lake.schema(table) == dict(rows.schema)
    with pytest.raises(
        TableSchemaError, match=f"{table}, version {unfit}: stored without source_system.*newer version"
    ):
        restore(small.lakehouse, table, unfit)
