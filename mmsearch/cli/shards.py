"""`mmsearch export` and `load`: vectors as Parquet shards that go from machine to machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.index import EXIT_SOME_BAD, show_report
from mmsearch.cli.options import FormatOption, LibraryOption, open_library
from mmsearch.cli.render import chosen, say

PANEL = "Between machines"
"""Under which heading of `mmsearch --help` these commands stand."""
OutOption = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", help="Where the shards go: a folder that is made, or that holds shards of the same "
        "encoder. A finished shard is never touched again, and what it holds is not written again.",
        show_default=False,
    ),
]  # fmt: skip


def export(out: OutOption, library: LibraryOption = None, output: FormatOption = None) -> None:
    """Write the library as Parquet shards: pictures, what is known of them, and their vectors."""
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as progress:
        report = opened.export(out, on_progress=progress, notify=say)
    show_report(report, f"shards: {out.absolute()}", chosen(output))


def load(
    shards: Annotated[
        str, typer.Argument(metavar="DIR", readable=False, help="A folder of shards.", show_default=False)
    ],
    library: LibraryOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME",
            help="What the encoder of the shards is called on this machine, if not as where they were made.",
            show_default=False,
        ),
    ] = None,
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Bring the pictures of shards into the library, which is made if it is not there.

    What the library has already stays as it is: a load that was ended goes on when it is run again.

    Exit code 3 says that all is done but some shards or rows could not be used; each is named.
    """
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as progress:
        report = opened.load(shards, model=model, on_progress=progress, notify=say)
    show_report(report, f"library: {opened.folder}", chosen(output))
    if report.bad:
        raise typer.Exit(EXIT_SOME_BAD)
