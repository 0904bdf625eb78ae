"""`mmsearch bench`: how good retrieval is, on a public set or on your own, with definitions and intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch.cli.options import Format, FormatOption, cache_folder
from mmsearch.cli.render import Row, chosen, print_table, say, write_rows

SIGNIFICANT = 0.05

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure retrieval against known answers: recall, precision, mAP and more, with 95 % intervals.",
)


@bench.command()
def retrieval(
    benchmark: Annotated[
        Path,
        typer.Argument(
            metavar="SET",
            help="A folder with captions.jsonl, COCO or Karpathy JSON, or a Flickr8k/30k token file.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Encoder, as for index; several are compared [default: auto]"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are, if not beside the file.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="S", help="Only this split; for token files a file of picture names.")
    ] = None,
    is_merging: Annotated[
        bool, typer.Option("--merge-captions", help="Equal captions are one query with all their pictures.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.json there.")] = None,
    is_resuming: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Use the vectors that earlier runs have left.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals and tests.")] = 0,
    output: FormatOption = None,
) -> None:
    """Text to image and image to text on a set of captioned pictures.

    Every value has a 95 % bootstrap interval over pictures; several models are compared on the same queries.
    """
    from mmsearch.cli.progress import IndexProgress
    from mmsearch.evaluation.encode import SetEncoder
    from mmsearch.evaluation.ground_truth.captions import read_captions
    from mmsearch.evaluation.report import write_report
    from mmsearch.evaluation.retrieval import run_retrieval

    known = read_captions(benchmark, images=images, split=split, is_merging=is_merging)
    encoders, cache = [], cache_folder()
    with IndexProgress() as progress:
        for model in models or ["auto"]:
            encoders.append(
                SetEncoder(model, cache=cache, is_resuming=is_resuming, on_progress=progress, notify=say)
            )
        found = run_retrieval(known, encoders, seed=seed)
    if out is not None:
        say(f"report: {write_report(found, out)}")
    _show(found, chosen(output))


def _show(found: dict[str, Any], wanted: Format) -> None:
    if wanted in (Format.paths, Format.paths0):
        write_rows(found["set"]["bad"], ("path",), wanted)
    elif wanted is Format.json:
        write_rows([found], (), wanted)
    elif wanted is Format.table:
        _print(found)
    else:
        write_rows(_rows(found), ("model", "direction", "measure", "value", "low", "high"), wanted)
    for bad in found["set"]["bad"]:
        say(f"  {bad['message']}")


def _rows(found: dict[str, Any]) -> list[Row]:
    return [
        {"model": model, "direction": direction, "measure": measure, **values}
        for model, directions in found["results"].items()
        for direction, result in directions.items()
        for measure, values in result["measures"].items()
    ]


def _print(found: dict[str, Any]) -> None:
    """Print a table for each direction: a line a measure, a column a model with its interval."""
    results = found["results"]
    for direction in next(iter(results.values())):
        own = [result[direction] for result in results.values()]
        say(f"{found['set']['name']}, {direction}: {own[0]['n_queries']} queries, {own[0]['n_gallery']} answers")
        rows = [
            [measure, *(_with_interval(one["measures"][measure], measure) for one in own)]
            for measure in own[0]["measures"]
        ]
        print_table(None, [("measure", False), *((model, True) for model in results)], rows)
        for one in found["comparisons"].get(direction, []):
            if one["p"] < SIGNIFICANT:
                better, worse = (one["first"], one["second"])[:: 1 if one["difference"] > 0 else -1]
                say(f"{one['measure']}: {better} is better than {worse} (p = {one['p']:.2g})")


def _with_interval(value: dict[str, float], measure: str) -> str:
    if measure == "median rank":
        return f"{value['value']:g} ({value['low']:g} to {value['high']:g})"
    return f"{100 * value['value']:.1f} % ({100 * value['low']:.1f} to {100 * value['high']:.1f})"
