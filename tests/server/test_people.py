"""People by HTTP: who is listed, what is decided of them, who may, and that nothing is left of who is forgotten."""

from __future__ import annotations

import io
import logging

import pytest
from PIL import Image, ImageChops, ImageStat

from mmsearch import Library
from mmsearch.samples import sample_folder
from tests.conftest import copied_photos, copy_library
from tests.faces.packed import face, packed
from tests.server.conftest import running
from tests.server.peopled import put_faces


@pytest.fixture(scope="module")
def shared(indexed_once, cache, tmp_path_factory):
    """A server that tests share; what they decide they take back."""
    base = tmp_path_factory.mktemp("peopled")
    photos = copied_photos(base / "photos")
    copy_library(indexed_once / "library", base / "library", indexed_once / "photos", photos)
    put_faces(base / "library", photos, cache)
    with running(base / "library", photos, cache=cache) as server, server.allowed() as program:
        yield server, program


@pytest.fixture
def client(shared):
    return shared[1]


def groups(client, **options):
    people = client.get("/people", params=options).json()["people"]
    return {person["group"]: person for person in people}


def pictures_of(client, group):
    faces = client.get(f"/people/{group}").json()["faces"]
    return sorted(face["picture"]["name"].removesuffix(".jpg") for face in faces)


def id_of(client, name):
    return client.get("/pictures", params={"where": f"name = {name}.jpg"}).json()["pictures"][0]["id"]


def test_people_are_listed_in_pages_with_their_best_faces(client):
    listed = client.get("/people").json()
    assert [(each["group"], each["n_faces"], each["n_pictures"]) for each in listed["people"]] == [
        (1, 3, 3), (2, 2, 2), (3, 1, 1),
    ]  # fmt: skip
    assert (listed["n"], listed["message"]) == (3, None)
    assert client.get("/status").json()["has_faces"] is True
    first = listed["people"][0]
    assert (first["name"], first["is_hidden"], first["where"]) == (None, False, [])
    assert (first["best"]["picture"]["name"], first["best"]["box"]) == ("dam.jpg", [0.25, 0.125, 0.75, 0.5])
    page = client.get("/people", params={"limit": 1, "offset": 1}).json()
    assert ([each["group"] for each in page["people"]], page["n"]) == ([2], 3)


def test_a_group_has_its_faces_and_a_picture_those_that_are_in_it(client):
    person = client.get("/people/1", params={"limit": 2}).json()
    assert [face["picture"]["name"] for face in person["faces"]] == ["dam.jpg", "cat.jpg"]
    assert person["n_faces"] == 3
    rest = client.get("/people/1", params={"offset": 2}).json()["faces"]
    assert [face["picture"]["name"] for face in rest] == ["astronaut.jpg"]
    dam, moose = id_of(client, "dam"), id_of(client, "moose")
    answered = client.get(f"/pictures/{dam}/faces").json()
    faces = answered["faces"]
    assert answered["n_too_small"] == 0
    assert [(face["group"], face["name"], face["box"]) for face in faces] == [
        (1, None, [0.25, 0.125, 0.75, 0.5]), (2, None, [0.25, 0.125, 0.75, 0.5]),
    ]  # fmt: skip
    assert client.get(f"/pictures/{moose}/faces").json() == {"faces": [], "n_too_small": None}
    assert client.get("/pictures/999/faces").status_code == 404


