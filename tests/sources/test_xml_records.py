"""XML records and SDMX codelists; nothing outside the document may ever be touched by it."""

from __future__ import annotations

import gzip
import resource

import pytest

from merajut_assets.contracts.base import SourceFormat
from merajut_assets.sources.reader import read

RECORD = "<record><ID>1</ID><Name>Siti Rahmawati</Name><City>Medan</City></record>"


def rows(bench, content, name="people.xml", **options):
    bench.put(name, content)
    return bench.read(SourceFormat.XML, name, **options).frame


def refused(bench, content, name="people.xml", **options):
    bench.put(name, content)
    return bench.refusal(lambda: bench.read(SourceFormat.XML, name, **options))


@pytest.mark.parametrize(
    "content",
    [
        f"<people>{RECORD}</people>",
        f"<p:people xmlns:p='urn:x' xmlns='urn:y'>{RECORD}</p:people>",
        "<people><record ID='1'><Name>Siti <!-- c -->Rahmawati</Name><City>Medan</City></record></people>",
        "<people><record ID='1' Name='Siti Rahmawati' City='Medan'/></people>",
        f"<people><head><x/></head><list>{RECORD}</list></people>",
    ],
)
def test_elements_and_attributes_of_a_record_are_its_columns(bench, content):
    frame = rows(bench, content, record="record")
    assert frame.row(0) == ("1", "Siti Rahmawati", "Medan")


def test_without_an_option_the_children_of_the_root_are_the_records(bench):
    frame = rows(bench, f"<people>{RECORD}{RECORD.replace('Medan', '')}</people>")
    assert frame["city"].to_list() == ["Medan", None]


def test_an_absent_element_is_null_and_other_encodings_are_the_parsers_business(bench):
    content = f"<?xml version='1.0' encoding='ISO-8859-1'?><p>{RECORD}<record><ID>é</ID></record></p>"
    frame = rows(bench, content.encode("latin-1"), record="record")
    assert frame.row(1) == ("é", None, None)


def test_deeper_elements_are_named_by_their_path(bench):
    extra = "<a unit='x'><b>1</b></a></record>"
    error = refused(bench, f"<p>{RECORD.replace('</record>', extra)}</p>", record="record")
    assert error.rule == "undeclared_column"
    assert "a/@unit" in error.detail
    assert "a/b" in error.detail


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "empty"),
        ("   ", "malformed_xml"),
        (f"<people>{RECORD}", "malformed_xml"),
        (f"<people>{RECORD[:40]}", "malformed_xml"),
        ("<people><record><Name>Siti Rahmawati</City></record></people>", "malformed_xml"),
        ("<people><record><Name>Siti & Rahmawati</Name></record></people>", "malformed_xml"),
        ("<people><record><Name>&Siti;</Name></record></people>", "malformed_xml"),
        (b"<people><record><Name>Siti \xff</Name></record></people>", "malformed_xml"),
        (f"<!DOCTYPE people><people>{RECORD}</people>", "document_type"),
        (f"<!DOCTYPE p [<!ENTITY a 'Siti Rahmawati'>]><p><record><ID>&a;</ID></record>{RECORD}</p>", "document_type"),
        (f"<!DOCTYPE p SYSTEM 'http://localhost:9/x.dtd'><p>{RECORD}</p>", "document_type"),
        ("<p><person><ID>1</ID></person></p>", "records"),
        (f"<p>{RECORD.replace('<City>', '<City>Siti Rahmawati</City><City>')}</p>", "repeated_element"),
        (f"<p>{RECORD.replace('City', 'Town')}</p>", "missing_column"),
    ],
)
def test_bad_documents_are_refused(bench, content, rule):
    assert refused(bench, content, record="record").rule == rule


def test_a_file_on_this_machine_is_never_read_through_an_entity(bench):
    """The classic leak: an export that asks the reader to include a local file."""
    secret = bench.put("secret.txt", "Siti Rahmawati")
    document = f"<!DOCTYPE p [<!ENTITY a SYSTEM 'file://{secret}'>]><p><record><ID>&a;</ID></record></p>"
    assert refused(bench, document, record="record").rule == "document_type"


def test_entities_that_multiply_are_refused_without_growing(bench):
    levels = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 12))
    document = f"<!DOCTYPE p [<!ENTITY l0 'ha'>{levels}]><p><record><ID>&l11;</ID></record></p>"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(bench, document, record="record").rule == "document_type"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_a_root_without_records_is_a_table_without_rows(bench):
    assert rows(bench, "<people/>", record="record").height == 0
    assert rows(bench, "<people></people>").height == 0


def test_compressed_documents(bench):
    whole = gzip.compress(f"<p>{RECORD * 500}</p>".encode())
    assert rows(bench, whole, "people.xml.gz", record="record").height == 500
    assert refused(bench, whole[:-5], "people.xml.gz", record="record").rule == "compression"


CODES = """<m:S xmlns:m="urn:m" xmlns:s="urn:s" xmlns:c="urn:c"><s:Codelist id="OTHER"><s:Code id="X"/></s:Codelist>
<s:Codelist id="people"><c:Name xml:lang="en">All</c:Name>
<s:Code id="A"><c:Name xml:lang="en">Anna</c:Name><c:Name xml:lang="fr">Anne</c:Name></s:Code>
<s:Code id="B"><c:Name xml:lang="en">Ben</c:Name><s:Parent><Ref id="A"/></s:Parent></s:Code></s:Codelist></m:S>"""


def test_codes_of_the_named_codelist_in_the_stated_language(bench):
    import pandera.polars as pa

    from merajut_assets.contracts.base import public

    class Codes(pa.DataFrameModel):
        """Codes."""

        code: str = public("Code", source_name="id", key=True)
        name: str = public("Name")
        parent: str = public("Parent")

    bench.put("codes.xml", CODES)
    contract = bench.contract(model=Codes, drops=("description",))
    english = read(contract, bench.system(SourceFormat.SDMX_STRUCTURE, "codes.xml"), bench.location)
    assert english.frame.rows() == [("A", "Anna", None), ("B", "Ben", "A")]
    french = read(contract, bench.system(SourceFormat.SDMX_STRUCTURE, "codes.xml", language="fr"), bench.location)
    assert french.frame["name"].to_list() == ["Anne", None]
    other = bench.contract(model=Codes, drops=("description",), source_name="NONE")
    error = bench.refusal(lambda: read(other, bench.system(SourceFormat.SDMX_STRUCTURE, "codes.xml"), bench.location))
    assert error.rule == "absent"
