"""The scripts that make the published figures run, on miniatures of their sets with a tiny CLIP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(photos, tmp_path):
    """A caption set and an instance set of the sample photographs, under the names the scripts look for."""
    for name in ("flickr8k-test", "smvs-dvd"):
        shutil.copytree(photos, tmp_path / "data" / name)
    rows = [{"image": f"{name}.jpg", "captions": [name]} for name in ("cat", "fig", "dam")]
    (tmp_path / "data" / "flickr8k-test" / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dvd = tmp_path / "data" / "smvs-dvd"
    (dvd / "database.jsonl").write_text('{"id": 1, "image": "cat.jpg"}\n{"id": 2, "image": "fig.jpg"}')
    (dvd / "queries.jsonl").write_text('{"query": "dam.jpg", "relevant": [1], "camera": "palm"}')
    return tmp_path / "data"


def test_clip_hub_fills_the_rows_of_a_checkpoint(data, checkpoint, cache, tiny_folder, tmp_path):
    command = [sys.executable, "benchmarks/clip_hub.py", data, "--model", checkpoint, "--cache", cache]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out.json"], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert table[0] == f"| set | asked | measure | {checkpoint} |"
    assert len(table) == 1 + 5 + 5 + 3 + 2
    assert "| flickr8k-test | captions, text to image | R@1 (any) |" in done.stdout
    assert "imagenet-sample is not there: left out" in done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["figures"]
    assert found["smvs-dvd, by example"][str(checkpoint)]["camera=palm"]["mAP"]["value"] in (0.5, 1)
