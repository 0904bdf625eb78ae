"""The scripts that make the published figures run, on miniatures of their sets with a tiny CLIP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import film_sets
import films
import numpy as np
import pytest

from mmsearch.samples import sample_folder

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


def test_films_takes_the_parts_that_it_names(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["films.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        films.main()
    assert "{cuts,keeping,efficiency,memory,frame}" in capsys.readouterr().out


def test_a_cut_is_found_once_and_near_it_only():
    assert films.matched([1.0, 1.1, 5.0, 9.2], [1.1, 5.1, 9.0, 12.0]) == ([1.1, 9.2], [9.0, 12.0])


def test_a_film_with_known_cuts_has_them_where_it_says(tmp_path):
    rng = np.random.default_rng(0)
    shots = [
        film_sets.moving(sample_folder() / f"{name}.jpg", rng, seconds=seconds)
        for name, seconds in (("cat", 1.2), ("panda", 0.8), ("drum", 1.0))
    ]
    path, cuts = film_sets.film_of(
        tmp_path / "made" / "cuts.mp4", shots, "libx264", {"preset": "ultrafast"}, (64, 36), 10
    )
    assert cuts == [1.2, 2.0]
    pictures = [frame.to_ndarray(format="gray") for _, frame in film_sets.decoded(path)]
    assert len(pictures) == 30
    changes = np.abs(np.diff(np.array(pictures, float), axis=0)).mean(axis=(1, 2))
    assert sorted(np.argsort(changes)[-2:] + 1) == [12, 20]
    twice = film_sets.again_and_again(tmp_path / "made" / "twice.mp4", path, 2)
    assert np.allclose([time for time, _ in film_sets.decoded(twice)], np.arange(60) / 10)
