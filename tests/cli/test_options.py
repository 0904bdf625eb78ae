from __future__ import annotations

import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st

from mmsearch import Term
from mmsearch.cli.options import read_lines, weighted


@pytest.mark.parametrize(
    "text",
    [
        "16:9 photo", "4:3", "1:1000 scale model", "12:30 at the station", "0:0", "2:٣", "1:½ scale", "3:² x", "2:",
        ":dog", "x2:dog", "-2:dog", "٢:dog", "2 :dog", "1e3:dog", "2.:dog", ".5:dog", "",
    ],
)  # fmt: skip
def test_a_text_that_only_looks_like_a_weight_is_a_text(text):
    assert weighted(text) == Term(text)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("2:a dog", Term("a dog", 2)),
        ("0.5:snow", Term("snow", 0.5)),
        ("2:一只狗", Term("一只狗", 2)),
        ("2:3d model", Term("2:3d model")),
        ("1:16:9 photo", Term("1:16:9 photo")),
        ("2:a 16:9 photo", Term("a 16:9 photo", 2)),
        ("2:two\nlines", Term("two\nlines", 2)),
    ],
)
def test_a_weight_is_a_number_before_a_colon_that_no_digit_follows(text, term):
    assert weighted(text) == term


@given(weight=st.decimals(0, 1000, places=2), text=st.text(min_size=1))
def test_every_text_that_begins_with_no_number_takes_a_weight(weight, text):
    assume(not text[0].isnumeric())
    assert weighted(f"{weight}:{text}") == Term(text, float(weight))


def test_a_picture_of_that_name_wins_over_a_weight(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2:cat.jpg").write_bytes(b"")
    assert weighted("2:cat.jpg", is_picture=True) == Term("2:cat.jpg")
    assert weighted("2:cat.jpg") == Term("cat.jpg", 2)
    assert weighted("2:dog.jpg", is_picture=True) == Term("dog.jpg", 2)


def test_lines_are_read_as_editors_of_windows_write_them(tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\n\r\n a red car \r\n".encode())
    assert read_lines(tmp_path / "labels.txt", "--labels-file") == ["cat", "a red car"]


@pytest.mark.parametrize("contents", [b"\xff\xd8\xff\xe0", "\ufeffcat".encode("utf-16"), b"caf\xe9\n"])
def test_a_file_of_lines_in_another_encoding_is_told_in_a_sentence(tmp_path, contents):
    (tmp_path / "labels.txt").write_bytes(contents)
    with pytest.raises(typer.BadParameter, match=r"labels\.txt is no text in UTF-8 \(.*\); save it as UTF-8"):
        read_lines(tmp_path / "labels.txt", "--labels-file")
