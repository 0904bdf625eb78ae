"""Texts in the properties of an XMP packet, which a stranger wrote: bounded, without entities, damaged or not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple
from xml.parsers import expat

MAX_BYTES = 4 << 20  # of a packet; what stands behind, such as the end of an edit history, is not read
_MAX_TEXTS = 10_000
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns# "
_DOCUMENT, _ITEM = _RDF + "RDF", _RDF + "li"
_TOP_LEVEL = [_DOCUMENT, _RDF + "Description"]


class PropertyText(NamedTuple):
    """A text in a property of the picture: the field that it stands in, and the number of its item in a list.

    In a property without fields, plain or a list, the field is the property.
    """

    property: str
    field: str
    text: str
    item: int


def top_level_values(packet: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the values of plain properties of the picture itself; see `property_texts`."""
    values: dict[str, str] = {}
    for written in property_texts(packet, {name: (name,) for name in names}):
        values.setdefault(written.property, written.text)
    return values


def property_texts(packet: bytes, fields: Mapping[str, Collection[str]]) -> list[PropertyText]:
    """Return the texts in properties of the picture itself, written as attributes or as elements.

    Those of other documents, such as the ingredients of a composite, stand deeper and do not count. A packet that
    declares a document type, and with it entities, has no texts; of a damaged one those before the damage count.

    Parameters
    ----------
    packet : bytes
        XML in any encoding that expat knows; 4 MB and 10,000 texts of it are read.
    fields : mapping of str to collection of str
        Property -> fields of it that are wanted. Names are namespace and local name with a space between: whatever
        prefix a packet has for them.
    """
    reader = _Reader(fields)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.started
    parser.EndElementHandler = reader.ended
    parser.CharacterDataHandler = reader.written
    parser.StartDoctypeDeclHandler = reader.refused
    with suppress(expat.ExpatError, _Refused):
        parser.Parse(packet[:MAX_BYTES], True)
    return reader.texts


class _Refused(Exception):
    """The rest of a packet is not read."""


class _Reader:
    """What expat calls, with the elements that are open."""

    def __init__(self, fields: Mapping[str, Collection[str]]) -> None:
        self.texts: list[PropertyText] = []
        self._fields = fields
        self._path: list[str] = []
        self._n_documents = 0  # that are open, one in the other
        self._n_items = 0
        self._property = ""  # the wanted one that is open
        self._open: list[tuple[str, int, list[str]]] = []  # in it: field, item and text of every element

    def started(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._n_documents += name == _DOCUMENT
        if self._open:
            field, item, _ = self._open[-1]
            if name == _ITEM:
                self._n_items = item = self._n_items + 1
            self._open.append((field if name.startswith(_RDF) else name, item, []))
            self._add_attributes(attributes, item)
        elif self._n_documents != 1:
            return
        elif self._path[-2:] == _TOP_LEVEL:
            for key, value in attributes.items():
                if key in self._fields.get(key, ()):
                    self._add(key, key, value, 0)
        elif name in self._fields and self._path[-3:-1] == _TOP_LEVEL:
            self._property = name
            self._open.append((name, 0, []))
            self._add_attributes(attributes, 0)

    def ended(self, name: str) -> None:
        self._path.pop()
        self._n_documents -= name == _DOCUMENT
        if self._open:
            field, item, parts = self._open.pop()
            if field in self._fields[self._property] and (text := "".join(parts).strip()):
                self._add(self._property, field, text, item)

    def written(self, text: str) -> None:
        if self._open:
            self._open[-1][2].append(text)

    def refused(self, *_: object) -> None:
        raise _Refused

    def _add_attributes(self, attributes: dict[str, str], item: int) -> None:
        for key, value in attributes.items():
            if key in self._fields[self._property]:
                self._add(self._property, key, value, item)

    def _add(self, property_: str, field: str, text: str, item: int) -> None:
        self.texts.append(PropertyText(property_, field, text, item))
        if len(self.texts) == _MAX_TEXTS:
            raise _Refused
