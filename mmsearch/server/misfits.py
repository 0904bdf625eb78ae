"""Why a request does not fit its description, in the words of the API: what stands where, and what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a text",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "an object"),
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_too_short": "a text that is not empty",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    **dict.fromkeys(("literal_error", "enum"), "{expected}"),
}
_LONGEST = 60


def place(error: Mapping[str, Any]) -> str:
    """Return where an error is; names of kinds, which `kind` made, are not part of the request.

    >>> place({"loc": ("pictures", 0, kind("upload"), "box")})
    'pictures.0.box'
    """
    return ".".join(str(part) for part in error["loc"] if not str(part).startswith("<"))


def kind(name: str) -> str:
    """Return the tag of one kind of value among several: `place` leaves it out."""
    return f"<{name}>"


def sentence(error: Mapping[str, Any]) -> str:
    """Return what an error of pydantic means: what was found, and what was expected.

    >>> sentence({"type": "greater_than_equal", "input": 0, "ctx": {"ge": 1}})
    'is 0; expected at least 1'
    """
    what = error.get("type", "")
    if what == "missing":
        return "is missing; give it"
    if what == "extra_forbidden":
        return "is not known here; correct its name, or leave it out"
    if what == "json_invalid":
        return f"the JSON cannot be read: {error.get('ctx', {}).get('error', 'it breaks off')}"
    if what not in _EXPECTED:
        return str(error["msg"])
    expected = f"expected {_EXPECTED[what].format_map(error.get('ctx', {}))}"
    return f"is {_shown(error.get('input'))}; {expected}"


def _shown(value: Any) -> str:
    """Return what stands in a request, in short."""
    if isinstance(value, str | bytes) and len(value) > _LONGEST:
        return f"a text of {len(value):,} characters"
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, Mapping):
        return "an object"
    return json.dumps(value, ensure_ascii=False, default=str)
