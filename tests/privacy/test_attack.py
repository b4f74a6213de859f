"""The linkage attack: the expectation must be what an attacker really reaches, and never less."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy.attack import Known, covered, linkage_attack
from merajut_assets.privacy.hierarchy import build_hierarchy
from merajut_assets.privacy.policy import DataError, QuasiIdentifier

BIRTH = QuasiIdentifier(date=("month", "quarter", "year", "5y", "*"))
REGION = QuasiIdentifier(codes="wilayah")
SEX = QuasiIdentifier(prefix=(1, 0))
KNOWN = {
    "regency_code": Known("region_code", REGION),
    "sex": Known("sex", SEX),
    "birth_month": Known("birth_period", BIRTH),
}


def population(months: int = 24) -> pl.DataFrame:
    """Districts × sexes × months, with as many people as the cell's number."""
    cells = [
        (district, sex, date(2014 + month // 12, month % 12 + 1, 1), 1 + (7 * place + month) % 9)
        for place, district in enumerate(["11.01", "11.02", "12.01"])
        for sex in "FM"
        for month in range(months)
    ]
    return pl.DataFrame(cells, schema=["regency_code", "sex", "birth_month", "inhabitants"], orient="row")


def attack(published: pl.DataFrame, **options: Any) -> dict[str, Any]:
    return linkage_attack(published, population(), KNOWN, population_count="inhabitants", **options)


def released(people: pl.DataFrame, region: int, sex: int, birth: int) -> pl.DataFrame:
    """People as they are published at these levels."""
    return pl.DataFrame(
        [
            build_hierarchy(people.get_column("regency_code"), REGION).published(region).alias("region_code"),
            build_hierarchy(people.get_column("sex"), SEX).published(sex).alias("sex"),
            build_hierarchy(people.get_column("birth_month"), BIRTH).published(birth).alias("birth_period"),
        ]
    )


def test_labels_stand_for_the_values_they_were_made_from() -> None:
    """A quarter for three months, a province for its districts, a star for everybody."""
    months = pl.Series([date(2015, month, 1) for month in range(1, 13)])
    pairs = covered(months, pl.Series(["2015-Q2", "2015", "2015-11", "*"]), BIRTH)
    sizes = dict(pairs.group_by("label").len().iter_rows())
    assert sizes == {"2015-Q2": 3, "2015": 12, "2015-11": 1, "*": 12}
    assert set(pairs.filter(pl.col("label") == "2015-Q2")["value"].dt.month()) == {4, 5, 6}
    districts = pl.Series(["11.01", "11.02", "12.01"])
    pairs = covered(districts, pl.Series(["11", "11.01", "unknown", "31"]), REGION)
    assert dict(pairs.group_by("label").len().iter_rows()) == {"11": 2, "11.01": 1, "unknown": 3}
    assert covered(districts, pl.Series(["11.01", "11"]), None).rows() == [("11.01", "11.01")]


def test_the_attack_by_hand() -> None:
    """Two records in a crowd of a quarter of a province, one that a star hides among everybody."""
    people = population()
    published = pl.DataFrame(
        [("11", "F", "2015-Q2"), ("11", "F", "2015-Q2"), ("*", "*", "*")],
        schema=["region_code", "sex", "birth_period"],
        orient="row",
    )
    crowd = people.filter(
        pl.col("regency_code").str.starts_with("11")
        & (pl.col("sex") == "F")
        & pl.col("birth_month").is_between(date(2015, 4, 1), date(2015, 6, 30))
    )["inhabitants"].sum()
    everybody = people["inhabitants"].sum()
    result = attack(published)
    assert result["expected_right"] == pytest.approx(2 / crowd + 1 / everybody)
    assert result["share_right"] == pytest.approx(result["expected_right"] / 3)
    assert (result["smallest_crowd"], result["records_outside_population"]) == (crowd, 0)
    assert result["within_class"] == 1.0


@pytest.mark.parametrize("levels", [(2, 0, 0), (3, 0, 1), (2, 1, 2), (4, 1, 4)])
def test_an_attacker_who_really_guesses_reaches_the_expectation(levels: tuple[int, int, int]) -> None:
    """Monte Carlo over a population of persons: draw children, publish them, guess, count. Within four
    standard errors of the exact figure."""
    generator = np.random.default_rng(20)
    cells = population()
    persons = cells.select(pl.all().exclude("inhabitants").repeat_by("inhabitants").explode()).with_row_index("person")
    children = persons[generator.choice(persons.height, 300, replace=False)]
    published = released(children, *levels)
    labels_of_everybody = released(persons, *levels)
    candidates = {
        key: rows["person"].to_numpy()
        for key, rows in labels_of_everybody.with_columns(persons["person"]).group_by(published.columns)
    }
    keys, truth = published.rows(), children["person"].to_list()
    rounds = 400
    right = [
        sum(generator.choice(candidates[key]) == person for key, person in zip(keys, truth, strict=True))
        for _ in range(rounds)
    ]
    result = attack(published)
    error = max(np.std(right), 0.05) / np.sqrt(rounds)
    assert abs(np.mean(right) - result["expected_right"]) < 4 * error


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(0, 1), st.integers(0, 4), st.integers(0, 10_000))
def test_coarser_labels_never_help_the_attacker(region: int, sex: int, birth: int, seed: int) -> None:
    """Whatever is published more coarsely leaves at least as many people."""
    people = population().sample(30, seed=seed)
    fine = attack(released(people, region, sex, birth))["share_right"]
    coarse = attack(released(people, min(region + 1, 4), 1, min(birth + 1, 4)))["share_right"]
    assert coarse <= fine + 1e-12


def test_local_labels_are_read_one_by_one() -> None:
    """Records of one release may have labels of different levels; each has its own crowd."""
    published = pl.DataFrame(
        {"region_code": ["11.01", "11"], "sex": ["F", "*"], "birth_period": ["2014-01", "2010-2014"]}
    )
    people = population()
    fine = people.filter((pl.col("regency_code") == "11.01") & (pl.col("sex") == "F"))
    fine = fine.filter(pl.col("birth_month") == date(2014, 1, 1))["inhabitants"].sum()
    coarse = people.filter(pl.col("regency_code").str.starts_with("11") & (pl.col("birth_month").dt.year() == 2014))
    assert attack(published)["expected_right"] == pytest.approx(1 / fine + 1 / coarse["inhabitants"].sum())


def test_what_the_population_does_not_know_protects_nobody() -> None:
    """A crowd of nobody would make the risk infinite or, worse, zero: the class itself is all there is."""
    published = pl.DataFrame({"region_code": ["99"] * 4, "sex": ["F"] * 4, "birth_period": ["2015"] * 4})
    result = attack(published)
    assert (result["share_right"], result["records_outside_population"], result["within_class"]) == (0.25, 4, 0.25)


def test_the_easiest_record_of_a_subject_counts() -> None:
    """Somebody with a fine and a coarse record is found by the fine one; subjects are counted, not rows."""
    published = pl.DataFrame(
        {
            "child": ["a", "a", "b"],
            "region_code": ["11.01", "*", "*"],
            "sex": ["F", "*", "*"],
            "birth_period": ["2014-01", "*", "*"],
        }
    )
    result = attack(published, subject="child")
    alone = attack(published[:1])["expected_right"]
    assert result["subjects"] == 2
    assert result["expected_right"] == pytest.approx(alone + 1 / population()["inhabitants"].sum())
    assert result["highest"] == alone


def test_the_risk_within_a_class_uses_all_columns_of_the_class() -> None:
    """The attacker of the population does not know the form of care; the classes of the release do."""
    published = pl.DataFrame(
        {"region_code": ["11"] * 4, "sex": ["F"] * 4, "birth_period": ["2015"] * 4, "care": ["x", "x", "y", "y"]}
    )
    assert attack(published)["within_class"] == 0.25
    assert attack(published, classes=[*published.columns])["within_class"] == 0.5


def test_bad_questions_are_refused() -> None:
    """A column that is missing must not make the attacker look weaker."""
    published = pl.DataFrame({"region_code": ["11"]})
    with pytest.raises(DataError, match="birth_period"):
        attack(published)
    with pytest.raises(DataError, match="knows nothing"):
        linkage_attack(published, population(), {})
    with pytest.raises(DataError, match="village"):
        linkage_attack(published, population(), {"village": Known("region_code", REGION)})
    empty = pl.DataFrame(schema={"region_code": pl.String, "sex": pl.String, "birth_period": pl.String})
    assert attack(empty)["share_right"] == 0.0
