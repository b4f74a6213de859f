"""Reads XML: one element per record, and the codelists of SDMX structure messages.

Options of an XML system: `record`, the name of the record's element (default: the children of
the root). Attributes and child elements of a record are its columns; what lies deeper is
named by its path (`address/city`, `amount/@currency`). Names are taken without their
namespace. Options of an SDMX system: `language` of the names (default `en`).

No entity is ever resolved and nothing fetched: a document with a document type declaration
is refused, since none of our sources has a reason to send one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from merajut_assets.sources.files import opened
from merajut_assets.sources.records import Batches
from merajut_assets.sources.request import RawTable, TableRequest

CODELIST_COLUMNS = ("id", "name", "description", "parent")
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def read_xml(request: TableRequest) -> RawTable:
    """The records of an XML file, read in a stream; every value is text.

    SourceError: not well-formed or cut off (with its line), a document type declaration or an
    entity, a declared element twice in one record, and what `TableRequest.wanted` refuses."""
    name = request.option("record")
    batches = Batches(list(request.declared))
    header: dict[str, None] = {}
    count = 0
    for number, element in enumerate(_elements(request, name), start=1):
        values: dict[str, str | None] = {}
        _collect(request, element, "", values, number)
        header.update(dict.fromkeys(values))
        batches.add(values)
        count = number
    if not count:
        if name is None:
            return RawTable(batches.frame(), tuple(request.declared))
        return _without_records(request, name, batches)
    request.wanted(list(header))
    return RawTable(batches.frame(), tuple(header))


def read_sdmx_codelist(request: TableRequest) -> RawTable:
    """The codes of the codelist named by the table, with columns `id`, `name`, `description`
    and `parent`.

    SourceError: no such codelist in the file, no code with an id, and what `read_xml` refuses."""
    language = request.option("language", "en") or "en"
    wanted = request.wanted(CODELIST_COLUMNS)
    batches = Batches(wanted)
    is_found = False
    for codelist in _elements(request, "Codelist"):
        if codelist.get("id") != request.source:
            continue
        is_found = True
        for code in codelist.iterchildren("{*}Code"):
            batches.add(_code(code, language))
    if not is_found:
        raise request.error(
            "absent", f"the file {request.place} has no codelist of the declared name", "fetch the right codelist"
        )
    return RawTable(batches.frame(), CODELIST_COLUMNS)


def _without_records(request: TableRequest, name: str, batches: Batches) -> RawTable:
    """A root without children is a table without rows; one with other children is not ours."""
    if any(True for _ in _elements(request, None)):
        raise request.error(
            "records",
            f"the document has elements, but none named {name!r}",
            "export the table again, or correct the option record in the system's contract",
        )
    return RawTable(batches.frame(), tuple(request.declared))


def _elements(request: TableRequest, name: str | None) -> Iterator[Any]:
    """Elements of that local name, or the children of the root; each is freed after use."""
    with opened(request) as stream:
        # remove_comments and remove_pis keep text in one piece: "a<!-- -->b" is one value.
        events = etree.iterparse(
            stream,
            events=("start", "end"),
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        depth = 0
        inside = False
        try:
            for event, element in events:
                if event == "start":
                    if depth == 0:
                        _refuse_document_type(request, element)
                    depth += 1
                    is_record = depth == 2 if name is None else _local(element.tag) == name
                    if is_record and not inside:
                        inside, record_depth = True, depth
                    continue
                depth -= 1
                if inside and depth + 1 == record_depth:
                    inside = False
                    yield element
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            # libxml2's own message quotes names and text of the document.
            raise request.error(
                "malformed_xml",
                f"the document is not well-formed near line {error.lineno}",
                "the file is cut off or damaged: export it again",
            ) from None


def _refuse_document_type(request: TableRequest, root: Any) -> None:
    information = root.getroottree().docinfo
    if information.internalDTD is not None or information.doctype:
        raise request.error(
            "document_type",
            "the document declares a document type or entities",
            "export it without DOCTYPE: entities are never resolved",
        )


def _collect(request: TableRequest, element: Any, prefix: str, values: dict[str, str | None], number: int) -> None:
    """Attributes and descendants of a record into `values`, under their paths."""
    for key, value in element.attrib.items():
        name = _local(key)
        _put(request, values, f"{prefix}@{name}" if prefix else name, value, number)
    for child in element:
        if not isinstance(child.tag, str):  # an entity that was left unresolved
            raise request.error(
                "document_type", f"record {number} uses an entity", "export it without entities of its own"
            )
        path = prefix + _local(child.tag)
        if len(child) or child.attrib:
            _collect(request, child, path + "/", values, number)
        if not len(child) or (child.text or "").strip():
            _put(request, values, path, child.text, number)


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _put(request: TableRequest, values: dict[str, str | None], name: str, value: str | None, number: int) -> None:
    if name in values and name in request.declared:
        raise request.error(
            "repeated_element",
            f"record {number} holds the element more than once",
            "export one value per record, or the repeated part as a table of its own",
            column=name,
        )
    values[name] = value or None


def _code(code: Any, language: str) -> dict[str, str | None]:
    def text(tag: str) -> str | None:
        named = [child for child in code.iterchildren(f"{{*}}{tag}") if child.get(_XML_LANGUAGE) == language]
        return named[0].text if named else None

    parent = code.find("{*}Parent/{*}Ref")
    return {
        "id": code.get("id"),
        "name": text("Name"),
        "description": text("Description"),
        "parent": parent.get("id") if parent is not None else None,
    }
