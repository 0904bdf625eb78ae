from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import small_samples


@pytest.fixture
def people(tmp_path, run, cache):
    """A gallery of two identities; what `run` keeps of it goes with the test."""
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "encoders").symlink_to(cache / "encoders")
    run.environment["MMSEARCH_CACHE"] = str(tmp_path / "cache")
    for path in sorted(small_samples(tmp_path / "samples", 2, longer_side=120).iterdir()):
        (tmp_path / "people" / path.stem).mkdir(parents=True)
        shutil.move(path, tmp_path / "people" / path.stem / "1.jpg")
    return tmp_path / "people"


def test_identify_names_whom_it_took_from_a_folder_and_which_picture_it_could_not_read(run, people, checkpoint):
    asked = people / "bucket" / "1.jpg"
    code, out, err = run("identify", asked, "/no/such.jpg", "--gallery", people, "--model", checkpoint, "-k", "1")
    known, bad = map(json.loads, out.splitlines())
    assert code == 1
    assert "error: /no/such.jpg: there is no such file" in err
    assert "nothing is verified by local features: the gallery has too few of them" in err
    assert (known["path"], known["best"], known["identity"], known["chance"]) == (str(asked), "bucket", None, None)
    assert known["nearest"] == [
        {"path": str(asked), "identity": "bucket", "score": pytest.approx(1, abs=1e-3), "is_verified": False,
         "n_inliers": 0}
    ]  # fmt: skip
    assert (bad["identity"], bad["best"], bad["error"]) == (
        None,
        None,
        "/no/such.jpg: there is no such file or folder",
    )


def test_identify_without_a_gallery_asks_the_library(run, indexed, photos):
    for name in ("a", "b"):
        (photos / name).mkdir()
    pictures = sorted(photos.glob("*.jpg"))
    for path in pictures:
        shutil.move(path, photos / ("a" if path.stem < "coffee" else "b"))
    run("index", photos)
    code, out, _ = run("identify", photos / "b" / "dam.jpg", "--format", "table", "-k", "1")
    assert code == 0
    assert out.splitlines()[0].split() == [
        "identity", "evidence", "near", "score", "places", "nearest", "picture",
    ]  # fmt: skip
    assert out.splitlines()[1].startswith("unknown   not verified, and distance does not tell  b ")
    code, out, _ = run("identify", photos / "b" / "dam.jpg", "--format", "tsv")
    assert out.splitlines()[0].split("\t")[:3] == ["path", "identity", "best"]
    assert out.splitlines()[1].split("\t")[1:3] == ["", "b"]
    _, out, _ = run("identify", photos / "b" / "dam.jpg", "--format", "json", "-k", "1")
    assert [picture["best"] for picture in json.loads(out)["pictures"]] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--model", "offline"], 2, "a library has its encoder; leave --model out, or name a --gallery"),
        (["--gallery", "/no/such"], 1, "/no/such: is not a folder; expected one with labels.csv"),
        (["--false-rate", "1"], 2, "the false rate is 1.0; expected a share above 0 and below 1"),
        ([], 2, "6 of 8 pictures lie beside the folders of the identities"),
    ],
)
def test_identify_says_what_is_wrong(run, indexed, photos, arguments, code, sentence):
    ended, _, err = run("identify", photos / "cat.jpg", *arguments)
    assert ended == code
    assert sentence in " ".join(err.replace("│", " ").split())
