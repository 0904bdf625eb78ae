"""Threads with a library each: kinds of work do not wait for one another, and too much work is refused."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
import weakref

import pytest
from starlette.exceptions import HTTPException

from mmsearch import Query, SearchOptions
from mmsearch.errors import LibraryDamagedError, LibraryNotFoundError, QueryError
from mmsearch.server import lanes
from mmsearch.server.lanes import Lane, Libraries, TextLane, Unwanted
from mmsearch.server.metrics import Metrics


@pytest.fixture
def libraries(indexed, cache):
    libraries = Libraries(indexed.place, cache=cache)
    yield libraries
    libraries.close()


@pytest.fixture
def lane(libraries):
    opened = []

    def make(name, **options):
        opened.append(Lane(name, libraries, Metrics(), **options))
        return opened[-1]

    yield make
    for made in opened:
        made.close()


def test_every_thread_has_a_library_and_all_share_one_encoder(lane):
    both_in = threading.Barrier(2)

    def work(library):
        both_in.wait(10)
        return threading.get_ident(), id(library), id(library.installed_encoder())

    async def run():
        pictures = lane("pictures", n_threads=2)
        return await asyncio.gather(pictures.run(work), pictures.run(work))

    (first, first_library, encoder), (second, other, same) = asyncio.run(run())
    assert first != second
    assert first_library != other
    assert encoder == same


@pytest.mark.parametrize("bring_back", [shutil.copytree, os.rename])  # another file, and the same
def test_a_thread_that_missed_a_library_opens_what_comes_in_its_place(libraries, indexed, tmp_path, bring_back):
    n_images = libraries.mine().status().n_images
    indexed.folder.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(LibraryNotFoundError):
            libraries.mine()
    bring_back(tmp_path / "away", indexed.folder)
    assert libraries.mine().status().n_images == n_images


def test_a_lane_goes_on_while_another_is_at_work(lane):
    end = threading.Event()

    async def run():
        searches, pictures = lane("searches"), lane("pictures")
        long = asyncio.create_task(searches.run(lambda _: end.wait(30)))
        await asyncio.sleep(0.05)
        n_images = await asyncio.wait_for(pictures.run(lambda library: library.status().n_images), 10)
        assert not long.done()
        end.set()
        return n_images, await long

    assert asyncio.run(run()) == (8, True)


def test_too_much_work_is_refused(lane, monkeypatch):
    monkeypatch.setattr(lanes, "MAX_WAITING", 2)
    end = threading.Event()

    async def run():
        searches = lane("searches")
        waiting = [asyncio.create_task(searches.run(lambda _: end.wait(30))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(HTTPException) as caught:
            await searches.run(lambda _: None)
        end.set()
        await asyncio.gather(*waiting)
        await searches.run(lambda _: None)
        return caught.value

    error = asyncio.run(run())
    assert error.status_code == 503
    assert error.headers == {"Retry-After": "1"}


def test_texts_that_wait_together_are_answered_by_one_scan_each_with_its_own_answer(lane, indexed):
    metrics = Metrics()

    async def run():
        texts = TextLane(lane("words"), metrics)
        asked = [texts.search(Query(f"a thing {i}"), SearchOptions(k=1 + i % 2)) for i in range(10)]
        bad = [
            texts.search(Query(" "), SearchOptions(k=1)),
            texts.search(Query("a", where=["x"]), SearchOptions(k=1)),
        ]
        return await asyncio.gather(*asked, *bad, return_exceptions=True)

    *answers, empty, filtered = asyncio.run(run())
    for i, answer in enumerate(answers):
        expected = indexed.search(f"a thing {i}", k=1 + i % 2).hits
        assert [hit.image_id for hit in answer.hits] == [hit.image_id for hit in expected]
    assert isinstance(empty, QueryError)
    assert "filter 'x' is not understood" in str(filtered)
    assert "mmsearch_text_batch_queries_sum 12.0" in metrics.text().decode()
    assert "mmsearch_text_batch_queries_count 1.0" in metrics.text().decode()


def test_who_does_not_wait_any_more_is_not_answered(lane):
    metrics, end = Metrics(), threading.Event()

    async def run():
        words = lane("words")
        texts = TextLane(words, metrics)
        blocked = asyncio.create_task(words.run(lambda _: end.wait(30)))
        await asyncio.sleep(0.05)
        first = asyncio.create_task(texts.search(Query("a"), SearchOptions(k=1)))
        await asyncio.sleep(0.05)
        left = asyncio.create_task(texts.search(Query("b"), SearchOptions(k=1)))
        await asyncio.sleep(0.05)
        left.cancel()
        end.set()
        await asyncio.gather(blocked, first, return_exceptions=True)
        last = await texts.search(Query("c"), SearchOptions(k=1))
        return last, left.cancelled()

    last, was_cancelled = asyncio.run(run())
    assert was_cancelled
    assert len(last.hits) == 1
    assert "mmsearch_text_batch_queries_sum 2.0" in metrics.text().decode()


LABELS, TEMPLATES = [f"thing {n}" for n in range(1_000)], [f"{n} {{}}" for n in range(100)]


@pytest.mark.parametrize("how", ["the client left", "the server stops"])
def test_long_work_is_given_up_when_nobody_waits_for_it(lane, photos, how):
    begun, ended = threading.Event(), []

    def classify(library):
        begun.set()
        try:
            library.classify([photos / "cat.jpg"], LABELS, templates=TEMPLATES)
        except BaseException as error:
            ended.append(type(error))
            raise

    async def run():
        labels = lane("labels")
        asked = asyncio.create_task(labels.run(classify))
        await asyncio.to_thread(begun.wait, 10)
        if how == "the server stops":
            await asyncio.to_thread(labels.close)
            with pytest.raises(Unwanted):
                await asked
            return
        asked.cancel()
        await labels.run(lambda _: None)  # the thread is free again

    asyncio.run(run())
    assert ended == [Unwanted]


def test_queries_of_many_texts_are_encoded_a_few_at_a_time(lane):
    metrics = Metrics()

    async def run():
        texts = TextLane(lane("words"), metrics)
        query = Query("a", exclude=[f"b {n}" for n in range(15)])
        return await asyncio.gather(*(texts.search(query, SearchOptions(k=1)) for _ in range(10)))

    assert len(asyncio.run(run())) == 10
    assert "mmsearch_text_batch_queries_count 3.0" in metrics.text().decode()  # of 4, 4 and 2 with 16 texts each


def test_work_that_was_given_up_in_line_keeps_nothing(lane):
    end = threading.Event()

    class Upload:
        pass

    async def run():
        examples, upload = lane("examples"), Upload()
        kept = weakref.ref(upload)
        blocked = asyncio.create_task(examples.run(lambda _: end.wait(30)))
        await asyncio.sleep(0.05)
        left = asyncio.create_task(examples.run(lambda _, upload=upload: upload))
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        del left, upload
        gc.collect()
        is_kept = kept() is not None
        end.set()
        await blocked
        return is_kept

    assert not asyncio.run(run())


def test_a_library_made_anew_is_opened_again_and_the_one_before_is_closed(libraries, indexed, photos, checkpoint):
    first = libraries.mine()
    first.reader()
    shutil.rmtree(indexed.folder)
    indexed.close()
    indexed.index([photos], model=str(checkpoint), local=False)
    second = libraries.mine()
    assert second is not first
    assert first._store is None
    assert len(libraries._opened) == 2  # the one that others are siblings of, and that of this thread


def test_a_lane_gives_up_what_takes_longer_than_it_may(lane, photos):
    async def run():
        examples = lane("examples", seconds=0.2)
        with pytest.raises(HTTPException) as caught:
            await examples.run(lambda library: library.classify([photos / "cat.jpg"], LABELS, templates=TEMPLATES))
        return caught.value

    error = asyncio.run(run())
    assert (error.status_code, "longer than 0.2 s" in error.detail) == (503, True)


def test_a_catalog_that_is_cut_under_a_lane_is_a_sentence(lane, indexed):
    def cut(library):
        library.status()
        with (indexed.folder / "catalog.sqlite").open("r+b") as file:
            file.truncate(5_000)
        return library.search(Query(relevant=[1]))

    with pytest.raises(LibraryDamagedError, match="the catalog"):
        asyncio.run(lane("pictures").run(cut))
