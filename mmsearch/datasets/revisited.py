"""Ground truth of revisited Oxford and Paris: `gnd_roxford5k.pkl`, `gnd_rparis6k.pkl`, or the same as JSON.

The files are pickles; they are read without running any code of theirs (`plain_pickle`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmsearch.datasets.captions import field, parsed_json, read_text
from mmsearch.datasets.plain_pickle import load_plain_pickle
from mmsearch.datasets.sets import REVISITED, InstanceSet, Task, is_box, picture_in, refuse_missing
from mmsearch.errors import GroundTruthError
from mmsearch.records import Box

_LISTS = ("easy", "hard", "junk")
_TASKS = {  # name -> lists that are relevant, lists that are junk
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
_LONGEST_NAME = 240  # bytes; file systems end at 255


def read_revisited(file: Path, *, images: Path | None = None) -> InstanceSet:
    """Return an instance set with the tasks `easy`, `medium` and `hard`.

    Parameters
    ----------
    file : Path
        A pickle of Python 2 or 3, or JSON (`.json`), of a dict: `imlist` and `qimlist` (names of gallery and
        queries without `.jpg`), `gnd` (for every query `bbx`, the part that is asked as x1, y1, x2, y2, and the
        positions in the gallery that are `easy`, `hard` and `junk`).
    images : Path or None
        Folder of the pictures; default the folder of the file, or `jpg` or `images` in it.

    Returns
    -------
    InstanceSet
        A query for which a task has no relevant picture stays in it, with an empty list.

    Raises
    ------
    GroundTruthError
        If the file cannot be read safely, a field is missing or not what it should be, a name comes twice, a
        position is outside of the gallery or in two lists of a query, or a picture is not on disk or outside of
        the folder.

    Notes
    -----
    Radenovic, Iscen, Tolias, Avrithis, Chum: Revisiting Oxford and Paris, CVPR 2018. Junk of a task leaves the
    ranking before it is scored: in `easy` also what is hard, in `hard` also what is easy.
    """
    whole = _mapping(
        str(file), parsed_json(str(file), read_text(file)) if file.suffix == ".json" else load_plain_pickle(file)
    )
    gallery, queries = _names(file, whole, "imlist"), _names(file, whole, "qimlist")
    known = _list(str(file), whole, "gnd")
    if len(known) != len(queries):
        raise GroundTruthError(f"{file}: gnd has {len(known)} entries, qimlist names {len(queries)} queries")
    boxes: list[Box] = []
    lists: list[dict[str, tuple[int, ...]]] = []
    for name, entry in zip(queries, known, strict=True):
        where = f"{file}, query {name!r}"
        facts = _mapping(where, entry)
        boxes.append(_box(where, facts))
        lists.append(_positions(where, facts, len(gallery)))
    folder = images if images is not None else _folder_of(file, gallery)
    pictures, asked = (
        [picture_in(str(file), folder, f"{name}.jpg") for name in names] for names in (gallery, queries)
    )
    for needed in (pictures, asked):
        refuse_missing(str(file), needed)
    tasks = {
        task: Task(
            tuple(_joined(of_query, relevant) for of_query in lists),
            tuple(_joined(of_query, junk) for of_query in lists),
        )
        for task, (relevant, junk) in _TASKS.items()
    }
    name = file.stem.removeprefix("gnd_")
    return InstanceSet(name, tuple(pictures), tuple(asked), tuple(boxes), tasks, {}, REVISITED)


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise GroundTruthError(f"{where}: is {type(value).__name__}, expected a dict with named fields")
    return value


def _list(where: str, entry: dict[str, Any], name: str) -> list[Any] | tuple[Any, ...]:
    value = field(where, entry, name, object)
    if not isinstance(value, (list, tuple)):
        raise GroundTruthError(f"{where}: field {name!r} is {type(value).__name__}, expected a list")
    return value


def _names(file: Path, whole: dict[str, Any], name: str) -> list[str]:
    seen: dict[str, None] = {}
    for i, picture in enumerate(_list(str(file), whole, name)):
        where = f"{file}: {name}[{i}]"
        if not isinstance(picture, str):
            raise GroundTruthError(f"{where} is {type(picture).__name__}, expected the name of a picture")
        if not 0 < len(picture.encode(errors="replace")) <= _LONGEST_NAME:
            raise GroundTruthError(
                f"{where} is a name of {len(picture)} letters, expected one that a file can have"
            )
        if (normal := os.path.normpath(picture)) in seen:
            raise GroundTruthError(f"{where}, {picture!r}, comes a second time; expected every name once")
        seen[normal] = None
    return list(seen)


def _box(where: str, entry: dict[str, Any]) -> Box:
    corners = _list(where, entry, "bbx")
    if is_box(corners):
        left, top, right, bottom = map(float, corners)
        return left, top, right, bottom
    raise GroundTruthError(f"{where}: field 'bbx' is not x1 < x2 and y1 < y2, given as four numbers x1, y1, x2, y2")


def _positions(where: str, entry: dict[str, Any], n_images: int) -> dict[str, tuple[int, ...]]:
    owner: dict[int, str] = {}
    for name in _LISTS:
        for place in _list(where, entry, name):
            if not isinstance(place, int) or isinstance(place, bool):
                raise GroundTruthError(f"{where}: field {name!r} has a {type(place).__name__}, expected positions")
            if not 0 <= place < n_images:
                raise GroundTruthError(
                    f"{where}: field {name!r} has the position {place}, imlist has 0 to {n_images - 1}"
                )
            if place in owner:
                raise GroundTruthError(
                    f"{where}: position {place} is in {owner[place]!r} and again in {name!r}; expected it once"
                )
            owner[place] = name
    return {name: tuple(place for place in owner if owner[place] == name) for name in _LISTS}


def _joined(lists: dict[str, tuple[int, ...]], names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(position for name in names for position in lists[name])


def _folder_of(file: Path, gallery: list[str]) -> Path:
    folders = (file.parent, file.parent / "jpg", file.parent / "images")
    return next((f for f in folders if gallery and (f / f"{gallery[0]}.jpg").is_file()), file.parent)