def test_why_nobody_is_listed_is_said(indexed, photos, cache):
    with (
        Library.open(indexed.folder, cache=cache) as library,
        running(indexed.folder, photos, cache=cache) as server,
        server.allowed() as client,
    ):

        def said(**options):
            return client.get("/people", params=options).json()["message"]

        def keep(*faces, n_too_small=0):
            with library.place.writer() as writer:
                cat = writer.hashes_of([id_of(client, "cat")])
                writer.faces.want(True)
                writer.faces.keep(dict.fromkeys(cat.values(), packed(*faces, n_too_small=n_too_small)))

        assert said() == "the library has no faces; `mmsearch index --faces` looks for them"
        keep(n_too_small=2)
        assert said() == "no face was found in the pictures"
        assert client.get(f"/pictures/{id_of(client, 'cat')}/faces").json() == {"faces": [], "n_too_small": 2}
        assert client.get("/status").json()["has_faces"] is False
        keep(face(1))
        assert "are not in groups yet" in said()
        assert "are not in groups yet" in said(hidden=True)
        with library.place.writer() as writer:
            writer.people.group(lambda *_: None)
        client.put("/people/1/hidden", json={"is_hidden": True})
        assert (said(), said(hidden=True)) == ("all groups are hidden", None)


def test_a_name_gives_filters_finds_pictures_and_goes(client):
    named = client.put("/people/1/name", json={"name": " Anna (or  Anne)"}).json()
    assert named["name"] == "Anna (or Anne)"
    found = client.get("/pictures", params={"where": named["where"]}).json()["pictures"]
    assert sorted(picture["name"] for picture in found) == ["astronaut.jpg", "cat.jpg", "dam.jpg"]
    asked = {"text": "a cat", "where": named["where"]}
    assert len(client.post("/search", json=asked).json()["hits"]) == 3
    faces = client.get(f"/pictures/{id_of(client, 'cat')}/faces").json()["faces"]
    assert [face["name"] for face in faces] == ["Anna (or Anne)"]
    assert client.put("/people/1/name", json={"name": None}).json()["where"] == []
    assert client.get("/pictures", params={"where": named["where"]}).json()["n"] == 0


def test_a_hidden_group_is_listed_on_request_alone(client):
    assert client.put("/people/2/hidden", json={"is_hidden": True}).json()["is_hidden"] is True
    assert list(groups(client)) == [1, 3]
    assert list(groups(client, hidden=True)) == [1, 2, 3]
    client.put("/people/2/hidden", json={"is_hidden": False})
    assert list(groups(client)) == [1, 2, 3]


def test_groups_are_split_and_merged(peopled):
    _, client = peopled
    new = client.post("/people/1/split", json={"ids": [id_of(client, "cat")]}).json()
    assert (new["group"], pictures_of(client, 4), pictures_of(client, 1)) == (4, ["cat"], ["astronaut", "dam"])
    client.put("/people/3/name", json={"name": "Berta"})
    merged = client.post("/people/4/merge", json={"groups": [3, 2]}).json()
    assert (merged["name"], merged["n_faces"]) == ("Berta", 4)
    assert list(groups(client)) == [4, 1]


def test_who_is_forgotten_leaves_nothing_in_the_files_that_are_served(peopled):
    server, client = peopled
    client.put("/people/3/name", json={"name": "Wilhelmina"})
    best = groups(client)[3]["best"]
    crop = f"/pictures/{best['picture']['id']}/thumbnail"
    assert client.get(crop, params={"box": best["box"]}).status_code == 200
    assert client.delete("/people/3").json() == {"n_faces": 1}
    left = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert b"ilhelmina" not in left
    assert not (server.folder / "thumbnails.sqlite").exists()
    assert client.delete("/people").json() == {"n_faces": 5}
    listed = client.get("/people").json()
    assert (listed["people"], listed["message"]) == (
        [], "the library has no faces; `mmsearch index --faces` looks for them",
    )  # fmt: skip
    assert client.get("/status").json()["has_faces"] is False
    with Library.open(server.folder) as library:
        assert library.verify().problems == ()


