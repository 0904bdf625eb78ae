"""Store pictures with annotations and kill this process at a named point; what was acknowledged goes to output.

Arguments: library, point, count, as for `killed_index`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.records import READING, FileLook
from mmsearch.store import captions, text_index
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from tests.faults.killed_index import arm

DIM, N_PICTURES = 4, 6
POINTS = {
    "annotate": ("mmsearch.store.changes", "annotate"),
    "documents": ("mmsearch.store.changes", "write_documents"),
    "type": ("mmsearch.store.annotations", "write_documents"),
    "embed": ("mmsearch.store.captions", "l2_normalize"),
    "note": ("mmsearch.store.catalog", "write_note"),
    "publish": ("mmsearch.store.publish", "file_sha256"),
    "manifest": ("mmsearch.store.publish", "write_file"),
}


def path_of(n: int) -> bytes:
    return b"/pictures/%d.jpg" % n


def caption_of(n: int) -> str:
    return f"The caption number {n} of some."


def encode(texts: tuple[str, ...]) -> np.ndarray:
    return np.array([[1, 2, 3, sum(text.encode())] for text in texts], dtype=np.float32)


def main() -> None:
    library, point, count = sys.argv[1:]
    captions._LEAST = text_index._LEAST = 0
    if point != "never":
        arm(point, int(count), POINTS)
    with Store.writer(Path(library), create={"dim": DIM, "fingerprint": "f" * 64, "model": "any"}) as store:
        for n in range(N_PICTURES):
            said = Annotations((Annotation(Kind.CAPTION, "text:txt", caption_of(n)),), camera="Canon")
            vector = np.array([1, n, 2, 3], dtype=np.float32)
            look = FileLook(1, 2, 3)
            file = StoredFile(path_of(n), look, b"%032d" % n, 1, 1, "JPEG", None, READING, vector, annotations=said)
            store.commit(Changes(stored=[file]))
            say(f"stored {n}")
            image = store.image_at(path_of(n))
            assert image is not None
            store.annotations.type([image.image_id], Kind.TAG, [f"tag{n}"])
            say(f"typed {n}")
        store.annotations.embed_captions(encode, lambda stage, done, total: say(f"{stage} {done}"), limit=2)
        store.annotations.settle()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
