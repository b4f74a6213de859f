"""Every type that a column may have, in every role: it works, or it is refused by column, type and remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merajut_assets.privacy import DataError, Policy, VerificationError, anonymise, assess_risk, verify
from merajut_assets.privacy.certificate import verify_certificate
from merajut_assets.privacy.history import signatures
from merajut_assets.privacy.requirements import judge

KEY = bytes(range(32))
SECRET = "secret-value"
ROLES: dict[str, dict[str, Any]] = {
    "sensitive": {"sensitive": {"v": {"l_diversity": {"l": 2}, "t_closeness": {"kind": "ordered", "t": 0.9}}}},
    "subject": {"subject": "v"},
    "exact": {"exact": ["v"], "k": 1},
}
# One that CSV has no form for, that DuckDB is not handed by Arrow, or that had to be told apart otherwise.
ODD = {
    "Binary": pl.Series([b"\xff", b"b"]),
    "Duration": pl.Series([timedelta(days=1), timedelta(seconds=1)]),
    "Int128": pl.Series([1, 2**100], dtype=pl.Int128),
    "UInt128": pl.Series([2**100, 2**100 + 1], dtype=pl.UInt128),
    "Float16": pl.Series([0.5, 1.5], dtype=pl.Float16),
    "Time": pl.Series(["08:00:00", "09:00:00"]).str.to_time(),
}
REFUSED = {
    "List": pl.Series([[SECRET], ["b"]], dtype=pl.List(pl.Enum([SECRET, "b"]))),
    "Array": pl.Series([[SECRET], ["b"]], dtype=pl.Array(pl.String, 1)),
    "Struct": pl.Series([{"a": SECRET}, {"a": "b"}]),
    "Object": pl.Series([object(), object()], dtype=pl.Object),
}
WITHOUT_TEXT = {name: ODD[name] for name in ("Binary", "Duration", "Time")}


def policy_of(**changes: Any) -> Policy:
    return Policy.model_validate({"quasi_identifiers": {"zip": {"prefix": [2, 1, 0]}}, "k": 2, **changes})


def frame_of(values: pl.Series, times: int = 3) -> pl.DataFrame:
    return pl.DataFrame({"zip": ["11", "12"] * times, "v": pl.concat([values] * times)})


def refused(ask: Callable[[], Any], error: type[Exception], type_name: str) -> None:
    with pytest.raises(error, match=rf"'v' has .*{type_name}.*; \w+") as caught:
        ask()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_what_can_be_compared_works_everywhere(values: pl.Series, role: str, search: str) -> None:
    """A duration was anonymised, and then its certificate ended in an error of the CSV writer."""
    frame, policy = frame_of(values), policy_of(**ROLES[role], search=search)
    release = anonymise(frame, policy, digest_key=KEY)
    assert release.frame is not None
    assert release.frame.get_column("v").sort().equals(frame.get_column("v").sort())
    verdict = judge(release.frame, frame, policy, release.report["transformation"])
    assert (verdict.broken, verdict.not_verified) == ([], [])
    risk = assess_risk(release.frame, policy.class_columns, subject=policy.subject)
    assert risk["prosecutor"]["highest"] == 1 / verdict.facts["k"]
    if search == "optimal":
        certificate = release.report["certificate"]
        assert verify_certificate(frame.reverse(), policy, certificate, digest_key=KEY)["valid"]
        other = frame.with_columns(v=pl.concat([values[:1]] * frame.height))
        problems = verify_certificate(other, policy, certificate, digest_key=KEY)["problems"]
        assert "the certificate is of another frame" in problems


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_sorted_is_refused_at_the_entrance(values: pl.Series, role: str) -> None:
    """Raw errors of the libraries may quote values, and come after minutes of work; an Enum's type names its values."""
    frame, policy = frame_of(values, times=1), policy_of(**ROLES[role])
    certificate = anonymise(frame.with_columns(v=pl.int_range(pl.len())), policy).report["certificate"]
    refused(lambda: anonymise(frame, policy), DataError, str(values.dtype.base_type()))
    refused(lambda: verify_certificate(frame, policy, certificate), DataError, str(values.dtype.base_type()))
    if role != "sensitive":
        ask = lambda: assess_risk(frame, policy.class_columns, subject=policy.subject)  # noqa: E731
        refused(ask, DataError, str(values.dtype.base_type()))


@pytest.mark.parametrize("values", (REFUSED | WITHOUT_TEXT).values(), ids=REFUSED | WITHOUT_TEXT)
def test_a_quasi_identifier_needs_a_text(values: pl.Series) -> None:
    """Its labels are texts, by which it is compared with a population, too."""
    frame = frame_of(values, times=1)
    policy = Policy.model_validate({"quasi_identifiers": {"v": {"prefix": [1, 0]}}, "k": 1})
    refused(lambda: anonymise(frame, policy), DataError, str(values.dtype.base_type()))
    refused(lambda: assess_risk(frame, ["v"], population=frame), DataError, str(values.dtype.base_type()))


