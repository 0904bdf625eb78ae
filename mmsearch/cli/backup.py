"""`mmsearch backup` and `restore`: what cannot be made again of a library, in one file."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import Format, FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, say, size_text, write_answer
from mmsearch.names import shell_word

_MOVE = re.compile(r"(/.*?)=([/~].*)", re.DOTALL)
_COLUMNS = ("path", "library", "created", "n_pictures", "n_vectors")


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where it is written; nobody else may read it.")],
    library: LibraryOption = None,
    no_vectors: Annotated[
        bool,
        typer.Option(
            "--no-vectors", help="Leave out the vectors: pictures come back when index embeds their folders again."
        ),
    ] = False,
    is_forced: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there; a picture or film is never replaced.")
    ] = False,
    output: FormatOption = None,
) -> None:
    """Write what cannot be made again of the library into one file, as it is at one moment.

    Others may search and index meanwhile. Left out are indexes, visual words, thumbnails, remembered queries, the
    token of a server, and encoders that can be had anywhere; pictures themselves are not in a library.
    """
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as progress:
        report = opened.backup(file, vectors=not no_vectors, is_forced=is_forced, on_progress=progress)
    if chosen(output) is not Format.table:
        write_answer(asdict(report), (*_COLUMNS, "size_bytes"), chosen(output))
    for notice in report.notices:
        say(notice)
    vectors = f"{report.n_vectors} vectors" if report.has_vectors else "without vectors"
    besides = _besides_text(report.n_typed, report.n_recordings)
    pictures, size = f"{report.n_pictures} pictures, {vectors}{besides}", size_text(report.size_bytes)
    say(f"{pictures}, {size}: {shell_word(report.path)}")


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What mmsearch backup wrote.")],
    library: LibraryOption = None,
    moves: Annotated[
        list[str] | None,
        typer.Option(
            "--move", metavar="OLD=NEW", show_default=False,
            help="The pictures in the folder OLD are in NEW now; repeatable. Of several that hold a picture the "
            "longest counts.",
        ),
    ] = None,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Make the library of a backup, where there is none with pictures yet.

    Nothing of a damaged file is taken. Searches are exact until index makes the indexes anew.
    """
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as progress:
        report = opened.restore(file, move=_moves(moves or []), on_progress=progress, notify=say)
    if chosen(output) is not Format.table:
        write_answer(asdict(report), _COLUMNS, chosen(output))
    for notice in report.notices:
        say(notice)
    moved = f", {report.n_moved} of them moved" if report.n_moved else ""
    vectors = f"{report.n_vectors} vectors{_besides_text(report.n_typed, report.n_recordings)}"
    say(f"{report.n_pictures} pictures{moved}, {vectors}: {report.library}")
    if report.roots:
        made = "the indexes anew" if report.has_vectors else "vectors and indexes anew"
        say(f"`mmsearch index {' '.join(map(shell_word, report.roots))}` makes {made}")
    if report.n_recordings:
        say("`mmsearch sound index` on the folders of recordings makes their index anew")


def _besides_text(n_typed: int, n_recordings: int) -> str:
    typed = f", {n_typed} tags and captions of your own" if n_typed else ""
    return f"{typed}, {n_recordings} recording{'s' * (n_recordings != 1)}" if n_recordings else typed


def _moves(given: list[str]) -> dict[str, str]:
    """Return new places by old ones; of a `~`, which the shell leaves behind a `=`, the home folder."""
    moves: dict[str, str] = {}
    for text in given:
        match = _MOVE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is no OLD=NEW; expected two paths that begin with /, such as /old/photos=/new/photos",
                param_hint="--move",
            )
        old, new = match[1], os.fspath(Path(match[2]).expanduser())
        if moves.setdefault(old, new) != new:
            raise typer.BadParameter(f"{old} has two new places; name one of them", param_hint="--move")
    return moves
