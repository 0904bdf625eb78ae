from __future__ import annotations

import base64
import io
import pickle

from PIL import Image

from mmsearch import Query
from mmsearch.query.thumbnails import thumbnails_of


def test_hits_are_shown_by_small_copies_and_those_without_a_file_by_none(indexed, photos):
    hits = indexed.search(Query(images=photos / "cat.jpg"), k=3).hits
    (photos / "cat.jpg").unlink()
    missing, *shown = thumbnails_of(hits)
    assert missing is None
    for address, hit in zip(shown, hits[1:], strict=True):
        kind, _, encoded = address.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            assert max(image.size) == 320
            assert abs(image.width / image.height - hit.width / hit.height) < 0.02


def test_an_answer_is_shown_after_its_library_was_closed_and_in_another_process(indexed):
    result = indexed.search("two dogs", k=2)
    indexed.close()
    html = pickle.loads(pickle.dumps(result))._repr_html_()
    assert html.count('src="data:image/jpeg;base64,') == 2
    assert "2 hits of 8 pictures" in html
    assert f"1.  score {result[0].score:.3f}" in html
