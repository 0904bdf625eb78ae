"""`mmsearch embed`, `export` and `load`: vectors as Parquet shards that go from machine to machine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.completion import complete_models
from mmsearch.cli.index import EXIT_SOME_BAD, MegapixelsOption, show_report
from mmsearch.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    LibraryOption,
    PrecisionOption,
    ViewsOption,
    cache_folder,
    given_views,
    open_library,
)
from mmsearch.cli.render import chosen, say, write_answer
from mmsearch.names import quoted

if TYPE_CHECKING:
    from mmsearch.records import SidecarsReport

PANEL = "Between machines"
"""Under which heading of `mmsearch --help` these commands stand."""
_OUT = typer.Option(
    "--out", metavar="DIR", help="Where the shards go: a folder that is made, or that holds shards of the same "
    "encoder. A finished shard is never touched again, and what it holds is not written again.",
    show_default=False,
)  # fmt: skip
OutOption = Annotated[str, _OUT]
SomeOutOption = Annotated[str | None, _OUT]
SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...", readable=False, show_default=False,
        help="Folders, pictures, and bundles of pictures: tars as img2dataset and webdataset write them, and "
        "Parquet files with a column of their bytes. Bundles in folders are read too.",
    ),
]  # fmt: skip
BytesColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="C", show_default=False,
        help="Column of the pictures, where a SOURCE is a Parquet file: bytes, or a struct that has them "
        "(default: the first that is called image, jpg or the like).",
    ),
]  # fmt: skip
ShardsModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", autocompletion=complete_models,
        help="The encoder, as for `mmsearch index` (default: that of the shards in DIR, else auto).",
        show_default=False,
    ),
]  # fmt: skip
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", show_default=False,
        help="Embed on the Ray cluster that this machine is part of, HOST:PORT or auto; local starts one for the "
        "run. SOURCE, DIR and MMSEARCH_CACHE must lie at the same paths on all machines.",
    ),
]  # fmt: skip


SidecarsOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", show_default=False,
        help="Write your tags and captions as XMP sidecars instead, in folders like those of the pictures.",
    ),
]  # fmt: skip


def export(
    out: SomeOutOption = None,
    sidecars: SidecarsOption = None,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Write the library as Parquet shards: pictures, what is known of them, and their vectors."""
    from mmsearch.cli.progress import run_progress

    with open_library(library) as opened, run_progress() as progress:
        if out is not None and sidecars is None:
            report = opened.export(out, on_progress=progress, notify=say)
            show_report(report, f"shards: {Path(out).absolute()}", chosen(output))
        elif sidecars is not None and out is None:
            _show_sidecars(opened.export_sidecars(sidecars, on_progress=progress), chosen(output))
        else:
            raise typer.BadParameter("give --out DIR for shards, or --sidecars DIR for tags and captions")


def _show_sidecars(report: SidecarsReport, wanted: Format) -> None:
    if wanted is not Format.table:
        write_answer(asdict(report), ("folder", "n_written", "n_removed"), wanted)
    removed = f", {report.n_removed} removed, as nothing is left of what you wrote" if report.n_removed else ""
    say(f"{report.n_written} sidecar{'s' * (report.n_written != 1)} written{removed}: {quoted(report.folder)}")


def embed(
    out: OutOption,
    paths: SourceArgument = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option(
            "--list", metavar="FILE", help="More paths: text, each ended by a NUL or by the end of its line, or a "
            "column of a Parquet file; - is standard input.", show_default=False,
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(metavar="C", help="Column of the paths, where a list is a Parquet file.")
    ] = "path",
    image_column: BytesColumnOption = None,
    model: ShardsModelOption = None,
    n_workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Processes (default: one a core).", show_default=False),
    ] = None,
    ray: RayOption = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Go through symbolic links.")] = False,
    max_megapixels: MegapixelsOption = None,
    precision: PrecisionOption = None,
    views: ViewsOption = None,
    device: DeviceOption = "auto",
    output: FormatOption = None,
) -> None:  # fmt: skip
    """Embed pictures into Parquet shards without a library, which `mmsearch load` fills from them anywhere.

    What finished shards hold is not embedded again: a run that was ended goes on when it is run again. Pictures
    that cannot be used are rows of errors.parquet in DIR. A picture in a bundle has the path of that and its name
    or row in it: /sets/00000.tar/000000012.jpg, /sets/00000.parquet/12/cat.jpg. Nothing is unpacked.

    Exit code 3 says that all is done but some pictures could not be used; each is named.
    """
    from mmsearch.cli.progress import run_progress
    from mmsearch.ingest.embed import EmbedOptions, embed_pictures
    from mmsearch.records import MAX_MEGAPIXELS

    sources: list[str | bytes] = [*(paths or []), *(path for file in lists or () for path in _listed(file, column))]
    options = EmbedOptions(
        model,
        follow_links,
        max_megapixels or MAX_MEGAPIXELS,
        n_workers,
        ray,
        image_column,
        cache_folder(),
        precision,
        device,
        given_views(views),
    )
    with run_progress() as progress:
        report = embed_pictures(sources, out, options, on_progress=progress, notify=say)
    show_report(report, f"shards: {Path(out).absolute()}", chosen(output))
    if report.bad:
        raise typer.Exit(EXIT_SOME_BAD)


def _listed(file: Path, column: str) -> list[bytes]:
    """Return the paths in a file; - is standard input."""
    from mmsearch.errors import advice, reason
    from mmsearch.shards.lists import listed_paths

    is_input = str(file) == "-"
    name = "standard input" if is_input else str(file)
    if is_input and sys.stdin is None:
        raise typer.BadParameter("standard input is closed; expected paths", param_hint="--list")
    try:
        written = sys.stdin.buffer.read() if is_input else file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(
            f"{name} cannot be read ({reason(error)}); {advice(error)}", param_hint="--list"
        ) from error
    return listed_paths(written, name, column)


def load(
    shards: Annotated[
        str,
        typer.Argument(
            metavar="DIR", readable=False, show_default=False,
            help="A folder of shards, or of what clip-retrieval wrote: img_emb/*.npy and metadata/*.parquet.",
        ),
    ],
    library: LibraryOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", autocompletion=complete_models,
            help="What the encoder of the shards is called on this machine, if not as where they were made. What "
            "clip-retrieval wrote does not say, so that it must be named.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default=False,
            help="Where the pictures are whose paths in the metadata of clip-retrieval do not begin with / "
            "(default: DIR).",
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
        report = opened.load(shards, model=model, images=images, on_progress=progress, notify=say)
    show_report(report, f"library: {opened.address}", chosen(output))
    if report.bad:
        raise typer.Exit(EXIT_SOME_BAD)
