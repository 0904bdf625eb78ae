"""`mmsearch bench`: how good retrieval is, on a public set or on your own, with definitions and intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import WithoutRelevant
from mmsearch.cli.completion import complete_models, complete_templates
from mmsearch.cli.index import EXIT_SOME_BAD
from mmsearch.cli.measured import show_ann, show_measured
from mmsearch.cli.options import (
    ForceOption,
    FormatOption,
    ImageColumnOption,
    ImagesOption,
    LibraryOption,
    SplitOption,
    TextColumnOption,
    ViewsOption,
    cache_folder,
    given_views,
    open_library,
    read_lines,
)
from mmsearch.cli.render import chosen, say

if TYPE_CHECKING:
    from mmsearch.encoders.classifier import Classifier
    from mmsearch.evaluation.encode import SetEncoder
    from mmsearch.evaluation.ranking import Ranking
    from mmsearch.evaluation.records import MeasuredReport
    from mmsearch.evaluation.report import Report
    from mmsearch.evaluation.trec_out import TrecWriter

OWN_TEMPLATES = ("names", "default")


bench = typer.Typer(
    no_args_is_help=True,
    help="Measure retrieval against known answers: recall, precision, mAP and more, with 95 % intervals.",
)

ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=complete_models,
        help="Encoder, as for index; several are compared (default: auto)",
    ),
]
OutOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.json and report.html there.")]
TrecOption = Annotated[
    int | None,
    typer.Option("--trec", metavar="K", min=1, help="With --out: write the K best of every query as TREC runs."),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With --local: visual words from a file (default: learned on the gallery)."),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume/--no-resume", help="Use vectors of earlier runs, or encode this set anew."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the intervals and tests.")]


@bench.command()
def retrieval(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="A folder with captions.jsonl, COCO or Karpathy JSON, a Flickr8k/30k token file, or a set of the "
            "datasets library: hf:owner/name, Parquet, Arrow, or a folder made by save_to_disk.",
        ),
    ],
    models: ModelsOption = None,
    views: ViewsOption = None,
    images: ImagesOption = None,
    split: SplitOption = None,
    image_column: ImageColumnOption = None,
    text_column: TextColumnOption = None,
    is_merging: Annotated[
        bool, typer.Option("--merge-captions", help="Equal captions are one query with all their pictures.")
    ] = False,
    out: OutOption = None,
    is_forced: ForceOption = False,
    trec: TrecOption = None,
    is_resuming: ResumeOption = True,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Text to image and image to text on a set of captioned pictures.

    Every value has a 95 % interval over pictures; several models are compared on the same queries.
    """
    from mmsearch.datasets.open_set import SetOptions, open_captions
    from mmsearch.evaluation.retrieval import IMAGE_TO_TEXT, TEXT_TO_IMAGE, run_retrieval

    report = _report(out, is_forced=is_forced)
    known = open_captions(
        benchmark, SetOptions(cache_folder(), images, split, (image_column, text_column)), is_merging=is_merging
    )
    runs = _trec_writer(report, trec)

    def measure(encoders: list[SetEncoder]) -> MeasuredReport:
        if runs is not None:
            runs.check([encoder.encoder.name for encoder in encoders], (TEXT_TO_IMAGE, IMAGE_TO_TEXT))
        return run_retrieval(known, encoders, seed=seed, on_ranking=runs or _unwritten)

    measured = _with_encoders(models, is_resuming, measure, views)
    show_measured(measured, report, chosen(output), "direction")
    _exit_if_bad(measured)


