"""Reads JSON: a list of records, a list somewhere inside an object, or one record per line.

Option of a JSON system: `records`, the dotted path to the list (`result.items`); without it
the document is the list. An object inside a record becomes columns with a dotted name
(`address.city`); a list stays one value, as JSON text. A column has the type that all its
values share, and is text where they differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from merajut_assets.sources.files import encoding_of, opened, read_text
from merajut_assets.sources.records import Batches
from merajut_assets.sources.request import RawTable, TableRequest


def read_json(request: TableRequest) -> RawTable:
    """A JSON document; held in memory as a whole (use JSON lines for what is large).

    SourceError: invalid JSON (with its line), a key twice in one object, no list of records
    where the option says, and all that `TableRequest.wanted` refuses."""
    text = read_text(request)
    try:
        document = _decode(text)
    except json.JSONDecodeError as error:
        raise _invalid(request, error.lineno) from None
    except (ValueError, RecursionError):
        raise _invalid(request, None) from None
    path = request.option("records")
    for key in path.split(".") if path else ():
        document = document.get(key) if isinstance(document, dict) else None
    if not isinstance(document, list):
        raise request.error(
            "records",
            f"there is no list of records at {path!r}" if path else "the document is no list of records",
            "export the table again, or correct the option records in the system's contract",
        )
    return _collected(request, enumerate(document, start=1), "record")


def read_json_lines(request: TableRequest) -> RawTable:
    """One JSON object per line; blank lines are passed over. Read in a stream.

    SourceError: an invalid line (by its number), and what `read_json` refuses."""
    encoding = encoding_of(request)

    def lines() -> Iterable[tuple[int, Any]]:
        with opened(request) as stream:
            # Splitting bytes keeps the line numbers right whatever the text holds; only
            # encodings in which a line end is one byte may be read by lines.
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode(encoding if number == 1 or encoding != "utf-8-sig" else "utf-8")
                except UnicodeDecodeError:
                    raise request.error(
                        "encoding",
                        f"line {number} is not {encoding.removesuffix('-sig')}",
                        "export it as UTF-8, or state the option encoding in the system's contract",
                    ) from None
                if not text.strip():
                    continue
                try:
                    record = _decode(text)
                except (ValueError, RecursionError):
                    raise _invalid(request, number) from None
                yield number, record

    return _collected(request, lines(), "line")


def _collected(request: TableRequest, records: Iterable[tuple[int, Any]], unit: str) -> RawTable:
    header: dict[str, None] = {}
    batches = Batches(list(request.declared))
    count = 0
    for number, record in records:
        if not isinstance(record, dict):
            raise request.error(
                "records", f"{unit} {number} is no object", "export the table as one JSON object per record"
            )
        flat = _flat(record) if any(isinstance(value, dict) for value in record.values()) else record
        header.update(dict.fromkeys(flat))
        batches.add(flat)
        count += 1
    if not count:
        # An empty list is a table without rows: nothing can be said about its columns.
        if unit == "line":
            raise request.error("empty", f"the file {request.place} has no record", "export it again")
        return RawTable(batches.frame(), tuple(request.declared))
    request.wanted(list(header))
    return RawTable(batches.frame(), tuple(header))


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _decode(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _refuse_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


def _invalid(request: TableRequest, line: int | None) -> Exception:
    return request.error(
        "invalid_json",
        f"line {line} is no valid JSON" if line else "the document is no valid JSON or names a key twice",
        "the file is cut off or damaged: export it again",
    )
