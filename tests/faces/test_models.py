from __future__ import annotations

import re
import sys

import pytest

from mmsearch.errors import EncoderError, ModelNotFoundError
from mmsearch.faces import models
from mmsearch.faces.models import DESCRIPTOR, LANDMARKS, SHA256, model_file, require_faces


def test_the_files_are_those_of_five_landmarks_and_of_the_descriptor_and_their_package_is_never_imported(face):
    assert [model_file(name).name for name in SHA256] == [LANDMARKS, DESCRIPTOR]
    assert not [name for name in SHA256 if "68" in name]
    assert "face_recognition_models" not in sys.modules
    assert "dlib" in sys.modules  # they were used


def test_a_file_with_other_contents_is_refused(monkeypatch):
    monkeypatch.setitem(SHA256, LANDMARKS, "0" * 64)
    with pytest.raises(EncoderError, match=r"has sha256 c4b1e9804792, expected 000000000000: it is damaged, or"):
        model_file(LANDMARKS)


def test_a_package_that_lacks_a_file_is_named():
    with pytest.raises(ModelNotFoundError, match=r"other\.dat is not in face-recognition-models; get it with"):
        model_file("other.dat")


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(models, "DISTRIBUTION", "no-such-distribution")
    sentence = "faces need dlib and its networks; install them with `pip install 'mmsearch[faces]'`"
    with pytest.raises(ModelNotFoundError, match=f"^{re.escape(sentence)}$"):
        require_faces()
