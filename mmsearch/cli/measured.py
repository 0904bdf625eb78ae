"""How `bench` shows what it measured: tables for people, rows for programs, reports in a folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.cli.options import Format
from mmsearch.cli.render import Row, print_table, say, write_rows
from mmsearch.names import shell_word

if TYPE_CHECKING:
    from mmsearch.evaluation.report import Report

SIGNIFICANT = 0.05


def show_ann(found: dict[str, Any], report: Report | None, wanted: Format) -> None:
    """Write what was measured of an index: the scan and a line for each beam; then the report, if it is wanted."""
    rows: list[Row] = []
    for modality, one in found["results"].items():
        rows.append({"queries": modality, "route": "exact", "ef": None, "recall": 1.0, **one["exact"]})
        rows += [{"queries": modality, "route": "graph", **beam} for beam in one["beams"]]
    if wanted in (Format.paths, Format.paths0):
        raise typer.BadParameter("an index has no paths; choose table, json, jsonl or tsv", param_hint="--format")
    if wanted is Format.json:
        write_rows([found], (), wanted)
    elif wanted is not Format.table:
        columns = ("queries", "route", "ef", "recall", "low", "high", "p50_ms", "p95_ms", "p99_ms", "queries_per_s")
        write_rows(rows, columns, wanted)
    else:
        _print_ann(found, rows)
    _write_if_wanted(found, report)


def _print_ann(found: dict[str, Any], rows: list[Row]) -> None:
    index = found["index"]
    built = index["build_seconds"]
    say(
        f"{index['n_in_graph']} vectors of {index['dim']} dimensions in the graph, {index['vector_bytes']} bytes a "
        f"vector and {index['graph_bytes_per_vector']:.0f} in the graph"
        + (f", built in {built:.1f} s" if built is not None else "")
        + (" for this measurement; searches are exact" if index["is_built_for_this_measurement"] else "")
    )
    cells = [
        [
            row["queries"],
            f"ef {row['ef']}" if row["ef"] else row["route"],
            f"{row['recall']:.3f}",
            f"{row['low']:.3f}-{row['high']:.3f}" if "low" in row else "",
            *(f"{row[name]:.3f}" if row[name] is not None else "" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{row['queries_per_s']:.0f}",
        ]
        for row in rows
    ]
    columns = [("queries", False), ("route", False), ("recall@10", True), ("95 %", False)]
    columns += [(name, True) for name in ("p50 ms", "p95 ms", "p99 ms", "queries/s")]
    print_table(None, columns, cells)
    for modality, one in found["results"].items():
        chosen = one["chosen"]
        beam = f" at ef {chosen['ef']}" if chosen["route"] == "graph" else ""
        say(f"{modality} queries of the library: {chosen['route']}{beam} (target {index['recall_target']:g})")


def _write_if_wanted(found: dict[str, Any], report: Report | None) -> None:
    """Write the report, if one is wanted, with the command that it was made by."""
    if report is not None:
        command = " ".join(map(shell_word, ["mmsearch", *sys.argv[1:]]))
        for path in report.write({**found, "command": command}):
            say(f"report: {path}")


def show_measured(found: dict[str, Any], report: Report | None, wanted: Format, part: str) -> None:
    """Write results in the format wanted, then the report if it is; `part` is what results have."""
    from mmsearch.evaluation.page import ties_texts

    if wanted in (Format.paths, Format.paths0):
        write_rows(found["set"]["bad"], ("path",), wanted)
    elif wanted is Format.table:
        _print(found)
    else:
        from mmsearch.evaluation.report import finite

        rows = [found] if wanted is Format.json else _rows(found, part, with_comparisons=wanted is Format.jsonl)
        columns = ("model", part, "n", "measure", "value", "low", "high")
        write_rows([finite(row) for row in rows], columns, wanted)
    for bad in found["set"]["bad"]:
        say(f"  {bad['message']}")
    if texts := ties_texts(found):
        say(f"  {found['ties']}")
    for sentence in texts:
        say(f"  {sentence}")
    for sentence in found["set"].get("left_out", ()):
        say(f"  not measured: {sentence}")
    for part in found["set"].get("without_queries", ()):
        say(f"  {part}: left out, as none of its queries has a relevant picture")
    _write_if_wanted(found, report)


def _rows(found: dict[str, Any], part: str, *, with_comparisons: bool) -> list[Row]:
    """Return a record for every measure of every part and model, and one for every comparison."""
    rows: list[Row] = [
        {"model": model, part: name, "n": _n_asked(result), "measure": measure, **values}
        for model, results in found["results"].items()
        for name, result in results.items()
        for measure, values in result["measures"].items()
    ]
    if with_comparisons:
        rows += [{part: name, **one} for name, own in found.get("comparisons", {}).items() for one in own]
    return rows


def _n_asked(result: dict[str, Any]) -> int:
    n: int = result["n_queries"] if "n_queries" in result else result["n_pictures"]
    return n


def _print(found: dict[str, Any]) -> None:
    """Print a table for each direction or ensemble: a line a measure, a column a model with its interval."""
    from mmsearch.evaluation.page import counts_text, interval_text

    results, scales = found["results"], found["scales"]
    for part in next(iter(results.values())):
        own = [result[part] for result in results.values()]
        rows = [
            [measure, *(" ".join(interval_text(one["measures"][measure], scales[measure])) for one in own)]
            for measure in own[0]["measures"]
        ]
        name = found["set"]["name"] if part == found["set"]["name"] else f"{found['set']['name']}, {part}"
        columns = [("measure", False), *((model, True) for model in results)]
        print_table(f"{name}: {counts_text(own[0])}", columns, rows)
        _print_comparisons(found.get("comparisons", {}).get(part, []))


def _print_comparisons(comparisons: list[dict[str, Any]]) -> None:
    """Say which differences are significant, and that the others are not."""
    certain = [one for one in comparisons if one["p"] < SIGNIFICANT]
    for one in certain:
        better, worse = (one["first"], one["second"])[:: 1 if one["difference"] > 0 else -1]
        say(f"{one['measure']}: {better} is better than {worse} (p = {one['p']:.2g})")
    if len(certain) < len(comparisons):
        say(f"no other of {len(comparisons)} differences is significant (p >= {SIGNIFICANT:g})")