@pytest.mark.parametrize("values", WITHOUT_TEXT.values(), ids=WITHOUT_TEXT)
def test_what_is_looked_up_by_its_text_needs_one(values: pl.Series, tmp_path: Path) -> None:
    """A tree's leaves, an order that is listed, and what earlier releases showed are compared as texts."""
    (tmp_path / "tree.csv").write_text("a;*\nb;*\n", encoding="utf-8")
    frame, name = frame_of(values), str(values.dtype.base_type())
    closeness = [
        {"kind": "ordered", "t": 0.5, "order": ["a", "b"]},
        {"kind": "hierarchical", "t": 0.5, "hierarchy": tmp_path / "tree.csv"},
    ]
    for rule in closeness:
        policy = policy_of(sensitive={"v": {"t_closeness": rule}})
        refused(lambda policy=policy: anonymise(frame, policy), DataError, name)
    for role in ROLES:
        subject = {} if role == "subject" else {"subject": "zip"}
        policy = policy_of(**{"quasi_identifiers": {"q": {"prefix": [1, 0]}}, **ROLES[role], **subject})
        wide = frame.with_columns(q=pl.lit("x"))
        refused(lambda policy=policy, wide=wide: anonymise(wide, policy, history=pl.DataFrame()), DataError, name)


def test_what_the_verifier_cannot_count_is_refused() -> None:
    """DuckDB is handed a frame by Arrow, which has no objects: the error named neither the column nor a remedy."""
    frame = frame_of(REFUSED["Object"], times=1)
    refused(lambda: verify(frame, ["zip"], ["v"]), VerificationError, "Object")
    refused(lambda: verify(frame, ["v"]), VerificationError, "Object")
    refused(lambda: verify(frame, ["zip"], [], "v"), VerificationError, "Object")


@pytest.mark.parametrize("values", [REFUSED["Struct"], *ODD.values()], ids=["Struct", *ODD])
def test_the_verifier_counts_whatever_can_be_grouped(values: pl.Series) -> None:
    """It knows nothing of roles: a structure in a table that somebody else made must be measured, too."""
    facts = verify(frame_of(values).with_columns(q="v"), ["q"], ["v"])
    assert (facts["classes"], facts["k"], facts["l"]["v"], facts["t_equal"]["v"]) == (2, 3, 1, 0.5)


# ── one zero ─────────────────────────────────────────────────────────────────────────────

ZEROS = pl.Series([0.0, -0.0])
HISTORY = ("release", "subject", "partition", "class")


@pytest.mark.parametrize("search", ["optimal", "local"])
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_both_zeros_are_one_exact_value(search: str, dtype: type[pl.DataType]) -> None:
    """The verifier refused a right release: its labels were compared as texts, of which there were two. And whoever
    reads the release as text would have told apart a class of k."""
    frame, policy = frame_of(ZEROS.cast(dtype)), policy_of(exact=["v"], search=search)
    release = anonymise(frame, policy, digest_key=KEY)
    assert release.frame is not None
    assert release.frame.get_column("v").cast(pl.String).to_list() == ["0.0"] * 6
    assert judge(release.frame, frame, policy, release.report["transformation"]).broken == []
    # Nor does the verifier rest on the engine's having one zero only.
    signed = release.frame.with_columns(v=pl.concat([ZEROS.cast(dtype)] * 3))
    assert judge(signed, frame, policy, release.report["transformation"]).broken == []
    if search == "optimal":
        for same in (frame, frame.reverse()):
            answer = verify_certificate(same, policy, release.report["certificate"], digest_key=KEY)
            assert answer["valid"], answer["problems"]


@pytest.mark.parametrize("search", ["optimal", "local"])
def test_both_zeros_are_one_value_of_a_hierarchy(search: str, tmp_path: Path) -> None:
    """Which of the two stood for both depended on the order of the rows, and only one is in the file."""
    (tmp_path / "v.csv").write_text("0.0;low;*\n1.0;low;*\n2.0;high;*\n", encoding="utf-8")
    values = [-0.0, 0.0, 1.0, 2.0] * 3
    policy = Policy.model_validate(
        {"quasi_identifiers": {"v": {"hierarchy": tmp_path / "v.csv"}}, "k": 3, "search": search}
    )
    for one in (values, values[::-1]):
        frame = pl.DataFrame({"v": one})
        release = anonymise(frame, policy)
        assert release.frame is not None
        assert release.frame.get_column("v").unique().sort().to_list() == ["0.0", "1.0", "2.0"]
        assert judge(release.frame, frame, policy, release.report["transformation"]).broken == []


