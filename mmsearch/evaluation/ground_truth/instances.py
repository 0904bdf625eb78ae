"""Instance sets: queries by example with the pictures that show the same thing, in the forms they come in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.ground_truth.captions import field, json_lines, parsed_json, read_text
from mmsearch.evaluation.ground_truth.classes import read_classes
from mmsearch.evaluation.ground_truth.sets import (
    GROUPS_OF_FOUR,
    RANKING,
    InstanceSet,
    Task,
    refuse_missing,
)
from mmsearch.records import Box

DATABASE, QUERIES = "database.jsonl", "queries.jsonl"
ALL = "all"


def read_instances(path: Path, *, images: Path | None = None, by: str | None = None) -> InstanceSet:
    """Return an instance set, in whichever of the known forms it is.

    Parameters
    ----------
    path : Path
        A folder with `database.jsonl` (`{"id": ..., "image": ...}` a line) and `queries.jsonl`
        (`{"query": ..., "relevant": [ids], "junk": [ids]}`); a JSON file with `gallery` (pictures) and `queries`
        (`{"image": ..., "relevant": [pictures], "junk": [pictures], "box": [left, top, right, bottom]}`), or with
        `groups` (lists of pictures of one thing) and, if wanted, `distractors`; or a folder of classes, as
        `read_classes` reads it. Junk and boxes may be left out.
    images : Path or None
        Folder that the names of pictures are relative to; default the folder of the set.
    by : str or None
        Field of the queries by whose values the results are also given apart, such as `camera`.

    Raises
    ------
    GroundTruthError
        If it is in no known form, or what it says does not fit together.

    Notes
    -----
    A query that is itself in the gallery is junk for itself unless it is named as relevant. Pictures of groups
    and classes all ask for the others of their own.
    """
    if path.is_dir() and (path / QUERIES).is_file():
        return _from_lists(path.name, _from_jsonl(path), images or path, by)
    if path.is_dir() or path.suffix != ".json":
        _refuse_parts(path, by)
        return _from_classes(path)
    file = path
    whole = parsed_json(str(file), read_text(file))
    folder = images or file.parent
    if isinstance(whole, dict) and "groups" in whole:
        _refuse_parts(path, by)
        return _from_groups(file, whole, folder)
    return _from_lists(path.stem, _from_json(file, whole), folder, by)


def _refuse_parts(path: Path, by: str | None) -> None:
    if by is not None:
        raise GroundTruthError(f"{path}: groups and classes have no field {by!r}; leave --by out")


class _Entries:
    """A gallery and queries as a file names them, before positions are known."""

    def __init__(self) -> None:
        self.gallery: dict[str, str] = {}  # id -> picture
        self.queries: list[tuple[str, dict[str, Any]]] = []  # (where, entry)
        self.picture_field = "image"

    def add(self, where: str, key: str, picture: str) -> None:
        if key in self.gallery:
            raise GroundTruthError(f"{where}: {key!r} comes a second time; expected every one once")
        self.gallery[key] = picture


def _from_jsonl(folder: Path) -> _Entries:
    entries = _Entries()
    entries.picture_field = "query"
    for where, entry in json_lines(folder / DATABASE, read_text(folder / DATABASE)):
        entries.add(where, _key(where, entry, "id"), field(where, entry, "image", str))
    entries.queries = list(json_lines(folder / QUERIES, read_text(folder / QUERIES)))
    return entries


def _from_json(file: Path, whole: Any) -> _Entries:
    entries = _Entries()
    for i, picture in enumerate(_names(f"{file}, gallery", field(str(file), whole, "gallery", list))):
        entries.add(f"{file}, gallery {i}", picture, picture)
    entries.queries = [
        (f"{file}, query {i}", entry) for i, entry in enumerate(field(str(file), whole, "queries", list))
    ]
    return entries


def _from_lists(name: str, entries: _Entries, folder: Path, by: str | None) -> InstanceSet:
    position = {key: i for i, key in enumerate(entries.gallery)}
    at_path: dict[str, int] = {}
    for i, picture in enumerate(entries.gallery.values()):
        if at_path.setdefault(str(folder / picture), i) != i:
            raise GroundTruthError(f"{name}: gallery picture {picture!r} comes a second time, under another id")
    queries: list[Path] = []
    boxes: list[Box | None] = []
    relevant, junk, parts = [], [], dict[str, list[int]]()
    for where, entry in entries.queries:
        queries.append(folder / field(where, entry, entries.picture_field, str))
        boxes.append(_box(where, entry["box"]) if entry.get("box") is not None else None)
        own = _positions(where, entry, "relevant", position)
        ignored = _positions(where, entry, "junk", position) if "junk" in entry else ()
        if both := set(own) & set(ignored):
            raise GroundTruthError(f"{where}: gallery picture {min(both)} is both relevant and junk")
        itself = at_path.get(str(queries[-1]))
        if itself is not None and itself not in own and itself not in ignored:
            ignored = (*ignored, itself)
        relevant.append(own)
        junk.append(ignored)
        if by is not None:
            parts.setdefault(f"{by}={_key(where, entry, by)}", []).append(len(queries) - 1)
    if not queries:
        raise GroundTruthError(f"{name}: there are no queries in it; expected at least one")
    gallery = tuple(folder / picture for picture in entries.gallery.values())
    refuse_missing(name, [*gallery, *queries])
    tasks = {ALL: Task(tuple(relevant), tuple(junk))}
    return InstanceSet(
        name, gallery, tuple(queries), tuple(boxes), tasks, {part: tuple(own) for part, own in parts.items()}
    )


def _positions(where: str, entry: Any, name: str, position: Mapping[str, int]) -> tuple[int, ...]:
    keys = [str(key) for key in field(where, entry, name, list)]
    if unknown := [key for key in keys if key not in position]:
        raise GroundTruthError(f"{where}: {name} names {unknown[0]!r}, which is not in the gallery")
    if len(set(keys)) < len(keys):
        raise GroundTruthError(f"{where}: {name} names one picture twice; expected every one once")
    return tuple(position[key] for key in keys)


def _key(where: str, entry: Any, name: str) -> str:
    """Return an id or the value of a field, which may be a text or a whole number, as a text."""
    kind = int if isinstance(entry, dict) and isinstance(entry.get(name), int) else str
    return str(field(where, entry, name, kind))


def _names(where: str, value: Any) -> list[str]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise GroundTruthError(f"{where}: is {json.dumps(value)[:60]}, expected a list of names of pictures")
    return value


def _box(where: str, value: Any) -> Box:
    is_box = isinstance(value, list) and len(value) == 4 and all(isinstance(side, int | float) for side in value)
    if not (is_box and value[0] < value[2] and value[1] < value[3]):
        raise GroundTruthError(f"{where}: box is {value}, expected [left, top, right, bottom] in ascending order")
    return tuple(value)


def _from_groups(file: Path, whole: Any, folder: Path) -> InstanceSet:
    groups = [_names(f"{file}, group {i}", own) for i, own in enumerate(field(str(file), whole, "groups", list))]
    distractors = _names(f"{file}, distractors", whole.get("distractors", []))
    names = [picture for own in groups for picture in own]
    if len({*names, *distractors}) < len(names) + len(distractors):
        twice = next(name for name in [*names, *distractors] if [*names, *distractors].count(name) > 1)
        raise GroundTruthError(f"{file}: picture {twice!r} comes a second time; expected every one in one group")
    is_of_four = bool(groups) and all(len(own) == 4 for own in groups)
    found = _each_asks_for_its_own(
        file.stem,
        [folder / name for name in [*names, *distractors]],
        [i for i, own in enumerate(groups) for _ in own],
        protocol=GROUPS_OF_FOUR if is_of_four else RANKING,
    )
    refuse_missing(found.name, found.gallery)
    return found


def _from_classes(path: Path) -> InstanceSet:
    known = read_classes(path)
    return _each_asks_for_its_own(known.name, known.pictures, known.truth)


def _each_asks_for_its_own(
    name: str, pictures: Sequence[Path], group_of: Iterable[int], *, protocol: str = RANKING
) -> InstanceSet:
    """Return the set in which every picture of a group asks for the others; pictures beyond are distractors."""
    groups = list(group_of)
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    relevant = tuple(tuple(_others(members[group], i)) for i, group in enumerate(groups))
    if not any(relevant):
        raise GroundTruthError(f"{name}: no picture has another of its group; expected groups of two or more")
    tasks = {ALL: Task(relevant, tuple((i,) for i in range(len(groups))))}
    queries = tuple(pictures[: len(groups)])
    return InstanceSet(name, tuple(pictures), queries, (None,) * len(queries), tasks, {}, protocol)


def _others(members: list[int], itself: int) -> Iterator[int]:
    return (i for i in members if i != itself)
