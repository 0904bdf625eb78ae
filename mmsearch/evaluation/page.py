"""The report of a benchmark as a page: tables, plots and contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite

from mmsearch.evaluation.page_parts import (
    Cell,
    ComparisonTexts,
    Page,
    Part,
    Plot,
    Row,
    Sheet,
    Shown,
    ShownExample,
    ShownHit,
    Table,
    TableRow,
    inline,
    origin_facts,
    table,
    thumbnails,
)
from mmsearch.evaluation.plots import (
    ann_plot,
    confusion_plot,
    precision_recall_plot,
    reliability_plot,
    risk_coverage_plot,
)
from mmsearch.evaluation.records import (
    AnnIndex,
    AnnReport,
    BenchmarkReport,
    Comparison,
    EffortResult,
    Examples,
    Interval,
    Item,
    MeasuredReport,
    ModalityResult,
    Origin,
    Result,
    Speed,
    TiesFacts,
    chosen_effort,
    method_settings,
)
from mmsearch.names import quoted

_SIDE = 200  # pixels of a thumbnail, shown at half of that
_MOST_CLASSES = 40  # of a confusion matrix that can still be read
_MOST_CONFUSIONS = 20
_TITLES = {
    "retrieval": "Text to image and image to text",
    "instance": "Query by example",
    "classify": "Classification",
    "identify": "Identification",
    "calibration": "Calibration",
    "run": "Rankings against ground truth",
    "ann": "Approximate nearest neighbours",
}
_INTERVALS = "In brackets: 95 % intervals over {}: Wilson's where a value is a share of them, else the bootstrap's."
_GROUPED = _INTERVALS.format("groups of queries that are not independent of one another")
_METHODS = {
    "retrieval": _GROUPED,
    "instance": _GROUPED,
    "run": _INTERVALS.format("queries"),
    "classify": "In brackets: 95 % intervals over pictures, Wilson's; of the calibration error the bootstrap's.",
    "identify": "In brackets: 95 % intervals, Wilson's, over queries; those of one identity go together.",
    "calibration": "In brackets: 95 % intervals over pictures, the bootstrap's; Wilson's for shares of answers.",
    "ann": _INTERVALS.format("queries"),
}
_TESTED = (
    " p: Fisher's randomisation test on paired differences, corrected by Holm's method for the number of pairs."
)


def page_of(report: BenchmarkReport, origin: Origin | None = None) -> str:
    """Return the page of a report and of how it came to be; thumbnails are made from the pictures' paths."""
    kind = report["benchmark"]
    parts = list(_ann_parts(report) if report["benchmark"] == "ann" else _measured_parts(report))
    tested = _TESTED if report["benchmark"] != "ann" and report["comparisons"] else ""
    page = Page(
        title=f"{_TITLES[kind]}: {report['set']['name']}",
        lead=_lead(report),
        parts=parts,
        definitions=report["definitions"],
        method=f"{_METHODS[kind]}{tested} {'' if report['benchmark'] == 'ann' else report['ties']}",
        notes=[] if report["benchmark"] == "ann" else [*report.get("notes", ()), *ties_texts(report)],
        bad=report["set"]["bad"],
        left_out=report["set"].get("left_out", ()),
        facts=_facts(report, origin or {}),
    )
    return page.render()


def interval_text(value: Interval, scale: str) -> tuple[str, str]:
    """Return a measure and its interval as people read them.

    >>> interval_text({"value": 0.1234, "low": 0.1, "high": 0.2}, "share")
    ('12.3 %', '(10.0 to 20.0)')
    """
    if scale == "share":
        return f"{100 * value['value']:.1f} %", f"({100 * value['low']:.1f} to {100 * value['high']:.1f})"
    return f"{value['value']:.4g}", f"({value['low']:.4g} to {value['high']:.4g})"


def measure_text(result: Result, measure: str, scales: Mapping[str, str]) -> tuple[str, str]:
    """Return a measure of a result and its interval as people read them; nothing where it has no such measure."""
    if measure not in result["measures"]:
        return "", ""
    return interval_text(result["measures"][measure], scales[measure])


