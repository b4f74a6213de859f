"""Rows of an earlier contract: filled with nulls where that is permitted, else refused before they are used."""

from __future__ import annotations

import polars as pl
import pytest

from merajut_assets.contracts import registry
from resources.lake import TableSchemaError
from resources.lakehouse import Lakehouse
from tests.evolved import NOTE, declare, gaining, losing, retyping
from tests.protected.conformed_world import RELEASE, conformed

ORPHANAGE = registry.entity("orphanage")


@pytest.fixture
def lakehouse(tmp_path) -> Lakehouse:
    made = Lakehouse(data_directory=str(tmp_path))
    made.lake.overwrite("conformed/orphanage", conformed("orphanage", [{"orphanage_id": "O1", "capacity": 40}]))
    made.release_manifest(RELEASE)
    return made


def read(lakehouse: Lakehouse) -> pl.DataFrame:
    return lakehouse.read_conformed("orphanage", RELEASE, "test")


def test_a_pinned_version_has_nothing_in_a_column_that_came_later(lakehouse, monkeypatch) -> None:
    """A release that was pinned before a column was declared could not be completed: the code asked for the column,
    and failed with an error whose text is withheld."""
    declare(monkeypatch, gaining(ORPHANAGE))
    rows = read(lakehouse)
    assert rows[NOTE].to_list() == [None]
    assert rows.schema[NOTE] == pl.String
    assert rows["capacity"].to_list() == [40]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (gaining(ORPHANAGE, nullable=False), f"without {NOTE}"),
        (retyping(ORPHANAGE, "capacity", pl.String), "another type of capacity"),
    ],
)
def test_what_cannot_be_told_of_older_rows_is_refused_by_name(lakehouse, monkeypatch, changed, told) -> None:
    """Filled with nulls that the contract forbids, or with texts for numbers, the summary would be wrong or fail
    anywhere. The error names table, release, column and what to do."""
    declare(monkeypatch, changed)
    with pytest.raises(TableSchemaError, match=rf"conformed/orphanage as release {RELEASE} .*{told}.*newer release"):
        read(lakehouse)


def test_what_the_contract_lost_does_no_harm(lakehouse, monkeypatch) -> None:
    declare(monkeypatch, losing(ORPHANAGE, "capacity"))
    assert read(lakehouse)["orphanage_id"].to_list() == ["O1"]
