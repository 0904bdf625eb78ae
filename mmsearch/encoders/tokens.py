"""Texts to token ids with the `tokenizers` library, cleaned and padded as a text tower expects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.base import Tokenizer
from mmsearch.errors import EncoderError


@lru_cache(maxsize=1)  # a fifth of a second, which the next encoder with the same tokenizer need not take
def load_tokenizer(tokenizer: Tokenizer) -> Any:
    """Return the tokenizer of the `tokenizers` library; it cuts texts at the context length. All share it."""
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_str(tokenizer.json)
    except Exception as error:  # the library raises plain Exception
        raise EncoderError(f"the tokenizer of the encoder cannot be read ({str(error)[:200]})") from error
    fast.no_padding()
    fast.enable_truncation(tokenizer.context_length)
    return fast


def token_ids(tokenizer: Tokenizer, fast: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of every text, special ones included, without padding."""
    cleaned = [clean_text(text, tokenizer.clean) for text in texts]
    return [encoding.ids for encoding in fast.encode_batch(cleaned)]


def pad(tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return ids int64 (n, length): the context length if the tower needs it, else that of the longest."""
    length = tokenizer.context_length if tokenizer.pad_to_context else max(map(len, ids))
    batch = np.full((len(ids), length), tokenizer.pad_id, dtype=np.int64)
    for row, tokens in enumerate(ids):
        batch[row, : len(tokens)] = tokens
    return batch


def token_batch(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the padded ids int64 (n, length) of texts."""
    return pad(tokenizer, token_ids(tokenizer, load_tokenizer(tokenizer), texts))


def clean_text(text: str, manner: str) -> str:
    """Return a text as open_clip's tokenizers clean it before they split it.

    Parameters
    ----------
    text : str
        What the user wrote.
    manner : str
        `none`, `whitespace`, `lower` or `canonicalize`, open_clip's names.

    Examples
    --------
    >>> clean_text("  A  Dog &amp; a cat ", "lower")
    'a dog & a cat'
    """
    text = text.encode("utf-8", "replace").decode()  # half a character, as from a name that is not UTF-8
    if manner == "none":
        return text
    from html import unescape

    if not (text.isascii() and text.isprintable()):  # ftfy changes nothing in plain text
        import ftfy

        text = ftfy.fix_text(text)
    text = unescape(unescape(text))
    if manner == "canonicalize":
        text = re.sub(r"[!-/:-@\[-`{-~]", "", text.replace("_", " "))
    text = " ".join(text.split())
    return text if manner == "whitespace" else text.lower()
