"""`mmsearch identify`: which known person, place or thing a picture shows, from a gallery and without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.arguments import FALSE_RATE
from mmsearch.cli.completion import complete_models
from mmsearch.cli.options import Format, FormatOption, LibraryOption, cache_folder, open_library
from mmsearch.cli.render import chosen, print_table, say, write_answer

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import Identification

_COLUMNS = ("path", "identity", "best", "is_verified", "n_inliers", "score", "chance", "beside")


def identify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, in the library or not.")],
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            metavar="DIR",
            help="Pictures of known identities: a folder with a folder for each, or with one picture of each, or "
            "with labels.csv or database.jsonl; JSON with groups; or a library, whose folders are the identities "
            "(default: --library).",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_models,
            help="Encoder of a gallery that is no library, as for index; else cnn:gem.",
        ),
    ] = None,
    false_rate: Annotated[
        float,
        typer.Option(
            metavar="P", help="Share of strangers that may be taken for known ones where nothing is verified."
        ),
    ] = FALSE_RATE,
    k: Annotated[int, typer.Option("-k", min=1, help="How many of the nearest pictures are shown.")] = 3,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Say which individual of a gallery each IMAGE shows, or that it is none of them.

    Nothing is trained: a folder of pictures more is an identity more. Pictures in which local features see one of
    the gallery are known; others are where strangers seldom come as near, which the gallery itself shows.
    """
    opened, identities = _opened(gallery, model, library)
    with opened:
        results = opened.identify(images, identities, k=k, false_rate=false_rate)
    wanted = chosen(output)
    if wanted is Format.table:
        columns = [("identity", False), ("evidence", False), ("near", False), ("score", True), ("places", True)]
        print_table(None, [*columns, ("nearest", False), ("picture", False)], list(_cells(results)))
    else:
        pictures = [asdict(result) for result in results]
        write_answer({"pictures": pictures}, _COLUMNS, wanted, records=pictures)
    bad = [result for result in results if result.error]
    for result in bad:
        say(f"error: {result.error}")
    if bad:
        raise typer.Exit(1)


def _opened(gallery: str | None, model: str | None, library: str | None) -> tuple[Library, dict[str, str] | None]:
    """Return the library that is the gallery, and the identities of its pictures where they are not its folders."""
    if gallery is None:
        if model is not None:
            raise typer.BadParameter("a library has its encoder; leave --model out, or name a --gallery")
        return open_library(library), None
    from mmsearch.cli.progress import run_progress
    from mmsearch.galleries import open_gallery

    with run_progress() as progress:
        return open_gallery(gallery, cache=cache_folder(), model=model, on_progress=progress, notify=say)


def _cells(results: Sequence[Identification]) -> Iterator[list[str]]:
    """Yield a line for each of the nearest pictures; the first says whom the picture shows."""
    for result in results:
        for rank, near in enumerate(result.nearest):
            first = rank == 0
            yield [
                (result.identity or "unknown") if first else "",
                _evidence(result) if first else "",
                near.identity,
                f"{near.score:.3f}",
                str(near.n_inliers) if near.is_verified else "",
                near.path,
                result.path if first else "",
            ]


def _evidence(result: Identification) -> str:
    """Say what speaks for the best identity.

    >>> from mmsearch.records import Identification
    >>> _evidence(Identification("a.jpg", best="Ann", chance=0.0312))
    '3.1 % of strangers are as near'
    """
    if result.is_verified:
        said = f"verified, {result.n_inliers} places" + (", too few to be sure" if result.identity is None else "")
    elif result.chance is None:
        said = "not verified, and distance does not tell"
    else:
        share = f"{100 * result.chance:.1f}" if result.chance >= 0.0005 else "< 0.1"
        said = f"{share} % of strangers are as near"
    return f"{said}; beside the middle {', '.join(result.beside)}" if result.beside else said
