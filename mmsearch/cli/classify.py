"""`mmsearch classify`: label pictures from prompts, without training, or by a classifier that was taught."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library, read_lines
from mmsearch.cli.render import chosen, print_table, say, write_rows

if TYPE_CHECKING:
    from mmsearch.encoders.classifier import Classifier


def classify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, in the library or not.")],
    labels: Annotated[str | None, typer.Option("--labels", help='Comma-separated: "cat,dog,a red car".')] = None,
    labels_file: Annotated[
        Path | None, typer.Option("--labels-file", metavar="F", help="One label a line; - is standard input.")
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", metavar="T", help="Prompt with {} for the label; repeatable."),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option("--classifier", metavar="F", help="In place of labels: a file of `mmsearch train classes`."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many labels a picture.")] = 5,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Give each IMAGE its most probable labels. Pictures of the library are not decoded again."""
    from mmsearch.encoders.prompts import DEFAULT_TEMPLATES

    if classifier is None:
        wanted_labels: list[str] | Classifier = _labels(labels, labels_file)
    elif labels is not None or labels_file is not None or templates:
        raise typer.BadParameter("a classifier has labels of its own; leave labels and templates out")
    else:
        from mmsearch.encoders.classifier import Classifier

        wanted_labels = Classifier.load(classifier)
    with open_library(library) as opened:
        results = opened.classify(images, wanted_labels, templates=templates or DEFAULT_TEMPLATES, k=k)
    wanted = chosen(output)
    if wanted is Format.table:
        rows = [
            [prediction.label, f"{100 * prediction.probability:.1f} %", result.path if rank == 0 else ""]
            for result in results
            for rank, prediction in enumerate(result.predictions)
        ]
        print_table(None, [("label", False), ("probability", True), ("picture", False)], rows)
    elif wanted is Format.tsv:
        flat = [
            {"path": result.path, **asdict(prediction)} for result in results for prediction in result.predictions
        ]
        write_rows(flat, ("path", "label", "probability", "score"), wanted)
    else:
        write_rows([asdict(result) for result in results], (), wanted)
    bad = [result for result in results if result.error]
    for result in bad:
        say(f"error: {result.error}")
    if bad:
        raise typer.Exit(1)


def _labels(labels: str | None, labels_file: Path | None) -> list[str]:
    if (labels is None) == (labels_file is None):
        raise typer.BadParameter("give either --labels, --labels-file or --classifier")
    if labels is not None:
        return [label.strip() for label in labels.split(",")]
    assert labels_file is not None
    return read_lines(labels_file, "--labels-file")
