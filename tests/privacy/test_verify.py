"""The verifier is the last gate: it must find what is wrong without being told where."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import VerificationError, verify, verify_join
from merajut_assets.privacy import verify as verify_function

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


def test_the_verifier_shares_no_code_with_the_anonymiser() -> None:
    """A fault in shared code would hide itself from its own check."""
    path = Path(verify_function.__code__.co_filename)
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not {name for name in imported if name and name.startswith("merajut_assets")}


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
