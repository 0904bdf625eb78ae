from __future__ import annotations

import builtins
import functools
import importlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from mmsearch.datasets import plain_pickle
from mmsearch.datasets.plain_pickle import load_plain_pickle
from mmsearch.errors import GroundTruthError


def load(folder, data):
    file = folder / "values.pkl"
    file.write_bytes(data)
    return load_plain_pickle(file)


class Reduced:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """Pickled as an object that is changed by the result of a call."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return np.dtype, ("i8",), self.state


def attacks(victim):
    touch = f"touch {victim}"
    return {
        "system": Reduced(os.system, touch),
        "eval": Reduced(builtins.eval, f"open({str(victim)!r}, 'w')"),
        "exec": Reduced(builtins.exec, f"open({str(victim)!r}, 'w')"),
        "open": Reduced(builtins.open, str(victim), "w"),
        "partial": Reduced(functools.partial(os.system, touch)),
        "getattr": Reduced(builtins.getattr, Reduced(importlib.import_module, "os"), "system"),
        "popen": Reduced(subprocess.getoutput, touch),
        "an argument of a harmless call": Reduced(np.dtype, Reduced(os.system, touch)),
        "the state of a harmless object": Built((3, Reduced(os.system, touch), None)),
        "deep in lists": {"gnd": [{"easy": [[Reduced(os.system, touch)]]}]},
        "a key": {(1, Reduced(os.system, touch)): 2},
        "numpy's own loader": Reduced(np.load, str(victim)),
        "numpy's own runner": Reduced(np.vectorize, os.system),
    }


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("attack", attacks(""))
def test_code_in_a_file_is_never_run(tmp_path, attack, protocol):
    victim = tmp_path / "victim"
    data = pickle.dumps(attacks(victim)[attack], protocol)
    with pytest.raises(GroundTruthError, match="which is not data"):
        load(tmp_path, data)
    assert not victim.exists()


def test_the_attacks_are_real(tmp_path):
    pickle.loads(pickle.dumps(attacks(tmp_path / "victim")["system"]))
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"cposix\nsystem\n(S'id'\ntR.", "asks for posix.system"),
        (b"(S'id'\nios\nsystem\n.", "a step INST"),
        (b"(cos\nsystem\nS'id'\no.", "a step OBJ"),
        (b"\x80\x02cbuiltins\nlist\n)\x81.", "a step NEWOBJ"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04list\x93)}\x92.", "a step NEWOBJ_EX"),
        (b"Poutside\n.", "a step PERSID"),
        (b"N\x51.", "a step BINPERSID"),
        (b"\x80\x02\x82\x01.", "a step EXT1"),
        (b"\x80\x05\x97.", "a step NEXT_BUFFER"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", "asks for numpy.ndarray.dumps"),
        (b"cnumpy\nndarray\n)R.", "in a way that NumPy does not"),
        (b"cnumpy\ndtype\n}S'__defaults__'\nNsb.", "changes a function"),
        (b"cnumpy\ndtype\n(N}S'_build'\nNst" + b"b.", "changes a function"),
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "has an array of 'O8', expected integers or floats"),
        (b"cnumpy\ndtype\n(S'S3'\ntR.", "has an array of 'S3', expected integers or floats"),
        (b"Nr\xff\xff\xff\x7f.", "a number of 31 bits is out of range"),
        (b"Np99999999999\n.", "a number of 37 bits is out of range"),
        (b"L" + b"9" * 30 + b"L\n.", "a number of 100 bits is out of range"),
        (b")" + b"\x85" * 60_000 + b".", "has 60001 tuples"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00.", "is not a pickle of plain values"),
        (b"}]Ns.", "unhashable"),
        (b"", "is not a pickle of plain values"),
        (b"\x80\x09N.", "unsupported pickle protocol"),
    ],
)
def test_what_plain_values_do_not_need_is_refused(tmp_path, data, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        load(tmp_path, data)


def test_a_file_leaves_nothing_behind(tmp_path):
    before = dict(vars(plain_pickle)), sorted(sys.modules)
    with pytest.raises(GroundTruthError, match="changes a function"):
        load(tmp_path, b"cnumpy.core.multiarray\nscalar\n(N}S'__defaults__'\n(I1\ntstb.")
    with pytest.raises(GroundTruthError, match="antigravity"):
        load(tmp_path, b"cantigravity\nfly\n.")
    assert (dict(vars(plain_pickle)), sorted(sys.modules)) == before


@pytest.mark.parametrize(
    "values",
    [np.array(["a"]), np.array([None]), np.array([1 + 2j]), np.zeros((2, 2)), np.zeros(()), np.array([True])],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_other_things_than_a_row_of_numbers_are_refused(tmp_path, values, protocol):
    with pytest.raises(GroundTruthError, match="it has an array"):
        load(tmp_path, pickle.dumps(values, protocol))


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u8", ">i8", "<f2", ">f4", "<f8"])
def test_numbers_of_every_width_and_order_are_read(tmp_path, kind):
    values = np.array([0, 1, 7, 100], dtype=kind)
    for protocol in range(6):
        assert load(tmp_path, pickle.dumps([values, values[::-2], values[3]], protocol)) == [
            [0, 1, 7, 100], [100, 1], 100,
        ]  # fmt: skip


def test_an_array_that_is_shorter_than_it_says_is_refused(tmp_path):
    data = pickle.dumps(np.arange(3), 2)
    assert data.count(b"K\x03\x85") == 1
    with pytest.raises(GroundTruthError, match="one row of numbers, as long as it says"):
        load(tmp_path, data.replace(b"K\x03\x85", b"K\x04\x85"))


def test_a_missing_or_huge_file_is_named(tmp_path):
    with pytest.raises(GroundTruthError, match=r"values\.pkl: cannot be read \(No such file"):
        load_plain_pickle(tmp_path / "values.pkl")
    with (tmp_path / "values.pkl").open("wb") as file:
        file.truncate(plain_pickle.MAX_BYTES + 1)
    with pytest.raises(GroundTruthError, match="is larger than 16 MB"):
        load_plain_pickle(tmp_path / "values.pkl")
