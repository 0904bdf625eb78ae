"""A kill while parts are stored, made later, changed in number or published loses none that was acknowledged."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from mmsearch.store.folder import Store
from mmsearch.store.parts import PART_CELLS, PARTS
from mmsearch.store.publish import current
from tests import warm
from tests.faults.killed_parts import AT_LAST, LATER, N_PICTURES, parts_of
from tests.store.test_parts import assert_answers, kept

PROGRAM = Path(__file__).parent / "killed_parts.py"
POINTS = [
    ("store:before", 3), ("store:after", 5), ("keep:before", 2), ("keep:before", 5), ("keep:after", 7),
    ("forget:before", 1), ("forget:after", 1), ("rows:before", 1), ("rows:after", 1), ("rows:after", 2),
    ("cells:before", 1), ("cells:after", 1), ("cells:after", 2), ("hash:before", 2), ("hash:after", 3),
    ("manifest:before", 1), ("manifest:after", 2), ("manifest:before", 4), ("manifest:after", 5),
    ("note:after", 2), ("note:before", 9), ("append:before", 2), ("append:after", 3), ("append:before", 11),
    ("append:after", 11), ("append:before", 12), ("append:after", 12), ("append:after", 13),
]  # fmt: skip


def run(library, point="never", count=0):
    return warm.run([sys.executable, PROGRAM, library, point, str(count)], text=True)


def parts_at(store):
    """The parts by the numbers of their pictures."""
    paths = {image.image_id: int(Path(image.path).stem) for image in store.images_of_ids(list(kept(store)))}
    return {paths[image_id]: data for image_id, data in kept(store).items()}


@pytest.mark.full
@pytest.mark.parametrize(("point", "count"), POINTS)
def test_kill_while_parts_are_written_loses_none_that_was_acknowledged(tmp_path, point, count):
    library = tmp_path / "library"
    done = run(library, point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = done.stdout.splitlines()
    store = Store.open(library)
    most = store.parts.most
    assert most in (0, AT_LAST, LATER)
    there = parts_at(store)
    assert all(data == parts_of(n, most) for n, data in there.items())
    for n in range(1, N_PICTURES + 1):
        made = n in there or n == 6  # which leaves in between
        assert f"kept {n} {most}" not in acknowledged or made
        assert f"stored {n} {most}" not in acknowledged or n % 2 == 0 or made
    if most:
        assert_answers(store, {i: data for i, data in kept(store).items() if data})
    assert {fault.code for fault in store.verify().faults} <= {"surplus_vectors"}
    store.close()
    again = run(library)
    assert again.returncode == 0, again.stderr
    store = Store.open(library)
    assert store.verify().faults == ()
    assert parts_at(store) == {n: parts_of(n, AT_LAST) for n in range(1, N_PICTURES + 1)}
    assert_answers(store, {i: data for i, data in kept(store).items() if data})
    assert store.sidecar(PARTS)["last"] == max(i for (i,) in store.catalog.db.execute("SELECT id FROM item"))
    assert current(store.files, PART_CELLS) is not None
    assert not [*library.glob("*.tmp"), *library.glob("*.old")]
