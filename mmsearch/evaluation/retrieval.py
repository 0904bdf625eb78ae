"""Text to image and image to text over a caption set: encode, rank, measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.datasets.sets import CaptionSet
from mmsearch.evaluation.encode import (
    SetEncoder,
    bad_pictures,
    described_encoders,
    names_of,
    refuse_repeated,
    require_words,
)
from mmsearch.evaluation.leakage import leakages_of_encoders
from mmsearch.evaluation.measures import RANKING, definitions_of, recall_levels, scales_of
from mmsearch.evaluation.metrics.ranks import Qrels
from mmsearch.evaluation.ranking import OnRanking, Ranking, Scored, compare_parts, results_of, score
from mmsearch.evaluation.records import Item, MeasuredReport, SetFacts
from mmsearch.evaluation.ties import BY_PLACE
from mmsearch.vectors import inner_products

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text to image", "image to text"


def run_retrieval(
    benchmark: CaptionSet,
    encoders: Sequence[SetEncoder],
    *,
    seed: int = 0,
    on_ranking: OnRanking = lambda encoder, part, ranking: None,
) -> MeasuredReport:
    """Measure encoders on a caption set, in both directions.

    Parameters
    ----------
    benchmark : CaptionSet
        Pictures and their texts.
    encoders : sequence of SetEncoder
        Compared pairwise where there are several.
    seed : int
        Of the intervals and tests.
    on_ranking : callable
        Given each ranking as it is scored, such as to write it as a TREC run.

    Returns
    -------
    MeasuredReport
        The report as JSON: the set with its counts, the definitions, and for every encoder and direction the
        measures with 95 % intervals and examples; `comparisons` between encoders with p values. A picture that
        cannot be read is named in `bad`, leaves the gallery, and its texts are not asked.

    Raises
    ------
    GroundTruthError
        If no picture can be read, or a model is given twice.
    QueryError
        If an encoder knows no words.
    """
    refuse_repeated(names_of(encoders))
    require_words(encoders)
    scored: dict[str, dict[str, Scored]] = {}
    bad: dict[int, str] = {}
    for encoder in encoders:
        rankings, bad = rankings_of(benchmark, encoder)
        name = encoder.encoder.name
        scored[name] = {}
        for part, ranking in rankings.items():
            on_ranking(name, part, ranking)
            scored[name][part] = score(ranking, seed=seed)
    return {
        "benchmark": "retrieval",
        "set": _set_facts(benchmark, bad),
        "seed": seed,
        "ties": BY_PLACE,
        "definitions": definitions_of(RANKING),
        "scales": scales_of(RANKING),
        "recall_levels": recall_levels(),
        "encoders": described_encoders(encoders),
        "leakage": leakages_of_encoders(encoders, benchmark.pictures),
        "results": results_of(scored, seed=seed),
        "comparisons": compare_parts(scored, seed=seed),
    }


def _set_facts(benchmark: CaptionSet, bad: dict[int, str]) -> SetFacts:
    return {
        "name": benchmark.name,
        "n_pictures": len(benchmark.pictures),
        "n_texts": len(benchmark.texts),
        "n_repeated_texts": benchmark.n_repeated_texts,
        "bad": bad_pictures(benchmark.pictures, bad),
    }


def rankings_of(benchmark: CaptionSet, encoder: SetEncoder) -> tuple[dict[str, Ranking], dict[int, str]]:
    """Return the rankings of both directions by name, and what is wrong with pictures that cannot be read."""
    readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
    texts = encoder.texts(benchmark.texts)
    row_of = {position: row for row, position in enumerate(readable)}
    shown = [[row_of[p] for p in positions if p in row_of] for positions in benchmark.pictures_of_text]
    asked = [text for text, rows in enumerate(shown) if rows]
    texts_of_picture = benchmark.texts_of_picture
    picture_items: list[Item] = [{"path": str(benchmark.pictures[position])} for position in readable]
    text_items: list[Item] = [{"text": text} for text in benchmark.texts]
    asked_texts = texts[asked]
    return {
        TEXT_TO_IMAGE: Ranking(
            [text_items[text] for text in asked],
            picture_items,
            lambda ids: inner_products(asked_texts[ids], pictures),
            Qrels.from_lists([shown[text] for text in asked]),
            np.array([shown[text][0] for text in asked], dtype=np.int64),
        ),
        IMAGE_TO_TEXT: Ranking(
            picture_items,
            text_items,
            lambda ids: inner_products(pictures[ids], texts),
            Qrels.from_lists([texts_of_picture[position] for position in readable]),
            np.arange(len(pictures)),
        ),
    }, bad
