"""Sets of the Hugging Face `datasets` library, from the hub or from disk, as captioned or classified pictures.

Rows go in, files of pictures come out: bytes in a row are written as they are, once, into the cache folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.datasets.hugging_face_load import is_in_cache, load_split
from mmsearch.datasets.sets import CaptionSet, ClassSet, caption_set, picture_in, refuse_missing
from mmsearch.errors import GroundTruthError, write_errors
from mmsearch.evaluation.cache import write_kept

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_COLUMNS = ("image", "image_path", "path", "file_name", "filename")
TEXT_COLUMNS = ("caption", "captions", "text", "sentences", "raw")
LABEL_COLUMNS = ("label", "labels", "class_name")
_SUFFIXES = (
    (b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)  # fmt: skip


def read_dataset_captions(
    source: str,
    *,
    split: str | None,
    image_column: str | None,
    text_column: str | None,
    cache: Path,
    images: Path | None = None,
    is_merging: bool = False,
) -> CaptionSet:
    """Return a set of captioned pictures; its name says which split and columns were used.

    Rows that have the same picture, byte by byte or by its path, are one picture with the captions of all.

    Parameters
    ----------
    source : str
        `hf:owner/name` or `hf:owner/name/config` on the hub; or a path: a folder made by `save_to_disk`, a folder
        or file of Parquet or Arrow, a folder of pictures with `metadata.jsonl` or `metadata.csv`.
    split : str or None
        Its name; may be left out where there is only one.
    image_column : str or None
        Default the only column of pictures, or the one of paths that is called as in `IMAGE_COLUMNS`.
    text_column : str or None
        Text, a list of texts, or a list of structs with the field `raw`; default the first of `TEXT_COLUMNS`.
    cache : Path
        The cache folder; pictures that are bytes in the set are written below `benchmarks/datasets` in it.
    images : Path or None
        Folder that pictures named in rows lie in; default that of the set, for the hub the library's cache.
    is_merging : bool
        See `caption_set`.

    Raises
    ------
    GroundTruthError
        If the set cannot be loaded, a split or column is missing, or a row has no picture, one that is not of the
        set, or no caption.
    StorageError
        If a picture cannot be written.
    """
    table = _table(source, split, image_column, cache, images)
    column = _chosen(source, table.dataset.features, text_column, TEXT_COLUMNS, "--text-column")
    captions: dict[Path, list[str]] = {}
    for row, (picture, value) in enumerate(table.rows(column, is_joining=True)):
        captions.setdefault(picture, []).extend(_texts(f"{source}, row {row}: column {column!r}", value))
    return caption_set(table.named(column), captions.items(), is_merging=is_merging)


def read_dataset_classes(
    source: str, *, split: str | None, image_column: str | None, label_column: str | None, cache: Path
) -> ClassSet:
    """Return a set of pictures of known class; its name says which split and columns were used.

    All names of the class column are kept, also those of classes without a picture; underscores in them are read
    as spaces. Where the column is text, its values are the names.

    Parameters
    ----------
    source, split, image_column, cache
        As for `read_dataset_captions`.
    label_column : str or None
        Default the only column of the type ClassLabel, or else the first of `LABEL_COLUMNS`.

    Raises
    ------
    GroundTruthError
        If the set cannot be loaded, a split or column is missing, a row has no picture, one that is not of the set,
        or no class, a picture comes twice, or there is one class only.
    StorageError
        If a picture cannot be written.
    """
    table = _table(source, split, image_column, cache)
    features = table.dataset.features
    classes = [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]
    usual = (*(classes if len(classes) == 1 else ()), *LABEL_COLUMNS)
    column = _chosen(source, features, label_column, usual, "--label-column")
    pictures: dict[Path, Any] = {}
    for row, (picture, label) in enumerate(table.rows(column, is_joining=False)):
        if picture in pictures:
            raise GroundTruthError(f"{source}, row {row}: picture {picture} comes a second time; expected it once")
        pictures[picture] = label
    refuse_missing(source, pictures)
    names, truth = _classes(source, column, features[column], list(pictures.values()))
    if len(names) < 2:
        raise GroundTruthError(f"{source}: all pictures are of the class {names[0]!r}; expected two or more")
    return ClassSet(table.named(column), tuple(pictures), truth, tuple(name.replace("_", " ") for name in names))


def _classes(source: str, column: str, feature: Any, labels: list[Any]) -> tuple[list[str], tuple[int, ...]]:
    """Return the names of all classes, and for every label the position of its class."""
    if hasattr(feature, "names"):
        names = list(feature.names)
        position: dict[Any, int] = {i: i for i, name in enumerate(names) if name.strip()}
    else:
        names = sorted({label for label in labels if isinstance(label, str) and label.strip()})
        position = {name: i for i, name in enumerate(names)}
    for row, label in enumerate(labels):
        if not isinstance(label, (int, str)) or label not in position:
            raise GroundTruthError(
                f"{source}, row {row}: column {column!r} ({_kind(feature)}) is {label!r}, which names no class; "
                "expected text or a ClassLabel; numbers become one by "
                f"dataset.cast_column({column!r}, datasets.ClassLabel(names=['name of class 0', ...]))"
            )
    return names, tuple(position[label] for label in labels)


@dataclass(frozen=True)
class _Table:
    """One split, its column of pictures, and where pictures are and go to."""

    source: str
    name: str
    split: str
    dataset: Dataset
    image: str
    base: Path | None
    folder: Path

    def named(self, column: str) -> str:
        """Return the name of the set, with the split, where it has splits, and the columns that were used."""
        split = "" if self.split == self.name else f"{self.split}; "
        return f"{self.name} ({split}{self.image}, {column})"

    def rows(self, column: str, *, is_joining: bool) -> Iterator[tuple[Path, Any]]:
        """Yield the picture and another value of every row; `is_joining` gives equal bytes one file."""
        rows = self.dataset.select_columns([self.image, column])
        written: dict[bytes, Path] = {}
        for i, row in enumerate(rows):
            where = f"{self.source}, row {i}: column"
            if row[column] is None:
                raise GroundTruthError(f"{where} {column!r} is null; expected a value in every row")
            picture = _picture(f"{where} {self.image!r}", row[self.image])
            if isinstance(picture, str):
                yield self._in_set(f"{where} {self.image!r}", picture), row[column]
            else:
                key = hashlib.sha256(picture).digest() if is_joining else i.to_bytes(8)
                if key not in written:
                    written[key] = _write(self.folder / f"{i:07d}{_suffix(picture)}", picture)
                yield written[key], row[column]

    def _in_set(self, where: str, name: str) -> Path:
        """Return the path of a picture, or raise GroundTruthError if it did not come with the set."""
        if self.base is not None:
            return picture_in(where, self.base, name)
        if not is_in_cache(Path(name)):
            raise GroundTruthError(f"{where} is {name}, expected a picture of the set itself")
        return Path(name)


def _table(
    source: str, split: str | None, image_column: str | None, cache: Path, images: Path | None = None
) -> _Table:
    folder = cache / "benchmarks" / "datasets"
    name, split, dataset, base = load_split(source, split, folder / "arrow")
    features = dataset.features
    pictures = [column for column, feature in features.items() if _kind(feature) == "Image"] or [
        column for column, feature in features.items() if _kind(feature) in ("binary", "struct of bytes, path")
    ]
    if image_column is None and len(pictures) > 1:
        raise GroundTruthError(
            f"{source}: has {len(pictures)} columns of pictures: {', '.join(pictures)}; choose one with "
            "--image-column"
        )
    image = _chosen(source, features, image_column, pictures or IMAGE_COLUMNS, "--image-column")
    # The fingerprint of the column alone: the same files whichever text is asked with them.
    fingerprint = dataset.select_columns([image])._fingerprint
    return _Table(source, name, split, dataset, image, images or base, folder / fingerprint)


def _chosen(source: str, features: Mapping[str, Any], named: str | None, usual: Sequence[str], option: str) -> str:
    """Return the named column, or the first that is there of those usually meant."""
    wanted = [named] if named is not None else usual
    chosen = next((column for column in wanted if column in features), None)
    if chosen is None:
        there = ", ".join(f"{column} ({_kind(feature)})" for column, feature in features.items())
        raise GroundTruthError(
            f"{source}: has no column {' or '.join(map(repr, wanted))}; found {there or 'none'}; choose one with "
            f"{option}"
        )
    return chosen


def _kind(feature: Any) -> str:
    """Return the type of a column in a word or two; lists and structs differ between versions of the library."""
    if isinstance(feature, dict):
        return f"struct of {', '.join(sorted(feature))}"
    if isinstance(feature, list):
        return f"list of {_kind(feature[0])}"
    name = type(feature).__name__
    if name == "Value":
        return str(feature.dtype).removeprefix("large_")
    return f"list of {_kind(feature.feature)}" if hasattr(feature, "feature") else name


def _picture(where: str, value: Any) -> bytes | str:
    """Return the bytes of a picture, or its path."""
    fields = value if isinstance(value, dict) else {"bytes" if isinstance(value, bytes) else "path": value}
    data, path = fields.get("bytes"), fields.get("path")
    if isinstance(data, bytes):
        return data
    if data is None and isinstance(path, str) and "://" not in path:
        return path
    if data is None and path is None:
        raise GroundTruthError(f"{where} is null; expected a picture in every row")
    raise GroundTruthError(
        f"{where} is {str(value)[:80]}, expected the bytes of a picture or a path on this machine"
    )


def _texts(where: str, value: Any) -> list[str]:
    """Return the captions in a value: text, a list of texts, or of structs with the field `raw`."""
    if isinstance(value, dict):
        value = value.get("raw")
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list):
        texts = [text.get("raw") if isinstance(text, dict) else text for text in texts]
    if (
        not isinstance(texts, list)
        or not texts
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise GroundTruthError(f"{where} has no caption or an empty one ({str(value)[:80]!r}); expected text")
    return texts


def _suffix(data: bytes) -> str:
    """Return the suffix of a picture by its first bytes, or none; whether it can be read is seen later."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return ".avif" if data[8:11] == b"avi" else ".heic"
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), "")


def _write(path: Path, data: bytes) -> Path:
    """Return the path of a picture that is written once, whole or not at all."""
    with write_errors(path):
        is_there = path.is_file() and path.stat().st_size == len(data)
    if not is_there:
        write_kept(path, data)
    return path