def ties_texts(report: MeasuredReport) -> list[str]:
    """Return a sentence for every result of a report in which the order of equal scores decides something."""
    return [
        f"{model}, {part}: {_ties_text(result['ties'], report['scales'])}"
        for model, results in report["results"].items()
        for part, result in results.items()
        if "ties" in result
    ]


def leakage_texts(report: MeasuredReport) -> list[str]:
    """Return a sentence for every system that was taught by pictures of the set, or of which that is not known."""
    set_name = report["set"]["name"]
    texts = []
    for name, leakage in report.get("leakage", {}).items():
        if pictures := leakage["pictures"]:
            texts.append(
                f"{len(pictures)} of the {leakage['n_pictures']} pictures of {set_name} are among those that "
                f"{name} was taught by (same bytes: {leakage['n_same_bytes']}, copies: {leakage['n_copies']}), "
                f"e.g. {quoted(pictures[0])}; its figures are too good"
            )
        if not leakage["is_all_known"]:
            texts.append(
                f"{name} was taught by an earlier version, which kept no traces of its pictures: whether those of "
                f"{set_name} are among them is not known"
            )
    return texts


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


def _lead(report: BenchmarkReport) -> str:
    if report["benchmark"] == "ann":
        index = report["indexes"][0]
        return f"{counts_text(index)}; encoder: {index['model']}"
    known = report["set"]
    n_bad = f", {len(known['bad'])} could not be used" if known["bad"] else ""
    protocol = f"; protocol: {known['protocol']}" if "protocol" in known else ""
    compared = f"{counts_text(known)}{n_bad}{protocol}. Compared: {', '.join(report['results'])}"
    return ". ".join([compared, *leakage_texts(report)])


def _facts(report: BenchmarkReport, origin: Origin) -> dict[str, object]:
    encoders = {} if report["benchmark"] == "ann" else report.get("encoders", {})
    facts: dict[str, object] = {"seed": report["seed"]}
    for name, encoder in encoders.items():
        facts[f"encoder {name}"] = f"{encoder['dim']} dimensions, fingerprint {encoder['fingerprint']}"
    facts |= origin_facts(origin)
    return {name: value for name, value in facts.items() if value not in (None, "")}


# -- benchmarks of rankings and classes --------------------------------------------------------------


def _measured_parts(report: MeasuredReport) -> Iterator[Part]:
    systems, shown = report["results"], thumbnails()
    for i, part in enumerate(next(iter(systems.values()))):
        results = {model: of_parts[part] for model, of_parts in systems.items()}
        first = next(iter(results.values()))
        yield Part(
            part,
            counts_text(first),
            models=list(results),
            rows=[_row(report, measure, results.values()) for measure in measures_of(results.values())],
            comparisons=[
                _comparison(comparison, report["scales"]) for comparison in report["comparisons"].get(part, [])
            ],
            plots=list(_plots(report, results)),
            tables=[
                *_recall_tables(report, results),
                *_confusion_tables(report, results),
                *_identity_tables(results),
            ],
            sheets=list(_sheets(results, shown, is_open=i == 0)),
        )


def measures_of(results: Iterable[Result]) -> list[str]:
    """Return the measures that any of some results has, in their order."""
    return list(dict.fromkeys(name for result in results for name in result["measures"]))


def _row(report: MeasuredReport, measure: str, results: Iterable[Result]) -> Row:
    cells = [measure_text(result, measure, report["scales"]) for result in results]
    return Row(measure, report["definitions"][measure], [Cell(*texts) for texts in cells])


def _comparison(comparison: Comparison, scales: Mapping[str, str]) -> ComparisonTexts:
    p = f"{comparison['p']:.2g}" if comparison["p"] >= 0.001 else "< 0.001"
    if scales[comparison["measure"]] == "share":
        difference = f"{round(100 * comparison['difference'], 1) + 0.0:+.1f} points"
    else:
        difference = f"{round(comparison['difference'], 3) + 0.0:+g}"
    return {
        "measure": comparison["measure"], "first": comparison["first"], "second": comparison["second"],
        "difference": difference, "p": p,
    }  # fmt: skip


