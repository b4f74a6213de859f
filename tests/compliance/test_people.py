"""How many people stand behind a table: people, and not rows, registrations or everybody of their kind."""

from __future__ import annotations

import sqlite3

import pytest

from merajut_assets.compliance.subjects import people_in
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Subject, TableContract
from merajut_assets.raw.assets import land
from resources.lakehouse import Lakehouse
from tests.compliance.small_lake import INGEST_DATE

CHILDREN = registry.raw_table("panti", "children")
HEALTH = registry.raw_table("panti", "health_records")
CONSENTS = registry.raw_table("panti", "consents")


def in_source(small, statement: str) -> int:
    with sqlite3.connect(small.panti) as connection:
        return connection.execute(statement).fetchone()[0]


def counted(small, table: TableContract) -> int:
    (number,) = people_in(small.lakehouse, [table]).values()
    assert number is not None
    return number


@pytest.mark.slow
def test_people_are_those_of_the_table_each_counted_once(small) -> None:
    """Asked what a change reaches, somebody informs as many people as are told here."""
    children = counted(small, CHILDREN)
    assert 0 < children < in_source(small, "SELECT count(DISTINCT child_id) FROM children")
    treated = in_source(small, "SELECT count(DISTINCT child_id) FROM health_records")
    assert 0 < counted(small, HEALTH) <= treated < in_source(small, "SELECT count(*) FROM health_records")
    # The world has records of children whom nobody has registered.
    others = in_source(
        small,
        "SELECT count(DISTINCT child_id) FROM health_records WHERE child_id NOT IN (SELECT child_id FROM children)",
    )
    assert people_in(small.lakehouse, [CHILDREN, HEALTH]) == {Subject.CHILD: children + others}
    assert set(people_in(small.lakehouse, [CONSENTS])) == {Subject.CHILD, Subject.GUARDIAN}


@pytest.mark.slow
def test_a_child_of_two_registrations_is_one(small) -> None:
    """The marked child is registered twice, under one NIK."""
    children = counted(small, CHILDREN)
    for left, registration in ((children, small.ids[1]), (children - 1, small.ids[0])):
        small.change("DELETE FROM children WHERE child_id = ?", registration)
        land(small.lakehouse, registry.systems()["panti"], CHILDREN, INGEST_DATE)
        assert counted(small, CHILDREN) == left


def test_before_a_landing_nobody_knows(tmp_path) -> None:
    """A zero would say that nobody is concerned."""
    assert people_in(Lakehouse(data_directory=str(tmp_path / "data")), [CHILDREN]) == {Subject.CHILD: None}
