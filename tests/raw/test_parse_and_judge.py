"""Parsing and judging: no row is lost, no bad cell passes, and no message shows one."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import Column, PrivacyClass
from merajut_assets.raw import landing
from merajut_assets.sources.request import SourceError

REPOSITORY = Path(__file__).parents[2]
MARKER = "PENANDA-RAHASIA-7f3a"


def column(dtype: pl.DataType, source_format: str | None = None) -> Column:
    return Column("x", dtype, PrivacyClass.OPERATIONAL, "x", source_format=source_format)


def cast(values: pl.Series, dtype: pl.DataType, source_format: str | None = None) -> list[object]:
    return (
        values.alias("x")
        .to_frame()
        .select(landing._cast(values.dtype, column(dtype, source_format)).alias("x"))["x"]
        .to_list()
    )


def texts(*values: str | None) -> pl.Series:
    return pl.Series("x", values, dtype=pl.String)


def rules(parsed: landing.Parsed, contract) -> list[str | None]:
    return landing.judge(parsed, contract).to_list()


# ── cells ────────────────────────────────────────────────────────────────────────────────


def test_dates_exist_and_are_written_as_declared():
    """chrono takes one-digit days and short years; 5/2/12 would become a day in the year 12."""
    given_texts = texts("2015-02-28", "2015-02-30", "2015-2-3", "15-02-03", "2015/02/03", "2016-02-29", " 2015-02-03 ")
    expected = [date(2015, 2, 28), None, None, None, None, date(2016, 2, 29), date(2015, 2, 3)]
    assert cast(given_texts, pl.Date()) == expected
    british = texts("05/02/2012", "5/2/2012", "31/04/2012", "2012-02-05", "02/13/2012", "05/02/12")
    assert cast(british, pl.Date(), "%d/%m/%Y") == [date(2012, 2, 5), None, None, None, None, None]


def test_times_are_utc_and_complete():
    """A time without zone could be any of three Indonesian ones; a short one was cut."""
    given_texts = texts("2026-01-02T03:04:05Z", "2026-1-2T3:4:5Z", "26-01-02T03:04:05Z", "2026-01-02 03:04:05", "x")
    assert cast(given_texts, pl.Datetime("us")) == [datetime(2026, 1, 2, 3, 4, 5), None, None, None, None]
    aware = pl.Series([datetime(2026, 1, 2, 3)]).dt.replace_time_zone("Asia/Jakarta")
    assert cast(aware, pl.Datetime("us")) == [datetime(2026, 1, 1, 20)]


def test_times_are_written_as_declared():
    """A declared form of times was ignored: every row of such a column was refused, for a reason nobody saw."""
    given_texts = texts("31/12/2026 23.59", "2026-12-31T23:59:00Z", "1/2/2026 3.04", "31/02/2026 00.00", None)
    expected = [datetime(2026, 12, 31, 23, 59), None, None, None, None]
    assert cast(given_texts, pl.Datetime("us"), "%d/%m/%Y %H.%M") == expected


@pytest.mark.parametrize(
    ("dtype", "form", "told"),
    [
        (pl.Date(), None, "written as %Y-%m-%d"),
        (pl.Date(), "%d/%m/%Y", "written as %d/%m/%Y"),
        (pl.Datetime("us"), None, "written as %Y-%m-%dT%H:%M:%SZ"),
        (pl.Datetime("us"), "%d/%m/%Y %H.%M", "written as %d/%m/%Y %H.%M"),
        (pl.Boolean(), None, "one of true, 1, yes, false, 0, no"),
        (pl.Int64(), None, "whole numbers"),
        (pl.Float64(), None, "numbers, 1234.5"),
    ],
)
def test_a_retyped_column_says_which_form_was_expected(children, dtype, form, told):
    """ "No date" helps nobody who looks at a column full of dates, in another form."""
    source = texts(*["kapan-kapan"] * 20)
    with pytest.raises(SourceError) as caught:
        landing._refuse_retyped(children, column(dtype, form), source.is_not_null(), source)
    assert f"(expected: {told})" in str(caught.value)
    assert "kapan" not in str(caught.value)


def test_truth_values():
    """7 is no truth value, whatever a cast makes of it."""
    given_texts = texts("true", "FALSE", "1", "0", "Yes", "no", "ya", "2", "")
    assert cast(given_texts, pl.Boolean()) == [True, False, True, False, True, False, None, None, None]
    assert cast(pl.Series([0, 1, 7]), pl.Boolean()) == [False, True, None]
    assert cast(pl.Series([True, None]), pl.Boolean()) == [True, None]


def test_whole_numbers_do_not_lose_their_fraction():
    """A cast from 3.7 to 3 is silent; the next sum is wrong."""
    assert cast(texts("3", "+3", "-3", "3.7", "3.0", "1e3", "0x1f"), pl.Int64()) == [3, 3, -3, None, None, None, None]
    assert cast(pl.Series([3.0, 3.7, float("nan")]), pl.Int64()) == [3, None, None]
    assert cast(pl.Series([True, False]), pl.Int64()) == [None, None]


def test_numbers_are_finite():
    """NaN is greater than every number: it passes "not less than zero" and poisons every mean."""
    assert cast(texts("1.5", " 2", "NaN", "inf", "-Infinity", "1,5"), pl.Float64()) == [
        1.5,
        2.0,
        None,
        None,
        None,
        None,
    ]
    assert cast(pl.Series([1.5, float("nan"), float("inf")]), pl.Float64()) == [1.5, None, None]
    assert cast(pl.Series([2]), pl.Float64()) == [2.0]


def test_texts_are_trimmed_and_blank_is_nothing():
    """Two spellings of one id that differ by a space would be two people."""
    assert cast(texts(" a ", "", "   ", None), pl.String()) == ["a", None, None, None]
    assert cast(pl.Series([3273014502120001]), pl.String()) == ["3273014502120001"]
    assert cast(pl.Series([1.0]), pl.String()) == [None]


def test_blank_cells_are_missing_and_not_wrong(children, source_children):
    """A blank optional cell once refused the whole row for its "type"."""
    parsed = landing.parse(source_children({"exit_date": "  ", "nik": " "}, {"abuse_type": " "}), children)
    assert parsed.failures == {}
    assert rules(parsed, children) == [None, None]


# ── tables ───────────────────────────────────────────────────────────────────────────────


def test_a_retyped_column_is_refused_by_name_with_a_remedy(children, source_children):
    """Half a table of unreadable dates is another export, and no dirt: rows must not drain into quarantine."""
    source = source_children(*[{"birth_date": "05/02/2012"}] * 12)
    with pytest.raises(SourceError) as caught:
        landing.parse(source, children)
    assert (caught.value.rule, caught.value.column, caught.value.table) == ("retyped", "birth_date", "children")
    assert "contracts/panti.py" in str(caught.value)
    assert "05/02/2012" not in str(caught.value)


def test_a_retyped_column_of_a_shared_module_names_that_module():
    """The register of schools is declared in schools.py: a remedy that names no file helps nobody."""
    contract = registry.raw_table("world_bank", "population")
    source = pl.DataFrame({one.name: ["x"] * 10 for one in contract.columns})
    with pytest.raises(SourceError, match=r"contracts/statistics_sources\.py"):
        landing.parse(source, contract)


def test_few_bad_cells_are_dirt(children, source_children):
    """Nine bad dates of nine are a small table, not a changed one."""
    parsed = landing.parse(source_children(*[{"birth_date": "x"}] * 9), children)
    assert rules(parsed, children) == ["birth_date.type"] * 9


def test_what_cannot_be_parsed_is_kept_as_it_was(children, source_children):
    """Raw's rows are the archive once the original is gone; a lost cell could never be put right."""
    parsed = landing.parse(source_children({}, {"birth_date": "2015-02-30", "admission_date": "soon"}), children)
    assert parsed.frame[landing.UNPARSED][0] is None
    kept = parsed.frame[landing.UNPARSED].str.json_decode(
        pl.Struct({"birth_date": pl.String, "admission_date": pl.String})
    )
    assert kept[1] == {"birth_date": "2015-02-30", "admission_date": "soon"}
    assert set(parsed.failures) == {"birth_date", "admission_date"}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"birth_date": "2015-02-30"}, "birth_date.type"),
        ({"birth_date": None}, "birth_date.required"),
        ({"sex": "P"}, "sex.allowed"),
        ({"village_code": "3273011001"}, "village_code.format"),
        ({"birth_date": "1899-12-31"}, "birth_date.range"),
        ({"birth_date": "2021-01-01"}, "admission_after_birth"),
        ({"exit_date": "2019-01-01"}, "exit_after_admission"),
        ({"child_id": None}, "child_id.required"),
        ({"nik": "not a number"}, None),
        ({"abuse_type": None}, None),
    ],
)
def test_each_rule_refuses_its_row_under_its_name_and_no_other(children, source_children, change, rule):
    """Quarantine, metadata and the truth file speak of rules by these names."""
    parsed = landing.parse(source_children({}, change, {}), children)
    assert rules(parsed, children) == [None, rule, None]


