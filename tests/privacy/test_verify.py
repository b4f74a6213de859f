"""The verifier is the last gate: it must find what is wrong without being told where."""

from __future__ import annotations

import ast
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import VerificationError, verify, verify_join
from merajut_assets.privacy import verify as verify_function
from merajut_assets.privacy.verify import check

rows = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2", "s3", "s4", "s5"]),
        st.sampled_from(["x", "y", None]),
        st.sampled_from(["1", "2", None]),
        st.sampled_from(["flu", "burn", None]),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(rows)
def test_facts_equal_a_count_by_hand(data: list[tuple[Any, ...]]) -> None:
    """Classes, k and l by plain Python dictionaries must be what the SQL says."""
    frame = pl.DataFrame(data, schema=["child", "a", "b", "why"], orient="row").cast(pl.String)
    classes: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for line in data:
        classes.setdefault(line[1:3], []).append(line)
    subjects = [len({line[0] for line in lines}) for lines in classes.values()]
    values = [len({line[3] for line in lines} - {None}) for lines in classes.values()]
    facts = verify(frame, ["a", "b"], ["why"], "child", k=3, l=2)
    assert facts["rows"] == len(data)
    assert facts["classes"] == len(classes)
    assert facts["k"] == min(subjects, default=0)
    assert facts["l"] == {"why": min(values, default=0)}
    assert facts["classes_below_k"] == sum(size < 3 for size in subjects)
    assert facts["classes_below_l"] == {"why": sum(size < 2 for size in values)}
    assert facts["rows_below_k"] == sum(
        len(lines) for lines, size in zip(classes.values(), subjects, strict=True) if size < 3
    )


def test_a_planted_violation_is_found() -> None:
    """One child alone in its class among ten thousand is exactly what must not be published."""
    frame = pl.DataFrame({"a": ["x"] * 5000 + ["y"] * 4999, "why": ["flu", "burn"] * 4999 + ["flu"]})
    assert verify(frame, ["a"], ["why"])["k"] == 4999
    planted = pl.concat([frame, pl.DataFrame({"a": ["z"], "why": ["flu"]})])
    facts = verify(planted, ["a"], ["why"], k=5)
    assert (facts["k"], facts["l"], facts["classes_below_k"]) == (1, {"why": 1}, 1)


def test_column_names_are_never_sql() -> None:
    """A quote in a column name must not break out of the query."""
    name = 'a" FROM release; --'
    assert verify(pl.DataFrame({name: ["x", "x"]}), [name])["k"] == 2


def test_without_quasi_identifiers_the_table_is_one_class() -> None:
    """Nothing to tell rows apart by; an empty table reaches nothing."""
    assert verify(pl.DataFrame({"a": [1, 2, 3]}), [])["k"] == 3
    assert verify(pl.DataFrame({"a": []}, schema={"a": pl.String}), ["a"])["k"] == 0
    assert verify(pl.DataFrame({"a": []}, schema={"a": pl.String}), [])["k"] == 0


def test_bad_questions_are_refused() -> None:
    """A misspelt column must not verify as if it were harmless."""
    frame = pl.DataFrame({"a": ["x"], "child": [None]}, schema={"a": pl.String, "child": pl.String})
    with pytest.raises(VerificationError, match="b"):
        verify(frame, ["b"])
    with pytest.raises(VerificationError, match="nulls"):
        verify(frame, ["a"], subject="child")


def imports_of(path: Path) -> set[str]:
    return {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and (not isinstance(node, ast.ImportFrom) or node.module)
    }


def test_the_verifier_shares_no_code_with_the_anonymiser() -> None:
    """A fault in shared code would hide itself from its own check. Holds for each of the verifier's modules."""
    modules = sorted(Path(verify_function.__code__.co_filename).parent.glob("verify*.py"))
    own = {f"merajut_assets.privacy.{module.stem}" for module in modules}
    assert "merajut_assets.privacy.verify" in own
    for module in modules:
        ours = {name for name in imports_of(module) if name.startswith("merajut_assets")}
        assert ours <= own, f"{module.stem} imports {ours - own}"


