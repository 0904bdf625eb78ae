from __future__ import annotations

import pytest

from mmsearch.errors import PictureError
from mmsearch.images import kinds, passed_over_text
from mmsearch.images.kinds import check_kind, kind_of_bytes
from tests import pictures


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_kind_of_a_picture_is_known_by_its_first_bytes(format_):
    assert check_kind(pictures.saved(pictures.photo(), format_)) == format_


@pytest.mark.parametrize(
    ("head", "code", "words"),
    [
        (pictures.HEIC_HEAD, "unsupported", "a HEIC picture; reading it needs `pip install pillow-heif`"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafheic", "unsupported", "a HEIC picture"),
        (b"FUJIFILMCCD-RAW 0201", "unsupported", "a RAW picture, which cannot be read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "unsupported", "a RAW picture"),
        (b"II*\0\x10\0\0\0CR\2\0", "unsupported", "a RAW picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported", "a JPEG XL picture"),
        (b"\xff\x0a\xfa\x7f\1\x90\x08\x06", "unsupported", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported", "a JPEG 2000 picture"),
        (b"8BPS\0\1\0\0\0\0", "unsupported", "a Photoshop picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image", "an SVG drawing"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "not_an_image", "a film"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81", "not_an_image", "a film"),
        (b"RIFF\x24\0\0\0AVI LIST", "not_an_image", "a film"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not_an_image", "a sound file"),
        (b"BMW and other makes of cars", "not_an_image", "no known picture format"),
        (b"", "not_an_image", "an empty file"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(monkeypatch, head, code, words):
    monkeypatch.setattr(kinds, "has_heif", lambda: False)
    with pytest.raises(PictureError) as caught:
        check_kind(head)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_avif_is_told_from_heic_by_its_brands():
    assert kind_of_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert kind_of_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1avifmiaf") == "HEIC"


def test_what_was_passed_over_is_told_in_one_sentence():
    counts = {"film": 12, "HEIC": 214, "RAW": 30, "@eaDir": 3, "#recycle": 1}
    assert passed_over_text(counts) == (
        "214 HEIC: pip install pillow-heif; 30 RAW, 12 films not read; "
        "left out: 3 folders @eaDir, 1 folder #recycle"
    )
    assert passed_over_text({"film": 1}) == "1 film not read"
    assert passed_over_text({}) == ""
