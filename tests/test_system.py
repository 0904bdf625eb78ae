from __future__ import annotations

import os

from mmsearch import system


def test_cores_are_those_this_process_may_use_or_those_of_the_machine_where_no_set_is_kept(monkeypatch):
    assert system.n_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert system.n_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert system.n_cores() == 1
