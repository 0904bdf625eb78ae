"""`mmsearch train`: teach an encoder what is similar, by captions or by pairs; teach labels by a few pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.arguments import Loss, Unfreeze
from mmsearch.cli.completion import complete_models
from mmsearch.cli.measured import command_line
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
from mmsearch.cli.render import chosen, say, write_answer
from mmsearch.cli.trained import caption_sentences, end, pair_sentences, say_bad, show

if TYPE_CHECKING:
    from mmsearch.training.captions import CaptionOptions
    from mmsearch.training.project import Source
    from mmsearch.training.towers import TowerOptions


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
    str,
    typer.Option(
        "--base",
        metavar="MODEL",
        autocompletion=complete_models,
        help="Encoder to begin with, as --model of index.",
    ),
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
CaptionRateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=1e-7,
        max=1.0,
        callback=_finite,
        help="Learning rate (default: 3e-4, of towers 1e-5).",
        show_default=False,
    ),
]
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
UnfreezeOption = Annotated[
    Unfreeze | None,
    typer.Option(
        help="Teach towers themselves, of a CLIP of open_clip, in place of heads on them.", show_default=False
    ),
]
LockImageOption = Annotated[
    bool,
    typer.Option("--lock-image", help="Locked-image tuning (LiT): another name for --unfreeze text."),
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
VerifiedOption = Annotated[
    bool,
    typer.Option(
        "--verified",
        help="With --from-library: pictures that local features verify in each other show the same thing. Not for "
        "prints and products, which share logos and portraits.",
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
    unfreeze: UnfreezeOption = None,
    is_image_locked: LockImageOption = False,
    keep: KeepOption = 0.5,
    loss: LossOption = "infonce",
    margin: MarginOption = None,
    validation: ValidationOption = 0.15,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    rate: CaptionRateOption = None,
    seed: SeedOption = 0,
    is_resuming: ResumeOption = False,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Adapt an encoder to captioned pictures: heads on both towers, which stay as they are.

    With --unfreeze the towers of a CLIP are taught themselves, by torch, on a GPU where there is one. A part of the
    pictures is held out. Unless they and their captions find each other better than before, beyond the 95 %
    interval, nothing is written and the base is kept: exit code 1.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.datasets.open_set import SetOptions, open_captions
    from mmsearch.evaluation.report import Report, origin_of
    from mmsearch.training.adapt import adapt_to_captions
    from mmsearch.training.folder import TrainingFolder
    from mmsearch.training.page import caption_page
    from mmsearch.training.setting import Setting

    options = _caption_options(
        _towers(unfreeze, is_image_locked=is_image_locked), rate, loss=loss, margin=margin, epochs=epochs,
        batch=batch, seed=seed, validation=validation, keep=keep,
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
    show(report, f"{report.n_validation} pictures of {report.set_name} that were held out", chosen(output))
    origin = origin_of(command_line())
    end(report, caption_sentences(report, out), files, origin, caption_page(report, origin))


@train.command()
def pairs(
    out: FolderOption,
    source: ThingsArgument = None,
    is_of_library: FromLibraryOption = False,
    is_verified: VerifiedOption = False,
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

    if is_verified and not is_of_library:
        raise typer.BadParameter("goes with --from-library alone", param_hint="--verified")
    if is_of_library == (source is not None):
        raise typer.BadParameter("name a set, or give --from-library; one of them", param_hint="SET")
    options = PairOptions(
        loss=loss, margin=margin, n_components=n_components, power=power, epochs=epochs, batch=batch, rate=rate,
        seed=seed, validation=validation, keep=keep,
    )  # fmt: skip
    if source is None:
        name, features = _library_source(library, n_warps, is_verified=is_verified)
    else:
        name, features = _pair_source(source, images)
    folder, files = TrainingFolder(out), Report(out)
    folder.check(base)
    files.check()
    with run_progress() as progress:
        setting = Setting(cache_folder(), progress, say)
        report = adapt_to_pairs(name, features, base, folder, options, setting, is_resuming=is_resuming)
    show(report, f"{report.n_validation} things of {report.set_name} that were held out", chosen(output))
    origin = origin_of(command_line())
    end(report, pair_sentences(report, out), files, origin, pair_page(report, origin))


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
        write_answer(taught.to_json(), ("n_labels", "n_pictures", "penalty", "loss_before", "loss_after"), wanted)
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
    say_bad(taught.bad)
    say(f"the classifier is in {out}; use it with classify --classifier {out}")


def _towers(unfreeze: Unfreeze | None, *, is_image_locked: bool) -> Unfreeze | None:
    """Return which towers are taught, None for heads on them."""
    if is_image_locked and unfreeze not in (None, "text"):
        raise typer.BadParameter(
            f"--lock-image keeps the image tower as it is, --unfreeze {unfreeze} teaches it; give one of them",
            param_hint="--lock-image",
        )
    return "text" if is_image_locked else unfreeze


def _caption_options(unfreeze: Unfreeze | None, rate: float | None, **others: Any) -> CaptionOptions | TowerOptions:
    """Return how captions teach heads, or towers, at the rate that suits them unless one was given."""
    from mmsearch.training.captions import CaptionOptions
    from mmsearch.training.towers import TowerOptions

    given = others if rate is None else {**others, "rate": rate}
    return CaptionOptions(**given) if unfreeze is None else TowerOptions(unfreeze=unfreeze, **given)


def _library_source(library: str | None, n_warps: int, *, is_verified: bool) -> tuple[str, Source]:
    """Return the name of a library, and what makes features of its pictures."""
    from mmsearch.cli.progress import run_progress
    from mmsearch.training.things import WarpedPictures, pictures_of_library
    from mmsearch.training.verified import verified_links

    with open_library(library) as opened, run_progress() as progress:
        name, pictures = opened.address.rpartition("/")[2], pictures_of_library(opened)
        links = verified_links(opened, pictures, on_progress=progress) if is_verified else []
        n_films = len(opened) - len(pictures)
    if n_films:
        say(f"{n_films} film{'s are' if n_films > 1 else ' is'} left out: pictures alone are learned from")
    if is_verified:
        say(f"{len(links)} pairs of pictures are taken for the same thing, as local features verify them")
    return name, lambda encoder: WarpedPictures(encoder, n_warps).features(name, pictures, links)


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
