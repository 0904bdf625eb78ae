"""`mmsearch duplicates`: the same files, and the same pictures in several forms; what to do with them is yours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mmsearch.arguments import SAME, Duplicates, Keep
from mmsearch.cli.options import ForceOption, Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, print_table, say, size_text, write_answer

if TYPE_CHECKING:
    from mmsearch.records import Duplicate, DuplicateGroup, DuplicateReport

_COLUMNS = ("kind", "path", "keeper", "changes", "evidence", "score", "size_bytes")
_MOST_GROUPS, _MOST_SHOWN = 200, 12  # groups on the page, and pictures of each


def duplicates(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...", help="Only pictures at or below these; all of the library without any."
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="same-file: equal bytes; same-picture: one picture in several forms; look-alike: several pictures "
            "of one moment, which are no duplicates. Repeatable; the first two by default.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Keep,
        typer.Option(help="Which picture of a group is proposed to be kept; what is alike in this, by the others."),
    ] = "largest",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the groups side by side as one HTML page, too.")
    ] = None,
    is_forced: ForceOption = False,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Find pictures that are the same; nothing is ever deleted.

    --format paths and paths0 print those that would go, never one that is to be kept: hand them to a program of
    your own. A picture that was encoded anew, resized, in other tones, in a plain border, lightly cropped, mirrored
    or turned is the same, and so is a photograph on which something was pasted. What was compared is kept: the next
    time only new pictures are.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.contract import duplicates_json
    from mmsearch.output import PAGE, OutputFile

    page = None if html is None else OutputFile(html, PAGE, is_forced=is_forced)
    if page is not None:
        page.check()
    with open_library(library) as opened, run_progress() as progress:
        report = opened.duplicates(
            paths or (), kinds=cast("list[Duplicates]", kinds) or SAME, keep=keep, on_progress=progress, notify=say
        )
    wanted = chosen(output)
    if wanted is Format.table:
        columns = [("class", False), ("size", True), ("", False), ("picture", False)]
        print_table(None, columns, [row for group in report for row in _rows(group)])
    else:
        answer = duplicates_json(report)
        records = answer["groups"] if wanted is Format.jsonl else list(_others(report))
        write_answer(answer, _COLUMNS, wanted, records=records)
    if page is not None:
        page.write_text(_page(report))
    for sentence in _said(report):
        say(sentence)


def _rows(group: DuplicateGroup) -> Iterator[list[str]]:
    yield [group.kind, size_text(group.keeper.size_bytes), f"keep, {group.reason}", group.keeper.path]
    for other in group.others:
        yield ["", size_text(other.image.size_bytes), _changed(other), other.image.path]


def _changed(other: Duplicate) -> str:
    """Say what became of a picture.

    >>> from mmsearch.records import Duplicate, ImageRecord
    >>> image = ImageRecord(1, "/a.jpg", 0, 9, 0, 1, 1, "JPEG", None)
    >>> _changed(Duplicate(image, ("mirrored", "resized"), "signature", 0.99))
    'mirrored, resized'
    """
    if other.evidence == "vectors":
        return "alike"
    return ", ".join(other.changes) or "equal"


def _others(report: DuplicateReport) -> Iterator[dict[str, Any]]:
    """Yield a record for each picture that is not to be kept."""
    for group in report:
        for other in group.others:
            yield {
                "kind": group.kind, "path": other.image.path, "keeper": group.keeper.path,
                "changes": ", ".join(other.changes), "evidence": other.evidence, "score": other.score,
                "size_bytes": other.image.size_bytes,
            }  # fmt: skip


def _said(report: DuplicateReport) -> Iterator[str]:
    n_others = sum(len(group.others) for group in report)
    if n_others:
        groups = "1 group" if len(report) == 1 else f"{len(report)} groups"
        others = "1 picture" if n_others == 1 else f"{n_others} pictures"
        size = size_text(report.size_bytes)
        yield f"{groups} among {report.n_pictures} pictures; {others} beside those to keep, {size}"
    else:
        yield f"no duplicates among {report.n_pictures} pictures"
    if report.n_unsigned:
        yield f"{report.n_unsigned} of them could not be read, and were compared by their bytes alone"
    if report.n_missing:
        yield f"{report.n_missing} others are not where they were, or not as they were; run `mmsearch index` again"


def _page(report: DuplicateReport) -> str:
    """Return the groups side by side as a page that needs nothing else and runs no script."""
    from mmsearch.cli.sheet import card, rendered
    from mmsearch.query.thumbnails import thumbnails_of

    groups = [(group, group.others[: _MOST_SHOWN - 1]) for group in report.groups[:_MOST_GROUPS]]
    shown = [image for group, others in groups for image in (group.keeper, *(other.image for other in others))]
    copies = iter(thumbnails_of(shown))
    parts = []
    for group, others in groups:
        n_more = len(group.others) - len(others)
        more = f", and {n_more} more that are not shown" if n_more else ""
        cards = [card(1, group.keeper.path, f"keep, {group.reason}", next(copies))]
        cards += [
            card(rank, other.image.path, _changed(other), next(copies))
            for rank, other in enumerate(others, start=2)
        ]
        parts.append((f"{group.kind}, {size_text(group.size_bytes)} beside the first{more}", cards))
    n_left_out = len(report) - len(groups)
    sentences = [*_said(report), *([f"{n_left_out} more groups are not shown."] if n_left_out else [])]
    return rendered("Duplicates", sentences, parts)
