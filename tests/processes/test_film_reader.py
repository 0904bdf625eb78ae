"""What reads films apart: it gives what reading here gives, notices changes, keeps to its limits, and ends well."""

from __future__ import annotations

import io
import json
import os
import signal
from hashlib import sha256

import numpy as np
import pytest

from mmsearch.errors import PictureError, QueryError
from mmsearch.film.read import open_film
from mmsearch.processes import film_reader, film_worker
from mmsearch.processes.film_reader import FilmReader
from mmsearch.records import FileLook
from tests.films import film, shots

MP4 = film(shots("cat", "panda", seconds=2.3))


@pytest.fixture(scope="module")
def reader():
    """A process that reads films."""
    reader = FilmReader()
    yield reader
    reader.close()


@pytest.fixture
def path(tmp_path):
    """The path of a film."""
    path = tmp_path / "film.mp4"
    path.write_bytes(MP4)
    return os.fsencode(path)


def all_of(reader):
    return [frame for batch in iter(reader.next, []) for frame in batch]


def refusal_of(question, *arguments):
    with pytest.raises(PictureError) as caught:
        question(*arguments)
    return caught.value.code


def test_a_film_is_read_apart_as_it_is_here(reader, path):
    film_file = reader.open(path)
    assert film_file.content_hash == sha256(MP4).digest()
    assert film_file.look == FileLook.of(os.stat(path))
    frames = all_of(reader)
    with open(path, "rb") as file, open_film(file.fileno()) as here:
        assert (film_file.facts, frames) == (here.facts, list(here.samples()))
    assert (reader.next(), reader.problem) == ([], "")
    reader.open(path, start=2.5)
    assert all_of(reader) == [frame for frame in frames if frame.at >= 2.5]


def test_one_picture_is_asked_for_while_a_film_is_open(reader, path):
    facts = reader.open(path).facts
    shown = reader.frame(path, 2.3)
    frames = all_of(reader)
    assert (shown.frame.picture, shown.facts) == (frames[3].picture, facts)
    assert shown.look == FileLook.of(os.stat(path))
    with pytest.raises(QueryError, match="0 s or more"):
        reader.frame(path, float("nan"))


def test_a_name_of_any_bytes_is_that_of_a_film(reader, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n.mp4"
    with open(path, "wb") as file:
        file.write(MP4)
    assert reader.open(path).facts.width == 160


def test_answers_end_where_they_become_large(reader, tmp_path, path):
    (tmp_path / "long.mp4").write_bytes(film(shots("cat", seconds=40, rate=1), rate=1))
    reader.open(os.fsencode(tmp_path / "long.mp4"))
    batches = list(iter(reader.next, []))
    assert max(map(len, batches)) <= film_worker.MOST_PICTURES
    assert sum(map(len, batches)) == 40


def test_a_film_is_decoded_ahead_while_nobody_asks_for_more_and_only_so_far(tmp_path, path):
    (tmp_path / "long.mp4").write_bytes(film(shots("cat", seconds=40, rate=1), rate=1))
    films = film_worker._Films(io.BytesIO())
    films.answer({"wanted": "open", "path": str(tmp_path / "long.mp4"), "at": 0.0})
    ahead = films._ahead
    assert not ahead.is_alive()  # it may be opened for its hash alone
    films.answer({"wanted": "next", "path": "", "at": 0.0})
    while len(ahead._pictures) < film_worker.MOST_PICTURES:
        ahead.join(0.01)
    ahead.join(0.2)
    assert len(ahead._pictures) == film_worker.MOST_PICTURES
    films.answer({"wanted": "open", "path": os.fsdecode(path), "at": 0.0})  # in the middle of it
    assert not ahead.is_alive()
    films.close()


def test_what_is_wrong_with_a_film_is_known_at_its_end(reader, tmp_path):
    data = film(shots("cat", "panda"), container="matroska")
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    reader.open(os.fsencode(tmp_path / "cut.mkv"))
    assert all_of(reader)
    assert "cut short" in reader.problem


@pytest.mark.parametrize(
    ("name", "code"), [("folder", "not_a_file"), ("nothing", "vanished"), ("text", "not_a_film")]
)
def test_what_is_no_film_is_refused_and_the_next_one_is_read(reader, tmp_path, path, name, code):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("nothing to be seen")
    assert refusal_of(reader.open, os.fsencode(tmp_path / name)) == code
    reader.open(path)
    assert all_of(reader)


def test_a_film_that_changes_while_it_is_read_is_refused(reader, path):
    reader.open(path)
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(PictureError, match="changed while it was read") as caught:
        all_of(reader)
    assert caught.value.code == "changed"


def test_a_film_that_is_emptied_while_it_is_read_has_changed_and_is_not_damaged(reader, path):
    reader.open(path)
    os.truncate(path, 0)
    assert refusal_of(all_of, reader) == "changed"


def test_a_process_that_ends_between_questions_has_lost_its_film_and_reads_the_next(reader, path):
    reader.open(path)
    reader._process._process.send_signal(signal.SIGKILL)
    reader._process._process.wait()
    assert refusal_of(all_of, reader) == "killed"
    reader.open(path)
    assert all_of(reader)


@pytest.mark.parametrize("limit", ["COMPUTING_S", "WAITING_S"])
def test_a_film_that_takes_too_long_is_given_up(monkeypatch, path, limit):
    reader = FilmReader()
    monkeypatch.setattr(film_reader, limit, -1.0)
    with pytest.raises(PictureError, match="of this film") as caught:
        reader.open(path)
    assert caught.value.code == "timeout"
    assert reader._process is None


def test_signs_of_life_come_for_each_stretch_and_while_a_file_is_hashed(tmp_path):
    data = film(shots("cat", seconds=45, rate=1), rate=1)
    path = tmp_path / "film.mp4"
    path.write_bytes(data + bytes(3 << 20))
    answers = io.BytesIO()
    films = film_worker._Films(answers)
    request = {"path": str(path), "at": 40.0}
    films.answer({"wanted": "open", **request})
    facts, payload = films.answer({"wanted": "next", **request})
    told = [json.loads(line)["at"] for line in answers.getvalue().splitlines()]
    assert told.count(0) >= 4
    assert told[-1] == 4
    assert len(payload) == sum(n_bytes for _, _, n_bytes in facts["pictures"]) > 0
    films.close()


@pytest.mark.full
@pytest.mark.parametrize("side", [8192, 15_360])
def test_pictures_of_a_size_that_nobody_films_are_refused_at_once(reader, tmp_path, side):
    (tmp_path / "huge.mp4").write_bytes(film([np.zeros((side, side, 3), np.uint8)]))
    assert refusal_of(reader.open, os.fsencode(tmp_path / "huge.mp4")) == "too_large"


@pytest.mark.full
def test_a_film_that_needs_more_memory_than_a_film_may_take_says_so(reader, tmp_path, path):
    frames = [np.full((7680, 8192, 3), 10 * i, np.uint8) for i in range(5)]
    data = film(frames, pix_fmt="yuv444p10le", options={"x264-params": "ref=6"})
    (tmp_path / "huge.mp4").write_bytes(data)
    reader.open(os.fsencode(tmp_path / "huge.mp4"))
    assert refusal_of(all_of, reader) == "out_of_memory"
    reader.open(path)
    assert all_of(reader)