def test_a_row_may_break_several_rules(children, source_children):
    """A steward who puts one right must not find the next only a day later."""
    parsed = landing.parse(source_children({"sex": "P", "village_code": "x", "admission_date": "x"}), children)
    assert rules(parsed, children)[0].split(",") == ["admission_date.type", "sex.allowed", "village_code.format"]
    assert landing.count_rules(landing.judge(parsed, children)) == {
        "admission_date.type": 1,
        "sex.allowed": 1,
        "village_code.format": 1,
    }


def test_of_rows_with_one_key_the_newest_counts(children, source_children):
    """Sources send a row again when it changes; the older one must not win by its place in the file."""
    source = source_children(
        {"child_id": "A", "modified_at": "2026-01-01T00:00:00Z"},
        {"child_id": "A", "modified_at": "2026-03-01T00:00:00Z"},
        {"child_id": "B"},
        {"child_id": "A", "modified_at": "2026-02-01T00:00:00Z"},
        {"child_id": None},
        {"child_id": None},
    )
    found = rules(landing.parse(source, children), children)
    assert found == ["child_id.unique", None, None, "child_id.unique", "child_id.required", "child_id.required"]


def test_without_times_of_change_the_first_row_of_a_key_counts():
    """The partner authority's return has none; the result must not depend on chance."""
    frame = pl.DataFrame({"child_id": ["1", "1", "2"], "day": [1, 1, 1]})
    assert landing.older_duplicates(frame, ("child_id", "day"), None).to_list() == [False, True, False]


