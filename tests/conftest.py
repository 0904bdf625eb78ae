"""Real but tiny: a two-layer CLIP with fixed random weights, and the sample photographs of the package."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from compileall import compile_dir
from contextlib import closing, contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from _pytest.doctest import DoctestModule
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: threads of torch would wait for those of the other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import mmsearch
from mmsearch import Library
from mmsearch.encoders.calibration import Calibration, LabelModel, RelevanceModel
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.probes import N_PROBES
from mmsearch.encoders.whole import stamps
from mmsearch.milvus.address import TOKEN
from mmsearch.processes import process
from mmsearch.records import FileLook
from mmsearch.samples import sample_folder
from tests import warm
from tests.programs import path_of

if TYPE_CHECKING:
    from tests.milvus.server import Server


for _profile, _n in (("short", 25), ("thorough", 100)):
    settings.register_profile(_profile, deadline=None, derandomize=True, max_examples=_n)
settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the configuration of whoever runs the tests, and compile the package once.

    Tests start it in hundreds of processes, which may write no bytecode themselves. Laws are tried on more examples
    where the long tests run, too.
    """
    if config.option.markexpr != "not full":
        settings.load_profile("thorough")
    os.environ["MMSEARCH_CONFIG"] = os.devnull
    if "PYTEST_XDIST_WORKER" not in os.environ:
        compile_dir(Path(mmsearch.__file__).parent, quiet=2)


def pytest_collection_finish() -> None:
    """Leave what was loaded out of later looks for garbage: it is millions of objects, and stays."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Look for examples to run in the package alone: tests have none, and are collected sooner."""
    collected = yield
    return [collector for collector in collected if not isinstance(collector, DoctestModule)]


@pytest.fixture(scope="session", autouse=True)
def _warm_workers() -> Iterator[None]:
    """Let worker processes begin with what they import already loaded; `cold_workers` are started as ever."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "subprocess", warm.Subprocess)
        yield
    warm.end()


@pytest.fixture
def cold_workers(monkeypatch) -> None:
    """Start worker processes as users have them started, for tests of how that is done."""
    monkeypatch.setattr(process, "subprocess", subprocess)


TINY = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def write_checkpoint(folder: Path, config: dict = TINY, *, seed: int = 0) -> Path:
    """Write a checkpoint folder with random weights that are the same every time."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        for parameter in model.parameters():  # larger than usual, so that vectors differ between inputs
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def no_decoder():
    """For searchers that have no picture to decode."""
    pytest.fail("a picture was to be decoded")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Where models and exported encoders of this test run live; the processes of a parallel run share it."""
    kept = os.environ.get("MMSEARCH_TEST_CACHE")
    if kept:
        return Path(kept)
    folder = base_of_run(tmp_path_factory) / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def base_of_run(tmp_path_factory) -> Path:
    """Return the temporary folder of this test run, which its processes share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Make a folder that processes share; of several that want it at once, one does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.made").open("a") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not os.fstat(made.fileno()).st_size:
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.write("made")
    return folder


def kept_checkpoint(cache: Path, config: dict = TINY, *, seed: int = 0) -> Path:
    """Write a checkpoint as `write_checkpoint` once; where the cache lasts, it and its export last with it."""
    facts = [config, seed, version("torch"), version("open-clip-torch")]
    name = sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return made_once(
        cache / "checkpoints" / name / "tiny", lambda folder: write_checkpoint(folder, config, seed=seed)
    )


