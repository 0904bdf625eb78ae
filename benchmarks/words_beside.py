"""What texts beside pictures find, and what they spoil: pixels, words and captions, alone and joined.

    python benchmarks/words_beside.py DATA [--choose] [--out FILE]

DATA holds flickr8k-train and flickr8k-test, tuxpaint-stamps and imagenet-sample. Encoder: `offline`.

- Captions: one of the five is kept beside each picture, the other four are asked; also where every tenth picture
  has its caption and no other has any, where every tenth has that of another picture, or three words of it as a
  name, and where every other picture has its caption. What is not joined has only pixels there.
- Stamps: English and German captions are kept; asked are the English, the German and the French ones.
- Folders: photographs lie in folders of eight countries, which they do not show; asked are a country and the last
  word of several classes, such as "france snake", and that word alone.

With --choose, flickr8k-train is asked by weights around those of `offline`, one number changed at a time: so they
were chosen. Without, all sets are asked by these.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.tokens import FUNCTION_WORDS, tokens_of
from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.classes import read_classes
from mmsearch.encoders.calibration import JoinModel
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k, recall_at_k
from mmsearch.evaluation.metrics.uncertainty import bootstrap_interval
from mmsearch.query.join import weights_of
from mmsearch.records import READING, FileLook
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.vectors import leading

COUNTRIES = ("france", "japan", "brazil", "kenya", "norway", "india", "canada", "greece")
AROUND = {
    "words": (0.3, 1.0), "captions": (2.5, 4.5), "unrelated_of_few": (0.5, 0.6), "unrelated_of_all": (0.15, 0.4)
}  # fmt: skip
Measured = dict[str, np.ndarray]
"""Values of queries by measure."""


@dataclass(frozen=True)
class Asked:
    """Queries to pictures, some of which have texts beside them.

    `pixels` (n_queries, n) are cosines, and so are `captions`, -1 where a picture has none; `words` are shares.
    """

    pixels: np.ndarray
    words: np.ndarray
    captions: np.ndarray
    relevant: Qrels
    groups: np.ndarray

    def joined(self, model: JoinModel) -> np.ndarray:
        """Return the joined scores of all pictures."""
        share = (self.captions > -1).any(axis=0).mean()
        beyond = np.maximum(0, self.captions - model.unrelated(float(share)))
        return self.pixels + np.float32(model.words) * self.words + np.float32(model.captions) * beyond

    def measured(self, scores: np.ndarray) -> Measured:
        """Return what scores are worth."""
        ranked = rank_relevant(scores.astype(np.float32), self.relevant)
        hits = {f"R@{k} (any)": hit_at_k(ranked, k) for k in (1, 5, 10)}
        return {**hits, "recall@10": recall_at_k(ranked, 10), "mAP": average_precision(ranked)}

    def intervals(self, values: Measured) -> dict[str, str]:
        """Return means with 95 % intervals, in percent."""
        shown = {}
        for name, of_queries in values.items():
            low, high = bootstrap_interval(of_queries.astype(float), self.groups)
            shown[name] = f"{100 * of_queries.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"
        return shown

    def change(self, model: JoinModel) -> dict[str, str]:
        """Return what joining changes in pixels alone, with 95 % intervals of the differences, in points."""
        before, after = self.measured(self.pixels), self.measured(self.joined(model))
        return self.intervals({name: after[name] - before[name] for name in ("R@1 (any)", "R@10 (any)")})

    def table(self, model: JoinModel) -> dict[str, dict[str, str]]:
        """Return what pixels, words, captions and all together are worth."""
        sides = {
            "pixels": self.pixels,
            "words": self.words,
            "captions": self.captions,
            "joined": self.joined(model),
        }
        return {name: self.intervals(self.measured(scores)) for name, scores in sides.items()}


def shares(texts: Sequence[Sequence[str]], kind: Kind, queries: Sequence[str]) -> np.ndarray:
    """Return the shares (n_queries, n) that texts beside n pictures have of queries, as a library gives them."""
    found = np.zeros((len(queries), len(texts)), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        files = [
            StoredFile(
                b"/%06d.jpg" % i, FileLook(i, i, i), b"%032d" % i, 1, 1, "JPEG", None, READING,
                annotations=Annotations(tuple(Annotation(kind, "benchmark", text) for text in beside)),
            )
            for i, beside in enumerate(texts)
        ]  # fmt: skip
        with Store.writer(Path(folder), create={"dim": 0, "fingerprint": "none", "model": "none"}) as store:
            store.commit(Changes(stored=files))
            place = {
                image.image_id: int(image.path[1:7]) for image in store.images_of_ids(range(1, len(texts) + 1))
            }
            for row, query in zip(found, queries, strict=True):
                matches = store.annotations.matches(query)
                row[[place[image_id] for image_id in matches.image_ids.tolist()]] = matches.shares
    return found


class Captioned:
    """A set of which the first caption of each picture can be kept, and the others asked."""

    def __init__(self, folder: Path, encoder: SetEncoder) -> None:
        captions = read_captions(folder)
        texts = [[captions.texts[place] for place in places] for places in captions.texts_of_picture]
        self.n = len(texts)
        self.kept = [of_picture[0] for of_picture in texts]
        self.queries = [text for of_picture in texts for text in of_picture[1:]]
        self.truth = np.array([i for i, of_picture in enumerate(texts) for _ in of_picture[1:]])
        vectors = encoder.texts(self.queries)
        self.pixels = vectors @ encoder.pictures(captions.pictures)[1].T
        self.near = leading(vectors, int(weights_of(encoder.encoder).n_leading)) @ encoder.texts(self.kept).T

    def with_captions(self, owners: dict[int, int]) -> Asked:
        """Return the queries where these pictures have the captions of these."""
        texts = [[self.kept[owners[i]]] if i in owners else [] for i in range(self.n)]
        captions = np.full_like(self.near, -1)
        captions[:, list(owners)] = self.near[:, list(owners.values())]
        return self._asked(shares(texts, Kind.CAPTION, self.queries), captions)

    def with_names(self, owners: dict[int, int]) -> Asked:
        """Return the queries where these pictures are called by three words of the captions of these."""
        words = [[token for token in tokens_of(text) if token not in FUNCTION_WORDS] for text in self.kept]
        texts = [[" ".join(words[owners[i]][:3])] if i in owners else [] for i in range(self.n)]
        return self._asked(shares(texts, Kind.NAME, self.queries), np.full_like(self.near, -1))

    def _asked(self, words: np.ndarray, captions: np.ndarray) -> Asked:
        qrels = Qrels.from_lists([[i] for i in self.truth.tolist()])
        return Asked(self.pixels, words, captions, qrels, self.truth)

    def some(self) -> dict[str, Asked]:
        """Return the queries where some pictures have texts."""
        order = np.random.default_rng(0).permutation(self.n)
        tenth, half = order[: self.n // 10].tolist(), order[: self.n // 2].tolist()
        others = dict(zip(tenth, order[self.n // 10 : 2 * (self.n // 10)].tolist(), strict=True))
        return {
            "a tenth has its caption": self.with_captions(dict(zip(tenth, tenth, strict=True))),
            "half have their captions": self.with_captions(dict(zip(half, half, strict=True))),
            "a tenth has the caption of another": self.with_captions(others),
            "a tenth is called by words of another": self.with_names(others),
        }


def chosen(data: Path, encoder: SetEncoder) -> dict[str, object]:
    """Return what weights around those of the encoder find and spoil on training pictures."""
    captioned, model = Captioned(data / "flickr8k-train", encoder), weights_of(encoder.encoder)
    everyone = captioned.with_captions(dict(zip(range(captioned.n), range(captioned.n), strict=True)))
    some = captioned.some()
    figures: dict[str, object] = {
        "captions alone": everyone.intervals(everyone.measured(everyone.captions)),
        "unrelated captions, percentiles of cosines": {
            f"{percent}": round(float(np.percentile(everyone.captions[::7], percent)), 3)
            for percent in (50, 90, 95, 97.5, 99, 99.5, 99.9)
        },
    }
    models = [model, *(replace(model, **{name: value}) for name, values in AROUND.items() for value in values)]
    for weights in models:
        figures[str(weights)] = {
            "all have captions": everyone.intervals(everyone.measured(everyone.joined(weights))),
            **{name: asked.change(weights) for name, asked in some.items()},
        }
    return figures


def captions(data: Path, encoder: SetEncoder) -> dict[str, object]:
    """Return what the encoder's weights find and spoil on test pictures."""
    captioned, model = Captioned(data / "flickr8k-test", encoder), weights_of(encoder.encoder)
    everyone = captioned.with_captions(dict(zip(range(captioned.n), range(captioned.n), strict=True)))
    some = {name: asked.change(model) for name, asked in captioned.some().items()}
    return {"all have captions": everyone.table(model), "some, joined less pixels alone": some}


