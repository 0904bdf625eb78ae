"""What a benchmark set is, whatever format it came in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import GroundTruthError
from mmsearch.records import Box

DATABASE, QUERIES = "database.jsonl", "queries.jsonl"  # of an instance set
RANKING, REVISITED, GROUPS_OF_FOUR = "ranking", "revisited", "groups of four"


def is_file(path: Path) -> bool:
    """Return whether a file is there; a name that no file can have is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def picture_in(where: str, folder: Path, name: str) -> Path:
    """Return the path of a picture of a set, the same however its name is written: `x/../a.jpg` is `a.jpg`.

    Names are read by their letters, relative to the folder or absolute; links are not looked at.

    Raises
    ------
    GroundTruthError
        If it is not in the folder: thumbnails go into reports that are shown to others, and a set from elsewhere
        must not choose among private files.
    """
    path = Path(os.path.normpath(name))
    if path.is_absolute():
        bases = (Path(os.path.normpath(folder.absolute())), folder.resolve())
        path = next((path.relative_to(base) for base in bases if path.is_relative_to(base)), Path(os.pardir))
    if os.pardir in path.parts:
        raise GroundTruthError(
            f"{where}: {name!r} lies outside of {folder}; expected a picture in that folder (another is named "
            "with --images, where the command has it)"
        )
    return folder / path


def is_box(value: Sequence[Any]) -> bool:
    """Return whether values are the left, top, right and bottom of a part of a picture, in ascending order."""
    is_of_four = len(value) == 4 and all(
        isinstance(side, int | float) and not isinstance(side, bool) and abs(side) < 2**31  # no NaN either
        for side in value
    )
    return is_of_four and value[0] < value[2] and value[1] < value[3]


@dataclass(frozen=True)
class CaptionSet:
    """Pictures and the texts that describe them.

    Parameters
    ----------
    name : str
        For reports.
    pictures : tuple of Path
        The gallery of text to image, in the order of the set.
    texts : tuple of str
        The captions, those of one picture after one another.
    pictures_of_text : tuple of tuple of int
        For every text the positions of the pictures it describes.
    translations : tuple of dict of str to str
        For every picture texts that describe it in other languages, by their codes; empty where the set has none.
    """

    name: str
    pictures: tuple[Path, ...]
    texts: tuple[str, ...]
    pictures_of_text: tuple[tuple[int, ...], ...]
    translations: tuple[dict[str, str], ...] = ()

    @property
    def texts_of_picture(self) -> list[list[int]]:
        """For every picture the positions of its texts."""
        texts: list[list[int]] = [[] for _ in self.pictures]
        for text, pictures in enumerate(self.pictures_of_text):
            for picture in pictures:
                texts[picture].append(text)
        return texts

    @property
    def n_repeated_texts(self) -> int:
        """Texts that are, letter by letter, also the caption of another picture."""
        return len(self.texts) - len(set(self.texts))


def caption_set(
    name: str, entries: Iterable[tuple[Path, Sequence[str]]], *, is_merging: bool = False
) -> CaptionSet:
    """Return the set of pictures with their captions.

    Parameters
    ----------
    name : str
        For reports and errors.
    entries : iterable of (path, captions)
        In the order of the set.
    is_merging : bool
        Make texts that are the same, letter by letter, one query to which all their pictures are relevant.
        Papers do not: they ask every caption by itself, and only its own picture is relevant.

    Raises
    ------
    GroundTruthError
        If there are no pictures, one has no caption, comes twice or is not on disk.
    """
    pictures: dict[Path, int] = {}
    owners: list[tuple[str, int]] = []
    for path, captions in entries:
        if path in pictures:
            raise GroundTruthError(f"{name}: {path} comes twice; expected every picture once, with its captions")
        texts = (
            list(dict.fromkeys(text.strip() for text in captions)) if is_merging else [*map(str.strip, captions)]
        )
        if not texts or "" in texts:
            raise GroundTruthError(
                f"{name}: {path} has no caption or an empty one; expected text for every picture"
            )
        owners += [(text, len(pictures)) for text in texts]
        pictures[path] = len(pictures)
    refuse_missing(name, pictures)
    if not is_merging:
        return CaptionSet(name, tuple(pictures), tuple(t for t, _ in owners), tuple((p,) for _, p in owners))
    pictures_of: dict[str, list[int]] = {}
    for text, picture in owners:
        pictures_of.setdefault(text, []).append(picture)
    return CaptionSet(name, tuple(pictures), tuple(pictures_of), tuple(map(tuple, pictures_of.values())))


