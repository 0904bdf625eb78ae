"""The hub: cached files are used without it, and its absence is said soon. No network is touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.export import fingerprint_of
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import HubUnreachableError
from tests.tiers import tiered


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


@pytest.fixture
def forbidden(monkeypatch, tmp_path):
    """A hub that may not be asked; returns where its cache is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_model_in_the_hub_cache_is_used_offline(forbidden, checkpoint):
    hub_cache(forbidden, checkpoint)
    of_hub, of_folder = build_clip("hf-hub:me/tiny"), build_clip(str(checkpoint))
    assert (of_hub.name, of_hub.identity) == ("hf-hub:me/tiny", of_folder.identity)
    assert fingerprint_of(of_hub) == fingerprint_of(of_folder)


@pytest.mark.parametrize("model", ["ViT-B-32/laion2b_s34b_b79k", "hf-hub:me/tiny"])
def test_model_that_would_have_to_be_downloaded_is_said_where_that_is_forbidden(forbidden, tmp_path, model):
    said = "is not in the local cache, and HF_HUB_OFFLINE forbids to download it; use `--model offline`"
    with pytest.raises(HubUnreachableError, match=said):
        prepare_encoder(model, cache=tmp_path / "cache")


@pytest.mark.parametrize("is_silent", tiered([False, True], [False]), ids=["refused", "silent"])
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

    def unreachable(model, *settings):
        if model == prepare.DEFAULT_CLIP:
            raise HubUnreachableError("no network")
        return real(model, *settings)

    monkeypatch.setattr(prepare, "_prepared", unreachable)
    said = []
    assert prepare_encoder("auto", cache=cache, notify=said.append) == offline_folder
    assert len(said) == 1
    assert "using the `offline` encoder; `mmsearch index --re-embed" in said[0]
