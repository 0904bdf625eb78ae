"""The files of hits in a folder of their own."""

from __future__ import annotations

import pytest

from mmsearch.cli.gather import gather
from mmsearch.records import Hit


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("name", [125 * "é" + ".jpeg", 84 * "猫" + ".gz", "a." + 126 * "é" + "x"])
def test_a_name_that_leaves_no_room_for_the_rank_is_cut_before_its_extension(tmp_path, name, is_link):
    (tmp_path / name).write_bytes(b"a picture")
    (tmp_path / "hits").mkdir()
    hits = [Hit(rank, 0.5, rank, str(tmp_path / name), 4, 3, "JPEG", None, 9) for rank in (1, 2)]
    assert gather(hits, tmp_path / "hits", is_link=is_link) == []
    first, second = sorted((tmp_path / "hits").iterdir())
    assert first.read_bytes() == second.read_bytes() == b"a picture"
    assert (first.name[:2], second.name[:2]) == ("1_", "2_")
    assert len(first.name.encode()) in (254, 255)
    assert first.name[2:-5] == name[: len(first.name) - 7]
    assert name.startswith("a.") or first.name.endswith(name[-3:])
