"""What programs write into XMP is read as each of them writes it; what a stranger adds does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations.xmp import xmp_annotations
from tests.annotations.files import items
from tests.pictures import xmp

RESOURCE = 'rdf:parseType="Resource"'


def texts(packet):
    return [(text.kind.value, text.source, text.text) for text in xmp_annotations(packet).texts]


def region(name, kind, *, is_short):
    """A region of a picture, as Lightroom writes it, or as ExifTool and digiKam do."""
    if is_short:
        attributes = f'mwg-rs:Name="{name}" mwg-rs:Type="{kind}"'
        return f"<rdf:li><rdf:Description {attributes}><mwg-rs:Area/></rdf:Description></rdf:li>"
    elements = f"<mwg-rs:Area/><mwg-rs:Name>{name}</mwg-rs:Name><mwg-rs:Type>{kind}</mwg-rs:Type>"
    return f"<rdf:li {RESOURCE}>{elements}</rdf:li>"


def test_title_and_description_are_read_in_all_their_languages():
    description = (
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">two dogs</rdf:li>'
        '<rdf:li xml:lang="de">zwei\nHunde</rdf:li><rdf:li xml:lang="en">two dogs</rdf:li>'
        "</rdf:Alt></dc:description>"
    )
    assert texts(xmp(elements=items("dc:title", "A walk", kind="Alt") + description)) == [
        ("title", "xmp:dc:title", "A walk"), ("caption", "xmp:dc:description", "two dogs"),
        ("caption", "xmp:dc:description", "zwei Hunde"),
    ]  # fmt: skip


def test_tags_with_levels_are_the_same_however_a_program_separates_them():
    elements = "".join(
        (
            items("dc:subject", "Paris", "caf\u00e9"),
            items("lr:hierarchicalSubject", "Places|France|Paris", "Band|AC/DC"),
            items("digiKam:TagsList", "Places/France/Paris", "/odd//", kind="Seq"),
            items("MicrosoftPhoto:LastKeywordXMP", "Places/France/Paris"),
        )
    )
    assert texts(xmp(elements=elements)) == [
        ("tag", "xmp:dc:subject", "Paris"), ("tag", "xmp:dc:subject", "café"),
        ("tag", "xmp:lr:hierarchicalSubject", "Places > France > Paris"),
        ("tag", "xmp:lr:hierarchicalSubject", "Band > AC/DC"), ("tag", "xmp:digiKam:TagsList", "odd"),
    ]  # fmt: skip


def test_namespace_of_windows_is_read_as_exiftool_writes_it():
    packet = xmp(elements=items("MicrosoftPhoto:LastKeywordXMP", "dog"))
    packet = packet.replace(b"http://ns.microsoft.com/photo/1.0/", b"http://ns.microsoft.com/photo/1.0")
    assert texts(packet) == [("tag", "xmp:MicrosoftPhoto:LastKeywordXMP", "dog")]


def test_levels_of_the_working_group_are_tags_each():
    leaf = f"<rdf:li {RESOURCE}><mwg-kw:Keyword>Paris</mwg-kw:Keyword></rdf:li>"
    tree = (
        f"<rdf:li {RESOURCE}><mwg-kw:Keyword>France</mwg-kw:Keyword>"
        f"<mwg-kw:Children><rdf:Bag>{leaf}</rdf:Bag></mwg-kw:Children></rdf:li>"
    )
    hierarchy = f"<mwg-kw:Hierarchy><rdf:Bag>{tree}</rdf:Bag></mwg-kw:Hierarchy>"
    packet = xmp(elements=f"<mwg-kw:Keywords {RESOURCE}>{hierarchy}</mwg-kw:Keywords>")
    assert {text for _, _, text in texts(packet)} == {"France", "Paris"}


@pytest.mark.parametrize("is_short", [True, False])
def test_names_of_faces_and_pets_are_persons_and_those_of_other_regions_are_tags(is_short):
    regions = "".join(
        region(name, kind, is_short=is_short)
        for name, kind in (("Anna", "Face"), ("Rex", "Pet"), ("the tower", "BarCode"), ("", "Focus"))
    )
    listed = f"<mwg-rs:RegionList><rdf:Bag>{regions}</rdf:Bag></mwg-rs:RegionList>"
    assert texts(xmp(elements=f"<mwg-rs:Regions {RESOURCE}>{listed}</mwg-rs:Regions>")) == [
        ("person", "xmp:mwg-rs:Regions:Name", "Anna"), ("person", "xmp:mwg-rs:Regions:Name", "Rex"),
        ("tag", "xmp:mwg-rs:Regions:Name", "the tower"),
    ]  # fmt: skip


def test_persons_are_read_in_both_forms_and_as_windows_writes_them():
    name = "<Iptc4xmpExt:PersonName><rdf:Alt><rdf:li>Ben</rdf:li></rdf:Alt></Iptc4xmpExt:PersonName>"
    details = f"<rdf:Bag><rdf:li {RESOURCE}>{name}</rdf:li></rdf:Bag>"
    windows = (
        "<rdf:Description><MPRI:Regions><rdf:Bag><rdf:li><rdf:Description "
        'MPReg:Rectangle="0, 0, 1, 1" MPReg:PersonDisplayName="Cara"/></rdf:li></rdf:Bag></MPRI:Regions>'
        "</rdf:Description>"
    )
    elements = (
        items("Iptc4xmpExt:PersonInImage", "Anna")
        + f"<Iptc4xmpExt:PersonInImageWDetails>{details}</Iptc4xmpExt:PersonInImageWDetails>"
        + f"<MP:RegionInfo>{windows}</MP:RegionInfo>"
    )
    assert texts(xmp(elements=elements)) == [
        ("person", "xmp:Iptc4xmpExt:PersonInImage", "Anna"),
        ("person", "xmp:Iptc4xmpExt:PersonInImageWDetails:PersonName", "Ben"),
        ("person", "xmp:MP:RegionInfo:PersonDisplayName", "Cara"),
    ]


def test_places_headline_and_creator_are_read_as_attributes_and_as_elements():
    shown = f"<rdf:Bag><rdf:li {RESOURCE}><Iptc4xmpExt:City>Bergen</Iptc4xmpExt:City></rdf:li></rdf:Bag>"
    packet = xmp(
        'photoshop:City="Oslo" photoshop:Headline="A walk" Iptc4xmpCore:Location="Frogner"',
        "<photoshop:State>Oslo fylke</photoshop:State><photoshop:Country>Norway</photoshop:Country>"
        f"<Iptc4xmpExt:LocationShown>{shown}</Iptc4xmpExt:LocationShown>" + items("dc:creator", "Anna", kind="Seq"),
    )
    assert sorted(texts(packet)) == [
        ("creator", "xmp:dc:creator", "Anna"), ("place", "xmp:Iptc4xmpCore:Location", "Frogner"),
        ("place", "xmp:Iptc4xmpExt:LocationShown:City", "Bergen"), ("place", "xmp:photoshop:City", "Oslo"),
        ("place", "xmp:photoshop:Country", "Norway"), ("place", "xmp:photoshop:State", "Oslo fylke"),
        ("title", "xmp:photoshop:Headline", "A walk"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("latitude", "longitude", "position"),
    [
        ("52,22.215N", "4,53.71E", (52.37025, 4.895167)),
        ("52,22,12.9S", "4,53,42.6W", (-52.37025, -4.895167)),
        ("91,0.0N", "4,53.71E", None),
        ("0,0.0N", "0,0.0E", None),
        ("52.37", "4,53.71E", None),
    ],
)
def test_position_is_read_as_xmp_writes_angles(latitude, longitude, position):
    packet = xmp(f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}"')
    assert xmp_annotations(packet).position == position


@pytest.mark.parametrize(
    ("attributes", "camera", "lens"),
    [
        ('tiff:Make="Canon" tiff:Model="Canon EOS R5" aux:Lens="RF35mm"', "Canon EOS R5", "RF35mm"),
        (
            'tiff:Make="FUJIFILM" tiff:Model="X-T3" aux:Lens="35" exifEX:LensModel="XF35mm"',
            "FUJIFILM X-T3",
            "XF35mm",
        ),
        ('tiff:Make="Canon" aux:Lens=" "', None, None),
        (f'tiff:Model="{"x" * 5_000}"', "x" * 100, None),
    ],
)
def test_camera_and_lens_are_read_as_exif_has_them(attributes, camera, lens):
    said = xmp_annotations(xmp(attributes))
    assert (said.camera, said.lens, said.texts) == (camera, lens, ())


def test_texts_of_other_documents_in_a_packet_do_not_count():
    inner = (
        f'<rdf:li><rdf:Description photoshop:City="Rome">{items("dc:subject", "cat")}</rdf:Description></rdf:li>'
    )
    pantry = f"<xmpMM:Pantry><rdf:Bag>{inner}</rdf:Bag></xmpMM:Pantry>"
    assert texts(xmp(elements=pantry + items("dc:subject", "dog"))) == [("tag", "xmp:dc:subject", "dog")]


def test_packet_with_entities_says_nothing():
    laughs = '<!ENTITY a "dog">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    for used in "ak":
        packet = xmp(elements=items("dc:subject", f"&{used};"), before=f"<!DOCTYPE x [{laughs}]>")
        assert texts(packet) == []


def test_markup_controls_and_signs_in_tags_stay_text_on_one_line():
    packet = xmp(elements=items("dc:subject", "&lt;b&gt;two&#10;dogs&lt;/b&gt;", "\N{DOG FACE}", "--"))
    assert [text for _, _, text in texts(packet)] == ["<b>two dogs</b>", "\N{DOG FACE}"]


def test_of_a_hundred_thousand_tags_the_first_are_kept():
    kept = texts(xmp(elements=items("dc:subject", *(f"tag {i}" for i in range(100_000)))))
    assert 5_000 < len(kept) <= 10_000
    assert kept[0][2] == "tag 0"
    assert sum(len(text) for _, _, text in kept) <= 64 * 1024


PACKET = xmp('photoshop:City="Oslo"', items("dc:subject", "dog", "snow"))


@given(st.binary(max_size=60), st.integers(0, len(PACKET)))
def test_damaged_packet_raises_nothing(junk, at):
    xmp_annotations(PACKET[:at] + junk + PACKET[at:])
    xmp_annotations(junk)