@bench.command()
def instance(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="A folder with database.jsonl and queries.jsonl or with a folder a class, JSON with gallery and "
            "queries or with groups, or a ground-truth file of revisited Oxford or Paris.",
        ),
    ],
    models: ModelsOption = None,
    views: ViewsOption = None,
    images: ImagesOption = None,
    by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Results for each value of this field of the queries too.")
    ] = None,
    is_local: Annotated[
        bool,
        typer.Option("--local", help="Also every model reranked by local features, and visual words alone."),
    ] = False,
    vocabulary: VocabularyOption = None,
    without_relevant: Annotated[
        WithoutRelevant, typer.Option(help="What becomes of queries to which nothing is relevant.")
    ] = "skip",
    out: OutOption = None,
    is_forced: ForceOption = False,
    trec: TrecOption = None,
    is_resuming: ResumeOption = True,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Query by example: pictures of the same thing, with relevant and junk lists, groups, or classes.

    Revisited Oxford and Paris are measured by their own protocol, groups of four also by the N-S score.
    """
    from mmsearch.datasets.open_set import SetOptions, open_instances
    from mmsearch.evaluation.instance import run_instance, system_names
    from mmsearch.evaluation.local import LocalOptions

    report = _report(out, is_forced=is_forced)
    known = open_instances(benchmark, SetOptions(cache_folder(), images), by=by)
    runs = _trec_writer(report, trec)

    def measure(encoders: list[SetEncoder]) -> MeasuredReport:
        if runs is not None:
            runs.check(system_names(encoders, is_local=is_local), known.tasks)
        return run_instance(
            known,
            encoders,
            without_relevant=without_relevant,
            local=LocalOptions(vocabulary) if is_local else None,
            seed=seed,
            on_ranking=runs or _unwritten,
        )

    measured = _with_encoders(models, is_resuming, measure, views)
    show_measured(measured, report, chosen(output), "task")
    _exit_if_bad(measured)


@bench.command()
def identify(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="As for bench instance: pictures that are relevant to one query, or in one group or class, are of "
            "one identity.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            autocompletion=complete_models,
            help="Encoder, as for index; repeatable (default: cnn:gem)",
        ),
    ] = None,
    images: ImagesOption = None,
    out: OutOption = None,
    is_forced: ForceOption = False,
    is_resuming: ResumeOption = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the half of the identities that is removed.")] = 0,
    output: FormatOption = None,
) -> None:
    """Who is known, and who is taken for another: half of the identities are removed from the gallery.

    Shares of queries whose likeliest identity is right, that are given it, and of strangers that are given any;
    each model beside local features.
    """
    from mmsearch.datasets.open_set import SetOptions, open_instances
    from mmsearch.evaluation.identify import run_identification
    from mmsearch.galleries import DEFAULT_MODEL

    report = _report(out, is_forced=is_forced)
    known = open_instances(benchmark, SetOptions(cache_folder(), images))
    measured = _with_encoders(
        models or [DEFAULT_MODEL], is_resuming, lambda encoders: run_identification(known, encoders, seed=seed)
    )
    show_measured(measured, report, chosen(output), "part")
    _exit_if_bad(measured)


@bench.command()
def classify(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="A folder with labels.csv or with a folder a class, or a set of the datasets library: "
            "hf:owner/name, Parquet, Arrow, or a folder made by save_to_disk.",
        ),
    ],
    models: ModelsOption = None,
    views: ViewsOption = None,
    split: SplitOption = None,
    image_column: ImageColumnOption = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="C", help="Column of the classes in a set of the datasets library.")
    ] = None,
    classifiers: Annotated[
        list[Path] | None,
        typer.Option(
            "--classifier", metavar="FILE",
            help="Also a classifier of `mmsearch train classes`, beside the prompts of its base; repeatable.",
        ),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates", metavar="NAME", autocompletion=complete_templates,
            help="Prompt ensemble: names, default, simple (7) or openai (80); repeatable (default: default)",
        ),
    ] = None,
    own_templates: Annotated[
        list[str] | None,
        typer.Option("--template", metavar="T", help="Prompt with {} for the label; repeatable, one ensemble."),
    ] = None,
    out: OutOption = None,
    is_forced: ForceOption = False,
    is_resuming: ResumeOption = True,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Classification of labelled pictures, zero-shot or by what was taught: accuracy, recall, calibration error."""
    from mmsearch.datasets.open_set import SetOptions, open_classes
    from mmsearch.encoders.classifier import Classifier
    from mmsearch.evaluation.classify import Taught, run_classification

    report = _report(out, is_forced=is_forced)
    ensembles = _ensembles(templates or ([] if own_templates else ["default"]))
    if own_templates:
        ensembles["own"] = tuple(own_templates)
    known = open_classes(benchmark, SetOptions(cache_folder(), None, split, (image_column, label_column)))
    loaded = {str(path): Classifier.load(path) for path in classifiers or ()}

    def measure(encoders: list[SetEncoder]) -> MeasuredReport:
        taught = [Taught.of(*named, encoders) for named in loaded.items()]
        return run_classification(known, encoders, ensembles, classifiers=taught, seed=seed)

    measured = _with_encoders(_with_bases(models, loaded.values()), is_resuming, measure, views)
    show_measured(measured, report, chosen(output), "templates")
    _exit_if_bad(measured)


