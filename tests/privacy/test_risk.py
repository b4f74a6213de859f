"""Risk figures by hand on tables small enough to see, and ARX's on a table that everybody has."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError, PolicyError, assess_risk
from merajut_assets.privacy.risk import exceeds

ADULT = Path(__file__).resolve().parents[2] / "data" / "benchmark" / "adult" / "adult.csv.gz"
EIGHT = ["sex", "age", "race", "marital-status", "education", "native-country", "workclass", "salary-class"]
USA_IN_ARX = 317_238_626  # the constant of ARX 3.9.2's region "USA"


def test_prosecutor_risk_by_hand() -> None:
    """Classes of 1, 2 and 5 rows: highest 1, average 3/8, three of eight rows strictly above 0.2."""
    frame = pl.DataFrame({"zip": ["a"] + ["b"] * 2 + ["c"] * 5})
    risk = assess_risk(frame, ["zip"])
    assert risk["prosecutor"] == {"highest": 1.0, "average": 3 / 8, "share_above_threshold": 3 / 8}
    assert risk["marketer"] == {"average": 3 / 8}
    assert risk["sample_unique_share"] == 1 / 8


def test_risk_counts_subjects() -> None:
    """Five rows of one child are a class of one."""
    frame = pl.DataFrame({"zip": ["a"] * 5, "child": ["c"] * 5})
    assert assess_risk(frame, ["zip"], subject="child")["prosecutor"]["highest"] == 1.0


def test_bad_questions_are_refused() -> None:
    """A figure for another question would be mistaken for the one that was asked for."""
    frame = pl.DataFrame({"zip": ["a", "a"]})
    with pytest.raises(DataError, match="age"):
        assess_risk(frame, ["age"])
    with pytest.raises(DataError, match="people"):
        assess_risk(frame, ["zip"], population=frame, population_count="people")
    with pytest.raises(DataError, match="smaller than the table"):
        assess_risk(frame, ["zip"], population=1)
    with pytest.raises(PolicyError, match="threshold"):
        assess_risk(frame, ["zip"], threshold=2)


def test_an_empty_table_has_no_risk() -> None:
    """Division by nothing must not surface as NaN in metadata."""
    empty = pl.DataFrame(schema={"zip": pl.String})
    for population in (None, 100, empty):
        assert assess_risk(empty, ["zip"], population=population)["prosecutor"]["highest"] == 0.0
    assert assess_risk(empty, [])["prosecutor"]["highest"] == 0.0


def test_arx_figures_on_adult_are_reproduced() -> None:
    """The figures that ARX 3.9.2 shows for the raw table and the population of the USA, to every digit noted."""
    adult = pl.read_csv(ADULT, separator=";", infer_schema=False)
    risk = assess_risk(adult, EIGHT, population=USA_IN_ARX)
    assert (risk["rows"], risk["classes"]) == (30_162, 12_458)
    assert round(risk["prosecutor"]["average"], 5) == 0.41304
    assert round(risk["marketer"]["average"], 5) == 0.41304
    assert round(risk["prosecutor"]["share_above_threshold"] * 100, 3) == 50.902
    assert round(risk["sample_unique_share"] * 100, 3) == 29.312
    uniqueness = risk["population_uniqueness"]
    assert round(uniqueness["dankar"] * 100, 4) == round(uniqueness["pitman"] * 100, 4) == 1.4546
    assert uniqueness["dankar_model"] == "pitman"
    assert round(uniqueness["zayatz"] * 100, 3) == 8.604
    # ARX's 0 is a model without a solution, and its own number of classes is why there is none.
    assert (uniqueness["snb"], uniqueness["without_estimate"]) == (0.0, ["snb"])
    assert round(uniqueness["snb_published"] * 100, 2) == 4.97


def test_the_journalist_looks_people_up_in_the_population() -> None:
    """Two rows among ten people, one among two, and one of somebody the population does not know."""
    frame = pl.DataFrame({"zip": ["a", "a", "b", "z"]})
    population = pl.DataFrame({"zip": ["a", "b", "c"], "people": [10, 2, 1]})
    risk = assess_risk(frame, ["zip"], population=population, population_count="people")
    assert risk["journalist"]["highest"] == 1.0
    assert risk["journalist"]["average"] == pytest.approx((0.1 + 0.1 + 0.5 + 1) / 4)
    assert risk["journalist"]["share_above_threshold"] == 0.5
    assert risk["marketer"]["average"] == pytest.approx(risk["journalist"]["average"])
    assert risk["prosecutor"]["average"] == 3 / 4
    assert risk["population_uniqueness"]["counted"] == 1 / 13
    assert risk["population_uniqueness"]["rows_outside_population"] == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=20), st.data())
def test_the_journalist_never_knows_more_than_the_prosecutor(people: list[str | None], data: st.DataObject) -> None:
    """Whoever knows who takes part has the better chances; a population of the table itself makes them equal."""
    taken = data.draw(st.lists(st.sampled_from(range(len(people))), min_size=1, unique=True))
    population = pl.DataFrame({"zip": people}, schema={"zip": pl.String})
    sample = population[taken]
    risk = assess_risk(sample, ["zip"], population=population)
    assert risk["journalist"]["average"] <= risk["prosecutor"]["average"] + 1e-12
    itself = assess_risk(sample, ["zip"], population=sample)
    assert itself["journalist"] == itself["prosecutor"]


def test_a_release_above_a_limit_is_named() -> None:
    """A limit may be reached; a figure that nobody measured is no reason to let the release go."""
    risk = {"prosecutor": {"highest": 0.2}, "linkage": {"share_right": 0.002}}
    assert exceeds(risk, {"prosecutor.highest": 0.2}) == []
    (broken,) = exceeds(risk, {"prosecutor.highest": 0.2, "linkage.share_right": 0.001})
    assert "linkage.share_right is 0.002, above the limit 0.001" in broken
    for name in ("journalist.highest", "prosecutor", "prosecutor.highest.more"):
        (unmeasured,) = exceeds(risk, {name: 1.0})
        assert "was not measured" in unmeasured
    assert exceeds({"average": float("nan")}, {"average": 1.0})