# ── every model, against an implementation that only knows dictionaries and fractions ────

VALUES = ["a", "b", "c", "d"]
TREE = pl.DataFrame({"0": VALUES, "1": ["x", "x", "y", "y"], "2": ["*"] * 4})
cells = st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(VALUES)), min_size=1, max_size=30)


def classes_by_hand(lines: Sequence[tuple[Any, Any]]) -> list[Counter[Any]]:
    found: dict[Any, Counter[Any]] = {}
    for key, value in lines:
        found.setdefault(key, Counter())[value] += 1
    return list(found.values())


def share(counts: Counter[Any], value: Any) -> Fraction:
    return Fraction(counts[value], counts.total())


def variation(counts: Counter[Any], whole: Counter[Any]) -> Fraction:
    return sum((abs(share(counts, value) - share(whole, value)) for value in {*counts, *whole}), Fraction(0)) / 2


def earth_mover_over_ranks(counts: Counter[Any], whole: Counter[Any], order: Sequence[Any]) -> Fraction:
    moved, carried = Fraction(0), Fraction(0)
    for value in order[:-1]:
        carried += share(counts, value) - share(whole, value)
        moved += abs(carried)
    return moved / max(len(order) - 1, 1)


def earth_mover_over_tree(counts: Counter[Any], whole: Counter[Any], tree: pl.DataFrame) -> Fraction:
    """As Li, Li and Venkatasubramanian define it: at each inner node, what its children exchange."""
    height = tree.width - 1
    total = Fraction(0)
    for level in range(1, height + 1):
        extra: dict[Any, dict[Any, Fraction]] = {}
        for row in tree.iter_rows():
            below = extra.setdefault(row[level], {})
            below[row[level - 1]] = (
                below.get(row[level - 1], Fraction(0)) + share(counts, row[0]) - share(whole, row[0])
            )
        for below in extra.values():
            give = sum((value for value in below.values() if value > 0), Fraction(0))
            take = -sum((value for value in below.values() if value < 0), Fraction(0))
            total += Fraction(level, height) * min(give, take)
    return total


def bound_of_c(counts: Counter[Any], least: int) -> float | None:
    sizes = sorted(counts.values(), reverse=True)
    return float(Fraction(sizes[0], sum(sizes[least - 1 :]))) if len(sizes) >= least else None


def gain(counts: Counter[Any], whole: Counter[Any]) -> Fraction:
    return max((share(counts, value) - share(whole, value)) / share(whole, value) for value in counts)


def entropy_of(counts: Counter[Any]) -> float:
    return math.exp(-sum(float(share(counts, value)) * math.log(share(counts, value)) for value in counts))


