"""Text to image and image to text over a caption set: encode, rank, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder, described, refuse_repeated, require_words
from mmsearch.evaluation.ground_truth.sets import CaptionSet
from mmsearch.evaluation.measures import DESCRIBED, compared, curve, per_query, summarised
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, RankedRelevant, Values, rank_relevant_by_vectors

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text to image", "image to text"


@dataclass(frozen=True)
class Direction:
    """What one encoder does in one direction.

    `values` holds every measure for every query, `groups` the number of the picture each query belongs to.
    """

    name: str
    n_gallery: int
    values: dict[str, Values]
    groups: Ids
    curve: list[float]

    def to_json(self, *, seed: int) -> dict[str, Any]:
        """Return counts, values with intervals, and the precision-recall curve."""
        return {
            "n_queries": len(self.groups),
            "n_gallery": self.n_gallery,
            "measures": summarised(self.values, self.groups, seed=seed),
            "precision_at_recall": self.curve,
        }


def run_retrieval(benchmark: CaptionSet, encoders: Sequence[SetEncoder], *, seed: int = 0) -> dict[str, Any]:
    """Measure encoders on a caption set, in both directions.

    Parameters
    ----------
    benchmark : CaptionSet
        Pictures and their texts.
    encoders : sequence of SetEncoder
        Compared pairwise where there are several.
    seed : int
        Of the intervals and tests.

    Returns
    -------
    dict
        The report as JSON: the set with its counts, the definitions, and for every encoder and direction the
        measures with 95 % intervals; `comparisons` between encoders with p values. A picture that cannot be
        read is named in `bad`, leaves the gallery, and its texts are not asked.

    Raises
    ------
    GroundTruthError
        If no picture can be read, or a model is given twice.
    QueryError
        If an encoder knows no words.
    """
    refuse_repeated(encoders)
    require_words(encoders)
    found: dict[str, list[Direction]] = {}
    bad: dict[int, str] = {}
    for encoder in encoders:
        found[encoder.encoder.name], bad = _measured(benchmark, encoder)
    return {
        "benchmark": "retrieval",
        "set": {
            "name": benchmark.name,
            "n_pictures": len(benchmark.pictures),
            "n_texts": len(benchmark.texts),
            "n_repeated_texts": benchmark.n_repeated_texts,
            "bad": [{"path": str(benchmark.pictures[i]), "message": message} for i, message in bad.items()],
        },
        "seed": seed,
        **DESCRIBED,
        "encoders": described(encoders),
        "results": {
            name: {direction.name: direction.to_json(seed=seed) for direction in directions}
            for name, directions in found.items()
        },
        "comparisons": _comparisons(found, seed) if len(encoders) > 1 else {},
    }


def _measured(benchmark: CaptionSet, encoder: SetEncoder) -> tuple[list[Direction], dict[int, str]]:
    readable, pictures, bad = encoder.pictures(benchmark.pictures)
    if not readable:
        raise GroundTruthError(
            f"{benchmark.name}: none of its {len(benchmark.pictures)} pictures can be read; the first: {bad[0]}"
        )
    texts = encoder.texts(benchmark.texts)
    row_of = {position: row for row, position in enumerate(readable)}
    shown = [[row_of[p] for p in own if p in row_of] for own in benchmark.pictures_of_text]
    asked = [text for text, rows in enumerate(shown) if rows]
    to_image = rank_relevant_by_vectors(texts[asked], pictures, Qrels.from_lists([shown[text] for text in asked]))
    described = benchmark.texts_of_picture
    to_text = rank_relevant_by_vectors(pictures, texts, Qrels.from_lists([described[p] for p in readable]))
    owners = np.array([shown[text][0] for text in asked], dtype=np.int64)
    return [
        _direction(TEXT_TO_IMAGE, to_image, len(pictures), owners),
        _direction(IMAGE_TO_TEXT, to_text, len(texts), np.arange(len(pictures))),
    ], bad


def _direction(name: str, ranked: RankedRelevant, n_gallery: int, groups: Ids) -> Direction:
    return Direction(name, n_gallery, per_query(ranked), groups, curve(ranked))


def _comparisons(found: dict[str, list[Direction]], seed: int) -> dict[str, Any]:
    return {
        directions[0].name: compared(
            {model: direction.values for model, direction in zip(found, directions, strict=True)},
            directions[0].groups,
            seed=seed,
        )
        for directions in zip(*found.values(), strict=True)
    }
