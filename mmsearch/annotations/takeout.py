"""The names that Google's Takeout gives to the JSON file of a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SUFFIX = ".supplemental-metadata"  # since 2024; cut off where a name would be too long
_MAX_LENGTH = 46  # of a name, without .json
_NUMBERED = re.compile(r"(.*)(\(\d{1,5}\))(\.[^.]*)?", re.DOTALL)
_EDITED = re.compile(
    r"(.+)-(?:edited|edit|ed|bearbeitet|modifié|edytowane|editado|editada|modificato|bewerkt|redigerad|編集済み)"
    r"((?:\(\d{1,5}\))?(?:\.[^.]*)?)",
    re.DOTALL,
)


def json_names(name: str) -> Iterator[str]:
    """Yield the names that the JSON file of a picture may have, the likeliest first.

    An edited picture has none of its own: it shares that of the original. The number of a repeated name, as in
    `a(1).jpg`, stands behind what is cut off: `a.jpg(1).json`.

    >>> "a.jpg(1).json" in json_names("a(1).jpg"), "a.jpg.supplemental-meta.json" in json_names("a-edited.jpg")
    (True, True)
    """
    yield from _names(name)
    if edited := _EDITED.fullmatch(name):
        yield from _names(edited[1] + edited[2])


def _names(name: str) -> Iterator[str]:
    yield from _lengths(name, "")
    if numbered := _NUMBERED.fullmatch(name):
        yield from _lengths(numbered[1] + (numbered[3] or ""), numbered[2])


def _lengths(name: str, number: str) -> Iterator[str]:
    """Yield names with the suffix absent, whole, or cut off anywhere: limits count letters, units or bytes."""
    for n in (0, *range(len(_SUFFIX), 0, -1)):
        yield f"{name}{_SUFFIX[:n]}{number}.json"
    if len(name) > _MAX_LENGTH:
        yield f"{name[:_MAX_LENGTH]}{number}.json"
