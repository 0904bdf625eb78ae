"""Pictures of known individuals: folders, a table or groups that say whom or what each picture shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.datasets.classes import LABELS
from mmsearch.datasets.hugging_face_load import is_dataset
from mmsearch.datasets.open_set import SetOptions, open_classes, open_instances
from mmsearch.datasets.sets import DATABASE, QUERIES, InstanceSet, is_file
from mmsearch.errors import GroundTruthError, advice, reason
from mmsearch.images import FoundFile, find_files
from mmsearch.images.kinds import is_left_out


@dataclass(frozen=True)
class IdentitySet:
    """Pictures, each with its identity; `left_out` are sentences on what lies beside them."""

    name: str
    pictures: tuple[Path, ...]
    identities: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def open_identities(source: str, options: SetOptions) -> IdentitySet:
    """Return the pictures of known individuals that a user names.

    Parameters
    ----------
    source : str
        What `open_classes` reads: a folder a class, a table, a set of the `datasets` library; what `open_instances`
        reads: groups, or the pictures of a database, those relevant to one query being of one identity; or a folder
        with pictures and no folders, each an identity called as its file without the ending.
    options : SetOptions
        As for these.

    Raises
    ------
    GroundTruthError
        If it is none of them.
    """
    path = Path(source)
    if path.suffix == ".json" or any(is_file(path / name) for name in (DATABASE, QUERIES)):
        known = open_instances(source, options)
        groups = groups_of(known)
        names = names_of_groups(known.gallery, groups)
        return IdentitySet(known.name, known.gallery, tuple(names[group] for group in groups), known.left_out)
    if path.is_dir() and not is_file(path / LABELS) and not is_dataset(source):
        pictures = _pictures_without_folders(path)
        if pictures:
            return IdentitySet(path.name, tuple(pictures), tuple(picture.stem for picture in pictures))
    classes = open_classes(source, options)
    twice = {name for name, n in Counter(classes.class_names).items() if n > 1}
    names = [f"{name} ({number})" if name in twice else name for number, name in enumerate(classes.class_names)]
    return IdentitySet(classes.name, classes.pictures, tuple(names[i] for i in classes.truth), classes.left_out)


def groups_of(known: InstanceSet) -> list[int]:
    """Return the group of every gallery picture of an instance set, from 0 on in the order of the gallery.

    Pictures that are relevant to one query, and the query if it is one of them, are of one group; a picture that is
    relevant to none is a group of its own.
    """
    parent = list(range(len(known.gallery)))

    def root(picture: int) -> int:
        while parent[picture] != picture:
            parent[picture] = parent[parent[picture]]
            picture = parent[picture]
        return picture

    place = {path: i for i, path in enumerate(known.gallery)}
    for task in known.tasks.values():
        for query, box, relevant in zip(known.queries, known.boxes, task.relevant, strict=True):
            itself = [place[query]] if relevant and box is None and query in place else []
            for picture in (*relevant, *itself):
                parent[max(root(picture), root(relevant[0]))] = min(root(picture), root(relevant[0]))
    number: dict[int, int] = {}
    return [number.setdefault(root(picture), len(number)) for picture in range(len(parent))]


def names_of_groups(pictures: Sequence[Path], groups: Sequence[int]) -> list[str]:
    """Return a name for each group of pictures: that of the folder that holds it and no other, or its first file's.

    Where two would have the same, the path of the first picture tells them apart.
    """
    groups_in: dict[Path, set[int]] = {}
    for path, group in zip(pictures, groups, strict=True):
        groups_in.setdefault(path.parent, set()).add(group)
    first: dict[int, Path] = {}
    folders: dict[int, set[Path]] = {}
    for path, group in zip(pictures, groups, strict=True):
        first.setdefault(group, path)
        folders.setdefault(group, set()).add(path.parent)
    names = []
    for group, path in first.items():
        is_alone = len(folders[group]) == 1 and len(groups_in[path.parent]) == 1
        names.append(path.parent.name if is_alone else path.stem)
    twice = {name for name, n in Counter(names).items() if n > 1}
    return [str(first[group]) if name in twice else name for group, name in enumerate(names)]


def _pictures_without_folders(folder: Path) -> list[Path]:
    """Return the pictures of a folder in which no folder is that `index` would look into; else none."""
    try:
        has_folders = any(
            path.is_dir() and not (path.name.startswith(".") or is_left_out(os.fsencode(path.name)))
            for path in folder.iterdir()
        )
    except OSError as error:
        raise GroundTruthError(f"{folder}: cannot be searched ({reason(error)}); {advice(error)}") from error
    if has_folders:
        return []
    entries = find_files([os.fsencode(folder)])
    return sorted(Path(os.fsdecode(entry.path)) for entry in entries if isinstance(entry, FoundFile))