@settings(max_examples=40, deadline=None)
@given(cells, st.permutations(VALUES), st.integers(1, 4))
def test_every_model_equals_its_definition(lines: list[tuple[str, str]], order: list[str], least: int) -> None:
    """Written from the papers with exact fractions; the figures must be the same double, entropy but for the log."""
    frame = pl.DataFrame(lines, schema=["q", "s"], orient="row")
    facts = verify(frame, ["q"], ["s"], recursive_l={"s": least}, orders={"s": order}, hierarchies={"s": TREE})
    classes, whole = classes_by_hand(lines), Counter(value for _, value in lines)
    assert facts["t_equal"]["s"] == float(max(variation(one, whole) for one in classes))
    assert facts["t_ordered"]["s"] == float(max(earth_mover_over_ranks(one, whole, order) for one in classes))
    assert facts["t_hierarchical"]["s"] == float(max(earth_mover_over_tree(one, whole, TREE) for one in classes))
    assert facts["beta"]["s"] == float(max(gain(one, whole) for one in classes))
    assert facts["entropy_l"]["s"] == pytest.approx(min(entropy_of(one) for one in classes), rel=1e-12)
    bounds = [bound_of_c(one, least) for one in classes]
    expected = None if None in bounds else max(bound for bound in bounds if bound is not None)
    assert facts["recursive_c"]["s"] == expected


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.integers(-3, 60)), min_size=1, max_size=30),
    st.lists(st.integers(-3, 60), max_size=30),
)
def test_many_ranks_and_another_reference(lines: list[tuple[str, int]], more: list[int]) -> None:
    """Gaps between the values of a class, and a whole that has other values than the release."""
    schema = {"q": pl.String, "s": pl.Int64}
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    reference = pl.concat([frame, pl.DataFrame([("-", value) for value in more], schema=schema, orient="row")])
    facts = verify(frame, ["q"], ["s"], orders={"s": None}, reference=reference)
    classes, whole = classes_by_hand(lines), Counter([*(value for _, value in lines), *more])
    distances = [earth_mover_over_ranks(one, whole, sorted(whole)) for one in classes]
    assert facts["t_ordered"]["s"] == float(max(distances))
    assert facts["t_equal"]["s"] == float(max(variation(one, whole) for one in classes))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["p", "q", None]), st.sampled_from(["a", "b", None])), min_size=1, max_size=20),
    st.lists(st.tuples(st.sampled_from(["p", "q", None]), st.integers(0, 5)), max_size=6),
)
def test_presence_equals_a_count_by_hand(lines: list[tuple[Any, Any]], people: list[tuple[Any, int]]) -> None:
    """Classes of the population without a published row count for the minimum; nulls of both are equal."""
    frame = pl.DataFrame(lines, schema={"q": pl.String, "s": pl.String}, orient="row")
    population = pl.DataFrame(people, schema={"q": pl.String, "n": pl.Int64}, orient="row")
    facts = verify(frame, ["q"], population=population, population_count="n")
    held = Counter(key for key, _ in lines)
    living: Counter[Any] = Counter()
    for key, number in people:
        living[key] += number
    shares = [Fraction(held[key], number) for key, number in living.items() if number]
    assert facts["delta_min"] == float(min(shares, default=0))
    assert facts["delta_max"] == float(max(shares, default=0))
    assert facts["k_map"] == min(living[key] for key in held)
    assert facts["rows_outside_population"] == sum(number for key, number in held.items() if not living[key])


def test_nulls_are_no_diversity_but_can_be_told_apart() -> None:
    """A class whose value is never recorded is not diverse, and differs from the others all the same."""
    frame = pl.DataFrame({"q": ["p"] * 4 + ["r"] * 4, "s": [None] * 4 + ["a", "a", "b", "b"]})
    facts = verify(frame, ["q"], ["s"], hierarchies={"s": TREE})
    assert (facts["l"]["s"], facts["entropy_l"]["s"]) == (0, 0.0)
    assert (facts["t_equal"]["s"], facts["t_hierarchical"]["s"], facts["beta"]["s"]) == (0.5, 0.5, 1.0)


def test_three_values_twice_each_are_three_diverse() -> None:
    """exp(log 6 - log 2) is a hair below 3 in doubles; ARX refuses the class for that."""
    frame = pl.DataFrame({"q": ["p"] * 6, "s": ["a", "a", "b", "b", "c", "c"]})
    facts = verify(frame, ["q"], ["s"])
    assert check(facts, {"entropy_l": {"s": 3}}) == []
    assert check(facts, {"entropy_l": {"s": 3.001}})


def test_thresholds_are_met_exactly_at_the_border() -> None:
    """A fifth is 0.2, though no double is a fifth; recursive diversity asks for more, and not for as much."""
    lines = [("p", value) for value in "aabbccddee"] + [("r", value) for value in "aaabbccdde"]
    frame = pl.DataFrame(lines, schema=["q", "s"], orient="row")
    facts = verify(frame, ["q"], ["s"], recursive_l={"s": 2}, population=frame.vstack(frame[:10]))
    assert check(facts, {"t_equal": {"s": 0.05}, "recursive_c": {"s": 0.43}, "delta_max": 1.0, "k": 10}) == []
    broken = check(facts, {"t_equal": {"s": 0.0499}, "recursive_c": {"s": 3 / 7}, "delta_max": 0.99, "k": 11})
    assert len(broken) == 4
    assert all("not reached" in text for text in broken)


