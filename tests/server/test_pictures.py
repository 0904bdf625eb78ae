"""What is in the library: pictures, thumbnails, originals, counts, status, metrics; while it changes, too."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch import Library
from mmsearch.store.facets import count_facets
from mmsearch.store.progress import shown_progress
from mmsearch.store.thumbnails import KeptThumbnails
from tests import pictures
from tests.server.conftest import hits, names


def listed(client, **parameters):
    return {picture["name"]: picture for picture in client.get("/pictures", params=parameters).json()["pictures"]}


def test_a_picture_is_described(client, served):
    picture = listed(client)["cat.jpg"]
    assert client.get(f"/pictures/{picture['id']}").json() == picture | {"labels": []}
    with Image.open(served.photos / "cat.jpg") as image:
        assert (picture["width"], picture["height"], picture["format"]) == (*image.size, "JPEG")
    assert picture["size_bytes"] == (served.photos / "cat.jpg").stat().st_size
    assert picture["path"] == str(served.photos / "cat.jpg")


def pages(client, **parameters):
    """Yield the pages of a list, each asked for when the one before was looked at."""
    following = {}
    while following is not None:
        body = client.get("/pictures", params=parameters | following).json()
        yield body
        following = None if body["next"] is None else {"after": body["next"]}


@pytest.mark.parametrize(("order", "key"), [("added", "id"), ("path", "path"), ("taken", "id")])
def test_pictures_are_listed_in_pages(client, order, key):
    pages_of_list = list(pages(client, limit=20, order=order))
    assert [(page["n"], len(page["pictures"])) for page in pages_of_list] == [(29, 20), (29, 9)]
    keys = [picture[key] for page in pages_of_list for picture in page["pictures"]]
    assert keys == sorted(set(keys), reverse=order == "taken")
    assert client.get("/pictures", params={"limit": 20, "order": order, "offset": 20}).json() == pages_of_list[1]
    assert [len(page["pictures"]) for page in pages(client, limit=29, order=order)] == [29]


@pytest.mark.parametrize("order", ["added", "path", "taken"])
def test_pages_neither_repeat_nor_leave_out_a_picture_while_others_come_and_leave(
    changeable, photos, indexed, order
):
    _, client = changeable
    stay, shown = {picture["id"] for picture in listed(client).values()}, []
    for n, page in enumerate(pages(client, limit=3, order=order)):
        shown += [picture["id"] for picture in page["pictures"]]
        if n > 0:
            continue
        gone, renamed = page["pictures"][-1], page["pictures"][0]  # the page after begins where one was
        os.unlink(gone["path"])
        if order != "path":
            os.rename(renamed["path"], photos / "zzz.jpg")
        pictures.photo(seed=1).save(photos / "aaa.jpg")
        indexed.index([photos], local=False)
    assert len(shown) == len(set(shown))
    assert stay <= set(shown)
    assert {"aaa.jpg"} <= set(listed(client))


def test_a_page_has_a_thousand_pictures_at_most(client):
    assert client.get("/pictures", params={"limit": 1_000}).status_code == 200
    assert client.get("/pictures", params={"limit": 1_001}).status_code == 422


def test_a_page_after_nothing_that_was_a_page_is_refused(client):
    for cursor in ("15", "?", "\u00e9", "a" * 8_000, "MTIz" * 2_000):
        answer = client.get("/pictures", params={"after": cursor})
        assert answer.status_code == 422
        assert "after" in answer.json()["detail"]
    assert client.get("/pictures", params={"after": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS9h"}).json()["pictures"] == []


def test_an_offset_is_not_shifted_by_what_comes(changeable, photos, indexed):
    _, client = changeable
    first = listed(client, limit=5, offset=0)
    pictures.photo(seed=1).save(photos / "aaa.jpg")
    indexed.index([photos], local=False)
    assert not set(first) & set(listed(client, limit=5, offset=5))


def test_a_picture_that_is_not_there_is_not_found(client):
    for path in ("/pictures/999", "/pictures/999/thumbnail", "/pictures/999/file", "/pictures/999/facts"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("there is no picture 999 in the library")


def test_a_thumbnail_is_a_small_upright_jpeg_without_what_the_file_says_of_itself(changeable, photos, indexed):
    _, client = changeable
    (photos / "turned.jpg").write_bytes(pictures.turned(6))
    indexed.index([photos], local=False)
    picture = listed(client)["turned.jpg"]
    answer = client.get(f"/pictures/{picture['id']}/thumbnail", params={"side": 160})
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert max(image.size) == 160
        assert (image.width > image.height) == (picture["width"] > picture["height"])
        assert not image.getexif()


def test_only_sizes_that_are_kept_can_be_asked(client):
    for side in ("161", "0", "100000", "x", "-1"):
        assert client.get("/pictures/1/thumbnail", params={"side": side}).status_code == 422


def test_a_thumbnail_that_the_browser_has_is_not_sent_again(client):
    first = client.get("/pictures/1/thumbnail")
    again = client.get("/pictures/1/thumbnail", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.parametrize(("accept", "kind"), [("application/octet-stream", "application/octet-stream"),
                                              ("image/*", "image/jpeg"), ("*/*", "image/jpeg")])  # fmt: skip
def test_a_picture_is_of_its_type_unless_bytes_alone_are_accepted(client, accept, kind):
    for what in ("thumbnail", "file"):
        answer = client.get(f"/pictures/1/{what}", headers={"accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "accept")
        assert answer.content.startswith(b"\xff\xd8\xff")


def test_a_thumbnail_is_made_once(changeable):
    _, client = changeable
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/pictures/2/thumbnail").content, range(16)))
    assert len(set(answers)) == 1
    assert 'mmsearch_thumbnails_total{from="made"} 1.0' in client.get("/metrics").text


def test_a_kept_thumbnail_is_given_when_the_file_is_gone_but_not_another_one(changeable, photos):
    _, client = changeable
    picture = listed(client)["cat.jpg"]
    first = client.get(f"/pictures/{picture['id']}/thumbnail").content
    (photos / "cat.jpg").unlink()
    assert client.get(f"/pictures/{picture['id']}/thumbnail").content == first
    gone = client.get(f"/pictures/{picture['id']}/thumbnail", params={"side": 640})
    assert gone.status_code == 410
    assert gone.json()["code"] == "vanished"
    assert client.get(f"/pictures/{picture['id']}/file").status_code == 410


def test_an_original_is_given_byte_for_byte(client, served):
    picture = listed(client)["cat.jpg"]
    answer = client.get(f"/pictures/{picture['id']}/file")
    assert answer.content == (served.photos / "cat.jpg").read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"


def test_facts_of_a_photograph_are_read_from_its_file(changeable, photos, indexed):
    _, client = changeable
    exif = Image.Exif()
    exif[0x0110] = "X-T3"
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 0.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    pictures.photo(seed=1).save(photos / "sydney.jpg", exif=exif)
    indexed.index([photos], local=False)
    path = f"/pictures/{listed(client)['sydney.jpg']['id']}/facts"
    first = client.get(path)
    assert first.json() == {"camera": "X-T3", "latitude": -33.85, "longitude": 151.21}
    assert client.get(path, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert client.get(f"/pictures/{listed(client)['cat.jpg']['id']}/facts").json() == {}


def outside(tmp_path):
    """A picture that was never indexed."""
    path = tmp_path / "outside.jpg"
    path.write_bytes(pictures.saved(pictures.photo(seed=5), "JPEG"))
    return path


def test_what_came_in_the_place_of_a_picture_is_never_shown(changeable, photos, tmp_path):
    _, client = changeable
    other, known = outside(tmp_path), listed(client)
    status = (photos / "cat.jpg").stat()
    (photos / "cat.jpg").unlink()
    (photos / "cat.jpg").symlink_to(other)
    (photos / "fig.jpg").write_bytes(other.read_bytes())
    os.utime(photos / "fig.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.move(photos / "trip", photos / "away")
    (photos / "trip").symlink_to(tmp_path)
    shutil.copyfile(other, tmp_path / "moose.jpg")
    (photos / "dam.jpg").unlink()
    os.mkfifo(photos / "dam.jpg")
    (photos / "coffee.jpg").unlink()
    (photos / "coffee.jpg").symlink_to("/dev/zero")
    for name in ("cat.jpg", "fig.jpg", "moose.jpg", "dam.jpg", "coffee.jpg"):
        for what in ("thumbnail", "file", "facts"):
            answer = client.get(f"/pictures/{known[name]['id']}/{what}")
            assert answer.status_code == 410, name
            assert answer.json()["code"] in ("changed", "not_a_file"), answer.json()


def test_text_that_came_in_the_place_of_a_picture_is_called_changed(changeable, photos):
    _, client = changeable
    image_id = listed(client)["fig.jpg"]["id"]
    (photos / "fig.jpg").write_text("no picture any more")
    answer = client.get(f"/pictures/{image_id}/thumbnail")
    assert (answer.status_code, answer.json()["code"]) == (410, "changed")


def test_kept_thumbnails_stay_below_their_bound(tmp_path):
    kept = KeptThumbnails(tmp_path / "t.sqlite", limit_bytes=400_000)
    for i in range(200):
        kept.put(b"%d" % i, 160, b"\xff\xd8" + os.urandom(9_000))
        assert (tmp_path / "t.sqlite").stat().st_size <= 400_000
    assert kept.get(b"199", 160) is not None
    assert kept.get(b"0", 160) is None


def test_of_kept_thumbnails_the_oldest_go_and_no_more_than_must(tmp_path):
    kept = KeptThumbnails(tmp_path / "t.sqlite", limit_bytes=1_500_000)
    for i in range(200):
        kept.put(b"%d" % i, 160, b"\xff\xd8" + bytes(9_000))
    there = [i for i in range(200) if kept.get(b"%d" % i, 160) is not None]
    assert there == list(range(there[0], 200))
    assert len(there) >= 80  # of the 120 that there is room for


@pytest.mark.parametrize("nonsense", [b"no picture", "\xff\xd8 text", 5])
def test_a_kept_thumbnail_that_is_none_is_not_given_and_can_be_replaced(tmp_path, nonsense):
    kept = KeptThumbnails(tmp_path / "t.sqlite")
    kept.put(b"1", 160, b"\xff\xd8 old")
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as db, db:
        db.execute("UPDATE thumbnail SET jpeg = ?", (nonsense,))
    assert kept.get(b"1", 160) is None
    kept.put(b"1", 160, b"\xff\xd8 new")
    assert kept.get(b"1", 160) == b"\xff\xd8 new"


def test_a_damaged_file_of_thumbnails_is_made_anew(tmp_path):
    path = tmp_path / "t.sqlite"
    kept = KeptThumbnails(path)
    path.write_bytes(b"nonsense" * 1000)
    assert kept.get(b"1", 160) is None
    kept.put(b"1", 160, b"\xff\xd8x")
    kept.put(b"1", 160, b"\xff\xd8x")
    assert kept.get(b"1", 160) == b"\xff\xd8x"


def test_thumbnails_made_when_pictures_were_read_in_another_way_are_made_again(tmp_path):
    kept = KeptThumbnails(tmp_path / "t.sqlite")
    kept.put(b"h" * 32, 160, b"\xff\xd8 small")
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as db:
        assert kept.get(b"h" * 32, 160) == b"\xff\xd8 small"
        db.execute("PRAGMA user_version=0")  # as every version had it that read them in the first way
    assert kept.get(b"h" * 32, 160) is None
    kept.put(b"h" * 32, 160, b"\xff\xd8 new")
    assert kept.get(b"h" * 32, 160) == b"\xff\xd8 new"


def test_a_place_that_cannot_be_written_only_keeps_nothing(tmp_path):
    kept = KeptThumbnails(tmp_path / "missing" / "t.sqlite")
    kept.put(b"1", 160, b"\xff\xd8x")
    assert kept.get(b"1", 160) is None


# -- counts ------------------------------------------------------------------------------------------


def test_pictures_are_counted_by_folder_with_what_is_below(changeable, photos):
    _, client = changeable
    body = client.get("/facets").json()
    assert body["n"] == 8
    assert {facet["label"]: facet["n"] for facet in body["folders"]} == {str(photos): 8, str(photos / "trip"): 2}
    assert body["formats"] == [{"label": "JPEG", "where": ["format = JPEG"], "n": 8}]
    assert body["years"] == []


def test_pictures_are_counted_by_year(changeable, photos, indexed):
    _, client = changeable
    for n, year in enumerate((2021, 2023, 2023)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{year}:05:01 10:00:00"
        pictures.photo(seed=n).save(photos / f"dated{n}.jpg", exif=exif)
    indexed.index([photos], local=False)
    years = client.get("/facets").json()["years"]
    assert [(facet["label"], facet["n"]) for facet in years] == [("2021", 1), ("2023", 2)]
    among = client.get("/facets", params={"where": "taken >= 2022"}).json()
    assert among["n"] == 2
    assert client.get("/timeline", params={"where": "name ~ dated*"}).json() == {
        "n": 3,
        "months": [
            {"label": "2023-05", "where": ["taken = 2023-05"], "n": 2},
            {"label": "2021-05", "where": ["taken = 2021-05"], "n": 1},
        ],
    }


def test_a_folder_whose_name_is_no_text_has_a_filter_that_is(tmp_path):
    root = os.fsencode(tmp_path / "photos")
    for folder in (b"a[1]*\xff", b"a1*\xff", b"1"):
        os.makedirs(os.path.join(root, folder))
        pictures.photo().save(os.path.join(root, folder, b"x.png"))
    with Library.open(tmp_path / "library") as library:
        library.index([root], model="none")
        catalog = library.reader().catalog
        counts = [
            (facet.n, count_facets(catalog, [expression.encode().decode() for expression in facet.where]).n)
            for facet in count_facets(catalog).folders
        ]
    assert counts == [(3, 3), (1, 1), (1, 1), (1, 1)]


wheres = st.lists(
    st.sampled_from(
        ["width > 400", "size < 40k", "name ~ [a-m]*", "format = JPEG", "size >= 20k", "height <= 341"]
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(where=wheres)
def test_every_count_is_what_its_filters_give(client, where):
    body = client.get("/facets", params={"where": where}).json()
    for kind in ("folders", "years", "sizes", "formats"):
        for facet in body[kind]:
            among = client.get("/pictures", params={"where": where + facet["where"], "limit": 1}).json()["n"]
            assert among == facet["n"], facet
    assert sum(facet["n"] for facet in body["sizes"]) == body["n"]


def test_a_folder_with_any_name_is_counted_and_shown_by_the_same_filter(changeable, photos, indexed):
    _, client = changeable
    for n, name in enumerate(
        [
            "\u00e9t\u00e9",
            "e\u0301te\u0301 2",
            "3 \u212a",
            "ends with a space ",
            "~",
            "no-break\u00a0",
            "mum and name = dad",
            "x OR (not size > 5",
            '"quoted" and width > [1]',
        ]
    ):
        (photos / name).mkdir()
        pictures.photo(seed=n).save(photos / name / "a.jpg")
    indexed.index([photos], local=False)
    counted = [facet for facet in client.get("/facets").json()["folders"] if facet["n"] == 1]
    assert len(counted) == 9
    for facet in counted:
        assert client.get("/pictures", params={"where": facet["where"]}).json()["n"] == 1, facet
        assert client.get("/facets", params={"where": facet["where"]}).json()["n"] == 1, facet


def test_a_filter_that_no_picture_could_pass_is_a_problem_and_counts_nothing(client, served):
    where = {"where": f"folder = {served.photos}/nowhere"}
    answer = client.get("/pictures", params=where)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:mmsearch:query"
    assert f"the library holds no picture below {served.photos}/nowhere" in answer.json()["detail"]
    assert client.post("/search", json={"text": "a", "where": [where["where"]]}).json() == answer.json()
    assert client.get("/facets", params=where).json()["n"] == 0


def test_filters_of_several_comparisons_are_listed_and_counted(client):
    where = ["(format = jpg or format = GIF) and not name ~ [D-Z]*", "width > 1.5"]
    listed = client.get("/pictures", params={"where": where}).json()
    names = [picture["name"] for picture in listed["pictures"]]
    assert "cat.jpg" in names
    assert all(name[0] in "abc" for name in names)
    assert client.get("/facets", params={"where": where}).json()["n"] == listed["n"] == len(names)


# -- status ------------------------------------------------------------------------------------------


def test_status_says_what_is_there(client):
    body = client.get("/status").json()
    assert body["n_pictures"] == 29
    assert body["has_words"]
    assert body["answers_texts"]
    assert body["has_local"]
    assert body["indexing"] is None


def test_status_shows_the_progress_of_another_process(changeable):
    server, client = changeable
    with shown_progress(server.folder, lambda *_: None) as on_progress:
        on_progress("embed", 3, 10)
        progress = client.get("/status").json()["indexing"]
        assert progress.pop("started") > 1e9
        assert progress == {"stage": "embed", "done": 3, "total": 10}
    assert client.get("/status").json()["indexing"] is None


def test_metrics_count_requests_and_stages(client):
    client.post("/search", json={"text": "a metric"})
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'mmsearch_requests_total{endpoint="/search",method="POST",status="200"}' in text
    assert 'mmsearch_search_stage_seconds_bucket{le="0.01",stage="search"}' in text
    assert "mmsearch_pictures 29.0" in text
    assert "nowhere" not in text


# -- while the library changes -----------------------------------------------------------------------


def test_new_pictures_are_found_and_old_ones_leave_while_the_server_answers(changeable, photos, cache):
    server, client = changeable
    assert "rocket.jpg" not in names(client.post("/search", json={"text": "a", "k": 100}))
    revision = client.get("/status").json()["revision"]
    shutil.copyfile(photos / "cat.jpg", photos / "rocket.jpg")
    (photos / "fig.jpg").unlink()
    gone = listed(client)["fig.jpg"]["id"]
    with Library.open(server.folder, cache=cache) as writer:
        writer.index([photos], local=False)
    ranked = names(client.post("/search", json={"text": "a", "k": 100, "collapse": "none"}))
    assert "rocket.jpg" in ranked
    assert "fig.jpg" not in ranked
    assert client.get(f"/pictures/{gone}").status_code == 404
    assert client.get("/status").json()["revision"] > revision


@pytest.mark.full
def test_nothing_fails_while_the_library_is_indexed(changeable, photos, cache):
    server, client = changeable
    for n in range(60):
        pictures.photo(seed=n).save(photos / f"new{n}.jpg")
    done = threading.Event()

    def write():
        with Library.open(server.folder, cache=cache) as writer:
            writer.index([photos], local=True)
        done.set()

    writer, n_seen, stages = threading.Thread(target=write), [], set()
    writer.start()
    while not done.is_set():
        n_seen.append(len(hits(client.post("/search", json={"text": "a", "k": 100}))))
        for path in ("/pictures/1/thumbnail", "/facets", "/pictures/1"):
            assert client.get(path).status_code == 200
        status = client.get("/status")
        assert status.status_code == 200
        stages.add((status.json()["indexing"] or {"stage": ""})["stage"])
    writer.join()
    assert n_seen == sorted(n_seen)
    assert "embed" in stages
    assert len(hits(client.post("/search", json={"text": "a", "k": 100}))) == 68
    assert client.get("/status").json()["has_local"]


@pytest.mark.full
def test_every_answer_is_by_one_encoder_while_a_library_changes_its_own(
    changeable, checkpoint, other_checkpoint, other_folder, cache
):
    server, client = changeable
    asked = [
        {"text": "a"}, {"text": "a", "pictures": [{"id": 3}]}, {"pictures": [{"id": 5}], "k": 3},
        {"text": "a", "exclude": [{"text": "b"}]},
    ]  # fmt: skip

    def scores():
        return [[(hit["id"], hit["score"]) for hit in hits(client.post("/search", json=query))] for query in asked]

    expected, models = [scores()], [str(other_checkpoint), str(checkpoint)]
    with Library.open(server.folder, cache=cache) as writer:
        writer.index([], model=models[0], re_embed=True)
        expected.append(scores())
        assert expected[0] != expected[1]
        done, seen = threading.Event(), []

        def ask():
            while not done.is_set():
                seen.append(scores())

        asking = threading.Thread(target=ask)
        asking.start()
        for n in (1, 2, 3):
            writer.index([], model=models[n % 2], re_embed=True)
        done.set()
        asking.join()
    assert all(
        answer in (before, after)
        for answers in seen
        for answer, before, after in zip(answers, *expected, strict=True)
    )
    assert scores() == expected[0]
    assert client.get("/status").json()["model"] == models[1]


@pytest.mark.parametrize("is_missed", [True, False])
def test_a_library_that_was_made_anew_in_the_same_place_is_opened_again(
    changeable, photos, checkpoint, cache, is_missed
):
    server, client = changeable
    assert len(hits(client.post("/search", json={"text": "a", "k": 100}))) == 8
    take_away(server.folder)
    if is_missed:
        assert client.post("/search", json={"text": "a"}).status_code == 503
    with Library.open(server.folder, cache=cache) as writer:
        writer.index([photos / "trip"], model=str(checkpoint), local=False)
    assert sorted(names(client.post("/search", json={"text": "a", "k": 100}))) == ["goldfish.jpg", "moose.jpg"]
    assert client.get("/status").json()["n_pictures"] == 2


def take_away(folder):
    """Remove a folder at once, though a server may be at work in it."""
    gone = folder.rename(folder.with_name("gone"))
    shutil.rmtree(gone, ignore_errors=True)


@pytest.mark.parametrize("path", ["/status", "/pictures/1", "/facets", "/metrics"])
def test_a_library_that_is_gone_is_a_problem_and_no_crash(changeable, path):
    server, client = changeable
    take_away(server.folder)
    answer = client.get(path)
    assert answer.status_code == 503
    assert "no library found" in answer.json()["detail"]


def test_an_empty_library_answers_with_nothing(changeable, indexed, photos):
    _, client = changeable
    indexed.remove([photos])
    assert hits(client.post("/search", json={"text": "a"})) == []
    classes = ("kinds", "folders", "years", "sizes", "formats", "widths", "orientations", "labels", "tags")
    assert client.get("/facets").json() == {"n": 0, **{name: [] for name in classes}}
