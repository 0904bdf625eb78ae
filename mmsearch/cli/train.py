"""`mmsearch train`: teach an encoder what is similar, by captions or by pairs; teach labels by a few pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import Loss
from mmsearch.cli.measured import command_line, say_written
from mmsearch.cli.options import (
    ForceOption,
    Format,
    FormatOption,
    ImageColumnOption,
    ImagesOption,
    LibraryOption,
    SplitOption,
    TextColumnOption,
    cache_folder,
    open_library,
    read_lines,
)
from mmsearch.cli.render import Row, chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsearch.evaluation.records import Bad, Origin
    from mmsearch.evaluation.report import Report
    from mmsearch.training.adapt import CaptionReport
    from mmsearch.training.project import PairReport, Source


def _finite(value: float | None) -> float | None:
    """Return a number that was given; no range leaves out what is no number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


train = typer.Typer(
    no_args_is_help=True,
    help="Teach an encoder what is similar: what it learned is a folder that --model takes everywhere.",
)

BaseOption = Annotated[
    str, typer.Option("--base", metavar="MODEL", help="Encoder to begin with, as --model of index.")
]
FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for what is learned.")]
ValidationOption = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=0.5,
        callback=_finite,
        help="Share that is held out: half to choose the epoch by, half to judge by.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of weights, order and the validation part.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")]
RateOption = Annotated[float, typer.Option("--rate", min=1e-7, max=1.0, callback=_finite, help="Learning rate.")]
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
        min=0.0001,
        callback=_finite,
        help="Of the contrastive loss or of triplets (default: by the loss).",
        show_default=False,
    ),
]
CaptionsArgument = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="Captioned pictures, as for bench retrieval: a folder with captions.jsonl, COCO or Karpathy JSON, "
        "a Flickr8k/30k token file, or a set of the datasets library.",
    ),
]
KeepOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.99,
        callback=_finite,
        help="Share of the base that is kept: 0 suits pictures like those of the set best, 0.5 others too.",
    ),
]
LossOption = Annotated[Loss, typer.Option(help="What is made small.")]
ThingsArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SET]",
        help="Pictures of the same things: a folder a class or groups, as for bench instance, or a table of "
        "pairs with the columns a,b,y (1: the same thing, 0: not; what no pair joins counts as not, and the "
        "contrastive loss draws those of a 0 apart).",
        show_default=False,
    ),
]
FromLibraryOption = Annotated[
    bool,
    typer.Option(
        "--from-library",
        help="Learn from the pictures of the library and warped copies of them, without any labels.",
    ),
]
KeepBesideOption = Annotated[
    float,
    typer.Option(
        min=0.0, max=0.99, callback=_finite, help="Share of the base's own descriptor, beside the projected one."
    ),
]
DimensionsOption = Annotated[int, typer.Option("--dim", min=2, help="Dimensions of the projection at most.")]
PowerOption = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, callback=_finite, help="Of the whitening it begins with: lower keeps more of the base."
    ),
]
WarpsOption = Annotated[
    int, typer.Option("--warps", min=1, max=64, help="With --from-library: copies of every picture.")
]
ClassesArgument = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="Labelled pictures, as for bench classify: a folder a class, a folder with labels.csv, or a set "
        "of the datasets library.",
    ),
]
MoreLabelsOption = Annotated[
    Path | None,
    typer.Option("--labels-file", metavar="F", help="More labels, one a line, of which there are no pictures."),
]
TemplatesOption = Annotated[
    list[str] | None,
    typer.Option("--template", metavar="T", help="Prompt with {} for the label; repeatable."),
]


