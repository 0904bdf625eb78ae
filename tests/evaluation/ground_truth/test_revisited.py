from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.datasets.revisited import read_revisited
from mmsearch.datasets.sets import REVISITED, InstanceSet
from mmsearch.errors import GroundTruthError

GALLERY, QUERIES = ["hall_1", "hall_2", "gate_1", "gate_2", "bridge_1"], ["hall_0", "gate_0"]
BOXES = [[1.5, 2.0, 30.0, 40.25], [0, 0, 8, 9]]
LISTS = [
    {"easy": [1, 0], "hard": [2], "junk": [4]},
    {"easy": [], "hard": [2, 3], "junk": []},
]
MANNERS = {
    "lists": list,
    "tuples": tuple,
    "arrays": np.array,
    "long arrays": lambda values: np.array(values, dtype=float if values and max(values) > 5 else "int64"),
    "big-endian arrays": lambda values: np.array(values, dtype=">f4" if 8 in values or 40.25 in values else ">i2"),
    "arrays with steps": lambda values: np.repeat(np.array(values, dtype=int if len(values) < 3 else float), 2)[
        ::2
    ],
    "scalars": lambda values: [np.float64(v) if isinstance(v, float) else np.int32(v) for v in values],
}


def content(manner=list, lists=LISTS, boxes=BOXES):
    """What a file of two queries and five pictures holds."""
    entries = [
        {"bbx": manner(box), **{name: as_numbers(manner, values) for name, values in of_query.items()}}
        for box, of_query in zip(boxes, lists, strict=True)
    ]
    return {"imlist": list(GALLERY), "qimlist": list(QUERIES), "gnd": entries}


