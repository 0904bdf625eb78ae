"""`mmsearch index` run in a folder of pictures that also holds files named like modules of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import copied_samples

HOSTILE = "from pathlib import Path; Path(__file__).with_suffix('.ran').touch(); raise SystemExit(9)"


def test_index_runs_no_file_of_the_folder_it_is_started_in(run, tmp_path, checkpoint, cache):
    folder = copied_samples(tmp_path / "photos", 6)
    for name in ("numpy", "json", "PIL", "mmsearch", "cv2", "sitecustomize"):
        (folder / f"{name}.py").write_text(HOSTILE)
    before = sorted(folder.iterdir())
    program = Path(sys.executable).with_name("mmsearch")
    done = subprocess.run(
        [program, "index", ".", "--model", checkpoint, "--library", "../library"],
        cwd=folder, env={**run.environment, "MMSEARCH_CACHE": os.path.relpath(cache, folder)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["new"], report["bad"]) == (6, [])
    assert sorted(folder.iterdir()) == before
