"""The texts in an XMP packet: titles, captions in every language, tags, people and places; and a position."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmsearch.annotations.base import Annotation, Annotations, Kind, annotation, merge, position_at
from mmsearch.images.xmp import PropertyText, property_texts

_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "mwg-kw": "http://www.metadataworkinggroup.com/schemas/keywords/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
}
_PREFIXES = {address: prefix for prefix, address in _NAMESPACES.items()} | {
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
_LEVELS = {"lr:hierarchicalSubject": "|", "digiKam:TagsList": "/", "MicrosoftPhoto:LastKeywordXMP": "/"}
_LATITUDE, _LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
_ANGLE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.ASCII)


def _expanded(name: str) -> list[str]:
    """Return a name as expat reports it, once for every address that its namespace has."""
    prefix, _, local = name.partition(":")
    return [f"{address} {local}" for address, known in _PREFIXES.items() if known == prefix]


_SHORT = {
    expanded: name
    for name in (*_KINDS, _LATITUDE, _LONGITUDE, *(field for fields in _STRUCTURES.values() for field in fields))
    for expanded in _expanded(name)
}
_WANTED = {
    expanded: [long for field in _STRUCTURES.get(name, (name,)) for long in _expanded(field)]
    for name in (*_KINDS, _LATITUDE, _LONGITUDE)
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
    texts = [written._replace(field=_SHORT[written.field]) for written in property_texts(packet, _WANTED)]
    not_faces = _regions_without_person(texts)
    annotations: list[Annotation] = []
    angles: dict[str, float] = {}
    for text in texts:
        name = _SHORT[text.property]
        if name in _KINDS:
            annotations += _annotations(name, text, lead, is_person=text.item not in not_faces)
        elif (angle := _angle(text.text)) is not None:
            angles.setdefault(name, angle)
    position = position_at(angles.get(_LATITUDE), angles.get(_LONGITUDE))
    return merge(Annotations(tuple(annotations), position=position))


def _regions_without_person(texts: list[PropertyText]) -> set[int]:
    """Return the items of regions that are marked for something else than a face or a pet."""
    regions = (text for text in texts if text.field == "mwg-rs:Type")
    return {text.item for text in regions if text.text not in ("Face", "Pet")}


def _annotations(name: str, text: PropertyText, lead: str, *, is_person: bool) -> Iterator[Annotation]:
    if text.field == "mwg-rs:Type":
        return
    kind = Kind.TAG if text.field == "mwg-rs:Name" and not is_person else _KINDS[name]
    source = name if text.field == name else f"{name}:{text.field.partition(':')[2]}"
    levels = text.text.split(_LEVELS[name]) if name in _LEVELS else [text.text]
    yield from annotation(kind, f"{lead}xmp:{source}", " > ".join(filter(None, map(str.strip, levels))))


def _angle(text: str) -> float | None:
    """Return degrees, as XMP writes them: `52,22.215N` or `52,22,12.9N`."""
    match = _ANGLE.fullmatch(text.strip())
    if match is None:
        return None
    degrees = int(match[1]) + float(match[2]) / 60 + float(match[3] or 0) / 3600
    return -degrees if match[4] in "SW" else degrees
