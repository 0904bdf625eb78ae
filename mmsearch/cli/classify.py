"""`mmsearch classify`: label pictures from prompts, without training, or by a classifier that was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import (
    ClosedOption,
    Format,
    FormatOption,
    LabelsFileOption,
    LabelsOption,
    LibraryOption,
    MultiOption,
    TemplatesOption,
    given_labels,
    open_library,
)
from mmsearch.cli.render import chosen, print_table, say, write_answer

if TYPE_CHECKING:
    from mmsearch.encoders.classifier import Classifier
    from mmsearch.records import Classification

_EITHER = "--labels, --labels-file or --classifier"


def classify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, in the library or not.")],
    labels: LabelsOption = None,
    labels_file: LabelsFileOption = None,
    templates: TemplatesOption = None,
    classifier: Annotated[
        Path | None,
        typer.Option("--classifier", metavar="F", help="In place of labels: a file of `mmsearch train classes`."),
    ] = None,
    closed: ClosedOption = False,
    multi: MultiOption = False,
    k: Annotated[int, typer.Option("-k", min=1, help="How many labels a picture.")] = 5,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Give each IMAGE its most probable labels. Pictures of the library are not decoded again.

    Where the model is calibrated, as `offline` is, a picture may also show none of these.
    """
    from mmsearch.encoders.prompts import DEFAULT_TEMPLATES

    if classifier is None:
        wanted_labels: list[str] | Classifier = given_labels(labels, labels_file, _EITHER)
    elif labels is not None or labels_file is not None or templates or closed or multi:
        raise typer.BadParameter("a classifier has labels of its own; leave labels, templates and modes out")
    else:
        from mmsearch.encoders.classifier import Classifier

        wanted_labels = Classifier.load(classifier)
    with open_library(library) as opened:
        results = opened.classify(
            images, wanted_labels, templates=templates or DEFAULT_TEMPLATES, k=k, closed=closed, multi=multi
        )
    _show(results, chosen(output))
    for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
        say(warning)
    bad = [result for result in results if result.error]
    for result in bad:
        say(f"error: {result.error}")
    if bad:
        raise typer.Exit(1)


def _show(results: Sequence[Classification], wanted: Format) -> None:
    """Write the labels of pictures; none of these is a line among them, or a number of its own in JSON."""
    from mmsearch.records import NONE_OF_THESE

    if wanted is Format.table:
        cells = []
        for result in results:
            for rank, row in enumerate(_rows(result)):
                label = f"({NONE_OF_THESE})" if row.score is None else row.label
                cells.append([label, f"{100 * row.probability:.1f} %", result.path if rank == 0 else ""])
        print_table(None, [("label", False), ("probability", True), ("picture", False)], cells)
    elif wanted is Format.tsv:
        flat = [{"path": result.path, **asdict(row)} for result in results for row in _rows(result)]
        write_answer({}, ("path", "label", "probability", "score"), wanted, records=flat)
    else:
        pictures = [_as_json(result) for result in results]
        write_answer({"pictures": pictures}, (), wanted, records=pictures)


@dataclass(frozen=True)
class _Row:
    """A line of an answer; none of these has no score."""

    label: str
    probability: float
    score: float | None


def _rows(result: Classification) -> list[_Row]:
    """Return the labels of a picture and none of these, most probable first."""
    from mmsearch.records import NONE_OF_THESE

    rows = [_Row(label.label, label.probability, label.score) for label in result.predictions]
    if result.none_of_these is not None:
        rows.append(_Row(NONE_OF_THESE, result.none_of_these, None))
    return sorted(rows, key=lambda row: -row.probability)


def _as_json(result: Classification) -> dict[str, object]:
    """Return a result without what was not asked or is not known."""
    fields = asdict(result)
    if result.none_of_these is None:
        del fields["none_of_these"]
    if not result.warnings:
        del fields["warnings"]
    return fields
