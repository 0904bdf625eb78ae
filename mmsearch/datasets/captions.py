"""Caption sets: folders with `captions.jsonl`, COCO, Karpathy splits, and the token files of Flickr8k and 30k."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsearch.datasets.sets import CaptionSet, caption_set, is_file, picture_in
from mmsearch.errors import GroundTruthError, advice, reason

JSONL = "captions.jsonl"


def read_captions(
    path: Path, *, images: Path | None = None, split: str | None = None, is_merging: bool = False
) -> CaptionSet:
    """Return a caption set, in whichever of the known formats it is.

    Parameters
    ----------
    path : Path
        A folder with `captions.jsonl` (`{"image": ..., "captions": [...]}` a line, and if there are any
        `"translations": {"fr": ...}`), or that file; the JSON of
        COCO captions (`images`, `annotations`) or of a Karpathy split (`images` with `sentences`); a token
        file of Flickr8k or Flickr30k (`name.jpg#0<TAB>caption`) or its table (`image, caption` or
        `image| number| caption` with a heading).
    images : Path or None
        Folder that the names of pictures are relative to; default the folder of the file, or the one folder
        beside it that holds the first picture.
    split : str or None
        Keep only pictures of this split, where the format has splits; for token files the path of a file
        with one picture name a line, kept as it is written.
    is_merging : bool
        See `caption_set`.

    Raises
    ------
    GroundTruthError
        If the file is missing or in no known format, what it says does not fit together, or a picture is outside
        of that folder.
    """
    file = path / JSONL if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise GroundTruthError(
            f"{path}: has no {JSONL}; sets of classes are measured by `bench classify`, those of instances by "
            "`bench instance`"
        )
    text = read_text(file)
    if file.suffix == ".jsonl":
        named = _from_jsonl(file, text, split)
    elif file.suffix == ".json":
        named = _from_json(file, text, split)
    else:
        named = _from_tokens(file, text, split)
    if not named:
        chosen = f" of split {split!r}" if split else ""
        raise GroundTruthError(f"{file}: there are no pictures{chosen} in it; expected at least one")
    folder = images if images is not None else _folder_of(file, next(iter(named)))
    name = path.name if path.is_dir() else path.stem
    known = caption_set(
        name if split is None else f"{name} ({Path(split).stem})",
        ((picture_in(str(file), folder, picture), captions) for picture, captions in named.items()),
        is_merging=is_merging,
    )
    if file.suffix == ".jsonl" and (translated := _translations(file, text)):
        return replace(known, translations=tuple(translated.get(picture, {}) for picture in named))
    return known


def read_text(file: Path) -> str:
    """Return a text file of a set, or raise GroundTruthError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise GroundTruthError(f"{file}: is not UTF-8 text at byte {error.start}; is it the right file?") from error
    except OSError as error:
        raise GroundTruthError(f"{file}: cannot be read ({reason(error)}); {advice(error)}") from error


def lines_of(text: str) -> list[str]:
    """Return the lines of a text; only a line feed ends one, as captions may hold any other separator."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def parsed_json(where: str, text: str) -> Any:
    """Return what JSON says, or raise GroundTruthError: also for text that is nested too deeply to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) and error.lineno > 1 else ""
        raise GroundTruthError(f"{where}{line}: is not JSON ({str(error)[:200]}); is it whole?") from error


def csv_rows(file: Path, text: str) -> Iterator[list[str]]:
    """Yield the rows of a table of comma-separated values, or raise GroundTruthError."""
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from rows
    except csv.Error as error:
        raise GroundTruthError(f"{file}, line {rows.line_num}: is no table ({error}); is it damaged?") from error


