"""ARGUMENTS: what callers give, by one rule for the whole interface.

Where several values can be given, one may be: a text, bytes, a path, and whatever cannot be iterated, is one value.
Every other iterable is read once, so it may be a generator. A value of another type than is meant is an
ArgumentError that says where it stands. A set has no order, and is taken only where order means nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, TypeVar, get_args

from mmsearch.errors import ArgumentError, QueryError

T = TypeVar("T")
Mode: TypeAlias = Literal["global", "local"]
Rerank: TypeAlias = Literal["auto", "none", "local"]
Expand: TypeAlias = Literal["none", "average", "alpha"]
WordsUse: TypeAlias = Literal["auto", "none", "only"]
"""Whether the texts that stand beside pictures have a say in a search by words."""
Duplicates: TypeAlias = Literal["same-file", "same-picture", "look-alike"]
"""Equal bytes; one picture in several forms; several pictures of one moment."""
Collapse: TypeAlias = Literal["none", "same-file", "same-picture", "look-alike"]
"""Up to which of these classes the pictures of an answer are one hit; a class includes those before it."""
SAME: tuple[Duplicates, ...] = ("same-file", "same-picture")
"""Kinds of which one picture is enough."""
Keep: TypeAlias = Literal["largest", "coloured", "dated", "least-compressed", "oldest"]
"""Which picture of a group is proposed to be kept."""
WithoutRelevant: TypeAlias = Literal["skip", "zero", "error"]
Loss: TypeAlias = Literal["infonce", "contrastive", "triplet"]
Unfreeze: TypeAlias = Literal["image", "text", "both"]
Precision: TypeAlias = Literal["fp32", "int8", "bf16"]
FP32: Precision = "fp32"
"""What towers compute in unless they are asked for another precision."""
Views: TypeAlias = Literal[1, 5]
"""How often an image tower looks at a picture: at the whole, or at four windows of it too."""
AskedViews: TypeAlias = Literal[1, 5, "auto"]
PartsMost: TypeAlias = Literal[0, 4, 13]
"""How many parts of a picture get a vector at most."""
AUTO: AskedViews = "auto"
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
CPU: Device = "cpu"
FALSE_RATE = 0.01
"""Share of pictures of strangers that may be given an identity by their descriptors."""
MOST_SECONDS = 24 * 3600
"""Of longer films and recordings the beginning is read."""
_SHOWN = 60  # characters of a wrong value in a message


class Variant(NamedTuple):
    """Which vectors of an encoder are meant; what is None is as it was before, or as it is usual."""

    precision: Precision | None = None
    views: AskedViews | None = None


USUAL = Variant()


def several(
    given: object,
    name: str,
    convert: Callable[[object, str], T],
    *,
    has_order: bool = True,
    is_single: Callable[[object], bool] = lambda given: False,
) -> tuple[T, ...]:
    """Return one value, or each of several, as `convert` makes of it and its name in messages.

    Parameters
    ----------
    given : object
        One value, or an iterable of values.
    name : str
        Of the argument.
    convert : callable
        Given a value and what to call it, returns it as it is kept, or raises ArgumentError.
    has_order : bool
        Whether the order of the values means something. If not, those of a set are sorted.
    is_single : callable
        Tells what could be iterated and is one value all the same, such as an open file.

    Raises
    ------
    ArgumentError
        If it is a mapping, a set where order means something, or holds a value of another type.

    Examples
    --------
    >>> several("snow", "exclude", as_text)
    ('snow',)
    >>> several(["snow", 5], "exclude", as_text)
    Traceback (most recent call last):
    mmsearch.errors.ArgumentError: exclude[1] is 5 (int); expected a text
    """
    if isinstance(given, Mapping) or (has_order and isinstance(given, set | frozenset)):
        kind = "a mapping" if isinstance(given, Mapping) else "a set, which has no order"
        raise ArgumentError(f"{name} is {kind}; give one value or a list")
    values = None if is_single(given) else _values(given)
    if values is None:
        return (convert(given, name),)
    converted = tuple(convert(value, f"{name}[{place}]") for place, value in enumerate(values))
    return tuple(sorted(converted)) if isinstance(given, set | frozenset) else converted  # type: ignore[type-var]


def _values(given: object) -> Iterable[object] | None:
    """Return what to iterate over, or None if it is one value."""
    if isinstance(given, str | bytes | bytearray | memoryview | os.PathLike):
        return None
    try:
        return iter(given)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        return None


def texts_of(given: object, name: str, *, has_order: bool = True) -> tuple[str, ...]:
    """Return one text or several.

    >>> texts_of(("cat", "dog"), "labels")
    ('cat', 'dog')
    """
    return several(given, name, as_text, has_order=has_order)


def paths_of(given: object, name: str) -> tuple[bytes, ...]:
    """Return one path or several, in bytes; their order means nothing.

    >>> paths_of("/photos", "paths")
    (b'/photos',)
    """
    return several(given, name, as_path, has_order=False)


def ids_of(given: object, name: str) -> tuple[int, ...]:
    """Return one id or several; their order means nothing.

    >>> ids_of(7, "relevant")
    (7,)
    """
    return several(given, name, as_id, has_order=False)


def as_text(value: object, name: str) -> str:
    """Return a text, or raise ArgumentError."""
    if not isinstance(value, str):
        raise unfit(name, value, "a text")
    return str(value)


def as_path(value: object, name: str) -> bytes:
    """Return a path in bytes.

    Raises
    ------
    ArgumentError
        If it is none.
    QueryError
        If it is empty: the system would take it for the current folder.
    """
    if not isinstance(value, str | bytes | os.PathLike):
        raise unfit(name, value, "a path (str, bytes or os.PathLike)")
    path = os.fsencode(value)
    if not path:
        raise QueryError(f"{name} is an empty path; name a folder or file, `.` for the current folder")
    return path


def as_id(value: object, name: str) -> int:
    """Return the id of a picture, of Python or NumPy, or raise ArgumentError; a bool is none."""
    if not is_whole(value):
        raise unfit(name, value, "the id of a picture (int)")
    return int(value)


def as_flag(value: object, name: str) -> bool:
    """Return True or False, or raise ArgumentError: the text "no" would count as true."""
    if not isinstance(value, bool):
        raise unfit(name, value, "True or False")
    return value


def as_count(value: object, name: str, *, least: int = 1) -> int:
    """Return a number of things, of Python or NumPy.

    Raises
    ------
    ArgumentError
        If it is no integer; a bool is none.
    QueryError
        If it is less than the least.
    """
    if not is_whole(value):
        raise unfit(name, value, "an integer")
    if int(value) < least:
        raise QueryError(f"{name} is {value}; expected at least {least}")
    return int(value)


def as_number(value: object, name: str) -> float:
    """Return a real number, of Python or NumPy, or raise ArgumentError; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise unfit(name, value, "a number")
    return int(value) if isinstance(value, Integral) else float(value)


