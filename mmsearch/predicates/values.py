"""What a comparison may hold: its fields, its operators, and values that mean something for both."""

from __future__ import annotations

import os
import re
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal, TypeAlias, get_args

from mmsearch.arguments import unfit
from mmsearch.errors import QueryError

Field: TypeAlias = Literal[
    "path", "folder", "name", "taken", "width", "height", "orientation", "size", "format", "label", "tag",
    "caption", "person", "place", "camera", "lens", "near", "has", "kind", "duration", "at",
]  # fmt: skip
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
FIELDS: tuple[str, ...] = get_args(Field)
OPERATORS: tuple[str, ...] = get_args(Operator)
NUMBERS = frozenset(("width", "height", "size"))
ORIENTATIONS = ("landscape", "portrait", "square")
ANNOTATED = frozenset(("tag", "caption", "person", "place", "camera", "lens", "near", "has"))
"""What is said of pictures by their files, by files beside them, or by the user."""
HAD = ("tag", "caption", "person", "place", "position", "words")
"""What a picture may have: one of a kind, a position on earth, or any words beside it."""
KINDS = ("picture", "film")
_CHOICES: dict[str, tuple[str, ...]] = {"orientation": ORIENTATIONS, "kind": KINDS}
TIMES = frozenset(("duration", "at"))
"""Of films, in seconds: how long one is, and where in it a frame is."""
FILMED = TIMES | {"kind"}
_GLOBBED = ("path", "folder", "name", "format", "label", "tag", "caption", "person", "place", "camera", "lens")
_UNORDERED = frozenset(("label", "tag", "caption", "person", "place", "camera", "lens"))
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_POSITION = re.compile(
    r"\s*([-+]?\d+(?:\.\d+)?)\s*,\s*([-+]?\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*(?:km)?\s*", re.ASCII
)
_CLOCK = re.compile(r"(?:(?:(\d{1,3}):(?=\d\d:))?(\d{1,2}):(?=\d\d))?(\d{1,9}(?:\.\d{1,6})?)", re.ASCII)
_LARGEST = 2**62  # beyond what any file has, and within the integers of every engine
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?)?", re.ASCII)


def understood(field: str, operator: str, value: object) -> int | str:
    """Return the value of a comparison as it is meant.

    Parameters
    ----------
    field, operator : str
        One of FIELDS, one of OPERATORS.
    value : str, int or float
        A number, or text that says one; sizes take k, M and G (1000s). The beginning of a date. Any other text.

    Returns
    -------
    int or str
        Whole pixels or bytes: of `width < 1.5` it is 2, which the same pictures pass. A date with a T before its
        time. Other texts as they are.

    Raises
    ------
    QueryError
        If the field or operator is another one, the operator has no meaning for the field, or the value none.
    ArgumentError
        If the value is of another type.
    """
    said = f"filter {f'{field} {operator} {value}'!r}"
    if field not in FIELDS or operator not in OPERATORS or value == "":
        raise not_understood(said)
    if operator == "~" and field not in _GLOBBED:
        raise QueryError(f"{said}: ~ (glob) works on {', '.join(_GLOBBED[:-1])} and {_GLOBBED[-1]} only")
    if field in _UNORDERED and operator not in ("=", "!=", "~"):
        raise QueryError(f"{said}: a {field} is not more or less than another; ask by =, != or ~ (glob)")
    if field == "near":
        return _circle(operator, value, said)
    if field == "has":
        return _had(operator, value, said)
    if field in _CHOICES:
        return _chosen(field, operator, value, said)
    if field in NUMBERS | TIMES:
        return (
            _seconds(value, said) if field in TIMES else _whole(field, operator, _number(field, value, said), said)
        )
    if field == "taken" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a year
    if not isinstance(value, str):
        raise unfit(f"the value of {field}", value, "a text")
    return _date(operator, value, said) if field == "taken" else _text(value, said)


def not_understood(said: str) -> QueryError:
    """Return the error of what is no filter."""
    return QueryError(
        f"{said} is not understood; expected FIELD OP VALUE with FIELD one of {', '.join(FIELDS)} and OP one of "
        f"{' '.join(OPERATORS)}, for instance 'width >= 800', or several such with and, or, not and parentheses"
    )


