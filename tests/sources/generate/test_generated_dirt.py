"""The dirt: what contracts refuse is what the truth says, no row more and no row less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandera.errors
import polars as pl
import pytest

from merajut_assets.contracts.base import TableContract
from merajut_assets.sources.generate import dirt
from merajut_assets.sources.generate.catalogue import contract_of, generated_contracts
from merajut_assets.sources.generate.plants import PLANTS

if TYPE_CHECKING:
    from tests.sources.generate.conftest import World


_CHECKS = {
    "not_nullable": "required",
    "isin": "allowed",
    "str_matches": "format",
    "greater_than": "range",
    "greater_than_or_equal_to": "range",
    "less_than": "range",
    "less_than_or_equal_to": "range",
}


def _typed(frame: pl.DataFrame, contract: TableContract) -> tuple[pl.DataFrame, set[tuple[str, str]]]:
    """The frame in the contract's types, and (key, rule) of what could not be read."""
    key = contract.key[0]
    broken: set[tuple[str, str]] = set()
    columns = []
    for column in contract.columns:
        text = frame[column.name]
        if column.dtype == pl.Date:
            typed = text.cast(pl.String).str.to_date("%Y-%m-%d", strict=False)
        elif isinstance(column.dtype, pl.Datetime):
            typed = text.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False).cast(column.dtype)
        elif column.dtype == pl.Boolean:
            typed = text.cast(pl.String).replace_strict(
                {"true": True, "false": False, "1": True, "0": False}, default=None, return_dtype=pl.Boolean
            )
        else:
            typed = text.cast(column.dtype, strict=False)
        lost = typed.is_null() & text.is_not_null()
        broken |= {(value, f"{column.name}.type") for value in frame[key].filter(lost)}
        columns.append(typed.alias(column.name))
    return pl.DataFrame(columns), broken


