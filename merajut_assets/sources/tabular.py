"""Reads tables that are tables already: delimited text (CSV) and Parquet.

Options of a CSV system: `separator` (default a comma) and `encoding` (default UTF-8, with or
without byte order mark). Every value of a CSV file is text; Parquet keeps its own types.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from merajut_assets.sources.files import decoded, encoding_of, opened
from merajut_assets.sources.records import blank_to_null
from merajut_assets.sources.request import RawTable, TableRequest

_HEADER_CHARACTERS = 1 << 20
_BLOCK_BYTES = 8 << 20


def read_csv(request: TableRequest) -> RawTable:
    """A delimited text file; quoted fields may hold separators and line ends.

    SourceError: wrong encoding, NUL, empty file, open quotation mark, a row with more or fewer
    fields than the header, and all that `TableRequest.wanted` refuses."""
    separator = request.option("separator", ",") or ","
    if len(separator) != 1:
        raise request.error("option", "the option separator is not one character", "state one character")
    beginning, quotation_marks = _scan(request)
    if quotation_marks % 2:
        raise request.error(
            "open_quotation",
            "a quotation mark is never closed, or stands alone inside a field",
            "the file is cut off or not quoted as CSV asks: export it again",
        )
    header = _header(request, beginning, separator)
    wanted = request.wanted(header)
    counter = _RaggedRows(len(header))
    table = _parse(request, separator, wanted, counter, threads=True)
    if counter.count:
        first = _RaggedRows(len(header))
        _parse(request, separator, wanted, first, threads=False)
        raise request.error(
            "ragged_row",
            f"{counter.count} row(s) have another number of fields than the header ({len(header)}); "
            f"the first is record {first.first}",
            "the file is cut off or a field with a separator is not quoted: export it again",
        )
    return RawTable(cast(pl.DataFrame, pl.from_arrow(table)), tuple(header))


def read_parquet(request: TableRequest) -> RawTable:
    """A Parquet file, of which only the declared columns are read.

    SourceError: damaged or no Parquet at all, and all that `TableRequest.wanted` refuses."""
    path = request.existing_path()
    try:
        with path.open("rb") as stream:
            header = list(pl.read_parquet_schema(stream))
        wanted = request.wanted(header)
        with path.open("rb") as stream:
            frame = pl.read_parquet(stream, columns=wanted)
    except (pl.exceptions.PolarsError, OSError):
        raise request.error(
            "damaged", f"the file {request.place} is no Parquet file or cut off", "export or transfer it again"
        ) from None
    return RawTable(blank_to_null(frame.select(wanted)), tuple(header))


class _RaggedRows:
    """Counts the rows of another width than the header; the handler gets their text, which
    must go nowhere."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self.first: int | None = None

    def __call__(self, row: Any) -> str:
        self.count += 1
        if self.first is None and row.number is not None:
            self.first = row.number - 1  # the header is row 1
        return "skip"


def _scan(request: TableRequest) -> tuple[str, int]:
    """One pass over the characters: the beginning, and the number of quotation marks."""
    beginning, length, marks = [], 0, 0
    with opened(request) as stream:
        for text in decoded(request, stream):
            marks += text.count('"')
            if length < _HEADER_CHARACTERS:
                beginning.append(text)
                length += len(text)
    return "".join(beginning), marks


def _header(request: TableRequest, beginning: str, separator: str) -> list[str]:
    rows: Iterator[list[str]] = csv.reader(io.StringIO(beginning, newline=""), delimiter=separator)
    try:
        return next(row for row in rows if row)
    except (csv.Error, StopIteration):
        raise request.error(
            "header", "the header row cannot be read", "export the table again, with its header row"
        ) from None


def _parse(request: TableRequest, separator: str, wanted: list[str], ragged: _RaggedRows, *, threads: bool) -> pa.Table:
    encoding = encoding_of(request)
    try:
        return arrow_csv.read_csv(
            request.existing_path(),
            read_options=arrow_csv.ReadOptions(
                use_threads=threads,
                block_size=_BLOCK_BYTES,
                encoding="utf8" if encoding == "utf-8-sig" else encoding,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=ragged
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in wanted},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError):
        # Arrow's messages quote the row they stumbled over.
        raise request.error(
            "malformed", "the file cannot be parsed as delimited text", "check separator and quoting of the export"
        ) from None
