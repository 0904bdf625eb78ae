"""Films by HTTP: their moments as pictures, the files that browsers play, and what the library says of them."""

from __future__ import annotations

import io
import os
import threading
from contextlib import closing
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.errors import PictureError
from mmsearch.frames import frame_hash
from mmsearch.processes.film_reader import FilmReader
from mmsearch.query.frames import part_of_frame, zoom_of_frame
from mmsearch.records import ImageRecord
from mmsearch.server import originals, thumbnails
from mmsearch.server.originals import OpenOriginal, original_of
from tests.films import photograph
from tests.server.conftest import hits

FILMS = [("holiday.mp4", "video/mp4"), ("trip.webm", "video/webm"), ("camera.avi", "video/x-msvideo")]
NAMES = ["camera.avi", "cat.jpg", "fig.jpg", "holiday.mp4", "trip.webm"]


@pytest.fixture
def client(filmed):
    with filmed.allowed() as program:
        yield program


@pytest.fixture
def changing(filmed):
    """The path of a film that the test changes, and a program; the film is as it was after the test."""
    path = filmed.photos / "holiday.mp4"
    data, status = path.read_bytes(), path.stat()
    with filmed.allowed() as program:
        yield path, program
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def id_of(client, name):
    return client.get("/pictures", params={"where": f"name = {name}"}).json()["pictures"][0]["id"]


def moments_of(client, name, **parameters):
    return client.get(f"/pictures/{id_of(client, name)}/moments", params=parameters).json()


def shown(answer):
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def test_a_film_is_listed_once_with_what_is_known_of_it(client):
    listed = {picture["name"]: picture for picture in client.get("/pictures").json()["pictures"]}
    assert sorted(listed) == NAMES
    assert listed["holiday.mp4"]["film"] == {
        "seconds": 6.0, "at": 0.0, "start": 0.0, "end": 2.0, "n_frames": 3, "hdr": "", "problem": ""
    }  # fmt: skip
    assert "film" not in listed["cat.jpg"]
    described = client.get(f"/pictures/{listed['holiday.mp4']['id']}").json()
    assert described == listed["holiday.mp4"] | {"labels": []}


def test_the_moments_of_a_film_are_listed_by_time_in_pages(client):
    whole = moments_of(client, "holiday.mp4")
    assert [(moment["at"], moment["end"]) for moment in whole["moments"]] == [(0, 2), (2, 4), (4, 6)]
    first = moments_of(client, "holiday.mp4", limit=2)
    second = moments_of(client, "holiday.mp4", limit=2, after=first["next"])
    assert first["moments"] + second["moments"] == whole["moments"]
    assert (whole["n"], first["n"], second["next"], whole["next"]) == (3, 3, None, None)
    assert moments_of(client, "cat.jpg") == {"moments": [], "n": 0, "next": None}
    assert client.get("/pictures/999/moments").status_code == 404
    assert client.get("/pictures/1/moments", params={"after": "x"}).status_code == 422


def test_the_thumbnail_of_a_moment_shows_it_and_is_kept(client):
    for moment, name in zip(moments_of(client, "holiday.mp4")["moments"], ("cat", "creek", "dam"), strict=True):
        for _ in range(2):
            pixels = shown(client.get(f"/pictures/{moment['id']}/thumbnail", params={"side": 160}))
            assert pixels.shape == (120, 160, 3)
            assert np.abs(pixels - photograph(name)).mean() < 12
    assert 'mmsearch_thumbnails_total{from="kept"} ' in client.get("/metrics").text


def test_the_thumbnail_of_a_part_of_a_moment_shows_that_part(client):
    moment = moments_of(client, "holiday.mp4")["moments"][1]
    answer = client.get(f"/pictures/{moment['id']}/thumbnail", params={"side": 160, "box": [0.5, 0, 1, 0.5]})
    assert np.abs(shown(answer) - photograph("creek")[:60, 80:]).mean() < 12


def test_a_part_of_a_film_is_the_same_part_of_the_smaller_picture_of_it():
    image = ImageRecord(1, "/a.mp4", 0, 1, 1, 1920, 1080, "MP4", None)
    header = bytes(18) + (853).to_bytes(4, "little") + (480).to_bytes(4, "little")
    assert part_of_frame((960, 0, 1920, 540), image, header) == (426, 0, 853, 240)
    assert part_of_frame((1, 1, 2, 2), image, header) == (0, 0, 1, 1)
    assert zoom_of_frame(image, header) == (1920 / 853, 2.25)
    assert part_of_frame(None, image, header) is None


def test_a_picture_of_a_film_that_could_not_be_had_is_not_computed_again_for_a_while(client, monkeypatch):
    def too_slow(*_):
        raise PictureError("timeout", "one picture of this film takes longer than 20 s of computing")

    address = f"/pictures/{id_of(client, 'camera.avi')}/thumbnail"
    with monkeypatch.context() as slow:
        slow.setattr(FilmReader, "frame", too_slow)
        first = client.get(address, params={"side": 2560})
    again = client.get(address, params={"side": 1280})
    assert (first.status_code, first.json()["code"]) == (410, "timeout")
    assert again.json() == first.json()
    monkeypatch.setattr(thumbnails, "_AGAIN_S", 0.0)
    assert client.get(address, params={"side": 640}).status_code == 200


