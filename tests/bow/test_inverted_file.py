import math
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import Postings, build_postings
from mmsearch.bow.vocabulary import ImageWords
from mmsearch.errors import LibraryDamagedError, QueryError, VocabularyError

N_WORDS = 30
seeds = st.integers(0, 2**32 - 1)


def picture(seed, n=40, n_words=N_WORDS):
    """Words in bursts, and signatures a few bits from one of three for each word."""
    rng = np.random.default_rng(seed)
    words = np.minimum(rng.exponential(n_words / 5, n), n_words - 1).astype(np.int32)
    bases = np.random.default_rng(0).integers(0, 2**64, (n_words, 3), dtype=np.uint64)
    flips = (np.uint64(1) << rng.integers(0, 64, (n, 6), dtype=np.uint64)).astype(np.uint64)
    signatures = bases[words, rng.integers(0, 3, n)] ^ np.bitwise_xor.reduce(flips, axis=1)
    return ImageWords(
        words, signatures, rng.uniform(0, 639, (n, 2)).astype(np.float32), rng.uniform(1, 80, n).astype(np.float32),
        rng.uniform(0, 360, n).astype(np.float32), np.arange(n),
    )  # fmt: skip


def gallery(n=12, first=0):
    return [(100 + i, picture(i + 1, n=5 + 7 * (i % 6))) for i in range(first, first + n)]


def index_of(images, **settings):
    return InvertedFile([build_postings(images, N_WORDS)], **settings)


def bags(images):
    return np.stack([np.bincount(words.words, minlength=N_WORDS) for _, words in images]).astype(np.float64)


def idf_of(images):
    counts = (bags(images) > 0).sum(axis=0)
    return np.log(len(images) / np.where(counts > 0, counts, len(images)))


def cosines(query, images, weighting, keep=1.0):
    function = np.sqrt if weighting == "sqrt" else np.asarray
    factor = keep * (idf_of(images) if weighting == "tfidf" else 1.0)
    own = function(bags([(0, query)]))[0] * factor
    others = function(bags(images)) * factor
    return others @ own / np.maximum(np.linalg.norm(others, axis=1) * np.linalg.norm(own), 1e-12)


def hamming_scores(query, images):
    """The definition, feature by feature."""
    idf, scores = idf_of(images), []
    for _, image in images:
        total = 0.0
        for word, signature in zip(query.words, query.signatures, strict=True):
            weights = []
            for other, other_signature in zip(image.words, image.signatures, strict=True):
                distance = (int(signature) ^ int(other_signature)).bit_count()
                if word == other and distance <= 22:
                    weights.append(math.exp(-((distance / 12) ** 2)))
            if weights:
                total += sum(weights) / math.sqrt(len(weights)) * idf[word] ** 2
        scores.append(total / math.sqrt(query.n_features * len(image.words)))
    return scores


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("weighting", ["tf", "sqrt", "tfidf"])
def test_cosine_of_bags_equals_the_dense_dot_product(weighting, seed):
    images, query = gallery(), picture(seed)
    np.testing.assert_allclose(
        index_of(images).scores(query, weighting), cosines(query, images, weighting), atol=1e-6
    )


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_hamming_embedding_scores_equal_a_plain_double_loop(seed):
    images, query = gallery(), picture(seed)
    np.testing.assert_allclose(index_of(images).scores(query), hamming_scores(query, images), atol=1e-5)


def test_blocks_of_any_size_give_the_same_scores(monkeypatch):
    index, query = index_of(gallery()), picture(77)
    expected = {weighting: index.scores(query, weighting) for weighting in ("tf", "sqrt", "tfidf", "he")}
    monkeypatch.setattr("mmsearch.bow.inverted_file._BLOCK", 7)
    again = index_of(gallery())
    for weighting, scores in expected.items():
        np.testing.assert_allclose(again.scores(query, weighting), scores, atol=1e-6)


def test_two_words_in_common_of_three_and_four_score_by_hand():
    def words(*numbers):
        n = len(numbers)
        return ImageWords(
            np.array(numbers, np.int32), np.zeros(n, np.uint64), np.zeros((n, 2), np.float32),
            np.ones(n, np.float32), np.zeros(n, np.float32), np.arange(n),
        )  # fmt: skip

    index = index_of([(7, words(0, 0, 1, 2)), (8, words(5))])
    # (2, 1, 1) and (1, 1, 0, 1): 3 / (sqrt(6) sqrt(3)).
    np.testing.assert_allclose(index.scores(words(0, 1, 3), "tf"), [3 / math.sqrt(18), 0], atol=1e-7)
    # Both matches of word 0 at distance 0 weigh 1 and damp to sqrt(2); idf is log 2; 3 and 4 features.
    expected = (math.sqrt(2) + 1) * math.log(2) ** 2 / math.sqrt(12)
    np.testing.assert_allclose(index.scores(words(0, 1, 3)), [expected, 0], atol=1e-6)


