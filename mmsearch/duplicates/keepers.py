"""KEEPERS: which picture of a group is proposed to be kept, and why.

Rules are tried one after another until one of them tells pictures apart; the rule that is asked for comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from mmsearch.arguments import Keep
from mmsearch.records import ImageRecord

_FRAMED = 0.97  # the inside of a frame is known to a 256th of each side, and the picture without it is rather kept
_GREY = 2  # of 255: the colour of a grey picture that was encoded, at most
WHOLE = 65_535
"""A side, in boxes of luminances."""


class Part(NamedTuple):
    """A part of a picture: its size in pixels, its share of the picture, and its mean, contrast and colour."""

    size: tuple[float, float]
    share: float
    tone: tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """A picture that may be a duplicate: what it is, the sha256 of its file, and its signature if it has one.

    The signature is an array of one record or, in a plain frame, two; see `mmsearch.records.luminance_layout`.
    """

    image: ImageRecord
    content_hash: bytes
    signature: NDArray[Any] | None = None

    def part(self, number: int) -> Part:
        """Return the whole picture, or what is inside of its frame; it has a signature."""
        assert self.signature is not None, "only pictures with one are compared by it"
        record = self.signature[number]
        left, top, right, bottom = (float(share) / WHOLE for share in record["box"])
        width, height = (right - left) * self.image.width, (bottom - top) * self.image.height
        return Part((width, height), (right - left) * (bottom - top), tuple(record["tone"].tolist()))

    @property
    def content_size(self) -> tuple[float, float]:
        """Width and height in pixels inside of a plain frame."""
        if self.signature is None:
            return self.image.width, self.image.height
        return self.part(-1).size

    @property
    def is_framed(self) -> bool:
        """Whether there is a plain frame."""
        return self.signature is not None and len(self.signature) > 1

    @property
    def is_grey(self) -> bool:
        """Whether it is known to have no colours."""
        return self.signature is not None and self.part(-1).tone[-1] <= _GREY

    @property
    def n_pixels(self) -> int:
        """Pixels inside of a plain frame."""
        width, height = self.content_size
        return round(width * height)

    @property
    def bits_a_pixel(self) -> float:
        """Bits of the file for each of them."""
        return 8 * self.image.size_bytes / max(1, self.n_pixels)


@dataclass(frozen=True)
class _Rule:
    """A rule: what is lowest of the picture that it keeps, and how it is said of that."""

    key: Callable[[Candidate], float]
    said: Callable[[Candidate], str]


_RULES: dict[Keep, _Rule] = {
    "largest": _Rule(
        lambda picture: -picture.n_pixels * (_FRAMED if picture.is_framed else 1),
        lambda picture: f"largest: {picture.image.width} x {picture.image.height}",
    ),
    "coloured": _Rule(lambda picture: picture.is_grey, lambda picture: "has its colours"),
    "dated": _Rule(
        lambda picture: picture.image.taken_at is None,
        lambda picture: f"has its date: {picture.image.taken_at}",
    ),
    # Last but one, as a file in a format that loses nothing may be of one that did.
    "least-compressed": _Rule(
        lambda picture: -picture.bits_a_pixel,
        lambda picture: f"least compressed: {picture.bits_a_pixel:.1f} bits a pixel",
    ),
    "oldest": _Rule(lambda picture: picture.image.mtime_ns, lambda picture: "oldest file"),
}


def preference(picture: Candidate, keep: Keep) -> tuple[Any, ...]:
    """Return what pictures are sorted by, so that the one to be kept comes first."""
    keys = [_RULES[name].key(picture) for name in _order(keep)]
    return (*keys, len(picture.image.path), picture.image.path)


def reason(keeper: Candidate, others: Sequence[Candidate], keep: Keep) -> str:
    """Return why a picture is kept and none of the others: by the first rule that tells it from all of them.

    Where no rule does, it is the first of those between which the rules could not tell.
    """
    left = list(others)
    for name in _order(keep):
        rule = _RULES[name]
        alike = [other for other in left if rule.key(other) <= rule.key(keeper)]
        if not alike:
            return rule.said(keeper)
        left = alike
    is_shortest = all(len(other.image.path) > len(keeper.image.path) for other in left)
    return "shortest path" if is_shortest else "first by path"


def _order(keep: Keep) -> list[Keep]:
    return [keep, *(name for name in _RULES if name != keep)]