def _refused(frame: pl.DataFrame, contract: TableContract) -> set[tuple[str, str]]:
    """(key, rule) of what the contract refuses, read from pandera."""
    key = contract.key[0]
    typed, found = _typed(frame, contract)
    unreadable = {(value, rule.removesuffix(".type")) for value, rule in found}
    try:
        contract.schema.validate(typed, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.select("column", "check", "index").unique()
    else:
        return found
    for column, check, index in cases.iter_rows():
        value = typed[key][index]
        name = check.partition("(")[0]
        if name in _CHECKS:
            # What cannot be read is null after casting: refused once, for its type.
            if not (_CHECKS[name] == "required" and (value, column) in unreadable):
                found.add((value, f"{column}.{_CHECKS[name]}"))
        else:
            found.add((value, name))
    return found


@pytest.mark.parametrize("contract", generated_contracts(), ids=lambda contract: contract.identifier)
def test_contracts_refuse_what_the_truth_says_and_nothing_else(world: World, contract: TableContract) -> None:
    """Integration tests compare quarantine with this file; a slip here would be blamed on the pipeline."""
    judged_alone = world.planted.filter(
        (pl.col("system") == contract.system)
        & (pl.col("table") == contract.name)
        & (pl.col("outcome") == "refused")
        & ~pl.col("rule").str.ends_with(".reference")
        & ~pl.col("rule").str.ends_with(".unique")
    )
    frame = world.frame(contract.identifier)
    assert _refused(frame, contract) == set(judged_alone.select("key", "rule").iter_rows())


def test_references_to_nothing_and_to_refused_rows_are_all_recorded(world: World) -> None:
    """A refused parent takes its rows with it; the truth must name each, in the column that refers to it."""
    gone = {
        contract.identifier: set(
            world.planted.filter(
                (pl.col("system") == contract.system)
                & (pl.col("table") == contract.name)
                & (pl.col("outcome") == "refused")
                & (pl.col("rule") != f"{contract.key[0]}.unique")
            )["key"]
        )
        for contract in generated_contracts()
        if len(contract.key) == 1
    }
    for contract in generated_contracts():
        if len(contract.key) != 1:
            continue
        frame, (key,) = world.frame(contract.identifier), contract.key
        for column in contract.columns:
            if not column.references:
                continue
            parent, _, parent_key = column.references.rpartition(".")
            alive = set(world.frame(parent)[parent_key]) - gone[parent]
            lost = frame.filter(pl.col(column.name).is_not_null() & ~pl.col(column.name).is_in(list(alive)))
            assert set(lost[key]) <= gone[contract.identifier], f"{contract.identifier}.{column.name}"
            recorded = world.planted.filter(
                (pl.col("system") == contract.system)
                & (pl.col("table") == contract.name)
                & (pl.col("rule") == f"{column.name}.reference")
            )["key"]
            assert set(recorded) <= set(lost[key]), f"{contract.identifier}.{column.name}"


def test_keys_are_unique_but_for_the_planted_ones(world: World) -> None:
    """A repeated key is the one reason why an event is there twice."""
    for contract in generated_contracts():
        if len(contract.key) != 1:
            continue
        (key,) = contract.key
        frame = world.frame(contract.identifier)
        repeated = frame.filter(pl.col(key).is_duplicated())
        planted = world.planted.filter(
            (pl.col("system") == contract.system)
            & (pl.col("table") == contract.name)
            & (pl.col("rule") == f"{key}.unique")
        )["key"]
        assert set(repeated[key]) == set(planted)
        if len(repeated):
            same = repeated.drop("modified_at").unique()
            assert len(same) == len(planted), "a row sent again is the same row"
            assert repeated.select(key, "modified_at").is_unique().all(), "which of the two is newer must be plain"


def test_every_kind_of_dirt_is_there_and_none_has_two_reasons(world: World) -> None:
    """A kind that no longer occurs leaves a rule untested; two reasons make the expected rule ambiguous."""
    for (system, name), plants in PLANTS.items():
        kinds = set(
            world.planted.filter((pl.col("system") == system) & (pl.col("table") == name))
            .select("kind", pl.col("rule").fill_null(""))
            .iter_rows()
        )
        for plant in plants:
            assert (plant.kind, plant.rule or "") in kinds, f"{system}.{name}"
    refused = world.planted.filter((pl.col("outcome") == "refused") & ~pl.col("rule").str.ends_with(".unique"))
    assert refused.select("system", "table", "key").is_unique().all()


def test_few_rows_are_refused_and_little_is_missing(world: World) -> None:
    """Quality must pass 95 % after quarantine, and the refused share must stay below 3 %."""
    refused = world.planted.filter(pl.col("outcome") == "refused")
    rows = sum(world.summary.rows.values()) - world.summary.rows["reference.population"]
    assert 0.002 < len(refused) / rows < 0.03
    for contract in generated_contracts():
        frame = world.frame(contract.identifier)
        own = refused.filter((pl.col("system") == contract.system) & (pl.col("table") == contract.name))
        assert len(own) <= max(0.03 * len(frame), 4), contract.identifier
        for column in contract.columns:
            if column.required:
                assert frame[column.name].null_count() <= max(0.02 * len(frame), 2), contract.identifier


def test_missing_values_are_recorded_and_there(world: World) -> None:
    """Completeness is compared with the truth: what is said to be missing must be, and in that column."""
    missing = world.planted.filter(pl.col("kind") == "missing_value")
    assert len(missing) > 500
    for (system, name, column), rows in missing.group_by("system", "table", "column"):
        contract = contract_of(str(system), str(name))
        frame = world.frame(contract.identifier)
        found = frame.filter(pl.col(contract.key[0]).is_in(rows["key"].implode()))
        assert found[str(column)].null_count() == len(found) == len(rows)


def test_duplicate_registrations_are_the_same_child(world: World) -> None:
    """Merging on the number must find these pairs and no others; those without it must stay apart."""
    everybody = world.frame("panti.children")
    pairs = (
        world.planted.filter(pl.col("kind").str.starts_with("duplicate_registration"))
        .select("key", "related_key", "outcome")
        .join(everybody, left_on="key", right_on="child_id")
        .join(everybody, left_on="related_key", right_on="child_id", suffix="_first")
    )
    expected = round(dirt.DUPLICATE_REGISTRATIONS * (len(everybody) / (1 + dirt.DUPLICATE_REGISTRATIONS)))
    assert len(pairs) == pytest.approx(expected, rel=0.05)
    merged = pairs.filter(pl.col("outcome") == "merged")
    assert 0.6 < len(merged) / len(pairs) < 0.8
    assert (merged["nik"] == merged["nik_first"]).all()
    assert pairs.filter(pl.col("outcome") == "kept")["nik"].is_null().all()
    for column in ("birth_date", "sex", "village_code"):
        assert (pairs[column] == pairs[f"{column}_first"]).all()
    assert (pairs["orphanage_id"] != pairs["orphanage_id_first"]).all()
    assert 0.4 < (pairs["full_name"] != pairs["full_name_first"]).mean() < 0.8
    repeated = everybody.drop_nulls("nik").filter(pl.col("nik").is_duplicated())
    assert len(repeated) == 2 * len(merged)


def test_numbers_typed_into_texts_are_numbers_of_that_child(world: World) -> None:
    """The leak tests look for these digits everywhere else."""
    planted = world.planted.filter(pl.col("kind") == "nik_in_text")
    niks = world.frame("panti.children").select("child_id", "nik")
    wrong = world.planted.filter(pl.col("kind").str.starts_with("invalid_nik"))["key"]
    for table, column in (("case_notes", "note"), ("health_records", "notes")):
        contract = contract_of("panti", table)
        frame = world.frame(contract.identifier)
        holding = frame.filter(pl.col(column).str.contains(r"\d{16}"))
        keys = planted.filter(pl.col("table") == table)["key"]
        assert set(holding[contract.key[0]]) <= set(keys)
        assert len(holding) >= 0.9 * len(keys) > 30
        known = holding.join(niks, on="child_id").filter(~pl.col("child_id").is_in(wrong.implode()))
        assert (known[column].str.extract(r"(\d{16})") == known["nik"]).all()


def test_stories_name_children_whose_guardians_allowed_it_but_for_the_planted_ones(world: World) -> None:
    """The compliance check for publicity needs cases, and must find no others."""
    states = world.consent_states.filter(pl.col("purpose") == "publicity").select("child_id", "state")
    stories = world.frame("media.stories").drop_nulls("child_id").join(states, on="child_id", how="left")
    without = set(stories.filter(pl.col("state") != "granted")["story_id"])
    planted = set(world.planted.filter(pl.col("kind") == "story_without_consent")["key"])
    assert without == planted
    assert len(planted) >= 2
    assert stories["state"].null_count() == 0
