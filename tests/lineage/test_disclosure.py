"""Which tests show that small counts are withheld. A test that cannot fail shows nothing, and neither does the word of
whoever wrote the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from merajut_assets.lineage.disclosure import disclosure_tests, judged_by
from tests.lineage.support.disclosure import disclosure_test

MART = "model.merajut.it"
Test = dict[str, Any]


def judged(*tests: Test, step: str | None = "disclosure_control") -> frozenset[str] | None:
    """The columns of a mart that are believed to be judged; None for a mart that declares nothing."""
    model = {"resource_type": "model", "config": {"meta": {"privacy_step": step} if step else {}}}
    nodes = {MART: model, **{test["unique_id"]: test for test in tests}}
    found = disclosure_tests({"nodes": nodes})
    return judged_by(found[MART]).columns if MART in found else None


PEOPLE = disclosure_test(MART, "people", "is_withheld")


def test_numbers_of_people_and_what_stands_on_them_are_judged() -> None:
    hours = disclosure_test(MART, "hours", "is_withheld", contributors="people")
    assert judged(PEOPLE, hours) == {"people", "hours", "is_withheld"}


def test_a_mart_without_a_test_has_nothing_judged() -> None:
    assert judged() == frozenset()
    assert judged(PEOPLE, step=None) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda test: test["config"].update(severity="warn"),
        lambda test: test["config"].update(where="people > 10"),
        lambda test: test["config"].update(error_if="> 100"),
        lambda test: test["config"].update(fail_calc="0"),
        lambda test: test["config"].update(limit=0, where="false"),
        lambda test: test["test_metadata"]["kwargs"].update(minimum=1),
        lambda test: test["test_metadata"].update(namespace="somebody"),
        lambda test: test["test_metadata"].update(name="any_value"),
        lambda test: test.update(attached_node="model.merajut.another"),
    ],
)
def test_a_test_that_would_pass_anything_shows_nothing(spoil: Callable[[Test], object]) -> None:
    """One word in a YAML file must not turn a refusal into a warning that nobody reads."""
    test = disclosure_test(MART, "people", "is_withheld")
    spoil(test)
    assert judged(test) == frozenset()


@pytest.mark.parametrize("contributors", ["1000", "greatest(people, 5)", "hours"])
def test_contributors_that_nobody_has_judged_show_nothing(contributors: str) -> None:
    """A figure is held against a number of people; an expression in its place could say anything."""
    hours = disclosure_test(MART, "hours", "is_withheld", contributors=contributors)
    assert "hours" not in (judged(PEOPLE, hours) or ())