def as_numbers(manner, values):
    numbers = manner(values)
    return numbers.astype(int) if isinstance(numbers, np.ndarray) and not values else numbers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the pictures in `jpg/`; they are never opened."""
    made = tmp_path_factory.mktemp("roxford5k")
    (made / "jpg").mkdir()
    for name in GALLERY + QUERIES:
        (made / "jpg" / f"{name}.jpg").write_bytes(b"")
    return made


def write(folder, data):
    file = folder / "gnd_roxford5k.pkl"
    file.write_bytes(data)
    return file


def assert_is_read(instances, folder):
    assert instances.name == "roxford5k"
    assert instances.protocol == REVISITED
    assert instances.gallery == tuple(folder / "jpg" / f"{name}.jpg" for name in GALLERY)
    assert instances.queries == tuple(folder / "jpg" / f"{name}.jpg" for name in QUERIES)
    assert instances.boxes == ((1.5, 2.0, 30.0, 40.25), (0.0, 0.0, 8.0, 9.0))
    assert instances.tasks["easy"].relevant == ((1, 0), ())
    assert instances.tasks["easy"].junk == ((4, 2), (2, 3))
    assert instances.tasks["medium"].relevant == ((1, 0, 2), (2, 3))
    assert instances.tasks["medium"].junk == ((4,), ())
    assert instances.tasks["hard"].relevant == ((2,), (2, 3))
    assert instances.tasks["hard"].junk == ((4, 1, 0), ())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("manner", MANNERS)
def test_the_tasks_of_a_file_are_those_of_the_protocol(folder, manner, protocol):
    file = write(folder, pickle.dumps(content(MANNERS[manner]), protocol))
    instances = read_revisited(file)
    assert_is_read(instances, folder)
    assert all(
        type(p) is int for task in instances.tasks.values() for positions in task.relevant for p in positions
    )


@pytest.mark.parametrize("protocol", range(6))
def test_names_of_numpy_before_2_are_known(folder, protocol):
    data = pickle.dumps(content(np.array), protocol)
    old, names = b"numpy.core.", b"numpy._core."
    if protocol < 4:
        data = data.replace(names, old)
    else:  # a name has its length before it there, and so has the frame, which is left out
        data = bytes([0x80, protocol]) + data[11:]
        for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
            short = name.replace(names, old)
            data = data.replace(bytes([len(name)]) + name, bytes([len(short)]) + short)
    assert names not in data
    assert_is_read(read_revisited(write(folder, data)), folder)


def python_2(value):
    """Write a value as the cPickle of Python 2 does in protocol 2: all text is bytes."""
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode("latin1")
    if isinstance(value, np.ndarray):
        shape = b"K" + bytes([len(value)]) + b"\x85"
        kind = b"cnumpy\ndtype\n" + python_2(value.dtype.str[1:]) + b"K\x00K\x01\x87R"
        kind += b"(K\x03" + python_2("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        return made + b"(K\x01" + shape + kind + b"\x89" + python_2(value.tobytes().decode("latin1")) + b"tb"
    if isinstance(value, dict):
        return b"}(" + b"".join(python_2(k) + python_2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(python_2, value)) + b"e"
    return pickle.dumps(value, 2)[2:-1]


@pytest.mark.parametrize("manner", ["lists", "arrays"])
def test_a_file_of_python_2_is_read(folder, manner):
    data = b"\x80\x02" + python_2(content(MANNERS[manner])) + b"."
    assert_is_read(read_revisited(write(folder, data)), folder)


def test_json_says_the_same(folder):
    file = folder / "gnd_roxford5k.json"
    file.write_text(json.dumps(content()))
    assert_is_read(read_revisited(file), folder)


def test_pictures_may_be_elsewhere(folder, tmp_path):
    for name in GALLERY + QUERIES:
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    file = write(folder, pickle.dumps(content()))
    assert read_revisited(file, images=tmp_path).gallery[0] == tmp_path / "hall_1.jpg"


def changed(**fields):
    return content() | fields


def with_entry(**fields):
    entries = content()["gnd"]
    return changed(gnd=[entries[0], entries[1] | fields])


FAULTS = {
    r"pkl: is list, expected a dict with named fields": [content()],
    r"pkl: has no field 'qimlist'; found imlist, gnd": {k: v for k, v in content().items() if k != "qimlist"},
    r"pkl: field 'imlist' is str, expected a list": changed(imlist="hall_1"),
    r"imlist\[1\] is int, expected the name of a picture": changed(imlist=["hall_1", 7]),
    r"imlist\[0\] is a name of 0 letters": changed(imlist=[""]),
    r"imlist\[0\] is a name of 300 letters": changed(imlist=["x" * 300]),
    r"imlist\[1\], 'hall_1', comes a second time": changed(imlist=["hall_1", "hall_1"]),
    r"qimlist\[1\], 'hall_0', comes a second time": changed(qimlist=["hall_0", "hall_0"]),
    r"gnd has 2 entries, qimlist names 1 queries": changed(qimlist=["hall_0"]),
    r"query 'gate_0': is NoneType, expected a dict": changed(gnd=[content()["gnd"][0], None]),
    r"query 'hall_0': has no field 'bbx'; found ok, junk": changed(gnd=[{"ok": [], "junk": []}] * 2),
    r"query 'gate_0': field 'hard' is int, expected a list": with_entry(hard=3),
    r"query 'gate_0': field 'easy' has a float, expected positions": with_entry(easy=[1.0]),
    r"query 'gate_0': field 'easy' has a bool, expected positions": with_entry(easy=[True]),
    r"query 'gate_0': field 'junk' has the position 5, imlist has 0 to 4": with_entry(junk=[5]),
    r"query 'gate_0': field 'junk' has the position -1, imlist": with_entry(junk=[-1]),
    r"query 'gate_0': position 2 is in 'hard' and again in 'junk'": with_entry(junk=[2]),
    r"query 'gate_0': position 1 is in 'easy' and again in 'easy'": with_entry(easy=[1, 1]),
    r"2 of 6 pictures are not on disk, the first is .*lost\.jpg": changed(imlist=[*GALLERY[:4], "lost", "too"]),
    r"1 of 2 pictures are not on disk, the first is .*lost\.jpg": changed(qimlist=["hall_0", "lost"]),
    r"there are no pictures": changed(qimlist=[], gnd=[]),
}


@pytest.mark.parametrize("sentence", FAULTS)
def test_what_is_wrong_with_a_file_is_named(folder, sentence):
    file = write(folder, pickle.dumps(FAULTS[sentence]))
    with pytest.raises(GroundTruthError, match=sentence):
        read_revisited(file)


@pytest.mark.parametrize(
    "box", [[1, 2, 3], [3, 2, 1, 4], [1, 4, 3, 4], [1, 2, float("nan"), 4], [1, 2, 3, 10**400], ["1", 2, 3, 4]]
)
def test_a_box_that_is_not_four_ascending_numbers_is_refused(folder, box):
    file = folder / "gnd_roxford5k.json"
    file.write_text(json.dumps(with_entry(bbx=box)))
    with pytest.raises(GroundTruthError, match="query 'gate_0': field 'bbx' is not x1 < x2 and y1 < y2"):
        read_revisited(file)


@pytest.mark.parametrize("text", ["[", "[" * 100_000, "1" * 5000])
def test_damaged_json_is_named(folder, text):
    file = folder / "gnd_roxford5k.json"
    file.write_text(text)
    with pytest.raises(GroundTruthError, match=r"gnd_roxford5k\.json: is not JSON"):
        read_revisited(file)


positions = st.permutations(range(5)).flatmap(
    lambda order: st.tuples(st.integers(0, 5), st.integers(0, 5)).map(
        lambda cuts: {
            "easy": order[: min(cuts)], "hard": order[min(cuts) : max(cuts)], "junk": order[max(cuts) :],
        }
    )
)  # fmt: skip


@given(
    lists=st.tuples(positions, positions),
    protocol=st.integers(0, 5),
    manner=st.sampled_from([list, tuple, np.array]),
)
def test_what_is_written_is_read(folder, lists, protocol, manner):
    instances = read_revisited(write(folder, pickle.dumps(content(manner, lists), protocol)))
    for q, of_query in enumerate(lists):
        assert instances.tasks["medium"].relevant[q] == (*of_query["easy"], *of_query["hard"])
        assert instances.tasks["hard"].relevant[q] == tuple(of_query["hard"])
        for task in instances.tasks.values():
            assert set(task.relevant[q]) | set(task.junk[q]) <= set(range(5))
            assert not set(task.relevant[q]) & set(task.junk[q])


def test_mutated_files_are_read_or_refused(folder):
    rng = np.random.default_rng(0)
    sources = [pickle.dumps(content(MANNERS[manner]), p) for p in range(6) for manner in ("lists", "arrays")]
    n_refused, modules = 0, sorted(sys.modules)
    for i in range(500):
        data = bytearray(sources[i % len(sources)])
        for at in rng.integers(0, len(data), int(rng.integers(1, 5))):
            data[at] = rng.integers(0, 256)
        try:
            assert isinstance(read_revisited(write(folder, bytes(data))), InstanceSet)
        except GroundTruthError:
            n_refused += 1
    assert n_refused > 200
    assert sorted(sys.modules) == modules


def test_a_file_that_is_cut_short_is_refused(folder):
    for data in (pickle.dumps(content(np.array), protocol) for protocol in range(6)):
        for length in range(0, len(data) - 1, 7):
            with pytest.raises(GroundTruthError, match=r"gnd_roxford5k\.pkl: is not a pickle of plain values"):
                read_revisited(write(folder, data[:length]))


def test_a_name_written_in_two_ways_is_one_and_must_lie_in_the_folder(folder):
    for field, name, sentence in (
        ("imlist", "x/../hall_1", r"imlist\[1\], 'x/../hall_1', comes a second time"),
        ("imlist", "../private", r"'../private.jpg' lies outside of"),
        ("qimlist", "/private", r"'/private.jpg' lies outside of"),
    ):
        whole = content()
        whole[field][1] = name
        (folder / "gnd_mine.json").write_text(json.dumps(whole))
        with pytest.raises(GroundTruthError, match=sentence):
            read_revisited(folder / "gnd_mine.json")
