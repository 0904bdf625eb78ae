"""Filters as boolean expressions of Milvus over the fields of a picture's row.

Texts are compared as hexadecimal digits, so no value can break an expression. What the engine cannot say, such as
most globs, becomes an expression that lets more through; what passes it is then checked by the local conditions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile

from mmsearch.predicates import NUMBERS, And, Comparison, Not, Predicate
from mmsearch.store.normal_form import composed
from mmsearch.store.where import Filter, filter_of, place_bounds

EVERYTHING, NOTHING = "id >= 0", "id < 0"
_WILD = re.compile(r"[*?\[]")
_SHAPES = {"landscape": "width > height", "portrait": "width < height", "square": "width == height"}
_OPPOSITE = {"=": "==", "!=": "!="}


@dataclass(frozen=True)
class Expression:
    """What every picture that passes a filter passes (`wide`), and what none passes that does not (`narrow`)."""

    wide: str
    narrow: str

    @property
    def is_exact(self) -> bool:
        """Whether the engine alone can tell what passes."""
        return self.wide == self.narrow


def expression_of(predicate: Predicate | None, compiled: Callable[[Comparison], Filter] = filter_of) -> Expression:
    """Return the expression of a tree.

    Raises
    ------
    QueryError
        If a comparison is of a format that no picture has.

    Examples
    --------
    >>> from mmsearch.predicates import parse
    >>> expression_of(parse("width >= 800 and not name = a.jpg")).wide
    '(width >= 800) and (not (name == "612e6a7067"))'
    """
    if predicate is None:
        return _exactly(EVERYTHING)
    if isinstance(predicate, Comparison):
        return _comparison(compiled(predicate))
    if isinstance(predicate, Not):
        term = expression_of(predicate.term, compiled)
        return Expression(f"not ({term.narrow})", f"not ({term.wide})")
    word = " and " if isinstance(predicate, And) else " or "
    terms = [expression_of(term, compiled) for term in predicate.terms]
    return Expression(
        word.join(f"({term.wide})" for term in terms), word.join(f"({term.narrow})" for term in terms)
    )


def both(*expressions: str) -> str:
    """Return the expression that all of some hold; those that say nothing are left out."""
    said = [expression for expression in expressions if expression and expression != EVERYTHING]
    return " and ".join(f"({expression})" for expression in said) if len(said) > 1 else "".join(said)


def among(field: str, numbers: Iterable[int]) -> str:
    """Return the expression that a number is one of some."""
    return f"{field} in [{','.join(map(str, numbers))}]"


def among_texts(field: str, texts: Iterable[bytes]) -> str:
    """Return the expression that the bytes of a text are one of some."""
    return f"{field} in [{','.join(map(_quoted, texts))}]"


def below(root: bytes) -> str:
    """Return the expression of all paths at or below one, byte for byte."""
    return f"path == {_quoted(root)} or ({in_folder(root)})"


def in_folder(folder: bytes) -> str:
    """Return the expression of all paths below a folder, byte for byte."""
    return _range("path", *place_bounds("folder", folder))


def dated(operator: str, value: str) -> str:
    """Return a comparison of dates at the precision of the one given; no date is the empty text."""
    assert re.fullmatch(r"[\d:T-]+", value, re.ASCII), "a date was checked when its comparison was made"
    low, beyond = f'"{value}"', f'"{value}~"'  # nothing in a date sorts after the tilde
    is_in = f"taken >= {low} and taken < {beyond}"
    return {
        "=": is_in, "!=": f'taken != "" and not ({is_in})', ">=": f"taken >= {low}", ">": f"taken >= {beyond}",
        "<": f'taken != "" and taken < {low}', "<=": f'taken != "" and taken < {beyond}',
    }[operator]  # fmt: skip


def shaped(orientation: str) -> str:
    """Return the expression of all pictures with an orientation."""
    return _SHAPES[orientation]


def _exactly(expression: str) -> Expression:
    return Expression(expression, expression)


def _at_most(expression: str) -> Expression:
    """Return what passes nothing for sure, and at most this."""
    return Expression(expression, NOTHING)


def _quoted(text: bytes) -> str:
    return f'"{text.hex()}"'


def _range(field: str, low: bytes, high: bytes) -> str:
    return f"{field} >= {_quoted(low)} and {field} < {_quoted(high)}"


def _comparison(part: Filter) -> Expression:
    field, operator = part.field, part.operator
    if field in NUMBERS:
        return _exactly(f"{field} {_OPPOSITE.get(operator, operator)} {int(part.value)}")
    if field == "taken":
        return _exactly(dated(operator, str(part.value)))
    if field == "orientation":
        shape = shaped(str(part.value))
        return _exactly(shape if operator == "=" else f"not ({shape})")
    if operator == "~":
        return _glob(part)
    if field in ("path", "folder"):
        return _place(part)
    return _exactly(f"{field} {_OPPOSITE.get(operator, operator)} {_quoted(os.fsencode(str(part.value)))}")


def _place(part: Filter) -> Expression:
    """Return a comparison of a path or folder by equality or order."""
    value = os.fsencode(str(part.value))
    if part.operator in ("=", "!="):
        low, high = place_bounds(part.field, composed(value))
        inside = f"composed == {_quoted(low)}" if part.field == "path" else _range("composed", low, high)
        return _exactly(inside if part.operator == "=" else f"not ({inside})")
    if part.field == "path":
        return _exactly(f"composed {part.operator} {_quoted(value)}")
    return _at_most(EVERYTHING)  # the order of folders is not that of the paths in them


def _glob(part: Filter) -> Expression:
    """Return what a glob lets through at most: what begins as it does, up to its first sign for other signs."""
    value = str(part.value)
    start = _WILD.search(value)
    lead, rest = (value, "") if start is None else (value[: start.start()], value[start.start() :])
    field = {"path": "composed", "folder": "composed"}.get(part.field, part.field)
    if part.field == "name":  # whose case does not count
        lead, rest = "".join(takewhile(lambda sign: sign < "\x80" and not sign.isalpha(), lead)), "?"
    if not lead:
        is_all = rest.strip("*") == "" and part.field != "name"
        return _exactly(EVERYTHING) if is_all else _at_most(EVERYTHING)
    begins = f'{field} like "{os.fsencode(lead).hex()}%"'
    return _exactly(begins) if rest == "*" and part.field in ("path", "format") else _at_most(begins)
