"""Progress where there is no terminal: a line now and then, by a clock that the test turns."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import mmsearch
from mmsearch.cli.progress import _STAGES, ProgressLines, progress_line
from mmsearch.samples import sample_folder
from mmsearch.server.schemas import Indexing


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def lines(until, told=lambda progress, second: None):
    """All lines of a run with the second of each; `told` is called at every second, as the run goes on."""
    clock, found = Clock(), []
    progress = ProgressLines(lambda line: found.append((round(clock.now - 100), line)), clock)
    for second in range(until + 1):
        clock.now = 100.0 + second
        told(progress, second)
        progress.look()
    return found


def test_a_short_run_says_nothing():
    assert lines(4, lambda progress, second: progress("embed", second, 5)) == []


def test_a_line_after_some_seconds_and_then_every_ten():
    found = lines(30, lambda progress, second: progress("embed", 40 * second, 10_000))
    assert found == [
        (5, "Indexing: 200 of 10,000 pictures, 40 a second, about 4 min left"),
        (15, "Indexing: 600 of 10,000 pictures, 40 a second, about 4 min left"),
        (25, "Indexing: 1,000 of 10,000 pictures, 40 a second, about 4 min left"),
    ]


def test_long_runs_say_less_often_but_every_minute():
    seconds = [second for second, _ in lines(3600, lambda progress, second: progress("embed", second, 9999))]
    pauses = [b - a for a, b in pairwise(seconds)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (10, 60)


def test_a_long_stage_is_named_soon_after_it_began():
    def told(progress, second):
        progress(*(("embed", second, 50) if second < 16 else ("graph", 100 * (second - 16), 0)))

    assert lines(22, told)[2:] == [(21, "Building the index: 500 vectors, 100 a second")]


def test_work_that_cannot_be_counted_is_no_silence():
    assert lines(16) == [(5, "Working: 5 s so far"), (15, "Working: 15 s so far")]
    # An encoder that embeds all pictures is done; what comes then is not known.
    found = lines(8, lambda progress, second: second < 2 and progress("embed", 2 * second + 1, 3))
    assert found == [(5, "Working: 4 s so far")]
    found = lines(8, lambda progress, second: progress("calibrate", 0, 1))
    assert found == [(5, "Calibrating: 5 s so far")]


def test_a_stage_that_begins_anew_is_counted_anew():
    def told(progress, second):  # two models of a benchmark
        progress("embed", second if second < 7 else second - 7, 100)

    assert lines(15, told)[1] == (12, "Indexing: 5 of 100 pictures, 1.0 a second, about 2 min left")


def test_a_stage_that_begins_while_a_line_is_made_has_no_negative_time():
    said, times, begins = [], [0.0], []

    def clock():
        now = times[0]
        if begins:
            times[0] += 0.5
            progress(*begins.pop())
        return now

    progress = ProgressLines(said.append, clock)
    times[0] = 6.0
    begins.append(("embed", 3, 10))
    progress.look()
    assert said == ["Working: 6 s so far"]


def test_a_run_with_nothing_to_show_leaves_standard_error_alone(tmp_path):
    command = [sys.executable, "-m", "mmsearch", "index", sample_folder(), "--dry-run", "--format", "table"]
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "29 new; nothing was written\n"


def test_every_stage_that_a_library_tells_others_of_has_words_for_a_terminal():
    told = get_args(get_type_hints(Indexing)["stage"])
    assert "faces" in told
    assert set(told) <= set(_STAGES)


def stages_told():
    """The names of stages that modules call `on_progress` with, or hand on with it."""
    for path in Path(mmsearch.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call):
                first, *others = [call.func, *call.args]
                for told, stage in zip([first, *others], others, strict=False):
                    is_named = isinstance(stage, ast.Constant) and isinstance(stage.value, str)
                    if is_named and ast.unparse(told).endswith("on_progress"):
                        yield stage.value


def test_every_stage_has_a_name_for_people():
    stages = set(stages_told())
    assert {"scan", "parts", "sign", "align"} <= stages
    for stage in stages:
        assert progress_line(stage, 0, 1, 7.0).endswith(": 7 s so far")
