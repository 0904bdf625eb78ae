"""`mmsearch train` on the command line: what it refuses before it begins."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app


@pytest.mark.parametrize("option", ["--rate", "--validation", "--keep", "--margin"])
@pytest.mark.parametrize("kind", ["captions", "pairs"])
def test_a_setting_that_is_no_number_is_refused(kind, option, tmp_path):
    result = CliRunner().invoke(app, ["train", kind, "set", "--out", str(tmp_path / "taught"), option, "nan"])
    assert result.exit_code == 2
    assert "nan is no finite number" in result.output
    assert not (tmp_path / "taught").exists()


@pytest.mark.parametrize("kind", ["captions", "pairs"])
def test_a_set_that_is_not_there_leaves_no_folder(kind, tmp_path):
    result = CliRunner().invoke(
        app, ["train", kind, str(tmp_path / "no-such-set"), "--out", str(tmp_path / "taught")]
    )
    assert result.exit_code != 0
    assert not (tmp_path / "taught").exists()
