from __future__ import annotations

import json

import pytest

from mmsearch.errors import StorageError
from mmsearch.evaluation.report import write_report


def test_report_is_json_with_the_environment_and_null_for_what_is_no_number(tmp_path):
    path = write_report({"values": [1.5, float("inf")], "nothing": float("nan")}, tmp_path / "new" / "folder")
    found = json.loads(path.read_text())
    assert found["values"] == [1.5, None]
    assert found["nothing"] is None
    assert found["environment"]["versions"]["numpy"]


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        write_report({}, tmp_path / "file")