def test_what_has_no_bound_meets_no_threshold() -> None:
    """Fewer than l values, or a value that the reference never has: no number is large enough."""
    frame = pl.DataFrame({"q": ["p", "p"], "s": ["a", "a"]})
    facts = verify(frame, ["q"], ["s"], recursive_l={"s": 2}, reference=pl.DataFrame({"s": ["b"]}))
    assert (facts["recursive_c"], facts["beta"]) == ({"s": None}, {"s": None})
    assert len(check(facts, {"recursive_c": {"s": 1e9}, "beta": {"s": 1e9}})) == 2


def test_a_requirement_that_was_not_measured_is_an_error() -> None:
    """Passing over it would publish what nobody has judged."""
    facts = verify(pl.DataFrame({"q": ["p"], "s": ["a"]}), ["q"], ["s"])
    for requirement in ({"t_ordered": {"s": 0.2}}, {"delta_max": 0.5}, {"l": {"other": 2}}, {"secrecy": 1}):
        with pytest.raises(VerificationError):
            check(facts, requirement)


def test_orders_and_trees_that_do_not_fit_are_refused() -> None:
    """A value without a place would silently count as equal to some other one. No message quotes it."""
    frame = pl.DataFrame({"q": ["p"], "s": ["PENANDA"]})
    holed = pl.DataFrame({"q": ["p", "p"], "s": ["a", None]})
    rootless = pl.DataFrame({"0": ["a", "b"], "1": ["a", "b"]})
    attempts: list[tuple[pl.DataFrame, dict[str, Any]]] = [
        (frame, {"orders": {"s": ["a", "b"]}}),
        (frame, {"orders": {"s": ["PENANDA", "PENANDA"]}}),
        (holed, {"orders": {"s": None}}),
        (frame, {"hierarchies": {"s": TREE}}),
        (holed, {"hierarchies": {"s": rootless}}),
        (frame, {"hierarchies": {"other": TREE}}),
        (frame, {"reference": pl.DataFrame({"other": ["a"]})}),
        (frame, {"reference": pl.DataFrame({"s": [1]})}),
        (frame, {"population": pl.DataFrame({"other": ["a"]})}),
    ]
    for attempted, options in attempts:
        with pytest.raises(VerificationError) as caught:
            verify(attempted, ["q"], ["s"], **options)
        assert "PENANDA" not in str(caught.value)


def test_without_quasi_identifiers_the_whole_is_like_itself() -> None:
    """One class: nothing is learnt from it, whatever the model."""
    frame = pl.DataFrame({"s": ["a", "b", "b"]})
    facts = verify(frame, [], ["s"], orders={"s": None}, hierarchies={"s": TREE}, population=frame.vstack(frame))
    assert [facts[name]["s"] for name in ("t_equal", "t_ordered", "t_hierarchical", "beta")] == [0.0] * 4
    assert (facts["delta_min"], facts["delta_max"], facts["k_map"]) == (0.5, 0.5, 6)


def test_an_empty_release_protects_nobody_and_harms_nobody() -> None:
    """Nothing may be divided by its zero rows."""
    empty = pl.DataFrame(schema={"q": pl.String, "s": pl.String})
    facts = verify(empty, ["q"], ["s"], recursive_l={"s": 2}, orders={"s": None}, hierarchies={"s": TREE})
    assert (facts["k"], facts["l"]["s"], facts["t_equal"]["s"], facts["t_ordered"]["s"]) == (0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1.5, float("nan"), 1.5, None]),
        pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
        pl.Series([True, False, True, None]),
        pl.Series([b"a", b"b", b"a", None]),
        pl.Series([["a"], ["b"], ["a"], None]),
        pl.Series(["2015-01-01", "2016-01-01", "2015-01-01", None]).str.to_date(),
        pl.Series(["1.10", "1.20", "1.10", None]).cast(pl.Decimal(6, 2)),
    ],
    ids=lambda values: str(values.dtype),
)
def test_values_of_every_type_are_counted(values: pl.Series) -> None:
    """A type that could not be grouped would leave a table unverified; all classes are told, all values too."""
    frame = pl.DataFrame({"q": values, "s": values})
    facts = verify(frame, ["q"], ["s"], population=frame)
    assert (facts["classes"], facts["k"], facts["l"]["s"]) == (3, 1, 0)
    assert (facts["t_equal"]["s"], facts["beta"]["s"]) == (0.75, 3.0)
    assert verify(frame.select("s"), [], ["s"])["l"] == {"s": 2}


