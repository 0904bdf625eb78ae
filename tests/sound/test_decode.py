"""Sound of all kinds of files, hostile ones among them: heard, kept in part, or refused in a sentence."""

from __future__ import annotations

import os
import struct
import wave
from contextlib import contextmanager

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from mmsearch.errors import SoundError
from mmsearch.sound.decode import Hearing, samples_of
from mmsearch.sound.spectrogram import RATE as HEARD_RATE
from tests.matroska import element, matroska, number
from tests.sound.recordings import RATE, encoded, music

MUSIC = music(1, 6.0)
MP4 = encoded(MUSIC, "mp4", "aac")
FLAC = encoded(MUSIC)
MP3 = encoded(MUSIC, "mp3", "libmp3lame")


@pytest.fixture
def hear(tmp_path):
    """A function that returns the samples of a file and what was wrong with it."""

    def heard(data, name="file", **wanted):
        (tmp_path / name).write_bytes(data)
        with descriptor(tmp_path / name) as handle:
            hearing = Hearing()
            return np.concatenate(list(samples_of(handle, hearing, **wanted))), hearing.problem

    return heard


@contextmanager
def descriptor(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def likeness(first, second):
    """The cosine of two stretches of sound."""
    n = min(len(first), len(second))
    return float(first[:n] @ second[:n] / np.linalg.norm(first[:n]) / np.linalg.norm(second[:n]))


def spectrum(samples):
    return np.abs(np.fft.rfft(samples[: 4 * HEARD_RATE]))


EIGHT = encoded(np.tile(MUSIC, (8, 1)), layout="7.1")
FAST = encoded(np.repeat(MUSIC, 12), rate=192_000)


@pytest.mark.parametrize(
    "data",
    [FLAC, MP3, MP4, encoded(MUSIC, "matroska", "aac"), encoded(np.repeat(MUSIC, 3), "ogg", "libopus", rate=48_000),
     encoded(MUSIC, "wav", "pcm_s16le"), EIGHT, FAST],
    ids=["flac", "mp3", "mp4", "matroska", "opus", "wav", "8 channels", "192 kHz"],
)  # fmt: skip
def test_all_kinds_of_files_sound_alike(hear, data):
    samples, problem = hear(data)
    assert (samples.dtype, problem) == (np.float32, "")
    assert abs(len(samples) / HEARD_RATE - 6) < 0.2
    expected = resample_poly(MUSIC, HEARD_RATE, RATE)
    assert likeness(spectrum(samples), spectrum(expected)) > 0.9


@pytest.mark.parametrize("data", [FLAC, MP4, MP3], ids=["flac", "mp4", "mp3"])
def test_a_part_of_a_file_is_what_is_there_in_the_whole(hear, data):
    whole, _ = hear(data)
    part, _ = hear(data, start=2.5, seconds=2.0)
    assert len(part) == 2 * HEARD_RATE
    there = whole[round(2.5 * HEARD_RATE) :][: len(part)]
    if data is MP3:  # which tells times to a few hundredths of a second
        assert likeness(spectrum(part), spectrum(there)) > 0.9
    else:
        assert likeness(part[800:], there[800:]) > 0.99


def test_what_was_played_too_fast_comes_out_slower(hear):
    samples, _ = hear(FLAC, speed=1.03)
    assert len(samples) == pytest.approx(1.03 * 6 * HEARD_RATE, rel=1e-3)


def test_a_file_that_is_cut_short_gives_what_is_there(hear):
    samples, problem = hear(FLAC[: len(FLAC) // 2])
    assert 2 < len(samples) / HEARD_RATE < 4
    assert "cut short" in problem


@pytest.mark.parametrize("kind", [("wav", "pcm_s16le"), ("aiff", "pcm_s16be"), ("au", "pcm_s16be")], ids="-".join)
def test_a_file_that_says_itself_that_it_was_longer_is_cut_short(hear, kind):
    data = encoded(MUSIC, *kind)
    samples, problem = hear(data[: len(data) // 2])
    assert (len(samples) / HEARD_RATE, problem[:15]) == (pytest.approx(3, abs=0.1), "it is cut short")
    assert hear(data)[1] == hear(data, seconds=2.0)[1] == ""


@pytest.mark.parametrize("said", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_of_a_program_that_did_not_know_its_end_is_whole(hear, said):
    data = encoded(MUSIC, "wav", "pcm_s16le")
    at = data.index(b"data") + 4
    samples, problem = hear(
        b"RIFF" + struct.pack("<I", said) + data[8:at] + struct.pack("<I", said) + data[at + 4 :]
    )
    assert (len(samples) / HEARD_RATE, problem) == (pytest.approx(6, abs=0.1), "")


def test_damage_in_the_middle_is_left_out_and_said(hear):
    data = bytearray(MP3)
    for at in np.random.default_rng(0).integers(2000, len(data), 60):
        data[at] ^= 0xFF
    samples, problem = hear(bytes(data))
    assert len(samples) > 4 * HEARD_RATE
    assert "damaged" in problem


NOT_SOUND = {
    "empty.mp3": b"",
    "header.flac": FLAC[:60],
    "header.mp4": MP4[:40],
    "cut.mp4": MP4[: len(MP4) // 2],
    "text.mp3": b"This is a text, and nothing else. " * 200,
    "concat.mp4": b"ffconcat version 1.0\nfile 'other.mp4'\n",
    "list.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://%b/other.mp4\n#EXT-X-ENDLIST\n",
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9999 RTP/AVP 0\n",
    "subtitles.srt": b"1\n00:00:01,000 --> 00:00:04,000\nHello there\n\n" * 20,
}


@pytest.mark.parametrize("name", NOT_SOUND)
def test_what_is_no_sound_is_refused_and_opens_no_other_file(hear, tmp_path, name):
    (tmp_path / "other.mp4").write_bytes(MP4)
    with pytest.raises(SoundError, match=r"no recording and no film|the file is empty") as caught:
        hear(NOT_SOUND[name].replace(b"%b", os.fsencode(tmp_path)), name)
    assert caught.value.code == "not_a_sound"


def test_the_other_file_would_have_been_opened_without_the_lists(tmp_path):
    (tmp_path / "other.mp4").write_bytes(MP4)
    (tmp_path / "concat.mp4").write_bytes(NOT_SOUND["concat.mp4"])
    with av.open(tmp_path / "concat.mp4") as opened:
        assert opened.streams.audio


@pytest.mark.parametrize("kind", [b"enca", b"drms"])
def test_encrypted_sound_is_named_as_such(hear, kind):
    with pytest.raises(SoundError, match="encrypted") as caught:
        hear(MP4.replace(b"mp4a", kind, 1))
    assert caught.value.code == "protected"


@pytest.mark.parametrize("n_channels", [9, 64, 65])
def test_more_channels_than_can_be_mixed_are_refused(hear, tmp_path, n_channels):
    with wave.open(str(tmp_path / "many.wav"), "wb") as file:
        file.setnchannels(n_channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000 * n_channels))
    with pytest.raises(SoundError, match="channels") as caught:
        hear((tmp_path / "many.wav").read_bytes())
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("data", [FLAC, MP4, encoded(MUSIC, "wav", "pcm_s16le")], ids=["flac", "mp4", "wav"])
def test_behind_the_end_of_a_file_nothing_is_heard(hear, data):
    for start in (7.0, 86_400.0):
        samples, problem = hear(data, start=start, seconds=4.0)
        assert (len(samples), problem) == (0, "")


def film(path, *, n_streams=1, codec="libx264"):
    with av.open(path, "w") as file:
        streams = [file.add_stream(codec, rate=5) for _ in range(n_streams)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(2):
                file.mux(stream.encode(av.VideoFrame(32, 32, stream.pix_fmt)))
            file.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"], ids=["film", "cover"])
def test_a_file_of_pictures_alone_has_no_sound(hear, tmp_path, codec):
    with pytest.raises(SoundError, match="no sound in this file"):
        hear(film(tmp_path / "film.mkv", codec=codec))


def pcm(n_tracks):
    """A Matroska file of so many sound tracks, on the first of which there are 5 s."""
    audio = element("e1", element("b5", struct.pack(">d", 8000)) + number("9f", 1) + number("6264", 16))
    sound = (8000 * resample_poly(MUSIC, HEARD_RATE, RATE)).astype("<i2").tobytes()
    blocks = [(1000 * i, sound[16_000 * i : 16_000 * (i + 1)]) for i in range(5)]
    return matroska(number("83", 2) + element("86", b"A_PCM/INT/LIT") + audio, blocks, n_tracks=n_tracks)


def test_a_file_of_ten_thousand_streams_is_heard_by_its_first(hear):
    samples, problem = hear(pcm(10_000))
    assert (len(samples), problem) == (5 * HEARD_RATE, "")


def test_a_film_is_heard_whatever_comes_first_in_it(hear, tmp_path):
    with av.open(tmp_path / "film.mp4", "w") as file:
        pictures, sound = file.add_stream("libx264", rate=5), file.add_stream("aac", rate=RATE, layout="mono")
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        for _ in range(10):
            file.mux(pictures.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(MUSIC[None], "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler("fltp", "mono", RATE, frame_size=1024)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(sound.encode(each))
        file.mux(sound.encode(None))
    samples, problem = hear((tmp_path / "film.mp4").read_bytes())
    assert (len(samples) / HEARD_RATE, problem) == (pytest.approx(6, abs=0.2), "")
