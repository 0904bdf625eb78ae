"""What a page of a report is made of, and the page itself: it needs nothing else, no script and no address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

from mmsearch.evaluation.records import Bad, Item, Origin
from mmsearch.images.copies import thumbnail_of_file
from mmsearch.names import page_text, quoted
from mmsearch.records import Box

_SIDE = 200  # pixels of a thumbnail, shown at half of that


@dataclass(frozen=True)
class Cell:
    """A value and its interval, as people read them."""

    value: str
    interval: str


@dataclass(frozen=True)
class Row:
    """A measure, with a cell for each model."""

    name: str
    definition: str
    cells: list[Cell]


@dataclass(frozen=True)
class Heading:
    """What a column is called."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class TableRow:
    """Cells of a table; a chosen row is shaded."""

    cells: list[str | int | float]
    is_chosen: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its heading."""

    title: str
    headings: list[Heading]
    rows: list[TableRow]


@dataclass(frozen=True)
class Shown:
    """An item as the page shows it: its text, or name and path of a picture, with a thumbnail if it has one."""

    text: str | None = None
    name: str = ""
    path: str = ""
    thumbnail: str | None = None


@dataclass(frozen=True)
class ShownHit:
    """An answer: whether it is a right one, and its score if that is shown."""

    item: Shown
    is_relevant: bool
    score: float | None = None


@dataclass(frozen=True)
class ShownExample:
    """A query with its first hits, and what is wanted and not among them, with the rank it has."""

    query: Shown
    note: str
    hits: list[ShownHit]
    wanted: list[tuple[Shown, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Sheet:
    """Queries with their hits, that can be unfolded."""

    title: str
    note: str
    is_open: bool
    examples: list[ShownExample]


@dataclass(frozen=True)
class Plot:
    """A picture that the page holds itself, and what it shows."""

    address: str
    caption: str


class ComparisonTexts(TypedDict):
    """A difference between two systems, as people read it."""

    measure: str
    first: str
    second: str
    difference: str
    p: str


@dataclass(frozen=True)
class Part:
    """A part of the page, from its heading to the next."""

    name: str
    counts: str
    models: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    comparisons: list[ComparisonTexts] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page from its title to how what it shows can be had again; `method` and `notes` are sentences."""

    title: str
    lead: str
    parts: Sequence[Part]
    definitions: Mapping[str, str]
    method: str
    facts: Mapping[str, object]
    notes: Sequence[str] = ()
    bad: Sequence[Bad] = ()
    left_out: Sequence[str] = ()

    def render(self) -> str:
        """Return the page as HTML."""
        from jinja2 import Environment

        source = files("mmsearch.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
        template = Environment(autoescape=True, finalize=page_text).from_string(source)
        bad = [{**picture, "path": quoted(picture["path"])} for picture in self.bad]
        return template.render({**vars(self), "bad": bad})


def thumbnails() -> Callable[[Item], Shown]:
    """Return a function that says how an item is shown; a picture is read once, however often it is."""

    @cache
    def small(path: str, box: Box | None) -> str | None:
        thumbnail = thumbnail_of_file(path, _SIDE, box=box)
        return None if thumbnail is None else thumbnail.address()

    def shown(item: Item) -> Shown:
        if "path" not in item:
            return Shown(text=item["text"])
        path = item["path"]
        return Shown(None, quoted(Path(path).name), quoted(path), small(path, _box(item)))

    return shown


def _box(item: Item) -> Box | None:
    if "box" not in item:
        return None
    left, top, right, bottom = item["box"]
    return left, top, right, bottom


def table(title: str, headings: Mapping[str, bool], rows: list[TableRow]) -> Table:
    """Return a table; `headings` says of each column whether it holds numbers."""
    return Table(title, [Heading(name, is_number) for name, is_number in headings.items()], rows)


def inline(svg: bytes) -> str:
    """Return the address of a plot that is in the page itself."""
    return "data:image/svg+xml;base64," + b64encode(svg).decode()


def origin_facts(origin: Origin) -> dict[str, object]:
    """Return how a report came to be, as a page says it: the command, the versions and the machine."""
    facts: dict[str, object] = {"command": origin.get("command")}
    if environment := origin.get("environment"):
        facts["versions"] = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
        facts |= {name: value for name, value in environment.items() if name != "versions"}
    return facts
