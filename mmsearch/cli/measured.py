"""How `bench` shows what it measured: tables for people, rows for programs, reports in a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.options import Format
from mmsearch.cli.render import Row, print_table, say, write_answer
from mmsearch.names import shell_word

if TYPE_CHECKING:
    from mmsearch.evaluation.records import (
        AnnReport,
        BenchmarkReport,
        Comparison,
        MeasuredReport,
        ModalityResult,
        Result,
        Speed,
    )
    from mmsearch.evaluation.report import Report

SIGNIFICANT = 0.05


def show_ann(measured: AnnReport, report: Report | None, wanted: Format) -> None:
    """Write what was measured of indexes: the scan and a line for each effort; the report, if it is wanted."""
    if wanted in (Format.paths, Format.paths0):
        raise typer.BadParameter("an index has no paths; choose table, json, jsonl or tsv", param_hint="--format")
    if wanted is not Format.table:
        speed = ("p50_ms", "p95_ms", "p99_ms", "queries_per_s")
        columns = ("queries", "route", "effort", "recall", "low", "high", "best_missed", "none_found", *speed)
        write_answer(measured, columns, wanted, records=list(_ann_rows(measured)))
    else:
        _print_ann(measured)
    _write_if_wanted(measured, report)


def _ann_rows(measured: AnnReport) -> Iterator[Row]:
    """Yield a record for the scan and for each effort of each index, of every modality."""
    for modality, result in measured["results"].items():
        yield {"queries": modality, "route": "exact", "effort": None, "recall": 1.0, **result["exact"]}
        yield from ({"queries": modality, "route": at["index"], **at} for at in result["efforts"])


def _ann_cells(result: ModalityResult) -> Iterator[list[str]]:
    yield ["exact", "1.000", "", "", "", *_speed_cells(result["exact"])]
    for at in result["efforts"]:
        shares = ["" if share is None else f"{share:.2%}" for share in (at["best_missed"], at["none_found"])]
        recall, interval = f"{at['recall']:.3f}", f"{at['low']:.3f}-{at['high']:.3f}"
        yield [f"{at['index']} {at['effort']}", recall, interval, *shares, *_speed_cells(at)]


def _speed_cells(speed: Speed) -> list[str]:
    times = (speed["p50_ms"], speed["p95_ms"])
    return [*("" if ms is None else f"{ms:.3f}" for ms in times), f"{speed['queries_per_s']:.0f}"]


def _print_ann(measured: AnnReport) -> None:
    from mmsearch.evaluation.records import chosen_effort

    for index in measured["indexes"]:
        built = index["build_seconds"]
        kind = index["kind"]
        say(
            f"{index['n_in_index']} vectors of {index['dim']} dimensions in the {kind}, "
            f"{index['vector_bytes']} bytes a vector and {index['index_bytes_per_vector']:.0f} in the {kind}"
            + (f", built in {built:.1f} s" if built is not None else "")
            + (" for this measurement; searches are exact" if index["is_built_for_this_measurement"] else "")
        )
    columns = [("route", False), ("recall", True), ("95 %", False)]
    columns += [(name, True) for name in ("best missed", "none", "p50 ms", "p95 ms", "queries/s")]
    for modality, result in measured["results"].items():
        print_table(f"{modality} queries: recall@10 of each index and effort", columns, list(_ann_cells(result)))
    for modality, result in measured["results"].items():
        chosen = chosen_effort(result)
        at_effort = "" if chosen is None else f" at effort {chosen[1]}"
        target = measured["indexes"][0]["recall_target"]
        say(f"{modality} queries of the library: {result['chosen']['route']}{at_effort} (target {target:g})")


def _write_if_wanted(measured: BenchmarkReport, report: Report | None) -> None:
    """Write the report, if one is wanted, with the command that it was made by."""
    if report is not None:
        say_written(report.write(measured, command=command_line()))


def command_line() -> str:
    """Return the command that this is, as a shell takes it."""
    return " ".join(map(shell_word, ["mmsearch", *sys.argv[1:]]))


def say_written(paths: Iterable[Path]) -> None:
    """Say where a report is."""
    for path in paths:
        say(f"report: {path}")


def show_measured(measured: MeasuredReport, report: Report | None, wanted: Format, part: str) -> None:
    """Write results in the format wanted, then the report if it is; `part` is what results have."""
    from mmsearch.evaluation.page import leakage_texts, ties_texts

    if wanted in (Format.paths, Format.paths0):
        write_answer(measured, ("path",), wanted, records=measured["set"]["bad"])
    elif wanted is Format.table:
        _print(measured)
    else:
        from mmsearch.evaluation.report import finite

        records = _rows(measured, part, with_comparisons=wanted is Format.jsonl)
        columns = ("model", part, "n", "measure", "value", "low", "high")
        write_answer(finite(measured), columns, wanted, records=finite(records))
    for bad in measured["set"]["bad"]:
        say(f"  {bad['message']}")
    for sentence in leakage_texts(measured):
        say(f"  {sentence}")
    for sentence in measured.get("notes", ()):
        say(f"  {sentence}")
    if texts := ties_texts(measured):
        say(f"  {measured['ties']}")
    for sentence in texts:
        say(f"  {sentence}")
    for sentence in measured["set"].get("left_out", ()):
        say(f"  not measured: {sentence}")
    for part in measured["set"].get("without_queries", ()):
        say(f"  {part}: left out, as none of its queries has a relevant picture")
    _write_if_wanted(measured, report)


def _rows(measured: MeasuredReport, part: str, *, with_comparisons: bool) -> list[Row]:
    """Return a record for every measure of every part and model, and one for every comparison."""
    rows: list[Row] = [
        {"model": model, part: name, "n": _n_asked(result), "measure": measure, **values}
        for model, results in measured["results"].items()
        for name, result in results.items()
        for measure, values in result["measures"].items()
    ]
    if with_comparisons:
        compared = measured["comparisons"].items()
        rows += [{part: name, **comparison} for name, of_part in compared for comparison in of_part]
    return rows


def _n_asked(result: Result) -> int:
    if "n_true" in result:
        return result["n_true"] + result["n_not_true"]
    return result["n_pictures"] if "n_pictures" in result else result["n_queries"]


def _print(measured: MeasuredReport) -> None:
    """Print a table for each direction or ensemble: a line a measure, a column a model with its interval."""
    from mmsearch.evaluation.page import counts_text, measure_text, measures_of

    results, scales = measured["results"], measured["scales"]
    for part in next(iter(results.values())):
        of_systems = [of_parts[part] for of_parts in results.values()]
        rows = [
            [
                measure,
                *(" ".join(measure_text(result, measure, scales)).strip() for result in of_systems),
            ]
            for measure in measures_of(of_systems)
        ]
        name = measured["set"]["name"] if part == measured["set"]["name"] else f"{measured['set']['name']}, {part}"
        columns = [("measure", False), *((model, True) for model in results)]
        print_table(f"{name}: {counts_text(of_systems[0])}", columns, rows)
        _print_comparisons(measured["comparisons"].get(part, []))


def _print_comparisons(comparisons: list[Comparison]) -> None:
    """Say which differences are significant, and that the others are not."""
    certain = [comparison for comparison in comparisons if comparison["p"] < SIGNIFICANT]
    for comparison in certain:
        systems = comparison["first"], comparison["second"]
        better, worse = systems if comparison["difference"] > 0 else reversed(systems)
        say(f"{comparison['measure']}: {better} is better than {worse} (p = {comparison['p']:.2g})")
    if len(certain) < len(comparisons):
        say(f"no other of {len(comparisons)} differences is significant (p >= {SIGNIFICANT:g})")
