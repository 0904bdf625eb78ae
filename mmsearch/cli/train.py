"""`mmsearch train`: teach an encoder what is similar, by captions or by pairs of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import Loss
from mmsearch.cli.measured import command_line, say_written
from mmsearch.cli.options import Format, FormatOption, cache_folder
from mmsearch.cli.render import Row, chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from mmsearch.training.adapt import CaptionReport

train = typer.Typer(
    no_args_is_help=True,
    help="Teach an encoder what is similar: what it learned is a folder that --model takes everywhere.",
)

BaseOption = Annotated[
    str, typer.Option("--base", metavar="MODEL", help="Encoder to begin with, as --model of index.")
]
FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for what is learned.")]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the pictures are, if not beside the file.")
]
SplitOption = Annotated[
    str | None, typer.Option(metavar="S", help="Only this split; for token files a file of picture names.")
]
ValidationOption = Annotated[
    float, typer.Option(min=0.01, max=0.5, help="Share of the pictures that is held out to judge by.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of weights, order and the validation part.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")]
RateOption = Annotated[float, typer.Option("--rate", min=1e-7, max=1.0, help="Learning rate.")]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help="At most (default: by the number of pictures).", show_default=False)
]
BatchOption = Annotated[
    int | None,
    typer.Option("--batch", min=2, help="Pictures a step (default: by their number).", show_default=False),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        min=0.0001, help="Of the contrastive loss (default: 1) or of triplets (default: 0.2).", show_default=False
    ),
]


@train.command()
def captions(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="Captioned pictures, as for bench retrieval: a folder with captions.jsonl, COCO or Karpathy JSON, "
            "a Flickr8k/30k token file, or a set of the datasets library.",
        ),
    ],
    out: FolderOption,
    base: BaseOption = "offline",
    images: ImagesOption = None,
    split: SplitOption = None,
    image_column: Annotated[
        str | None, typer.Option(metavar="C", help="Column of the pictures in a set of the datasets library.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="C", help="Column of the captions in a set of the datasets library.")
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0,
            help="Share of the base that is kept: 0 suits pictures like those of the set best, 0.5 others too.",
        ),
    ] = 0.5,
    loss: Annotated[Loss, typer.Option(help="What is made small.")] = "infonce",
    margin: MarginOption = None,
    validation: ValidationOption = 0.15,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    rate: RateOption = 3e-4,
    seed: SeedOption = 0,
    is_resuming: ResumeOption = False,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Adapt an encoder to captioned pictures: heads on both towers, which stay as they are.

    A part of the pictures is held out. Unless they and their captions find each other better than before, beyond
    the 95 % interval, nothing is written and the base is kept: exit code 1.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.datasets.open_set import SetOptions, open_captions
    from mmsearch.evaluation.report import Report, origin_of
    from mmsearch.training.adapt import Setting, adapt_to_captions
    from mmsearch.training.captions import CaptionOptions
    from mmsearch.training.folder import TrainingFolder
    from mmsearch.training.page import caption_page

    options = CaptionOptions(
        loss=loss, margin=margin, epochs=epochs, batch=batch, rate=rate, seed=seed,
        validation=validation, keep=keep,
    )  # fmt: skip
    cache = cache_folder()
    known = open_captions(source, SetOptions(cache, images, split, (image_column, text_column)))
    folder, files = TrainingFolder(out), Report(out)
    folder.check()
    files.check()
    with run_progress() as progress:
        report = adapt_to_captions(
            known, base, folder, options, Setting(cache, progress, say), is_resuming=is_resuming
        )
    _show(report, out, chosen(output))
    origin = origin_of(command_line())
    say_written(files.write_files({**report.to_json(), **origin}, caption_page(report, origin)))
    if report.encoder is None:
        raise typer.Exit(1)


def _show(report: CaptionReport, out: Path, wanted: Format) -> None:
    """Write what changed: a table for people, a record a measure for programs."""
    systems = list(next(iter(report.measures.values())))
    if wanted is Format.table:
        rows = [
            [measure, *(f"{100 * values[name].value:.1f} %" for name in systems)]
            for measure, values in report.measures.items()
        ]
        title = f"{report.n_validation} pictures of {report.set_name} that were held out"
        print_table(title, [("measure", False), *((name, True) for name in systems)], rows)
    elif wanted is Format.json:
        write_rows([report.to_json()], (), wanted)
    else:
        records: list[Row] = [
            {"measure": measure, "system": name, **vars(value)}
            for measure, values in report.measures.items()
            for name, value in values.items()
        ]
        write_rows(records, ("measure", "system", "value", "low", "high"), wanted)
    for sentence in _sentences(report, out):
        say(sentence)


def _sentences(report: CaptionReport, out: Path) -> list[str]:
    gain = report.improvement
    gained = f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}) on average"
    first, last = report.distances.values()
    sentences = [
        f"distance of captions to their pictures {first.mean_similar:.2f} -> {last.mean_similar:.2f}, to others "
        f"{first.mean_dissimilar:.2f} -> {last.mean_dissimilar:.2f}, AUROC {first.auroc:.3f} -> {last.auroc:.3f}"
    ]
    if report.encoder is None or report.forgetting is None:
        return [
            *sentences,
            f"error: held-out pictures are not found better beyond the interval: {gained}; the base is kept and "
            "nothing was written; more pictures with captions would help",
        ]
    known = report.forgetting
    return [
        *sentences,
        f"held-out pictures and captions find each other better: {gained}, in {report.seconds:.0f} s",
        f"forgetting: {100 * known.names_before:.0f} % of {known.n_pictures} sample photographs were first for "
        f"their name, {100 * known.names_after:.0f} % are; {100 * known.same_class:.0f} % have the same ImageNet "
        "class",
        f"the encoder {report.encoder[:12]} is in {out}; use it with --model {out}",
    ]
