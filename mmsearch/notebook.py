"""NOTEBOOK: pictures with a few words each as HTML, as notebooks show what a cell gives.

Everything is escaped, and the markup needs no script, no style sheet and no other host.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from mmsearch.names import quoted, visible

_SIDE = 160  # pixels of the longer side of a picture as it is shown
_ROW = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-end"
_CARD = f"margin:0;width:{_SIDE}px;font-size:12px;line-height:1.35;overflow-wrap:anywhere"
_PICTURE = f"display:block;max-width:{_SIDE}px;max-height:{_SIDE}px;margin:0 auto 4px"
_WITHOUT = f"height:{_SIDE // 2}px;margin:0 0 4px;border:1px dashed;opacity:.6;text-align:center"


class Card(NamedTuple):
    """A picture to be shown: its path, an address that holds it or None, and lines of text."""

    path: str
    picture: str | None
    lines: tuple[str, ...]


def cards_html(sentences: Sequence[str], cards: Sequence[Card]) -> str:
    """Return sentences, and pictures below them, as HTML.

    Examples
    --------
    >>> "&lt;b&gt;.jpg" in cards_html(["1 hit"], [Card("/photos/<b>.jpg", None, ("0.31",))])
    True
    """
    said = "".join(f'<p style="margin:0 0 8px">{_text(sentence)}</p>' for sentence in sentences)
    return f'<div>{said}<div style="{_ROW}">{"".join(map(_figure, cards))}</div></div>'


def _figure(card: Card) -> str:
    name = quoted(card.path.rpartition("/")[2])
    if card.picture is None:
        shown = f'<div style="{_WITHOUT}">no picture</div>'
    else:
        shown = f'<img src="{_text(card.picture)}" alt="{_text(name)}" style="{_PICTURE}">'
    words = "<br>".join(map(_text, (name, *card.lines)))
    inside = f"{shown}<figcaption>{words}</figcaption>"
    return f'<figure style="{_CARD}" title="{_text(quoted(card.path))}">{inside}</figure>'


def _text(text: str) -> str:
    return escape(visible(text))
