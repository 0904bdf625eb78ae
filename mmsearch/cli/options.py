"""Options that several commands share, and how a library is opened from them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from unicodedata import category

import typer

from mmsearch.arguments import AskedViews, Device, Precision, one_of
from mmsearch.cli.completion import complete_models
from mmsearch.cli.configuration import default_library, named_cache
from mmsearch.names import listed_names

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import Term


class Format(StrEnum):
    """How results are written to standard output."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    tsv = "tsv"
    paths = "paths"
    paths0 = "paths0"


LibraryOption = Annotated[
    str | None,
    typer.Option(
        "--library", metavar="DIR", envvar="MMSEARCH_LIBRARY",
        help="The library folder, by default one in your user data folder; or an address, milvus://host/NAME for "
        "one in Milvus.",
    ),
]  # fmt: skip
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Output format; table on a terminal, jsonl otherwise. paths: a path a line, on a terminal quoted for "
        "the shell; paths0: each ended by a NUL. A name that cannot be shown is quoted as by the shell, $'...', in "
        "table and tsv; in json and jsonl path_base64 has its bytes. In tsv, text that begins with = + - or @ has "
        "a ' in front, so that no spreadsheet takes it for a formula.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", autocompletion=complete_models,
        help="Encoder of a new library: auto, offline, cnn:NAME (pictures only), an open_clip MODEL/TAG, "
        "hf-hub:ORG/NAME, a checkpoint folder, or none (local features only). An existing library keeps its own.",
        show_default=False,
    ),
]  # fmt: skip
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        metavar="P",
        help="In what the image tower computes where pictures are indexed: fp32, or int8 or bf16 (on CPUs that "
        "have it), which are faster and are taken where they agree with fp32 on 200 pictures, the samples and the "
        "first of yours (default: as before, else fp32).",
        show_default=False,
    ),
]
ViewsOption = Annotated[
    Literal["1", "5", "auto"] | None,
    typer.Option(
        "--views",
        metavar="N",
        help="How often the image tower looks at a picture: 1, or 5: at four windows too, so that small things "
        "count for more, in four to five times the time; auto is 5 where `mmsearch calibrate --views 5` has found "
        "that more is found by it (default: as before, else 1).",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        metavar="D",
        help="Where vectors are computed: cpu, cuda, or auto: cuda where there is a GPU and onnxruntime-gpu is "
        "installed.",
    ),
]

ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace a file that mmsearch did not write; a picture or film is never replaced."
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the pictures are, if not beside the file.")
]
SplitOption = Annotated[
    str | None, typer.Option(metavar="S", help="Only this split; for token files a file of picture names.")
]
ImageColumnOption = Annotated[
    str | None, typer.Option(metavar="C", help="Column of the pictures in a set of the datasets library.")
]
TextColumnOption = Annotated[
    str | None, typer.Option(metavar="C", help="Column of the captions in a set of the datasets library.")
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", metavar="L,L", help='Comma-separated: "cat,dog,a red car".')
]
LabelsFileOption = Annotated[
    Path | None, typer.Option("--labels-file", metavar="F", help="One label a line; - is standard input.")
]
ClosedOption = Annotated[
    bool, typer.Option("--closed", help="One of the labels must be right: never say 'none of these'.")
]
MultiOption = Annotated[
    bool, typer.Option("--multi", help="Judge each label by itself: a picture may show several.")
]
TemplatesOption = Annotated[
    list[str] | None,
    typer.Option("--template", metavar="T", help="Prompt with {} for the label; repeatable."),
]

_WEIGHT = re.compile(r"([0-9]+(?:\.[0-9]+)?):(.+)", re.DOTALL)


def open_library(name: str | Path | None, *, is_asked_once: bool = False) -> Library:
    """Return the library named on the command line, in the environment, or the user's default one.

    For one that `is_asked_once` no graph is read, as that takes longer than a scan.
    """
    from mmsearch.library import Library
    from mmsearch.places import place_of

    if name is None:
        name = default_library()
    cache = named_cache()
    place = place_of(name, cache)
    return Library(place, cache=cache, is_asked_once=is_asked_once)


def cache_folder() -> Path:
    """Return where exported encoders and the vectors of benchmarks are kept."""
    from mmsearch.store.encoder import default_cache

    named = named_cache()
    return default_cache() if named is None else named.absolute()


def given_views(value: str | None) -> AskedViews | None:
    """Return the value of --views as the interface of Python takes it."""
    is_number = value is not None and value.isdecimal()
    return None if value is None else one_of(int(value) if is_number else value, "--views", AskedViews)


def _input_name(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


@contextmanager
def _input_errors(file: Path, option: str, expected: str) -> Iterator[None]:
    """Refuse a closed standard input, and say of an error of the system which file cannot be read."""
    from mmsearch.errors import advice, reason

    if str(file) == "-" and sys.stdin is None:
        raise typer.BadParameter(f"standard input is closed; expected {expected}", param_hint=option)
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(
            f"{_input_name(file)} cannot be read ({reason(error)}); {advice(error)}", param_hint=option
        ) from error


def read_lines(file: Path, option: str) -> list[str]:
    """Return the lines of a text file in UTF-8 that are not blank; - is standard input."""
    name = _input_name(file)
    try:
        with _input_errors(file, option, "one a line"):
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        text = text.removeprefix("\ufeff")  # as Windows begins files
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start}"
        raise typer.BadParameter(
            f"{name} is no text in UTF-8 ({problem}); save it as UTF-8, one a line", param_hint=option
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise typer.BadParameter(f"{name} is empty; expected one a line", param_hint=option)
    return lines


def given_labels(
    labels: str | None, labels_file: Path | None, either: str = "--labels or --labels-file"
) -> list[str]:
    """Return the labels that were given in one way or the other; `either` names these and what else there is."""
    if (labels is None) == (labels_file is None):
        raise typer.BadParameter(f"give either {either}")
    if labels is not None:
        return [label.strip() for label in labels.split(",")]
    assert labels_file is not None
    return read_lines(labels_file, "--labels-file")


def read_paths(file: Path, option: str, *, is_nul: bool) -> list[bytes]:
    """Return the paths in a file, one a line or each ended by a NUL, as the bytes they are; - is standard input."""
    name = _input_name(file)
    with _input_errors(file, option, "paths"):
        contents = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    if b"\0" in contents and not is_nul:
        raise typer.BadParameter(
            f"{name} holds a NUL; give -0 too if names end with it, or a list of names, one a line",
            param_hint=option,
        )
    paths = [path for path in contents.split(b"\0") if path] if is_nul else listed_names(contents)
    if not paths:
        raise typer.BadParameter(f"{name} is empty; expected paths", param_hint=option)
    return paths


def weighted(value: str, *, is_picture: bool = False) -> Term:
    """Return a term with the weight of its `2:` prefix.

    It is none where a digit of any script follows, as in `16:9` or `12:30`, nor in the name of a picture that is
    there.
    """
    from mmsearch.records import Term

    match = _WEIGHT.fullmatch(value)
    if match is None or category(match[2][0]).startswith("N") or (is_picture and os.path.lexists(value)):
        return Term(value)
    return Term(match[2], float(match[1]))
