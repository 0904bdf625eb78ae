"""Libraries of `--model none` from outside: no process loads a model, a runtime for one, or a graph."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.local.extractors import DEFAULT
from mmsearch.records import SIGNATURE_SIDE
from mmsearch.samples import sample_folder
from tests.conftest import copied_samples, sample_crop
from tests.test_architecture import COMMAND, HEAVY, loaded_by

FORBIDDEN = (
    "torch",
    "onnxruntime",
    "open_clip",
    "timm",
    "transformers",
    "tokenizers",
    "hnswlib",
    "huggingface_hub",
)


@pytest.fixture
def folder(tmp_path):
    """Sixteen sample photographs."""
    return copied_samples(tmp_path / "photos", 16)


@pytest.fixture
def bare(run, tmp_path):
    """`run` on a machine where whoever loads a model, its runtime or a graph ends at once; workers too."""
    for name in FORBIDDEN:
        (tmp_path / "bare" / name).mkdir(parents=True)
        (tmp_path / "bare" / name / "__init__.py").write_text(f"raise SystemExit('{name} was loaded')")
    path = os.pathsep.join([str(tmp_path / "bare"), os.environ.get("PYTHONPATH", "")])
    run.program = ["-m", "mmsearch"]
    run.environment.update(PYTHONPATH=path, MMSEARCH_CACHE=str(tmp_path / "no-cache"))
    return run


@pytest.mark.full
def test_all_commands_work_on_a_machine_without_models(bare, folder, tmp_path):
    (folder / "broken.jpg").write_bytes(b"<html></html>")
    code, out, err = bare("index", folder, "--model", "none")
    assert (code, json.loads(out)["new"]) == (3, 16), err
    assert "not_an_image: " in err
    options = ("--explain", "--where", "width > 10", "-k", "50", "--html", tmp_path / "page.html")
    code, out, err = bare("search", "-i", sample_crop(tmp_path, "cat"), *options)
    assert code == 0, err
    hit = json.loads(out.splitlines()[0])
    assert (Path(hit["path"]).name, hit["local"]["is_verified"]) == ("cat.jpg", True)
    assert "<line " in (tmp_path / "page.html").read_text()
    status = json.loads(bare("status")[1])
    assert (status["model"], status["dim"], status["n_images"], status["local"]["n_images"]) == ("none", 0, 16, 16)
    table = bare("status", "--format", "table")[1]
    assert re.search(r"^encoder +none, local features only *\n^pictures +16 *$", table, re.MULTILINE)
    assert re.search(r"^search +by visual words, with one example picture", table, re.MULTILINE)
    assert "whole: the catalog and its caches match their checksums" in bare("verify")[2]
    assert "1 picture forgotten" in bare("rm", folder / "cat.jpg")[2]
    assert json.loads(bare("index", folder)[1])["new"] == 1
    for arguments in (
        ("search", "a dog"),
        ("search", "-i", folder / "cat.jpg", "--not", "snow"),
        ("classify", folder / "cat.jpg", "--labels", "a,b"),
        ("bench", "ann"),
    ):
        code, out, err = bare(*arguments)
        assert (code, out, err.strip().count("\n")) == (1, "", 0)
        assert "has no encoder" in err


def test_the_machine_without_models_does_stop_what_loads_one(bare, photos, checkpoint):
    assert bare("index", photos, "--model", checkpoint)[2].strip().endswith("was loaded")


def test_neither_index_nor_its_workers_nor_search_import_an_encoder(folder, tmp_path):
    with Library.open(tmp_path / "library") as library:
        library.index([folder], model="none")
    shutil.copyfile(sample_folder() / "rocket.jpg", folder / "rocket.jpg")
    (vocabulary,) = library.folder.glob("vocabulary-*.bin")
    job = {
        "paths": [str(folder / "cat.jpg")], "lengths": [-1], "hashes": [None], "embeds": False,
        "local": str(vocabulary), "extractor": DEFAULT.name, "annotates": True, "luminance_side": SIGNATURE_SIDE,
        "parts": 0, "faces": False,
    }  # fmt: skip
    for loaded in (
        loaded_by(
            "import sys; from mmsearch.ingest.worker import serve; from mmsearch.processes.child import run; "
            "run(serve, sys.argv[1:])",
            *("", "64", str(os.getpid()), "1"),
            given=json.dumps(job) + "\n",
        ),
        loaded_by(COMMAND, "index", folder, "--library", library.folder),
        loaded_by(COMMAND, "search", "-i", folder / "cat.jpg", "--library", library.folder),
    ):
        assert not loaded & (HEAVY - {"cv2"} | set(FORBIDDEN))
        encoders = {name for name in loaded if name.startswith("mmsearch.encoders")}
        # Texts, what scores mean, and which windows are parts, are no encoder.
        of_numbers = {"prompts", "calibration", "parts"}
        assert encoders <= {"mmsearch.encoders", *(f"mmsearch.encoders.{name}" for name in of_numbers)}
        assert "mmsearch.images.decode" in loaded  # it did run
