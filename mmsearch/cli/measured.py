"""How `bench` shows what it measured: tables for people, rows for programs, reports in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmsearch.cli.options import Format
from mmsearch.cli.render import Row, print_table, say, write_rows

SIGNIFICANT = 0.05


def show_measured(found: dict[str, Any], out: Path | None, wanted: Format, part: str) -> None:
    """Write the report if it is wanted, and the results in the format that is; `part` is what results have."""
    if out is not None:
        from mmsearch.evaluation.report import write_report

        say(f"report: {write_report(found, out)}")
    if wanted in (Format.paths, Format.paths0):
        write_rows(found["set"]["bad"], ("path",), wanted)
    elif wanted is Format.json:
        write_rows([found], (), wanted)
    elif wanted is Format.table:
        _print(found)
    else:
        rows: list[Row] = [
            {"model": model, part: name, "measure": measure, **values}
            for model, results in found["results"].items()
            for name, result in results.items()
            for measure, values in result["measures"].items()
        ]
        write_rows(rows, ("model", part, "measure", "value", "low", "high"), wanted)
    for bad in found["set"]["bad"]:
        say(f"  {bad['message']}")


def _print(found: dict[str, Any]) -> None:
    """Print a table for each direction or ensemble: a line a measure, a column a model with its interval."""
    results, scales = found["results"], found["scales"]
    for part in next(iter(results.values())):
        own = [result[part] for result in results.values()]
        counts = ", ".join(
            f"{value} {name[2:].replace('_', ' ')}" for name, value in own[0].items() if name.startswith("n_")
        )
        say(f"{found['set']['name']}, {part}: {counts}")
        rows = [
            [measure, *(_with_interval(one["measures"][measure], scales[measure]) for one in own)]
            for measure in own[0]["measures"]
        ]
        print_table(None, [("measure", False), *((model, True) for model in results)], rows)
        for one in found.get("comparisons", {}).get(part, []):
            if one["p"] < SIGNIFICANT:
                better, worse = (one["first"], one["second"])[:: 1 if one["difference"] > 0 else -1]
                say(f"{one['measure']}: {better} is better than {worse} (p = {one['p']:.2g})")


def _with_interval(value: dict[str, float], scale: str) -> str:
    if scale == "share":
        return f"{100 * value['value']:.1f} % ({100 * value['low']:.1f} to {100 * value['high']:.1f})"
    return f"{value['value']:.4g} ({value['low']:.4g} to {value['high']:.4g})"
