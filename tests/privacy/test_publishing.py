"""Rows that are counted are published as rows that are written one by one would be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, anonymise, utility_report
from merajut_assets.privacy.counting import Packed, tally
from merajut_assets.privacy.hierarchy import distinct_values, ranked_columns
from merajut_assets.privacy.requirements import judge

POLICY: dict[str, Any] = {
    "quasi_identifiers": {"place": {"prefix": [2, 1, 0]}, "age": {"intervals": [0, 2, 4], "then": [2, "*"]}},
    "k": 2,
    "suppression_limit": 0.3,
}
ROWS = st.lists(
    st.tuples(st.sampled_from(["aa", "ab", "ba", None]), st.integers(0, 4), st.sampled_from(["x", "y", None])),
    min_size=1,
    max_size=60,
)


def frame_of(rows: list[tuple[str | None, int, str | None]]) -> pl.DataFrame:
    schema = {"place": pl.String, "age": pl.Int64, "finding": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


@given(rows=ROWS, exact=st.booleans())
def test_counted_rows_are_published_like_single_ones(
    rows: list[tuple[str | None, int, str | None]], exact: bool
) -> None:
    """Alike rows are sorted and written as one with a count; a count too many or too few would go unnoticed in
    every figure of the report. A float column is never counted, and tells nothing here, so that it takes the
    other path."""
    frame = frame_of(rows)
    policy = Policy.model_validate({**POLICY, "exact": ["finding"] if exact else []})
    for columns in (["place", "age", "finding"], *([] if exact else [["place", "age"]])):
        counted = anonymise(frame.select(columns), policy)
        single = anonymise(frame.select(columns).with_columns(number=0.5), policy)
        if single.frame is None:
            assert counted.frame is None
            continue
        assert counted.frame is not None
        assert counted.frame.equals(single.frame.drop("number"))
        assert counted.frame.height == len(rows) - counted.report["suppressed"]


def test_the_sign_of_a_zero_is_kept() -> None:
    """Columns that are no quasi-identifiers stay as they are, also where values compare as equal."""
    frame = pl.DataFrame({"place": ["aa"] * 12, "number": [0.0, -0.0, 1.0] * 4})
    policy = Policy.model_validate({"quasi_identifiers": {"place": {"prefix": [2, 0]}}, "k": 2})
    published = anonymise(frame, policy).frame
    assert published is not None
    signs = sorted(math.copysign(1.0, value) for value in published.get_column("number"))
    assert signs == [-1.0] * 4 + [1.0] * 8


@given(rows=ROWS, single=st.booleans())
def test_as_enum_the_same_is_published_and_no_category_more(
    rows: list[tuple[str | None, int, str | None]], single: bool
) -> None:
    """Texts as small numbers carry a list of what they stand for: with a value of suppressed rows in it, the list
    would publish what the rows do not."""
    frame = frame_of(rows).with_columns(*([pl.lit(0.5).alias("number")] if single else []))
    policy = Policy.model_validate(POLICY)
    texts = anonymise(frame, policy).frame
    listed = anonymise(frame, policy, as_enum=True).frame
    if texts is None:
        assert listed is None
        return
    assert listed is not None
    for name in policy.quasi_identifiers:
        column = listed.get_column(name)
        assert isinstance(column.dtype, pl.Enum)
        assert column.dtype.categories.to_list() == column.cast(pl.String).drop_nulls().unique().sort().to_list()
        assert column.cast(pl.String).to_list() == texts.get_column(name).to_list()
    assert listed.drop(*policy.quasi_identifiers).equals(texts.drop(*policy.quasi_identifiers))


def test_no_category_of_a_suppressed_row_is_written(tmp_path: Path) -> None:
    """Parquet and Arrow files hold the list of an Enum's categories, whether they occur or not: the value of a row that
    was suppressed because it is the only one of its kind would be in what everybody gets."""
    kinds = pl.Enum(["common", "only one"])
    values = ["common"] * 11 + ["only one"]
    for categories in (kinds, pl.Categorical()):
        frame = pl.DataFrame(
            {
                "place": values,
                "finding": values,
                "nested": [[value] for value in values],
                "packed": [{"inside": [value]} for value in values],
                # An Array of Categorical does not exist.
                "fixed": [[value] for value in values],
            },
            schema={
                "place": categories,
                "finding": categories,
                "nested": pl.List(categories),
                "packed": pl.Struct({"inside": pl.List(categories)}),
                "fixed": pl.Array(kinds if categories is kinds else pl.String, 1),
            },
        )
        policy = {"quasi_identifiers": {"place": {"prefix": [20]}}, "k": 2, "suppression_limit": 0.1}
        for columns in (["place", "finding"], frame.columns):
            for as_enum in (False, True):
                release = anonymise(frame.select(columns), Policy.model_validate(policy), as_enum=as_enum)
                assert release.frame is not None
                assert release.report["suppressed"] == 1
                path = tmp_path / "release"
                for write in (release.frame.write_parquet, release.frame.write_ipc):
                    write(path, compression="uncompressed")
                    assert b"common" in path.read_bytes()
                    assert b"only one" not in path.read_bytes()


def test_the_order_of_an_enum_is_what_distances_are_measured_in() -> None:
    """Its texts are published, and by the alphabet "high" comes before "low" and "middle" after it: the verifier and
    the report on utility would then measure another distance than the search kept."""
    order = ["low", "middle", "high"]
    text = pl.DataFrame({"place": ["aa", "ab"] * 18, "grade": ["low", "middle", "high", "high", "low", "low"] * 6})
    listed = text.with_columns(pl.col("grade").cast(pl.Enum(order)), pl.col("place").cast(pl.Categorical))

    def policy(*named: str) -> Policy:
        closeness = {"kind": "ordered", "t": 0.3, **({"order": named} if named else {})}
        sensitive = {"grade": {"t_closeness": closeness}}
        return Policy.model_validate(
            {"quasi_identifiers": {"place": {"prefix": [2, 1]}}, "sensitive": sensitive, "k": 2}
        )

    expected, release = anonymise(text, policy(*order)), anonymise(listed, policy(), as_enum=True)
    assert release.frame is not None
    assert expected.frame is not None
    assert release.frame.schema["grade"] == pl.String
    assert release.frame.cast(pl.String).equals(expected.frame)
    verdict = judge(release.frame, listed, policy(), release.report["transformation"])
    assert verdict == judge(expected.frame, text, policy(*order), expected.report["transformation"])
    assert not verdict.broken
    assert utility_report(listed, release, policy()) == utility_report(text, expected, policy(*order))


@given(
    values=st.one_of(
        st.lists(st.one_of(st.none(), st.text(max_size=2))).map(lambda v: pl.Series(v, dtype=pl.String)),
        st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62))).map(lambda v: pl.Series(v, dtype=pl.Int64)),
        st.lists(st.one_of(st.none(), st.integers(-128, 127))).map(lambda v: pl.Series(v, dtype=pl.Int8)),
        st.lists(st.one_of(st.none(), st.booleans())).map(lambda v: pl.Series(v, dtype=pl.Boolean)),
        st.lists(st.one_of(st.none(), st.dates())).map(lambda v: pl.Series(v, dtype=pl.Date)),
        st.lists(st.one_of(st.none(), st.binary(max_size=1))).map(lambda v: pl.Series(v, dtype=pl.Binary)),
    )
)
def test_values_are_numbered_without_gaps_and_in_order(values: pl.Series) -> None:
    """Everything is counted, sorted and published by these numbers: one wrong number is somebody else's value."""
    ranked = ranked_columns([values])[0]
    for distinct, places in (distinct_values(values), ranked):
        assert distinct.dtype == values.dtype
        assert distinct.n_unique() == len(distinct) == values.n_unique()
        assert distinct.gather(places).to_list() == values.to_list()
    assert ranked[0].to_list() == values.unique().sort(nulls_last=True).to_list()


@given(
    rows=st.lists(st.lists(st.integers(0, 255), min_size=12, max_size=12), max_size=30),
    size=st.sampled_from([256, 2**20]),
)
def test_packed_columns_come_back(rows: list[list[int]], size: int) -> None:
    """Twelve columns of a million values each do not fit into one number of 64 bits: they are renumbered on the
    way, and different rows must keep different keys."""
    columns = [pl.Series([row[place] for row in rows], dtype=pl.UInt8).to_numpy() for place in range(12)]
    packed = Packed(columns, [size] * 12)
    distinct, counts = tally(packed.numbers)
    back = list(zip(*(column.tolist() for column in packed.columns_of(distinct)), strict=True))
    assert sorted(back) == sorted({tuple(row) for row in rows})
    assert [rows.count(list(row)) for row in back] == counts.tolist()
