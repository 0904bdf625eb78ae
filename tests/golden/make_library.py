"""Make the golden library of the schema that this commit writes: `python -m tests.golden.make_library`.

Run once at a commit that is the last to write a schema; tests only read what it made. The pictures are the sample
photographs of the package, below FOLDER; the encoder is a convolution with fixed weights, so that the library is
whole without a model. It holds one of everything: vectors, one of them dead, a graph, a vocabulary with words,
labels, annotations, a recording, and files that were rejected.
"""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np

from mmsearch import GraphSettings, Library
from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.encoders.base import EagerEncoder
from mmsearch.encoders.export import export_encoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.records import Preprocessing
from mmsearch.samples import sample_folder
from mmsearch.store.catalog import SCHEMA
from mmsearch.store.changes import UNSEEN, AnnotatedFile, Changes, RejectedFile
from mmsearch.store.folder import Store
from mmsearch.store.labels import Labelling, LabelOptions

FOLDER = Path("/tmp/mmsearch-golden")
PICTURES = ("cat", "creek", "dam", "drum", "fig", "great-wall", "louvre", "moose", "panda", "rocket", "two-dogs")
GONE = "sunset"  # indexed and deleted again: its row is dead
DIM = 16
GRAPH = GraphSettings(graph_from=4, tail_share=0.0)
N_QUARANTINED, N_BAD = 1, 2
LABELS = ("first", "second")
GOLDEN = Path(__file__).parent


def main() -> None:
    """Write `library-v<schema>` beside this file."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "pictures").mkdir(parents=True)
    for name in (*PICTURES, GONE):
        shutil.copyfile(sample_folder() / f"{name}.jpg", FOLDER / "pictures" / f"{name}.jpg")
    (FOLDER / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
    library = FOLDER / "library"
    export_encoder(convolution(), library / "encoder")
    encoder = OnnxEncoder.open(library / "encoder")
    settings = {"fingerprint": encoder.fingerprint, "dim": DIM, "model": encoder.name}
    with Library.open(library) as opened:
        # No model can be named that is this encoder, and a library that never held a picture takes the one named.
        opened._installed.settings_for = lambda *_: dict(settings)
        opened.index([FOLDER / "pictures"], settings=GRAPH)
        (FOLDER / "pictures" / f"{GONE}.jpg").unlink()
        opened.index([FOLDER / "pictures"])
        write_tune(FOLDER / "pictures" / "tune.wav")
        opened.sounds.index([FOLDER / "pictures"])
    with Store.writer(library) as store:
        killed = RejectedFile(b"%b/pictures/rocket-2.jpg" % bytes(FOLDER), UNSEEN, "quarantined", "killed twice")
        store.commit(Changes(rejected=[killed]))
        axes = ZeroShotClassifier(LABELS, np.eye(DIM, dtype=np.float32)[: len(LABELS)], 10.0)
        store.labels.define("axes", Labelling(axes, LabelOptions(("{}",)), store.fingerprint()))
        store.labels.update(lambda *_: None)
        ids = {Path(image.path).stem: image.image_id for image in store.catalog.images()}
        caption = Annotation(Kind.CAPTION, "exif:ImageDescription", "A cat looks up.")
        annotations = Annotations((caption,), "Canon EOS R5", None, (48.85, 2.35))
        store.commit(Changes(annotated=[AnnotatedFile(ids["cat"], annotations)]))
        store.annotations.type([ids["cat"], ids["dam"]], Kind.TAG, ["typed"])
    with Library.open(library) as opened:
        assert opened.verify().problems == ()
    target = GOLDEN / f"library-v{SCHEMA}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(library, target, ignore=shutil.ignore_patterns("lock", "progress", "*-shm", "*-wal"))
    shutil.rmtree(FOLDER)  # tests find the pictures elsewhere, moved


def write_tune(path: Path) -> None:
    """Write 12 s of notes, the same ones every time, as a WAV."""
    pitches = 220 * 2 ** (np.random.default_rng(7).integers(0, 36, 60) / 12)
    times = np.arange(1600) / 8000
    notes = [np.sin(2 * np.pi * pitch * times) * np.exp(-4 * times) for pitch in pitches]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((20_000 * np.concatenate(notes)).astype("<i2").tobytes())


def convolution() -> EagerEncoder:
    """Return an image encoder of a few hundred weights: what a grid of places looks like in colour."""
    import torch

    class Tower(torch.nn.Module):
        weights: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            angles = torch.arange(DIM * 3 * 16, dtype=torch.float64)
            self.register_buffer("weights", torch.sin(angles * 0.7).float().reshape(DIM, 3 * 16))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scaled = pixels.permute(0, 3, 1, 2).float() / 255 - 0.5
            places = torch.nn.functional.avg_pool2d(scaled, 8).flatten(1)  # (n, 3 * 4 * 4)
            return torch.nn.functional.normalize(places @ self.weights.T, dim=-1)

    return EagerEncoder(
        name="golden", image_tower=Tower(), text_tower=None, tokenizer=None,
        preprocessing=Preprocessing(size=(32, 32), resize=32), dim=DIM, logit_scale=1.0,
        identity={"weights": "sines"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