def _plots(report: MeasuredReport, results: Mapping[str, Result]) -> Iterator[Plot]:
    if report["benchmark"] == "calibration":
        yield from _calibration_plots(report, results)
    elif (plot := _plot(report, results)) is not None:
        yield plot


def _calibration_plots(report: MeasuredReport, results: Mapping[str, Result]) -> Iterator[Plot]:
    diagrams = {model: result["reliability"] for model, result in results.items() if "reliability" in result}
    if diagrams:
        caption = "Reliability: the share that is true of what was given a probability; grey is as it should be"
        yield Plot(inline(reliability_plot(diagrams)), caption)
    risks = {model: result["risk_at_coverage"] for model, result in results.items() if "risk_at_coverage" in result}
    if risks:
        caption = "Risk-coverage: the share of answers that is wrong if only the surest are given"
        yield Plot(inline(risk_coverage_plot(risks, report["coverage_levels"])), caption)


def _plot(report: MeasuredReport, results: Mapping[str, Result]) -> Plot | None:
    curves = {
        model: result["precision_at_recall"] for model, result in results.items() if "precision_at_recall" in result
    }
    curves = {model: precision for model, precision in curves.items() if precision}
    if any(max(precision) > min(precision) for precision in curves.values()):
        # With one relevant picture for every query the curve is flat, at the MRR.
        drawn = precision_recall_plot(curves, report["recall_levels"])
        return Plot(inline(drawn), "Precision against recall: interpolated precision, mean over the queries")
    names = report["set"].get("class_names", ())
    model, result = next(iter(results.items()))
    if "confusion" in result and len(names) <= _MOST_CLASSES:
        caption = f"Confusions of {model}: pictures of each true class by the class they were given"
        return Plot(inline(confusion_plot(names, result["confusion"])), caption)
    return None


def _recall_tables(report: MeasuredReport, results: Mapping[str, Result]) -> Iterator[Table]:
    """Yield the recall of each class by every system, where there are classes, the lowest first."""
    names = report["set"].get("class_names", ())
    recalls = {model: result["recall_per_class"] for model, result in results.items() if "confusion" in result}
    if not recalls:
        return
    first = next(iter(recalls.values()))
    asked = sorted((row for row in range(len(first)) if isfinite(first[row])), key=first.__getitem__)
    title = "Recall of each class" + (f", the {_MOST_CLASSES} lowest" if len(asked) > _MOST_CLASSES else "")
    rows = [
        TableRow([names[row], *(f"{100 * of_classes[row]:.1f} %" for of_classes in recalls.values())])
        for row in asked[:_MOST_CLASSES]
    ]
    yield table(title, {"class": False, **dict.fromkeys(recalls, True)}, rows)


def _confusion_tables(report: MeasuredReport, results: Mapping[str, Result]) -> Iterator[Table]:
    names = report["set"].get("class_names", ())
    for model, result in results.items():
        if "confusion" not in result:
            continue
        wrong = sorted((c for c in result["confusion"] if c[0] != c[1]), key=lambda c: -c[2])
        if wrong:
            yield table(
                f"Most frequent confusions of {model}",
                {"true": False, "predicted": False, "pictures": True},
                [TableRow([names[truth], names[predicted], n]) for truth, predicted, n in wrong[:_MOST_CONFUSIONS]],
            )


def _identity_tables(results: Mapping[str, Result]) -> Iterator[Table]:
    """Yield for each system the identities with queries that went wrong, or that this could not happen to."""
    for model, result in results.items():
        if "identities" not in result:
            continue
        wrong = [
            count
            for count in result["identities"]
            if (count["n_accepted"] if count["is_removed"] else count["n_queries"] - count["n_identified"])
        ]
        rows = [
            TableRow([
                count["identity"], "no" if count["is_removed"] else "yes", count["n_queries"], count["n_likeliest"],
                count["n_identified"], count["n_accepted"] - count["n_identified"],
            ])
            for count in wrong
        ]  # fmt: skip
        if rows:
            headings = {"identity": False, "in the gallery": False, "queries": True, "likeliest": True,
                        "identified": True, "taken for another": True}  # fmt: skip
            yield table(f"{model}: identities with queries that went wrong", headings, rows)


