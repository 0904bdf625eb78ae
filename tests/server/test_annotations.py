"""What is written about pictures, by HTTP: tags and captions that are typed, and all that files say."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from mmsearch import Library, UnsupportedError
from mmsearch.server.problems import of_error


@pytest.fixture
def client(writable):
    with writable.allowed() as program:
        yield program


def id_of(client, name):
    return client.get("/pictures", params={"where": f"name = {name}.jpg"}).json()["pictures"][0]["id"]


def written(client, image_id):
    said = client.get(f"/pictures/{image_id}/annotations").json()["annotations"]
    return [(each["kind"], each["source"], each["text"]) for each in said]


def names(client, where):
    return {picture["name"] for picture in client.get("/pictures", params={"where": where}).json()["pictures"]}


def test_tags_are_given_and_taken_and_all_see_it_at_once(client):
    cat, dam = id_of(client, "cat"), id_of(client, "dam")
    assert ("name", "file name", "cat") in written(client, cat)
    changed = client.post("/tags", json={"ids": [cat, dam, 999], "add": ["Near  water", "brown"]}).json()
    assert changed == {"n_added": 4, "n_removed": 0, "missing": [999]}
    assert written(client, dam)[:2] == [("tag", "user", "Near water"), ("tag", "user", "brown")]
    facets = {facet["label"]: facet for facet in client.get("/facets").json()["tags"]}
    assert facets["Near water"]["n"] == 2
    assert names(client, facets["Near water"]["where"]) == {"cat.jpg", "dam.jpg"}
    asked = {"text": "Near Water", "words": "only"}
    assert {hit["name"] for hit in client.post("/search", json=asked).json()["hits"]} >= {"cat.jpg", "dam.jpg"}
    changed = client.post("/tags", json={"ids": [cat], "add": ["near WATER"], "remove": ["near water"]}).json()
    assert changed == {"n_added": 1, "n_removed": 1, "missing": []}
    client.post("/tags", json={"ids": [cat, dam], "remove": ["near water", "brown"]})
    assert not [said for image_id in (cat, dam) for said in written(client, image_id) if said[1] == "user"]


def test_a_caption_is_written_in_place_of_the_one_before_and_taken_away(client):
    path = f"/pictures/{id_of(client, 'fig')}/caption"
    for text in ("ripe figs", "three ripe figs on a plate"):
        said = client.put(path, json={"text": text}).json()["annotations"]
        assert [each["text"] for each in said if each["source"] == "user"] == [text]
    assert names(client, "caption = three ripe figs on a plate") == {"fig.jpg"}
    said = client.put(path, json={"text": None}).json()["annotations"]
    assert "user" not in {each["source"] for each in said}
    assert client.put("/pictures/999/caption", json={"text": "a"}).status_code == 404


def test_markup_and_sql_in_what_is_written_is_text(client, writable):
    moose = id_of(client, "moose")
    texts = [
        "<script>alert(1)</script>",
        "x'); DROP TABLE typed; --",
        'tag = "a" or has = tag',
        "日本 🦌 \u202e\x00x",
    ]
    assert client.post("/tags", json={"ids": [moose], "add": texts}).json()["n_added"] == len(texts)
    kept = [text for _, source, text in written(client, moose) if source == "user"]
    assert kept == [*texts[:3], "日本 🦌 \u202e x"]
    facets = {facet["label"]: facet for facet in client.get("/facets").json()["tags"]}
    for text in kept:
        assert names(client, facets[text]["where"]) == {"moose.jpg"}, text
    assert client.post("/tags", json={"ids": [moose], "remove": kept}).json()["n_removed"] == len(kept)
    with closing(sqlite3.connect(writable.folder / "catalog.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM typed WHERE text LIKE '%DROP%'").fetchone() == (0,)


def test_the_entity_tag_of_annotations_changes_with_them(client):
    creek = id_of(client, "creek")
    path = f"/pictures/{creek}/annotations"
    before = client.get(path).headers["etag"]
    assert client.get(path, headers={"if-none-match": before}).status_code == 304
    client.post("/tags", json={"ids": [creek], "add": ["stones"]})
    after = client.get(path, headers={"if-none-match": before})
    assert (after.status_code, after.headers["etag"] != before) == (200, True)
    client.post("/tags", json={"ids": [creek], "remove": ["stones"]})
    assert client.get(path).headers["etag"] == before


def test_nothing_is_changed_while_another_process_writes(client, writable):
    cat = id_of(client, "cat")
    before = written(client, cat)
    with Library.open(writable.folder) as library, library.place.writer():
        for answer in (
            client.post("/tags", json={"ids": [cat], "add": ["late"]}),
            client.put(f"/pictures/{cat}/caption", json={"text": "late"}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (409, "5")
            assert "is writing to this library" in answer.json()["detail"]
        assert written(client, cat) == before
    assert client.post("/tags", json={"ids": [cat], "add": ["now"]}).status_code == 200
    client.post("/tags", json={"ids": [cat], "remove": ["now"]})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"ids": [1]}, "there is no tag; name one in `add` or `remove`"),
        ({"ids": [], "add": ["a"]}, "ids is a list of 0; expected at least 1"),
        ({"ids": list(range(1, 1_002)), "add": ["a"]}, "ids is a list of 1,001; expected at most 1000"),
        ({"ids": [1], "add": ["a" * 201]}, "expected a text of at most 200 characters"),
        ({"ids": [1], "add": ["..."], "remove": ["kept"]}, "has no letter and no digit"),
    ],
)
def test_tags_that_mean_nothing_are_refused_before_anything_is_changed(client, asked, sentence):
    client.post("/tags", json={"ids": [1], "add": ["kept"]})
    answer = client.post("/tags", json=asked)
    assert (answer.status_code, sentence in answer.json()["detail"]) == (422, True), answer.text
    assert ("tag", "user", "kept") in written(client, 1)


def test_a_caption_that_means_nothing_is_refused(client):
    for text, status in (("", 422), ("a" * 5_001, 422), ("...", 422), ("🦌" * 20_000, 413)):
        assert client.put("/pictures/1/caption", json={"text": text}).status_code == status


def test_only_our_own_page_and_programs_with_the_token_may_write(writable, client):
    asked = {"ids": [1], "add": ["stolen"]}
    cookie = f"{writable.access.cookie}={writable.access.browser_secret}"
    with writable.client() as stranger:
        assert stranger.post("/tags", json=asked).status_code == 401
    for origin, status in ((None, 403), ("https://elsewhere.example", 403), (writable.address, 200)):
        headers = {"cookie": cookie} | ({} if origin is None else {"origin": origin})
        with writable.client(**headers) as browser:
            assert browser.post("/tags", json=asked).status_code == status
            caption = browser.put("/pictures/1/caption", json={"text": "stolen"})
            assert caption.status_code == status
        is_there = status == 200
        assert (("tag", "user", "stolen") in written(client, 1)) == is_there
    client.post("/tags", json={"ids": [1], "remove": ["stolen"]})
    client.put("/pictures/1/caption", json={"text": None})


def test_where_tags_are_kept_is_said_and_at_an_address_none_are(client):
    assert client.get("/status").json()["keeps_annotations"] is True
    elsewhere = Library.open("milvus://127.0.0.1:9/pictures")  # nothing is asked there
    for write in (lambda: elsewhere.retag([1], add="a"), lambda: elsewhere.caption(1, "a")):
        with pytest.raises(UnsupportedError) as refused:
            write()
        assert of_error(refused.value).status_code == 501