def stamps(data: Path, encoder: SetEncoder) -> dict[str, object]:
    """Return what captions in two languages find, in those two and in another."""
    captioned, model = read_captions(data / "tuxpaint-stamps"), weights_of(encoder.encoder)
    languages = [
        {"en": captioned.texts[places[0]], **more}
        for places, more in zip(captioned.texts_of_picture, captioned.translations, strict=True)
    ]
    pictures = encoder.pictures(captioned.pictures)[1]
    kept = [[said[language] for language in ("en", "de") if language in said] for said in languages]
    owners = np.array([i for i, texts in enumerate(kept) for _ in texts])
    kept_vectors = encoder.texts([text for texts in kept for text in texts])
    figures: dict[str, object] = {}
    for language in ("en", "de", "fr"):
        relevant = defaultdict(list)
        for i, said in enumerate(languages):
            if language in said:
                relevant[said[language]].append(i)
        vectors, near = encoder.texts(list(relevant)), np.full((len(relevant), len(kept)), -1, dtype=np.float32)
        np.maximum.at(near.T, owners, kept_vectors @ leading(vectors, int(model.n_leading)).T)
        asked = Asked(
            vectors @ pictures.T, shares(kept, Kind.CAPTION, list(relevant)), near,
            Qrels.from_lists(list(relevant.values())), np.arange(len(relevant)),
        )  # fmt: skip
        figures[language] = asked.table(model)
    return figures


