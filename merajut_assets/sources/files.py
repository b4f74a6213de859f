"""Bytes and characters of source files: opening, decompressing, and the checks that every
text format shares (encoding, NUL characters, truncation of the compression).

Nothing here knows about columns or records.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from merajut_assets.sources.request import TableRequest

CHUNK_BYTES = 1 << 20
DEFAULT_ENCODING = "utf-8"

# Longest first: the mark of UTF-16 is the beginning of that of UTF-32.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def opened(request: TableRequest) -> Iterator[BinaryIO]:
    """The bytes of the table's file, decompressed when its name ends in `.gz`.

    SourceError: absent, empty, unreadable, or damaged compression (also while reading)."""
    path = request.existing_path()
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise request.error(
            "compression", f"the compressed file {request.place} is damaged or cut off", "transfer the file again"
        ) from None
    except OSError:
        raise request.error(
            "unreadable", f"the file {request.place} cannot be read", "check its permissions and the disk"
        ) from None


def encoding_of(request: TableRequest) -> str:
    """The declared encoding (option `encoding`), UTF-8 with or without mark unless stated."""
    encoding = request.option("encoding", DEFAULT_ENCODING) or DEFAULT_ENCODING
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise request.error(
            "option", "the contract's option encoding names no known encoding", "name one that Python knows"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


def decoded(request: TableRequest, stream: BinaryIO) -> Iterator[str]:
    """The characters of a text file, in chunks, byte order mark removed.

    SourceError: another encoding than declared, a NUL character, no content at all."""
    encoding = encoding_of(request)
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    line = 1
    is_empty = True
    first = True
    while True:
        chunk = stream.read(CHUNK_BYTES)
        if first:
            _refuse_foreign_mark(request, chunk, encoding)
            first = False
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += chunk[: error.start].count(b"\n")
            raise request.error(
                "encoding",
                f"the file is not {encoding.removesuffix('-sig')} near line {line}",
                "export it as UTF-8, or state the option encoding in the system's contract",
            ) from None
        if "\0" in text:
            line += text[: text.index("\0")].count("\n")
            raise request.error(
                "nul", f"the file holds a NUL character in line {line}", "it is damaged or binary: export it again"
            )
        line += text.count("\n")
        is_empty = is_empty and not text.strip()
        if text:
            yield text
        if not chunk:
            break
    if is_empty:
        raise request.error("empty", f"the file {request.place} has no content", "export it again")


def read_text(request: TableRequest) -> str:
    """The whole file as text; for formats that cannot be read in parts."""
    with opened(request) as stream:
        return "".join(decoded(request, stream))


def _refuse_foreign_mark(request: TableRequest, chunk: bytes, encoding: str) -> None:
    for mark, family in _BYTE_ORDER_MARKS:
        if chunk.startswith(mark):
            if encoding.startswith(family):
                return
            raise request.error(
                "encoding",
                f"the file begins with the byte order mark of {family}",
                f"export it as UTF-8, or state the option encoding={family} in the system's contract",
            )