@bench.command()
def calibration(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="Captioned pictures, as for bench retrieval, or labelled ones, as for bench classify.",
        ),
    ],
    models: ModelsOption = None,
    views: ViewsOption = None,
    images: ImagesOption = None,
    split: SplitOption = None,
    image_column: ImageColumnOption = None,
    text_column: TextColumnOption = None,
    label_column: Annotated[
        str | None,
        typer.Option(metavar="C", help="Column of the classes, in a set of the datasets library that has some."),
    ] = None,
    is_by_caption: Annotated[
        bool, typer.Option("--captions-as-labels", help="Captions, one a picture, are the labels of a classifier.")
    ] = False,
    absent: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of things that captions may lack, one a line (default: the classes of ImageNet).",
        ),
    ] = None,
    out: OutOption = None,
    is_forced: ForceOption = False,
    is_resuming: ResumeOption = True,
    seed: Annotated[int, typer.Option(min=0, help="Of gibberish and of the intervals.")] = 0,
    output: FormatOption = None,
) -> None:
    """Measure whether scores tell that nothing matches, or no label fits, and whether probabilities come true.

    Captions are asked with their pictures in the library and without them, beside gibberish, other languages (where
    the set has translations) and absent things; pictures with their label among the labels and without it.
    """
    from mmsearch.datasets.open_set import SetOptions, open_captions_or_classes
    from mmsearch.datasets.sets import CaptionSet
    from mmsearch.evaluation.calibration import run_calibration

    report = _report(out, is_forced=is_forced)
    known = open_captions_or_classes(
        benchmark,
        SetOptions(cache_folder(), images, split, (image_column, text_column)),
        label_column=label_column,
        is_by_caption=is_by_caption,
    )
    names = _absent_names(absent) if isinstance(known, CaptionSet) else []
    measured = _with_encoders(
        models, is_resuming, lambda encoders: run_calibration(known, encoders, absent_names=names, seed=seed), views
    )
    show_measured(measured, report, chosen(output), "part")
    _exit_if_bad(measured)


def _absent_names(file: Path | None) -> list[str]:
    from mmsearch.encoders.templates import imagenet_class_names

    return list(imagenet_class_names()) if file is None else read_lines(file, "--absent")


