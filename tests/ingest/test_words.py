"""How the pictures of a library get visual words: learned, given, lost and made again."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest
from PIL import Image

from mmsearch import Query
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.errors import QueryError, VocabularyError
from mmsearch.ingest.plan import make_plan
from mmsearch.ingest.run import execute
from mmsearch.ingest.train_vocabulary import train_vocabulary
from mmsearch.ingest.words import MIN_DESCRIPTORS, WordsIntake
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests import warm
from tests.conftest import copied_samples
from tests.faults.test_model import InProcess
from tests.tiers import tiered


@pytest.fixture
def folder(tmp_path):
    """Sixteen sample photographs."""
    return copied_samples(tmp_path / "photos", 16)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A small vocabulary in a file."""
    learned, bad = train_vocabulary([sample_folder()], n_words=64)
    assert bad == []
    file = tmp_path_factory.mktemp("vocabulary") / "words"
    learned.save(file)
    return file


def words_of(library):
    return library.status().local


def first(library, picture, **options):
    (hit, *_) = library.search(Query(images=[picture]), mode="local", **options).hits
    return hit.path.rpartition("/")[2]


@pytest.mark.full
def test_a_vocabulary_is_learned_once_there_is_enough_to_learn_from(library, folder, checkpoint, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(folder.iterdir())[:2]:
        shutil.move(path, few / path.name)
    report = library.index([few], model=str(checkpoint), local=True)
    assert words_of(library) is None
    assert report.details["words"]["n_described"] == 2
    with pytest.raises(QueryError, match="no visual words"):
        library.search(Query(images=[next(few.iterdir())]), mode="local")
    library.index([folder, few])  # local features stay on
    words = words_of(library)
    assert words["n_images"] == 16
    assert words["n_features"] >= MIN_DESCRIPTORS
    for picture in (*folder.glob("*o*.jpg"), *few.iterdir()):
        assert first(library, picture) == picture.name


@pytest.mark.full
def test_a_library_may_get_words_later(library, folder, checkpoint):
    library.index([folder], model=str(checkpoint), local=False)
    assert words_of(library) is None
    report = library.index([folder], local=True)
    assert (report.new, report.unchanged) == (0, 16)
    assert words_of(library)["n_images"] == 16
    picture = folder / "cat.jpg"
    assert first(library, picture) == "cat.jpg"


@pytest.mark.full
def test_changed_moved_and_gone_pictures_change_their_words(library, folder, checkpoint, vocabulary):
    library.index([folder], model=str(checkpoint), vocabulary=vocabulary)
    shutil.copyfile(sample_folder() / "rocket.jpg", folder / "cat.jpg")
    (folder / "astronaut.jpg").rename(folder / "moved.jpg")
    (folder / "coffee.jpg").unlink()
    report = library.index([folder])
    assert (report.changed, report.moved, report.gone) == (1, 1, 1)
    assert first(library, sample_folder() / "rocket.jpg") == "cat.jpg"
    assert first(library, folder / "moved.jpg") == "moved.jpg"
    result = library.search(Query(images=[sample_folder() / "coffee.jpg"]), mode="local", k=30)
    assert "coffee.jpg" not in {hit.path.rpartition("/")[2] for hit in result.hits}


def test_a_picture_without_features_is_indexed_and_has_none(library, folder, checkpoint, vocabulary):
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 300), "white").save(folder / "blank.png")
    report = library.index([folder], model=str(checkpoint), vocabulary=vocabulary)
    assert report.new == 18
    assert report.details["words"] == {"n_described": 18, "n_without_features": 2}
    assert library.index([folder]).details["words"]["n_described"] == 0  # they are not tried again


def test_a_given_vocabulary_is_used_and_another_one_is_refused(library, folder, checkpoint, vocabulary, tmp_path):
    library.index([folder], model=str(checkpoint), vocabulary=vocabulary)
    assert words_of(library)["n_words"] == 64
    library.index([folder], vocabulary=vocabulary)
    other, _ = train_vocabulary([sample_folder()], n_words=32)
    other.save(tmp_path / "other")
    with pytest.raises(VocabularyError, match="has words of another vocabulary already"):
        library.index([folder], vocabulary=tmp_path / "other")
    with pytest.raises(QueryError, match="a vocabulary is given but local features are off"):
        library.index([folder], vocabulary=vocabulary, local=False)


def test_a_vocabulary_that_cannot_be_used_is_refused_before_any_work(
    library, folder, checkpoint, vocabulary, tmp_path
):
    foreign = Vocabulary.load(vocabulary, extractor=DEFAULT.name)
    Vocabulary("another", foreign.centroids, foreign.projection, foreign.medians).save(tmp_path / "foreign")
    (tmp_path / "damaged").write_bytes(vocabulary.read_bytes()[:-100])
    for name, sentence in (
        ("foreign", "holds words for another"),
        ("damaged", "damaged"),
        ("lost", "cannot be read"),
    ):
        with pytest.raises(VocabularyError, match=sentence):
            library.index([folder], model=str(checkpoint), vocabulary=tmp_path / name)
    assert not (library.folder / "catalog.sqlite").exists()


KILLED = """
import os, signal, sys
from mmsearch import Library
stage, folder, library, cache, model = sys.argv[1:]
def die(name, done, total):
    if name == stage and done:
        os.kill(os.getpid(), signal.SIGKILL)
with Library.open(library, cache=cache) as opened:
    opened.index([folder], model=model, local=True, on_progress=die)
"""


@pytest.mark.parametrize("stage", tiered(["embed", "vocabulary", "words"], ["words"]))
def test_a_kill_loses_no_embedding_and_the_next_run_makes_the_words(library, folder, checkpoint, cache, stage):
    arguments = [stage, folder, library.folder, cache, checkpoint]
    done = warm.run([sys.executable, "-c", KILLED, *map(str, arguments)])
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    report = library.index([folder])
    assert report.new + report.unchanged == 16
    assert report.unchanged >= (1 if stage == "embed" else 16)
    assert words_of(library)["n_images"] == 16
    assert library.verify().problems == ()
    assert {path.name for path in library.folder.iterdir()} & {"gathered"} == set()
    assert first(library, folder / "cat.jpg") == "cat.jpg"


def test_picture_that_cannot_be_described_for_want_of_memory_is_given_up_at_the_third_run(
    tmp_path, tiny, folder, vocabulary, monkeypatch
):
    def describe(grey):
        if grey.shape == (77, 123):
            raise MemoryError
        return DEFAULT.extract(grey)

    monkeypatch.setitem(EXTRACTORS, DEFAULT.name, replace(DEFAULT, extract=describe))
    Image.new("RGB", (123, 77), "white").save(folder / "short.png")
    meta = {"dim": tiny.dim, "fingerprint": tiny.fingerprint, "model": "tiny"}
    n_failed = []
    for _ in range(4):
        with Store.writer(tmp_path / "library", create=meta) as store:
            words = WordsIntake(store, vocabulary=Vocabulary.load(vocabulary, extractor=DEFAULT.name))
            execute(store, make_plan(store, [os.fsencode(folder)]), None, pool=InProcess(tiny), words=words)
            n_failed.append(words.report.n_failed)
            assert n_failed[-1] == 0 or "needs more memory than a worker may take" in words.report.problem
    assert n_failed == [1, 1, 1, 0]


def test_too_few_features_teach_no_vocabulary(tmp_path):
    Image.new("RGB", (300, 300), "white").save(tmp_path / "blank.png")
    with pytest.raises(VocabularyError, match=r"1 pictures have 0 local features, expected at least"):
        train_vocabulary([tmp_path])
