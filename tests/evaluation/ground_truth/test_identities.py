from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsearch.datasets.identities import groups_of, names_of_groups, open_identities
from mmsearch.datasets.open_set import SetOptions
from mmsearch.datasets.sets import InstanceSet, Task
from mmsearch.errors import GroundTruthError


def written(folder, *names):
    """Write pictures, or what goes for them as long as nobody looks."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8\xff")
    return folder


def identities(source, tmp_path):
    known = open_identities(str(source), SetOptions(tmp_path / "cache"))
    return {path.name: name for path, name in zip(known.pictures, known.identities, strict=True)}


def instances(n, queries, relevant):
    gallery = tuple(Path(f"{i}.jpg") for i in range(n))
    task = Task(tuple(relevant), ((),) * len(relevant))
    return InstanceSet("set", gallery, tuple(map(Path, queries)), (None,) * len(queries), {"all": task}, {})


def test_a_folder_of_pictures_alone_has_an_identity_a_picture(tmp_path):
    folder = written(tmp_path / "covers", "Alien.jpg", "Brazil.jpg")
    assert identities(folder, tmp_path) == {"Alien.jpg": "Alien", "Brazil.jpg": "Brazil"}


def test_pictures_of_one_name_are_of_one_identity(tmp_path):
    assert set(identities(written(tmp_path / "x", "a.jpg", "a.png", "b.jpg"), tmp_path).values()) == {"a", "b"}


def test_hidden_folders_are_no_identities(tmp_path):
    folder = written(tmp_path / "covers", "a.jpg", "b.jpg", ".thumbnails/a.jpg")
    assert identities(folder, tmp_path) == {"a.jpg": "a", "b.jpg": "b"}


def test_a_folder_of_folders_has_an_identity_a_folder(tmp_path):
    folder = written(tmp_path / "people", "Ann_Lee/1.jpg", "Bob/2.jpg", "Bob/3.jpg")
    assert identities(folder, tmp_path) == {"1.jpg": "Ann Lee", "2.jpg": "Bob", "3.jpg": "Bob"}


def test_a_table_names_the_identities(tmp_path):
    folder = written(tmp_path / "people", "1.jpg", "2.jpg")
    (folder / "labels.csv").write_text("image,class_name\n1.jpg,Ann\n2.jpg,Bob\n")
    assert identities(folder, tmp_path) == {"1.jpg": "Ann", "2.jpg": "Bob"}


def test_two_identities_of_one_name_stay_apart(tmp_path):
    folder = written(tmp_path / "people", "1.jpg", "2.jpg")
    (folder / "labels.csv").write_text("image,class_name,class_index\n1.jpg,Ann,4\n2.jpg,Ann,7\n")
    assert identities(folder, tmp_path) == {"1.jpg": "Ann (0)", "2.jpg": "Ann (1)"}


def test_a_database_has_the_identities_that_its_queries_ask_for(tmp_path):
    folder = written(tmp_path / "set", "a/1.jpg", "b/2.jpg", "b/3.jpg", "q.jpg")
    lines = [json.dumps({"id": i, "image": name}) for i, name in enumerate(["a/1.jpg", "b/2.jpg", "b/3.jpg"])]
    (folder / "database.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text(json.dumps({"query": "q.jpg", "relevant": [1, 2]}))
    assert identities(folder, tmp_path) == {"1.jpg": "a", "2.jpg": "b", "3.jpg": "b"}


def test_an_empty_folder_is_no_gallery(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GroundTruthError, match=r"empty: has neither labels\.csv nor a folder of pictures"):
        identities(tmp_path / "empty", tmp_path)


def test_pictures_that_queries_have_in_common_are_of_one_group():
    known = instances(6, ["q.jpg", "r.jpg", "5.jpg"], [(1, 3), (3, 4), (2,)])
    assert groups_of(known) == [0, 1, 2, 1, 1, 2]


def test_a_query_without_answers_joins_no_group():
    assert groups_of(instances(2, ["0.jpg"], [()])) == [0, 1]


def test_a_group_is_called_as_the_folder_that_is_its_own_or_as_its_first_picture():
    paths = [Path(name) for name in ("x/cat/1.jpg", "x/cat/2.jpg", "x/dog.jpg", "x/owl.jpg")]
    assert names_of_groups(paths, [0, 0, 1, 2]) == ["cat", "dog", "owl"]


def test_groups_of_one_name_are_called_by_their_paths():
    paths = [Path(name) for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.jpg")]
    assert names_of_groups(paths, [0, 1, 2, 3]) == ["a/1.jpg", "2", "b/1.jpg", "3"]
