from __future__ import annotations

import json

import pytest

from mmsearch.errors import StorageError
from mmsearch.evaluation.report import Report
from mmsearch.evaluation.runs import score_runs


@pytest.fixture
def measured(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 a 1\n")
    (tmp_path / "run").write_text("q1 Q0 b 1 9 x\n")
    return score_runs(tmp_path / "qrels", [tmp_path / "run"])


def test_report_is_json_with_the_environment_and_null_for_what_is_no_number(measured, tmp_path):
    data, page = Report(tmp_path / "new" / "folder").write(measured)
    written = json.loads(data.read_text())
    assert written["results"]["run"]["qrels"]["measures"]["median rank"]["value"] is None  # nothing was found
    assert written["environment"]["versions"]["numpy"]
    assert written["environment"]["created"].endswith("+00:00")
    assert page.read_text().startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_says_so(measured, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        Report(tmp_path / "file").write(measured)


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        Report(tmp_path / "file").check()
    Report(tmp_path / "new" / "folder").check()
    assert list((tmp_path / "new" / "folder").iterdir()) == []