def circle_of(value: str) -> tuple[float, float, float]:
    """Return latitude and longitude in degrees, and kilometres, of a value of `near`."""
    latitude, longitude, kilometres = map(float, value.split(","))
    return latitude, longitude, kilometres


def _circle(operator: str, value: object, said: str) -> str:
    if operator != "=":
        raise QueryError(f"{said}: a picture is near or not; ask by =, or by not near = ...")
    match = _POSITION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise QueryError(f"{said}: expected latitude, longitude and kilometres, such as near = 48.86,2.35,10")
    if abs(float(match[1])) > 90 or abs(float(match[2])) > 180:
        raise QueryError(f"{said}: a latitude is at most 90 degrees and a longitude at most 180; correct it")
    return ",".join(match.groups())


def _had(operator: str, value: object, said: str) -> str:
    if operator not in ("=", "!="):
        raise QueryError(f"{said}: a picture has it or not; ask by = or !=")
    if not isinstance(value, str) or value.lower() not in HAD:
        raise QueryError(f"{said}: expected {', '.join(HAD[:-1])} or {HAD[-1]}")
    return value.lower()


def seconds_of(text: str) -> float:
    """Return the seconds that a time says: a number, `1:12.5` or `1:02:05`.

    Raises
    ------
    ValueError
        If it says none.

    Examples
    --------
    >>> seconds_of("72.5"), seconds_of("1:12.5"), seconds_of("1:02:05")
    (72.5, 72.5, 3725.0)
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    return 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + float(match[3])


def _seconds(value: object, said: str) -> str:
    """Return a time as text, in seconds with as many digits as were given."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise unfit("a time in a film", value, "seconds")
    try:
        seconds = seconds_of(value)
    except ValueError:
        raise QueryError(f"{said}: expected seconds, or a time such as 1:12.5 or 1:02:05") from None
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _chosen(field: str, operator: str, value: object, said: str) -> str:
    choices = _CHOICES[field]
    if operator not in ("=", "!="):
        article = "an" if field[0] in "aeiou" else "a"
        raise QueryError(f"{said}: {article} {field} is not more or less than another; ask by = or !=")
    if not isinstance(value, str) or value.lower() not in choices:
        raise QueryError(f"{said}: expected {', '.join(choices[:-1])} or {choices[-1]}")
    return value.lower()


def _number(field: str, value: object, said: str) -> Decimal:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        if match and (field == "size" or not match[2]):
            return Decimal(match[1]) * _FACTORS[match[2].lower()]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and number >= 0:
            return number
    else:
        raise unfit(f"the value of {field}", value, "a number")
    raise QueryError(f"{said}: expected a number, found {str(value)!r}")


def _whole(field: str, operator: str, number: Decimal, said: str) -> int:
    number = min(number, Decimal(_LARGEST))
    if number != number.to_integral_value() and operator in ("=", "!="):
        unit = "bytes" if field == "size" else "pixels"
        raise QueryError(f"{said}: a {field} is a whole number of {unit}; correct it, or ask for a range")
    return int(number.to_integral_value(ROUND_CEILING if operator in ("<", ">=") else ROUND_FLOOR))


def _date(operator: str, value: str, said: str) -> str:
    match = _DATE.fullmatch(value)
    if match is None:
        raise QueryError(f"{said}: expected a date such as 2023, 2023-05 or 2023-05-01T12:00")
    if not _is_in_calendar(match, is_bound=operator not in ("=", "!=")):
        raise QueryError(f"{said}: there is no such date; correct it")
    return value.replace(" ", "T")


def _is_in_calendar(match: re.Match[str], *, is_bound: bool) -> bool:
    """Return whether there is a date; the 31st of any month bounds it, and the year 0 all that has a date."""
    year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
    hour, minute, second = (int(match[place] or 0) for place in (4, 5, 6))
    if is_bound:
        year, day = max(year, 1), min(day, 28) if day <= 31 else day
    try:
        datetime(year, month, day, hour, minute, second)
    except ValueError:
        return False
    return True


def _text(value: str, said: str) -> str:
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise QueryError(
            f"{said} holds half a character (a lone surrogate), as no name of a file does; correct it"
        ) from error
    return value
