"""Filters by what is said of pictures, and counts of their tags."""

from __future__ import annotations

import os
from math import asin, cos, degrees, radians, sin

import pytest

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.errors import QueryError
from mmsearch.predicates import parse, written
from mmsearch.records import READING, FileLook
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store

PARIS, REYKJAVIK, FIJI, POLE = (48.8566, 2.3522), (64.1466, -21.9426), (-18.1, 179.9), (89.9, -120.0)


def said(*texts, **facts):
    return Annotations(tuple(Annotation(kind, "xmp", text) for kind, text in texts), **facts)


SAID = {
    "paris": said(
        (Kind.TAG, "Places > France > Paris"), (Kind.TAG, "Été"), (Kind.PERSON, "Ann Lee"), position=PARIS,
        camera="Canon EOS R5", lens="RF 24-105mm",
    ),
    "france": said((Kind.TAG, "places/FRANCE"), (Kind.CAPTION, "A dog by the sea."), camera="NIKON Z 6"),
    "iceland": said((Kind.TAG, "ete"), (Kind.PLACE, "Reykjavík"), position=REYKJAVIK),
    "fiji": said((Kind.PERSON, "Bob"), position=FIJI),
    "pole": said(position=POLE),
    "nothing": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters") / "library"
    with Store.writer(folder, create={"dim": 0, "fingerprint": "none", "model": "none"}) as writer:
        look, shape = FileLook(1, 2, 3), (1, 1, "JPEG", None, READING)
        writer.commit(
            Changes(
                stored=[
                    StoredFile(
                        f"/{name}.jpg".encode(), look, name.encode().ljust(32), *shape, annotations=annotations
                    )
                    for name, annotations in SAID.items()
                ]
            )
        )
        (nothing,) = [known.image_id for known in writer.known_files(b"/nothing.jpg")]
        writer.annotations.type([nothing], Kind.TAG, ["mine", "France/Nice"])
        yield writer


def passing(store, *where):
    page = store.page(list(where), order="added", after=None, offset=0, limit=99)
    assert page.n == len(page.pictures)
    return " ".join(os.path.basename(image.path).partition(".")[0] for image in page.pictures)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("tag = ÉTÉ", "paris iceland"),
        ("tag = places", "paris france"),
        ("tag = France", "paris france nothing"),
        ("tag = France/Paris", "paris"),
        ("tag = pa", ""),
        ("tag ~ par*", "paris"),
        ("tag ~ places/*/paris", "paris"),
        ("tag ~ e?e", "paris iceland"),
        ("tag != ete", "france fiji pole nothing"),
        ('tag = "mine"', "nothing"),
        ("person = ann lee", "paris"),
        ("person ~ b*", "fiji"),
        ("place = reykjavik", "iceland"),
        ("caption ~ *dog*", "france"),
        ("caption = a DOG by the sea.", "france"),
        ("caption = dog", ""),
        ("camera = canon eos r5", "paris"),
        ("camera ~ nikon*", "france"),
        ("camera != NIKON Z 6", "paris iceland fiji pole nothing"),
        ("lens ~ *24-105*", "paris"),
        ("has = tag", "paris france iceland nothing"),
        ("has != tag", "fiji pole"),
        ("has = position", "paris iceland fiji pole"),
        ("has = caption", "france"),
        ("has = words", "paris france iceland fiji nothing"),
        ("not has = words", "pole"),
        ("near = 48.85, 2.35, 5 km", "paris"),
        ("near = 48.85,2.35,3000", "paris iceland"),
        ("near = -18,-179.9,50", "fiji"),
        ("near = 89.9,60,50", "pole"),
        ("near = 0,0,20038", "paris iceland fiji pole"),
        ("not near = 0,0,20038", "france nothing"),
        ("tag = ete and not (person = ann lee or has = caption)", "iceland"),
    ],
)
def test_filter_passes_the_pictures_of_which_it_is_said(store, where, expected):
    assert passing(store, where) == expected
    assert passing(store, written(parse(where))) == expected


@pytest.mark.parametrize("kilometres", [100.0, 2_243.0, 9_000.0])
@pytest.mark.parametrize("place", [PARIS, REYKJAVIK, FIJI, POLE])
def test_circle_holds_what_is_as_near_whatever_the_box_around_it(store, place, kilometres):
    def distance(other):
        a, b = radians(place[0]), radians(other[0])
        chord = sin((a - b) / 2) ** 2 + cos(a) * cos(b) * sin(radians(place[1] - other[1]) / 2) ** 2
        return 2 * degrees(asin(chord**0.5)) * 111.19508

    expected = [name for name, of in SAID.items() if of and of.position and distance(of.position) <= kilometres]
    assert passing(store, f"near = {place[0]},{place[1]},{kilometres}").split() == expected


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("tag > a", "a tag is not more or less than another"),
        ("near ~ 1,2,3", "~ \\(glob\\) works on path"),
        ("near != 1,2,3", "a picture is near or not; ask by =, or by not near"),
        ("near = Paris", "expected latitude, longitude and kilometres, such as near = 48.86,2.35,10"),
        ("near = 91,0,1", "a latitude is at most 90 degrees"),
        ("has = dogs", "expected tag, caption, person, place, position or words"),
        ("has > tag", "a picture has it or not; ask by = or !="),
    ],
)
def test_filter_that_means_nothing_is_a_sentence(store, where, sentence):
    with pytest.raises(QueryError, match=sentence):
        store.condition([where])


@pytest.mark.parametrize("where", [[], ["has = position"]])
def test_tags_are_counted_as_their_filters_pass_them_and_spellings_together(store, where):
    tags = store.facets(where).tags
    assert [tag.n for tag in tags] == [len(passing(store, *where, *tag.where).split()) for tag in tags]
    labels = {"Places > France > Paris", "ete", "places/FRANCE", "France/Nice", "mine"}
    assert {tag.label for tag in tags} == (labels if not where else {"Places > France > Paris", "ete"})


def test_filter_by_a_tag_goes_by_the_index_of_tags(store):
    sql = store.compiled(store.condition(["tag = ete"]))
    plan = store.catalog.db.execute(f"EXPLAIN QUERY PLAN SELECT id FROM image WHERE {sql.sql}", sql.parameters)
    told = " ".join(row[3] for row in plan)
    assert "SEARCH annotation USING COVERING INDEX annotation_named (kind=? AND text=?)" in told
    assert "SCAN annotation" not in told


def test_filter_by_a_position_goes_by_the_index_of_latitudes(store):
    sql = store.compiled(store.condition(["near = 1,2,3"]))
    plan = store.catalog.db.execute(f"EXPLAIN QUERY PLAN SELECT id FROM image WHERE {sql.sql}", sql.parameters)
    assert "USING INDEX image_latitude" in " ".join(row[3] for row in plan)