def as_positive(value: object, name: str) -> float:
    """Return a finite number above 0.

    Raises
    ------
    ArgumentError
        If it is no number; a bool is none.
    QueryError
        If it is another number.
    """
    number = as_number(value, name)
    if not 0 < number <= sys.float_info.max:  # an integer may be larger
        raise QueryError(f"{name} is {shown_value(value)}; expected a number above 0")
    return number


def as_moment(value: object, name: str) -> float:
    """Return a time in a film or recording, in seconds.

    Raises
    ------
    ArgumentError
        If it is no number; a bool is none.
    QueryError
        If it is a number that is no such time.
    """
    number = as_number(value, name)
    if not 0 <= number <= MOST_SECONDS:
        raise QueryError(f"{name} is {shown_value(value)}; expected a time in seconds, 0 to {MOST_SECONDS}")
    return number


def is_whole(value: object) -> TypeGuard[Integral]:
    """Return whether a value is an integer of Python or NumPy, and no bool.

    >>> is_whole(1), is_whole(True), is_whole(1.0)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def one_of(value: object, name: str, words: Any) -> Any:
    """Return an option that is one of the words of a Literal.

    Raises
    ------
    QueryError
        If it is another one.

    Examples
    --------
    >>> one_of("lokal", "mode", Mode)
    Traceback (most recent call last):
    mmsearch.errors.QueryError: mode is 'lokal'; expected 'global' or 'local'
    """
    allowed = get_args(words)
    if value not in allowed:
        *others, last = map(repr, allowed)
        raise QueryError(f"{name} is {shown_value(value)}; expected {', '.join(others)} or {last}")
    return allowed[allowed.index(value)]


def unfit(name: str, value: object, expected: str, *, shown: str | None = None) -> ArgumentError:
    """Return the error of a value of a type that is not meant; `shown` is what to call it if not as Python does."""
    return ArgumentError(
        f"{name} is {shown or f'{shown_value(value)} ({type(value).__name__})'}; expected {expected}"
    )


def shown_value(value: object) -> str:
    """Return a value as messages show it: as Python does, cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