def folders(data: Path, encoder: SetEncoder) -> dict[str, object]:
    """Return what the names of folders find that no picture shows."""
    classes, model = read_classes(data / "imagenet-sample"), weights_of(encoder.encoder)
    country = np.random.default_rng(0).integers(0, len(COUNTRIES), len(classes.pictures))
    things = defaultdict(list)
    for i, label in enumerate(classes.truth):
        things[classes.class_names[label].split()[-1].lower()].append(i)
    things = {thing: members for thing, members in things.items() if len(members) >= 5}
    pictures = encoder.pictures(classes.pictures)[1]
    kept = [[COUNTRIES[number]] for number in country]
    asked: dict[str, dict[str, list[int]]] = {"country and thing": {}, "thing alone": things}
    for thing, members in things.items():
        for number, name in enumerate(COUNTRIES):
            if there := [i for i in members if country[i] == number]:
                asked["country and thing"][f"{name} {thing}"] = there
    figures: dict[str, object] = {}
    for name, relevant in asked.items():
        queries = list(relevant)
        cosines = encoder.texts(queries) @ pictures.T
        found = Asked(
            cosines, shares(kept, Kind.FOLDER, queries), np.full_like(cosines, -1),
            Qrels.from_lists(list(relevant.values())), np.arange(len(queries)),
        )  # fmt: skip
        table = found.table(model)
        figures[name] = {"queries": len(queries), "pixels": table["pixels"], "joined": table["joined"]}
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    encoder = SetEncoder("offline", cache=arguments.cache)
    jobs = [chosen] if arguments.choose else [captions, stamps, folders]
    report("words_beside", {job.__name__: job(arguments.data, encoder) for job in jobs}, arguments.out)


if __name__ == "__main__":
    main()
