"""What an encoder learns from how many captioned pictures, and what it forgets.

    python benchmarks/training.py DATA [--out FILE] [--pictures N]... [--seeds N] [--base MODEL]

DATA holds flickr8k-train, which is learned from, and what is reported on: flickr8k-test (5,000 captions, 1,000
pictures), imagenet-sample (top-1 of 1,000 class names, "a photo of a ..."; class name to picture) and
tuxpaint-stamps (captions of drawings and cut-outs). A share of the training pictures is held out to stop by, as
`mmsearch train captions` does. Seconds are CPU time of the training alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.classes import read_classes
from mmsearch.datasets.sets import CaptionSet
from mmsearch.encoders.prepare import features_model
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.training.captions import CaptionFeatures, CaptionOptions, held_out, retrieval_hits
from mmsearch.training.heads import Heads, teach_heads
from mmsearch.vectors import inner_products

KEPT = (0.0, 0.5)


class Features:
    """What a base makes of the sets."""

    def __init__(self, data: Path, base: str, cache: Path) -> None:
        self.base = SetEncoder(base, cache=cache)
        self.images = SetEncoder(features_model(base), cache=cache)
        self.train, self.test = self._captioned(data / "flickr8k-train"), self._captioned(data / "flickr8k-test")
        self.tux = self._of(read_captions(data / "tuxpaint-stamps", is_merging=True))
        known = read_classes(data / "imagenet-sample")
        prompts = [f"a photo of a {name}." for name in known.class_names]
        self.truth = np.array(known.truth)
        self.classes = self._joined(known.pictures, prompts)
        self.names = self._joined(known.pictures, list(known.class_names))

    def _captioned(self, folder: Path) -> CaptionFeatures:
        return self._of(read_captions(folder))[0]

    def _of(self, known: CaptionSet) -> tuple[CaptionFeatures, Qrels]:
        features = self._joined(
            known.pictures, list(known.texts), [pictures[0] for pictures in known.pictures_of_text]
        )
        return features, Qrels.from_lists(known.pictures_of_text)

    def _joined(self, pictures: Any, texts: list[str], owners: list[int] | None = None) -> CaptionFeatures:
        _, images, _ = self.images.pictures(pictures)
        vectors = self.base.texts(texts)
        rows = np.array(owners if owners is not None else [0] * len(texts))
        return CaptionFeatures.of_set(images, vectors, rows, texts, dim=self.base.encoder.dim)

    def measured(self, heads: Heads | None, keep: float) -> dict[str, float]:
        """Return the measures, in per cent; of the base itself without heads."""

        def vectors(features: CaptionFeatures) -> Any:
            return features.base_vectors() if heads is None else heads.vectors(features, keep=keep)

        hits = retrieval_hits(*vectors(self.test), self.test.picture_of_text)
        figures = {name: 100 * float(values.mean()) for name, values in hits.items()}
        images, prompts = vectors(self.classes)
        figures["ImageNet top-1"] = 100 * float(
            (inner_products(images, prompts).argmax(axis=1) == self.truth).mean()
        )
        images, names = vectors(self.names)
        shown = [np.flatnonzero(self.truth == label).tolist() for label in range(len(names))]
        ranked = rank_relevant(inner_products(names, images), Qrels.from_lists(shown))
        figures["name to picture R@1"] = 100 * float(hit_at_k(ranked, 1).mean())
        features, qrels = self.tux
        images, texts = vectors(features)
        ranked = rank_relevant(inner_products(texts, images), qrels)
        figures |= {f"Tux Paint R@{k}": 100 * float(hit_at_k(ranked, k).mean()) for k in (1, 10)}
        return {name: round(value, 1) for name, value in figures.items()}


def learned(features: Features, n_pictures: int, seed: int) -> tuple[Heads, float]:
    """Teach heads by some of the training pictures; return them with the seconds that it took."""
    chosen = np.random.default_rng(100 + seed).permutation(len(features.train))[:n_pictures]
    known = features.train.of(np.sort(chosen))
    options = CaptionOptions(seed=seed)
    train, validation = (known.of(rows) for rows in held_out(known, options.validation, seed))
    started = time.process_time()
    heads = teach_heads(train, validation, options, logit_scale=features.base.encoder.logit_scale)
    return replace(heads, history=[]), time.process_time() - started


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out")
    parser.add_argument("--base", default="offline")
    parser.add_argument("--pictures", type=int, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    given = parser.parse_args()
    features = Features(given.data, given.base, given.cache)
    figures: dict[str, Any] = {"base": features.measured(None, 1.0)}
    print(figures, flush=True)
    for n_pictures in given.pictures or (250, 500, 1000, 1500):
        runs = [learned(features, n_pictures, seed) for seed in range(given.seeds)]
        for keep in KEPT:
            values = [features.measured(heads, keep) for heads, _ in runs]
            name = f"{n_pictures} pictures, {keep:g} of the base kept"
            figures[name] = {
                measure: {"mean": round(float(np.mean(of)), 1), "deviation": round(float(np.std(of)), 1)}
                for measure in values[0]
                if (of := [value[measure] for value in values])
            }
            figures[name]["CPU s"] = round(float(np.mean([seconds for _, seconds in runs])), 1)
            print(name, figures[name], flush=True)
    report("training", figures, given.out)


if __name__ == "__main__":
    main()