def test_columns_without_any_value_are_one_value() -> None:
    """A column that is null throughout has no type; it tells nobody apart and protects nobody."""
    facts = verify(pl.DataFrame({"q": [None, None], "s": [None, None]}), ["q"], ["s"])
    assert (facts["k"], facts["l"]["s"], facts["t_equal"]["s"]) == (2, 0, 0.0)


@pytest.mark.parametrize("columns", list(itertools.permutations(["q", "other", "child"])))
def test_the_order_of_columns_changes_nothing(columns: tuple[str, ...]) -> None:
    """Names that the verifier uses inside its own queries must not be taken for columns of the data."""
    frame = pl.DataFrame({"q": ["p", "p", "r"], "other": ["a", "b", "a"], "child": ["1", "1", "2"]})
    renamed = frame.select(columns).rename({"q": "size", "other": "value", "child": "SIZE"})
    facts = verify(renamed, ["size"], ["value"], "SIZE")
    assert (facts["k"], facts["classes"], facts["l"]) == (1, 2, {"value": 1})


def join_by_hand(left: dict[str, set[str]], right: dict[str, set[str]]) -> int:
    signatures: dict[tuple[frozenset[str], frozenset[str]], int] = {}
    for subject in set(left) | set(right):
        key = (frozenset(left.get(subject, ())), frozenset(right.get(subject, ())))
        signatures[key] = signatures.get(key, 0) + 1
    return min(signatures.values(), default=0)


pairs = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xy")), max_size=14)


@settings(max_examples=80, deadline=None)
@given(pairs, pairs)
def test_join_equals_a_count_by_hand(left: list[tuple[str, str]], right: list[tuple[str, str]]) -> None:
    """Several rows per child, children in one dataset only: the attacker sees all of it."""
    schema = {"pseudonym": pl.String, "q": pl.String}
    frames = {
        "left": pl.DataFrame(left, schema=schema, orient="row"),
        "right": pl.DataFrame(right, schema=schema, orient="row"),
    }
    by_subject: list[dict[str, set[str]]] = [{}, {}]
    for mapping, data in zip(by_subject, (left, right), strict=True):
        for subject, value in data:
            mapping.setdefault(subject, set()).add(value)
    facts = verify_join(frames, "pseudonym", {"left": ["q"], "right": ["q"]})
    assert facts["k"] == join_by_hand(*by_subject)
    assert facts["subjects"] == len({subject for subject, _ in left + right})


def test_two_safe_tables_can_be_unsafe_together() -> None:
    """Each has k = 2 on its own and their join singles everybody out: the reason for this function."""
    subjects = ["a", "b", "c", "d"]
    left = pl.DataFrame({"pseudonym": subjects, "sex": ["f", "f", "m", "m"], "why": ["1", "2", "1", "2"]})
    right = pl.DataFrame({"pseudonym": subjects, "age": ["5", "6", "5", "6"]})
    assert verify(left, ["sex"], subject="pseudonym")["k"] == verify(right, ["age"], subject="pseudonym")["k"] == 2
    facts = verify_join(
        {"left": left, "right": right}, "pseudonym", {"left": ["sex"], "right": ["age"]}, {"left": ["why"]}
    )
    assert facts == {"subjects": 4, "classes": 4, "k": 1, "l": {"left.why": 1}}


def test_join_refuses_what_it_was_not_told() -> None:
    """A dataset without named quasi-identifiers would count as harmless."""
    frame = pl.DataFrame({"pseudonym": ["a"]})
    with pytest.raises(VerificationError, match="right"):
        verify_join({"left": frame, "right": frame}, "pseudonym", {"left": []})
    with pytest.raises(VerificationError, match="other"):
        verify_join({"left": frame}, "pseudonym", {"left": [], "other": []})