def refuse_missing(name: str, pictures: Iterable[Path]) -> None:
    """Raise GroundTruthError if pictures are not on disk, or there are none."""
    known = list(pictures)
    missing = [path for path in known if not is_file(path)]
    if missing:
        raise GroundTruthError(
            f"{name}: {len(missing)} of {len(known)} pictures are not on disk, the first is {missing[0]}; "
            "put them there, or say where they are (--images, where the command has it)"
        )
    if not known:
        raise GroundTruthError(f"{name}: there are no pictures in it; expected at least one")


@dataclass(frozen=True)
class ClassSet:
    """Pictures, each of one class.

    Parameters
    ----------
    name : str
        For reports.
    pictures : tuple of Path
        In the order of the set.
    truth : tuple of int
        For every picture the position of its class.
    class_names : tuple of str
        Two classes may have the same name.
    left_out : tuple of str
        Sentences on what lies in the set and is not measured.
    """

    name: str
    pictures: tuple[Path, ...]
    truth: tuple[int, ...]
    class_names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def classes_of_captions(captioned: CaptionSet) -> ClassSet:
    """Return a set whose classes are the captions of another, each picture of the class that is its only caption.

    Raises
    ------
    GroundTruthError
        If a picture has several captions, or all pictures have the same.
    """
    texts = list(dict.fromkeys(captioned.texts))
    of_picture = [{captioned.texts[text] for text in texts} for texts in captioned.texts_of_picture]
    for picture, captions in zip(captioned.pictures, of_picture, strict=True):
        if len(captions) > 1:
            raise GroundTruthError(
                f"{captioned.name}: {picture} has {len(captions)} captions; expected one, to be its class"
            )
    if len(texts) < 2:
        raise GroundTruthError(f"{captioned.name}: all captions are {texts[0]!r}; expected two or more")
    position = {text: i for i, text in enumerate(texts)}
    truth = tuple(position[text] for captions in of_picture for text in captions)
    return ClassSet(captioned.name, captioned.pictures, truth, tuple(texts))


@dataclass(frozen=True)
class Task:
    """What counts as found for every query of an instance set: positions in its gallery.

    Junk is taken out of the ranking before it is scored; everything else is irrelevant.
    """

    relevant: tuple[tuple[int, ...], ...]
    junk: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class InstanceSet:
    """Queries by example, and the pictures of a gallery that show the same thing.

    Parameters
    ----------
    name : str
        For reports.
    gallery, queries : tuple of Path
        A picture may be both.
    boxes : tuple of Box or None
        For every query the part of it that is asked, None for the whole picture.
    tasks : dict of str to Task
        One, or the three of the revisited Oxford and Paris protocol.
    parts : dict of str to tuple of int
        Groups of queries that are also reported apart, such as those of one camera.
    protocol : str
        Which measures are reported: `ranking`, `revisited` (Radenovic 2018) or `groups of four` (UKBench).
    left_out : tuple of str
        Sentences on what lies in the set and is not measured.
    """

    name: str
    gallery: tuple[Path, ...]
    queries: tuple[Path, ...]
    boxes: tuple[Box | None, ...]
    tasks: dict[str, Task]
    parts: dict[str, tuple[int, ...]]
    protocol: str = RANKING
    left_out: tuple[str, ...] = ()

    @property
    def pictures(self) -> list[Path]:
        """Gallery and queries, every picture once."""
        return list(dict.fromkeys((*self.gallery, *self.queries)))
