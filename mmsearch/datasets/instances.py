"""Instance sets: queries by example with the pictures that show the same thing, in the forms they come in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mmsearch.datasets.captions import field, json_lines, parsed_json, read_text
from mmsearch.datasets.classes import read_classes
from mmsearch.datasets.sets import (
    DATABASE,
    GROUPS_OF_FOUR,
    QUERIES,
    RANKING,
    InstanceSet,
    Task,
    is_box,
    picture_in,
    refuse_missing,
)
from mmsearch.errors import GroundTruthError
from mmsearch.records import Box

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
        If it is in no known form, what it says does not fit together, or a picture is outside of that folder.

    Notes
    -----
    A query that is itself in the gallery is junk for itself unless it is named as relevant. Pictures of groups
    and classes all ask for the others of their own.
    """
    if (path / DATABASE).is_file() or (path / QUERIES).is_file():
        return _from_lists(path.name, _from_jsonl(path, images or path), by)
    if path.is_dir() or path.suffix != ".json":
        _refuse_parts(path, by)
        return _from_classes(path)
    file = path
    whole = parsed_json(str(file), read_text(file))
    folder = images or file.parent
    if isinstance(whole, dict) and "groups" in whole:
        _refuse_parts(path, by)
        return _from_groups(file, whole, folder)
    return _from_lists(path.stem, _from_json(file, whole, folder), by)


def _refuse_parts(path: Path, by: str | None) -> None:
    if by is not None:
        raise GroundTruthError(f"{path}: groups and classes have no field {by!r}; leave --by out")


class _Entries:
    """A gallery and queries as a file names them, before positions are known."""

    def __init__(self, folder: Path, *, has_ids: bool) -> None:
        self.folder, self.has_ids = folder, has_ids
        self.gallery: list[Path] = []
        self.position: dict[str, int] = {}  # key -> place in the gallery
        self.queries: list[tuple[str, dict[str, Any]]] = []  # (where, entry)

    def key(self, where: str, name: str) -> str:
        """Return what a picture of the gallery is known by: its id, or else its path."""
        return name if self.has_ids else str(picture_in(where, self.folder, name))

    def add(self, where: str, name: str, picture: str) -> None:
        key = self.key(where, name)
        if key in self.position:
            raise GroundTruthError(f"{where}: {name!r} comes a second time; expected every one once")
        self.position[key] = len(self.gallery)
        self.gallery.append(picture_in(where, self.folder, picture))


def _from_jsonl(folder: Path, images: Path) -> _Entries:
    entries = _Entries(images, has_ids=True)
    for where, entry in json_lines(folder / DATABASE, read_text(folder / DATABASE)):
        entries.add(where, _key(where, entry, "id"), field(where, entry, "image", str))
    entries.queries = list(json_lines(folder / QUERIES, read_text(folder / QUERIES)))
    return entries


def _from_json(file: Path, whole: Any, folder: Path) -> _Entries:
    entries = _Entries(folder, has_ids=False)
    for i, picture in enumerate(_names(f"{file}, gallery", field(str(file), whole, "gallery", list))):
        entries.add(f"{file}, gallery {i}", picture, picture)
    entries.queries = [
        (f"{file}, query {i}", entry) for i, entry in enumerate(field(str(file), whole, "queries", list))
    ]
    return entries


def _from_lists(name: str, entries: _Entries, by: str | None) -> InstanceSet:
    at_path: dict[Path, int] = {}
    for i, picture in enumerate(entries.gallery):
        if at_path.setdefault(picture, i) != i:
            raise GroundTruthError(f"{name}: gallery picture {picture} comes a second time, under another id")
    queries: list[Path] = []
    boxes: list[Box | None] = []
    relevant, junk, parts = [], [], dict[str, list[int]]()
    for where, entry in entries.queries:
        asked = field(where, entry, "query" if entries.has_ids else "image", str)
        queries.append(picture_in(where, entries.folder, asked))
        boxes.append(_box(where, entry["box"]) if entry.get("box") is not None else None)
        wanted = _positions(where, entry, "relevant", entries)
        ignored = _positions(where, entry, "junk", entries) if "junk" in entry else ()
        if both := set(wanted) & set(ignored):
            raise GroundTruthError(f"{where}: gallery picture {min(both)} is both relevant and junk")
        itself = at_path.get(queries[-1])
        if itself is not None and itself not in wanted and itself not in ignored:
            ignored = (*ignored, itself)
        relevant.append(wanted)
        junk.append(ignored)
        if by is not None:
            parts.setdefault(f"{by}={_key(where, entry, by)}", []).append(len(queries) - 1)
    if not queries:
        raise GroundTruthError(f"{name}: there are no queries in it; expected at least one")
    refuse_missing(name, [*entries.gallery, *queries])
    tasks = {ALL: Task(tuple(relevant), tuple(junk))}
    labelled = {part: tuple(numbers) for part, numbers in parts.items()}
    return InstanceSet(name, tuple(entries.gallery), tuple(queries), tuple(boxes), tasks, labelled)


def _positions(where: str, entry: Any, name: str, entries: _Entries) -> tuple[int, ...]:
    names = [str(key) for key in field(where, entry, name, list)]
    positions = [entries.position.get(entries.key(where, key)) for key in names]
    if None in positions:
        missing = names[positions.index(None)]
        raise GroundTruthError(f"{where}: {name} names {missing!r}, which is not in the gallery")
    if len(set(positions)) < len(positions):
        raise GroundTruthError(f"{where}: {name} names one picture twice; expected every one once")
    return tuple(position for position in positions if position is not None)


def _key(where: str, entry: Any, name: str) -> str:
    """Return an id or the value of a field, which may be a text or a whole number, as a text."""
    kind = int if isinstance(entry, dict) and isinstance(entry.get(name), int) else str
    return str(field(where, entry, name, kind))


def _names(where: str, value: Any) -> list[str]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise GroundTruthError(f"{where}: is {json.dumps(value)[:60]}, expected a list of names of pictures")
    return value


def _box(where: str, value: Any) -> Box:
    if not (isinstance(value, list) and is_box(value)):
        raise GroundTruthError(
            f"{where}: box is {str(value)[:80]}, expected numbers [left, top, right, bottom] in ascending order"
        )
    return tuple(value)


def _from_groups(file: Path, whole: Any, folder: Path) -> InstanceSet:
    listed = field(str(file), whole, "groups", list)
    groups = [_names(f"{file}, group {i}", group) for i, group in enumerate(listed)]
    distractors = _names(f"{file}, distractors", whole.get("distractors", []))
    pictures: dict[Path, None] = {}
    for name in (*chain(*groups), *distractors):
        picture = picture_in(str(file), folder, name)
        if picture in pictures:
            raise GroundTruthError(f"{file}: picture {name!r} comes a second time; expected every one in one group")
        pictures[picture] = None
    is_of_four = bool(groups) and all(len(group) == 4 for group in groups)
    instances = _each_asks_for_its_own(
        file.stem,
        list(pictures),
        [i for i, group in enumerate(groups) for _ in group],
        protocol=GROUPS_OF_FOUR if is_of_four else RANKING,
    )
    refuse_missing(instances.name, instances.gallery)
    return instances


def _from_classes(path: Path) -> InstanceSet:
    known = read_classes(path)
    return replace(_each_asks_for_its_own(known.name, known.pictures, known.truth), left_out=known.left_out)


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