def test_a_row_that_is_refused_makes_no_other_one_outdated(source_children, children):
    """One typing error in the newest of three rows once took the two others along."""
    new, newest = ({"child_id": "CH-1", "modified_at": f"2026-0{month}-01T00:00:00Z"} for month in (2, 3))
    parsed = landing.parse(source_children({}, new, {**newest, "sex": "P"}), children)
    assert landing.judge(parsed, children).to_list() == ["child_id.unique", None, "sex.allowed"]


def test_the_tables_that_came_are_whole(children, source_children):
    """An empty table is no error: a new institution has no incidents yet."""
    parsed = landing.parse(source_children(), children)
    assert parsed.frame.height == 0
    assert rules(parsed, children) == []


# ── pandera ──────────────────────────────────────────────────────────────────────────────


def test_pandera_would_skip_data_checks_on_a_lazy_frame_and_our_path_does_not(children, source_children):
    """The trap in the tool: a million rows with a thousand bad ones passed in milliseconds."""
    frame = landing.parse(source_children({"sex": "P"}), children).frame.drop(landing.UNPARSED)
    children.model.validate(frame.lazy(), lazy=True)  # passes: that is the trap
    with pytest.raises(pa.errors.SchemaErrors):
        children.model.validate(frame, lazy=True)
    assert [rule for rule, _ in landing.broken_rules(frame, children)] == ["sex.allowed"]


@pytest.mark.parametrize("variable", ["PANDERA_VALIDATION_ENABLED=False", "PANDERA_VALIDATION_DEPTH=SCHEMA_ONLY"])
def test_an_environment_variable_does_not_switch_the_checks_off(variable):
    """pandera obeys its environment; one variable on a server would have let every row pass."""
    code = (
        "import polars as pl; from datetime import date, datetime\n"
        "from merajut_assets.contracts import registry; from merajut_assets.raw import landing\n"
        "c = registry.raw_table('hris', 'employees')\n"
        "f = pl.DataFrame({n.name: [None] for n in c.columns}, schema={n.name: n.dtype for n in c.columns})\n"
        "print(len(landing.broken_rules(f, c)))\n"
    )
    name, value = variable.split("=")
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"PATH": "", "HOME": "/nonexistent", name: value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) > 0


def test_a_frame_of_other_types_is_refused_as_a_whole(children, source_children):
    """A mistake in our own code must not look like dirt in single rows."""
    frame = landing.parse(source_children({}), children).frame.drop(landing.UNPARSED)
    with pytest.raises(SourceError, match="declared columns and types"):
        landing.broken_rules(frame.with_columns(pl.col("birth_date").cast(pl.String)), children)


