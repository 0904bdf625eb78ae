"""`mmsearch train` on the command line: what it refuses before it begins."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.cli.train import _caption_options
from mmsearch.training.captions import CaptionOptions
from mmsearch.training.towers import TowerOptions


@pytest.mark.parametrize("option", ["--rate", "--validation", "--keep", "--margin"])
@pytest.mark.parametrize("kind", ["captions", "pairs"])
def test_a_setting_that_is_no_number_is_refused(kind, option, tmp_path):
    result = CliRunner().invoke(app, ["train", kind, "set", "--out", str(tmp_path / "taught"), option, "nan"])
    assert result.exit_code == 2
    assert "nan is no finite number" in result.output
    assert not (tmp_path / "taught").exists()


@pytest.mark.parametrize("unfreeze", ["image", "both"])
def test_an_image_tower_is_not_both_locked_and_taught(unfreeze, tmp_path):
    options = ["--lock-image", "--unfreeze", unfreeze]
    result = CliRunner().invoke(app, ["train", "captions", "set", "--out", str(tmp_path / "taught"), *options])
    assert result.exit_code == 2
    assert "--lock-image keeps the image tower as it is" in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "taught").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([None, None], CaptionOptions()),
        ([None, 0.01], CaptionOptions(rate=0.01)),
        (["text", None], TowerOptions(unfreeze="text", rate=1e-5)),
        (["both", 0.01], TowerOptions(unfreeze="both", rate=0.01)),
    ],
)
def test_heads_and_towers_have_rates_of_their_own(options, expected):
    assert _caption_options(*options) == expected


@pytest.mark.parametrize("kind", ["captions", "pairs"])
def test_a_set_that_is_not_there_leaves_no_folder(kind, tmp_path):
    result = CliRunner().invoke(
        app, ["train", kind, str(tmp_path / "no-such-set"), "--out", str(tmp_path / "taught")]
    )
    assert result.exit_code != 0
    assert not (tmp_path / "taught").exists()
