"""What the differentially private figures are drawn from, and which of them are shown."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from merajut_assets.policies.stakeholder import Statistic, epsilon_of_all_per_release, stakeholder_policies
from merajut_assets.protected.origins import with_origins
from merajut_assets.protected.pipeline import conforming
from merajut_assets.statistics.declarations import AGE_BANDS, NoPublicKeys, age_band, public_keys
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.releases import (
    FIGURES,
    USEFUL_RELATIVE_ERROR,
    children,
    draw,
    programme_of_institution,
    usable_children,
)
from merajut_assets.statistics.store import examine_figures, statistic_entities
from tests.protected.conformed_world import CUT_OFF, conformed, withdrawn

STATISTICS = [
    (stakeholder, name) for stakeholder, policy in stakeholder_policies().items() for name in policy.statistics
]
BY_PLACE = Statistic.model_validate(
    {"category": "public", "share": 1.0, "by": ["province_code", "age_band", "sex"], "measure": "child_count"}
)
BY_DISTRICT = BY_PLACE.model_copy(update={"by": ("regency_code",)})
MEANS = Statistic.model_validate(
    {
        "category": "outcomes",
        "share": 1.0,
        "by": ["programme_id"],
        "measure": "mean",
        "values": {
            "average_score": {"bounds": [0, 100], "share": 0.5},
            "attendance_rate": {"bounds": [0, 1], "share": 0.5},
        },
    }
)


def _rows(statistic: Statistic, entities: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return children(statistic, usable_children(entities, CUT_OFF).entities, CUT_OFF)


@pytest.mark.parametrize(("stakeholder", "name"), STATISTICS)
def test_every_declared_statistic_can_be_drawn(stakeholder: str, name: str, entities: dict[str, pl.DataFrame]) -> None:
    """Each needs only the entities that its columns name, and gives what its contract declares."""
    contract = statistic_contract(stakeholder, name)
    policy = stakeholder_policies()[stakeholder]
    statistic = policy.statistics[name]
    given = {entity: entities[entity] for entity in statistic_entities(contract)}
    keys = public_keys(statistic.by, given)
    figures = draw(statistic, _rows(statistic, given), keys, policy.epsilon(name))
    assert figures.columns == [*statistic.by, *FIGURES]
    figures = conforming(with_origins(figures, contract, given), contract)
    contract.schema.validate(figures)
    assert examine_figures(figures, contract, statistic, keys, policy.epsilon(name), charge=1).is_safe


def test_one_row_per_child_in_care(entities: dict[str, pl.DataFrame]) -> None:
    """The noise is sized for one row per child; several placements must not make several rows."""
    rows = _rows(BY_PLACE, entities)
    assert rows["child_token"].is_unique().all()
    assert rows.height == 240


def test_a_child_without_consent_to_statistics_is_not_counted(entities: dict[str, pl.DataFrame]) -> None:
    """Consent is applied to statistics as well as to rows; consent to research is another matter."""
    counted = set(_rows(BY_PLACE, entities)["child_token"])
    assert set(_rows(BY_PLACE, withdrawn(entities, "child", "child0007", "statistics"))["child_token"]) == counted - {
        "child0007"
    }
    assert set(_rows(BY_PLACE, withdrawn(entities, "child", "child0007", "research"))["child_token"]) == counted


def test_children_of_another_jurisdiction_are_not_counted(entities: dict[str, pl.DataFrame]) -> None:
    """The statistics are about Indonesia; a foreign child is in none of its regions."""
    child = entities["child"].with_columns(pl.lit("GB").alias("jurisdiction"))
    assert _rows(BY_PLACE, {**entities, "child": child}).height == 0


def test_figures_without_any_child_have_every_public_cell(entities: dict[str, pl.DataFrame]) -> None:
    """A missing cell would say that nobody is there; so all are given, and the empty ones are useless."""
    keys = public_keys(BY_PLACE.by, entities)
    figures = draw(BY_PLACE, _rows(BY_PLACE, entities).clear(), keys, 1.0)
    assert figures.height == 2 * len(AGE_BANDS) * 2
    assert figures.select("province_code", "age_band", "sex").is_unique().all()


def test_counts_are_near_the_truth_and_their_noise_is_stated(entities: dict[str, pl.DataFrame]) -> None:
    """With a generous budget a count differs by little, its scale is 1/ε, and the interval is around it."""
    rows = _rows(BY_DISTRICT, entities)
    figures = draw(BY_DISTRICT, rows, public_keys(BY_DISTRICT.by, entities), 5.0)
    truth = dict(rows.group_by("regency_code").len().iter_rows())
    for row in figures.iter_rows(named=True):
        assert abs(row["value"] - truth[row["regency_code"]]) < 10
        assert row["interval_low"] <= row["value"] <= row["interval_high"]
        assert row["noise_scale"] == pytest.approx(1 / 5.0)
        assert row["epsilon"] == 5.0


def test_a_useless_figure_is_withheld_with_its_interval_but_not_its_error(entities: dict[str, pl.DataFrame]) -> None:
    """With next to no budget nothing is useful; the error is stated, so that one sees why."""
    figures = draw(BY_PLACE, _rows(BY_PLACE, entities), public_keys(BY_PLACE.by, entities), 0.001)
    withheld = figures.filter("is_withheld")
    assert withheld.height > 0
    for name in ("value", "interval_low", "interval_high"):
        assert withheld[name].null_count() == withheld.height
    assert (figures.filter(~pl.col("is_withheld"))["expected_relative_error"] <= USEFUL_RELATIVE_ERROR).all()
    assert figures["expected_relative_error"].null_count() == 0


def test_withholding_follows_from_the_noisy_figure(entities: dict[str, pl.DataFrame]) -> None:
    """Were it decided on the true figure, the decision itself would tell about a child without being paid for."""
    figures = draw(BY_DISTRICT, _rows(BY_DISTRICT, entities), public_keys(BY_DISTRICT.by, entities), 0.02)
    for row in figures.iter_rows(named=True):
        assert row["is_withheld"] == (row["expected_relative_error"] > USEFUL_RELATIVE_ERROR)


def test_small_districts_are_withheld_at_the_budget_of_public_figures() -> None:
    """At ε = 2 no figure was ever withheld, and a district with one child or none had its count published. Many
    districts of each size, so that the noise cannot hide what the rule does."""
    policy = stakeholder_policies()["community"]
    epsilon = policy.epsilon("child_count_by_regency")
    sizes = {f"{size}.{number}": size for size in (0, 1, 40) for number in range(400)}
    children = [(f"{district}/{child}", district) for district, size in sizes.items() for child in range(size)]
    rows = pl.DataFrame(children, schema={"child_token": pl.String, "regency_code": pl.String}, orient="row")
    figures = draw(BY_DISTRICT, rows, {"regency_code": list(sizes)}, epsilon)
    withheld = {
        size: figures.filter(pl.col("regency_code").str.starts_with(f"{size}."))["is_withheld"].mean()
        for size in (0, 1, 40)
    }
    assert epsilon == 2.0
    # P(noise > 1) = 0.016 lets an empty district through, P(noise > 0) = 0.119 one with a child.
    assert withheld[0] > 0.9
    assert withheld[1] > 0.75
    assert withheld[40] == 0
    shown = figures.filter(~pl.col("is_withheld"))
    assert (shown["value"] >= 2).all()
    stated = ("noise_scale", "interval_low", "interval_high", "expected_relative_error", "epsilon_all_stakeholders")
    assert shown.select(stated).null_count().row(0) == (0,) * len(stated)
    assert set(figures["epsilon_all_stakeholders"]) == {epsilon_of_all_per_release()}


def test_means_share_the_budget_and_are_near_the_truth(entities: dict[str, pl.DataFrame]) -> None:
    """Each value gets its share of ε; with a generous budget the mean is close."""
    rows = _rows(MEANS, entities)
    figures = draw(MEANS, rows, public_keys(MEANS.by, entities), 20.0)
    assert figures["epsilon"].to_list() == [10.0] * 4
    truth = rows.group_by("programme_id").agg(pl.col("average_score").mean())
    scores = figures.filter(measure="average_score").join(truth, on="programme_id")
    assert ((scores["value"] - scores["average_score"]).abs() < 5).all()
    rates = figures.filter(measure="attendance_rate")
    assert rates["value"].is_between(0, 1).all()
    assert (figures["expected_relative_error"] < 0.1).all()


def test_an_institution_in_several_programmes_counts_in_the_longest_standing() -> None:
    """A child in two programmes would weigh twice; and a contract that is over does not count."""
    contract = {"programme_id": "G1", "orphanage_id": "O1", "start_date": date(2024, 1, 1), "amount": 1.0}
    contracts = conformed(
        "contract",
        [
            {
                **contract,
                "contract_id": "1",
                "programme_id": "G3",
                "start_date": date(2020, 1, 1),
                "end_date": date(2026, 9, 29),
            },
            {**contract, "contract_id": "2", "programme_id": "G2"},
            {**contract, "contract_id": "3", "programme_id": "G1"},
            {**contract, "contract_id": "4", "programme_id": "G0", "start_date": date(2026, 10, 1)},
        ],
    )
    assert programme_of_institution(contracts, CUT_OFF).rows() == [("O1", "G1")]


def test_age_bands_begin_with_their_first_age() -> None:
    """Eighteen is of age; an unknown age is in no band."""
    ages = pl.DataFrame({"age": [0, 5, 6, 17, 18, 30, None]})
    assert ages.select(age_band(pl.col("age"))).to_series().to_list() == [
        *("0-5", "0-5", "6-11", "12-17", "18+", "18+"),
        None,
    ]


def test_public_keys_do_not_depend_on_children(entities: dict[str, pl.DataFrame]) -> None:
    """Keys read from children's rows would say where children are."""
    empty = {**entities, "child": entities["child"].clear(), "orphanage": entities["orphanage"].clear()}
    for statistic in (BY_PLACE, BY_DISTRICT, MEANS):
        assert public_keys(statistic.by, empty) == public_keys(statistic.by, entities)


def test_a_key_without_public_values_is_refused(entities: dict[str, pl.DataFrame]) -> None:
    """A statistic by a key of children's rows cannot be declared, and an empty list is a missing source."""
    with pytest.raises(NoPublicKeys, match="village_code"):
        public_keys(["village_code"], entities)
    with pytest.raises(NoPublicKeys, match="province_code is empty"):
        public_keys(["province_code"], {**entities, "region": entities["region"].clear()})
