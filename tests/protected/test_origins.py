"""What released rows say about where they come from."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import DATA_ORIGIN
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.policy import DataError
from merajut_assets.protected.origins import all_origins, joined, with_origins
from merajut_assets.protected.pipeline import conforming, examine
from merajut_assets.statistics.figures import statistic_contract
from tests.protected.conformed_world import child, conformed, consent

SUPERVISED = registry.protected_dataset("government", "child_summary")
RESEARCH = registry.protected_dataset("academia", "research_child")
ABROAD = {"jurisdiction": "GB", "data_origin": "real_sample", "source_system": "ssda903"}


def _children() -> dict[str, pl.DataFrame]:
    return {
        "child": conformed("child", [child("c1"), child("c2", **ABROAD)]),
        "consent": conformed("consent", [consent("child", "c1", "research", data_origin="open_data")]),
        "population": conformed("population", [{"data_origin": "open_data"}]),
    }


def test_every_released_table_says_it() -> None:
    """One truth: the column is declared once, and no dataset or statistic can do without it."""
    policies = stakeholder_policies().values()
    contracts = [
        registry.protected_dataset(policy.stakeholder, name) for policy in policies for name in policy.datasets
    ]
    contracts += [statistic_contract(policy.stakeholder, name) for policy in policies for name in policy.statistics]
    assert contracts
    for contract in contracts:
        assert not contract.column(DATA_ORIGIN).nullable, contract.identifier


def test_rows_of_two_jurisdictions_say_it_each() -> None:
    """The partner authority's children are a real sample, the Indonesian ones invented; neither says the other's."""
    released = pl.DataFrame({"jurisdiction": ["GB", "ID", "ID"]})
    stated = with_origins(released, SUPERVISED, _children())
    assert stated[DATA_ORIGIN].to_list() == ["real_sample", "generated", "generated"]
    assert all_origins(stated) == "generated, real_sample"


def test_only_rows_of_the_jurisdictions_of_a_dataset_count() -> None:
    released = pl.DataFrame({"sex": ["F"]})
    assert with_origins(released, RESEARCH, _children())[DATA_ORIGIN].to_list() == ["generated"]


def test_several_origins_of_one_jurisdiction_are_told_of_all_rows_alike() -> None:
    """Told row by row, the origin would part two children whom the published classes put together."""
    both = {"child": conformed("child", [child("c1"), child("c2", data_origin="real_sample")])}
    released = pl.DataFrame({"sex": ["F", "F"]})
    assert with_origins(released, RESEARCH, both)[DATA_ORIGIN].to_list() == ["generated, real_sample"] * 2


def test_who_agreed_makes_no_difference() -> None:
    """The statement is made from what was delivered: it must not say whether somebody is in the release."""
    released = pl.DataFrame({"sex": ["F"]})
    agreed, entities = _children(), _children()
    entities["consent"] = entities["consent"].clear()
    assert with_origins(released, RESEARCH, agreed).equals(with_origins(released, RESEARCH, entities))


def test_an_origin_told_of_single_rows_breaks_k() -> None:
    """The verifier counts the column among those that part people: planted, it leaves a class of one."""
    policy = stakeholder_policies()["academia"]
    dataset = policy.datasets["research_child"]
    rows = 60
    columns = {column.name: ["*"] * rows for column in RESEARCH.columns}
    columns["child_pseudonym"] = [f"p{number}" for number in range(rows)]
    for name in dataset.privacy.sensitive:
        columns[name] = [f"value {number % 6}" for number in range(rows)]
    columns[DATA_ORIGIN] = ["generated"] * rows
    whole = pl.DataFrame(columns)
    assert examine(whole, RESEARCH, dataset).facts["k"] == rows
    planted = whole.with_columns(pl.Series(DATA_ORIGIN, ["real_sample", *["generated"] * (rows - 1)]))
    evidence = examine(planted, RESEARCH, dataset)
    assert evidence.facts["k"] == 1
    assert not evidence.is_safe


def test_an_unknown_origin_is_refused() -> None:
    contract = registry.protected_dataset("government", "orphanage")
    row = {"orphanage_id": "O1", "regency_code": "32.04", "capacity": 40, "accreditation": "A"}
    frame = pl.DataFrame([{**row, "licence_valid_until": date(2027, 1, 1), DATA_ORIGIN: "rumour"}])
    with pytest.raises(DataError, match="data_origin"):
        conforming(frame.cast({"capacity": pl.Int64}), contract)


def test_statements_are_joined_once_each_in_order() -> None:
    assert joined(["open_data, generated", "generated", ""]) == "generated, open_data"
