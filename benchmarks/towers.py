"""What the towers of a CLIP learn from random weights, and what a step of training costs on this machine.

    python benchmarks/towers.py DATA [--pictures N]... [--seeds N] [--rate R] [--epochs N] [--batch N] [--out FILE]
    python benchmarks/towers.py DATA --architecture ViT-B-32 [--batch N] [--steps N] [--out FILE]

DATA holds flickr8k-train. First form: a CLIP of two small layers a tower, with both towers taught (`both`), the
text tower alone (`text`, which is LiT) or the image tower alone (`image`); the figures are of pictures that neither
taught nor chose the epoch, beside chance. Second form: pictures a second and the most memory of a process that
makes a few steps, beside the memory that is asked for before a training begins; weights are random.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
from machine import report

from mmsearch.arguments import Unfreeze
from mmsearch.datasets.captions import read_captions
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.training.captions import CaptionFeatures, held_out, retrieval_hits
from mmsearch.training.towers import TowerOptions, teach_towers

MODES: tuple[Unfreeze, ...] = get_args(Unfreeze)
SMALL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
PREPROCESSING = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def written(folder: Path, config: dict[str, Any]) -> Path:
    """Write a checkpoint with random weights, the same every time."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESSING})
    )
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def features_of(data: Path, model: Path, cache: Path) -> CaptionFeatures:
    """Return what a model makes of the training pictures."""
    known = read_captions(data / "flickr8k-train")
    encoder = SetEncoder(str(model), cache=cache)
    _, images, _ = encoder.readable_pictures(known.name, known.pictures)
    owners = np.array([pictures[0] for pictures in known.pictures_of_text])
    return CaptionFeatures.of_set(
        images, encoder.texts(known.texts), owners, known.texts, dim=encoder.encoder.dim, pictures=known.pictures
    )


def learned(features: CaptionFeatures, model: Path, options: TowerOptions, n_pictures: int) -> dict[str, float]:
    """Teach towers by some of the pictures; return R@10 of those held out, in per cent, and what it took."""
    chosen = np.random.default_rng(100 + options.seed).permutation(len(features))[:n_pictures]
    known = features.of(np.sort(chosen))
    train, choice, judged = map(known.of, held_out(known, options.validation, options.seed))
    started = time.process_time()
    towers = teach_towers(train, choice, options, model=str(model))
    seconds = time.process_time() - started
    figures = {}
    for name, vectors in (("base", judged.base_vectors()), ("learned", towers.vectors(judged))):
        hits = retrieval_hits(*vectors, judged.picture_of_text)
        figures |= {f"{direction}, {name}": 100 * float(values.mean()) for direction, values in hits.items()}
    return {
        "chance of R@10": 100 * 10 / len(judged),
        **{measure: value for measure, value in figures.items() if "R@10" in measure},
        "best score while it was chosen": max(epoch.score for epoch in towers.history),
        "epochs": len(towers.history),
        "CPU s": seconds,
    }


def learning(data: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what is learned from random weights, by mode and number of pictures."""
    model = written(folder / "small", SMALL)
    features = features_of(data, model, folder)
    figures: dict[str, Any] = {}
    for n_pictures in given.pictures or (400, 1500):
        for mode in given.unfreeze or MODES:
            options = TowerOptions(
                rate=given.rate,
                epochs=given.epochs,
                patience=given.epochs,
                batch=given.batch,
                unfreeze=mode,
                validation=0.3,
            )
            runs = [
                learned(features, model, replace(options, seed=seed), n_pictures) for seed in range(given.seeds)
            ]
            name = f"{n_pictures} pictures, {mode}"
            figures[name] = {of: round(float(np.mean([run[of] for run in runs])), 1) for of in runs[0]}
            print(name, figures[name], flush=True)
    return figures


def steps(data: Path, architecture: str, mode: Unfreeze, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what a few steps cost in a process of their own, and what is asked for before."""
    command = [sys.executable, __file__, str(data), "--architecture", architecture, "--model", str(folder)]
    command += ["--unfreeze", mode, "--batch", str(given.batch), "--steps", str(given.steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def a_few_steps(data: Path, model: Path, mode: Unfreeze, given: argparse.Namespace) -> dict[str, Any]:
    """Make a few steps in this process, and return what they cost."""
    from mmsearch.training.towers import _Teaching
    from mmsearch.training.trainable import TrainableClip

    known = read_captions(data / "flickr8k-train")
    n = given.batch * given.steps
    rows = [row for row, pictures in enumerate(known.pictures_of_text) if pictures[0] < n]
    rng = np.random.default_rng(0)
    dim = json.loads((model / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"]
    features = CaptionFeatures.of_set(
        rng.standard_normal((n, dim)).astype(np.float32), rng.standard_normal((len(rows), dim)).astype(np.float32),
        np.array([known.pictures_of_text[row][0] for row in rows]), [known.texts[row] for row in rows], dim=dim,
        pictures=known.pictures[:n],
    )  # fmt: skip
    options = TowerOptions(epochs=1, batch=given.batch, unfreeze=mode)
    moments: list[float] = []
    teach_towers(
        features, features.of(np.arange(20)), options, model=str(model),
        on_step=lambda done, total: moments.append(time.monotonic()),
    )  # fmt: skip
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    clip = TrainableClip(str(model), mode, lambda sentence: None)
    needed = _Teaching(clip, features, features, options, lambda done, total: None).needed_memory()
    weights = sum(weight.nbytes for weight in clip.module.parameters())
    return {
        "pictures a second": round(given.batch * (len(moments) - 1) / (moments[-1] - moments[0]), 2),
        "most memory, GB": round(most / 1e9, 2),
        "of that weights, GB": round(weights / 1e9, 2),
        "asked for beside it, GB": round(needed.of(given.batch) / 1e9, 2),
        "per picture, MB": round(needed.per_picture / 1e6, 1),
    }


def costs(data: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what steps of an architecture cost, by mode."""
    import open_clip

    model = written(folder / "large", open_clip.get_model_config(given.architecture))
    figures = {}
    for mode in given.unfreeze or MODES:
        figures[f"{given.architecture}, {mode}, batch {given.batch}"] = found = steps(
            data, given.architecture, mode, given, model
        )
        print(mode, found, flush=True)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out")
    parser.add_argument("--pictures", type=int, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--unfreeze", choices=MODES, action="append")
    parser.add_argument("--architecture")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model:
        print(json.dumps(a_few_steps(given.data, given.model, given.unfreeze[0], given)))
        return
    with TemporaryDirectory(prefix="mmsearch-") as temporary:
        measure = costs if given.architecture else learning
        report("towers", measure(given.data, given, Path(temporary)), given.out)


if __name__ == "__main__":
    main()