# ── no value in any message ──────────────────────────────────────────────────────────────


def test_no_message_shows_a_value(children, source_children, caplog):
    """pandera's failure cases and Polars' errors quote what they stumbled over."""
    caplog.set_level(logging.DEBUG)
    messages = []
    for name in ("birth_date", "modified_at"):
        with pytest.raises(SourceError) as caught:
            landing.parse(source_children(*[{name: MARKER}] * 10), children)
        messages += [str(caught.value), repr(caught.value), str(caught.value.__cause__), str(caught.value.__context__)]
    wide = dict.fromkeys(("sex", "village_code", "reason_for_care", "nik", "full_name"), MARKER)
    parsed = landing.parse(source_children(wide, {"birth_date": MARKER}), children)
    messages += [str(landing.judge(parsed, children).to_list()), caplog.text]
    assert not [message for message in messages if MARKER in message]


# ── properties ───────────────────────────────────────────────────────────────────────────

CELLS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(
        ["2015-02-30", "2012-02-05", "F", "P", "32.73.01.1001", "NaN", "", " ", "CH-1", "2026-01-01T00:00:00Z", "none"]
    ),
)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_row_and_no_text_is_ever_lost(data):
    """Whatever a source sends: every row is judged, and each filled cell is parsed or kept as it was."""
    contract = registry.raw_table("panti", "children")
    names = [one.name for one in contract.columns]
    rows = data.draw(st.lists(st.tuples(*[CELLS] * len(names)), max_size=9))
    source = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    parsed = landing.parse(source, contract)
    failed = landing.judge(parsed, contract)
    assert parsed.frame.height == failed.len() == len(rows)
    assert parsed.frame.columns == [*names, landing.UNPARSED]
    kept = parsed.frame[landing.UNPARSED].to_list()
    for position, row in enumerate(rows):
        for name, cell in zip(names, row, strict=True):
            if cell is None or parsed.frame[name][position] is not None:
                continue
            stripped = texts(cell).str.strip_chars()[0]
            if stripped:
                original = pl.Series([kept[position]]).str.json_path_match(f"$.{name}")[0]
                assert original == cell
                assert f"{name}.type" in failed[position].split(",")
    good = parsed.frame.filter(failed.is_null())
    assert good.height + failed.drop_nulls().len() == len(rows)
    assert landing.broken_rules(good.drop(landing.UNPARSED), contract) == []
    assert good["child_id"].n_unique() == good.height


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3).map(lambda day: datetime(2026, 1, day + 1))),
        max_size=8,
    )
)
def test_one_row_of_each_key_stays_and_none_is_newer(rows):
    """Two that stay would be double; none that stays would be lost."""
    frame = pl.DataFrame(rows, schema={"key": pl.String, "changed": pl.Datetime("us")}, orient="row")
    older = landing.older_duplicates(frame, ("key",), "changed")
    stay = frame.filter(~older)
    assert stay["key"].null_count() == frame["key"].null_count()
    named = stay.drop_nulls("key")
    assert sorted(named["key"]) == sorted(frame["key"].drop_nulls().unique())
    newest = frame.drop_nulls("key").group_by("key").agg(pl.col("changed").max()).sort("key")
    assert_series_equal(named.sort("key")["changed"], newest["changed"])


@settings(max_examples=60, deadline=None)
@given(masks=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), max_size=3))
def test_rules_are_joined_and_counted_alike(masks):
    """Metadata counts rules from the joined text; the two must agree."""
    broken = [(f"r{number}", pl.Series(mask)) for number, mask in enumerate(masks)]
    joined = landing.combine_rules(broken, 4)
    assert landing.count_rules(joined) == {rule: int(mask.sum()) for rule, mask in broken if mask.any()}
    assert [text is None for text in joined] == [not any(mask[row] for mask in masks) for row in range(4)]


def test_the_fingerprint_of_a_contract_knows_rules_and_not_words(children):
    """A changed rule must judge anew; a better description must not rewrite a table."""
    base = landing.contract_fingerprint(children)
    (first, *others) = children.columns

    def altered(**changes) -> str:
        contract = replace(children)
        contract.__dict__["columns"] = (replace(first, **changes), *others)
        return landing.contract_fingerprint(contract)

    assert altered() == base
    assert altered(description="better words") == base
    assert altered(token="nik") != base
    assert altered(references="ssda903.header.child_id") != base
    assert altered(required_when="sex = 'F'") != base