def test_a_picture_scores_highest_with_a_copy_of_itself():
    images = gallery()
    for weighting in ("tf", "sqrt", "tfidf", "he"):
        index = index_of(images)
        assert index.image_ids[index.scores(images[5][1], weighting).argmax()] == 105


def test_a_weighting_that_does_not_exist_is_named():
    with pytest.raises(QueryError, match="weighting is 'bm25'; expected 'tf', 'sqrt', 'tfidf' or 'he'"):
        index_of(gallery()).scores(picture(0), "bm25")


def test_a_query_without_features_scores_zero_everywhere():
    index = index_of(gallery())
    for weighting in ("tf", "sqrt", "tfidf", "he"):
        assert index.scores(picture(0, n=0), weighting).tolist() == [0] * 12
    assert [len(matches) for matches in index.matches(picture(0, n=0), [100, 101])] == [0, 0]


def test_pictures_without_features_are_in_the_index_and_score_zero():
    index = index_of([*gallery(3), (500, picture(0, n=0))])
    assert index.image_ids.tolist() == [100, 101, 102, 500]
    for weighting in ("tf", "sqrt", "tfidf", "he"):
        assert index.scores(picture(1), weighting)[3] == 0


def test_an_empty_index_answers_with_nothing():
    index = index_of([])
    assert len(index.scores(picture(1))) == len(index.image_ids) == 0


def test_segments_score_as_one():
    images, query = gallery(), picture(50)
    segments = [build_postings(images[:5], N_WORDS), build_postings(images[5:], N_WORDS)]
    split, whole = InvertedFile(segments), index_of(images)
    np.testing.assert_array_equal(split.image_ids, whole.image_ids)
    for weighting in ("tf", "sqrt", "tfidf", "he"):
        np.testing.assert_allclose(split.scores(query, weighting), whole.scores(query, weighting), atol=1e-6)


def test_a_merge_leaves_out_dead_and_replaced_pictures(tmp_path):
    images = gallery()
    replacement = (103, picture(900))
    segments = [build_postings(images, N_WORDS), build_postings([replacement], N_WORDS)]
    index = InvertedFile(segments, dead=[101, 9999])
    remaining = [pair for pair in images if pair[0] not in (101, 103)] + [replacement]
    assert index.image_ids.tolist() == [image_id for image_id, _ in remaining]
    index.save_merged(tmp_path / "merged")
    build_postings(remaining, N_WORDS).save(tmp_path / "expected")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_merge_a_few_words_at_a_time_gives_the_same_bytes(tmp_path, monkeypatch):
    images = [*gallery(), (500, picture(0, n=0))]
    segments = [
        build_postings(images[:5], N_WORDS),
        build_postings([], N_WORDS),
        build_postings(images[5:], N_WORDS),
    ]
    build_postings(images, N_WORDS).save(tmp_path / "expected")
    for size in (1, 7, 100):
        monkeypatch.setattr("mmsearch.bow.postings._BLOCK", size)
        InvertedFile(segments).save_merged(tmp_path / "merged")
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "expected").read_bytes()
    InvertedFile(segments, dead=range(1000)).save_merged(tmp_path / "merged")
    build_postings([], N_WORDS).save(tmp_path / "expected")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "expected").read_bytes()


