"""What an XMP packet says at its top level is read, however it is written; what a stranger adds does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.images.xmp import property_texts, top_level_values
from tests.pictures import xmp

CREATED = "http://ns.adobe.com/xap/1.0/ CreateDate"
ATTRIBUTE = xmp('xmp:CreateDate="2005-01-01"')
ELEMENT = xmp(elements="<xmp:CreateDate>2005-01-01</xmp:CreateDate>")


def created(packet):
    return top_level_values(packet, (CREATED,)).get(CREATED)


@pytest.mark.parametrize(
    "packet",
    [
        ATTRIBUTE,
        ELEMENT,
        ATTRIBUTE.replace(b"xmp:", b"ns0:").replace(b"ns:meta", b"ns:meta").replace(b"xmlns:xmp=", b"xmlns:ns0="),
        ATTRIBUTE.decode().encode("utf-16"),
        ATTRIBUTE + b"\0" * 100,
        ELEMENT[: ELEMENT.index(b"</rdf:Description>")],
        xmp('xmp:CreateDate="&#50;005-01-01"'),
    ],
)
def test_property_is_read_in_every_spelling(packet):
    assert created(packet) == "2005-01-01"


def test_other_documents_in_a_packet_do_not_count():
    inner = '<rdf:li><rdf:Description xmp:CreateDate="1999-01-01"/></rdf:li>'
    pantry = f"<xmpMM:Pantry><rdf:Bag>{inner}</rdf:Bag></xmpMM:Pantry>"
    assert created(xmp(elements=pantry)) is None
    assert created(xmp(elements=pantry + "<xmp:CreateDate>2005-01-01</xmp:CreateDate>")) == "2005-01-01"


def test_packet_with_a_document_type_has_no_values(tmp_path):
    (tmp_path / "secret").write_text("2005-01-01")
    entity = f'<!ENTITY a SYSTEM "{(tmp_path / "secret").as_uri()}">'
    laughs = '<!ENTITY a "2005-01-01">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    for declared, used in ((entity, "a"), (laughs, "a"), (laughs, "k")):
        packet = xmp(elements=f"<xmp:CreateDate>&{used};</xmp:CreateDate>", before=f"<!DOCTYPE x [{declared}]>")
        assert created(packet) is None


def test_long_packet_is_read_at_its_beginning():
    filler = "<!-- " + "x" * (5 << 20) + " -->"
    assert created(xmp('xmp:CreateDate="2005-01-01"', filler)) == "2005-01-01"
    assert created(xmp(elements=filler + "<xmp:CreateDate>2005-01-01</xmp:CreateDate>")) is None


def test_of_many_texts_the_first_ten_thousand_are_read():
    packet = xmp(elements="<xmp:CreateDate><rdf:Bag>" + "<rdf:li>2005</rdf:li>" * 20_000)
    assert len(property_texts(packet, {CREATED: (CREATED,)})) == 10_000


def test_attributes_and_elements_of_a_property_are_read_in_their_order():
    packet = xmp('xmp:CreateDate="2005-01-01"', "<xmp:CreateDate>2006-01-01</xmp:CreateDate>")
    assert created(packet) == "2005-01-01"


@given(st.binary(max_size=60), st.integers(0, len(ELEMENT)))
def test_damaged_packet_raises_nothing(junk, at):
    created(ELEMENT[:at] + junk + ELEMENT[at:])
    created(junk)


@pytest.mark.timeout(30)  # one that looked through all that is open at each of them took minutes
def test_documents_one_in_the_other_are_read_in_their_length():
    head = ATTRIBUTE[: ATTRIBUTE.index(b"<rdf:Description")]
    nested = b"<rdf:RDF><rdf:Description>" * 80_000
    assert created(head + b"<rdf:Description>" + nested) is None
    assert created(ATTRIBUTE.replace(b"</rdf:RDF>", nested)) == "2005-01-01"
