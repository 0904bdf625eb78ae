"""The hub: cached files are used without it, and its absence is said soon. No network is touched."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import HubUnreachableError


def hub_cache(folder, checkpoint, repository="me/tiny"):
    """Lay files out as huggingface_hub caches them."""
    snapshot = folder / f"models--{repository.replace('/', '--')}" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for path in checkpoint.iterdir():
        shutil.copyfile(path, snapshot / path.name)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123")


def index(photos, library, cache, model, **environment):
    command = [sys.executable, "-m", "mmsearch", "index", photos, "--library", library, "--model", model]
    start = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"MMSEARCH_CACHE": str(cache)} | environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done, time.monotonic() - start


def test_model_in_the_hub_cache_is_used_offline(tmp_path, photos, checkpoint):
    hub_cache(tmp_path / "hub", checkpoint)
    done, _ = index(
        photos, tmp_path / "library", tmp_path / "cache", "hf-hub:me/tiny",
        HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["new"] == 8


@pytest.mark.parametrize("is_silent", [False, True], ids=["refused", "silent"])
def test_unreachable_hub_is_one_sentence_within_ten_seconds(tmp_path, photos, is_silent):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if is_silent:
            server.listen()  # accepts and never answers
        done, seconds = index(
            photos, tmp_path / "library", tmp_path / "cache", "hf-hub:me/tiny",
            HF_HUB_CACHE=str(tmp_path / "hub"), HF_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}",
            HF_HUB_OFFLINE="0",
        )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "--model offline" in done.stderr
    # Ten seconds of waiting at most; importing open_clip takes some more on a slow machine.
    assert seconds < 10 + 25
    assert not (tmp_path / "library" / "catalog.sqlite").exists()


def test_auto_falls_back_to_offline_with_one_line(monkeypatch, cache, offline_folder):
    from mmsearch.encoders import prepare

    real = prepare._prepared

    def unreachable(model, cache, notify):
        if model == prepare.DEFAULT_CLIP:
            raise HubUnreachableError("no network")
        return real(model, cache, notify)

    monkeypatch.setattr(prepare, "_prepared", unreachable)
    said = []
    assert prepare_encoder("auto", cache=cache, notify=said.append) == offline_folder
    assert len(said) == 1
    assert "using the `offline` encoder; `mmsearch index --re-embed" in said[0]
