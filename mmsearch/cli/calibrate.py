"""`mmsearch calibrate`: learn from captioned pictures what the scores of an encoder mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmsearch.cli.completion import complete_models
from mmsearch.cli.index import EXIT_SOME_BAD
from mmsearch.cli.options import (
    Format,
    FormatOption,
    ImageColumnOption,
    ImagesOption,
    LibraryOption,
    SplitOption,
    TextColumnOption,
    cache_folder,
    given_views,
    open_library,
)
from mmsearch.cli.render import Row, chosen, print_table, say, write_answer
from mmsearch.cli.trained import say_bad
from mmsearch.encoders.calibration import CALIBRATION
from mmsearch.names import quoted

if TYPE_CHECKING:
    from mmsearch.arguments import AskedViews
    from mmsearch.datasets.sets import CaptionSet, ClassSet
    from mmsearch.evaluation.metrics.calibration import Reliability
    from mmsearch.training.calibrate import CalibrationFit

_WIDTH = 20  # characters of a bar
ViewsOption = Annotated[
    Literal["1", "5"],
    typer.Option(
        metavar="N",
        help="With --model: of how many views of a picture, as for index; of 5 also what they are worth, by which "
        "`index --views auto` chooses.",
    ),
]


def calibrate(
    benchmark: Annotated[
        str, typer.Argument(metavar="SET", help="Captioned pictures, as for bench retrieval: 100 or more.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_models,
            help="Calibrate this exported encoder, for libraries that are made with it from now on.",
        ),
    ] = None,
    views: ViewsOption = "1",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="SET", help="A class set as for bench classify, to fit labels to besides the captions."
        ),
    ] = None,
    library: LibraryOption = None,
    images: ImagesOption = None,
    split: SplitOption = None,
    image_column: ImageColumnOption = None,
    text_column: TextColumnOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the libraries that are drawn from the set.")] = 0,
    is_forced: Annotated[
        bool,
        typer.Option("--force", help="Take fewer than 100 pictures, 20 at least; the numbers say little then."),
    ] = False,
    output: FormatOption = None,
) -> None:
    """Learn what the scores of an encoder mean: how likely a hit is what was asked for, and a label what is shown.

    Without --model it is done for the encoder of a library. Four of five pictures are fitted to; what is shown was
    measured on the others, before and after. The numbers are kept beside the encoder, whose vectors stay as they
    are.
    """
    from mmsearch.datasets.open_set import SetOptions, open_captions, open_classes
    from mmsearch.training.calibrate import ERROR_OF_HITS

    wanted = chosen(output)
    if wanted in (Format.paths, Format.paths0):
        raise typer.BadParameter("there are no paths; choose table, json, jsonl or tsv", param_hint="--format")
    options = SetOptions(cache_folder(), images, split, (image_column, text_column))
    known = open_captions(benchmark, options, is_merging=True)
    plain = SetOptions(cache_folder(), None, None, (None, None))
    of_classes = None if classes is None else open_classes(classes, plain)
    if views != "1" and model is None:
        raise typer.BadParameter("a library has its own number of views; leave --views out, or give --model")
    asked = given_views(views)
    fit, folder = _fit(known, of_classes, model, library, views=asked, seed=seed, is_forced=is_forced)
    _show(fit, wanted)
    say_bad(fit.bad)
    say(f"{fit.model}: fitted to {fit.n_fitted} pictures, checked by {fit.n_checked} others")
    if "before" in fit.measures:
        before, after = (fit.measures[name][ERROR_OF_HITS] for name in ("before", "after"))
        say(f"what was there before is replaced: hits of these others were off by {before:.3f}, now by {after:.3f}")
    say(f"kept in {quoted(str(folder / CALIBRATION))}; without this file it is as before any `mmsearch calibrate`")
    if fit.bad:
        raise typer.Exit(EXIT_SOME_BAD)


def _fit(
    known: CaptionSet,
    classes: ClassSet | None,
    model: str | None,
    library: str | None,
    *,
    views: AskedViews | None,
    seed: int,
    is_forced: bool,
) -> tuple[CalibrationFit, Path]:
    """Calibrate an encoder of the cache, or that of a library, with progress shown; return its folder too."""
    from mmsearch.cli.progress import run_progress
    from mmsearch.evaluation.encode import SetEncoder
    from mmsearch.training.calibrate import calibrate_library, calibrate_model
    from mmsearch.training.views import keep_worth_of_views

    options: dict[str, Any] = {"classes": classes, "seed": seed, "is_forced": is_forced}
    with run_progress() as progress:
        named: dict[str, Any] = {"cache": cache_folder(), "on_progress": progress, "notify": say}
        if model is not None:
            encoder = SetEncoder(model, **named, views=views or 1)
            fit = calibrate_model(known, encoder, **options)
            if views == 5:
                worth = keep_worth_of_views(known, SetEncoder(model, **named), encoder)
                say(
                    f"captions with their picture among the first ten: {worth.gain:+.1%} by 5 views instead of 1, "
                    f"{worth.gain_low:+.1%} at least (95 %)"
                )
            return fit, encoder.encoder.folder
        with open_library(library) as opened:
            installed = opened.installed_encoder()
            installed.require_words()
            name = str(opened.reader().setting("model"))
            encoder = SetEncoder(name, **named, views=installed.preprocessing.views)
            return calibrate_library(known, opened, encoder, **options), installed.folder


def _show(fit: CalibrationFit, wanted: Format) -> None:
    """Write the measures and reliability diagrams: tables for people, records for programs."""
    if wanted is Format.table:
        _print(fit)
    else:
        rows: list[Row] = [
            {"model": fit.model, "score": score, "measure": measure, "value": value}
            for score, measures in fit.measures.items()
            for measure, value in measures.items()
        ]
        write_answer(fit.to_json(), ("model", "score", "measure", "value"), wanted, records=rows)


def _print(fit: CalibrationFit) -> None:
    scores = list(fit.measures)
    names = list(dict.fromkeys(measure for measures in fit.measures.values() for measure in measures))
    cells = [[name, *(f"{of[name]:.3f}" if name in of else "" for of in fit.measures.values())] for name in names]
    print_table(
        f"{fit.model}, on pictures that it was not fitted to",
        [("measure", False), *((score, True) for score in scores)],
        cells,
    )
    _print_diagram("hits of captions", fit.hits)
    _print_diagram("answers to captions, and as many to texts without a match", fit.answers)


def _print_diagram(title: str, diagram: Reliability) -> None:
    """Print a reliability diagram: a bar for each bin of probability, as long as it comes true."""
    rows = [
        [f"{low:.0%} to {high:.0%}", str(n), f"{predicted:.1%}", f"{observed:.1%}", round(_WIDTH * observed) * "#"]
        for low, high, n, predicted, observed in zip(
            diagram.edges, diagram.edges[1:], diagram.counts, diagram.predicted, diagram.observed, strict=False
        )
        if n
    ]
    columns = [("relevance", True), ("n", True), ("predicted", True), ("true", True), ("", False)]
    print_table(f"{title}: as predicted, and as true", columns, rows)
