"""Filters as people type them: `FIELD OP VALUE`, joined by `and`, `or`, `not` and parentheses.

`not` binds closest, then `and`, then `or`; the three may be in capitals. Names of files hold spaces, quotes,
parentheses and the word `and`, so what ends a value is told by what follows it:

- One comparison needs no quotes and knows none: its value is all that stands behind the operator.
- In a text that starts with `(` or `not`, or has several comparisons, a value ends before `and` or `or` if another
  comparison follows, and before a `)` that it does not open itself. In double quotes, where `""` is a quote, it may
  hold both.
"""

from __future__ import annotations

import re

from mmsearch.errors import QueryError
from mmsearch.predicates.tree import And, Comparison, Not, Or, Predicate, require_depth
from mmsearch.predicates.values import FIELDS, not_understood

_OPERATOR = r"(?:!=|<=|>=|=|<|>|~)"
_COMPARISON = re.compile(rf"\s*([a-z_]+)\s*({_OPERATOR})\s*")
_OTHER = rf"(?:(?i:not)\b\s*|\(\s*)*(?:{'|'.join(FIELDS)})\s*{_OPERATOR}\s*\S"
_CONNECTIVE = rf"(?<=\s)(?=(?i:and|or)\b\s*{_OTHER})"
_PARENTHESIS = re.compile(r"[()]")
_STOP = re.compile(rf"[()]|{_CONNECTIVE}")
_QUOTED = re.compile(r'"((?:[^"]|"")*+)"\s*')
_AFTER_QUOTES = re.compile(rf"$|(\))|{_CONNECTIVE}")
_AND, _OR, _NOT = (re.compile(rf"\s*(?i:{word})\b\s*") for word in ("and", "or", "not"))
_OPEN, _CLOSE = re.compile(r"\s*\(\s*"), re.compile(r"\s*\)\s*")
_NEEDS_QUOTES = re.compile(r'\A[\s"]|[()]|\s\Z|(?<!\S)(?i:and|or)(?!\S)')
_WITHOUT_QUOTES = frozenset(FIELDS) - {"path", "folder", "name"}


def parse(text: str) -> Predicate:
    """Return the tree of a filter.

    Raises
    ------
    QueryError
        If it is not understood.

    Examples
    --------
    >>> parse("folder = ~/you and me")
    Comparison(field='folder', operator='=', value='~/you and me')
    >>> parse("format = PNG or not width < 800")  # doctest: +NORMALIZE_WHITESPACE
    Or(terms=(Comparison(field='format', operator='=', value='PNG'),
              Not(term=Comparison(field='width', operator='<', value=800))))
    """
    reader, start = _Reader(text), _COMPARISON.match(text)
    if start and reader.value(start.end(), is_inside=False)[1] == len(text):
        field, operator = start.groups()
        value = text[start.end() :].strip()
        quoted = _QUOTED.fullmatch(value) if field in _WITHOUT_QUOTES else None
        if field not in FIELDS or not value:
            raise not_understood(f"filter {text!r}")
        return Comparison(field, operator, quoted[1].replace('""', '"') if quoted else value)
    tree = reader.any_of(depth=0)
    if reader.place < len(text):
        raise reader.error()
    return tree


class _Reader:
    """Reads a text with several comparisons, once from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self._closed_at = _pairs(text)

    def any_of(self, depth: int) -> Predicate:
        terms = [self._all_of(depth)]
        while self._takes(_OR):
            terms.append(self._all_of(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _all_of(self, depth: int) -> Predicate:
        terms = [self._term(depth)]
        while self._takes(_AND):
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _term(self, depth: int) -> Predicate:
        require_depth(depth)
        if self._takes(_NOT):
            return Not(self._term(depth + 1))
        if self._takes(_OPEN):
            tree = self.any_of(depth + 1)
            if not self._takes(_CLOSE):
                raise QueryError(
                    f"filter {self.text!r}: a parenthesis is not closed; close it, or put a value that holds one "
                    "in double quotes"
                )
            return tree
        return self._comparison(is_inside=depth > 0)

    def _comparison(self, *, is_inside: bool) -> Comparison:
        match = _COMPARISON.match(self.text, self.place)
        if match is None or match[1] not in FIELDS:
            raise self.error()
        value, end = self.value(match.end(), is_inside=is_inside)
        if not value:
            raise self.error()
        self.place = end
        return Comparison(match[1], match[2], value)

    def value(self, place: int, *, is_inside: bool) -> tuple[str, int]:
        """Return the value that stands at a place, and where it ends; inside parentheses it may end at one."""
        quoted = _QUOTED.match(self.text, place)
        after = quoted and _AFTER_QUOTES.match(self.text, quoted.end())
        if quoted and after and (is_inside or not after[1]):
            return quoted[1].replace('""', '"'), quoted.end()
        end = self._end(place, is_inside=is_inside)
        return self.text[place:end].strip(), end

    def _end(self, start: int, *, is_inside: bool) -> int:
        stop = _STOP.search(self.text, start)
        while stop is not None:
            if stop[0] == ")" and is_inside:
                return stop.start()
            if not stop[0] and stop.start() > start:
                return stop.start()
            stop = _STOP.search(self.text, self._closed_at.get(stop.start(), stop.start()) + 1)
        return len(self.text)

    def _takes(self, word: re.Pattern[str]) -> bool:
        match = word.match(self.text, self.place)
        if match is not None:
            self.place = match.end()
        return match is not None

    def error(self) -> QueryError:
        rest = self.text[self.place :].strip()
        if not rest:
            return not_understood(f"filter {self.text!r}, which breaks off,")
        return not_understood(f"filter {self.text!r}" + (f" at {rest!r}" if rest != self.text.strip() else ""))


def _pairs(text: str) -> dict[int, int]:
    """Return where each parenthesis that is closed is closed."""
    closed_at, opened = {}, []
    for parenthesis in _PARENTHESIS.finditer(text):
        if parenthesis[0] == "(":
            opened.append(parenthesis.start())
        elif opened:
            closed_at[opened.pop()] = parenthesis.start()
    return closed_at


def written(predicate: Predicate) -> str:
    """Return the text of a tree, of which `parse` makes the same tree.

    >>> written(Comparison("name", "=", "you (2).jpg"))
    'name = you (2).jpg'
    >>> written(Not(Comparison("name", "=", "you (2).jpg")))
    'not name = "you (2).jpg"'
    """
    if not isinstance(predicate, Comparison):
        return _joined(predicate)
    plain = f"{predicate.field} {predicate.operator} {predicate.value}"
    return plain if _is_plain(plain, predicate) else f"({_term(predicate)})"


def _is_plain(text: str, comparison: Comparison) -> bool:
    try:
        return parse(text) == comparison
    except QueryError:
        return False


def _joined(node: And | Or | Not) -> str:
    if isinstance(node, Not):
        return f"not {_term(node.term)}"
    return (" and " if isinstance(node, And) else " or ").join(map(_term, node.terms))


def _term(predicate: Predicate) -> str:
    if not isinstance(predicate, Comparison):
        text = _joined(predicate)
        return text if isinstance(predicate, Not) else f"({text})"
    value = str(predicate.value)
    if _NEEDS_QUOTES.search(value):
        value = '"' + value.replace('"', '""') + '"'
    return f"{predicate.field} {predicate.operator} {value}"
