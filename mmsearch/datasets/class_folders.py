"""A folder of pictures for each class: which picture is of which, and what lies there and is of none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmsearch.errors import GroundTruthError, advice, reason
from mmsearch.images import (
    FoundFile,
    Unreachable,
    find_files,
    passed_over_text,
)
from mmsearch.images.find import LINK_ELSEWHERE
from mmsearch.images.kinds import is_left_out, is_named_like_a_picture_or_film
from mmsearch.names import quoted

_SPLITS = (
    ("train", "training"), ("validation", "valid", "val", "dev"), ("test", "testing", "eval", "evaluation"),
)  # fmt: skip
"""Names of splits; those in one row are the same, as in the `datasets` library."""


def pictures_of_classes(folder: Path) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Return the class of every picture, and sentences on what is left out.

    The class is the first folder below; its pictures may lie in folders below that, at any depth, as in
    `torchvision.datasets.ImageFolder`. Links are followed, but not back into the set, where what they lead to is of
    the class in which it lies. Hidden files are nothing, and what `index` passes over is passed over.

    Raises
    ------
    GroundTruthError
        If the folders of classes are in folders of splits, a folder of a class has no picture, or something cannot
        be looked at: a set is measured whole.
    """
    classes, left_out = _first_level(folder)
    _refuse_splits(folder, classes)
    closed = os.path.realpath(os.fsencode(folder))
    pictures: dict[Path, str] = {}
    passed_over: Counter[str] = Counter()
    empty: list[tuple[Path, str]] = []
    links: list[Path] = []
    for class_folder in classes:
        n_before, kinds = len(pictures), Counter[str]()
        for entry in find_files([os.fsencode(class_folder)], follow_links=True, closed_to_links=closed):
            path = Path(os.fsdecode(entry.path))
            if isinstance(entry, Unreachable):
                raise GroundTruthError(f"{path}: {entry.message}; expected a set that can be read whole")
            if isinstance(entry, FoundFile):
                pictures[path] = class_folder.name
            elif entry.kind == LINK_ELSEWHERE:
                links.append(path)
            else:
                kinds[entry.kind] += 1
        if len(pictures) == n_before:
            empty.append((class_folder, passed_over_text(kinds)))
        passed_over += kinds
    if pictures and empty:
        _refuse_empty(empty)
    left_out += _counted("link{s} into this set or around it, where a picture is of the class it lies in", links)
    return pictures, (*left_out, *([passed_over_text(passed_over)] if passed_over else []))


def folder_of_split(folder: Path, split: str) -> Path:
    """Return the folder of a split, which may have another name of the same: `val` is `validation`.

    Raises
    ------
    GroundTruthError
        If there is none.
    """
    same = next((names for names in _SPLITS if split in names), (split,))
    folders, _ = _first_level(folder)
    for name in (split, *same):
        if named := next((subfolder for subfolder in folders if subfolder.name == name), None):
            return named
    there = ", ".join(subfolder.name for subfolder in folders)
    raise GroundTruthError(f"{folder}: has no folder of a split {split!r}; found {there or 'no folders'}")


def _first_level(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the folders in a folder, and sentences on what else lies there and might be missed."""
    folders: list[Path] = []
    hidden: list[Path] = []
    beside: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            name = os.fsencode(path.name)
            if path.is_dir():
                (hidden if name.startswith(b".") or is_left_out(name) else folders).append(path)
            elif path.is_symlink() and not path.exists() and not name.startswith(b"."):
                raise GroundTruthError(
                    f"{path}: a link that leads nowhere, where a class may be meant; mend it, or move it away"
                )
            elif not name.startswith(b".") and is_named_like_a_picture_or_film(name):
                beside.append(path)
    except OSError as error:
        raise GroundTruthError(f"{folder}: cannot be searched ({reason(error)}); {advice(error)}") from error
    return folders, [
        *_counted("picture{s} or film{s} beside the folders, of no class", beside),
        *_counted("folder{s} left out by {its} name", hidden),
    ]


def _counted(words: str, paths: Sequence[Path]) -> list[str]:
    """Return a sentence that counts paths and names the first, or none."""
    if not paths:
        return []
    s, its, more = ("s", "their", ", ...") if len(paths) > 1 else ("", "its", "")
    return [f"{len(paths)} {words.format(s=s, its=its)}: {quoted(str(paths[0]))}{more}"]


def _refuse_splits(folder: Path, classes: Sequence[Path]) -> None:
    """Raise GroundTruthError if the first folders are splits, with the folders of classes in them."""
    known = {name for same in _SPLITS for name in same}
    splits = [subfolder for subfolder in classes if subfolder.name.lower() in known]
    below = Counter(inner.name for subfolder in splits for inner in _first_level(subfolder)[0])
    if below and (len(splits) == len(classes) or max(below.values()) > 1):
        names = " and ".join(subfolder.name for subfolder in splits)
        are, them = ("are splits", "them") if len(splits) > 1 else ("is a split", "it")
        raise GroundTruthError(
            f"{folder}: {names} {are}, with folders of classes in {them}, such as {next(iter(below))}; name the "
            f"split that is meant, such as {splits[-1]}, or say in labels.csv what is of which class"
        )


def _refuse_empty(empty: Sequence[tuple[Path, str]]) -> None:
    class_folder, passed_over = empty[0]
    why = f" ({passed_over})" if passed_over else ""
    more = f", nor have {len(empty) - 1} other folders" if len(empty) > 1 else ""
    raise GroundTruthError(
        f"{class_folder}: has no picture that can be read{why}{more}; every folder is a class: put pictures there, "
        "or move it away"
    )