def test_memory_of_a_merge_does_not_grow_with_the_features(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.bow.postings._BLOCK", 2000)
    peaks = []
    for n in (500, 4000):
        images = [(i, picture(i, n=n, n_words=1000)) for i in range(10)]
        build_postings(images, 1000).save(tmp_path / "postings")
        index = InvertedFile([Postings.open(tmp_path / "postings")], dead=[3])
        tracemalloc.start()
        index.save_merged(tmp_path / "merged")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < (tmp_path / "merged").stat().st_size / 2


def test_dead_pictures_never_come_back():
    images = gallery()
    index = index_of(images, dead=[105])
    assert 105 not in index.image_ids
    assert len(index.scores(images[5][1])) == len(images) - 1
    assert len(index.matches(images[5][1], [105])[0]) == 0


def test_stop_words_are_not_looked_at():
    images, query = gallery(), picture(60)
    counts = (bags(images) > 0).sum(axis=0)
    keep = np.ones(N_WORDS)
    keep[np.argsort(-counts, kind="stable")[:3]] = 0
    index = index_of(images, stop_share=0.1)
    np.testing.assert_allclose(index.scores(query, "tf"), cosines(query, images, "tf", keep), atol=1e-6)
    assert keep[query.words[index.matches(query, [105])[0].query_features]].all()


def test_matches_are_the_pairs_of_near_signatures_in_a_word():
    images, query = gallery(), picture(61)
    image = images[11][1]
    found = index_of(images).matches(query, [111])[0]
    expected = [
        (q, tuple(np.rint(image.positions[d] * 64)), distance)
        for q in range(40) for d in range(len(image.words))
        if query.words[q] == image.words[d]
        and (distance := (int(query.signatures[q]) ^ int(image.signatures[d])).bit_count()) <= 22
    ]  # fmt: skip
    assert expected
    got = zip(found.query_features, found.positions, found.distances, strict=True)
    assert sorted((q, tuple(p * 64), d) for q, p, d in got) == sorted(expected)
    assert len(set(found.features)) <= found.n_features == len(image.words)


def test_positions_scales_and_angles_are_kept_within_their_steps():
    image = picture(62, n=200)
    found = index_of([(1, image)], max_distance=0).matches(image, [1])[0]
    own = {q: i for i, (q, p) in enumerate(zip(found.query_features, found.positions, strict=True))
           if np.abs(p - image.positions[q]).max() < 0.02}  # fmt: skip
    assert len(own) == 200
    rows = [own[q] for q in range(200)]
    np.testing.assert_allclose(found.positions[rows], image.positions, atol=1 / 128 + 1e-4)
    np.testing.assert_allclose(found.scales[rows] / image.scales, 1, atol=0.023)
    assert (np.abs((found.angles[rows] - image.angles + 180) % 360 - 180) <= 0.71).all()


def test_a_feature_takes_18_bytes():
    postings = build_postings(gallery(), N_WORDS)
    columns = (postings.rows, postings.signatures, postings.positions, postings.scales, postings.angles)
    assert sum(column.nbytes for column in columns) == 18 * len(postings.rows)


def test_an_index_that_stays_in_its_file_answers_as_before_and_never_modifies_it(tmp_path):
    images, query = gallery(), picture(63)
    build_postings(images, N_WORDS).save(tmp_path / "p")
    before = (tmp_path / "p").read_bytes()
    opened = Postings.open(tmp_path / "p")
    index, expected = InvertedFile([opened], dead=[104]), index_of(images, dead=[104])
    for weighting in ("tf", "sqrt", "tfidf", "he"):
        np.testing.assert_array_equal(index.scores(query, weighting), expected.scores(query, weighting))
    assert len(index.matches(query, [105])[0]) == len(expected.matches(query, [105])[0])
    index.save_merged(tmp_path / "merged")
    opened.signatures[:5][:] = 1
    assert (tmp_path / "p").read_bytes() == before


@pytest.mark.parametrize("n_bytes", [0, 2000])
def test_posting_lists_cut_under_an_open_index_are_an_error(tmp_path, n_bytes):
    build_postings(gallery(), N_WORDS).save(tmp_path / "p")
    index = InvertedFile([Postings.open(tmp_path / "p")])
    os.truncate(tmp_path / "p", n_bytes)
    with pytest.raises(LibraryDamagedError, match="p was cut while it was read"):
        index.scores(picture(63))


def test_an_index_without_pictures_is_saved_and_opened(tmp_path):
    build_postings([], N_WORDS).save(tmp_path / "p")
    assert len(InvertedFile([Postings.open(tmp_path / "p")]).image_ids) == 0


def test_posting_lists_cut_short_are_refused_at_opening(tmp_path):
    build_postings(gallery(), N_WORDS).save(tmp_path / "p")
    data = (tmp_path / "p").read_bytes()
    (tmp_path / "p").write_bytes(data[:-100])
    with pytest.raises(VocabularyError, match="the file is cut short"):
        Postings.open(tmp_path / "p")


def test_statistics_tell_how_even_the_lists_are():
    postings = build_postings([(1, picture(64, n=200))], N_WORDS)
    lengths = np.diff(postings.offsets)
    found = InvertedFile([postings]).statistics()
    assert (found.n_images, found.n_features, found.n_words) == (1, 200, N_WORDS)
    assert found.n_empty == (lengths == 0).sum()
    assert found.imbalance == pytest.approx(N_WORDS * (lengths**2).sum() / 200**2)


def test_share_of_lists_touched_is_that_of_the_words_of_the_query():
    index, query = index_of(gallery()), picture(65, n=3)
    words = np.unique(query.words)
    own = bags(gallery()).sum(axis=0)
    assert index.touched(query) == pytest.approx((len(words) / N_WORDS, own[words].sum() / own.sum()))


def test_words_of_another_vocabulary_are_an_error():
    with pytest.raises(VocabularyError, match="expected 0 to 9; they are of another vocabulary"):
        build_postings([(1, picture(1))], 10)
    with pytest.raises(VocabularyError, match="expected 0 to 29; it was quantised with another vocabulary"):
        index_of(gallery()).scores(picture(1, n=400, n_words=90))
    with pytest.raises(VocabularyError, match=r"segments have \[30, 31\] words"):
        InvertedFile([build_postings([], 30), build_postings([], 31)])


def test_positions_beyond_16_bits_are_an_error():
    image = picture(1)
    image.positions[0, 0] = 2000
    with pytest.raises(VocabularyError, match="a feature lies at 2000 px"):
        build_postings([(1, image)], N_WORDS)
