"""Captions of many kinds, made from a fixed list of words: the text queries an index is calibrated with."""

from __future__ import annotations

from itertools import islice, product

_WHO = (
    "a dog", "two children", "a woman", "an old man", "a cat", "a group of people", "a bird", "a horse",
    "a red car", "a wooden boat", "a plate of food", "a bicycle", "a yellow flower", "a church", "a laptop",
    "a guitar player",
)  # fmt: skip
_DOING = (
    "", "on the beach", "in the snow", "at night", "in front of a mountain", "on a busy street",
    "next to a window", "in a green field", "under a blue sky", "at a birthday party", "in black and white",
    "seen from above", "in the rain", "on a table", "by the water", "in the desert",
)  # fmt: skip


def probe_texts(n: int = 256) -> list[str]:
    """Return n distinct captions, at most 256, the same every time."""
    return [f"{who} {where}".strip() for where, who in islice(product(_DOING, _WHO), n)]
