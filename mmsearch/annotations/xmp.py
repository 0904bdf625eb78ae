"""The texts in an XMP packet: titles, captions, tags, people and places; and of facts camera, lens and position."""

from __future__ import annotations

import re

from mmsearch.annotations.base import LEVELS, Annotation, Annotations, Kind, annotation, merge, position_at
from mmsearch.images.facts import camera_named, lens_named
from mmsearch.images.xmp import PropertyText, property_texts

NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "mwg-kw": "http://www.metadataworkinggroup.com/schemas/keywords/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
}
_PREFIXES = {address: prefix for prefix, address in NAMESPACES.items()} | {
    "http://ns.microsoft.com/photo/1.0": "MicrosoftPhoto"  # as ExifTool writes it
}
_PLACE_FIELDS = ("Sublocation", "City", "ProvinceState", "CountryName", "LocationName")
_KINDS = {
    "dc:title": Kind.TITLE,
    "photoshop:Headline": Kind.TITLE,
    "dc:description": Kind.CAPTION,
    "exif:UserComment": Kind.CAPTION,
    "tiff:ImageDescription": Kind.CAPTION,
    "Iptc4xmpCore:AltTextAccessibility": Kind.CAPTION,
    "Iptc4xmpCore:ExtDescrAccessibility": Kind.CAPTION,
    "dc:subject": Kind.TAG,
    "lr:hierarchicalSubject": Kind.TAG,
    "digiKam:TagsList": Kind.TAG,
    "MicrosoftPhoto:LastKeywordXMP": Kind.TAG,
    "mwg-kw:Keywords": Kind.TAG,
    "Iptc4xmpExt:Event": Kind.TAG,
    "Iptc4xmpExt:PersonInImage": Kind.PERSON,
    "Iptc4xmpExt:PersonInImageWDetails": Kind.PERSON,
    "mwg-rs:Regions": Kind.PERSON,
    "MP:RegionInfo": Kind.PERSON,
    "Iptc4xmpCore:Location": Kind.PLACE,
    "photoshop:City": Kind.PLACE,
    "photoshop:State": Kind.PLACE,
    "photoshop:Country": Kind.PLACE,
    "Iptc4xmpExt:LocationShown": Kind.PLACE,
    "Iptc4xmpExt:LocationCreated": Kind.PLACE,
    "dc:creator": Kind.CREATOR,
}
_STRUCTURES = {  # property -> its fields, where it is not a plain one
    "mwg-kw:Keywords": ("mwg-kw:Keyword",),
    "Iptc4xmpExt:PersonInImageWDetails": ("Iptc4xmpExt:PersonName",),
    "Iptc4xmpExt:LocationShown": tuple(f"Iptc4xmpExt:{name}" for name in _PLACE_FIELDS),
    "Iptc4xmpExt:LocationCreated": tuple(f"Iptc4xmpExt:{name}" for name in _PLACE_FIELDS),
    "mwg-rs:Regions": ("mwg-rs:Name", "mwg-rs:Type"),
    "MP:RegionInfo": ("MPReg:PersonDisplayName",),
}
_PERSON_TYPES = ("Face", "Pet")  # of regions; others mark what the camera focused on, or a bar code
_LEVELS = {"lr:hierarchicalSubject": "|", "digiKam:TagsList": "/", "MicrosoftPhoto:LastKeywordXMP": "/"}
_ANGLES = _LATITUDE, _LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
_MAKE, _MODEL, _LENSES = "tiff:Make", "tiff:Model", ("exifEX:LensModel", "aux:Lens")
_FACTS = (*_ANGLES, _MAKE, _MODEL, *_LENSES)
_ANGLE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.ASCII)


def _expanded(name: str) -> list[str]:
    """Return a name as expat reports it, once for every address that its namespace has."""
    prefix, _, local = name.partition(":")
    return [f"{address} {local}" for address, known in _PREFIXES.items() if known == prefix]


_SHORT = {
    expanded: name
    for name in (*_KINDS, *_FACTS, *(field for fields in _STRUCTURES.values() for field in fields))
    for expanded in _expanded(name)
}
_REGION_TYPE = _expanded("mwg-rs:Type")[0]
_WANTED = {
    expanded: [long for field in _STRUCTURES.get(name, (name,)) for long in _expanded(field)]
    for name in (*_KINDS, *_FACTS)
    for expanded in _expanded(name)
}


def xmp_annotations(packet: bytes, *, lead: str = "") -> Annotations:
    """Return what a packet says.

    A tag with levels, such as `Places|France|Paris`, keeps them as `Places > France > Paris`: each can be searched
    for, and what programs separate in other ways is the same tag.

    Parameters
    ----------
    packet : bytes
        As `images.xmp.property_texts` reads it, with the same bounds.
    lead : str
        Stands before the source of every annotation.
    """
    if not packet:
        return Annotations()
    texts = property_texts(packet, _WANTED)
    not_persons = {text.item for text in texts if text.field == _REGION_TYPE and text.text not in _PERSON_TYPES}
    annotations: list[Annotation] = []
    facts: dict[str, str] = {}
    for text in texts:
        name = _SHORT[text.property]
        if name in _KINDS:
            annotations += _annotation(name, text, lead, is_person=text.item not in not_persons)
        elif name not in _ANGLES or _angle(text.text) is not None:
            facts.setdefault(name, text.text)
    camera = camera_named(facts.get(_MAKE), facts.get(_MODEL))
    lens = next(filter(None, (lens_named(facts.get(name)) for name in _LENSES)), None)
    position = position_at(_angle(facts.get(_LATITUDE, "")), _angle(facts.get(_LONGITUDE, "")))
    return merge(Annotations(tuple(annotations), camera, lens, position))


def _annotation(name: str, text: PropertyText, lead: str, *, is_person: bool) -> tuple[Annotation, ...]:
    if text.field == _REGION_TYPE:
        return ()
    source, kind, said = f"{lead}xmp:{name}", _KINDS[name], text.text
    if text.field != text.property:
        source += ":" + _SHORT[text.field].partition(":")[2]
        kind = kind if is_person else Kind.TAG
    if name in _LEVELS:
        said = LEVELS.join(filter(None, map(str.strip, said.split(_LEVELS[name]))))
    return annotation(kind, source, said)


def _angle(text: str) -> float | None:
    """Return degrees, as XMP writes them: `52,22.215N` or `52,22,12.9N`."""
    match = _ANGLE.fullmatch(text.strip())
    if match is None:
        return None
    degrees = int(match[1]) + float(match[2]) / 60 + float(match[3] or 0) / 3600
    return -degrees if match[4] in "SW" else degrees