def test_a_thumbnail_of_a_part_shows_the_part(client):
    path = f"/pictures/{id_of(client, 'cat')}/thumbnail"
    box = [0.25, 0.5, 0.75, 0.75]
    answer = client.get(path, params={"box": box, "side": 160})
    part = Image.open(io.BytesIO(answer.content))
    with Image.open(sample_folder() / "cat.jpg") as whole:
        edges = [share * whole.size[place % 2] for place, share in enumerate(box)]
        expected = whole.convert("RGB").resize(part.size, Image.Resampling.LANCZOS, box=edges)
    assert max(part.size) == 160
    assert ImageStat.Stat(ImageChops.difference(part, expected)).mean == pytest.approx([0, 0, 0], abs=8)
    assert answer.headers["cache-control"] == "no-store"
    tag = answer.headers["etag"]
    assert client.get(path, params={"box": box, "side": 160}, headers={"if-none-match": tag}).status_code == 304
    assert client.get(path, params={"side": 160}).headers["etag"] != tag


@pytest.mark.parametrize("box", [[0.1], [0.5, 0, 0.5, 1], [0, 0.9, 1, 0.1], [0, 0, 1, 1.5], ["nan", 0, 1, 1]])
def test_a_part_that_is_none_is_refused(client, box):
    answer = client.get("/pictures/1/thumbnail", params={"box": box})
    assert (answer.status_code, "box" in answer.json()["errors"][0]["at"]) == (422, True)


@pytest.mark.parametrize(
    ("method", "path", "asked", "status", "sentence"),
    [
        ("GET", "/people/9", None, 404, "there is no group 9 of faces"),
        ("PUT", "/people/9/name", {"name": "Anna"}, 404, "there is no group 9 of faces"),
        ("PUT", "/people/9/hidden", {"is_hidden": True}, 404, "there is no group 9 of faces"),
        ("POST", "/people/1/merge", {"groups": [9]}, 404, "there is no group 9 of faces"),
        ("POST", "/people/9/split", {"ids": [1]}, 404, "there is no group 9 of faces"),
        ("DELETE", "/people/9", None, 404, "there is no group 9 of faces"),
        ("PUT", "/people/1/name", {"name": "..."}, 422, "has no letter and no digit"),
        ("PUT", "/people/1/name", {"name": "a" * 201}, 422, "expected a text of at most 200 characters"),
        ("PUT", "/people/1/name", {"name": "a" * 70_000}, 413, "send a shorter text"),
        ("POST", "/people/1/merge", {"groups": [1]}, 422, "cannot be merged with itself"),
        ("POST", "/people/1/merge", {"groups": []}, 422, "groups is a list of 0; expected at least 1"),
        ("POST", "/people/1/split", {"ids": [999]}, 422, "none of the faces of group 1 are in these pictures"),
        ("POST", "/people/1/split", {"ids": list(range(1, 1_002))}, 422, "is a list of 1,001"),
    ],
)
def test_what_cannot_be_decided_is_a_sentence_and_changes_nothing(client, method, path, asked, status, sentence):
    before = client.get("/people").content
    answer = client.request(method, path, json=asked)
    assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text
    assert client.get("/people").content == before


def test_nothing_is_decided_while_another_process_writes_nor_by_strangers(shared):
    server, client = shared
    asked = {"name": "Stolen"}
    before = client.get("/people").content
    with Library.open(server.folder) as library, library.place.writer():
        refused = client.put("/people/1/name", json=asked)
        assert (refused.status_code, refused.headers["retry-after"]) == (409, "5")
    cookie = f"{server.access.cookie}={server.access.browser_secret}"
    with server.client() as stranger, server.client(cookie=cookie, origin="https://elsewhere.example") as foreign:
        for program, status in ((stranger, 401), (foreign, 403)):
            assert program.get("/people").status_code == status
            assert program.put("/people/1/name", json=asked).status_code == status
            assert program.delete("/people").status_code == status
    assert client.get("/people").content == before


def test_names_are_in_no_log(client, caplog):
    with caplog.at_level(logging.DEBUG):
        client.put("/people/1/name", json={"name": "Wilhelmina"})
        client.get("/people/1")
        client.put("/people/1/name", json={"name": None})
    assert "path=/people/1/name" in caplog.text
    assert "Wilhelmina" not in caplog.text
