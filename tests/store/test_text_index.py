from __future__ import annotations

import math
import random

import numpy as np
import pytest

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.tokens import FUNCTION_WORDS
from mmsearch.records import READING, FileLook, Unusable
from mmsearch.store import text_index
from mmsearch.store.changes import AnnotatedFile, Changes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.postings import Postings
from mmsearch.store.text_index import TEXTS

WORDS = [
    "dog",
    "cat",
    "run",
    "beach",
    "red",
    "sun",
    "tree",
    "two",
    "boy",
    "girl",
    "water",
    "snow",
    "bike",
    "car",
    "street",
    "old",
]


@pytest.fixture
def store(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": 0, "fingerprint": "none", "model": "none"}) as writer:
        yield writer


def said(*texts):
    return Annotations(tuple(Annotation(Kind.CAPTION, "text:txt", text) for text in texts))


def add(store, texts, first=1):
    """Store a picture for each text, and return their ids."""
    look = FileLook(1, 2, 3)
    files = [
        StoredFile(b"/%04d.jpg" % n, look, b"%032d" % n, 1, 1, "JPEG", None, READING, annotations=said(text))
        for n, text in enumerate(texts, first)
    ]
    store.commit(Changes(stored=files))
    return [store.image_at(file.path).image_id for file in files]


def shares(store, text, **options):
    matches = store.annotations.matches(text, **options)
    assert list(matches.image_ids) == sorted(matches.image_ids)
    assert (matches.image_ids.dtype, matches.shares.dtype) == (np.int64, np.float32)
    return dict(zip(matches.image_ids.tolist(), matches.shares.tolist(), strict=True))


def bm25_shares(documents, words):
    """The definition, document by document and word by word: {id: tokens} in, {id: share} out."""
    n, mean = len(documents), sum(map(len, documents.values())) / len(documents)
    scores, possible = dict.fromkeys(documents, 0.0), 0.0
    for word in dict.fromkeys(words):
        n_with = sum(word in tokens for tokens in documents.values())
        if word in FUNCTION_WORDS or (n > 10 and n_with > n / 2):
            continue
        idf = math.log(1 + (n - n_with + 0.5) / (n_with + 0.5))
        possible += idf * 2.2
        for image_id, tokens in documents.items():
            tf = tokens.count(word)
            scores[image_id] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(tokens) / mean))
    return {image_id: score / possible for image_id, score in scores.items() if score}


def test_shares_are_those_of_the_definition_whatever_changed_and_whatever_is_published(store, monkeypatch):
    monkeypatch.setattr(text_index, "_LEAST", 10)
    monkeypatch.setattr(text_index, "_MOST_PARTS", 3)
    chance, texts = random.Random(3), {}
    reader = Store.open(store.folder)
    for step in range(14):
        new = [" ".join(chance.choices(WORDS, weights=range(16, 0, -1), k=chance.randint(1, 9))) for _ in range(5)]
        texts |= dict(zip(add(store, new, first=10 * step), new, strict=True))
        changed, gone = chance.sample(sorted(texts), 2)
        texts[changed] = "new words " + texts[changed]
        del texts[gone]
        store.commit(Changes(annotated=[AnnotatedFile(changed, said(texts.get(changed, "")))], gone=[gone]))
        texts = {image_id: text for image_id, text in texts.items() if store.images_of_ids([image_id])}
        if step in (4, 9):
            store.annotations.settle()
        documents = {image_id: text.split() for image_id, text in texts.items()}
        words = chance.sample([*WORDS, "new", "unknown", "the"], 4)
        expected = pytest.approx(bm25_shares(documents, words), rel=1e-5)
        for opened in (reader, store, Store.open(store.folder)):
            assert shares(opened, " ".join(words)) == expected
    assert not isinstance(store.sidecar(TEXTS), Unusable)
    assert 0 < store.sidecar(TEXTS)["n_documents"] < len(texts)


def test_words_that_stand_nowhere_lower_the_share_and_alone_match_nothing(store):
    one, _ = add(store, ["a red bike", "a cat"])
    assert shares(store, "bike")[one] > shares(store, "bike unicorn")[one] > 0
    assert shares(store, "unicorn") == shares(store, "") == shares(store, "the of a") == {}
    assert max(shares(store, "red bike").values()) < 1


def test_what_is_in_double_quotes_must_follow_one_another_within_one_annotation(store):
    (york,) = add(store, ["New York at night"])
    add(store, ["York, new bridge", "new", "the new Yorkshire"], first=5)
    store.commit(Changes(annotated=[AnnotatedFile(store.image_at(b"/0006.jpg").image_id, said("new", "york"))]))
    assert set(shares(store, '"new york"')) == {york}
    assert len(shares(store, "new york")) == 4
    assert set(shares(store, '"york new')) == set(shares(store, "york new"))