def exported(model: str, cache: Path) -> Path:
    """Export an encoder; of several processes that want the same at once, one does, and another takes another."""
    name = sha256(f"{model} {cache}".encode()).hexdigest()[:12]
    with (cache.parent / f"exporting-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return prepare_encoder(model, cache=cache)


@pytest.fixture(scope="session")
def strace() -> str:
    """What shows the system calls of a process."""
    return path_of("strace")


@pytest.fixture(scope="session")
def checkpoint(cache) -> Path:
    return kept_checkpoint(cache)


@pytest.fixture(scope="session")
def tiny_folder(checkpoint, cache) -> Path:
    """The tiny CLIP, exported."""
    folder = exported(str(checkpoint), cache)
    warm.know(folder)
    return folder


@pytest.fixture(scope="session")
def other_checkpoint(cache) -> Path:
    """A second tiny CLIP, with other weights."""
    return kept_checkpoint(cache, seed=1)


@pytest.fixture(scope="session")
def other_folder(other_checkpoint, cache) -> Path:
    """The second tiny CLIP, exported."""
    return exported(str(other_checkpoint), cache)


CALIBRATION = Calibration(search=RelevanceModel(0, 2, 1, 0.5, -2, 3, 5, 0), labels=LabelModel(8.0, -2.0))


@pytest.fixture(scope="session")
def calibrated_cache(checkpoint, tiny_folder, tmp_path_factory) -> Path:
    """A cache folder with the tiny encoder, and a calibration that says something beside it."""
    cache = tmp_path_factory.mktemp("calibrated") / "cache"
    if len(np.load(tiny_folder / "probes.npy")) == N_PROBES:
        shutil.copytree(tiny_folder, cache / "encoders" / tiny_folder.name)
    folder = exported(str(checkpoint), cache)  # anew where that which is kept is of long ago
    fingerprint = json.loads((folder / "spec.json").read_text())["fingerprint"]
    (folder / "calibration.json").write_text(json.dumps(CALIBRATION.to_json(fingerprint)))
    return cache


@pytest.fixture
def tiny(tiny_folder) -> OnnxEncoder:
    return OnnxEncoder.open(tiny_folder)


@pytest.fixture(scope="session")
def offline_folder(cache) -> Path:
    """The offline encoder with its real weights, exported."""
    return exported("offline", cache)


@pytest.fixture(scope="session")
def gem_folder(cache) -> Path:
    """An encoder of pictures alone with its real weights, exported."""
    return exported("cnn:gem", cache)


def copied_photos(folder: Path) -> Path:
    """Copy eight photographs into a new folder, two of them into a folder in it, and return it."""
    names = ("astronaut", "cat", "coffee", "creek", "dam", "fig", "goldfish", "moose")
    (folder / "trip").mkdir(parents=True)
    for position, name in enumerate(names):
        target = folder / "trip" if position >= 6 else folder
        shutil.copyfile(sample_folder() / f"{name}.jpg", target / f"{name}.jpg")
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with eight photographs, two of them in a subfolder."""
    return copied_photos(tmp_path / "photos")


@pytest.fixture
def library(tmp_path, checkpoint, cache, tiny_folder) -> Library:
    """An empty library; `checkpoint` is the model to index with."""
    with Library.open(tmp_path / "library", cache=cache) as opened:
        yield opened


@pytest.fixture(scope="session")
def indexed_once(checkpoint, cache, tiny_folder, tmp_path_factory) -> Path:
    """A folder with the eight photographs and a library of them, without local features; it stays as it is."""
    make = _maker_of_library(copied_photos, checkpoint, cache, local=False)
    return made_once(base_of_run(tmp_path_factory) / "indexed", make)


@pytest.fixture(scope="session")
def described_once(checkpoint, cache, tiny_folder, tmp_path_factory) -> Path:
    """A folder with all sample photographs and a library of them, with visual words; it stays as it is."""
    make = _maker_of_library(copied_samples, checkpoint, cache, local=True)
    return made_once(base_of_run(tmp_path_factory) / "described", make)


def _maker_of_library(
    copied: Callable[[Path], object], checkpoint: Path, cache: Path, *, local: bool
) -> Callable[[Path], None]:
    """Return what makes, in a folder, one of photographs and a library of them."""

    def make(folder: Path) -> None:
        copied(folder / "photos")
        with Library.open(folder / "library", cache=cache) as library:
            library.index([folder / "photos"], model=str(checkpoint), local=local)

    return make


@pytest.fixture
def indexed(indexed_once, tmp_path, photos, cache) -> Library:
    """A library of the eight photographs, without local features, as if they had been indexed where they are."""
    copy_library(indexed_once / "library", tmp_path / "library", indexed_once / "photos", photos)
    with Library.open(tmp_path / "library", cache=cache) as opened:
        yield opened


@pytest.fixture(scope="session")
def parted(indexed_once, cache, tmp_path_factory) -> Path:
    """A folder with the eight photographs and a library of them and of up to four parts each; it stays as it is."""

    def make(folder: Path) -> None:
        copied_photos(folder / "photos")
        copy_library(indexed_once / "library", folder / "library", indexed_once / "photos", folder / "photos")
        with Library.open(folder / "library", cache=cache) as library:
            library.index([folder / "photos"], parts=4)

    return made_once(base_of_run(tmp_path_factory) / "parted", make)


@pytest.fixture(scope="session")
def filmed_once(checkpoint, cache, tiny_folder, tmp_path_factory) -> Path:
    """A folder with films, as from `filmed_library`; it stays as it is."""
    from tests.films import filmed_library

    def make(folder: Path) -> None:
        filmed_library(folder, checkpoint, cache)

    return made_once(base_of_run(tmp_path_factory) / "filmed", make)


@pytest.fixture
def filmed(filmed_once, tmp_path) -> Path:
    """A copy of the folder with films, and of its library."""
    from tests.films import copy_filmed

    return copy_filmed(filmed_once, tmp_path / "filmed")


def copy_library(library: Path, target: Path, folder: Path, copies: Path) -> None:
    """Copy a library of one folder, and list its pictures where copies of them are.

    What it notes of files, to tell whether they were changed, is noted of the copies.
    """
    shutil.copytree(library, target)
    with closing(sqlite3.connect(target / "catalog.sqlite")) as db, db:
        paths = [os.fsdecode(path) for (path,) in db.execute("SELECT path FROM image")]
        for path in paths:
            picture = copies / Path(path).relative_to(folder)
            look = FileLook.of(picture.stat())
            values = (os.fsencode(picture), look.mtime_ns, look.ctime_ns, os.fsencode(path))
            db.execute("UPDATE image SET path = ?, mtime_ns = ?, ctime_ns = ? WHERE path = ?", values)
        db.execute("UPDATE root SET path = ?", (os.fsencode(copies),))
        if (target / "encoder").exists():
            noted = json.dumps(stamps(target / "encoder"))
            change = "value = json_set(value, '$.stamps', json(?))"
            db.execute(f"UPDATE meta SET {change} WHERE key = 'encoder_files'", (noted,))


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory, mounted at a new folder; skips where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs to be allowed to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def limited(what: int, limit: int) -> Iterator[None]:
    """Set a limit of this process, such as `resource.RLIMIT_FSIZE`, for a while."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def copied_samples(target: Path, n: int | None = None) -> Path:
    """Copy the first n sample photographs by name, or all, into a new folder, and return it."""
    target.mkdir(parents=True)
    for path in sorted(sample_folder().glob("*.jpg"))[:n]:
        shutil.copyfile(path, target / path.name)
    return target


def small_samples(target: Path, n: int | None = None, *, longer_side: int = 240) -> Path:
    """Write small copies of the first n sample photographs, or all, into a new folder: quick to describe."""
    from PIL import Image

    target.mkdir(parents=True)
    for path in sorted(sample_folder().glob("*.jpg"))[:n]:
        with Image.open(path) as picture:
            picture.thumbnail((longer_side, longer_side))
            picture.save(target / path.name, quality=90)
    return target


def random_units(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return n random unit vectors float32."""
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sample_crop(folder: Path, name: str, share: float = 0.7) -> Path:
    """Write the middle of a sample photograph, that share of each side, as a picture of its own."""
    from PIL import Image

    with Image.open(sample_folder() / f"{name}.jpg") as image:
        width, height = (round(share * side) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image.crop((left, top, left + width, top + height)).save(folder / f"{name}-crop.jpg", quality=90)
    return folder / f"{name}-crop.jpg"


@pytest.fixture(scope="module")
def milvus(tmp_path_factory, cache) -> Iterator[Server]:
    """A real Milvus server for the tests of a file, which are let in by its password; it works also when idle."""
    from tests.milvus.server import PASSWORD, running

    with (
        running(tmp_path_factory.mktemp("milvus") / "server", cache / "milvus-server") as server,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv(TOKEN, PASSWORD)
        yield server
