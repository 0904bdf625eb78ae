"""What parts of pictures bring to captions and to crops, through the searches of real libraries.

    python benchmarks/parts.py DATA [--set flickr8k-train] [--model offline] [--views 5] [--cache DIR] [--out F]

DATA holds the captioned set. Its pictures are indexed with up to 13 parts, searched, cut to 4, searched, and
searched without. Crops are upright windows of every fourth of the first 1,000 pictures, asked among all by vectors
alone. Weights and the threshold of `mmsearch.encoders.parts` were chosen on flickr8k-train. Prints tables in
Markdown, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from crops import crop
from machine import report
from PIL import Image
from platformdirs import user_cache_path
from views import EVERY, N_GALLERY, SHARES, table

from mmsearch import Library, Query
from mmsearch.arguments import PartsMost
from mmsearch.datasets.open_set import SetOptions, open_captions
from mmsearch.datasets.sets import CaptionSet
from mmsearch.records import SearchOptions

PARTS: tuple[PartsMost, ...] = (13, 4, 0)  # each but the first takes no decoding
K = 10


def ranks(library: Library, queries: Sequence[Query], wanted: Sequence[set[str]]) -> np.ndarray:
    """Return at which rank, from 1, each query has a picture that is wanted; 0 if none is among the first ten."""
    answers = library.search_many(queries, SearchOptions(K, rerank="none", words="none"))
    return np.array([
        next((hit.rank for hit in answer.hits if hit.path in paths), 0)
        for answer, paths in zip(answers, wanted, strict=True)
    ])  # fmt: skip


def shares(of_queries: np.ndarray) -> dict[str, float]:
    """Return the shares of queries whose picture is first, and among the first five and ten."""
    return {f"R@{k}": float(((of_queries > 0) & (of_queries <= k)).mean()) for k in (1, 5, 10)}


def by_words(known: CaptionSet, library: Library) -> dict[str, float]:
    """Return how often captions find their pictures."""
    wanted = [{str(known.pictures[place]) for place in places} for places in known.pictures_of_text]
    return shares(ranks(library, [Query(text) for text in known.texts], wanted))


def by_crops(known: CaptionSet, library: Library, folder: Path) -> dict[str, float]:
    """Return how often crops find their pictures first, by their size."""
    gallery = known.pictures[:N_GALLERY]
    asked = range(0, len(gallery), EVERY)
    figures = {}
    for share in SHARES:
        rng = np.random.default_rng(0)
        files = [folder / f"{share}-{place}.png" for place in asked]
        for place, file in zip(asked, files, strict=True):
            if not file.exists():
                crop(Image.open(gallery[place]).convert("RGB"), rng, share, 0, 0).save(file)
        queries = [Query(images=[file]) for file in files]
        figures[f"{share:.0%}"] = shares(ranks(library, queries, [{str(gallery[place])} for place in asked]))["R@1"]
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="flickr8k-train", metavar="NAME")
    parser.add_argument("--model", default="offline", metavar="NAME")
    parser.add_argument("--views", type=int, default=1, choices=(1, 5))
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    options = SetOptions(arguments.cache, None, None, (None, None))
    known = open_captions(str(arguments.data / arguments.set), options)
    words, crops, sizes = {}, {}, {}
    with (
        tempfile.TemporaryDirectory() as work,
        Library.open(Path(work, "library"), cache=arguments.cache) as library,
    ):
        files = Path(work, "crops")
        files.mkdir()
        for most in PARTS:
            paths = known.pictures if most == PARTS[0] else ()
            library.index(paths, model=arguments.model, views=arguments.views, parts=most)
            parts = library.status().parts
            sizes[str(most)] = 0.0 if parts is None else parts.n_parts / parts.n_images
            words[str(most)] = by_words(known, library)
            crops[str(most)] = by_crops(known, library, files)
    print(table(words, "parts"), table(crops, "crops"), sep="\n\n")
    report("parts", {"words": words, "crops, R@1": crops, "parts a picture": sizes}, arguments.out)


if __name__ == "__main__":
    main()