def json_lines(file: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) for every line that is not blank; `where` names file and line for errors."""
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            where = f"{file}, line {number}"
            value = parsed_json(where, line)
            if not isinstance(value, dict):
                raise GroundTruthError(f"{where}: is {type(value).__name__}; expected an object")
            yield where, value


def field(where: str, entry: Any, name: str, kind: type) -> Any:
    """Return a field of an object, or raise GroundTruthError that names it and those that are there."""
    if not isinstance(entry, dict) or name not in entry:
        there = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise GroundTruthError(f"{where}: has no field {name!r}; found {there or 'nothing'}")
    if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
        raise GroundTruthError(f"{where}: field {name!r} is {type(entry[name]).__name__}, expected {kind.__name__}")
    return entry[name]


def _texts(where: str, captions: list[Any]) -> list[str]:
    for caption in captions:
        if not isinstance(caption, str):
            raise GroundTruthError(f"{where}: a caption is {type(caption).__name__}, expected str")
    return captions


def _add(named: dict[str, list[str]], where: str, picture: str, captions: list[str]) -> None:
    if picture in named:
        raise GroundTruthError(f"{where}: picture {picture!r} comes a second time; expected every picture once")
    named[picture] = captions


def _from_jsonl(file: Path, text: str, split: str | None) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for where, entry in json_lines(file, text):
        if split is None or field(where, entry, "split", str) == split:
            captions = _texts(where, field(where, entry, "captions", list))
            _add(named, where, field(where, entry, "image", str), captions)
    return named


def _translations(file: Path, text: str) -> dict[str, dict[str, str]]:
    """Return for the pictures that have any their texts in other languages."""
    translated: dict[str, dict[str, str]] = {}
    for where, entry in json_lines(file, text):
        if "translations" in entry:
            by_language = field(where, entry, "translations", dict)
            _texts(where, list(by_language.values()))
            kept = {language: said.strip() for language, said in by_language.items() if said.strip()}
            translated[field(where, entry, "image", str)] = kept
    return translated


def _from_json(file: Path, text: str, split: str | None) -> dict[str, list[str]]:
    whole = parsed_json(str(file), text)
    images = field(str(file), whole, "images", list)
    if "annotations" in whole:
        return _from_coco(file, images, field(str(file), whole, "annotations", list), split)
    return _from_karpathy(file, images, split)


def _from_coco(file: Path, images: list[Any], annotations: list[Any], split: str | None) -> dict[str, list[str]]:
    if split is not None:
        raise GroundTruthError(f"{file}: COCO has a file a split; leave --split out, name the file of {split!r}")
    named: dict[str, list[str]] = {}
    name_of: dict[int, str] = {}
    for i, image in enumerate(images):
        where = f"{file}, image {i}"
        number = field(where, image, "id", int)
        if number in name_of:
            raise GroundTruthError(f"{where}: id {number} comes a second time; expected every id once")
        name_of[number] = field(where, image, "file_name", str)
        _add(named, where, name_of[number], [])
    for i, annotation in enumerate(annotations):
        where = f"{file}, annotation {i}"
        number = field(where, annotation, "image_id", int)
        if number not in name_of:
            raise GroundTruthError(f"{where}: image_id {number} is not among the images; expected one of their ids")
        named[name_of[number]].append(field(where, annotation, "caption", str))
    return named


def _from_karpathy(file: Path, images: list[Any], split: str | None) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for i, image in enumerate(images):
        where = f"{file}, image {i}"
        if split is None or field(where, image, "split", str) == split:
            sentences = field(where, image, "sentences", list)
            captions = [field(f"{where}, sentence {j}", value, "raw", str) for j, value in enumerate(sentences)]
            folder = field(where, image, "filepath", str) if "filepath" in image else ""
            picture = Path(folder) / field(where, image, "filename", str)
            _add(named, where, str(picture), captions)
    return named


def _from_tokens(file: Path, text: str, split: str | None) -> dict[str, list[str]]:
    """Read `name.jpg#0<TAB>caption` lines, or a table with the columns image and caption (or comment)."""
    first = text.partition("\n")[0]
    rows = _token_rows(file, text) if "\t" in first else _table_rows(file, text)
    wanted = None if split is None else {line for line in lines_of(read_text(Path(split))) if line}
    named: dict[str, list[str]] = {}
    for picture, caption in rows:
        if wanted is None or picture in wanted:
            named.setdefault(picture, []).append(caption)
    if wanted is not None and (missing := sorted(wanted - named.keys())):
        raise GroundTruthError(
            f"{split}: names {len(missing)} pictures without captions in {file}, the first is {missing[0]!r}"
        )
    return named


def _token_rows(file: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            key, tab, caption = line.partition("\t")
            picture, sign, _ = key.rpartition("#")
            if not (tab and sign):
                raise GroundTruthError(
                    f"{file}, line {number}: is not `name.jpg#0<TAB>caption`; found {line[:40]!r}"
                )
            yield picture, caption


def _table_rows(file: Path, text: str) -> Iterator[tuple[str, str]]:
    first = text.partition("\n")[0]
    rows: Iterable[list[str]] = (
        (line.split("|", 2) for line in lines_of(text) if line) if "|" in first else csv_rows(file, text)
    )
    heading: list[str] = []
    columns: tuple[int, int] | None = None
    for number, row in enumerate(rows, start=1):
        if columns is None:
            heading = [name.strip().lower() for name in row]
            columns = _columns(file, heading)
        elif row:
            if len(row) != len(heading):
                raise GroundTruthError(
                    f"{file}, line {number}: has {len(row)} columns, its heading names {len(heading)}"
                )
            yield row[columns[0]].strip(" "), row[columns[1]].strip()


def _columns(file: Path, heading: list[str]) -> tuple[int, int]:
    places = [
        next((i for i, name in enumerate(heading) if name in names), None)
        for names in (("image", "image_name"), ("caption", "comment"))
    ]
    if places[0] is None or places[1] is None:
        raise GroundTruthError(
            f"{file}: is in no known format of captions; expected captions.jsonl, the JSON of COCO or of a "
            "Karpathy split, `name.jpg#0<TAB>caption` lines, or a table with columns image and caption; "
            f"found {heading}"
        )
    return places[0], places[1]


def _folder_of(file: Path, picture: str) -> Path:
    """Return the folder that the names of pictures are relative to: the file's own, or one beside it."""
    beside = sorted(path for path in file.parent.iterdir() if path.is_dir()) if file.parent.is_dir() else []
    name = os.path.normpath(picture)
    return next((folder for folder in (file.parent, *beside) if is_file(folder / name)), file.parent)
