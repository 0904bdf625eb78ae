"""Synthetic libraries, texts, photographs and checkpoints; the same for the same seed."""

from __future__ import annotations

import json
import shutil
import time
from itertools import count
from pathlib import Path

import numpy as np
from embeddings import DIM, Embeddings
from PIL import Image

from mmsearch.records import READING, FileLook
from mmsearch.samples import sample_folder
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store

_COMMITTED = 10_000  # pictures at a time
WORDS = [
    "dog", "cat", "beach", "snow", "river", "mountain", "child", "woman", "man", "street", "car", "red", "blue",
    "old", "small", "wooden", "tree", "house", "boat", "horse", "flower", "night", "rain", "bridge", "city",
    "garden", "table", "bird", "train", "field", "two", "running", "sitting", "under", "near", "with",
]  # fmt: skip
_numbers = count(int(time.time() * 1000) % 10**9)


def new_text() -> str:
    """Return a caption that was never asked before."""
    rng = np.random.default_rng(next(_numbers))
    return f"{' '.join(rng.choice(WORDS, 6))} {rng.integers(10**6)}"


def build_library(
    folder: Path, embeddings: Embeddings, n: int, *, fingerprint: str = "synthetic", model: str = "synthetic"
) -> None:
    """Write a library of n synthetic vectors through the store's own commits."""
    done = 0
    with Store.writer(folder, create={"dim": DIM, "fingerprint": fingerprint, "model": model}) as store:
        for block in embeddings.gallery(n):
            for start in range(0, len(block), _COMMITTED):
                files = [
                    StoredFile(
                        b"/photos/%04d/%08d.jpg" % (i % 100, i), FileLook(10_000 + i, i, i), b"%032d" % i,
                        640, 480, "JPEG", None, READING, vector=vector,
                    )
                    for i, vector in enumerate(block[start : start + _COMMITTED], start=done)
                ]  # fmt: skip
                store.commit(Changes(stored=files))
                done += len(files)


def write_photographs(folder: Path, n: int, size: tuple[int, int]) -> None:
    """Write n different JPEGs of a size in pixels: the sample photographs, enlarged, with sensor noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sources = sorted(sample_folder().glob("*.jpg"))
    noise = rng.integers(-6, 7, (size[1], size[0], 3), dtype=np.int16)
    for i in range(n):
        image = Image.open(sources[i % len(sources)]).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        grain = np.roll(noise, int(rng.integers(0, 1000)), axis=1)
        pixels = (np.asarray(image, dtype=np.int16) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)


def write_vit_b_32(folder: Path) -> Path:
    """Write a ViT-B-32 checkpoint with random weights: as fast as a trained one."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    if not folder.exists():
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        torch.manual_seed(0)
        config = {
            "model_cfg": open_clip.get_model_config("ViT-B-32"),
            "preprocess_cfg": {
                "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
                "interpolation": "bicubic", "resize_mode": "shortest",
            },
        }  # fmt: skip
        (temporary / "open_clip_config.json").write_text(json.dumps(config))
        save_file(open_clip.create_model("ViT-B-32").state_dict(), temporary / "open_clip_model.safetensors")
        temporary.rename(folder)
    return folder
