"""A report as one HTML page that needs nothing else: tables, plots and contact sheets; no script, no address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmsearch.evaluation.plots import ann_plot, confusion_plot, precision_recall_plot
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

Part = dict[str, Any]


def page_of(found: Mapping[str, Any]) -> str:
    """Return the page of a report, as `Report.write` gets it; thumbnails are made from the pictures' paths."""
    from jinja2 import Environment

    source = files("mmsearch.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, finalize=page_text).from_string(source)
    kind = found["benchmark"]
    parts = list(_ann_parts(found) if kind == "ann" else _measured_parts(found))
    return template.render(
        title=f"{_TITLES[kind]}: {found['set']['name']}",
        lead=_lead(found),
        parts=parts,
        definitions=found["definitions"],
        method=f"{_METHODS[kind]}{_TESTED if found.get('comparisons') else ''} {found.get('ties', '')}",
        ties=ties_texts(found),
        bad=[{**bad, "path": quoted(bad["path"])} for bad in found["set"]["bad"]],
        left_out=found["set"].get("left_out", ()),
        facts=_facts(found),
    )


def interval_text(value: Mapping[str, float], scale: str) -> tuple[str, str]:
    """Return a measure and its interval as people read them.

    >>> interval_text({"value": 0.1234, "low": 0.1, "high": 0.2}, "share")
    ('12.3 %', '(10.0 to 20.0)')
    """
    if scale == "share":
        return f"{100 * value['value']:.1f} %", f"({100 * value['low']:.1f} to {100 * value['high']:.1f})"
    return f"{value['value']:.4g}", f"({value['low']:.4g} to {value['high']:.4g})"


def ties_texts(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every result of a report in which the order of equal scores decides something."""
    return [
        f"{model}, {part}: {_ties_text(result, found['scales'])}"
        for model, results in (found["results"] if "ties" in found else {}).items()
        for part, result in results.items()
        if "ties" in result
    ]


def _ties_text(result: Mapping[str, Any], scales: Mapping[str, str]) -> str:
    n = result["ties"]["n_queries"]
    ends = [
        f"{measure} {interval_text({'value': low, 'low': low, 'high': high}, scales[measure])[1]}"
        for measure, (low, high) in result["ties"]["ends"].items()
    ]
    asked = f"{n} {'query has' if n == 1 else 'queries have'}"
    return f"{asked} a right answer at the score of a wrong one; by their order a value could be {', '.join(ends)}"


def counts_text(result: Mapping[str, Any]) -> str:
    """Return the counts of a result, such as `5000 queries, 1000 gallery`."""
    return ", ".join(
        f"{value} {name[2:].replace('_', ' ')}" for name, value in result.items() if name.startswith("n_")
    )


def _lead(found: Mapping[str, Any]) -> str:
    known = found["set"]
    n_bad = f", {len(known['bad'])} could not be used" if known["bad"] else ""
    protocol = f"; protocol: {known['protocol']}" if "protocol" in known else ""
    models = ", ".join(found["results"])
    if found["benchmark"] == "ann":
        return f"{counts_text(found['index'])}; encoder: {found['index']['model']}"
    return f"{counts_text(known)}{n_bad}{protocol}. Compared: {models}"


def _facts(found: Mapping[str, Any]) -> dict[str, Any]:
    environment = found.get("environment", {})
    encoders = {
        f"encoder {name}": f"{one['dim']} dimensions, fingerprint {one['fingerprint']}"
        for name, one in found.get("encoders", {}).items()
    }
    versions = ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    facts = {
        "command": found.get("command"),
        "seed": found["seed"],
        **encoders,
        "versions": versions,
        **{name: environment.get(name) for name in ("created", "python", "platform", "cores")},
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


# -- benchmarks of rankings and classes --------------------------------------------------------------


def _measured_parts(found: Mapping[str, Any]) -> Iterator[Part]:
    results, shown = found["results"], _thumbnails()
    for i, name in enumerate(next(iter(results.values()))):
        own = {model: result[name] for model, result in results.items()}
        first = next(iter(own.values()))
        yield {
            "name": name,
            "counts": counts_text(first),
            "models": list(own),
            "rows": [_row(found, measure, own.values()) for measure in first["measures"]],
            "comparisons": [
                _comparison(one, found["scales"]) for one in found.get("comparisons", {}).get(name, [])
            ],
            "tables": list(_confusion_tables(found, own)),
            "sheets": list(_sheets(own, shown, is_open=i == 0)),
            **_plot(found, own),
        }


def _row(found: Mapping[str, Any], measure: str, results: Any) -> dict[str, Any]:
    cells = [interval_text(one["measures"][measure], found["scales"][measure]) for one in results]
    return {
        "name": measure,
        "definition": found["definitions"][measure],
        "cells": [{"value": value, "interval": interval} for value, interval in cells],
    }


def _comparison(one: Mapping[str, Any], scales: Mapping[str, str]) -> dict[str, str]:
    p = f"{one['p']:.2g}" if one["p"] >= 0.001 else "< 0.001"
    if scales[one["measure"]] == "share":
        difference = f"{round(100 * one['difference'], 1) + 0.0:+.1f} points"
    else:
        difference = f"{round(one['difference'], 3) + 0.0:+g}"
    return {**one, "difference": difference, "p": p}


def _plot(found: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    curves = {model: one["precision_at_recall"] for model, one in own.items() if one.get("precision_at_recall")}
    if any(max(precision) > min(precision) for precision in curves.values()):
        # With one relevant picture for every query the curve is flat, at the MRR.
        caption = "Precision against recall: interpolated precision, mean over the queries"
        return {"plot": _inline(precision_recall_plot(curves, found["recall_levels"])), "plot_caption": caption}
    names = found["set"].get("class_names", ())
    if names and len(names) <= _MOST_CLASSES:
        model, one = next(iter(own.items()))
        caption = f"Confusions of {model}: pictures of each true class by the class they were given"
        return {"plot": _inline(confusion_plot(names, one["confusion"])), "plot_caption": caption}
    return {}


def _confusion_tables(found: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Part]:
    names = found["set"].get("class_names", ())
    for model, one in own.items():
        wrong = sorted((c for c in one.get("confusion", ()) if c[0] != c[1]), key=lambda c: -c[2])
        if wrong:
            rows = [[names[truth], names[predicted], n] for truth, predicted, n in wrong[:_MOST_CONFUSIONS]]
            yield _table(
                f"Most frequent confusions of {model}",
                {"true": False, "predicted": False, "pictures": True},
                [{"cells": row} for row in rows],
            )


def _sheets(own: Mapping[str, Any], shown: Callable[[Any], Any], *, is_open: bool) -> Iterator[Part]:
    for model, one in own.items():
        for quality in ("worst", "best"):
            if examples := one.get("examples", {}).get(quality):
                yield {
                    "title": f"{model}: {quality} queries",
                    "note": "The query, its first hits with their scores, and wanted ones that are not among them.",
                    "is_open": is_open and quality == "worst",
                    "examples": [_with_thumbnails(example, shown) for example in examples],
                }


def _with_thumbnails(example: Mapping[str, Any], shown: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        **example,
        "query": shown(example["query"]),
        "hits": [shown(hit) for hit in example["hits"]],
        "wanted": [shown(wanted) for wanted in example["wanted"]],
    }


def _thumbnails() -> Callable[[Any], Any]:
    """Return a function that adds `name` and `thumbnail` (None if there is none) to an item with a path."""

    @cache
    def small(path: str, box: Box | None) -> str | None:
        found = thumbnail_of_file(path, _SIDE, box=box)
        return None if found is None else found.address()

    def with_thumbnail(item: Mapping[str, Any]) -> Mapping[str, Any]:
        if "path" not in item:
            return item
        box = tuple(item["box"]) if "box" in item else None
        path = item["path"]
        return {**item, "name": quoted(Path(path).name), "path": quoted(path), "thumbnail": small(path, box)}

    return with_thumbnail


# -- the benchmark of an index -----------------------------------------------------------------------


def _ann_parts(found: Mapping[str, Any]) -> Iterator[Part]:
    index = found["index"]
    built = index["build_seconds"]
    facts = [
        ["bytes a vector, in the matrix", index["vector_bytes"]],
        ["bytes a vector, in the graph", index["graph_bytes_per_vector"]],
        ["seconds to build the graph", "not written down" if built is None else built],
        ["graph", "built for this measurement; searches are exact" if index["is_built_for_this_measurement"]
         else "the library's own"],
        ["M, ef_construction", f"{index['M']}, {index['ef_construction']}"],
        ["target recall@10", index["recall_target"]],
    ]  # fmt: skip
    headings = {"route": False, "recall@10": True, "p50 ms": True, "p95 ms": True, "p99 ms": True,
                "queries/s": True, "times exact, single": True, "times exact, batch": True}  # fmt: skip
    caption = "ANN recall@10 against the latency of single queries, over the beam ef"
    yield {
        "name": "Index",
        "counts": "Crosses are the exact scan; filled marks and shaded rows are what the library uses.",
        "models": [],
        "rows": [],
        "comparisons": [],
        "sheets": [],
        "plot": _inline(ann_plot(found["results"], index["recall_target"])),
        "plot_caption": caption,
        "tables": [
            _table("The index", {"": False, "value": True}, [{"cells": row} for row in facts]),
            *(
                _table(f"{modality} queries ({one['n_queries']})", headings, list(_ann_rows(one)))
                for modality, one in found["results"].items()
            ),
        ],
    }


def _ann_rows(one: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    chosen, scan = one["chosen"], one["exact"]
    yield {"cells": ["exact", "1.000", *_speeds(scan), "1", "1"], "is_chosen": chosen["route"] == "exact"}
    for beam in one["beams"]:
        recall = f"{beam['recall']:.3f} ({beam['low']:.3f} to {beam['high']:.3f})"
        times = [_number(beam["times_exact_single"], "g"), _number(beam["times_exact_batch"], "g")]
        is_chosen = chosen["route"] == "graph" and chosen["ef"] == beam["ef"]
        yield {"cells": [f"graph, ef {beam['ef']}", recall, *_speeds(beam), *times], "is_chosen": is_chosen}


def _speeds(one: Mapping[str, float | None]) -> list[str]:
    times = [_number(one[name], ".3f") for name in ("p50_ms", "p95_ms", "p99_ms")]
    return [*times, _number(one["queries_per_s"], ".0f")]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(title: str, headings: Mapping[str, bool], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a table; `headings` says of each column whether it holds numbers."""
    named = [{"name": name, "is_number": is_number} for name, is_number in headings.items()]
    return {"title": title, "headings": named, "rows": rows}


def _inline(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + b64encode(svg).decode()
