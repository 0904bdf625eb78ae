"""`mmsearch identify`: which known person, place or thing a picture shows, from a gallery and without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.completion import complete_models
from mmsearch.cli.options import Format, FormatOption, LibraryOption, cache_folder, open_library
from mmsearch.cli.render import box_text, chosen, print_table, say, write_answer

if TYPE_CHECKING:
    from mmsearch.library import Library
    from mmsearch.records import GalleryPicture, Identification, IdentifiedFace

_COLUMNS = (
    "path", "identity", "best", "is_verified", "n_inliers", "score", "chance", "beside", "answered_by", "faces",
)  # fmt: skip

FacesOption = Annotated[
    bool | None,
    typer.Option(
        "--faces/--no-faces",
        help="Whether the faces in a picture answer, where it has any (default: where people have names, or two "
        "thirds of the identities show a face in half of their pictures, mostly of one person).",
        show_default=False,
    ),
]
FalseRateOption = Annotated[
    float | None,
    typer.Option(
        "--false-rate",
        metavar="P",
        help="Share of strangers that may be taken for known ones where nothing is verified (default: 0.01 for "
        "pictures, 0.03 for faces).",
        show_default=False,
    ),
]


def identify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, in the library or not.")],
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            metavar="DIR",
            help="Pictures of known identities: a folder with a folder for each, or with one picture of each, or "
            "with labels.csv or database.jsonl; JSON with groups; or a library, whose named people and folders are "
            "the identities (default: --library). The faces of --library then show how near strangers come.",
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
    faces: FacesOption = None,
    false_rate: FalseRateOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many of the nearest pictures are shown.")] = 3,
    library: LibraryOption = None,
    output: FormatOption = None,
) -> None:
    """Say which individual of a gallery each IMAGE shows, or that it is none of them.

    Nothing is trained: a folder of pictures more is an identity more. Pictures in which local features see one of
    the gallery are known; others are where strangers seldom come as near, which the gallery itself shows. Of people
    all faces are named, or unknown.
    """
    opened, identities = _opened(gallery, model, faces, library)
    with opened, _strangers(gallery, library) as strangers:
        results = opened.identify(images, identities, k=k, false_rate=false_rate, faces=faces, strangers=strangers)
    wanted = chosen(output)
    if wanted is Format.table:
        columns = [("identity", False), ("evidence", False), ("near", False), ("score", True), ("places", True)]
        print_table(None, [*columns, ("nearest", False), ("picture", False)], list(_cells(results)))
    else:
        pictures = [asdict(result) for result in results]
        write_answer({"pictures": pictures}, _COLUMNS, wanted, records=pictures)
    for sentence in dict.fromkeys(sentence for result in results for sentence in result.warnings):
        say(sentence)
    bad = [result for result in results if result.error]
    for result in bad:
        say(f"error: {result.error}")
    if bad:
        raise typer.Exit(1)


def _opened(
    gallery: str | None, model: str | None, faces: bool | None, library: str | None
) -> tuple[Library, dict[str, str] | None]:
    """Return the library that is the gallery, and the identities of its pictures where they are not its folders."""
    if gallery is None:
        if model is not None:
            raise typer.BadParameter("a library has its encoder; leave --model out, or name a --gallery")
        return open_library(library), None
    from mmsearch.cli.progress import run_progress
    from mmsearch.galleries import open_gallery

    with run_progress() as progress:
        return open_gallery(
            gallery, cache=cache_folder(), model=model, faces=faces, on_progress=progress, notify=say
        )


@contextmanager
def _strangers(gallery: str | None, library: str | None) -> Iterator[Library | None]:
    """Give the user's library beside a gallery, if there is one."""
    if gallery is None:
        yield None
        return
    with open_library(library) as opened:
        yield opened if opened.place.folder is not None and opened.place.holds_library() else None


def _cells(results: Sequence[Identification]) -> Iterator[list[str]]:
    """Yield a line for each of the nearest pictures; the first says whom the picture, or the face, shows."""
    for result in results:
        if result.error:
            continue
        answers: list[tuple[Identification | IdentifiedFace, str]]
        answers = [(face, _evidence_of_face(face)) for face in result.faces] or [(result, _evidence(result))]
        for asked, evidence in answers:
            first, *others = asked.nearest or (None,)
            yield [asked.identity or "unknown", evidence, *_near_cells(first), result.path]
            yield from (["", "", *_near_cells(near), ""] for near in others)


def _near_cells(near: GalleryPicture | None) -> list[str]:
    if near is None:
        return ["", "", "", ""]
    return [near.identity, f"{near.score:.3f}", str(near.n_inliers) if near.is_verified else "", near.path]


def _evidence_of_face(face: IdentifiedFace) -> str:
    """Say where a face is, and what speaks for the likeliest person.

    >>> from mmsearch.records import IdentifiedFace
    >>> _evidence_of_face(IdentifiedFace((0.25, 0.1, 0.5, 0.4), "Ann", "Ann", 0.3, 0.0001, 0.987))
    'face at 0.25,0.10,0.50,0.40: probability 0.99, < 0.1 % of strangers are as near'
    """
    probability = "" if face.probability is None else f"probability {face.probability:.2f}, "
    return f"face at {box_text(face.box)}: {probability}{_of_strangers(face.chance)}"


def _of_strangers(chance: float | None) -> str:
    if chance is None:
        return "distance does not tell"
    return (
        f"{100 * chance:.1f} % of strangers are as near" if chance >= 0.0005 else "< 0.1 % of strangers are as near"
    )


def _evidence(result: Identification) -> str:
    """Say what speaks for the best identity.

    >>> from mmsearch.records import Identification
    >>> _evidence(Identification("a.jpg", best="Ann", chance=0.0312))
    '3.1 % of strangers are as near'
    """
    if result.is_verified:
        said = f"verified, {result.n_inliers} places" + (", too few to be sure" if result.identity is None else "")
    elif result.best is None:
        said = "no face to compare"
    else:
        said = ("not verified, and " if result.chance is None else "") + _of_strangers(result.chance)
    if result.n_too_small:
        are = "face is" if result.n_too_small == 1 else "faces are"
        said += f"; {result.n_too_small} {are} too small to tell whose"
    return f"{said}; beside the middle {', '.join(result.beside)}" if result.beside else said
