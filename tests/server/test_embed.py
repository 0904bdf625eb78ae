"""`POST /embed` and `/embed/upload` as other programs use them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmsearch import Library, Term


def embedded(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_vectors_are_those_of_the_python_interface_in_the_order_that_was_asked(client, served, cache):
    texts, box = ["a cat", "a rocket", "a cat"], [60.0, 50.0, 420.0, 330.0]
    body = embedded(client.post("/embed", json={"texts": texts, "pictures": [{"id": 2}, {"id": 1, "box": box}]}))
    with Library.open(served.folder, cache=cache) as library:
        encoder = library.encoder
        expected = encoder.encode_texts(texts), encoder.encode_images([2, Term(1, box=box)])
        assert (body["model"], body["fingerprint"], body["dim"]) == (encoder.name, encoder.fingerprint, encoder.dim)
    np.testing.assert_array_equal(np.float32(body["texts"]), expected[0])
    np.testing.assert_array_equal(np.float32([picture["vector"] for picture in body["pictures"]]), expected[1])
    assert body["pictures"][0]["picture"] == "picture 2"


def test_pictures_that_are_sent_are_embedded_and_a_broken_one_is_named(client, served):
    files = [(name, (served.photos / name).read_bytes()) for name in ("fig.jpg", "moose.jpg")]
    files[1:1] = [("broken.jpg", b"nonsense" * 4)]
    query = {"texts": ["a fig"], "pictures": [{"upload": 2}]}
    body = embedded(
        client.post("/embed/upload", data={"query": json.dumps(query)}, files=[("picture", file) for file in files])
    )
    moose, fig, broken = body["pictures"]
    assert [picture["picture"] for picture in body["pictures"]] == ["moose.jpg", "fig.jpg", "broken.jpg"]
    assert broken["vector"] is None
    assert broken["error"].startswith("broken.jpg: no known picture format")
    vectors = np.float32([*body["texts"], moose["vector"], fig["vector"]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "there is nothing to embed; give texts, or pictures by their ids"),
        ({"texts": ["a"] * 65}, "texts is a list of 65; expected at most 64"),
        ({"pictures": [{"id": 1}] * 9}, "pictures is a list of 9; expected at most 8"),
        ({"texts": ["x" * 1001]}, "texts.0 is a text of 1,001 characters"),
        ({"pictures": [{"upload": 0}]}, "picture 0 did not come with the request, which has 0"),
        ({"pictures": [{"id": 10**6}]}, "there is no picture 1000000 in the library"),
    ],
)
def test_what_cannot_be_embedded_is_a_sentence(client, asked, sentence):
    answer = client.post("/embed", json=asked)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
