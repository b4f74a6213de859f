"""CSV and Parquet: what is read, and that every damaged file is refused before a row is used."""

from __future__ import annotations

import gzip
import pickle

import polars as pl
import pytest

from merajut_assets.contracts.base import SourceFormat
from merajut_assets.sources.reader import read

GOOD = "ID,Name,City\n1,Siti Rahmawati,Medan\n2,,Padang\n"


def read_csv(bench, content, name="people.csv", **options):
    bench.put(name, content)
    return bench.read(SourceFormat.CSV, name, **options)


def refused_csv(bench, content, name="people.csv", **options):
    bench.put(name, content)
    return bench.refusal(lambda: bench.read(SourceFormat.CSV, name, **options))


def test_a_plain_file_is_read_as_text_under_contract_names(bench):
    """Types are the contract's business: "007" must stay "007"."""
    table = read_csv(bench, "City,ID,Name\nMedan,007,Siti Rahmawati\n")
    assert table.frame.to_dicts() == [{"person_id": "007", "full_name": "Siti Rahmawati", "city": "Medan"}]
    assert set(table.frame.dtypes) == {pl.String()}
    assert table.undeclared == ()
    assert table.original is not None
    assert table.modified_at.tzinfo is not None


def test_empty_text_is_null_quoted_or_not(bench):
    """Completeness is measured by nulls; an empty string would count as filled."""
    table = read_csv(bench, 'ID,Name,City\n1,,""\n')
    assert table.frame.row(0) == ("1", None, None)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(bench, encoding):
    """Exports of spreadsheet programs begin with one; the first column was then 'missing'."""
    assert read_csv(bench, GOOD.encode(encoding)).frame["person_id"].to_list() == ["1", "2"]


def test_separator_line_ends_and_quoted_separators(bench):
    """A semicolon, Windows line ends and a line end inside quotation marks are ordinary CSV."""
    table = read_csv(bench, 'ID;Name;City\r\n1;"Siti; ""R""\r\nB";Medan\r\n', separator=";")
    assert table.frame["full_name"].to_list() == ['Siti; "R"\r\nB']


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_a_stated_encoding_is_honoured(bench, encoding):
    table = read_csv(bench, "ID,Name,City\n1,Zoë,Curaçao\n".encode(encoding), encoding=encoding)
    assert table.frame.row(0) == ("1", "Zoë", "Curaçao")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32"])
def test_another_encoding_than_stated_is_refused(bench, encoding):
    """Guessing would turn names into others; nobody would notice."""
    error = refused_csv(bench, "ID,Name,City\n1,Siti Rahmawati,Curaçao\n".encode(encoding))
    assert error.rule == "encoding"


def test_an_encoding_error_late_in_the_file_names_its_line(bench):
    rows = b"1,Siti Rahmawati,Medan\n" * 100_000
    error = refused_csv(bench, b"ID,Name,City\n" + rows + b"2,\xff,Medan\n")
    assert error.rule == "encoding"
    assert "line 100002" in error.detail


def test_ragged_rows_are_refused_with_their_number_and_not_their_text(bench):
    """Polars fills short rows with null in silence: a cut-off file would pass."""
    for row in ("2,Siti Rahmawati\n", "2,Siti Rahmawati,Medan,extra\n"):
        error = refused_csv(bench, GOOD + row)
        assert error.rule == "ragged_row"
        assert "1 row(s)" in error.detail
        assert "record 3" in error.detail


def test_a_file_cut_off_in_its_last_row_is_refused(bench):
    assert refused_csv(bench, GOOD + "3,Siti Rahma").rule == "ragged_row"


@pytest.mark.parametrize("content", [GOOD + '3,"Siti Rahmawati,Medan\n4,x,y\n', 'ID,"Name,City\n1,Siti,Medan\n'])
def test_an_open_quotation_mark_is_refused(bench, content):
    """It swallows all the rows behind it into one value."""
    assert refused_csv(bench, content).rule == "open_quotation"


def test_nul_characters_are_refused(bench):
    error = refused_csv(bench, "ID,Name,City\n1,Siti\0 Rahmawati,Medan\n")
    assert error.rule == "nul"
    assert "line 2" in error.detail


@pytest.mark.parametrize("content", ["", " \n\n", "\ufeff"])
def test_a_file_without_content_is_refused(bench, content):
    """An export that failed half-way leaves an empty file; that is not "no rows today"."""
    assert refused_csv(bench, content).rule == "empty"


def test_a_header_without_rows_is_a_table_without_rows(bench):
    table = read_csv(bench, "ID,Name,City\n")
    assert table.frame.shape == (0, 3)
    assert table.frame.columns == ["person_id", "full_name", "city"]


def test_an_absent_file_is_refused_by_its_relative_place(bench):
    error = bench.refusal(lambda: bench.read(SourceFormat.CSV, "sources/{source}.csv"))
    assert error.rule == "absent"
    assert "sources/people.csv" in error.detail


