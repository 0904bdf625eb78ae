"""Annotations in, an XMP sidecar out, as photo programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from mmsearch.annotations.base import LEVELS, Annotation, Kind
from mmsearch.annotations.xmp import NAMESPACES

_META, _RDF = "adobe:ns:meta/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<!-- mmsearch -->\n'
"""How a sidecar begins that was written here."""
_END = '\n<?xpacket end="w"?>\n'


def xmp_sidecar(annotations: Iterable[Annotation]) -> bytes:
    """Return titles, captions, tags, people, places and creators as an XMP document in UTF-8.

    Of titles and captions a document holds one: the first. Tags with levels are written whole for programs that
    know levels, and by their last level for the others. Names of files and folders are left out.
    """
    texts: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for annotation in annotations:
        texts[annotation.kind].append(annotation.text)
    leaves = [tag.rpartition(LEVELS)[2] for tag in texts[Kind.TAG]]
    paths = [tag.replace(LEVELS, "|") for tag in texts[Kind.TAG] if LEVELS in tag]
    ElementTree.register_namespace("x", _META)
    ElementTree.register_namespace("rdf", _RDF)
    for prefix in ("dc", "lr", "Iptc4xmpExt", "Iptc4xmpCore"):
        ElementTree.register_namespace(prefix, NAMESPACES[prefix])
    document = ElementTree.Element(f"{{{_META}}}xmpmeta", {f"{{{_META}}}xmptk": "mmsearch"})
    rdf = ElementTree.SubElement(document, f"{{{_RDF}}}RDF")
    picture = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    _list(picture, "dc:title", "Alt", texts[Kind.TITLE][:1])
    _list(picture, "dc:description", "Alt", texts[Kind.CAPTION][:1])
    _list(picture, "dc:creator", "Seq", texts[Kind.CREATOR])
    _list(picture, "dc:subject", "Bag", leaves)
    _list(picture, "lr:hierarchicalSubject", "Bag", paths)
    _list(picture, "Iptc4xmpExt:PersonInImage", "Bag", texts[Kind.PERSON])
    if texts[Kind.PLACE]:
        place = ElementTree.SubElement(picture, _long("Iptc4xmpCore:Location"))
        place.text = ", ".join(dict.fromkeys(texts[Kind.PLACE]))
    ElementTree.indent(document, " ")
    return (BEGIN + ElementTree.tostring(document, encoding="unicode") + _END).encode()


def _list(picture: ElementTree.Element, name: str, container: str, texts: Sequence[str]) -> None:
    """Append a property with some texts, each once; none without any."""
    if not texts:
        return
    values = ElementTree.SubElement(ElementTree.SubElement(picture, _long(name)), f"{{{_RDF}}}{container}")
    for text in dict.fromkeys(texts):
        item = ElementTree.SubElement(
            values, f"{{{_RDF}}}li", {_LANGUAGE: "x-default"} if container == "Alt" else {}
        )
        item.text = text


def _long(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"
