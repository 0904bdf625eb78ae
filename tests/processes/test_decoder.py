"""Pictures are decoded apart: the same values, within limits of memory and time, whatever ends the process."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import EncoderError, PictureError, VectorError
from mmsearch.faces.packing import unpacked_faces
from mmsearch.images import decode, decode_grey, part_of_picture, photo_facts
from mmsearch.images.copies import thumbnail
from mmsearch.ingest.worker import Job, embed_files
from mmsearch.local.extractors import DEFAULT
from mmsearch.processes import asked, decode_worker
from mmsearch.processes import decoder as decoders
from mmsearch.processes import process as worker_process
from mmsearch.processes.decoder import IndexedFile, Limits, PictureDecoder, UndescribedFacesError
from mmsearch.records import Preprocessing
from mmsearch.samples import sample_folder
from tests import pictures

TOWER = Preprocessing((64, 48), 64)
CAT = (sample_folder() / "cat.jpg").read_bytes()
SLOW = pictures.progressive(1_500, n_scans=400)


@pytest.fixture(scope="module")
def shared():
    """A decoder that no test ends the process of."""
    decoder = PictureDecoder()
    yield decoder
    decoder.close()


@pytest.fixture
def decoder():
    made = PictureDecoder()
    yield made
    made.close()


def id_of(decoder):
    return decoder._process._process.pid


def peak_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def signalling(number, times=1):
    """A decoder whose process gets a signal while it decodes, and the next ones, so many of them."""
    signalled = set()

    def check():
        if made._process.is_ready and len(signalled | {id_of(made)}) <= times:
            signalled.add(id_of(made))
            os.kill(id_of(made), number)

    made = PictureDecoder(check)
    return made


# -- the same values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(pictures.ACCEPTED))
def test_pixels_are_those_of_decoding_here(shared, name):
    data = pictures.accepted()[name]
    np.testing.assert_array_equal(shared.pixels(data, TOWER), decode(data, TOWER).pixels)


@pytest.mark.parametrize("box", [None, (10.4, 20, 200, 180)])
def test_features_and_parts_are_those_of_looking_here(shared, box):
    part = CAT if box is None else part_of_picture(CAT, box)
    np.testing.assert_array_equal(shared.pixels(CAT, TOWER, box=box), decode(part, TOWER).pixels)
    picture = decode_grey(part, longer_side=DEFAULT.longer_side)
    expected = DEFAULT.extract(picture.pixels, original_size=(picture.width, picture.height))
    features = shared.local_features(CAT, DEFAULT, box=box)
    for field in ("positions", "scales", "angles", "descriptors", "size", "original_size"):
        np.testing.assert_array_equal(getattr(features, field), getattr(expected, field))


def test_picture_without_corners_has_no_features(shared):
    features = shared.local_features(pictures.flat_png(300), DEFAULT)
    assert (len(features), features.descriptors.shape) == (0, (0, 128))


def test_thumbnail_is_that_made_here(shared):
    assert shared.thumbnail(CAT, 160) == thumbnail(CAT, 160)


def test_faces_are_those_found_where_pictures_are_indexed(shared):
    path = sample_folder() / "astronaut.jpg"
    ((facts,), _, _) = embed_files([os.fsencode(path)], None, job=Job(embeds=False, faces=True))
    packed = shared.faces(path.read_bytes())
    assert packed.hex() == facts["faces"]
    assert len(unpacked_faces(packed)[0]) > 0


@pytest.mark.parametrize("error", [RuntimeError("not this"), VectorError("not finite"), EncoderError("damaged")])
def test_faces_that_cannot_be_described_are_no_fault_of_the_picture(monkeypatch, error):
    def describe(*_, **__):
        raise error

    monkeypatch.setattr(decode_worker, "find_faces", describe)
    request = {"file": None, "task": {"wanted": "faces"}, "max_megapixels": 64, "box": None}
    assert decode_worker.answer(request, CAT) == ({"problem": f"its faces cannot be described: {error}"}, b"")


def test_faces_that_cannot_be_described_are_told_from_a_picture_that_cannot_be_decoded(monkeypatch):
    monkeypatch.setattr(PictureDecoder, "_answer", lambda *_: ({"problem": "its faces cannot be described"}, b""))
    with pytest.raises(UndescribedFacesError, match="its faces cannot be described"):
        PictureDecoder().faces(CAT)


def test_facts_of_a_photograph_are_those_read_here(shared):
    exif = Image.Exif()
    exif[0x0110] = "X-T3"
    data = pictures.saved(pictures.photo(), "JPEG", exif=exif)
    assert shared.photo_facts(data) == photo_facts(data) == {"camera": "X-T3"}


@pytest.mark.parametrize("name", sorted(pictures.REJECTED))
def test_what_is_wrong_with_a_picture_is_said_as_here(shared, name):
    data, code = pictures.rejected()[name]
    with pytest.raises(PictureError) as here:
        decode(data, TOWER)
    with pytest.raises(PictureError) as apart:
        shared.pixels(data, TOWER)
    assert (apart.value.code, str(apart.value)) == (here.value.code, str(here.value)) == (code, str(here.value))


def test_indexed_file_is_read_there_if_it_is_what_was_indexed(shared, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff cat.jpg")
    path.write_bytes(CAT)
    file = IndexedFile(os.fsencode(path), sha256(CAT).digest())
    np.testing.assert_array_equal(shared.pixels(file, TOWER), decode(CAT, TOWER).pixels)
    with pytest.raises(PictureError, match="not what was indexed any more") as raised:
        shared.pixels(replace(file, content_hash=sha256(b"").digest()), TOWER)
    assert raised.value.code == "changed"


# -- limits --------------------------------------------------------------------------------------------


def test_picture_that_needs_too_much_memory_costs_the_process_alone(decoder):
    before = peak_mb()
    with pytest.raises(PictureError, match=r"needs more memory than it may take \(40 MB\)") as raised:
        decoder.pixels(pictures.flat_png(7_000), TOWER, limits=Limits(memory=40 << 20))
    assert raised.value.code == "out_of_memory"
    assert peak_mb() < before + 20
    assert decoder.pixels(CAT, TOWER).shape == (64, 48, 3)
    assert decoder.pixels(pictures.flat_png(7_000), TOWER).shape == (64, 48, 3)


def test_picture_of_ones_own_may_take_what_indexing_it_may():
    assert Limits().memory < 512 << 20
    assert Limits.of_own(64) == Limits(64, 1 << 30)
    assert Limits.of_own(200).memory == 16 * 200_000_000


def test_picture_that_takes_too_long_is_given_up(decoder, monkeypatch):
    monkeypatch.setattr(decoders, "COMPUTING_S", 0.1)
    for look in (partial(decoder.pixels, preprocessing=TOWER), decoder.faces):
        with pytest.raises(PictureError, match=r"took longer than 0.1 s of computing") as raised:
            look(SLOW)
        assert raised.value.code == "timeout"
    monkeypatch.undo()
    assert decoder.pixels(CAT, TOWER).shape == (64, 48, 3)


def test_faces_that_take_too_long_are_given_up_after_the_picture_was_decoded(shared, monkeypatch):
    monkeypatch.setattr(decoders, "FACES_COMPUTING_S", -1.0)
    with pytest.raises(PictureError, match=r"took longer than -1 s of computing"):
        shared.faces((sample_folder() / "astronaut.jpg").read_bytes())


def test_process_that_says_nothing_is_given_up_by_the_clock(monkeypatch):
    monkeypatch.setattr(decoders, "WAITING_S", 0.5)
    decoder = signalling(signal.SIGSTOP)
    with pytest.raises(PictureError, match=r"took longer than 0.5 s") as raised:
        decoder.pixels(SLOW, TOWER)
    assert raised.value.code == "timeout"
    decoder.close()


def test_picture_that_crashes_the_process_is_given_up_and_the_next_gets_another():
    decoder = signalling(signal.SIGSEGV)
    with pytest.raises(PictureError, match=r"decoding this picture ended the worker \(signal 11\)") as raised:
        decoder.pixels(SLOW, TOWER)
    assert raised.value.code == "quarantined"
    assert decoder.pixels(CAT, TOWER).shape == (64, 48, 3)
    decoder.close()


def test_process_killed_from_outside_is_not_held_against_the_picture():
    decoder = signalling(signal.SIGKILL)
    assert decoder.pixels(SLOW, TOWER).shape == (64, 48, 3)
    decoder.close()
    decoder = signalling(signal.SIGKILL, times=2)
    with pytest.raises(PictureError, match="had its worker ended from outside") as raised:
        decoder.pixels(SLOW, TOWER)
    assert raised.value.code == "killed"
    decoder.close()


# -- its life ------------------------------------------------------------------------------------------


def test_what_the_check_raises_ends_the_decoding():
    asked = []

    def check():
        asked.append(id_of(decoder))
        raise KeyboardInterrupt

    decoder = PictureDecoder(check)
    with pytest.raises(KeyboardInterrupt):
        decoder.pixels(SLOW, TOWER)
    with pytest.raises(ProcessLookupError):
        os.kill(asked[0], 0)


def test_one_process_serves_until_the_decoder_is_closed_or_forgotten(decoder):
    decoder.pixels(CAT, TOWER)
    first = id_of(decoder)
    decoder.local_features(CAT, DEFAULT)
    assert id_of(decoder) == first
    decoder.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    forgotten = PictureDecoder()
    forgotten.pixels(CAT, TOWER)
    second, alive = id_of(forgotten), weakref.ref(forgotten)
    del forgotten
    gc.collect()
    assert alive() is None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_decoder_goes_on_after_the_thread_that_used_it_has_ended(decoder):
    thread = threading.Thread(target=lambda: decoder.pixels(CAT, TOWER))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(decoder.pixels(CAT, TOWER), decode(CAT, TOWER).pixels)


def test_process_that_cannot_be_started_is_no_fault_of_the_picture(decoder, monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(worker_process, "PROGRAM", broken)
    with pytest.raises(EncoderError, match=r"no worker could be started.*\(exit code 3\)"):
        decoder.pixels(CAT, TOWER)
    monkeypatch.setattr(asked, "WorkerProcess", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "too many")))
    with pytest.raises(EncoderError, match="no worker could be started"):
        decoder.pixels(CAT, TOWER)
