"""Names and other text from outside: what people see, what a shell reads back, JSON for the strictest readers."""

from __future__ import annotations

import base64
import json
import os
import random
import shlex
import subprocess
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmsearch.names import json_text, page_text, plain, quoted, shell_word, visible

UNSEEN = "\x00\x1b\x07\x7f\x9b\n\t\r\xad\u061c\u200b\u200e\u202a\u202e\u2028\u2066\u2069\ufeff\udcff\udc80\ud800"
SEEN = [
    "写真\u30001.jpg",
    "9.41\u202fAM.png",
    "\u06a9\u0647\u200c\u0647\u0627",
    "👩\u200d🚀.jpg",
    "a\\udcff.jpg",
    "it's [bold]",
]


def odd_names(n=300):
    """Names of bytes that shells, terminals and Unicode make something of."""
    rng = random.Random(0)
    parts = [b"'", b"\\", b"$", b'"', b"7", b" ", b"\n", b"\x1b", b"\xff", b"\xc3", "é".encode(), "\u202e".encode()]
    yield from (b"$'x'", b"$'\\377'", b"/photos/\\udcff", b"/photos/\\377")
    yield from (b"".join(rng.choices(parts, k=rng.randint(1, 6))) for _ in range(n))


def read_by_bash(words):
    done = subprocess.run(["bash"], input=("printf '%s\\0' " + " ".join(words)).encode(), capture_output=True)
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


def test_a_shell_reads_a_quoted_name_back_and_no_other_looks_quoted():
    names = list(odd_names())
    shown = [quoted(os.fsdecode(name)) for name in names]
    words = [text if text.startswith("$'") else shlex.quote(text) for text in shown]
    assert read_by_bash(words) == names
    assert all("\n" not in text and "\x1b" not in text for text in shown)
    assert len(set(shown)) == len(set(names))


def test_a_shell_reads_every_word_back():
    names = list(odd_names())
    assert read_by_bash([shell_word(os.fsdecode(name)) for name in names]) == names


@pytest.mark.parametrize("name", SEEN)
def test_a_name_that_can_be_seen_is_shown_as_it_is(name):
    assert quoted(name) == visible(name) == page_text(name) == name


@pytest.mark.parametrize("form", [quoted, visible, shell_word])
def test_nothing_that_hides_turns_or_is_obeyed_is_shown(form):
    for character in UNSEEN:
        shown = form(f"a{character}b")
        assert shown.isascii(), ascii(character)
        assert shown.isprintable(), ascii(character)


def test_a_byte_and_the_control_of_its_number_are_told_apart():
    assert visible("\udc9b \x9b") == "\\x9b \\u009b"


def test_a_page_keeps_line_ends_and_what_is_markup_already():
    class Markup(str):
        def __html__(self):
            return self

    assert page_text("a\nb\x07\udcff") == "a\nb\\x07\\xff"
    assert page_text(Markup("\x07")) == "\x07"
    assert page_text(None) is None


@given(st.binary(max_size=8).filter(lambda name: b"\0" not in name))
@example(b"\xed\xb3\xbf")  # what some writers make of \udcff
def test_json_holds_every_name_and_no_half_of_a_pair(name):
    found = json.loads(json_text([{"path": os.fsdecode(name)}]))[0]
    found["path"].encode("utf-8")  # raises at half of a pair
    assert (
        base64.b64decode(found["path_base64"]) == name if "path_base64" in found else found["path"].encode() == name
    )


def test_json_has_no_half_of_a_pair_at_any_depth():
    terms = {os.fsdecode(name): value for name, value in ((b"b\xff", 1.0), (b"b\xfe", 2.0))}
    value = {"hits": ({"terms": terms},), "said": ["x\ud800", "\udcff", 3, None]}
    text = json_text(value)
    assert text.isascii()
    found = json.loads(text)
    assert found["said"] == ["x\ufffd", "\ufffd", 3, None]
    assert found["hits"][0]["terms"] == {r"$'b\377'": 1.0, r"$'b\376'": 2.0}
    assert json.loads(json_text({"caption": "x\ud800"})) == {"caption": "x\ufffd"}  # it stands for no bytes


def test_json_of_whole_pairs_is_that_of_the_standard_library():
    value = {"a": "🦊 \\ud83d", "b": [1.5, True]}
    assert json_text(value) == json.dumps(value)
    assert json_text(value, separators=(",", ":")) == json.dumps(value, separators=(",", ":"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


@given(st.text(st.characters(exclude_categories=())))
def test_plain_text_can_be_written(text):
    assert plain(text).encode().decode() == plain(text)
    assert not {unicodedata.category(c) for c in plain(text)} & {"Cs"}
