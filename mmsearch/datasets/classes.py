"""Class sets: a folder with `labels.csv`, or a folder a class."""

from __future__ import annotations

from pathlib import Path

from mmsearch.datasets.captions import JSONL, csv_rows, read_text
from mmsearch.datasets.class_folders import pictures_of_classes
from mmsearch.datasets.sets import DATABASE, QUERIES, ClassSet, is_file, picture_in, refuse_missing
from mmsearch.errors import GroundTruthError

LABELS = "labels.csv"
_MOST_DIGITS = 18
_OTHER_SETS = {JSONL: "bench retrieval", DATABASE: "bench instance", QUERIES: "bench instance"}


def read_classes(path: Path) -> ClassSet:
    """Return a class set from a folder.

    Parameters
    ----------
    path : Path
        A folder with `labels.csv`, whose heading names `image` (relative to the folder) and `class_name`, and
        may name `class_index` where two classes share a name; or a folder with one folder of pictures for
        each class, named as the class is (underscores are read as spaces), and no file of a set of another kind:
        see `pictures_of_classes`.

    Raises
    ------
    GroundTruthError
        If there is neither, the set is of another kind, a column is missing, a picture is not on disk, comes twice
        or is outside of the folder, a class has two names or no picture, or there is one class only.
    """
    labels = path / LABELS
    return _from_table(path, labels) if is_file(labels) else _from_folders(path)


def _from_table(folder: Path, file: Path) -> ClassSet:
    rows = csv_rows(file, read_text(file))
    columns = next(rows, [])
    if missing := [name for name in ("image", "class_name") if name not in columns]:
        raise GroundTruthError(f"{file}: has no column {missing[0]!r}; found {', '.join(columns) or 'nothing'}")
    pictures: dict[Path, str] = {}
    names: dict[str, str] = {}
    for number, cells in enumerate((cells for cells in rows if cells), start=2):
        row = dict(zip(columns, cells + [""] * len(columns), strict=False))
        image, name = row["image"], row["class_name"].strip()
        key = row["class_index"] if "class_index" in columns else name
        if not (image and name and key):
            raise GroundTruthError(f"{file}, line {number}: image or class is empty; expected both")
        if key.isdecimal() and len(key) > _MOST_DIGITS:
            raise GroundTruthError(
                f"{file}, line {number}: class is a number of {len(key)} digits, expected at most {_MOST_DIGITS}"
            )
        picture = picture_in(f"{file}, line {number}", folder, image)
        if picture in pictures:
            raise GroundTruthError(f"{file}, line {number}: picture {image!r} comes a second time")
        if names.setdefault(key, name) != name:
            raise GroundTruthError(f"{file}, line {number}: class {key} is called {names[key]!r} and {name!r}")
        pictures[picture] = key
    return _class_set(folder, pictures, names)


def _from_folders(folder: Path) -> ClassSet:
    if not folder.is_dir():
        raise GroundTruthError(f"{folder}: is not a folder; expected one with labels.csv, or with a folder a class")
    if other := next((name for name in _OTHER_SETS if is_file(folder / name)), None):
        raise GroundTruthError(
            f"{folder}: has {other}: such a set is measured by `{_OTHER_SETS[other]}`; if its folders are classes, "
            f"say so in {LABELS}"
        )
    pictures, left_out = pictures_of_classes(folder)
    if not pictures:
        raise GroundTruthError(f"{folder}: has neither {LABELS} nor a folder of pictures for each class")
    names = {name: name.replace("_", " ") for name in pictures.values()}
    return _class_set(folder, pictures, names, left_out)


def _class_set(
    folder: Path, pictures: dict[Path, str], names: dict[str, str], left_out: tuple[str, ...] = ()
) -> ClassSet:
    refuse_missing(folder.name, pictures)
    if len(names) < 2:
        raise GroundTruthError(
            f"{folder}: all pictures are of the class {next(iter(names))!r}; expected two or more (captions are "
            "measured by `bench retrieval`)"
        )
    order = sorted(names, key=lambda key: (0, int(key), "") if key.isdecimal() else (1, 0, key))
    position = {key: i for i, key in enumerate(order)}
    truth = tuple(position[key] for key in pictures.values())
    return ClassSet(folder.name, tuple(pictures), truth, tuple(names[key] for key in order), left_out)
