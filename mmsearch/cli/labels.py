"""`mmsearch labels set`, `list` and `rm`: labels for all pictures of a library, to filter by."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.completion import complete_label_sets
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
    from mmsearch.records import LabelSet

labels = typer.Typer(no_args_is_help=True, help="Labels for all pictures of the library, to filter by.")
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=complete_label_sets, help="Of the label set, such as animals."),
]
_COLUMNS = ("name", "n_labels", "n_labelled", "n_given", "n_left", "min_probability", "mode")


@labels.command("set")
def set_(
    name: NameArgument,
    names: LabelsOption = None,
    labels_file: LabelsFileOption = None,
    closed: ClosedOption = False,
    multi: MultiOption = False,
    templates: TemplatesOption = None,
    min_probability: Annotated[
        float,
        typer.Option("--min-probability", metavar="P", help="Give no label that is less probable."),
    ] = 0.5,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Give every picture of the library those of some labels that it is likely to show.

    They go by the stored vectors; no picture is read. `--where "label = dog"` filters by them, `label =
    animals/dog` by one set alone, `label ~ d*` by a pattern, and the page counts them. `index` gives them to new
    pictures. A set of that name is replaced; a run that was ended goes on where it was when it is started again.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.encoders.prompts import DEFAULT_TEMPLATES

    wanted = given_labels(names, labels_file)
    with open_library(library) as opened, run_progress() as progress:
        made = opened.set_labels(
            name, wanted, templates=templates or DEFAULT_TEMPLATES, closed=closed, multi=multi,
            min_probability=min_probability, on_progress=progress, notify=say,
        )  # fmt: skip
    if chosen(output) is not Format.table:
        write_answer(asdict(made), _COLUMNS, chosen(output))
    say(labels_text(made))


@labels.command("list")
def list_(library: LibraryOption = None, output: FormatOption = None) -> None:
    """Name the label sets of the library, with what they gave to how many pictures."""
    with open_library(library) as opened:
        sets = opened.label_sets()
    if chosen(output) is not Format.table:
        records = [asdict(known) for known in sets]
        write_answer({"label_sets": records}, _COLUMNS, chosen(output), records=records)
        return
    if not sets:
        say("no label sets; `mmsearch labels set NAME --labels-file F` makes one")
        return
    headings = ("labels", "pictures", "given", "left", "from")
    rows = []
    for known in sets:
        counts = known.n_labels, known.n_labelled, known.n_given, known.n_left
        rows.append([known.name, *map(str, counts), f"{known.min_probability:g}", known.mode])
    print_table(None, [("set", False), *((heading, True) for heading in headings), ("mode", False)], rows)


@labels.command()
def rm(name: NameArgument, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Forget a label set and all labels that it gave; pictures stay."""
    with open_library(library) as opened:
        gone = opened.remove_labels(name)
    if chosen(output) is not Format.table:
        write_answer(asdict(gone), _COLUMNS, chosen(output))
    say(f"forgotten: {labels_text(gone)}")


def labels_text(known: LabelSet) -> str:
    """Say what a label set gave.

    >>> from mmsearch.records import LabelSet
    >>> labels_text(LabelSet("animals", 97, 5120, 5120, 0, 0.5, "open", ("{}",)))
    'animals: 97 labels, given to 5120 pictures from a probability of 0.5 on'
    """
    each = ", each judged by itself" if known.mode == "multi" else ""
    left = f"; {known.n_left} pictures not looked at yet" if known.n_left else ""
    labels, pictures = "label" + "s" * (known.n_labels != 1), "picture" + "s" * (known.n_labelled != 1)
    return (
        f"{known.name}: {known.n_labels} {labels}, given to {known.n_labelled} {pictures} from a probability of "
        f"{known.min_probability:g} on{each}{left}"
    )
