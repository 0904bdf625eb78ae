"""Settings that strangers wrote, taken over key by key: what is not known, or not of its kind, is a sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import UnsupportedModelError

_MAX_BYTES = 16 << 20  # of a file of settings; lists of added tokens are the longest


@dataclass(frozen=True)
class Kind:
    """What a value must be, as a check and in words."""

    words: str
    accepts: Callable[[Any], bool]


Allowed = Mapping[str, "Kind | Allowed"]
"""The kind of every known key, or what is allowed below it."""

FLAG = Kind("true or false", lambda value: isinstance(value, bool))


def integer(low: int, high: int) -> Kind:
    """Return the kind of whole numbers from `low` to `high`."""
    return Kind(
        f"a whole number from {low:,} to {high:,}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
    )


def number(low: float, high: float) -> Kind:
    """Return the kind of finite numbers from `low` to `high`."""
    return Kind(
        f"a number from {low:g} to {high:g}",
        lambda value: (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and low <= value <= high
            and math.isfinite(value)
        ),
    )


def one_of(*names: str) -> Kind:
    """Return the kind of these strings."""
    return Kind(f"one of {', '.join(map(repr, names))}", lambda value: isinstance(value, str) and value in names)


def matching(pattern: str, words: str) -> Kind:
    """Return the kind of strings that match a regular expression as a whole."""
    return Kind(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def several(kind: Kind, n: int) -> Kind:
    """Return the kind of lists of n values of another kind."""
    return Kind(
        f"a list of {n}, each {kind.words}",
        lambda value: isinstance(value, list) and len(value) == n and all(map(kind.accepts, value)),
    )


def either(*kinds: Kind) -> Kind:
    """Return the kind of what is of one of several kinds."""
    return Kind(", or ".join(kind.words for kind in kinds), lambda value: any(k.accepts(value) for k in kinds))


def optional(kind: Kind) -> Kind:
    """Return the kind that has null besides."""
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.accepts(value))


def read_settings(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnsupportedModelError
        If it is something else than a file, too long, or no JSON object.
    """
    if path.exists() and not path.is_file():
        raise UnsupportedModelError(f"{path} is not a file; expected JSON")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        settings = json.loads(data) if len(data) <= _MAX_BYTES else None
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} cannot be read as JSON ({type(error).__name__}: {error})") from error
    if not isinstance(settings, dict):
        raise UnsupportedModelError(f"{path} holds no JSON object of at most {_MAX_BYTES >> 20} MiB")
    return settings


def taken_over(given: Any, allowed: Allowed, where: str) -> dict[str, Any]:
    """Return a new object of what was found, all of it known and of its kind.

    Parameters
    ----------
    found : any
        Parsed JSON.
    allowed : Allowed
        What there may be; nothing need be.
    where : str
        How sentences call the object: a file, and the keys that lead there.

    Raises
    ------
    UnsupportedModelError
        If a key is not allowed, or its value is of another kind.
    """
    if not isinstance(given, dict):
        raise UnsupportedModelError(f"{where} is {_shown(given)}, expected an object")
    taken = {}
    for key, value in given.items():
        kind = allowed.get(key)
        if kind is None:
            raise UnsupportedModelError(
                f"{where} has the key {_shown(key)} ({_shown(value)}), which mmsearch does not pass on, as it may "
                f"run code or change the model unseen; remove it if the model does without. Known: "
                f"{', '.join(sorted(allowed))}"
            )
        if isinstance(kind, Kind):
            if not kind.accepts(value):
                raise UnsupportedModelError(f"{where} {key} is {_shown(value)}, expected {kind.words}")
            taken[key] = value
        elif value is not None:
            taken[key] = taken_over(value, kind, f"{where} {key}")
    return taken


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else text[:77] + "..."
