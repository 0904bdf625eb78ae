"""Films of all kinds, hostile ones among them: pictures with their times, or a sentence."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from mmsearch.errors import PictureError
from mmsearch.film import read
from mmsearch.film.read import open_film
from tests.films import RATE, film, photograph, shots
from tests.matroska import element, matroska, number
from tests.sound.recordings import encoded, music
from tests.tiers import tiered

SHOTS = shots("cat", "panda", "rocket", seconds=2.3)
TIMES = [(at, at in (2.3, 4.6)) for at in (0, 1, 2, 2.3, 3, 4, 4.6, 5, 6)]
MP4 = film(SHOTS, options={"g": "12", "bf": "2"})
INTRA = film(SHOTS, codec="mpeg4", options={"g": "1"})
FAST = shots("cat", "panda", "rocket", seconds=2.3, rate=25)
QUIET = {"x265-params": "log-level=error:pools=none:frame-threads=1"}


@pytest.fixture
def opened(tmp_path):
    """A function that opens the bytes of a file as a film."""

    @contextmanager
    def open_bytes(data, name="file", **options):
        (tmp_path / name).write_bytes(data)
        handle = os.open(tmp_path / name, os.O_RDONLY)
        try:
            with open_film(handle, **options) as film:
                yield film
        finally:
            os.close(handle)

    return open_bytes


@pytest.fixture
def sampled(opened):
    """A function that returns the samples of a film, its facts, and what was wrong with it."""

    def samples(data, *, start=0.0, **options):
        with opened(data, **options) as film:
            return list(film.samples(start)), film.facts, film.problem

    return samples


def times_of(frames):
    return [(round(at, 3), is_cut) for at, is_cut, _ in frames]


def needed_times(data):
    """The times of frames but those of type B, from where the film begins."""
    with av.open(io.BytesIO(data)) as file:
        frames = [(frame.time, frame.pict_type) for frame in file.decode(video=0)]
    return [time - frames[0][0] for time, kind in frames if kind != PictureType.B]


def pixels_of(frame):
    return np.asarray(Image.open(io.BytesIO(frame.picture)))


def mjpeg(times_ms, n_tracks=1):
    """A Matroska file of a picture at each time, all different."""
    track = number("83", 1) + element("86", b"V_MJPEG") + element("e0", number("b0", 32) + number("ba", 24))
    blocks = []
    for i, at in enumerate(times_ms):
        with io.BytesIO() as jpeg:
            Image.new("RGB", (32, 24), (5 * i % 256,) * 3).save(jpeg, "JPEG")
            blocks.append((at, jpeg.getvalue()))
    return matroska(track, blocks, n_tracks=n_tracks)


CODECS = {
    "mp4": ("mp4", "libx264", {"g": "12", "bf": "2"}, RATE),
    "many": ("mp4", "libx264", {"x264-params": "bframes=8:b-adapt=0:b-pyramid=none:scenecut=0"}, 25),
    "hevc": ("mov", "libx265", QUIET, RATE),
    "webm": ("webm", "libvpx-vp9", {}, RATE),
    "av1": ("matroska", "libsvtav1", {}, RATE),
    "divx": ("avi", "mpeg4", {"g": "12", "bf": "2"}, RATE),
    "avi": ("avi", "libx264", {"g": "12", "bf": "2"}, RATE),
    "camera": ("avi", "mpeg4", {"g": "12", "bf": "2"}, 25),
    "broadcast": ("mpegts", "libx264", {"g": "12", "bf": "2"}, RATE),
    "dvd": ("mpeg", "mpeg2video", {"bf": "2"}, 25),
    "program": ("mpeg", "libx264", {"g": "12", "bf": "2"}, 25),
    "flash": ("flv", "flv", {}, RATE),
    "windows": ("asf", "wmv2", {}, RATE),
}


@pytest.mark.parametrize("kind", tiered(list(CODECS), ["mp4", "many", "webm", "divx", "avi", "broadcast", "dvd"]))
def test_a_picture_a_second_and_the_first_of_each_shot_and_each_is_found_again(opened, sampled, kind):
    container, codec, options, rate = CODECS[kind]
    pictures = shots("cat", "panda", "rocket", seconds=2.3 if rate == RATE else 2.28, rate=rate)
    data = film(pictures, container=container, codec=codec, options=options, rate=rate)
    frames, facts, problem = sampled(data)
    expected = TIMES if rate == RATE else [({2.3: 2.28, 4.6: 4.56}.get(at, at), is_cut) for at, is_cut in TIMES]
    if kind == "dvd":  # no other frame needs those of type B, which are left out
        needed = needed_times(data)
        expected = [(min(time for time in needed if time > at - 0.001), is_cut) for at, is_cut in expected]
        assert 1 / rate < max(after - time for time, after in pairwise(needed)) < 0.14
    if kind == "many":  # eight of nine are left out until a second gap tells that these are too many
        expected[1] = 1.08, False
    assert [(pytest.approx(at, abs=0.03), is_cut) for at, is_cut in times_of(frames)] == expected
    assert (facts.width, facts.height, problem) == (160, 120, "")
    assert facts.seconds == pytest.approx(6.9, abs=0.5)
    assert np.abs(pixels_of(frames[4]).astype(float) - pictures[3 * rate]).mean() < 15
    for frame in frames:
        with opened(data) as again:
            assert again.frame_at(frame.at)[::2] == frame[::2]


def test_between_samples_the_picture_at_a_time_is_one_that_was_left_out_of_them(opened):
    pictures = shots("cat", "panda", seconds=2, rate=25)
    data = film(pictures, container="mpeg", codec="mpeg2video", options={"bf": "2"}, rate=25)
    assert 1.04 not in [round(time, 2) for time in needed_times(data)]
    with opened(data) as again:
        frame = again.frame_at(1.05)
    assert round(frame.at, 2) == 1.04
    assert np.abs(pixels_of(frame).astype(float) - pictures[26]).mean() < 15


@pytest.mark.full
def test_from_a_time_on_there_are_the_same_pictures_where_a_decoder_leaves_none_out_later(sampled):
    data = film(FAST, codec="libsvtav1", rate=25)
    whole, _, _ = sampled(data)
    for start in (0.5, 2.3, 3.0, 6.0):
        assert sampled(data, start=start)[0] == [frame for frame in whole if frame.at >= start]


@pytest.mark.parametrize("start", [0.5, 2.3, 3.0, 6.0])
def test_from_a_time_on_there_are_the_same_pictures_as_from_the_beginning(sampled, start):
    for data in (MP4, INTRA, film(FAST, rate=25, options={"g": "12", "bf": "2"})):
        whole, _, _ = sampled(data)
        assert sampled(data, start=start)[0] == [frame for frame in whole if frame.at >= start]
        assert sampled(data, start=20.0)[0] == []


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_upright_and_not_as_in_a_mirror(sampled, rotation, is_mirrored):
    (frame, *_), facts, _ = sampled(film(SHOTS[:2], rotation=rotation, is_mirrored=is_mirrored))
    upright = np.rot90(photograph("cat"), rotation // 90)
    upright = np.fliplr(upright) if is_mirrored else upright
    assert (facts.height, facts.width) == upright.shape[:2] == pixels_of(frame).shape[:2]
    assert np.abs(pixels_of(frame).astype(float) - upright).mean() < 15


def test_pixels_become_square(sampled):
    (frame,), facts, _ = sampled(film(SHOTS[:2], sample_aspect_ratio=Fraction(4, 3)))
    assert (facts.width, facts.height) == (213, 120)
    assert pixels_of(frame).shape == (120, 213, 3)


def test_large_pictures_become_smaller_and_no_picture_larger(sampled):
    (frame,), facts, _ = sampled(film([photograph("cat", 960, 640)]))
    assert (facts.width, facts.height, pixels_of(frame).shape) == (960, 640, (480, 720, 3))


def test_times_are_those_of_presentation_however_many_frames_there_are(opened, sampled):
    data = film(SHOTS[:6], times=[0, 0.1, 0.2, 7.5, 7.6, 30.2])
    assert [at for at, _ in times_of(sampled(data)[0])] == [0, 7.5, 30.2]
    for at, expected in [(0.15, 0.1), (7.4, 0.2), (20, 7.6), (30.2, 30.2), (31, 30.2)]:
        with opened(data) as film_again:
            assert film_again.frame_at(at).at == pytest.approx(expected)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_a_film_begins_at_zero_whatever_its_file_says(sampled, container):
    frames, facts, _ = sampled(film(SHOTS, container=container, times=[5 + i / RATE for i in range(len(SHOTS))]))
    assert times_of(frames) == TIMES
    assert facts.seconds == pytest.approx(6.9, abs=0.15)


def test_a_film_of_one_picture_is_one(opened, sampled):
    data = film(SHOTS[:1])
    assert times_of(sampled(data)[0]) == [(0, False)]
    with opened(data) as film_again:
        assert film_again.frame_at(1.0).at == 0


def test_a_picture_near_the_end_of_an_avi_which_tells_no_times_there_is_found(opened):
    data = film(
        shots("cat", "panda", "rocket", "coffee", seconds=2.3),
        container="avi",
        codec="mpeg4",
        options={"g": "12", "bf": "2"},
    )
    with opened(data) as film_again:
        assert film_again.frame_at(9.0).at == 9


def test_behind_the_end_there_is_no_picture(opened):
    with opened(MP4) as film_again, pytest.raises(PictureError, match="it ends before") as caught:
        film_again.frame_at(8.5)
    assert caught.value.code == "no_picture"
    with opened(MP4) as film_again:
        assert film_again.frame_at(7.7).at == pytest.approx(6.8)


def test_interlaced_films_are_read(opened, sampled):
    data = film(shots("cat", seconds=1, rate=25), rate=25, options={"x264-params": "tff=1"})
    assert sampled(data)[1].height == 120
    with opened(data) as film_again:
        assert next(film_again._decoded()).interlaced_frame
    assert times_of(sampled(data)[0]) == [(0, False)]


def test_the_facts_of_a_film_are_what_it_says(sampled):
    metadata = {"creation_time": "2023-05-01T12:00:00.000000Z"}
    facts = sampled(film(SHOTS[:2], sound=music(1, 1.0), metadata=metadata, color_trc=16))[1]
    assert facts == (pytest.approx(1.0, abs=0.1), 160, 120, "MP4", "h264", "PQ", "2023-05-01T12:00:00", True)
    silent = film(SHOTS[:2], container="mov", codec="libx264", color_trc=18)
    assert sampled(silent)[1][3:] == ("MOV", "h264", "HLG", None, False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("1904-01-01T00:00:00Z", None), ("1970-01-01T00:00:00Z", None), ("2101-01-01T00:00:00Z", None)],
)
def test_dates_of_clocks_that_were_never_set_are_none(sampled, said, expected):
    assert sampled(film(SHOTS[:1], container="matroska", metadata={"creation_time": said}))[1].taken_at is expected


def test_a_file_that_says_no_length_has_none(sampled):
    frames, facts, problem = sampled(mjpeg([0, 500, 1000, 2500]))
    assert (times_of(frames), problem) == ([(0, False), (1, False), (2.5, False)], "")
    assert facts.seconds is None


def test_a_recording_of_sound_and_a_cover_picture_are_no_films(opened):
    with pytest.raises(PictureError, match="there are no pictures") as caught, opened(encoded(music(1, 1.0))):
        pass
    assert caught.value.code == "no_picture"
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as file:
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame(32, 24, "yuvj420p")))
        file.mux(cover.encode(None))
    with pytest.raises(PictureError, match="a cover picture") as caught, opened(written.getvalue()):
        pass
    assert caught.value.code == "no_picture"


NOT_FILMS = {
    "empty.mp4": b"",
    "header.mp4": MP4[:40],
    "cut.mp4": MP4[: len(MP4) // 2],
    "text.mp4": b"This is a text, and nothing else. " * 200,
    "concat.mp4": b"ffconcat version 1.0\nfile 'other.mp4'\n",
    "list.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://%b/other.mp4\n#EXT-X-ENDLIST\n",
    "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9999 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", NOT_FILMS)
def test_what_is_no_film_is_refused_and_opens_no_other_file(opened, tmp_path, name):
    (tmp_path / "other.mp4").write_bytes(MP4)
    data = NOT_FILMS[name].replace(b"%b", os.fsencode(tmp_path))
    with pytest.raises(PictureError) as caught, opened(data, name):
        pass
    assert caught.value.code == "not_a_film"


@pytest.mark.parametrize(
    ("container", "options"), [("matroska", {}), ("mp4", {"movflags": "faststart"}), ("mpegts", {}), ("avi", {})]
)
def test_a_film_that_is_cut_short_gives_what_is_there(sampled, container, options):
    data = film(SHOTS, container=container, codec="mpeg4", file_options=options)
    frames, _, problem = sampled(data[: len(data) * 2 // 3])
    assert len(frames) >= 3
    assert times_of(frames) == TIMES[: len(frames)]
    assert "cut short" in problem or container == "mpegts"


def test_damage_in_the_middle_is_left_out_and_said(sampled):
    data = bytearray(MP4)
    for at in np.random.default_rng(0).integers(len(data) // 3, len(data) // 2, 300):
        data[at] ^= 0xFF
    frames, _, problem = sampled(bytes(data))
    assert times_of(frames)[0] == (0, False)
    assert frames[-1].at == 6
    assert "damaged" in problem


def test_a_film_that_is_damaged_all_over_is_an_error(opened):
    data = bytearray(MP4)
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    with pytest.raises(PictureError, match="nothing on it can be decoded") as caught, opened(bytes(data)):
        pass
    assert caught.value.code == "corrupt"


def test_damage_where_little_memory_is_left_is_no_fault_of_the_film(sampled, monkeypatch):
    data = bytearray(MP4)
    for at in np.random.default_rng(0).integers(len(data) // 3, len(data) // 2, 300):
        data[at] ^= 0xFF
    monkeypatch.setattr(read, "memory_left", lambda: 1 << 20)
    with pytest.raises(MemoryError):
        sampled(bytes(data))


def test_times_that_leap_or_go_back_neither_end_the_film_nor_mix_its_order(opened, sampled):
    data = mjpeg([0, 100, 40_000_000, 200, 300, 90_000_000, 1000, 1100, 900, 1200, 2000])
    frames, _, problem = sampled(data)
    assert [at for at, _ in times_of(frames)] == [0, 1, 2]
    assert "leap" in problem
    for frame in frames:
        with opened(data) as film_again:
            assert film_again.frame_at(frame.at) == frame


def test_of_a_film_longer_than_a_day_the_first_day_is_kept(sampled):
    frames, _, problem = sampled(mjpeg([1000 * at for at in (0, 3600, 86_399, 86_400, 86_401, 90_000)]))
    assert [at for at, _ in times_of(frames)] == [0, 3600, 86_399, 86_400]
    assert "24 hours" in problem


def test_stretches_are_told_while_no_picture_is_wanted_of_them(opened):
    told = []
    with opened(mjpeg(range(0, 60_000, 2500)), on_stretch=told.append) as film_again:
        assert film_again.frame_at(45).at == 45
    assert told == sorted(told)
    assert told[-1] == 4


def test_a_file_of_ten_thousand_streams_is_read_by_its_first(sampled):
    frames, _, problem = sampled(mjpeg([0, 1000, 2000], n_tracks=10_000))
    assert (len(frames), problem) == (3, "")


def test_of_a_thousand_frames_a_second_few_are_looked_at(sampled, monkeypatch):
    n_looked, real = 0, read.cuts.colours_of

    def colours_of(picture):
        nonlocal n_looked
        n_looked += 1
        return real(picture)

    monkeypatch.setattr(read.cuts, "colours_of", colours_of)
    frames, _, _ = sampled(mjpeg(range(2000)))
    assert (len(frames), n_looked < 140) == (2, True)


def test_the_size_of_pictures_is_limited_where_a_film_begins_and_where_it_changes(opened, sampled, monkeypatch):
    parts = [film(shots("cat", seconds=2, size=size), container="mpegts") for size in [(96, 72), (160, 120)]]
    assert sampled(parts[0] + parts[1])[1][1:3] == (96, 72)
    monkeypatch.setattr(read, "MOST_PIXELS", 10_000)
    with pytest.raises(PictureError, match="160 x 120") as caught, opened(MP4):
        pass
    assert caught.value.code == "too_large"
    with pytest.raises(PictureError, match="160 x 120"):
        sampled(parts[0] + parts[1])


KEY = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
ENCRYPTED = film(SHOTS[:5], file_options=KEY | {"encryption_kid": "a7e61c373e219033c21091fa607bf3b8"})


@pytest.mark.parametrize("data", [ENCRYPTED, MP4.replace(b"avc1", b"drmi")], ids=["cenc", "drmi"])
def test_encrypted_films_are_named_as_such(opened, data):
    with pytest.raises(PictureError, match="encrypted") as caught, opened(data):
        pass
    assert caught.value.code == "unsupported"


def test_pictures_that_nothing_can_decode_are_named_as_such(opened):
    data = MP4.replace(b"avc1", b"abcd")
    with pytest.raises(PictureError, match="of a kind that FFmpeg cannot decode") as caught, opened(data):
        pass
    assert caught.value.code == "unsupported"