def test_both_zeros_are_one_label_of_a_population() -> None:
    """As texts they would be two, and everybody in the table outside of the population."""
    table, people = pl.DataFrame({"v": [-0.0] * 2}), pl.DataFrame({"v": [0.0] * 4})
    risk = assess_risk(table, ["v"], population=people)
    assert risk["journalist"]["highest"] == 0.25
    assert risk["population_uniqueness"]["rows_outside_population"] == 0


def test_both_zeros_are_one_partition_over_releases() -> None:
    """A child whose exact value changed its sign would have been left out as one who had moved."""
    frame = pl.DataFrame({"zip": ["11", "12"] * 3, "who": [f"p{n}" for n in range(6)], "v": [0.0] * 6})
    policy = policy_of(subject="who", exact=["v"])
    first = anonymise(frame, policy, history=pl.DataFrame(schema=dict.fromkeys(HISTORY, pl.String)))
    assert first.frame is not None
    history = signatures(first.frame, policy, KEY).with_columns(release=pl.lit("1"))
    second = anonymise(frame.with_columns(v=-pl.col("v")), policy, history=history)
    assert second.frame is not None
    assert second.report["suppressed"] == 0


TYPED = {
    "Float64": pl.Series([1e16, 1e-7, 0.0, -0.0]),
    "Float32": pl.Series([0.1, 1e20], dtype=pl.Float32),
    "Datetime": pl.Series([datetime(2020, 1, 1), datetime(2020, 1, 2, 3, 4, 5, 600)]),
    "moment in a zone": pl.Series([datetime(2020, 1, 1), datetime(2021, 1, 1)]).dt.replace_time_zone("Asia/Jakarta"),
    "Date": pl.Series([date(2020, 1, 1), date(999, 1, 1)]),
    "Boolean": pl.Series([True, False]),
    "Decimal": pl.Series([Decimal("1.10"), Decimal("2.00")]),
    "Int128": ODD["Int128"],
}


@pytest.mark.parametrize("values", TYPED.values(), ids=TYPED)
def test_values_are_found_by_one_text_in_orders_and_trees(values: pl.Series, tmp_path: Path) -> None:
    """DuckDB writes floats and moments otherwise than Polars: the verifier did not find in a hierarchy what the engine
    had found, and refused what was well made."""
    frame = pl.DataFrame({"zip": ["11", "12"] * 6, "v": pl.concat([values] * (12 // len(values)))})
    texts = list(dict.fromkeys(values.sort().cast(pl.String).str.replace(r"^-(0\.0)$", "$1")))
    tree = tmp_path / "tree.csv"
    tree.write_text("".join(f"{text};{place % 2};*\n" for place, text in enumerate(texts)))
    for closeness in ({"kind": "hierarchical", "hierarchy": tree}, {"kind": "ordered", "order": texts}):
        policy = policy_of(sensitive={"v": {"t_closeness": {**closeness, "t": 0.5}}})
        release = anonymise(frame, policy, digest_key=KEY)
        assert release.frame is not None
        verdict = judge(release.frame, frame, policy, release.report["transformation"])
        assert (verdict.broken, verdict.not_verified) == ([], [])
        assert verify_certificate(frame, policy, release.report["certificate"], digest_key=KEY)["valid"]


@pytest.mark.parametrize("dtype", [pl.Time, pl.Duration("ns"), pl.Datetime("ns"), pl.Datetime("ns", "Asia/Jakarta")])
def test_moments_that_differ_are_counted_as_different(dtype: pl.DataType) -> None:
    """By the text of a time of day, or in microseconds, ten classes of one were a class of ten."""
    moments = pl.int_range(10, eager=True).cast(pl.Int64).cast(dtype).alias("q")
    facts = verify(moments.to_frame(), ["q"])
    assert (facts["k"], facts["classes"]) == (1, 10)
    facts = verify(pl.DataFrame({"q": ["a"] * 10, "s": moments}), ["q"], ["s"])
    assert facts["l"]["s"] == 10
    if dtype != pl.Datetime("ns"):
        for nested in (moments.reshape((10, 1)), moments.implode(), moments.to_frame("at").to_struct("q")):
            with pytest.raises(VerificationError, match=r"'q' holds, within a .*; make columns"):
                verify(nested.alias("q").to_frame(), ["q"])


def test_presence_is_a_share_of_people() -> None:
    """Rows of one subject were counted as so many people: half of four people passed for all of them."""
    frame = pl.DataFrame({"zip": ["11"] * 4, "v": [1, 1, 2, 2]})
    people = pl.DataFrame({"zip": ["11"] * 4})
    presence = {"delta_presence": {"min": 0.9, "max": 1.0}, "subject": "v"}
    with pytest.raises(DataError, match=r"'v' holds subjects with several rows.*; make one row"):
        anonymise(frame, policy_of(**presence), population=people)
    one_row_each = frame.with_columns(v=pl.int_range(pl.len()))
    assert anonymise(one_row_each, policy_of(**presence), population=people).report["solution"]