def test_the_beginning_of_a_word_is_another_word(store):
    add(store, ["bicycle bike", "a boat"])
    assert shares(store, "bik") == {}


def test_script_without_spaces_is_found_by_any_part_of_its_words(store):
    tokyo, other = add(store, ["東京都の夜", "京都"])
    assert set(shares(store, "東京")) == {tokyo}
    assert set(shares(store, "京都")) == {tokyo, other}
    assert set(shares(store, "夜")) == {tokyo}
    assert set(shares(store, '"東京都"')) == {tokyo}


def test_what_stands_beside_most_pictures_tells_none_from_another(store):
    add(store, ["dog cat"] * 11)
    one, *_ = add(store, ["dog tree", *["tree"] * 5], first=20)
    assert shares(store, "dog") == {}
    assert set(shares(store, "dog tree")) == set(shares(store, "tree")) >= {one}


def test_postings_that_are_damaged_or_gone_are_made_of_the_documents_again(store, monkeypatch):
    monkeypatch.setattr(text_index, "_LEAST", 0)
    add(store, ["a dog", "a cat", "a bird"])
    store.annotations.settle()
    expected = shares(Store.open(store.folder), "dog")
    (path,) = store.folder.glob("texts-*.bin")
    path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    assert shares(Store.open(store.folder), "dog") == expected
    (fault,) = store.verify().faults
    assert (fault.code, "texts" in fault.what) == ("damaged_annotations", True)
    path.unlink()
    assert shares(Store.open(store.folder), "dog") == expected
    store.annotations.settle()
    assert Store.open(store.folder).annotations._index.problem() is None


def test_few_changes_are_not_worth_publishing_and_many_are(store, monkeypatch):
    monkeypatch.setattr(text_index, "_LEAST", 3)
    add(store, ["dog"] * 3)
    store.annotations.settle()
    assert isinstance(store.sidecar(TEXTS), Unusable)
    ids = add(store, ["cat"], first=9)
    store.annotations.settle()
    assert store.sidecar(TEXTS)["n_documents"] == 4
    store.remove_images(ids)
    store.annotations.settle()
    assert store.sidecar(TEXTS)["n_documents"] == 4
    assert shares(Store.open(store.folder), "cat") == {}


def test_merged_postings_are_those_of_all_documents_that_are_kept():
    documents = [(n, f"w{n % 3} w{n % 5} same same") for n in range(20)]
    first, second = Postings.of(documents[:9]), Postings.of(documents[9:])
    is_kept = np.arange(9) != 4
    merged = Postings.merged([(first, is_kept), (second, np.ones(11, dtype=np.bool_))])
    expected = Postings.of([document for document in documents if document[0] != 4])
    for name in ("image_ids", "lengths", "starts", "places", "counts"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(expected, name))
    assert list(merged.tokens) == list(expected.tokens) == sorted(expected.tokens)


def test_who_reads_a_state_of_before_is_told_what_was_said_then_though_a_later_one_is_published(store, monkeypatch):
    monkeypatch.setattr(text_index, "_LEAST", 0)
    one, two = add(store, ["a red dog", "a dog in the snow"])
    reader = Store.open(store.folder)
    with reader.reading():
        assert reader.revision == store.revision  # from here on it sees this state
        store.commit(Changes(annotated=[AnnotatedFile(one, said("a cat"))], gone=[two]))
        store.annotations.settle()
        assert not isinstance(store.sidecar(TEXTS), Unusable)
        assert sorted(shares(reader, "dog")) == [one, two]
    assert shares(reader, "dog") == {}
    assert sorted(shares(reader, "cat")) == [one]


def test_highlights_are_the_annotations_in_which_something_stands_and_where(store):
    (one,) = add(store, [""])
    tags = (Annotation(Kind.TAG, "xmp:dc:subject", "Été"), Annotation(Kind.TAG, "xmp:dc:subject", "winter"))
    store.commit(
        Changes(annotated=[AnnotatedFile(one, Annotations((*tags, *said("the ETE, l'été 東京都").texts)))])
    )

    def standing(text):
        return store.annotations.highlights([one, 99], text)

    assert standing("the ete") == {
        one: ((tags[0], ((0, 3),)), (said("the ETE, l'été 東京都").texts[0], ((4, 7), (11, 14)))), 99: ()
    }  # fmt: skip
    assert [spans for _, spans in standing("京都")[one]] == [((16, 18),)]
    assert standing('"ete winter"') == standing("dog") == {one: (), 99: ()}