@train.command()
def captions(
    source: CaptionsArgument,
    out: FolderOption,
    base: BaseOption = "offline",
    images: ImagesOption = None,
    split: SplitOption = None,
    image_column: ImageColumnOption = None,
    text_column: TextColumnOption = None,
    keep: KeepOption = 0.5,
    loss: LossOption = "infonce",
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
    from mmsearch.training.adapt import adapt_to_captions
    from mmsearch.training.captions import CaptionOptions
    from mmsearch.training.folder import TrainingFolder
    from mmsearch.training.page import caption_page
    from mmsearch.training.setting import Setting

    options = CaptionOptions(
        loss=loss, margin=margin, epochs=epochs, batch=batch, rate=rate, seed=seed,
        validation=validation, keep=keep,
    )  # fmt: skip
    cache = cache_folder()
    known = open_captions(source, SetOptions(cache, images, split, (image_column, text_column)))
    folder, files = TrainingFolder(out), Report(out)
    folder.check(base)
    files.check()
    with run_progress() as progress:
        report = adapt_to_captions(
            known, base, folder, options, Setting(cache, progress, say), is_resuming=is_resuming
        )
    _show(report, f"{report.n_validation} pictures of {report.set_name} that were held out", chosen(output))
    origin = origin_of(command_line())
    _end(report, _caption_sentences(report, out), files, origin, caption_page(report, origin))


@train.command()
def pairs(
    out: FolderOption,
    source: ThingsArgument = None,
    is_of_library: FromLibraryOption = False,
    library: LibraryOption = None,
    base: BaseOption = "cnn:rmac+middle",
    images: ImagesOption = None,
    keep: KeepBesideOption = 0.0,
    loss: LossOption = "contrastive",
    margin: MarginOption = None,
    n_components: DimensionsOption = 512,
    power: PowerOption = 1.0,
    n_warps: WarpsOption = 12,
    validation: ValidationOption = 0.15,
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 40,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Pairs a step.")] = 512,
    rate: RateOption = 1e-3,
    seed: SeedOption = 0,
    is_resuming: ResumeOption = False,
    output: FormatOption = None,
) -> None:
    """Teach an image encoder which pictures show the same thing: a projection of its descriptors.

    What is learned knows no words. A part of the things is held out. Unless their pictures find each other better
    than before, beyond the 95 % interval, nothing is written and the base is kept: exit code 1.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.evaluation.report import Report, origin_of
    from mmsearch.training.folder import TrainingFolder
    from mmsearch.training.page import pair_page
    from mmsearch.training.pairs import PairOptions
    from mmsearch.training.project import adapt_to_pairs
    from mmsearch.training.setting import Setting

    if is_of_library == (source is not None):
        raise typer.BadParameter("name a set, or give --from-library; one of them", param_hint="SET")
    options = PairOptions(
        loss=loss, margin=margin, n_components=n_components, power=power, epochs=epochs, batch=batch, rate=rate,
        seed=seed, validation=validation, keep=keep,
    )  # fmt: skip
    name, features = _library_source(library, n_warps) if source is None else _pair_source(source, images)
    folder, files = TrainingFolder(out), Report(out)
    folder.check(base)
    files.check()
    with run_progress() as progress:
        setting = Setting(cache_folder(), progress, say)
        report = adapt_to_pairs(name, features, base, folder, options, setting, is_resuming=is_resuming)
    _show(report, f"{report.n_validation} things of {report.set_name} that were held out", chosen(output))
    origin = origin_of(command_line())
    _end(report, _pair_sentences(report, out), files, origin, pair_page(report, origin))


@train.command()
def classes(
    source: ClassesArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File for the classifier.")],
    base: BaseOption = "offline",
    labels_file: MoreLabelsOption = None,
    templates: TemplatesOption = None,
    split: SplitOption = None,
    seed: SeedOption = 0,
    is_forced: ForceOption = False,
    output: FormatOption = None,
) -> None:
    """Teach a classifier by a few labelled pictures, on top of label prompts, for classify --classifier.

    How much the pictures change is chosen on pictures that are left out in turn. Unless these are labelled better
    beyond the 95 % interval it is that of the prompts, with calibrated probabilities.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.datasets.open_set import SetOptions, open_classes
    from mmsearch.output import CLASSIFIER, OutputFile
    from mmsearch.training.classes import classifier_of_set
    from mmsearch.training.setting import Setting

    file = OutputFile(out, CLASSIFIER, is_forced=is_forced)
    file.check()
    cache = cache_folder()
    known = open_classes(source, SetOptions(cache, None, split))
    more = read_lines(labels_file, "--labels-file") if labels_file is not None else []
    with run_progress() as progress:
        taught = classifier_of_set(
            known, base, Setting(cache, progress, say), more_labels=more, templates=templates, seed=seed
        )
    file.write(lambda path: path.write_bytes(taught.classifier.to_bytes()))
    wanted = chosen(output)
    if wanted is not Format.table:
        write_rows([taught.to_json()], ("n_labels", "n_pictures", "penalty", "loss_before", "loss_after"), wanted)
    certainty = f"gain {taught.gain.value:.3f}, {taught.gain.low:.3f} to {taught.gain.high:.3f}"
    change = (
        f"the prompts alone, as pictures left out are not labelled better beyond the interval ({certainty})"
        if taught.penalty is None
        else f"pictures, with penalty {taught.penalty:g} ({certainty})"
    )
    say(
        f"{taught.n_labels} labels, {taught.n_pictures} pictures: {change}; mean -log probability of the right "
        f"label of pictures left out {taught.loss_before:.3f} -> {taught.loss_after:.3f}"
    )
    _say_bad(taught.bad)
    say(f"the classifier is in {out}; use it with classify --classifier {out}")


def _library_source(library: Path | None, n_warps: int) -> tuple[str, Source]:
    """Return the name of a library, and what makes features of its pictures."""
    from mmsearch.training.things import WarpedPictures, pictures_of_library

    with open_library(library) as opened:
        name, pictures = opened.folder.name, pictures_of_library(opened)
    return name, lambda encoder: WarpedPictures(encoder, n_warps).features(name, pictures)


def _pair_source(source: str, images: Path | None) -> tuple[str, Source]:
    """Return the name of a set, and what makes features of its pictures."""
    from mmsearch.datasets.open_set import SetOptions, open_instances
    from mmsearch.training.things import features_of_instances, features_of_pairs, read_pairs

    path = Path(source)
    if path.suffix == ".csv":
        table = read_pairs(path, images=images)
        return table.name, lambda encoder: features_of_pairs(table, encoder)
    known = open_instances(source, SetOptions(cache_folder(), images))
    return known.name, lambda encoder: features_of_instances(known, encoder)


def _show(report: CaptionReport | PairReport, title: str, wanted: Format) -> None:
    """Write what changed: a table for people, a record a measure for programs."""
    systems = list(next(iter(report.measures.values())))
    if wanted is Format.table:
        rows = [
            [measure, *(f"{100 * values[name].value:.1f} %" for name in systems)]
            for measure, values in report.measures.items()
        ]
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


def _say_bad(bad: Sequence[Bad]) -> None:
    """Name the pictures that could not be read."""
    for picture in bad:
        say(f"  left out: {picture['message']}")


def _end(
    report: CaptionReport | PairReport, sentences: Sequence[str], files: Report, origin: Origin, page: str
) -> None:
    """Say what came of a training, write its report, and let the exit code say whether there is an encoder."""
    for sentence in sentences:
        say(sentence)
    _say_bad(report.bad)
    say_written(files.write_files({**report.to_json(), **origin}, page))
    if report.encoder is None:
        raise typer.Exit(1)


def _caption_sentences(report: CaptionReport, out: Path) -> list[str]:
    distances = _distances_text(report, "captions to their pictures")
    if report.encoder is None or report.forgetting is None:
        return [distances, _nothing_text(report, "pictures with captions", out)]
    known = report.forgetting
    return [
        distances,
        f"held-out pictures and captions find each other better: {_gain_text(report)}, in {report.seconds:.0f} s",
        f"forgetting: {100 * known.names_before:.0f} % of {known.n_pictures} sample photographs were first for "
        f"their name, {100 * known.names_after:.0f} % are; {100 * known.same_class:.0f} % have the same ImageNet "
        "class",
        f"the encoder {report.encoder[:12]} is in {out}; use it with --model {out}",
    ]


def _pair_sentences(report: PairReport, out: Path) -> list[str]:
    distances = _distances_text(report, "pictures of the same thing")
    if report.encoder is None or report.samples is None:
        return [distances, _nothing_text(report, "pictures", out)]
    before, after = report.samples
    return [
        distances,
        f"things held out are found better: {_gain_text(report)}, in {report.seconds:.0f} s",
        f"other pictures: {100 * before:.0f} % of warped sample photographs were found first, "
        f"{100 * after:.0f} % are",
        f"the encoder {report.encoder[:12]} is in {out}; use it with --model {out}",
    ]


def _gain_text(report: CaptionReport | PairReport) -> str:
    gain = report.improvement
    return f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}) on average"


def _distances_text(report: CaptionReport | PairReport, what: str) -> str:
    first, last = report.distances.values()
    return (
        f"distance of {what} {first.mean_similar:.2f} -> {last.mean_similar:.2f}, of others "
        f"{first.mean_dissimilar:.2f} -> {last.mean_dissimilar:.2f}, AUROC {first.auroc:.3f} -> {last.auroc:.3f}"
    )


def _nothing_text(report: CaptionReport | PairReport, what: str, out: Path) -> str:
    from mmsearch.encoders.learned import is_learned

    stays = f" (the encoder of an earlier training stays in {out})" if is_learned(out) else ""
    return (
        f"error: what was held out is not found better beyond the interval: {_gain_text(report)}; the base is kept "
        f"and no encoder was written{stays}; more {what} would help"
    )