@pytest.mark.parametrize(("name", "kind"), FILMS)
def test_the_file_of_a_moment_is_the_film(client, filmed, name, kind):
    data = (filmed.photos / name).read_bytes()
    path = f"/pictures/{id_of(client, name)}/file"
    whole = client.get(path)
    assert whole.content == data
    assert (whole.headers["content-type"], whole.headers["x-content-type-options"]) == (kind, "nosniff")
    assert name in whole.headers["content-disposition"]
    part = client.get(path, headers={"range": "bytes=100-199", "if-range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": '"another"'}).content == data
    assert client.get(path, headers={"range": f"bytes={len(data)}-"}).status_code == 416
    assert client.get(path, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    head = client.head(path)
    assert (head.headers["content-length"], head.content) == (str(len(data)), b"")


def test_facts_of_a_film_are_none(client):
    assert client.get(f"/pictures/{id_of(client, 'holiday.mp4')}/facts").json() == {}


def test_what_came_in_the_place_of_a_film_is_never_shown(changing, filmed):
    path, client = changing
    image_id, data = id_of(client, "holiday.mp4"), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    answers = [client.get(f"/pictures/{image_id}/file")]
    path.write_bytes((filmed.photos / "trip.webm").read_bytes())
    answers += [client.get(f"/pictures/{image_id}/file")]
    answers += [client.get(f"/pictures/{image_id}/thumbnail", params={"side": 640})]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(410, "changed")] * 3
    path.unlink()
    answers = [client.get(f"/pictures/{image_id}/{what}") for what in ("file", "thumbnail?side=640")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(410, "vanished")] * 2
    path.mkdir()
    assert client.get(f"/pictures/{image_id}/file").status_code == 410
    path.rmdir()


def test_a_film_that_is_too_large_to_be_read_whole_is_known_by_its_ends_and_its_time(
    changing, filmed, cache, monkeypatch
):
    path, client = changing
    image_id = id_of(client, "holiday.mp4")
    monkeypatch.setattr(originals, "_MOST_HASHED", 0)
    with Library.open(filmed.folder, cache=cache) as library:
        original = original_of(library, image_id)
    with closing(OpenOriginal.open(original)):
        pass
    status, data = path.stat(), bytearray(path.read_bytes())
    answers = []
    for change in ("time", "end"):
        if change == "end":
            data[-1] ^= 1
            path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (change == "time")))
        answers.append(client.get(f"/pictures/{image_id}/file").status_code)
    assert answers == [410, 410]


def test_a_film_that_changes_while_it_is_sent_is_not_sent_on(changing, filmed, cache, monkeypatch):
    path, client = changing
    monkeypatch.setattr(originals, "_BLOCK", 1 << 10)
    with Library.open(filmed.folder, cache=cache) as library:
        original = original_of(library, id_of(client, "holiday.mp4"))
    blocks = OpenOriginal.open(original).blocks(0, original.image.size_bytes)
    first = next(blocks)
    assert path.read_bytes().startswith(first)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(originals.PictureError, match="not what was indexed any more"):
        next(blocks)


def test_the_connection_of_a_film_that_changes_ends_before_the_answer_does(changing, caplog, monkeypatch):
    path, client = changing
    image_id, was_asked = id_of(client, "holiday.mp4"), threading.Event()
    monkeypatch.setattr(originals, "_BLOCK", 1 << 10)
    unchanged = OpenOriginal._is_unchanged

    def changed_meanwhile(file):
        if was_asked.is_set():
            os.utime(path, ns=(0, 0))
        was_asked.set()  # by the look before the first block
        return unchanged(file)

    monkeypatch.setattr(OpenOriginal, "_is_unchanged", changed_meanwhile)
    with pytest.raises(httpx.TransportError):
        client.get(f"/pictures/{image_id}/file")
    assert not caplog.records


def test_an_archive_has_a_film_once_however_many_moments_are_asked(client, filmed):
    ids = [moment["id"] for moment in moments_of(client, "holiday.mp4")["moments"]]
    answer = client.post("/archive", json={"ids": [*ids, id_of(client, "cat.jpg")]})
    with ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["cat.jpg", "holiday.mp4"]
        assert archive.read("holiday.mp4") == (filmed.photos / "holiday.mp4").read_bytes()


def test_films_are_counted_beside_pictures(client):
    facets = client.get("/facets").json()
    assert facets["n"] == 5
    assert [(kind["label"], kind["where"], kind["n"]) for kind in facets["kinds"]] == [
        ("pictures", ["kind = picture"], 2), ("films", ["kind = film"], 3),
    ]  # fmt: skip
    assert client.get("/facets", params={"where": "kind = film"}).json()["n"] == 3
    status = client.get("/status").json()
    assert status["n_pictures"] == 2
    assert status["films"] == {"n": 3, "seconds": 10.0, "n_moments": 5, "n_incomplete": 0, "n_hdr": 0}


def test_a_moment_and_a_part_of_it_find_the_film(client):
    moment = moments_of(client, "holiday.mp4")["moments"][1]
    for example in ({"id": moment["id"]}, {"id": moment["id"], "box": [40, 20, 160, 120]}):
        found = hits(client.post("/search", json={"pictures": [example], "k": 5}))
        assert sorted(hit["name"] for hit in found) == NAMES
    first = hits(client.post("/search", json={"pictures": [{"id": moment["id"]}], "k": 1}))[0]
    assert (first["id"], first["film"]["at"]) == (moment["id"], 2.0)


def test_a_film_that_is_sent_as_an_example_is_refused_with_a_sentence(client, filmed):
    data = (filmed.photos / "trip.webm").read_bytes()
    files = {"picture": ("trip.webm", data, "video/webm"), "query": (None, "{}")}
    answer = client.post("/search/upload", files=files)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "trip.webm: this is a film, not a picture in a known format"


def test_frames_are_kept_under_what_tells_their_moment(filmed, cache):
    with Library.open(filmed.folder, cache=cache) as library, filmed.allowed() as client:
        known = original_of(library, id_of(client, "holiday.mp4"))
        assert library.reader().original(known.image.image_id)[1] == frame_hash(known.content_hash, 0.0)
