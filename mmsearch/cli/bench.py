"""`mmsearch bench`: how good retrieval is, on a public set or on your own, with definitions and intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Format, FormatOption, cache_folder
from mmsearch.cli.render import Row, chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from mmsearch.evaluation.encode import SetEncoder

SIGNIFICANT = 0.05
OWN_TEMPLATES = ("names", "default")

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure retrieval against known answers: recall, precision, mAP and more, with 95 % intervals.",
)

ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="Encoder, as for index; several are compared (default: auto)"),
]
OutOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.json there.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Use the vectors that earlier runs have left.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the intervals and tests.")]


@bench.command()
def retrieval(
    benchmark: Annotated[
        Path,
        typer.Argument(
            metavar="SET",
            help="A folder with captions.jsonl, COCO or Karpathy JSON, or a Flickr8k/30k token file.",
        ),
    ],
    models: ModelsOption = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are, if not beside the file.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="S", help="Only this split; for token files a file of picture names.")
    ] = None,
    is_merging: Annotated[
        bool, typer.Option("--merge-captions", help="Equal captions are one query with all their pictures.")
    ] = False,
    out: OutOption = None,
    is_resuming: ResumeOption = True,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Text to image and image to text on a set of captioned pictures.

    Every value has a 95 % bootstrap interval over pictures; several models are compared on the same queries.
    """
    from mmsearch.evaluation.ground_truth.captions import read_captions
    from mmsearch.evaluation.retrieval import run_retrieval

    known = read_captions(benchmark, images=images, split=split, is_merging=is_merging)
    found = _with_encoders(models, is_resuming, lambda encoders: run_retrieval(known, encoders, seed=seed))
    _finish(found, out, chosen(output), "direction")


@bench.command()
def classify(
    benchmark: Annotated[
        Path, typer.Argument(metavar="SET", help="A folder with labels.csv, or with a folder a class.")
    ],
    models: ModelsOption = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates", metavar="NAME",
            help="Prompt ensemble: names, default, simple (7) or openai (80); repeatable (default: default)",
        ),
    ] = None,
    own_templates: Annotated[
        list[str] | None,
        typer.Option("--template", metavar="T", help="Prompt with {} for the label; repeatable, one ensemble."),
    ] = None,
    out: OutOption = None,
    is_resuming: ResumeOption = True,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Zero-shot classification on a set of labelled pictures: top-1, top-5, mean per-class recall, confusions."""
    from mmsearch.evaluation.classify import run_classification
    from mmsearch.evaluation.ground_truth.classes import read_classes

    ensembles = _ensembles(templates or ([] if own_templates else ["default"]))
    if own_templates:
        ensembles["own"] = tuple(own_templates)
    known = read_classes(benchmark)
    found = _with_encoders(
        models, is_resuming, lambda encoders: run_classification(known, encoders, ensembles, seed=seed)
    )
    _finish(found, out, chosen(output), "templates")


@bench.command()
def run(
    qrels: Annotated[Path, typer.Argument(metavar="QRELS", help="Ground truth: `query 0 document gain` lines.")],
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Rankings: `query Q0 document rank score tag` lines.")
    ],
    out: OutOption = None,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Rankings made elsewhere, as TREC runs, by the same measures; several are compared."""
    from mmsearch.evaluation.runs import score_runs

    _finish(score_runs(qrels, runs, seed=seed), out, chosen(output), "qrels")


def _ensembles(names: list[str]) -> dict[str, tuple[str, ...]]:
    from mmsearch.prompts import DEFAULT_TEMPLATES

    known: dict[str, tuple[str, ...]] = dict(zip(OWN_TEMPLATES, (("{}",), DEFAULT_TEMPLATES), strict=True))
    if not known.keys() >= set(names):
        from mmsearch.encoders.templates import published_templates

        known |= published_templates()
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(
            f"there are no templates {unknown[0]!r}; expected one of {', '.join(known)}", param_hint="--templates"
        )
    return {name: known[name] for name in names}


def _with_encoders(
    models: list[str] | None, is_resuming: bool, run: Callable[[list[SetEncoder]], dict[str, Any]]
) -> dict[str, Any]:
    """Return what a run finds, with progress shown."""
    from mmsearch.cli.progress import IndexProgress
    from mmsearch.evaluation.encode import SetEncoder

    cache = cache_folder()
    with IndexProgress() as progress:
        return run([
            SetEncoder(model, cache=cache, is_resuming=is_resuming, on_progress=progress, notify=say)
            for model in models or ["auto"]
        ])  # fmt: skip


def _finish(found: dict[str, Any], out: Path | None, wanted: Format, part: str) -> None:
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
    results = found["results"]
    for part in next(iter(results.values())):
        own = [result[part] for result in results.values()]
        counts = ", ".join(
            f"{value} {name[2:].replace('_', ' ')}" for name, value in own[0].items() if name.startswith("n_")
        )
        say(f"{found['set']['name']}, {part}: {counts}")
        rows = [
            [measure, *(_with_interval(one["measures"][measure], measure) for one in own)]
            for measure in own[0]["measures"]
        ]
        print_table(None, [("measure", False), *((model, True) for model in results)], rows)
        for one in found.get("comparisons", {}).get(part, []):
            if one["p"] < SIGNIFICANT:
                better, worse = (one["first"], one["second"])[:: 1 if one["difference"] > 0 else -1]
                say(f"{one['measure']}: {better} is better than {worse} (p = {one['p']:.2g})")


def _with_interval(value: dict[str, float], measure: str) -> str:
    if measure == "median rank":
        return f"{value['value']:g} ({value['low']:g} to {value['high']:g})"
    return f"{100 * value['value']:.1f} % ({100 * value['low']:.1f} to {100 * value['high']:.1f})"