@bench.command()
def ann(
    library: LibraryOption = None,
    tune: Annotated[
        float | None,
        typer.Option(
            metavar="R", min=0.5, max=1.0, help="First set the recall@10 the library's search must reach."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text queries, one a line (default: varied captions).")
    ] = None,
    n_queries: Annotated[int, typer.Option("--queries", metavar="N", min=1, help="At most, of each kind.")] = 1000,
    out: OutOption = None,
    is_forced: ForceOption = False,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Measure the library's own indexes: ANN recall@10, latency and rate, against the exact scan.

    Texts, stored pictures and new photographs are measured apart; beside the mean stand the shares of queries that
    lose their best hit, and all of the best ten. With --tune 0.98 the library's search is first set to that recall.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.evaluation.ann import run_ann

    report = _report(out, is_forced=is_forced)
    with open_library(library) as opened, run_progress() as progress:
        if tune is not None:
            opened.tune(tune, on_progress=progress)
        probes = opened.text_probes()
        # Indexes are fitted to every other probe; those are no queries.
        asked = probes[1::2] if texts is None else opened.encoder.encode_texts(read_lines(texts, "--texts"))
        measured = run_ann(
            opened.reader(), asked, photographs=opened.photograph_probes(), fitted=probes[::2],
            n_queries=n_queries, seed=seed, on_progress=progress,
        )  # fmt: skip
    show_ann(measured, report, chosen(output))


@bench.command()
def run(
    qrels: Annotated[Path, typer.Argument(metavar="QRELS", help="Ground truth: `query 0 document gain` lines.")],
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Rankings: `query Q0 document rank score tag` lines.")
    ],
    out: OutOption = None,
    is_forced: ForceOption = False,
    seed: SeedOption = 0,
    output: FormatOption = None,
) -> None:
    """Rankings made elsewhere, as TREC runs, by the same measures; several are compared."""
    from mmsearch.evaluation.runs import score_runs

    report = _report(out, is_forced=is_forced)
    show_measured(score_runs(qrels, runs, seed=seed), report, chosen(output), "qrels")


def _report(out: Path | None, *, is_forced: bool) -> Report | None:
    """Return where the report goes, once it is sure that it can be written there."""
    if out is None:
        return None
    from mmsearch.evaluation.report import Report

    report = Report(out, is_forced=is_forced)
    report.check()
    return report


def _exit_if_bad(measured: MeasuredReport) -> None:
    """Let the exit code say that pictures of the set could not be used."""
    if measured["set"]["bad"]:
        raise typer.Exit(EXIT_SOME_BAD)


def _trec_writer(report: Report | None, depth: int | None) -> TrecWriter | None:
    from mmsearch.evaluation.trec_out import TrecWriter

    if depth is None:
        return None
    if report is None:
        raise typer.BadParameter("name a folder for the runs with --out", param_hint="--trec")
    return TrecWriter(report.folder, depth, is_forced=report.is_forced)


def _unwritten(encoder: str, part: str, ranking: Ranking) -> None:
    """Let a ranking go that nobody wants as a run."""


def _ensembles(names: list[str]) -> dict[str, tuple[str, ...]]:
    from mmsearch.encoders.prompts import DEFAULT_TEMPLATES

    known: dict[str, tuple[str, ...]] = dict(zip(OWN_TEMPLATES, (("{}",), DEFAULT_TEMPLATES), strict=True))
    if not known.keys() >= set(names):
        from mmsearch.encoders.templates import published_templates

        known |= published_templates()
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(
            f"there are no templates {unknown[0]!r}; expected one of {', '.join(known)}", param_hint="--templates"
        )
    return {name: known[name] for name in names}


def _with_bases(models: list[str] | None, classifiers: Iterable[Classifier]) -> list[str] | None:
    """Return models with the bases of classifiers, each once."""
    from mmsearch.encoders.prepare import lasting_name

    wanted = list(models or ())
    for classifier in classifiers:
        if classifier.model not in map(lasting_name, wanted):
            wanted.append(classifier.model)
    return wanted or None


def _with_encoders(
    models: list[str] | None,
    is_resuming: bool,
    run: Callable[[list[SetEncoder]], MeasuredReport],
    views: str | None = None,
) -> MeasuredReport:
    """Return what a run finds, with progress shown."""
    from mmsearch.cli.progress import run_progress
    from mmsearch.evaluation.encode import SetEncoder

    cache, asked = cache_folder(), given_views(views) or 1
    with run_progress() as progress:
        return run([
            SetEncoder(model, cache=cache, is_resuming=is_resuming, on_progress=progress, notify=say, views=asked)
            for model in models or ["auto"]
        ])  # fmt: skip
