"""JSON documents and JSON lines: shapes, types, and the refusal of everything that is neither."""

from __future__ import annotations

import json

import polars as pl
import pytest

from merajut_assets.contracts.base import SourceFormat

ONE = {"ID": "1", "Name": "Siti Rahmawati", "City": "Medan"}


def refused(bench, content, source_format=SourceFormat.JSON, **options):
    bench.put("people.json", content)
    return bench.refusal(lambda: bench.read(source_format, "people.json", **options))


def rows(bench, content, source_format=SourceFormat.JSON, **options):
    bench.put("people.json", content)
    return bench.read(source_format, "people.json", **options).frame


@pytest.mark.parametrize(
    ("document", "options"),
    [([ONE], {}), ({"records": [ONE]}, {"records": "records"}), ({"a": {"b": [ONE]}}, {"records": "a.b"})],
)
def test_a_list_of_records_is_found_where_the_contract_says(bench, document, options):
    frame = rows(bench, json.dumps(document), **options)
    assert frame.to_dicts() == [{"person_id": "1", "full_name": "Siti Rahmawati", "city": "Medan"}]


def test_lines_are_read_with_mark_and_blank_lines(bench):
    content = "\ufeff" + json.dumps(ONE) + "\r\n\n" + json.dumps({**ONE, "ID": "2", "Name": ""})
    frame = rows(bench, content, SourceFormat.JSON_LINES)
    assert frame["person_id"].to_list() == ["1", "2"]
    assert frame["full_name"].to_list() == ["Siti Rahmawati", None]


def test_types_are_those_that_all_values_share(bench):
    """A column that changes its type half-way becomes text, so that no value is lost in silence."""
    many = [{"ID": i, "Name": None, "City": i} for i in range(60_000)] + [{"ID": 60_000, "Name": None, "City": "x"}]
    frame = rows(bench, json.dumps(many))
    assert frame.schema == {"person_id": pl.Int64, "full_name": pl.String, "city": pl.String}
    assert frame["city"].to_list()[-2:] == ["59999", "x"]
    assert frame["city"].null_count() == 0


def test_large_whole_numbers_keep_all_their_digits(bench):
    """A NIK typed as a number beside a fraction would lose digits as a float."""
    frame = rows(bench, json.dumps([{**ONE, "City": 9_999_999_999_999_999}, {**ONE, "City": 0.5}]))
    assert frame["city"].to_list() == ["9999999999999999", "0.5"]
    assert rows(bench, json.dumps([{**ONE, "City": 2**70}]))["city"].to_list() == [str(2**70)]


def test_objects_inside_a_record_become_dotted_columns(bench):
    content = json.dumps([{**ONE, "address": {"street": "x", "geo": {"lat": 1}}}])
    error = refused(bench, content)
    assert "address.street" in error.detail
    assert "address.geo.lat" in error.detail


def test_lists_are_kept_as_json_text(bench):
    assert rows(bench, json.dumps([{**ONE, "City": ["a", "ü"]}]))["city"].to_list() == ['["a", "ü"]']


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ('[{"ID": "1", "Name": "Siti Rahmawati"', "invalid_json"),
        ('[{"ID": "1", "ID": "2", "Name": "Siti Rahmawati", "City": "x"}]', "invalid_json"),
        ('[{"ID": NaN, "Name": "Siti Rahmawati", "City": "x"}]', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"ID": "1", "Name": "Siti Rahmawati"}', "records"),
        ('"Siti Rahmawati"', "records"),
        ('["Siti Rahmawati"]', "records"),
        (json.dumps([ONE]).encode("utf-16"), "encoding"),
        (b'[{"ID": "\xff"}]', "encoding"),
        ('[{"ID": "\0"}]', "nul"),
        (json.dumps([{"ID": "1", "Name": "Siti Rahmawati"}]), "missing_column"),
        (json.dumps([{**ONE, "Religion": "x"}]), "undeclared_column"),
    ],
)
def test_bad_documents_are_refused(bench, content, rule):
    assert refused(bench, content).rule == rule


def test_a_document_without_the_stated_list_is_refused(bench):
    assert refused(bench, json.dumps({"other": [ONE]}), records="records").rule == "records"
    assert refused(bench, json.dumps([ONE]), records="records").rule == "records"


def test_an_empty_list_is_a_table_without_rows(bench):
    frame = rows(bench, '{"records": []}', records="records")
    assert frame.columns == ["person_id", "full_name", "city"]
    assert frame.height == 0


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b'{"ID": "2", "Name": "Siti Rahma', "invalid_json"),
        (b"Siti Rahmawati", "invalid_json"),
        (b'{"ID": "2"} {"ID": "3"}', "invalid_json"),
        (b'{"ID": "2", "ID": "Siti Rahmawati"}', "invalid_json"),
        (b'{"ID": "\xff"}', "encoding"),
        (b'{"ID": "\0"}', "invalid_json"),
        (b'["Siti Rahmawati"]', "records"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_never_quoted(bench, line, rule):
    content = json.dumps(ONE).encode() + b"\n\n" + line + b"\n" + json.dumps(ONE).encode()
    error = refused(bench, content, SourceFormat.JSON_LINES)
    assert error.rule == rule
    assert "line 3" in error.detail


def test_lines_without_a_record_are_refused(bench):
    assert refused(bench, "", SourceFormat.JSON_LINES).rule == "empty"
    assert refused(bench, "\n\n", SourceFormat.JSON_LINES).rule == "empty"
