"""F1 for faces: a writer killed at any instruction leaves a whole library, and the next run goes on from there.

`tests/store/test_people.py` ends a grouping in its own process by default.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests import warm

PROGRAM = Path(__file__).parent / "killed_people.py"


def killed(library, command, point, count):
    arguments = [PROGRAM, *map(str, (library.folder, library._installed.cache, command, point, count))]
    done = warm.run([sys.executable, *arguments], text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("point", "count"),
    [("keep:before", 1), ("keep:after", 3), ("note:before", 2), ("place:before", 1), ("place:after", 1)],
)
def test_kill_while_faces_are_found_and_grouped_loses_none_that_was_stored(indexed, point, count):
    killed(indexed, "index", point, count)
    status = indexed.status()
    assert indexed.verify().problems == ()
    n_before = status.faces.n_images
    report = indexed.index([], faces=True)
    assert report.details.get("faces", 0) == 8 - n_before
    assert sum(person.n_faces for person in indexed.people.list()) == indexed.status().faces.n_faces > 0
    assert indexed.verify().problems == ()


@pytest.mark.full
@pytest.mark.parametrize(("point", "count"), [("note:before", 1), ("erase:before", 1), ("erase:after", 1)])
def test_kill_while_faces_are_erased_is_seen_by_verify_and_ended_by_the_next_run(indexed, point, count):
    indexed.index([], faces=True)
    vector = indexed.reader().faces.load().records["vector"][0].tobytes()
    indexed.close()
    killed(indexed, "forget", point, count)
    assert indexed.status().faces is None
    (problem,) = indexed.verify().problems
    assert problem.startswith("faces that were forgotten are still in the catalog")
    assert indexed.people.forget() == 0
    assert indexed.verify().problems == ()
    assert not any(vector in path.read_bytes() for path in indexed.folder.rglob("*") if path.is_file())
