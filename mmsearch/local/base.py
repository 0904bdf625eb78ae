"""What a local extractor is to those who use one: they take this record, and none of them imports how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mmsearch.records import LocalFeatures, Pixels


class Extract(Protocol):
    """Finds and describes the local features of one picture."""

    def __call__(self, pixels: Pixels, *, original_size: tuple[int, int] | None = None) -> LocalFeatures:
        """Return features, strongest first; empty where there is nothing to describe.

        Parameters
        ----------
        pixels : uint8 array, shape (height, width) or (height, width, 3)
            Upright, grey or RGB. Not modified; reduced to the frame if larger, never enlarged.
        original_size : (width, height), optional
            Of the upright original, if `pixels` are a reduced copy of it.
        """


@dataclass(frozen=True)
class LocalExtractor:
    """A local extractor. Immutable; may be shared between threads.

    Descriptors are non-negative with unit L2 length, so that a byte holds each value (`mmsearch.local.packing`).

    Parameters
    ----------
    name : str
        With a version: words are compared with those of the same name only, so it changes with anything that
        changes features.
    dim : int
        Width of the descriptors, at least 64 for the signatures of visual words.
    longer_side : int
        Of the frame, the upright picture at the size it is looked at; in pixels.
    extract : callable
        Same pixels, same features.
    """

    name: str
    dim: int
    longer_side: int
    extract: Extract

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) at which a picture of this (width, height) is looked at."""
        ratio = min(1.0, self.longer_side / max(size))
        return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