def _sheets(results: Mapping[str, Result], shown: Callable[[Item], Shown], *, is_open: bool) -> Iterator[Sheet]:
    for model, result in results.items():
        examples = result["examples"] if "examples" in result else Examples()
        for quality, chosen in (("worst", examples.get("worst")), ("best", examples.get("best"))):
            if chosen:
                yield Sheet(
                    f"{model}: {quality} queries",
                    "The query, its first hits with their scores, and wanted ones that are not among them.",
                    is_open and quality == "worst",
                    [
                        ShownExample(
                            shown(example["query"]),
                            f"average precision (TREC) {example['average_precision']:.3f}, "
                            f"{example['n_relevant']} relevant",
                            [ShownHit(shown(hit), hit["is_relevant"], hit["score"]) for hit in example["hits"]],
                            [(shown(wanted), wanted["rank"]) for wanted in example["wanted"]],
                        )
                        for example in chosen
                    ],
                )


# -- the benchmark of an index -----------------------------------------------------------------------


def _ann_parts(report: AnnReport) -> Iterator[Part]:
    timed = {name: result for name, result in report["results"].items() if result["exact"]["p50_ms"] is not None}
    caption = "ANN recall@10 against the latency of single queries, over the efforts of each index"
    target = report["indexes"][0]["recall_target"]
    yield Part(
        "Indexes",
        "Crosses are the exact scan; filled marks and shaded rows are what the library uses.",
        plots=[Plot(inline(ann_plot(timed, target)), caption)] if timed else [],
        tables=[
            *(_index_table(index) for index in report["indexes"]),
            *(_modality_table(modality, result) for modality, result in report["results"].items()),
        ],
    )


def _index_table(index: AnnIndex) -> Table:
    built, settings = index["build_seconds"], method_settings(index)
    facts: list[tuple[str, str | float]] = [
        ("bytes a vector, in the matrix", index["vector_bytes"]),
        ("bytes a vector, in the index", index["index_bytes_per_vector"]),
        ("seconds to build the index", "not written down" if built is None else built),
        (index["kind"], "built for this measurement; searches are exact" if index["is_built_for_this_measurement"]
         else "the library's own"),
        (", ".join(settings), ", ".join(map(str, settings.values()))),
        ("target recall@10", index["recall_target"]),
    ]  # fmt: skip
    rows = [TableRow(list(fact)) for fact in facts]
    return table(f"The index: {index['kind']}", {"": False, "value": True}, rows)


def _modality_table(modality: str, result: ModalityResult) -> Table:
    headings = {"route": False, "recall@10": True, "best missed": True, "none found": True, "p50 ms": True,
                "p95 ms": True, "p99 ms": True, "queries/s": True, "times exact, single": True,
                "times exact, batch": True}  # fmt: skip
    return table(f"{modality} queries ({result['n_queries']})", headings, list(_ann_rows(result)))


def _ann_rows(result: ModalityResult) -> Iterator[TableRow]:
    chosen = chosen_effort(result)
    yield TableRow(["exact", "1.000", "0", "0", *_speeds(result["exact"]), "1", "1"], is_chosen=chosen is None)
    for measured in result["efforts"]:
        yield _effort_row(measured, is_chosen=(measured["index"], measured["effort"]) == chosen)


def _effort_row(measured: EffortResult, *, is_chosen: bool) -> TableRow:
    recall = f"{measured['recall']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})"
    times = [_number(measured["times_exact_single"], "g"), _number(measured["times_exact_batch"], "g")]
    tail = [_number(measured["best_missed"], ".2%"), _number(measured["none_found"], ".2%")]
    route = f"{measured['index']}, effort {measured['effort']}"
    return TableRow([route, recall, *tail, *_speeds(measured), *times], is_chosen)


def _speeds(speed: Speed) -> list[str]:
    times = [_number(ms, ".3f") for ms in (speed["p50_ms"], speed["p95_ms"], speed["p99_ms"])]
    return [*times, _number(speed["queries_per_s"], ".0f")]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
