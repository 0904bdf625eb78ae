"""A report as one HTML page that needs nothing else: tables, plots and contact sheets; no script, no address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

from mmsearch.evaluation.plots import ann_plot, confusion_plot, precision_recall_plot
from mmsearch.evaluation.records import (
    AnnReport,
    BenchmarkReport,
    Comparison,
    EffortResult,
    Example,
    Examples,
    Interval,
    Item,
    MeasuredReport,
    ModalityResult,
    Origin,
    RankedItem,
    Result,
    Speed,
    TiesFacts,
    WantedItem,
    chosen_effort,
    method_settings,
)
from mmsearch.images.copies import thumbnail_of_file
from mmsearch.names import page_text, quoted
from mmsearch.records import Box

_SIDE = 200  # pixels of a thumbnail, shown at half of that
_MOST_CLASSES = 40  # of a confusion matrix that can still be read
_MOST_CONFUSIONS = 20
_TITLES = {
    "retrieval": "Text to image and image to text",
    "instance": "Query by example",
    "classify": "Zero-shot classification",
    "run": "Rankings against ground truth",
    "ann": "Approximate nearest neighbours",
}
_INTERVALS = "In brackets: 95 % intervals over {}: Wilson's where a value is a share of them, else the bootstrap's."
_GROUPED = _INTERVALS.format("groups of queries that are not independent of one another")
_METHODS = {
    "retrieval": _GROUPED,
    "instance": _GROUPED,
    "run": _INTERVALS.format("queries"),
    "classify": "In brackets: 95 % intervals over pictures, Wilson's.",
    "ann": _INTERVALS.format("queries"),
}
_TESTED = (
    " p: Fisher's randomisation test on paired differences, corrected by Holm's method for the number of pairs."
)


@dataclass(frozen=True)
class _Cell:
    value: str
    interval: str


@dataclass(frozen=True)
class _Row:
    """A measure, with a cell for each model."""

    name: str
    definition: str
    cells: list[_Cell]


@dataclass(frozen=True)
class _Heading:
    name: str
    is_number: bool


@dataclass(frozen=True)
class _TableRow:
    cells: list[str | int | float]
    is_chosen: bool = False


@dataclass(frozen=True)
class _Table:
    title: str
    headings: list[_Heading]
    rows: list[_TableRow]


@dataclass(frozen=True)
class _Shown:
    """An item as the page shows it: its text, or name and path of a picture, with a thumbnail if it has one."""

    text: str | None = None
    name: str = ""
    path: str = ""
    thumbnail: str | None = None


@dataclass(frozen=True)
class _ShownExample:
    example: Example
    query: _Shown
    hits: list[tuple[_Shown, RankedItem]]
    wanted: list[tuple[_Shown, WantedItem]]


@dataclass(frozen=True)
class _Sheet:
    """Queries with their hits, that can be unfolded."""

    title: str
    note: str
    is_open: bool
    examples: list[_ShownExample]


@dataclass(frozen=True)
class _Plot:
    address: str
    caption: str


class _ComparisonTexts(TypedDict):
    measure: str
    first: str
    second: str
    difference: str
    p: str


@dataclass(frozen=True)
class _Part:
    """A part of the page, from its heading to the next."""

    name: str
    counts: str
    models: list[str] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    comparisons: list[_ComparisonTexts] = field(default_factory=list)
    plot: _Plot | None = None
    tables: list[_Table] = field(default_factory=list)
    sheets: list[_Sheet] = field(default_factory=list)


def page_of(found: BenchmarkReport, origin: Origin | None = None) -> str:
    """Return the page of a report and of how it came to be; thumbnails are made from the pictures' paths."""
    from jinja2 import Environment

    source = files("mmsearch.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, finalize=page_text).from_string(source)
    kind = found["benchmark"]
    parts = list(_ann_parts(found) if found["benchmark"] == "ann" else _measured_parts(found))
    tested = _TESTED if found["benchmark"] != "ann" and found["comparisons"] else ""
    return template.render(
        title=f"{_TITLES[kind]}: {found['set']['name']}",
        lead=_lead(found),
        parts=parts,
        definitions=found["definitions"],
        method=f"{_METHODS[kind]}{tested} {'' if found['benchmark'] == 'ann' else found['ties']}",
        ties=[] if found["benchmark"] == "ann" else ties_texts(found),
        bad=[{**bad, "path": quoted(bad["path"])} for bad in found["set"]["bad"]],
        left_out=found["set"].get("left_out", ()),
        facts=_facts(found, origin or {}),
    )


def interval_text(value: Interval, scale: str) -> tuple[str, str]:
    """Return a measure and its interval as people read them.

    >>> interval_text({"value": 0.1234, "low": 0.1, "high": 0.2}, "share")
    ('12.3 %', '(10.0 to 20.0)')
    """
    if scale == "share":
        return f"{100 * value['value']:.1f} %", f"({100 * value['low']:.1f} to {100 * value['high']:.1f})"
    return f"{value['value']:.4g}", f"({value['low']:.4g} to {value['high']:.4g})"


def ties_texts(found: MeasuredReport) -> list[str]:
    """Return a sentence for every result of a report in which the order of equal scores decides something."""
    return [
        f"{model}, {part}: {_ties_text(result['ties'], found['scales'])}"
        for model, results in found["results"].items()
        for part, result in results.items()
        if "ties" in result
    ]


def _ties_text(ties: TiesFacts, scales: Mapping[str, str]) -> str:
    n = ties["n_queries"]
    ends = [
        f"{measure} {interval_text({'value': low, 'low': low, 'high': high}, scales[measure])[1]}"
        for measure, (low, high) in ties["ends"].items()
    ]
    asked = f"{n} {'query has' if n == 1 else 'queries have'}"
    return f"{asked} a right answer at the score of a wrong one; by their order a value could be {', '.join(ends)}"


def counts_text(counts: Mapping[str, object]) -> str:
    """Return the counts of a set, a result or an index, such as `5000 queries, 1000 gallery`."""
    return ", ".join(
        f"{value} {name[2:].replace('_', ' ')}" for name, value in counts.items() if name.startswith("n_")
    )


def _lead(found: BenchmarkReport) -> str:
    if found["benchmark"] == "ann":
        return f"{counts_text(found['index'])}; encoder: {found['index']['model']}"
    known = found["set"]
    n_bad = f", {len(known['bad'])} could not be used" if known["bad"] else ""
    protocol = f"; protocol: {known['protocol']}" if "protocol" in known else ""
    return f"{counts_text(known)}{n_bad}{protocol}. Compared: {', '.join(found['results'])}"


def _facts(found: BenchmarkReport, origin: Origin) -> dict[str, object]:
    encoders = {} if found["benchmark"] == "ann" else found.get("encoders", {})
    facts: dict[str, object] = {"command": origin.get("command"), "seed": found["seed"]}
    for name, encoder in encoders.items():
        facts[f"encoder {name}"] = f"{encoder['dim']} dimensions, fingerprint {encoder['fingerprint']}"
    if environment := origin.get("environment"):
        facts["versions"] = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
        facts |= {name: value for name, value in environment.items() if name != "versions"}
    return {name: value for name, value in facts.items() if value not in (None, "")}


# -- benchmarks of rankings and classes --------------------------------------------------------------


def _measured_parts(found: MeasuredReport) -> Iterator[_Part]:
    systems, shown = found["results"], _thumbnails()
    for i, part in enumerate(next(iter(systems.values()))):
        results = {model: of_parts[part] for model, of_parts in systems.items()}
        first = next(iter(results.values()))
        yield _Part(
            part,
            counts_text(first),
            models=list(results),
            rows=[_row(found, measure, results.values()) for measure in first["measures"]],
            comparisons=[
                _comparison(comparison, found["scales"]) for comparison in found["comparisons"].get(part, [])
            ],
            plot=_plot(found, results),
            tables=list(_confusion_tables(found, results)),
            sheets=list(_sheets(results, shown, is_open=i == 0)),
        )


def _row(found: MeasuredReport, measure: str, results: Iterable[Result]) -> _Row:
    cells = [interval_text(result["measures"][measure], found["scales"][measure]) for result in results]
    return _Row(measure, found["definitions"][measure], [_Cell(*texts) for texts in cells])


def _comparison(comparison: Comparison, scales: Mapping[str, str]) -> _ComparisonTexts:
    p = f"{comparison['p']:.2g}" if comparison["p"] >= 0.001 else "< 0.001"
    if scales[comparison["measure"]] == "share":
        difference = f"{round(100 * comparison['difference'], 1) + 0.0:+.1f} points"
    else:
        difference = f"{round(comparison['difference'], 3) + 0.0:+g}"
    return {
        "measure": comparison["measure"], "first": comparison["first"], "second": comparison["second"],
        "difference": difference, "p": p,
    }  # fmt: skip


def _plot(found: MeasuredReport, results: Mapping[str, Result]) -> _Plot | None:
    curves = {
        model: result["precision_at_recall"] for model, result in results.items() if "precision_at_recall" in result
    }
    curves = {model: precision for model, precision in curves.items() if precision}
    if any(max(precision) > min(precision) for precision in curves.values()):
        # With one relevant picture for every query the curve is flat, at the MRR.
        drawn = precision_recall_plot(curves, found["recall_levels"])
        return _Plot(_inline(drawn), "Precision against recall: interpolated precision, mean over the queries")
    names = found["set"].get("class_names", ())
    model, result = next(iter(results.items()))
    if "confusion" in result and len(names) <= _MOST_CLASSES:
        caption = f"Confusions of {model}: pictures of each true class by the class they were given"
        return _Plot(_inline(confusion_plot(names, result["confusion"])), caption)
    return None


def _confusion_tables(found: MeasuredReport, results: Mapping[str, Result]) -> Iterator[_Table]:
    names = found["set"].get("class_names", ())
    for model, result in results.items():
        if "confusion" not in result:
            continue
        wrong = sorted((c for c in result["confusion"] if c[0] != c[1]), key=lambda c: -c[2])
        if wrong:
            yield _table(
                f"Most frequent confusions of {model}",
                {"true": False, "predicted": False, "pictures": True},
                [
                    _TableRow([names[truth], names[predicted], n])
                    for truth, predicted, n in wrong[:_MOST_CONFUSIONS]
                ],
            )


def _sheets(results: Mapping[str, Result], shown: Callable[[Item], _Shown], *, is_open: bool) -> Iterator[_Sheet]:
    for model, result in results.items():
        examples = result["examples"] if "examples" in result else Examples()
        for quality, chosen in (("worst", examples.get("worst")), ("best", examples.get("best"))):
            if chosen:
                yield _Sheet(
                    f"{model}: {quality} queries",
                    "The query, its first hits with their scores, and wanted ones that are not among them.",
                    is_open and quality == "worst",
                    [
                        _ShownExample(
                            example,
                            shown(example["query"]),
                            [(shown(hit), hit) for hit in example["hits"]],
                            [(shown(wanted), wanted) for wanted in example["wanted"]],
                        )
                        for example in chosen
                    ],
                )


def _thumbnails() -> Callable[[Item], _Shown]:
    """Return a function that says how an item is shown; a picture is read once, however often it is."""

    @cache
    def small(path: str, box: Box | None) -> str | None:
        thumbnail = thumbnail_of_file(path, _SIDE, box=box)
        return None if thumbnail is None else thumbnail.address()

    def shown(item: Item) -> _Shown:
        if "path" not in item:
            return _Shown(text=item["text"])
        path = item["path"]
        return _Shown(None, quoted(Path(path).name), quoted(path), small(path, _box(item)))

    return shown


def _box(item: Item) -> Box | None:
    if "box" not in item:
        return None
    left, top, right, bottom = item["box"]
    return left, top, right, bottom


# -- the benchmark of an index -----------------------------------------------------------------------


def _ann_parts(found: AnnReport) -> Iterator[_Part]:
    index = found["index"]
    built, settings = index["build_seconds"], method_settings(index)
    facts: list[tuple[str, str | float]] = [
        ("bytes a vector, in the matrix", index["vector_bytes"]),
        ("bytes a vector, in the graph", index["graph_bytes_per_vector"]),
        ("seconds to build the graph", "not written down" if built is None else built),
        ("graph", "built for this measurement; searches are exact" if index["is_built_for_this_measurement"]
         else "the library's own"),
        (", ".join(settings), ", ".join(map(str, settings.values()))),
        ("target recall@10", index["recall_target"]),
    ]  # fmt: skip
    headings = {"route": False, "recall@10": True, "p50 ms": True, "p95 ms": True, "p99 ms": True,
                "queries/s": True, "times exact, single": True, "times exact, batch": True}  # fmt: skip
    timed = {name: result for name, result in found["results"].items() if result["exact"]["p50_ms"] is not None}
    caption = "ANN recall@10 against the latency of single queries, over the beam ef"
    yield _Part(
        "Index",
        "Crosses are the exact scan; filled marks and shaded rows are what the library uses.",
        plot=_Plot(_inline(ann_plot(timed, index["recall_target"])), caption) if timed else None,
        tables=[
            _table("The index", {"": False, "value": True}, [_TableRow(list(fact)) for fact in facts]),
            *(
                _table(f"{modality} queries ({result['n_queries']})", headings, list(_ann_rows(result)))
                for modality, result in found["results"].items()
            ),
        ],
    )


def _ann_rows(result: ModalityResult) -> Iterator[_TableRow]:
    effort = chosen_effort(result)
    yield _TableRow(["exact", "1.000", *_speeds(result["exact"]), "1", "1"], is_chosen=effort is None)
    yield from (_effort_row(beam, is_chosen=beam["ef"] == effort) for beam in result["beams"])


def _effort_row(beam: EffortResult, *, is_chosen: bool) -> _TableRow:
    recall = f"{beam['recall']:.3f} ({beam['low']:.3f} to {beam['high']:.3f})"
    times = [_number(beam["times_exact_single"], "g"), _number(beam["times_exact_batch"], "g")]
    return _TableRow([f"graph, ef {beam['ef']}", recall, *_speeds(beam), *times], is_chosen)


def _speeds(speed: Speed) -> list[str]:
    times = [_number(ms, ".3f") for ms in (speed["p50_ms"], speed["p95_ms"], speed["p99_ms"])]
    return [*times, _number(speed["queries_per_s"], ".0f")]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(title: str, headings: Mapping[str, bool], rows: list[_TableRow]) -> _Table:
    """Return a table; `headings` says of each column whether it holds numbers."""
    return _Table(title, [_Heading(name, is_number) for name, is_number in headings.items()], rows)


def _inline(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + b64encode(svg).decode()
