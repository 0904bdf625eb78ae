"""A kill while annotations are written loses none that was acknowledged and parts nothing that belongs together."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from mmsearch.store.folder import Store
from tests import warm
from tests.faults.killed_annotations import N_PICTURES, caption_of, encode, path_of

PROGRAM = Path(__file__).parent / "killed_annotations.py"
LONG_TIER = [
    ("annotate:before", 2), ("documents:before", 3), ("documents:after", 4), ("type:before", 2), ("type:after", 3),
    ("embed:before", 2), ("embed:after", 2), ("note:before", 4), ("note:after", 5), ("note:before", 13),
    ("publish:before", 1), ("publish:after", 2), ("manifest:before", 1), ("manifest:after", 4),
]  # fmt: skip
POINTS = [("annotate:after", 3), *(pytest.param(*point, marks=pytest.mark.full) for point in LONG_TIER)]


def run(library, point="never", count=0):
    return warm.run([sys.executable, PROGRAM, library, point, str(count)], text=True)


@pytest.mark.parametrize(("point", "count"), POINTS)
def test_kill_while_annotations_are_written_loses_none_that_was_acknowledged(tmp_path, point, count):
    library = tmp_path / "library"
    done = run(library, point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = done.stdout.splitlines()
    store = Store.open(library)
    ids = {known.path: known.image_id for known in store.known_files(b"/")}
    said = store.annotations.of(list(ids.values()))
    for n in range(N_PICTURES):
        texts = [each.text for each in said.get(ids.get(path_of(n)), ())]
        assert texts in ([], [caption_of(n)], [f"tag{n}", caption_of(n)])
        assert f"stored {n}" not in acknowledged or caption_of(n) in texts
        assert f"typed {n}" not in acknowledged or f"tag{n}" in texts
        assert (path_of(n) in ids) == bool(texts)
    assert len(store.annotations.caption_vectors()[0]) >= 2 * sum(
        line.startswith("captions") for line in acknowledged
    )
    assert {fault.code for fault in store.verify().faults} <= {"surplus_vectors"}
    store.close()
    again = run(library)
    assert again.returncode == 0, again.stderr
    store = Store.open(library)
    assert store.verify().faults == ()
    image_ids, vectors = store.annotations.caption_vectors()
    assert len(image_ids) == N_PICTURES
    expected = encode(tuple(map(caption_of, range(N_PICTURES))))
    cosines = (vectors[:].astype(float) * expected[image_ids.argsort().argsort()]).sum(axis=1)
    assert cosines == pytest.approx((expected[image_ids.argsort().argsort()] ** 2).sum(axis=1) ** 0.5, rel=1e-3)
    assert [len(store.annotations.matches(f"tag{n}").image_ids) for n in range(N_PICTURES)] == [1] * N_PICTURES
