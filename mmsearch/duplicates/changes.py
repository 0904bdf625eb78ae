"""CHANGES: what was done to a picture to make its copy, in words, by what is known of both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmsearch.duplicates.groups import Verdict
from mmsearch.duplicates.keepers import Candidate
from mmsearch.records import Change

SAME_SHARE = 0.03
"""So little of a side, or of an area, is left out by rounding."""
_SAME_SIZE = 0.02  # by which lengths may differ: frames are found to a 256th
_SAME_LIGHT, _SAME_CONTRAST, _SAME_COLOUR = 6, 0.1, 8  # of 255; the logarithm of a ratio; of 255


def changes(keeper: Candidate, other: Candidate, verdict: Verdict) -> tuple[Change, ...]:
    """Return what makes one picture the other, which is known to be the same by a verdict."""
    return tuple(_changes(keeper, other, verdict)) or ("re-encoded",)


def _changes(keeper: Candidate, other: Candidate, verdict: Verdict) -> Iterator[Change]:
    n_quarters, is_mirrored = divmod(verdict.turns, 2)
    if is_mirrored:
        yield "mirrored"
    if n_quarters and not (is_mirrored and n_quarters == 2):  # which is mirrored top to bottom
        yield "turned"
    first, second = keeper.part(verdict.parts[0]), other.part(verdict.parts[1])
    is_cropped = min(verdict.shown) < 1 - SAME_SHARE
    size = second.size[::-1] if n_quarters % 2 else second.size
    if is_cropped:
        yield "cropped"
    elif not np.allclose(size, first.size, rtol=_SAME_SIZE, atol=2):
        yield "resized"
    if abs(first.share - second.share) > SAME_SHARE:
        yield "border"
    if verdict.evidence == "local":
        yield "pasted"
        return  # it has tones of its own
    light, contrast, colour = (float(value) for value in first.tone)
    other_light, other_contrast, other_colour = (float(value) for value in second.tone)
    if is_cropped:
        return  # sizes and tones are of parts that are not the same
    if (
        abs(light - other_light) > _SAME_LIGHT
        or abs(np.log((contrast + 1) / (other_contrast + 1))) > _SAME_CONTRAST
        or abs(colour - other_colour) > _SAME_COLOUR
    ):
        yield "re-toned"
