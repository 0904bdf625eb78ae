from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from mmsearch.faces.describe import find_faces
from mmsearch.faces.packing import DIM
from tests.faces.conftest import FACE
from tests.faces.test_detect import overlap

PEOPLE = Path(os.environ.get("MMSEARCH_TEST_DATA", "/nonexistent")) / "orl-faces" / "images"


def only_face(image):
    (face,) = find_faces(np.asarray(image)).faces
    return face


def test_a_face_has_a_box_a_vector_and_what_says_how_well_it_is_seen(face, portrait):
    left, top, right, bottom = face.box
    assert overlap((left, top * 300 / 512, right, bottom * 300 / 512), FACE) > 0.7
    assert face.vector.shape == (DIM,)
    assert face.vector.dtype == np.float32
    assert 1.2 < np.linalg.norm(face.vector) < 1.6
    assert face.size == pytest.approx(86, abs=10)
    assert 0.4 < face.quality < face.frontality <= 1


def test_the_same_face_mirrored_or_smaller_is_nearer_than_people_are(face, portrait):
    mirrored, smaller = only_face(ImageOps.mirror(portrait)), only_face(portrait.resize((256, 150)))
    assert np.linalg.norm(face.vector - mirrored.vector) < 0.4
    assert np.linalg.norm(face.vector - smaller.vector) < 0.4
    assert smaller.size == pytest.approx(face.size / 2, abs=4)
    assert smaller.quality < face.quality


def test_a_blurred_face_is_less_sharp_and_as_frontal(face, portrait):
    blurred = only_face(portrait.filter(ImageFilter.GaussianBlur(2)))
    assert blurred.sharpness < face.sharpness / 2
    assert blurred.frontality == pytest.approx(face.frontality, abs=0.1)


def test_the_same_pixels_have_the_same_vector(face, portrait):
    np.testing.assert_array_equal(only_face(portrait).vector, face.vector)


def test_the_size_of_a_face_is_that_in_the_original(portrait):
    half = portrait.resize((256, 150))
    (face,) = find_faces(np.asarray(half), original_size=portrait.size).faces
    assert face.size == pytest.approx(86, abs=10)


def test_a_box_past_the_border_ends_there(portrait):
    face = only_face(portrait.crop((182, 20, 360, 280)))
    assert face.box[0] == 0
    assert np.isfinite(face.vector).all()


def test_faces_that_are_too_small_are_counted_and_not_described(portrait):
    tiny = portrait.crop((148, 52, 298, 202)).resize((24, 24), Image.Resampling.BICUBIC)
    assert find_faces(np.asarray(tiny)) == ((), 1)


def test_a_picture_without_faces_has_none():
    assert find_faces(np.full((300, 400, 3), 128, np.uint8)) == ((), 0)


@pytest.mark.full
@pytest.mark.data
@pytest.mark.skipif(not PEOPLE.is_dir(), reason="MMSEARCH_TEST_DATA names no picture sets")
def test_the_nearest_face_is_of_the_same_person():
    vectors, people = [], []
    for path in sorted(PEOPLE.glob("0[1-8]/*.pgm")):
        with Image.open(path) as image:
            faces = find_faces(np.asarray(image.convert("RGB"))).faces
        if faces:
            vectors.append(max(faces, key=lambda face: face.size).vector)
            people.append(path.parent.name)
    distances = np.linalg.norm(np.array(vectors)[:, None] - np.array(vectors), axis=2)
    np.fill_diagonal(distances, np.inf)
    is_right = np.array(people)[distances.argmin(axis=1)] == np.array(people)
    assert len(vectors) >= 0.95 * 80
    assert is_right.mean() >= 0.97
