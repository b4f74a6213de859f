"""What stored classes are compared with: the distributions from before anonymising, exactly and without slack."""

from __future__ import annotations

import polars as pl
import pytest

from merajut_assets.contracts import registry
from merajut_assets.policies.stakeholder import stakeholder_policies
from merajut_assets.privacy.policy import Policy
from merajut_assets.privacy.verify import verify
from merajut_assets.protected.pipeline import examine
from merajut_assets.protected.reference import distributions, distributions_table, reference_of, remembered_reference
from merajut_assets.protected.release import examine_stored, read_release, release_dataset, table_of
from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import RELEASE

CONTRACT = registry.protected_dataset("academia", "research_child")
POLICY = stakeholder_policies()["academia"]
PRIVACY = POLICY.microdata["research_child"].privacy
COLUMN = "abuse_type"
T = 0.4


def _distance(rows: pl.DataFrame, reference: pl.DataFrame | None) -> float:
    facts = verify(rows, PRIVACY.class_columns, list(PRIVACY.sensitive), reference=reference)
    return float(facts["t_equal"][COLUMN])


def _skewed(rows: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Rows of the same values, but in one class one of them is swapped in until the class is just too far from all."""
    rows = rows.sort(PRIVACY.class_columns)
    place = rows.select(pl.struct(PRIVACY.class_columns).rank("dense")).to_series()
    own = (place == 1).to_list()
    values = rows.get_column(COLUMN).to_list()
    common = rows.get_column(COLUMN).mode().sort()[0]
    while _distance(rows.with_columns(pl.Series(COLUMN, values)), reference) <= T:
        given = next(row for row, inside in enumerate(own) if inside and values[row] != common)
        taken = next(row for row, inside in enumerate(own) if not inside and values[row] == common)
        values[given], values[taken] = values[taken], values[given]
    return rows.with_columns(pl.Series(COLUMN, values))


def test_a_class_just_above_t_turns_the_check_red(lakehouse: Lakehouse) -> None:
    """The check once granted the largest share that may ever be left out, so that 0.495 passed for 0.4 though nobody
    was missing."""
    release_dataset(lakehouse, CONTRACT, POLICY, RELEASE)
    assert examine_stored(lakehouse, CONTRACT, POLICY, RELEASE).is_safe
    stored = read_release(lakehouse, CONTRACT, RELEASE, "test")
    reference = remembered_reference(lakehouse, CONTRACT, RELEASE, stored)
    assert reference is not None
    planted = _skewed(stored, reference)
    assert T < _distance(planted, reference) < T + PRIVACY.suppression_limit + 0.1
    lakehouse.lake.overwrite(table_of(CONTRACT), planted, partition={"release": RELEASE})
    violations = examine_stored(lakehouse, CONTRACT, POLICY, RELEASE).violations
    assert any(violation.startswith(f"t_equal of {COLUMN} = 0.4") for violation in violations)


def test_rows_alone_are_judged_without_slack() -> None:
    """200 rows of which nothing is left out, a class 0.485 away from all: the case in which the hole was found."""
    rows = pl.DataFrame(
        {
            **{name: ["*"] * 200 for name in PRIVACY.class_columns},
            CONTRACT.key[0]: [f"p{number}" for number in range(200)],
            "data_origin": ["generated"] * 200,
            **{name: (["a", "b", "c", "d"] * 50) for name in PRIVACY.sensitive},
            "sex": ["F"] * 100 + ["M"] * 100,
        }
    ).with_columns(pl.Series(COLUMN, ["a"] * 98 + ["b", "c"] + ["b"] * 98 + ["a", "c"]))
    evidence = examine(rows, CONTRACT, POLICY.datasets["research_child"])
    assert evidence.facts["t_equal"][COLUMN] == pytest.approx(0.485)
    assert any(violation.startswith(f"t_equal of {COLUMN}") for violation in evidence.violations)


def test_the_reference_is_that_of_all_rows_also_those_left_out(lakehouse: Lakehouse) -> None:
    """Compared with what is published, rows that were left out could shift what counts as ordinary. Its columns are
    apart from each other: nobody's row can be read from it."""
    facts = release_dataset(lakehouse, CONTRACT, POLICY, RELEASE)
    stored = read_release(lakehouse, CONTRACT, RELEASE, "test")
    reference = remembered_reference(lakehouse, CONTRACT, RELEASE, stored)
    assert reference is not None
    assert reference.height == stored.height + facts["suppressed"]
    assert set(reference.columns) == set(PRIVACY.sensitive)
    for name in reference.columns:
        column = reference.get_column(name)
        assert column.equals(column.sort())
    kept = lakehouse.lake.read(distributions_table(CONTRACT))
    assert set(kept.columns) == {"column", "value", "rows", "release"}


def test_without_what_it_is_compared_with_a_release_is_not_safe(lakehouse: Lakehouse) -> None:
    """A lost table must not turn an exact comparison into none."""
    release_dataset(lakehouse, CONTRACT, POLICY, RELEASE)
    lakehouse.lake.overwrite(
        distributions_table(CONTRACT),
        lakehouse.lake.read(distributions_table(CONTRACT)).clear().drop("release"),
        partition={"release": RELEASE},
    )
    violations = examine_stored(lakehouse, CONTRACT, POLICY, RELEASE).violations
    assert any("restore table distributions/academia/research_child" in violation for violation in violations)


def test_truth_values_are_given_back_as_such() -> None:
    """Polars reads none from text: a release with such a column was stored, and could never be checked again."""
    rows = pl.DataFrame({"is_told": [True, True, False, None]})
    policy = Policy.model_validate(
        {"quasi_identifiers": {"a": {"prefix": [1, 0]}}, "k": 1, "sensitive": {"is_told": {"beta_likeness": 1.0}}}
    )
    counts = distributions(rows, policy)
    assert reference_of(counts, rows.schema)["is_told"].sort(nulls_last=True).to_list() == [False, True, True, None]
