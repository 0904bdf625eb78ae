"""Plain properties of an XMP packet, which a stranger wrote: bounded, without entities, damaged or not."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from xml.parsers import expat

MAX_BYTES = 4 << 20  # of a packet; what stands behind, such as the end of an edit history, is not read
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns# "
_TOP_LEVEL = [_RDF + "RDF", _RDF + "Description"]


def top_level_values(packet: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the values of properties of the picture itself, written as attributes or as elements.

    Those of other documents, such as the ingredients of a composite, stand deeper and do not count. A packet that
    declares a document type, and with it entities, has no values; of a damaged one those before the damage count.

    Parameters
    ----------
    packet : bytes
        XML in any encoding that expat knows.
    names : collection of str
        Namespace and local name with a space between: whatever prefix a packet has for them.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    values: dict[str, str] = {}
    path: list[str] = []
    n_documents = 0  # that are open, one in the other

    def started(name: str, attributes: dict[str, str]) -> None:
        nonlocal n_documents
        path.append(name)
        n_documents += name == _RDF + "RDF"
        if path[-2:] == _TOP_LEVEL and n_documents == 1:
            values.update({key: value for key, value in attributes.items() if key in names})

    def ended(name: str) -> None:
        nonlocal n_documents
        path.pop()
        n_documents -= name == _RDF + "RDF"

    def written(text: str) -> None:
        if path[-1] in names and path[-3:-1] == _TOP_LEVEL:
            values.setdefault(path[-1], text)

    def refused(*_: object) -> None:
        raise ValueError("a document type is declared")

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = written
    parser.StartDoctypeDeclHandler = refused
    with suppress(expat.ExpatError, ValueError):
        parser.Parse(packet[:MAX_BYTES], True)
    return values
