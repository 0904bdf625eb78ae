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
    from mmsearch.records import Classification, LabelledPart

_EITHER = "--labels, --labels-file or --classifier"
_PART_COLUMNS = "part_probability", "part_score", "part_box"


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
    parts: Annotated[
        bool,
        typer.Option(
            "--parts",
            help="Also look at parts of each picture, so that small things are named: of the library where it has "
            "them (index --parts), else at some fourteen times the cost.",
        ),
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="How many labels a picture.")] = 5,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Give each IMAGE its most probable labels. Pictures of the library are not decoded again.

    Where the model is calibrated, as `offline` is, a picture may also show none of these. With --parts labels are
    in the order of the higher of two probabilities: in the whole, and in the part where that is highest.
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
            images, wanted_labels, templates=templates or DEFAULT_TEMPLATES, k=k, closed=closed, multi=multi,
            parts=parts,
        )  # fmt: skip
    _show(results, chosen(output), in_parts=parts)
    for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
        say(warning)
    bad = [result for result in results if result.error]
    for result in bad:
        say(f"error: {result.error}")
    if bad:
        raise typer.Exit(1)


def _show(results: Sequence[Classification], wanted: Format, *, in_parts: bool) -> None:
    """Write the labels of pictures; none of these is a line among them, or a number of its own in JSON."""
    if wanted is Format.table:
        cells = []
        for result in results:
            for rank, row in enumerate(_rows(result)):
                of_part = [_part_text(row.part)] if in_parts else []
                cells.append([row.name, _percent(row.probability), *of_part, result.path if rank == 0 else ""])
        part = [("best part", False)] if in_parts else []
        print_table(None, [("label", False), ("probability", True), *part, ("picture", False)], cells)
    elif wanted is Format.tsv:
        columns = "path", "label", "probability", "score"
        flat = [{"path": result.path, **row.cells()} for result in results for row in _rows(result)]
        write_answer({}, (*columns, *(_PART_COLUMNS if in_parts else ())), wanted, records=flat)
    else:
        pictures = [_as_json(result) for result in results]
        write_answer({"pictures": pictures}, (), wanted, records=pictures)


@dataclass(frozen=True)
class _Row:
    """A line of an answer; none of these has no score."""

    label: str
    probability: float
    score: float | None
    part: LabelledPart | None = None

    @property
    def name(self) -> str:
        return f"({self.label})" if self.score is None else self.label

    def cells(self) -> dict[str, object]:
        """Return the line for a tsv."""
        of_part = () if self.part is None else (self.part.probability, self.part.score, [*self.part.box])
        return {
            "label": self.label, "probability": self.probability, "score": self.score,
            **dict(zip(_PART_COLUMNS, of_part, strict=False)),
        }  # fmt: skip


def _rows(result: Classification) -> list[_Row]:
    """Return the labels of a picture and none of these, most probable first."""
    from mmsearch.records import NONE_OF_THESE

    labels = result.predictions
    rows = [(label.best, _Row(label.label, label.probability, label.score, label.part)) for label in labels]
    if result.none_of_these is not None:
        rows.append((result.none_of_these, _Row(NONE_OF_THESE, result.none_of_these, None)))
    return [row for _, row in sorted(rows, key=lambda ranked: -ranked[0])]


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


def _part_text(part: LabelledPart | None) -> str:
    from mmsearch.records import place_text

    return "" if part is None else f"{_percent(part.probability)} {place_text(part.box)}"


def _as_json(result: Classification) -> dict[str, object]:
    """Return a result without what was not asked or is not known."""
    fields = asdict(result)
    if result.none_of_these is None:
        del fields["none_of_these"]
    if not result.warnings:
        del fields["warnings"]
    for prediction in fields["predictions"]:
        if prediction["part"] is None:
            del prediction["part"]
    return fields
