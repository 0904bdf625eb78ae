"""The bytes of a picture's file in, what is written in them about the picture out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmsearch.annotations.base import Annotation, Annotations, Kind, annotation, merge
from mmsearch.annotations.exif import exif_annotations
from mmsearch.annotations.iptc import iptc_annotations
from mmsearch.annotations.text import decoded
from mmsearch.annotations.xmp import xmp_annotations
from mmsearch.errors import PictureError
from mmsearch.images import Metadata, facts_in, metadata
from mmsearch.images.metadata import PNG_KEYWORDS
from mmsearch.records import MAX_MEGAPIXELS

_PNG_KINDS = dict(zip(PNG_KEYWORDS, (Kind.TITLE, Kind.CAPTION, Kind.CREATOR), strict=True))


def embedded(data: bytes, *, exif: Any = None, max_megapixels: float = MAX_MEGAPIXELS) -> Annotations:
    """Return what the file of a picture says in XMP, IPTC, EXIF and the texts of a PNG.

    What is malformed is left out. A file that is no picture says nothing: whoever decodes it names its fault.

    Parameters
    ----------
    data : bytes
        The whole file. Its pixels are not decoded.
    exif : Any
        `Picture.exif`, if the file was decoded; it saves reading that again.
    max_megapixels : float
        A TIFF, AVIF or HEIC of more pixels says nothing: what opens it is what would refuse it.

    Raises
    ------
    PictureError
        `out_of_memory`: it may say more when there is memory again.
    """
    try:
        written = metadata(data, exif=exif, max_megapixels=max_megapixels)
    except PictureError as error:
        if error.code == "out_of_memory":
            raise
        return Annotations()
    facts = facts_in(written)
    position = (facts["latitude"], facts["longitude"]) if "latitude" in facts else None
    texts = (*iptc_annotations(written.iptc), *exif_annotations(written), *_png_texts(written))
    others = Annotations(texts, facts.get("camera"), facts.get("lens"), position)
    return merge(xmp_annotations(written.xmp), others)


def _png_texts(written: Metadata) -> Iterator[Annotation]:
    for keyword, kind in _PNG_KINDS.items():
        if keyword in written.texts:
            yield from annotation(kind, f"png:{keyword.decode()}", decoded(written.texts[keyword]))
