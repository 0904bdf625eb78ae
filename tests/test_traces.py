"""Traces know a file and its copies again, and take no other picture for one."""

from __future__ import annotations

import io
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from mmsearch.images.copies import small_square
from mmsearch.samples import sample_folder
from mmsearch.traces import SIDE, TRACE_BYTES, copy_pairs, known_again, no_traces, traces_of


def traces(files):
    digests = np.stack([np.frombuffer(sha256(data).digest(), dtype=np.uint8) for data in files])
    return traces_of(digests, np.stack([small_square(data, SIDE) for data in files]))


def compressed(data, *, quality=70, share=0.75):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    small = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photographs():
    return [path.read_bytes() for path in sorted(sample_folder().glob("*.jpg"))]


def test_copies_are_known_again_and_are_not_the_same_bytes(photographs):
    same_bytes, copied = known_again(traces([compressed(data) for data in photographs]), traces(photographs))
    assert not same_bytes.any()
    assert copied.all()


def test_the_same_files_are_known_by_their_bytes(photographs):
    same_bytes, copied = known_again(traces(photographs), traces(photographs[::2]))
    assert same_bytes.tolist() == [row % 2 == 0 for row in range(len(photographs))]
    assert not copied.any()


def test_each_copy_goes_with_its_own_original_alone(photographs):
    n = len(photographs)
    seen = traces([*photographs, *map(compressed, photographs)])
    assert sorted(set(copy_pairs(seen))) == [(row, n + row) for row in range(n)]


def test_a_cut_or_a_mirrored_picture_is_no_copy(photographs):
    changed = []
    for data in photographs[:8]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for other in (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.crop((40, 0, *image.size))):
            other.save(buffer := io.BytesIO(), "PNG")
            changed.append(buffer.getvalue())
    assert not np.any(known_again(traces(changed), traces(photographs)))


def drawn(colour, ground):
    picture = Image.new("RGB", (64, 64), ground)
    picture.paste(colour, (8, 8, 40, 40))
    picture.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def test_pictures_of_one_shape_in_other_colours_are_not_copies():
    grey = (90, 90, 90)
    seen = traces([drawn((200, 60, 60), grey), drawn((60, 130, 60), grey), drawn(grey, (200, 60, 60))])
    assert copy_pairs(seen) == []


def test_pictures_without_contrast_are_copies_by_their_bytes_alone():
    plain = [drawn((90, 90, 90), (90, 90, 90)), drawn((91, 90, 90), (91, 90, 90))]
    assert copy_pairs(traces([*plain, plain[0]])) == [(0, 2)]


def test_what_could_not_be_read_is_like_nothing():
    unread = np.zeros((2, TRACE_BYTES), dtype=np.uint8)
    assert copy_pairs(unread) == []
    assert not np.any(known_again(unread, unread))
    assert [part.tolist() for part in known_again(unread, no_traces())] == [[False, False]] * 2
    assert [part.tolist() for part in known_again(no_traces(), unread)] == [[], []]
