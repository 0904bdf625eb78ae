"""A benchmark set by the name or path that a user gives it: looks which reader it is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.datasets.captions import JSONL, read_captions
from mmsearch.datasets.class_folders import folder_of_split
from mmsearch.datasets.classes import LABELS, read_classes
from mmsearch.datasets.hugging_face import read_dataset_captions, read_dataset_classes
from mmsearch.datasets.hugging_face_load import is_dataset
from mmsearch.datasets.instances import read_instances
from mmsearch.datasets.revisited import read_revisited
from mmsearch.datasets.sets import (
    DATABASE,
    QUERIES,
    CaptionSet,
    ClassSet,
    InstanceSet,
    classes_of_captions,
)
from mmsearch.errors import GroundTruthError, advice, reason


@dataclass(frozen=True)
class SetOptions:
    """What a user may say of a set besides its name; None leaves it to the reader.

    `columns` are those of pictures and of captions or labels in a set of the `datasets` library, whose pictures
    are written below `cache` where it holds them itself.
    """

    cache: Path
    images: Path | None = None
    split: str | None = None
    columns: tuple[str | None, str | None] = (None, None)


def open_captions(source: str, options: SetOptions, *, is_merging: bool = False) -> CaptionSet:
    """Return a caption set: of `read_captions`, or of `read_dataset_captions` where it is one of `datasets`."""
    _refuse_impossible(source)
    if is_dataset(source) and not (Path(source) / JSONL).is_file():
        image, text = options.columns
        return read_dataset_captions(
            source, split=options.split, image_column=image, text_column=text, cache=options.cache,
            images=options.images, is_merging=is_merging,
        )  # fmt: skip
    _refuse(source, options, columns="captions.jsonl and the like")
    return read_captions(Path(source), images=options.images, split=options.split, is_merging=is_merging)


def open_classes(source: str, options: SetOptions) -> ClassSet:
    """Return a class set: of `read_classes`, or of `read_dataset_classes` where it is one of `datasets`.

    A folder of classes has no splits; if one is asked for, its first level of folders are the splits.
    """
    _refuse_impossible(source)
    path, split = Path(source), options.split
    if is_dataset(source) and (split is not None or not (path / LABELS).is_file()):
        image, label = options.columns
        return read_dataset_classes(
            source, split=split, image_column=image, label_column=label, cache=options.cache
        )
    _refuse(source, options, columns="labels.csv and folders of classes")
    if split is None:
        return read_classes(path)
    return replace(read_classes(folder_of_split(path, split)), name=f"{path.name} ({split})")


def open_captions_or_classes(
    source: str, options: SetOptions, *, label_column: str | None = None, is_by_caption: bool = False
) -> CaptionSet | ClassSet:
    """Return a set of captions, whose equal texts are one, or of classes: whichever it is.

    A folder without captions has classes, and a set of `datasets` has if a column of them is named. With
    `is_by_caption` the captions of a set are its classes; see `classes_of_captions`.

    Raises
    ------
    GroundTruthError
        If it is neither, or no classes can be made of its captions.
    """
    _refuse_impossible(source)
    path = Path(source)
    is_of_classes = label_column is not None or (
        path.is_dir() and not (path / JSONL).is_file() and (not is_dataset(source) or (path / LABELS).is_file())
    )
    if is_of_classes and not is_by_caption:
        return open_classes(source, replace(options, columns=(options.columns[0], label_column)))
    captioned = open_captions(source, options, is_merging=True)
    return classes_of_captions(captioned) if is_by_caption else captioned


def open_instances(source: str, options: SetOptions, *, by: str | None = None) -> InstanceSet:
    """Return an instance set: of `read_instances`, or of `read_revisited` where it is called `gnd_` or a pickle."""
    _refuse_impossible(source)
    path = Path(source)
    if path.suffix in (".pkl", ".pickle") or (path.name.startswith("gnd_") and path.suffix == ".json"):
        if by is not None:
            raise GroundTruthError(f"{source}: its queries have no field {by!r}; leave --by out")
        return read_revisited(path, images=options.images)
    if is_dataset(source) and not any((path / name).is_file() for name in (DATABASE, QUERIES, LABELS)):
        raise GroundTruthError(
            f"{source}: is a set of `datasets`, which has captions or classes; measure it by `bench retrieval` or "
            "by `bench classify`"
        )
    return read_instances(path, images=options.images, by=by)


def _refuse_impossible(source: str) -> None:
    """Raise GroundTruthError for a name that no file can have."""
    try:
        Path(source).exists()
    except OSError as error:
        said = f"{source[:80]!r}: is the name of no set ({reason(error)}); {advice(error)}"
        raise GroundTruthError(said) from error


def _refuse(source: str, options: SetOptions, *, columns: str) -> None:
    """Raise GroundTruthError if columns are named for a set that has a form of its own."""
    if any(column is not None for column in options.columns):
        raise GroundTruthError(f"{source}: columns cannot be named for {columns}, only for sets of `datasets`")