def test_a_missing_column_is_named(bench):
    error = refused_csv(bench, "ID,Name\n1,Siti Rahmawati\n")
    assert (error.rule, error.column) == ("missing_column", "City")
    assert "contracts/conftest.py" in error.remedy


def test_a_new_column_is_refused_by_name(bench):
    error = refused_csv(bench, "ID,Name,City,Religion\n1,Siti Rahmawati,Medan,x\n")
    assert (error.rule, error.column) == ("undeclared_column", "Religion")


def test_dropped_columns_are_left_behind_and_named(bench):
    bench.put("people.csv", "ID,Religion,Name,City,Note\n1,x,Siti Rahmawati,Medan,y\n")
    system = bench.system(SourceFormat.CSV, "people.csv")
    for drops in (("Religion", "Note"), ("*",)):
        table = read(bench.contract(drops=drops), system, bench.location)
        assert table.undeclared == ("Religion", "Note")
        assert table.frame.columns == ["person_id", "full_name", "city"]


def test_a_column_named_twice_is_refused(bench):
    """Which of the two is meant cannot be known."""
    error = refused_csv(bench, "ID,Name,City,Name\n1,Siti Rahmawati,Medan,x\n")
    assert (error.rule, error.column) == ("duplicate_column", "Name")


def test_values_of_a_file_without_header_are_not_shown_as_names(bench):
    """Without its header row, the first person of the file would be quoted as column names."""
    assert refused_csv(bench, "1,Siti Rahmawati,Medan\n2,x,y\n").rule == "header"
    error = refused_csv(bench, "ID,Name,City,3275014107890002\n1,Siti Rahmawati,Medan,x\n")
    assert "3275" not in str(error)
    assert "1 whose name is not shown" in error.detail


@pytest.mark.parametrize("first", ["Siti,Rahmawati,Medan", "1,Siti,City", "Siti,Siti,City", "Siti,City,City"])
def test_single_words_of_a_file_without_header_are_not_shown_either(bench, first):
    """A first name looks like a name of a column. One value that happens to be called like a declared column
    makes no header of a row: the declared columns that are missing are named, and nothing else."""
    bench.put("people.csv", f"{first}\n2,Rahmawati,Padang\n")
    system = bench.system(SourceFormat.CSV, "people.csv")
    for drops in ((), ("*",)):
        error = bench.refusal(lambda at=drops: read(bench.contract(drops=at), system, bench.location))
        assert error.rule in {"header", "missing_column"}
        assert error.column in {"ID", "Name"}


def test_a_dropped_column_whose_name_is_a_value_is_counted_without_it(bench):
    """What is left behind is told in metadata, which everybody reads."""
    bench.put("people.csv", "ID,Name,City,Siti Rahmawati,Religion\n1,Siti,Medan,x,y\n")
    table = read(bench.contract(drops=("*",)), bench.system(SourceFormat.CSV, "people.csv"), bench.location)
    assert table.undeclared == ("(name not shown)", "Religion")


def test_compressed_files_are_read_and_damaged_ones_refused(bench):
    whole = gzip.compress(GOOD.encode())
    assert read_csv(bench, whole, "people.csv.gz").frame.height == 2
    for damaged in (whole[:-6], whole[:20], b"no gzip at all"):
        assert refused_csv(bench, damaged, "people.csv.gz").rule == "compression"


def test_wrong_options_are_refused_as_such(bench):
    assert refused_csv(bench, GOOD, separator="||").rule == "option"
    assert refused_csv(bench, GOOD, encoding="klingon").rule == "option"


def test_errors_cross_process_borders(bench):
    """A step may run in a process of its own; the error must come back whole."""
    error = refused_csv(bench, "ID,Name\n1,x\n")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.rule, again.column) == (str(error), error.rule, error.column)


def test_parquet_keeps_its_types(bench):
    frame = pl.DataFrame({"ID": ["1"], "Name": [""], "City": [7], "Note": ["x"]})
    path = bench.put("people.parquet", b"")
    frame.drop("Note").write_parquet(path)
    table = bench.read(SourceFormat.PARQUET, "{source}.parquet")
    assert table.frame.row(0) == ("1", None, 7)
    frame.write_parquet(path)
    assert bench.refusal(lambda: bench.read(SourceFormat.PARQUET, "{source}.parquet")).rule == "undeclared_column"


def test_damaged_parquet_is_refused(bench):
    path = bench.put("people.parquet", b"")
    pl.DataFrame({"ID": ["1"], "Name": ["Siti Rahmawati"], "City": ["x"]}).write_parquet(path)
    whole = path.read_bytes()
    for damaged in (whole[:-10], b"PAR1", b"x" * 100, whole[:4] + b"\0" * (len(whole) - 12) + whole[-8:]):
        bench.put("people.parquet", damaged)
        assert bench.refusal(lambda: bench.read(SourceFormat.PARQUET, "people.parquet")).rule == "damaged"
    bench.put("people.parquet", b"")
    assert bench.refusal(lambda: bench.read(SourceFormat.PARQUET, "people.parquet")).rule == "empty"
