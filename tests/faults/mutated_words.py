"""Ask the visual words of a library whose caches have changed bytes; a crash ends this process.

Arguments: an empty folder, the number of mutations.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch import Query, SearchOptions
from mmsearch.bow.vocabulary import ImageWords, Vocabulary
from mmsearch.errors import QueryError
from mmsearch.images import decode_grey, read_file
from mmsearch.local.extractors import DEFAULT
from mmsearch.processes.decoder import PictureDecoder
from mmsearch.query.searcher import Searcher
from mmsearch.samples import sample_folder
from mmsearch.store import vocabulary as vocabulary_module
from mmsearch.store.folder import Store
from mmsearch.store.publish import MANIFEST
from mmsearch.store.verify import verify
from tests.faults.mutated_index import mutate
from tests.faults.stand_in import TextVectors
from tests.store.test_store import DIM, filled

N_BASE, N_FRESH, N_WORDS, SIDE = 12, 2, 128, 160
KINDS = ("vocabulary", "centres", "words", "fresh")
Answers = list[list[tuple[str, float, int, bool]]]


def pictures_and_words(folder: Path) -> tuple[list[Path], Vocabulary, list[ImageWords]]:
    """Small copies of sample photographs, a vocabulary learned from them, and their words."""
    folder.mkdir()
    paths = [folder / path.name for path in sorted(sample_folder().glob("*.jpg"))[: N_BASE + N_FRESH]]
    for path in paths:
        with Image.open(sample_folder() / path.name) as picture:
            picture.thumbnail((SIDE, SIDE))
            picture.save(path)
    features = [DEFAULT.extract(decode_grey(read_file(bytes(path))[0], longer_side=SIDE).pixels) for path in paths]
    descriptors = np.concatenate([one.descriptors for one in features])
    vocabulary = Vocabulary.train(descriptors, N_WORDS, extractor=DEFAULT.name, max_iterations=2)
    return paths, vocabulary, [vocabulary.quantise(one) for one in features]


def give_words(folder: Path, vocabulary: Vocabulary, words: list[ImageWords]) -> None:
    """Make the words that are missing as `index` does, the last pictures after the others."""
    for n in (N_BASE, N_BASE + N_FRESH):
        with Store.writer(folder) as store:
            writer = store.words.writer()
            if writer.vocabulary is None:
                writer.publish_vocabulary(vocabulary)
            for image_id in set(range(1, n + 1)) - writer.covered:
                writer.add(image_id, words[image_id - 1])
            writer.flush()


def answers(folder: Path, queries: list[Path], decoder: PictureDecoder) -> Answers | str:
    """What the local search finds, or the one sentence it ends with."""
    store = Store.open(folder)
    searcher = Searcher(store, lambda: TextVectors(DIM), lambda: decoder)
    try:
        found = [searcher.search(Query(images=[query]), SearchOptions(mode="local")).hits for query in queries]
    except QueryError as error:
        return str(error)
    finally:
        store.close()
    return [[(hit.path, hit.score, hit.local.n_inliers, hit.local.is_verified) for hit in hits] for hits in found]


def problems(folder: Path) -> str:
    store = Store.open(folder)
    found = verify(store).problems
    store.close()
    return "\n".join(found)


def main() -> None:
    root, n = Path(sys.argv[1]), int(sys.argv[2])
    vocabulary_module.MAX_EXACT = N_WORDS - 1  # so that there is a graph over the centres
    paths, vocabulary, words = pictures_and_words(root / "photos")
    decoder = PictureDecoder()
    folder, queries = root / "library", [paths[0], paths[N_BASE]]
    filled(folder, N_BASE + N_FRESH)
    give_words(folder, vocabulary, words)
    names = [f"{kind}-1.{suffix}" for kind in KINDS for suffix in ("bin", "json")] + [MANIFEST]
    kept = {name: (folder / name).read_bytes() for name in names}
    expected = answers(folder, queries, decoder)
    assert [hits[0][0] for hits in expected] == ["/photos/0.jpg", f"/photos/{N_BASE}.jpg"], expected
    assert problems(folder) == ""
    counts = {"wrong": 0, "unnamed": 0, "not made again": 0, "still answered": 0}
    for i in range(n):
        name = names[i % len(names)]
        data = bytearray(kept[name])
        mutate(data, np.random.default_rng(i))
        (folder / name).write_bytes(data)
        found = answers(folder, queries, decoder)
        counts["wrong"] += found != expected and not (isinstance(found, str) and name in found)
        counts["still answered"] += found == expected
        counts["unnamed"] += (bytes(data) != kept[name]) != (name in problems(folder))
        give_words(folder, vocabulary, words)
        counts["not made again"] += answers(folder, queries, decoder) != expected or problems(folder) != ""
        for path in folder.iterdir():
            if path.name.split("-")[0] in KINDS:
                path.unlink()
        for other, whole in kept.items():
            (folder / other).write_bytes(whole)
    decoder.close()
    shutil.rmtree(root)
    sys.stdout.write(f"{n} mutations, {', '.join(f'{count} {what}' for what, count in counts.items())}\n")


if __name__ == "__main__":
    main()
